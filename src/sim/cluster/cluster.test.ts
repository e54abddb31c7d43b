/**
 * Whole clusters under faults (`run.suite.ts`): the same seeds in every run, then fresh ones as long as there is time. A
 * failure says how to run its seed again; `npm run sim` runs as many seeds as one likes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeSchedule } from "./faults.ts";
import { runCluster } from "./run.suite.ts";
import type { ClusterReport } from "./run.suite.ts";
import { Prng } from "../prng.ts";

const minutes = 0.3;
const clients = 2;
/** How long fresh seeds are tried. Long campaigns multiply it. */
const freshMs = 25_000 * Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

async function run(seed: string | number, members: number): Promise<ClusterReport> {
  try {
    return await runCluster({ seed, memberCount: members, clientCount: clients, durationMs: 60_000 * minutes });
  } catch (error) {
    const again = `npm run sim -- --seed ${seed} --members ${members} --clients ${clients} --minutes ${minutes}`;
    throw new Error(`${(error as Error).message}\nrun it again with: ${again}`, { cause: error });
  }
}

test("the same seed makes the same run, event by event", async () => {
  const [first, second] = [await run("twice", 3), await run("twice", 3)];
  assert.equal(first.fingerprint, second.fingerprint);
  assert.deepEqual(first, second);
});

test("clusters of one, three, four and five members keep every promise under faults", async () => {
  const faults = new Map<string, number>();
  let calls = 0;
  for (const [seed, members] of [3, 1, 5, 3, 4, 3, 5, 1].entries()) {
    const report = await run(seed, members);
    for (const [kind, count] of report.faults) faults.set(kind, (faults.get(kind) ?? 0) + count);
    calls += report.calls["ok"] ?? 0;
  }
  // It is no proof if nothing happened.
  assert.ok(faults.size >= 15, [...faults.keys()].join());
  assert.ok(calls > 2_000, `${calls} calls`);
});

test("so they do with seeds that nobody has seen before", async () => {
  const startedMs = performance.now();
  const first = Math.floor(Date.now() / 1_000);
  let simulatedMs = 0;
  let count = 0;
  for (; performance.now() - startedMs < freshMs; count++) {
    simulatedMs += (await run(first + count, count % 3 === 2 ? 5 : 3)).simulatedMs;
  }
  console.log(`clusters: ${count} fresh seeds from ${first}, ${(simulatedMs / 60_000).toFixed(1)} simulated minutes`);
});

test("a schedule follows from its seed, in the order of time, with every kind of fault", () => {
  const options = { seatCount: 5, durationMs: 2_000_000 };
  const schedule = makeSchedule(new Prng(1), options);
  assert.deepEqual(makeSchedule(new Prng(1), options), schedule);
  assert.notDeepEqual(makeSchedule(new Prng(2), options), schedule);
  assert.deepEqual(
    schedule.toSorted((a, b) => a.atMs - b.atMs),
    schedule,
  );
  assert.equal(new Set(schedule.map(({ fault }) => fault.kind)).size, 24);
  assert.deepEqual(JSON.parse(JSON.stringify(schedule)), schedule);
  const only = makeSchedule(new Prng(1), { ...options, weights: { kill: 1 } });
  assert.deepEqual(new Set(only.map(({ fault }) => fault.kind)), new Set(["kill"]));
});
