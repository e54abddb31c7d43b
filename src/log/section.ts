/**
 * A part of a log that lasts, as an engine of its own: so that a chain which has left the log of a cluster's members can
 * come back to it. The members go on with their log meanwhile, since it also says who they are and who leads.
 *
 * Where a section begins is said by a record in that log, the beginning. It is appended only when the engine before the
 * section has ended; the first with the section's id counts, and the section's position 0 is the one behind it. Whoever comes
 * to the section and finds none appends one: of two members that do so at the same time the later one's lies in the section,
 * where it is a record that nobody understands and all pass over.
 *
 *  1. An engine that has not ended when a record is in the log already cannot be followed by a section that holds it.
 *
 * Format: docs/format.md, "The chain's records".
 */
import { assert, bytes, equalBytes, HoldfastError, message, position, uint64 } from "../base/index.ts";
import type { Position } from "../base/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";
import { beginningOf, beginningRecord } from "./successor.ts";
import type { Successor } from "./successor.ts";

const SectionPlace = message("holdfast.log.SectionPlace", {
  /** Chosen by whoever moved the log here; empty for the section that begins with the log. */
  id: bytes(1),
  /** The log's position of the section's position 0; 0 where that is not known yet, and in the first. */
  from: uint64(2),
});

export class LogSection implements LogEngine {
  readonly #kind: string;
  readonly #log: LogEngine;
  readonly #id: Uint8Array;
  readonly #closing = new AbortController();
  /** From where the beginning is looked for. */
  readonly #after: () => number;
  #from: number | undefined;

  private constructor(kind: string, log: LogEngine, place: { id: Uint8Array; from: number }, after: () => number) {
    this.#kind = kind;
    this.#log = log;
    this.#id = place.id;
    this.#from = place.from > 0 || place.id.length === 0 ? place.from : undefined;
    this.#after = after;
  }

  /** The place of a section with this id, which does not begin yet; an empty id for the one that begins with the log. */
  static place(kind: string, id: Uint8Array): Successor {
    return { kind, parameters: SectionPlace.encode({ id, from: 0 }) };
  }

  /**
   * The section of a log that a place names. The log stays the caller's to close. `after`: a position of the log behind
   * which a section that is not known yet begins, for speed.
   */
  static open({ kind, parameters }: Successor, log: LogEngine, after: () => number = () => 0): LogSection {
    return new LogSection(kind, log, SectionPlace.decode(parameters), after);
  }

  get section(): { readonly log: LogEngine; readonly from: number } {
    return { log: this.#log, from: this.#begun };
  }

  get #begun(): number {
    assert(this.#from !== undefined, "a section is used when it has begun");
    return this.#from;
  }

  /** Finds where the section begins, or begins it. */
  async begin(): Promise<Successor> {
    let from: number = Math.max(this.#after(), this.#log.start());
    while (this.#from === undefined) {
      const tail = await this.#log.tail();
      await this.#look(from, tail);
      if (this.#from !== undefined) break;
      from = tail;
      await this.#log.append([beginningRecord(this.#id)]);
    }
    return { kind: this.#kind, parameters: SectionPlace.encode({ id: this.#id, from: this.#begun }) };
  }

  async #look(from: number, tail: number): Promise<void> {
    if (from >= tail) return;
    const { signal } = this.#closing;
    for await (const batch of untilTrimmed(this.#log.read(position(from), { signal }))) {
      for (const [index, record] of batch.records.entries()) {
        const id = beginningOf(record);
        if (id === undefined || !equalBytes(id, this.#id)) continue;
        this.#from = batch.position + index + 1;
        return;
      }
      if (batch.position + batch.records.length >= tail) return;
    }
    throw new HoldfastError("unavailable", "the log is closed, or this member was left behind; it is tried again");
  }

  get capabilities(): LogCapabilities {
    return this.#log.capabilities;
  }

  async append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    if (this.#closing.signal.aborted) throw new HoldfastError("unavailable", "the log is closed");
    const outcome = await this.#log.append(records);
    return outcome.ok ? { ok: true, position: position(outcome.position - this.#begun) } : outcome;
  }

  async tail(): Promise<Position> {
    return position(Math.max(0, (await this.#log.tail()) - this.#begun));
  }

  committed(): Position {
    return position(Math.max(0, this.#log.committed() - this.#begun));
  }

  get isPrimary(): boolean {
    return this.#log.isPrimary;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    return this.#log.onPrimary(listener);
  }

  start(): Position {
    return position(Math.max(0, this.#log.start() - this.#begun));
  }

  async *read(
    from: Position,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LogBatch, void, undefined> {
    const begun = this.#begun;
    const closing = this.#closing.signal;
    const ends = signal === undefined ? closing : AbortSignal.any([signal, closing]);
    for await (const batch of this.#log.read(position(from + begun), { signal: ends })) {
      yield { position: position(batch.position - begun), records: batch.records };
    }
  }

  async trim(before: Position): Promise<Position> {
    const start = await this.#log.trim(position(before + this.#begun));
    return position(Math.max(0, start - this.#begun));
  }

  /** Ends the readers of the section. */
  async close(): Promise<void> {
    this.#closing.abort(new HoldfastError("unavailable", "the log is closed"));
  }
}

/** Ends where the log has left this member behind. */
async function* untilTrimmed(batches: AsyncIterable<LogBatch>): AsyncGenerator<LogBatch, void, undefined> {
  try {
    yield* batches;
  } catch (error) {
    if (!(error instanceof HoldfastError && error.code === "trimmed")) throw error;
  }
}
