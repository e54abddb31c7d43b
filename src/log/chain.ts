/**
 * Many engines joined into one address space, so that a store's log can move from one engine to another while it is
 * written (Balakrishnan et al., "Virtual Consensus in Delos", OSDI 2020).
 *
 * A log's last record names its successor. Sealing is itself a record, so any totally ordered engine can be sealed: the
 * first successor record ends its log, and records behind it are void. Successor records take no position of the chain:
 * the successor's first record has the position where the successor record would stand.
 *
 * Invariants:
 *  1. Readers see each engine's records up to its first successor record, then the successor's from its beginning.
 *  2. An append that was answered is in front of its engine's successor record; one that fell behind it is repeated in
 *     the successor, before it is answered.
 *
 * Format: docs/format.md, "The chain's records": a record that begins with the byte 0 belongs to the chain. No command
 * begins so, since no Protocol Buffers field has the number 0.
 */
import { assert, bytes, concatBytes, HoldfastError, message, position, string } from "../base/index.ts";
import type { Infer, Position } from "../base/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";

/** Where a log goes on. */
export const Successor = message("holdfast.log.Successor", {
  /** The kind of engine: `file`, `raft`, … */
  kind: string(1),
  /** What that kind needs to open it. */
  parameters: bytes(2),
});
export type Successor = Infer<typeof Successor>;

const chainByte = new Uint8Array([0]);

export function successorRecord(successor: Successor): Uint8Array {
  return concatBytes([chainByte, Successor.encode(successor)]);
}

/** The successor that a record names; undefined for a record that is not the chain's. */
export function decodeSuccessor(record: Uint8Array): Successor | undefined {
  return record[0] === 0 ? Successor.decode(record.subarray(1)) : undefined;
}

export interface ChainOptions {
  /** Opens the engine that a successor record names. Rejects with `unavailable` when this build does not know its kind. */
  readonly openSuccessor?: (successor: Successor) => Promise<LogEngine>;
}

interface Link {
  readonly engine: LogEngine;
  /** The chain's position of the engine's position 0. */
  readonly base: number;
  /** The engine's position of its successor record, once it is known. */
  end: number | undefined;
}

export class Chain implements LogEngine {
  readonly #openSuccessor: (successor: Successor) => Promise<LogEngine>;
  readonly #links: Link[];
  /** Opening the successor of the last link. */
  #moving: Promise<void> | undefined;
  /** The highest that `committed` has answered. */
  #committed = 0;
  /** A set of their own objects, since one function may listen twice. */
  readonly #primaryListeners = new Set<{ readonly call: (isPrimary: boolean) => void }>();
  #wasPrimary: boolean;
  /** Ends listening to the last engine. */
  #unlisten: () => void;

  constructor(first: LogEngine, options: ChainOptions = {}) {
    this.#links = [{ engine: first, base: 0, end: undefined }];
    this.#openSuccessor = options.openSuccessor ?? unknownSuccessor;
    this.#wasPrimary = first.isPrimary;
    this.#unlisten = first.onPrimary((isPrimary) => this.#tellPrimary(isPrimary));
  }

  get capabilities(): LogCapabilities {
    return this.#last.engine.capabilities;
  }

  get #last(): Link {
    return this.#links[this.#links.length - 1] as Link;
  }

  async append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    for (const record of records) assert(record[0] !== 0, "a record that begins with 0 belongs to the chain");
    for (;;) {
      await this.#moving;
      const link = this.#last;
      const outcome = await link.engine.append(records);
      if (outcome.ok && (link.end === undefined || outcome.position < link.end)) {
        return { ok: true, position: position(link.base + outcome.position) };
      }
      // It is sealed: the successor is known to the one who sealed it, else the reader finds it.
      if (link.end === undefined) await this.#findEnd(link);
    }
  }

  /** Ends the last engine and goes on in `successor`. Resolves when appends go there. */
  async moveTo(successor: Successor): Promise<void> {
    const link = this.#last;
    const outcome = await link.engine.append([successorRecord(successor)]);
    if (!outcome.ok || link.end !== undefined) {
      throw new HoldfastError("conflict", "the log has moved already; read where it is and try again");
    }
    await this.#move(link, outcome.position, successor);
  }

  #move(link: Link, end: number, successor: Successor): Promise<void> {
    if (link.end === undefined) {
      link.end = end;
      const opening = this.#openSuccessor(successor).then((engine) => {
        this.#links.push({ engine, base: link.base + end, end: undefined });
        this.#unlisten();
        this.#unlisten = engine.onPrimary((isPrimary) => this.#tellPrimary(isPrimary));
        this.#tellPrimary(engine.isPrimary);
      });
      this.#moving = opening;
    }
    return this.#moving ?? Promise.resolve();
  }

  /** Reads an engine that answers `sealed` up to its successor record. */
  async #findEnd(link: Link): Promise<void> {
    for await (const batch of link.engine.read(link.engine.start())) {
      if (this.#successorIn(link, batch) !== undefined) break;
    }
    await this.#moving;
  }

  /** The index in the batch of the engine's first successor record. Begins the move when it is news. */
  #successorIn(link: Link, batch: LogBatch): number | undefined {
    for (let index = 0; index < batch.records.length; index++) {
      const successor = decodeSuccessor(batch.records[index] as Uint8Array);
      if (successor === undefined) continue;
      // Whoever waits for `#moving` gets the error.
      this.#move(link, batch.position + index, successor).catch(() => {});
      return index;
    }
    return undefined;
  }

  async tail(): Promise<Position> {
    for (;;) {
      await this.#moving;
      const link = this.#last;
      const tail = await link.engine.tail();
      if (link.end === undefined) return position(link.base + tail);
    }
  }

  /** As long as the end of the last link is not known here, void records behind it count too. */
  committed(): Position {
    const { engine, base, end } = this.#last;
    this.#committed = Math.max(this.#committed, base + (end ?? engine.committed()));
    return position(this.#committed);
  }

  /** The last engine's say. */
  get isPrimary(): boolean {
    return this.#last.engine.isPrimary;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    const entry = { call: listener };
    this.#primaryListeners.add(entry);
    return () => void this.#primaryListeners.delete(entry);
  }

  #tellPrimary(isPrimary: boolean): void {
    if (isPrimary === this.#wasPrimary) return;
    this.#wasPrimary = isPrimary;
    for (const { call } of this.#primaryListeners) call(isPrimary);
  }

  start(): Position {
    const [first] = this.#links as [Link];
    return position(first.base + first.engine.start());
  }

  async *read(
    from: Position,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LogBatch, void, undefined> {
    let next: number = from;
    for (let link = this.#linkAt(next); ; link = this.#after(link)) {
      const { base, engine } = link;
      let ended = false;
      for await (const batch of follow(engine, position(next - base), options)) {
        const index = this.#successorIn(link, batch);
        const skipped = Math.max(0, next - base - batch.position);
        const records = index === undefined && skipped === 0 ? batch.records : batch.records.slice(skipped, index);
        const begin = base + batch.position + skipped;
        if (records.length > 0) yield { position: position(begin), records };
        next = Math.max(next, begin + records.length);
        ended = index !== undefined;
        if (ended) break;
      }
      if (!ended) return;
      await this.#moving;
    }
  }

  #linkAt(from: number): Link {
    return this.#links.findLast((link) => link.base <= from) as Link;
  }

  #after(link: Link): Link {
    return this.#links[this.#links.indexOf(link) + 1] as Link;
  }

  async trim(before: Position): Promise<Position> {
    while (this.#links.length > 1 && (this.#links[1] as Link).base <= before) {
      const [oldest] = this.#links.splice(0, 1) as [Link];
      await oldest.engine.close();
    }
    const [first] = this.#links as [Link];
    return position(first.base + (await first.engine.trim(position(Math.max(0, before - first.base)))));
  }

  async close(): Promise<void> {
    await this.#moving?.catch(() => {});
    this.#unlisten();
    for (const link of this.#links) await link.engine.close();
  }
}

/**
 * Reads an engine up to `wanted` and from there on. What it has not reached yet may come in its successor instead, so
 * that the reading begins no later than at its end: the record that names the successor must not be passed over.
 */
async function* follow(
  engine: LogEngine,
  wanted: Position,
  options: { readonly signal?: AbortSignal },
): AsyncGenerator<LogBatch, void, undefined> {
  for (;;) {
    try {
      yield* engine.read(position(Math.min(wanted, engine.committed())), options);
      return;
    } catch (error) {
      // What lay before `wanted` has been trimmed while it was waited for.
      const passed = error instanceof HoldfastError && error.code === "trimmed" && engine.start() <= wanted;
      if (!passed) throw error;
    }
  }
}

function unknownSuccessor(successor: Successor): Promise<LogEngine> {
  return Promise.reject(
    new HoldfastError(
      "unavailable",
      `the log goes on in an engine of kind "${successor.kind}", which this version does not know; use a newer one`,
    ),
  );
}
