/**
 * A cheap sign that something was forgotten since one looked last: buckets whose history begins later, snapshots and
 * uploads that are no longer there, fewer versions of files. It reads those and no file. Two signs of which `forgotten`
 * differs say that there may be garbage.
 */
import { toHex } from "../base/index.ts";
import type { ReadableTree } from "./collector-contents.ts";
import { allBuckets, allUploads, deletionKey, fileRanges, StoredBucket } from "./file/layout.ts";
import { readSnapshots } from "./snapshot/layout.ts";

export interface GarbageSign {
  readonly forgotten: string;
  /** With the files as they are now, which change with the revision. Forgetting one changes no more than this. */
  readonly versionCount: number;
}

export async function garbageSign(tree: ReadableTree, signal: AbortSignal | undefined): Promise<GarbageSign> {
  const parts: string[] = [];
  for await (const batch of tree.entries({ ...allBuckets, signal })) {
    // Only what rises when a version goes: a new bucket is no garbage.
    for (const { value } of batch) parts.push(String(StoredBucket.decode(value).historyRevision));
  }
  const deleted = await tree.get(deletionKey);
  parts.push("deleted", deleted === undefined ? "" : toHex(deleted), "snapshots");
  for (const { revision } of await readSnapshots(tree, signal)) parts.push(String(revision));
  parts.push("uploads", String(await tree.count(allUploads)));
  let versionCount = 0;
  for (const range of fileRanges) versionCount += await tree.count(range);
  return { forgotten: parts.join(" "), versionCount };
}
