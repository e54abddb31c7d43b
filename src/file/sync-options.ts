/** What a synchronisation is told, and what it tells. */
import type { HoldfastError } from "../base/index.ts";
import type { Patterns } from "./patterns.ts";
import type { TreeProgress } from "./tree.ts";

export type SyncEventType =
  | "upload"
  | "download"
  | "deleteStored"
  | "deleteLocal"
  /** Both sides have changed: what was under `path` on the disk is now under `other` on both sides. */
  | "conflict"
  /** It changed while it was looked at, or has no place on the other side: the next run tries again. */
  | "skipped"
  | "failed";

export interface SyncEvent {
  readonly type: SyncEventType;
  readonly path: string;
  readonly other?: string | undefined;
  readonly error?: HoldfastError | undefined;
}

export interface SyncOptions {
  /** Stands in the names of conflicting files: which machine, and when. Without `/`. */
  readonly label: string;
  /** The id of the store that the bucket is in: what was deleted in one says nothing of another. `members.list` has it. */
  readonly store: string;
  readonly patterns?: Patterns | undefined;
  /** Deletions go to the other side; without, what was deleted on one side comes back from the other. */
  readonly delete?: boolean | undefined;
  /** With `delete`: also when one side is empty, so that everything would go from the other. Else that is a `conflict`. */
  readonly force?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  /**
   * Takes a lock of this name, which is a place for a folder, and gives what releases it; rejects with `conflict` while somebody has
   * it. Two runs in one folder at once would write one state. Without it the caller sees to that.
   */
  readonly lock?: ((place: string) => Promise<() => Promise<void>>) | undefined;
  /** Default: `.holdfast-sync` in the folder. */
  readonly stateFile?: string | undefined;
  readonly parallelCount?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ((progress: TreeProgress) => void) | undefined;
  /** Called with what concerns the whole run: that the last state was not to be believed, for instance. */
  readonly warn?: ((message: string) => void) | undefined;
  readonly report?: ((event: SyncEvent) => void) | undefined;
}

/** What a run did, or with `dryRun` would do. */
export type SyncOutcome = Record<`${SyncEventType}Count` | "sameCount" | "newSize", number>;
