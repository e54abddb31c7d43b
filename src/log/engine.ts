/**
 * The contract of the shared log: one totally ordered sequence of records at dense positions from 0.
 *
 * Invariants, tested by `conformance.suite.ts` on every engine:
 *  1. Positions are dense. The records of one append are neighbours, up to `limits.appendSizeMax` bytes of them.
 *  2. An append resolves only when its records are durable (as the engine's capabilities define it) and every record
 *     before them is too; appends are acknowledged in the order of their positions.
 *  3. A reader sees only records that are acknowledged or will be, in order, without gaps and without repeats.
 *  4. After `sealed` has been answered once, no append to this engine ever succeeds again.
 */
import type { Position } from "../base/index.ts";
import type { Successor } from "./successor.ts";

/** Neighbouring records, handed over together; never empty. */
export interface LogBatch {
  /** The position of the first record. */
  readonly position: Position;
  /** The records, whose positions count up from there. Shared: nobody may change them. */
  readonly records: readonly Uint8Array[];
}

export type AppendOutcome =
  /** `position` is the first record's. */
  | { readonly ok: true; readonly position: Position }
  /** A successor has taken over: append there. Nothing was appended here. */
  | { readonly ok: false; readonly reason: "sealed" };

export interface LogCapabilities {
  /** What an acknowledged record survives. */
  readonly durability: "none" | "disk" | "quorum";
  /** Whether `trim` gives space back. */
  readonly trim: boolean;
  /** Others append to it too, without this member's doing: what is behind its own records may be anybody's. Default: no. */
  readonly shared?: boolean;
  /** It is not this member's own, and other members trim it: they have the state that this one then lacks. Default: no. */
  readonly elsewhere?: boolean;
}

export interface LogEngine {
  readonly capabilities: LogCapabilities;
  /** Of an engine that is a part of another log: which, and the position there of its position 0. */
  readonly section?: { readonly log: LogEngine; readonly from: number };
  /**
   * Called by a chain when the engine before this one has ended and this one takes its place; may be called again after it
   * failed. Answers how the engine is to be noted, where that is not what the successor record says.
   */
  begin?(): Promise<Successor>;
  /**
   * Appends the records as neighbours (at least one; each at most `limits.recordSizeMax` bytes; the engine owns them
   * from now on). Pipelined: callers need not wait for one append before the next. Rejects with `exhausted` before
   * taking anything when too much is waiting; with `unavailable` when the engine has stopped or failed, and then with
   * `maybe: true` if the records may be in the log.
   */
  append(records: readonly Uint8Array[]): Promise<AppendOutcome>;
  /**
   * Linearizable: one past the last record acknowledged before this call, or later. `unavailable` when an engine that has
   * to ask other members cannot reach a majority of them.
   */
  tail(): Promise<Position>;
  /**
   * One past the last record that is known here, without asking anybody, to be in the log for good; never goes back while
   * the engine is open. On one member this is the tail.
   */
  committed(): Position;
  /**
   * Whether this member does the chores that one of the log's members has to do, such as ending leases. One is the
   * primary at most times, none or two for moments: nothing may rely on it for safety. On one member always true.
   */
  readonly isPrimary: boolean;
  /** Calls `listener` after each change of `isPrimary`, until the function that it gives is called. */
  onPrimary(listener: (isPrimary: boolean) => void): () => void;
  /** The first position that can still be read: 0, or where the last trim cut. */
  start(): Position;
  /**
   * Reads from `from`, then follows the log live until `signal` aborts or the engine closes, and then ends without error.
   * A position that the log has not reached yet is waited for. `trimmed` when what is wanted next is below the start,
   * which moves by `trim`, and by itself on a member that was left behind and gets a newer state from the others. Slow
   * readers do not hold up appends nor memory: what they have not taken is read again from storage.
   */
  read(from: Position, options?: { readonly signal?: AbortSignal }): AsyncIterable<LogBatch>;
  /** Forgets records below `before`, as far as whole segments allow; answers the new start. */
  trim(before: Position): Promise<Position>;
  /** Finishes the appends under way, ends the readers, releases everything. Idempotent. */
  close(): Promise<void>;
}
