/**
 * Looks after deadlines, on the primary of a store's members: proposes to expire a lease when its time has passed here on
 * the monotonic clock since it was last kept alive, and in store time too. Whether it has ended is decided by store time,
 * in `apply`. So a wall clock that jumps ahead ends no lease early, and one that is set back keeps none alive.
 *
 * Who becomes primary gives every lease its full time again before anything else: while there was none, nobody could keep
 * a lease alive. Every member knows the leases, so that it may become primary at any moment.
 *
 * | state     | how it begins                          | what it does                                            |
 * | --------- | -------------------------------------- | ------------------------------------------------------- |
 * | at rest   | `start`; not primary any more: `#rest` | follows the leases                                      |
 * | renewing  | primary: `#serve`                      | proposes `renewAll` until that is applied               |
 * | on duty   | it is applied                          | proposes `expire` when the next one is due              |
 */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Env, Timer } from "../../base/index.ts";
import { operation } from "../command.ts";
import type { Replica } from "../replica.ts";
import type { LeaseChange, LeaseOperation, LeaseView } from "./lease-view.ts";
import { allLeases, leaseIdOf, leaseKey, StoredLease } from "./lease-state.ts";

/** Leases that one command expires. */
const expireCount = 64;
const retryMs = 1_000;

interface Due {
  /** In store time. */
  readonly deadlineMs: number;
  /** On the monotonic clock. */
  readonly dueMs: number;
}

export class LeaseKeeper {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #replica: Replica;
  readonly #view: LeaseView;
  readonly #leases = new Map<bigint, Due>();
  readonly #unsubscribe: (() => void)[];
  readonly #closing = new AbortController();
  /** Leases that were heard of while all are being read, which may read older things of them. */
  #heard: Set<bigint> | undefined;
  #reading: Promise<void> = Promise.resolve();
  /** Aborts when this member is not primary any more. */
  #duty: AbortController | undefined;
  /** Every lease has had its full time again since this member became primary. */
  #renewed = false;
  #timer: Timer | undefined;
  /** When the timer fires, on the monotonic clock. */
  #timerMs = Number.POSITIVE_INFINITY;
  #working: Promise<void> = Promise.resolve();

  private constructor(env: Pick<Env, "clock" | "logger">, replica: Replica, view: LeaseView) {
    this.#env = env;
    this.#replica = replica;
    this.#view = view;
    this.#unsubscribe = [
      replica.subscribe(view, (_, changes) => {
        for (const change of changes as readonly LeaseChange[]) this.#note(change);
      }),
      replica.onInstall(() => {
        this.#reading = this.#reading.then(() => this.#readAgain());
      }),
    ];
  }

  /** Resolves when it knows the leases; for what it proposes it waits for nobody. */
  static async start(env: Pick<Env, "clock" | "logger">, replica: Replica, view: LeaseView): Promise<LeaseKeeper> {
    const keeper = new LeaseKeeper(env, replica, view);
    const reading = keeper.#read();
    // A state that is installed meanwhile is read after it.
    keeper.#reading = reading.catch(() => {});
    try {
      await reading;
    } catch (error) {
      await keeper.close();
      throw error;
    }
    keeper.#followPrimary();
    return keeper;
  }

  /** When the leases are known, so that there is something to serve. */
  #followPrimary(): void {
    this.#unsubscribe.push(this.#replica.onPrimary((isPrimary) => (isPrimary ? this.#serve() : this.#rest())));
    if (this.#replica.isPrimary) this.#serve();
  }

  /** Another state has been installed: nobody was told of the changes between the two. */
  async #readAgain(): Promise<void> {
    try {
      await this.#read();
    } catch (error) {
      if (this.#closed) return;
      this.#env.logger.log("warn", "reading the leases failed; it is tried again", { error: String(error) });
      await this.#pause();
      return this.#readAgain();
    }
  }

  async #read(): Promise<void> {
    const heard = new Set<bigint>();
    this.#heard = heard;
    this.#leases.clear();
    const { tree, release } = this.#replica.snapshot();
    try {
      for await (const batch of tree.entries({ ...allLeases, signal: this.#closing.signal })) {
        for (const { key, value } of batch) {
          const lease = leaseIdOf(key);
          const { deadlineMs, ttlMs } = StoredLease.decode(value);
          if (!heard.has(lease)) this.#leases.set(lease, this.#due(deadlineMs, ttlMs));
        }
      }
    } finally {
      release();
      this.#heard = undefined;
    }
    this.#setTimer();
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Ends early when this is closed or, with `signal`, when that aborts. */
  async #pause(signal = this.#closing.signal): Promise<void> {
    await sleep(this.#env.clock, retryMs, signal).catch(() => {});
  }

  #serve(): void {
    if (this.#closed || this.#duty !== undefined) return;
    const duty = new AbortController();
    this.#duty = duty;
    this.#working = this.#working.then(() => this.#renewAll(duty.signal));
  }

  /** What has been proposed may still be applied; that is as good as when another member had proposed it. */
  #rest(): void {
    this.#duty?.abort();
    this.#duty = undefined;
    this.#renewed = false;
    this.#timer?.cancel();
    this.#timerMs = Number.POSITIVE_INFINITY;
  }

  async #renewAll(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#reading;
        // One that is granted behind this has its full time anyway, counted from when it is heard of.
        if (this.#leases.size > 0) await this.#propose({ operation: { case: "renewAll", value: {} } }, signal);
        if (signal.aborted) return;
        this.#renewed = true;
        return this.#setTimer();
      } catch (error) {
        if (signal.aborted) return;
        this.#env.logger.log("warn", "renewing leases failed; it is tried again", { error: String(error) });
        await this.#pause(signal);
      }
    }
  }

  /** Leases there are. */
  get count(): number {
    return this.#leases.size;
  }

  #due(deadlineMs: number, ttlMs: number): Due {
    return { deadlineMs, dueMs: this.#env.clock.monotonicMs() + ttlMs };
  }

  #note({ lease, deadlineMs }: LeaseChange): void {
    this.#heard?.add(lease);
    if (deadlineMs === undefined) {
      this.#leases.delete(lease);
      return;
    }
    const due = this.#due(deadlineMs, deadlineMs - this.#replica.timeMs);
    this.#leases.set(lease, due);
    // The timer looks for the next one when it fires; it must only never be too late.
    if (due.dueMs < this.#timerMs) this.#setTimer();
  }

  /** For each lease: not above 0 when it may be ended. */
  *#remaining(): Generator<readonly [bigint, number]> {
    const monotonicMs = this.#env.clock.monotonicMs();
    const storeMs = this.#replica.nowMs;
    for (const [lease, { deadlineMs, dueMs }] of this.#leases) {
      yield [lease, Math.max(dueMs - monotonicMs, deadlineMs - storeMs)];
    }
  }

  #setTimer(delayMinMs = 1): void {
    this.#timer?.cancel();
    this.#timerMs = Number.POSITIVE_INFINITY;
    const duty = this.#duty;
    if (duty === undefined || !this.#renewed || this.#leases.size === 0) return;
    let delayMs = Number.POSITIVE_INFINITY;
    for (const [, remainingMs] of this.#remaining()) delayMs = Math.min(delayMs, remainingMs);
    delayMs = Math.max(delayMs, delayMinMs);
    this.#timerMs = this.#env.clock.monotonicMs() + delayMs;
    this.#timer = this.#env.clock.schedule(delayMs, () => {
      this.#working = this.#expire(duty.signal);
    });
  }

  async #expire(signal: AbortSignal): Promise<void> {
    const due: bigint[] = [];
    for (const [lease, remainingMs] of this.#remaining()) {
      if (remainingMs <= 0 && due.push(lease) === expireCount) break;
    }
    const deadlinesMs = due.map((lease) => this.#leases.get(lease)?.deadlineMs ?? 0);
    let delayMinMs = 1;
    try {
      if (due.length > 0) {
        await this.#propose({ operation: { case: "expire", value: { leases: due, deadlinesMs } } }, signal);
        await this.#forgetEnded(due);
      }
    } catch (error) {
      if (signal.aborted) return;
      delayMinMs = retryMs;
      this.#env.logger.log("warn", "expiring leases failed; it is tried again", { error: String(error) });
    }
    if (!signal.aborted) this.#setTimer(delayMinMs);
  }

  /** Those that ended without this having heard of it. */
  async #forgetEnded(leases: readonly bigint[]): Promise<void> {
    for (const lease of leases) {
      if (!this.#leases.has(lease)) continue;
      const there = await this.#replica.read((tree) => tree.has(leaseKey(lease)));
      if (!there) this.#leases.delete(lease);
    }
  }

  /** Resolves when it is applied; rejects when that may not be so, or when `signal` aborts. */
  async #propose(body: LeaseOperation, signal: AbortSignal): Promise<void> {
    const outcome = await this.#replica.propose([operation(this.#view, body)], { signal });
    if (!outcome.ok) throw new HoldfastError(outcome.code, outcome.message);
  }

  /** Does not wait for a proposal under way: the others that it may need may not be there. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#rest();
    await this.#working;
    await this.#reading;
  }
}
