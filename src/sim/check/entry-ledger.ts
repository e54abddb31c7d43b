/**
 * Every entry that some member of a cluster was seen to have, and those that were seen to be committed: for ever, and
 * the same for all. The part of `RaftChecker` that compares logs.
 *
 * Two logs that have an entry of the same index and term must be the same up to there. Each entry is compared with the
 * one that others have at that index and term, and so is the term of the one before it: from this the rest follows by
 * induction.
 */
import type { Entry, RaftStatus } from "../../raft/index.ts";
import { Violation } from "./violation.ts";

interface Seen {
  readonly member: number;
  /** Everything about the entry, as text. */
  readonly content: string;
  previousTerm: number | undefined;
}

interface Committed {
  readonly term: number;
  readonly member: number;
  /** One past its records. */
  readonly nextPosition: number;
  /** The lowest term in which a member knew of it. */
  knownInTerm: number;
}

/** Indexes that are remembered, so that a long run does not fill the memory. */
const indexCountMax = 100_000;

export class EntryLedger {
  readonly #seen = new Map<number, Map<number, Seen>>();
  readonly #committed = new Map<number, Committed>();
  /** By term: the last index that was known to be committed by somebody in that term. */
  readonly #lastCommitted = new Map<number, number>();

  /** The term of a committed entry, if it was seen. */
  termAt(index: number): number | undefined {
    return this.#committed.get(index)?.term;
  }

  checkBase(status: RaftStatus): void {
    const { base } = status;
    const known = this.#committed.get(base.index);
    if (known === undefined) return;
    if (known.term === base.term && known.nextPosition === base.position) return;
    const own = `term ${base.term} and position ${base.position}`;
    fail(status, `begins behind ${base.index} of ${own}; committed were ${known.term} and ${known.nextPosition} (4)`);
  }

  add(status: RaftStatus, entries: readonly Entry[]): void {
    const { base, commit, term, role } = status;
    let previousTerm = entries[0]?.index === base.index + 1 ? base.term : undefined;
    for (const entry of entries) {
      this.#match(status, entry, previousTerm);
      previousTerm = entry.term;
      if (entry.index <= commit) this.#commit(status, entry);
      else if (role === "leader") this.#checkComplete(status, entry);
    }
    const last = this.#lastCommitted.get(term) ?? 0;
    if (commit > last) this.#lastCommitted.set(term, commit);
    if (role === "leader") this.#checkLength(status);
    this.#forget();
  }

  /** Log matching. */
  #match(status: RaftStatus, entry: Entry, previousTerm: number | undefined): void {
    const { index, term } = entry;
    let terms = this.#seen.get(index);
    if (terms === undefined) this.#seen.set(index, (terms = new Map<number, Seen>()));
    const known = terms.get(term);
    const content = contentOf(entry);
    if (known === undefined) {
      terms.set(term, { member: status.self, content, previousTerm });
      return;
    }
    const name = `entry ${index} of term ${term}`;
    if (known.content !== content) {
      fail(status, `has another ${name} than member ${known.member}: ${content}, and there ${known.content} (2)`);
    }
    if (previousTerm === undefined) return;
    known.previousTerm ??= previousTerm;
    if (known.previousTerm !== previousTerm) {
      const there = `member ${known.member} has it behind one of term ${known.previousTerm}`;
      fail(status, `has ${name} behind one of term ${previousTerm}; ${there} (2)`);
    }
  }

  /** State machine safety. */
  #commit(status: RaftStatus, { index, term, position, records }: Entry): void {
    const known = this.#committed.get(index);
    if (known === undefined) {
      const nextPosition = position + records.length;
      this.#committed.set(index, { term, member: status.self, nextPosition, knownInTerm: status.term });
      return;
    }
    if (known.term !== term) {
      const there = `member ${known.member} committed one of term ${known.term}`;
      fail(status, `committed entry ${index} of term ${term}; ${there} (4)`);
    }
    known.knownInTerm = Math.min(known.knownInTerm, status.term);
  }

  /** Leader completeness. */
  #checkComplete(status: RaftStatus, { index, term }: Entry): void {
    const known = this.#committed.get(index);
    if (known === undefined || known.knownInTerm > status.term || known.term === term) return;
    const there = `member ${known.member} had committed one of term ${known.term} by term ${known.knownInTerm}`;
    fail(status, `leads with entry ${index} of term ${term}; ${there} (3)`);
  }

  #checkLength(status: RaftStatus): void {
    for (const [term, index] of this.#lastCommitted) {
      if (term > status.term || index <= status.lastIndex) continue;
      fail(status, `leads with a log that ends at ${status.lastIndex}; ${index} was committed by term ${term} (3)`);
    }
  }

  #forget(): void {
    for (const map of [this.#seen, this.#committed]) {
      for (const index of map.keys()) {
        if (map.size <= indexCountMax) break;
        map.delete(index);
      }
    }
  }
}

function contentOf({ position, records, configuration }: Entry): string {
  // FNV-1a over all bytes: against accident, not malice.
  let hash = 0x811c9dc5 | 0;
  for (const record of records) {
    hash = Math.imul(hash ^ record.length, 0x01000193);
    for (const byte of record) hash = Math.imul(hash ^ byte, 0x01000193);
  }
  const bytes = `${records.length} records (${(hash >>> 0).toString(16)}) at position ${position}`;
  return configuration === undefined ? bytes : `${bytes}, configuration ${JSON.stringify(configuration)}`;
}

function fail({ self, role, term }: RaftStatus, what: string): never {
  throw new Violation("raft", `member ${self} (${role} in term ${term}) ${what}`);
}
