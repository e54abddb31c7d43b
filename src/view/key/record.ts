/** What a user sees of keys: records, events, and the forms in which keys and values may be given. */
import { HoldfastError, prefixEnd, revision, toHex, utf8Decode, utf8Encode } from "../../base/index.ts";
import type { Revision } from "../../base/index.ts";
import type { KeySpan, StoredRecord } from "./key-operation.ts";
import type { WatchedEvent } from "./key-source.ts";

/** Text is taken as UTF-8. 1 to `limits.keySizeMax` bytes. */
export type Key = string | Uint8Array;

/**
 * Text is stored as UTF-8, bytes as they are, anything else as JSON text. At most `limits.valueSizeMax` bytes.
 */
export type Value = string | Uint8Array | JsonValue;
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

/** Which keys: one; all that start with a prefix; or `start` ≤ key < `end`, each bound optional. Nothing given: all keys. */
export type KeyChoice =
  | { readonly key: Key; readonly prefix?: never; readonly start?: never; readonly end?: never }
  | { readonly prefix: Key; readonly key?: never; readonly start?: never; readonly end?: never }
  | { readonly start?: Key | undefined; readonly end?: Key | undefined; readonly key?: never; readonly prefix?: never };

/** The key's bytes, the caller's no longer: a copy if they were given as bytes. */
export function keyBytes(key: Key): Uint8Array {
  if (typeof key === "string") return utf8Encode(wellFormed(key));
  if (key instanceof Uint8Array) return key.slice();
  throw new HoldfastError("invalid", `a key is text or bytes, not ${kindOf(key)}`);
}

/** What a value given from JavaScript is, in a word. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  return (value.constructor as { readonly name?: string } | undefined)?.name ?? "object";
}

/** The value's bytes: the very array if it was given as bytes. Whoever does not use them at once makes a copy. */
export function valueBytes(value: Value): Uint8Array {
  if (typeof value === "string") return utf8Encode(wellFormed(value));
  if (value instanceof Uint8Array) return value;
  checkJson(value);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new HoldfastError("invalid", `the value cannot be written as JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (text === undefined) throw new HoldfastError("invalid", `a value is text, bytes or JSON, not ${typeof value}`);
  return utf8Encode(text);
}

/** JSON would make nothing of these, and what they hold would be lost without a word. */
function checkJson(value: unknown): void {
  const lost =
    ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof Map || value instanceof Set;
  if (!lost) return;
  const remedy = "give bytes as a Uint8Array, a collection as an array or an object";
  throw new HoldfastError("invalid", `a value is text, bytes or JSON, not ${kindOf(value)}: ${remedy}`);
}

/** A revision as a caller gives it: a whole number from 0. */
export function checkedRevision(name: string, at: number): Revision {
  if (Number.isSafeInteger(at) && at >= 0) return revision(at);
  throw new HoldfastError("invalid", `${name} is ${String(at)}; a revision is a whole number from 0`);
}

function wellFormed(text: string): string {
  if (text.isWellFormed()) return text;
  throw new HoldfastError("invalid", "the text has a lone surrogate, which UTF-8 cannot hold; give bytes instead");
}

const noBytes = new Uint8Array(0);
const firstKey = new Uint8Array([0]);

export function spanOf(choice: KeyChoice): KeySpan {
  checkChoice(choice);
  if (choice.key !== undefined) return { key: keyBytes(choice.key), end: undefined };
  if (choice.prefix !== undefined) {
    const prefix = keyBytes(choice.prefix);
    return { key: prefix, end: prefixEnd(prefix) ?? noBytes };
  }
  const start = choice.start === undefined ? firstKey : keyBytes(choice.start);
  const end = choice.end === undefined ? noBytes : keyBytes(choice.end);
  // An empty end would mean: to the last key.
  return { key: start, end: choice.end !== undefined && end.length === 0 ? start : end };
}

/** What is none, or names its keys by something undefined, must not pass for a choice of all keys. */
function checkChoice(choice: unknown): void {
  if (typeof choice !== "object" || choice === null) {
    const forms = "{ key }, { prefix }, { start, end }, or {} for all keys";
    throw new HoldfastError("invalid", `a choice of keys is ${forms}; it was ${kindOf(choice)}`);
  }
  const { key, prefix, start, end } = choice as Record<string, unknown>;
  const given = [key, prefix, start ?? end].filter((one) => one !== undefined).length;
  if (given > 1)
    throw new HoldfastError("invalid", "choose keys by a key, by a prefix or by start and end, not by two");
  if (given > 0) return;
  const empty = ["key", "prefix"].find((name) => name in choice);
  if (empty === undefined) return;
  throw new HoldfastError("invalid", `the ${empty} is undefined; leave it out to choose all keys`);
}

/** One version of a key. Its bytes are the caller's. */
export class KeyRecord {
  readonly keyBytes: Uint8Array;
  /** The value; empty where only keys were asked for. */
  readonly bytes: Uint8Array;
  /** The revision that wrote this version. */
  readonly revision: Revision;
  /** The revision that created the key. */
  readonly createRevision: Revision;
  /** Counts the puts since then, from 1. */
  readonly version: number;
  /** The lease with which the key goes, if there is one. */
  readonly lease: bigint | undefined;

  constructor(key: Uint8Array, record: StoredRecord) {
    this.keyBytes = key;
    this.bytes = record.value;
    this.revision = revision(record.revision);
    this.createRevision = revision(record.createRevision);
    this.version = record.version;
    this.lease = record.lease === 0n ? undefined : record.lease;
  }

  /** The key as text; `corrupt` if it is not UTF-8. */
  get key(): string {
    return utf8Decode(this.keyBytes);
  }

  /** The value as text; `corrupt` if it is not UTF-8. */
  text(): string {
    return utf8Decode(this.bytes);
  }

  /** The value as JSON; `corrupt` if it is none. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller's word for what it stored
  json<T = unknown>(): T {
    try {
      return JSON.parse(this.text()) as T;
    } catch (error) {
      throw new HoldfastError("corrupt", `the value of key ${describe(this.keyBytes)} is not JSON`, { cause: error });
    }
  }
}

function describe(key: Uint8Array): string {
  try {
    return JSON.stringify(utf8Decode(key));
  } catch {
    return toHex(key);
  }
}

interface AnyKeyEvent {
  readonly keyBytes: Uint8Array;
  /** The key as text; `corrupt` if it is not UTF-8. */
  readonly key: string;
  /** The revision of the change. */
  readonly revision: Revision;
  /** What the key was before, where it was asked for and is retained. */
  readonly previous: KeyRecord | undefined;
}

/** One change of one key. */
export type KeyEvent =
  | (AnyKeyEvent & { readonly type: "put"; readonly record: KeyRecord })
  | (AnyKeyEvent & { readonly type: "delete"; readonly record: undefined });

/** How far a watch has come: everything up to `revision` has been delivered. */
export interface WatchProgress {
  readonly type: "progress";
  readonly revision: Revision;
}

class Event implements AnyKeyEvent {
  readonly type: "put" | "delete";
  readonly keyBytes: Uint8Array;
  readonly revision: Revision;
  readonly record: KeyRecord | undefined;
  readonly previous: KeyRecord | undefined;

  constructor(at: number, { key, record, previous }: WatchedEvent) {
    this.type = record === undefined ? "delete" : "put";
    this.keyBytes = key;
    this.revision = revision(at);
    this.record = record === undefined ? undefined : new KeyRecord(key, record);
    this.previous = previous === undefined ? undefined : new KeyRecord(key, previous);
  }

  get key(): string {
    return utf8Decode(this.keyBytes);
  }
}

export function makeEvent(at: number, event: WatchedEvent): KeyEvent {
  return new Event(at, event) as KeyEvent;
}

/** A copy that shares nothing with the store. */
export function copyRecord(record: StoredRecord): StoredRecord {
  return { ...record, value: record.value.slice() };
}
