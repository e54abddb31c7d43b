/** `holdfast cron`: run a command at the ticks of a schedule, each tick once in the whole cluster. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import { runChild } from "./child.ts";
import { lineForTerminal, printJson, printLine } from "./output.ts";
import { addTargetOptions, interruptSignal, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addRun(command);
  addList(command);
  addDelete(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast cron run report "0 3 * * *" --zone Europe/Berlin -- ./report.sh
  $ holdfast cron list`,
  );
}

interface RunOptions extends TargetOptions {
  readonly zone: string;
  readonly catchUp: string;
  readonly attempts: number;
  readonly ttl: number;
}

function addRun(parent: Command): void {
  addTargetOptions(parent.command("run").description("run a command at every tick, on one machine of all that do so"))
    .argument("<name>")
    .argument("<schedule>", "minute hour day month weekday, or a shortcut such as @hourly")
    .argument("<command...>", "what to run, behind --")
    .option("--zone <name>", "the time zone of the schedule", "UTC")
    .option("--catch-up <which>", "of the ticks that nobody ran: none, last or all", "last")
    .option("--attempts <count>", "how often a tick is begun, if its machines die", parseWhole, 3)
    .option("--ttl <ms>", "how long the turn outlives this process's last sign of life", parseWhole, 10_000)
    .addHelpText(
      "after",
      `
The command runs with the time of the tick in HOLDFAST_TICK (ISO 8601), how often it was begun in HOLDFAST_ATTEMPT,
and a number that grows with each turn in HOLDFAST_FENCE. One that fails is not run again before the next tick. When the
turn is lost it gets SIGTERM, and the tick is begun again where the next turn is.

Examples:
  $ holdfast cron run report "0 3 * * *" --zone Europe/Berlin -- ./report.sh
  $ holdfast cron run tidy @hourly --catch-up none -- ./tidy.sh`,
    )
    .action(async (name: string, schedule: string, words: readonly string[], options: RunOptions) => {
      const { catchUp } = options;
      if (catchUp !== "none" && catchUp !== "last" && catchUp !== "all") {
        throw new HoldfastError("invalid", `--catch-up is ${catchUp}; it is none, last or all`);
      }
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        await store.cron(name).run(
          schedule,
          async (tick) => {
            const variables = {
              HOLDFAST_TICK: new Date(tick.timeMs).toISOString(),
              HOLDFAST_ATTEMPT: String(tick.attempt),
              HOLDFAST_FENCE: String(tick.fence),
            };
            const status = await runChild(words, variables, [tick.signal]);
            tick.signal.throwIfAborted();
            if (status !== 0) throw new Error(`the command has ended with exit status ${status}`);
          },
          { timeZone: options.zone, catchUp, attemptCountMax: options.attempts, ttlMs: options.ttl, signal },
        );
      });
    });
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the crons, with their last and next ticks"))
    .option("--prefix <text>", "only those whose names begin so")
    .addHelpText("after", "\nExamples:\n  $ holdfast cron list")
    .action(async (options: TargetOptions & { readonly prefix?: string }) => {
      await withStore(options, async (store) => {
        for await (const cron of store.crons({ prefix: options.prefix })) {
          const { name, schedule, timeZone, lastMs, nextMs, running, attempt, error } = cron;
          const last = lastMs === undefined ? undefined : new Date(lastMs).toISOString();
          const next = new Date(nextMs).toISOString();
          if (options.json === true) {
            await printJson({ name, schedule, timeZone, last, next, running, attempt, error });
            continue;
          }
          const state = running ? "runs" : error === "" ? "done" : `failed: ${error}`;
          const what = last === undefined ? "never ran" : `last ${last}, ${state}`;
          await printLine(`${lineForTerminal(name)}\t${schedule} ${timeZone}\t${lineForTerminal(what)}\tnext ${next}`);
        }
      });
    });
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("forget a cron and its last tick"))
    .argument("<name>")
    .addHelpText("after", "\nExamples:\n  $ holdfast cron delete report")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const existed = await store.cron(name).delete();
        if (!existed) throw new HoldfastError("notFound", `there is no cron ${name}`);
        await printLine(`cron ${lineForTerminal(name)} was deleted`);
      });
    });
}
