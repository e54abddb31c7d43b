/**
 * What a `WorkerPipeline` and its threads say to each other. Both sides gather what they have to say in a turn and send it
 * as one message, a list: a message costs as much as a small file.
 *
 *   pipeline                              thread
 *   settings, file | stream, bytes … end ─►  cuts and names chunks
 *   asks the sink              ◄─ chunks     (a batch of one content)
 *   make (those that it wants) ─►            compresses, here or, of a large file, in a thread that has nothing to do
 *   puts them                  ◄─ made
 *   release                    ─►            the batch no longer counts as held
 *   builds the lists           ◄─ end        all batches of the content have been told
 *
 * A content that failed (`failed`) or was given up (`abort`) is forgotten on both sides; what still comes about it is
 * passed over. A batch that was told is held until the pipeline releases it, however the content ends.
 */
import { HoldfastError, isErrorCode } from "../base/index.ts";
import type { FileAttributes, FileStat } from "../base/index.ts";
import type { ChunkSettings, GatheredContent, StoredBlob } from "../blob/index.ts";

/** Numbers a content, a batch or a call of `open` or `place`; each thread of a pipeline has its own numbers for batches. */
export type Id = number;

export type ToThread =
  | { readonly type: "settings"; readonly id: Id; readonly settings: ChunkSettings; readonly forget: Id | undefined }
  | { readonly type: "file"; readonly content: Id; readonly path: string; readonly settings: Id }
  | { readonly type: "stream"; readonly content: Id; readonly settings: Id }
  | { readonly type: "bytes"; readonly content: Id; readonly bytes: Uint8Array }
  | { readonly type: "end"; readonly content: Id }
  | { readonly type: "abort"; readonly content: Id }
  | { readonly type: "make"; readonly call: Id; readonly batch: Id; readonly indices: readonly number[] }
  /** The same of chunks in memory that another thread shares. */
  | { readonly type: "makeShared"; readonly call: Id; readonly settings: Id; readonly contents: readonly Uint8Array[] }
  | { readonly type: "release"; readonly batch: Id }
  | {
      readonly type: "open";
      readonly call: Id;
      readonly hash: Uint8Array;
      readonly blob: StoredBlob;
      readonly key: Uint8Array | undefined;
    }
  | {
      readonly type: "place";
      readonly call: Id;
      readonly path: string;
      readonly content: GatheredContent;
      readonly attributes: FileAttributes;
      readonly key: Uint8Array | undefined;
    };

export type FromThread =
  /** Of a file: so many bytes were read. Of a stream: so many were taken. */
  | { readonly type: "progress"; readonly content: Id; readonly size: number }
  /** The next chunks of a content: 32 bytes of hash and the size for each. */
  | {
      readonly type: "chunks";
      readonly content: Id;
      readonly batch: Id;
      readonly hashes: Uint8Array;
      readonly sizes: readonly number[];
      /** Their bytes, in shared memory, where other threads can make them: until the batch is released. */
      readonly contents: readonly Uint8Array[] | undefined;
    }
  /** The stored forms that were asked for, one behind the other in `bytes`; none when the batch was released since. */
  | { readonly type: "made"; readonly call: Id; readonly blobs: readonly MadeBlob[]; readonly bytes: Uint8Array }
  | {
      readonly type: "end";
      readonly content: Id;
      readonly inline: InlineBytes | undefined;
      readonly file: ReadFile | undefined;
    }
  /** A small file, all at once: the name and the stored form of its only chunk, made on the chance that it is wanted. */
  | {
      readonly type: "small";
      readonly content: Id;
      readonly hash: Uint8Array;
      readonly blob: StoredBlob;
      /** Of the content, and as `progress`. */
      readonly size: number;
      readonly file: ReadFile | undefined;
    }
  | { readonly type: "failed"; readonly content: Id; readonly failure: Failure }
  | { readonly type: "opened"; readonly call: Id; readonly bytes: Uint8Array }
  /** Many at once: so many files are written by then. */
  | { readonly type: "placed"; readonly calls: readonly Id[] }
  /** Of `open` and `place`. */
  | { readonly type: "refused"; readonly call: Id; readonly failure: Failure };

export interface MadeBlob {
  readonly size: number;
  readonly compressed: boolean;
  /** Bytes of its stored form. */
  readonly storedSize: number;
}

export interface InlineBytes {
  /** Bytes of the content. */
  readonly size: number;
  /** As the entry keeps them. */
  readonly bytes: Uint8Array;
}

export interface ReadFile {
  readonly stat: FileStat;
  readonly changed: boolean;
}

/** An error on its way to another thread. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly maybe: boolean;
}

export function failureOf(error: unknown): Failure {
  if (error instanceof HoldfastError) return { code: error.code, message: error.message, maybe: error.maybe };
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: "unavailable", message, maybe: false };
}

export function failureError({ code, message, maybe }: Failure): HoldfastError {
  return new HoldfastError(isErrorCode(code) ? code : "unavailable", message, { maybe });
}

/** The bytes in an array that shares its memory with nobody, so that it can be given to another thread. */
export function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

/** From this size on, handing over memory is cheaper than copying it. */
export const handOverSizeMin = 16_384;
