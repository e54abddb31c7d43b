/** `holdfast file put`: files, whole folders or standard input into a bucket. */
import { fstatSync } from "node:fs";
import { lstat, open, realpath } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { HoldfastError, pathBytes, pathText } from "../base/index.ts";
import type { Files, PutFileOptions, TreeOutcome } from "../file/index.ts";
import { addSecretOptions, openFiles, parsePlace, placeText } from "./file-place.ts";
import type { FileCommandOptions, Place } from "./file-place.ts";
import { pathForPeople, recordJson } from "./file-text.ts";
import { bytesText, countText, dim, durationText, printJson, printLine, remark, UsageError } from "./output.ts";
import { Progress } from "./progress.ts";
import { addTargetOptions, parseWhole, withStore } from "./target.ts";
import {
  addOutcomes,
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

interface PutOptions extends FileCommandOptions, PatternOptions, TreeCommandOptions {
  readonly json?: boolean;
  readonly delete?: boolean;
  readonly oneFileSystem?: boolean;
  readonly contentType?: string;
  readonly meta?: readonly string[];
  readonly ifAbsent?: boolean;
  readonly ifRevision?: number;
}

/** Sources at once: each single file is a tree of its own. */
const parallelCount = 8;

export function addPut(parent: Command): void {
  const command = addTargetOptions(parent.command("put").description("store files and folders in a bucket"))
    .usage("[options] <source...> <place>")
    .argument("<source...>", "files and folders, or - for standard input; the last is the place, BUCKET:PATH")
    .option("--delete", "delete from the bucket what is gone from the folder")
    .option("--one-file-system", "do not enter other file systems")
    .option("--content-type <type>", "of a single file, such as image/png")
    .option(
      "--meta <name=value>",
      "metadata of a single file; may be given several times",
      (text, before: string[] | undefined) => [...(before ?? []), text],
    )
    .option("--if-absent", "only if the file is not there; of a single file")
    .option("--if-revision <revision>", "only if the file was last written at this revision", parseWhole);
  addSecretOptions(addTreeOptions(command))
    .addHelpText(
      "after",
      `
A folder's contents go to PATH. A file gets the name PATH; with a / at its end, and for several sources, PATH is a folder
that they go into under their own names. Files that have not changed since the last time are not read. The same command
goes on where a put was stopped. A bucket that is missing is made.

Examples:
  $ holdfast file put ~/photos photos:all
  $ holdfast file put a.jpg b.jpg photos:2026/
  $ holdfast file put ~/project backup:project --exclude node_modules/ --exclude '*.log' --delete
  $ tar c . | holdfast file put - backup:project.tar`,
    )
    .action(async (args: readonly string[], options: PutOptions) => {
      const sources = args.slice(0, -1);
      if (sources.length === 0) throw new UsageError("name what to store and where: file put SOURCE BUCKET:PATH");
      const place = parsePlace(args.at(-1) ?? "");
      const isSingle = ["contentType", "meta", "ifAbsent", "ifRevision"].some((name) => Object.hasOwn(options, name));
      if (sources.includes("-") || isSingle) {
        checkSingle(sources, place, options);
        await withStore(options, (store) => putSingle(store, sources[0] ?? "", place, options));
        return;
      }
      await withStore(options, (store) => putAll(store, sources, place, options));
    });
}

function checkSingle(sources: readonly string[], place: Place, options: PutOptions): void {
  const [source = ""] = sources;
  if (sources.length > 1) {
    const what = sources.includes("-") ? "standard input (-)" : "--content-type, --meta, --if-absent and --if-revision";
    throw new UsageError(`${what} cannot go with several sources`);
  }
  const trees = ["include", "exclude", "delete", "oneFileSystem", "dryRun"].filter((name) =>
    Object.hasOwn(options, name),
  );
  if (trees.length > 0) throw new UsageError("patterns, --delete, --one-file-system and --dry-run are for folders");
  if (source === "-" && (place.path === "" || place.path.endsWith("/"))) {
    throw new UsageError(`standard input has no name of its own: write one behind ${placeText(place)}`);
  }
}

/** One source: where it is, and where it goes. */
interface Source {
  /** For the file system. */
  readonly path: string;
  /** As it was given, for messages. */
  readonly given: string;
  readonly target: string;
  readonly isFile: boolean;
}

/** A link that is named is followed; those inside of folders are kept as links. */
async function sourceOf(given: string, place: Place, several: boolean): Promise<Source> {
  const path = resolve(given);
  let stats: Awaited<ReturnType<typeof lstat>>;
  let real = path;
  try {
    stats = await lstat(path);
    if (stats.isSymbolicLink()) {
      real = pathText(await realpath(path, { encoding: "buffer" }));
      stats = await lstat(Buffer.from(pathBytes(real)));
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    const what = code === "ENOENT" || code === "ENOTDIR" ? "there is no such file or folder" : (error as Error).message;
    throw new HoldfastError(code === "EACCES" ? "denied" : "notFound", `cannot store ${given}: ${what}`, {
      cause: error,
    });
  }
  if (!stats.isDirectory() && !stats.isFile()) {
    throw new HoldfastError(
      "invalid",
      `cannot store ${given}: it is a device, a socket or a pipe; - stores standard input`,
    );
  }
  const into = several || place.path.endsWith("/") || (place.path === "" && !stats.isDirectory());
  const target = into ? inside(place.path, basename(path)) : place.path;
  return { path: real, given, target, isFile: stats.isFile() };
}

function inside(folder: string, name: string): string {
  return folder === "" || folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}

async function putAll(
  store: Parameters<typeof openFiles>[0],
  given: readonly string[],
  place: Place,
  options: PutOptions,
): Promise<void> {
  const sources = await Promise.all(given.map((one) => sourceOf(one, place, given.length > 1)));
  const twice = sources.find((one, at) => sources.findIndex(({ target }) => target === one.target) < at);
  if (twice !== undefined) {
    throw new UsageError(
      `two of the sources would have the same name, ${place.bucket}:${twice.target}: store them one by one`,
    );
  }
  const patterns = await patternsOf(options);
  const files = await openFiles(store, place.bucket, options);
  const trees = await treesOf(files);
  const single = sources.length === 1 && sources[0]?.isFile === true;
  const report = new TreeReport(options.dryRun === true ? "comparing" : "storing", { ...options, single });
  const { delete: doDelete, oneFileSystem, dryRun } = options;
  let total: TreeOutcome | undefined;
  const put = async ({ path, given: name, target }: Source, signal: AbortSignal): Promise<void> => {
    const how = { patterns, oneFileSystem, delete: doDelete, dryRun, signal, report: report.reporter(name) };
    const outcome = await report.run((shared) => trees.put(files, path, target, { ...shared, ...how }));
    total = total === undefined ? outcome : addOutcomes(total, outcome);
  };
  try {
    await interruptible("what is stored by now stays, and the same command goes on from there", async (signal) => {
      const queue = sources.values();
      const worker = async () => {
        for (const source of queue) await put(source, signal);
      };
      await Promise.all(Array.from({ length: Math.min(parallelCount, sources.length) }, worker));
    });
  } finally {
    report.clear();
  }
  await endPut(report, total as TreeOutcome, place, sources, options);
}

async function endPut(
  report: TreeReport,
  outcome: TreeOutcome,
  place: Place,
  sources: readonly Source[],
  options: PutOptions,
): Promise<void> {
  const where = pathForPeople(sources.length === 1 ? `${place.bucket}:${sources[0]?.target ?? ""}` : placeText(place));
  const { newSize, revision } = outcome;
  const verb = options.dryRun === true ? "would store" : "stored";
  const news = options.dryRun === true ? "" : ` (${bytesText(newSize)} new)`;
  const text = `${verb} ${filesText(outcome)}${news}, at ${where}, ${detailsText(outcome, report.elapsedMs)}`;
  const { files, bytes, ...rest } = outcomeJson(outcome);
  await report.end(text, { files, bytes, newBytes: newSize, ...rest, ...(revision > 0 && { revision }) });
}

/** One file with what only a single one can have, or standard input. */
async function putSingle(
  store: Parameters<typeof openFiles>[0],
  given: string,
  place: Place,
  options: PutOptions,
): Promise<void> {
  const source = given === "-" ? undefined : await sourceOf(given, place, false);
  const target = source?.target ?? place.path;
  const files = await openFiles(store, place.bucket, options);
  const progress = new Progress({ label: "storing", noun: "files", rate: "size" });
  let size = 0;
  const more = {
    contentType: options.contentType,
    metadata: metadataOf(options.meta ?? []),
    ifAbsent: options.ifAbsent,
    ifRevision: options.ifRevision,
    progress: (part: number) => progress.update(0, (size += part)),
  };
  const record = await interruptible("nothing was stored", async (signal) => {
    try {
      if (source !== undefined) return await putFile(files, source, target, { ...more, signal });
      // To Node.js it is an input that has ended.
      if (fstatSync(0).isDirectory()) {
        throw new HoldfastError("invalid", "standard input is a folder: name it instead of -");
      }
      if (process.stdin.isTTY) remark(dim("reading the file from the terminal; Ctrl-D ends it"));
      return await files.put(target, process.stdin, { ...more, signal });
    } finally {
      progress.clear();
      // Else a pipe that goes on would keep the command alive.
      if (source === undefined) process.stdin.destroy();
    }
  });
  if (options.json) await printJson({ files: 1, bytes: record.size, ...recordJson(record) });
  else {
    const where = pathForPeople(`${place.bucket}:${record.path}`);
    const time = durationText(progress.elapsedMs);
    await printLine(`stored ${bytesText(record.size)} at ${where}, revision ${countText(record.revision)}, in ${time}`);
  }
}

async function putFile(files: Files, { path, given }: Source, target: string, options: PutFileOptions) {
  const handle = await open(Buffer.from(pathBytes(path)));
  try {
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile())
      throw new UsageError(`${given} is a folder; --content-type and the like are for a single file`);
    const attributes = {
      mode: Number(stats.mode & 0o7777n),
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      modifiedNs: stats.mtimeNs,
    };
    const input = handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 });
    return await files.put(target, input, { ...options, ...attributes });
  } finally {
    await handle.close();
  }
}

function metadataOf(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new UsageError(`--meta takes NAME=VALUE; "${text}" is none`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}
