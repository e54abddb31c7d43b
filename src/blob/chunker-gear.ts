/**
 * The tables of the gear hash: a random number for each value of a byte. Who knows the table can tell from the lengths of
 * chunks which known file they belong to; so an encrypted bucket has a table of its own, made from its key.
 *
 * Format: `docs/format.md`, "File contents".
 */
import { readUint32LE } from "../base/index.ts";
import type { Cipher } from "../base/index.ts";

/** 256 numbers of 32 bits. */
export type GearTable = Int32Array;

/** The table of buckets that are not encrypted: the finalizer of MurmurHash3 (Appleby) over a Weyl sequence. */
export const defaultGear: GearTable = Int32Array.from({ length: 256 }, (_, index) => {
  let x = Math.imul(index + 1, 0x9e3779b9);
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
});

/** A table from a secret of 32 bytes: HMAC-SHA-256 in counter mode. */
export function secretGear(cipher: Cipher, secret: Uint8Array): GearTable {
  const table = new Int32Array(256);
  for (let block = 0; block < 32; block++) {
    const bytes = cipher.hmac(secret, Uint8Array.of(block));
    for (let index = 0; index < 8; index++) table[8 * block + index] = readUint32LE(bytes, 4 * index);
  }
  return table;
}
