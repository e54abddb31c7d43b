/**
 * Calls to members that come and go: what one of them could not answer is asked of another, until the time is up.
 *
 * 1. A member that answered `unavailable`, or not in time, is avoided while there is another; calls that are under way
 *    on its connection are not disturbed.
 * 2. Where there are several members no attempt may take more than half of what is left of the time, so that one that
 *    hangs leaves time for another.
 * 3. When the time is up, the error is the last that says more than that.
 */
import { HoldfastError, sleep } from "../base/index.ts";
import type { Clock, Env } from "../base/index.ts";
import type { CallOptions, RpcClient } from "../rpc/index.ts";

export interface RemoteOptions {
  /** How long one call may take, retries included. */
  readonly timeoutMs: number;
}

/** What is left of this is not halved any more. */
const attemptMsMin = 1_000;

/** The time of one call, and what became of its attempts. */
export class RemoteCall {
  readonly #calls: RemoteCalls;
  readonly #signal: AbortSignal | undefined;
  readonly #endMs: number;
  #failureCount = 0;
  #refusal: HoldfastError | undefined;

  constructor(calls: RemoteCalls, signal: AbortSignal | undefined, timeoutMs: number) {
    this.#calls = calls;
    this.#signal = signal;
    this.#endMs = calls.clock.monotonicMs() + timeoutMs;
  }

  /** Milliseconds; not above 0 when the time is up. */
  get leftMs(): number {
    return this.#endMs - this.#calls.clock.monotonicMs();
  }

  /** How long the next attempt may take (2). */
  get attemptMs(): number {
    const leftMs = Math.max(1, Math.ceil(this.leftMs));
    const half = leftMs > attemptMsMin && this.#calls.client.addresses.length > 1;
    return half ? Math.ceil(leftMs / 2) : leftMs;
  }

  /** For the next attempt. */
  options(): CallOptions {
    const timeoutMs = this.attemptMs;
    return this.#signal === undefined ? { timeoutMs } : { timeoutMs, signal: this.#signal };
  }

  /** Whether another attempt, perhaps elsewhere, may help against this failure. */
  passes(error: HoldfastError): boolean {
    if (this.#calls.client.closed) return false;
    return error.code === "unavailable" || (error.code === "timeout" && this.#signal?.aborted !== true);
  }

  /**
   * After an attempt that failed: waits before the next one, a random time that grows with each. Throws, with `maybe` as
   * given, when the time is up, the signal aborts or the client is closed.
   */
  async again(error: HoldfastError, maybe: boolean): Promise<void> {
    if (this.#calls.client.closed) throw withMaybe(error, maybe);
    this.#failureCount++;
    this.#calls.client.avoid(error);
    if (error.code !== "timeout") this.#refusal = error;
    if (this.leftMs > 0) {
      const { random, clock } = this.#calls;
      const delayMs = random.float() * Math.min(1_000, 10 * 2 ** Math.min(this.#failureCount, 7));
      await sleep(clock, Math.min(delayMs, this.leftMs), this.#signal).catch((reason: HoldfastError) => {
        throw withMaybe(reason, maybe);
      });
    }
    if (this.leftMs > 0) return;
    if (this.#failureCount === 1) throw withMaybe(error, maybe);
    const refusal = this.#refusal ?? error;
    const tries = `${this.#failureCount} attempts within ${this.#calls.timeoutMs} ms failed`;
    const then = refusal === error ? "" : `, then ${error.message}`;
    throw new HoldfastError(refusal.code, `${tries}; the last: ${refusal.message}${then}`, { maybe, cause: refusal });
  }
}

/** One client's calls: how long they may take, and to whom they go. */
export class RemoteCalls {
  readonly clock: Clock;
  readonly random: Env["random"];
  readonly client: RpcClient;
  readonly timeoutMs: number;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, { timeoutMs }: RemoteOptions) {
    this.clock = env.clock;
    this.random = env.random;
    this.client = client;
    this.timeoutMs = timeoutMs;
  }

  /** `timeoutMs` may be infinite. */
  begin(signal: AbortSignal | undefined, timeoutMs: number = this.timeoutMs): RemoteCall {
    return new RemoteCall(this, signal, timeoutMs);
  }

  /** Makes a call that changes nothing, or nothing that matters, until it succeeds or the time is up. */
  async repeated<T>(signal: AbortSignal | undefined, attempt: (options: CallOptions) => Promise<T>): Promise<T> {
    const call = this.begin(signal);
    for (;;) {
      try {
        return await attempt(call.options());
      } catch (error) {
        if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
        await call.again(error, false);
      }
    }
  }
}

/**
 * The messages that one member sends in one call. It may take as long as its reader; what may be bounded is the wait for
 * a message.
 */
export class RemoteStream<T> {
  readonly #clock: Clock;
  readonly #messages: AsyncIterator<T, undefined>;
  readonly #stop = new AbortController();
  /** Ends this too. By a listener: a signal made of two would cost every idle watch 1 KB more. */
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.#stop.abort(this.#signal?.reason);

  /** `begin` makes the call, which begins with the first `next`. */
  constructor(
    clock: Clock,
    signal: AbortSignal | undefined,
    begin: (options: CallOptions) => AsyncIterator<T, undefined>,
  ) {
    this.#clock = clock;
    this.#signal = signal;
    this.#messages = begin({ signal: this.#stop.signal });
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /**
   * The next message, or undefined at the end. One that does not come in time ends the stream, with a `timeout` for which
   * the member can be avoided.
   */
  async next(timeoutMs = Number.POSITIVE_INFINITY): Promise<T | undefined> {
    if (timeoutMs === Number.POSITIVE_INFINITY) return (await this.#messages.next()).value;
    const timer = this.#clock.schedule(timeoutMs, () => {
      this.#stop.abort(new HoldfastError("timeout", `nothing more came within ${Math.round(timeoutMs)} ms`));
    });
    try {
      return (await this.#messages.next()).value;
    } finally {
      timer.cancel();
    }
  }

  /** No more is wanted: whoever waits for a message is told that this is the end. Repeatable. */
  end(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    void this.#messages.return?.();
  }
}

/** The error of a call that changes nothing. */
export function unchanging(error: unknown): unknown {
  return error instanceof HoldfastError ? withMaybe(error, false) : error;
}

export function withMaybe(error: HoldfastError, maybe: boolean): HoldfastError {
  return error.maybe === maybe ? error : new HoldfastError(error.code, error.message, { maybe, cause: error });
}
