/**
 * How files get other names: one, or all of a folder, copied or moved. Everything is read first and written then, so that
 * names may overlap: of `a/b` moved to `a`, `a/b/b` becomes `a/b`.
 */
import { concatBytes, equalBytes, toHex } from "../../base/index.ts";
import { keyText } from "../key/key-state.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, View } from "../view.ts";
import { bucketForPut, readBucket } from "./bucket-state.ts";
import type { FileContent, StoredFile } from "./file-operation.ts";
import { checkBucket, checkPath, checkPrefix } from "./file-rules.ts";
import { currentFile, decodeFile, deleteFile, putFile } from "./file-state.ts";
import type { FilePlace } from "./file-state.ts";
import { allPaths, fileRange, pathOfFile, prefixRange, versionRange } from "./layout.ts";
import type { PathRange } from "./layout.ts";

export interface Copying {
  readonly fromBucket: string;
  readonly from: Uint8Array;
  readonly toBucket: string;
  readonly to: Uint8Array;
  readonly move: boolean;
  readonly folder: boolean;
  readonly fromRevision: number;
  readonly ifRevision: number | undefined;
}

interface Source {
  readonly path: Uint8Array;
  readonly file: StoredFile;
}

/** Answers how many files got a new name. */
export function copyFiles(context: ApplyContext, view: View, copying: Copying): number | Refusal {
  const { fromBucket, toBucket, folder, ifRevision } = copying;
  const refused = checkCopying(copying) ?? checkBuckets(context, copying);
  if (refused !== undefined) return refused;
  const sources = folder ? folderSources(context, copying) : oneSource(context, copying);
  if (sources instanceof Refusal) return sources;
  if (!folder) {
    const refused = checkCondition(context, { bucket: toBucket, path: copying.to }, ifRevision);
    if (refused !== undefined) return refused;
  }
  bucketForPut(context, toBucket);
  const targets = new Set<string>();
  for (const { path, file } of sources) {
    const target = folder ? targetOf(copying, path) : copying.to;
    const refused = checkPath(target) ?? putOver(context, view, { bucket: toBucket, path: target }, file.content);
    if (refused !== undefined) return refused;
    targets.add(toHex(target));
  }
  if (!copying.move) return sources.length;
  for (const { path, file } of sources) {
    if (fromBucket === toBucket && targets.has(toHex(path))) continue;
    const refused = context.work.operate() ?? deleteFile(context, view, { bucket: fromBucket, path }, file);
    if (refused !== undefined) return refused;
  }
  return sources.length;
}

function putOver(context: ApplyContext, view: View, place: FilePlace, content: FileContent): Refusal | undefined {
  const before = currentFile(context, place);
  if (before instanceof Refusal) return before;
  const file = putFile(context, view, place, content, before);
  return file instanceof Refusal ? file : undefined;
}

function checkCopying({ from, to, fromBucket, toBucket, ...rest }: Copying): Refusal | undefined {
  const { move, folder, fromRevision, ifRevision } = rest;
  if ((move || folder) && fromRevision !== 0) {
    return new Refusal("invalid", "of old versions, only one at a time can be copied; leave fromRevision out");
  }
  if (folder && ifRevision !== undefined) {
    return new Refusal("invalid", "a condition is for one file; leave it out with folder");
  }
  if (move && fromBucket === toBucket && equalBytes(from, to)) {
    return new Refusal("invalid", `${keyText(from)} cannot be moved onto itself`);
  }
  const check = folder ? checkPrefix : checkPath;
  return checkBucket(fromBucket) ?? checkBucket(toBucket) ?? check(from) ?? check(to);
}

/** The bytes must be readable with the key of the bucket that they come to. */
function checkBuckets({ state }: ApplyContext, { fromBucket, toBucket }: Copying): Refusal | undefined {
  const source = readBucket(state, fromBucket);
  if (source === undefined) return new Refusal("notFound", `bucket ${fromBucket} does not exist`);
  const target = readBucket(state, toBucket)?.settings.encryption ?? new Uint8Array(0);
  if (equalBytes(source.settings.encryption, target)) return undefined;
  return new Refusal(
    "invalid",
    `buckets ${fromBucket} and ${toBucket} are not encrypted with the same key, so what is copied could not be read: get the files and put them again`,
  );
}

function oneSource(context: ApplyContext, copying: Copying): Source[] | Refusal {
  const { fromBucket: bucket, from: path, fromRevision } = copying;
  const file = currentFile(context, { bucket, path });
  if (file instanceof Refusal) return file;
  if (file !== undefined && (fromRevision === 0 || file.revision === fromRevision)) return [{ path, file }];
  const past = fromRevision === 0 ? undefined : pastVersion(context, { bucket, path }, fromRevision);
  if (past !== undefined) return [{ path, file: past }];
  const what = fromRevision === 0 ? "" : `, or that of revision ${fromRevision} is no longer kept`;
  return new Refusal("notFound", `file ${keyText(path)} does not exist in bucket ${bucket}${what}`);
}

/** The version that was written at a revision: the first that was superseded after it, if it is there. */
function pastVersion({ state }: ApplyContext, { bucket, path }: FilePlace, written: number): StoredFile | undefined {
  const after = Math.max(written, readBucket(state, bucket)?.createRevision ?? 0);
  for (const { value } of state.entries(versionRange(bucket, path, after))) {
    const file = decodeFile(value);
    return file.revision === written ? file : undefined;
  }
  return undefined;
}

/** All below the folder, and the folder itself if it is an entry. */
function folderSources(context: ApplyContext, { fromBucket: bucket, from }: Copying): Source[] | Refusal {
  const sources: Source[] = [];
  const itself = from.length === 0 ? undefined : currentFile(context, { bucket, path: from });
  if (itself instanceof Refusal) return itself;
  // Paths between the folder and what is below it, such as `a-b` between `a` and `a/b`, are no part of it.
  if (itself !== undefined) sources.push({ path: from, file: itself });
  const below = from.length === 0 ? allPaths : prefixRange(concatBytes([from, slash]));
  for (const source of filesIn(context, bucket, below)) {
    if (source instanceof Refusal) return source;
    sources.push(source);
  }
  if (sources.length > 0) return sources;
  return new Refusal("notFound", `there is nothing at or below ${keyText(from)} in bucket ${bucket}`);
}

/** The files of a range, each counted against the limits of the command. Collect before editing. */
export function* filesIn(
  { state, work }: ApplyContext,
  bucket: string,
  paths: PathRange,
): Generator<Source | Refusal, void, undefined> {
  for (const { key, value } of state.entries(fileRange(bucket, paths))) {
    const refused = work.operate() ?? work.load(value.length);
    if (refused !== undefined) {
      yield refused;
      return;
    }
    yield { path: pathOfFile(bucket, key).slice(), file: decodeFile(value) };
  }
}

const slash = new Uint8Array([0x2f]);

function targetOf({ from, to }: Copying, path: Uint8Array): Uint8Array {
  // With the slash in front; the root of a bucket is the empty path.
  const rest = from.length === 0 ? concatBytes([slash, path]) : path.subarray(from.length);
  return to.length === 0 ? rest.subarray(1) : concatBytes([to, rest]);
}

/** The file was last written at this revision; 0: it is absent; undefined: whatever it is. */
export function checkCondition(
  context: ApplyContext,
  place: FilePlace,
  ifRevision: number | undefined,
): Refusal | undefined {
  if (ifRevision === undefined) return undefined;
  const file = currentFile(context, place);
  if (file instanceof Refusal) return file;
  const found = file?.revision ?? 0;
  if (found === ifRevision) return undefined;
  const is = found === 0 ? "does not exist" : `was last written at revision ${found}`;
  const expected = ifRevision === 0 ? "it was expected not to exist" : `revision ${ifRevision} was expected`;
  const { bucket, path } = place;
  return new Refusal(
    "conflict",
    `file ${keyText(path)} of bucket ${bucket} ${is}, and ${expected}; read it again and retry`,
  );
}
