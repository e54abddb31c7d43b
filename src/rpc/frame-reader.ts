/**
 * Cuts the byte stream of a connection into the peer's preface and its frames.
 *
 * It takes chunks as they arrive and calls its sink for each frame, with the body's place instead of a copy. Chunks are
 * only valid while they are pushed; `keep` gives bytes of the current frame that stay.
 *
 * 1. The size of a frame is checked before anything is allocated for it, and memory for a frame in pieces grows with
 *    the bytes that have arrived, not with those announced.
 * 2. After `stop`, or after a failure, the sink is not called again.
 */
import { emptyBytes } from "../base/index.ts";
import { decodePreface, headerSizeMax, knownKinds, malformed, prefaceSize } from "./frame.ts";
import type { ChannelSettings } from "./frame.ts";

export interface FrameSink {
  preface(settings: ChannelSettings): void;
  frame(kind: number, call: number, bytes: Uint8Array, start: number, end: number): void;
}

/** Bytes from this size up get an array of their own; shorter ones share a copy of their neighbourhood. */
const ownArraySize = 2_048;
const sharedCopySize = 8_192;
const pendingSizeMin = 256;
const pendingSizeKept = 131_072;

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #frameSizeMax: number;
  #prefaceSeen = false;
  #stopped = false;

  /** The beginning of a frame whose rest has not arrived. */
  #pending: Uint8Array = emptyBytes;
  #pendingSize = 0;

  /** The header read last. */
  #kind = 0;
  #call = 0;
  #bodyStart = 0;
  #bodyEnd = 0;
  #cursor = 0;

  /** What `keep` cuts from: the current array, and the copy of a part of it if there is one. */
  #source: Uint8Array = emptyBytes;
  #sourceStays = false;
  #kept = false;
  #copy: Uint8Array = emptyBytes;
  #copyStart = 0;
  #copyEnd = 0;

  constructor(sink: FrameSink, frameSizeMax: number) {
    this.#sink = sink;
    this.#frameSizeMax = frameSizeMax;
  }

  stop(): void {
    this.#stopped = true;
    this.#pending = emptyBytes;
    this.#pendingSize = 0;
  }

  /** Throws `corrupt` on a malformed header; what the sink throws passes through. */
  push(chunk: Uint8Array): void {
    let offset = 0;
    if (this.#pendingSize > 0 || !this.#prefaceSeen) offset = this.#resume(chunk);
    if (this.#stopped) return;
    this.#source = chunk;
    this.#sourceStays = false;
    this.#copyEnd = 0;
    const end = chunk.length;
    while (offset < end && this.#header(chunk, offset, end) && this.#bodyEnd <= end) {
      offset = this.#bodyEnd;
      this.#sink.frame(this.#kind, this.#call, chunk, this.#bodyStart, offset);
      if (this.#stopped) return;
    }
    this.#source = emptyBytes;
    this.#copy = emptyBytes;
    if (offset < end) {
      const rest = end - offset;
      if (this.#pending.length < rest) this.#pending = new Uint8Array(Math.max(rest, pendingSizeMin));
      this.#pending.set(offset === 0 ? chunk : chunk.subarray(offset));
      this.#pendingSize = rest;
    }
  }

  /** Bytes of the frame that the sink is being called for, which stay valid after the call. */
  keep(start: number, end: number): Uint8Array {
    const source = this.#source;
    if (this.#sourceStays) {
      this.#kept = true;
      return source.subarray(start, end);
    }
    if (end - start >= ownArraySize) return source.slice(start, end);
    if (start < this.#copyStart || end > this.#copyEnd) {
      this.#copyStart = start;
      this.#copyEnd = Math.min(source.length, start + sharedCopySize);
      this.#copy = source.slice(start, this.#copyEnd);
    }
    return this.#copy.subarray(start - this.#copyStart, end - this.#copyStart);
  }

  /** Completes what is pending from the chunk; gives how much of the chunk it took. */
  #resume(chunk: Uint8Array): number {
    let offset = 0;
    if (!this.#prefaceSeen) {
      offset = this.#fill(chunk, 0, prefaceSize);
      if (this.#pendingSize < prefaceSize) return offset;
      this.#prefaceSeen = true;
      this.#pendingSize = 0;
      this.#sink.preface(decodePreface(this.#pending));
      return offset;
    }
    while (!this.#header(this.#pending, 0, this.#pendingSize)) {
      if (offset === chunk.length) return offset;
      offset += this.#fill(chunk, offset, Math.min(this.#pendingSize + 1, headerSizeMax));
    }
    const frameEnd = this.#bodyEnd;
    offset += this.#fill(chunk, offset, frameEnd);
    if (this.#pendingSize < frameEnd) return offset;
    const frame = this.#pending;
    this.#pendingSize = 0;
    this.#source = frame;
    this.#sourceStays = true;
    this.#kept = false;
    this.#sink.frame(this.#kind, this.#call, frame, this.#bodyStart, frameEnd);
    // Unless somebody holds on to it, the next frame in pieces may use the same memory.
    if (this.#kept || frame.length > pendingSizeKept) this.#pending = emptyBytes;
    return offset;
  }

  /** Adds to what is pending until it holds `size` bytes or the chunk is used up; gives how many it added. */
  #fill(chunk: Uint8Array, offset: number, size: number): number {
    const added = Math.min(chunk.length - offset, size - this.#pendingSize);
    if (added <= 0) return 0;
    const needed = this.#pendingSize + added;
    if (this.#pending.length < needed) {
      const larger = new Uint8Array(Math.max(needed, Math.min(2 * needed, size), pendingSizeMin));
      larger.set(this.#pending.subarray(0, this.#pendingSize));
      this.#pending = larger;
    }
    this.#pending.set(chunk.subarray(offset, offset + added), this.#pendingSize);
    this.#pendingSize = needed;
    return added;
  }

  /** Reads the header at `offset`; false if it is cut off. */
  #header(bytes: Uint8Array, offset: number, end: number): boolean {
    if (offset >= end) return false;
    const kind = bytes[offset] as number;
    if (knownKinds[kind] !== 1) throw malformed(`kind ${kind} does not exist`);
    this.#kind = kind;
    this.#cursor = offset + 1;
    const call = this.#varint(bytes, end);
    if (call < 0) return false;
    const size = this.#varint(bytes, end);
    if (size < 0) return false;
    const bodyStart = this.#cursor;
    if (bodyStart - offset + size > this.#frameSizeMax) {
      const bound = `the limit is ${this.#frameSizeMax} (limits.frameSizeMax)`;
      throw malformed(`a body of ${size} bytes is announced; ${bound}`);
    }
    this.#call = call;
    this.#bodyStart = bodyStart;
    this.#bodyEnd = bodyStart + size;
    return true;
  }

  /** A varint up to 2^53 - 1 at the cursor, or -1 if it is cut off. */
  #varint(bytes: Uint8Array, end: number): number {
    let cursor = this.#cursor;
    if (cursor >= end) return -1;
    let byte = bytes[cursor++] as number;
    let value = byte & 0x7f;
    if (byte >= 128) {
      let scale = 128;
      for (let count = 1; ; count++) {
        if (count === 8) throw malformed("a number in a header is over 2^53 - 1");
        if (cursor >= end) return -1;
        byte = bytes[cursor++] as number;
        value += (byte & 0x7f) * scale;
        if (byte < 128) break;
        scale *= 128;
      }
      if (value > Number.MAX_SAFE_INTEGER) throw malformed("a number in a header is over 2^53 - 1");
    }
    this.#cursor = cursor;
    return value;
  }
}
