/**
 * Keys of maps, and values by which an index is ordered, as bytes whose order is theirs.
 *
 * A key of a map: a letter for its kind, then the key. Numbers come before text, text before bytes; numbers in their own
 * order (0 and -0 are one), text in the order of its code points, bytes in theirs.
 *
 *   0x30 number:8   the IEEE 754 bits, high byte first; the sign's bit turned for those above 0, all bits for those below
 *   0x40 text       UTF-8
 *   0x50 bytes
 *
 * A value of an index: null, then false, true, numbers, text. It ends where it says, so that a key may follow it.
 *
 *   0x10 | 0x20 | 0x21 | 0x30 number:8 | 0x40 text, each 0 in it followed by 0xff, then 0
 */
import { HoldfastError, limits, prefixEnd, utf8Decode, utf8Encode } from "../../base/index.ts";
import { kindOf } from "../key/record.ts";

/** A finite number, text, or bytes. */
export type MapKey = string | number | Uint8Array;
/** What of JSON an index is ordered by. */
export type IndexValue = null | boolean | number | string;

const nullForm = 0x10;
const falseForm = 0x20;
const trueForm = 0x21;
const numberForm = 0x30;
const textForm = 0x40;
const bytesForm = 0x50;

export function encodeKey(key: MapKey): Uint8Array {
  let whole: Uint8Array;
  if (typeof key === "number") {
    if (!Number.isFinite(key)) throw new HoldfastError("invalid", `a map's key is a finite number, not ${key}`);
    whole = encodeNumber(key);
  } else if (typeof key === "string") {
    if (!key.isWellFormed()) throw new HoldfastError("invalid", "a map's key has half of a surrogate pair");
    whole = withForm(textForm, utf8Encode(key));
  } else if (key instanceof Uint8Array) {
    whole = withForm(bytesForm, key);
  } else {
    throw new HoldfastError("invalid", `a map's key is text, a number or bytes, not ${kindOf(key)}`);
  }
  const problem = keyProblem(whole);
  if (problem !== undefined) throw new HoldfastError("invalid", `a map's key ${problem}`);
  return whole;
}

/** The key's bytes are the caller's own. */
export function decodeKey(whole: Uint8Array): MapKey {
  if (whole[0] === numberForm) return decodeNumber(whole);
  return whole[0] === textForm ? utf8Decode(whole.subarray(1)) : whole.slice(1);
}

/** What is wrong with an encoded key; undefined if nothing is. */
export function keyProblem(whole: Uint8Array): string | undefined {
  const form = whole[0];
  if (whole.length > 1 + limits.mapKeySizeMax) {
    return `is ${whole.length - 1} bytes; the limit is ${limits.mapKeySizeMax} (limits.mapKeySizeMax)`;
  }
  if (form === bytesForm) return undefined;
  if (form === numberForm) {
    const value = whole.length === 9 ? decodeNumber(whole) : Number.NaN;
    return Number.isFinite(value) && !Object.is(value, -0) ? undefined : "is no finite number";
  }
  if (form !== textForm) return "has a form that this version does not know";
  try {
    utf8Decode(whole.subarray(1));
    return undefined;
  } catch {
    return "is no UTF-8";
  }
}

export function keyText(whole: Uint8Array): string {
  const key = decodeKey(whole);
  return key instanceof Uint8Array ? `${key.length} bytes` : JSON.stringify(key);
}

/** An index's value as bytes; undefined for what an index does not hold: arrays, objects, text that is not well formed. */
export function encodeIndexValue(value: unknown): Uint8Array | undefined {
  if (value === null) return new Uint8Array([nullForm]);
  if (typeof value === "boolean") return new Uint8Array([value ? trueForm : falseForm]);
  if (typeof value === "number") return Number.isFinite(value) ? encodeNumber(value) : undefined;
  if (typeof value !== "string" || !value.isWellFormed()) return undefined;
  const text = utf8Encode(value);
  let zeroCount = 0;
  for (const byte of text) if (byte === 0) zeroCount++;
  const whole = new Uint8Array(2 + text.length + zeroCount);
  whole[0] = textForm;
  let at = 1;
  for (const byte of text) {
    whole[at++] = byte;
    if (byte === 0) whole[at++] = 0xff;
  }
  return whole;
}

/** Where the value that stands at the beginning ends. */
export function indexValueEnd(bytes: Uint8Array): number {
  if (bytes[0] === numberForm) return 9;
  if (bytes[0] !== textForm) return 1;
  for (let at = 1; at < bytes.length; at++) if (bytes[at] === 0 && bytes[at + 1] !== 0xff) return at + 1;
  return bytes.length;
}

export function decodeIndexValue(bytes: Uint8Array): IndexValue {
  switch (bytes[0]) {
    case nullForm:
      return null;
    case falseForm:
    case trueForm:
      return bytes[0] === trueForm;
    case numberForm:
      return decodeNumber(bytes);
    default: {
      const text: number[] = [];
      for (let at = 1; at < bytes.length - 1; at++) {
        text.push(bytes[at] as number);
        if (bytes[at] === 0) at++;
      }
      return utf8Decode(new Uint8Array(text));
    }
  }
}

/** Encoded, for text that begins with this: the first that may, and the first that may not any more. */
export function textPrefixRange(prefix: string): { readonly start: Uint8Array; readonly end: Uint8Array } {
  const start = encodeKey(prefix);
  return { start, end: prefixEnd(start) as Uint8Array };
}

function withForm(form: number, body: Uint8Array): Uint8Array {
  const whole = new Uint8Array(1 + body.length);
  whole[0] = form;
  whole.set(body, 1);
  return whole;
}

function encodeNumber(value: number): Uint8Array {
  const whole = new Uint8Array(9);
  whole[0] = numberForm;
  const view = new DataView(whole.buffer);
  // -0 is 0.
  view.setFloat64(1, value + 0);
  const high = view.getUint32(1);
  if (high < 0x8000_0000) view.setUint32(1, high + 0x8000_0000);
  else for (let at = 1; at < 9; at++) whole[at] = 0xff - (whole[at] as number);
  return whole;
}

function decodeNumber(whole: Uint8Array): number {
  const bytes = new Uint8Array(8);
  bytes.set(whole.subarray(1, 9));
  const view = new DataView(bytes.buffer);
  const high = view.getUint32(0);
  if (high >= 0x8000_0000) view.setUint32(0, high - 0x8000_0000);
  else for (let at = 0; at < 8; at++) bytes[at] = 0xff - (bytes[at] as number);
  return view.getFloat64(0);
}
