/** What is asked and told of maps, as messages. */
import {
  bool,
  bytes,
  embed,
  enumeration,
  message,
  oneOf,
  optional,
  repeated,
  string,
  uint32,
  uint64,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";

/** Maps, sets and registers of the same name are different things; so is what a cron keeps. */
export const MapReference = message("holdfast.map.Reference", {
  space: enumeration(1, { map: 0, set: 1, register: 2, cron: 3 }),
  name: string(2),
});
export type MapReference = Infer<typeof MapReference>;

/** Keys as `map-key.ts` has them. Absent: from the first, to the last. */
export const MapRange = message("holdfast.map.Range", { start: optional(bytes(1)), end: optional(bytes(2)) });
export type MapRange = Infer<typeof MapRange>;

export const IndexDefinition = message("holdfast.map.IndexDefinition", {
  name: string(1),
  /** Names of members, separated by points; empty: the value itself. */
  path: string(2),
  /** No two entries have the same value in it. */
  unique: bool(3),
  /** Where the value is an array, each of its elements counts. */
  multi: bool(4),
});
export type IndexDefinition = Infer<typeof IndexDefinition>;

/** `value` as `value.ts` has it. */
const SetEntry = message("holdfast.map.Set", {
  key: bytes(1),
  value: bytes(2),
  /** `conflict` unless the entry was last changed at this revision; 0: does not exist. */
  ifRevision: optional(uint64(3)),
  /** `conflict` unless the entry has this value; empty: does not exist. */
  ifValue: optional(bytes(4)),
});
const DeleteEntry = message("holdfast.map.Delete", { key: bytes(1), ifRevision: optional(uint64(2)) });
/** Deletes the first entries of the range, and says whether there are more. */
const Clear = message("holdfast.map.Clear", { range: embed(1, MapRange) });
/** Forgets the map and its indexes; `conflict` unless it is empty. */
const Drop = message("holdfast.map.Drop", {});
/** Does the next step on the way to this index, and says whether there are more. */
const DefineIndex = message("holdfast.map.DefineIndex", { definition: embed(1, IndexDefinition) });
const DropIndex = message("holdfast.map.DropIndex", { name: string(1) });

export const MapOperation = message("holdfast.map.Operation", {
  map: embed(1, MapReference),
  operation: oneOf({
    set: embed(2, SetEntry),
    delete: embed(3, DeleteEntry),
    clear: embed(4, Clear),
    drop: embed(5, Drop),
    defineIndex: embed(6, DefineIndex),
    dropIndex: embed(7, DropIndex),
  }),
});
export type MapOperation = Infer<typeof MapOperation>;

export const MapResult = message("holdfast.map.Result", {
  /** The entry, the map or the index was there before. */
  existed: bool(1),
  /** Entries deleted. */
  count: uint64(2),
  more: bool(3),
  /** Why an index that was to be unique cannot be made; it is being dropped. */
  problem: string(4),
});
export type MapResult = Infer<typeof MapResult>;

const Get = message("holdfast.map.Get", { key: bytes(1) });
const List = message("holdfast.map.List", {
  range: embed(1, MapRange),
  /** 0: as many as an answer holds. */
  limit: uint32(2),
  reverse: bool(3),
  keysOnly: bool(4),
});
const Count = message("holdfast.map.Count", { range: embed(1, MapRange) });
/** How many come before the key, and whether it is there. */
const Rank = message("holdfast.map.Rank", { key: bytes(1) });
/** Entries in the order of an index; the range is of its values, each with or without a key behind it. */
const IndexList = message("holdfast.map.IndexList", {
  index: string(1),
  range: embed(2, MapRange),
  limit: uint32(3),
  reverse: bool(4),
});
const IndexCount = message("holdfast.map.IndexCount", { index: string(1), range: embed(2, MapRange) });
const Describe = message("holdfast.map.Describe", {});
/** The maps of the reference's space whose names begin with `prefix` and come after the reference's name. */
const Maps = message("holdfast.map.Maps", { prefix: string(1) });

export const MapQuery = message("holdfast.map.Query", {
  map: embed(1, MapReference),
  query: oneOf({
    get: embed(2, Get),
    list: embed(3, List),
    count: embed(4, Count),
    rank: embed(5, Rank),
    indexList: embed(6, IndexList),
    indexCount: embed(7, IndexCount),
    describe: embed(8, Describe),
    maps: embed(9, Maps),
  }),
});
export type MapQuery = Infer<typeof MapQuery>;

export const MapEntry = message("holdfast.map.Entry", {
  key: bytes(1),
  value: bytes(2),
  revision: uint64(3),
  /** In an answer of an index: the index's value and the key. */
  row: bytes(4),
});
export type MapEntry = Infer<typeof MapEntry>;

const DescribedIndex = message("holdfast.map.DescribedIndex", {
  definition: embed(1, IndexDefinition),
  state: string(2),
});

export const MapAnswer = message("holdfast.map.Answer", {
  entries: repeated(embed(1, MapEntry)),
  more: bool(2),
  count: uint64(3),
  /** The key of a rank is there. */
  found: bool(4),
  indexes: repeated(embed(5, DescribedIndex)),
  names: repeated(string(6)),
});
export type MapAnswer = Infer<typeof MapAnswer>;
