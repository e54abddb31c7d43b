/**
 * A store as a user sees it. `LocalStore` has its log, blobs and state in this process; `RemoteStore` talks to a member
 * that does. Code that uses one runs with the other unchanged.
 */
import type { HoldfastError } from "../base/index.ts";
import type { Buckets, BucketSecret, Files, PastFiles } from "../file/index.ts";
import type {
  CollectionOptions,
  Keys,
  Leases,
  PastKeys,
  ScrubOptions,
  Snapshot,
  StoreObjects,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
} from "../view/index.ts";
import type { Members } from "./cluster/members.ts";
import type { Collecting, LogRecords, Scrubbing, StoreStatus, VerifyProgress } from "./service.ts";
import type { StoreSnapshots } from "./store-snapshots.ts";

/** The objects of a store by their names: counters, … */
type Objects = Pick<StoreObjects, keyof StoreObjects>;

/** A store at one revision, to be read: what would change something is `invalid`. */
export interface PastStore extends Objects {
  readonly keys: PastKeys;
  /** The files of a bucket. `secret` opens one that is encrypted. */
  files(bucket: string, secret?: BucketSecret): PastFiles;
}

export interface Store extends Objects {
  readonly keys: Keys;
  readonly leases: Leases;
  /** How files are kept, bucket by bucket. */
  readonly buckets: Buckets;
  /** States of everything that are kept under a name. */
  readonly snapshots: StoreSnapshots;
  /** Who keeps the store: the members of the cluster, or one process. */
  readonly members: Members;
  /** The files of a bucket, which is made when its first file is put. `secret` opens one that is encrypted. */
  files(bucket: string, secret?: BucketSecret): Files;
  /** Keeps everything as it is now: `snapshots.create`. */
  snapshot(name: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<Snapshot>;
  /** The store as it was at a revision: one that a snapshot keeps, or that has not been compacted when it is read (`trimmed`). */
  at(revision: number): PastStore;
  /**
   * Runs `body` on one state and commits what it wrote, all or nothing, if what it read is still so; else runs it again.
   * `body` may run many times: let it have no other effects. What is committed is serializable.
   */
  transaction<T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<T>>;

  status(): Promise<StoreStatus>;
  /** Takes a checkpoint unless nothing was applied since the last; resolves when it is durable. */
  checkpoint(): Promise<StoreStatus>;
  /**
   * Moves the log while it is written, to `file:` or `nats://host:port/STREAM?replicas=3`. Gives the first position there,
   * and for how long appends were held back. When it fails, the log goes on where it was.
   */
  moveLog(to: string): Promise<{ readonly position: number; readonly pauseMs: number }>;
  /** The records of the log from a position on, up to the tail, or following it. */
  readLog(options: {
    readonly from: number;
    readonly follow?: boolean;
    readonly signal?: AbortSignal;
  }): AsyncIterable<LogRecords>;
  /** Reads everything again and reports how far it is and what is damaged. */
  verifyLog(options?: { readonly signal?: AbortSignal }): AsyncIterable<VerifyProgress>;
  verifyBlobs(options?: { readonly signal?: AbortSignal }): AsyncIterable<VerifyProgress>;
  verifyTree(options?: { readonly signal?: AbortSignal }): AsyncIterable<VerifyProgress>;

  /**
   * Deletes now what nothing needs any more, tree pages and chunks, on the member that is asked; it also happens by itself.
   * Gives how it goes; the last one is `done`.
   */
  collect(options?: CollectionOptions): AsyncIterable<Collecting>;
  /**
   * Reads now every page and chunk of the member that is asked; it also happens by itself, slowly. What is damaged is named,
   * with the files and snapshots that need it, and repaired from another member if there is one. The last one is `done`.
   */
  scrub(options?: ScrubOptions): AsyncIterable<Scrubbing>;

  /** Resolves, with the reason, when the store has stopped by itself: its disk failed, or there is a bug. */
  readonly failed: Promise<HoldfastError>;
  /** Finishes the calls under way and releases everything. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
