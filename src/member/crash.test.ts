/** A whole store, cut at every change of its disk (`crash.suite.ts`). `npm run sim` does the same with many seeds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { crashEverywhere } from "../sim/index.ts";
import type { CrashCampaign } from "../sim/index.ts";
import { storeCrashes } from "./crash.suite.ts";

const campaign = { drain: nextTurn, digest: new NodeDigest(), recoveryCrashes: true };
let cuts = 0;

async function cut(seed: string, roundCount: number, how: Partial<CrashCampaign>): Promise<number> {
  const result = await crashEverywhere({ ...campaign, seed, ...how }, storeCrashes(seed, roundCount));
  cuts += result.crashCount;
  return result.changeCount;
}

test("a store keeps its word when it is cut while and after any change of the disk", async () => {
  const changeCount = await cut("every", 10, { moments: ["during", "after"], unsynced: ["random"] });
  assert.ok(changeCount > 100, `the workload has only ${changeCount} changes`);
});

test("it does so whatever becomes of what was not synced, with other workloads", async () => {
  await cut("lost", 20, { moments: ["after"], unsynced: ["lost"], stride: 5 });
  await cut("kept", 20, { moments: ["during"], unsynced: ["kept"], stride: 7 });
  for (let seed = 0; seed < 6; seed += 1) await cut(`random ${seed}`, 20, { unsynced: ["random"], stride: 31 });
  console.log(`store: ${cuts.toLocaleString("en")} cuts tried`);
});
