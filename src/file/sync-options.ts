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
  readonly patterns?: Patterns | undefined;
  /** Deletions go to the other side; without, what was deleted on one side comes back from the other. */
  readonly delete?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  /** Default: `.holdfast-sync` in the folder. */
  readonly stateFile?: string | undefined;
  readonly parallelCount?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ((progress: TreeProgress) => void) | undefined;
  readonly report?: ((event: SyncEvent) => void) | undefined;
}

/** What a run did, or with `dryRun` would do. */
export type SyncOutcome = Record<`${SyncEventType}Count` | "sameCount" | "newSize", number>;
