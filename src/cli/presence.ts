/** `holdfast presence`: who is here. */
import type { Command } from "commander";
import type { HoldfastError } from "../base/index.ts";
import { runUnder } from "./child.ts";
import { printJson, printLine } from "./output.ts";
import { textOfContent } from "./queue.ts";
import { addTargetOptions, interruptSignal, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addJoin(command);
  addList(command);
  addWatch(command);
  command.addHelpText(
    "after",
    "\nExamples:\n  $ holdfast presence join web --value $(hostname) -- ./server\n  $ holdfast presence list web",
  );
}

interface JoinOptions extends TargetOptions {
  readonly ttl: number;
  readonly value?: string;
}

function addJoin(parent: Command): void {
  addTargetOptions(parent.command("join").description("be here while a command runs, or until interrupted"))
    .argument("<name>", "where")
    .argument("[command...]", "what to run, behind --")
    .option("--ttl <ms>", "how long it is here after this process's last sign of life", parseWhole, 10_000)
    .option("--value <text>", "what the others see of it")
    .addHelpText("after", "\nExamples:\n  $ holdfast presence join web --value $(hostname) -- ./server")
    .action(async (name: string, words: readonly string[], { ttl, value, ...options }: JoinOptions) => {
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        const what = value ?? `process ${process.pid}`;
        const hold = await store.presence<string>(name).join({ ttlMs: ttl, value: what, signal });
        if (words.length > 0) return runUnder(hold, words, signal);
        const ended = AbortSignal.any([hold.signal, signal]);
        await new Promise<void>((resolve) => {
          ended.addEventListener("abort", () => resolve(), { once: true });
          if (ended.aborted) resolve();
        });
        await hold.release();
        if (hold.isLost) throw hold.signal.reason as HoldfastError;
      });
    });
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("who is here, in the order of joining"))
    .argument("<name>", "where")
    .addHelpText("after", "\nExamples:\n  $ holdfast presence list web")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        for await (const { fence, value } of store.presence<string>(name).list()) {
          if (options.json === true) await printJson({ fence, value });
          else await printLine(`${fence}\t${textOfContent(value ?? "")}`);
        }
      });
    });
}

function addWatch(parent: Command): void {
  addTargetOptions(parent.command("watch").description("a line with all who are here, now and after changes"))
    .argument("<name>", "where")
    .addHelpText("after", "\nExamples:\n  $ holdfast presence watch web")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        for await (const here of store.presence<string>(name).watch({ signal })) {
          if (options.json === true) await printJson(here.map(({ fence, value }) => ({ fence, value })));
          else await printLine(here.length === 0 ? "nobody" : here.map(({ value }) => textOfContent(value)).join(", "));
        }
      });
    });
}
