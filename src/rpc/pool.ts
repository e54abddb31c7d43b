/**
 * The calls of a client and its connections: on which connection a call goes out, and what it does until there is one.
 *
 * | state      | left by                                                 | meaning                                       |
 * |------------|---------------------------------------------------------|-----------------------------------------------|
 * | idle       | `start` → connecting, `close`                           | nothing is open and no call waits             |
 * | connecting | `connectionOpened` → ready, `close`                     | the connector tries addresses                 |
 * | ready      | `#forsake` → idle or connecting, `#shun` → shunned      | calls go out at once                          |
 * | shunned    | `connectionOpened`, `nothingBetter` → ready, `#forsake` | as ready, while a better connection is sought |
 * | closed     | –                                                       | every call fails                              |
 *
 * 1. A call that was not sent waits for the next connection until its deadline; a call that was sent never goes out
 *    again, unless the server says that it did not begin it.
 * 2. What waits is bounded in count and bytes; beyond that a call fails at once with `exhausted`.
 * 3. A connection is kept as long as it works. One whose server answered that it cannot serve, or whose address is no
 *    longer wanted, is used until there is another; the calls under way finish on it.
 * 4. With `check`, a connection is opened, for all else here, when it has passed.
 */
import { asHoldfastError, HoldfastError } from "../base/index.ts";
import type { Connection, Env } from "../base/index.ts";
import type { ChannelOptions } from "./channel.ts";
import type { CallPool, ClientCall } from "./client-call.ts";
import { ClientConnection } from "./client-connection.ts";
import type { ClientHost } from "./client-connection.ts";
import { Deadlines } from "./deadlines.ts";
import { PoolAddresses } from "./pool-addresses.ts";
import { Connector } from "./pool-connector.ts";
import type { ConnectorHost, ConnectorOptions, Need } from "./pool-connector.ts";

export interface PoolOptions extends ChannelOptions, ConnectorOptions {
  /** Judges a new connection; when it rejects, the attempt has failed. */
  readonly check: ((connection: ClientConnection) => Promise<void>) | undefined;
  readonly waitingCountMax: number;
  readonly waitingSizeMax: number;
}

export class Pool implements CallPool, ClientHost, ConnectorHost {
  readonly #env: Env;
  readonly #addresses: PoolAddresses;
  readonly #options: PoolOptions;
  readonly #deadlines: Deadlines;
  readonly #connector: Connector;
  readonly #listeners = new Set<(peer: string) => void>();
  #closed = false;

  /** Calls that are not sent, in order. */
  #waiting = new Set<ClientCall>();
  #waitingSize = 0;
  #ready: ClientConnection | undefined;
  #shunned = false;
  /** Every open connection: the ready one, those being opened, and those that only finish their calls. */
  readonly #connections = new Set<ClientConnection>();
  readonly #gone = new Set<Promise<void>>();
  /** Those that are being checked (4). */
  readonly #unchecked = new Set<ClientConnection>();
  #trouble: HoldfastError | undefined;
  /** Which connection's server an error is about. */
  readonly #blame = new WeakMap<HoldfastError, ClientConnection>();

  constructor(env: Env, addresses: readonly string[], options: PoolOptions) {
    this.#env = env;
    this.#addresses = new PoolAddresses(addresses);
    this.#options = options;
    this.#deadlines = new Deadlines(env.clock);
    this.#connector = new Connector(env, this.#addresses, options, this);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Where calls go at present. */
  get peer(): string | undefined {
    return this.#ready?.channel.peer;
  }

  /** Calls `listener` whenever there is a new connection for calls, before any goes out on it. */
  onConnected(listener: (peer: string) => void): () => void {
    // The same function may be given twice.
    const own = (peer: string) => listener(peer);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  replaceAddresses(addresses: readonly string[]): void {
    this.#addresses.replace(addresses);
    this.#connector.addressesChanged();
    if (this.#ready !== undefined && !this.#addresses.has(this.#ready.address)) this.#shun();
  }

  /** The server whose answer, or silence, `error` was is not asked again if there is another (3). */
  avoid(error: HoldfastError): void {
    const connection = this.#blame.get(error);
    if (connection === undefined) return;
    this.#addresses.failed(connection.address, this.#env.clock.monotonicMs(), error);
    if (connection === this.#ready) this.#shun();
  }

  #shun(): void {
    this.#shunned = true;
    this.#connector.look();
  }

  /** Sends the call, or has it wait. */
  start(call: ClientCall): void {
    if (call.isOver) return;
    if (this.#closed) {
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

  /** Sends a call of the check of a connection, on that one or not at all. */
  startOn(connection: ClientConnection, call: ClientCall): void {
    if (call.isOver) return;
    if (connection.channel.over || connection.channel.blocked || !this.#unchecked.has(connection)) {
      call.fail(new HoldfastError("unavailable", `${call.called.label}: the connection is no longer there`));
      return;
    }
    const { timeoutMs } = call;
    if (timeoutMs > 0) {
      call.deadlineAtMs = this.#env.clock.monotonicMs() + timeoutMs;
      this.#deadlines.add(call, call.deadlineAtMs, timeoutMs);
    }
    connection.begin(call, Math.ceil(timeoutMs));
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      const error = new HoldfastError("unavailable", "the client is closed");
      this.#ready = undefined;
      this.#connector.abandon(error);
      this.#connector.look();
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
    if (this.#ready !== undefined) return `the connection to ${this.#ready.channel.peer} takes no more`;
    const { text } = this.#addresses;
    return this.#trouble === undefined
      ? `nothing was heard from ${text}`
      : `the last attempt to reach ${text} failed: ${this.#trouble.message}`;
  }

  need(): Need {
    if (this.#closed) return "nothing";
    if (this.#ready === undefined) return this.#waiting.size > 0 ? "any" : "nothing";
    return this.#shunned ? "better" : "nothing";
  }

  present(): string | undefined {
    return this.#ready?.address;
  }

  adopt(stream: Connection, address: string): ClientConnection {
    const connection = new ClientConnection(this.#env, stream, address, this, this.#options);
    if (!connection.channel.over) this.#connections.add(connection);
    const { gone } = connection.channel;
    this.#gone.add(gone);
    void gone.then(() => this.#gone.delete(gone));
    return connection;
  }

  attemptFailed(error: HoldfastError): void {
    this.#trouble = error;
  }

  hopeless(error: HoldfastError): void {
    for (const call of this.#waiting) call.fail(error);
  }

  nothingBetter(): void {
    this.#shunned = false;
  }

  connectionOpened(connection: ClientConnection): void {
    const { check } = this.#options;
    if (check === undefined) this.#open(connection);
    else void this.#check(connection, check);
  }

  async #check(connection: ClientConnection, check: NonNullable<PoolOptions["check"]>): Promise<void> {
    const { channel } = connection;
    this.#unchecked.add(connection);
    let failure: HoldfastError | undefined;
    try {
      await check(connection);
    } catch (error) {
      failure = asHoldfastError(error);
    }
    this.#unchecked.delete(connection);
    // It was given up meanwhile, or another was faster.
    if (channel.over) return;
    if (failure === undefined) {
      this.#open(connection);
      this.connectionProven(connection);
    } else {
      channel.destroy(failure);
    }
  }

  #open(connection: ClientConnection): void {
    const before = this.#ready;
    this.#ready = connection;
    this.#shunned = false;
    this.#connector.opened(connection);
    before?.retire();
    for (const listener of this.#listeners) listener(connection.channel.peer);
    this.connectionWritable(connection);
  }

  connectionProven(connection: ClientConnection): void {
    if (this.#unchecked.has(connection)) return;
    this.#connector.proven(connection.address);
    this.#trouble = undefined;
  }

  connectionBlamed(connection: ClientConnection, error: HoldfastError): void {
    this.#blame.set(error, connection);
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
      // A question to this server alone goes to no other.
      if (!this.#unchecked.has(connection) && call.unsent()) again.push(call);
      else call.fail(new HoldfastError("unavailable", `${call.called.label}: ${reason.message}`, { cause: reason }));
    }
    // They came before those that wait already.
    for (const call of again) this.#waitingSize += call.payload?.length ?? 0;
    this.#waiting = new Set([...again, ...this.#waiting]);
    if (this.#ready !== undefined && !this.#ready.channel.blocked) this.connectionWritable(this.#ready);
    this.#connector.look();
  }

  connectionClosed(connection: ClientConnection, error: HoldfastError): void {
    this.#connections.delete(connection);
    this.#forsake(connection, error);
    this.#connector.closed(connection, error);
    this.#connector.look();
  }

  /** The connection takes no more calls. */
  #forsake(connection: ClientConnection, reason: HoldfastError): void {
    if (this.#ready !== connection) return;
    this.#ready = undefined;
    this.#shunned = false;
    this.#trouble = reason;
    this.#addresses.failed(connection.address, this.#env.clock.monotonicMs(), reason);
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
    this.#connector.look();
  }
}
