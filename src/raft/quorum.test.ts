import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Configuration, MemberId } from "./index.ts";
import { electionResult, hasMajority, majorityReached } from "./quorum.ts";

/** Long campaigns multiply their size by this. */
const numRuns = 200 * Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

interface Sets {
  readonly present: readonly MemberId[];
  /** Undefined if not joint. */
  readonly past: readonly MemberId[] | undefined;
}

const ids: readonly MemberId[] = [1, 2, 3, 4, 5, 6, 7];
const someIds = fc.subarray([...ids], { maxLength: 5 });
const sets: fc.Arbitrary<Sets> = fc.record({
  present: someIds,
  past: fc.option(someIds, { nil: undefined, freq: 1 }),
});

function configuration({ present, past }: Sets): Configuration {
  const members = ids.map((id) => ({
    id,
    name: `m${id}`,
    address: `m${id}:1`,
    zone: "",
    voter: present.includes(id),
    outgoing: past?.includes(id) ?? false,
    leaving: false,
    replaces: 0,
    stays: false,
  }));
  return { members, joint: past !== undefined, removed: [], leaderZone: "" };
}

/** All sets of members that are more than half of `voters`, and of the past ones, one by one. */
function quorums({ present, past }: Sets): readonly ReadonlySet<MemberId>[] {
  const found: Set<MemberId>[] = [];
  for (let bits = 0; bits < 2 ** ids.length; bits += 1) {
    const set = new Set(ids.filter((_, at) => (bits >> at) % 2 === 1));
    const isMore = (voters: readonly MemberId[]) => {
      let more = 0;
      for (const id of voters) more += set.has(id) ? 1 : -1;
      return more > 0;
    };
    if (isMore(present) && (past === undefined || isMore(past))) found.push(set);
  }
  return found;
}

describe("majorities", () => {
  it("are those that a slow count finds", () => {
    fc.assert(
      fc.property(sets, fc.subarray([...ids]), (sets, holding) => {
        const has = quorums(sets).some((set) => [...set].every((id) => holding.includes(id)));
        assert.equal(
          hasMajority(configuration(sets), (id) => holding.includes(id)),
          has,
        );
      }),
      { numRuns },
    );
  });

  it("of two configurations, one of them joint with the other, have a member in common", () => {
    fc.assert(
      fc.property(someIds, someIds, (present, past) => {
        const joint = quorums({ present, past });
        for (const other of [
          ...quorums({ present, past: undefined }),
          ...quorums({ present: past, past: undefined }),
        ]) {
          for (const set of joint) assert.ok([...set].some((id) => other.has(id)));
        }
      }),
      { numRuns: 5 },
    );
  });

  it("have reached what the slowest of the fastest majority has", () => {
    const numbers = fc.array(fc.nat({ max: 9 }), { minLength: ids.length, maxLength: ids.length });
    fc.assert(
      fc.property(sets, numbers, (sets, numbers) => {
        const reached = (id: MemberId) => numbers[id - 1] ?? 0;
        const slowest = quorums(sets).map((set) => Math.min(...[...set].map(reached)));
        // Without voters there is no majority, and nothing is reached.
        const expected = sets.present.length === 0 || sets.past?.length === 0 ? 0 : Math.max(...slowest);
        assert.equal(majorityReached(configuration(sets), reached), expected);
      }),
      { numRuns },
    );
  });

  it("decide an election when no vote to come can change it", () => {
    const votes = fc.array(fc.constantFrom(true, false, undefined), { minLength: ids.length, maxLength: ids.length });
    fc.assert(
      fc.property(sets, votes, (sets, votes) => {
        const cast = new Map<MemberId, boolean>();
        for (const id of ids) {
          const vote = votes[id - 1];
          if (vote !== undefined) cast.set(id, vote);
        }
        const all = quorums(sets);
        const isWon = all.some((set) => [...set].every((id) => cast.get(id) === true));
        const mayBeWon = all.some((set) => [...set].every((id) => cast.get(id) !== false));
        assert.equal(electionResult(configuration(sets), cast), isWon ? "won" : mayBeWon ? "open" : "lost");
      }),
      { numRuns },
    );
  });
});
