/** What the linearizability checker throws when no order explains a history, and when it cannot tell. */
import type { Operation } from "./operation.ts";
import { timeline } from "./timeline.ts";
import { Violation } from "./violation.ts";

export interface Misfit {
  /** Operations that cannot all be what they were told to be. */
  readonly misfits: readonly Operation[];
  /** The longest part of the history that an order explains, in that order; empty where none was needed to tell. */
  readonly prefix?: readonly Operation[];
  /** Other operations that were under way. */
  readonly pending?: readonly Operation[];
}

export class NotLinearizable extends Violation {
  readonly misfits: readonly Operation[];
  readonly prefix: readonly Operation[];

  constructor(what: string, { misfits, prefix = [], pending = [] }: Misfit) {
    super("linearizability", `${what}\n${timeline({ misfits, prefix, pending })}`);
    this.misfits = misfits;
    this.prefix = prefix;
  }
}

/** The search was too large to finish: neither right nor wrong. The history must be made smaller. */
export class GaveUp extends Error {
  override readonly name = "GaveUp";
}
