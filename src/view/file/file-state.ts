/**
 * How one file changes: the new version takes the place of the current one, which is kept as a superseded version, as long
 * as its bucket says.
 *
 * Invariants:
 *  1. A path gets at most one version in a command, so that (path, revision) names one version.
 *  2. A version that was superseded at revision s, of a file written at revision w, was the file at all revisions from w to
 *     s - 1; the versions of a path that are kept are therefore never two for one revision.
 *  3. When a version that was superseded at s is dropped, the bucket's history begins at s or later.
 */
import type { ApplyContext, State, View } from "../view.ts";
import { Refusal } from "../view.ts";
import { keyText } from "../key/key-state.ts";
import { readBucket, writeBucket } from "./bucket-state.ts";
import { StoredFile } from "./file-operation.ts";
import type { FileContent } from "./file-operation.ts";
import { agingKey, fileKey, StoredAging, supersedingOf, versionKey, versionRange } from "./layout.ts";
import type { StoredBucket } from "./layout.ts";

/** A change, as it is announced: the members of a cluster fetch the chunks of what is put. */
export interface FileChange {
  readonly bucket: string;
  /** The caller's to keep. */
  readonly path: Uint8Array;
  /** Undefined when the file was deleted. Its bytes are shared with the store: copy what is kept. */
  readonly content: FileContent | undefined;
}

/** Where a file is. */
export interface FilePlace {
  readonly bucket: string;
  readonly path: Uint8Array;
}

/** Versions beyond the number that its bucket keeps which one change of a path drops: after that number was made smaller. */
const dropCountMax = 64;

/** The bytes of a stored file: shared with them. */
export function decodeFile(stored: Uint8Array): StoredFile {
  // It is never written without its content.
  return StoredFile.decode(stored) as StoredFile;
}

/** The root of the chunks of a stored file, if its bytes are in chunks: shared with the stored bytes. */
export function contentOf(stored: Uint8Array): { readonly hash: Uint8Array; readonly depth: number } | undefined {
  const { hash, depth } = decodeFile(stored).content;
  return hash.length === 0 ? undefined : { hash, depth };
}

/** Counts what it reads against the limits of the command. */
export function currentFile(context: ApplyContext, { bucket, path }: FilePlace): StoredFile | undefined | Refusal {
  const stored = context.state.get(fileKey(bucket, path));
  if (stored === undefined) return undefined;
  return context.work.load(stored.length) ?? decodeFile(stored);
}

/** Writes a new version; the bucket is there. Answers what it has stored. */
export function putFile(
  context: ApplyContext,
  view: View,
  place: FilePlace,
  content: FileContent,
  before: StoredFile | undefined,
): StoredFile | Refusal {
  const { bucket, path } = place;
  const { state, revision, timeMs } = context;
  if (before !== undefined) {
    const refused = supersede(context, place, before);
    if (refused !== undefined) return refused;
  }
  const version = (before?.version ?? 0) + 1;
  const createRevision = before?.createRevision ?? revision;
  const file = { content, revision, createRevision, version, timeMs };
  state.put(fileKey(bucket, path), StoredFile.encodeBriefly(file));
  announce(context, view, { bucket, path: path.slice(), content });
  return file;
}

/** Deletes a file that is there as `before`. */
export function deleteFile(
  context: ApplyContext,
  view: View,
  { bucket, path }: FilePlace,
  before: StoredFile,
): Refusal | undefined {
  const refused = supersede(context, { bucket, path }, before);
  if (refused !== undefined) return refused;
  context.state.delete(fileKey(bucket, path));
  announce(context, view, { bucket, path: path.slice(), content: undefined });
  return undefined;
}

function announce(context: ApplyContext, view: View, change: FileChange): void {
  context.changed();
  context.emit(view, change);
}

/** The file that is there becomes a version of the past. Each change emits one event, which tells the changes apart. */
function supersede(context: ApplyContext, place: FilePlace, before: StoredFile): Refusal | undefined {
  const { state, revision, emittedCount: index, timeMs } = context;
  const { bucket, path } = place;
  if (before.revision === revision) {
    return new Refusal(
      "invalid",
      `the command writes file ${keyText(path)} of bucket ${bucket} and changes it again; let it change each file once`,
    );
  }
  const kept = readBucket(state, bucket) as StoredBucket;
  const { keepMs, keepCountMax } = kept.settings;
  if (keepMs === 0 || keepCountMax === 0) {
    raiseHistory(state, bucket, revision);
    return undefined;
  }
  state.put(versionKey(bucket, path, { revision, index }), StoredFile.encodeBriefly(before));
  state.put(agingKey(bucket, { revision, index }), StoredAging.encodeBriefly({ path, timeMs }));
  dropSurplus(state, place, kept);
  return undefined;
}

/** As many versions of the path as its bucket keeps. */
function dropSurplus(state: State, { bucket, path }: FilePlace, { settings, createRevision }: StoredBucket): void {
  // What an earlier bucket of the same name has left is not of this one.
  const range = versionRange(bucket, path, createRevision);
  const surplus = Math.min(state.count(range) - settings.keepCountMax, dropCountMax);
  if (surplus <= 0) return;
  const doomed: Uint8Array[] = [];
  for (const { key } of state.entries(range)) {
    doomed.push(key.slice());
    if (doomed.length === surplus) break;
  }
  for (const key of doomed) {
    const superseding = supersedingOf(key);
    state.delete(key);
    state.delete(agingKey(bucket, superseding));
    raiseHistory(state, bucket, superseding.revision);
  }
}

/** A version of the bucket that was superseded at this revision is no longer there. */
export function raiseHistory(state: State, bucket: string, revision: number): void {
  const stored = readBucket(state, bucket);
  if (stored === undefined || stored.historyRevision >= revision) return;
  writeBucket(state, bucket, { ...stored, historyRevision: revision });
}
