/** Reads of the file view on a state in the tree: now and at a past revision. */
import { giveWay, HoldfastError, throwIfAborted } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import { PageMissing } from "../../tree/index.ts";
import type { TreeEdit, TreeRangeOptions } from "../../tree/index.ts";
import type { HeldState } from "../held.ts";
import { decodeBucket, historyRevision } from "./bucket-state.ts";
import type { StoredFile } from "./file-operation.ts";
import type { BucketInfo, FileQuery, FileVersion, ListedFile } from "./file-source.ts";
import { decodeFile } from "./file-state.ts";
import { FileWalk, rangeOf } from "./file-walk.ts";
import type { WalkQuery } from "./file-walk.ts";
import {
  allBuckets,
  allPaths,
  bucketKey,
  bucketOfKey,
  fileKey,
  fileRange,
  pathOfFile,
  supersedingOf,
  versionRange,
} from "./layout.ts";

/** What the synchronous reads need: the running tree. They throw `PageMissing`. */
export type Reads = Pick<TreeEdit, "get" | "entries" | "count">;

/** What they give is the caller's to keep: it does not hold a page's bytes. */
function toFile(stored: Uint8Array): StoredFile {
  return decodeFile(stored.slice());
}

export function getNow(reads: Pick<Reads, "get">, bucket: string, path: Uint8Array): StoredFile | undefined {
  const stored = reads.get(fileKey(bucket, path));
  return stored === undefined ? undefined : toFile(stored);
}

/** The file in a state that does not change. */
export async function fileIn(
  tree: HeldState["tree"],
  bucket: string,
  path: Uint8Array,
): Promise<StoredFile | undefined> {
  const stored = await tree.get(fileKey(bucket, path));
  return stored === undefined ? undefined : toFile(stored);
}

/** The file at a revision that its bucket can be read at. */
export function getPast(
  reads: Pick<Reads, "get" | "entries">,
  bucket: string,
  path: Uint8Array,
  at: number,
): StoredFile | undefined {
  const now = getNow(reads, bucket, path);
  if (now !== undefined && now.revision <= at) return now;
  for (const { value } of reads.entries(versionRange(bucket, path, at))) {
    const file = toFile(value);
    return file.revision <= at ? file : undefined;
  }
  return undefined;
}

/** Whether the bucket can be read at a revision; `invalid` when that is yet to come. */
export function isRetained(reads: Pick<Reads, "get">, bucket: string, at: number, now: number): boolean {
  if (at > now) throw new HoldfastError("invalid", `revision ${at} is in the future; the store is at ${now}`);
  return at >= historyRevision(reads, bucket);
}

export function trimmedError(bucket: string, at: number): HoldfastError {
  return new HoldfastError(
    "trimmed",
    `bucket ${bucket} cannot be read at revision ${at}: its history begins later, and no snapshot is of that revision; see its historyRevision, and its settings keepMs and keepCountMax`,
  );
}

/** At most `limit` files as they are, at one go. */
export function listNow(reads: Reads, query: WalkQuery, limit: number): ListedFile[] {
  const files: ListedFile[] = [];
  const walk = new FileWalk(reads, query);
  while (files.length < limit) {
    const next = walk.step();
    if (next === undefined) break;
    if (next !== null) files.push(next);
  }
  return files;
}

export function bucketNow(reads: Reads, name: string): BucketInfo | undefined {
  const stored = reads.get(bucketKey(name));
  return stored === undefined ? undefined : toInfo(name, stored, reads.count(fileRange(name, allPaths)));
}

/** The bucket in a state that does not change. */
export async function bucketIn(tree: HeldState["tree"], name: string): Promise<BucketInfo | undefined> {
  const stored = await tree.get(bucketKey(name));
  return stored === undefined ? undefined : toInfo(name, stored, await tree.count(fileRange(name, allPaths)));
}

/** As it is now, if it was there at the revision; `trimmed` when that cannot be told. `now`: the store's revision. */
export function bucketPast(reads: Reads, name: string, at: number, now: number): BucketInfo | undefined {
  const bucket = bucketNow(reads, name);
  if (bucket !== undefined && bucket.createRevision <= at && at <= now) return bucket;
  if (!isRetained(reads, name, at, now)) throw trimmedError(name, at);
  return undefined;
}

function toInfo(name: string, stored: Uint8Array, fileCount: number): BucketInfo {
  const { settings, createRevision, historyRevision: history } = decodeBucket(stored.slice());
  return { name, settings, createRevision, fileCount, historyRevision: history };
}

/** In the order of their names. */
export async function bucketsOf(tree: HeldState["tree"], signal: AbortSignal | undefined): Promise<BucketInfo[]> {
  const buckets: BucketInfo[] = [];
  for await (const batch of tree.entries({ ...allBuckets, signal })) {
    for (const { key, value } of batch) {
      const name = bucketOfKey(key);
      buckets.push(toInfo(name, value, await tree.count(fileRange(name, allPaths))));
    }
  }
  return buckets;
}

/** The versions of a path that are kept, oldest first. */
export async function versionsOf(
  tree: HeldState["tree"],
  bucket: string,
  path: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<FileVersion[]> {
  const versions: FileVersion[] = [];
  const made = await tree.get(bucketKey(bucket));
  if (made === undefined) return versions;
  const range = versionRange(bucket, path, decodeBucket(made).createRevision);
  for await (const batch of tree.entries({ ...range, signal })) {
    for (const { key, value } of batch) {
      versions.push({ file: toFile(value), supersededRevision: supersedingOf(key).revision });
    }
  }
  const now = await tree.get(fileKey(bucket, path));
  if (now !== undefined) versions.push({ file: toFile(now), supersededRevision: undefined });
  return versions;
}

/** The same as `isRetained` in a state that does not change. */
export function isRetainedIn(tree: HeldState["tree"], bucket: string, at: number, now: number): Promise<boolean> {
  return untilPresent(() => isRetained({ get: (key) => tree.getSync(key) }, bucket, at, now));
}

/** Runs a synchronous read of a state that does not change, from its beginning whenever a page had to be loaded. */
async function untilPresent<T>(read: () => T): Promise<T> {
  for (;;) {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      await error.load();
    }
  }
}

const batchCountMax = 256;
/** How long a walk goes on before other work has its turn. */
const sliceMs = 4;
/** Steps between two looks at the clock. */
const sliceCount = 64;
/** Pages that a walk loads before the cache is brought under its limit again; a step needs far fewer. */
const loadCountMax = 64;

/** The files of a state that does not change, as the query wants them, in batches; `at` undefined: as they are in it. */
export async function* listState(
  clock: Clock,
  tree: HeldState["tree"],
  query: FileQuery,
  at: number | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly ListedFile[], void, undefined> {
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  const plain = at === undefined && query.folders !== true;
  const batches = plain ? currentBatches(tree, query, signal) : walkBatches(clock, tree, query, at, signal);
  if (left <= 0) return;
  for await (const batch of batches) {
    yield batch.length <= left ? batch : batch.slice(0, left);
    left -= batch.length;
    if (left <= 0) return;
  }
}

/** Pages are read ahead. */
async function* currentBatches(
  tree: HeldState["tree"],
  query: FileQuery,
  signal: AbortSignal | undefined,
): AsyncGenerator<ListedFile[], void, undefined> {
  const { bucket, reverse } = query;
  const range = rangeOf(query);
  if (range === undefined) return;
  for await (const batch of tree.entries({ ...fileRange(bucket, range), reverse, signal })) {
    yield batch.map(({ key, value }) => ({ path: pathOfFile(bucket, key).slice(), file: toFile(value) }));
  }
}

async function* walkBatches(
  clock: Clock,
  tree: HeldState["tree"],
  query: FileQuery,
  at: number | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<ListedFile[], void, undefined> {
  const walk = new FileWalk({ entries: (range: TreeRangeOptions) => tree.entriesSync(range) }, query, at);
  let batch: ListedFile[] = [];
  let loadCount = 0;
  for (;;) {
    throwIfAborted(signal);
    const stop = walkSlice(clock, walk, batch);
    if (batch.length >= batchCountMax || (stop === "end" && batch.length > 0)) {
      yield batch;
      batch = [];
    }
    if (stop === "end") return;
    if (stop === "slice") await giveWay(clock);
    else if (stop !== "full") {
      await stop.load();
      // The asynchronous read trims the cache, which the synchronous ones of the walk do not.
      if (++loadCount % loadCountMax === 0) await tree.get(bucketKey(query.bucket));
    }
  }
}

/** Fills the batch; says why it stopped. */
function walkSlice(clock: Clock, walk: FileWalk, batch: ListedFile[]): "full" | "slice" | "end" | PageMissing {
  const endMs = clock.monotonicMs() + sliceMs;
  try {
    for (let count = 1; batch.length < batchCountMax; count++) {
      const next = walk.step();
      if (next === undefined) return "end";
      if (next !== null) batch.push(next);
      if (count % sliceCount === 0 && clock.monotonicMs() > endMs) return "slice";
    }
    return "full";
  } catch (error) {
    if (error instanceof PageMissing) return error;
    throw error;
  }
}
