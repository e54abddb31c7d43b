/**
 * Shows that the simulations bite: every deliberate bug of `test/mutations/mutants.ts` must be caught by its probe within
 * its seeds. Prints a line for each, and how long it took. Exit status 1 if one gets through.
 *
 *   node scripts/mutants.ts [--only TEXT] [--seeds N] [--messages]
 */
import { parseArgs } from "node:util";
import { runMutants } from "../test/mutations/run.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    seeds: { type: "string" },
    messages: { type: "boolean", default: false },
  },
});

const seedCount = values.seeds === undefined ? undefined : Number(values.seeds);
let missed = 0;
await runMutants({
  only: values.only,
  ...(seedCount !== undefined && { seedCount }),
  report({ mutant, caught, message, seconds }) {
    if (caught === 0) missed += 1;
    const outcome = caught === 0 ? `GETS THROUGH ${mutant.probe}` : `caught by ${mutant.probe}, seed ${caught}`;
    console.log(`${mutant.name}: ${outcome}, ${seconds.toFixed(1)} s`);
    if (values.messages) console.log(message);
  },
});
console.log(missed === 0 ? "every mutant was caught" : `${missed} mutants got through`);
process.exitCode = missed > 0 ? 1 : 0;
