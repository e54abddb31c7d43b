/**
 * The files of a bucket, as a user sees them. The same face stands before a store in this process and one elsewhere.
 *
 * 1. A file is visible under its name when all its bytes are durable, and not before; it is replaced at once.
 * 2. Whatever the size of a file, a put or get holds a bounded number of chunks in memory.
 * 3. Chunks that a put counts on are put or found under an upload (uploads.ts), so that no collection takes them before
 *    the name is committed.
 *
 * After a crash a file is there as it was before the put, or as after it. Chunks of a put that did not end are found again by
 * the next put of the same bytes, until they are collected.
 */
import { emptyBytes, HoldfastError, revision } from "../base/index.ts";
import type { Init } from "../base/index.ts";
import type { ChunkSettings, Content } from "../blob/index.ts";
import type { FileContent, ReadOptions } from "../view/index.ts";
import { BucketAccess } from "./bucket-access.ts";
import type { Bucket } from "./buckets.ts";
import { toBucket } from "./buckets.ts";
import type { BucketSecret } from "./encryption.ts";
import { fileContent, folderContent, linkContent } from "./file-attributes.ts";
import type { FileAttributes } from "./file-attributes.ts";
import { FileBatches } from "./file-batches.ts";
import type { FileEntry, PutManyOptions, PutManyOutcome } from "./file-batches.ts";
import type { FileInput } from "./file-input.ts";
import type { FileParts } from "./file-parts.ts";
import { checkedBucket, checkedPath, checkedPrefix } from "./file-path.ts";
import type { FilePath } from "./file-path.ts";
import { FileReading } from "./file-reading.ts";
import { FileRecord, PathPrefix, VersionRecord } from "./file-record.ts";
import { checkLimit, checkReading, conditionOf, countOf, storedOf } from "./file-request.ts";
import type { FileConditions, FileOutcome } from "./file-request.ts";
import type { FileWork } from "./file-work.ts";
import { FileWriting } from "./file-writing.ts";
import type { Uploaded, UploadedFile, UploadLaterOptions, UploadOptions } from "./file-writing.ts";

export type GetOptions = ReadOptions & {
  /** The version that was written at this revision; undefined: the current one. */
  readonly revision?: number | undefined;
};

export interface FileListOptions extends ReadOptions {
  /** Only paths that begin with this. */
  readonly prefix?: FilePath | undefined;
  /** Only paths at or after this one; with `reverse`, before it: where a list goes on. */
  readonly start?: FilePath | undefined;
  /** At most so many. */
  readonly limit?: number | undefined;
  /** From the last path to the first. */
  readonly reverse?: boolean | undefined;
  /** One level: of paths with a `/` behind the prefix, what they have in common up to it, once. Not with `reverse`. */
  readonly folders?: boolean | undefined;
}

export type PutFileOptions = FileAttributes & FileConditions & UploadOptions;
export type EntryOptions = FileAttributes & FileConditions & { readonly signal?: AbortSignal | undefined };

export interface DeleteFileOptions {
  /** Only if the file's current version was written at this revision; else `conflict`. Not with a prefix. */
  readonly ifRevision?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type CopyFileOptions = FileConditions & {
  /** Another bucket; undefined: this one. `invalid` between buckets that are not encrypted with the same key. */
  readonly toBucket?: string | undefined;
  /** Everything below the path, and the path itself: `from/x` becomes `to/x`. Conditions are not taken then. */
  readonly folder?: boolean | undefined;
  /** The version that was written at this revision; undefined: the current one. Not for a move. */
  readonly fromRevision?: number | undefined;
  readonly signal?: AbortSignal | undefined;
};

const noContent: Content = { size: 0, hash: emptyBytes, depth: 0, inline: emptyBytes };
/** Of an entry without bytes. */
const noUpload = { upload: 0n, bucketRevision: 0 };

/** Files of one state, which does not change: `store.at(revision).files(bucket)`. */
export class PastFiles {
  readonly bucket: string;
  protected readonly work: FileWork;
  protected readonly access: BucketAccess;
  readonly #at: number | undefined;

  /** `at` undefined: always the present state. */
  constructor(work: FileWork, bucket: string, secret: BucketSecret | undefined, at: number | undefined) {
    this.work = work;
    this.bucket = checkedBucket(bucket);
    this.access = new BucketAccess(work, this.bucket, secret, at);
    this.#at = at;
  }

  /** For whole trees: what the files are made of. @internal */
  get parts(): FileParts {
    return this.work.parts;
  }

  /** What the file is; undefined if it does not exist. */
  async stat(path: FilePath, options: GetOptions = {}): Promise<FileRecord | undefined> {
    const bytes = checkedPath(path);
    const stored = await this.#stored(bytes, options);
    return stored === undefined ? undefined : this.record(bytes, stored);
  }

  async #stored(path: Uint8Array, options: GetOptions): Promise<FileRecord["stored"] | undefined> {
    checkReading(options);
    const { source } = this.work.parts;
    if (options.revision === undefined) return source.get(this.bucket, path, this.#at, options);
    if (this.#at === undefined) {
      const versions = await source.versions(this.bucket, path, options);
      return versions.find(({ file }) => file.revision === options.revision)?.file;
    }
    const stored = await source.get(this.bucket, path, this.#at, options);
    return stored?.revision === options.revision ? stored : undefined;
  }

  protected record(path: Uint8Array, stored: FileRecord["stored"]): FileRecord {
    return new FileRecord(this.work.parts.env.digest, this.bucket, path, stored);
  }

  /**
   * The file, to be read; undefined if it does not exist. `denied` when the bucket is encrypted and the key is not the
   * right one or there is none.
   */
  async get(path: FilePath, options: GetOptions = {}): Promise<FileReading | undefined> {
    const bytes = checkedPath(path);
    const stored = await this.#stored(bytes, options);
    return stored === undefined ? undefined : this.open(this.record(bytes, stored), options);
  }

  /**
   * The bytes of a record of this bucket, from a list for instance. `corrupt` when the bucket is encrypted and nobody with
   * its key has made the content; a link is looked at too.
   */
  async open(record: FileRecord, options: ReadOptions = {}): Promise<FileReading> {
    // The bucket is read in a state that has the file, so that its encryption cannot be missed.
    const seen = Math.max(record.revision, options.atLeast ?? 0);
    const fresh = this.#at === undefined ? { ...options, atLeast: revision(seen) } : options;
    const key = record.type === "folder" ? undefined : await this.access.reading(record, fresh);
    return new FileReading(this.work, record, key);
  }

  /**
   * Paths in the order of their bytes, all of one state, however long it takes; they stream, so that there may be more
   * than memory holds.
   */
  list(options: FileListOptions & { readonly folders: true }): AsyncGenerator<FileRecord | PathPrefix, void, undefined>;
  list(
    options?: FileListOptions & { readonly folders?: false | undefined },
  ): AsyncGenerator<FileRecord, void, undefined>;
  async *list(options: FileListOptions = {}): AsyncGenerator<FileRecord | PathPrefix, void, undefined> {
    const { prefix = "", start, limit, reverse, folders } = options;
    checkReading(options);
    checkLimit(limit);
    if (folders === true && reverse === true) {
      throw new HoldfastError("invalid", "a list of one level goes forward only; leave out reverse or folders");
    }
    const query = {
      bucket: this.bucket,
      prefix: checkedPrefix(prefix),
      start: start === undefined ? undefined : checkedPrefix(start, "start"),
      folders,
      limit,
      reverse,
      at: this.#at,
    };
    for await (const { files } of this.work.parts.source.list(query, options)) {
      for (const { path, file } of files) {
        yield file === undefined ? new PathPrefix(this.bucket, path) : this.record(path, file);
      }
    }
  }
}

export class Files extends PastFiles {
  readonly #writing: FileWriting;

  constructor(work: FileWork, bucket: string, secret?: BucketSecret) {
    super(work, bucket, secret, undefined);
    this.#writing = new FileWriting(work, this.access);
  }

  /**
   * Writes the file and answers what it is, once it is durable and visible to every later read; makes the bucket if it is
   * missing. Bytes that are given must not change before that. `conflict` if a condition does not hold, `denied` without the
   * right key, `exhausted` when a disk is full; `unavailable`, `timeout` and `cancelled` may have `maybe` set.
   *
   * `conflict`, too, when the connection was lost for so long that what was sent may have been collected, and when the bucket
   * was deleted meanwhile, perhaps made again: bytes are encrypted, or not, for one bucket. A source that can be read again
   * (bytes, text, a Blob, a function) is then put once more instead.
   */
  async put(path: FilePath, input: FileInput, options: PutFileOptions = {}): Promise<FileRecord> {
    const bytes = checkedPath(path);
    conditionOf(options);
    // What is wrong with the attributes shows before anything is sent.
    fileContent(noContent, options);
    return this.#writing.commit(input, options, (uploaded) => {
      return this.#putEntry(bytes, fileContent(uploaded.content, options), uploaded, options);
    });
  }

  async #putEntry(
    path: Uint8Array,
    content: Init<typeof FileContent>,
    { upload, bucketRevision }: Pick<Uploaded, "upload" | "bucketRevision">,
    options: EntryOptions,
  ): Promise<FileRecord> {
    const value = { bucket: this.bucket, path, content, ifRevision: conditionOf(options), upload, bucketRevision };
    const { revision: at, results } = await this.work.propose([{ operation: { case: "put", value } }], options.signal);
    return this.record(path, storedOf(content, at, results[0]));
  }

  /**
   * Stores the bytes without giving them a name: what `tx.files(bucket).put` takes. They are kept until the handle is released,
   * for ten minutes at most, and from then on only if a file has them.
   */
  async upload(input: FileInput, options: UploadLaterOptions = {}): Promise<Uploaded> {
    return this.#writing.upload(input, options);
  }

  /** The same for a file of this machine, read where the hashing is done. `path` as the machine's `FileSystem` takes it. */
  async uploadFile(path: string, options: UploadLaterOptions = {}): Promise<UploadedFile> {
    return this.#writing.uploadFile(path, options);
  }

  /**
   * Writes, and deletes, many files in few commands, for whole trees: each file by itself is replaced at once, all of them
   * together are not. Each path at most once. Ends early with the first failure, unless `failed` takes it; what was
   * committed by then stays. Uploads of the entries are released in any case.
   */
  async putMany(
    entries: Iterable<FileEntry> | AsyncIterable<FileEntry>,
    options: PutManyOptions = {},
  ): Promise<PutManyOutcome> {
    return new FileBatches(this.work, this.access, options).run(entries);
  }

  /** The retained versions, oldest first; deleted ones too. */
  async versions(path: FilePath, options: ReadOptions = {}): Promise<VersionRecord[]> {
    const bytes = checkedPath(path);
    checkReading(options);
    const { env, source } = this.work.parts;
    const versions = await source.versions(this.bucket, bytes, options);
    return versions.map((version) => new VersionRecord(env.digest, this.bucket, bytes, version));
  }

  /** Gives a file, or with `folder` all below it, a second name. No bytes are moved. `notFound` if there is nothing. */
  async copy(from: FilePath, to: FilePath, options: CopyFileOptions = {}): Promise<FileOutcome> {
    return this.#copy(from, to, options, false);
  }

  /** Gives a file, or with `folder` all below it, another name, at one revision. */
  async move(from: FilePath, to: FilePath, options: CopyFileOptions = {}): Promise<FileOutcome> {
    if (options.fromRevision !== undefined) {
      throw new HoldfastError("invalid", "an old version cannot be moved; copy it, then delete what is not wanted");
    }
    return this.#copy(from, to, options, true);
  }

  async #copy(from: FilePath, to: FilePath, options: CopyFileOptions, move: boolean): Promise<FileOutcome> {
    const { toBucket: target = this.bucket, folder = false, fromRevision = 0, signal } = options;
    const ifRevision = conditionOf(options);
    if (folder && ifRevision !== undefined) {
      throw new HoldfastError("invalid", "ifAbsent and ifRevision are for one file; leave them out with folder");
    }
    const value = {
      fromBucket: this.bucket,
      from: checkedPath(from, "the path to copy from"),
      toBucket: checkedBucket(target),
      to: checkedPath(to, "the path to copy to"),
      move,
      folder,
      fromRevision,
      ifRevision,
    };
    const { revision: at, results } = await this.work.propose([{ operation: { case: "copy", value } }], signal);
    return { revision: at, count: countOf(results[0]) };
  }

  /** Deletes a file, or all with a prefix at one revision (so many as one command may change). None is no error. */
  async delete(which: FilePath | { readonly prefix: FilePath }, options: DeleteFileOptions = {}): Promise<FileOutcome> {
    const { ifRevision, signal } = options;
    const single = typeof which === "string" || which instanceof Uint8Array;
    if (!single && ifRevision !== undefined) {
      throw new HoldfastError("invalid", "ifRevision is for one file; leave it out when deleting a prefix");
    }
    const path = single ? checkedPath(which) : checkedPrefix(prefixOf(which));
    const value = { bucket: this.bucket, path, ifRevision: conditionOf({ ifRevision }), prefix: !single };
    const { revision: at, results } = await this.work.propose([{ operation: { case: "delete", value } }], signal);
    return { revision: at, count: countOf(results[0]) };
  }

  /** Makes an entry for a folder, which keeps its mode and times, and the folder itself while nothing is in it. */
  async makeFolder(path: FilePath, options: EntryOptions = {}): Promise<FileRecord> {
    return this.#putEntry(checkedPath(path), folderContent(options), noUpload, options);
  }

  /** Makes a symbolic link. What it points to is text for whoever gets the tree; the store does not follow it. */
  async makeLink(path: FilePath, target: string | Uint8Array, options: EntryOptions = {}): Promise<FileRecord> {
    const bytes = checkedPath(path);
    const content = linkContent(target, options);
    return this.#putEntry(bytes, await this.access.sealed(content, options.signal), noUpload, options);
  }

  /** How the bucket is kept; undefined if it does not exist. */
  async info(options: ReadOptions = {}): Promise<Bucket | undefined> {
    checkReading(options);
    const info = await this.work.parts.source.bucket(this.bucket, options);
    return info === undefined ? undefined : toBucket(info);
  }

  /** How its files are cut, with the key. `denied` without the right one. */
  async settings(signal?: AbortSignal): Promise<ChunkSettings> {
    return (await this.access.writing(signal)).settings;
  }
}

function prefixOf(choice: unknown): FilePath {
  const prefix = (choice as { readonly prefix?: FilePath } | null)?.prefix;
  if (prefix !== undefined) return prefix;
  throw new HoldfastError("invalid", "name what to delete: a path, or { prefix } for all that begin with it");
}
