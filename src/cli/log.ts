/** `holdfast log`: where the log stands, what is in it, whether it is whole, and moving it. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { VerifyProgress } from "../member/index.ts";
import { bytesText, plural, printJson, printLine, table } from "./output.ts";
import { Progress } from "./progress.ts";
import { addTargetOptions, directoryEnv, interruptSignal, parseWhole, withMember } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addTargetOptions(command.command("status").description("the first and last position, and what is durable"))
    .addHelpText("after", "\nExamples:\n  $ holdfast log status")
    .action(async (options: TargetOptions) => {
      await withMember(options, async (store) => {
        const { logKind, logStart, logTail, applied, checkpointPosition, durability } = await store.status();
        const facts = {
          engine: logKind,
          start: logStart,
          tail: logTail,
          applied,
          checkpoint: checkpointPosition,
          durability,
        };
        if (options.json) await printJson(facts);
        else await printLine(table(Object.entries(facts).map(([name, value]) => [name, String(value)])));
      });
    });

  addTargetOptions(command.command("tail").description("print the commands in the log, then follow it until Ctrl-C"))
    .option("--from <position>", "the first position; default: the last ten", parseWhole)
    .option("--no-follow", "stop at the tail")
    .addHelpText("after", "\nExamples:\n  $ holdfast log tail\n  $ holdfast log tail --from 0 --no-follow --json")
    .action(async (options: TargetOptions & { readonly from?: number; readonly follow: boolean }) => {
      const signal = interruptSignal();
      const { describeRecord } = await import("../member/index.ts");
      await withMember(options, async (store) => {
        const { logStart, logTail } = await store.status();
        const from = options.from ?? Math.max(logStart, logTail - 10);
        try {
          for await (const { position, records } of store.readLog({ from, follow: options.follow, signal })) {
            for (const [index, bytes] of records.entries()) {
              const record = describeRecord(bytes);
              if (options.json) await printJson({ position: position + index, ...record });
              else await printLine(`${position + index}\t${bytesText(bytes.length)}\t${record.summary}`);
            }
          }
        } catch (error) {
          if (!signal.aborted) throw error;
        }
      });
    });

  addTargetOptions(command.command("verify").description("read the whole log again and check every record"))
    .addHelpText(
      "after",
      "\nIt writes nothing.\n\nExamples:\n  $ holdfast log verify\n  $ holdfast log verify --data ./holdfast-data",
    )
    .action(async (options: TargetOptions) => {
      if (options.data === undefined) {
        await withMember(options, (store) => reportVerify(store.verifyLog(), options));
        return;
      }
      const { verifyDirectory } = await import("../member/index.ts");
      // Without opening the store, so that it also explains why one refuses to open.
      await reportVerify(verifyDirectory(directoryEnv(options.data)), options);
    });

  addTargetOptions(command.command("move").description("move the log to another engine while it is written"))
    .requiredOption("--to <engine>", "file: or nats://host:port[,host:port]/STREAM?replicas=3")
    .addHelpText(
      "after",
      "\nThe old log is removed when two checkpoints lie behind it; a stream that a cluster has left stays, trimmed.\n\nExamples:\n  $ holdfast log move --to 'nats://127.0.0.1:4222/ORDERS'\n  $ holdfast log move --to file:      of a store on its own\n  $ holdfast log move --to raft:      of a cluster",
    )
    .action(async (options: TargetOptions & { readonly to: string }) => {
      await withMember(options, async (store) => {
        const { position, pauseMs } = await store.moveLog(options.to);
        const pause = Math.round(pauseMs * 10) / 10;
        if (options.json) await printJson({ to: options.to, position, pauseMs: pause });
        else await printLine(`the log goes on in ${options.to} from position ${position}; appends waited ${pause} ms`);
      });
    });

  command.addHelpText(
    "after",
    "\nExamples:\n  $ holdfast log status\n  $ holdfast log tail\n  $ holdfast log verify --data ./holdfast-data",
  );
}

/** Shows the progress of a verification, and fails with what it found. */
async function reportVerify(steps: AsyncIterable<VerifyProgress>, options: TargetOptions): Promise<void> {
  const progress = new Progress({ label: "verifying", noun: "records" });
  const damages: string[] = [];
  let count = 0;
  let size = 0;
  for await (const step of steps) {
    ({ count, size } = step);
    progress.update(count, size);
    damages.push(...step.damages);
  }
  const { account } = progress;
  progress.clear();
  if (options.json) await printJson({ records: count, bytes: size, damages });
  else for (const damage of damages) await printLine(damage);
  if (damages.length > 0) {
    const what = `${plural(damages.length, "damaged place")} in ${plural(count, "record")}`;
    throw new HoldfastError("corrupt", `${what}; restore the directory from a copy, and keep this one to look into`);
  }
  if (!options.json) await printLine(`clean: ${account}`);
}
