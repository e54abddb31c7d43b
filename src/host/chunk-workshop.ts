/**
 * The work of one thread of a `WorkerPipeline`, as a loop that takes one small step after another and listens between
 * them: blobs to open come first, then chunks to compress, then contents, each in its turn, so that a large file holds up
 * no small one.
 *
 * 1. Chunks of at most `heldSizeMax` and those of one step are held: named, and not yet released by the pipeline. Above it
 *    nothing is read on; what was named is told, so that there is always something to release.
 * 2. At most `largeCountMax` large files are open at once: each has a slab of its own.
 * 3. What was told is held until the pipeline releases it, whatever becomes of the content: another thread may be working
 *    on it. What was not told goes with the content.
 */
import { ChunkCiphers, ChunkMaker, openChunk, openGathered } from "../blob/index.ts";
import type { MadeChunk } from "../blob/index.ts";
import { concatBytes, emptyBytes } from "../base/index.ts";
import type { Cipher, Digest } from "../base/index.ts";
import type { ChunkJob, JobOutput } from "./chunk-job.ts";
import { FileJob } from "./file-job.ts";
import type { FilePlacer } from "./file-placing.ts";
import { failureOf, handOverSizeMin, owned } from "./pipeline-protocol.ts";
import type { FromThread, Id, MadeBlob, ReadFile, ToThread } from "./pipeline-protocol.ts";
import { Slabs } from "./slabs.ts";
import { StreamJob } from "./stream-job.ts";

/** Bytes. */
const heldSizeMax = 8_388_608;
/** A batch: so many chunks, or of so many bytes. */
const batchCountMax = 64;
const batchSizeMax = 2_097_152;
const largeCountMax = 2;
/** A content of one chunk up to this size is made without asking whether it is wanted: that costs more. */
const smallSizeMax = 65_536;
/** How long the loop does not listen. */
const sliceMs = 3;

interface Entry {
  readonly id: Id;
  readonly job: ChunkJob;
  readonly maker: ChunkMaker;
  /** Named and not told. */
  batch: MadeChunk[];
  batchSize: number;
  /** Bytes read or taken, and not told. */
  progressSize: number;
  queued: boolean;
  isLarge: boolean;
}

/** Chunks that were told. */
interface Batch {
  readonly maker: ChunkMaker;
  readonly chunks: readonly MadeChunk[];
  readonly size: number;
}

interface Making {
  readonly call: Id;
  readonly maker: ChunkMaker;
  readonly chunks: readonly MadeChunk[];
  readonly blobs: MadeBlob[];
  readonly parts: Uint8Array[];
}

export interface WorkshopOptions {
  readonly digest: Digest;
  readonly cipher: Cipher;
  readonly placer: FilePlacer;
  readonly send: (messages: readonly FromThread[], handOver: ArrayBuffer[]) => void;
}

export class ChunkWorkshop {
  readonly #digest: Digest;
  readonly #ciphers: ChunkCiphers;
  readonly #placer: FilePlacer;
  readonly #send: WorkshopOptions["send"];
  readonly #slabs = new Slabs();
  readonly #makers = new Map<Id, ChunkMaker>();
  readonly #entries = new Map<Id, Entry>();
  /** Contents that have something to do, in the order of their turns. */
  readonly #queue: Entry[] = [];
  readonly #deferred: Entry[] = [];
  readonly #batches = new Map<Id, Batch>();
  readonly #makings: Making[] = [];
  #batchCount = 0;
  #heldSize = 0;
  #largeCount = 0;
  #running = false;
  /** Files written since the last message. */
  #placed: Id[] = [];
  #messages: FromThread[] = [];
  #handOver: ArrayBuffer[] = [];

  constructor({ digest, cipher, placer, send }: WorkshopOptions) {
    this.#digest = digest;
    this.#ciphers = new ChunkCiphers(cipher);
    this.#placer = placer;
    this.#send = send;
  }

  receive(messages: readonly ToThread[]): void {
    for (const message of messages) this.#handle(message);
    this.#flush();
    this.#wake();
  }

  #handle(message: ToThread): void {
    switch (message.type) {
      case "settings":
        this.#makers.set(message.id, new ChunkMaker(this.#digest, this.#ciphers, message.settings));
        if (message.forget !== undefined) this.#makers.delete(message.forget);
        return;
      case "file":
      case "stream":
        return this.#begin(message);
      case "bytes":
      case "end": {
        const entry = this.#entries.get(message.content);
        if (!(entry?.job instanceof StreamJob)) return;
        entry.job.push(message.type === "end" ? undefined : message.bytes);
        return this.#enqueue(entry);
      }
      case "abort": {
        const entry = this.#entries.get(message.content);
        if (entry !== undefined) this.#forget(entry);
        return;
      }
      case "make": {
        const { call, batch, indices } = message;
        const told = this.#batches.get(batch);
        const chunks = told === undefined ? [] : indices.map((index) => told.chunks[index] as MadeChunk);
        // Without a batch there is no maker, and nothing to make.
        return this.#startMaking(call, told?.maker, chunks);
      }
      case "makeShared": {
        const { call, settings, contents } = message;
        const chunks = contents.map((content) => ({ hash: emptyBytes, size: content.length, content }));
        return this.#startMaking(call, this.#makers.get(settings), chunks);
      }
      case "release":
        return this.#release(message.batch);
      case "open":
        return this.#open(message);
      case "place":
        void this.#place(message);
    }
  }

  #begin(message: Extract<ToThread, { readonly type: "file" | "stream" }>): void {
    const maker = this.#makers.get(message.settings);
    // The pipeline says the settings before it uses them.
    if (maker === undefined) throw new Error(`settings ${message.settings} were never said`);
    const id = message.content;
    const output: JobOutput = {
      chunk: (bytes) => this.#chunk(entry, bytes),
      progress: (size) => (entry.progressSize += size),
      end: (inline, file) => this.#end(entry, inline, file),
    };
    const job =
      message.type === "file"
        ? new FileJob(message.path, maker, output, this.#slabs, () => this.#admit(entry))
        : new StreamJob(maker, output);
    const entry: Entry = { id, job, maker, batch: [], batchSize: 0, progressSize: 0, queued: false, isLarge: false };
    this.#entries.set(id, entry);
    this.#enqueue(entry);
  }

  /** Whether this file, which is large, may be read now. */
  #admit(entry: Entry): boolean {
    if (entry.isLarge) return true;
    if (this.#largeCount >= largeCountMax) return false;
    entry.isLarge = true;
    this.#largeCount++;
    return true;
  }

  #enqueue(entry: Entry): void {
    if (entry.queued) return;
    entry.queued = true;
    this.#queue.push(entry);
  }

  #wake(): void {
    if (this.#running) return;
    this.#running = true;
    setImmediate(() => this.#run());
  }

  /** One slice of the loop. */
  #run(): void {
    const endMs = performance.now() + sliceMs;
    let more = true;
    while (more && performance.now() < endMs) more = this.#step();
    if (!more) {
      // Who waits for a release has something to be released.
      for (const entry of this.#entries.values()) if (entry.batch.length > 0) this.#tell(entry);
    }
    this.#flush();
    this.#running = false;
    if (more) this.#wake();
  }

  /** Whether there may be more to do. */
  #step(): boolean {
    const making = this.#makings[0];
    if (making !== undefined) {
      this.#make(making);
      return true;
    }
    if (this.#heldSize > heldSizeMax) return false;
    const entry = this.#queue.shift();
    if (entry === undefined) return false;
    entry.queued = false;
    // Given up since.
    if (this.#entries.get(entry.id) !== entry) return true;
    try {
      const state = entry.job.step();
      if (state !== "ended") this.#tellProgress(entry);
      if (state === "again") this.#enqueue(entry);
      else if (state === "deferred") this.#deferred.push(entry);
      else if (state === "ended") this.#close(entry);
    } catch (error) {
      this.#forget(entry);
      this.#say({ type: "failed", content: entry.id, failure: failureOf(error) });
    }
    return true;
  }

  #chunk(entry: Entry, bytes: Uint8Array): void {
    const chunk = entry.maker.name(bytes);
    this.#slabs.use(chunk.content);
    entry.batch.push(chunk);
    entry.batchSize += chunk.content.length;
    this.#heldSize += chunk.content.length;
    if (entry.batch.length >= batchCountMax || entry.batchSize >= batchSizeMax) this.#tell(entry);
  }

  /** The last of a content. */
  #end(entry: Entry, inline: Uint8Array | undefined, file: ReadFile | undefined): void {
    const { id: content, maker, batch } = entry;
    const [chunk] = batch;
    // All of it is here: had there been chunks before, or bytes, they would have been told.
    if (chunk !== undefined && batch.length === 1 && chunk.size <= smallSizeMax && entry.progressSize === chunk.size) {
      const { bytes, ...rest } = maker.store(chunk);
      this.#drop(batch, entry.batchSize);
      entry.batch = [];
      entry.batchSize = 0;
      const blob = { ...rest, bytes: owned(bytes) };
      return this.#say({ type: "small", content, hash: owned(chunk.hash), blob, size: chunk.size, file }, blob.bytes);
    }
    this.#tellProgress(entry);
    if (batch.length > 0) this.#tell(entry);
    const all = inline && { size: inline.length, bytes: owned(maker.inline(inline)) };
    this.#say({ type: "end", content, inline: all, file });
  }

  #tellProgress(entry: Entry): void {
    if (entry.progressSize === 0) return;
    this.#say({ type: "progress", content: entry.id, size: entry.progressSize });
    entry.progressSize = 0;
  }

  /** Tells what was named. */
  #tell(entry: Entry): void {
    const chunks = entry.batch;
    const batch = ++this.#batchCount;
    this.#batches.set(batch, { maker: entry.maker, chunks, size: entry.batchSize });
    entry.batch = [];
    entry.batchSize = 0;
    const hashes = new Uint8Array(32 * chunks.length);
    for (const [index, { hash }] of chunks.entries()) hashes.set(hash, 32 * index);
    const isShared = chunks.every(({ content }) => content.buffer instanceof SharedArrayBuffer);
    const contents = isShared ? chunks.map(({ content }) => content) : undefined;
    this.#say({ type: "chunks", content: entry.id, batch, hashes, sizes: chunks.map(({ size }) => size), contents });
  }

  #startMaking(call: Id, maker: ChunkMaker | undefined, chunks: readonly MadeChunk[]): void {
    if (maker === undefined || chunks.length === 0) {
      this.#say({ type: "made", call, blobs: [], bytes: emptyBytes });
      return;
    }
    this.#makings.push({ call, maker, chunks, blobs: [], parts: [] });
  }

  /** One chunk. */
  #make({ call, maker, chunks, blobs, parts }: Making): void {
    const { size, compressed, bytes } = maker.store(chunks[blobs.length] as MadeChunk); // The last one ends it.
    blobs.push({ size, compressed, storedSize: bytes.length });
    parts.push(bytes);
    if (blobs.length < chunks.length) return;
    this.#makings.shift();
    const all = concatBytes(parts);
    this.#say({ type: "made", call, blobs, bytes: all }, all);
  }

  #release(id: Id): void {
    const batch = this.#batches.get(id);
    if (batch === undefined) return;
    this.#batches.delete(id);
    this.#drop(batch.chunks, batch.size);
  }

  /** Chunks that are not held any more. */
  #drop(chunks: readonly MadeChunk[], size: number): void {
    this.#heldSize -= size;
    for (const { content } of chunks) if (content.buffer instanceof SharedArrayBuffer) this.#slabs.free(content);
  }

  /** A content that has told all its chunks, which are released later. */
  #close(entry: Entry): void {
    this.#entries.delete(entry.id);
    entry.job.close();
    if (!entry.isLarge) return;
    entry.isLarge = false;
    this.#largeCount--;
    let next = this.#deferred.shift();
    // Some may have been given up since.
    while (next !== undefined && this.#entries.get(next.id) !== next) next = this.#deferred.shift();
    if (next === undefined) return;
    // It has the place even if its file is small by now.
    this.#admit(next);
    this.#enqueue(next);
  }

  #forget(entry: Entry): void {
    this.#close(entry);
    this.#drop(entry.batch, entry.batchSize);
    entry.batch = [];
    entry.batchSize = 0;
  }

  #open({ call, hash, blob, key }: Extract<ToThread, { readonly type: "open" }>): void {
    try {
      const opened = openChunk(this.#digest, this.#ciphers, hash, blob, key);
      // A part of what came would hand over all of it.
      const bytes = opened.byteLength === opened.buffer.byteLength ? opened : owned(opened);
      this.#say({ type: "opened", call, bytes }, bytes);
    } catch (error) {
      this.#say({ type: "refused", call, failure: failureOf(error) });
    }
  }

  async #place({ call, path, content, attributes, key }: Extract<ToThread, { readonly type: "place" }>): Promise<void> {
    try {
      const bytes = openGathered(this.#digest, this.#ciphers, content, key);
      await this.#placer.place(path, bytes, attributes);
      this.#placed.push(call);
    } catch (error) {
      this.#say({ type: "refused", call, failure: failureOf(error) });
    }
    this.#wake();
  }

  #say(message: FromThread, bytes?: Uint8Array): void {
    this.#messages.push(message);
    if (bytes !== undefined && bytes.length >= handOverSizeMin) this.#handOver.push(bytes.buffer as ArrayBuffer);
  }

  #flush(): void {
    if (this.#placed.length > 0) {
      this.#messages.push({ type: "placed", calls: this.#placed });
      this.#placed = [];
    }
    if (this.#messages.length === 0) return;
    const [messages, handOver] = [this.#messages, this.#handOver];
    this.#messages = [];
    this.#handOver = [];
    this.#send(messages, handOver);
  }
}
