/**
 * Cryptographic randomness, drawn from the system a page at a time: one number then costs nanoseconds, not a call into
 * the system. A byte is given out once and never again.
 */
import { randomFillSync } from "node:crypto";
import { assert } from "../base/index.ts";
import type { Random } from "../base/index.ts";

const poolSize = 8_192;

export class NodeRandom implements Random {
  /**
   * Filled as bytes and read through the view: `randomFillSync` takes a DataView too, but now and then, when its check
   * is compiled on a busy machine, Node.js 24 refuses one as being none.
   */
  readonly #pool = new Uint8Array(poolSize);
  readonly #view = new DataView(this.#pool.buffer);
  #used = poolSize;

  uint32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  float(): number {
    // 53 random bits, the precision of a number: 26 above, 27 below.
    return ((this.uint32() >>> 6) * 134_217_728 + (this.uint32() >>> 5)) / 9_007_199_254_740_992;
  }

  bytes(size: number): Uint8Array {
    assert(Number.isSafeInteger(size) && size >= 0, `${size} random bytes were asked for; give a whole number`);
    const bytes = new Uint8Array(size);
    if (size > poolSize / 8) randomFillSync(bytes);
    else if (size > 0) {
      const from = this.#take(size);
      bytes.set(this.#pool.subarray(from, from + size));
    }
    return bytes;
  }

  /** The offset of `size` fresh bytes in the pool. */
  #take(size: number): number {
    if (this.#used + size > poolSize) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const offset = this.#used;
    this.#used += size;
    return offset;
  }
}
