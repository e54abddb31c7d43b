/**
 * The items in neighbouring pieces of at most `sizeMax` together, unless one item alone is larger. The items themselves if
 * one piece holds them all; no piece for no items.
 */
export function* pieces<T>(
  items: readonly T[],
  sizeMax: number,
  sizeOf: (item: T) => number,
): Generator<readonly T[], void, undefined> {
  let begin = 0;
  let size = 0;
  for (let index = 0; index < items.length; index++) {
    const own = sizeOf(items[index] as T);
    if (index > begin && size + own > sizeMax) {
      yield items.slice(begin, index);
      begin = index;
      size = 0;
    }
    size += own;
  }
  if (begin < items.length) yield begin === 0 ? items : items.slice(begin);
}
