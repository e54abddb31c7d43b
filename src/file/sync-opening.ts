/**
 * What is looked at before a folder and a tree of a bucket are brought together: whether the last state is to be believed,
 * and whether a side that has lost everything is to take the other one with it.
 */
import { HoldfastError } from "../base/index.ts";
import type { Files } from "./files.ts";
import type { SyncOptions } from "./sync-options.ts";
import { SyncState } from "./sync-state.ts";
import type { TreeFiles, TreeParts } from "./tree.ts";
import { storedTree } from "./tree-merge.ts";
import { joinPath, syncStateName } from "./tree-path.ts";
import { walkTree } from "./tree-walk.ts";

/** What synchronising needs of `Files`. */
export type SyncFiles = TreeFiles & Pick<Files, "parts" | "versions">;

/** The two sides. */
export interface SyncSides {
  readonly parts: TreeParts;
  readonly files: SyncFiles;
  readonly root: string;
  readonly prefix: string;
  readonly options: SyncOptions;
  readonly signal: AbortSignal;
}

export function stateFileOf({ root, options }: Pick<SyncSides, "root" | "options">): string {
  return options.stateFile ?? joinPath(root, syncStateName);
}

/** The state of the last time, read and judged. `conflict` when one side is empty and the other would be, too. */
export async function openState(sides: SyncSides): Promise<SyncState> {
  const { parts, files, prefix, options, signal } = sides;
  const info = await files.info({ signal });
  const header = { store: options.store, bucket: files.bucket, prefix, createRevision: info?.createRevision ?? 0 };
  const state = new SyncState(parts.fileSystem, stateFileOf(sides), header);
  // Without it a dry run could tell of more work than there is, and a real one does this first.
  if (options.dryRun !== true) await state.recover();
  const { count, distrust } = await state.survey(await files.parts.source.revision({ signal }));
  if (distrust !== undefined) {
    options.warn?.(`${distrust}; so the contents of both sides are compared, and nothing is deleted this time`);
  }
  if (options.delete === true && options.force !== true && count > 0) await checkEmptied(sides, count);
  return state;
}

/** A disk that is not mounted, a bucket that somebody has cleared by mistake: all that is left is the other side. */
async function checkEmptied(sides: SyncSides, count: number): Promise<void> {
  const { files, root, prefix } = sides;
  const [isLocalEmpty, isStoredEmpty] = [await hasNone(localPaths(sides)), await hasNone(storedPaths(sides))];
  // Where both are empty there is nothing to delete.
  if (isLocalEmpty === isStoredEmpty) return;
  const tree = `${files.bucket}:${prefix}`;
  const [empty, other] = isLocalEmpty ? [root, tree] : [tree, root];
  throw new HoldfastError(
    "conflict",
    `${empty} is empty, and had ${count} path${count === 1 ? "" : "s"} in common with ${other} the last time; nothing was deleted. If all that is to go from ${other}, too, use force (--force); without delete it comes back`,
  );
}

/** What cannot be read may hold anything: it is no empty folder. */
async function* localPaths({ parts, root, options, signal }: SyncSides): AsyncGenerator<string, void, undefined> {
  const stat = await parts.fileSystem.stat(root);
  if (stat === undefined) return;
  for await (const { type, path } of walkTree(parts.fileSystem, root, stat, { patterns: options.patterns, signal })) {
    if (type !== "own") yield path;
  }
}

async function* storedPaths({ files, prefix, options, signal }: SyncSides): AsyncGenerator<string, void, undefined> {
  for await (const { path } of storedTree(files, prefix, { patterns: options.patterns, signal })) {
    if (path !== "") yield path;
  }
}

async function hasNone(paths: AsyncIterable<string>): Promise<boolean> {
  for await (const _ of paths) return false;
  return true;
}

/**
 * Whether the bucket has had this version, which it has not now: it was replaced or deleted. Else the bucket was set back to a
 * state without it. As long as old versions are kept, it is among them; when it may have gone, it is believed.
 */
export async function hadVersion(
  files: SyncFiles,
  path: string,
  revision: number,
  signal: AbortSignal,
): Promise<boolean> {
  const versions = await files.versions(path, { signal });
  if (versions.some((version) => version.revision === revision)) return true;
  const info = await files.info({ signal });
  return info !== undefined && info.createRevision <= revision && info.historyRevision > revision;
}
