/** One tick of a cron, as its work sees it. */
import type { LockPlace } from "../lock/lock-state.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "../transaction-context.ts";
import type { BegunTick, CronState } from "./cron-state.ts";

type RunTransaction = <T>(
  body: (tx: TransactionContext) => T | Promise<T>,
  options?: TransactionOptions,
) => Promise<TransactionOutcome<T>>;

export class CronTick implements BegunTick {
  /** When it was due, milliseconds since the Unix epoch. */
  readonly timeMs: number;
  /** How often the work of this tick has been begun, this time included. */
  readonly attempt: number;
  /** Aborts when the turn is lost, so that another may begin this tick, and when the cron is stopped. */
  readonly signal: AbortSignal;
  /** @internal */
  readonly turn: LockPlace;
  /** @internal */
  readonly state: CronState;
  readonly #transaction: RunTransaction;

  /** @internal */
  constructor(turn: LockPlace, state: CronState, signal: AbortSignal, transaction: RunTransaction) {
    this.timeMs = state.tickMs;
    this.attempt = state.attempt;
    this.signal = signal;
    this.turn = turn;
    this.state = state;
    this.#transaction = transaction;
  }

  get cron(): string {
    return this.turn.name;
  }

  /** Grows with every turn, for outside systems. */
  get fence(): number {
    return this.turn.fence;
  }

  /** What happens exactly once a tick, whoever dies when: with it the tick is done. */
  transaction<T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<T>> {
    return this.#transaction((tx) => {
      tx.finish(this);
      return body(tx);
    }, options);
  }
}
