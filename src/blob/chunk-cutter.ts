/** The bytes of a file as they come, in pieces of any size, cut into chunks. Memory: at most one chunk. */
import { emptyBytes } from "../base/index.ts";
import type { Chunker } from "./chunker.ts";

/** Bytes copied before the chunker looks at them: what is copied behind the end of a chunk was copied in vain. */
const stepSize = 65_536;

export class ChunkCutter {
  readonly #chunker: Chunker;
  /** The beginning of a chunk whose end is in no piece so far. */
  #rest: Uint8Array = emptyBytes;
  #restSize = 0;

  /** The chunker is used for nothing else meanwhile. */
  constructor(chunker: Chunker) {
    this.#chunker = chunker;
    chunker.reset();
  }

  /**
   * The chunks that end in these bytes, in order. Those that also begin in them are parts of `bytes`, which must not change
   * as long as they are used; the others are new arrays. All must be taken before the next call.
   */
  *push(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    const chunker = this.#chunker;
    let at = 0;
    while (at < bytes.length) {
      if (this.#restSize === 0) {
        const end = chunker.cut(bytes, at, bytes.length, false);
        if (end < 0) {
          this.#keep(bytes.subarray(at));
          return;
        }
        const chunk = bytes.subarray(at, end);
        at = end;
        yield chunk;
        continue;
      }
      const before = this.#restSize;
      const step = Math.min(stepSize, bytes.length - at);
      this.#keep(bytes.subarray(at, at + step));
      const end = chunker.cut(this.#rest, 0, this.#restSize, false);
      if (end < 0) {
        at += step;
        continue;
      }
      // The end is in the new bytes, since the chunker has seen the others.
      at += end - before;
      this.#restSize = 0;
      yield this.#rest.slice(0, end);
    }
  }

  /** The last chunk; undefined if the file ended with the one before, or had no bytes. */
  end(): Uint8Array | undefined {
    const rest = this.#rest.subarray(0, this.#restSize);
    this.#rest = emptyBytes;
    this.#restSize = 0;
    this.#chunker.reset();
    return rest.length === 0 ? undefined : rest;
  }

  #keep(bytes: Uint8Array): void {
    const size = this.#restSize + bytes.length;
    if (size > this.#rest.length) {
      // Never more than a chunk and a step, but for a small file not so much.
      const grown = new Uint8Array(Math.min(Math.max(size, 2 * this.#rest.length), this.#chunker.sizeMax + stepSize));
      grown.set(this.#rest.subarray(0, this.#restSize));
      this.#rest = grown;
    }
    this.#rest.set(bytes, this.#restSize);
    this.#restSize = size;
  }
}
