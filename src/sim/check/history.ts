/**
 * Records what clients do while they do it.
 *
 * ```ts
 * const call = history.begin("client 3", clock.nowMs(), actions.put("a", "17"));
 * try {
 *   call.ok(clock.nowMs(), { revision: await keys.put("a", "17") });
 * } catch (error) {
 *   call.threw(clock.nowMs(), error);
 * }
 * ```
 *
 * 1. Calls of one history are recorded in the order in which they begin and end, also when the clock says the same moment
 *    for several: each moment is made later than the one before, by a millionth of a millisecond.
 * 2. A call that has not ended is one of unknown outcome.
 */
import { assert, HoldfastError } from "../../base/index.ts";
import type { Action, Operation, Outcome, Result } from "./operation.ts";

const momentMs = 1e-6;

export class History {
  readonly #calls: Call[] = [];
  #latestMs = Number.NEGATIVE_INFINITY;

  begin(client: string, nowMs: number, action: Action): Call {
    const call = new Call(client, this.#moment(nowMs), action, (ms) => this.#moment(ms));
    this.#calls.push(call);
    return call;
  }

  #moment(nowMs: number): number {
    this.#latestMs = nowMs > this.#latestMs ? nowMs : this.#latestMs + momentMs;
    return this.#latestMs;
  }

  get count(): number {
    return this.#calls.length;
  }

  /** In the order in which they began. */
  get operations(): readonly Operation[] {
    return this.#calls.map((call) => call.operation);
  }

  /** How many ended in each way; for accounts. */
  get counts(): Readonly<Record<Outcome["kind"], number>> {
    const counts = { ok: 0, refused: 0, failed: 0, unknown: 0 };
    for (const { operation } of this.#calls) counts[operation.outcome.kind] += 1;
    return counts;
  }
}

/** One call that is under way, and then its end. */
export class Call {
  #operation: Operation;
  #ended = false;
  readonly #moment: (nowMs: number) => number;

  constructor(client: string, begin: number, action: Action, moment: (nowMs: number) => number) {
    this.#operation = { client, begin, end: Number.POSITIVE_INFINITY, action, outcome: { kind: "unknown" } };
    this.#moment = moment;
  }

  get operation(): Operation {
    return this.#operation;
  }

  /** What it really does turned out only now: a transaction's function has read and decided. Before it is sent. */
  becomes(action: Action): void {
    this.#operation = { ...this.#operation, action };
  }

  ok(nowMs: number, result: Result = {}): void {
    this.#end(nowMs, { kind: "ok", ...result });
  }

  refused(nowMs: number): void {
    this.#end(nowMs, { kind: "refused" });
  }

  failed(nowMs: number): void {
    this.#end(nowMs, { kind: "failed" });
  }

  unknown(nowMs: number): void {
    this.#end(nowMs, { kind: "unknown" });
  }

  /** As a store's error says: `maybe` is unknown; `conflict` on an action with guards is a refusal; else it failed. */
  threw(nowMs: number, error: unknown): void {
    const certain = error instanceof HoldfastError && !error.maybe;
    const guarded = (this.#operation.action.guards?.length ?? 0) > 0;
    if (!certain) this.unknown(nowMs);
    else if (error.code === "conflict" && guarded) this.refused(nowMs);
    else this.failed(nowMs);
  }

  #end(nowMs: number, outcome: Outcome): void {
    assert(!this.#ended, "a call ends once");
    this.#ended = true;
    this.#operation = { ...this.#operation, end: this.#moment(nowMs), outcome };
  }
}
