/**
 * What lies under a store: its log, its blobs and its checkpoints.
 *
 * In the data directory of a store on its own: `log/` the journal, or where the log has moved (store-log.ts), `blobs/` the
 * packs of the state's pages, `chunks/` those of file chunks, `checkpoints/`, and the lock. A member of a cluster has `raft/`
 * instead of `log/`, `places` once its log has moved (cluster/member-log.ts), the file `member`, and `fetching/`, where the
 * checkpoint stands whose pages it fetches from others.
 */
import { HoldfastError } from "../base/index.ts";
import type { DiskLock, Env } from "../base/index.ts";
import { MemoryBlobStore, PackBlobStore } from "../blob/index.ts";
import { MemoryEngine } from "../log/index.ts";
import type { JournalReport, LogEngine } from "../log/index.ts";
import { DiskCheckpoints, MemoryCheckpoints } from "../view/index.ts";
import type { CheckpointStore } from "../view/index.ts";
import type { OpenOptions } from "./open-options.ts";
import { ChainLogFiles, logDirectory, openStoreLog } from "./store-log.ts";

/** Where a member of a cluster has its log. */
export const raftDirectory = "raft";

/** What an engine with files says of them. */
interface LogFiles {
  /** Bytes of the files, and bytes written to them since they were opened. */
  readonly size: number;
  readonly writtenSize: number;
  verify(options?: { readonly signal?: AbortSignal }): AsyncIterable<JournalReport>;
}

export interface Storage {
  readonly log: LogEngine;
  /** A log that `log` lies on, closed behind it. */
  readonly under?: LogEngine;
  /** Absent for a log that is only in memory. */
  readonly files: LogFiles | undefined;
  /** The pages of the state. */
  readonly blobs: PackBlobStore | MemoryBlobStore;
  /** The chunks of files. */
  readonly chunks: PackBlobStore | MemoryBlobStore;
  readonly checkpoints: CheckpointStore;
  /** Notes of states that are being fetched from other members. */
  readonly fetching?: CheckpointStore;
  /** Released when the storage is closed. */
  readonly lock: DiskLock | undefined;
}

export function memoryStorage(env: Env): Storage {
  const [blobs, chunks] = [new MemoryBlobStore(env), new MemoryBlobStore(env)];
  const log = new MemoryEngine();
  return { log, files: undefined, blobs, chunks, checkpoints: new MemoryCheckpoints(), lock: undefined };
}

/** Opens the storage of a store on its own, or makes it. When it fails, the lock is still held. */
export async function openFiles(env: Env, options: OpenOptions, lock: DiskLock): Promise<Storage> {
  const stores = await openBlobs(env, options);
  try {
    const log = await openStoreLog(env, options);
    return { log, files: new ChainLogFiles(log), ...stores, checkpoints: openCheckpoints(env), lock };
  } catch (error) {
    await closeBlobs(stores);
    throw error;
  }
}

/** The pages of the state and the chunks of files. */
export async function openBlobs(
  env: Env,
  { packSizeMax }: OpenOptions,
): Promise<{ readonly blobs: PackBlobStore; readonly chunks: PackBlobStore }> {
  const options = packSizeMax === undefined ? {} : { packSizeMax };
  const blobs = await PackBlobStore.open(env, "blobs", options);
  try {
    // What is put there has been compressed where that helps.
    return { blobs, chunks: await PackBlobStore.open(env, "chunks", { ...options, compress: false }) };
  } catch (error) {
    await blobs.close();
    throw error;
  }
}

async function closeBlobs({ blobs, chunks }: Pick<Storage, "blobs" | "chunks">): Promise<void> {
  try {
    await blobs.close();
  } finally {
    await chunks.close();
  }
}

export function openCheckpoints(env: Env): CheckpointStore {
  return new DiskCheckpoints(env, "checkpoints");
}

export function openFetching(env: Env): CheckpointStore {
  return new DiskCheckpoints(env, "fetching");
}

export function segmentSizes({ segmentSizeMin, segmentSizeMax }: OpenOptions): {
  segmentSizeMin?: number;
  segmentSizeMax?: number;
} {
  return {
    ...(segmentSizeMin !== undefined && { segmentSizeMin }),
    ...(segmentSizeMax !== undefined && { segmentSizeMax }),
  };
}

/** In the order in which they depend on each other. */
export async function closeStorage({ log, under, blobs, chunks, lock }: Storage): Promise<void> {
  try {
    // What is under way in the one needs the other.
    await under?.close();
    await log.close();
  } finally {
    try {
      await closeBlobs({ blobs, chunks });
    } finally {
      await lock?.release();
    }
  }
}

/** Names of what is in a directory; none where there is no directory. */
export async function entriesOf(env: Pick<Env, "disk">, directory: string): Promise<string[]> {
  try {
    return await env.disk.list(directory);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "notFound") return [];
    throw error;
  }
}

/** Whether the directory holds a store of its own, or the beginnings of one. */
export async function holdsStore(env: Pick<Env, "disk">): Promise<boolean> {
  const found = [await entriesOf(env, logDirectory), await entriesOf(env, "checkpoints")];
  return found.some((names) => names.length > 0);
}
