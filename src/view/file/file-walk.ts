/**
 * A walk along the files of a bucket, as they are or as they were at a revision, one step at a time.
 *
 * What is now stands under 'f'; of what was at revision r, a part stands there (files not written since), the rest among the
 * superseded versions: of each path the first that was superseded after r, if it was written by then. Both are walked side
 * by side. What need not be looked at, such as what is below a folder of which only the name is wanted, is passed by a
 * look-up, not entry by entry.
 *
 * A step that throws `PageMissing` has moved nothing: load the page and take it again. The state must not change meanwhile.
 */
import { compareBytes, equalBytes, limits, prefixEnd } from "../../base/index.ts";
import type { TreeEntry, TreeRangeOptions } from "../../tree/index.ts";
import type { StoredFile } from "./file-operation.ts";
import type { FileQuery, ListedFile } from "./file-source.ts";
import { decodeFile } from "./file-state.ts";
import {
  fileRange,
  pathOfFile,
  pathOfVersion,
  prefixRange,
  supersedingOf,
  versionRange,
  versionsRange,
} from "./layout.ts";
import type { PathRange } from "./layout.ts";

/** What a walk needs of a state. It throws `PageMissing`. */
export interface WalkedState {
  entries(range: TreeRangeOptions): IterableIterator<TreeEntry>;
}

/** Entries that are passed one by one before a look-up is made: a look-up costs about as much. */
const stepCountMax = 8;

/** Entries of a range with a look at the next one. */
class Cursor {
  readonly #state: WalkedState;
  readonly #range: TreeRangeOptions;
  #entries: IterableIterator<TreeEntry>;
  /** What comes before it is not wanted: keys below it, or from it on in a reversed range. */
  #bound: Uint8Array | undefined;
  #head: TreeEntry | undefined;

  constructor(state: WalkedState, range: TreeRangeOptions) {
    this.#state = state;
    this.#range = range;
    this.#entries = state.entries(range);
  }

  peek(): TreeEntry | undefined {
    for (let count = 0; this.#head === undefined; count++) {
      if (count === stepCountMax) this.#entries = this.#state.entries({ ...this.#range, ...this.#rest() });
      const { value, done } = this.#entries.next();
      if (done === true) return undefined;
      if (!this.#passes(value.key)) this.#head = value;
    }
    return this.#head;
  }

  #rest(): TreeRangeOptions {
    return this.#range.reverse === true ? { end: this.#bound } : { start: this.#bound };
  }

  #passes(key: Uint8Array): boolean {
    if (this.#bound === undefined) return false;
    return compareBytes(key, this.#bound) < 0 !== (this.#range.reverse === true);
  }

  take(): void {
    this.#head = undefined;
  }

  /** Goes on at `bound`, or before it in a reversed range; never back. */
  skipTo(bound: Uint8Array): void {
    if (this.#bound !== undefined && this.#passes(bound)) return;
    this.#bound = bound;
    if (this.#head !== undefined && this.#passes(this.#head.key)) this.#head = undefined;
  }
}

/** A bound of paths in a form without a zero byte, which no path has, and no longer than a path by much. */
function pathBound(bound: Uint8Array, sizeMax: number): Uint8Array {
  const zero = bound.indexOf(0);
  const size = Math.min(zero < 0 ? bound.length : zero, sizeMax);
  if (size === bound.length) return bound;
  // Of all that begin with what is left, only that itself comes before the bound.
  const short = new Uint8Array(size + 1);
  short.set(bound.subarray(0, size));
  short[size] = 1;
  return short;
}

const slash = 0x2f;

/** The paths that a query means; undefined when there can be none. */
export function rangeOf({
  prefix,
  start,
  reverse,
}: Pick<FileQuery, "prefix" | "start" | "reverse">): PathRange | undefined {
  if (prefix.includes(0) || prefix.length > limits.filePathSizeMax) return undefined;
  const all = prefixRange(prefix);
  if (start === undefined) return all;
  const bound = pathBound(start, limits.filePathSizeMax);
  const range =
    reverse === true
      ? { start: prefix, end: all.end === undefined || compareBytes(bound, all.end) < 0 ? bound : all.end }
      : { start: compareBytes(bound, prefix) > 0 ? bound : prefix, end: all.end };
  return range.end === undefined || compareBytes(range.start, range.end) < 0 ? range : undefined;
}

/** The part of a query that says which files. */
export type WalkQuery = Pick<FileQuery, "bucket" | "prefix" | "start" | "folders" | "reverse">;

export class FileWalk {
  readonly #state: WalkedState;
  readonly #query: WalkQuery;
  readonly #reverse: boolean;
  readonly #at: number;
  /** Undefined when no path can be meant. */
  readonly #files: Cursor | undefined;
  /** Undefined when files are wanted as they are. */
  readonly #versions: Cursor | undefined;

  /** `at`: a revision that the bucket can be read at; undefined: the files as they are. */
  constructor(state: WalkedState, query: WalkQuery, at?: number) {
    const { bucket, reverse = false } = query;
    this.#state = state;
    this.#query = query;
    this.#reverse = reverse;
    this.#at = at ?? Number.POSITIVE_INFINITY;
    const range = rangeOf(query);
    if (range === undefined) return;
    this.#files = new Cursor(state, { ...fileRange(bucket, range), reverse });
    if (at !== undefined) this.#versions = new Cursor(state, { ...versionsRange(bucket, range), reverse });
  }

  /** The next file, the caller's to keep; null when the step found none; undefined at the end. */
  step(): ListedFile | null | undefined {
    const { bucket } = this.#query;
    const version = this.#versions?.peek();
    if (version !== undefined && this.#passVersions(version)) return null;
    const file = this.#files?.peek();
    if (file === undefined && version === undefined) return undefined;
    const filePath = file === undefined ? undefined : pathOfFile(bucket, file.key);
    const versionPath = version === undefined ? undefined : pathOfVersion(bucket, version.key);
    const path = this.#nearer(filePath, versionPath).slice();
    const [isFile, isVersion] = [isSame(filePath, path), isSame(versionPath, path)];
    let found = isFile ? decodeFile((file as TreeEntry).value.slice()) : undefined;
    if (found !== undefined && found.revision > this.#at) found = undefined;
    if (found === undefined && isVersion) found = this.#pastFile(path, version as TreeEntry);
    // From here on nothing is thrown.
    const folder = found === undefined ? undefined : this.#folderOf(path);
    if (folder !== undefined) this.#passFolder(folder);
    if (isFile) this.#files?.take();
    if (isVersion) {
      const { start, end } = versionRange(bucket, path, -1);
      this.#versions?.skipTo(this.#reverse ? start : end);
    }
    if (found === undefined) return null;
    return folder === undefined ? { path, file: found } : { path: folder, file: undefined };
  }

  #nearer(a: Uint8Array | undefined, b: Uint8Array | undefined): Uint8Array {
    // One of the two is there.
    if (a === undefined || b === undefined) return (a ?? b) as Uint8Array;
    return compareBytes(a, b) < 0 !== this.#reverse ? a : b;
  }

  /** Passes versions of one path of which none, or none so far, is wanted. */
  #passVersions({ key }: TreeEntry): boolean {
    if (supersedingOf(key).revision > this.#at) return false;
    const { bucket } = this.#query;
    const path = pathOfVersion(bucket, key);
    // In a reversed walk the last one comes first, and those before it were superseded earlier still.
    this.#versions?.skipTo(versionRange(bucket, path, this.#reverse ? -1 : this.#at).start);
    return true;
  }

  /** The version that was superseded first after the revision, if it was there at the revision. */
  #pastFile(path: Uint8Array, entry: TreeEntry): StoredFile | undefined {
    let { value } = entry;
    if (this.#reverse) {
      // The entry itself is in this range.
      const first = this.#state.entries(versionRange(this.#query.bucket, path, this.#at)).next();
      ({ value } = first.value as TreeEntry);
    }
    const file = decodeFile(value.slice());
    return file.revision <= this.#at ? file : undefined;
  }

  #folderOf(path: Uint8Array): Uint8Array | undefined {
    if (this.#query.folders !== true) return undefined;
    const end = path.indexOf(slash, this.#query.prefix.length);
    return end < 0 ? undefined : path.slice(0, end + 1);
  }

  #passFolder(folder: Uint8Array): void {
    // It ends with a slash, so there is a next one.
    const behind = { start: prefixEnd(folder) as Uint8Array, end: undefined };
    this.#files?.skipTo(fileRange(this.#query.bucket, behind).start);
    this.#versions?.skipTo(versionsRange(this.#query.bucket, behind).start);
  }
}

function isSame(path: Uint8Array | undefined, other: Uint8Array): boolean {
  return path !== undefined && equalBytes(path, other);
}
