/**
 * Makes a list that fails smaller while it still fails: delta debugging (Zeller and Hildebrandt, "Simplifying and
 * Isolating Failure-Inducing Input", 2002). Large parts are left out first, then smaller ones, down to single elements.
 *
 * 1. What is given back failed when it was tried, or is the list itself.
 * 2. The order of the elements stays.
 */
export interface ShrinkOptions {
  /** Asked before every attempt; false ends the search with what was found so far. */
  readonly goOn: () => boolean;
}

/** `fails` runs the case with these elements and says whether it fails in the way that is looked into. */
export async function shrink<T>(
  list: readonly T[],
  fails: (part: readonly T[]) => Promise<boolean>,
  options: ShrinkOptions,
): Promise<readonly T[]> {
  let left = list;
  // Often the failure needs none of it.
  if (left.length > 0 && options.goOn() && (await fails([]))) return [];
  for (let partCount = 2; left.length > 1;) {
    const size = Math.ceil(left.length / partCount);
    const smaller = await withoutOne(left, size, fails, options);
    if (smaller === undefined) return left;
    if (smaller.length < left.length) {
      left = smaller;
      partCount = Math.max(2, Math.min(left.length, partCount - 1));
    } else {
      if (size === 1) return left;
      partCount = Math.min(left.length, 2 * partCount);
    }
  }
  return left;
}

/** Leaves out every part of `size` elements that is not needed; undefined when the search must end. */
async function withoutOne<T>(
  list: readonly T[],
  size: number,
  fails: (part: readonly T[]) => Promise<boolean>,
  { goOn }: ShrinkOptions,
): Promise<readonly T[] | undefined> {
  let left = list;
  // From the end: what comes late depends on what came before.
  for (let end = list.length; end > 0; end -= size) {
    const begin = Math.max(0, end - size);
    if (begin === 0 && left.length <= size) break;
    if (!goOn()) return left.length < list.length ? left : undefined;
    const part = [...left.slice(0, begin), ...left.slice(end)];
    if (await fails(part)) left = part;
  }
  return left;
}
