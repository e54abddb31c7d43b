/**
 * Spreads work in the background over time, so that it takes no more than its share of a disk: so many bytes a second,
 * on average.
 */
import { HoldfastError, sleep } from "../base/index.ts";
import type { Clock } from "../base/index.ts";

/** A shorter wait is not worth a timer: it is added to the next one. */
const waitMsMin = 5;
/** So much time that was not used (a late timer, a slow disk) may be made up for. */
const creditMs = 100;

export class Pace {
  readonly #clock: Clock;
  readonly #rate: number;
  /** When all that was done so far is paid for. */
  #paidMs = Number.NEGATIVE_INFINITY;

  /** `rate` is in bytes a second; `Infinity` never waits. */
  constructor(clock: Clock, rate: number) {
    this.#clock = clock;
    this.#rate = rate;
  }

  /** Notes that `size` bytes were worked on, and waits until more may be. `cancelled` or `timeout` when `signal` aborts. */
  async spend(size: number, signal?: AbortSignal): Promise<void> {
    if (this.#rate === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#clock.monotonicMs();
    this.#paidMs = Math.max(this.#paidMs, nowMs - creditMs) + (1_000 * size) / this.#rate;
    const waitMs = this.#paidMs - nowMs;
    if (waitMs >= waitMsMin) await sleep(this.#clock, waitMs, signal);
  }
}

/** Fails with `invalid` unless it is a number of bytes a second that one can work at. */
export function checkRate(name: string, rate: number): void {
  if (rate >= 1) return;
  throw new HoldfastError(
    "invalid",
    `${name} is ${rate}; it must be at least 1 byte a second, or Infinity for no limit`,
  );
}
