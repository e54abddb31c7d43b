/** The last state beside what both sides have now, path by path, all three in the order of the bytes of paths. */
import { comparePaths } from "./tree-path.ts";
import type { Pair } from "./tree-merge.ts";
import type { SyncRecord } from "./sync-state.ts";

export interface Triple extends Pair {
  /** Undefined: it was not there, or not alike, the last time. */
  readonly last: SyncRecord | undefined;
}

/** Each pair with what was there the last time; paths that are only there, too. */
export async function* mergeState(
  pairs: AsyncIterable<Pair>,
  records: AsyncGenerator<SyncRecord, void, undefined>,
): AsyncGenerator<Triple, void, undefined> {
  let gap: string | undefined;
  const next = async () => (await records.next()).value ?? undefined;
  const alone = (record: SyncRecord): Triple => {
    const hidden = gap !== undefined && record.path.startsWith(gap);
    return { path: record.path, local: undefined, stored: undefined, hidden, last: record };
  };
  try {
    let last = await next();
    for await (const pair of pairs) {
      for (; last !== undefined && comparePaths(last.path, pair.path) < 0; last = await next()) yield alone(last);
      if (pair.local?.type === "gap") gap = pair.path;
      const isSame = last?.path === pair.path;
      yield { ...pair, last: isSame ? last : undefined };
      if (isSame) last = await next();
    }
    for (; last !== undefined; last = await next()) yield alone(last);
  } finally {
    await records.return();
  }
}
