/** `holdfast collect`: deletes garbage now, on the member that is asked. It also happens by itself. */
import type { Command } from "commander";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Collecting } from "../member/index.ts";
import { bytesText, countText, dim, plural, printJson, printLine, remark } from "./output.ts";
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
everything else goes on.

Examples:
  $ holdfast collect --dry-run
  $ holdfast collect --data ./holdfast-data`,
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
        if (options.json) await printJson(collectingJson(last, options.dryRun === true));
        else await printLine(collectingText(last, options.dryRun === true));
        failOnMissing(last, options);
      });
    });
}

const none = { markedCount: 0, sweptCount: 0, sweptSize: 0 };

function collectingText({ pages = none, chunks = none, uploadCount, kept }: Collecting, dryRun: boolean): string {
  const verb = dryRun ? "would delete" : "deleted";
  const part = (noun: string, { sweptCount, sweptSize, markedCount }: typeof none) =>
    `${plural(sweptCount, noun)} (${bytesText(sweptSize)}) of ${countText(sweptCount + markedCount)}`;
  const lines = [`${verb} ${part("tree page", pages)} and ${part("chunk", chunks)}`];
  if (uploadCount > 0) lines.push(dim(`${plural(uploadCount, "upload")} under way: what they need stays`));
  if (kept !== "") lines.push(`chunks stay for now: ${kept}`);
  return lines.join("\n");
}

function collectingJson({ pages = none, chunks = none, ...rest }: Collecting, dryRun: boolean): unknown {
  const { missing, missingCount, uploadCount, kept } = rest;
  return {
    dryRun,
    pages,
    chunks,
    uploads: uploadCount,
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
