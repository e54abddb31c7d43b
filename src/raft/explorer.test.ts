import assert from "node:assert/strict";
import { it } from "node:test";
import { explore } from "./explorer.suite.ts";

/** Long campaigns multiply their size by this. */
const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

it("keeps its promises under random faults, and gets well when they end", () => {
  const sum = { leaders: 0, proposals: 0, reads: 0, committed: 0 };
  for (let seed = 0; seed < 100 * scale; seed += 1) {
    const { counts } = explore(seed, 1_500);
    for (const name of ["leaders", "proposals", "reads", "committed"] as const) sum[name] += counts[name];
  }
  // It is no proof if nothing happened.
  for (const [name, count] of Object.entries(sum)) assert.ok(count > 100 * scale, `only ${count} ${name}`);
});
