/**
 * A state that stays as it is: one root page, read while the running edit goes on.
 */
import { assert, HoldfastError, throwIfAborted } from "../base/index.ts";
import { PageMissing } from "./cache.ts";
import type { PageCache } from "./cache.ts";
import { hashBytes } from "./format.ts";
import type { Block, Page } from "./page.ts";
import { countRange, EntryIterator, getValue } from "./read.ts";
import type { TreeEntry, TreeRange, TreeRangeOptions, TreeRoot, TreeSnapshot } from "./tree.ts";

const batchCountMax = 1_024;
const batchSizeMax = 1_048_576;
/** Pages that a walk asks for at once. */
const aheadCount = 16;

export class BlobSnapshot implements TreeSnapshot {
  /** It needs nothing that left the running state in an earlier one. @internal */
  readonly epoch: number;
  readonly #cache: PageCache;
  readonly #root: Page;
  readonly #onRelease: () => void;
  #released = false;

  constructor(cache: PageCache, root: Page, epoch: number, onRelease: () => void) {
    this.epoch = epoch;
    this.#cache = cache;
    this.#root = root;
    this.#onRelease = onRelease;
  }

  get entryCount(): number {
    return this.#root.entryCount;
  }

  get dataSize(): number {
    assert(this.#root.dataSize >= 0, "the size of a state named by its root is known once its root page has been read");
    return this.#root.dataSize;
  }

  root(): TreeRoot | undefined {
    const { hash, entryCount, generation } = this.#root;
    if (entryCount === 0) return { hash: null, seed: this.#cache.seed, count: 0 };
    if (generation !== 0) return undefined;
    return { hash: hashBytes(hash), seed: this.#cache.seed, count: entryCount };
  }

  /** For the tree's other readers. @internal */
  page(): Page {
    if (this.#released) throw new HoldfastError("invalid", "the snapshot was released; take another one");
    return this.#root;
  }

  /** @internal */
  get cache(): PageCache {
    return this.#cache;
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    return getValue(this.#cache, this.page(), key);
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#untilPresent(() => this.getSync(key));
  }

  countSync(range: TreeRange = {}): number {
    return countRange(this.#cache, this.page(), range);
  }

  count(range: TreeRange = {}): Promise<number> {
    return this.#untilPresent(() => this.countSync(range));
  }

  entriesSync(range: TreeRangeOptions = {}): IterableIterator<TreeEntry> {
    return this.#iterate(range);
  }

  async *entries(
    range: TreeRangeOptions & { readonly signal?: AbortSignal | undefined } = {},
  ): AsyncIterableIterator<readonly TreeEntry[]> {
    const walk = this.#iterate(range);
    let ahead: readonly Block[] = [];
    let held: readonly Block[] = [];
    try {
      for (;;) {
        throwIfAborted(range.signal);
        this.page();
        const batch: TreeEntry[] = [];
        const missing = fill(batch, walk);
        if (batch.length === 0 && missing === undefined) return;
        // What was loaded ahead is held until the walk has passed it and stands before the next block that is missing.
        if (missing !== undefined) ahead = walk.ahead(missing, aheadCount);
        held = this.#exchange(held, [...walk.path(), ...ahead]);
        this.#cache.trimOthers();
        if (batch.length > 0) yield batch;
        if (missing !== undefined) await this.#cache.load(missing.block, false);
      }
    } finally {
      this.#cache.letGo(held);
      this.#cache.trimOthers();
    }
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#onRelease();
  }

  #iterate(range: TreeRangeOptions): EntryIterator {
    return new EntryIterator(this.#cache, this.page(), range, () => 0);
  }

  async #untilPresent<T>(read: () => T): Promise<T> {
    const held: Block[] = [];
    try {
      for (;;) {
        try {
          return read();
        } catch (error) {
          if (!(error instanceof PageMissing)) throw error;
          held.push(error.block);
          await this.#cache.hold(error.block);
        }
      }
    } finally {
      this.#cache.letGo(held);
      this.#cache.trimOthers();
    }
  }

  /** Holds the new blocks, which starts to load what is missing of them, and lets go of the old ones. */
  #exchange(before: readonly Block[], after: readonly Block[]): readonly Block[] {
    // A failure shows when the walk comes to the block.
    for (const block of after) this.#cache.hold(block).catch(() => {});
    this.#cache.letGo(before);
    return after;
  }
}

/** Moves entries from the walk to the batch until it is full or something is missing. */
function fill(batch: TreeEntry[], walk: EntryIterator): PageMissing | undefined {
  let size = 0;
  try {
    while (batch.length < batchCountMax && size < batchSizeMax) {
      const { value, done } = walk.next();
      if (done === true) return undefined;
      batch.push(value);
      size += value.key.length + value.value.length;
    }
    return undefined;
  } catch (error) {
    if (error instanceof PageMissing) return error;
    throw error;
  }
}
