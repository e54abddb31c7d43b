/**
 * The `guard` view: what a transaction has read of the asked views is still so. It holds nothing of its own.
 *
 * The question itself is the guard: the view that answered it says whether the answer is surely the same as at the
 * revision that was read.
 */
import { bytes, embed, HoldfastError, message, repeated, uint32, uint64 } from "../base/index.ts";
import type { Infer } from "../base/index.ts";
import { Refusal } from "./view.ts";
import type { ApplyContext, AskedView, View } from "./view.ts";

const Check = message("holdfast.guard.Check", { viewId: uint32(1), query: bytes(2), revision: uint64(3) });

/** `conflict` unless every answer is what it was at its revision. */
export const GuardOperation = message("holdfast.guard.Operation", { checks: repeated(embed(1, Check)) });
export type GuardOperation = Infer<typeof GuardOperation>;
const GuardResult = message("holdfast.guard.Result", {});

const guardViewId = 20;

export class GuardView implements View<GuardOperation, object> {
  readonly name = "guard";
  readonly id = guardViewId;
  readonly operation = GuardOperation;
  readonly result = GuardResult;
  readonly #views: ReadonlyMap<number, AskedView>;

  constructor(views: readonly AskedView[]) {
    this.#views = new Map(views.map((view) => [view.id, view]));
  }

  apply(context: ApplyContext, { checks }: GuardOperation): object | Refusal {
    const refused = context.work.operate(checks.length);
    if (refused !== undefined) return refused;
    // The state before this command: whatever it does itself comes behind its checks.
    const reading = { state: context.state, revision: context.revision, timeMs: context.timeMs };
    for (const { viewId, query, revision } of checks) {
      const view = this.#views.get(viewId);
      if (view === undefined) return new Refusal("invalid", `a check names view ${viewId}, which cannot be asked`);
      try {
        if (view.unchanged(reading, view.query.decode(query), revision)) continue;
      } catch (error) {
        if (error instanceof HoldfastError)
          return new Refusal("invalid", `a check of the ${view.name}: ${error.message}`);
        throw error;
      }
      return new Refusal("conflict", `what was read of a ${view.name} has changed since revision ${revision}`);
    }
    return {};
  }
}
