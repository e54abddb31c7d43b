/**
 * What of a replicated log is committed and durable here, for its readers: the newest in memory, the rest from the disk.
 *
 * 1. Positions below `committed` never change, and `committed` never goes back.
 */
import { position, Signal } from "../../base/index.ts";
import type { HoldfastError, Position } from "../../base/index.ts";
import type { Base, Entry } from "../../raft/index.ts";
import type { LogBatch } from "../engine.ts";
import { follow } from "../follow.ts";
import { RecentBatches } from "../recent.ts";
import type { Wal } from "./wal.ts";

/** Bytes of delivered records that are kept in memory, for readers and for members that are a little behind. */
const recentSizeMax = 16_777_216;

export class Deliveries {
  readonly #wal: Wal;
  readonly #recent = new RecentBatches(recentSizeMax);
  readonly #grown = new Signal();
  #base: Base;
  #index: number;
  #committed: number;
  /** Delivered entries in memory, with what they cost. */
  #kept: { readonly index: number; readonly size: number }[] = [];
  #keptSize = 0;
  #failure: HoldfastError | undefined;
  #ended = false;

  constructor(wal: Wal, base: Base) {
    this.#wal = wal;
    this.#base = base;
    this.#index = base.index;
    this.#committed = base.position;
  }

  get base(): Base {
    return this.#base;
  }

  /** Of the last entry that was delivered. */
  get index(): number {
    return this.#index;
  }

  /** One past its last record. */
  get committed(): Position {
    return position(this.#committed);
  }

  /** Entries up to `index` are committed and durable. */
  deliver(index: number, entryAt: (index: number) => Entry | undefined): void {
    for (let next = this.#index + 1; next <= index; next++) {
      const entry = entryAt(next);
      // What was released before it was delivered is read from the disk: at the start.
      if (entry !== undefined) this.#keep(entry);
    }
    this.#index = index;
    this.#committed = this.#wal.places.endOf(index);
    this.#grown.notify();
  }

  #keep({ index, position: first, records, size }: Entry): void {
    if (records.length > 0) this.#recent.push({ position: position(first), records });
    // An entry costs objects, too.
    const cost = size + 64 * records.length + 256;
    this.#kept.push({ index, size: cost });
    this.#keptSize += cost;
  }

  /** The entry up to which nothing need be in memory any longer; undefined when that is no news. */
  release(): number | undefined {
    let count = 0;
    let index: number | undefined;
    if (this.#keptSize <= recentSizeMax) return undefined;
    // A quarter at once, since what is left is moved.
    while (this.#keptSize > 0.75 * recentSizeMax && count < this.#kept.length) {
      const oldest = this.#kept[count++] as { readonly index: number; readonly size: number };
      this.#keptSize -= oldest.size;
      ({ index } = oldest);
    }
    this.#kept = this.#kept.slice(count);
    return index;
  }

  /** The log begins behind `base` from now on. */
  trim(base: Base): void {
    this.#base = base;
    this.#recent.trim(base.position);
  }

  /** The state up to `base` came another way: the log goes on there. */
  jump(base: Base): void {
    this.trim(base);
    this.#index = base.index;
    this.#committed = base.position;
    this.#kept = [];
    this.#keptSize = 0;
    this.#grown.notify();
  }

  /** Ends the readers: with the error, or without one. */
  end(failure?: HoldfastError): void {
    this.#failure ??= failure;
    this.#ended ||= failure === undefined;
    this.#grown.notify();
  }

  read(from: Position, signal: AbortSignal | undefined): AsyncIterable<LogBatch> {
    return follow(
      {
        recent: this.#recent,
        grown: this.#grown,
        start: () => this.#base.position,
        end: () => this.#committed,
        stored: (first) => this.#readStored(first),
        isEnded: () => this.#ended,
        failure: () => this.#failure,
      },
      from,
      signal,
    );
  }

  /** From the disk, up to what was delivered when it began. */
  async *#readStored(from: number): AsyncGenerator<LogBatch, void, undefined> {
    const last = this.#index;
    try {
      for await (const { index, position: first, records } of this.#wal.read(this.#wal.places.indexOf(from))) {
        if (index > last) return;
        const skip = Math.max(0, from - first);
        if (skip < records.length) yield { position: position(first + skip), records: records.slice(skip) };
        if (index === last) return;
      }
    } catch (error) {
      // Trimmed under the reader: it is told so when it looks again.
      if (from < this.#base.position) return;
      throw error;
    }
  }
}
