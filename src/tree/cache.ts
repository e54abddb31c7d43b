/**
 * The pages that are here and could be read again: loading, and eviction under a limit.
 *
 * Eviction follows CLOCK (Corbató, "A paging experiment with the Multics system", 1968): blocks stand in a ring, a read
 * marks its block, the hand takes marks away and evicts what has none.
 *
 * Invariants:
 *  1. Only clean blocks are in the ring. A clean block never becomes dirty: an edit copies it.
 *  2. A block is read from the store at most once at a time, whoever wants it.
 *  3. A block loaded with `pin` stays until the next `trim` of the owner.
 *  4. A block that a reader holds stays until the reader lets go of it. So whatever the limit, and however many readers
 *     trim, each finds what it has waited for and goes on.
 */
import type { BlobStore } from "../blob/index.ts";
import { assert, HoldfastError } from "../base/index.ts";
import { hashBytes, hashName } from "./format.ts";
import type { Block } from "./page.ts";

/**
 * Thrown by synchronous reads and edits that need a page, or a large value, that is not in memory. They have changed
 * nothing: `await load()` and call again.
 */
export class PageMissing extends Error {
  override readonly name = "PageMissing";
  readonly #cache: PageCache;
  readonly #block: Block;
  readonly #alongside: readonly Block[];

  /** `alongside` is what will be missing next. */
  constructor(cache: PageCache, block: Block, alongside: readonly Block[] = []) {
    super(`tree page ${hashName(block.hash)} is not in memory; await load() and repeat`);
    this.#cache = cache;
    this.#block = block;
    this.#alongside = alongside;
  }

  /**
   * Fetches the page, and those that a walk along a range would miss next; they stay until the next `trimCache`. Rejects with `corrupt` when the blob is
   * damaged, `notFound` when it is absent. May be called again.
   */
  async load(): Promise<void> {
    // If another one cannot be read, that shows when the walk comes to it.
    const others = this.#alongside.map((block) => this.#cache.load(block, true).catch(() => {}));
    await this.#cache.load(this.#block, true);
    await Promise.all(others);
  }

  /** What is missing. @internal */
  get block(): Block {
    return this.#block;
  }
}

export class PageCache {
  readonly blobs: BlobStore;
  readonly seed: Uint8Array;
  readonly sizeMax: number;
  /** Memory of all blocks in the ring. */
  size = 0;
  #ring: Block[] = [];
  #hand = 0;
  #round = 1;

  constructor(blobs: BlobStore, seed: Uint8Array, sizeMax: number) {
    this.blobs = blobs;
    this.seed = seed;
    this.sizeMax = sizeMax;
  }

  /** Resolves when the block is resident. With `pin`, it is still so when the caller's next turn comes. */
  load(block: Block, pin: boolean): Promise<void> {
    if (pin) block.pinnedRound = this.#round;
    if (block.resident) return Promise.resolve();
    block.loading ??= this.#read(block);
    return block.loading;
  }

  /** Keeps a resident block until the next `trim` of the owner. */
  pin(block: Block): void {
    block.pinnedRound = this.#round;
  }

  /** `load` for a reader that shares the cache with the owner. It holds the block, also if this fails, until `letGo`. */
  hold(block: Block): Promise<void> {
    block.holderCount++;
    return this.load(block, false);
  }

  /** A reader is done with blocks that it holds. */
  letGo(blocks: readonly Block[]): void {
    for (const block of blocks) {
      assert(block.holderCount > 0, "a reader lets go of what it holds");
      block.holderCount--;
    }
  }

  async #read(block: Block): Promise<void> {
    try {
      const bytes = await this.blobs.get(hashBytes(block.hash));
      if (bytes === undefined) {
        throw new HoldfastError(
          "notFound",
          `tree page ${hashName(block.hash)} is not in the blob store; fetch it from another member or restore a backup`,
        );
      }
      try {
        block.accept(owned(bytes), this.seed);
        // The owner may have trimmed since it asked.
        if (block.pinnedRound !== 0) block.pinnedRound = this.#round;
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        throw new HoldfastError(error.code, `${error.message} (blob ${hashName(block.hash)})`, { cause: error });
      }
      this.admit(block);
    } finally {
      block.loading = undefined;
    }
  }

  /** Takes a block that has just become clean and resident. */
  admit(block: Block): void {
    block.used = true;
    block.memorySize = block.measure();
    this.size += block.memorySize;
    this.#ring.push(block);
  }

  /** Between commands: nothing is pinned any more; evicts down to the limit. */
  trim(): void {
    this.#round++;
    this.#evict();
  }

  /** For readers that share the cache with the owner: evicts down to the limit, but nothing that is pinned or held. */
  trimOthers(): void {
    this.#evict();
  }

  #evict(): void {
    const ring = this.#ring;
    // Two rounds take every mark away and come by once more; then all that is left is pinned or held.
    for (let steps = 2 * ring.length; steps > 0 && this.size > this.sizeMax; steps--) {
      if (this.#hand >= ring.length) this.#hand = 0;
      const block = ring[this.#hand] as Block;
      if (block.used || block.pinnedRound === this.#round || block.holderCount > 0) {
        block.used = false;
        this.#hand++;
        continue;
      }
      block.evict();
      block.pinnedRound = 0;
      this.size -= block.memorySize;
      // The last one takes the place: the ring's order only approximates age anyway.
      const last = ring.pop() as Block;
      if (last !== block) ring[this.#hand] = last;
    }
  }
}

/** The bytes as a plain array that does not keep much more alive than themselves. */
function owned(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength > 2 * bytes.length + 1_024) return new Uint8Array(bytes);
  return bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
