/** The files inside an optimistic transaction: reads of one state, with what it has written itself laid over them. */
import { compareBytes, HoldfastError, pathBytes, startsWith, toHex } from "../../base/index.ts";
import type { Init, Revision } from "../../base/index.ts";
import { keyText } from "../key/key-state.ts";
import type { Refusal } from "../view.ts";
import { FileContent } from "./file-operation.ts";
import type { FileOperation, StoredFile } from "./file-operation.ts";
import { checkBucket, checkPath, checkPrefix } from "./file-rules.ts";
import type { FileSource } from "./file-source.ts";
import type { FilePlace } from "./file-state.ts";

type FileOperationCase = NonNullable<FileOperation["operation"]>;

/** What stands for bytes that have been stored already: what `Files.upload` gives, or a file of a snapshot. */
export interface PreparedFile {
  readonly content: Init<typeof FileContent>;
  /** The upload that protects its chunks; see `PutFile`. */
  readonly upload?: bigint | undefined;
  /** Or the snapshot that does, and the revision that it pins; undefined: whatever the one of this name pins. */
  readonly snapshot?: string | undefined;
  readonly snapshotRevision?: number | undefined;
  /** Which bucket the bytes are made for; see `PutFile`. */
  readonly bucketRevision?: number | undefined;
}

/** One file of a list. */
export interface TransactionFile {
  readonly path: Uint8Array;
  readonly file: StoredFile;
}

export interface TransactionListOptions {
  readonly prefix?: string | Uint8Array | undefined;
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

/** Where a file comes from that the transaction writes. */
type Origin =
  | { readonly type: "put"; readonly prepared: PreparedFile }
  | { readonly type: "copy"; readonly from: FilePlace; readonly fromRevision: number };

interface Write extends FilePlace {
  /** Undefined deletes. */
  readonly file: { readonly origin: Origin; readonly content: FileContent } | undefined;
}

interface Read extends FilePlace {
  readonly file: StoredFile | undefined;
}

/** The files of one bucket: `tx.files(bucket)`. */
export class FileTransaction {
  readonly bucket: string;
  readonly #all: FileTransactions;

  /** @internal */
  constructor(all: FileTransactions, bucket: string) {
    this.#all = all;
    this.bucket = bucket;
  }

  /**
   * What the file is, as this transaction sees it; undefined if it does not exist. One that it has written looks as if it
   * were committed at the next revision; its time is 0.
   */
  stat(path: string | Uint8Array): Promise<StoredFile | undefined> {
    return this.#all.stat(this.#place(path));
  }

  /** The files with the prefix, in order. It reads all of them before the first, so choose few. */
  list(options: TransactionListOptions = {}): AsyncGenerator<TransactionFile, void, undefined> {
    const { prefix = "" } = options;
    const bytes = typeof prefix === "string" ? pathBytes(prefix) : prefix.slice();
    accept(checkPrefix(bytes));
    return this.#all.list(this.bucket, bytes, options);
  }

  /** Gives stored bytes this name when the transaction commits; `attributes` go over those that they have. */
  put(path: string | Uint8Array, prepared: PreparedFile, attributes: Init<typeof FileContent> = {}): void {
    const content = { ...prepared.content, ...attributes };
    this.#all.put(this.#place(path), { ...prepared, content });
  }

  /** Gives the file a second name, with all that it is. `notFound` if it does not exist. */
  async copy(from: string | Uint8Array, to: string | Uint8Array, toBucket = this.bucket): Promise<void> {
    await this.#all.copy(this.#place(from), this.#place(to, toBucket));
  }

  /** Gives the file another name. */
  async move(from: string | Uint8Array, to: string | Uint8Array, toBucket = this.bucket): Promise<void> {
    const [source, target] = [this.#place(from), this.#place(to, toBucket)];
    if (nameOf(source) === nameOf(target)) {
      throw new HoldfastError("invalid", `${keyText(source.path)} cannot be moved onto itself`);
    }
    await this.#all.copy(source, target);
    this.#all.delete(source);
  }

  /** Deletes the file when the transaction commits; that it does not exist is no error. */
  delete(path: string | Uint8Array): void {
    this.#all.delete(this.#place(path));
  }

  #place(path: string | Uint8Array, bucket = this.bucket): FilePlace {
    const bytes = typeof path === "string" ? pathBytes(path) : path.slice();
    accept(checkBucket(bucket) ?? checkPath(bytes));
    return { bucket, path: bytes };
  }
}

/** What one transaction reads and writes of all buckets. @internal */
export class FileTransactions {
  readonly #source: FileSource;
  readonly #revision: Revision;
  readonly #signal: AbortSignal | undefined;
  readonly #writes = new Map<string, Write>();
  readonly #reads = new Map<string, Read>();
  readonly #prefixes: { readonly bucket: string; readonly prefix: Uint8Array; readonly count: number }[] = [];
  #over = false;
  /** Errors of its own reads, as opposed to the caller's, that say that the state is no longer kept. */
  readonly #outdated = new Set<unknown>();

  constructor(source: FileSource, revision: Revision, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#revision = revision;
    this.#signal = signal;
  }

  files(bucket: string): FileTransaction {
    accept(checkBucket(bucket));
    return new FileTransaction(this, bucket);
  }

  #checkOpen(): void {
    if (this.#over)
      throw new HoldfastError("invalid", "the transaction is over; use its files inside its function only");
  }

  #note(error: unknown): never {
    if (error instanceof HoldfastError && error.code === "trimmed") this.#outdated.add(error);
    throw error;
  }

  get #reading() {
    return { consistency: "local", atLeast: this.#revision, signal: this.#signal } as const;
  }

  async #read(place: FilePlace): Promise<StoredFile | undefined> {
    const name = nameOf(place);
    const known = this.#reads.get(name);
    if (known !== undefined) return known.file;
    const file = await this.#source
      .get(place.bucket, place.path, this.#revision, this.#reading)
      .catch((error: unknown) => this.#note(error));
    this.#reads.set(name, { ...place, file });
    return file;
  }

  async stat(place: FilePlace): Promise<StoredFile | undefined> {
    this.#checkOpen();
    const before = await this.#read(place);
    const write = this.#writes.get(nameOf(place));
    return write === undefined ? before : this.#written(write, before);
  }

  #written({ file }: Write, before: StoredFile | undefined): StoredFile | undefined {
    if (file === undefined) return undefined;
    const revision = this.#revision + 1;
    const { createRevision = revision, version = 0 } = before ?? {};
    return { content: file.content, revision, createRevision, version: version + 1, timeMs: 0 };
  }

  async *list(
    bucket: string,
    prefix: Uint8Array,
    { limit = Number.POSITIVE_INFINITY, reverse = false }: TransactionListOptions,
  ): AsyncGenerator<TransactionFile, void, undefined> {
    this.#checkOpen();
    const files: TransactionFile[] = [];
    let count = 0;
    try {
      const query = { bucket, prefix, at: this.#revision };
      for await (const batch of this.#source.list(query, this.#reading)) {
        for (const { path, file } of batch.files) {
          count++;
          if (file !== undefined && !this.#writes.has(nameOf({ bucket, path }))) files.push({ path, file });
        }
      }
    } catch (error) {
      this.#note(error);
    }
    this.#prefixes.push({ bucket, prefix, count });
    for (const write of this.#writes.values()) {
      if (write.bucket !== bucket || !startsWith(write.path, prefix)) continue;
      const file = await this.stat(write);
      if (file !== undefined) files.push({ path: write.path.slice(), file });
    }
    const order = reverse ? -1 : 1;
    const sorted = files.toSorted((a, b) => order * compareBytes(a.path, b.path));
    for (const [index, file] of sorted.entries()) {
      if (index >= limit) return;
      yield file;
    }
  }

  put(place: FilePlace, prepared: PreparedFile): void {
    this.#checkOpen();
    // A copy with all defaults filled in, which the caller cannot change any more.
    const content = FileContent.decode(FileContent.encode(prepared.content));
    const origin: Origin = { type: "put", prepared: { ...prepared, content } };
    this.#writes.set(nameOf(place), { ...place, file: { origin, content } });
  }

  delete(place: FilePlace): void {
    this.#checkOpen();
    this.#writes.set(nameOf(place), { ...place, file: undefined });
  }

  async copy(from: FilePlace, to: FilePlace): Promise<void> {
    const stored = await this.stat(from);
    if (stored === undefined) {
      throw new HoldfastError("notFound", `file ${keyText(from.path)} does not exist in bucket ${from.bucket}`);
    }
    // One that it has written itself comes from where that came from.
    const written = this.#writes.get(nameOf(from))?.file;
    if (written?.origin.type === "put" && from.bucket !== to.bucket) {
      throw new HoldfastError(
        "invalid",
        "what is put in one bucket cannot be copied to another before it is committed",
      );
    }
    const origin = written?.origin ?? { type: "copy", from, fromRevision: stored.revision };
    this.#writes.set(nameOf(to), { ...to, file: { origin, content: stored.content } });
  }

  /** What was read, as conditions, and what is to be written. */
  finish(): { readonly checks: readonly FileOperation[]; readonly writes: readonly FileOperation[] } {
    this.#over = true;
    const files = Array.from(this.#reads.values(), ({ file, ...place }) => ({
      ...place,
      revision: file?.revision ?? 0,
    }));
    const prefixes = this.#prefixes.map((one) => ({ ...one, revision: this.#revision }));
    const check: FileOperationCase = { case: "check", value: { files, prefixes } };
    const isFree = files.length + prefixes.length === 0;
    return {
      checks: isFree ? [] : [{ operation: check }],
      writes: this.#ordered().map((operation) => ({ operation })),
    };
  }

  /** Copies first, since what they copy may be overwritten or deleted by the others. */
  #ordered(): FileOperationCase[] {
    const copies: (FilePlace & { readonly from: FilePlace; readonly fromRevision: number })[] = [];
    const operations: FileOperationCase[] = [];
    for (const { bucket, path, file } of this.#writes.values()) {
      if (file === undefined) operations.push({ case: "delete", value: { bucket, path } });
      else if (file.origin.type === "copy") copies.push({ bucket, path, ...file.origin });
      else operations.push({ case: "put", value: { bucket, path, ...file.origin.prepared } });
    }
    return [...inCopyOrder(copies), ...operations];
  }

  abandon(): void {
    this.#over = true;
  }

  /** Whether an error says that the state it reads is no longer there. */
  outdated(error: unknown): boolean {
    return this.#outdated.has(error);
  }
}

/**
 * Each copy before the one that overwrites what it copies. In a circle that cannot be; there the old version is copied,
 * which a bucket that keeps no versions does not have (`notFound`).
 */
function inCopyOrder(
  copies: readonly (FilePlace & { readonly from: FilePlace; readonly fromRevision: number })[],
): FileOperationCase[] {
  const operations: FileOperationCase[] = [];
  /** How many copies that are left need what is there. */
  const needed = new Map<string, number>();
  const byTarget = new Map(copies.map((copy) => [nameOf(copy), copy]));
  for (const { from } of copies) needed.set(nameOf(from), (needed.get(nameOf(from)) ?? 0) + 1);
  const take = (name: string): void => {
    for (let next: string | undefined = name; next !== undefined;) {
      const copy = byTarget.get(next);
      if (copy === undefined) return;
      byTarget.delete(next);
      const { bucket: toBucket, path: to, from, fromRevision } = copy;
      const value = { fromBucket: from.bucket, from: from.path, toBucket, to, fromRevision };
      operations.push({ case: "copy", value });
      const source = nameOf(from);
      const left = (needed.get(source) ?? 1) - 1;
      needed.set(source, left);
      next = left === 0 ? source : undefined;
    }
  };
  for (const name of copies.map(nameOf)) if ((needed.get(name) ?? 0) === 0) take(name);
  for (const name of copies.map(nameOf)) take(name);
  return operations;
}

function accept(refusal: Refusal | undefined): void {
  if (refusal !== undefined) throw new HoldfastError(refusal.code, refusal.message);
}

/** A place as a map's key; a bucket's name has no slash. */
function nameOf({ bucket, path }: FilePlace): string {
  return `${bucket}/${toHex(path)}`;
}
