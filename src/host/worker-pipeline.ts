/**
 * The pipeline of a real machine: what is done to the bytes of files is done in worker threads, one for each processor, so
 * that the event loop that serves consensus only passes on what they made. Small contents and blobs are worked on in
 * place: going to another thread costs more.
 *
 * Threads start when they are needed, let the process end when they have nothing to do, and end with `close`. One that
 * dies fails its calls with `unavailable`; the next call starts another.
 *
 * Of one large file, one thread cuts and hashes, and others that have nothing to do compress.
 *
 * Memory: for each thread about 24 MiB of chunks on their way, and for each writer `creditSize` and an unfinished chunk.
 */
import { availableParallelism } from "node:os";
import type { FileAttributes } from "../base/index.ts";
import { abortError, assert, HoldfastError, throwIfAborted } from "../base/index.ts";
import { ChunkCiphers, ChunkMaker, PlainPipeline } from "../blob/index.ts";
import type {
  ChunkPipeline,
  ChunkSettings,
  ChunkSink,
  ContentWriter,
  GatheredContent,
  Hash,
  StoredBlob,
  WrittenFile,
} from "../blob/index.ts";
import { NodeCipher } from "./cipher.ts";
import { NodeClock } from "./clock.ts";
import { ContentCall } from "./content-call.ts";
import { NodeDigest } from "./digest.ts";
import { PipelineThread } from "./pipeline-thread.ts";
import { ThreadWriter } from "./thread-writer.ts";

export interface WorkerPipelineOptions {
  /** Default: one for each processor, at most 8. */
  readonly threadCount?: number | undefined;
  /** Of zstd. Default 3. */
  readonly compressionLevel?: number | undefined;
}

const threadCountMax = 8;
/** Files that one thread has at once; the others wait for the first one that has time. */
const filesPerThread = 64;
/** A blob is opened in place when it is of at most so many bytes as it is kept, and of so many as it is. */
const promptStoredSizeMax = 16_384;
const promptSizeMax = 65_536;

type FileOptions = Parameters<ChunkPipeline["file"]>[3];

interface QueuedFile {
  readonly path: string;
  readonly call: ContentCall;
}

export class WorkerPipeline implements ChunkPipeline {
  readonly #threadCount: number;
  readonly #compressionLevel: number;
  readonly #digest: NodeDigest;
  readonly #ciphers: ChunkCiphers;
  /** For what is done in place. */
  readonly #plain: PlainPipeline;
  readonly #threads: PipelineThread[] = [];
  #queue: QueuedFile[] = [];
  #isScheduled = false;
  #isClosed = false;

  constructor(options: WorkerPipelineOptions = {}) {
    this.#threadCount = options.threadCount ?? Math.min(availableParallelism(), threadCountMax);
    assert(Number.isSafeInteger(this.#threadCount) && this.#threadCount > 0, "a pipeline has at least one thread");
    this.#compressionLevel = options.compressionLevel ?? 3;
    const cipher = new NodeCipher();
    this.#digest = new NodeDigest({ compressionLevel: this.#compressionLevel });
    this.#ciphers = new ChunkCiphers(cipher);
    this.#plain = new PlainPipeline({ clock: new NodeClock(), digest: this.#digest, cipher });
  }

  writer(settings: ChunkSettings, sink: ChunkSink): ContentWriter {
    this.#check(settings);
    return new ThreadWriter({
      small: () => this.#plain.writer(settings, sink),
      call: (progress) => new ContentCall({ digest: this.#digest, settings, sink, progress }),
      start: (call) => {
        this.#checkOpen();
        const thread = this.#thread();
        return { thread, content: thread.stream(call) };
      },
    });
  }

  async file(path: string, settings: ChunkSettings, sink: ChunkSink, options: FileOptions = {}): Promise<WrittenFile> {
    const { signal, progress = () => {} } = options;
    throwIfAborted(signal);
    this.#check(settings);
    const onAbort = () => call.fail(abortError(signal as AbortSignal)); // Only a signal calls it.
    const settled = () => signal?.removeEventListener("abort", onAbort);
    const call = new ContentCall({ digest: this.#digest, settings, sink, progress, settled });
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#queue.push({ path, call });
    this.#schedule();
    const { content, file } = await call.result;
    assert(file !== undefined, "a file that was read without looking at it");
    return { ...content, ...file };
  }

  async open(hash: Hash, blob: StoredBlob, key?: Uint8Array): Promise<Uint8Array> {
    this.#checkOpen();
    const isSmall = blob.bytes.length <= promptStoredSizeMax && blob.size <= promptSizeMax;
    return isSmall ? this.#plain.open(hash, blob, key) : this.#thread().open(hash, blob, key);
  }

  openInline(bytes: Uint8Array, key?: Uint8Array): Promise<Uint8Array> {
    return this.#plain.openInline(bytes, key);
  }

  async place(path: string, content: GatheredContent, attributes: FileAttributes, key?: Uint8Array): Promise<void> {
    this.#checkOpen();
    return this.#thread().place(path, content, attributes, key);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const queue = this.#queue;
    this.#queue = [];
    for (const { call } of queue) call.fail(closed());
    await Promise.all([this.#plain.close(), ...this.#threads.map((thread) => thread.terminate())]);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw closed();
  }

  /** Fails with `invalid` here, where the caller sees it, on settings that no thread would take. */
  #check(settings: ChunkSettings): void {
    this.#checkOpen();
    new ChunkMaker(this.#digest, this.#ciphers, settings).chunker();
  }

  /** Files that are asked for in one turn go to the threads together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    let next = 0;
    for (; next < this.#queue.length && !this.#isClosed; next++) {
      const { path, call } = this.#queue[next] as QueuedFile; // The index is inside.
      if (call.isSettled) continue;
      const thread = this.#thread();
      if (thread.load >= filesPerThread) break;
      thread.file(path, call);
    }
    if (next > 0) this.#queue = this.#queue.slice(next);
  }

  /** The thread that has the least to do. */
  #thread(): PipelineThread {
    let best: PipelineThread | undefined;
    for (const thread of this.#threads) if (best === undefined || thread.load < best.load) best = thread;
    if (best !== undefined && (best.load === 0 || this.#threads.length >= this.#threadCount)) return best;
    return this.#start();
  }

  #start(): PipelineThread {
    const thread: PipelineThread = new PipelineThread({
      compressionLevel: this.#compressionLevel,
      changed: () => {
        if (thread.isDead && this.#threads.includes(thread)) this.#threads.splice(this.#threads.indexOf(thread), 1);
        if (this.#queue.length > 0) this.#schedule();
      },
      helper: (mayStart) => this.#helper(thread, mayStart),
    });
    this.#threads.push(thread);
    return thread;
  }

  /** A thread that can take work off `from`. */
  #helper(from: PipelineThread, mayStart: boolean): PipelineThread | undefined {
    const free = this.#threads.find((thread) => thread !== from && thread.isFree);
    const canStart = mayStart && !this.#isClosed && this.#threads.length < this.#threadCount;
    return free ?? (canStart ? this.#start() : undefined);
  }
}

function closed(): HoldfastError {
  return new HoldfastError("unavailable", "the chunk pipeline is closed");
}
