/**
 * The few asynchronous building blocks that several layers share. None of them reads a clock except through the door.
 */
import type { Clock } from "./doors.ts";
import { HoldfastError } from "./errors.ts";

/** A promise with its two ends outside. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T>(): Deferred<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  return { promise, resolve, reject };
}

/** The error of a call that `signal` ended: `timeout` if the reason says so, else `cancelled`. */
export function abortError(signal: AbortSignal): HoldfastError {
  const reason: unknown = signal.reason;
  if (reason instanceof HoldfastError) return reason;
  const timedOut = reason instanceof Error && reason.name === "TimeoutError";
  return timedOut
    ? new HoldfastError("timeout", "the deadline passed", { cause: reason })
    : new HoldfastError("cancelled", "the caller cancelled", { cause: reason });
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** As a function, for loops that wait: it changes meanwhile. */
export function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/** Resolves after `delayMs`; rejects with `cancelled` or `timeout` as soon as `signal` aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError(signal));
    const onAbort = () => {
      timer.cancel();
      reject(abortError(signal as AbortSignal));
    };
    const timer = clock.schedule(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** Gives way to input, output and timers that are due: for long work, between slices. */
export function giveWay(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.defer(resolve));
}

/** Settles as `promise` does, or rejects when `signal` aborts first; `promise` itself goes on. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) return Promise.reject(abortError(signal));
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortError(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(
      (value) => {
        signal.removeEventListener("abort", onAbort);
        resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
  });
}

/** A condition that many can wait for and that is announced again and again: `wait` resolves at the next `notify`. */
export class Signal {
  #next: Deferred<void> | undefined;

  /** Resolves at the next `notify` after this call. All waiters share one promise. */
  wait(): Promise<void> {
    this.#next ??= deferred<void>();
    return this.#next.promise;
  }

  notify(): void {
    const next = this.#next;
    this.#next = undefined;
    next?.resolve();
  }
}
