/**
 * The long crash campaign of a whole store (`src/member/crash.suite.ts`): for each seed a workload of its own, cut at the
 * changes of its disk, restarted and checked. Prints each seed that fails and the command that repeats the failure. Exit
 * status 1 if any did.
 *
 *   npm run sim -- store [--seeds 20] [--from 1] [--rounds 20] [--stride 7] [--only '{"change":…,"moment":…,"unsynced":…}']
 *
 * `--stride 1` cuts at every change. `--only` repeats one cut of the seed `--from`.
 */
import { parseArgs } from "node:util";
import { nextTurn, NodeDigest } from "../src/host/index.ts";
import { storeCrashes } from "../src/member/crash.suite.ts";
import { crashEverywhere } from "../src/sim/index.ts";
import type { CrashPoint } from "../src/sim/index.ts";

const { values } = parseArgs({
  args: process.argv.slice(3),
  options: {
    seeds: { type: "string", default: "20" },
    from: { type: "string", default: "1" },
    rounds: { type: "string", default: "20" },
    stride: { type: "string", default: "7" },
    only: { type: "string" },
  },
});
const [seeds, from, rounds, stride] = [values.seeds, values.from, values.rounds, values.stride].map(wholeNumber) as [
  number,
  number,
  number,
  number,
];
const only = values.only === undefined ? undefined : (JSON.parse(values.only) as CrashPoint);

function wholeNumber(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(
    `"${text}" is not a whole number; usage: npm run sim -- store --seeds 20 --from 1 --rounds 20 --stride 7`,
  );
  process.exit(2);
}

const startedMs = performance.now();
const failures: string[] = [];
let cuts = 0;
for (let seed = from; seed < from + (only === undefined ? seeds : 1); seed += 1) {
  try {
    const campaign = { seed, drain: nextTurn, digest: new NodeDigest(), recoveryCrashes: true, stride };
    const result = await crashEverywhere(
      { ...campaign, moments: ["during", "after"], ...(only !== undefined && { only }) },
      storeCrashes(String(seed), rounds),
    );
    cuts += result.crashCount;
    console.log(`seed ${seed}: ${result.changeCount} changes of the disk, ${result.crashCount} cuts, sound`);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const point = /crash (\{.*?\})/.exec(message)?.[1];
    const again = `npm run sim -- store --from ${seed} --rounds ${rounds}${point === undefined ? "" : ` --only '${point}'`}`;
    failures.push(again);
    console.error(`seed ${seed} FAILED: ${message}\nrepeat it with: ${again}`);
  }
}

const seconds = ((performance.now() - startedMs) / 1_000).toFixed(0);
console.log(`store: ${cuts.toLocaleString("en")} cuts tried in ${seconds} s, ${failures.length} seeds failed`);
for (const again of failures) console.log(`failed   ${again}`);
if (failures.length > 0) process.exitCode = 1;
