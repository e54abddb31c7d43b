/**
 * The `file` view: what files are called and what they are, in buckets. Their bytes are chunks, which it only names.
 *
 * Paths are flat, as in an object store: `a` may be a file although there is `a/b`. An entry of type `folder` says what
 * mode and times a folder has, and keeps it while it is empty.
 */
import { emptyBytes } from "../../base/index.ts";
import type { Init } from "../../base/index.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, State, View } from "../view.ts";
import { keyText } from "../key/key-state.ts";
import { snapshotKey } from "../snapshot/layout.ts";
import { StoredSnapshot } from "../snapshot/snapshot-operation.ts";
import { checkSnapshotName } from "../snapshot/snapshot-view.ts";
import { bucketForPut, checkSeen, deleteBucket, setBucket } from "./bucket-state.ts";
import { checkCondition, copyFiles, filesIn } from "./copy-file.ts";
import { BucketSettings, FileContent, FileOperation, FileResult } from "./file-operation.ts";
import { checkBucket, checkContent, checkPath, checkPrefix } from "./file-rules.ts";
import { currentFile, decodeFile, deleteFile, putFile } from "./file-state.ts";
import { bucketKey, fileKey, fileRange, fileViewId, prefixRange, uploadKey, versionKey } from "./layout.ts";
import { beginUpload, uploadLasts } from "./upload-state.ts";
import { sweepVersions } from "./version-sweep.ts";

const noContent: FileContent = FileContent.decode(emptyBytes);

type Value<Name extends string> = Extract<NonNullable<FileOperation["operation"]>, { case: Name }>["value"];
type Applied = NonNullable<FileResult["result"]> | Refusal;

export class FileView implements View<FileOperation, FileResult> {
  readonly name = "file";
  readonly id = fileViewId;
  readonly operation = FileOperation;
  readonly result = FileResult;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { operation }: FileOperation): FileResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const result = context.work.operate() ?? this.#apply(context, operation);
    return result instanceof Refusal ? result : { result };
  }

  touches({ operation }: FileOperation, touch: (key: Uint8Array) => void): void {
    switch (operation?.case) {
      case "put":
      case "delete": {
        const { bucket = "", path = emptyBytes } = operation.value;
        touchFile(bucket, path, touch);
        if (operation.case === "put" && operation.value.upload !== undefined) touch(uploadKey(operation.value.upload));
        return;
      }
      case "copy": {
        const { fromBucket = "", from = emptyBytes, toBucket = "", to = emptyBytes } = operation.value;
        touchFile(fromBucket, from, touch);
        touchFile(toBucket, to, touch);
        return;
      }
      case "check":
        for (const { bucket = "", path = emptyBytes } of operation.value.files ?? []) touch(fileKey(bucket, path));
        return;
      default:
    }
  }

  #apply(context: ApplyContext, operation: NonNullable<FileOperation["operation"]>): Applied {
    switch (operation.case) {
      case "setBucket": {
        const { bucket = "", settings = {}, mustBeNew = false, bucketRevision: expected = 0, before } = operation.value;
        const whole = wholeSettings(settings);
        const conditions = { mustBeNew, expected, before: before === undefined ? undefined : wholeSettings(before) };
        const refused = checkBucket(bucket) ?? setBucket(context, bucket, whole, conditions);
        return refused ?? { case: "setBucket", value: {} };
      }
      case "deleteBucket": {
        const { bucket = "" } = operation.value;
        return checkBucket(bucket) ?? deleteBucket(context, bucket) ?? { case: "deleteBucket", value: {} };
      }
      case "put":
        return this.#put(context, operation.value);
      case "delete":
        return this.#delete(context, operation.value);
      case "copy":
        return this.#copy(context, operation.value);
      case "check":
        return check(context, operation.value);
      case "beginUpload":
        return beginUpload(context, operation.value.lease ?? 0n) ?? { case: "beginUpload", value: {} };
      case "sweep":
        return this.#sweep(context, operation.value);
    }
  }

  #put(context: ApplyContext, put: Value<"put">): Applied {
    const { bucket = "", path = emptyBytes, content: given = noContent, ifRevision, bucketRevision = 0 } = put;
    // An operation that was decoded is whole.
    const content = given as FileContent;
    const seen = { revision: bucketRevision, bytes: content.hash.length + content.inline.length > 0 };
    const refused =
      checkBucket(bucket) ??
      checkPath(path) ??
      checkCondition(context, { bucket, path }, ifRevision) ??
      checkSeen(context, bucket, seen);
    if (refused !== undefined) return refused;
    const { settings } = bucketForPut(context, bucket);
    const unfit = checkContent(content, settings.encryption.length > 0) ?? checkProtection(context, put, content);
    if (unfit !== undefined) return unfit;
    const before = currentFile(context, { bucket, path });
    if (before instanceof Refusal) return before;
    const file = putFile(context, this.#self, { bucket, path }, content, before);
    if (file instanceof Refusal) return file;
    const { version, createRevision, timeMs } = file;
    return { case: "put", value: { version, createRevision, timeMs } };
  }

  #delete(
    context: ApplyContext,
    { bucket = "", path = emptyBytes, ifRevision, prefix = false }: Value<"delete">,
  ): Applied {
    const refused = checkBucket(bucket) ?? (prefix ? checkPrefix(path) : checkPath(path));
    if (refused !== undefined) return refused;
    if (prefix) return this.#deletePrefix(context, bucket, path, ifRevision);
    const before = checkCondition(context, { bucket, path }, ifRevision) ?? currentFile(context, { bucket, path });
    if (before === undefined || before instanceof Refusal) return before ?? { case: "delete", value: { count: 0 } };
    return deleteFile(context, this.#self, { bucket, path }, before) ?? { case: "delete", value: { count: 1 } };
  }

  #deletePrefix(context: ApplyContext, bucket: string, prefix: Uint8Array, ifRevision: number | undefined): Applied {
    if (ifRevision !== undefined) {
      return new Refusal("invalid", "a condition is for one file; leave it out when deleting a prefix");
    }
    const files = [...filesIn(context, bucket, prefixRange(prefix))];
    for (const file of files) {
      if (file instanceof Refusal) return file;
      const refused = deleteFile(context, this.#self, { bucket, path: file.path }, file.file);
      if (refused !== undefined) return refused;
    }
    return { case: "delete", value: { count: files.length } };
  }

  #copy(context: ApplyContext, copy: Value<"copy">): Applied {
    const { fromBucket = "", from = emptyBytes, toBucket = "", to = emptyBytes } = copy;
    const { move = false, folder = false, fromRevision = 0, ifRevision } = copy;
    const copying = { fromBucket, from, toBucket, to, move, folder, fromRevision, ifRevision };
    const count = copyFiles(context, this.#self, copying);
    return count instanceof Refusal ? count : { case: "copy", value: { count } };
  }

  #sweep(context: ApplyContext, { limit = 0, bucket = "" }: Value<"sweep">): Applied {
    return checkBucket(bucket) ?? { case: "sweep", value: { count: sweepVersions(context, bucket, limit) } };
  }
}

function touchFile(bucket: string, path: Uint8Array, touch: (key: Uint8Array) => void): void {
  touch(bucketKey(bucket));
  touch(fileKey(bucket, path));
  touch(versionKey(bucket, path, { revision: Number.MAX_SAFE_INTEGER, index: 0 }));
}

/** Chunks that a file names must not be collected before it does. */
function checkProtection({ state }: ApplyContext, put: Value<"put">, content: FileContent): Refusal | undefined {
  const { upload = 0n, snapshot = "", snapshotRevision = 0 } = put;
  if (upload !== 0n && !uploadLasts(state, upload)) {
    const message = `upload ${upload} has ended, and its chunks may be gone; upload the file again`;
    return new Refusal("conflict", message, { final: true });
  }
  if (snapshot !== "") return checkSnapshot(state, snapshot, snapshotRevision);
  if (content.hash.length === 0 || upload !== 0n) return undefined;
  return new Refusal("invalid", "the file names chunks that nothing protects; say which upload or snapshot has them");
}

function checkSnapshot(state: State, name: string, revision: number): Refusal | undefined {
  const refused = checkSnapshotName(name);
  if (refused !== undefined) return refused;
  const stored = state.get(snapshotKey(name));
  const pinned = stored === undefined ? undefined : StoredSnapshot.decode(stored).revision;
  if (pinned !== undefined && (revision === 0 || pinned === revision)) return undefined;
  const is = pinned === undefined ? "does not exist any more" : `is of revision ${pinned}, not of ${revision}`;
  return new Refusal("conflict", `snapshot ${JSON.stringify(name)} ${is}; choose another`, { final: true });
}

/** As many paths with the prefix, and none of them written after the revision. */
function prefixUnchanged(
  { state, work }: ApplyContext,
  guard: { readonly bucket: string; readonly prefix: Uint8Array; readonly count: number; readonly revision: number },
): boolean | Refusal {
  const range = fileRange(guard.bucket, prefixRange(guard.prefix));
  if (state.count(range) !== guard.count) return false;
  for (const { key, value } of state.entries(range)) {
    const refused = work.load(value.length) ?? work.read(key.length + value.length);
    if (refused !== undefined) return refused;
    if (decodeFile(value).revision > guard.revision) return false;
  }
  return true;
}

function check(context: ApplyContext, { files = [], prefixes = [] }: Value<"check">): Applied {
  const refused = context.work.operate(files.length + prefixes.length);
  if (refused !== undefined) return refused;
  for (const { bucket = "", path = emptyBytes, revision = 0 } of files) {
    const refused = checkBucket(bucket) ?? checkPath(path) ?? checkCondition(context, { bucket, path }, revision);
    if (refused !== undefined) return refused;
  }
  for (const { bucket = "", prefix = emptyBytes, count = 0, revision = 0 } of prefixes) {
    const unchanged =
      checkBucket(bucket) ?? checkPrefix(prefix) ?? prefixUnchanged(context, { bucket, prefix, count, revision });
    if (unchanged instanceof Refusal) return unchanged;
    if (!unchanged) {
      return new Refusal(
        "conflict",
        `files of bucket ${bucket} beginning with ${keyText(prefix)} have changed; read them again and retry`,
      );
    }
  }
  return { case: "check", value: {} };
}

function wholeSettings(settings: Init<typeof BucketSettings>): BucketSettings {
  return BucketSettings.decode(BucketSettings.encode(settings));
}
