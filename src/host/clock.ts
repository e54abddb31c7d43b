/**
 * Time on a real machine.
 *
 * 1. A timer never runs before its moment on the monotonic clock: Node.js counts whole milliseconds from a time that it
 *    read at the beginning of its turn, and may be early by more than one.
 * 2. Timers run in the order of their moments, and those of the same moment in the order in which they were set.
 * 3. A delay of any length works: Node.js runs a timer beyond 2^31 - 1 ms (25 days) at once, so longer ones go in steps.
 * 4. Between two timers no microtask is left, as between any two callbacks of Node.js.
 *
 * Every timer has a timeout of Node.js of its own; a heap says whose turn it is when one of them fires. One timeout for
 * all would be simpler, but would run several timers in one callback, against (4).
 */
import { assert } from "../base/index.ts";
import type { Clock, Timer } from "../base/index.ts";

const stepMsMax = 2_147_483_647;

export class NodeClock implements Clock {
  readonly #queue = new TimerQueue();

  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  schedule(delayMs: number, run: () => void): Timer {
    assert(delayMs >= 0, `a timer's delay is ${delayMs} ms; it must be 0 or more`);
    return new NodeTimer(this.#queue, delayMs, run);
  }

  defer(run: () => void): void {
    setImmediate(run);
  }
}

class NodeTimer implements Timer {
  readonly dueMs: number;
  readonly sequence: number;
  readonly run: () => void;
  /** Where it stands in the heap; -1 when it has run or was cancelled. */
  index = -1;
  readonly #queue: TimerQueue;
  #timeout: NodeJS.Timeout | undefined;

  constructor(queue: TimerQueue, delayMs: number, run: () => void) {
    this.#queue = queue;
    this.dueMs = performance.now() + delayMs;
    this.sequence = queue.nextSequence();
    this.run = run;
    queue.add(this);
    this.arm(delayMs);
  }

  cancel(): void {
    this.#queue.delete(this);
    this.disarm();
  }

  arm(delayMs: number): void {
    this.#timeout = setTimeout(() => this.#fire(), Math.min(delayMs, stepMsMax));
  }

  disarm(): void {
    clearTimeout(this.#timeout);
  }

  /** This timer's timeout is over: the first timer of all has its turn, which may be another one or still early. */
  #fire(): void {
    const nowMs = performance.now();
    // This timer itself is in the heap until it runs, so there is a first one.
    const first = this.#queue.first as NodeTimer;
    const early = first.dueMs > nowMs;
    if (early || first !== this) this.arm(Math.max(0, this.dueMs - nowMs));
    if (early) return;
    this.#queue.delete(first);
    first.disarm();
    first.run();
  }
}

/** A binary heap of timers by (moment, order of setting). */
class TimerQueue {
  readonly #heap: NodeTimer[] = [];
  #sequence = 0;

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  get first(): NodeTimer | undefined {
    return this.#heap[0];
  }

  add(timer: NodeTimer): void {
    this.#heap.push(timer);
    this.#rise(timer, this.#heap.length - 1);
  }

  delete(timer: NodeTimer): void {
    const { index } = timer;
    if (index < 0) return;
    timer.index = -1;
    // The heap holds at least `timer`.
    const last = this.#heap.pop() as NodeTimer;
    if (last === timer) return;
    this.#rise(last, index);
    this.#sink(last, last.index);
  }

  #rise(timer: NodeTimer, start: number): void {
    const heap = this.#heap;
    let index = start;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex] as NodeTimer;
      if (!before(timer, parent)) break;
      heap[index] = parent;
      parent.index = index;
      index = parentIndex;
    }
    heap[index] = timer;
    timer.index = index;
  }

  #sink(timer: NodeTimer, start: number): void {
    const heap = this.#heap;
    let index = start;
    for (;;) {
      const left = heap[2 * index + 1];
      if (left === undefined) break;
      const right = heap[2 * index + 2];
      const child = right !== undefined && before(right, left) ? right : left;
      if (!before(child, timer)) break;
      const childIndex = child.index;
      heap[index] = child;
      child.index = index;
      index = childIndex;
    }
    heap[index] = timer;
    timer.index = index;
  }
}

function before(a: NodeTimer, b: NodeTimer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
}
