/**
 * Jobs that run one after another, in the order in which they came, whatever becomes of each.
 *
 * Invariants:
 *  1. No job begins before the one before it has ended.
 *  2. A job whose `signal` aborts before its turn never runs, and its caller does not wait for that turn. One that runs
 *     is left to heed the signal itself: its caller learns when it is over.
 */
import { abortError, throwIfAborted } from "../base/index.ts";

export class JobQueue {
  #last: Promise<void> | undefined;

  /** Resolves, and never rejects, when all jobs are over that there are now; undefined when there is none. */
  get working(): Promise<void> | undefined {
    return this.#last;
  }

  run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    let begun = false;
    const before = this.#last ?? Promise.resolve();
    const working = before.then(() => {
      throwIfAborted(signal);
      begun = true;
      return job();
    });
    const over = working.then(
      () => {},
      () => {},
    );
    const done = over.then(() => {
      if (this.#last === done) this.#last = undefined;
    });
    this.#last = done;
    return signal === undefined ? working : leaving(working, signal, () => begun);
  }
}

/** Settles as `working` does, or rejects as soon as `signal` aborts while it has not begun. */
function leaving<T>(working: Promise<T>, signal: AbortSignal, begun: () => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      if (!begun()) reject(abortError(signal));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const end = () => signal.removeEventListener("abort", onAbort);
    working.then(resolve, reject).then(end, end);
  });
}
