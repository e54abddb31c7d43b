/**
 * Where pages begin: a keyed hash of the key gives its level, and nothing else does.
 *
 * A key of level 0 (31 of 32) stands inside a leaf. A key of level n starts a new page at every height below n: at
 * level 1 a leaf, at level 2 a leaf and the inner page above it, and so on. So the shape of the tree follows from its
 * keys alone, pages hold 32 entries on average, and who does not know the seed cannot aim at one page.
 *
 * The hash is HalfSipHash-1-3 with 32 bits of output (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012,
 * and their reference code), keyed with the first 8 bytes of the seed, over the last 8 bytes of the seed and the key.
 * Those 8 bytes are the same for all keys, so their rounds are done once.
 */
import { assert } from "../base/index.ts";

export const seedSize = 16;

/** Trailing zero bits of the hash that a key needs to start a leaf: 2^5 entries in an average leaf. */
const leafBits = 5;
/** Trailing zero bits more for every further level: 2^5 children in an average inner page. */
const innerBits = 5;
/** The level of a key whose hash is 0. */
export const levelMax = 1 + Math.floor((32 - leafBits) / innerBits);

export class Boundary {
  #v0: number;
  #v1: number;
  #v2: number;
  #v3: number;

  constructor(seed: Uint8Array) {
    assert(seed.length === seedSize, `a tree's seed has ${seed.length} bytes; it must have ${seedSize}`);
    const word = (at: number) =>
      ((seed[at] as number) |
        ((seed[at + 1] as number) << 8) |
        ((seed[at + 2] as number) << 16) |
        ((seed[at + 3] as number) << 24)) >>>
      0;
    this.#v0 = word(0);
    this.#v1 = word(4);
    this.#v2 = 0x6c796765 ^ word(0);
    this.#v3 = 0x74656462 ^ word(4);
    this.#absorb(word(8));
    this.#absorb(word(12));
  }

  #absorb(word: number): void {
    let v0 = this.#v0;
    let v1 = this.#v1;
    let v2 = this.#v2;
    let v3 = this.#v3 ^ word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    this.#v0 = v0 ^ word;
    this.#v1 = v1;
    this.#v2 = v2;
    this.#v3 = v3;
  }

  /** The 32-bit hash of a key. The rounds are written out: a call a word would cost more than the word. */
  hash(key: Uint8Array): number {
    const size = key.length;
    const whole = size - (size & 3);
    let v0 = this.#v0;
    let v1 = this.#v1;
    let v2 = this.#v2;
    let v3 = this.#v3;
    for (let at = 0; at <= whole; at += 4) {
      let word: number;
      if (at < whole) {
        word =
          (key[at] as number) |
          ((key[at + 1] as number) << 8) |
          ((key[at + 2] as number) << 16) |
          ((key[at + 3] as number) << 24);
      } else {
        // The last word: the length modulo 256 (8 bytes of seed included) and the 0 to 3 bytes that are left.
        word = ((size + 8) & 0xff) << 24;
        if (size - whole > 2) word |= (key[whole + 2] as number) << 16;
        if (size - whole > 1) word |= (key[whole + 1] as number) << 8;
        if (size - whole > 0) word |= key[whole] as number;
      }
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
    }
    v2 ^= 0xff;
    for (let round = 0; round < 3; round++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    return (v1 ^ v3) >>> 0;
  }

  /**
   * The level of a key. The empty key has level 0, for it could not start a page: the leftmost page of every height
   * begins before it.
   */
  level(key: Uint8Array): number {
    if (key.length === 0) return 0;
    const hash = this.hash(key);
    if ((hash & ((1 << leafBits) - 1)) !== 0) return 0;
    const zeros = hash === 0 ? 32 : 31 - Math.clz32(hash & -hash);
    return 1 + Math.floor((zeros - leafBits) / innerBits);
  }
}
