/**
 * Reads Protocol Buffers from a byte array, checking every length against what is there. `end` is where the message
 * being read ends; an embedded message narrows it for a while. Failures are `HoldfastError`s with code `corrupt`.
 */
import { utf8Decode } from "../bytes.ts";
import { HoldfastError } from "../errors.ts";

/** How deep messages may nest: far more than any schema here, far less than the stack. */
const depthMax = 64;

export type WireType = 0 | 1 | 2 | 5;

const scratch = new DataView(new ArrayBuffer(8));

export class Reader {
  /** What is read, and where it lies in its buffer: for decoders, which read it directly below `end`. */
  readonly input: Uint8Array;
  readonly buffer: ArrayBufferLike;
  readonly base: number;
  position: number;
  end: number;
  #depth = 0;

  constructor(bytes: Uint8Array) {
    this.input = bytes;
    this.buffer = bytes.buffer;
    this.base = bytes.byteOffset;
    this.position = 0;
    this.end = bytes.length;
  }

  /** A varint that fits a safe integer without sign: for tags, lengths and unsigned fields. */
  varint(): number {
    const bytes = this.input;
    let position = this.position;
    let byte = this.#at(position++);
    if (byte < 128) {
      this.position = position;
      return byte;
    }
    let value = byte & 0x7f;
    byte = this.#at(position++);
    value |= (byte & 0x7f) << 7;
    if (byte >= 128) {
      byte = this.#at(position++);
      value |= (byte & 0x7f) << 14;
      if (byte >= 128) {
        byte = this.#at(position++);
        value |= (byte & 0x7f) << 21;
        let scale = 268_435_456;
        while (byte >= 128) {
          if (position - this.position >= 10) throw corrupt("a varint is longer than 10 bytes");
          byte = position < this.end ? (bytes[position] as number) : this.#at(position);
          position++;
          value += (byte & 0x7f) * scale;
          scale *= 128;
        }
        if (value > Number.MAX_SAFE_INTEGER) throw corrupt("a number is over 2^53 - 1");
      }
    }
    this.position = position;
    return value;
  }

  #at(position: number): number {
    if (position >= this.end) throw corrupt("a number is cut off");
    return this.input[position] as number;
  }

  /** A varint of 64 bits; bits beyond them are refused. */
  bigVarint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#at(this.position++);
      if (shift === 63n && byte > 1) throw corrupt("a varint is over 64 bits");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 128) return value;
    }
  }

  /** A varint that holds a safe integer as 64-bit two's complement. */
  signedVarint(): number {
    const start = this.position;
    let size = 1;
    while (this.#at(start + size - 1) >= 128) {
      if (++size > 10) throw corrupt("a varint is longer than 10 bytes");
    }
    if (size <= 7) return this.varint();
    const value = BigInt.asIntN(64, this.bigVarint());
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw corrupt(`the number ${value} is not a safe integer`);
    return number;
  }

  #take(size: number): number {
    const start = this.position;
    if (size > this.end - start) throw this.tooLong(size, this.end - start);
    this.position = start + size;
    return start;
  }

  /** The error of a length that is more than what is left. */
  tooLong(size: number, left: number): HoldfastError {
    return corrupt(`${size} bytes are announced, ${left} are left`);
  }

  fixed32(): number {
    const at = this.#take(4);
    const bytes = this.input;
    return (
      ((bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24)) >>>
      0
    );
  }

  fixed64(): bigint {
    this.#scratch8();
    return scratch.getBigUint64(0, true);
  }

  double(): number {
    this.#scratch8();
    return scratch.getFloat64(0, true);
  }

  float(): number {
    scratch.setUint32(0, this.fixed32(), true);
    return scratch.getFloat32(0, true);
  }

  #scratch8(): void {
    scratch.setUint32(0, this.fixed32(), true);
    scratch.setUint32(4, this.fixed32(), true);
  }

  /** A view of the input, not a copy. */
  bytes(): Uint8Array {
    const size = this.varint();
    const at = this.#take(size);
    // Half the cost of `subarray`, and a plain array also if the input is of a subclass.
    return new Uint8Array(this.buffer, this.base + at, size);
  }

  string(): string {
    const size = this.varint();
    const at = this.#take(size);
    if (size <= 48) {
      const bytes = this.input;
      let text = "";
      let index = at;
      for (const end = at + size; index < end; index++) {
        const byte = bytes[index] as number;
        if (byte > 127) break;
        text += String.fromCharCode(byte);
      }
      if (index === at + size) return text;
    }
    return utf8Decode(this.input.subarray(at, at + size));
  }

  /** Reads a length and narrows `end` to it; gives the old end for `leave`. */
  enter(): number {
    const size = this.varint();
    if (size > this.end - this.position) throw this.tooLong(size, this.end - this.position);
    if (++this.#depth > depthMax) throw corrupt(`messages nest deeper than ${depthMax}`);
    const outer = this.end;
    this.end = this.position + size;
    return outer;
  }

  leave(outer: number): void {
    this.#depth--;
    this.end = outer;
  }

  /** Passes over the value of an unknown field. Groups, which proto3 does not have, are refused. */
  skip(wireType: number): void {
    if (wireType === 0) this.bigVarint();
    else if (wireType === 1) this.#take(8);
    else if (wireType === 2) this.#take(this.varint());
    else if (wireType === 5) this.#take(4);
    else throw corrupt(`wire type ${wireType} is not known`);
  }
}

export function corrupt(message: string): HoldfastError {
  return new HoldfastError("corrupt", message);
}
