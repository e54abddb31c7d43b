/**
 * What the load of the demo asked for and was told, and what came of it: the account.
 *
 * Every operation has a name of its own. A put writes a key that no other put writes; an increment adds 1 to a counter of
 * one client. So each can be found again: a put by its key, whose version counts how often it was written, an increment by
 * the counter's value. A watch sees all of it a second time.
 *
 * - Lost: it was acknowledged, and is not there.
 * - Doubled: it is there twice; or it is there although the client was told that it had failed, and would have repeated it.
 * - Unknown: the client was told that it may have happened. Both is right, once.
 */

/** What a client was told of an operation; `underway` until it was told anything. */
export type Fate = "underway" | "acknowledged" | "unknown" | "refused";

/** A key as it was read back. */
export interface FoundKey {
  readonly key: string;
  readonly text: string;
  readonly version: number;
}

export interface Account {
  readonly operations: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly refused: number;
  readonly lost: number;
  readonly doubled: number;
  /** Events that the watch did not give, gave twice, or gave out of order. */
  readonly watched: number;
  readonly watchMissed: number;
  readonly watchRepeated: number;
  readonly watchDisordered: number;
  readonly reads: number;
  /** Reads that did not see what was acknowledged before they began. */
  readonly readsStale: number;
  /** All that may not be is 0. */
  readonly clean: boolean;
}

interface Counter {
  acknowledged: number;
  /** Told that it may have happened, or never told anything. */
  unsure: number;
}

export class Ledger {
  readonly #puts = new Map<string, Fate>();
  readonly #counters = new Map<string, Counter>();
  readonly #tally = { operations: 0, acknowledged: 0, unknown: 0, refused: 0 };
  readonly #sightings = new Map<string, number>();
  readonly #counts = new Map<string, number>();
  #watched = 0;
  #watchRepeated = 0;
  #watchMissed = 0;
  #watchDisordered = 0;
  #watchRevision = 0;
  #reads = 0;
  #readsStale = 0;

  get acknowledged(): number {
    return this.#tally.acknowledged;
  }

  putBegan(key: string): void {
    this.#tally.operations++;
    this.#puts.set(key, "underway");
  }

  putEnded(key: string, fate: Exclude<Fate, "underway">): void {
    this.#tally[fate]++;
    this.#puts.set(key, fate);
  }

  incrementBegan(key: string): void {
    this.#tally.operations++;
    this.#counter(key).unsure++;
  }

  incrementEnded(key: string, fate: Exclude<Fate, "underway">): void {
    this.#tally[fate]++;
    const counter = this.#counter(key);
    if (fate !== "unknown") counter.unsure--;
    if (fate === "acknowledged") counter.acknowledged++;
  }

  /** Increments of a counter that were acknowledged so far: what a read that begins now must see. */
  acknowledgedOf(key: string): number {
    return this.#counter(key).acknowledged;
  }

  /** A linearizable read gave this value, and `least` was acknowledged when it began. */
  sawCounter(value: number, least: number): void {
    this.#reads++;
    if (value < least) this.#readsStale++;
  }

  /** An event of the watch, in the order in which they came. */
  sawEvent(key: string, text: string, revision: number): void {
    this.#watched++;
    if (revision < this.#watchRevision) this.#watchDisordered++;
    this.#watchRevision = Math.max(this.#watchRevision, revision);
    if (!this.#counters.has(key)) {
      const count = (this.#sightings.get(key) ?? 0) + 1;
      this.#sightings.set(key, count);
      if (count > 1) this.#watchRepeated++;
      return;
    }
    // A counter goes up by 1 and by nothing else.
    const before = this.#counts.get(key) ?? 0;
    const value = Number(text);
    if (value <= before) this.#watchRepeated++;
    else this.#watchMissed += value - before - 1;
    this.#counts.set(key, Math.max(value, before));
  }

  /** Compares everything with what was read back, when nothing is under way any longer and the watch has seen the end. */
  account(found: Iterable<FoundKey>): Account {
    let lost = 0;
    let doubled = 0;
    let watchMissed = this.#watchMissed;
    const missing = new Set(this.#puts.keys());
    const counted = new Map<string, number>();
    for (const { key, text, version } of found) {
      if (this.#counters.has(key)) {
        counted.set(key, Number(text));
        continue;
      }
      missing.delete(key);
      const fate = this.#puts.get(key);
      doubled += version - 1;
      // What nobody asked for, or was told to be refused, would be there once more after the client's own repetition.
      if (fate === undefined || fate === "refused") doubled++;
      // A value that is not the one written is as good as none.
      if (fate === "acknowledged" && text !== valueOf(key)) lost++;
      if (!this.#sightings.has(key)) watchMissed++;
    }
    for (const key of missing) if (this.#puts.get(key) === "acknowledged") lost++;
    for (const [key, { acknowledged, unsure }] of this.#counters) {
      const value = counted.get(key) ?? 0;
      lost += Math.max(acknowledged - value, 0);
      doubled += Math.max(value - acknowledged - unsure, 0);
      watchMissed += Math.max(value - (this.#counts.get(key) ?? 0), 0);
    }
    const wrong = lost + doubled + watchMissed + this.#watchRepeated + this.#watchDisordered + this.#readsStale;
    return {
      ...this.#tally,
      lost,
      doubled,
      watched: this.#watched,
      watchMissed,
      watchRepeated: this.#watchRepeated,
      watchDisordered: this.#watchDisordered,
      reads: this.#reads,
      readsStale: this.#readsStale,
      clean: wrong === 0,
    };
  }

  #counter(key: string): Counter {
    let counter = this.#counters.get(key);
    if (counter === undefined) {
      counter = { acknowledged: 0, unsure: 0 };
      this.#counters.set(key, counter);
    }
    return counter;
  }
}

/** The value that a put writes: it says which one it is, so that none can stand for another. */
export function valueOf(key: string): string {
  return `written to ${key}`;
}
