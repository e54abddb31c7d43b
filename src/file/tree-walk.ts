/**
 * A tree of the file system as a stream of what is in it, in the order of the bytes of whole paths (tree-path.ts).
 *
 * 1. Symbolic links are told of and never followed.
 * 2. A folder comes before all that is in it, and `path/` right before that where it cannot be told what there is.
 * 3. Memory: the folders on the way down to the present one, and a few that are read ahead.
 */
import { HoldfastError, throwIfAborted } from "../base/index.ts";
import type { FileStat, FileSystem, FolderEntry } from "../base/index.ts";
import { Patterns } from "./patterns.ts";
import type { Selection } from "./patterns.ts";
import { comparePaths, isOwnName, joinPath } from "./tree-path.ts";

/** Something that is there. */
interface WalkedEntry {
  readonly type: "entry";
  readonly path: string;
  readonly stat: FileStat;
}

/** What is below a folder, whose path with a `/` this is, is not known: it cannot be read, or is not to be. */
interface WalkedGap {
  readonly type: "gap";
  readonly path: string;
  /** Undefined where that was asked for. */
  readonly error: unknown;
}

/** A file that Holdfast itself has left there (`isOwnName`). */
interface WalkedOwn {
  readonly type: "own";
  readonly path: string;
  readonly stat: FileStat;
}

export type Walked = WalkedEntry | WalkedGap | WalkedOwn;

export interface WalkOptions {
  readonly patterns?: Patterns | undefined;
  /** Other file systems that are mounted below are gaps. */
  readonly oneFileSystem?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

type Listing = { readonly entries: FolderEntry[] } | { readonly error: unknown };

/** What is still to come of one folder, the next last. Without `walked` a step goes down into the folder `path`. */
interface Step {
  readonly path: string;
  readonly walked: Walked | undefined;
  readonly selection: Selection;
  listing?: Promise<Listing> | undefined;
}

/** Folders that are read before their turn. */
const aheadCountMax = 8;

/** What is below `root`, a folder whose status is `stat`; not the folder itself. */
export async function* walkTree(
  fileSystem: FileSystem,
  root: string,
  stat: FileStat,
  { patterns = new Patterns(), oneFileSystem = false, signal }: WalkOptions = {},
): AsyncGenerator<Walked, void, undefined> {
  const list = (path: string) =>
    fileSystem.list(joinPath(root, path)).then(
      (entries): Listing => ({ entries }),
      (error: unknown): Listing => ({ error }),
    );
  const stack: Step[][] = [[{ path: "", walked: undefined, selection: patterns.root }]];
  let aheadCount = 0;
  while (stack.length > 0) {
    throwIfAborted(signal);
    const steps = stack.at(-1) as Step[]; // The loop's condition says that there is one.
    const step = steps.pop();
    if (step === undefined) {
      stack.pop();
      continue;
    }
    if (step.walked !== undefined) {
      yield step.walked;
      continue;
    }
    // The folders of one folder are read ahead together, which hides the time that one takes.
    for (let at = steps.length - 1; at >= 0 && at >= steps.length - 64 && aheadCount < aheadCountMax; at--) {
      const next = steps[at] as Step;
      if (next.walked !== undefined || next.listing !== undefined) continue;
      next.listing = list(next.path);
      aheadCount++;
    }
    if (step.listing !== undefined) aheadCount--;
    const listing = await (step.listing ?? list(step.path));
    if ("error" in listing) {
      // A folder that has gone meanwhile has nothing in it.
      const gone = listing.error instanceof HoldfastError && listing.error.code === "notFound" && step.path !== "";
      if (!gone) yield { type: "gap", path: step.path === "" ? "" : `${step.path}/`, error: listing.error };
      continue;
    }
    stack.push(stepsOf(listing.entries, step, { patterns, device: oneFileSystem ? stat.device : undefined }));
  }
}

interface Rules {
  readonly patterns: Patterns;
  /** The only device that is walked; undefined: all. */
  readonly device: bigint | undefined;
}

/** Steps for what is in a folder, the first last. */
function stepsOf(entries: readonly FolderEntry[], folder: Step, { patterns, device }: Rules): Step[] {
  const steps: Step[] = [];
  let sorted = true;
  for (const { name, stat } of entries) {
    const path = joinPath(folder.path, name);
    if (isOwnName(name)) {
      steps.push({ path, walked: { type: "own", path, stat }, selection: "skip" });
      continue;
    }
    const isFolder = stat.type === "folder";
    const selection = patterns.below(folder.selection, path, isFolder);
    if (selection === "take") steps.push({ path, walked: { type: "entry", path, stat }, selection });
    if (selection === "skip" || !isFolder) continue;
    const elsewhere = device !== undefined && stat.device !== device;
    const gap: Walked | undefined = elsewhere ? { type: "gap", path: `${path}/`, error: undefined } : undefined;
    steps.push({ path, walked: gap, selection });
    sorted = false;
  }
  // The file system sorts names; going down into `a` has its place at `a/`, perhaps after `a-b`.
  if (!sorted) steps.sort((a, b) => comparePaths(placeOf(a), placeOf(b)));
  return steps.toReversed();
}

function placeOf({ path, walked }: Step): string {
  return walked === undefined ? `${path}/` : walked.path;
}
