/**
 * SHA-256 (FIPS 180-4) and CRC-32 (as in zlib: reflected polynomial 0xEDB88320) in plain TypeScript, for simulations and
 * browsers. It does not compress: `compress` gives undefined, so nothing that it wrote ever needs `decompress`.
 */
import { HoldfastError } from "../base/index.ts";
import type { Digest } from "../base/index.ts";

export class PlainDigest implements Digest {
  sha256(bytes: Uint8Array): Uint8Array {
    return sha256(bytes);
  }

  crc32(bytes: Uint8Array, initial = 0): number {
    return crc32(bytes, initial);
  }

  compress(_bytes: Uint8Array): undefined {
    return undefined;
  }

  decompress(bytes: Uint8Array, _sizeMax: number): Uint8Array {
    throw new HoldfastError(
      "corrupt",
      `compressed data of ${bytes.length} bytes cannot be read here: this digest door has no zstd; use the one of host`,
    );
  }
}

/** The first 32 bits of the fractional parts of the cube roots, and of the square roots, of the first primes. */
const primes = firstPrimes(64);
const roundConstants = new Uint32Array(primes.map((prime) => fraction(Math.cbrt(prime))));
const initialState = new Uint32Array(primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))));

function firstPrimes(count: number): number[] {
  const found: number[] = [];
  for (let candidate = 2; found.length < count; candidate += 1) {
    if (found.every((prime) => candidate % prime !== 0)) found.push(candidate);
  }
  return found;
}

function fraction(root: number): number {
  return Math.floor((root - Math.floor(root)) * 4_294_967_296);
}

function sha256(bytes: Uint8Array): Uint8Array {
  const state = initialState.slice();
  const schedule = new Uint32Array(64);
  const whole = bytes.length - (bytes.length % 64);
  for (let offset = 0; offset < whole; offset += 64) compressBlock(state, schedule, bytes, offset);
  // The rest, the bit 1, zeros, and the length in bits as 64 bits, fill one block or two.
  const rest = bytes.length - whole;
  const last = new Uint8Array(rest < 56 ? 64 : 128);
  last.set(bytes.subarray(whole));
  last[rest] = 0x80;
  const view = new DataView(last.buffer);
  view.setUint32(last.length - 8, Math.floor(bytes.length / 0x20000000));
  view.setUint32(last.length - 4, bytes.length << 3);
  for (let offset = 0; offset < last.length; offset += 64) compressBlock(state, schedule, last, offset);
  const result = new Uint8Array(32);
  const resultView = new DataView(result.buffer);
  for (let index = 0; index < 8; index += 1) resultView.setUint32(4 * index, state[index] as number);
  return result;
}

/** One round of the compression function. The casts hold since every index is below the arrays' fixed lengths. */
function compressBlock(state: Uint32Array, w: Uint32Array, bytes: Uint8Array, offset: number): void {
  for (let t = 0, at = offset; t < 16; t += 1, at += 4) {
    w[t] =
      ((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number);
  }
  for (let t = 16; t < 64; t += 1) {
    const x = w[t - 15] as number;
    const y = w[t - 2] as number;
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[t] = ((w[t - 16] as number) + s0 + (w[t - 7] as number) + s1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let t = 0; t < 64; t += 1) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (roundConstants[t] as number) + (w[t] as number)) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  const sums = [a, b, c, d, e, f, g, h];
  for (let index = 0; index < 8; index += 1) {
    state[index] = ((state[index] as number) + (sums[index] as number)) | 0;
  }
}

/** Four tables, so that four bytes go in one step ("slicing by four", Kounavis and Berry 2005). */
const crcTables = makeCrcTables();

function makeCrcTables(): Uint32Array {
  const tables = new Uint32Array(4 * 256);
  for (let index = 0; index < 256; index += 1) {
    let value = index;
    for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
    tables[index] = value;
  }
  for (let index = 256; index < tables.length; index += 1) {
    const previous = tables[index - 256] as number;
    tables[index] = (previous >>> 8) ^ (tables[previous & 0xff] as number);
  }
  return tables;
}

function crc32(bytes: Uint8Array, initial: number): number {
  let value = ~initial;
  let index = 0;
  for (; index + 4 <= bytes.length; index += 4) {
    value ^=
      (bytes[index] as number) |
      ((bytes[index + 1] as number) << 8) |
      ((bytes[index + 2] as number) << 16) |
      ((bytes[index + 3] as number) << 24);
    value =
      (crcTables[768 + (value & 0xff)] as number) ^
      (crcTables[512 + ((value >>> 8) & 0xff)] as number) ^
      (crcTables[256 + ((value >>> 16) & 0xff)] as number) ^
      (crcTables[value >>> 24] as number);
  }
  for (; index < bytes.length; index += 1) {
    value = (value >>> 8) ^ (crcTables[(value ^ (bytes[index] as number)) & 0xff] as number);
  }
  return ~value >>> 0;
}
