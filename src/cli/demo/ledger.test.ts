/** The account finds what is wrong: each kind of wrong is planted once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger, valueOf } from "./ledger.ts";
import type { FoundKey } from "./ledger.ts";

const counter = "count";

/** A small run in which all went well: two puts, one that nobody knows of, and a counter at 2. */
function goodRun(): { ledger: Ledger; found: FoundKey[] } {
  const ledger = new Ledger();
  let revision = 0;
  for (const key of ["p1", "p2"]) {
    ledger.putBegan(key);
    ledger.putEnded(key, "acknowledged");
    ledger.sawEvent(key, valueOf(key), ++revision);
  }
  ledger.putBegan("p3");
  ledger.putEnded("p3", "unknown");
  ledger.putBegan("p4");
  ledger.putEnded("p4", "refused");
  for (const value of ["1", "2"]) {
    ledger.incrementBegan(counter);
    ledger.incrementEnded(counter, "acknowledged");
    ledger.sawEvent(counter, value, ++revision);
  }
  ledger.sawCounter(2, ledger.acknowledgedOf(counter));
  const found = ["p1", "p2"].map((key) => ({ key, text: valueOf(key), version: 1 }));
  return { ledger, found: [...found, { key: counter, text: "2", version: 2 }] };
}

test("a good run is clean, and its operations are counted", () => {
  const { ledger, found } = goodRun();
  assert.deepEqual(ledger.account(found), {
    operations: 6,
    acknowledged: 4,
    unknown: 1,
    refused: 1,
    lost: 0,
    doubled: 0,
    watched: 4,
    watchMissed: 0,
    watchRepeated: 0,
    watchDisordered: 0,
    reads: 1,
    readsStale: 0,
    clean: true,
  });
});

test("what may have happened may be there once", () => {
  const { ledger, found } = goodRun();
  ledger.sawEvent("p3", valueOf("p3"), 9);
  assert.equal(ledger.account([...found, { key: "p3", text: valueOf("p3"), version: 1 }]).clean, true);
  ledger.incrementBegan(counter);
  ledger.incrementEnded(counter, "unknown");
  ledger.sawEvent(counter, "3", 10);
  const there = [...found.filter(({ key }) => key !== counter), { key: counter, text: "3", version: 3 }];
  assert.equal(ledger.account([...there, { key: "p3", text: valueOf("p3"), version: 1 }]).clean, true);
});

const wrongs: readonly [string, Partial<ReturnType<Ledger["account"]>>, (run: ReturnType<typeof goodRun>) => void][] = [
  ["a put is gone", { lost: 1 }, ({ found }) => found.shift()],
  ["a put has another's value", { lost: 1 }, ({ found }) => (found[0] = { ...found[0]!, text: "other" })],
  ["a put was done twice", { doubled: 1 }, ({ found }) => (found[0] = { ...found[0]!, version: 2 })],
  ["a counter lost one", { lost: 1 }, ({ found }) => (found[2] = { ...found[2]!, text: "1" })],
  ["a counter is gone", { lost: 2 }, ({ found }) => found.pop()],
  [
    "a counter counted twice",
    { doubled: 1 },
    ({ ledger, found }) => {
      found[2] = { ...found[2]!, text: "3" };
      ledger.sawEvent(counter, "3", 9);
    },
  ],
  [
    "what was refused is there",
    { doubled: 1 },
    ({ ledger, found }) => {
      ledger.sawEvent("p4", valueOf("p4"), 9);
      found.push({ key: "p4", text: valueOf("p4"), version: 1 });
    },
  ],
  [
    "there is what nobody asked for",
    { doubled: 1 },
    ({ ledger, found }) => {
      ledger.sawEvent("p9", "", 9);
      found.push({ key: "p9", text: "", version: 1 });
    },
  ],
  [
    "the watch missed an event",
    { watchMissed: 1 },
    ({ found }) => found.push({ key: "p3", text: valueOf("p3"), version: 1 }),
  ],
  ["the watch repeated an event", { watchRepeated: 1 }, ({ ledger }) => ledger.sawEvent("p1", valueOf("p1"), 9)],
  [
    "the watch skipped a count",
    { watchMissed: 1 },
    ({ ledger, found }) => {
      for (const _ of [3, 4]) {
        ledger.incrementBegan(counter);
        ledger.incrementEnded(counter, "acknowledged");
      }
      ledger.sawEvent(counter, "4", 9);
      found[2] = { key: counter, text: "4", version: 4 };
    },
  ],
  [
    "the watch went back",
    { watchDisordered: 1 },
    ({ ledger, found }) => {
      ledger.sawEvent("p3", valueOf("p3"), 1);
      found.push({ key: "p3", text: valueOf("p3"), version: 1 });
    },
  ],
  ["a read was stale", { readsStale: 1 }, ({ ledger }) => ledger.sawCounter(1, 2)],
];

for (const [what, expected, spoil] of wrongs) {
  test(`it is seen that ${what}`, () => {
    const run = goodRun();
    spoil(run);
    const account = run.ledger.account(run.found);
    assert.equal(account.clean, false);
    for (const name of ["lost", "doubled", "watchMissed", "watchRepeated", "watchDisordered", "readsStale"] as const) {
      assert.equal(account[name], expected[name] ?? 0, name);
    }
  });
}
