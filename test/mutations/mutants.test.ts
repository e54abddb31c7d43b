/**
 * The simulations bite: every deliberate bug of `mutants.ts` is caught within the seeds of its probe, and the right code
 * passes all of them. `node scripts/mutants.ts` says more about each.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mutants } from "./mutants.ts";
import { probes } from "./probes.ts";
import { runChild, runMutants } from "./run.ts";

test("the right code passes every probe", async () => {
  const used = Object.keys(probes).filter((name) => mutants.some(({ probe }) => probe === name));
  const check = async () => {
    for (let probe = used.shift(); probe !== undefined; probe = used.shift()) {
      const { caught, message } = await runChild(probe);
      assert.equal(caught, 0, `the right code fails ${probe} with seed ${caught}: ${message}`);
    }
  };
  await Promise.all([check(), check()]);
});

test("every mutant is caught", async () => {
  const missed: string[] = [];
  let count = 0;
  await runMutants({
    report({ mutant, caught }) {
      count += 1;
      if (caught === 0) missed.push(mutant.name);
    },
  });
  assert.equal(count, mutants.length);
  assert.deepEqual(missed, []);
});
