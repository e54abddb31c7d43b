/** The other checkers on what they must accept and what they must find, and the recorder of histories. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { actions, History, LeaseChecker, RootChecker, SessionChecker, Violation, WatchChecker } from "./index.ts";
import type { Change } from "./index.ts";

function throws(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error) => error instanceof Violation && message.test(error.message));
}

test("a history keeps the order of calls at one moment, and knows an error's meaning", () => {
  const history = new History();
  const open = history.begin("a", 5, actions.put("k", "1"));
  const calls = Array.from({ length: 4 }, () => history.begin("b", 5, actions.put("k", "2", { value: undefined })));
  calls[0]?.ok(5, { revision: 1 });
  calls[1]?.threw(5, new HoldfastError("conflict", "no"));
  calls[2]?.threw(4, new HoldfastError("unavailable", "no", { maybe: true }));
  calls[3]?.threw(6, new HoldfastError("unavailable", "no"));
  const plain = history.begin("c", 6, actions.put("k", "3"));
  plain.threw(7, new HoldfastError("conflict", "a plain put has no condition that could be refused"));
  history.begin("c", 8, actions.get("k")).threw(9, new Error("something else"));
  const { operations } = history;
  assert.deepEqual(
    operations.map(({ outcome }) => outcome.kind),
    ["unknown", "ok", "refused", "unknown", "failed", "failed", "unknown"],
  );
  assert.deepEqual(history.counts, { ok: 1, refused: 1, failed: 2, unknown: 3 });
  assert.equal(operations[0]?.end, Number.POSITIVE_INFINITY);
  const moments = [...operations.map(({ begin }) => begin), ...operations.slice(1).map(({ end }) => end)];
  assert.equal(new Set(moments).size, moments.length);
  assert.ok((operations[4]?.begin ?? 0) < (operations[1]?.end ?? 0));
  open.becomes(actions.put("k", "4"));
  assert.equal(history.operations[0]?.action.text, "put k = 4");
  assert.throws(() => calls[0]?.failed(9), /a call ends once/);
});

/** A watch of all keys but x that has delivered these. */
function told(events: readonly Change[]): WatchChecker {
  const checker = new WatchChecker({ name: "watch of a and b", from: 1, wants: ({ key }) => key !== "x" });
  for (const event of events) checker.event(event);
  return checker;
}

describe("watch", () => {
  const changes: readonly Change[] = [
    { revision: 1, key: "a", value: "1" },
    { revision: 2, key: "x", value: "2" },
    { revision: 3, key: "a", value: "3" },
    { revision: 3, key: "b", value: "3" },
    { revision: 5, key: "a", value: undefined },
  ];
  const wanted = changes.filter(({ key, revision }) => key !== "x" && revision >= 1);
  test("all of it, and any beginning of it, passes", () => {
    for (let count = 0; count <= wanted.length; count += 1) told(wanted.slice(0, count)).finish(changes);
    const checker = told(wanted);
    checker.progress(9);
    checker.finish(changes, { through: 9 });
    assert.deepEqual([checker.eventCount, checker.revision], [4, 9]);
  });

  test("going back, repeating, and what was not asked for are found at once", () => {
    throws(() => told([...wanted, wanted[0] as Change]), /went back from revision 5 to a = 1 of revision 1/);
    throws(() => told([...wanted, wanted.at(-1) as Change]), /delivered twice a = nothing of revision 5/);
    throws(() => told([changes[1] as Change]), /x = 2 of revision 2, which it did not ask for/);
    const late = new WatchChecker({ name: "late", from: 3 });
    throws(() => late.event(changes[0] as Change), /late delivered a = 1 of revision 1; it began at revision 3/);
  });

  test("progress ahead of an event, and progress that goes back", () => {
    const checker = told(wanted.slice(0, 1));
    checker.progress(4);
    throws(() => checker.event(wanted[1] as Change), /after the notice of progress to 4/);
    throws(() => checker.progress(3), /told of progress to 3; it was at 4 before/);
    throws(() => checker.finish(changes), /has not delivered a = 3 of revision 3, though it got to revision 4/);
  });

  test("a gap, half a revision, another order, another value, something that never happened", () => {
    throws(
      () => told(wanted.toSpliced(1, 2)).finish(changes),
      /delivered a = nothing of revision 5 where there was a = 3/,
    );
    throws(() => told(wanted.toSpliced(2, 1)).finish(changes), /where there was b = 3 of revision 3/);
    throws(() => told(wanted.slice(0, 2)).finish(changes, { through: 3 }), /has not delivered b = 3 of revision 3/);
    throws(() => told([]).finish(changes, { through: 5 }), /has not delivered a = 1/);
    const swapped = [wanted[0], wanted[2], wanted[1]] as Change[];
    throws(() => told(swapped).finish(changes), /delivered b = 3 of revision 3 where there was a = 3/);
    throws(() => told([{ revision: 1, key: "a", value: "9" }]).finish(changes), /delivered a = 9/);
    throws(() => told([...wanted, { revision: 6, key: "b", value: "6" }]).finish(changes), /which never happened/);
  });
});

/** Commands that have been sent. */
function sent(...commands: readonly string[]): SessionChecker {
  const checker = new SessionChecker();
  for (const command of commands) checker.sent(command);
  return checker;
}

describe("session", () => {
  test("once each: acknowledged, refused, unknown with and without effect, answered twice the same", () => {
    const checker = sent("a", "b", "c", "d");
    checker.answered("a", { kind: "unknown" });
    checker.answered("a", { kind: "done", revision: 1 });
    checker.answered("a", { kind: "done", revision: 1 });
    checker.answered("b", { kind: "refused" });
    const effects = [
      { command: "a", revision: 1 },
      { command: "c", revision: 2 },
    ];
    assert.deepEqual(checker.finish(effects), { doneCount: 1, unknownCount: 2 });
  });

  test("doubled, lost, elsewhere, after a refusal, never sent, answered otherwise", () => {
    const checker = sent("a", "b");
    checker.answered("a", { kind: "done", revision: 1 });
    checker.answered("b", { kind: "refused" });
    const first = { command: "a", revision: 1 };
    throws(
      () => checker.finish([first, { command: "a", revision: 2 }]),
      /a took effect twice, at the revisions 1 and 2/,
    );
    throws(() => checker.finish([]), /a was done at revision 1; there is no trace of it/);
    throws(() => checker.finish([{ command: "a", revision: 2 }]), /it took effect at 2/);
    throws(
      () => checker.finish([first, { command: "b", revision: 2 }]),
      /b was refused, and took effect at revision 2/,
    );
    throws(() => checker.finish([first, { command: "c", revision: 2 }]), /c took effect and was never sent/);
    throws(
      () => checker.answered("a", { kind: "done", revision: 2 }),
      /a was done at revision 1, and then done at revision 2/,
    );
    throws(() => checker.answered("a", { kind: "refused" }), /and then refused/);
    throws(() => checker.answered("c", { kind: "refused" }), /c, which was not sent/);
    throws(() => checker.sent("a"), /two commands are named a/);
  });
});

/** A lease that was granted, given a key and kept alive once. */
function lease(driftMax = 0): LeaseChecker {
  const checker = new LeaseChecker({ driftMax });
  checker.granted("L", 1_000, 100);
  checker.attached("k", "L", 150);
  checker.keptAlive("L", 600);
  return checker;
}

describe("lease", () => {
  test("gone when its time had passed, by the fastest clock; when revoked; when freed; before it was put", () => {
    const cases: ((checker: LeaseChecker) => void)[] = [
      (checker) => checker.gone("k", 1_590, 1_600),
      (checker) => checker.gone("k", 120, 140),
      (checker) => {
        checker.revoking("L", 700);
        checker.gone("k", 650, 710);
      },
      (checker) => {
        checker.freeing("k", 700);
        checker.gone("k", 700, 701);
      },
    ];
    for (const tell of cases) {
      const checker = lease();
      tell(checker);
      assert.deepEqual(checker.finish(), { sightingCount: 1 });
    }
    const fast = lease(0.25);
    fast.gone("k", 1_390, 1_400);
    fast.finish();
  });

  test("gone too early: since the grant, since it was kept alive, also if that was answered later", () => {
    const checker = lease(0.25);
    checker.gone("k", 1_390, 1_399);
    throws(
      () => checker.finish(),
      /k was gone at 1399.000 ms, 1.000 ms before its lease L could end: kept alive at 600.000 ms/,
    );
    const late = lease();
    late.gone("k", 1_700, 1_701);
    late.keptAlive("L", 1_650);
    throws(() => late.finish(), /949.000 ms before/);
    const revokedLater = lease();
    revokedLater.gone("k", 700, 701);
    revokedLater.revoking("L", 702);
    throws(() => revokedLater.finish(), /kept alive at 600/);
    throws(() => checker.keptAlive("M", 1), /lease M was never granted/);
    throws(() => checker.attached("k", "L", 1), /second lease/);
  });
});

test("roots: equal where the position is, whoever says so and when", () => {
  const checker = new RootChecker();
  checker.observe({ member: "a", position: 10, root: "aa" });
  checker.observe({ member: "b", position: 11, root: "bb" });
  checker.observe({ member: "b", position: 10, root: "aa" });
  assert.equal(checker.positionCount, 2);
  throws(
    () => checker.observe({ member: "c", position: 11, root: "cc" }),
    /at position 11, b has the root bb and c has cc/,
  );
});
