/**
 * The pipeline that works where it is called, in slices: for simulations, browsers and tests. One chunk is one piece of
 * work: with the default sizes, some milliseconds.
 *
 * Memory of a writer: `batchSizeMax` for each batch under way and the one that is filled, and one chunk.
 */
import { assert, giveWay, HoldfastError, limits, throwIfAborted } from "../base/index.ts";
import type { Env, FileAttributes, FileStat, FileSystem, OpenedFile } from "../base/index.ts";
import { ChunkCiphers } from "./chunk-cipher.ts";
import { ChunkCutter } from "./chunk-cutter.ts";
import { ChunkMaker, openChunk, openInline } from "./chunk-maker.ts";
import type { MadeChunk } from "./chunk-maker.ts";
import { ContentAssembler, inlineContent } from "./content-assembler.ts";
import { openGathered } from "./content-reader.ts";
import { sliceMs } from "./pack-state.ts";
import type {
  ChunkPipeline,
  ChunkSettings,
  ChunkSink,
  ContentWriter,
  GatheredContent,
  WrittenContent,
  WrittenFile,
} from "./pipeline.ts";
import type { Hash, StoredBlob } from "./store.ts";

/** Chunks that the sink is asked for at once: so many, or of so many bytes. */
const batchCountMax = 64;
const batchSizeMax = 4_194_304;
/** Batches that the sink works on while the next one is cut. */
const batchesUnderWayMax = 2;
const readSize = 1_048_576;

type PipelineEnv = Pick<Env, "clock" | "digest" | "cipher">;
type FileOptions = Parameters<ChunkPipeline["file"]>[3];

export class PlainPipeline implements ChunkPipeline {
  readonly #env: PipelineEnv;
  readonly #fileSystem: FileSystem | undefined;
  readonly #ciphers: ChunkCiphers;
  #closed = false;

  constructor(env: PipelineEnv, fileSystem?: FileSystem) {
    this.#env = env;
    this.#fileSystem = fileSystem;
    this.#ciphers = new ChunkCiphers(env.cipher);
  }

  writer(settings: ChunkSettings, sink: ChunkSink): ContentWriter {
    this.#checkOpen();
    return new PlainWriter(this.#env, new ChunkMaker(this.#env.digest, this.#ciphers, settings), sink);
  }

  async file(path: string, settings: ChunkSettings, sink: ChunkSink, options: FileOptions = {}): Promise<WrittenFile> {
    throwIfAborted(options.signal);
    const fileSystem = this.#fileSystemFor(path);
    const writer = this.writer(settings, sink);
    const { signal } = options;
    const abort = () => writer.abort();
    // At once, and not when the next piece has been read: the sink is not called any more.
    signal?.addEventListener("abort", abort, { once: true });
    let file: OpenedFile | undefined;
    try {
      file = await fileSystem.open(path);
      const stat = await file.stat();
      const content = await copy(file, writer, options);
      const after = await file.stat();
      return { ...content, stat, changed: content.size !== stat.size || !sameFile(stat, after) };
    } catch (error) {
      writer.abort();
      throwIfAborted(signal);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      await file?.close();
    }
  }

  async open(hash: Hash, blob: StoredBlob, key?: Uint8Array): Promise<Uint8Array> {
    this.#checkOpen();
    return openChunk(this.#env.digest, this.#ciphers, hash, blob, key);
  }

  async openInline(bytes: Uint8Array, key?: Uint8Array): Promise<Uint8Array> {
    this.#checkOpen();
    return openInline(this.#env.digest, this.#ciphers, bytes, key);
  }

  async place(path: string, content: GatheredContent, attributes: FileAttributes, key?: Uint8Array): Promise<void> {
    this.#checkOpen();
    const fileSystem = this.#fileSystemFor(path);
    await fileSystem.place(path, openGathered(this.#env.digest, this.#ciphers, content, key), attributes);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #fileSystemFor(path: string): FileSystem {
    if (this.#fileSystem !== undefined) return this.#fileSystem;
    const problem = `${path} can be neither read nor written: this pipeline was made without a file system`;
    throw new HoldfastError("invalid", problem);
  }

  #checkOpen(): void {
    if (this.#closed) throw new HoldfastError("unavailable", "the chunk pipeline is closed");
  }
}

/** To the end of the file, wherever that is by then. The next piece is read while one is worked on. */
async function copy(
  file: OpenedFile,
  writer: ContentWriter,
  { signal, progress }: NonNullable<FileOptions>,
): Promise<WrittenContent> {
  let offset = 0;
  let next = file.read(offset, readSize);
  for (;;) {
    const bytes = await next;
    throwIfAborted(signal);
    if (bytes.length === 0) return writer.end();
    offset += bytes.length;
    next = file.read(offset, readSize);
    // If writing fails, nobody waits for this one.
    next.catch(() => {});
    await writer.write(bytes);
    progress?.(bytes.length);
  }
}

function sameFile(a: FileStat, b: FileStat): boolean {
  return (
    a.size === b.size &&
    a.modifiedNs === b.modifiedNs &&
    a.changedNs === b.changedNs &&
    a.inode === b.inode &&
    a.device === b.device
  );
}

class PlainWriter implements ContentWriter {
  readonly #env: PipelineEnv;
  readonly #maker: ChunkMaker;
  readonly #cutter: ChunkCutter;
  readonly #assembler: ContentAssembler;
  #batch: MadeChunk[] = [];
  #batchSize = 0;
  /** Oldest first; they never reject. */
  readonly #underWay: Promise<void>[] = [];
  /** Calls are done one after another, whether or not the caller waits. */
  #tail: Promise<unknown> = Promise.resolve();
  #state: "open" | "ended" | "aborted" = "open";
  #failure: { readonly error: unknown } | undefined;
  #sliceEndMs: number;

  constructor(env: PipelineEnv, maker: ChunkMaker, sink: ChunkSink) {
    this.#env = env;
    this.#maker = maker;
    this.#cutter = new ChunkCutter(maker.chunker());
    this.#assembler = new ContentAssembler(env.digest, sink);
    this.#sliceEndMs = env.clock.monotonicMs() + sliceMs;
  }

  write(bytes: Uint8Array): Promise<void> {
    assert(this.#state !== "ended", "a write to a content that has ended");
    return this.#enter(() => this.#take(bytes));
  }

  end(): Promise<WrittenContent> {
    assert(this.#state !== "ended", "a content that ends twice");
    const content = this.#enter(() => this.#finish());
    if (this.#state === "open") this.#state = "ended";
    return content;
  }

  abort(): void {
    this.#state = "aborted";
    this.#batch = [];
    this.#assembler.abort();
  }

  #enter<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(run);
    this.#tail = result.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    return result;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#state === "aborted") throw new HoldfastError("cancelled", "the writing of a file's content was given up");
  }

  async #take(bytes: Uint8Array): Promise<void> {
    this.#check();
    for (const chunk of this.#cutter.push(bytes)) await this.#add(chunk);
  }

  async #finish(): Promise<WrittenContent> {
    this.#check();
    const rest = this.#cutter.end();
    const isFirst = this.#assembler.chunkCount + this.#batch.length === 0;
    if (isFirst && (rest === undefined || rest.length <= limits.inlineFileSizeMax)) {
      // A chunk's array may be larger than the chunk.
      const bytes = rest?.slice() ?? new Uint8Array(0);
      return inlineContent(bytes.length, this.#maker.inline(bytes));
    }
    if (rest !== undefined) await this.#add(rest);
    await this.#dispatch();
    this.#check();
    return this.#assembler.end();
  }

  async #add(bytes: Uint8Array): Promise<void> {
    const chunk = this.#maker.name(bytes);
    this.#batch.push(chunk);
    this.#batchSize += chunk.content.length;
    if (this.#batch.length >= batchCountMax || this.#batchSize >= batchSizeMax) await this.#dispatch();
    await this.#pause();
    this.#check();
  }

  async #dispatch(): Promise<void> {
    while (this.#underWay.length >= batchesUnderWayMax) await this.#underWay.shift();
    this.#check();
    if (this.#batch.length === 0) return;
    const batch = this.#batch;
    this.#batch = [];
    this.#batchSize = 0;
    const added = this.#assembler.add(batch, (indices) => this.#store(batch, indices));
    this.#underWay.push(
      added.catch((error: unknown) => {
        this.#failure ??= { error };
      }),
    );
  }

  async #store(batch: readonly MadeChunk[], indices: readonly number[]): Promise<StoredBlob[]> {
    const blobs: StoredBlob[] = [];
    for (const index of indices) {
      blobs.push(this.#maker.store(batch[index] as MadeChunk)); // The assembler gives indices of the batch.
      await this.#pause();
    }
    return blobs;
  }

  async #pause(): Promise<void> {
    const { clock } = this.#env;
    if (clock.monotonicMs() < this.#sliceEndMs) return;
    await giveWay(clock);
    this.#sliceEndMs = clock.monotonicMs() + sliceMs;
  }
}
