/**
 * Pages and large values in memory.
 *
 * A page is searched in its encoded bytes; there is no object per entry. `slots` says where each entry starts: a number
 * from 0 is an offset into `base`, the page as it was encoded or loaded; a negative one, `~offset`, is an offset into
 * `heap`, to which the running edit appends what it puts. So an edit of a page copies the slots and not the bytes, a
 * page put into place by 1,000 puts has a handful of arrays, and a clean page takes little more than its encoding.
 *
 * Invariants:
 *  1. Bytes of `base`, and of `heap` below `heapSize`, never change. So pages share them with older versions of
 *     themselves, and views of them may be given out.
 *  2. A page is changed only while its `generation` is the running edit's; else the edit copies it first. There is one
 *     running edit, so of all the pages that share a heap only the newest appends to it.
 *  3. `encodedSize` and the totals are exact at any time, for a page that is resident; the totals also when it is not.
 *  4. A block with generation 0 is clean: its blob is stored and synced under `hash`, and it may be evicted. An evicted
 *     block can be loaded again from its hash alone.
 *  5. A block is in one place of one state only: keys are unique, so pages of one height hold different keys, the only
 *     page without a key is one empty leaf at the left edge, a page's bytes carry its height and a large value's bytes
 *     its key. Hence a hash occurs at most once in a root, and a block that left the state left nothing behind.
 */
import { limits } from "../base/index.ts";
import {
  corrupt,
  hashText,
  innerEntryHeaderSize,
  largeMark,
  largeReferenceSize,
  leafEntryHeaderSize,
  pageHeaderSize,
  parseLargeValue,
  parsePage,
  readU16,
  readU32,
  readU48,
  valueHeaderSize,
  writeHash,
  writePageHeader,
  writeU16,
  writeU32,
  writeU48,
} from "./format.ts";
import type { HashText, Totals } from "./format.ts";

const noBytes = new Uint8Array(0);
/** What the objects around a page's bytes take, measured by the bench; so that small pages are not counted as free. */
const blockOverheadSize = 700;
/** The same for a child or large value that is not resident. */
const handleSize = 200;
/** A heap starts with a part of a slab: most pages are edited a few times between two flushes. */
const heapSizeFirst = 1_024;
const slabSize = 65_536;
let slab = new Uint8Array(slabSize);
let slabUsed = 0;

/**
 * The first heap of a page, cheaper than an array of its own by an order of magnitude. A slab lives as long as one page
 * has a part of it, which is until the next flush: dirty pages that survive it are the exception.
 */
function smallHeap(): Uint8Array {
  if (slabUsed + heapSizeFirst > slabSize) {
    slab = new Uint8Array(slabSize);
    slabUsed = 0;
  }
  slabUsed += heapSizeFirst;
  return slab.subarray(slabUsed - heapSizeFirst, slabUsed);
}

/** Anything that is stored as one blob. */
export abstract class Block {
  /** Names the blob; empty until it is encoded. */
  hash: HashText;
  /** The edit that may change it; 0 when it is stored. */
  generation: number;
  resident: boolean;
  /** For the cache: read since its hand passed by. */
  used = true;
  /** For the cache: the round in which it must not be evicted. */
  pinnedRound = 0;
  /** For the cache: readers that are not done with it, for whose sake it must not be evicted. */
  holderCount = 0;
  /** For the cache: what it was counted with. */
  memorySize = 0;
  /** The read under way, which everybody who wants it shares. */
  loading: Promise<void> | undefined = undefined;

  constructor(hash: HashText, generation: number, resident: boolean) {
    this.hash = hash;
    this.generation = generation;
    this.resident = resident;
  }

  /** Size of the blob. */
  abstract readonly encodedSize: number;
  /** Takes the stored bytes; `corrupt` if they cannot be this block's. */
  abstract accept(bytes: Uint8Array, seed: Uint8Array): void;
  /** Drops what can be loaded again. */
  abstract evict(): void;
  abstract measure(): number;
}

/** A value too long for a page. Never changes: a new value is a new block. */
export class LargeValue extends Block {
  readonly keySize: number;
  readonly size: number;
  bytes: Uint8Array;

  constructor(hash: HashText, generation: number, keySize: number, size: number, bytes: Uint8Array | undefined) {
    super(hash, generation, bytes !== undefined);
    this.keySize = keySize;
    this.size = size;
    this.bytes = bytes ?? noBytes;
  }

  get encodedSize(): number {
    return valueHeaderSize + this.keySize + this.size;
  }

  accept(bytes: Uint8Array, seed: Uint8Array): void {
    const { key, value } = parseLargeValue(bytes, seed);
    if (key.length !== this.keySize || value.length !== this.size) {
      throw corrupt(`the large value is ${value.length} bytes; its page says ${this.size}`);
    }
    this.bytes = value;
    this.resident = true;
  }

  evict(): void {
    this.bytes = noBytes;
    this.resident = false;
  }

  measure(): number {
    return blockOverheadSize + this.bytes.length;
  }
}

export class Page extends Block implements Totals {
  /** Height above the leaves; -1 for a root that was never loaded. */
  level: number;
  entryCount = 0;
  dataSize = 0;
  largeCount = 0;
  encodedSize = pageHeaderSize;
  base: Uint8Array = noBytes;
  heap: Uint8Array = noBytes;
  heapSize = 0;
  slots: number[] = [];
  /** Inner pages: a page a slot. Empty in a leaf. */
  children: Page[] = [];
  /** Leaves: a place a slot, undefined where the value stands in the page. Absent if all do. */
  larges: (LargeValue | undefined)[] | undefined = undefined;

  private constructor(level: number, hash: HashText, generation: number, resident: boolean) {
    super(hash, generation, resident);
    this.level = level;
  }

  /** A page to be filled by the edit of this generation. */
  static empty(level: number, generation: number): Page {
    return new Page(level, "", generation, true);
  }

  /** A stored page that is not here. Level and totals of -1 are taken from the page when it comes. */
  static stored(hash: HashText, level: number, entryCount: number, dataSize: number, largeCount: number): Page {
    const page = new Page(level, hash, 0, false);
    page.entryCount = entryCount;
    page.dataSize = dataSize;
    page.largeCount = largeCount;
    return page;
  }

  /** The same content for the edit of `generation` to change. Bytes are shared (invariant 1). */
  copy(generation: number): Page {
    const page = new Page(this.level, "", generation, true);
    page.entryCount = this.entryCount;
    page.dataSize = this.dataSize;
    page.largeCount = this.largeCount;
    page.encodedSize = this.encodedSize;
    page.base = this.base;
    page.heap = this.heap;
    page.heapSize = this.heapSize;
    page.slots = this.slots.slice();
    page.children = this.level === 0 ? this.children : this.children.slice();
    page.larges = this.larges?.slice();
    return page;
  }

  accept(bytes: Uint8Array, seed: Uint8Array): void {
    const { level, offsets, entryCount, dataSize, largeCount } = parsePage(bytes, seed);
    if (this.level >= 0 && level !== this.level) throw corrupt(`its level is ${level}; its parent says ${this.level}`);
    const agrees =
      (this.entryCount < 0 || this.entryCount === entryCount) &&
      (this.dataSize < 0 || this.dataSize === dataSize) &&
      (this.largeCount < 0 || this.largeCount === largeCount);
    if (!agrees) {
      throw corrupt(
        `it holds ${entryCount} entries of ${dataSize} bytes, ${largeCount} of them large; ` +
          `its parent says ${this.entryCount}, ${this.dataSize}, ${this.largeCount}`,
      );
    }
    const children: Page[] = [];
    let larges: (LargeValue | undefined)[] | undefined;
    if (level > 0) {
      for (const at of offsets) {
        const hash = hashText(bytes, at + 20);
        const [entries, size, large] = [readU48(bytes, at + 2), readU48(bytes, at + 8), readU48(bytes, at + 14)];
        children.push(Page.stored(hash, level - 1, entries, size, large));
      }
    } else if (largeCount > 0) {
      larges = offsets.map((at) => {
        if (readU16(bytes, at + 2) !== largeMark) return undefined;
        const keySize = readU16(bytes, at);
        const referenceAt = at + leafEntryHeaderSize + keySize;
        return new LargeValue(hashText(bytes, referenceAt + 4), 0, keySize, readU32(bytes, referenceAt), undefined);
      });
    }
    this.level = level;
    this.entryCount = entryCount;
    this.dataSize = dataSize;
    this.largeCount = largeCount;
    this.encodedSize = bytes.length;
    this.base = bytes;
    this.heap = noBytes;
    this.heapSize = 0;
    this.slots = offsets;
    this.children = children;
    this.larges = larges;
    this.resident = true;
  }

  evict(): void {
    this.base = noBytes;
    this.heap = noBytes;
    this.heapSize = 0;
    this.slots = [];
    this.children = [];
    this.larges = undefined;
    this.resident = false;
  }

  measure(): number {
    const handles = this.children.length + (this.larges === undefined ? 0 : this.largeCount);
    return blockOverheadSize + this.base.length + this.heap.length + 8 * this.slots.length + handleSize * handles;
  }

  /** The index of `key`, or `~index` of where it would be put. */
  search(key: Uint8Array): number {
    const { slots, base, heap, level } = this;
    const headerSize = level === 0 ? leafEntryHeaderSize : innerEntryHeaderSize;
    const keySize = key.length;
    // What the bounds have in common with the key, every key between them has too: comparing starts behind it.
    let lowSame = 0;
    let highSame = 0;
    // An inner page's first child begins at or before every key that is looked for here.
    let low = level === 0 ? 0 : 1;
    let high = slots.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      let at = slots[middle] as number;
      let bytes = base;
      if (at < 0) {
        at = ~at;
        bytes = heap;
      }
      const size = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      at += headerSize;
      const commonMax = size < keySize ? size : keySize;
      let same = lowSame < highSame ? lowSame : highSame;
      while (same < commonMax && bytes[at + same] === key[same]) same++;
      const order = same < commonMax ? (bytes[at + same] as number) - (key[same] as number) : size - keySize;
      if (order === 0) return middle;
      if (order < 0) {
        low = middle + 1;
        lowSame = same;
      } else {
        high = middle;
        highSame = same;
      }
    }
    return ~low;
  }

  /** The child in which `key` belongs. */
  childIndex(key: Uint8Array): number {
    const index = this.search(key);
    return index >= 0 ? index : ~index - 1;
  }

  /** Entries of this leaf below `key`; or children that begin before it, of which the first always does. */
  lowerBound(key: Uint8Array): number {
    const index = this.search(key);
    return index >= 0 ? index : ~index;
  }

  /** A view. */
  keyAt(index: number): Uint8Array {
    const slot = this.slots[index] as number;
    const bytes = slot < 0 ? this.heap : this.base;
    const at = slot < 0 ? ~slot : slot;
    const keyAt = at + (this.level === 0 ? leafEntryHeaderSize : innerEntryHeaderSize);
    return bytes.subarray(keyAt, keyAt + readU16(bytes, at));
  }

  /** The large value of an entry of this leaf, if it is one. */
  largeAt(index: number): LargeValue | undefined {
    return this.larges === undefined ? undefined : this.larges[index];
  }

  /** A view of a leaf entry's value, which must not be a large one that is not resident. */
  valueAt(index: number): Uint8Array {
    const large = this.largeAt(index);
    if (large !== undefined) return large.bytes;
    const slot = this.slots[index] as number;
    const bytes = slot < 0 ? this.heap : this.base;
    const at = slot < 0 ? ~slot : slot;
    const valueAt = at + leafEntryHeaderSize + readU16(bytes, at);
    return bytes.subarray(valueAt, valueAt + readU16(bytes, at + 2));
  }

  /** The size of a leaf entry's value, large or not. */
  valueSizeAt(index: number): number {
    const large = this.largeAt(index);
    if (large !== undefined) return large.size;
    const slot = this.slots[index] as number;
    return slot < 0 ? readU16(this.heap, ~slot + 2) : readU16(this.base, slot + 2);
  }

  /** Puts an entry into this leaf, in front of the one at `index`. `large` is the value if it is a large one. */
  insert(index: number, key: Uint8Array, value: Uint8Array, large: LargeValue | undefined): void {
    // `#append` may renew `this.slots`, so it comes first.
    const slot = this.#append(key, value, large);
    insertAt(this.slots, index, slot);
    if (large !== undefined) this.larges ??= Array.from({ length: this.slots.length - 1 }, () => undefined);
    if (this.larges !== undefined) insertAt(this.larges, index, large);
    this.entryCount++;
    this.dataSize += key.length + value.length;
    if (large !== undefined) this.largeCount++;
  }

  /** Gives the leaf entry at `index`, which has this key, another value. */
  replace(index: number, key: Uint8Array, value: Uint8Array, large: LargeValue | undefined): void {
    const before = this.largeAt(index);
    const beforeSize = this.#entrySize(index);
    this.dataSize += value.length - this.valueSizeAt(index);
    this.largeCount += (large === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    // The old entry counts as alive until the new one has its place: `#append` may move all that is alive.
    const slot = this.#append(key, value, large);
    this.slots[index] = slot;
    this.encodedSize -= beforeSize;
    if (large !== undefined) this.larges ??= Array.from({ length: this.slots.length }, () => undefined);
    if (this.larges !== undefined) this.larges[index] = large;
  }

  /** Takes the leaf entry at `index` out. */
  removeEntry(index: number): void {
    this.entryCount--;
    this.dataSize -= this.#keySize(index) + this.valueSizeAt(index);
    if (this.largeAt(index) !== undefined) this.largeCount--;
    this.encodedSize -= this.#entrySize(index);
    this.slots.splice(index, 1);
    this.larges?.splice(index, 1);
  }

  /** Puts a child that begins with `key` in front of the one at `index`. The totals are left to `sum`. */
  insertChild(index: number, key: Uint8Array, child: Page): void {
    const at = this.#reserve(innerEntryHeaderSize + key.length);
    writeU16(this.heap, at, key.length);
    this.heap.set(key, at + innerEntryHeaderSize);
    insertAt(this.slots, index, ~at);
    insertAt(this.children, index, child);
    this.encodedSize += innerEntryHeaderSize + key.length;
  }

  /** Takes a child out. The totals are left to `sum`. */
  removeChild(index: number): void {
    this.encodedSize -= this.#entrySize(index);
    this.slots.splice(index, 1);
    this.children.splice(index, 1);
  }

  /** Adds the entries of `from` starting at `fromIndex`, which must be above all here. An inner page's totals are left to `sum`. */
  append(from: Page, fromIndex: number): void {
    const first = this.slots.length;
    const count = from.slots.length;
    let size = 0;
    for (let index = fromIndex; index < count; index++) {
      size += from.#entrySize(index);
      if (this.level === 0) this.dataSize += from.#keySize(index) + from.valueSizeAt(index);
    }
    if (this.level === 0) this.entryCount += count - fromIndex;
    const at = this.#reserve(size);
    for (const offset of from.#gather(this.heap, at, fromIndex)) this.slots.push(~offset);
    this.encodedSize += size;
    if (this.level > 0) {
      for (let index = fromIndex; index < from.children.length; index++)
        this.children.push(from.children[index] as Page);
    } else if (this.larges !== undefined || from.larges !== undefined) {
      this.larges ??= Array.from({ length: first }, () => undefined);
      for (let index = fromIndex; index < from.slots.length; index++) {
        const large = from.largeAt(index);
        this.larges.push(large);
        if (large !== undefined) this.largeCount++;
      }
    }
  }

  /** Cuts the entries from `index` on off into a new page of the same generation. Inner pages' totals are left to `sum`. */
  split(index: number): Page {
    const right = Page.empty(this.level, this.generation);
    right.append(this, index);
    this.encodedSize -= right.encodedSize - pageHeaderSize;
    this.entryCount -= right.entryCount;
    this.dataSize -= right.dataSize;
    this.largeCount -= right.largeCount;
    this.slots.length = index;
    if (this.level > 0) this.children.length = index;
    if (this.larges !== undefined) this.larges.length = index;
    // What was cut off may be most of the heap, and this page may never grow again.
    if (this.heapSize > 2 * this.encodedSize) this.#compact(0);
    return right;
  }

  /** Counts an inner page's totals anew from its children. */
  sum(): void {
    if (this.level === 0) return;
    let entryCount = 0;
    let dataSize = 0;
    let largeCount = 0;
    for (const child of this.children) {
      entryCount += child.entryCount;
      dataSize += child.dataSize;
      largeCount += child.largeCount;
    }
    this.entryCount = entryCount;
    this.dataSize = dataSize;
    this.largeCount = largeCount;
  }

  /**
   * Encodes the page, whose children and large values all have their hash, and takes the encoded bytes as its own: the
   * heap and whatever had become garbage go.
   */
  encode(seed: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(this.encodedSize);
    writePageHeader(bytes, this.level, this.slots.length, seed);
    const offsets = this.#gather(bytes, pageHeaderSize, 0);
    for (let index = 0; index < this.children.length; index++) {
      const child = this.children[index] as Page;
      const at = offsets[index] as number;
      writeU48(bytes, at + 2, child.entryCount);
      writeU48(bytes, at + 8, child.dataSize);
      writeU48(bytes, at + 14, child.largeCount);
      writeHash(bytes, at + 20, child.hash);
    }
    this.larges?.forEach((large, index) => {
      if (large === undefined) return;
      const at = offsets[index] as number;
      writeHash(bytes, at + leafEntryHeaderSize + readU16(bytes, at) + 4, large.hash);
    });
    if (this.largeCount === 0) this.larges = undefined;
    this.base = bytes;
    this.heap = noBytes;
    this.heapSize = 0;
    this.slots = offsets;
    return bytes;
  }

  /**
   * Copies the entries from `fromIndex` on in order to `to`, beginning at `at`, and says where each went. Neighbours in
   * `base` go in one copy.
   */
  #gather(to: Uint8Array, at: number, fromIndex: number): number[] {
    const { slots, base, heap } = this;
    const offsets: number[] = [];
    let runAt = 0;
    let runStart = 0;
    let runEnd = 0;
    for (let index = fromIndex; index < slots.length; index++) {
      const slot = slots[index] as number;
      const size = this.#entrySize(index);
      if (slot !== runEnd || runEnd === runStart) {
        if (runEnd > runStart) to.set(base.subarray(runStart, runEnd), runAt);
        runAt = at;
        runStart = slot < 0 ? 0 : slot;
        runEnd = runStart;
      }
      if (slot < 0) to.set(heap.subarray(~slot, ~slot + size), at);
      else runEnd += size;
      offsets.push(at);
      at += size;
    }
    if (runEnd > runStart) to.set(base.subarray(runStart, runEnd), runAt);
    return offsets;
  }

  #keySize(index: number): number {
    const slot = this.slots[index] as number;
    return slot < 0 ? readU16(this.heap, ~slot) : readU16(this.base, slot);
  }

  #entrySize(index: number): number {
    const slot = this.slots[index] as number;
    const bytes = slot < 0 ? this.heap : this.base;
    const at = slot < 0 ? ~slot : slot;
    if (this.level > 0) return innerEntryHeaderSize + readU16(bytes, at);
    const valueSize = readU16(bytes, at + 2);
    return leafEntryHeaderSize + readU16(bytes, at) + (valueSize === largeMark ? largeReferenceSize : valueSize);
  }

  /** Writes a leaf's entry to the heap and gives its slot. */
  #append(key: Uint8Array, value: Uint8Array, large: LargeValue | undefined): number {
    const size = leafEntryHeaderSize + key.length + (large === undefined ? value.length : largeReferenceSize);
    const at = this.#reserve(size);
    const { heap } = this;
    writeU16(heap, at, key.length);
    writeU16(heap, at + 2, large === undefined ? value.length : largeMark);
    heap.set(key, at + leafEntryHeaderSize);
    if (large === undefined) heap.set(value, at + leafEntryHeaderSize + key.length);
    else writeU32(heap, at + leafEntryHeaderSize + key.length, value.length);
    this.encodedSize += size;
    return ~at;
  }

  /** Makes room for `size` bytes at the end of the heap and says where. */
  #reserve(size: number): number {
    if (this.heapSize + size > this.heap.length) this.#grow(size);
    const at = this.heapSize;
    this.heapSize += size;
    return at;
  }

  /**
   * A new heap with room for `size` bytes more. If more than half of what the page holds on to is garbage (entries
   * replaced, removed or split off), all that is alive moves into the new heap; so garbage is at most as much as what
   * is alive, and moving costs a constant a byte.
   */
  #grow(size: number): void {
    if (this.heap.length === 0 && size <= heapSizeFirst) {
      this.heap = smallHeap();
    } else if (this.base.length + this.heapSize > 2 * this.encodedSize + heapSizeFirst) {
      this.#compact(size);
    } else {
      // A page edited so often since it was written will probably be edited more, up to about once an entry.
      const room = Math.max(this.heapSize, this.encodedSize >>> 1, heapSizeFirst);
      const heap = new Uint8Array(this.heapSize + size + room);
      heap.set(this.heap.subarray(0, this.heapSize));
      this.heap = heap;
    }
  }

  /** Moves all that is alive into a new heap with room for `size` bytes more and some. */
  #compact(size: number): void {
    const alive = this.encodedSize - pageHeaderSize;
    const heap = new Uint8Array(alive + size + (alive >>> 2));
    const offsets = this.#gather(heap, 0, 0);
    for (let index = 0; index < offsets.length; index++) offsets[index] = ~(offsets[index] as number);
    this.slots = offsets;
    this.base = noBytes;
    this.heap = heap;
    this.heapSize = alive;
  }
}

function insertAt<T>(list: T[], index: number, item: T): void {
  list.push(item);
  for (let i = list.length - 1; i > index; i--) list[i] = list[i - 1] as T;
  list[index] = item;
}

/** Whether a value of this size is a blob of its own. */
export function isLarge(valueSize: number): boolean {
  return valueSize > limits.inlineValueSizeMax;
}
