/** One content in a thread of a `WorkerPipeline`: what makes chunks of a file or a stream, and what it tells. */
import type { ReadFile } from "./pipeline-protocol.ts";

export interface ChunkJob {
  /**
   * Does a little. `waiting`: for bytes. `deferred`: it is a large file, and there are enough of those now. `ended`: all
   * was told.
   */
  step(): "again" | "waiting" | "deferred" | "ended";
  /** Frees what it has. Idempotent. */
  close(): void;
}

export interface JobOutput {
  /** The next chunk. Its bytes must not change any more. */
  chunk(bytes: Uint8Array): void;
  /** Bytes read or taken since the last call. */
  progress(size: number): void;
  /** The last call. `inline`: all bytes, of a content that has had no chunk. */
  end(inline: Uint8Array | undefined, file?: ReadFile): void;
}
