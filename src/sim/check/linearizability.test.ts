/** The linearizability checker on histories that must pass, that must fail, and against its slow twin. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../prng.ts";
import { isLinearizable } from "./brute-force.suite.ts";
import { actions, checkLinearizable, GaveUp, NotLinearizable } from "./index.ts";
import type { Action, Cell, LinearizabilityOptions, Operation, Outcome, Result } from "./index.ts";
import { randomHistory, spoiled } from "./random-history.suite.ts";
import type { HistoryShape } from "./random-history.suite.ts";

const { get, put, remove, removeAll, list, transaction } = actions;

/** An operation of a client from a moment to another; with a result, it is `ok`. */
function op(
  client: string,
  [begin, end]: readonly [number, number],
  action: Action,
  told: Result | Exclude<Outcome["kind"], "ok"> = {},
): Operation {
  const outcome: Outcome = typeof told === "string" ? { kind: told } : { kind: "ok", ...told };
  return { client, begin, end, action, outcome };
}

/** What a read found: key, value and, where it matters, revision. */
const found = (...cells: readonly (readonly [string, string | undefined, number?])[]): Result => ({
  seen: cells.map(([key, value, revision]): Cell => ({ key, value, revision })),
});

const absent = { value: undefined };

function passes(operations: readonly Operation[], options?: LinearizabilityOptions): void {
  checkLinearizable(operations, options);
  checkLinearizable(operations, { ...options, revisions: "ignored" });
}

/** Fails with this message, judged by values alone; and judged by revisions too, with that one or another. */
function fails(operations: readonly Operation[], message: RegExp, options?: LinearizabilityOptions): void {
  assert.throws(
    () => checkLinearizable(operations, { ...options, revisions: "ignored" }),
    (error) => error instanceof NotLinearizable && message.test(error.message),
  );
  assert.throws(() => checkLinearizable(operations, options), NotLinearizable);
}

test("what may pass: overlapping writes in either order, refusals, deletions, unknown ones early, late and never", () => {
  passes([]);
  const overlapping = [
    op("a", [0, 10], put("k", "1"), { revision: 2 }),
    op("b", [5, 15], put("k", "2"), { revision: 1 }),
  ];
  passes([...overlapping, op("c", [20, 21], get("k"), found(["k", "1", 2]))]);
  passes([op("a", [0, 1], put("k", "1", absent)), op("b", [2, 3], put("k", "2", absent), "refused")]);
  passes([
    op("a", [0, 1], put("k", "1")),
    op("b", [2, 3], remove("k"), { deleted: 1 }),
    op("b", [4, 5], get("k"), found(["k", undefined])),
  ]);
  passes([op("a", [0, 1], get("k"), found(["k", "0"])), op("a", [2, 3], put("k", "1", { value: "0" }))], {
    initial: [{ key: "k", value: "0" }],
  });
  // An unknown put: at once, after its client went on, never.
  const unknown = op("a", [0, 1], put("k", "1"), "unknown");
  passes([unknown, op("b", [2, 3], get("k"), found(["k", "1"]))]);
  passes([unknown, op("b", [2, 3], get("k"), found(["k", undefined])), op("b", [90, 91], get("k"), found(["k", "1"]))]);
  passes([unknown, op("b", [2, 3], get("k"), found(["k", undefined]))]);
  // A refusal, or a key that was there to be deleted, may be due to a put that nobody saw.
  passes([unknown, op("b", [2, 3], put("k", "2", absent), "refused")]);
  passes([unknown, op("b", [2, 3], remove("k"), { deleted: 1 })]);
});

test("stale read: what was overwritten before is read", () => {
  const history = [
    op("a", [0, 1], put("k", "1"), { revision: 1 }),
    op("a", [2, 3], put("k", "2"), { revision: 2 }),
    op("b", [4, 5], get("k"), found(["k", "1", 1])),
  ];
  fails(
    history,
    /no order explains what b was told: k can only have held a value that no client found\n.*✗ .*get k → k = 1/s,
  );
  assert.throws(
    () => checkLinearizable(history),
    /no longer, or not yet, the present|the order of the revisions around 2/,
  );
  passes([...history.slice(0, 2), op("b", [2.5, 5], get("k"), found(["k", "1", 1]))]);
});

test("lost update: two compare-and-set from the same value", () => {
  const base = op("a", [0, 1], put("k", "0"));
  const both = [op("a", [2, 6], put("k", "1", { value: "0" })), op("b", [3, 7], put("k", "2", { value: "0" }))];
  fails([base, ...both], /no order explains/);
});

test("lost acknowledged write", () => {
  fails(
    [op("a", [0, 1], put("k", "1")), op("b", [9, 10], get("k"), found(["k", undefined]))],
    /k can only have held a value that no client found/,
  );
  // Also where only its absence from a list shows it, and where an unknown put beside it cannot be the reason.
  const other = op("c", [0, 1], put("k", "2"), "unknown");
  fails([op("a", [0, 1], put("k", "1")), other, op("b", [9, 10], list({ start: "a" }), found())], /no order/);
  // An unknown deletion can.
  passes([
    op("a", [0, 1], put("k", "1")),
    op("c", [0, 1], remove("k"), "unknown"),
    op("b", [9, 10], list({ start: "a" }), found()),
  ]);
});

test("doubled effect: a retried put comes a second time, over what came between; a deletion too", () => {
  fails(
    [
      op("a", [0, 9], put("k", "1")),
      op("b", [1, 2], get("k"), found(["k", "1"])),
      op("b", [3, 4], put("k", "2")),
      op("b", [5, 6], get("k"), found(["k", "2"])),
      op("b", [7, 8], get("k"), found(["k", "1"])),
    ],
    /no order explains/,
  );
  fails(
    [
      op("a", [0, 1], remove("k"), "unknown"),
      op("b", [2, 3], put("k", "1")),
      op("b", [4, 5], get("k"), found(["k", undefined])),
      op("b", [6, 7], put("k", "2")),
      op("b", [8, 9], get("k"), found(["k", undefined])),
    ],
    /no order explains/,
  );
});

test("a value that nobody wrote, that only a failed put wrote, that was written only later", () => {
  fails([op("a", [0, 1], get("k"), found(["k", "1"]))], /a found k = 1; nobody wrote that/);
  fails(
    [op("a", [0, 1], put("k", "1"), "failed"), op("b", [2, 3], get("k"), found(["k", "1"]))],
    /written only by an operation without effect\n.*put k = 1 → failed/s,
  );
  const history = [op("b", [0, 1], get("k"), found(["k", "1"])), op("a", [2, 3], put("k", "1"), "unknown")];
  fails(history, /b found k = 1 before anybody had begun to write that/);
});

test("visible, then invisible again", () => {
  const history = [
    op("a", [0, 1], put("k", "0"), { revision: 1 }),
    op("a", [2, 20], put("k", "1"), { revision: 2 }),
    op("b", [3, 4], get("k"), found(["k", "1", 2])),
  ];
  fails([...history, op("c", [5, 6], get("k"), found(["k", "0", 1]))], /no order explains what c was told/);
  passes([...history, op("c", [3.5, 6], get("k"), found(["k", "0", 1]))]);
});

test("order across clients: what ended first happened first, whoever did it", () => {
  const [first, second] = [
    op("a", [0, 1], put("k", "1"), { revision: 1 }),
    op("b", [2, 3], put("k", "2"), { revision: 2 }),
  ];
  fails([first, second, op("c", [4, 5], get("k"), found(["k", "1", 1]))], /no order/);
  // Two keys read apart: each is in order for itself, and both must be in one.
  const reads = [
    op("c", [10, 11], list({ start: "x" }), found(["x", "1"])),
    op("d", [12, 13], list({ start: "x" }), found(["y", "2"])),
  ];
  fails([op("a", [0, 20], put("x", "1")), op("b", [0, 20], put("y", "2")), ...reads], /no order/);
});

test("transactions: a read that does not repeat, half of one, write skew", () => {
  const [base, next] = [op("a", [0, 1], put("k", "0")), op("a", [2, 9], put("k", "1"))];
  const twice = transaction(
    [
      { key: "k", value: "0" },
      { key: "k", value: "1" },
    ],
    [],
  );
  fails([base, next, op("b", [3, 8], twice)], /no order explains what b was told/);
  const both = transaction(
    [],
    [
      { key: "x", value: "1" },
      { key: "y", value: "1" },
    ],
  );
  fails([op("a", [0, 9], both), op("b", [1, 2], list({ start: "x" }), found(["x", "1"]))], /no order/);
  const absentBoth = [
    { key: "x", value: undefined },
    { key: "y", value: undefined },
  ];
  const skew = ["x", "y"].map((key, index) =>
    op(key, [0, 9], transaction(absentBoth, [{ key, value: String(index) }])),
  );
  fails(skew, /no order/);
  passes(skew.slice(0, 1));
});

test("deletions of ranges are whole, and count", () => {
  const puts = ["x", "y"].map((key, index) => op(key, [index, index + 0.5], put(key, key)));
  passes([
    ...puts,
    op("a", [2, 3], removeAll({ start: "x" }), { deleted: 2 }),
    op("b", [4, 5], list({ start: "" }), found()),
  ]);
  fails([...puts, op("a", [2, 3], removeAll({ start: "x" }), { deleted: 1 })], /no order/);
  fails(
    [
      ...puts,
      op("a", [2, 3], removeAll({ start: "x" }), "unknown"),
      op("b", [4, 5], list({ start: "" }), found(["y", "y"])),
    ],
    /no order/,
  );
});

/** Fails by its revisions alone. */
function failsByRevisions(operations: readonly Operation[], message: RegExp): void {
  assert.throws(
    () => checkLinearizable(operations),
    (error) => error instanceof NotLinearizable && message.test(error.message),
  );
  checkLinearizable(operations, { revisions: "ignored" });
}

test("revisions: handed out twice, out of order, differing, going back, and none left for an unknown change", () => {
  const first = op("a", [0, 1], put("x", "1"), { revision: 1 });
  failsByRevisions(
    [first, op("b", [2, 3], put("y", "1"), { revision: 1 })],
    /two operations were told that they made revision 1/,
  );
  failsByRevisions([first, op("b", [2, 3], put("y", "1"), { revision: 0 })], /the order of the revisions around [01]/);
  failsByRevisions([first, op("b", [2, 3], get("x"), found(["x", "1", 2]))], /written at revision 1, and found at 2/);
  const second = op("b", [2, 3], put("y", "1"), { revision: 2 });
  failsByRevisions(
    [first, second, op("c", [4, 5], remove("z"), { deleted: 0, revision: 1 })],
    /the order of the revisions around 2/,
  );
  const unknown = op("a", [0, 1], put("x", "9"), "unknown");
  const needed = [first, unknown, second, op("c", [1.5, 1.8], put("x", "2", { value: "1" }), "refused")];
  failsByRevisions(needed, /no order explains what c was told/);
  checkLinearizable(needed.with(2, op("b", [2, 3], put("y", "1"), { revision: 3 })));
});

test("the failure shows the longest part that is in order, and draws it", () => {
  const early = Array.from({ length: 40 }, (_, index) => op("a", [index, index + 0.5], put("k", `v${index}`)));
  const late = [op("b", [50, 60], get("k"), found(["k", "v3"])), op("a", [55, 70], put("k", "last"))];
  try {
    checkLinearizable([...early, ...late]);
    assert.fail("it must not pass");
  } catch (error) {
    assert.ok(error instanceof NotLinearizable, String(error));
    assert.deepEqual(error.misfits, [late[0]]);
    assert.deepEqual(error.prefix.slice(0, 40), early);
    assert.match(error.message, /operations before these are explained/);
    assert.match(error.message, / ✗ +50\.000 +60\.000 {2}b +\| *├─+┤ *\| {2}get k → k = v3/);
  }
});

test("a write that nobody saw must still have its place", () => {
  const [first, unseen] = [op("a", [0, 1], put("k", "1")), op("b", [2, 10], put("k", "9"))];
  // Before the other it would have broken the condition; behind it, the read would see it.
  const changed = op("c", [3, 4], put("k", "2", { value: "1" }));
  fails([first, unseen, changed, op("c", [11, 12], get("k"), found(["k", "2"]))], /no order/);
  passes([first, unseen, changed]);
  // Here it is the reason for a refusal, so it must come after the write that could cover it.
  const covering = op("c", [3, 3.5], put("k", "2"));
  passes([first, unseen, covering, op("c", [4, 9], put("k", "3", { value: "2" }), "refused")]);
});

test("it gives up with a word of its own, and that is not a pass", () => {
  const puts = Array.from({ length: 12 }, (_, index) => op(`c${index}`, [0, 100 + index], put("k", `v${index}`)));
  const reads = Array.from({ length: 12 }, (_, index) =>
    op(`r${index}`, [0, 100 + index], get("k"), found(["k", `v${index}`])),
  );
  assert.throws(
    () => checkLinearizable([...puts, ...reads], { countMax: 1_000 }),
    (error) => {
      assert.ok(error instanceof GaveUp && !(error instanceof NotLinearizable));
      return /gave up after 1,000 configurations \(countMax\) of 24 operations on k/.test(error.message);
    },
  );
});

function judge(operations: readonly Operation[], options: LinearizabilityOptions): boolean {
  try {
    checkLinearizable(operations, options);
    return true;
  } catch (error) {
    if (error instanceof NotLinearizable) return false;
    throw error;
  }
}

test("random histories and spoiled ones are judged as by the slow twin", () => {
  const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);
  const counts = { right: 0, wrong: 0, lenient: 0 };
  for (let seed = 0; seed < 700 * scale; seed += 1) {
    const random = new Prng(`history ${seed}`);
    const shape: HistoryShape = {
      operationCount: 3 + random.below(6),
      clientCount: 1 + random.below(5),
      keyCount: 1 + random.below(3),
      unknownRatio: random.pick([0, 0.2, 0.5, 0.8]),
      joins: random.chance(0.5),
      repeatedValues: random.chance(0.3),
    };
    const made = randomHistory(random, shape);
    for (const operations of [made, spoiled(random, made), spoiled(random, spoiled(random, made))]) {
      for (const revisions of shape.repeatedValues === true
        ? (["ignored"] as const)
        : (["ignored", "checked"] as const)) {
        const judged = judge(operations, { revisions });
        const expected = isLinearizable(operations, { revisions: revisions === "checked" });
        if (operations === made) assert.ok(expected, `seed ${seed}: the twin or the maker is wrong`);
        counts[expected ? "right" : "wrong"] += 1;
        if (judged === expected) continue;
        // Revisions are judged key by key, but for what their order says about time: what is refused is wrong.
        const why = `seed ${seed}, revisions ${revisions}: ${judged}, and the twin says ${expected}`;
        assert.ok(judged && revisions === "checked", why);
        counts.lenient += 1;
      }
    }
  }
  assert.ok(counts.wrong > 200 * scale && counts.lenient <= counts.wrong / 100, JSON.stringify(counts));
});

test("thousands of operations of ten clients, many of unknown outcome", () => {
  const shapes: readonly (readonly [HistoryShape, LinearizabilityOptions["revisions"]])[] = [
    [{ operationCount: 5_000, clientCount: 10, keyCount: 1, unknownRatio: 0.3, joins: false }, "checked"],
    [{ operationCount: 5_000, clientCount: 10, keyCount: 4, unknownRatio: 0.1, joins: false }, "ignored"],
    [
      { operationCount: 3_000, clientCount: 10, keyCount: 10, unknownRatio: 0.05, joins: true, clears: false },
      "checked",
    ],
  ];
  for (const [shape, revisions = "checked"] of shapes) {
    const operations = randomHistory(new Prng("large"), shape);
    const account = checkLinearizable(operations, { revisions });
    assert.ok(account.configurationCount < 100_000, JSON.stringify(account));
    // A stale read at its end is found.
    const early = operations.find(
      ({ action, outcome }) => outcome.kind === "ok" && (action.writes?.[0]?.value ?? "") !== "",
    );
    const cell = early?.action.writes?.[0] as Cell;
    const endMs = Math.max(...operations.map(({ end }) => end));
    const last = [
      op("late", [endMs + 1, endMs + 2], put(cell.key, "last")),
      op("late", [endMs + 3, endMs + 4], get(cell.key), { seen: [cell] }),
    ];
    assert.throws(() => checkLinearizable([...operations, ...last], { revisions }), NotLinearizable);
  }
});
