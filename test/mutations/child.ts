/**
 * One mutant in a process of its own: changes the source's text as it is loaded, then runs the mutant's probe over its seeds
 * until something throws.
 *
 *   node test/mutations/child.ts INDEX [SEEDS]     the mutant of that index
 *   node test/mutations/child.ts PROBE [SEEDS]     the right code
 *
 * The last line of its output is JSON: { caught: the seed or 0, message }. Exit status 2 when the text to be changed does
 * not stand exactly once in its file.
 */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { mutants } from "./mutants.ts";
import type { Mutant } from "./mutants.ts";
import { probes } from "./probes.ts";
import type { ProbeName } from "./probes.ts";

const [which = "", seedCount] = process.argv.slice(2);
const mutant = /^\d+$/.test(which) ? mutants[Number(which)] : undefined;
const probe = probes[mutant?.probe ?? (which as ProbeName)];
if (mutant !== undefined) apply(mutant);
let seed = 0;
process.on("unhandledRejection", (error) => end(seed, error));
process.on("uncaughtException", (error) => end(seed, error));
for (seed = 1; seed <= (seedCount === undefined ? probe.seedCount : Number(seedCount)); seed++) {
  try {
    await probe.run(seed);
  } catch (error) {
    end(seed, error);
  }
}
end(0, undefined);

function apply({ file, find, replace }: Mutant): void {
  const url = new URL(`../../src/${file}`, import.meta.url);
  const count = readFileSync(url, "utf8").split(find).length - 1;
  if (count !== 1) {
    console.error(`${file} has it ${count} times: ${find}`);
    process.exit(2);
  }
  registerHooks({
    load(name, context, next) {
      const loaded = next(name, context);
      if (name !== url.href || loaded.source === undefined || loaded.source === null) return loaded;
      const text = typeof loaded.source === "string" ? loaded.source : new TextDecoder().decode(loaded.source);
      return { ...loaded, source: text.replace(find, () => replace) };
    },
  });
}

function end(caught: number, error: unknown): never {
  const message = error instanceof Error ? error.message : error === undefined ? "" : JSON.stringify(error);
  // The end of a long account says what went wrong, its beginning where.
  const brief = message.length > 1_200 ? `${message.slice(0, 600)}\n…\n${message.slice(-600)}` : message;
  console.log(JSON.stringify({ caught, message: brief }));
  process.exit(0);
}
