/** `holdfast snapshot`: states of everything that are kept under a name. `snapshot-restore.ts` has restore and retain. */
import type { Command } from "commander";
import { pathText } from "../base/index.ts";
import type { SnapshotDifference, Store } from "../member/index.ts";
import { formatValue } from "./json-lines.ts";
import { pathForPeople, pathJson } from "./file-text.ts";
import { countText, lineForPeople, printJson, printLine, table, textOf } from "./output.ts";
import { addChoiceOptions, choiceOf, snapshotRow } from "./snapshot-choice.ts";
import type { ChoiceOptions } from "./snapshot-choice.ts";
import { addRestore, addRetain } from "./snapshot-restore.ts";
import { addTargetOptions, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";
import { LinePrinter } from "./tree-report.ts";

export function addTo(command: Command): void {
  addCreate(command);
  addList(command);
  addDiff(command);
  addRestore(command);
  addDelete(command);
  addRetain(command);
  command.addHelpText(
    "after",
    `
A snapshot is the whole store at one revision: keys, files, everything. It costs what changes from then on.

Examples:
  $ holdfast snapshot create before-upgrade
  $ holdfast snapshot diff before-upgrade
  $ holdfast file ls photos --at before-upgrade
  $ holdfast snapshot restore before-upgrade --files photos:2026 --dry-run
  $ holdfast snapshot retain --keep-last 3 --keep-daily 7`,
  );
}

function addCreate(parent: Command): void {
  addTargetOptions(parent.command("create").description("keep everything as it is now"))
    .argument("[name]", "default: the time, as in 2026-11-23T22:04:16Z")
    .addHelpText("after", "\nExamples:\n  $ holdfast snapshot create before-upgrade")
    .action(async (given: string | undefined, options: TargetOptions) => {
      const name = given ?? `${new Date().toISOString().slice(0, 19)}Z`;
      await withStore(options, async (store) => {
        const snapshot = await store.snapshot(name);
        if (options.json) await printJson(snapshot);
        else await printLine(`${lineForPeople(Buffer.from(name))}  revision ${countText(snapshot.revision)}`);
      });
    });
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the snapshots, oldest first"))
    .addHelpText("after", "\nExamples:\n  $ holdfast snapshot list")
    .action(async (options: TargetOptions) => {
      await withStore(options, async (store) => {
        const snapshots = await store.snapshots.list();
        if (options.json) for (const snapshot of snapshots) await printJson(snapshot);
        else if (snapshots.length > 0) await printLine(table(snapshots.map((one) => snapshotRow(one))));
      });
    });
}

function addDiff(parent: Command): void {
  addChoiceOptions(addTargetOptions(parent.command("diff").description("what is not the same in two states")))
    .argument("<a>", "the name of a snapshot")
    .argument("[b]", "of another; absent: the store as it is now")
    .addHelpText(
      "after",
      `
A line begins with + for what only the second has, - for what only the first has, and ~ for what is not the same.

Examples:
  $ holdfast snapshot diff monday tuesday
  $ holdfast snapshot diff before-upgrade --files photos:2026`,
    )
    .action(async (before: string, after: string | undefined, options: TargetOptions & ChoiceOptions) => {
      await withStore(options, (store) => printDifferences(store, before, after, options));
    });
}

async function printDifferences(
  store: Store,
  before: string,
  after: string | undefined,
  options: TargetOptions & ChoiceOptions,
): Promise<void> {
  const lines = new LinePrinter();
  for await (const one of store.snapshots.diff(before, after, choiceOf(options))) {
    await lines.add(options.json ? JSON.stringify(differenceJson(one)) : differenceText(one));
  }
  await lines.end();
}

function differenceText(one: SnapshotDifference): string {
  const sign = one.before === undefined ? "+" : one.after === undefined ? "-" : "~";
  if (one.type === "key") return `${sign} key   ${lineForPeople(one.keyBytes)}`;
  const { bucket, pathBytes, before, after } = one;
  const { type } = (after ?? before)?.content ?? { type: "file" };
  return `${sign} file  ${bucket}:${pathForPeople(pathText(pathBytes))}${type === "folder" ? "/" : ""}`;
}

function differenceJson(one: SnapshotDifference): unknown {
  const change = one.before === undefined ? "added" : one.after === undefined ? "removed" : "changed";
  if (one.type === "key") {
    const { keyBytes, before, after } = one;
    const text = textOf(keyBytes);
    return {
      change,
      ...(text === undefined ? { key64: Buffer.from(keyBytes).toString("base64") } : { key: text }),
      ...(before !== undefined && { before: { ...formatValue(before.bytes), revision: before.revision } }),
      ...(after !== undefined && { after: { ...formatValue(after.bytes), revision: after.revision } }),
    };
  }
  const { bucket, pathBytes, before, after } = one;
  const side = (file: NonNullable<typeof before>) => ({
    type: file.content.type,
    size: file.content.size,
    revision: file.revision,
  });
  return {
    change,
    bucket,
    ...pathJson(pathText(pathBytes)),
    ...(before !== undefined && { before: side(before) }),
    ...(after !== undefined && { after: side(after) }),
  };
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("let go of snapshots"))
    .argument("<names...>")
    .option("--if-exists", "that there is none is no failure")
    .addHelpText("after", "\nExamples:\n  $ holdfast snapshot delete before-upgrade")
    .action(async (names: readonly string[], options: TargetOptions & { readonly ifExists?: boolean }) => {
      await withStore(options, async (store) => {
        for (const name of names) {
          await store.snapshots.delete(name, { ifExists: options.ifExists });
          if (options.json) await printJson({ deleted: name });
          else await printLine(`deleted ${lineForPeople(Buffer.from(name))}`);
        }
      });
    });
}
