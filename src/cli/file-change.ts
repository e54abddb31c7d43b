/** `holdfast file rm`, `mv` and `cp`: names change, no bytes are moved. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { FileEntry, FileOutcome, Files } from "../file/index.ts";
import { missingError } from "./file-missing.ts";
import type { Store } from "../member/index.ts";
import { parseFilePlace, parsePlace, placeText } from "./file-place.ts";
import type { Place } from "./file-place.ts";
import { pathForPeople, pathJson } from "./file-text.ts";
import { countText, printJson, printLine, UsageError } from "./output.ts";
import { addTargetOptions, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";
import { interruptible, LinePrinter } from "./tree-report.ts";

interface RemoveOptions extends TargetOptions {
  readonly recursive?: boolean;
  readonly dryRun?: boolean;
  readonly ifRevision?: number;
}

export function addRemove(parent: Command): void {
  addTargetOptions(parent.command("rm").description("delete files; prints how many there were"))
    .argument("<places...>", "BUCKET:PATH; BUCKET: with -r for all of it")
    .option("-r, --recursive", "with everything below")
    .option("-n, --dry-run", "only name what would be deleted")
    .option("--if-revision <revision>", "only if the file was last written at this revision", parseWhole)
    .addHelpText(
      "after",
      `
What was deleted stays as an old version for as long as the bucket keeps those: \`file versions\` lists them.

Examples:
  $ holdfast file rm photos:2026/a.jpg
  $ holdfast file rm -r photos:2026`,
    )
    .action(async (texts: readonly string[], options: RemoveOptions) => {
      const recursive = options.recursive === true;
      const places = texts.map((text) => (recursive ? parsePlace(text) : parseFilePlace(text)));
      if (options.ifRevision !== undefined && (recursive || places.length > 1)) {
        throw new UsageError("--if-revision is for one file");
      }
      await withStore(options, async (store) => {
        let count = 0;
        for (const place of places) {
          const files = store.files(place.bucket);
          count += recursive ? await removeAll(files, place, options) : await removeOne(store, files, place, options);
        }
        const said = options.dryRun === true ? "would delete" : "deleted";
        if (options.json) await printJson({ deleted: count, ...(options.dryRun === true && { dryRun: true }) });
        else await printLine(`${said} ${countText(count)}`);
      });
    });
}

async function removeOne(store: Store, files: Files, place: Place, options: RemoveOptions): Promise<number> {
  const { ifRevision, dryRun, json } = options;
  const record = await files.stat(place.path);
  if (record === undefined) {
    if (await isFolder(files, place.path)) throw folderError(place);
    throw await missingError(store, files, place, {});
  }
  if (record.type === "folder" && (await isFolder(files, place.path))) throw folderError(place);
  if (dryRun !== true) return (await files.delete(place.path, { ifRevision })).count;
  return tellDeleted([record.path], json === true);
}

function folderError(place: Place): HoldfastError {
  return new HoldfastError(
    "invalid",
    `${pathForPeople(placeText(place))} is a folder with something in it; -r deletes it with all of that`,
  );
}

async function isFolder(files: Files, path: string): Promise<boolean> {
  for await (const _ of files.list({ prefix: `${path.replace(/\/+$/, "")}/`, limit: 1 })) return true;
  return false;
}

/** At one revision if one command can do it, else in several. */
async function removeAll(files: Files, place: Place, { dryRun, json }: RemoveOptions): Promise<number> {
  const path = place.path.replace(/\/+$/, "");
  const prefix = path === "" ? "" : `${path}/`;
  const own = path === "" ? undefined : await files.stat(path);
  const all = async function* (): AsyncGenerator<string, void, undefined> {
    for await (const record of files.list({ prefix })) yield record.path;
    if (own !== undefined) yield own.path;
  };
  if (dryRun === true) return tellDeleted(all(), json === true);
  let count = 0;
  try {
    count += (await files.delete({ prefix })).count;
    if (own !== undefined) count += (await files.delete(own.path)).count;
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "invalid") throw error;
    count += await interruptible("some of it is deleted; the same command goes on from there", async (signal) => {
      return (await files.putMany(deletions(all()), { signal })).count;
    });
  }
  if (count === 0) throw new HoldfastError("notFound", `there is nothing at ${pathForPeople(placeText(place))}`);
  return count;
}

async function* deletions(paths: AsyncIterable<string>): AsyncGenerator<FileEntry, void, undefined> {
  for await (const path of paths) yield { path, content: undefined };
}

/** Names what would be deleted, one a line, and counts it. */
async function tellDeleted(paths: Iterable<string> | AsyncIterable<string>, json: boolean): Promise<number> {
  const lines = new LinePrinter();
  let count = 0;
  for await (const path of paths) {
    count++;
    await lines.add(json ? JSON.stringify({ event: "deleted", ...pathJson(path) }) : `deleted  ${pathForPeople(path)}`);
  }
  await lines.end();
  return count;
}

interface CopyOptions extends TargetOptions {
  readonly ifAbsent?: boolean;
  readonly revision?: number;
}

const targetRule = "A TO that ends with a / is a folder that it goes into under its own name.";

export function addMove(parent: Command): void {
  addTargetOptions(parent.command("mv").description("give a file or a folder another name, at one revision"))
    .argument("<from>", "BUCKET:PATH")
    .argument("<to>", "BUCKET:PATH")
    .option("--if-absent", "only if there is no file of the new name")
    .addHelpText(
      "after",
      `
${targetRule}

Examples:
  $ holdfast file mv photos:inbox/a.jpg photos:2026/
  $ holdfast file mv photos:2026 photos:archive/2026`,
    )
    .action((from: string, to: string, options: CopyOptions) => give(from, to, options, true));
}

export function addCopy(parent: Command): void {
  addTargetOptions(parent.command("cp").description("give a file or a folder a second name"))
    .argument("<from>", "BUCKET:PATH")
    .argument("<to>", "BUCKET:PATH")
    .option("--if-absent", "only if there is no file of the new name")
    .option("--revision <revision>", "the version of the file that was written at this revision", parseWhole)
    .addHelpText(
      "after",
      `
${targetRule} Between buckets it takes that both are not encrypted, or with the same key.

Examples:
  $ holdfast file cp notes:todo.txt notes:done.txt
  $ holdfast file cp notes:todo.txt notes:todo.txt --revision 17    an old version is the current one again`,
    )
    .action((from: string, to: string, options: CopyOptions) => give(from, to, options, false));
}

async function give(fromText: string, toText: string, options: CopyOptions, move: boolean): Promise<void> {
  const from = parseFilePlace(fromText);
  const to = parsePlace(toText);
  const { ifAbsent, revision: fromRevision, json } = options;
  const path = from.path.replace(/\/+$/, "");
  const into = to.path === "" || to.path.endsWith("/");
  const target = into ? `${to.path}${path.slice(path.lastIndexOf("/") + 1)}` : to.path;
  await withStore(options, async (store) => {
    const files = store.files(from.bucket);
    // An old version is one of a file, whatever has its name now.
    const folder = fromRevision === undefined && (await isFolder(files, path));
    if (folder && ifAbsent === true) throw new UsageError(`--if-absent is for one file, and ${fromText} is a folder`);
    const how = { folder, ...(to.bucket !== from.bucket && { toBucket: to.bucket }), ifAbsent, fromRevision };
    const outcome: FileOutcome = move ? await files.move(path, target, how) : await files.copy(path, target, how);
    const { count, revision } = outcome;
    if (json) await printJson({ [move ? "moved" : "copied"]: count, revision });
    else await printLine(`${move ? "moved" : "copied"} ${countText(count)}; revision ${countText(revision)}`);
  });
}
