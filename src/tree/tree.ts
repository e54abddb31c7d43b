/**
 * The contract of the tree: an immutable ordered map from byte strings to byte strings, kept as a Merkle search tree
 * whose pages are blobs named by their hash.
 *
 * A state is a `TreeRoot`. The running state is one `TreeEdit`: puts and deletes change it in memory, `freeze` keeps
 * what it is at a moment, `flush` writes what changed and names it by a root. Keys are ordered by their bytes, unsigned,
 * a prefix before what it begins.
 *
 * Invariants, tested by `model.test.ts` and `canonical.test.ts`:
 *  1. Canonical: two states with the same seed and the same entries have the same root hash, however they came about.
 *     So an edit is undone exactly by the inverse edits.
 *  2. A synchronous method either does all it says or throws `PageMissing` and has changed nothing.
 *  3. Right after an edit, before the next `await`, the inverse edit never throws `PageMissing`.
 *  4. Bytes that were given out never change: they are views of a page, which is written once. Whoever keeps a small
 *     value for long copies it, since the view keeps the whole page's bytes in memory.
 *  5. A page that the newest flushed root or a snapshot not yet released needs is never deleted by `collect`.
 *
 * The format of the pages stands in docs/format.md, "Tree pages".
 */
import type { Hash } from "../blob/index.ts";

/** Names one immutable state. */
export interface TreeRoot {
  /** The root page's blob; null for the empty state. */
  readonly hash: Hash | null;
  /** 16 bytes, the same for every state of a store: they key the hash that decides where pages begin. */
  readonly seed: Uint8Array;
  /** Number of entries. */
  readonly count: number;
}

export interface TreeEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface TreeRange {
  /** First key, included; absent: from the first. */
  readonly start?: Uint8Array | undefined;
  /** End, excluded; absent: to the last. */
  readonly end?: Uint8Array | undefined;
}

export interface TreeRangeOptions extends TreeRange {
  /** Descending. */
  readonly reverse?: boolean | undefined;
  /** Leaves every `value` empty, and large values where they are. */
  readonly keysOnly?: boolean | undefined;
}

/**
 * A read-only state. Synchronous methods throw `PageMissing`; asynchronous ones load by themselves and
 * keep to the cache's limit, beside the few pages that they stand on.
 */
export interface TreeSnapshot {
  /** Number of entries. */
  readonly entryCount: number;
  /** Keys and values together, in bytes. Of a state taken by `at` it is known after the first read, not before. */
  readonly dataSize: number;
  /** The name of this state; undefined as long as a page of it has not been flushed. */
  root(): TreeRoot | undefined;
  getSync(key: Uint8Array): Uint8Array | undefined;
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** When `next` throws `PageMissing`, load and call `next` again: the iterator stands where it was. */
  entriesSync(range?: TreeRangeOptions): IterableIterator<TreeEntry>;
  /** The same in batches, never empty, at most 1,024 entries or about 1 MiB each; pages are loaded ahead. */
  entries(
    range?: TreeRangeOptions & { readonly signal?: AbortSignal | undefined },
  ): AsyncIterableIterator<readonly TreeEntry[]>;
  /** Number of entries in the range. Reads the two paths to its ends only. */
  countSync(range?: TreeRange): number;
  count(range?: TreeRange): Promise<number>;
  /** Lets `collect` delete what only this snapshot needs. Idempotent; every later call on the snapshot is `invalid`. */
  release(): void;
}

export interface TreeOptions {
  /** Bytes of memory for pages that can be read again. Default 256 MiB. Changed pages are not counted here. */
  readonly cacheSizeMax?: number;
}

export interface FlushOptions {
  /** How long it may work before it gives way to other work. Default 4 ms. */
  readonly sliceMs?: number;
  /**
   * A state frozen from this very tree and not released, to be written in the place of the present one. What it does not
   * share with the present state is never deleted by `collect`, but left to a collection by mark and sweep.
   */
  readonly state?: TreeSnapshot | undefined;
}

/** What a flush wrote. Give it to `collect` once the checkpoint that holds `root` is durable. */
export interface Flushed {
  readonly root: TreeRoot;
  /** Pages and large values written. */
  readonly blobCount: number;
  /** Their bytes. */
  readonly blobSize: number;
  /** The root has nothing that left the state in an earlier epoch. Each flush begins one; counted from 1. */
  readonly epoch: number;
}

/**
 * The one running state over a blob store. Keys have 1 to `limits.treeKeySizeMax` bytes (0 works too), values up to
 * `limits.treeValueSizeMax`; more is a bug of the caller. Keys and values are copied: the arrays stay the caller's.
 */
export interface TreeEdit {
  /** Number of entries. */
  readonly entryCount: number;
  /** Keys and values together, in bytes. */
  readonly dataSize: number;
  /** About how many bytes the next flush would write. */
  readonly dirtySize: number;
  /** Memory held by pages that can be read again. */
  readonly cacheSize: number;

  get(key: Uint8Array): Uint8Array | undefined;
  /** Whether the key is there; never needs a large value. */
  has(key: Uint8Array): boolean;
  /** Gives the previous value. */
  put(key: Uint8Array, value: Uint8Array): Uint8Array | undefined;
  /** Gives the previous value. */
  delete(key: Uint8Array): Uint8Array | undefined;
  /** `put` for a caller that does not want the previous value, which is then never read; says whether there was one. */
  set(key: Uint8Array, value: Uint8Array): boolean;
  /** `delete` for a caller that does not want the previous value; says whether there was one. */
  remove(key: Uint8Array): boolean;
  /** Ascending, or descending with `reverse`. Editing ends it: collect first, then edit. */
  entries(range?: TreeRangeOptions): IterableIterator<TreeEntry>;
  /** Number of entries in the range. Reads the two paths to its ends only. */
  count(range?: TreeRange): number;

  /**
   * Loads every page on the paths to these keys and their large values, each once, at the same time. Undefined when all
   * of it is here already. What it loaded stays until the next `trimCache`.
   */
  prefetch(keys: Iterable<Uint8Array>): Promise<void> | undefined;
  /** For a synchronous caller: throws one `PageMissing` for all that these keys lack at the next height, if anything. */
  require(keys: readonly Uint8Array[]): void;
  /**
   * Brings the cache under its limit. Call it between commands: what `prefetch` and `PageMissing.load` have brought
   * stays until this call, so that a command never waits in vain for a page that was here and went.
   */
  trimCache(): void;

  /** Keeps the state as it is now, in O(1): later edits copy what they touch. `release` it. */
  freeze(): TreeSnapshot;
  /** A state named by a root that was flushed before; its blobs must still be there. `release` it. */
  at(root: TreeRoot): TreeSnapshot;
  /**
   * Writes what changed since the last flush, in slices, while edits go on, and syncs the store. The root is the state
   * at the moment of the call, or the frozen one that is given. One flush at a time: calling it during another is a bug.
   * If one fails, nothing is lost and the next writes it all.
   */
  flush(options?: FlushOptions): Promise<Flushed>;
  /**
   * Deletes blobs that `flushed.root` and all later states do without, as far as no snapshot needs them, and says how
   * many. The caller knows by then that no crash leads back to an older root. What a failed call has not deleted, and
   * what was obsolete when the process ended, is left to a collection by mark and sweep (`reachable`).
   */
  collect(flushed: Flushed): Promise<number>;
  /**
   * Leaves to a collection by mark and sweep what `collect` would delete, and what snapshots keep it from deleting; says
   * how many blobs those are. For when somebody else may need them, of whom the tree does not know.
   */
  forget(flushed: Pick<Flushed, "epoch">): number;
}
