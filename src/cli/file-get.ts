/** `holdfast file get` and `cat`: files and whole folders out of a bucket, to the disk or to standard output. */
import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { HoldfastError, pathText } from "../base/index.ts";
import type { Store } from "../member/index.ts";
import { addAtOption, addSecretOptions, openFilesAt, parseFilePlace, parsePlace, whenText } from "./file-place.ts";
import type { FileCommandOptions, Place } from "./file-place.ts";
import { missingBucket, missingError } from "./file-missing.ts";
import { bytesText, print, UsageError } from "./output.ts";
import { addTargetOptions, parseWhole, withStore } from "./target.ts";
import {
  addTreeOptions,
  detailsText,
  filesText,
  interruptible,
  outcomeJson,
  patternsOf,
  treesOf,
  TreeReport,
} from "./tree-report.ts";
import type { PatternOptions, TreeCommandOptions } from "./tree-report.ts";

interface GetOptions extends FileCommandOptions, PatternOptions, TreeCommandOptions {
  readonly json?: boolean;
  readonly delete?: boolean;
  readonly verify?: boolean;
  readonly owners: boolean;
}

export function addGet(parent: Command): void {
  const command = addTargetOptions(parent.command("get").description("write files and folders of a bucket to the disk"))
    .argument("<place>", "BUCKET:PATH, a file or a folder; BUCKET: for all of it")
    .argument(
      "[destination]",
      "a file or folder of this machine, or - for standard output; default: here, under its own name",
    )
    .option("--delete", "remove from the folder what the bucket does not have")
    .option("--verify", "compare the contents of files that seem to be there already")
    .option("--no-owners", "leave the owners of files alone; only root sets them anyway");
  addSecretOptions(addAtOption(addTreeOptions(command)))
    .addHelpText(
      "after",
      `
A folder's contents go to DESTINATION. A file gets that name; where it is a folder, or ends with a /, the file goes into it
under its own name. What is there already is not written again. The same command goes on where a get was stopped.

Examples:
  $ holdfast file get photos:all ~/photos
  $ holdfast file get photos:2026/a.jpg .
  $ holdfast file get backup:project ./project --at before-upgrade --delete --dry-run
  $ holdfast file get backup:project.tar - | tar x`,
    )
    .action(async (text: string, destination: string | undefined, options: GetOptions) => {
      const place = parsePlace(text);
      if (destination === "-") {
        const trees = ["include", "exclude", "delete", "dryRun", "verify"].some((name) => Object.hasOwn(options, name));
        if (trees) throw new UsageError("patterns, --delete, --verify and --dry-run are for a destination on the disk");
        await withStore(options, (store) => printFile(store, parseFilePlace(text), {}, options));
        return;
      }
      await withStore(options, (store) => getAll(store, place, destination, options));
    });
}

async function getAll(store: Store, place: Place, destination: string | undefined, options: GetOptions): Promise<void> {
  const patterns = await patternsOf(options);
  const { files, now } = await openFilesAt(store, place.bucket, options);
  const path = place.path.replace(/\/+$/, "");
  const record = path === "" ? undefined : await files.stat(path);
  const isFile = record !== undefined && record.type !== "folder";
  const name = path.slice(path.lastIndexOf("/") + 1);
  const given = destination ?? (name === "" ? "." : name);
  const root = await targetOf(given, isFile, name);
  // A wrong key, or none, is told before anything is made.
  await now.settings();
  const trees = await treesOf(now);
  const report = new TreeReport(options.dryRun === true ? "comparing" : "writing", { ...options, single: isFile });
  try {
    const outcome = await interruptible(
      "what is written by now stays, and the same command goes on from there",
      (signal) =>
        report.run((shared) =>
          trees.get(now, path, root, {
            ...shared,
            past: files,
            patterns,
            delete: options.delete,
            verify: options.verify,
            withoutOwners: !options.owners || process.getuid?.() !== 0,
            dryRun: options.dryRun,
            signal,
            report: report.reporter(isFile ? "" : given),
          }),
        ),
    );
    const verb = options.dryRun === true ? "would get" : "got";
    const news = options.dryRun === true ? "" : ` (${bytesText(outcome.newSize)} written)`;
    const text = `${verb} ${filesText(outcome)}${news}, to ${given}, ${detailsText(outcome, report.elapsedMs)}`;
    await report.end(text, outcomeJson(outcome));
  } catch (error) {
    report.clear();
    if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    if (options.at === undefined && (await store.buckets.get(place.bucket)) === undefined) {
      throw await missingBucket(store, place.bucket);
    }
    if (options.at === undefined) throw error;
    throw new HoldfastError("notFound", `${error.message}${whenText(options)}`, { cause: error });
  }
}

/** Links in what the user names are followed; in what is below, none is. */
async function targetOf(given: string, isFile: boolean, name: string): Promise<string> {
  if (!isFile) return realPath(resolve(given));
  if (await isFolderTarget(given)) return join(await realPath(resolve(given)), name);
  return join(await realPath(dirname(resolve(given))), basename(resolve(given)));
}

/** What is not there, or only in part, is left as it is: it will be made. */
async function realPath(path: string): Promise<string> {
  return realpath(path, { encoding: "buffer" }).then(
    (bytes) => pathText(bytes),
    () => path,
  );
}

async function isFolderTarget(path: string): Promise<boolean> {
  if (path.endsWith("/")) return true;
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

interface CatOptions extends FileCommandOptions {
  readonly revision?: number;
  readonly start?: number;
  readonly end?: number;
}

export function addCat(parent: Command): void {
  const command = addTargetOptions(parent.command("cat").description("print the bytes of files"))
    .argument("<places...>", "BUCKET:PATH")
    .option("--revision <revision>", "the version that was written at this revision", parseWhole)
    .option("--start <byte>", "from this byte on", parseWhole)
    .option("--end <byte>", "before this byte", parseWhole);
  addSecretOptions(addAtOption(command))
    .addHelpText(
      "after",
      `
Examples:
  $ holdfast file cat notes:todo.txt
  $ holdfast file cat notes:todo.txt --at before-upgrade
  $ holdfast file cat disks:image --start 0 --end 512 | xxd`,
    )
    .action(async (texts: readonly string[], options: CatOptions) => {
      const places = texts.map((text) => parseFilePlace(text));
      const { start, end } = options;
      await withStore(options, async (store) => {
        for (const place of places) await printFile(store, place, { start, end }, options);
      });
    });
}

async function printFile(
  store: Store,
  place: Place,
  range: { readonly start?: number | undefined; readonly end?: number | undefined },
  options: FileCommandOptions & { readonly revision?: number },
): Promise<void> {
  const { files } = await openFilesAt(store, place.bucket, options);
  const reading = await files.get(place.path, { revision: options.revision });
  if (reading === undefined) throw await missingError(store, files, place, options);
  for await (const bytes of reading.stream(range)) await print(bytes);
}
