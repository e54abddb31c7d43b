/** How fresh a read must be, on its way to the member that answers it. */
import { bool, message, optional, uint64 } from "../base/index.ts";
import type { Infer, Init, Revision } from "../base/index.ts";
import type { ReadOptions } from "./key/key-source.ts";

export const Freshness = message("holdfast.view.Freshness", {
  local: bool(1),
  /** A revision that the state has at least; it is waited for. */
  atLeast: optional(uint64(2)),
});

/**
 * What is asked of a revision (`at`) needs that revision and nothing newer: such a state does not change. Else what the
 * caller wants.
 */
export function toFreshness({ consistency, atLeast }: ReadOptions, at: number | undefined): Init<typeof Freshness> {
  if (at === undefined) return { local: consistency === "local", atLeast };
  return { local: true, atLeast: Math.max(at, atLeast ?? 0) };
}

export function toReadOptions(freshness: Infer<typeof Freshness> | undefined, signal: AbortSignal): ReadOptions {
  return {
    consistency: freshness?.local === true ? "local" : "linearizable",
    atLeast: freshness?.atLeast as Revision | undefined,
    signal,
  };
}
