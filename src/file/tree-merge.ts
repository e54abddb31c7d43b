/**
 * A tree on the disk beside one in a bucket, path by path, in one pass over both: each side comes in the order of the bytes
 * of whole paths, so that neither has to be in memory.
 */
import type { FileStat } from "../base/index.ts";
import { HoldfastError } from "../base/index.ts";
import type { FileRecord } from "./file-record.ts";
import type { PastFiles } from "./files.ts";
import type { Patterns } from "./patterns.ts";
import { comparePaths, joinPath } from "./tree-path.ts";
import type { Walked } from "./tree-walk.ts";

/** What trees need of `Files` to read a bucket; `store.at(revision).files(bucket)` has it, too. */
export type TreeSource = Pick<PastFiles, "bucket" | "stat" | "list" | "open">;

/** An entry of a bucket with its path in the tree. */
export interface StoredEntry {
  readonly path: string;
  readonly record: FileRecord;
}

/** What the two sides have under one path. */
export interface Pair {
  readonly path: string;
  readonly local: Walked | undefined;
  readonly stored: FileRecord | undefined;
  /** What is on the disk is not known (see `WalkedGap`): that it is absent does not mean that it is gone. */
  readonly hidden: boolean;
}

/** The entries of a tree: that of its top under the empty path, if there is one, then all below. */
export async function* storedTree(
  files: TreeSource,
  prefix: string,
  options: { readonly patterns?: Patterns | undefined; readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<StoredEntry, void, undefined> {
  const { patterns, signal } = options;
  if (prefix !== "") {
    const record = await files.stat(prefix, { signal });
    if (record !== undefined) yield { path: "", record };
  }
  const start = prefix === "" ? "" : `${prefix}/`;
  for await (const record of files.list({ prefix: start, signal })) {
    const path = record.path.slice(start.length);
    const taken = patterns === undefined || patterns.empty || patterns.of(path, record.type === "folder") === "take";
    if (taken) yield { path, record };
  }
}

/** Both sides must be sorted; an entry that is out of order is `corrupt`. */
export async function* mergeTrees(
  walk: AsyncIterable<Walked>,
  stored: AsyncIterable<StoredEntry>,
): AsyncGenerator<Pair, void, undefined> {
  const left = new Ahead(walk);
  const right = new Ahead(stored);
  let gap: string | undefined;
  try {
    await Promise.all([left.advance(), right.advance()]);
    while (left.next !== undefined || right.next !== undefined) {
      const [local, entry] = [left.next, right.next];
      const order = local === undefined ? 1 : entry === undefined ? -1 : comparePaths(local.path, entry.path);
      const path = (order <= 0 ? local : entry)?.path ?? "";
      if (order <= 0 && local?.type === "gap") gap = local.path;
      const hidden = gap !== undefined && path.startsWith(gap);
      yield {
        path,
        local: order <= 0 ? local : undefined,
        stored: order >= 0 ? entry?.record : undefined,
        hidden,
      };
      if (order <= 0) await left.advance();
      if (order >= 0) await right.advance();
    }
  } finally {
    await Promise.all([left.end(), right.end()]);
  }
}

/** The head of a stream. */
class Ahead<T extends { readonly path: string }> {
  readonly #items: AsyncIterator<T, void, undefined>;
  next: T | undefined;

  constructor(items: AsyncIterable<T>) {
    this.#items = items[Symbol.asyncIterator]();
  }

  async advance(): Promise<void> {
    const { done, value } = await this.#items.next();
    const next = done === true ? undefined : value;
    if (next !== undefined && this.next !== undefined && comparePaths(this.next.path, next.path) >= 0) {
      const places = `${JSON.stringify(next.path)} came after ${JSON.stringify(this.next.path)}`;
      throw new HoldfastError("corrupt", `a list of files is out of order: ${places}`);
    }
    this.next = next;
  }

  async end(): Promise<void> {
    await this.#items.return?.();
  }
}

/** Where an entry of the tree is in the bucket. */
export function storedPath(prefix: string, path: string): string {
  return joinPath(prefix, path);
}

/** Whether two statuses are of the same file that nobody has written to in between. */
export function sameStat(a: FileStat, b: FileStat): boolean {
  return (
    a.type === b.type &&
    a.size === b.size &&
    a.modifiedNs === b.modifiedNs &&
    a.changedNs === b.changedNs &&
    a.inode === b.inode &&
    a.device === b.device
  );
}
