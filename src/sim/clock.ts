/**
 * Time as one simulated machine sees it. Its monotonic clock starts at a random reading with every incarnation, so that
 * nobody compares the clocks of two machines; its wall clock is the simulation's own plus an offset that a test may
 * change at any moment.
 */
import { assert } from "../base/index.ts";
import type { Clock, Timer } from "../base/index.ts";
import type { Incarnation } from "./incarnation.ts";
import type { Schedule, SimEvent } from "./schedule.ts";

/** What a machine's wall clock shows at simulated time 0 with no offset: 2026-01-01T00:00:00Z. */
export const wallStartMs = 1_767_225_600_000;

/**
 * How long even the shortest wait takes. Computation takes no simulated time; without this, code that gives way in a
 * loop until something has happened would hold time still and nothing would ever happen.
 */
const shortestWaitMs = 0.001;

export interface WallClock {
  /** Milliseconds by which the machine's wall clock is ahead; may be negative and may be changed at any time. */
  offsetMs: number;
}

export class SimClock implements Clock {
  readonly #schedule: Schedule;
  readonly #incarnation: Incarnation;
  readonly #wall: WallClock;
  readonly #startMs: number;

  constructor(schedule: Schedule, incarnation: Incarnation, wall: WallClock, startMs: number) {
    this.#schedule = schedule;
    this.#incarnation = incarnation;
    this.#wall = wall;
    this.#startMs = startMs - schedule.nowMs;
  }

  wallMs(): number {
    return Math.floor(wallStartMs + this.#schedule.nowMs + this.#wall.offsetMs);
  }

  monotonicMs(): number {
    return this.#startMs + this.#schedule.nowMs;
  }

  schedule(delayMs: number, run: () => void): Timer {
    assert(delayMs >= 0, `a timer's delay is ${delayMs} ms; it must be 0 or more`);
    if (!this.#incarnation.alive) return { cancel() {} };
    return new SimTimer(
      this.#schedule,
      this.#schedule.add(Math.max(delayMs, shortestWaitMs), this.#incarnation, "timer", run),
    );
  }

  defer(run: () => void): void {
    if (this.#incarnation.alive) this.#schedule.add(shortestWaitMs, this.#incarnation, "defer", run);
  }
}

class SimTimer implements Timer {
  readonly #schedule: Schedule;
  readonly #event: SimEvent;

  constructor(schedule: Schedule, event: SimEvent) {
    this.#schedule = schedule;
    this.#event = event;
  }

  cancel(): void {
    this.#schedule.cancel(this.#event);
  }
}
