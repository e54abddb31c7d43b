/**
 * Looks after deadlines on the member that may propose: proposes to expire a lease when its time has passed here on the
 * monotonic clock since it was last kept alive, and in store time too. Whether it has ended is decided by store time, in
 * `apply`. So a wall clock that jumps ahead ends no lease early, and one that is set back keeps none alive.
 *
 * When it starts, it gives every lease its full time again: while no member ran, nobody could keep a lease alive.
 */
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
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  /** When the timer fires, on the monotonic clock. */
  #timerMs = Number.POSITIVE_INFINITY;
  #working: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(env: Pick<Env, "clock" | "logger">, replica: Replica, view: LeaseView) {
    this.#env = env;
    this.#replica = replica;
    this.#view = view;
    this.#unsubscribe = replica.subscribe(view, (_, changes) => {
      for (const change of changes as readonly LeaseChange[]) this.#note(change);
    });
  }

  static async start(env: Pick<Env, "clock" | "logger">, replica: Replica, view: LeaseView): Promise<LeaseKeeper> {
    const keeper = new LeaseKeeper(env, replica, view);
    const { tree } = replica.snapshot();
    try {
      for await (const batch of tree.entries(allLeases)) {
        for (const { key, value } of batch) {
          const lease = leaseIdOf(key);
          const { deadlineMs, ttlMs } = StoredLease.decode(value);
          if (!keeper.#leases.has(lease)) keeper.#leases.set(lease, keeper.#due(deadlineMs, ttlMs));
        }
      }
    } finally {
      tree.release();
    }
    if (keeper.count > 0) await keeper.#propose({ operation: { case: "renewAll", value: {} } });
    keeper.#setTimer();
    return keeper;
  }

  /** Leases there are. */
  get count(): number {
    return this.#leases.size;
  }

  #due(deadlineMs: number, ttlMs: number): Due {
    return { deadlineMs, dueMs: this.#env.clock.monotonicMs() + ttlMs };
  }

  #note({ lease, deadlineMs }: LeaseChange): void {
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
    if (this.#closed || this.#leases.size === 0) return;
    let delayMs = Number.POSITIVE_INFINITY;
    for (const [, remainingMs] of this.#remaining()) delayMs = Math.min(delayMs, remainingMs);
    delayMs = Math.max(delayMs, delayMinMs);
    this.#timerMs = this.#env.clock.monotonicMs() + delayMs;
    this.#timer = this.#env.clock.schedule(delayMs, () => {
      this.#working = this.#expire();
    });
  }

  async #expire(): Promise<void> {
    const due: bigint[] = [];
    for (const [lease, remainingMs] of this.#remaining()) {
      if (remainingMs <= 0 && due.push(lease) === expireCount) break;
    }
    let delayMinMs = 1;
    try {
      if (due.length > 0) {
        await this.#propose({ operation: { case: "expire", value: { leases: due } } });
        await this.#forgetEnded(due);
      }
    } catch (error) {
      delayMinMs = retryMs;
      if (!this.#closed)
        this.#env.logger.log("warn", "expiring leases failed; it is tried again", { error: String(error) });
    }
    this.#setTimer(delayMinMs);
  }

  /** Those that ended without this having heard of it. */
  async #forgetEnded(leases: readonly bigint[]): Promise<void> {
    for (const lease of leases) {
      if (!this.#leases.has(lease)) continue;
      const there = await this.#replica.read((tree) => tree.has(leaseKey(lease)));
      if (!there) this.#leases.delete(lease);
    }
  }

  async #propose(body: LeaseOperation): Promise<void> {
    const outcome = await this.#replica.propose([operation(this.#view, body)]);
    if (!outcome.ok) this.#env.logger.log("error", "a command about leases was refused", { error: outcome.message });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
    await this.#working;
  }
}
