/**
 * A thread of a `WorkerPipeline`, from the side of the pipeline.
 *
 * 1. A thread that dies fails everything it was working on with `unavailable`, once, and is not used again.
 * 2. It keeps the process alive only while it has something to do.
 * 3. What is said in one turn of the event loop goes as one message.
 */
import { Worker } from "node:worker_threads";
import { deferred, emptyBytes, equalBytes, HoldfastError } from "../base/index.ts";
import type { Deferred, FileAttributes } from "../base/index.ts";
import type { ChunkSettings, GatheredContent, Hash, StoredBlob } from "../blob/index.ts";
import type { ContentCall } from "./content-call.ts";
import { failureError, handOverSizeMin, owned } from "./pipeline-protocol.ts";
import type { FromThread, Id, ToThread } from "./pipeline-protocol.ts";

/** Settings that a thread remembers. Stores have few buckets with files of their own size under way at once. */
const settingsCountMax = 16;

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Batches of others that a thread takes at once. */
const helpCountMax = 3;
/** A file of more chunks than these is worth starting a thread for. */
const worthyChunkCount = 64;

export interface ThreadOptions {
  readonly compressionLevel: number;
  /** Called when it has less to do, or died. */
  readonly changed: () => void;
  /** A thread that has nothing to do, for what another one could do; it may be started for that. */
  readonly helper: (mayStart: boolean) => PipelineThread | undefined;
}

export class PipelineThread {
  readonly #worker: Worker;
  readonly #changed: () => void;
  readonly #helper: ThreadOptions["helper"];
  readonly #contents = new Map<Id, ContentCall>();
  readonly #makes = new Map<Id, Deferred<readonly StoredBlob[]>>();
  /** Of `open` and `place`. */
  readonly #calls = new Map<Id, Deferred<Uint8Array>>();
  /** The ones used last come last. */
  readonly #settings: { readonly id: Id; readonly settings: ChunkSettings }[] = [];
  #idCount = 0;
  #messages: ToThread[] = [];
  #handOver: ArrayBuffer[] = [];
  #isDead = false;

  constructor({ compressionLevel, changed, helper }: ThreadOptions) {
    this.#changed = changed;
    this.#helper = helper;
    // In the sources the program has one ending, compiled another.
    const program = import.meta.url.endsWith(".ts")
      ? new URL("./chunk-worker.ts", import.meta.url)
      : new URL("./chunk-worker.js", import.meta.url);
    // Not with the options of this process, some of which (such as an entry point in text) would not go with a file.
    this.#worker = new Worker(program, { workerData: { compressionLevel }, execArgv: [], name: "holdfast-chunks" });
    this.#worker.on("message", (messages: readonly FromThread[]) => {
      for (const message of messages) this.#handle(message);
    });
    this.#worker.on("error", (error) => this.#die(error));
    this.#worker.on("exit", () => this.#die());
    this.#worker.unref();
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Contents and blobs that it works on. */
  get load(): number {
    return this.#contents.size + this.#calls.size + this.#makes.size;
  }

  /** Whether it has nothing to do but a little help. */
  get isFree(): boolean {
    return this.#contents.size === 0 && this.#makes.size < helpCountMax;
  }

  /** `call` fails if the file cannot be read. */
  file(path: string, call: ContentCall): Id {
    const known = this.#settingsId(call.settings);
    const content = this.#add(call);
    this.#say({ type: "file", content, path, settings: known });
    return content;
  }

  /** A content of the bytes that `write` gives, until `end`. */
  stream(call: ContentCall): Id {
    const known = this.#settingsId(call.settings);
    const content = this.#add(call);
    this.#say({ type: "stream", content, settings: known });
    return content;
  }

  /** `bytes` belongs to the thread from now on, and fills its memory. */
  write(content: Id, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#contents.has(content)) this.#say({ type: "bytes", content, bytes }, bytes);
  }

  end(content: Id): void {
    this.#say({ type: "end", content });
  }

  open(hash: Hash, blob: StoredBlob, key: Uint8Array | undefined): Promise<Uint8Array> {
    const own = ownBlob(blob);
    return this.#call({ type: "open", hash: owned(hash), blob: own, key: key && owned(key) }, own.bytes);
  }

  async place(
    path: string,
    { size, inline, chunks }: GatheredContent,
    attributes: FileAttributes,
    key: Uint8Array | undefined,
  ): Promise<void> {
    const content = {
      size,
      inline: inline && owned(inline),
      chunks: chunks.map((chunk) => ({ hash: owned(chunk.hash), size: chunk.size, blob: ownBlob(chunk.blob) })),
    };
    await this.#call({ type: "place", path, content, attributes, key: key && owned(key) });
  }

  async #call(
    what: Without<Extract<ToThread, { readonly type: "open" | "place" }>, "call">,
    handOver?: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array> {
    const call = ++this.#idCount;
    const answer = deferred<Uint8Array>();
    if (this.#isDead) answer.reject(dead());
    this.#calls.set(call, answer);
    this.#worker.ref();
    this.#say({ ...what, call }, handOver);
    try {
      return await answer.promise;
    } finally {
      this.#calls.delete(call);
      this.#rest();
    }
  }

  /** Fails what is under way. */
  async terminate(): Promise<void> {
    this.#die(new Error("the pipeline was closed"));
    await this.#worker.terminate();
  }

  #add(call: ContentCall): Id {
    const content = ++this.#idCount;
    this.#contents.set(content, call);
    this.#worker.ref();
    call.result.then(
      () => this.#forget(content, call),
      () => {
        this.#say({ type: "abort", content });
        this.#forget(content, call);
      },
    );
    return content;
  }

  #forget(content: Id, call: ContentCall): void {
    this.#contents.delete(content);
    // Also after it has told everything, the thread holds what is not released.
    for (const batch of call.batches.keys()) this.#release(call, batch);
    this.#rest();
  }

  #rest(): void {
    if (this.load === 0) this.#worker.unref();
    this.#changed();
  }

  #handle(message: FromThread): void {
    switch (message.type) {
      case "progress":
        return this.#contents.get(message.content)?.progress(message.size);
      case "chunks":
        return this.#chunks(message);
      case "made":
        return this.#made(message);
      case "end":
        return this.#contents.get(message.content)?.end(message.inline, message.file);
      case "small":
        return this.#small(message);
      case "failed":
        return this.#contents.get(message.content)?.fail(failureError(message.failure));
      case "opened":
        return this.#calls.get(message.call)?.resolve(message.bytes);
      case "placed":
        for (const call of message.calls) this.#calls.get(call)?.resolve(emptyBytes);
        return undefined;
      case "refused":
        return this.#calls.get(message.call)?.reject(failureError(message.failure));
    }
  }

  #small({ content, hash, blob, size, file }: Extract<FromThread, { readonly type: "small" }>): void {
    const call = this.#contents.get(content);
    if (call === undefined || call.isSettled) return;
    call.progress(size);
    call.assembler.add([{ hash, size }], () => [blob]).catch((error: unknown) => call.fail(error));
    call.end(undefined, file);
  }

  #chunks({ content, batch, hashes, sizes, contents }: Extract<FromThread, { readonly type: "chunks" }>): void {
    const call = this.#contents.get(content);
    if (call === undefined || call.isSettled) {
      this.#say({ type: "release", batch });
      return;
    }
    call.batches.set(batch, undefined);
    const chunks = sizes.map((size, index) => ({ hash: hashes.subarray(32 * index, 32 * (index + 1)), size }));
    const make = (indices: readonly number[]) => {
      const canHelp = contents !== undefined && call.settings.compress;
      const helper = canHelp ? this.#helper(call.assembler.chunkCount > worthyChunkCount) : undefined;
      if (contents === undefined || helper === undefined) return this.#make({ type: "make", batch, indices });
      const chosen = indices.map((index) => contents[index] as Uint8Array); // The assembler gives indices of the batch.
      const made = helper.makeShared(call.settings, chosen);
      call.batches.set(batch, made);
      return made;
    };
    call.assembler.add(chunks, make).then(
      () => this.#release(call, batch),
      (error: unknown) => call.fail(error),
    );
  }

  /** The stored forms of chunks in memory that another thread shares. */
  makeShared(settings: ChunkSettings, contents: readonly Uint8Array[]): Promise<readonly StoredBlob[]> {
    return this.#make({ type: "makeShared", settings: this.#settingsId(settings), contents });
  }

  #make(what: Without<Extract<ToThread, { readonly call: Id; readonly type: "make" | "makeShared" }>, "call">) {
    const call = ++this.#idCount;
    const made = deferred<readonly StoredBlob[]>();
    if (this.#isDead) made.reject(dead());
    else this.#makes.set(call, made);
    // Of a content that has failed meanwhile nobody waits for them.
    made.promise.catch(() => {});
    this.#worker.ref();
    this.#say({ ...what, call });
    return made.promise;
  }

  #made({ call, blobs, bytes }: Extract<FromThread, { readonly type: "made" }>): void {
    let at = 0;
    const stored: StoredBlob[] = [];
    for (const { size, compressed, storedSize } of blobs) {
      stored.push({ size, compressed, bytes: bytes.subarray(at, at + storedSize) });
      at += storedSize;
    }
    this.#makes.get(call)?.resolve(stored);
    this.#makes.delete(call);
    this.#rest();
  }

  /** The thread need not hold the batch any more, once nobody reads its memory. */
  #release(call: ContentCall, batch: Id): void {
    const making = call.batches.get(batch);
    if (!call.batches.delete(batch)) return;
    const release = () => this.#say({ type: "release", batch });
    if (making === undefined) release();
    else making.then(release, release);
  }

  /** The number under which the thread knows the settings. */
  #settingsId(settings: ChunkSettings): Id {
    const index = this.#settings.findLastIndex(
      (known) => known.settings === settings || isSame(known.settings, settings),
    );
    const found = index < 0 ? undefined : this.#settings.splice(index, 1)[0];
    if (found !== undefined) {
      this.#settings.push(found);
      return found.id;
    }
    const id = ++this.#idCount;
    const { sizeMin, sizeAverage, sizeMax, compress, key } = settings;
    const copy = { sizeMin, sizeAverage, sizeMax, compress, key: key && owned(key) };
    this.#settings.push({ id, settings: copy });
    const forget = this.#settings.length > settingsCountMax ? this.#settings.shift()?.id : undefined;
    this.#say({ type: "settings", id, settings: copy, forget });
    return id;
  }

  #say(message: ToThread, bytes?: Uint8Array<ArrayBuffer>): void {
    if (this.#isDead) return;
    if (this.#messages.length === 0) setImmediate(() => this.#flush());
    this.#messages.push(message);
    if (bytes !== undefined && bytes.length >= handOverSizeMin) this.#handOver.push(bytes.buffer);
  }

  #flush(): void {
    const [messages, handOver] = [this.#messages, this.#handOver];
    this.#messages = [];
    this.#handOver = [];
    if (!this.#isDead) this.#worker.postMessage(messages, handOver);
  }

  #die(error?: unknown): void {
    if (this.#isDead) return;
    this.#isDead = true;
    const failure = dead(error);
    for (const make of this.#makes.values()) make.reject(failure);
    for (const call of this.#contents.values()) call.fail(failure);
    for (const call of this.#calls.values()) call.reject(failure);
    this.#makes.clear();
    this.#changed();
  }
}

/** In memory that can be given to the thread. */
function ownBlob({ size, compressed, bytes }: StoredBlob) {
  return { size, compressed, bytes: owned(bytes) };
}

function dead(cause?: unknown): HoldfastError {
  const reason = cause instanceof Error ? `: ${cause.message}` : "";
  return new HoldfastError("unavailable", `a thread that works on files ended${reason}; try again`, { cause });
}

function isSame(a: ChunkSettings, b: ChunkSettings): boolean {
  const sameKey = a.key === undefined || b.key === undefined ? a.key === b.key : equalBytes(a.key, b.key);
  return (
    sameKey &&
    a.sizeMin === b.sizeMin &&
    a.sizeAverage === b.sizeAverage &&
    a.sizeMax === b.sizeMax &&
    a.compress === b.compress
  );
}
