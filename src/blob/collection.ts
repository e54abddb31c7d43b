/**
 * What a store offers to whoever collects its garbage: marking, and sweeping what is not marked. Nobody's clock is asked.
 *
 * Time is counted in epochs, from 1, which is that of all blobs found when the store was opened. Every put, also of a
 * blob that is here already, and every touch gives the blob the epoch of that moment.
 *
 * 1. `sweep` deletes only blobs that are unmarked and have an epoch below `before`, both looked at in the same turn as
 *    the deletion: whoever was told that a blob is here has raised its epoch.
 *    A put that is under way is not swept either.
 * 2. A blob put after `mark` began in a place that was freed meanwhile is not marked by what stood there before.
 * 3. A damaged blob that was marked (`absent`) is not swept: that it is needed and damaged must not be forgotten. When it
 *    has been put anew, its next mark is `new`.
 */
import type { BlobStore, Hash } from "./store.ts";

export interface CollectableStore extends BlobStore {
  /** The epoch of puts and touches made now. */
  readonly epoch: number;
  /** Begins the next epoch and gives its number. Synchronous. */
  beginEpoch(): number;
  /** Begins to mark; one marking at a time (a bug of the caller otherwise). */
  startMarking(): Marking;
}

export interface Marking {
  /** Marks one blob. `new`: it was not marked; `known`: it was; `absent`: it is not here, or known to be damaged. */
  mark(hash: Hash): "new" | "known" | "absent";
  /**
   * Deletes, or with `dryRun` only counts, in slices of a few milliseconds, what is not marked and of an epoch below
   * `before`. Gives what went since the last report. Ends with `cancelled` or `timeout` when `signal` aborts.
   */
  sweep(options: {
    readonly before: number;
    readonly dryRun?: boolean | undefined;
    readonly signal?: AbortSignal | undefined;
  }): AsyncIterable<Swept>;
  /** Forgets the marks. Idempotent. */
  end(): void;
}

export interface Swept {
  readonly count: number;
  /** Bytes of their records on the disk. */
  readonly size: number;
}
