/**
 * Memory that a thread of a `WorkerPipeline` reads large files into, used again and again: fresh memory costs more than
 * reading into it. It is shared memory, so that another thread can compress what is in it.
 *
 * 1. A slab is given out again only when nobody uses it: not its cutter, and no chunk in it that is not released.
 */
import { assert } from "../base/index.ts";
import type { Chunker } from "../blob/index.ts";

/** Bytes. With the default sizes of chunks, a slab has about eight. */
const slabSize = 4_194_304;
/** Free slabs that are kept. */
const spareCountMax = 4;
/** Bytes that are read at once, and the least that it is worth reading for. */
const roomSizeMax = 1_048_576;
const roomSizeMin = 65_536;

export class Slabs {
  /** Users of each slab that has any. */
  readonly #users = new Map<ArrayBufferLike, number>();
  readonly #spare: SharedArrayBuffer[] = [];

  /** A slab of at least so many bytes, with one user. */
  take(sizeMin: number): Uint8Array {
    const buffer =
      sizeMin <= slabSize ? (this.#spare.pop() ?? new SharedArrayBuffer(slabSize)) : new SharedArrayBuffer(sizeMin);
    this.#users.set(buffer, 1);
    return new Uint8Array(buffer);
  }

  /** One more user of the slab that the bytes are in. False: they are in none. */
  use(bytes: Uint8Array): boolean {
    const count = this.#users.get(bytes.buffer);
    if (count === undefined) return false;
    this.#users.set(bytes.buffer, count + 1);
    return true;
  }

  free(bytes: Uint8Array): void {
    const { buffer } = bytes;
    const count = this.#users.get(buffer);
    assert(count !== undefined && buffer instanceof SharedArrayBuffer, "a slab that is freed once too often");
    if (count > 1) {
      this.#users.set(buffer, count - 1);
      return;
    }
    this.#users.delete(buffer);
    if (buffer.byteLength === slabSize && this.#spare.length < spareCountMax) this.#spare.push(buffer);
  }
}

/** Cuts a file that is read into slabs: no byte is copied but those of a chunk that does not fit into the rest of one. */
export class SlabCutter {
  readonly #chunker: Chunker;
  readonly #slabs: Slabs;
  #slab: Uint8Array;
  /** The unfinished chunk. */
  #start = 0;
  #end = 0;
  #isClosed = false;

  constructor(chunker: Chunker, slabs: Slabs) {
    this.#chunker = chunker;
    this.#slabs = slabs;
    chunker.reset();
    this.#slab = slabs.take(this.#size);
  }

  /** Where the next bytes of the file go, before `push` says how many there are. */
  room(): Uint8Array {
    if (this.#slab.length - this.#end < roomSizeMin) {
      const rest = this.#slab.subarray(this.#start, this.#end);
      const slab = this.#slabs.take(this.#size);
      slab.set(rest);
      this.#slabs.free(this.#slab);
      this.#slab = slab;
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#slab.subarray(this.#end, Math.min(this.#end + roomSizeMax, this.#slab.length));
  }

  /** The chunks that end in these bytes. They stay as they are while their slab is used (`Slabs.use`). */
  *push(size: number): Generator<Uint8Array, void, undefined> {
    this.#end += size;
    for (;;) {
      const end = this.#chunker.cut(this.#slab, this.#start, this.#end, false);
      if (end < 0) return;
      const chunk = this.#slab.subarray(this.#start, end);
      this.#start = end;
      yield chunk;
    }
  }

  /** The last chunk; undefined if the file ended with the one before, or had no bytes. */
  end(): Uint8Array | undefined {
    const rest = this.#slab.subarray(this.#start, this.#end);
    this.#start = this.#end;
    this.#chunker.reset();
    return rest.length === 0 ? undefined : rest;
  }

  /** Idempotent. */
  close(): void {
    if (!this.#isClosed) this.#slabs.free(this.#slab);
    this.#isClosed = true;
  }

  /** There is room behind the longest chunk. */
  get #size(): number {
    return 2 * this.#chunker.sizeMax;
  }
}
