/**
 * Unique numbers that grow, taken from a counter in blocks: one command for many numbers.
 *
 * Of what one `Sequence` object gives, each number is larger than the one before; of what two give, no two are the same.
 * What is left of a block when its process ends is never given, so that there may be gaps.
 */
import { HoldfastError } from "../../base/index.ts";
import type { Counter } from "./counters.ts";

export interface SequenceOptions {
  /** Numbers taken at once, 1 to 1,000,000. Default 100. */
  readonly blockSize?: number | undefined;
}

const blockSizeMax = 1_000_000;

export class Sequence {
  readonly #counter: Counter;
  readonly #blockSize: number;
  #next = 0;
  #end = 0;
  /** A block is being taken; all who come meanwhile wait for it. */
  #taking: Promise<void> | undefined;

  /** @internal */
  constructor(counter: Counter, { blockSize = 100 }: SequenceOptions = {}) {
    if (!Number.isSafeInteger(blockSize) || blockSize < 1 || blockSize > blockSizeMax) {
      throw new HoldfastError(
        "invalid",
        `blockSize is ${blockSize}; it must be a whole number from 1 to ${blockSizeMax}`,
      );
    }
    this.#counter = counter;
    this.#blockSize = blockSize;
  }

  get name(): string {
    return this.#counter.name;
  }

  /** The next number, from 1. */
  async next(): Promise<number> {
    while (this.#next === this.#end) {
      this.#taking ??= this.#take().finally(() => (this.#taking = undefined));
      await this.#taking;
    }
    return this.#next++;
  }

  async #take(): Promise<void> {
    const last = await this.#counter.add(this.#blockSize);
    this.#next = last - this.#blockSize + 1;
    this.#end = last + 1;
  }
}
