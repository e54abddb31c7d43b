/**
 * What streams are in the tree.
 *
 *   21 's' name 0              → StoredStream
 *   21 'e' name 0 position:8   → StoredEntry
 *   21 'g' name 0 group        → StoredGroup
 *   21 'd'                     → StoredDeletion
 *
 * Entries have dense positions from 0; those from `start` to below `tail` are there.
 */
import { bytes, message, readUint64BE, uint64, utf8Decode, utf8Encode, writeUint64BE } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameKey } from "../value.ts";
import type { KeyRange, State } from "../view.ts";

export const streamViewId = 21;
const letters = { stream: 0x73, entry: 0x65, group: 0x67 } as const;
export const deletionKey = new Uint8Array([streamViewId, 0x64]);

/** What is kept: nothing beyond any of these. 0: no bound. */
export const Retention = message("holdfast.stream.Retention", {
  countMax: uint64(1),
  /** Values and what stands beside them, bytes. */
  sizeMax: uint64(2),
  /** Store time. */
  ageMaxMs: uint64(3),
});
export type Retention = Infer<typeof Retention>;

export const StoredStream = message("holdfast.stream.Stream", {
  /** Of the last change of its entries or settings. */
  revision: uint64(1),
  start: uint64(2),
  tail: uint64(3),
  size: uint64(4),
  countMax: uint64(5),
  sizeMax: uint64(6),
  ageMaxMs: uint64(7),
});
export type StoredStream = Infer<typeof StoredStream>;

export const StoredEntry = message("holdfast.stream.Entry", {
  value: bytes(1),
  revision: uint64(2),
  /** Store time when it was appended, milliseconds since the Unix epoch. */
  timeMs: uint64(3),
});
export type StoredEntry = Infer<typeof StoredEntry>;

export const StoredGroup = message("holdfast.stream.Group", {
  /** Everything before it is done with. */
  position: uint64(1),
  revision: uint64(2),
});
export type StoredGroup = Infer<typeof StoredGroup>;
export const StoredDeletion = message("holdfast.stream.Deletion", { revision: uint64(1) });

/** What an entry counts beside its value. */
export const entryOverhead = 32;

export function streamKey(name: string): Uint8Array {
  return nameKey(streamViewId, letters.stream, name);
}

export const allStreams: Required<KeyRange> = {
  start: new Uint8Array([streamViewId, letters.stream]),
  end: new Uint8Array([streamViewId, letters.stream + 1]),
};

export function nameOfStream(key: Uint8Array): string {
  return utf8Decode(key.subarray(2, -1));
}

export function entryKey(name: string, position: number): Uint8Array {
  const whole = nameKey(streamViewId, letters.entry, name, 8);
  writeUint64BE(whole, whole.length - 8, position);
  return whole;
}

export function positionOf(key: Uint8Array): number {
  return readUint64BE(key, key.length - 8);
}

export function groupKey(name: string, group: string): Uint8Array {
  const text = utf8Encode(group);
  const whole = nameKey(streamViewId, letters.group, name, text.length);
  whole.set(text, whole.length - text.length);
  return whole;
}

export function groupsRange(name: string): Required<KeyRange> {
  const end = nameKey(streamViewId, letters.group, name);
  end[end.length - 1] = 1;
  return { start: nameKey(streamViewId, letters.group, name), end };
}

export function groupOf(name: string, key: Uint8Array): string {
  return utf8Decode(key.subarray(nameKey(streamViewId, letters.group, name).length));
}

export function readStream(state: Pick<State, "get">, name: string): StoredStream | undefined {
  const stored = state.get(streamKey(name));
  return stored === undefined ? undefined : StoredStream.decode(stored);
}

export function readEntry(state: Pick<State, "get">, name: string, position: number): StoredEntry | undefined {
  const stored = state.get(entryKey(name, position));
  return stored === undefined ? undefined : StoredEntry.decode(stored);
}

export function readGroup(state: Pick<State, "get">, name: string, group: string): StoredGroup | undefined {
  const stored = state.get(groupKey(name, group));
  return stored === undefined ? undefined : StoredGroup.decode(stored);
}
