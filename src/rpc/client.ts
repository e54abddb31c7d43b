/**
 * The client: typed calls to a service, wherever among its addresses it is reached.
 */
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { ClientCall } from "./client-call.ts";
import type { CalledMethod } from "./client-call.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { Contract, Methods } from "./contract.ts";
import { checkSettings, defaultSettings } from "./frame.ts";
import { keepAliveDefaults } from "./channel.ts";
import { Pool } from "./pool.ts";
import { makeStub } from "./stub.ts";
import type { CallOptions, RequestStream, Stub } from "./stub.ts";

export interface RpcClientOptions {
  /** Deadline of calls with one response. Default 30,000. */
  readonly callTimeoutMs?: number;
  /** How long connecting to one address may take. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** How much of a start an address has before the next one is tried beside it. Default 50. */
  readonly connectStaggerMs?: number;
  /** The first and the longest wait between rounds of attempts, before jitter. Default 50 and 5,000. */
  readonly backoffMinMs?: number;
  readonly backoffMaxMs?: number;
  /** Calls that may wait for a connection. Default 4,096. */
  readonly waitingCountMax?: number;
  /** Bytes of their requests. Default 64 MiB. */
  readonly waitingSizeMax?: number;
  /** After so long in silence the server is asked for a sign of life. Default 10,000. */
  readonly keepAliveMs?: number;
  /** How long it may take to answer before the connection is given up. Default 5,000. */
  readonly keepAliveTimeoutMs?: number;
  /** The same two when nothing was heard since a call was sent. Default 1,000 and 1,500. */
  readonly answerMs?: number;
  readonly answerTimeoutMs?: number;
  /** Bytes that the server may send in each call before they are taken. Default 262,144. */
  readonly windowSize?: number;
  /**
   * Asks the server of each new connection whether it is the right one, before any call goes out there. When it rejects,
   * the attempt has failed, and another address is tried; where every address failed with `invalid`, so do the calls.
   * `connectTimeoutMs` counts on meanwhile.
   */
  readonly check?: (server: CheckedServer) => Promise<void>;
}

/** The server of a new connection, to be asked. */
export interface CheckedServer {
  readonly address: string;
  /** Calls on this connection alone, until the check has settled. */
  use<M extends Methods>(contract: Contract<M>): Stub<M>;
}

/**
 * One client holds one connection at a time, opened at the first call to the address that answers first, and looks for
 * another when it is lost. Every failure is a `HoldfastError`:
 *
 * - `unavailable` with `maybe`: the connection broke after the call was sent. Calls not yet sent go out on the next one.
 * - `timeout`, `cancelled`: the deadline passed or the signal aborted; `maybe` if the call was sent.
 * - `exhausted`: too many calls wait for a connection, or the server has too many under way.
 * - `notFound`: the server does not have the service or the method. `invalid`: a message is over the limit, or the other
 *   side's schema does not fit. Else whatever the handler threw.
 */
export class RpcClient {
  readonly #pool: Pool;
  readonly #callTimeoutMs: number;
  readonly #start = (call: ClientCall): void => this.#pool.start(call);
  #addresses: readonly string[];

  /**
   * All addresses must serve the same: calls go to whichever answers, with a small start for those that come first, and
   * none for one that failed within the last half minute.
   */
  constructor(env: Env, addresses: readonly string[] | string, options: RpcClientOptions = {}) {
    const all = checkedAddresses(typeof addresses === "string" ? [addresses] : addresses);
    const settings = { ...defaultSettings, windowSize: options.windowSize ?? defaultSettings.windowSize };
    checkSettings(settings);
    this.#callTimeoutMs = options.callTimeoutMs ?? 30_000;
    this.#addresses = all;
    const { check } = options;
    this.#pool = new Pool(env, all, {
      check: check === undefined ? undefined : (connection) => check(this.#toBeChecked(connection)),
      settings,
      pauses: false,
      keepAliveMs: options.keepAliveMs ?? keepAliveDefaults.keepAliveMs,
      keepAliveTimeoutMs: options.keepAliveTimeoutMs ?? keepAliveDefaults.keepAliveTimeoutMs,
      answers: { answerMs: options.answerMs ?? 1_000, answerTimeoutMs: options.answerTimeoutMs ?? 1_500 },
      connectTimeoutMs: options.connectTimeoutMs ?? 5_000,
      connectStaggerMs: options.connectStaggerMs ?? 50,
      backoffMinMs: options.backoffMinMs ?? 50,
      backoffMaxMs: options.backoffMaxMs ?? 5_000,
      waitingCountMax: options.waitingCountMax ?? 4_096,
      waitingSizeMax: options.waitingSizeMax ?? 67_108_864,
    });
  }

  /** Whether a call would go out at once. */
  get connected(): boolean {
    return this.#pool.peer !== undefined;
  }

  /** `close` was called: every call fails. */
  get closed(): boolean {
    return this.#pool.closed;
  }

  /** The address to which calls go at present, as the net names it; undefined while there is no connection. */
  get peer(): string | undefined {
    return this.#pool.peer;
  }

  /**
   * Replaces the addresses. A connection to one that is no longer among them is used until there is another; calls under
   * way finish on it.
   */
  setAddresses(addresses: readonly string[]): void {
    this.#addresses = checkedAddresses(addresses);
    this.#pool.replaceAddresses(this.#addresses);
  }

  /** Where it may connect, in the order of preference, each once. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /**
   * Says that a call failed with `error` because of the server that was asked: one that is cut off from those that it
   * needs, say. If the error is a server's `unavailable` or `timeout`, or the silence of one until the deadline, and it is
   * the one that calls go to, another is looked for, and calls go there as soon as it is found; until then, and if there
   * is none, they go on as before. Calls under way are not disturbed. Any other error is passed over, so that every
   * failure may be given here before a call is repeated.
   */
  avoid(error: unknown): void {
    if (error instanceof HoldfastError) this.#pool.avoid(error);
  }

  /**
   * Calls `listener` with the server's address whenever there is a new connection for calls, before any goes out on it,
   * until the function that it gives is called. Streams begun earlier are on a connection that is lost or retired.
   */
  onConnected(listener: (peer: string) => void): () => void {
    return this.#pool.onConnected(listener);
  }

  /** The functions that call a contract's methods. They may be made once and used for the client's whole life. */
  use<M extends Methods>(contract: Contract<M>): Stub<M> {
    return makeStub(contract, (called, request, options) => this.#call(called, request, options, this.#start));
  }

  #toBeChecked(connection: ClientConnection): CheckedServer {
    const start = (call: ClientCall) => this.#pool.startOn(connection, call);
    return {
      address: connection.address,
      use: (contract) => makeStub(contract, (called, request, options) => this.#call(called, request, options, start)),
    };
  }

  /** Fails what is under way or waits with `unavailable`; resolves when the connection is closed. Repeatable. */
  close(): Promise<void> {
    return this.#pool.close();
  }

  #call(
    called: CalledMethod,
    request: never,
    options: CallOptions | undefined,
    start: (call: ClientCall) => void,
  ): unknown {
    const { kind } = called.method;
    const oneRequest = kind === "unary" || kind === "serverStream";
    const oneResponse = kind === "unary" || kind === "clientStream";
    const timeoutMs = options?.timeoutMs ?? (oneResponse ? this.#callTimeoutMs : Infinity);
    let call: ClientCall;
    try {
      checkTimeout(timeoutMs);
      call = new ClientCall(
        this.#pool,
        called,
        oneRequest ? called.method.request.encode(request) : undefined,
        oneRequest ? undefined : (request as RequestStream<unknown>),
        timeoutMs === Infinity ? 0 : timeoutMs,
        options?.prompt === true,
      );
    } catch (error) {
      if (oneResponse) return Promise.reject(error);
      throw error;
    }
    const signal = options?.signal;
    if (oneResponse) {
      const promise = call.asPromise();
      if (signal !== undefined) call.watch(signal);
      start(call);
      return promise;
    }
    return call.asStream(() => {
      if (signal !== undefined) call.watch(signal);
      start(call);
    });
  }
}

function checkedAddresses(addresses: readonly string[]): string[] {
  const all = [...new Set(addresses)];
  if (all.length === 0) throw new HoldfastError("invalid", "an rpc client needs at least one address");
  return all;
}

/** The longest deadline: 2^48 ms, some 8,900 years. */
const timeoutMsMax = 2 ** 48;

function checkTimeout(timeoutMs: number): void {
  if (timeoutMs === Infinity || (timeoutMs > 0 && timeoutMs <= timeoutMsMax)) return;
  throw new HoldfastError("invalid", `timeoutMs is ${timeoutMs}; give a number over 0, or Infinity for no deadline`);
}
