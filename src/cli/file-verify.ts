/** `holdfast file verify`: reads every byte of files again, through all checks, and names what is damaged. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { TreeOutcome } from "../file/index.ts";
import type { Store } from "../member/index.ts";
import { addAtOption, addSecretOptions, openFilesAt, parseBucketPlace, placeText } from "./file-place.ts";
import type { FileCommandOptions, Place } from "./file-place.ts";
import { plural, UsageError } from "./output.ts";
import { addTargetOptions, withStore } from "./target.ts";
import { addOutcomes, detailsText, filesText, interruptible, outcomeJson, treesOf, TreeReport } from "./tree-report.ts";

export function addVerify(parent: Command): void {
  const command = addTargetOptions(
    parent.command("verify").description("read all bytes again and name what is damaged"),
  ).argument("[place]", "BUCKET or BUCKET:PATH; absent: all buckets");
  addSecretOptions(addAtOption(command))
    .addHelpText(
      "after",
      `
Exit status 1 if anything is damaged or missing. Damage is also looked for in the background, and repaired from another
member where there is one.

Examples:
  $ holdfast file verify
  $ holdfast file verify photos:2026 --at before-upgrade`,
    )
    .action(async (text: string | undefined, options: FileCommandOptions) => {
      if (text === undefined && options.at !== undefined) {
        throw new UsageError("--at needs a bucket: file verify BUCKET --at MOMENT");
      }
      await withStore(options, async (store) => {
        const places = text === undefined ? await allPlaces(store) : [parseBucketPlace(text)];
        await verifyAll(store, places, options);
      });
    });
}

async function allPlaces(store: Store): Promise<Place[]> {
  const buckets = await store.buckets.list();
  return buckets.filter(({ fileCount }) => fileCount > 0).map(({ name }) => ({ bucket: name, path: "" }));
}

async function verifyAll(store: Store, places: readonly Place[], options: FileCommandOptions): Promise<void> {
  const report = new TreeReport("verifying", options);
  const counts = { fileCount: 0, size: 0, unchangedFileCount: 0, failedCount: 0 };
  let total: TreeOutcome | undefined;
  try {
    await interruptible("what was read by then is as it is told above", async (signal) => {
      for (const place of places) {
        const { files, now } = await openFilesAt(store, place.bucket, options);
        const trees = await treesOf(now);
        const outcome = await report.run((shared) =>
          trees.verify(files, place.path, { ...shared, signal, report: report.reporter(placeText(place)) }),
        );
        total = total === undefined ? outcome : addOutcomes(total, outcome);
      }
    });
  } catch (error) {
    // An empty bucket has nothing that could be damaged.
    const isEmpty = error instanceof HoldfastError && error.code === "notFound" && (await isEmptyTop(store, places));
    if (!isEmpty) throw error;
  } finally {
    report.clear();
  }
  Object.assign(counts, total);
  const sound = counts.failedCount === 0 ? "all sound" : `${plural(counts.failedCount, "file")} damaged`;
  const text = `verified ${filesText(counts)}: ${sound}, ${detailsText({}, report.elapsedMs)}`;
  await report.end(text, total === undefined ? { files: 0, bytes: 0, unchanged: 0 } : outcomeJson(total));
}

async function isEmptyTop(store: Store, places: readonly Place[]): Promise<boolean> {
  const [place] = places;
  if (places.length !== 1 || place === undefined || place.path !== "") return false;
  return (await store.buckets.get(place.bucket))?.fileCount === 0;
}
