/**
 * Values of a user's own type in views that hold them (queues, maps, streams, …): one byte that says the form, then the
 * value. 0: bytes as they are. 1: JSON text; with no text behind it, `undefined`.
 */
import { HoldfastError, limits, utf8Decode, utf8Encode } from "../base/index.ts";
import { kindOf, valueBytes } from "./key/record.ts";
import type { JsonValue } from "./key/record.ts";

const bytesForm = 0;
const jsonForm = 1;

/** `invalid` for what JSON does not hold whole, and for more than `limits.valueSizeMax` bytes; `what` names it there. */
export function encodeValue(value: unknown, what = "the value"): Uint8Array {
  const isBytes = value instanceof Uint8Array;
  let body: Uint8Array;
  if (isBytes) body = value;
  else if (value === undefined) body = new Uint8Array(0);
  // Text as JSON, so that it comes back as text.
  else if (typeof value === "string")
    body = utf8Encode(JSON.stringify(value.toWellFormed() === value ? value : refuseText(what)));
  else body = valueBytes(value as JsonValue);
  if (body.length > limits.valueSizeMax) {
    throw new HoldfastError(
      "invalid",
      `${what} is ${body.length} bytes; the limit is ${limits.valueSizeMax} (limits.valueSizeMax): keep large data in files`,
    );
  }
  const whole = new Uint8Array(1 + body.length);
  whole[0] = isBytes ? bytesForm : jsonForm;
  whole.set(body, 1);
  return whole;
}

function refuseText(what: string): never {
  throw new HoldfastError("invalid", `${what} has half of a surrogate pair, which is no text`);
}

/** The inverse: the bytes are the caller's own. `corrupt` for a form that this version does not know. */
export function decodeValue(whole: Uint8Array): unknown {
  const body = whole.subarray(1);
  if (whole[0] === bytesForm) return body.slice();
  if (whole[0] !== jsonForm) throw new HoldfastError("corrupt", `a value has the unknown form ${whole[0]}`);
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(utf8Decode(body)) as unknown;
  } catch (error) {
    throw new HoldfastError("corrupt", `a value is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** The name of an object of a view: a queue, a lock, …; text of 1 to `limits.nameSizeMax` bytes without control characters. */
export function checkedName(name: string, what: string): string {
  if (typeof name !== "string")
    throw new HoldfastError("invalid", `the name of a ${what} is text, not ${kindOf(name)}`);
  const problem = nameProblem(name);
  if (problem !== undefined) throw new HoldfastError("invalid", `the name of the ${what} ${problem}`);
  return name;
}

/** What is wrong with a name, for `apply`; undefined if nothing is. A name that is made of others may be longer. */
export function nameProblem(name: string, sizeMax: number = limits.nameSizeMax): string | undefined {
  if (name.length === 0) return "is empty; it has at least one character";
  const size = utf8Encode(name).length;
  if (size > sizeMax) return `is ${size} bytes; the limit is ${sizeMax} (limits.nameSizeMax)`;
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    if (code < 0x20 || code === 0x7f) return `${JSON.stringify(name)} has a control character`;
  }
  return undefined;
}

/** The key of an object in the tree: view, letter, name, 0, and whatever follows. A name has no 0. */
export function nameKey(viewId: number, letter: number, name: string, tailSize = 0): Uint8Array {
  const text = utf8Encode(name);
  const whole = new Uint8Array(3 + text.length + tailSize);
  whole[0] = viewId;
  whole[1] = letter;
  whole.set(text, 2);
  return whole;
}

/** `invalid` for what is no whole number from `min` on. */
export function checkedWhole(value: number, what: string, min = 1): number {
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw new HoldfastError("invalid", `${what} is ${String(value)}; it must be a whole number from ${min}`);
}
