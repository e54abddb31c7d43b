/**
 * A content that is written in pieces, to a thread of a `WorkerPipeline`. Nothing is given to a thread until there are more
 * than `smallSizeMax` bytes: a content that ends before is worked on in place.
 *
 * 1. At most `creditSize` bytes are given to the thread and not yet taken by it, and one piece.
 * 2. After `abort`, or a failure, the sink is not called any more.
 */
import { assert, HoldfastError, Signal } from "../base/index.ts";
import type { ContentWriter, WrittenContent } from "../blob/index.ts";
import type { ContentCall } from "./content-call.ts";
import type { Id } from "./pipeline-protocol.ts";
import type { PipelineThread } from "./pipeline-thread.ts";

const smallSizeMax = 32_768;
/** Small writes are gathered to pieces of so many bytes, and large ones cut into them. */
const pieceSize = 524_288;
const creditSize = 2_097_152;

export interface ThreadWriterParts {
  /** A writer that works in place. */
  small(): ContentWriter;
  call(progress: (size: number) => void): ContentCall;
  start(call: ContentCall): { readonly thread: PipelineThread; readonly content: Id };
}

export class ThreadWriter implements ContentWriter {
  readonly #parts: ThreadWriterParts;
  /** What was not given to anybody. */
  #waiting: Uint8Array[] = [];
  #waitingSize = 0;
  #started: { readonly thread: PipelineThread; readonly content: Id; readonly call: ContentCall } | undefined;
  #small: ContentWriter | undefined;
  /** Bytes given and not taken. */
  #givenSize = 0;
  readonly #taken = new Signal();
  #state: "open" | "ended" | "aborted" = "open";

  constructor(parts: ThreadWriterParts) {
    this.#parts = parts;
  }

  async write(bytes: Uint8Array): Promise<void> {
    assert(this.#state !== "ended", "a write to a content that has ended");
    this.#check();
    this.#waiting.push(bytes);
    this.#waitingSize += bytes.length;
    if (this.#waitingSize <= smallSizeMax && this.#started === undefined) return;
    if (this.#waitingSize < pieceSize && this.#started !== undefined) return;
    this.#give(pieceSize);
    while (this.#givenSize > creditSize && this.#state === "open" && this.#started?.call.isSettled === false) {
      await this.#taken.wait();
    }
    // Who waited learns of a failure here, not with the next bytes.
    if (this.#started?.call.isSettled === true) await this.#started.call.result;
  }

  async end(): Promise<WrittenContent> {
    assert(this.#state !== "ended", "a content that ends twice");
    this.#check();
    this.#state = "ended";
    if (this.#started === undefined) return this.#endSmall();
    const { thread, content, call } = this.#started;
    this.#give(1);
    thread.end(content);
    return (await call.result).content;
  }

  abort(): void {
    this.#state = "aborted";
    this.#waiting = [];
    this.#small?.abort();
    this.#started?.call.fail(aborted());
    this.#taken.notify();
  }

  #check(): void {
    if (this.#state === "aborted") throw aborted();
  }

  async #endSmall(): Promise<WrittenContent> {
    const small = this.#parts.small();
    this.#small = small;
    // Writes are done in their order without being waited for; the end fails with what one of them failed with.
    for (const bytes of this.#waiting) small.write(bytes).catch(() => {});
    this.#waiting = [];
    return small.end();
  }

  /** Gives away what waits, in pieces, until less than `sizeMin` bytes are left. */
  #give(sizeMin: number): void {
    if (this.#started === undefined) {
      const call = this.#parts.call((size) => {
        this.#givenSize -= size;
        this.#taken.notify();
      });
      call.result.catch(() => this.#taken.notify());
      this.#started = { ...this.#parts.start(call), call };
    }
    const { thread, content } = this.#started;
    while (this.#waitingSize >= sizeMin) {
      const piece = this.#gather(Math.min(pieceSize, this.#waitingSize));
      this.#givenSize += piece.length;
      thread.write(content, piece);
    }
  }

  /** The next bytes of what waits, as a new array: the caller's own memory stays with the caller. */
  #gather(size: number): Uint8Array<ArrayBuffer> {
    const piece = new Uint8Array(size);
    let filled = 0;
    let used = 0;
    while (filled < size) {
      const bytes = this.#waiting[used] as Uint8Array; // There are at least `size` bytes.
      const part = bytes.subarray(0, size - filled);
      piece.set(part, filled);
      filled += part.length;
      if (part.length < bytes.length) this.#waiting[used] = bytes.subarray(part.length);
      else used++;
    }
    this.#waiting.splice(0, used);
    this.#waitingSize -= size;
    return piece;
  }
}

function aborted(): HoldfastError {
  return new HoldfastError("cancelled", "the writing of a file's content was given up");
}
