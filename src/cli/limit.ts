/** `holdfast limit`: ask a rate limiter. */
import type { Command } from "commander";
import { ChildEnded, durationText, printJson, printLine } from "./output.ts";
import { addTargetOptions, interruptSignal, parseCount, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

interface LimitOptions extends TargetOptions {
  readonly permits: number;
  readonly per: number;
  readonly burst?: number;
  readonly take: number;
  readonly wait?: boolean;
}

export function addTo(command: Command): void {
  addTargetOptions(command)
    .argument("<name>", "the limiter; all who use it should give the same rate")
    .requiredOption("--permits <count>", "how many are allowed", parseCount)
    .option("--per <ms>", "in how many milliseconds", parseCount, 1_000)
    .option("--burst <count>", "how many at once after a rest; default: --permits", parseCount)
    .option("--take <count>", "how many to take", parseCount, 1)
    .option("--wait", "until they are allowed")
    .addHelpText(
      "after",
      `
Without --wait the exit status is 1 when they are not allowed now.

Examples:
  $ holdfast limit mail --permits 100 --per 60000 && ./send.sh
  $ holdfast limit api --permits 5 --wait`,
    )
    .action(async (name: string, { permits, per, burst, take, wait, ...options }: LimitOptions) => {
      await withStore(options, async (store) => {
        const limiter = store.rateLimiter(name, { permits, perMs: per, burst });
        if (wait === true) return limiter.wait(take, { signal: interruptSignal() });
        const { allowed, waitMs, left } = await limiter.take(take);
        if (options.json === true) await printJson({ allowed, waitMs, left });
        else await printLine(allowed ? `allowed; ${left} left` : `not before ${durationText(waitMs)}`);
        if (!allowed) throw new ChildEnded(1);
      });
    });
}
