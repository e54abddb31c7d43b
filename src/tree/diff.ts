/**
 * What differs between two states, in key order. Subtrees with equal hashes are equal and are not read, so the cost
 * grows with the difference and not with the states.
 *
 * Each side is a walk whose head is either a page not yet opened, which holds the keys from its first key on, or an
 * entry. Everything before both heads has been compared. Equal pages that begin at the same key are passed over; else
 * the head that begins first, or stands higher, is opened. Page boundaries depend on keys alone, so beside a difference
 * both sides soon have pages with equal beginnings again. States with different seeds share no page: then every entry
 * is compared, and the answer is right nevertheless.
 *
 * With a range both sides begin and end within it: a page is opened where the range begins in it, and a head beyond the
 * end is none. Pages that begin before the range are still compared whole, which is right for equal ones.
 */
import { compareBytes, throwIfAborted } from "../base/index.ts";
import type { PageCache } from "./cache.ts";
import { Page } from "./page.ts";
import type { Block, LargeValue } from "./page.ts";
import { BlobSnapshot } from "./snapshot.ts";
import type { TreeRange, TreeSnapshot } from "./tree.ts";

const batchCountMax = 1_024;
const batchSizeMax = 1_048_576;
/** Pages of each side that are asked for at once. */
const aheadCount = 16;
const noBytes = new Uint8Array(0);

/** A key whose value is not the same on both sides. */
export interface TreeDifference {
  readonly key: Uint8Array;
  /** Undefined: the key is not there. */
  readonly before: Uint8Array | undefined;
  /** Undefined: the key is not there. */
  readonly after: Uint8Array | undefined;
}

export interface TreeDiffOptions {
  /** Leaves `before` and `after` empty where they are there, and large values unread. */
  readonly keysOnly?: boolean | undefined;
  /** Only keys in this range. Default: all. */
  readonly range?: TreeRange | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Differences in ascending key order, in batches, never empty. Both snapshots must stay unreleased meanwhile. */
export async function* diff(
  before: Omit<TreeSnapshot, "release">,
  after: Omit<TreeSnapshot, "release">,
  options: TreeDiffOptions = {},
): AsyncIterableIterator<readonly TreeDifference[]> {
  const { range = {} } = options;
  const sides = [new Side(internal(before), range), new Side(internal(after), range)] as const;
  if (range.start !== undefined && range.end !== undefined && compareBytes(range.start, range.end) >= 0) return;
  try {
    for (;;) {
      throwIfAborted(options.signal);
      const batch: TreeDifference[] = [];
      const wanted = compare(sides[0], sides[1], options.keysOnly === true, batch);
      if (batch.length === 0 && wanted === undefined) return;
      for (const side of sides) side.hold(wanted);
      for (const side of sides) side.cache.trimOthers();
      if (batch.length > 0) yield batch;
      await Promise.all(wanted?.missing.map(({ side, block }) => side.cache.load(block, false)) ?? []);
    }
  } finally {
    for (const side of sides) side.letGo();
    for (const side of sides) side.cache.trimOthers();
  }
}

function internal(snapshot: Omit<TreeSnapshot, "release">): BlobSnapshot {
  if (snapshot instanceof BlobSnapshot) return snapshot;
  throw new TypeError("diff compares snapshots of this tree's own making");
}

/** A block to be loaded, and through whose cache. */
interface Missing {
  readonly side: Side;
  readonly block: Block;
}

/** What the comparison cannot go on without, and what it will probably want after that. */
interface Wanted {
  readonly missing: readonly Missing[];
  readonly ahead: readonly Missing[];
}

/** What stands next on one side. */
interface Head {
  /** Where it begins; empty for what begins before every key. */
  readonly key: Uint8Array;
  /** The page if it is not opened yet; else the head is an entry. */
  readonly page: Page | undefined;
}

/** An entry in its leaf. */
interface Place {
  readonly leaf: Page;
  readonly index: number;
}

class Side {
  readonly cache: PageCache;
  readonly #snapshot: BlobSnapshot;
  readonly #range: TreeRange;
  /**
   * The opened pages down to the head, how many entries or children each has (an evicted one does not know), and at
   * which of them the head is. Empty with `#started`: the side is over.
   */
  readonly #pages: Page[] = [];
  readonly #counts: number[] = [];
  readonly #indexes: number[] = [];
  #started = false;
  #ahead: readonly Page[] = [];
  #held: readonly Block[] = [];

  constructor(snapshot: BlobSnapshot, range: TreeRange) {
    this.#snapshot = snapshot;
    this.#range = range;
    this.cache = snapshot.cache;
  }

  /**
   * Starts to load what is wanted, and sees to it that this and all that the comparison stands on stays: the opened
   * pages and the head. What was loaded ahead stays until pages are wanted anew. A failure shows when the comparison
   * comes to the block.
   */
  hold(wanted: Wanted | undefined): void {
    const blocks = [...(wanted?.missing ?? []), ...(wanted?.ahead ?? [])].filter(({ side }) => side === this);
    const pages = blocks.map(({ block }) => block).filter((block) => block instanceof Page);
    if (pages.length > 0) this.#ahead = pages;
    const held: Block[] = [...this.#pages.filter((page) => page.resident), ...this.#ahead];
    const [page, index] = [this.#pages.at(-1), this.#indexes.at(-1)];
    if (!this.#started) held.push(this.#snapshot.page());
    else if (page !== undefined && index !== undefined && page.resident) {
      const next = page.level > 0 ? page.children[index] : page.largeAt(index);
      if (next?.resident === true || blocks.some(({ block }) => block === next)) held.push(next as Block);
    }
    for (const block of held) this.cache.hold(block).catch(() => {});
    this.letGo();
    this.#held = held;
  }

  letGo(): void {
    this.cache.letGo(this.#held);
    this.#held = [];
  }

  /** The page that must be loaded again before `head` can be called, if there is one. */
  missing(): Page | undefined {
    const page = this.#pages.at(-1);
    return page === undefined || page.resident ? undefined : page;
  }

  head(): Head | undefined {
    // Asks for the root even when it is not the head: a released snapshot must not be read any longer.
    const root = this.#snapshot.page();
    if (!this.#started) return { key: noBytes, page: root };
    const page = this.#pages.at(-1);
    if (page === undefined) return undefined;
    page.used = true;
    const index = this.#indexes.at(-1) as number;
    const key = page.keyAt(index);
    // What begins beyond the end ends the side: everything after it does too.
    if (this.#range.end !== undefined && compareBytes(key, this.#range.end) >= 0) return undefined;
    return { key, page: page.level > 0 ? page.children[index] : undefined };
  }

  /** Where the head is, which is an entry. */
  entry(): Place {
    return { leaf: this.#pages.at(-1) as Page, index: this.#indexes.at(-1) as number };
  }

  /** Puts the contents of the head, a resident page, in its place, as far as they are not before the range. */
  open(page: Page): void {
    const { start } = this.#range;
    this.#started = true;
    page.used = true;
    this.#pages.push(page);
    this.#counts.push(page.slots.length);
    this.#indexes.push(start === undefined ? 0 : page.level > 0 ? page.childIndex(start) : page.lowerBound(start));
    this.#leave();
  }

  /** Passes over the head. */
  skip(): void {
    if (!this.#started) {
      this.#started = true;
      return;
    }
    this.#indexes[this.#indexes.length - 1] = (this.#indexes.at(-1) as number) + 1;
    this.#leave();
  }

  /** Pages not resident that stand behind the head under the same parent, apart from those the other side has too. */
  ahead(other: Side): Page[] {
    const [page, index] = [this.#pages.at(-1), this.#indexes.at(-1)];
    if (page === undefined || index === undefined) return [];
    const siblings = page.children.slice(index + 1, index + 1 + aheadCount);
    const shared = new Set(other.#pages.at(-1)?.children.map((child) => child.hash));
    return siblings.filter((child) => !child.resident && !shared.has(child.hash));
  }

  /** Goes up as long as the page has no more. */
  #leave(): void {
    while (this.#pages.length > 0 && (this.#indexes.at(-1) as number) >= (this.#counts.at(-1) as number)) {
      this.#pages.pop();
      this.#counts.pop();
      this.#indexes.pop();
      if (this.#indexes.length > 0) this.#indexes[this.#indexes.length - 1] = (this.#indexes.at(-1) as number) + 1;
    }
  }
}

/**
 * Goes on until the batch is full, both sides are over, or something is missing, which it answers. Nothing has
 * moved past what is missing.
 */
function compare(a: Side, b: Side, keysOnly: boolean, batch: TreeDifference[]): Wanted | undefined {
  let size = 0;
  while (batch.length < batchCountMax && size < batchSizeMax) {
    const gone = [a, b].flatMap((side) => missingOf(side, side.missing()));
    if (gone.length > 0) return { missing: gone, ahead: [] };
    const headA = a.head();
    const headB = b.head();
    if (headA === undefined && headB === undefined) return undefined;
    const order = headA === undefined ? 1 : headB === undefined ? -1 : compareBytes(headA.key, headB.key);
    const [pageA, pageB] = [headA?.page, headB?.page];

    // Pages first: one that begins before the other head, or with it, may hold what belongs before that head.
    if (order === 0 && pageA !== undefined && pageB !== undefined) {
      if (pageA === pageB || (pageA.hash !== "" && pageA.hash === pageB.hash)) {
        a.skip();
        b.skip();
        continue;
      }
      const closed = [...missingOf(a, pageA), ...missingOf(b, pageB)];
      if (closed.length > 0) return { missing: closed, ahead: [...ahead(a, b), ...ahead(b, a)] };
      // The higher one alone: its first child may equal the other.
      if (pageA.level >= pageB.level) a.open(pageA);
      if (pageB.level >= pageA.level) b.open(pageB);
      continue;
    }
    if (pageA !== undefined && order <= 0) {
      if (!pageA.resident) return { missing: missingOf(a, pageA), ahead: ahead(a, b) };
      a.open(pageA);
      continue;
    }
    if (pageB !== undefined && order >= 0) {
      if (!pageB.resident) return { missing: missingOf(b, pageB), ahead: ahead(b, a) };
      b.open(pageB);
      continue;
    }

    const before = order <= 0 ? a.entry() : undefined;
    const after = order >= 0 ? b.entry() : undefined;
    const same = before !== undefined && after !== undefined ? sameValue(before, after) : false;
    if (same !== true) {
      const values = [...missingOf(a, largeOf(before)), ...missingOf(b, largeOf(after))];
      if (values.length > 0 && (same === undefined || !keysOnly)) return { missing: values, ahead: [] };
      const difference = {
        key: (order <= 0 ? (headA as Head) : (headB as Head)).key,
        before: before && (keysOnly ? noBytes : before.leaf.valueAt(before.index)),
        after: after && (keysOnly ? noBytes : after.leaf.valueAt(after.index)),
      };
      batch.push(difference);
      size += difference.key.length + (difference.before?.length ?? 0) + (difference.after?.length ?? 0);
    }
    if (order <= 0) a.skip();
    if (order >= 0) b.skip();
  }
  return undefined;
}

function missingOf(side: Side, block: Block | undefined): Missing[] {
  return block === undefined || block.resident ? [] : [{ side, block }];
}

function ahead(side: Side, other: Side): Missing[] {
  return side.ahead(other).map((block) => ({ side, block }));
}

function largeOf(place: Place | undefined): LargeValue | undefined {
  return place?.leaf.largeAt(place.index);
}

/** Undefined: only the values themselves can tell, and one is not here. */
function sameValue(before: Place, after: Place): boolean | undefined {
  const [a, b] = [largeOf(before), largeOf(after)];
  if (a === undefined && b === undefined) {
    return compareBytes(before.leaf.valueAt(before.index), after.leaf.valueAt(after.index)) === 0;
  }
  if (a === undefined || b === undefined || a.size !== b.size) return false;
  if (a === b || (a.hash !== "" && a.hash === b.hash)) return true;
  // Different hashes of equal values occur: a value not yet flushed has none, and another seed gives another one.
  return a.resident && b.resident ? compareBytes(a.bytes, b.bytes) === 0 : undefined;
}
