/**
 * The server: services over any number of connections and addresses.
 *
 * 1. No queue: a call either begins at once or is refused with `exhausted`.
 * 2. After `close` begins, no call begins; after it resolves, no connection is open and no timer is set. Handlers that
 *    do not heed their signal may still run.
 */
import { HoldfastError, limits } from "../base/index.ts";
import type { Connection, Env, Listener } from "../base/index.ts";
import { keepAliveDefaults } from "./channel.ts";
import type { ChannelOptions } from "./channel.ts";
import { Deadlines } from "./deadlines.ts";
import { checkSettings, defaultSettings } from "./frame.ts";
import { ServerConnection } from "./server-connection.ts";
import type { ConnectionHost } from "./server-connection.ts";
import type { Service } from "./service.ts";

export interface RpcServerOptions {
  /** Calls under way on one connection; one more is refused. Default `limits.connectionCallCountMax`. */
  readonly connectionCallCountMax?: number;
  /** Calls under way on the whole server. Default `limits.serverCallCountMax`. */
  readonly serverCallCountMax?: number;
  /** Bytes of large requests (over 64 KiB) under way on the whole server. Default 256 MiB. */
  readonly requestSizeTotalMax?: number;
  /** After so long in silence a client is asked for a sign of life. Default 10,000. */
  readonly keepAliveMs?: number;
  /** How long it may take to answer before its connection is given up. Default 5,000. */
  readonly keepAliveTimeoutMs?: number;
  /** Bytes that a client may send in each call before the handler takes them. Default 262,144. */
  readonly windowSize?: number;
}

export class RpcServer {
  readonly #env: Env;
  readonly #channelOptions: ChannelOptions;
  readonly #host: ConnectionHost;
  readonly #deadlines: Deadlines;
  readonly #connections = new Set<ServerConnection>();
  readonly #listeners = new Set<Listener>();
  #callCount = 0;
  #heldSize = 0;
  #closing: Promise<void> | undefined;

  constructor(env: Env, services: readonly Service[], options: RpcServerOptions = {}) {
    this.#env = env;
    this.#deadlines = new Deadlines(env.clock);
    const settings = { ...defaultSettings, windowSize: options.windowSize ?? defaultSettings.windowSize };
    checkSettings(settings);
    this.#channelOptions = {
      settings,
      keepAliveMs: options.keepAliveMs ?? keepAliveDefaults.keepAliveMs,
      keepAliveTimeoutMs: options.keepAliveTimeoutMs ?? keepAliveDefaults.keepAliveTimeoutMs,
      pauses: true,
    };
    const byName = new Map(services.map((service) => [service.name, service]));
    if (byName.size < services.length) throw new HoldfastError("invalid", "two services of one server have one name");
    this.#host = this.#makeHost(byName, options);
  }

  /** Calls under way: begun, and their handlers not settled. */
  get callCount(): number {
    return this.#callCount;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Listens on another address, in any form that the net serves. Closing the listener leaves its connections open. */
  async listen(address: string): Promise<Listener> {
    this.#checkOpen();
    const listener = await this.#env.net.listen(address, (connection) => this.accept(connection));
    if (this.#closing !== undefined) {
      await listener.close();
      this.#checkOpen();
    }
    this.#listeners.add(listener);
    return {
      address: listener.address,
      close: () => {
        this.#listeners.delete(listener);
        return listener.close();
      },
    };
  }

  /** Serves a connection that somebody else has accepted. */
  accept(connection: Connection): void {
    if (this.#closing !== undefined) {
      connection.destroy();
      return;
    }
    const served = new ServerConnection(this.#env, connection, this.#host, this.#channelOptions);
    if (!served.channel.over) this.#connections.add(served);
  }

  /**
   * Stops: listens no more, refuses calls, gives those under way `graceMs` (default 5,000) to finish, then aborts them.
   * Repeating it waits for the first.
   */
  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 5_000);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const reason = new HoldfastError("unavailable", "the server is stopping; call another one");
    const connections = [...this.#connections];
    const listeners = [...this.#listeners].map((listener) => listener.close());
    const timer = this.#env.clock.schedule(graceMs, () => {
      for (const { channel } of this.#connections) channel.close(reason);
    });
    for (const connection of connections) connection.goAway(reason);
    await Promise.all(connections.map(({ channel }) => channel.gone));
    timer.cancel();
    this.#deadlines.close();
    await Promise.all(listeners);
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new HoldfastError("unavailable", "the server is closed");
  }

  #makeHost(services: ReadonlyMap<string, Service>, options: RpcServerOptions): ConnectionHost {
    const connectionCallCountMax = options.connectionCallCountMax ?? limits.connectionCallCountMax;
    const serverCallCountMax = options.serverCallCountMax ?? limits.serverCallCountMax;
    const requestSizeTotalMax = options.requestSizeTotalMax ?? 268_435_456;
    return {
      services,
      deadlines: this.#deadlines,
      refusal: (connectionCallCount) => {
        if (connectionCallCount >= connectionCallCountMax) {
          const what = `${connectionCallCount} calls are under way on this connection`;
          const limit = `the limit is ${connectionCallCountMax} (limits.connectionCallCountMax)`;
          return new HoldfastError("exhausted", `${what}; ${limit}; retry later`);
        }
        if (this.#callCount >= serverCallCountMax) {
          const limit = `the limit is ${serverCallCountMax} (limits.serverCallCountMax)`;
          const what = `${this.#callCount} calls are under way on this server`;
          return new HoldfastError("exhausted", `${what}; ${limit}; retry later or elsewhere`);
        }
        return undefined;
      },
      callBegan: () => void this.#callCount++,
      callSettled: () => void this.#callCount--,
      hold: (size) => {
        if (this.#heldSize > 0 && this.#heldSize + size > requestSizeTotalMax) return false;
        this.#heldSize += size;
        return true;
      },
      release: (size) => void (this.#heldSize -= size),
      connectionClosed: (connection) => void this.#connections.delete(connection),
    };
  }
}
