/** `holdfast file sync`: a folder of this machine and one of a bucket, brought together both ways. */
import { mkdir } from "node:fs/promises";
import { hostname } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { SyncEvent, SyncOutcome } from "../file/index.ts";
import { NodeDisk } from "../host/index.ts";
import { addSecretOptions, openFiles, parsePlace, placeText } from "./file-place.ts";
import type { FileCommandOptions } from "./file-place.ts";
import { dayText, pathForPeople } from "./file-text.ts";
import { bytesText, countText, durationText } from "./output.ts";
import { addTargetOptions, withStore } from "./target.ts";
import { addTreeOptions, interruptible, patternsOf, treesOf, TreeReport } from "./tree-report.ts";
import type { PatternOptions, TreeCommandOptions } from "./tree-report.ts";

interface SyncCommandOptions extends FileCommandOptions, PatternOptions, TreeCommandOptions {
  readonly json?: boolean;
  readonly delete?: boolean;
  readonly force?: boolean;
}

export function addSync(parent: Command): void {
  const command = addTargetOptions(
    parent.command("sync").description("bring a folder and a bucket together, both ways"),
  )
    .argument("<folder>", "a folder of this machine; made if it is missing")
    .argument("<place>", "BUCKET:PATH")
    .option("--delete", "deletions go to the other side; without it, what one side deleted comes back from the other")
    .option("--force", "with --delete: even if one side is empty, so that all of the other goes");
  addSecretOptions(addTreeOptions(command))
    .addHelpText(
      "after",
      `
What changed on one side since the last time goes to the other. Where both sides changed, both are kept: the one of this
folder under \`name (conflict HOST DATE).ext\`. What the last time was is in the folder's file .holdfast-sync; where that is of
another store or bucket, or there is none, the contents are compared and nothing is deleted.

Examples:
  $ holdfast file sync ~/notes notes:
  $ holdfast file sync ~/project shared:project --exclude node_modules/ --delete --dry-run`,
    )
    .action(async (folder: string, text: string, options: SyncCommandOptions) => {
      const place = parsePlace(text);
      const patterns = await patternsOf(options);
      await withStore(options, async (store) => {
        const files = await openFiles(store, place.bucket, options);
        const trees = await treesOf(files);
        const report = new TreeReport(options.dryRun === true ? "comparing" : "syncing", { ...options, wide: true });
        const warn = (message: string) => report.warn(message);
        try {
          const stopped = "what is done by now stays, and the same command goes on from there";
          const how = {
            label: conflictLabel(),
            store: (await store.members.list()).store,
            patterns,
            delete: options.delete,
            force: options.force,
            dryRun: options.dryRun,
            lock: (where: string) => lockPlace(where, folder, warn),
            warn,
            report: (event: SyncEvent) => report.tell(event),
          };
          const outcome = await interruptible(stopped, (signal) =>
            report.run(({ progress }) => trees.sync(files, resolve(folder), place.path, { ...how, progress, signal })),
          );
          const what = [pathForPeople(folder), pathForPeople(placeText(place))] as const;
          await report.end(syncText(outcome, what, report.elapsedMs, options.dryRun === true), syncJson(outcome));
        } finally {
          report.clear();
        }
      });
    });
}

/**
 * A lock of the system in a small folder of its own, which stays: it ends with this process, however that ends. Taking the
 * folder away could leave two holders.
 */
async function lockPlace(place: string, folder: string, warn: (message: string) => void): Promise<() => Promise<void>> {
  try {
    await mkdir(place, { recursive: true, mode: 0o700 });
    const lock = await new NodeDisk(place).lock();
    return () => lock.release();
  } catch (error) {
    const { code, message } = error instanceof HoldfastError ? error : new HoldfastError("unavailable", String(error));
    if (code === "conflict") {
      const holder = / is in use by (.*);/s.exec(message)?.[1] ?? "another process";
      throw new HoldfastError("conflict", `${folder} is being synchronised by ${holder}; wait for it, or stop it`, {
        cause: error,
      });
    }
    // Not every network file system has locks; whoever has one of those can see to it.
    warn(`${folder} cannot be locked (${message}); let no other sync run in it at the same time`);
    return () => Promise.resolve();
  }
}

/** `ada-laptop 2026-11-23`. */
function conflictLabel(): string {
  const host = hostname().replaceAll("/", "-").split(".", 1)[0] ?? "";
  return `${host} ${dayText(new Date())}`.trim();
}

const parts = [
  ["uploadCount", "up"],
  ["downloadCount", "down"],
  ["deleteStoredCount", "deleted in the store"],
  ["deleteLocalCount", "deleted here"],
  ["conflictCount", "in conflict, both kept"],
  ["skippedCount", "skipped"],
  ["failedCount", "failed"],
] as const;

function syncText(
  outcome: SyncOutcome,
  [folder, place]: readonly [string, string],
  elapsedMs: number,
  dryRun: boolean,
): string {
  const told = parts
    .filter(([name]) => outcome[name] > 0)
    .map(([name, words]) => `${countText(outcome[name])} ${words}`);
  const same = `${countText(outcome.sameCount)} unchanged`;
  const time = durationText(elapsedMs);
  if (told.length === 0) return `${folder} and ${place} are alike (${same}), in ${time}`;
  const news = dryRun ? [] : [`${bytesText(outcome.newSize)} of new bytes`];
  const verb = dryRun ? "would sync" : "synced";
  return `${verb} ${folder} with ${place} (${[...told, same, ...news].join(", ")}), in ${time}`;
}

function syncJson(outcome: SyncOutcome): Record<string, unknown> {
  return {
    up: outcome.uploadCount,
    down: outcome.downloadCount,
    deletedInStore: outcome.deleteStoredCount,
    deletedHere: outcome.deleteLocalCount,
    conflicts: outcome.conflictCount,
    unchanged: outcome.sameCount,
    skipped: outcome.skippedCount,
    failed: outcome.failedCount,
    newBytes: outcome.newSize,
  };
}
