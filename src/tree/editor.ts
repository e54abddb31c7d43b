/**
 * Puts and deletes: finds the place, makes sure that all pages it will change are here, then changes copies of its own.
 *
 * Every height has a leftmost page that begins before all keys, even if it holds none; so a key of level n always has a
 * page to its left to be split from and to be merged into, and the root stands as high as the highest key's level. A
 * put of level 0 changes one leaf. A put of level n splits the pages on its path below height n at the key, and gives
 * the page at height n one child more; a delete undoes exactly that.
 *
 * Invariants:
 *  1. The shape depends on the keys alone (tree.ts, invariant 1): `canonical.test.ts` builds the same pages from a list.
 *  2. First all pages are found, then the first is changed (tree.ts, invariant 2).
 *  3. `dirtySize` is the sum of the encoded sizes of the blocks in the state that are not in the last frozen flush.
 */
import { assert, limits } from "../base/index.ts";
import type { Boundary } from "./boundary.ts";
import { PageMissing } from "./cache.ts";
import type { PageCache } from "./cache.ts";
import type { ObsoleteBlobs } from "./obsolete.ts";
import { isLarge, LargeValue, Page } from "./page.ts";

const noKey = new Uint8Array(0);

export class Editor {
  root: Page;
  /** Blocks of this generation are the edit's own; `freeze` makes them everybody's. */
  generation = 1;
  /** Blocks up to this generation were handed to a flush. */
  flushedGeneration = 0;
  dirtySize = 0;
  /** Counts the edits, so that an iterator notices one. */
  version = 0;
  readonly #cache: PageCache;
  readonly #boundary: Boundary;
  readonly #obsolete: ObsoleteBlobs;
  // The pages from the root to a leaf, and in each the child taken: one pair of arrays for all calls.
  readonly #pages: Page[] = [];
  readonly #indexes: number[] = [];

  constructor(cache: PageCache, boundary: Boundary, obsolete: ObsoleteBlobs, root: Page) {
    this.#cache = cache;
    this.#boundary = boundary;
    this.#obsolete = obsolete;
    this.root = root;
  }

  /** Puts the entry; the previous value if there was one, `noKey` standing for it unless it is wanted. */
  put(key: Uint8Array, value: Uint8Array, wanted: boolean): Uint8Array | undefined {
    assert(
      key.length <= limits.treeKeySizeMax,
      `tree key is ${key.length} bytes; the limit is ${limits.treeKeySizeMax}`,
    );
    assert(
      value.length <= limits.treeValueSizeMax,
      `tree value is ${value.length} bytes; the limit is ${limits.treeValueSizeMax}`,
    );
    const index = this.#find(key);
    if (index >= 0) return this.#replace(key, value, index, wanted);
    this.version++;
    const large = isLarge(value.length) ? this.#newLarge(key, value) : undefined;
    const level = this.#boundary.level(key);
    if (level === 0) {
      const leaf = this.#own(this.#pages.length - 1);
      const sizeBefore = leaf.encodedSize;
      leaf.insert(~index, key, value, large);
      this.dirtySize += leaf.encodedSize - sizeBefore;
      this.#count(this.#pages.length - 2, 1, key.length + value.length, large === undefined ? 0 : 1);
    } else {
      this.#splitAt(level, ~index, key, value, large);
    }
    return undefined;
  }

  /** Takes the entry out; the previous value if there was one, `noKey` standing for it unless it is wanted. */
  delete(key: Uint8Array, wanted: boolean): Uint8Array | undefined {
    const index = this.#find(key);
    if (index < 0) return undefined;
    const leaf = this.#pages[this.#pages.length - 1] as Page;
    const large = leaf.largeAt(index);
    if (wanted && large !== undefined) this.#need(large);
    const previous = wanted ? leaf.valueAt(index) : noKey;
    const size = key.length + leaf.valueSizeAt(index);
    const level = this.#boundary.level(key);
    if (level === 0) {
      this.version++;
      const own = this.#own(this.#pages.length - 1);
      const sizeBefore = own.encodedSize;
      own.removeEntry(index);
      this.dirtySize += own.encodedSize - sizeBefore;
      this.#count(this.#pages.length - 2, -1, -size, large === undefined ? 0 : -1);
    } else {
      this.#mergeAt(level, index, size, large === undefined ? 0 : 1);
    }
    if (large !== undefined) this.#retire(large);
    return previous;
  }

  /** Fills the path to the leaf where `key` belongs; its index there, or `~index` of where it would be put. */
  #find(key: Uint8Array): number {
    const pages = this.#pages;
    const indexes = this.#indexes;
    let page = this.root;
    let depth = 0;
    for (;;) {
      if (!page.resident) throw new PageMissing(this.#cache, page);
      if (!page.used) page.used = true;
      pages[depth] = page;
      if (page.level === 0) break;
      const index = page.childIndex(key);
      indexes[depth++] = index;
      page = page.children[index] as Page;
    }
    pages.length = depth + 1;
    return page.search(key);
  }

  #need(large: LargeValue): void {
    if (!large.resident) throw new PageMissing(this.#cache, large);
    large.used = true;
  }

  #replace(key: Uint8Array, value: Uint8Array, index: number, wanted: boolean): Uint8Array {
    const found = this.#pages[this.#pages.length - 1] as Page;
    const before = found.largeAt(index);
    if (wanted && before !== undefined) this.#need(before);
    const previous = wanted ? found.valueAt(index) : noKey;
    const previousSize = found.valueSizeAt(index);
    this.version++;
    const large = isLarge(value.length) ? this.#newLarge(key, value) : undefined;
    const leaf = this.#own(this.#pages.length - 1);
    const sizeBefore = leaf.encodedSize;
    leaf.replace(index, key, value, large);
    this.dirtySize += leaf.encodedSize - sizeBefore;
    const largeDelta = (large === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    if (value.length !== previousSize || largeDelta !== 0) {
      this.#count(this.#pages.length - 2, 0, value.length - previousSize, largeDelta);
    }
    if (before !== undefined) this.#retire(before);
    return previous;
  }

  /** A put of a key that begins pages below height `level`. The path is filled; `index` is the place in the leaf. */
  #splitAt(level: number, index: number, key: Uint8Array, value: Uint8Array, large: LargeValue | undefined): void {
    while (this.root.level < level) this.#raiseRoot();
    const pages = this.#pages;
    const leafDepth = pages.length - 1;
    this.#own(leafDepth);
    const targetDepth = leafDepth - level;
    // What is cut off only moves, so the dirty size grows by new headers and the new entries.
    let right: Page | undefined;
    for (let depth = leafDepth; depth >= targetDepth; depth--) {
      const page = pages[depth] as Page;
      this.dirtySize -= page.encodedSize;
      if (right === undefined) {
        right = page.split(index);
        right.insert(0, key, value, large);
        this.dirtySize += right.encodedSize;
      } else if (depth > targetDepth) {
        const upper: Page = page.split((this.#indexes[depth] as number) + 1);
        upper.insertChild(0, key, right);
        upper.sum();
        right = upper;
        this.dirtySize += right.encodedSize;
      } else {
        page.insertChild((this.#indexes[depth] as number) + 1, key, right);
      }
      page.sum();
      this.dirtySize += page.encodedSize;
    }
    this.#count(targetDepth - 1, 1, key.length + value.length, large === undefined ? 0 : 1);
  }

  #raiseRoot(): void {
    const root = Page.empty(this.root.level + 1, this.generation);
    root.insertChild(0, noKey, this.root);
    root.sum();
    this.root = root;
    this.#pages.unshift(root);
    this.#indexes.unshift(0);
    this.dirtySize += root.encodedSize;
  }

  /** A delete of a key that begins pages below height `level`: each goes into its left neighbour. The path is filled. */
  #mergeAt(level: number, index: number, size: number, largeCount: number): void {
    const pages = this.#pages;
    const leafDepth = pages.length - 1;
    const targetDepth = leafDepth - level;
    assert(targetDepth >= 0 && index === 0, "a key that begins a page stands first in its leaf");
    const childIndex = this.#indexes[targetDepth] as number;
    assert(childIndex > 0, "a page that a key begins has a left neighbour");
    // The left neighbours, from the highest down: all must be here before anything changes.
    const target = pages[targetDepth] as Page;
    for (let page = target.children[childIndex - 1] as Page; ; page = page.children[page.children.length - 1] as Page) {
      if (!page.resident) throw new PageMissing(this.#cache, page);
      page.used = true;
      if (page.level === 0) break;
    }
    this.version++;
    let left = this.#own(targetDepth);
    this.dirtySize -= left.encodedSize;
    left.removeChild(childIndex);
    this.dirtySize += left.encodedSize;
    const lefts: Page[] = [left];
    for (let depth = targetDepth + 1; depth <= leafDepth; depth++) {
      left = this.#ownChild(left, depth === targetDepth + 1 ? childIndex - 1 : left.children.length - 1);
      lefts.push(left);
    }
    for (let depth = leafDepth; depth > targetDepth; depth--) {
      const right = pages[depth] as Page;
      left = lefts[depth - targetDepth] as Page;
      this.dirtySize -= left.encodedSize;
      // In the leaf the key itself goes; above it, the first child, which has gone into the left page's last one.
      left.append(right, 1);
      left.sum();
      this.dirtySize += left.encodedSize;
      this.#retire(right);
    }
    this.#count(targetDepth, -1, -size, -largeCount);
    while (this.root.level > 0 && this.root.children.length === 1) {
      this.#retire(this.root);
      this.root = this.root.children[0] as Page;
    }
  }

  /** Makes the pages of the path down to `depth` the edit's own, and gives the last. */
  #own(depth: number): Page {
    const pages = this.#pages;
    for (let at = 0; at <= depth; at++) {
      const page = pages[at] as Page;
      if (page.generation === this.generation) continue;
      if (at === 0) pages[0] = this.root = this.#copy(page);
      else pages[at] = this.#ownChild(pages[at - 1] as Page, this.#indexes[at - 1] as number);
    }
    return pages[depth] as Page;
  }

  #ownChild(parent: Page, index: number): Page {
    const child = parent.children[index] as Page;
    if (child.generation === this.generation) return child;
    const copy = this.#copy(child);
    parent.children[index] = copy;
    return copy;
  }

  #copy(page: Page): Page {
    this.#retire(page);
    const copy = page.copy(this.generation);
    this.dirtySize += copy.encodedSize;
    return copy;
  }

  #newLarge(key: Uint8Array, value: Uint8Array): LargeValue {
    const large = new LargeValue("", this.generation, key.length, value.length, new Uint8Array(value));
    this.dirtySize += large.encodedSize;
    return large;
  }

  /** Says that the state does without this block from now on. */
  #retire(block: Page | LargeValue): void {
    const dirty = block.generation > this.flushedGeneration;
    if (dirty) this.dirtySize -= block.encodedSize;
    // A flush that failed may have stored a block which is dirty still: then it has a hash.
    if (!dirty || block.hash !== "") this.#obsolete.retire(block);
  }

  /** Adds to the totals of the path's pages from the root to `depth`. They are the edit's own. */
  #count(depth: number, entryCount: number, dataSize: number, largeCount: number): void {
    const pages = this.#pages;
    for (let at = 0; at <= depth; at++) {
      const page = pages[at] as Page;
      page.entryCount += entryCount;
      page.dataSize += dataSize;
      page.largeCount += largeCount;
    }
  }
}
