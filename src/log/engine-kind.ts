/** A kind of engine that a program brings along, by which a store opens logs that are elsewhere: `nats`, … */
import type { LogEngine } from "./engine.ts";

export interface EngineKind {
  /** What its addresses begin with, in front of the first colon; also what successor records say. */
  readonly kind: string;
  /** What a successor record says so that others can open the same log. `invalid` for an address that is none. */
  parametersOf(address: string): Uint8Array;
  /** `fresh`: there must be nothing yet. `alone`: no other member has this log. */
  open(parameters: Uint8Array, how: { readonly fresh: boolean; readonly alone: boolean }): Promise<LogEngine>;
  /** Removes a log that is closed, since nothing of it is needed any more. */
  remove(parameters: Uint8Array): Promise<void>;
}
