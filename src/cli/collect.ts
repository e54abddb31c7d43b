/** `holdfast collect`: deletes garbage now, on the member that is asked. It also happens by itself. */
import type { Command } from "commander";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Collecting, Store } from "../member/index.ts";
import { keepText } from "./file-text.ts";
import { bytesText, countText, lineForTerminal, plural, printJson, printLine, remark } from "./output.ts";
import { Progress } from "./progress.ts";
import { addTargetOptions, withMember } from "./target.ts";
import type { TargetOptions } from "./target.ts";
import { interruptible } from "./tree-report.ts";

export function addTo(command: Command): void {
  addTargetOptions(command)
    .option("-n, --dry-run", "only say what would be deleted")
    .addHelpText(
      "after",
      `
What no file, snapshot or old version needs any more is deleted by itself, sooner or later; this does it now, while
everything else goes on, and says what may keep files that were deleted: delete snapshots, or let buckets keep fewer
versions, to free those too.

Examples:
  $ holdfast collect --dry-run
  $ holdfast collect --data ./holdfast-data
  $ holdfast file bucket set photos --keep 0`,
    )
    .action(async (options: TargetOptions & { readonly dryRun?: boolean }) => {
      await withMember(options, async (store) => {
        const progress = new Progress({ label: "collecting", noun: "blobs needed" });
        let last: Collecting | undefined;
        await interruptible("what is deleted by then is deleted", async (signal) => {
          try {
            for await (const step of store.collect({ dryRun: options.dryRun, signal })) {
              last = step;
              const marked = (step.pages?.markedCount ?? 0) + (step.chunks?.markedCount ?? 0);
              progress.update(marked, (step.pages?.sweptSize ?? 0) + (step.chunks?.sweptSize ?? 0));
            }
          } finally {
            progress.clear();
          }
        });
        if (last === undefined || !last.done) {
          throw new HoldfastError("unavailable", "the collection has not come to its end; try again");
        }
        const holders = await holdersOf(store);
        if (options.json) await printJson(collectingJson(last, holders, options.dryRun === true));
        else {
          await printLine(collectingText(last, options.dryRun === true));
          if (options.dryRun !== true) for (const line of stillKept(last, holders)) remark(line);
        }
        failOnMissing(last, options);
      });
    });
}

const none = { markedCount: 0, sweptCount: 0, sweptSize: 0 };

/** Buckets that are named as keeping old versions; more are counted. */
const bucketCountMax = 3;

/** What may keep bytes that no present file needs. */
interface Holders {
  readonly snapshotCount: number;
  readonly buckets: readonly { readonly name: string; readonly keepMs: number }[];
}

async function holdersOf(store: Store): Promise<Holders> {
  const here = { consistency: "local" } as const;
  const snapshots = await store.snapshots.list(here);
  const buckets = await store.buckets.list(here);
  const keeping = buckets.filter(({ keepMs, keepCountMax }) => keepMs > 0 && keepCountMax > 0);
  return { snapshotCount: snapshots.length, buckets: keeping };
}

/** For people, a line for each reason why what was deleted may still take space. */
function stillKept({ uploadCount, kept }: Collecting, { snapshotCount, buckets }: Holders): string[] {
  const lines: string[] = [];
  if (buckets.length > 0) {
    const named = buckets.slice(0, bucketCountMax).map(({ name, keepMs }) => `${name} (${keepText(keepMs)})`);
    if (buckets.length > bucketCountMax) named.push(`${countText(buckets.length - bucketCountMax)} more`);
    lines.push(`still kept: replaced and deleted files of ${plural(buckets.length, "bucket")}: ${named.join(", ")}`);
  }
  if (snapshotCount > 0) lines.push(`still kept: what ${plural(snapshotCount, "snapshot")} ${has(snapshotCount)}`);
  if (uploadCount > 0) lines.push(`still kept: what ${plural(uploadCount, "upload")} under way may need`);
  if (kept !== "") lines.push(`still kept: all chunks, for now: ${kept}`);
  return lines.map((line) => lineForTerminal(line));
}

function has(count: number): string {
  return count === 1 ? "has" : "have";
}

function collectingText({ pages = none, chunks = none }: Collecting, dryRun: boolean): string {
  const verb = dryRun ? "would delete" : "deleted";
  const part = (noun: string, { sweptCount, sweptSize, markedCount }: typeof none) =>
    `${plural(sweptCount, noun)} (${bytesText(sweptSize)}) of ${countText(sweptCount + markedCount)}`;
  return `${verb} ${part("tree page", pages)} and ${part("chunk", chunks)}`;
}

function collectingJson(
  { pages = none, chunks = none, ...rest }: Collecting,
  { snapshotCount, buckets }: Holders,
  dryRun: boolean,
): unknown {
  const { missing, missingCount, uploadCount, kept } = rest;
  return {
    dryRun,
    pages,
    chunks,
    uploads: uploadCount,
    snapshots: snapshotCount,
    bucketsWithVersions: buckets.map(({ name }) => name),
    missing: missing.map(({ hash, where }) => ({ hash: toHex(hash), where })),
    missingCount,
    ...(kept !== "" && { kept }),
  };
}

/** What is needed and not there is damage, and the reason why somebody looks here. */
function failOnMissing({ missing, missingCount }: Collecting, { json }: TargetOptions): void {
  if (missingCount === 0) return;
  if (!json) for (const { hash, where } of missing) remark(`missing: ${toHex(hash).slice(0, 16)}… of ${where}`);
  throw new HoldfastError(
    "corrupt",
    `${plural(missingCount, "blob")} missing or damaged; \`holdfast file verify\` names the files`,
  );
}
