/**
 * How a client comes to a connection and what its calls do until then.
 *
 * | state      | left by                                                    | meaning                            |
 * |------------|------------------------------------------------------------|------------------------------------|
 * | idle       | `start` → connecting, `close`                              | nothing is open and no call waits  |
 * | connecting | `#connect` → ready, or idle when no call waits, `close`    | address after address is tried     |
 * | ready      | `connectionClosed`, `connectionLeaving` → idle, connecting | calls go out at once               |
 * | closed     | –                                                          | every call fails                   |
 *
 * 1. A call that was not sent waits for the next connection until its deadline; a call that was sent never goes out
 *    again, unless the server says that it did not begin it.
 * 2. What waits is bounded in count and bytes; beyond that a call fails at once with `exhausted`.
 * 3. After a failed attempt the next address is tried; after each round of all addresses the client waits, twice as long
 *    each time, jittered so that many clients do not come back at one moment. An answered call ends the counting.
 */
import { asHoldfastError, HoldfastError, sleep } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { ChannelOptions } from "./channel.ts";
import type { CallPool, ClientCall } from "./client-call.ts";
import { ClientConnection } from "./client-connection.ts";
import type { ClientHost } from "./client-connection.ts";
import { Deadlines } from "./deadlines.ts";

export interface PoolOptions extends ChannelOptions {
  readonly connectTimeoutMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly waitingCountMax: number;
  readonly waitingSizeMax: number;
}

export class Pool implements CallPool, ClientHost {
  readonly #env: Env;
  readonly #addresses: readonly string[];
  readonly #options: PoolOptions;
  readonly #deadlines: Deadlines;
  /** Ends what the client waits for when it is closed. */
  readonly #closing = new AbortController();

  /** Calls that are not sent, in order. */
  #waiting = new Set<ClientCall>();
  #waitingSize = 0;
  #ready: ClientConnection | undefined;
  #connecting = false;
  /** Every open connection: the ready one, one that is being opened, and those whose server is stopping. */
  readonly #connections = new Set<ClientConnection>();
  readonly #gone = new Set<Promise<void>>();
  /** The connection of the attempt under way, and what tells it how it ended. */
  #opening: ClientConnection | undefined;
  #attempt: ((error: HoldfastError | undefined) => void) | undefined;
  /** Attempts since a call was last answered, and the address to try next. */
  #attemptCount = 0;
  #nextAddress = 0;
  #trouble: HoldfastError | undefined;

  constructor(env: Env, addresses: readonly string[], options: PoolOptions) {
    this.#env = env;
    this.#addresses = addresses;
    this.#options = options;
    this.#deadlines = new Deadlines(env.clock);
  }

  get connected(): boolean {
    return this.#ready !== undefined;
  }

  /** Sends the call, or has it wait. */
  start(call: ClientCall): void {
    if (call.isOver) return;
    if (this.#closing.signal.aborted) {
      call.fail(new HoldfastError("unavailable", `${call.called.label}: the client is closed`));
      return;
    }
    const { timeoutMs } = call;
    if (timeoutMs > 0) {
      call.deadlineAtMs = this.#env.clock.monotonicMs() + timeoutMs;
      this.#deadlines.add(call, call.deadlineAtMs, timeoutMs);
    }
    const ready = this.#ready;
    if (ready !== undefined && !ready.channel.blocked && this.#waiting.size === 0) {
      // A timeout below one millisecond must not read as none.
      ready.begin(call, Math.ceil(timeoutMs));
    } else {
      this.#wait(call);
    }
  }

  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      const error = new HoldfastError("unavailable", "the client is closed");
      this.#closing.abort(error);
      this.#ready = undefined;
      for (const call of this.#waiting) call.fail(error);
      for (const { channel } of this.#connections) channel.close(error);
      this.#deadlines.close();
    }
    await Promise.all(this.#gone);
  }

  over(call: ClientCall): void {
    this.#deadlines.remove(call);
    if (call.id === 0 && this.#waiting.delete(call)) this.#waitingSize -= call.payload?.length ?? 0;
  }

  connectionTrouble(): string {
    const addresses = this.#addresses.join(", ");
    if (this.#ready !== undefined) return `the connection to ${this.#ready.channel.peer} takes no more`;
    return this.#trouble === undefined
      ? `nothing was heard from ${addresses}`
      : `the last attempt to reach ${addresses} failed: ${this.#trouble.message}`;
  }

  connectionOpened(connection: ClientConnection): void {
    this.#ready = connection;
    if (this.#opening === connection) this.#attempt?.(undefined);
    this.connectionWritable(connection);
  }

  connectionProven(): void {
    this.#attemptCount = 0;
    this.#trouble = undefined;
  }

  connectionWritable(connection: ClientConnection): void {
    const nowMs = this.#env.clock.monotonicMs();
    for (const call of this.#waiting) {
      if (this.#ready !== connection || connection.channel.blocked) return;
      this.#waiting.delete(call);
      this.#waitingSize -= call.payload?.length ?? 0;
      connection.begin(call, call.timeoutMs === 0 ? 0 : Math.max(1, Math.ceil(call.deadlineAtMs - nowMs)));
    }
  }

  connectionLeaving(connection: ClientConnection, unbegun: readonly ClientCall[], reason: HoldfastError): void {
    this.#forsake(connection, reason);
    const again: ClientCall[] = [];
    for (const call of unbegun) {
      if (call.unsent()) again.push(call);
      else call.fail(new HoldfastError("unavailable", `${call.called.label}: ${reason.message}`, { cause: reason }));
    }
    // They came before those that wait already.
    for (const call of again) this.#waitingSize += call.payload?.length ?? 0;
    this.#waiting = new Set([...again, ...this.#waiting]);
    this.#connectIfDue();
  }

  connectionClosed(connection: ClientConnection, error: HoldfastError): void {
    this.#connections.delete(connection);
    this.#forsake(connection, error);
    if (this.#opening === connection) this.#attempt?.(error);
    this.#connectIfDue();
  }

  /** The connection takes no more calls. */
  #forsake(connection: ClientConnection, reason: HoldfastError): void {
    if (this.#ready !== connection) return;
    this.#ready = undefined;
    this.#trouble = reason;
    this.#failed();
  }

  #failed(): void {
    this.#attemptCount++;
    this.#nextAddress = (this.#nextAddress + 1) % this.#addresses.length;
  }

  #wait(call: ClientCall): void {
    const { waitingCountMax, waitingSizeMax } = this.#options;
    const size = call.payload?.length ?? 0;
    const count = this.#waiting.size;
    if (count >= waitingCountMax || (count > 0 && this.#waitingSize + size > waitingSizeMax)) {
      const limit = `the limits are ${waitingCountMax} calls and ${waitingSizeMax} bytes (waitingCountMax, waitingSizeMax)`;
      const what = `${call.called.label}: ${count} calls wait for a connection already; ${limit}`;
      call.fail(new HoldfastError("exhausted", `${what}; ${this.connectionTrouble()}`));
      return;
    }
    this.#waiting.add(call);
    this.#waitingSize += size;
    this.#connectIfDue();
  }

  #connectIfDue(): void {
    if (this.#connecting || this.#ready !== undefined || this.#waiting.size === 0) return;
    if (!this.#closing.signal.aborted) void this.#connect();
  }

  /** Tries until there is a connection or no call waits for one. */
  async #connect(): Promise<void> {
    this.#connecting = true;
    while (this.#waiting.size > 0 && !this.#closing.signal.aborted) {
      const error = (await this.#backOff()) ?? (await this.#tryNext());
      if (error === undefined) break;
      this.#trouble = error;
      this.#failed();
      // No other address and no later moment helps against these.
      if (error.code === "invalid") for (const call of this.#waiting) call.fail(error);
    }
    this.#connecting = false;
    // The connection may be gone again, or blocked from the start.
    this.#connectIfDue();
  }

  /** Waits before each round of attempts but the first. Gives an error if the client is closed meanwhile. */
  async #backOff(): Promise<HoldfastError | undefined> {
    const { backoffMinMs, backoffMaxMs } = this.#options;
    const round = Math.floor(this.#attemptCount / this.#addresses.length);
    if (round === 0 || this.#attemptCount % this.#addresses.length !== 0) return undefined;
    const fullMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(round - 1, 30));
    const delayMs = fullMs * (0.5 + this.#env.random.float() / 2);
    try {
      await sleep(this.#env.clock, delayMs, this.#closing.signal);
      return undefined;
    } catch (error) {
      return asHoldfastError(error);
    }
  }

  /** Connects to the next address; resolves, with the error if any, when the peer's preface has come or cannot come. */
  async #tryNext(): Promise<HoldfastError | undefined> {
    const address = this.#addresses[this.#nextAddress] as string;
    const { connectTimeoutMs } = this.#options;
    const limit = new AbortController();
    const stop = () => limit.abort(this.#closing.signal.reason);
    this.#closing.signal.addEventListener("abort", stop, { once: true });
    const timer: Timer = this.#env.clock.schedule(connectTimeoutMs, () => {
      const what = `${address} did not answer within ${connectTimeoutMs} ms (connectTimeoutMs)`;
      limit.abort(new HoldfastError("unavailable", what));
    });
    try {
      const stream = await this.#env.net.connect(address, { signal: limit.signal });
      if (limit.signal.aborted) {
        stream.destroy();
        return asHoldfastError(limit.signal.reason);
      }
      const outcome = new Promise<HoldfastError | undefined>((resolve) => (this.#attempt = resolve));
      const connection = new ClientConnection(this.#env, stream, this, this.#options);
      this.#opening = connection;
      this.#connections.add(connection);
      this.#track(connection.channel.gone);
      const onLimit = () => connection.channel.destroy(asHoldfastError(limit.signal.reason));
      limit.signal.addEventListener("abort", onLimit, { once: true });
      const error = await outcome;
      limit.signal.removeEventListener("abort", onLimit);
      return error;
    } catch (error) {
      return asHoldfastError(error);
    } finally {
      this.#opening = undefined;
      this.#attempt = undefined;
      timer.cancel();
      this.#closing.signal.removeEventListener("abort", stop);
    }
  }

  #track(gone: Promise<void>): void {
    this.#gone.add(gone);
    void gone.then(() => this.#gone.delete(gone));
  }
}
