/**
 * The entries of one member's log: all of their terms and configurations, and in memory the newest of the entries
 * themselves; the older ones are only in storage.
 *
 * Invariants:
 *  1. base.index ≤ released ≤ lastIndex; entries above `released` are in memory.
 *  2. Terms never fall from one index to the next.
 */
import { assert } from "../base/index.ts";
import type { Configuration } from "./configuration.ts";
import type { Base, Entry } from "./protocol.ts";

/** The entries from `index` up to the next run have this term. */
interface Run {
  readonly index: number;
  readonly term: number;
}

interface Place {
  readonly index: number;
  readonly configuration: Configuration;
}

export class EntryLog {
  #base: Base;
  #runs: Run[] = [];
  #configurations: Place[] = [];
  /** Entries from `#released + 1` up. */
  #entries: Entry[] = [];
  #released: number;
  /** One past the last record up to `#released`. */
  #releasedPosition: number;

  constructor(base: Base) {
    this.#base = base;
    this.#released = base.index;
    this.#releasedPosition = base.position;
  }

  get base(): Base {
    return this.#base;
  }

  get lastIndex(): number {
    return this.#released + this.#entries.length;
  }

  get lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.#base.term;
  }

  /** One past the last record. */
  get lastPosition(): number {
    const last = this.#entries.at(-1);
    return last === undefined ? this.#releasedPosition : last.position + last.records.length;
  }

  /** Of the last entry that has one; it counts whether it is committed or not. */
  get configuration(): Configuration {
    return this.#configurations.at(-1)?.configuration ?? this.#base.configuration;
  }

  get configurationIndex(): number {
    return this.#configurations.at(-1)?.index ?? this.#base.index;
  }

  /** Undefined for an index that is before the base or behind the end. */
  termAt(index: number): number | undefined {
    if (index < this.#base.index || index > this.lastIndex) return undefined;
    if (index === this.#base.index) return this.#base.term;
    for (let at = this.#runs.length - 1; at >= 0; at--) {
      const run = this.#runs[at] as Run;
      if (run.index <= index) return run.term;
    }
    return undefined;
  }

  /** One past the last record of the entry; it is in memory, or the last that is not. */
  positionAfter(index: number): number {
    if (index === this.#released) return this.#releasedPosition;
    const entry = this.#entries[index - this.#released - 1];
    assert(entry !== undefined, `entry ${index} is in memory`);
    return entry.position + entry.records.length;
  }

  /** The entry, if it is in memory. */
  at(index: number): Entry | undefined {
    return this.#entries[index - this.#released - 1];
  }

  /** Entries from `index` up, at least one if there is one, then as many as have `sizeMax` bytes; undefined if not in memory. */
  slice(index: number, sizeMax: number): readonly Entry[] | undefined {
    if (index <= this.#released) return undefined;
    const begin = index - this.#released - 1;
    let end = begin;
    let size = 0;
    while (end < this.#entries.length) {
      // Each costs something beside its records.
      size += (this.#entries[end] as Entry).size + 64;
      if (end > begin && size > sizeMax) break;
      end++;
    }
    return this.#entries.slice(begin, end);
  }

  /** Entries that follow on the last one. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.lastIndex + 1, `entry ${entry.index} follows entry ${this.lastIndex}`);
      assert(entry.position === this.lastPosition, `position ${entry.position} follows ${this.lastPosition}`);
      assert(entry.term >= this.lastTerm, `term ${entry.term} follows term ${this.lastTerm}`);
      if (entry.term > this.lastTerm || this.#runs.length === 0)
        this.#runs.push({ index: entry.index, term: entry.term });
      if (entry.configuration !== undefined) {
        this.#configurations.push({ index: entry.index, configuration: entry.configuration });
      }
      this.#entries.push(entry);
    }
  }

  /** Drops the entries from `index` on, which are in memory. */
  truncate(index: number): void {
    assert(index > this.#released, `entry ${index} can be dropped`);
    this.#entries.length = index - this.#released - 1;
    while (this.#runs.length > 0 && (this.#runs.at(-1) as Run).index >= index) this.#runs.pop();
    while (this.#configurations.length > 0 && (this.#configurations.at(-1) as Place).index >= index) {
      this.#configurations.pop();
    }
  }

  /** Drops entries up to `index` from memory. */
  release(index: number): void {
    if (index <= this.#released) return;
    this.#releasedPosition = this.positionAfter(index);
    this.#entries.splice(0, index - this.#released);
    this.#released = index;
  }

  /** The log begins behind `index` from now on; `position` is one past the last record up to there. */
  trim(index: number, position: number): void {
    if (index <= this.#base.index) return;
    const term = this.termAt(index);
    assert(term !== undefined, `entry ${index} is in the log`);
    this.release(index);
    const configuration = this.configurationAt(index);
    this.#base = { index, term, position, configuration };
    const kept = this.#runs.findLastIndex((run) => run.index <= index + 1);
    this.#runs = this.#runs.slice(Math.max(0, kept));
    if (index === this.lastIndex) this.#runs = [];
    this.#configurations = this.#configurations.filter((place) => place.index > index);
  }

  /** As of an entry. */
  configurationAt(index: number): Configuration {
    return this.#configurations.findLast((place) => place.index <= index)?.configuration ?? this.#base.configuration;
  }

  /** Nothing but `base` is left. */
  reset(base: Base): void {
    this.#base = base;
    this.#runs = [];
    this.#configurations = [];
    this.#entries = [];
    this.#released = base.index;
    this.#releasedPosition = base.position;
  }

  /**
   * The last entry at or before `index` whose term is not above `term`, and its term: where two logs may still agree. With
   * nothing such, an index before the base.
   */
  lastWithTermUpTo(index: number, term: number): { readonly index: number; readonly term: number } {
    let at = Math.min(index, this.lastIndex);
    for (let run = this.#runs.length - 1; run >= 0; run--) {
      const { index: first, term: runTerm } = this.#runs[run] as Run;
      if (first > at) continue;
      if (runTerm <= term) return { index: at, term: runTerm };
      at = first - 1;
    }
    const { index: baseIndex, term: baseTerm } = this.#base;
    if (baseIndex <= index && baseTerm <= term) return { index: baseIndex, term: baseTerm };
    return { index: Math.min(index, baseIndex - 1), term: 0 };
  }
}
