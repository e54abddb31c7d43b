/**
 * JSON lines as `key export` writes and `key import` reads them: one object a record,
 *
 *   {"key": "user/1", "value": {"name": "Ada"}}      the value is JSON
 *   {"key": "greeting", "text": "hello"}             the value is text
 *   {"key64": "/wA=", "base64": "AAEC"}              key or value is not text
 *
 * so that importing what was exported gives the same bytes. With a key field (`--key Package`) each line is instead a
 * value of its own, and the key is that field of it.
 */
import { HoldfastError } from "../base/index.ts";
import { textOf } from "./output.ts";

export interface Line {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

const encoder = new TextEncoder();

/** The record as one line, without the line break. A value is JSON only if printing it gives back the same bytes. */
export function formatLine({ key, value }: Line): string {
  const keyText = textOf(key);
  const keyPart = keyText === undefined ? { key64: base64(key) } : { key: keyText };
  return JSON.stringify({ ...keyPart, ...formatValue(value) });
}

export function formatValue(value: Uint8Array): { value?: unknown; text?: string; base64?: string } {
  const text = textOf(value);
  if (text === undefined) return { base64: base64(value) };
  if (/^[[{"\dtfn-]/.test(text)) {
    try {
      const parsed: unknown = JSON.parse(text);
      if (JSON.stringify(parsed) === text) return { value: parsed };
    } catch {
      // Not JSON: plain text that starts like it.
    }
  }
  return { text };
}

export interface ParseOptions {
  /** Take the key from this field of the object, and the whole object as the value. */
  readonly keyField?: string | undefined;
  /** Put before every key. */
  readonly prefix?: string | undefined;
  /** For messages: `packages.jsonl:17`. */
  readonly place: string;
}

export function parseLine(line: string, { keyField, prefix = "", place }: ParseOptions): Line {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (error) {
    throw new HoldfastError("invalid", `${place} is not JSON: ${(error as Error).message}`);
  }
  if (typeof record !== "object" || record === null || Array.isArray(record)) {
    throw new HoldfastError("invalid", `${place} is not a JSON object`);
  }
  const fields = record as Record<string, unknown>;
  if (keyField !== undefined) {
    const key = fields[keyField];
    if (typeof key !== "string") {
      throw new HoldfastError("invalid", `${place} has no text in the field "${keyField}" that --key names`);
    }
    return { key: encoder.encode(prefix + key), value: encoder.encode(line) };
  }
  return { key: parseKey(fields, prefix, place), value: parseValue(fields, place) };
}

function parseKey(fields: Record<string, unknown>, prefix: string, place: string): Uint8Array {
  const { key, key64 } = fields;
  if (typeof key === "string") return encoder.encode(prefix + key);
  if (typeof key64 === "string") {
    return new Uint8Array(Buffer.concat([encoder.encode(prefix), Buffer.from(key64, "base64")]));
  }
  throw new HoldfastError(
    "invalid",
    `${place} has no "key"; for lines of another shape name their key field: --key FIELD`,
  );
}

function parseValue(fields: Record<string, unknown>, place: string): Uint8Array {
  if (typeof fields["text"] === "string") return encoder.encode(fields["text"]);
  if (typeof fields["base64"] === "string") return new Uint8Array(Buffer.from(fields["base64"], "base64"));
  if ("value" in fields) return encoder.encode(JSON.stringify(fields["value"]));
  throw new HoldfastError("invalid", `${place} has neither "value" nor "text" nor "base64"`);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
