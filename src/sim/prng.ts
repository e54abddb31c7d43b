/**
 * The one source of chance in a simulation: a pseudo-random number generator with a seed that is any text or number.
 *
 * The generator is sfc32 of Chris Doty-Humphrey's PractRand collection ("small fast counting", 128 bits of state): it
 * passes that collection's tests and needs 32-bit arithmetic only. The seed's text is spread over the state by FNV-1a
 * and the finalizer of MurmurHash3, then mixed by sixteen rounds.
 *
 * 1. The same seed gives the same numbers on every machine.
 * 2. A fork depends on the seed and its label alone, never on what was drawn: one part that draws more numbers does not
 *    change what another part sees.
 */
import { assert } from "../base/index.ts";
import type { Random } from "../base/index.ts";

export class Prng implements Random {
  readonly seed: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: string | number) {
    this.seed = String(seed);
    this.#a = spread(this.seed, 0x9e3779b9);
    this.#b = spread(this.seed, 0x243f6a88);
    this.#c = spread(this.seed, 0xb7e15162);
    for (let round = 0; round < 16; round += 1) this.uint32();
  }

  uint32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (this.#c << 21) | (this.#c >>> 11);
    this.#c = (this.#c + sum) | 0;
    return sum >>> 0;
  }

  float(): number {
    return ((this.uint32() >>> 6) * 134_217_728 + (this.uint32() >>> 5)) / 9_007_199_254_740_992;
  }

  bytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let index = 0; index < size; index += 1) bytes[index] = this.uint32() >>> 24;
    return bytes;
  }

  /** A whole number from 0 to `limit` - 1; `limit` is from 1 to 2^53 - 1. */
  below(limit: number): number {
    assert(limit >= 1, `a random number below ${limit} was asked for`);
    return Math.floor(this.float() * limit);
  }

  /** A number from `low` (included) to `high` (excluded, unless both are equal). */
  between([low, high]: readonly [number, number]): number {
    return low + this.float() * (high - low);
  }

  /** True with the given probability, from 0 to 1. */
  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** The same elements in a random order (Fisher and Yates), in a new array. */
  shuffle<T>(list: readonly T[]): T[] {
    const result = [...list];
    for (let index = result.length - 1; index > 0; index -= 1) {
      const other = this.below(index + 1);
      [result[index], result[other]] = [result[other] as T, result[index] as T];
    }
    return result;
  }

  /** An independent generator for one part of the simulation (2). */
  fork(label: string): Prng {
    return new Prng(`${this.seed}/${label}`);
  }
}

function spread(text: string, start: number): number {
  let hash = start | 0;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
