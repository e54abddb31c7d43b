/** What a chain is given. */
import { HoldfastError } from "../base/index.ts";
import type { ChainPlace, ChainPlaces } from "./chain-place.ts";
import type { LogEngine } from "./engine.ts";
import type { Successor } from "./successor.ts";

export interface ChainOptions {
  /**
   * Opens the engine that a successor record names. `fresh`: for a move that has not happened yet; what an earlier try
   * left there is cleared away, and records of anybody else are refused with `conflict`. Rejects with `unavailable` when
   * this build does not know its kind.
   */
  readonly openEngine?: (successor: Successor, how: { readonly fresh: boolean }) => Promise<LogEngine>;
  /** Removes what a closed engine has left, since nothing of it is needed any more. */
  readonly removeEngine?: (successor: Successor) => Promise<void>;
  /** Where the places are noted. Default: nowhere. */
  readonly places?: ChainPlaces;
  /** Waits before a successor that could not be opened is tried again. Default: it is tried when somebody asks. */
  readonly pause?: () => Promise<void>;
  /** Told of what went wrong in the background. */
  readonly onTrouble?: (what: string, error: unknown) => void;
  /** For the length of a move's pause. */
  readonly monotonicMs?: () => number;
  /** Who is primary, whatever the last engine says. */
  readonly primary?: Pick<LogEngine, "isPrimary" | "onPrimary">;
}

/** Of an engine that nobody needs to find again. */
export const nowhere: ChainPlace = { engine: { kind: "", parameters: new Uint8Array(0) }, base: 0 };

export function unknownSuccessor(successor: Successor): Promise<LogEngine> {
  return Promise.reject(
    new HoldfastError(
      "unavailable",
      `the log goes on in an engine of kind "${successor.kind}", which this version does not know; use a newer one`,
    ),
  );
}
