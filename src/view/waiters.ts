/** Who waits for a position of the log to be applied, in the order of the positions. */
import { deferred } from "../base/index.ts";
import type { Deferred, Position } from "../base/index.ts";

interface Waiter {
  readonly position: Position;
  readonly done: Deferred<void>;
}

export class Waiters {
  #waiters: Waiter[] = [];

  /** Resolves when everything below `position` is applied. */
  reach(position: Position): Promise<void> {
    const done = deferred<void>();
    let index = this.#waiters.length;
    while (index > 0 && (this.#waiters[index - 1] as Waiter).position > position) index--;
    this.#waiters.splice(index, 0, { position, done });
    return done.promise;
  }

  /** Everything below `applied` is. */
  wake(applied: number): void {
    while (this.#waiters.length > 0 && (this.#waiters[0] as Waiter).position <= applied) {
      this.#waiters.shift()?.done.resolve();
    }
  }

  fail(error: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { done } of waiters) done.reject(error);
  }
}
