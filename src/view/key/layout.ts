/**
 * Where the key view keeps what in the tree. Numbers are big-endian, so that they sort.
 *
 *   16 'k' key               → StoredRecord: the key as it is now
 *   16 'd' key               → StoredRecord, version 0: the key does not exist, and its deletion is retained
 *   16 'e' revision:8 index:4 → StoredEvent: what the command at that revision changed, in its order
 *   16 'c'                   → the compact revision
 *
 * A superseded version stands in the event that superseded it. Each version says where the event is that made it, so the
 * versions of a key are a chain that begins at the key, or at its deletion; and a put writes in two places only, of which
 * one is the end of the events.
 */
import {
  bool,
  bytes,
  concatBytes,
  message,
  readUint32BE,
  readUint64BE,
  writeUint32BE,
  writeUint64BE,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import type { KeyRange } from "../view.ts";
import type { KeySpan } from "./key-operation.ts";

export const keyViewId = 16;

const current = 0x6b;
const deletion = 0x64;
const event = 0x65;
const compaction = 0x63;

/** One change of one key. */
export const StoredEvent = message("holdfast.key.StoredEvent", {
  key: bytes(1),
  /** A `StoredRecord`: the version that it superseded, or the deletion before it; empty when there was neither. */
  previous: bytes(2),
  deleted: bool(3),
});
export type StoredEvent = Infer<typeof StoredEvent>;

export const compactionKey = new Uint8Array([keyViewId, compaction]);

export function currentKey(key: Uint8Array): Uint8Array {
  const whole = new Uint8Array(2 + key.length);
  whole[0] = keyViewId;
  whole[1] = current;
  whole.set(key, 2);
  return whole;
}

/** The user's key in a `currentKey` or a `deletedKey`: a view. */
export function keyOfCurrent(whole: Uint8Array): Uint8Array {
  return whole.subarray(2);
}

const currentEnd = new Uint8Array([keyViewId, current + 1]);

/** All current keys of a span with an end. */
export function currentRange({ key, end }: KeySpan): Required<KeyRange> {
  if (end === undefined) return { start: currentKey(key), end: concatBytes([currentKey(key), new Uint8Array(1)]) };
  return { start: currentKey(key), end: end.length === 0 ? currentEnd : currentKey(end) };
}

/** Where a key's deletion stands. */
export function deletedKey(key: Uint8Array): Uint8Array {
  const whole = currentKey(key);
  whole[1] = deletion;
  return whole;
}

/** The deletions of all keys of a span. */
export function deletedRange(span: KeySpan): Required<KeyRange> {
  const { start, end } = currentRange(span);
  // The bounds of current keys, in the other space.
  const [from, to] = [start.slice(), end.slice()];
  from[1] = deletion;
  to[1] = (to[1] as number) + deletion - current;
  return { start: from, end: to };
}

export function eventKey(revision: number, index: number): Uint8Array {
  const whole = new Uint8Array(14);
  whole[0] = keyViewId;
  whole[1] = event;
  writeUint64BE(whole, 2, revision);
  writeUint32BE(whole, 10, index);
  return whole;
}

export function revisionOfEvent(whole: Uint8Array): number {
  return readUint64BE(whole, 2);
}

export function indexOfEvent(whole: Uint8Array): number {
  return readUint32BE(whole, 10);
}

/** The events of the commands at revisions from `first` to `last`, both included. */
export function eventRange(first: number, last: number): Required<KeyRange> {
  return { start: eventKey(first, 0), end: eventKey(last + 1, 0) };
}
