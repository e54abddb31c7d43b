/** How a store is opened. The options are checked before anything is opened or made. */
import { HoldfastError } from "../base/index.ts";
import type { ChunkPipeline } from "../blob/index.ts";
import type { EngineKind } from "../log/index.ts";
import type { CollectorOptions, ReplicaOptions, ScrubberOptions } from "../view/index.ts";

export interface OpenOptions extends ReplicaOptions {
  /** The member's name in logs and status. Default `holdfast`. */
  readonly name?: string;
  /** Past revisions that stay readable, at least; 0 keeps all. Default 100,000. */
  readonly historyRevisions?: number;
  /** Fail with `notFound` where there is no store, instead of making one. */
  readonly mustExist?: boolean;
  /** Keep everything in memory: nothing is read from the disk or written to it. */
  readonly inMemory?: boolean;
  /** When garbage is collected by itself, and how fast. */
  readonly collection?: CollectorOptions;
  /** When everything is read by itself to find damage, and how fast. */
  readonly scrubbing?: ScrubberOptions;
  /** What cuts, hashes and compresses files. Default: done in place. Closed with the store. */
  readonly pipeline?: ChunkPipeline;
  /** Sizes of the journal's segment files in bytes. */
  readonly segmentSizeMin?: number;
  readonly segmentSizeMax?: number;
  /** Kinds of engines, beside files, to which the log may move and in which it may be. Default: none. */
  readonly logs?: readonly EngineKind[];
  /** Size at which a pack of blobs is complete, in bytes. */
  readonly packSizeMax?: number;
}

const segmentSizeLeast = 1_024;
const segmentSizeMost = 1_073_741_824;

/** `invalid`, naming the option and its bounds. What concerns packs is checked where they are opened. */
export function checkOpenOptions(options: OpenOptions): void {
  const { segmentSizeMin, segmentSizeMax } = options;
  for (const [name, value] of Object.entries({ segmentSizeMin, segmentSizeMax })) {
    if (value === undefined) continue;
    if (!Number.isSafeInteger(value) || value < segmentSizeLeast || value > segmentSizeMost) {
      throw invalid(name, value, `a whole number from ${segmentSizeLeast} to ${segmentSizeMost}`);
    }
  }
  if (segmentSizeMin !== undefined && segmentSizeMax !== undefined && segmentSizeMin > segmentSizeMax) {
    throw invalid("segmentSizeMin", segmentSizeMin, `at most segmentSizeMax, which is ${segmentSizeMax}`);
  }
  const { historyRevisions } = options;
  if (historyRevisions !== undefined && (!Number.isSafeInteger(historyRevisions) || historyRevisions < 0)) {
    throw invalid("historyRevisions", historyRevisions, "a whole number, 0 or more");
  }
  const { cacheSizeMax, checkpointLogSizeMin, checkpointIdleMs, dirtySizeMax } = options;
  for (const [name, value] of Object.entries({ cacheSizeMax, checkpointLogSizeMin, checkpointIdleMs, dirtySizeMax })) {
    if (value !== undefined && !(typeof value === "number" && value >= 0)) throw invalid(name, value, "0 or more");
  }
}

function invalid(name: string, value: unknown, bounds: string): HoldfastError {
  return new HoldfastError("invalid", `${name} is ${String(value)}; it must be ${bounds}`);
}
