/**
 * Writes the dirty pages of a frozen state: children before parents, since a page holds its children's hashes.
 *
 * A crash in the middle leaves blobs that no root names; they are put again or swept. Nothing that an older root names
 * is touched. A block counts as clean only after the store's `sync`.
 */
import { giveWay } from "../base/index.ts";
import type { Clock, Digest } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import { encodeLargeValue, hashText } from "./format.ts";
import type { HashText } from "./format.ts";
import type { Block, LargeValue, Page } from "./page.ts";

/** Bytes handed to the store before its answers are waited for. Two such lots are under way at a time. */
const lotSizeMax = 4_194_304;

export interface StoreContext {
  readonly clock: Clock;
  readonly digest: Digest;
  readonly blobs: BlobStore;
  readonly seed: Uint8Array;
  readonly sliceMs: number;
  /** A blob of the new root has this hash. Called before it is put. */
  readonly written: (hash: HashText) => void;
  /** A deletion of blobs under way, after which puts may go on. */
  readonly deletion: () => Promise<unknown> | undefined;
}

export interface Stored {
  /** Every block that was written, now in the store. Still dirty: the caller makes them clean. */
  readonly blocks: Block[];
  readonly size: number;
}

export async function storeDirty(context: StoreContext, root: Page): Promise<Stored> {
  const { clock, seed, sliceMs } = context;
  const writer = new BlobWriter(context);
  const path: Page[] = [root];
  const next: number[] = [0];
  let sliceEndMs = clock.monotonicMs() + sliceMs;
  while (path.length > 0) {
    const page = path[path.length - 1] as Page;
    const index = next[next.length - 1] as number;
    const child = page.children[index];
    if (child !== undefined) {
      next[next.length - 1] = index + 1;
      if (child.generation === 0) continue;
      path.push(child);
      next.push(0);
      continue;
    }
    path.pop();
    next.pop();
    if (page.larges !== undefined) {
      for (const [at, large] of page.larges.entries()) {
        if (large === undefined || large.generation === 0) continue;
        await writer.write(large, encodeLarge(large, page.keyAt(at), seed));
      }
    }
    // A page that an earlier, failed flush has encoded already is put again as it is.
    await writer.write(page, page.hash === "" ? page.encode(seed) : page.base);
    if (clock.monotonicMs() >= sliceEndMs) {
      await giveWay(clock);
      sliceEndMs = clock.monotonicMs() + sliceMs;
    }
  }
  return writer.finish();
}

/** Keeps the blob's bytes as the value's, so that they are in memory once. */
function encodeLarge(large: LargeValue, key: Uint8Array, seed: Uint8Array): Uint8Array {
  const bytes = encodeLargeValue(seed, key, large.bytes);
  large.bytes = bytes.subarray(bytes.length - large.size);
  return bytes;
}

class BlobWriter {
  readonly #context: StoreContext;
  readonly #blocks: Block[] = [];
  #size = 0;
  #lot: Promise<void>[] = [];
  #lotSize = 0;
  #previous: Promise<unknown> = Promise.resolve();

  constructor(context: StoreContext) {
    this.#context = context;
  }

  /** Names the block by its hash and puts it. Waits only when much is under way. */
  async write(block: Block, bytes: Uint8Array): Promise<void> {
    const { blobs, digest, written, deletion } = this.#context;
    const hash = digest.sha256(bytes);
    block.hash = hashText(hash);
    written(block.hash);
    // From here on no new deletion takes this hash; one that is under way may hold it.
    const deleting = deletion();
    if (deleting !== undefined) await deleting.catch(() => {});
    const put = blobs.put(hash, bytes);
    // A failure shows where the lot is waited for.
    put.catch(() => {});
    this.#lot.push(put);
    this.#blocks.push(block);
    this.#size += bytes.length;
    this.#lotSize += bytes.length;
    if (this.#lotSize >= lotSizeMax) await this.#turn();
  }

  async #turn(): Promise<void> {
    const previous = this.#previous;
    this.#previous = Promise.all(this.#lot);
    this.#previous.catch(() => {});
    this.#lot = [];
    this.#lotSize = 0;
    await previous;
  }

  async finish(): Promise<Stored> {
    await this.#turn();
    await this.#previous;
    await this.#context.blobs.sync();
    return { blocks: this.#blocks, size: this.#size };
  }
}
