/**
 * Synchronous reads of one state, given its root page: one key, a rank, and the walk along a range in either direction.
 * All throw `PageMissing` for what is not here.
 */
import { assert, compareBytes } from "../base/index.ts";
import { PageMissing } from "./cache.ts";
import type { PageCache } from "./cache.ts";
import type { LargeValue, Page } from "./page.ts";
import type { TreeEntry, TreeRange, TreeRangeOptions } from "./tree.ts";

const noBytes = new Uint8Array(0);
/** What a walk that began anew is given at a time: so many blocks, and about so many bytes. */
const alongsideCountMax = 512;
const alongsideSizeMax = 8_388_608;
const pageSizeUsual = 8_192;

function findLeaf(cache: PageCache, root: Page, key: Uint8Array): Page {
  let page = root;
  for (;;) {
    if (!page.resident) throw new PageMissing(cache, page);
    if (!page.used) page.used = true;
    if (page.level === 0) return page;
    page = page.children[page.childIndex(key)] as Page;
  }
}

export function getValue(cache: PageCache, root: Page, key: Uint8Array): Uint8Array | undefined {
  const leaf = findLeaf(cache, root, key);
  const index = leaf.search(key);
  return index < 0 ? undefined : readValue(cache, leaf, index);
}

export function hasKey(cache: PageCache, root: Page, key: Uint8Array): boolean {
  return findLeaf(cache, root, key).search(key) >= 0;
}

function readValue(cache: PageCache, leaf: Page, index: number): Uint8Array {
  const large = leaf.largeAt(index);
  if (large !== undefined) {
    if (!large.resident) throw new PageMissing(cache, large);
    large.used = true;
  }
  return leaf.valueAt(index);
}

export function countRange(cache: PageCache, root: Page, range: TreeRange): number {
  if (isEmpty(range)) return 0;
  const end = range.end === undefined ? root.entryCount : rank(cache, root, range.end);
  return end - (range.start === undefined ? 0 : rank(cache, root, range.start));
}

/** How many keys are below `key`. */
function rank(cache: PageCache, root: Page, key: Uint8Array): number {
  let below = 0;
  let page = root;
  for (;;) {
    if (!page.resident) throw new PageMissing(cache, page);
    if (!page.used) page.used = true;
    if (page.level === 0) return below + page.lowerBound(key);
    const index = page.childIndex(key);
    for (let i = 0; i < index; i++) below += (page.children[i] as Page).entryCount;
    page = page.children[index] as Page;
  }
}

/** Whether the range is empty whatever the state. */
function isEmpty({ start, end }: TreeRange): boolean {
  return start !== undefined && end !== undefined && compareBytes(start, end) >= 0;
}

/**
 * Walks along a range. It keeps the path from the root to its leaf; when `next` throws `PageMissing` it has not moved.
 * A flush or an eviction under way does not disturb it: pages keep their entries, and it notices pages that went.
 */
export class EntryIterator implements IterableIterator<TreeEntry> {
  readonly #cache: PageCache;
  readonly #range: TreeRange;
  readonly #reverse: boolean;
  readonly #keysOnly: boolean;
  /** The running edit's version, of which a change ends the walk. */
  readonly #version: () => number;
  readonly #versionAtStart: number;
  #pages: Page[] = [];
  #indexes: number[] = [];
  /** The next entry in the leaf, and the first beyond the range (ascending: above, descending: below). */
  #index = 0;
  #stop = 0;
  #done = false;

  constructor(cache: PageCache, root: Page, range: TreeRangeOptions, version: () => number) {
    this.#cache = cache;
    this.#range = range;
    this.#reverse = range.reverse === true;
    this.#keysOnly = range.keysOnly === true;
    this.#version = version;
    this.#versionAtStart = version();
    this.#pages.push(root);
    if (isEmpty(range)) this.#done = true;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<TreeEntry, undefined> {
    try {
      return this.#next();
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      // Whoever begins again from the start after each miss would do so for every block otherwise.
      throw new PageMissing(this.#cache, error.block, this.#alongside(error));
    }
  }

  #alongside(missing: PageMissing): readonly (Page | LargeValue)[] {
    const [, ...others] = this.ahead(missing, alongsideCountMax);
    let size = 0;
    const end = others.findIndex((block) => (size += "size" in block ? block.size : pageSizeUsual) > alongsideSizeMax);
    return end < 0 ? others : others.slice(0, end);
  }

  #next(): IteratorResult<TreeEntry, undefined> {
    if (!this.#reachEntry()) return { value: undefined, done: true };
    const leaf = this.#pages[this.#pages.length - 1] as Page;
    const index = this.#index;
    const value = this.#keysOnly ? noBytes : readValue(this.#cache, leaf, index);
    this.#index += this.#reverse ? -1 : 1;
    return { value: { key: leaf.keyAt(index), value }, done: false };
  }

  return(): IteratorResult<TreeEntry, undefined> {
    this.#done = true;
    this.#pages = [];
    return { value: undefined, done: true };
  }

  /** The pages that it will come back to, and are here. */
  path(): readonly Page[] {
    return this.#pages.filter((page) => page.resident);
  }

  /**
   * The blocks that the walk will want after the missing one, up to `count`, the missing one first: its neighbours
   * under the same parent, or the large values behind it in the same leaf.
   */
  ahead(missing: PageMissing, count: number): (Page | LargeValue)[] {
    const { block } = missing;
    const step = this.#reverse ? -1 : 1;
    const blocks = [block as Page | LargeValue];
    const last = this.#pages[this.#pages.length - 1] as Page;
    if (last.level === 0 && last.resident && last.larges?.includes(block as LargeValue) === true) {
      for (let i = this.#index + step; i !== this.#stop && blocks.length < count; i += step) {
        const large = last.largeAt(i);
        if (large !== undefined && !large.resident) blocks.push(large);
      }
      return blocks;
    }
    const parent = this.#pages.findLast(
      (page) => page.resident && page.level > 0 && page.children.includes(block as Page),
    );
    if (parent === undefined) return blocks;
    const { start, end } = this.#range;
    let stop = this.#reverse ? -1 : parent.children.length;
    if (!this.#reverse && end !== undefined) stop = parent.lowerBound(end);
    if (this.#reverse && start !== undefined) stop = parent.childIndex(start) - 1;
    for (let i = parent.children.indexOf(block as Page) + step; i !== stop && blocks.length < count; i += step) {
      const child = parent.children[i];
      if (child === undefined) break;
      if (!child.resident) blocks.push(child);
    }
    return blocks;
  }

  /** Stands on an entry of the range, or says that there is none. */
  #reachEntry(): boolean {
    if (this.#done) return false;
    assert(this.#version() === this.#versionAtStart, "the tree was edited during a walk; collect the entries first");
    for (;;) {
      const page = this.#pages[this.#pages.length - 1] as Page;
      if (!page.resident) throw new PageMissing(this.#cache, page);
      if (!page.used) page.used = true;
      if (this.#pages.length > this.#indexes.length && page.level > 0) this.#descend(page);
      else if (this.#indexes.length < this.#pages.length) this.#enterLeaf(page);
      else if (this.#index !== this.#stop) return true;
      else if (!this.#leaveLeaf()) return false;
    }
  }

  /** From a page without an index in it to the child where the range begins in it. */
  #descend(page: Page): void {
    const { start, end } = this.#range;
    let index = this.#reverse ? page.children.length - 1 : 0;
    // Only on the range's own edge does the bound lie inside this page; elsewhere it gives the outermost child anyway.
    if (!this.#reverse && start !== undefined) index = page.childIndex(start);
    if (this.#reverse && end !== undefined) index = page.lowerBound(end) - 1;
    this.#indexes.push(index);
    this.#pages.push(page.children[index] as Page);
  }

  #enterLeaf(leaf: Page): void {
    const { start, end } = this.#range;
    const low = start === undefined ? 0 : leaf.lowerBound(start);
    const high = end === undefined ? leaf.slots.length : leaf.lowerBound(end);
    this.#index = this.#reverse ? high - 1 : low;
    this.#stop = this.#reverse ? low - 1 : high;
    this.#indexes.push(0);
  }

  /** Goes up to the first page with a child left in the range, and to that child. */
  #leaveLeaf(): boolean {
    const { start, end } = this.#range;
    const step = this.#reverse ? -1 : 1;
    for (let depth = this.#pages.length - 2; depth >= 0; depth--) {
      const page = this.#pages[depth] as Page;
      if (!page.resident) throw new PageMissing(this.#cache, page);
      const index = (this.#indexes[depth] as number) + step;
      if (index < 0 || index >= page.children.length) continue;
      // What begins at or after the end is out of the range, and so is what ends at or before the start.
      if (!this.#reverse && end !== undefined && index >= page.lowerBound(end)) break;
      if (this.#reverse && start !== undefined && index < page.childIndex(start)) break;
      this.#pages.length = depth + 1;
      this.#indexes.length = depth;
      this.#indexes.push(index);
      this.#pages.push(page.children[index] as Page);
      return true;
    }
    this.#done = true;
    this.#pages = [];
    return false;
  }
}
