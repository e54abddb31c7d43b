/**
 * Where a tree is written to: a folder of the file system, below which files appear whole, with their attributes, or not at
 * all.
 *
 * 1. Nothing is written through a symbolic link or outside of the folder, whatever paths the bucket has.
 * 2. A file has its name only when its bytes have been checked and its attributes are set. It replaces what was there
 *    atomically; a folder is replaced only when it is empty.
 *
 * After a crash there are files as they were or as they are to be, and beside them partial ones (`partialPrefix`): what is
 * in those is checked against the names of its chunks and used. Nothing is synced: after a power failure a file may have
 * its size and times and not its bytes; comparing contents finds that.
 */
import { equalBytes, HoldfastError, throwIfAborted, toHex, utf8Encode } from "../base/index.ts";
import type { FileAttributes, FileStat, WritableFile } from "../base/index.ts";
import { locateChunks } from "../blob/index.ts";
import type { ChunkSettings } from "../blob/index.ts";
import { contentOf } from "./file-reading.ts";
import type { FileReading } from "./file-reading.ts";
import type { FileRecord } from "./file-record.ts";
import { nameChunk } from "./tree.ts";
import type { TreeParts } from "./tree.ts";
import { joinPath, namePart, parentPath, partialPrefix } from "./tree-path.ts";

export interface TargetOptions {
  /** How the bucket's files are cut, for whoever continues a partial file. */
  readonly settings: () => Promise<ChunkSettings>;
  /** Leave owners alone. */
  readonly withoutOwners?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with bytes that were written, or found in a partial file. */
  readonly progress?: ((size: number, written: boolean) => void) | undefined;
}

/** Looks once more, right before a name is given; throws when it must not be. */
export type LastCheck = () => Promise<void>;

/** Files up to this size are written at once. */
const smallSizeMax = 1_048_576;
/** Zeros of so many bytes, at a multiple of it, become a hole. */
const blockSize = 4_096;
/** Set-user-id and set-group-id: they say something only of the right owner. */
const ownerBits = 0o6000;
const fileMode = 0o644;
const folderMode = 0o755;

export class TreeTarget {
  readonly #parts: TreeParts;
  readonly #root: string;
  readonly #options: TargetOptions;
  /** Folders that are there. */
  readonly #folders = new Map<string, Promise<void>>();

  constructor(parts: TreeParts, root: string, options: TargetOptions) {
    this.#parts = parts;
    this.#root = root;
    this.#options = options;
  }

  /** The path for the file system. */
  place(path: string): string {
    return joinPath(this.#root, path);
  }

  /** Makes the top and what it is in. It may be a link to a folder only above its last name. */
  async makeRoot(): Promise<void> {
    const { fileSystem } = this.#parts;
    const missing: string[] = [];
    let path = this.#root;
    for (;;) {
      const stat = await fileSystem.stat(path);
      if (stat?.type === "folder") break;
      // A link on the way is for the file system to follow.
      if (stat?.type === "link" && missing.length > 0) break;
      if (stat !== undefined) throw notFolder(path);
      missing.push(path);
      const parent = parentPath(path.replace(/\/+$/, ""));
      if (parent === "") break;
      path = parent;
    }
    for (const one of missing.toReversed()) {
      await fileSystem.makeFolder(one, folderMode).catch((error: unknown) => {
        if (!(error instanceof HoldfastError) || error.code !== "exists") throw error;
      });
    }
    this.#folders.set("", Promise.resolve());
  }

  /**
   * Makes a folder and what it is in. With `replace` a file or link that has its name goes; without, it is in the way
   * (`exists`).
   */
  ensureFolder(path: string, { replace = false }: { readonly replace?: boolean } = {}): Promise<void> {
    if (path === "") return Promise.resolve();
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    // A list in order comes back to few of them.
    if (this.#folders.size > 65_536) this.#folders.clear();
    const made = this.#makeFolder(path, replace);
    this.#folders.set(path, made);
    made.catch(() => this.#folders.delete(path));
    return made;
  }

  async #makeFolder(path: string, replace: boolean): Promise<void> {
    await this.ensureFolder(parentPath(path));
    const { fileSystem } = this.#parts;
    const place = this.place(path);
    const stat = await fileSystem.stat(place);
    if (stat?.type === "folder") {
      // Only its owner can, and for anybody else it fails where it matters.
      if (replace && (stat.mode & 0o700) !== 0o700) {
        await fileSystem.setAttributes(place, { mode: stat.mode | 0o700 }).catch(() => {});
      }
      return;
    }
    if (stat !== undefined) {
      const what = stat.type === "link" ? "a symbolic link" : "a file";
      if (!replace) {
        throw new HoldfastError("exists", `${place} is ${what}, and nothing is written through it; move it away first`);
      }
      await fileSystem.remove(place);
    }
    // Nobody else looks in before it has the mode that it is to have.
    await fileSystem.makeFolder(place, replace ? 0o700 : folderMode);
  }

  /** Writes the bytes and attributes of a file. */
  async writeFile(path: string, reading: FileReading, check?: LastCheck): Promise<void> {
    await this.ensureFolder(parentPath(path));
    const { size } = reading;
    const attributes = this.attributesOf(reading);
    if (size > smallSizeMax) return this.#writeLarge(path, reading, attributes, check);
    const bytes = await reading.bytes({ signal: this.#options.signal });
    await check?.();
    await this.#parts.fileSystem.place(this.place(path), bytes, attributes);
    this.#options.progress?.(size, true);
  }

  async #writeLarge(
    path: string,
    reading: FileReading,
    attributes: FileAttributes,
    check: LastCheck | undefined,
  ): Promise<void> {
    const { fileSystem } = this.#parts;
    const partial = this.partialOf(path, reading);
    const file = await fileSystem.create(partial);
    try {
      const start = await this.#found(file, reading);
      if (start > 0) this.#options.progress?.(start, false);
      await file.truncate(start);
      let offset = start;
      for await (const bytes of reading.stream({ start, signal: this.#options.signal })) {
        await writeWithHoles(file, bytes, offset);
        offset += bytes.length;
        this.#options.progress?.(bytes.length, true);
      }
      await file.truncate(offset);
    } finally {
      await file.close();
    }
    await fileSystem.setAttributes(partial, attributes);
    await check?.();
    await fileSystem.rename(partial, this.place(path));
  }

  /** Up to where a partial file has the right bytes. */
  async #found(file: WritableFile, { stored: { content } }: FileReading): Promise<number> {
    const { size } = await file.stat();
    if (size === 0 || content.hash.length === 0) return 0;
    const { chunks, pipeline } = this.#parts;
    const { signal, settings } = this.#options;
    const cut = await settings();
    const source = { get: (hash: Uint8Array) => chunks.getStored(hash, signal), pipeline };
    let end = 0;
    for await (const chunk of locateChunks(source, contentOf(content), 0, Math.min(size, content.size))) {
      throwIfAborted(signal);
      if (chunk.offset + chunk.size > size) break;
      const bytes = await file.read(chunk.offset, chunk.size);
      const name = await nameChunk(this.#parts, bytes, cut);
      if (name === undefined || !equalBytes(name, chunk.hash)) break;
      end = chunk.offset + chunk.size;
    }
    return end;
  }

  /** Makes a symbolic link. */
  async writeLink(path: string, record: FileRecord, check?: LastCheck): Promise<void> {
    await this.ensureFolder(parentPath(path));
    const { fileSystem } = this.#parts;
    const partial = this.partialOf(path, record);
    await this.#clear(partial);
    await fileSystem.makeLink(partial, record.target ?? "");
    try {
      await this.#setLinkAttributes(partial, record);
      await check?.();
      await fileSystem.rename(partial, this.place(path));
    } catch (error) {
      await this.#clear(partial);
      throw error;
    }
  }

  /** Some file systems keep no times for links; the link is what counts. */
  async #setLinkAttributes(place: string, record: FileRecord): Promise<void> {
    const { mode: _, ...attributes } = this.attributesOf(record);
    await this.#parts.fileSystem.setAttributes(place, attributes).catch((error: unknown) => {
      if (!(error instanceof HoldfastError) || error.code === "notFound") throw error;
    });
  }

  /** Gives a file that is there a second name. False where the file system cannot. */
  async linkTo(path: string, existing: string, record: FileRecord): Promise<boolean> {
    await this.ensureFolder(parentPath(path));
    const { fileSystem } = this.#parts;
    const partial = this.partialOf(path, record);
    await this.#clear(partial);
    try {
      await fileSystem.linkFile(this.place(existing), partial);
    } catch (error) {
      if (error instanceof HoldfastError && ["denied", "invalid", "unavailable"].includes(error.code)) return false;
      throw error;
    }
    await fileSystem.rename(partial, this.place(path));
    return true;
  }

  async #clear(place: string): Promise<void> {
    await this.#parts.fileSystem.remove(place).catch((error: unknown) => {
      if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    });
  }

  /** Whether what is there differs from the record in nothing that `setAttributes` sets. */
  hasAttributes(record: FileRecord, stat: FileStat): boolean {
    const { mode, uid, gid, modifiedNs } = this.attributesOf(record);
    const seen = this.#options.withoutOwners === true ? stat.mode & ~ownerBits : stat.mode;
    return (
      (record.mode === undefined || stat.type === "link" || mode === seen) &&
      (uid === undefined || uid === stat.uid) &&
      (gid === undefined || gid === stat.gid) &&
      modifiedNs === stat.modifiedNs
    );
  }

  async setAttributes(path: string, record: FileRecord): Promise<void> {
    if (record.type === "link") return this.#setLinkAttributes(this.place(path), record);
    await this.#parts.fileSystem.setAttributes(this.place(path), this.attributesOf(record));
  }

  /** What a file gets; where the entry says nothing, what a new file usually has, and the time of its version. */
  attributesOf(record: FileRecord): FileAttributes {
    const { mode = record.type === "folder" ? folderMode : fileMode, uid, gid, stored } = record;
    const modifiedNs = stored.content.modifiedNs ?? BigInt(stored.timeMs) * 1_000_000n;
    // Whoever is not made the owner is not let act as one.
    if (this.#options.withoutOwners === true) return { mode: mode & ~ownerBits, modifiedNs };
    return { mode, uid, gid, modifiedNs };
  }

  /** Where a file stands until it is whole: the same place for the same bytes. */
  partialOf(path: string, record: FileRecord): string {
    const name = utf8Encode(`${namePart(path)}\0${record.hash}\0${record.target ?? ""}`);
    const digest = toHex(this.#parts.env.digest.sha256(name)).slice(0, 32);
    return this.place(joinPath(parentPath(path), partialPrefix + digest));
  }
}

export function notFolder(path: string): HoldfastError {
  return new HoldfastError("invalid", `${path} is no folder; name one, or a place for a new one`);
}

/** Writes what is not zero; the file must have nothing there. */
async function writeWithHoles(file: WritableFile, bytes: Uint8Array, offset: number): Promise<void> {
  let start = 0;
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + blockSize - ((offset + at) % blockSize));
    if (end - at === blockSize && isZero(bytes, at, end)) {
      if (at > start) await file.write(bytes.subarray(start, at), offset + start);
      start = end;
    }
    at = end;
  }
  if (start < bytes.length) await file.write(bytes.subarray(start), offset + start);
}

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}
