/**
 * Looks for a connection: attempts to several addresses that overlap, of which the first that completes the preface wins
 * and the others are given up (RFC 8305, "Happy Eyeballs", for addresses of one service instead of one host).
 *
 * 1. At most one attempt an address is under way. The next address is tried when an attempt fails, or after `staggerMs`.
 * 2. When every address has failed in this round, the client waits before the next one, twice as long each time, jittered
 *    so that many clients do not come back at one moment. A connection that has answered ends the counting. An attempt
 *    that hangs does not hold up the rounds of the others.
 * 3. Beside a connection that works, where only a better one is wanted, no address is tried that failed within the last
 *    `quietMs`, and the search ends when all the others have.
 * 4. Attempts go on when nobody wants them any more: who comes next has them.
 */
import { asHoldfastError, HoldfastError } from "../base/index.ts";
import type { Connection, Env, Timer } from "../base/index.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { PoolAddresses } from "./pool-addresses.ts";

export interface ConnectorOptions {
  readonly connectTimeoutMs: number;
  readonly connectStaggerMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
}

/** What a client lacks: nothing; any connection, since calls wait for one; a better one than the one that it has. */
export type Need = "nothing" | "any" | "better";

export interface ConnectorHost {
  need(): Need;
  /** Where the present connection leads, if there is one. */
  present(): string | undefined;
  /** Makes a client's connection of a stream. */
  adopt(stream: Connection, address: string): ClientConnection;
  attemptFailed(error: HoldfastError): void;
  /** Every address has failed, and no later moment helps against that: nobody may need a connection any more. */
  hopeless(error: HoldfastError): void;
  /** There is no better connection than the present one. */
  nothingBetter(): void;
}

interface Attempt {
  readonly address: string;
  readonly ending: AbortController;
  readonly timer: Timer;
  connection: ClientConnection | undefined;
}

/** How long an address rests that failed, or was no better, while there is another connection (3). */
const quietMs = 1_000;

export class Connector {
  readonly #env: Env;
  readonly #addresses: PoolAddresses;
  readonly #options: ConnectorOptions;
  readonly #host: ConnectorHost;
  readonly #attempts = new Map<string, Attempt>();
  /** What is being looked for. */
  #need: Need = "nothing";
  /** Rounds since a connection was last proven. */
  #roundCount = 0;
  #wake: () => void = ignore;
  readonly #isFree = (address: string): boolean => !this.#attempts.has(address);

  constructor(env: Env, addresses: PoolAddresses, options: ConnectorOptions, host: ConnectorHost) {
    this.#env = env;
    this.#addresses = addresses;
    this.#options = options;
    this.#host = host;
  }

  /** What the client lacks may have changed. */
  look(): void {
    if (this.#host.need() === this.#need) return;
    if (this.#need === "nothing") void this.#look();
    else this.#wake();
  }

  /** There may be other addresses. */
  addressesChanged(): void {
    this.#wake();
    this.look();
  }

  /** A connection has completed the preface: the other attempts are given up. */
  opened({ address }: ClientConnection): void {
    this.#end(address);
    this.abandon(new HoldfastError("cancelled", `${address} was faster`));
    this.look();
  }

  closed(connection: ClientConnection, error: HoldfastError): void {
    const attempt = this.#attempts.get(connection.address);
    if (attempt?.connection === connection) this.#failed(attempt, error);
  }

  /** A connection has answered. */
  proven(address: string): void {
    this.#roundCount = 0;
    this.#addresses.worked(address);
  }

  /** Gives up all attempts. */
  abandon(reason: HoldfastError): void {
    for (const { address, ending } of this.#attempts.values()) {
      this.#end(address);
      ending.abort(reason);
    }
  }

  async #look(): Promise<void> {
    for (;;) {
      this.#need = this.#host.need();
      if (this.#need === "any") await this.#tryForAny();
      else if (this.#need === "better") await this.#tryForBetter();
      else return;
    }
  }

  async #tryForAny(): Promise<void> {
    const next = this.#addresses.next(this.#env.clock.monotonicMs(), this.#isFree);
    if (next !== undefined) {
      this.#start(next);
      await this.#pause(this.#options.connectStaggerMs);
      return;
    }
    const lastFailedMs = this.#addresses.lastFailedMs();
    if (lastFailedMs === Number.NEGATIVE_INFINITY) {
      // All are being tried.
      await this.#pause(Number.POSITIVE_INFINITY);
      return;
    }
    const hopeless = this.#addresses.hopeless();
    if (hopeless !== undefined) {
      this.#host.hopeless(hopeless);
      this.#addresses.beginRound();
      return;
    }
    const endMs = lastFailedMs + this.#backOffMs();
    this.#roundCount++;
    for (;;) {
      const leftMs = endMs - this.#env.clock.monotonicMs();
      if (leftMs <= 0 || this.#host.need() !== "any") break;
      await this.#pause(leftMs);
      // There may be a new address, which need not wait.
      if (this.#addresses.next(this.#env.clock.monotonicMs(), this.#isFree) !== undefined) return;
    }
    this.#addresses.beginRound();
  }

  /** How long to wait before the next round. */
  #backOffMs(): number {
    const { backoffMinMs, backoffMaxMs } = this.#options;
    const fullMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#roundCount, 30));
    return fullMs * (0.5 + this.#env.random.float() / 2);
  }

  async #tryForBetter(): Promise<void> {
    const present = this.#host.present();
    const isOther = (address: string) => address !== present && this.#isFree(address);
    const next = this.#addresses.nextQuiet(this.#env.clock.monotonicMs(), quietMs, isOther);
    if (next !== undefined) this.#start(next);
    else if (this.#attempts.size === 0) this.#host.nothingBetter();
    if (this.#attempts.size > 0) {
      // An attempt that hangs does not keep the others from being tried again.
      await this.#pause(next === undefined ? quietMs : this.#options.connectStaggerMs);
    }
  }

  /** Until so much time has passed, an attempt has ended, or the need has changed. */
  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = delayMs === Number.POSITIVE_INFINITY ? undefined : this.#env.clock.schedule(delayMs, () => wake());
      const wake = () => {
        timer?.cancel();
        this.#wake = ignore;
        resolve();
      };
      this.#wake = wake;
    });
  }

  #start(address: string): void {
    const { connectTimeoutMs } = this.#options;
    const ending = new AbortController();
    const { signal } = ending;
    const timer = this.#env.clock.schedule(connectTimeoutMs, () => {
      const what = `${address} did not answer within ${connectTimeoutMs} ms (connectTimeoutMs)`;
      ending.abort(new HoldfastError("unavailable", what));
    });
    const attempt: Attempt = { address, ending, timer, connection: undefined };
    this.#attempts.set(address, attempt);
    const connected = (stream: Connection) => {
      if (signal.aborted) {
        stream.destroy();
        this.#failed(attempt, asHoldfastError(signal.reason));
        return;
      }
      const connection = this.#host.adopt(stream, address);
      attempt.connection = connection;
      if (connection.channel.over) {
        this.#failed(attempt, new HoldfastError("unavailable", `${address} closed the connection at once`));
        return;
      }
      const stop = () => connection.channel.destroy(asHoldfastError(signal.reason));
      signal.addEventListener("abort", stop, { once: true });
    };
    const failed = (error: unknown) => {
      this.#failed(attempt, asHoldfastError(signal.aborted ? signal.reason : error));
    };
    // In a promise, since a net may also throw.
    Promise.resolve()
      .then(() => this.#env.net.connect(address, { signal }))
      .then(connected, failed);
  }

  #failed(attempt: Attempt, error: HoldfastError): void {
    const { address } = attempt;
    if (this.#attempts.get(address) !== attempt) return;
    this.#end(address);
    this.#addresses.failed(address, this.#env.clock.monotonicMs(), error);
    this.#host.attemptFailed(error);
    this.#wake();
  }

  #end(address: string): void {
    this.#attempts.get(address)?.timer.cancel();
    this.#attempts.delete(address);
  }
}

function ignore(): void {}
