/**
 * What a folder and a tree of a bucket had in common when they were last synchronised, in a file in the folder.
 *
 * The file is lines of JSON: `{"holdfastSync":1,"bucket":…,"prefix":…,"createRevision":…}`, then `[path, signature, revision]`
 * for each path in the order of their bytes. The signature says what the file was on the disk, the revision what it was in
 * the bucket.
 *
 * While a synchronisation runs, the next state is written beside the last (`-next`), in the same order. After a crash both
 * are read: up to where the next one ends, it holds; behind that, the last one does. A state that is behind costs work and
 * conflicts that are none, and never a file.
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
  readonly bucket: string;
  readonly prefix: string;
  /** Of the bucket; 0: it was not there yet. */
  readonly createRevision: number;
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
    const merged = `${this.#path}-merged`;
    const writer = new SyncStateWriter(this.#fileSystem, merged, this.#header);
    await writer.begin();
    try {
      let last: string | undefined;
      for await (const record of this.#read(this.#next, true)) {
        if (last !== undefined && comparePaths(last, record.path) >= 0) break;
        last = record.path;
        await writer.add(record);
      }
      for await (const record of this.#read(this.#path, false)) {
        if (last === undefined || comparePaths(record.path, last) > 0) await writer.add(record);
      }
    } finally {
      await writer.end();
    }
    await this.#fileSystem.rename(merged, this.#path);
    await this.#fileSystem.remove(this.#next);
  }

  /** The last state. `conflict` when it is of another tree, `corrupt` when it is damaged. */
  records(): AsyncGenerator<SyncRecord, void, undefined> {
    return this.#read(this.#path, false);
  }

  /** The writer of the next state; `replace` makes it the last. */
  writer(): SyncStateWriter {
    return new SyncStateWriter(this.#fileSystem, this.#next, this.#header);
  }

  async replace(): Promise<void> {
    await this.#fileSystem.rename(this.#next, this.#path);
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
    const { bucket, prefix, createRevision } = this.#header;
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
    // Else everything that the new one does not have would count as deleted.
    if (found.createRevision !== 0 && found.createRevision !== createRevision) {
      const remedy = `if that is right, remove ${path}, and both sides are put together`;
      throw new HoldfastError(
        "conflict",
        `bucket ${bucket} is not the one that the folder was synchronised with; ${remedy}`,
      );
    }
  }
}

export class SyncStateWriter {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #header: SyncHeader;
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
    this.#push(JSON.stringify({ holdfastSync: version, ...this.#header }));
    await this.flush();
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
