/**
 * Time as one simulated machine sees it. Its monotonic clock starts at a random reading with every incarnation, so that
 * nobody compares the clocks of two machines; its wall clock is the simulation's own plus an offset that a test may
 * change at any moment. Both run at the machine's own rate.
 *
 * 1. A timer never runs before its delay has passed on the machine's monotonic clock, whatever became of the rate.
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

export class WallClock {
  /** Milliseconds by which the machine's wall clock is ahead; may be negative and may be changed at any time. */
  offsetMs = 0;
  readonly #schedule: Schedule;
  #rate = 1;
  /** The time that the machine has counted up to the last change of its rate, and when that was. */
  #countedMs = 0;
  #sinceMs = 0;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
  }

  /** Milliseconds of both the machine's clocks in one of simulated time. */
  get rate(): number {
    return this.#rate;
  }

  set rate(rate: number) {
    assert(rate > 0 && rate < 1_000, `a clock's rate is ${rate}; it must be above 0 and below 1,000`);
    this.#countedMs = this.countedMs();
    this.#sinceMs = this.#schedule.nowMs;
    this.#rate = rate;
  }

  /** Milliseconds that the machine has counted since the beginning of the simulation. */
  countedMs(): number {
    return this.#countedMs + (this.#schedule.nowMs - this.#sinceMs) * this.#rate;
  }
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
    this.#startMs = startMs - wall.countedMs();
  }

  wallMs(): number {
    return Math.floor(wallStartMs + this.#wall.countedMs() + this.#wall.offsetMs);
  }

  monotonicMs(): number {
    return this.#startMs + this.#wall.countedMs();
  }

  schedule(delayMs: number, run: () => void): Timer {
    assert(delayMs >= 0, `a timer's delay is ${delayMs} ms; it must be 0 or more`);
    if (!this.#incarnation.alive) return { cancel() {} };
    return new SimTimer(this.#schedule, this.#incarnation, this.#wall, Math.max(delayMs, shortestWaitMs), run);
  }

  defer(run: () => void): void {
    if (this.#incarnation.alive) this.#schedule.add(shortestWaitMs, this.#incarnation, "defer", run);
  }
}

class SimTimer implements Timer {
  readonly #schedule: Schedule;
  #event: SimEvent;

  constructor(schedule: Schedule, incarnation: Incarnation, wall: WallClock, delayMs: number, run: () => void) {
    this.#schedule = schedule;
    const dueMs = wall.countedMs() + delayMs;
    const { rate } = wall;
    const fire = () => {
      const leftMs = wall.rate === rate ? 0 : dueMs - wall.countedMs();
      // The clock was slowed down meanwhile (1).
      if (leftMs > 0)
        this.#event = schedule.add(Math.max(leftMs / wall.rate, shortestWaitMs), incarnation, "timer", fire);
      else run();
    };
    this.#event = schedule.add(delayMs / rate, incarnation, "timer", fire);
  }

  cancel(): void {
    this.#schedule.cancel(this.#event);
  }
}
