/** `holdfast lock` and `holdfast elect`: run a command while a lock is held, or while this one leads. */
import { spawn } from "node:child_process";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Hold } from "../member/index.ts";
import { ChildEnded, printJson, printLine } from "./output.ts";
import { textOfContent } from "./queue.ts";
import { addTargetOptions, interruptSignal, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

interface LockFlags extends TargetOptions {
  readonly ttl: number;
  readonly try?: boolean;
}

export function addTo(command: Command): void {
  addTargetOptions(command)
    .argument("<name>", "the lock")
    .argument("<command...>", "what to run, behind --")
    .option("--ttl <ms>", "how long the lock outlives this process's last sign of life", parseWhole, 10_000)
    .option("--try", "fail at once when somebody else holds it")
    .addHelpText("after", helpOf("lock backup -- ./backup.sh", "HOLDFAST_FENCE", "lock is held"))
    .action(async (name: string, words: readonly string[], options: LockFlags) => {
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        const lock = store.lock(name);
        const asked = { ttlMs: options.ttl, signal, value: `process ${process.pid}` };
        const hold = options.try === true ? await lock.tryAcquire(asked) : await lock.acquire(asked);
        if (hold === undefined) throw new HoldfastError("conflict", `the lock ${name} is held by somebody else`);
        await runUnder(hold, words, signal);
      });
    });
}

export function addElectionTo(command: Command): void {
  addTargetOptions(command)
    .argument("<name>", "the election")
    .argument("[command...]", "what to run while this one leads, behind --")
    .option("--ttl <ms>", "how long it leads after this process's last sign of life", parseWhole, 10_000)
    .option("--value <text>", "what the others see of the leader")
    .option("--observe", "only print who leads, now and after changes")
    .addHelpText(
      "after",
      helpOf("elect scheduler --value $(hostname) -- ./scheduler", "HOLDFAST_FENCE", "this one leads"),
    )
    .action(async (name: string, words: readonly string[], options: LockFlags & ElectFlags) => {
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        const election = store.election<string>(name);
        if (options.observe === true || words.length === 0) {
          for await (const leader of election.observe({ signal })) {
            if (options.json) await printJson(leader === undefined ? {} : { fence: leader.fence, value: leader.value });
            else
              await printLine(
                leader === undefined ? "nobody leads" : `${leader.fence}\t${textOfContent(leader.value ?? "")}`,
              );
          }
          return;
        }
        const hold = await election.campaign({
          ttlMs: options.ttl,
          value: options.value ?? `process ${process.pid}`,
          signal,
        });
        await runUnder(hold, words, signal);
      });
    });
}

interface ElectFlags {
  readonly value?: string;
  readonly observe?: boolean;
}

function helpOf(example: string, variable: string, when: string): string {
  return `
The command runs while the ${when}, with the fence, a number that grows with each holder, in ${variable}. When it
ends, its exit status is this one's. When the lock is lost it gets SIGTERM, and the exit status is 1.

Examples:
  $ holdfast ${example}`;
}

/** The command gets SIGTERM when what it runs under is lost, or when this process is interrupted. */
async function runUnder(hold: Hold, [file = "", ...args]: readonly string[], interrupted: AbortSignal): Promise<void> {
  const child = spawn(file, args, { stdio: "inherit", env: { ...process.env, HOLDFAST_FENCE: String(hold.fence) } });
  const end = () => void child.kill("SIGTERM");
  hold.signal.addEventListener("abort", end, { once: true });
  interrupted.addEventListener("abort", end, { once: true });
  if (hold.isLost || interrupted.aborted) end();
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", (error) => reject(new HoldfastError("invalid", `cannot run ${file}: ${error.message}`)));
    child.once("exit", (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
  let status: number;
  try {
    status = await ended;
  } finally {
    await hold.release();
  }
  if (hold.isLost) throw hold.signal.reason as HoldfastError;
  if (status !== 0) throw new ChildEnded(status);
}
