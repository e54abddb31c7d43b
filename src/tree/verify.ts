/**
 * Checks a stored state to the last byte: every page and large value is there and has its hash, pages are well formed,
 * stand at the right height, begin and end where their keys' levels say, and hold what their parents claim. It reads
 * the blob store directly, shares nothing with a cache, and goes on after a problem, so that a report says all that is
 * wrong and where. A subtree below a broken page, or below one at a wrong place, is not looked at and not counted.
 *
 * What it finds right is the one canonical tree of its entries (tree.ts, invariant 1): the twin in the tests builds it
 * from the entries and gets the same hashes.
 */
import { compareBytes, giveWay, HoldfastError } from "../base/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import type { TreeEnv } from "./blob-tree.ts";
import { Boundary } from "./boundary.ts";
import { hashBytes, hashText, parseLargeValue } from "./format.ts";
import type { HashText } from "./format.ts";
import { LargeValue, Page } from "./page.ts";
import type { TreeRoot } from "./tree.ts";

/** Blobs read at a time. */
const parallelCount = 16;
const sliceMs = 4;
const problemCountMax = 1_000;
const noKey = new Uint8Array(0);

export interface TreeProblem {
  readonly hash: Hash;
  /** The first key that the page would hold, or the large value's key; empty at the left edge. */
  readonly key: Uint8Array;
  /** Height of the page above the leaves; undefined for a large value, and for a root that cannot be read. */
  readonly level: number | undefined;
  readonly what: string;
}

export interface TreeReport {
  readonly ok: boolean;
  /** At most 1,000 of them are kept. */
  readonly problems: readonly TreeProblem[];
  readonly problemCount: number;
  readonly pageCount: number;
  readonly largeValueCount: number;
  readonly entryCount: number;
  /** Bytes of all blobs read. */
  readonly blobSize: number;
}

/** One blob to look at, with what its parent says about it. */
interface Task {
  readonly block: Page | LargeValue;
  /** For a page, the first key it may hold; empty at the left edge. For a large value, its key. */
  readonly start: Uint8Array;
  /** The first key behind it; undefined at the right edge. */
  readonly end: Uint8Array | undefined;
}

export async function verify(env: TreeEnv, blobs: BlobStore, root: TreeRoot): Promise<TreeReport> {
  return new Verifier(env, blobs, root.seed).run(root);
}

class Verifier {
  readonly #env: TreeEnv;
  readonly #blobs: BlobStore;
  readonly #seed: Uint8Array;
  readonly #boundary: Boundary;
  readonly #problems: TreeProblem[] = [];
  #problemCount = 0;
  #pageCount = 0;
  #largeValueCount = 0;
  #entryCount = 0;
  #blobSize = 0;
  /** Taken from the end: depth first, so that few wait. */
  readonly #tasks: Task[] = [];

  constructor(env: TreeEnv, blobs: BlobStore, seed: Uint8Array) {
    this.#env = env;
    this.#blobs = blobs;
    this.#seed = seed;
    this.#boundary = new Boundary(seed);
  }

  async run(root: TreeRoot): Promise<TreeReport> {
    if (root.hash !== null) {
      const page = Page.stored(hashText(root.hash), -1, root.count, -1, -1);
      this.#tasks.push({ block: page, start: noKey, end: undefined });
    }
    const { clock } = this.#env;
    let sliceEndMs = clock.monotonicMs() + sliceMs;
    while (this.#tasks.length > 0) {
      const tasks = this.#tasks.splice(-parallelCount);
      const contents = await Promise.all(tasks.map(({ block }) => this.#read(block.hash)));
      for (const [i, task] of tasks.entries()) {
        this.#check(task, contents[i]);
        if (clock.monotonicMs() < sliceEndMs) continue;
        await giveWay(clock);
        sliceEndMs = clock.monotonicMs() + sliceMs;
      }
    }
    return {
      ok: this.#problemCount === 0,
      problems: this.#problems,
      problemCount: this.#problemCount,
      pageCount: this.#pageCount,
      largeValueCount: this.#largeValueCount,
      entryCount: this.#entryCount,
      blobSize: this.#blobSize,
    };
  }

  async #read(hash: HashText): Promise<Uint8Array | HoldfastError | undefined> {
    try {
      return await this.#blobs.get(hashBytes(hash));
    } catch (error) {
      // Damage is what is looked for; anything else means that looking has failed.
      if (error instanceof HoldfastError && error.code === "corrupt") return error;
      throw error;
    }
  }

  #check(task: Task, content: Uint8Array | HoldfastError | undefined): void {
    const { block } = task;
    if (content === undefined) return this.#report(task, "the blob is absent");
    if (content instanceof HoldfastError) return this.#report(task, content.message);
    this.#blobSize += content.length;
    const hash = hashText(this.#env.digest.sha256(content));
    if (hash !== block.hash) return this.#report(task, "the blob's content does not have its hash");
    try {
      block.accept(content, this.#seed);
      if (block instanceof LargeValue) this.#checkLarge(task, content);
      else this.#checkPage(task, block);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#report(task, error.message);
    }
  }

  #checkLarge(task: Task, content: Uint8Array): void {
    this.#largeValueCount++;
    const { key } = parseLargeValue(content, this.#seed);
    if (compareBytes(key, task.start) !== 0) this.#report(task, "the large value carries another entry's key");
  }

  #checkPage(task: Task, page: Page): void {
    this.#pageCount++;
    if (page.level === 0) this.#entryCount += page.entryCount;
    // A page at a wrong place is not looked into: else a few pages, named again and again, would be work without end.
    if (!this.#checkEdges(task, page)) return;
    const count = page.slots.length;
    for (let index = 0; index < count; index++) {
      const key = page.keyAt(index);
      // A page's first key began it, as its parent has seen; the others must not begin a page of this height.
      const first = index === 0 && (page.level > 0 || compareBytes(key, task.start) === 0);
      const level = this.#boundary.level(key);
      if (!first && level !== page.level) {
        this.#report(
          task,
          `key ${index} has level ${level}; a key inside a page at height ${page.level} has level ${page.level}`,
        );
      }
      if (page.level > 0) {
        const end = index + 1 < count ? page.keyAt(index + 1) : task.end;
        this.#tasks.push({ block: page.children[index] as Page, start: key, end });
      } else {
        const large = page.largeAt(index);
        if (large !== undefined) this.#tasks.push({ block: large, start: key, end: undefined });
      }
    }
  }

  /** The page begins with the key that its parent names, and ends before the next one. */
  #checkEdges(task: Task, page: Page): boolean {
    const problemCount = this.#problemCount;
    const count = page.slots.length;
    const isRoot = task.start.length === 0 && task.end === undefined;
    const begins = task.start.length > 0 || page.level > 0;
    if (begins && (count === 0 || compareBytes(page.keyAt(0), task.start) !== 0)) {
      this.#report(task, "its first key is not the one that its parent gives");
    }
    if (count > 0 && task.end !== undefined && compareBytes(page.keyAt(count - 1), task.end) >= 0) {
      this.#report(task, "its last key belongs into the next page");
    }
    if (isRoot && page.entryCount === 0) this.#report(task, "it is the root of an empty state, which has no page");
    if (isRoot && page.level > 0 && count === 1)
      this.#report(task, "it is a root with one child, which would be the root");
    return this.#problemCount === problemCount;
  }

  #report({ block, start }: Task, what: string): void {
    this.#problemCount++;
    if (this.#problems.length === problemCountMax) return;
    const level = block instanceof Page && block.level >= 0 ? block.level : undefined;
    this.#problems.push({ hash: hashBytes(block.hash), key: start, level, what });
  }
}
