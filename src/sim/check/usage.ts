/**
 * How many steps of each optional group a configuration has used: pairs of a group's index and a count above 0, in the
 * order of the indexes. Most configurations have used very few.
 */
export type Usage = readonly (readonly [group: number, count: number])[];

export function usedCount(usage: Usage, group: number): number {
  return usage.find(([other]) => other === group)?.[1] ?? 0;
}

export function withOneMore(usage: Usage, group: number): Usage {
  const at = usage.findIndex(([other]) => other >= group);
  if (at < 0) return [...usage, [group, 1]];
  const [other, count] = usage[at] as Usage[number];
  return other === group ? usage.with(at, [group, count + 1]) : usage.toSpliced(at, 0, [group, 1]);
}

/** Whether no group has been used more in the first. */
export function isNoMore(a: Usage, b: Usage): boolean {
  return a.every(([group, count]) => count <= usedCount(b, group));
}

/** Of every group as few as in the one that used fewer. */
export function leastUsage(a: Usage, b: Usage): Usage {
  const least: (readonly [number, number])[] = [];
  for (const [group, count] of a) {
    const other = Math.min(count, usedCount(b, group));
    if (other > 0) least.push([group, other]);
  }
  return least;
}
