/**
 * The deadlines of many calls with few timers. Most calls end long before their deadline, so a timer for each would cost
 * more than the call. Deadlines near each other share a slot and its timer; adding and removing is a few assignments.
 *
 * 1. A call never expires early, and late by at most 1/64 of its time or 1 ms, whichever is more.
 */
import type { Clock, Timer } from "../base/index.ts";

/** Something with a deadline. It can be in one `Deadlines` at a time. */
export abstract class Expiring {
  /** @internal Neighbours in the slot. */
  slot: Slot | undefined;
  before: Expiring | undefined;
  after: Expiring | undefined;

  abstract expire(): void;
}

/** @internal Things that expire at about the same moment. */
export class Slot {
  first: Expiring | undefined;
  timer: Timer | undefined;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #slots = new Map<number, Slot>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Has `expire` called at `deadlineMs` of monotonic time, which is `timeoutMs` from now. */
  add(item: Expiring, deadlineMs: number, timeoutMs: number): void {
    const stepMs = timeoutMs <= 64 ? 1 : 2 ** Math.floor(Math.log2(timeoutMs / 64));
    const endMs = Math.ceil(deadlineMs / stepMs) * stepMs;
    let slot = this.#slots.get(endMs);
    if (slot === undefined) slot = this.#open(endMs);
    const { first } = slot;
    item.slot = slot;
    item.before = undefined;
    item.after = first;
    if (first !== undefined) first.before = item;
    slot.first = item;
  }

  /** No error if it is not here. */
  remove(item: Expiring): void {
    const { slot, before, after } = item;
    if (slot === undefined) return;
    item.slot = undefined;
    item.before = undefined;
    item.after = undefined;
    if (before === undefined) slot.first = after;
    else before.after = after;
    if (after !== undefined) after.before = before;
  }

  /** Forgets everything; nothing expires any more. */
  close(): void {
    for (const { timer } of this.#slots.values()) timer?.cancel();
    this.#slots.clear();
  }

  #open(endMs: number): Slot {
    const slot = new Slot();
    this.#slots.set(endMs, slot);
    const run = () => {
      this.#slots.delete(endMs);
      for (let item = slot.first; item !== undefined; item = slot.first) {
        this.remove(item);
        item.expire();
      }
    };
    // Floating-point time may leave the slot a hair before its end: the timer is set for what is left, never less.
    slot.timer = this.#clock.schedule(Math.max(0, endMs - this.#clock.monotonicMs()), run);
    return slot;
  }
}
