/** Who waits for a position of the log to be applied, in the order of the positions. */
import { abortError, deferred } from "../base/index.ts";
import type { Deferred, Position } from "../base/index.ts";

interface Waiter {
  readonly position: Position;
  readonly done: Deferred<void>;
}

export class Waiters {
  #waiters: Waiter[] = [];

  get count(): number {
    return this.#waiters.length;
  }

  /**
   * Resolves when everything below `position` is applied. Whoever leaves by `signal` leaves nothing here: a position may
   * be waited for without end.
   */
  reach(position: Position, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const waiter: Waiter = { position, done: deferred<void>() };
    let index = this.#waiters.length;
    while (index > 0 && (this.#waiters[index - 1] as Waiter).position > position) index--;
    this.#waiters.splice(index, 0, waiter);
    return signal === undefined ? waiter.done.promise : this.#unlessAborted(waiter, signal);
  }

  async #unlessAborted(waiter: Waiter, signal: AbortSignal): Promise<void> {
    const onAbort = () => {
      const index = this.#waiters.indexOf(waiter);
      if (index >= 0) this.#waiters.splice(index, 1);
      waiter.done.reject(abortError(signal));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await waiter.done.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
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
