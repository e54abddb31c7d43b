/**
 * Brings a state that others have into the local store: every page and large value that is missing, and nothing else.
 *
 * The walk begins at the root and looks into the store first: a page that is there is read, one that is not is fetched
 * from the sources; either way its children follow. That a page is there never counts as proof that what is below it is
 * too, so a fetch may be cut at any moment and begun again, for this state or for a later one: whatever has come is not
 * fetched again. A leaf without large values, and a large value, is not read but only asked for (`has`); so of a state
 * that is mostly here the inner pages are read, about one page in 32.
 *
 * 1. When it resolves, everything reachable from the root is in the store and durable, provided that nothing was deleted
 *    there meanwhile: the caller sees to it that there is no `collect` and no sweep, from before it calls until the state
 *    is named by something that these respect.
 * 2. A page that is damaged in the store (`corrupt`) counts as missing and is put again.
 * 3. What waits in memory: at most 16 pages' children for each height, and for each source what `BlobFetcher` has under
 *    way.
 *
 * After a crash: what was synced stays, at least all but the last 64 MiB fetched and what was under way. As long as
 * nothing names it, a sweep deletes it.
 */
import { asHoldfastError, giveWay, HoldfastError, Signal } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { BlobFetcher } from "../blob/index.ts";
import type { BlobSource, BlobStore, WantedBlob } from "../blob/index.ts";
import { hashBytes, hashName, hashText, pageHeaderSize } from "./format.ts";
import { LargeValue, Page } from "./page.ts";
import type { Block } from "./page.ts";
import type { TreeRoot } from "./tree.ts";

/** Pages looked at locally at a time. */
const parallelCount = 16;
/** While so many blobs wait for a source, nothing more is looked for. */
const waitingCountMax = 2_048;
/** Bytes fetched after which the store is synced, so that a crash does not cost everything. */
const syncSizeMax = 67_108_864;
/** About what an inner page takes; and what an entry of a leaf takes beside its key and value. */
const innerSizeHint = 16_384;
const entrySizeHint = 8;
const sliceMs = 4;

export interface FetchProgress {
  /** Blobs fetched so far, and their bytes. */
  readonly blobCount: number;
  readonly size: number;
}

export interface FetchTreeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called now and then, and at the end. */
  readonly progress?: ((progress: FetchProgress) => void) | undefined;
  /** After so long without a sign of a source its request is given up. Default 5,000. */
  readonly stallMs?: number | undefined;
}

interface Wanted extends WantedBlob {
  readonly block: Block;
}

/**
 * Resolves when the whole state is durable in `local`, with what had to be fetched. Rejects with `notFound` when no source
 * that can be reached has some page, `unavailable` when none is left, `cancelled` or `timeout` when the signal aborts,
 * `exhausted` when the local disk is full, `corrupt` when the pages are no tree. What was fetched before stays.
 */
export async function fetchTree(
  env: Pick<Env, "clock" | "logger">,
  local: BlobStore,
  root: TreeRoot,
  sources: readonly BlobSource[],
  options: FetchTreeOptions = {},
): Promise<FetchProgress> {
  return new TreeFetch(env, local, root, sources, options).run();
}

class TreeFetch {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #local: BlobStore;
  readonly #seed: Uint8Array;
  readonly #options: FetchTreeOptions;
  readonly #changed = new Signal();
  readonly #fetcher: BlobFetcher<Wanted>;
  /** To be looked for locally; taken from the end, so that what is deepest comes first and few wait. */
  readonly #blocks: Block[] = [];
  #blobCount = 0;
  #size = 0;
  #syncedSize = 0;
  #sliceEndMs: number;

  constructor(
    env: Pick<Env, "clock" | "logger">,
    local: BlobStore,
    root: TreeRoot,
    sources: readonly BlobSource[],
    options: FetchTreeOptions,
  ) {
    this.#env = env;
    this.#local = local;
    this.#seed = root.seed;
    this.#options = options;
    this.#sliceEndMs = env.clock.monotonicMs() + sliceMs;
    if (root.hash !== null) this.#blocks.push(Page.stored(hashText(root.hash), -1, root.count, -1, -1));
    this.#fetcher = new BlobFetcher<Wanted>(env, sources, {
      take: ({ block }, bytes) => this.#take(block, bytes),
      changed: () => this.#changed.notify(),
      signal: options.signal,
      stallMs: options.stallMs,
    });
  }

  async run(): Promise<FetchProgress> {
    try {
      await this.#walk();
    } finally {
      // Also after a failure: nothing is put any more when this has rejected.
      await this.#fetcher.close();
    }
    await this.#local.sync();
    const progress = { blobCount: this.#blobCount, size: this.#size };
    this.#options.progress?.(progress);
    return progress;
  }

  async #walk(): Promise<void> {
    for (;;) {
      const { failure } = this.#fetcher;
      if (failure !== undefined) throw failure;
      if (this.#size - this.#syncedSize >= syncSizeMax) {
        this.#syncedSize = this.#size;
        await this.#local.sync();
      } else if (this.#blocks.length > 0 && this.#fetcher.waitingCount < waitingCountMax) {
        const missing = await Promise.all(this.#blocks.splice(-parallelCount).map((block) => this.#look(block)));
        const wanted = missing.filter((block) => block !== undefined);
        if (wanted.length > 0) this.#fetcher.want(wanted.map((block) => wantedBlob(block)));
        await this.#giveWay();
      } else if (this.#blocks.length === 0 && this.#fetcher.idle) {
        return;
      } else {
        await this.#changed.wait();
        this.#options.progress?.({ blobCount: this.#blobCount, size: this.#size });
      }
    }
  }

  /** A store in memory never waits, and its caller must not wait for it. */
  async #giveWay(): Promise<void> {
    const { clock } = this.#env;
    if (clock.monotonicMs() < this.#sliceEndMs) return;
    await giveWay(clock);
    this.#sliceEndMs = clock.monotonicMs() + sliceMs;
  }

  /** Gives the block back if it is missing; else what is below it will be looked for. */
  async #look(block: Block): Promise<Block | undefined> {
    const hash = hashBytes(block.hash);
    if (isEnd(block)) return (await this.#local.has(hash)) ? undefined : block;
    const bytes = await this.#read(hash);
    if (bytes === undefined) return block;
    this.#accept(block, bytes);
    return undefined;
  }

  async #read(hash: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#local.get(hash);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "corrupt") return undefined;
      throw error;
    }
  }

  async #take(block: Block, bytes: Uint8Array): Promise<void> {
    // Before it is put: a page that is no page, although it has the right hash, is nothing to be kept.
    if (!isEnd(block)) this.#accept(block, bytes);
    await this.#local.put(hashBytes(block.hash), bytes);
    this.#blobCount++;
    this.#size += bytes.length;
  }

  #accept(block: Block, bytes: Uint8Array): void {
    try {
      block.accept(bytes, this.#seed);
    } catch (error) {
      const { code, message } = asHoldfastError(error);
      throw new HoldfastError(code, `${message} (blob ${hashName(block.hash)})`, { cause: error });
    }
    if (!(block instanceof Page)) return;
    for (const child of block.children) this.#blocks.push(child);
    for (const large of block.larges ?? []) if (large !== undefined) this.#blocks.push(large);
    // Its children are noted; its bytes would stay as long as one of them.
    block.evict();
  }
}

/** Nothing is below it, as far as its parent says, which a walk through the state will hold it to. */
function isEnd(block: Block): boolean {
  return block instanceof LargeValue || (block instanceof Page && block.level === 0 && block.largeCount === 0);
}

function wantedBlob(block: Block): Wanted {
  return { block, hash: hashBytes(block.hash), sizeHint: sizeHint(block) };
}

function sizeHint(block: Block): number {
  if (!(block instanceof Page)) return block.encodedSize;
  if (block.level !== 0 || block.largeCount > 0) return innerSizeHint;
  return pageHeaderSize + block.dataSize + entrySizeHint * block.entryCount;
}
