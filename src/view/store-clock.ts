/**
 * Store time between commands: what a proposer writes into the next one. It follows this machine's wall clock, but never
 * stands still or goes back when that is set back: from the newest store time on it runs with the monotonic clock.
 */
import type { Clock } from "../base/index.ts";

export class StoreClock {
  readonly #clock: Clock;
  /** A store time, 0 for none yet, and when on the monotonic clock it was heard of. */
  #timeMs = 0;
  #heardMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#heardMs = clock.monotonicMs();
  }

  /** Store time has come to this. What this clock has proposed itself comes back late and must not slow it down. */
  hear(timeMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#timeMs > 0 && timeMs <= this.#timeMs + (nowMs - this.#heardMs)) return;
    this.#timeMs = timeMs;
    this.#heardMs = nowMs;
  }

  /** Whole milliseconds since the Unix epoch. */
  nowMs(): number {
    const sinceMs = this.#clock.monotonicMs() - this.#heardMs;
    return Math.max(this.#clock.wallMs(), this.#timeMs === 0 ? 0 : Math.floor(this.#timeMs + sinceMs));
  }
}
