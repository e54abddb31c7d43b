/** The rules of retention against a slow twin that uses the platform's calendar. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { retain, retained } from "./index.ts";
import type { RetentionReason, RetentionRules } from "./index.ts";

interface Dated {
  readonly timeMs: number;
  readonly revision: number;
}

const at = (text: string, revision = 1): Dated => ({ timeMs: Date.parse(text), revision });

/** The week of ISO 8601 as text, by the Thursday in it. */
function isoWeek(date: Date): string {
  const thursday = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const first = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  return `${thursday.getUTCFullYear()}-W${Math.ceil(((thursday.getTime() - first) / 86_400_000 + 1) / 7)}`;
}

const twinPeriods: Record<Exclude<RetentionReason, "withinMs" | "last">, (date: Date) => string> = {
  hourly: (date) => date.toISOString().slice(0, 13),
  daily: (date) => date.toISOString().slice(0, 10),
  weekly: isoWeek,
  monthly: (date) => date.toISOString().slice(0, 7),
  yearly: (date) => date.toISOString().slice(0, 4),
};

/** For every rule, in its own words: the newest of each of the newest periods, and the oldest while there is room. */
function twin(snapshots: readonly Dated[], rules: RetentionRules): Map<Dated, Set<string>> {
  const sorted = snapshots.toSorted((a, b) => b.timeMs - a.timeMs || b.revision - a.revision);
  const kept = new Map(sorted.map((one) => [one, new Set<string>()]));
  const keep = (one: Dated | undefined, rule: string) => one !== undefined && kept.get(one)?.add(rule);
  for (const one of sorted.slice(0, rules.last ?? 0)) keep(one, "last");
  for (const [rule, period] of Object.entries(twinPeriods)) {
    const max = rules[rule as keyof typeof twinPeriods] ?? 0;
    const groups = Map.groupBy(sorted, ({ timeMs }) => period(new Date(timeMs)));
    const newest = [...groups.values()].map((group) => group[0]).slice(0, max);
    for (const one of newest) keep(one, rule);
    if (newest.length < max) keep(sorted.at(-1), rule);
  }
  if (rules.withinMs !== undefined) {
    const since = (sorted[0]?.timeMs ?? 0) - rules.withinMs;
    for (const one of sorted) if (one.timeMs >= since) keep(one, "withinMs");
  }
  return kept;
}

const count = fc.oneof(fc.constant(undefined), fc.integer({ min: 0, max: 6 }), fc.constant(Infinity));
const anyRules = fc
  .record({
    last: count,
    hourly: count,
    daily: count,
    weekly: count,
    monthly: count,
    yearly: count,
    withinMs: fc.oneof(fc.constant(undefined), fc.integer({ min: 0, max: 100 * 86_400_000 })),
  })
  .filter((rules) => rules.withinMs !== undefined || Object.values(rules).some((value) => (value ?? 0) > 0));

/** Close together, so that periods meet, and around turns of years and leap days. */
const anyTime = fc
  .tuple(
    fc.constantFrom(
      "2023-12-31T23:00:00Z",
      "2024-02-28T12:00:00Z",
      "2000-02-29T00:00:00Z",
      "2026-01-01T00:00:00Z",
      "1970-01-01T00:00:00Z",
    ),
    fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 40_000 })),
    fc.integer({ min: 0, max: 3_599_999 }),
  )
  .map(([start, hours, ms]) => Date.parse(start) + hours * 3_600_000 + ms);

test("the rules keep what their slow twin keeps, and for the same reasons", () => {
  fc.assert(
    fc.property(fc.array(anyTime, { maxLength: 60 }), anyRules, (times, rules) => {
      const snapshots = times.map((timeMs, index) => ({ timeMs, revision: index + 1 }));
      const expected = twin(snapshots, rules);
      const judged = retained(snapshots, rules);
      assert.equal(judged.length, snapshots.length);
      for (const { snapshot, reasons } of judged) {
        assert.deepEqual(new Set<string>(reasons), expected.get(snapshot), new Date(snapshot.timeMs).toISOString());
      }
      // The newest one is never given up, except by rules of zero.
      assert.ok(snapshots.length === 0 || (judged[0]?.reasons.length ?? 0) > 0);
    }),
    { numRuns: 300 },
  );
});

test("months and years are those of the calendar, for six centuries", () => {
  fc.assert(
    fc.property(fc.integer({ min: Date.parse("1700-01-01"), max: Date.parse("2300-01-01") }), (timeMs) => {
      const first = Date.UTC(new Date(timeMs).getUTCFullYear(), new Date(timeMs).getUTCMonth(), 1);
      const reasonsOf = (other: number) =>
        retained(
          [
            { timeMs, revision: 2 },
            { timeMs: other, revision: 1 },
            { timeMs: other - 1e13, revision: 0 },
          ],
          { monthly: 9 },
        ).find(({ snapshot }) => snapshot.timeMs === other)?.reasons;
      assert.deepEqual(reasonsOf(first - 1), ["monthly"]);
      if (first !== timeMs) assert.deepEqual(reasonsOf(first), []);
    }),
    { numRuns: 300 },
  );
});

test("weeks begin on Monday", () => {
  const [sunday, monday, next] = [
    at("2026-01-04T23:59:59Z", 1),
    at("2026-01-05T00:00:00Z", 2),
    at("2026-01-11T23:59:59Z", 3),
  ];
  const kept = retained([sunday, monday, next], { weekly: 2 }).filter(({ reasons }) => reasons.length > 0);
  assert.deepEqual(
    kept.map(({ snapshot }) => snapshot.revision),
    [3, 1],
  );
});

test("rules that would keep nothing, and what are none, are refused", () => {
  for (const rules of [{}, { last: 0 }, { last: -1 }, { daily: 1.5 }, { withinMs: Number.NaN }, { minutely: 4 }]) {
    assert.throws(
      () => retained([at("2026-01-01")], rules as RetentionRules),
      { code: "invalid" },
      JSON.stringify(rules),
    );
  }
  assert.deepEqual(retained([], { last: 1 }), []);
});

test("what no rule keeps is deleted by one command that names the revisions", async () => {
  const snapshots = Array.from({ length: 10 }, (_, index) => ({
    name: `s${index}`,
    revision: index + 1,
    position: index + 1,
    timeMs: index * 86_400_000,
    sealed: true,
    rootHash: new Uint8Array(32),
    count: 1,
  }));
  const proposed: unknown[] = [];
  type Parts = Parameters<typeof retain>[0];
  const source = {
    snapshots: async () => snapshots,
    propose: async (operations: readonly { body?: unknown }[]) => {
      proposed.push(...operations.map(({ body }) => body));
      return { ok: true, revision: 1, results: [] };
    },
  } as unknown as Parts["source"];
  const parts = { source, view: {} as Parts["view"] };
  const judged = await retain(parts, { last: 3 }, { dryRun: true });
  assert.equal(judged.filter(({ reasons }) => reasons.length > 0).length, 3);
  assert.deepEqual(proposed, []);
  await retain(parts, { last: 3 });
  const going = [6, 5, 4, 3, 2, 1, 0].map((index) => ({ name: `s${index}`, revision: index + 1, lenient: true }));
  assert.deepEqual(proposed, [{ operation: { case: "delete", value: { snapshots: going } } }]);
});
