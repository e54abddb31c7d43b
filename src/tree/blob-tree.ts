/**
 * The tree over a blob store: puts the editor, the cache, the flush and the collection of obsolete blobs together.
 */
import { assert, HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import { Boundary, seedSize } from "./boundary.ts";
import { PageCache, PageMissing } from "./cache.ts";
import { Editor } from "./editor.ts";
import { storeDirty } from "./flush.ts";
import { hashBytes, hashText } from "./format.ts";
import { ObsoleteBlobs } from "./obsolete.ts";
import { Page } from "./page.ts";
import type { Block } from "./page.ts";
import { countRange, EntryIterator, getValue, hasKey } from "./read.ts";
import { BlobSnapshot } from "./snapshot.ts";
import type {
  Flushed,
  FlushOptions,
  TreeEdit,
  TreeEntry,
  TreeOptions,
  TreeRange,
  TreeRangeOptions,
  TreeRoot,
  TreeSnapshot,
} from "./tree.ts";

const cacheSizeMaxDefault = 268_435_456;
const sliceMsDefault = 4;
/** How many blobs one call deletes. */
const deleteCountMax = 4_096;

/** What a tree needs of the world. */
export type TreeEnv = Pick<Env, "clock" | "digest">;

/** The root of the empty state. All states of a store have the seed in common: 16 random bytes, drawn once. */
export function emptyTree(seed: Uint8Array): TreeRoot {
  return { hash: null, seed, count: 0 };
}

/**
 * Opens the state named by `root` for reading and editing; `emptyTree(seed)` for a new one. Reads the root page:
 * `notFound` if it is absent, `corrupt` if it is damaged. There must be one `TreeEdit` for one seed in a blob store,
 * since it deletes what it has made obsolete.
 */
export async function openTree(
  env: TreeEnv,
  blobs: BlobStore,
  root: TreeRoot,
  options: TreeOptions = {},
): Promise<TreeEdit> {
  if (root.seed.length !== seedSize) {
    throw new HoldfastError("invalid", `a tree's seed has ${root.seed.length} bytes; it must have ${seedSize}`);
  }
  const cache = new PageCache(blobs, root.seed.slice(), options.cacheSizeMax ?? cacheSizeMaxDefault);
  const page = rootPage(root);
  await cache.load(page, false);
  return new BlobTree(env, cache, page);
}

/** The page that `root` names, not loaded; its count is checked when it is. */
function rootPage(root: TreeRoot): Page {
  if (root.hash !== null) return Page.stored(hashText(root.hash), -1, root.count, -1, -1);
  const page = Page.empty(0, 0);
  if (root.count !== 0) throw new HoldfastError("invalid", `a tree's root has no page but ${root.count} entries`);
  return page;
}

/** Bytes of large values that are loaded for many keys at once; those beyond come one after another, when needed. */
const prefetchedLargeSizeMax = 16_777_216;

class BlobTree implements TreeEdit {
  readonly #env: TreeEnv;
  readonly #cache: PageCache;
  readonly #obsolete = new ObsoleteBlobs();
  readonly #editor: Editor;
  #flushing = false;
  /** The deletion of obsolete blobs under way. */
  #deletion: Promise<unknown> | undefined;

  constructor(env: TreeEnv, cache: PageCache, root: Page) {
    this.#env = env;
    this.#cache = cache;
    this.#editor = new Editor(cache, new Boundary(cache.seed), this.#obsolete, root);
  }

  get entryCount(): number {
    return this.#editor.root.entryCount;
  }

  get dataSize(): number {
    return this.#editor.root.dataSize;
  }

  get dirtySize(): number {
    return this.#editor.dirtySize;
  }

  get cacheSize(): number {
    return this.#cache.size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return getValue(this.#cache, this.#editor.root, key);
  }

  has(key: Uint8Array): boolean {
    return hasKey(this.#cache, this.#editor.root, key);
  }

  put(key: Uint8Array, value: Uint8Array): Uint8Array | undefined {
    return this.#editor.put(key, value, true);
  }

  delete(key: Uint8Array): Uint8Array | undefined {
    return this.#editor.delete(key, true);
  }

  set(key: Uint8Array, value: Uint8Array): boolean {
    return this.#editor.put(key, value, false) !== undefined;
  }

  remove(key: Uint8Array): boolean {
    return this.#editor.delete(key, false) !== undefined;
  }

  entries(range: TreeRangeOptions = {}): IterableIterator<TreeEntry> {
    return new EntryIterator(this.#cache, this.#editor.root, range, () => this.#editor.version);
  }

  count(range: TreeRange = {}): number {
    return countRange(this.#cache, this.#editor.root, range);
  }

  prefetch(keys: Iterable<Uint8Array>): Promise<void> | undefined {
    const list = Array.isArray(keys) ? (keys as readonly Uint8Array[]) : Array.from(keys);
    const missing = this.#missing(list);
    return missing.size === 0 ? undefined : this.#fetch(list, missing);
  }

  require(keys: readonly Uint8Array[]): void {
    const [first, ...others] = this.#missing(keys);
    if (first !== undefined) throw new PageMissing(this.#cache, first, others);
  }

  async #fetch(keys: readonly Uint8Array[], missing: Set<Block>): Promise<void> {
    // A page that comes shows which page below it is wanted: one round a height. The edit may go on meanwhile.
    for (let wanted = missing; wanted.size > 0; wanted = this.#missing(keys)) {
      await Promise.all(Array.from(wanted, (block) => this.#cache.load(block, true)));
    }
  }

  /** The first block on each key's path that is not here. What is here is kept for the caller. */
  #missing(keys: readonly Uint8Array[]): Set<Block> {
    const missing = new Set<Block>();
    let largeSize = 0;
    for (const key of keys) {
      let page = this.#editor.root;
      for (;;) {
        if (!page.resident) {
          missing.add(page);
          break;
        }
        this.#cache.pin(page);
        if (page.level === 0) {
          const large = page.larges === undefined ? undefined : page.larges[page.search(key)];
          if (large === undefined) break;
          largeSize += large.size;
          if (large.resident) this.#cache.pin(large);
          else if (largeSize <= prefetchedLargeSizeMax) missing.add(large);
          break;
        }
        page = page.children[page.childIndex(key)] as Page;
      }
    }
    return missing;
  }

  trimCache(): void {
    this.#cache.trim();
  }

  freeze(): TreeSnapshot {
    this.#editor.generation++;
    return this.#snapshot(this.#editor.root, this.#obsolete.epoch);
  }

  at(root: TreeRoot): TreeSnapshot {
    if (root.seed.length !== seedSize || root.seed.some((byte, i) => byte !== this.#cache.seed[i])) {
      throw new HoldfastError("invalid", "the root belongs to a tree with another seed; open it by `openTree`");
    }
    // What an older root needs may have left the state in any epoch.
    return this.#snapshot(rootPage(root), 0);
  }

  #snapshot(root: Page, epoch: number): TreeSnapshot {
    this.#obsolete.hold(epoch);
    return new BlobSnapshot(this.#cache, root, epoch, () => this.#obsolete.release(epoch));
  }

  async flush(options: FlushOptions = {}): Promise<Flushed> {
    assert(!this.#flushing, "a flush is under way; wait for it before the next");
    this.#flushing = true;
    try {
      return options.state === undefined ? await this.#store(options) : await this.#storeFrozen(options.state, options);
    } finally {
      this.#flushing = false;
    }
  }

  /** Up to its first `await` it runs inside the call, which fixes the state it writes. */
  async #store(options: FlushOptions): Promise<Flushed> {
    const editor = this.#editor;
    const root = editor.root;
    const sizeBefore = editor.dirtySize;
    const generationBefore = editor.flushedGeneration;
    this.#obsolete.beginFlush();
    const epoch = this.#obsolete.epoch;
    editor.flushedGeneration = editor.generation++;
    editor.dirtySize = 0;
    try {
      return await this.#storeRoot(root, epoch, options);
    } catch (error) {
      // What was to be written is dirty still, whatever of it the store has taken.
      editor.flushedGeneration = generationBefore;
      editor.dirtySize += sizeBefore;
      throw error;
    }
  }

  /**
   * The running edit shares pages with the frozen state, which become clean under it: so this ends an epoch too. They are
   * counted in `dirtySize` until the next flush, which is too much and does no harm.
   */
  async #storeFrozen(state: TreeSnapshot, options: FlushOptions): Promise<Flushed> {
    assert(state instanceof BlobSnapshot && state.cache === this.#cache, "the state was frozen from another tree");
    this.#obsolete.beginFlush();
    return this.#storeRoot(state.page(), state.epoch, options);
  }

  async #storeRoot(root: Page, epoch: number, options: FlushOptions): Promise<Flushed> {
    const { blocks, size } = await this.#storeBlocks(root, options);
    for (const block of blocks) {
      block.generation = 0;
      this.#cache.admit(block);
    }
    this.#cache.trimOthers();
    const hash = root.hash === "" ? null : hashBytes(root.hash);
    return {
      root: { hash, seed: this.#cache.seed, count: root.entryCount },
      blobCount: blocks.length,
      blobSize: size,
      epoch,
    };
  }

  async #storeBlocks(root: Page, options: FlushOptions): Promise<{ readonly blocks: Block[]; readonly size: number }> {
    if (root.generation === 0) return { blocks: [], size: 0 };
    if (root.entryCount === 0) {
      // The empty state has no blob.
      root.generation = 0;
      return { blocks: [], size: 0 };
    }
    return storeDirty(
      {
        clock: this.#env.clock,
        digest: this.#env.digest,
        blobs: this.#cache.blobs,
        seed: this.#cache.seed,
        sliceMs: options.sliceMs ?? sliceMsDefault,
        written: (hash) => this.#obsolete.written(hash),
        deletion: () => this.#deletion,
      },
      root,
    );
  }

  async collect(flushed: Flushed): Promise<number> {
    // One deletion at a time, so that a flush has one to wait for.
    while (this.#deletion !== undefined) await this.#deletion.catch(() => {});
    const hashes = this.#obsolete.take(flushed.epoch);
    if (hashes.length === 0) return 0;
    const deletion = this.#delete(hashes.map(hashBytes));
    this.#deletion = deletion;
    try {
      await deletion;
    } finally {
      this.#deletion = undefined;
    }
    return hashes.length;
  }

  forget({ epoch }: Pick<Flushed, "epoch">): number {
    return this.#obsolete.forget(epoch);
  }

  async #delete(hashes: readonly Uint8Array[]): Promise<void> {
    for (let at = 0; at < hashes.length; at += deleteCountMax) {
      await this.#cache.blobs.delete(hashes.slice(at, at + deleteCountMax));
    }
  }
}
