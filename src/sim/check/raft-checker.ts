/**
 * The invariants of Raft (Ongaro and Ousterhout, 2014, figure 3), over what members say of themselves while they run.
 *
 *  1. Election safety: at most one leader in a term. A member that runs votes for one candidate in a term.
 *  2. Log matching: entries of one index and term are the same everywhere, and so are those before them.
 *  3. Leader completeness: a leader has every entry that was committed in its own or an earlier term.
 *  4. State machine safety: what is committed at an index is the same everywhere and for ever.
 *  5. Nothing goes back while a member runs: its term, its commit, the beginning of its log; and its end and what is
 *     durable while it follows one leader. After a restart it may have forgotten what was not durable.
 *  6. A leader commits by counting only entries of its own term (section 5.4.2).
 *
 * A member is told as often as possible: what happens and is undone between two observations is not seen. Entries are
 * needed for (2), (4), (6) and most of (3); `wantedFrom` says which.
 */
import type { Entry, MemberId, RaftStatus } from "../../raft/index.ts";
import { EntryLedger } from "./entry-ledger.ts";
import { Violation } from "./violation.ts";

interface Known {
  /** The latest. */
  status: RaftStatus | undefined;
  /** Its entries up to here are known to be those of the ledger. */
  checkedIndex: number;
}

export class RaftChecker {
  readonly #members = new Map<MemberId, Known>();
  readonly #leaders = new Map<number, MemberId>();
  readonly #ledger = new EntryLedger();

  /** The member's process has ended, and with it what was not durable. */
  restarted(member: MemberId): void {
    this.#members.delete(member);
  }

  /** The index from which on the checker would like to see the member's entries. */
  wantedFrom({ self, base }: RaftStatus): number {
    return Math.max(base.index, this.#members.get(self)?.checkedIndex ?? 0) + 1;
  }

  /** `entries`: neighbours of its log, best all from `wantedFrom` to the end, and as of this status. */
  observe(status: RaftStatus, entries: readonly Entry[] = []): void {
    const { self, base, commit } = status;
    const known = this.#members.get(self) ?? { status: undefined, checkedIndex: 0 };
    this.#members.set(self, known);
    checkShape(status, entries);
    if (known.status !== undefined) checkProgress(known.status, status);
    this.#checkLeader(status);
    this.#ledger.checkBase(status);
    this.#ledger.add(status, entries);
    if (known.status !== undefined) this.#checkCounting(known.status, status);
    known.status = status;
    const first = entries[0];
    if (first !== undefined && first.index <= Math.max(base.index, known.checkedIndex) + 1) {
      known.checkedIndex = Math.max(known.checkedIndex, Math.min(commit, entries.at(-1)?.index ?? 0));
    }
  }

  #checkLeader(status: RaftStatus): void {
    const { self, term, role, leader } = status;
    const present = role === "leader" ? self : leader;
    if (present === 0) return;
    const known = this.#leaders.get(term);
    if (known !== undefined && known !== present)
      fail(status, `names ${present} the leader of term ${term}; it was ${known} (1)`);
    this.#leaders.set(term, present);
  }

  #checkCounting(before: RaftStatus, status: RaftStatus): void {
    const { role, term, commit } = status;
    if (role !== "leader" || before.role !== "leader" || before.term !== term || commit === before.commit) return;
    const entryTerm = this.#ledger.termAt(commit);
    if (entryTerm !== undefined && entryTerm !== term) {
      fail(status, `committed entry ${commit} of term ${entryTerm} by counting, in term ${term} (6)`);
    }
  }
}

function checkShape(status: RaftStatus, entries: readonly Entry[]): void {
  const { base, commit, lastIndex, lastTerm, durableIndex, term } = status;
  if (commit > lastIndex) fail(status, `has committed up to ${commit}; its log ends at ${lastIndex}`);
  if (commit < base.index) fail(status, `has forgotten up to ${base.index}, and committed only up to ${commit}`);
  if (durableIndex > lastIndex) fail(status, `has ${durableIndex} durable; its log ends at ${lastIndex}`);
  if (lastTerm > term) fail(status, `is in term ${term} and has an entry of term ${lastTerm}`);
  let before: Entry | undefined;
  for (const entry of entries) {
    const { index, term, position } = entry;
    const name = `entry ${index} of term ${term}`;
    if (index <= base.index || index > lastIndex) {
      fail(status, `has ${name}; its log begins behind ${base.index} and ends at ${lastIndex}`);
    }
    if (index === lastIndex && term !== lastTerm) fail(status, `ends with term ${lastTerm}, and has ${name}`);
    if (before !== undefined) {
      if (index !== before.index + 1) fail(status, `has ${name} behind entry ${before.index}`);
      if (term < before.term) fail(status, `has ${name} behind one of term ${before.term}`);
      const expected = before.position + before.records.length;
      if (position !== expected) fail(status, `has ${name} at position ${position} instead of ${expected}`);
    }
    before = entry;
  }
}

function checkProgress(before: RaftStatus, status: RaftStatus): void {
  const { term, vote, commit, base, durableIndex, lastIndex } = status;
  if (term < before.term) fail(status, `is in term ${term}; it was in ${before.term} before (5)`);
  if (term === before.term && before.vote !== 0 && vote !== before.vote) {
    fail(status, `voted in term ${term} for ${before.vote} and then for ${vote} (1)`);
  }
  if (commit < before.commit) fail(status, `has committed up to ${commit}; it was ${before.commit} before (5)`);
  if (base.index < before.base.index)
    fail(status, `begins behind ${base.index}; it was ${before.base.index} before (5)`);
  // Entries of an older leader may be cut off; what came from this one stays.
  if (term !== before.term || before.lastTerm !== term) return;
  if (lastIndex < before.lastIndex) fail(status, `ends at ${lastIndex}; it was ${before.lastIndex} before (5)`);
  if (durableIndex < before.durableIndex) {
    fail(status, `has ${durableIndex} durable; it was ${before.durableIndex} before (5)`);
  }
}

function fail({ self, role, term }: RaftStatus, what: string): never {
  throw new Violation("raft", `member ${self} (${role} in term ${term}) ${what}`);
}
