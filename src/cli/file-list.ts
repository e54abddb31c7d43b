/** `holdfast file ls`, `stat` and `versions`: what is in a bucket. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Bucket, FileRecord, PastFiles, VersionRecord } from "../file/index.ts";
import type { Store } from "../member/index.ts";
import { addAtOption, namesAt, parseBucketPlace, parseFilePlace, placeText, whenText } from "./file-place.ts";
import type { AtOptions, Place } from "./file-place.ts";
import { missingBucket, missingError } from "./file-missing.ts";
import { modeText, pathForPeople, pathJson, preciseTimeText, recordJson, timeText } from "./file-text.ts";
import { bytesText, countText, plural, printJson, printLine, table, UsageError } from "./output.ts";
import { addTargetOptions, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";
import { LinePrinter } from "./tree-report.ts";

interface ListOptions extends TargetOptions, AtOptions {
  readonly long?: boolean;
  readonly recursive?: boolean;
}

export function addList(parent: Command): void {
  addAtOption(addTargetOptions(parent.command("ls").description("list files, or the buckets")))
    .argument("[place]", "BUCKET or BUCKET:PATH; absent: the buckets")
    .option("-l, --long", "with mode, size and time")
    .option("-R, --recursive", "with everything below")
    .addHelpText(
      "after",
      `
Examples:
  $ holdfast file ls
  $ holdfast file ls -l photos:2026
  $ holdfast file ls -R photos --at before-upgrade`,
    )
    .action(async (text: string | undefined, options: ListOptions) => {
      await withStore(options, async (store) => {
        if (text === undefined) await listBuckets(store, options);
        else await listPlace(store, parseBucketPlace(text), options);
      });
    });
}

async function listBuckets(store: Store, { at, json, long }: ListOptions): Promise<void> {
  if (at !== undefined) throw new UsageError("--at needs a bucket: file ls BUCKET --at MOMENT");
  const buckets = await store.buckets.list();
  if (json) for (const bucket of buckets) await printJson(bucketJson(bucket));
  else if (buckets.length > 0)
    await printLine(long === true ? bucketTable(buckets) : buckets.map(({ name }) => name).join("\n"));
}

export function bucketTable(buckets: readonly Bucket[]): string {
  return table(
    buckets.map(({ name, fileCount, encryption }) => [
      name,
      `${countText(fileCount)} ${fileCount === 1 ? "entry" : "entries"}`,
      encryption === "none" ? "" : `encrypted with a ${encryption === "key" ? "key file" : "passphrase"}`,
    ]),
  );
}

function bounded(value: number): number | null {
  return value === Infinity ? null : value;
}

/** `null`: without bound. */
export function bucketJson(bucket: Bucket): Record<string, unknown> {
  return { ...bucket, keepMs: bounded(bucket.keepMs), keepCountMax: bounded(bucket.keepCountMax) };
}

async function listPlace(store: Store, place: Place, options: ListOptions): Promise<void> {
  const files = await namesAt(store, place.bucket, options);
  const path = place.path.replace(/\/+$/, "");
  const record = path === "" ? undefined : await files.stat(path);
  const lines = new LinePrinter();
  if (record !== undefined && record.type !== "folder") {
    await lines.add(lineOf(record, record.path, options));
    return lines.end();
  }
  const prefix = path === "" ? "" : `${path}/`;
  const count = await listFolder(files, prefix, lines, options);
  await lines.end();
  if (count > 0 || record !== undefined) return;
  if (path !== "")
    throw new HoldfastError("notFound", `there is nothing at ${pathForPeople(placeText(place))}${whenText(options)}`);
  if (options.at === undefined && (await store.buckets.get(place.bucket)) === undefined) {
    throw await missingBucket(store, place.bucket);
  }
}

async function listFolder(files: PastFiles, prefix: string, lines: LinePrinter, options: ListOptions): Promise<number> {
  let count = 0;
  if (options.recursive === true) {
    for await (const record of files.list({ prefix })) {
      count++;
      await lines.add(lineOf(record, record.path.slice(prefix.length), options));
    }
    return count;
  }
  /** Folders that have an entry of their own, until their contents come by. */
  const shown = new Set<string>();
  for await (const item of files.list({ prefix, folders: true })) {
    count++;
    const name = item.path.slice(prefix.length);
    if (item.type !== "prefix") {
      if (item.type === "folder") shown.add(`${name}/`);
      await lines.add(lineOf(item, name, options));
    } else if (!shown.delete(name)) {
      const text =
        options.long === true
          ? `d---------  ${"".padStart(8)}  ${"".padEnd(16)}  ${pathForPeople(name)}`
          : pathForPeople(name);
      await lines.add(options.json ? JSON.stringify({ ...pathJson(item.path), type: "prefix" }) : text);
    }
  }
  return count;
}

function lineOf(record: FileRecord, name: string, { json, long }: ListOptions): string {
  if (json) return JSON.stringify(recordJson(record));
  const shown = pathForPeople(name) + (record.type === "folder" ? "/" : "");
  if (long !== true) return shown;
  const size = record.type === "file" ? bytesText(record.size) : "";
  const target = record.target === undefined ? "" : ` -> ${pathForPeople(record.target)}`;
  return `${modeText(record)}  ${size.padStart(8)}  ${timeText(record.modifiedMs)}  ${shown}${target}`;
}

interface StatOptions extends TargetOptions, AtOptions {
  readonly revision?: number;
}

export function addStat(parent: Command): void {
  addAtOption(addTargetOptions(parent.command("stat").description("all that is known of files")))
    .argument("<places...>", "BUCKET:PATH")
    .option("--revision <revision>", "the version that was written at this revision", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast file stat photos:2026/a.jpg")
    .action(async (texts: readonly string[], options: StatOptions) => {
      const places = texts.map((text) => parseFilePlace(text));
      await withStore(options, async (store) => {
        for (const [index, place] of places.entries()) {
          const files = await namesAt(store, place.bucket, options);
          // A folder may be named as the shell completes it.
          const path = place.path.replace(/(?<!^)\/+$/, "");
          const record = await files.stat(path, { revision: options.revision });
          if (record === undefined) throw await missingError(store, files, place, options);
          if (options.json) await printJson(recordJson(record));
          else await printLine(`${index > 0 ? "\n" : ""}${table(statRows(record))}`);
        }
      });
    });
}

function statRows(record: FileRecord): string[][] {
  const { type, size, hash, target, mode, uid, gid, contentType, metadata, modifiedNs } = record;
  const rows = [["path", pathForPeople(`${record.bucket}:${record.path}`)]];
  const add = (name: string, text: string | undefined) => {
    if (text !== undefined) rows.push([name, text]);
  };
  add("type", type);
  if (type === "file")
    add("size", size < 1_000 ? plural(size, "byte") : `${plural(size, "byte")} (${bytesText(size)})`);
  if (hash !== "") add("hash", hash);
  add("target", target === undefined ? undefined : pathForPeople(target));
  add("mode", mode === undefined ? undefined : `${modeText(record)} (${mode.toString(8).padStart(4, "0")})`);
  add("owner", uid === undefined ? undefined : `${uid}:${gid ?? "?"}`);
  add("modified", modifiedNs === undefined ? undefined : preciseTimeText(record.modifiedMs));
  add("content", contentType === "" ? undefined : contentType);
  for (const [name, value] of Object.entries(metadata))
    add("metadata", `${pathForPeople(name)}=${pathForPeople(value)}`);
  add("written", `${preciseTimeText(record.writtenMs)}, at revision ${countText(record.revision)}`);
  const since = record.version === 1 ? "" : `, since revision ${countText(record.createRevision)}`;
  add("version", `${countText(record.version)}${since}`);
  return rows;
}

export function addVersions(parent: Command): void {
  addTargetOptions(parent.command("versions").description("the versions of a file that are kept, oldest first"))
    .argument("<place>", "BUCKET:PATH")
    .addHelpText(
      "after",
      `
\`file cat --revision REVISION\` prints one, \`file cp --revision REVISION\` brings it back.

Examples:
  $ holdfast file versions notes:todo.txt`,
    )
    .action(async (text: string, options: TargetOptions) => {
      const place = parseFilePlace(text);
      await withStore(options, async (store) => {
        const versions = await store.files(place.bucket).versions(place.path);
        if (versions.length === 0) {
          const { code, message } = await missingError(store, store.files(place.bucket), place, {});
          throw new HoldfastError(code, `${message}; no old version of it is kept`);
        }
        if (options.json) for (const version of versions) await printJson(versionJson(version));
        else await printLine(table(versions.map(versionRow)));
      });
    });
}

function versionJson(version: VersionRecord): Record<string, unknown> {
  const { supersededRevision } = version;
  return { ...recordJson(version), ...(supersededRevision !== undefined && { supersededRevision }) };
}

function versionRow(version: VersionRecord): string[] {
  const { supersededRevision, type, size } = version;
  const until = supersededRevision === undefined ? "current" : `until revision ${countText(supersededRevision)}`;
  const what = type === "file" ? bytesText(size) : type;
  return [`revision ${countText(version.revision)}`, what, timeText(version.writtenMs), until];
}
