/** One member of a cluster of machines: its disk, its machine while it runs, and what it has under way. */
import assert from "node:assert/strict";
import type { Base, Entry, HardState, MemberId, Raft, RaftMessage, RaftStatus, RaftWrite, Ready } from "./index.ts";

/** What a member's disk holds. */
export class Storage {
  state: HardState = { term: 0, vote: 0, commit: 0 };
  base: Base;
  entries: Entry[] = [];

  constructor(base: Base) {
    this.base = base;
  }

  get lastIndex(): number {
    return this.base.index + this.entries.length;
  }

  /** Undefined for an index that is not there, or no longer. */
  entry(index: number): Entry | undefined {
    return index > this.base.index ? this.entries[index - this.base.index - 1] : undefined;
  }

  /** Also of the base. */
  termOf(index: number): number | undefined {
    return index === this.base.index ? this.base.term : this.entry(index)?.term;
  }

  apply({ reset, entries, state }: RaftWrite): void {
    if (reset !== undefined) {
      this.base = reset;
      this.entries = [];
    }
    const [first] = entries;
    if (first !== undefined) {
      assert.ok(first.index > this.base.index, `a write of entry ${first.index} into the trimmed ${this.base.index}`);
      assert.ok(
        first.index <= this.lastIndex + 1,
        `a write of entry ${first.index} leaves a gap behind ${this.lastIndex}`,
      );
      this.entries.length = first.index - this.base.index - 1;
      this.entries.push(...entries);
    }
    if (state !== undefined) this.state = state;
  }

  trim(base: Base): void {
    if (base.index <= this.base.index) return;
    assert.equal(
      this.termOf(base.index),
      base.term,
      `a log trimmed to ${base.index}/${base.term}, which it does not have`,
    );
    this.entries.splice(0, base.index - this.base.index);
    this.base = base;
  }

  copy(): Storage {
    const copy = new Storage(this.base);
    copy.state = this.state;
    copy.entries = [...this.entries];
    return copy;
  }
}

/** Something whose turn comes when all earlier writes are durable. */
export interface Outstanding {
  readonly write: RaftWrite | undefined;
  readonly promises: readonly RaftMessage[];
}

export class Site {
  readonly id: MemberId;
  /** Undefined while it is down. */
  raft: Raft | undefined;
  durable: Storage;
  /** With everything written, durable or not: the log as the machine sees it. */
  latest: Storage;
  outstanding: Outstanding[] = [];
  /** The application's state is that behind this entry. */
  delivered = 0;
  /** What this incarnation of the machine has delivered. */
  told = 0;
  /** The application's durable state is that behind this entry; a restart begins there. */
  checkpoint = 0;
  fetches: Ready["fetches"][number][] = [];
  catchUp: Base | undefined;
  /** Its writes, fetches or catch-ups wait for the caller even in `settle`. */
  readonly held = new Set<"writes" | "fetches" | "catchUp">();
  random: () => number;

  constructor(id: MemberId, base: Base, random: () => number) {
    this.id = id;
    this.durable = new Storage(base);
    this.latest = this.durable.copy();
    this.checkpoint = base.index;
    this.delivered = base.index;
    this.random = random;
  }

  get machine(): Raft {
    if (this.raft === undefined) throw new Error(`member ${this.id} is down`);
    return this.raft;
  }

  get status(): RaftStatus {
    return this.machine.status();
  }
}
