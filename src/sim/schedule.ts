/**
 * Simulated time and everything that is going to happen: a heap of events ordered by (time, order of scheduling).
 *
 * 1. Time only moves when the next event is taken, to that event's moment; it never goes back.
 * 2. Events of the same moment happen in the order in which they were scheduled.
 * 3. An event of a dead incarnation does not happen. One of a frozen machine waits until the machine thaws, and keeps
 *    its place in the order.
 */
import { assert } from "../base/index.ts";
import type { Incarnation } from "./incarnation.ts";
import type { Trace } from "./trace.ts";

/** What an event answers that has called no simulated code: nothing can follow from it at the same moment. */
export const inner: unique symbol = Symbol("inner");
export type Happening = () => typeof inner | void;

/** Something that is going to happen. Opaque to those who schedule, except for `Schedule.cancel`. */
export interface SimEvent {
  timeMs: number;
  readonly sequence: number;
  /** Whose event it is; undefined for the world around the machines. */
  readonly owner: Incarnation | undefined;
  /** For the trace; an event without a label is left out of it. */
  readonly label: string | undefined;
  readonly run: Happening;
  /** Where it stands in the heap; -1 when it is no longer there. */
  index: number;
}

export class Schedule {
  readonly trace: Trace;
  readonly #heap: SimEvent[] = [];
  readonly #frozenUntilMs = new Map<string, number>();
  #nowMs = 0;
  #sequence = 0;

  constructor(trace: Trace) {
    this.trace = trace;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** How many events are waiting, those of dead incarnations included. */
  get count(): number {
    return this.#heap.length;
  }

  /** When the next event is due; undefined if nothing is left. */
  get nextMs(): number | undefined {
    return this.#heap[0]?.timeMs;
  }

  add(delayMs: number, owner: Incarnation | undefined, label: string | undefined, run: Happening): SimEvent {
    assert(delayMs >= 0, `an event was scheduled ${delayMs} ms from now`);
    const timeMs = this.#nowMs + delayMs;
    this.#sequence += 1;
    const event: SimEvent = { timeMs, sequence: this.#sequence, owner, label, run, index: this.#heap.length };
    this.#heap.push(event);
    this.#rise(event);
    return event;
  }

  /** No effect on an event that has happened or was cancelled. */
  cancel(event: SimEvent): void {
    if (event.index < 0) return;
    const last = this.#heap.pop() as SimEvent;
    if (last !== event) {
      last.index = event.index;
      this.#heap[last.index] = last;
      this.#rise(last);
      this.#sink(last);
    }
    event.index = -1;
  }

  /** Nothing of `machine` happens before `untilMs`. */
  freeze(machine: string, untilMs: number): void {
    this.#frozenUntilMs.set(machine, Math.max(untilMs, this.#frozenUntilMs.get(machine) ?? 0));
  }

  /** Moves time to the next event, takes it out, records it and gives it back; undefined if nothing is left. */
  take(): SimEvent | undefined {
    for (let event = this.#heap[0]; event !== undefined; event = this.#heap[0]) {
      const { owner } = event;
      const thawsMs = owner === undefined ? 0 : (this.#frozenUntilMs.get(owner.machine) ?? 0);
      if (owner?.alive === true && thawsMs > event.timeMs) {
        event.timeMs = thawsMs;
        this.#sink(event);
        continue;
      }
      this.cancel(event);
      if (owner?.alive === false) continue;
      assert(event.timeMs >= this.#nowMs, "time went back (1)");
      this.#nowMs = event.timeMs;
      if (event.label !== undefined) this.record(owner, event.label);
      return event;
    }
    return undefined;
  }

  record(owner: Incarnation | undefined, what: string): void {
    this.trace.record(this.#nowMs, owner === undefined ? "-" : `${owner.machine}#${owner.number}`, what);
  }

  #rise(event: SimEvent): void {
    const heap = this.#heap;
    let index = event.index;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex] as SimEvent;
      if (!before(event, parent)) break;
      heap[index] = parent;
      parent.index = index;
      index = parentIndex;
    }
    heap[index] = event;
    event.index = index;
  }

  #sink(event: SimEvent): void {
    const heap = this.#heap;
    let index = event.index;
    for (;;) {
      const leftIndex = 2 * index + 1;
      const left = heap[leftIndex];
      if (left === undefined) break;
      const right = heap[leftIndex + 1];
      const child = right !== undefined && before(right, left) ? right : left;
      if (!before(child, event)) break;
      heap[index] = child;
      const childIndex = child.index;
      child.index = index;
      index = childIndex;
    }
    heap[index] = event;
    event.index = index;
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  return a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.sequence < b.sequence);
}
