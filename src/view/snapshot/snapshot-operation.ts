/**
 * The operations of the snapshot view and their results, as messages. A snapshot is the root of the whole state at one
 * revision, kept until it is deleted.
 */
import { bool, bytes, embed, message, oneOf, repeated, string, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";

/** A snapshot as the state holds it, without its name. */
export const StoredSnapshot = message("holdfast.snapshot.Stored", {
  /** The revision that it pins: that of the command that made it. */
  revision: uint64(1),
  /** One past the record of that command in the log. */
  position: uint64(2),
  /** Store time, milliseconds since the Unix epoch. */
  timeMs: uint64(3),
  /** Whether the next two are known. Until then every member knows by itself what it keeps. */
  sealed: bool(4),
  /** 32 bytes; none for the empty state. */
  rootHash: bytes(5),
  /** Entries of the tree. */
  count: uint64(6),
});
export type StoredSnapshot = Infer<typeof StoredSnapshot>;

/** `exists` if there is one of this name. Takes a revision of its own, which is the one it pins. */
const CreateSnapshot = message("holdfast.snapshot.Create", { name: string(1) });
/** `notFound` if there is none, unless `lenient`; `conflict` if `revision` is given and it pins another. */
const DeleteSnapshot = message("holdfast.snapshot.Delete", { name: string(1), revision: uint64(2), lenient: bool(3) });
const SealSnapshot = message("holdfast.snapshot.Seal", {
  name: string(1),
  revision: uint64(2),
  rootHash: bytes(3),
  count: uint64(4),
});
/** Says what root a snapshot has, when it is durable where it was proposed. No news is no error. Proposed by the primary. */
const Empty = message("holdfast.snapshot.Empty", {});
const DeleteSnapshots = message("holdfast.snapshot.DeleteMany", { snapshots: repeated(embed(1, DeleteSnapshot)) });

export const SnapshotOperation = message("holdfast.snapshot.Operation", {
  operation: oneOf({
    create: embed(1, CreateSnapshot),
    delete: embed(2, DeleteSnapshots),
    seal: embed(3, SealSnapshot),
  }),
});
export type SnapshotOperation = Infer<typeof SnapshotOperation>;

export const SnapshotResult = message("holdfast.snapshot.Result", {
  result: oneOf({ create: embed(1, StoredSnapshot), delete: embed(2, Empty), seal: embed(3, Empty) }),
});
export type SnapshotResult = Infer<typeof SnapshotResult>;
