/**
 * What a folder and a tree of a bucket had in common when they were last synchronised, in a file in the folder.
 *
 * The file is lines of JSON: `{"holdfastSync":1,"store":…,"bucket":…,"prefix":…,"createRevision":…}`, filled up with spaces to
 * one width for all revisions, then `[path, signature, revision]` for each path in the order of their bytes. The signature
 * says what the file was on the disk, the revision what it was in the bucket.
 *
 * 1. A state is trusted only in the history that it was written in (`survey`): what is missing elsewhere was never deleted.
 *    Without trust it counts as empty.
 * 2. While a synchronisation runs, the next state is written beside the last (`-next`), in the same order. After a crash
 *    both are read, if they are of the same history: up to where the next one ends, it holds; behind that, the last one does. A
 *    state that is behind costs work and conflicts that are none, and never a file.
 */
import { concatBytes, emptyBytes, HoldfastError, utf8Decode, utf8Encode } from "../base/index.ts";
import type { FileStat, FileSystem, OpenedFile, WritableFile } from "../base/index.ts";
import { comparePaths } from "./tree-path.ts";

export interface SyncRecord {
  readonly path: string;
  /** See `signatureOf`. */
  readonly signature: string;
  readonly revision: number;
}

/** Which tree the state is of. */
export interface SyncHeader {
  /** The id of the store. */
  readonly store: string;
  readonly bucket: string;
  readonly prefix: string;
  /** Of the bucket; 0: it is not there, and in a file, nobody knows of which bucket the records are. */
  readonly createRevision: number;
}

export interface SyncSurvey {
  /** Paths of the last state; 0 when it is not trusted. */
  readonly count: number;
  /** Why the state that there is says nothing of this tree; undefined when it is trusted, and when there is none. */
  readonly distrust: string | undefined;
}

const version = 1;
const readSize = 65_536;
const lineSizeMax = 65_536;
const lineFeed = 10;

/** A file on the disk, as far as it can be told without reading it that nobody has changed it. `settled`: see `isSettled`. */
export function signatureOf(stat: FileStat, settled: boolean): string {
  // The times of a folder change with what is in it.
  if (stat.type === "folder") return `folder ${stat.mode.toString(8)}`;
  const { type, size, mode, modifiedNs, changedNs, inode } = stat;
  return `${type} ${size} ${mode.toString(8)} ${modifiedNs} ${inode} ${settled ? changedNs : "?"}`;
}

export class SyncState {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #header: SyncHeader;
  #isTrusted = false;

  constructor(fileSystem: FileSystem, path: string, header: SyncHeader) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#header = header;
  }

  get #next(): string {
    return `${this.#path}-next`;
  }

  /** Takes in what a synchronisation that did not end has left. `conflict` when the state is of another tree. */
  async recover(): Promise<void> {
    if ((await this.#fileSystem.stat(this.#next)) === undefined) return;
    const header = await this.#headerOf(this.#next);
    if (header === undefined || !isSameTree(header, this.#header)) return this.#fileSystem.remove(this.#next);
    const last = await this.#headerOf(this.#path);
    const merged = `${this.#path}-merged`;
    const writer = new SyncStateWriter(this.#fileSystem, merged, this.#header);
    await writer.begin();
    try {
      await this.#merge(writer, last !== undefined && isSameTree(last, header));
    } finally {
      await writer.end();
    }
    await this.#fileSystem.rename(merged, this.#path);
    await this.#fileSystem.remove(this.#next);
  }

  async #merge(writer: SyncStateWriter, withLast: boolean): Promise<void> {
    let end: string | undefined;
    for await (const record of this.#read(this.#next, true)) {
      if (end !== undefined && comparePaths(end, record.path) >= 0) break;
      end = record.path;
      await writer.add(record);
    }
    if (!withLast) return;
    for await (const record of this.#read(this.#path, false)) {
      if (end === undefined || comparePaths(record.path, end) > 0) await writer.add(record);
    }
  }

  /**
   * Reads the last state once and decides whether `records` gives it. `revision`: the store's, now. `conflict` when it is of
   * a tree with another name, `corrupt` when it is damaged.
   */
  async survey(revision: number): Promise<SyncSurvey> {
    let [count, oldest, newest] = [0, Infinity, 0];
    for await (const record of this.#read(this.#path, false)) {
      count++;
      oldest = Math.min(oldest, record.revision);
      newest = Math.max(newest, record.revision);
    }
    const distrust = count === 0 ? undefined : this.#distrust(await this.#headerOf(this.#path), oldest);
    const isAhead = newest > revision;
    const reason =
      distrust ?? (isAhead ? "the store has gone back to an earlier state, that of a backup perhaps" : undefined);
    this.#isTrusted = reason === undefined;
    return { count: this.#isTrusted ? count : 0, distrust: reason };
  }

  #distrust(found: Partial<SyncHeader> | undefined, oldest: number): string | undefined {
    const { store, bucket, createRevision } = this.#header;
    if (found?.store !== store) return "the folder was last synchronised with another store";
    if (createRevision === 0) return `bucket ${bucket} is not there any more`;
    const isSame = found.createRevision === createRevision && oldest >= createRevision;
    return isSame
      ? undefined
      : `bucket ${bucket} is not the one that the folder was synchronised with: another was made`;
  }

  /** The last state, as `survey` found it: nothing when it is not trusted. */
  async *records(): AsyncGenerator<SyncRecord, void, undefined> {
    if (this.#isTrusted) yield* this.#read(this.#path, false);
  }

  /** The writer of the next state; `replace` makes it the last. */
  writer(): SyncStateWriter {
    return new SyncStateWriter(this.#fileSystem, this.#next, this.#header);
  }

  async replace(): Promise<void> {
    await this.#fileSystem.rename(this.#next, this.#path);
  }

  /** Undefined when there is none, or none that can be read. */
  async #headerOf(path: string): Promise<Partial<SyncHeader> | undefined> {
    if ((await this.#fileSystem.stat(path)) === undefined) return undefined;
    const file = await this.#fileSystem.open(path);
    try {
      for await (const { bytes, whole } of lines(file)) {
        const value = whole ? parse(bytes) : undefined;
        return typeof value === "object" && value !== null ? value : undefined;
      }
      return undefined;
    } finally {
      await file.close();
    }
  }

  /** `torn`: it may end anywhere. */
  async *#read(path: string, torn: boolean): AsyncGenerator<SyncRecord, void, undefined> {
    let file: OpenedFile;
    try {
      file = await this.#fileSystem.open(path);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "notFound") return;
      throw error;
    }
    let lineNumber = 0;
    try {
      for await (const line of lines(file)) {
        lineNumber++;
        const value = parse(line.bytes);
        if (lineNumber === 1 && value !== undefined) {
          this.#check(value, path);
          continue;
        }
        const record = line.whole ? toRecord(value) : undefined;
        if (record !== undefined && lineNumber > 1) yield record;
        else if (torn) return;
        else {
          const remedy = "remove it: the next run compares everything again, and nothing is lost";
          throw new HoldfastError("corrupt", `line ${lineNumber} of ${path} is damaged; ${remedy}`);
        }
      }
    } finally {
      await file.close();
    }
  }

  #check(value: unknown, path: string): void {
    const found = value as Partial<SyncHeader & { readonly holdfastSync: number }> | null;
    const { bucket, prefix } = this.#header;
    if (found?.holdfastSync !== version) {
      throw new HoldfastError(
        "corrupt",
        `${path} is no state of a synchronisation of version ${version}; remove it to begin anew`,
      );
    }
    if (found.bucket !== bucket || found.prefix !== prefix) {
      const other = `${found.bucket}:${found.prefix}`;
      const remedy = `name that one, or remove ${path} to begin anew with ${bucket}:${prefix}`;
      throw new HoldfastError("conflict", `the folder was last synchronised with ${other}; ${remedy}`);
    }
  }
}

/** Whether what two states say is of one history. */
function isSameTree(a: Partial<SyncHeader>, b: Partial<SyncHeader>): boolean {
  return a.store === b.store && a.createRevision === b.createRevision && b.createRevision !== 0;
}

export class SyncStateWriter {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  #header: SyncHeader;
  #file: WritableFile | undefined;
  #offset = 0;
  #waiting: string[] = [];
  #waitingSize = 0;

  constructor(fileSystem: FileSystem, path: string, header: SyncHeader) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#header = header;
  }

  async begin(): Promise<void> {
    this.#file = await this.#fileSystem.create(this.#path);
    await this.#file.truncate(0);
    this.#push(headerLine(this.#header));
    await this.flush();
  }

  /** The revision that made the bucket; 0 while it is not known. */
  get createRevision(): number {
    return this.#header.createRevision;
  }

  /** Says of which bucket the records are, when it was not there yet at the beginning. */
  async setCreateRevision(createRevision: number): Promise<void> {
    this.#header = { ...this.#header, createRevision };
    await this.#file?.write(utf8Encode(headerLine(this.#header)), 0);
  }

  /** Paths in the order of their bytes. */
  async add({ path, signature, revision }: SyncRecord): Promise<void> {
    this.#push(JSON.stringify([path, signature, revision]));
    if (this.#waitingSize >= readSize) await this.flush();
  }

  #push(line: string): void {
    this.#waiting.push(line, "\n");
    this.#waitingSize += line.length + 1;
  }

  async flush(): Promise<void> {
    const bytes = utf8Encode(this.#waiting.join(""));
    this.#waiting = [];
    this.#waitingSize = 0;
    await this.#file?.write(bytes, this.#offset);
    this.#offset += bytes.length;
  }

  /** Writes all of it, durably. Idempotent. */
  async end(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    try {
      await this.flush();
      await file.sync();
    } finally {
      this.#file = undefined;
      await file.close();
    }
  }
}

/** Of the same size for every revision, so that it can be written over. */
function headerLine(header: SyncHeader): string {
  const line = (one: SyncHeader) => JSON.stringify({ holdfastSync: version, ...one });
  return line(header).padEnd(line({ ...header, createRevision: Number.MAX_SAFE_INTEGER }).length);
}

async function* lines(file: OpenedFile): AsyncGenerator<{ bytes: Uint8Array; whole: boolean }, void, undefined> {
  let rest: Uint8Array = emptyBytes;
  for (let offset = 0; ;) {
    const read = await file.read(offset, readSize);
    offset += read.length;
    const bytes = rest.length === 0 ? read : concatBytes([rest, read]);
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
      yield { bytes: bytes.subarray(start, end), whole: true };
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (read.length === 0 || rest.length > lineSizeMax) break;
  }
  if (rest.length > 0) yield { bytes: rest, whole: false };
}

/** Undefined if it is no JSON. */
function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8Decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

function toRecord(value: unknown): SyncRecord | undefined {
  if (!Array.isArray(value) || value.length !== 3) return undefined;
  const [path, signature, revision] = value as unknown[];
  const sound = typeof path === "string" && typeof signature === "string" && Number.isSafeInteger(revision);
  return sound ? { path, signature, revision: revision as number } : undefined;
}
