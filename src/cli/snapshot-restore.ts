/** `holdfast snapshot restore` and `retain`. */
import type { Command } from "commander";
import { pathText } from "../base/index.ts";
import type { RestoreChange, RetentionReason, RetentionRules } from "../file/index.ts";
import type { Store } from "../member/index.ts";
import { parseDuration, parseKept, pathForPeople, pathJson } from "./file-text.ts";
import { countText, lineForPeople, plural, printJson, printLine, table, textOf, UsageError } from "./output.ts";
import { Progress } from "./progress.ts";
import { addChoiceOptions, choiceOf, snapshotRow } from "./snapshot-choice.ts";
import type { ChoiceOptions } from "./snapshot-choice.ts";
import { addTargetOptions, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";
import { interruptible, LinePrinter } from "./tree-report.ts";

interface RestoreOptions extends TargetOptions, ChoiceOptions {
  readonly dryRun?: boolean;
  readonly verbose?: boolean;
}

export function addRestore(parent: Command): void {
  addChoiceOptions(addTargetOptions(parent.command("restore").description("put back what differs from a snapshot")))
    .argument("<name>", "of the snapshot")
    .option("-n, --dry-run", "only say what would be done")
    .option("-v, --verbose", "say what is done")
    .addHelpText(
      "after",
      `
What has changed is as it was, what is new is deleted; no bytes are moved. Without --keys and --files: everything.
What it replaces stays in the history: a snapshot made before keeps all of it.

Examples:
  $ holdfast snapshot restore before-upgrade --dry-run
  $ holdfast snapshot restore before-upgrade --keys user/ --files photos:2026/`,
    )
    .action(async (name: string, options: RestoreOptions) => {
      await withStore(options, (store) => restoreSnapshot(store, name, options));
    });
}

async function restoreSnapshot(store: Store, name: string, options: RestoreOptions): Promise<void> {
  const { dryRun = false, json } = options;
  const shown = dryRun || options.verbose === true;
  const { keys, files } = choiceOf(options);
  const choice = { snapshot: name, keys: keys === undefined ? undefined : { prefix: keys }, files };
  const progress = new Progress({ label: "restoring", noun: "changes" });
  const lines = new LinePrinter();
  const counts = { key: 0, file: 0 };
  let revision: number | undefined;
  let atomic = true;
  await interruptible("what is restored by then stays; the same command goes on from there", async (signal) => {
    try {
      for await (const step of store.snapshots.restore({ ...choice, dryRun, signal })) {
        for (const change of step.changes) {
          counts[change.difference.type]++;
          if (!shown) continue;
          progress.clear();
          await lines.add(json ? JSON.stringify(changeJson(change)) : changeText(change));
        }
        ({ atomic } = step);
        revision = step.revision ?? revision;
        progress.update(step.count, 0);
        await lines.end();
      }
    } finally {
      progress.clear();
      await lines.end();
    }
  });
  if (json) {
    await printJson({ keys: counts.key, files: counts.file, atomic, ...(dryRun && { dryRun }), revision });
    return;
  }
  const what = `${plural(counts.key, "key")} and ${plural(counts.file, "file")}`;
  const how = atomic ? "at one revision" : "in several steps";
  if (counts.key + counts.file === 0) await printLine("nothing differs from the snapshot");
  else if (dryRun) await printLine(`would restore ${what}, ${how}`);
  else
    await printLine(
      `restored ${what}, ${atomic ? "at" : "in several steps, the last at"} revision ${countText(revision ?? 0)}`,
    );
}

function changeText({ action, difference }: RestoreChange): string {
  const verb = action === "delete" ? "delete" : difference.after === undefined ? "add   " : "change";
  if (difference.type === "key") return `${verb}  key   ${lineForPeople(difference.key)}`;
  return `${verb}  file  ${difference.bucket}:${pathForPeople(pathText(difference.path))}`;
}

function changeJson({ action, difference }: RestoreChange): unknown {
  if (difference.type === "file") return { action, bucket: difference.bucket, ...pathJson(pathText(difference.path)) };
  const text = textOf(difference.key);
  return {
    action,
    ...(text === undefined ? { key64: Buffer.from(difference.key).toString("base64") } : { key: text }),
  };
}

interface RetainOptions extends TargetOptions {
  readonly keepLast?: number;
  readonly keepHourly?: number;
  readonly keepDaily?: number;
  readonly keepWeekly?: number;
  readonly keepMonthly?: number;
  readonly keepYearly?: number;
  readonly keepWithin?: number;
  readonly dryRun?: boolean;
}

/** What keeps a snapshot, for people. */
const reasonText: Readonly<Record<RetentionReason, string>> = {
  last: "last",
  hourly: "hourly",
  daily: "daily",
  weekly: "weekly",
  monthly: "monthly",
  yearly: "yearly",
  withinMs: "within",
};

export function addRetain(parent: Command): void {
  addTargetOptions(parent.command("retain").description("delete the snapshots that no rule keeps"))
    .option("--keep-last <count>", "the newest so many, or all", parseKept)
    .option("--keep-hourly <count>", "the newest of each of the last so many hours in which there is one", parseKept)
    .option("--keep-daily <count>", "the same for days (of UTC)", parseKept)
    .option("--keep-weekly <count>", "for weeks", parseKept)
    .option("--keep-monthly <count>", "for months", parseKept)
    .option("--keep-yearly <count>", "for years", parseKept)
    .option("--keep-within <duration>", "all that are at most so much older than the newest: 12h, 30d", parseDuration)
    .option("-n, --dry-run", "only say what would be done")
    .addHelpText(
      "after",
      `
A snapshot stays that any of the rules keeps.

Examples:
  $ holdfast snapshot retain --keep-last 3 --keep-daily 7 --keep-weekly 5 --dry-run`,
    )
    .action(async (options: RetainOptions) => {
      const rules: RetentionRules = {
        last: options.keepLast,
        hourly: options.keepHourly,
        daily: options.keepDaily,
        weekly: options.keepWeekly,
        monthly: options.keepMonthly,
        yearly: options.keepYearly,
        withinMs: options.keepWithin,
      };
      if (Object.values(rules).every((rule) => rule === undefined)) {
        throw new UsageError("give a rule, such as --keep-last 3: without one all snapshots would go");
      }
      const { dryRun, json } = options;
      await withStore(options, async (store) => {
        const judged = await store.snapshots.retain(rules, { dryRun });
        if (json) {
          for (const { snapshot, reasons } of judged) {
            const { name, revision, timeMs } = snapshot;
            await printJson({
              name,
              revision,
              timeMs,
              kept: reasons.length > 0,
              reasons: reasons.map((one) => reasonText[one]),
            });
          }
          return;
        }
        const gone = judged.filter(({ reasons }) => reasons.length === 0).length;
        const rows = judged.map(({ snapshot, reasons }) => {
          const { name, revision, timeMs } = snapshot;
          const why = reasons.map((one) => reasonText[one]).join(", ");
          return [reasons.length > 0 ? "keep" : "delete", ...snapshotRow({ name, revision, timeMs }), why];
        });
        if (rows.length > 0) await printLine(table(rows));
        const verb = dryRun === true ? "would delete" : "deleted";
        await printLine(`${verb} ${plural(gone, "snapshot")}, ${countText(judged.length - gone)} kept`);
      });
    });
}
