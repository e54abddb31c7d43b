/**
 * Collects outgoing frames into few buffers. Small pieces are copied one behind the other into a slab, since a buffer of
 * its own costs more than its content; large ones are passed on as they are and must not be changed afterwards.
 *
 * What was taken belongs to the connection; the slab is used on behind it, never again before it.
 */
import { headerSizeMax } from "./frame.ts";

const slabSize = 32_768;
/** Pieces up to this size are copied. */
const copySizeMax = 4_096;

export class FrameOutput {
  #slab = new Uint8Array(slabSize);
  /** The part of the slab that is not yet in `#buffers`. */
  #start = 0;
  #at = 0;
  #buffers: Uint8Array[] = [];
  #buffersSize = 0;

  /** Bytes that wait to be taken. */
  get size(): number {
    return this.#buffersSize + this.#at - this.#start;
  }

  header(kind: number, call: number, bodySize: number): void {
    this.#reserve(headerSizeMax);
    this.#slab[this.#at++] = kind;
    this.#varint(call);
    this.#varint(bodySize);
  }

  varint(value: number): void {
    this.#reserve(8);
    this.#varint(value);
  }

  bytes(bytes: Uint8Array): void {
    const size = bytes.length;
    if (size > copySizeMax) {
      this.#cut();
      this.#buffers.push(bytes);
      this.#buffersSize += size;
      return;
    }
    this.#reserve(size);
    const slab = this.#slab;
    let at = this.#at;
    if (size <= 32) for (let index = 0; index < size; index++) slab[at++] = bytes[index] as number;
    else slab.set(bytes, at);
    this.#at += size;
  }

  /** Everything collected, in order. */
  take(): Uint8Array[] {
    this.#cut();
    const buffers = this.#buffers;
    this.#buffers = [];
    this.#buffersSize = 0;
    return buffers;
  }

  #cut(): void {
    if (this.#at === this.#start) return;
    this.#buffers.push(this.#slab.subarray(this.#start, this.#at));
    this.#buffersSize += this.#at - this.#start;
    this.#start = this.#at;
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#slab.length) return;
    this.#cut();
    this.#slab = new Uint8Array(slabSize);
    this.#start = 0;
    this.#at = 0;
  }

  #varint(value: number): void {
    const slab = this.#slab;
    let at = this.#at;
    let rest = value;
    while (rest >= 128) {
      // Bit operations see 32 bits only.
      slab[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    slab[at++] = rest;
    this.#at = at;
  }
}

/** How many bytes `value` takes as a varint. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}
