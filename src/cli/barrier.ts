/** `holdfast barrier`: wait until so many have arrived. */
import type { Command } from "commander";
import { printJson, printLine } from "./output.ts";
import { addTargetOptions, interruptSignal, parseCount, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addTargetOptions(command)
    .argument("<name>")
    .requiredOption("--count <count>", "for how many it waits; all give the same", parseCount)
    .option("--ttl <ms>", "how long the place outlives this process's last sign of life", parseWhole, 10_000)
    .addHelpText("after", "\nPrints how often it has opened.\n\nExamples:\n  $ holdfast barrier ready --count 3")
    .action(async (name: string, { count, ttl, ...options }: TargetOptions & { count: number; ttl: number }) => {
      await withStore(options, async (store) => {
        const opened = await store.barrier(name, { count }).arrive({ ttlMs: ttl, signal: interruptSignal() });
        await (options.json === true ? printJson({ name, opened }) : printLine(String(opened)));
      });
    });
}
