/**
 * The `limiter` view: how often something may happen, counted for the whole cluster.
 *
 * The generic cell rate algorithm (ITU-T I.371, annex A) in store time: of each limiter one number is kept, the theoretical
 * arrival time, which is when everything that was taken so far would have been taken at the even rate. What is taken moves
 * it on; it may be ahead of now by as much as the burst.
 *
 *   27 'l' name 0 → StoredLimiter
 *
 * The rate comes with every request, so that changing it needs no migration. A limiter that has not been used for as long as
 * its burst lasts is as good as new; the next request that finds it so still keeps one number.
 *
 * Store time is the largest of all proposers' clocks: a clock that jumps ahead gives what that much time would have given,
 * once.
 */
import { bool, double, embed, message, oneOf, string, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameKey, nameProblem } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, State, View } from "../view.ts";

const limiterViewId = 27;
const limiterLetter = 0x6c;

const StoredLimiter = message("holdfast.limiter.Limiter", {
  /** Store time, milliseconds, with fractions. */
  arrivalMs: double(1),
  revision: uint64(2),
});

/** `permits` every `perMs`; at most `burst` at once. */
const Rate = message("holdfast.limiter.Rate", { permits: uint64(1), perMs: uint64(2), burst: uint64(3) });
export type Rate = Infer<typeof Rate>;

const Take = message("holdfast.limiter.Take", { name: string(1), count: uint64(2), rate: embed(3, Rate) });
const Reset = message("holdfast.limiter.Reset", { name: string(1) });
export const LimiterOperation = message("holdfast.limiter.Operation", {
  operation: oneOf({ take: embed(1, Take), reset: embed(2, Reset) }),
});
export type LimiterOperation = Infer<typeof LimiterOperation>;
export const LimiterResult = message("holdfast.limiter.Result", {
  allowed: bool(1),
  /** Until as many would be allowed if nobody else takes any; 0 if they were. */
  waitMs: uint64(2),
  /** What may be taken right after. */
  left: uint64(3),
});
export type LimiterResult = Infer<typeof LimiterResult>;

/** What a request would be answered, taking nothing. */
export const LimiterQuery = message("holdfast.limiter.Query", {
  name: string(1),
  count: uint64(2),
  rate: embed(3, Rate),
});
export type LimiterQuery = Infer<typeof LimiterQuery>;

export class LimiterView implements AskedView<LimiterOperation, LimiterResult, LimiterQuery, LimiterResult> {
  readonly name = "limiter";
  readonly id = limiterViewId;
  readonly operation = LimiterOperation;
  readonly result = LimiterResult;
  readonly query = LimiterQuery;
  readonly answer = LimiterResult;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { operation }: LimiterOperation): LimiterResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const { name } = operation.value;
    const problem = nameProblem(name) ?? (operation.case === "take" ? rateProblem(operation.value) : undefined);
    if (problem !== undefined) return new Refusal("invalid", `the rate limiter ${JSON.stringify(name)}: ${problem}`);
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    if (operation.case === "reset") {
      if (context.state.delete(limiterKey(name)) !== undefined) this.#announce(context, name);
      return { allowed: true, waitMs: 0, left: 0 };
    }
    const { arrivalMs, ...result } = decide(context.state, context.timeMs, operation.value);
    if (result.allowed) {
      context.state.put(limiterKey(name), StoredLimiter.encode({ arrivalMs, revision: context.revision }));
      this.#announce(context, name);
    }
    return result;
  }

  #announce(context: ApplyContext, name: string): void {
    context.changed();
    context.emit(this.#self, name);
  }

  touches({ operation }: LimiterOperation, touch: (key: Uint8Array) => void): void {
    if (operation !== undefined) touch(limiterKey(operation.value.name));
  }

  answerTo({ state, timeMs }: ReadingContext, query: LimiterQuery): LimiterResult {
    if (rateProblem(query) !== undefined) return { allowed: false, waitMs: 0, left: 0 };
    const { allowed, waitMs, left } = decide(state, timeMs, query);
    return { allowed, waitMs, left };
  }

  /** Time passes, so no answer is surely that of before. */
  unchanged(): boolean {
    return false;
  }
}

function limiterKey(name: string): Uint8Array {
  return nameKey(limiterViewId, limiterLetter, name);
}

/** Milliseconds, with fractions, that one permit takes at the even rate. */
function interval({ permits, perMs }: Rate): number {
  return perMs / permits;
}

/** What is wrong with a request; undefined if nothing is. */
export function rateProblem({
  count,
  rate,
}: {
  readonly count: number;
  readonly rate: Rate | undefined;
}): string | undefined {
  if (rate === undefined) return "the request names no rate";
  const { permits, perMs, burst } = rate;
  for (const [what, value] of [
    ["count", count],
    ["permits", permits],
    ["perMs", perMs],
    ["burst", burst],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < 1) return `${what} is ${value}; it must be a whole number from 1`;
  }
  if (count > burst) return `${count} at once are more than the burst of ${burst}, and would never be allowed`;
  if (burst * interval(rate) > Number.MAX_SAFE_INTEGER / 1_024) return "the burst lasts longer than time is counted";
  return undefined;
}

function decide(
  state: Pick<State, "get">,
  nowMs: number,
  { name, count, rate }: { readonly name: string; readonly count: number; readonly rate: Rate | undefined },
): LimiterResult & { readonly arrivalMs: number } {
  // `rateProblem` was asked before.
  const each = interval(rate as Rate);
  const burstMs = (rate as Rate).burst * each;
  const stored = state.get(limiterKey(name));
  const before = Math.max(nowMs, stored === undefined ? 0 : StoredLimiter.decode(stored).arrivalMs);
  const arrivalMs = before + count * each;
  const waitMs = Math.max(0, Math.ceil(arrivalMs - burstMs - nowMs));
  const allowed = waitMs === 0;
  const aheadMs = (allowed ? arrivalMs : before) - nowMs;
  return { allowed, waitMs, left: Math.max(0, Math.floor((burstMs - aheadMs) / each + 1e-9)), arrivalMs };
}
