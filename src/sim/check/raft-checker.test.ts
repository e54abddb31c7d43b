/** The Raft invariants: a right run passes, and each kind of wrong one is found. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyConfiguration } from "../../raft/index.ts";
import type { Entry, RaftStatus } from "../../raft/index.ts";
import { RaftChecker, Violation } from "./index.ts";

/** A log from the terms of its entries, each with one record that says what it is. */
function log(terms: readonly number[], first = 1, mark = ""): Entry[] {
  return terms.map((term, offset) => {
    const index = first + offset;
    const record = new TextEncoder().encode(`${index}/${term}${mark}`);
    return { index, term, position: index - 1, records: [record], size: record.length };
  });
}

function status(self: number, entries: readonly Entry[], more: Partial<RaftStatus> = {}): RaftStatus {
  const last = entries.at(-1);
  const base = more.base ?? { index: 0, term: 0, position: 0, configuration: emptyConfiguration };
  return {
    self,
    role: "follower",
    term: last?.term ?? 0,
    vote: 0,
    leader: 0,
    commit: base.index,
    base,
    lastIndex: last?.index ?? base.index,
    lastTerm: last?.term ?? base.term,
    durableIndex: last?.index ?? base.index,
    configuration: emptyConfiguration,
    progress: [],
    transferringTo: 0,
    ...more,
  };
}

type Told = readonly [status: RaftStatus, entries?: readonly Entry[]];

/** Tells a new checker of members one after the other. */
function tell(...members: readonly Told[]): RaftChecker {
  const checker = new RaftChecker();
  for (const [status, entries] of members) checker.observe(status, entries);
  return checker;
}

function finds(message: RegExp, ...members: readonly Told[]): void {
  const before = members.slice(0, -1);
  tell(...before);
  assert.throws(
    () => tell(...members),
    (error) => error instanceof Violation && message.test(error.message),
  );
}

const base = (index: number, term: number, position = index) => ({
  index,
  term,
  position,
  configuration: emptyConfiguration,
});
const leader = { role: "leader" } as const;

test("a right run: replication, an election, an overwritten tail, a restart, a log that begins later", () => {
  const [old, stale, next] = [log([1, 1, 1]), log([1, 1, 1, 1]), log([1, 1, 1, 2, 2])];
  const checker = tell(
    [status(1, old, { ...leader, vote: 1, commit: 2 }), old],
    [status(2, old, { vote: 1, leader: 1, commit: 1 }), old],
    [status(1, stale, { ...leader, vote: 1, commit: 3 }), stale],
    [status(2, next, { ...leader, vote: 2, commit: 3 }), next],
    [status(2, next, { ...leader, vote: 2, commit: 5 }), next.slice(3)],
    [status(1, next, { vote: 0, leader: 2, commit: 5 }), next],
  );
  assert.equal(checker.wantedFrom(status(1, next)), 6);
  checker.restarted(1);
  assert.equal(checker.wantedFrom(status(1, next)), 1);
  checker.observe(status(1, old, { term: 1, commit: 2 }), old);
  const later = status(3, next.slice(4), { base: base(4, 2), commit: 4 });
  checker.observe(later, next.slice(4));
  assert.equal(checker.wantedFrom(later), 5);
});

test("election safety: two leaders in a term, as they or others say; two votes", () => {
  const entries = log([1]);
  finds(
    /member 2 .* names 2 the leader of term 1; it was 1 \(1\)/,
    [status(1, entries, leader)],
    [status(2, entries, leader)],
  );
  finds(/names 2 the leader/, [status(1, entries, leader)], [status(3, entries, { leader: 2 })]);
  finds(/voted in term 1 for 1 and then for 2/, [status(3, entries, { vote: 1 })], [status(3, entries, { vote: 2 })]);
});

test("log matching: other content, another past, gaps, and terms or positions that do not follow", () => {
  const [entries, other] = [log([1, 1, 2]), log([1, 1, 2], 1, "?")];
  finds(/has another entry 1 of term 1 than member 1/, [status(1, entries), entries], [status(2, other), other]);
  const shifted = entries.map((entry) => ({ ...entry, position: entry.position + 1 }));
  finds(/has another entry 1/, [status(1, entries), entries], [status(2, shifted), shifted]);
  const past = [...log([1, 2]), ...log([2], 3)];
  finds(
    /has entry 3 of term 2 behind one of term 2; member 1 has it behind one of term 1/,
    [status(1, entries), entries],
    [status(2, past), past],
  );
  const gap = entries.toSpliced(1, 1);
  finds(/has entry 3 of term 2 behind entry 1/, [status(1, gap), gap]);
  const back = log([2, 1]);
  finds(/has entry 2 of term 1 behind one of term 2/, [status(1, back, { term: 2 }), back]);
  const hole = [...log([1]), { ...log([1], 2)[0], position: 5 } as Entry];
  finds(/at position 5 instead of 1/, [status(1, hole), hole]);
});

test("leader completeness: a leader without a committed entry, or with another in its place", () => {
  const [entries, short] = [log([1, 1]), log([1])];
  const committed = [status(1, entries, { ...leader, commit: 2 }), entries] as const;
  finds(/leads with a log that ends at 1; 2 was committed by term 1/, committed, [
    status(2, short, { ...leader, term: 2 }),
    short,
  ]);
  const other = log([1, 2]);
  finds(/leads with entry 2 of term 2; member 1 had committed one of term 1 by term 1/, committed, [
    status(2, other, leader),
    other,
  ]);
  // One that leads an older term may lack it, or have another.
  const later = [status(1, other, { ...leader, commit: 2 }), other] as const;
  tell(later, [status(2, short, { ...leader, term: 1 }), short]);
  tell(later, [status(2, entries, leader), entries]);
});

test("state machine safety: another entry committed at an index; a beginning that does not fit", () => {
  const [entries, other] = [log([1, 1]), log([1, 2])];
  const first = [status(1, entries, { commit: 2 }), entries] as const;
  finds(/committed entry 2 of term 2; member 1 committed one of term 1/, first, [
    status(2, other, { commit: 2 }),
    other,
  ]);
  finds(/begins behind 2 of term 2/, first, [status(2, [], { term: 2, base: base(2, 2) })]);
  finds(/begins behind 2 of term 1 and position 7/, first, [status(2, [], { term: 1, base: base(2, 1, 7) })]);
});

test("nothing goes back while a member runs", () => {
  const entries = log([1, 1, 1]);
  const before = [status(1, entries, { commit: 2, base: base(1, 1) }), entries.slice(1)] as const;
  const after = (more: Partial<RaftStatus>) => [status(1, entries, { commit: 2, base: base(1, 1), ...more })] as const;
  tell(before, after({}));
  finds(/is in term 1; it was in 4/, after({ term: 4 }), after({ term: 1 }));
  finds(/committed up to 1; it was 2/, before, after({ commit: 1 }));
  finds(/begins behind 0; it was 1/, before, after({ base: base(0, 0) }));
  finds(/ends at 2; it was 3/, before, after({ lastIndex: 2, durableIndex: 2 }));
  finds(/has 2 durable; it was 3/, before, after({ durableIndex: 2 }));
  // What came from an older leader may be overwritten.
  tell(before, after({ term: 2 }), after({ term: 2, lastIndex: 2, durableIndex: 2 }));
  finds(/committed up to 9; its log ends at 3/, after({ commit: 9 }));
  finds(/forgotten up to 3, and committed only up to 2/, after({ base: base(3, 1) }));
});

test("a leader that counts copies of an older term's entry", () => {
  const entries = log([1, 1, 3]);
  const leads = { ...leader, term: 3 };
  const before = [status(1, entries, { ...leads, commit: 0 }), entries] as const;
  finds(/committed entry 2 of term 1 by counting, in term 3/, before, [
    status(1, entries, { ...leads, commit: 2 }),
    entries,
  ]);
  tell(before, [status(1, entries, { ...leads, commit: 3 }), entries]);
});
