/**
 * Writes Protocol Buffers from the last byte to the first. Going backwards, the length of an embedded message is known
 * when its prefix is due, so nothing is measured twice and nothing is moved. Callers therefore write a message's fields
 * in descending order, each value before its tag.
 *
 * A writer is reused: `finish` hands the message out and makes the writer empty.
 */
import { HoldfastError } from "../errors.ts";

const encoder = new TextEncoder();
const floatBytes = new Uint8Array(8);
const floatView = new DataView(floatBytes.buffer);

/** Small messages are cut from slabs of this many bytes, since a typed array of its own costs more than its content. */
const slabSize = 32_768;

export class Writer {
  #buffer = new Uint8Array(slabSize);
  /** Where the written part begins. */
  #start = slabSize;
  /** Where it ends: what lies behind belongs to messages that were finished before. */
  #end = slabSize;

  /** Bytes written so far. The difference of two readings is the size of what was written between. */
  get size(): number {
    return this.#end - this.#start;
  }

  /** What was written, which is the caller's from now on; the writer is empty afterwards. */
  finish(): Uint8Array {
    const bytes = this.#buffer.subarray(this.#start, this.#end);
    this.#end = this.#start;
    return bytes;
  }

  /** What was written, until the next message is: the writer is empty afterwards and writes to the same place again. */
  borrow(): Uint8Array {
    const bytes = this.#buffer.subarray(this.#start, this.#end);
    this.#start = this.#end;
    return bytes;
  }

  /** Forgets what was written, after a failure in the middle of a message. */
  reset(): void {
    this.#start = this.#end;
  }

  #reserve(size: number): number {
    if (this.#start < size) this.#grow(size);
    return (this.#start -= size);
  }

  #grow(size: number): void {
    const used = this.size;
    const larger = new Uint8Array(Math.max(slabSize, 2 * (used + size)));
    larger.set(this.#buffer.subarray(this.#start, this.#end), larger.length - used);
    this.#buffer = larger;
    this.#end = larger.length;
    this.#start = larger.length - used;
  }

  /** A varint of 0 ≤ value ≤ 2^53 - 1. */
  varint(value: number): void {
    if (value < 128) {
      const at = this.#reserve(1);
      this.#buffer[at] = value;
      return;
    }
    if (value < 16_384) {
      const at = this.#reserve(2);
      this.#buffer[at] = (value & 0x7f) | 0x80;
      this.#buffer[at + 1] = value >>> 7;
      return;
    }
    this.#longVarint(value);
  }

  #longVarint(value: number): void {
    // Bit operations see 32 bits only: 28 low bits are four groups, the rest follows.
    const high = value < 268_435_456 ? 0 : Math.floor(value / 268_435_456);
    let low = value < 268_435_456 ? value : value - high * 268_435_456;
    const size =
      high > 0 ? 4 + (high < 128 ? 1 : high < 16_384 ? 2 : high < 2_097_152 ? 3 : 4) : low < 2_097_152 ? 3 : 4;
    let at = this.#reserve(size);
    const last = at + size - 1;
    const buffer = this.#buffer;
    const middle = high > 0 ? at + 4 : last;
    while (at < middle) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    if (high > 0) low = high;
    while (at < last) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    buffer[last] = low;
  }

  /** A varint of any safe integer, negative ones as 64-bit two's complement (ten bytes). */
  signedVarint(value: number): void {
    if (value >= 0) this.varint(value);
    else this.bigVarint(BigInt(value));
  }

  /** A varint of the low 64 bits. */
  bigVarint(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    const groups: number[] = [];
    do {
      groups.push(Number(rest & 0x7fn));
      rest >>= 7n;
    } while (rest !== 0n);
    const at = this.#reserve(groups.length);
    groups.forEach((group, index) => {
      this.#buffer[at + index] = index === groups.length - 1 ? group : group | 0x80;
    });
  }

  fixed32(value: number): void {
    const at = this.#reserve(4);
    const buffer = this.#buffer;
    buffer[at] = value;
    buffer[at + 1] = value >>> 8;
    buffer[at + 2] = value >>> 16;
    buffer[at + 3] = value >>> 24;
  }

  fixed64(value: bigint): void {
    floatView.setBigUint64(0, BigInt.asUintN(64, value), true);
    this.raw(floatBytes);
  }

  double(value: number): void {
    floatView.setFloat64(0, value, true);
    this.raw(floatBytes);
  }

  float(value: number): void {
    floatView.setFloat32(0, value, true);
    const at = this.#reserve(4);
    for (let index = 0; index < 4; index++) this.#buffer[at + index] = floatBytes[index] as number;
  }

  /** The bytes as they are, without a length. */
  raw(bytes: Uint8Array): void {
    const size = bytes.length;
    const at = this.#reserve(size);
    if (size <= 24) {
      // A loop beats the call for short ones.
      const buffer = this.#buffer;
      for (let index = 0; index < size; index++) buffer[at + index] = bytes[index] as number;
    } else {
      this.#buffer.set(bytes, at);
    }
  }

  /** The bytes with their length before them. */
  bytes(bytes: Uint8Array): void {
    this.raw(bytes);
    this.varint(bytes.length);
  }

  /** Text as UTF-8 with its length before it. A lone surrogate is `invalid`: it has no UTF-8. */
  string(text: string): void {
    const size = text.length;
    const at = this.#reserve(size);
    const buffer = this.#buffer;
    let index = 0;
    for (; index < size; index++) {
      const code = text.charCodeAt(index);
      if (code > 127) break;
      buffer[at + index] = code;
    }
    if (index < size) {
      if (!text.isWellFormed())
        throw new HoldfastError("invalid", "the text has a lone surrogate, which UTF-8 cannot hold");
      this.#start += size;
      this.bytes(encoder.encode(text));
      return;
    }
    this.varint(size);
  }
}
