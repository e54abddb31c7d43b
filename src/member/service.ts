/**
 * What a member answers about its store as a whole, beside the services of the views: status, the log, checkpoints.
 * Both halves of the remote store are made from this one contract.
 */
import { bool, bytes, embed, HoldfastError, message, position, repeated, string, uint64 } from "../base/index.ts";
import type { Infer, Position } from "../base/index.ts";
import { contract, serverStream, unary } from "../rpc/index.ts";

const Empty = message("holdfast.member.Empty", {});

/** A store at one moment. Counts and sizes are of this member. */
export const StoreStatus = message("holdfast.member.StoreStatus", {
  /** The member's name, as `--name` gave it. */
  name: string(1),
  version: string(2),
  /** Commands applied that changed something. */
  revision: uint64(3),
  /** The oldest revision that can still be read. */
  compactRevision: uint64(4),
  /** One past the last record of the log, and the first that is kept. */
  logTail: uint64(5),
  logStart: uint64(6),
  /** Of the engine that the log is in: `file`, `raft`, `nats`, …; empty in memory. */
  logKind: string(34),
  /** One past the last applied record. */
  applied: uint64(7),
  /** Store time, milliseconds since the Unix epoch; 0 before the first command. */
  timeMs: uint64(8),
  keyCount: uint64(9),
  leaseCount: uint64(10),
  sessionCount: uint64(11),
  watcherCount: uint64(12),
  /** Where the last durable checkpoint stands in the log, and its revision. */
  checkpointPosition: uint64(13),
  checkpointRevision: uint64(14),
  /** The root hash of that checkpoint; empty for the empty state. */
  rootHash: bytes(15),
  /** Bytes: on disk in blobs, of those garbage, and tree pages in memory, of those not yet in a checkpoint. */
  blobSize: uint64(16),
  blobGarbageSize: uint64(17),
  cacheSize: uint64(18),
  dirtySize: uint64(19),
  blobCount: uint64(20),
  uptimeMs: uint64(21),
  /** What the log's engine promises: `none`, `disk`, `quorum`. */
  durability: string(22),
  /** Bytes written to blobs, and of the log: its files, and what was written to them; written since the start. */
  blobWrittenSize: uint64(23),
  logSize: uint64(24),
  logWrittenSize: uint64(25),
  /** The cluster's id in hexadecimal; empty, as are the next three, for a store that is no cluster. */
  cluster: string(26),
  /** What this member is at the moment: `leader`, `follower`, `candidate` or `learner`. */
  role: string(27),
  term: uint64(28),
  /** The leader's name, as this member knows; empty for none. */
  leader: string(29),
  /** Members, those that learn or are expected included; 1 for a store that is no cluster. */
  memberCount: uint64(30),
  /** The chunks of files that this member has: how many, bytes on disk, of those garbage. */
  chunkCount: uint64(31),
  chunkSize: uint64(32),
  chunkGarbageSize: uint64(33),
});
export type StoreStatus = Infer<typeof StoreStatus>;

const LogReadRequest = message("holdfast.member.LogReadRequest", {
  /** First position wanted. */
  from: uint64(1),
  /** Go on with new records as they come, instead of ending at the tail. */
  follow: bool(2),
});

/** A position to read from, as a caller gives it. */
export function checkedFrom(from: number): Position {
  if (Number.isSafeInteger(from) && from >= 0) return position(from);
  throw new HoldfastError("invalid", `from is ${String(from)}; a position is a whole number from 0`);
}

/** Neighbouring records from `position` up. */
export const LogRecords = message("holdfast.member.LogRecords", {
  position: uint64(1),
  records: repeated(bytes(2)),
});
export type LogRecords = Infer<typeof LogRecords>;

/** How far a verification is; the last message has `done`. */
export const VerifyProgress = message("holdfast.member.VerifyProgress", {
  /** Bytes and things (records, blobs, pages) checked so far. */
  size: uint64(1),
  count: uint64(2),
  /** Damage found since the last message: file, offset and what is wrong, one text each. */
  damages: repeated(string(3)),
  done: bool(4),
});
export type VerifyProgress = Infer<typeof VerifyProgress>;

const CollectRequest = message("holdfast.member.CollectRequest", {
  /** Only say what would go. */
  dryRun: bool(1),
});
const CollectedStore = message("holdfast.member.CollectedStore", {
  /** Blobs found to be needed. */
  markedCount: uint64(1),
  /** What went, or would go; bytes on the disk. */
  sweptCount: uint64(2),
  sweptSize: uint64(3),
});
const MissingChunk = message("holdfast.member.MissingChunk", {
  hash: bytes(1),
  /** What needs it, in words. */
  where: string(2),
});

/** How far a collection is. */
export const Collecting = message("holdfast.member.Collecting", {
  /** What is being done, in words. */
  phase: string(1),
  done: bool(2),
  pages: embed(3, CollectedStore),
  chunks: embed(4, CollectedStore),
  /** What is needed and not here: the first of them, and how many there are. */
  missing: repeated(embed(5, MissingChunk)),
  missingCount: uint64(6),
  /** Uploads that keep chunks which nothing names yet. */
  uploadCount: uint64(7),
  /** Why chunks were not swept; empty if they were. */
  kept: string(8),
});
export type Collecting = Infer<typeof Collecting>;

const ScrubRequest = message("holdfast.member.ScrubRequest", {
  /** Bytes a second at most; 0: as fast as it goes. */
  rate: uint64(1),
});
const DamagedBlob = message("holdfast.member.DamagedBlob", {
  /** `pages` or `chunks`. */
  store: string(1),
  hash: bytes(2),
  /** Versions of files that need it, in words: the first of them. */
  files: repeated(string(3)),
  /** There are more. */
  moreFiles: bool(4),
  /** The states that need it, in words. */
  states: repeated(string(5)),
  /** It is here again. */
  repaired: bool(6),
});

/** How far a scrub is. */
export const Scrubbing = message("holdfast.member.Scrubbing", {
  /** What is being done, in words. */
  phase: string(1),
  done: bool(2),
  /** Blobs read and found right; bytes read. */
  count: uint64(3),
  size: uint64(4),
  /** What is wrong, by place: the first of it, and how much there is. */
  damages: repeated(string(5)),
  damageCount: uint64(6),
  damagedBlobs: repeated(embed(7, DamagedBlob)),
});
export type Scrubbing = Infer<typeof Scrubbing>;

const LogMoveRequest = message("holdfast.member.LogMoveRequest", {
  /** Where the log is to go on. */
  to: string(1),
});
const LogMoved = message("holdfast.member.LogMoved", {
  /** The first position there. */
  position: uint64(1),
  /** For how long appends were held back, in thousandths of a millisecond. */
  pauseUs: uint64(2),
});

export const StoreService = contract("holdfast.member.Store", {
  status: unary(1, Empty, StoreStatus),
  checkpoint: unary(2, Empty, StoreStatus),
  logRead: serverStream(3, LogReadRequest, LogRecords),
  logVerify: serverStream(4, Empty, VerifyProgress),
  blobVerify: serverStream(5, Empty, VerifyProgress),
  treeVerify: serverStream(6, Empty, VerifyProgress),
  collect: serverStream(7, CollectRequest, Collecting),
  scrub: serverStream(8, ScrubRequest, Scrubbing),
  logMove: unary(9, LogMoveRequest, LogMoved),
});
