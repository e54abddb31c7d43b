/** The operations and questions of the stream view, as messages. */
import { bool, bytes, embed, message, oneOf, optional, repeated, string, uint32, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { Retention, StoredEntry, StoredGroup, StoredStream } from "./stream-state.ts";

/** Appends neighbours; `conflict` unless the tail is `expectedTail`, if that is given. */
const Append = message("holdfast.stream.Append", {
  name: string(1),
  values: repeated(bytes(2)),
  expectedTail: optional(uint64(3)),
});
/** Forgets entries below `before`, as many as one command may. */
const Trim = message("holdfast.stream.Trim", { name: string(1), before: uint64(2) });
const Configure = message("holdfast.stream.Configure", { name: string(1), retention: embed(2, Retention) });
/** Says how far a group is; `conflict` unless it was at `expected`, if that is given. */
const Commit = message("holdfast.stream.Commit", {
  name: string(1),
  group: string(2),
  position: uint64(3),
  expected: optional(uint64(4)),
});
const DeleteGroup = message("holdfast.stream.DeleteGroup", { name: string(1), group: string(2) });
/** Deletes a stream without entries, with its groups: `conflict` while it has some. */
const Delete = message("holdfast.stream.Delete", { name: string(1) });

export const StreamOperation = message("holdfast.stream.Operation", {
  operation: oneOf({
    append: embed(1, Append),
    trim: embed(2, Trim),
    configure: embed(3, Configure),
    commit: embed(4, Commit),
    deleteGroup: embed(5, DeleteGroup),
    delete: embed(6, Delete),
  }),
});
export type StreamOperation = Infer<typeof StreamOperation>;

export const StreamResult = message("holdfast.stream.Result", {
  /** Of an append: the first entry's. */
  position: uint64(1),
  start: uint64(2),
  tail: uint64(3),
});
export type StreamResult = Infer<typeof StreamResult>;

const Info = message("holdfast.stream.Info", { name: string(1), group: string(2) });
/** Ascending from `from`, or with `reverse` descending from below it. */
const Entries = message("holdfast.stream.Entries", {
  name: string(1),
  from: uint64(2),
  limit: uint32(3),
  reverse: bool(4),
});
const Groups = message("holdfast.stream.Groups", { name: string(1), after: string(2) });
const Streams = message("holdfast.stream.Streams", { prefix: string(1), after: string(2) });
export const StreamQuery = message("holdfast.stream.Query", {
  query: oneOf({
    info: embed(1, Info),
    entries: embed(2, Entries),
    groups: embed(3, Groups),
    streams: embed(4, Streams),
  }),
});
export type StreamQuery = Infer<typeof StreamQuery>;

export const NumberedEntry = message("holdfast.stream.NumberedEntry", {
  position: uint64(1),
  entry: embed(2, StoredEntry),
});
export type NumberedEntry = Infer<typeof NumberedEntry>;
const NamedGroup = message("holdfast.stream.NamedGroup", { name: string(1), group: embed(2, StoredGroup) });
const NamedStream = message("holdfast.stream.NamedStream", { name: string(1), stream: embed(2, StoredStream) });
export const StreamAnswer = message("holdfast.stream.Answer", {
  stream: embed(1, StoredStream),
  /** The group that was asked for. */
  group: embed(2, StoredGroup),
  entries: repeated(embed(3, NumberedEntry)),
  groups: repeated(embed(4, NamedGroup)),
  streams: repeated(embed(5, NamedStream)),
  more: bool(6),
});
export type StreamAnswer = Infer<typeof StreamAnswer>;
