/**
 * What files are made of: where their names are (a view of the log), where their bytes are (chunks), and what turns the
 * one into the other. The same in a process that has the store and in one that talks to it.
 */
import type { Env, Revision } from "../base/index.ts";
import type { ChunkPipeline, Hash, NamedBlob, StoredBlob } from "../blob/index.ts";
import type { FileOperation, FileResult, FileSource, LeaseSource, LeaseView, View } from "../view/index.ts";

/** The chunks of a store, here or elsewhere. A `ChunkStore` is one. */
export interface FileChunks {
  /**
   * Changes when somebody else answers than before, who may not have what was put: an upload that finds another one when its
   * `sync` has ended than when it began puts everything again. Undefined where that cannot be.
   */
  readonly generation?: number | undefined;
  /**
   * Which of the blobs are there and sound; those count as put now. Asked of somebody who has applied `atLeast`, the
   * revision at which the upload began: from then on no collection takes what is put or found.
   */
  touch(hashes: readonly Hash[], atLeast: Revision, signal?: AbortSignal): Promise<readonly boolean[]>;
  /** Resolves when the blobs can be found; durable after the next `sync`. */
  putStored(blobs: readonly NamedBlob[], signal?: AbortSignal): Promise<void>;
  /** Undefined if it is nowhere; `corrupt` if it is damaged. */
  getStored(hash: Hash, signal?: AbortSignal): Promise<StoredBlob | undefined>;
  /** Makes everything put or found before this call durable. */
  sync(signal?: AbortSignal): Promise<void>;
}

export interface FileParts {
  readonly env: Pick<Env, "clock" | "random" | "digest" | "cipher" | "logger">;
  readonly source: FileSource;
  readonly view: View<FileOperation, FileResult>;
  readonly leases: LeaseSource;
  readonly leaseView: LeaseView;
  readonly chunks: FileChunks;
  readonly pipeline: ChunkPipeline;
}
