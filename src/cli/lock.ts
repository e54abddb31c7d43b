/** `holdfast lock` and `holdfast elect`: run a command while a lock is held, or while this one leads. */
import { Option } from "commander";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Hold, Store } from "../member/index.ts";
import { runUnder } from "./child.ts";
import { printJson, printLine } from "./output.ts";
import { textOfContent } from "./queue.ts";
import { addTargetOptions, interruptSignal, parseCount, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

interface LockFlags extends TargetOptions {
  readonly ttl: number;
  readonly try?: boolean;
}

interface ModeFlags extends LockFlags {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly of?: number;
  readonly permits: number;
}

/** A lock, a lock of readers and writers, or a semaphore: each kind has names of its own. */
function take(store: Store, name: string, flags: ModeFlags, signal: AbortSignal): Promise<Hold | undefined> {
  const { read, write, of, permits, ttl: ttlMs } = flags;
  const asked = { ttlMs, signal, value: `process ${process.pid}` };
  const immediately = flags.try === true;
  if (of !== undefined) {
    const semaphore = store.semaphore(name, { permits: of });
    return immediately ? semaphore.tryAcquire({ ...asked, permits }) : semaphore.acquire({ ...asked, permits });
  }
  if (read === true || write === true) {
    const lock = store.readWriteLock(name);
    if (read === true) return immediately ? lock.tryRead(asked) : lock.read(asked);
    return immediately ? lock.tryWrite(asked) : lock.write(asked);
  }
  const lock = store.lock(name);
  return immediately ? lock.tryAcquire(asked) : lock.acquire(asked);
}

export function addTo(command: Command): void {
  addTargetOptions(command)
    .argument("<name>", "the lock")
    .argument("<command...>", "what to run, behind --")
    .option("--ttl <ms>", "how long the lock outlives this process's last sign of life", parseWhole, 10_000)
    .option("--try", "fail at once when somebody else holds it")
    .addOption(new Option("--read", "together with others that read").conflicts(["write", "of"]))
    .addOption(new Option("--write", "alone, of those that read and write").conflicts("of"))
    .option("--of <permits>", "a semaphore with so many permits", parseCount)
    .option("--permits <count>", "how many of them", parseCount, 1)
    .addHelpText("after", helpOf("lock backup -- ./backup.sh", "HOLDFAST_FENCE", "lock is held"))
    .action(async (name: string, words: readonly string[], options: ModeFlags) => {
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        const hold = await take(store, name, options, signal);
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
