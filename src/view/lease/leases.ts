/**
 * The leases of a store, as a user sees them.
 */
import { HoldfastError, limits, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { accepted, operation } from "../command.ts";
import type { Proposer } from "../command.ts";
import type { LeaseOperation, LeaseResult, LeaseView } from "./lease-view.ts";

export interface GrantOptions {
  /** Time to live without being kept alive, `limits.leaseTtlMinMs` to `limits.leaseTtlMaxMs`. */
  readonly ttlMs: number;
  /** Chosen by the caller, 1 to 2^63 - 1; `exists` if it is taken. Without it, at random. */
  readonly id?: bigint | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A lease as it stands. */
export interface LeaseInfo {
  readonly id: bigint;
  readonly ttlMs: number;
  /** Until it may end, in store time; not below 0. */
  readonly remainingMs: number;
  /** The keys that go with it, in key order, if they were asked for. */
  readonly keys: readonly Uint8Array[];
}

/** Reads of leases: by the replica in this process, or by one elsewhere. */
export interface LeaseSource extends Proposer {
  info(id: bigint, keys: boolean, signal: AbortSignal | undefined): Promise<LeaseInfo | undefined>;
  list(signal: AbortSignal | undefined): AsyncIterable<LeaseInfo>;
}

export class Leases {
  readonly #env: Pick<Env, "clock" | "random">;
  readonly #source: LeaseSource;
  readonly #view: LeaseView;

  constructor(env: Pick<Env, "clock" | "random">, source: LeaseSource, view: LeaseView) {
    this.#env = env;
    this.#source = source;
    this.#view = view;
  }

  /** Grants a lease. Keys put with it are deleted when it ends: `ttlMs` after it was last kept alive, or revoked. */
  async grant(options: GrantOptions): Promise<Lease> {
    const { ttlMs, signal } = options;
    if (!Number.isSafeInteger(ttlMs) || ttlMs < limits.leaseTtlMinMs || ttlMs > limits.leaseTtlMaxMs) {
      const bounds = `${limits.leaseTtlMinMs} to ${limits.leaseTtlMaxMs} (limits.leaseTtlMinMs, limits.leaseTtlMaxMs)`;
      throw new HoldfastError("invalid", `ttlMs is ${ttlMs}; it must be a whole number from ${bounds}`);
    }
    const id = options.id === undefined ? this.newId() : checkedId(options.id);
    await this.#propose({ operation: { case: "grant", value: { lease: id, ttlMs } } }, signal);
    return new Lease(this.#env, this, id, ttlMs);
  }

  /** @internal 52 random bits: whole numbers that every tool can hold, and chance enough. */
  newId(): bigint {
    const { random } = this.#env;
    return BigInt(random.uint32()) * 1_048_576n + BigInt(random.uint32() % 1_048_575) + 1n;
  }

  async #propose(body: LeaseOperation, signal: AbortSignal | undefined): Promise<NonNullable<LeaseResult["result"]>> {
    const outcome = accepted(await this.#source.propose([operation(this.#view, body)], { signal }));
    const { result } = outcome.results[0] as LeaseResult;
    if (result?.case === body.operation?.case && result !== undefined) return result;
    throw new HoldfastError("corrupt", "the result is none that this version knows");
  }

  /** Gives the lease its full time again; answers that time, in milliseconds. `notFound` if it has ended. */
  async keepAlive(id: bigint, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<number> {
    const result = await this.#propose(
      { operation: { case: "keepAlive", value: { leases: [checkedId(id)] } } },
      options.signal,
    );
    const ttlMs = result.case === "keepAlive" ? (result.value.ttlMs[0] ?? 0) : 0;
    if (ttlMs === 0) throw new HoldfastError("notFound", `lease ${id} does not exist or has ended`);
    return ttlMs;
  }

  /** Ends the lease now and deletes its keys; answers how many. `notFound` if it has ended. */
  async revoke(id: bigint, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<number> {
    const result = await this.#propose(
      { operation: { case: "revoke", value: { lease: checkedId(id) } } },
      options.signal,
    );
    return result.case === "revoke" ? result.value.keyCount : 0;
  }

  /** How the lease stands; undefined if it does not exist or has ended. */
  async get(
    id: bigint,
    options: { readonly keys?: boolean; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<LeaseInfo | undefined> {
    return this.#source.info(checkedId(id), options.keys ?? false, options.signal);
  }

  /** All leases, without their keys. */
  list(options: { readonly signal?: AbortSignal | undefined } = {}): AsyncIterable<LeaseInfo> {
    return this.#source.list(options.signal);
  }
}

function checkedId(id: bigint): bigint {
  if (typeof id === "bigint" && id > 0n && id < 2n ** 63n) return id;
  throw new HoldfastError("invalid", `a lease's id is a bigint from 1n to 2n ** 63n - 1n, not ${String(id)}`);
}

/** A lease in the hands of its holder. `await using` revokes it at the end of the block. */
export class Lease {
  readonly id: bigint;
  readonly ttlMs: number;
  readonly #env: Pick<Env, "clock">;
  readonly #leases: Leases;
  readonly #stop = new AbortController();

  constructor(env: Pick<Env, "clock">, leases: Leases, id: bigint, ttlMs: number) {
    this.#env = env;
    this.#leases = leases;
    this.id = id;
    this.ttlMs = ttlMs;
  }

  /** Keeps it alive once. */
  keepAlive(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<number> {
    return this.#leases.keepAlive(this.id, options);
  }

  /**
   * Keeps it alive, three times in its time to live, until it is revoked here or `signal` aborts; then it resolves.
   * Rejects with `notFound` when the lease has ended all the same, or with what went wrong when it could not be kept
   * alive for longer than it lives.
   */
  async hold(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const stop =
      options.signal === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, options.signal]);
    const { clock } = this.#env;
    let aliveMs = clock.monotonicMs();
    while (!stop.aborted) {
      try {
        const startedMs = clock.monotonicMs();
        await this.keepAlive({ signal: stop });
        aliveMs = startedMs;
      } catch (error) {
        if (stop.aborted) return;
        // Anything but its end may pass, in time.
        const ended = error instanceof HoldfastError && error.code === "notFound";
        if (ended || clock.monotonicMs() >= aliveMs + this.ttlMs) throw error;
      }
      await sleep(this.#env.clock, this.ttlMs / 3, stop).catch(() => {});
    }
  }

  /** Ends it now, with its keys. That it has ended already is no error here. */
  async revoke(): Promise<void> {
    this.#stop.abort();
    try {
      await this.#leases.revoke(this.id);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.revoke();
  }
}
