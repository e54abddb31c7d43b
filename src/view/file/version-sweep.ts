/** How old versions go: the oldest of a bucket first, when their time in store time is over. */
import { limits } from "../../base/index.ts";
import type { ApplyContext } from "../view.ts";
import { readBucket } from "./bucket-state.ts";
import { raiseHistory } from "./file-state.ts";
import { agingRange, StoredAging, supersedingOf, versionKey } from "./layout.ts";
import type { StoredBucket, Superseding } from "./layout.ts";

/** Whether a version may go. `bucket` undefined: it does not exist any more. */
export function isDue(
  bucket: StoredBucket | undefined,
  superseding: Superseding,
  aging: Uint8Array,
  nowMs: number,
): boolean {
  // Not of this bucket, but of one of the same name that was deleted.
  if (bucket === undefined || superseding.revision <= bucket.createRevision) return true;
  const { keepMs, keepCountMax } = bucket.settings;
  return keepCountMax === 0 || StoredAging.decode(aging).timeMs + keepMs <= nowMs;
}

/** Answers how many went. */
export function sweepVersions({ state, timeMs }: ApplyContext, name: string, limit: number): number {
  const bucket = readBucket(state, name);
  const most = Math.min(limit, limits.operationCountMax);
  const doomed: { readonly key: Uint8Array; readonly path: Uint8Array; readonly superseding: Superseding }[] = [];
  for (const { key, value } of state.entries(agingRange(name))) {
    const superseding = supersedingOf(key);
    // They stand in the order in which their time comes.
    if (doomed.length >= most || !isDue(bucket, superseding, value, timeMs)) break;
    doomed.push({ key: key.slice(), path: StoredAging.decode(value).path.slice(), superseding });
  }
  let last = 0;
  for (const { key, path, superseding } of doomed) {
    state.delete(versionKey(name, path, superseding));
    state.delete(key);
    last = superseding.revision;
  }
  // What an earlier bucket has left was superseded before the history of this one begins.
  raiseHistory(state, name, last);
  return doomed.length;
}
