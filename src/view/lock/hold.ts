/**
 * A place among those who hold, from asking for it until it is given up or lost. It keeps its lease alive by itself, while
 * it waits and while it holds.
 *
 * Its holder hears of a loss before anybody else can hold: when the lease could not be kept alive for as long as it lives,
 * measured here from before the last renewal that succeeded, it counts as lost, and the store gives it to nobody before
 * that much time has passed since it applied that renewal. And at once when the store says that the place is gone.
 * A process that stops for a while cannot know: for that there is the fence.
 */
import { abortError, deferred, HoldfastError, isAborted, sleep } from "../../base/index.ts";
import type { Env, Timer } from "../../base/index.ts";
import type { Leases } from "../lease/leases.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "../transaction-context.ts";
import { decodeValue, encodeValue } from "../value.ts";
import { proposeOne } from "../view-source.ts";
import type { ViewSource } from "../view-source.ts";
import type { LockAnswer, LockOperation, LockResult } from "./lock-operation.ts";
import { lockTopic } from "./lock-state.ts";
import type { LockMode, LockName } from "./lock-state.ts";
import type { LockView } from "./lock-view.ts";

export interface LockParts {
  readonly env: Pick<Env, "clock" | "random" | "logger">;
  readonly source: ViewSource;
  readonly view: LockView;
  readonly leases: Leases;
  readonly transaction: <T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ) => Promise<TransactionOutcome<T>>;
}

export interface AcquireOptions {
  /**
   * How long the place outlives its holder's last sign of life, milliseconds; within the limits of a lease. Default 10,000.
   */
  readonly ttlMs?: number | undefined;
  /** Leaves the queue, or, once it is held, does nothing. */
  readonly signal?: AbortSignal | undefined;
  /** What others see of the holder. At most 4 KiB. */
  readonly value?: unknown;
}

export interface Asked extends AcquireOptions {
  readonly mode: LockMode;
  readonly permits?: number;
  readonly permitCount?: number;
  /** Of a barrier. */
  readonly count?: number;
  /** `conflict` instead of waiting. */
  readonly immediately?: boolean;
}

const ttlDefaultMs = 10_000;

/** What is held. `await using` gives it up at the end of the block; where no member hears of that, it ends with its lease. */
export class Hold {
  readonly kind: LockName["kind"];
  readonly name: string;
  /** Grows with everybody who asks; to be given to outside systems, which refuse what comes with a smaller one. */
  readonly fence: number;
  readonly #parts: LockParts;
  readonly #lease: bigint;
  readonly #ttlMs: number;
  readonly #lost = new AbortController();
  readonly #stop = new AbortController();
  readonly #alive: { readonly sinceMs: number };
  #timer: Timer | undefined;
  #released: Promise<void> | undefined;
  #keeping: Promise<unknown> = Promise.resolve();

  private constructor(parts: LockParts, lock: LockName, lease: bigint, ttlMs: number, fence: number, sinceMs: number) {
    this.#parts = parts;
    this.kind = lock.kind;
    this.name = lock.name;
    this.fence = fence;
    this.#lease = lease;
    this.#ttlMs = ttlMs;
    this.#alive = { sinceMs };
    this.#expireAt(sinceMs + ttlMs);
    this.#keeping = Promise.all([this.#keepAlive(), this.#listen()]);
  }

  /** @internal Resolves when it is held. */
  static async acquire(parts: LockParts, lock: LockName, asked: Asked): Promise<Hold> {
    const { hold, state } = await Hold.ask(parts, lock, asked);
    if (state === "holding") return hold;
    try {
      await hold.#granted(asked.signal);
      return hold;
    } catch (error) {
      await hold.release().catch(() => {});
      throw error;
    }
  }

  /** @internal Asks for it, and gives what it has become. */
  static async ask(
    parts: LockParts,
    lock: LockName,
    asked: Asked,
  ): Promise<{ readonly hold: Hold; readonly state: LockResult["state"]; readonly generation: number }> {
    const { ttlMs = ttlDefaultMs, signal, value, mode, permits = 0, permitCount = 0, count = 0 } = asked;
    if (isAborted(signal)) throw abortError(signal as AbortSignal);
    const lease = parts.leases.newId();
    const body = { lease, ttlMs, mode, permits, permitCount, count, immediately: asked.immediately ?? false };
    const told = encodeValue(value, "the value of a holder");
    const sinceMs = parts.env.clock.monotonicMs();
    const operation: LockOperation = { operation: { case: "acquire", value: { ...lock, ...body, value: told } } };
    // Whoever leaves before the answer may have a place all the same: it goes with its lease, which nobody keeps alive.
    const { result } = await proposeOne(parts.source, parts.view, operation, signal);
    const hold = new Hold(parts, lock, lease, ttlMs, result.fence, sinceMs);
    return { hold, state: result.state, generation: result.generation };
  }

  /** Aborts when it is lost: from then on somebody else may hold. Not when it is given up. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  get isLost(): boolean {
    return this.#lost.signal.aborted;
  }

  get #name(): LockName {
    return { kind: this.kind, name: this.name };
  }

  #expireAt(atMs: number): void {
    this.#timer?.cancel();
    if (this.#stop.signal.aborted) return;
    const { clock } = this.#parts.env;
    this.#timer = clock.schedule(Math.max(0, atMs - clock.monotonicMs()), () => {
      this.#lose(`its lease could not be kept alive for ${this.#ttlMs} ms`);
    });
  }

  #lose(why: string): void {
    if (this.#stop.signal.aborted || this.isLost) return;
    const what = `the ${this.kind} ${this.name} held under fence ${this.fence} is lost: ${why}`;
    this.#lost.abort(new HoldfastError("conflict", what));
    this.#end();
  }

  #end(): void {
    this.#stop.abort();
    this.#timer?.cancel();
  }

  async #keepAlive(): Promise<void> {
    const { clock } = this.#parts.env;
    const { signal } = this.#stop;
    let { sinceMs } = this.#alive;
    while (!isAborted(signal)) {
      await sleep(clock, Math.max(1, sinceMs + this.#ttlMs / 3 - clock.monotonicMs()), signal).catch(() => {});
      if (isAborted(signal)) return;
      const startedMs = clock.monotonicMs();
      try {
        await this.#parts.leases.keepAlive(this.#lease, { signal });
        sinceMs = startedMs;
        this.#expireAt(startedMs + this.#ttlMs);
      } catch (error) {
        if (error instanceof HoldfastError && error.code === "notFound") return this.#lose("its lease has ended");
        // It is tried again soon: the timer says when it is too late.
        await sleep(clock, Math.min(100, this.#ttlMs / 10), signal).catch(() => {});
      }
    }
  }

  readonly #grant = deferred<void>();

  /**
   * Hears of the place: that it is granted, that it is gone. However long nobody can be heard, it goes on afterwards: who
   * waits would never know otherwise that it holds.
   */
  async #listen(): Promise<void> {
    const { clock, logger } = this.#parts.env;
    const { signal } = this.#stop;
    while (!isAborted(signal)) {
      try {
        return await this.#hear(signal);
      } catch (error) {
        if (isAborted(signal)) return;
        // Without news it lives as long as its lease.
        const fields = { lock: this.name, error: String(error) };
        logger.log("warn", "nothing is heard of a lock; its lease is still kept alive", fields);
        await sleep(clock, Math.min(1_000, this.#ttlMs / 10), signal).catch(() => {});
      }
    }
  }

  async #hear(signal: AbortSignal): Promise<void> {
    const { source, view } = this.#parts;
    for await (const revision of source.changes({ view, name: lockTopic(this.#name, this.fence) }, signal)) {
      const query = { query: { case: "place", value: { ...this.#name, fence: this.fence } } } as const;
      const { answer } = await source.ask(view, query, { consistency: "local", atLeast: revision, signal });
      this.#generation = answer.object?.generation ?? 0;
      if (answer.state === "holding") this.#grant.resolve();
      else if (answer.state === "gone") {
        if (this.kind === "barrier") this.#grant.resolve();
        else this.#lose("its lease has ended");
      }
    }
  }

  #generation = 0;

  /** @internal Of the barrier, as it was last heard. */
  get generation(): number {
    return this.#generation;
  }

  async #granted(signal: AbortSignal | undefined): Promise<void> {
    const left = deferred<never>();
    const leave = () => left.reject(abortError(signal as AbortSignal));
    const lose = () => left.reject(this.#lost.signal.reason as HoldfastError);
    signal?.addEventListener("abort", leave, { once: true });
    this.#lost.signal.addEventListener("abort", lose, { once: true });
    if (isAborted(signal)) leave();
    if (this.isLost) lose();
    try {
      await Promise.race([this.#grant.promise, left.promise]);
    } finally {
      signal?.removeEventListener("abort", leave);
      this.#lost.signal.removeEventListener("abort", lose);
    }
  }

  /** @internal Resolves when the place is no longer waiting: of a barrier, when it has opened, or the place is lost. */
  passed(signal: AbortSignal | undefined): Promise<void> {
    return this.#granted(signal);
  }

  /** Whether the store says, now, that it is held. */
  async check(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<boolean> {
    const query = { query: { case: "place", value: { ...this.#name, fence: this.fence } } } as const;
    return (await this.#parts.source.ask(this.#parts.view, query, options)).answer.state === "holding";
  }

  /**
   * A transaction that takes effect only while this is held: `conflict`, for good, when it is not at the moment of the
   * commit, whatever the holder believed when it began.
   */
  transaction<T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<T>> {
    return this.#parts.transaction((tx) => {
      tx.guard(this);
      return body(tx);
    }, options);
  }

  /** Changes what others see of the holder. `conflict` when it is not held any more. */
  async proclaim(value: unknown, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const told = encodeValue(value, "the value of a holder");
    const body = { ...this.#name, fence: this.fence, value: told };
    await proposeOne(
      this.#parts.source,
      this.#parts.view,
      { operation: { case: "proclaim", value: body } },
      options.signal,
    );
  }

  /** Gives it up. That it was lost is no error. Repeatable. */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    this.#end();
    await this.#keeping;
    const body = { ...this.#name, fence: this.fence, endLease: true };
    await proposeOne(this.#parts.source, this.#parts.view, { operation: { case: "release", value: body } }, undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch((error: unknown) => {
      const fields = { lock: this.name, error: String(error) };
      this.#parts.env.logger.log("warn", "what was held could not be given up; it ends with its lease", fields);
    });
  }
}

export interface HolderInfo<T = unknown> {
  readonly fence: number;
  readonly value: T;
  readonly lease: bigint;
}

/** What is read of a name, and its changes. */
export class LockReader {
  readonly #parts: LockParts;
  readonly #name: LockName;

  constructor(parts: LockParts, name: LockName) {
    this.#parts = parts;
    this.#name = name;
  }

  async *holders<T>(options: {
    readonly signal?: AbortSignal | undefined;
    readonly atLeast?: LockRevision | undefined;
  }): AsyncGenerator<HolderInfo<T>, void, undefined> {
    for (let after = 0; ;) {
      const answer = await this.#ask(after, options);
      for (const { fence, place } of answer.holders) {
        if (place !== undefined) yield { fence, value: decodeValue(place.value) as T, lease: place.lease };
      }
      if (!answer.more) return;
      after = answer.holders.at(-1)?.fence ?? 0;
    }
  }

  /** How many wait. */
  async waiterCount(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<number> {
    return (await this.#ask(Number.MAX_SAFE_INTEGER - 1, options)).object?.waiterCount ?? 0;
  }

  async #ask(
    after: number,
    options: { readonly signal?: AbortSignal | undefined; readonly atLeast?: LockRevision | undefined },
  ): Promise<LockAnswer> {
    const query = { query: { case: "holders", value: { ...this.#name, after } } } as const;
    return (await this.#parts.source.ask(this.#parts.view, query, options)).answer;
  }

  changes(signal: AbortSignal | undefined): AsyncIterable<LockRevision> {
    return this.#parts.source.changes({ view: this.#parts.view, name: lockTopic(this.#name) }, signal);
  }
}

type LockRevision = Awaited<ReturnType<ViewSource["ask"]>>["revision"];
