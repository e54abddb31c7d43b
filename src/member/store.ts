/**
 * A store as a user sees it. `LocalStore` has its log, blobs and state in this process; `RemoteStore` talks to a member
 * that does. Code that uses one runs with the other unchanged.
 */
import type { HoldfastError } from "../base/index.ts";
import type {
  Keys,
  Leases,
  PastKeys,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
} from "../view/index.ts";
import type { Members } from "./cluster/members.ts";
import type { LogRecords, StoreStatus, VerifyProgress } from "./service.ts";

/** A store at one revision, to be read. */
export interface PastStore {
  readonly keys: PastKeys;
}

export interface Store {
  readonly keys: Keys;
  readonly leases: Leases;
  /** Who keeps the store: the members of the cluster, or one process. */
  readonly members: Members;
  /** The store as it was at a revision, which must not have been compacted when it is read (`trimmed`). */
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

  /** Resolves, with the reason, when the store has stopped by itself: its disk failed, or there is a bug. */
  readonly failed: Promise<HoldfastError>;
  /** Finishes the calls under way and releases everything. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
