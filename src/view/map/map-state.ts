/**
 * Where maps are in the tree. `space` is one of the letters below, `key` as `map-key.ts` has it.
 *
 *   24 space name 0 'h'                → StoredMap: from the first entry or index until the map is dropped
 *   24 space name 0 'e' key            → StoredEntry
 *   24 space name 0 'i' index:4 value key → nothing: the entry has this value in that index
 *   24 0xff                            → StoredDrop: the last time that a map was dropped
 *
 * Invariants:
 *  1. Every entry and every index has a StoredMap above it.
 *  2. A ready index has exactly the rows of the entries' values. One that is being built has those of the entries up to
 *     its cursor, and of what was written since its building began.
 *  3. What is deleted leaves its revision in the StoredMap (entries) or its index (rows): who has read an absence can tell
 *     whether it is still so.
 */
import { bytes, embed, enumeration, message, repeated, uint32, uint64, utf8Decode } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameKey } from "../value.ts";
import type { KeyRange, ReadingContext, State } from "../view.ts";
import { IndexDefinition } from "./map-operation.ts";
import type { MapReference } from "./map-operation.ts";

export const mapViewId = 24;
const spaces = { map: 0x6d, set: 0x73, register: 0x72, cron: 0x63 } as const;
const headerLetter = 0x68;
const entryLetter = 0x65;
const rowLetter = 0x69;
export const dropKey = new Uint8Array([mapViewId, 0xff]);
export const StoredDrop = message("holdfast.map.StoredDrop", { revision: uint64(1) });

const StoredIndex = message("holdfast.map.StoredIndex", {
  /** Never used for another index of the map. */
  id: uint32(1),
  definition: embed(2, IndexDefinition),
  state: enumeration(3, { ready: 0, building: 1, dropping: 2 }),
  /** The last key of which it has the rows, while it is being built. */
  cursor: bytes(4),
  /** The last that removed a row. */
  removeRevision: uint64(5),
});
export type StoredIndex = Infer<typeof StoredIndex>;

const StoredMap = message("holdfast.map.StoredMap", {
  /** The last that deleted an entry. */
  deleteRevision: uint64(1),
  /** The last that changed which indexes there are. */
  indexRevision: uint64(2),
  nextIndex: uint32(3),
  indexes: repeated(embed(4, StoredIndex)),
});

export const StoredEntry = message("holdfast.map.StoredEntry", { revision: uint64(1), value: bytes(2) });
export type StoredEntry = Infer<typeof StoredEntry>;

/** A StoredMap that may be changed. */
export interface MapHeader {
  deleteRevision: number;
  indexRevision: number;
  nextIndex: number;
  indexes: StoredIndex[];
}

function objectKey({ space, name }: MapReference, letter: number, tail: Uint8Array): Uint8Array {
  const whole = nameKey(mapViewId, spaces[space], name, 1 + tail.length);
  whole[whole.length - tail.length - 1] = letter;
  whole.set(tail, whole.length - tail.length);
  return whole;
}

const nothing = new Uint8Array(0);

export function headerKey(map: MapReference): Uint8Array {
  return objectKey(map, headerLetter, nothing);
}

export function entryKey(map: MapReference, key: Uint8Array): Uint8Array {
  return objectKey(map, entryLetter, key);
}

export function entryRange(
  map: MapReference,
  { start, end }: { readonly start?: Uint8Array | undefined; readonly end?: Uint8Array | undefined },
): Required<KeyRange> {
  return {
    start: entryKey(map, start ?? nothing),
    end: end === undefined ? objectKey(map, entryLetter + 1, nothing) : entryKey(map, end),
  };
}

/** How many bytes of an entry's key in the tree are not the map's key. */
export function entryKeyStart(map: MapReference): number {
  return headerKey(map).length;
}

/** `row`: an index's value, and behind it a key or nothing. */
export function rowKey(map: MapReference, index: number, row: Uint8Array): Uint8Array {
  const whole = objectKey(map, rowLetter, new Uint8Array(4 + row.length));
  const at = whole.length - row.length;
  new DataView(whole.buffer).setUint32(at - 4, index);
  whole.set(row, at);
  return whole;
}

export function rowRange(
  map: MapReference,
  index: number,
  { start, end }: { readonly start?: Uint8Array | undefined; readonly end?: Uint8Array | undefined },
): Required<KeyRange> {
  return {
    start: rowKey(map, index, start ?? nothing),
    end: end === undefined ? rowKey(map, index + 1, nothing) : rowKey(map, index, end),
  };
}

export function rowKeyStart(map: MapReference): number {
  return headerKey(map).length + 4;
}

/** What is of the space's maps whose names begin with the prefix, or come after the reference's, if it has one. */
export function namesRange(map: MapReference, prefix: string): Required<KeyRange> {
  const space = spaces[map.space];
  // All keys of a map have their letter behind the 0, and it is below 0xff.
  const start = map.name === "" ? nameKey(mapViewId, space, prefix).subarray(0, -1) : objectKey(map, 0xff, nothing);
  return { start, end: new Uint8Array([mapViewId, space + 1]) };
}

export function nameOf(key: Uint8Array): string {
  return utf8Decode(key.subarray(2, key.indexOf(0, 2)));
}

export function readHeader(state: Pick<State, "get">, map: MapReference): MapHeader | undefined {
  const stored = state.get(headerKey(map));
  if (stored === undefined) return undefined;
  const { indexes, ...rest } = StoredMap.decode(stored);
  return { ...rest, indexes: [...indexes] };
}

export function writeHeader(state: State, map: MapReference, header: MapHeader): void {
  state.put(headerKey(map), StoredMap.encode(header));
}

/** The last that deleted anything of the map, be it with the whole map. */
export function deleteRevisionOf({ state }: Pick<ReadingContext, "state">, map: MapReference): number {
  const header = readHeader(state, map);
  if (header !== undefined) return header.deleteRevision;
  const drop = state.get(dropKey);
  return drop === undefined ? 0 : StoredDrop.decode(drop).revision;
}
