/**
 * Between the bytes of a file and the blobs that hold them: cutting, hashing, compressing, encrypting, and the way back.
 * `PlainPipeline` does it where it is called; `host/` has one that does it in worker threads, so that the event loop that
 * serves consensus never waits for it.
 *
 * Memory: a pipeline holds a bounded number of chunks for each writer, whatever the size of the file.
 */
import type { FileAttributes, FileStat } from "../base/index.ts";
import type { Hash, NamedBlob, StoredBlob } from "./store.ts";

/** How the files of one bucket are cut and kept. Sizes are bytes: 4,096 ≤ min ≤ average ≤ max ≤ 8 MiB. */
export interface ChunkSettings {
  readonly sizeMin: number;
  readonly sizeAverage: number;
  readonly sizeMax: number;
  readonly compress: boolean;
  /** 32 bytes: chunks are encrypted with what is derived from it, and cut by a table that is. Absent: neither. */
  readonly key?: Uint8Array | undefined;
}

/** Where the blobs of a content go. Calls may overlap. */
export interface ChunkSink {
  /** Which of these are not there yet. The others are kept from now on as if they had just been put. */
  wanted(hashes: readonly Hash[]): Promise<readonly boolean[]>;
  /** Resolves when more may come: back-pressure. They need not be durable. */
  put(blobs: readonly NamedBlob[]): Promise<void>;
}

/** The bytes of one file, named. */
export interface Content {
  /** Bytes. */
  readonly size: number;
  /** The root: the only chunk at depth 0, a chunk list above. 32 bytes; empty when the bytes are `inline`. */
  readonly hash: Hash;
  /** How many levels of chunk lists there are. */
  readonly depth: number;
  /** All bytes of a small file (`limits.inlineFileSizeMax`), encrypted where there is a key; undefined for chunks. */
  readonly inline: Uint8Array | undefined;
}

export interface WrittenContent extends Content {
  /** Chunks, lists not counted; how many of them were new, and the bytes that those take, compressed. */
  readonly chunkCount: number;
  readonly newCount: number;
  readonly newSize: number;
}

export interface WrittenFile extends WrittenContent {
  /** The file as it was when reading began. */
  readonly stat: FileStat;
  /** Whether size, times or inode were others when reading ended: the bytes may be of no single moment. */
  readonly changed: boolean;
}

/** All that a small content is made of, read and not yet opened. */
export interface GatheredContent {
  /** Bytes. */
  readonly size: number;
  /** Of a content without chunks, as its entry has it. */
  readonly inline: Uint8Array | undefined;
  /** In order, each with the bytes that the content has of it. */
  readonly chunks: readonly (NamedBlob & { readonly size: number })[];
}

export interface ContentWriter {
  /** Takes the bytes (not changed by the caller any more); resolves when more may come. Rejects with what `sink` fails with. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the sink has taken all blobs, lists included. */
  end(): Promise<WrittenContent>;
  /** Gives up; nothing is called any more. Idempotent, also after `end`. */
  abort(): void;
}

export interface ChunkPipeline {
  writer(settings: ChunkSettings, sink: ChunkSink): ContentWriter;
  /**
   * The same for a file of this machine, read where the work is done. `path` as `FileSystem` takes it. `notFound`,
   * `denied`, `unavailable` as the file system says.
   */
  file(
    path: string,
    settings: ChunkSettings,
    sink: ChunkSink,
    options?: {
      readonly signal?: AbortSignal | undefined;
      /** Called with the bytes read since the last call. */
      readonly progress?: ((size: number) => void) | undefined;
    },
  ): Promise<WrittenFile>;
  /**
   * The content of a blob, decompressed, checked against its hash and, with a key, decrypted. `corrupt` when it does not
   * have its hash; `denied` when the key is another one.
   */
  open(hash: Hash, blob: StoredBlob, key?: Uint8Array): Promise<Uint8Array>;
  /** The bytes of an inline content, decrypted. */
  openInline(bytes: Uint8Array, key?: Uint8Array): Promise<Uint8Array>;
  /**
   * Writes a content as a file of this machine, where the work is done: opens its blobs as `open` does and places the bytes
   * as `FileSystem.place` does. For files of at most a few megabytes, whose bytes are in memory at once.
   */
  place(path: string, content: GatheredContent, attributes: FileAttributes, key?: Uint8Array): Promise<void>;
  /** Ends its threads. Idempotent. */
  close(): Promise<void>;
}
