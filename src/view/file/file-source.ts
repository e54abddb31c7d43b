/**
 * Where the names of files are read and written: the contract between the public face (`file/`) and what is behind it, a
 * replica in this process (`local.ts`) or one elsewhere (`remote.ts`).
 */
import type { Revision } from "../../base/index.ts";
import type { Proposer } from "../command.ts";
import type { ReadOptions } from "../key/key-source.ts";
import type { BucketSettings, StoredFile } from "./file-operation.ts";

export interface FileQuery {
  readonly bucket: string;
  /** Only paths that begin with these bytes; empty: all. */
  readonly prefix: Uint8Array;
  /** Only paths at or after this one, or before it when `reverse`: where a list goes on. */
  readonly start?: Uint8Array | undefined;
  /** One level: of paths that have a `/` behind the prefix, only the part up to it, once. Not with `reverse`. */
  readonly folders?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
  /** The state at this revision; undefined: now. */
  readonly at?: number | undefined;
}

/** A file, or with `folders` what several paths have in common (`file` undefined; the path ends with `/`). */
export interface ListedFile {
  readonly path: Uint8Array;
  readonly file: StoredFile | undefined;
}

/** Neighbours of one list, all of one state. */
export interface FileBatch {
  readonly revision: number;
  readonly files: readonly ListedFile[];
}

export interface FileVersion {
  readonly file: StoredFile;
  /** The revision that superseded or deleted it; undefined for the current version. */
  readonly supersededRevision: number | undefined;
}

export interface BucketInfo {
  readonly name: string;
  readonly settings: BucketSettings;
  readonly createRevision: number;
  /** Files that there are now. */
  readonly fileCount: number;
  /** Before this revision some versions are forgotten: the bucket is readable from here on. */
  readonly historyRevision: number;
}

/**
 * Reading a past revision: `trimmed` when the bucket's history does not reach so far and no snapshot pins that revision;
 * `invalid` when it is in the future. A bucket that does not exist has no files.
 */
export interface FileSource extends Proposer {
  get(bucket: string, path: Uint8Array, at: number | undefined, options: ReadOptions): Promise<StoredFile | undefined>;
  list(query: FileQuery, options: ReadOptions): AsyncIterable<FileBatch>;
  /** The retained versions of a path, oldest first. */
  versions(bucket: string, path: Uint8Array, options: ReadOptions): Promise<readonly FileVersion[]>;
  /**
   * At a revision that a snapshot pins, as it was then. Of another one in the past what a bucket was is not kept: it is as it
   * is now if it is the same bucket, and undefined if there was none.
   */
  bucket(name: string, options: ReadOptions, at?: number): Promise<BucketInfo | undefined>;
  /** In the order of their names. */
  buckets(options: ReadOptions): Promise<readonly BucketInfo[]>;
  revision(options: ReadOptions): Promise<Revision>;
}
