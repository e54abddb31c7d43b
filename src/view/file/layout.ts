/**
 * Where the file view keeps what in the tree. Numbers are big-endian, so that they sort; neither a bucket's name nor a path
 * has a zero byte, so that a zero ends them.
 *
 *   18 'b' bucket                                      → StoredBucket
 *   18 'f' bucket 00 path                              → StoredFile: the file as it is now
 *   18 'v' bucket 00 path 00 supersededRevision:8 index:4 → StoredFile: a version that was superseded or deleted
 *   18 's' bucket 00 supersededRevision:8 index:4      → StoredAging: whose version that was, and since when
 *   18 'u' lease:8                                     → StoredUpload; it goes with its lease
 *   18 'd'                                             → the revision of the last command that deleted a bucket
 *
 * The versions of a bucket stand under 's' in the order in which they age: those that may go are at its beginning. An entry
 * under 'v' has one under 's' with the same numbers, and the other way round.
 */
import {
  bytes,
  concatBytes,
  embed,
  message,
  prefixEnd,
  readUint32BE,
  readUint64BE,
  uint64,
  utf8Decode,
  utf8Encode,
  writeUint32BE,
  writeUint64BE,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import type { KeyRange } from "../view.ts";
import { BucketSettings } from "./file-operation.ts";

export const fileViewId = 18;

const bucketSpace = 0x62;
const fileSpace = 0x66;
const versionSpace = 0x76;
const agingSpace = 0x73;
const uploadSpace = 0x75;
const deletionSpace = 0x64;

export const StoredBucket = message("holdfast.file.StoredBucket", {
  settings: embed(1, BucketSettings),
  /** The revision that made it. Versions superseded up to it are of an earlier bucket of this name, and only wait to go. */
  createRevision: uint64(2),
  /** The bucket is readable from this revision on; see `BucketInfo`. */
  historyRevision: uint64(3),
});
export type StoredBucket = Omit<Infer<typeof StoredBucket>, "settings"> & {
  readonly settings: BucketSettings;
};

export const StoredAging = message("holdfast.file.StoredAging", {
  path: bytes(1),
  /** Store time when the version was superseded, milliseconds since the Unix epoch. */
  timeMs: uint64(2),
});

export const StoredUpload = message("holdfast.file.StoredUpload", {
  /** That of the command that began it. */
  revision: uint64(1),
});

/** Which entry under 'v' and 's': the revision that superseded the version, and where in its command. */
export interface Superseding {
  readonly revision: number;
  readonly index: number;
}

const numbersSize = 12;

function space(letter: number): Uint8Array {
  return new Uint8Array([fileViewId, letter]);
}

const zero = new Uint8Array(1);

function numbersOf({ revision, index }: Superseding): Uint8Array {
  const numbers = new Uint8Array(numbersSize);
  writeUint64BE(numbers, 0, revision);
  writeUint32BE(numbers, 8, index);
  return numbers;
}

/** The numbers that end a key under 'v' or 's'. */
export function supersedingOf(whole: Uint8Array): Superseding {
  const at = whole.length - numbersSize;
  return { revision: readUint64BE(whole, at), index: readUint32BE(whole, at + 8) };
}

export function bucketKey(bucket: string): Uint8Array {
  return concatBytes([space(bucketSpace), utf8Encode(bucket)]);
}

export const allBuckets: Required<KeyRange> = { start: space(bucketSpace), end: space(bucketSpace + 1) };

/** The name in a `bucketKey`. */
export function bucketOfKey(whole: Uint8Array): string {
  return utf8Decode(whole.subarray(2));
}

function inBucket(letter: number, bucket: string, tail: readonly Uint8Array[]): Uint8Array {
  return concatBytes([space(letter), utf8Encode(bucket), zero, ...tail]);
}

/** Where paths of a bucket begin in its keys under 'f' and 'v'. */
function pathOffset(bucket: string): number {
  return 3 + utf8Encode(bucket).length;
}

export function fileKey(bucket: string, path: Uint8Array): Uint8Array {
  return inBucket(fileSpace, bucket, [path]);
}

/** The path in a `fileKey` of the bucket: a view. */
export function pathOfFile(bucket: string, whole: Uint8Array): Uint8Array {
  return whole.subarray(pathOffset(bucket));
}

export function versionKey(bucket: string, path: Uint8Array, superseding: Superseding): Uint8Array {
  return inBucket(versionSpace, bucket, [path, zero, numbersOf(superseding)]);
}

/** The path in a `versionKey` of the bucket: a view. */
export function pathOfVersion(bucket: string, whole: Uint8Array): Uint8Array {
  return whole.subarray(pathOffset(bucket), whole.length - numbersSize - 1);
}

/** The versions of a path that were superseded after `revision`. */
export function versionRange(bucket: string, path: Uint8Array, revision: number): Required<KeyRange> {
  return {
    start: versionKey(bucket, path, { revision: revision + 1, index: 0 }),
    end: inBucket(versionSpace, bucket, [path, new Uint8Array([1])]),
  };
}

/** A range of paths in a bucket: of files as they are, or of versions. Bounds without a zero byte. */
export interface PathRange {
  readonly start: Uint8Array;
  /** Excluded; undefined: to the last. */
  readonly end: Uint8Array | undefined;
}

function pathRange(letter: number, bucket: string, { start, end }: PathRange): Required<KeyRange> {
  const last = concatBytes([space(letter), utf8Encode(bucket), new Uint8Array([1])]);
  return { start: inBucket(letter, bucket, [start]), end: end === undefined ? last : inBucket(letter, bucket, [end]) };
}

export function fileRange(bucket: string, paths: PathRange): Required<KeyRange> {
  return pathRange(fileSpace, bucket, paths);
}

export function versionsRange(bucket: string, paths: PathRange): Required<KeyRange> {
  return pathRange(versionSpace, bucket, paths);
}

export const allPaths: PathRange = { start: new Uint8Array(0), end: undefined };

/** All paths that begin with the bytes. */
export function prefixRange(prefix: Uint8Array): PathRange {
  return { start: prefix, end: prefixEnd(prefix) };
}

export function agingKey(bucket: string, superseding: Superseding): Uint8Array {
  return inBucket(agingSpace, bucket, [numbersOf(superseding)]);
}

/** The bucket in an `agingKey`. */
export function bucketOfAging(whole: Uint8Array): string {
  return utf8Decode(whole.subarray(2, whole.length - numbersSize - 1));
}

export function agingRange(bucket: string): Required<KeyRange> {
  return pathRange(agingSpace, bucket, allPaths);
}

/** What ages in buckets whose names come after this one; undefined: in all. */
export function agingAfter(bucket: string | undefined): Required<KeyRange> {
  const start = bucket === undefined ? space(agingSpace) : agingRange(bucket).end;
  return { start, end: space(agingSpace + 1) };
}

export function uploadKey(lease: bigint): Uint8Array {
  const whole = new Uint8Array(10);
  whole.set(space(uploadSpace));
  new DataView(whole.buffer).setBigUint64(2, lease);
  return whole;
}

export const allUploads: Required<KeyRange> = { start: space(uploadSpace), end: space(uploadSpace + 1) };

export const deletionKey: Uint8Array = space(deletionSpace);

/** Where the tree has files: every value in these ranges is a `StoredFile`. */
export const fileRanges: readonly Required<KeyRange>[] = [
  { start: space(fileSpace), end: space(fileSpace + 1) },
  { start: space(versionSpace), end: space(versionSpace + 1) },
];
