/**
 * Where a collection by mark and sweep begins: what it has to mark, and what it may count on until `release`. A replica
 * gives one by `beginCollection`, between two checkpoints, in one turn of the event loop.
 *
 * Invariants:
 *  1. Whatever is needed and was in a store before that turn is under `roots`, `frozen`, `partial` or `state`; whatever is put later
 *     has the epoch begun in that turn, or a later one. A put of a blob that is there already counts as put.
 *  2. Pages under `roots` and `state` are deleted by nobody before `release`.
 *     Whoever has one does not wait for a checkpoint or an install, which may wait for its release.
 *  3. Once `signal` is aborted, somebody counts on blobs that are not under the roots: nothing is deleted any more, and
 *     who aborted it waits for `release`.
 */
import type { CollectableStore } from "../blob/index.ts";
import type { TreeRoot } from "../tree/index.ts";
import type { HeldState } from "./held.ts";
import type { StateSnapshot } from "./state.ts";

/** What `beginCollection` needs of a store: its next epoch begins. */
export type EpochStore = Pick<CollectableStore, "beginEpoch">;

/** A state all of whose pages are here. */
export interface CollectionRoot {
  readonly root: TreeRoot;
  /** To be read until `release`; for diffs. */
  readonly tree: HeldState["tree"];
  readonly position: number;
  /** For messages: `the checkpoint at position 17`, `the snapshot at revision 12`. */
  readonly what: string;
}

/** A state that is not written yet, frozen in memory: its files need chunks, its pages are under `roots` or in memory. */
export type FrozenRoot = Pick<CollectionRoot, "tree" | "position" | "what">;

export interface CollectionStart {
  /** Checkpoints and flushed states that are kept for readers, and snapshots: newest first, each root once. */
  readonly roots: readonly CollectionRoot[];
  /** Snapshots that could not be written yet, for want of space. */
  readonly frozen: readonly FrozenRoot[];
  /** The older of the two kept checkpoints: what was forgotten after it is still under `roots`. */
  readonly older: Pick<CollectionRoot, "root" | "tree"> & { readonly revision: number };
  /** States that are here in part: being fetched, or to be. */
  readonly partial: readonly TreeRoot[];
  /** The running state at that moment, frozen: its files need chunks. Its pages are under `roots` or in memory. */
  readonly state: StateSnapshot;
  /** The epoch begun in each of the stores that were given, in their order. */
  readonly epochs: readonly number[];
  /** Aborts when nothing may be deleted any more (invariant 3), also when the replica closes or fails. */
  readonly signal: AbortSignal;
  /** Whether `signal` is not aborted. Ask in the turn of each deletion. */
  mayDelete(): boolean;
  /** The sweep of the pages is complete: what the tree has left to it before it began is done with. */
  swept(): void;
  /** The collection is over, whatever has become of it. Idempotent. */
  release(): void;
}
