/**
 * Where a tree is written to: a folder of the file system, below which files appear whole, with their attributes, or not at
 * all.
 *
 * 1. Nothing is written through a symbolic link or outside of the folder, whatever paths the bucket has.
 * 2. A file has its name only when its bytes have been checked and its attributes are set. It replaces what was there
 *    atomically; a folder is replaced only when it is empty.
 *
 * After a crash there are files as they were or as they are to be, and beside them partial ones (partial-file.ts): what is
 * in those is checked against the names of its chunks and used. Nothing is synced: after a power failure a file may have
 * its size and times and not its bytes; comparing contents finds that.
 */
import { equalBytes, HoldfastError, sleep, throwIfAborted, toHex, utf8Encode } from "../base/index.ts";
import type { FileAttributes, FileStat, WritableFile } from "../base/index.ts";
import { locateChunks } from "../blob/index.ts";
import type { ChunkSettings } from "../blob/index.ts";
import { contentOf } from "./file-reading.ts";
import type { FileReading, LastCheck } from "./file-reading.ts";
import type { FileRecord } from "./file-record.ts";
import { inFolder, isSmall, isStale, PartialFiles, smallStaleMs } from "./partial-file.ts";
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

/** Files up to this size are written at once. */
const smallSizeMax = 1_048_576;
/** Zeros of so many bytes, at a multiple of it, become a hole. */
const blockSize = 4_096;
/** Set-user-id and set-group-id: they say something only of the right owner. */
const ownerBits = 0o6000;
const fileMode = 0o644;
const folderMode = 0o755;
/** How often a file is begun anew when other runs take over what is written of it. */
const attemptCountMax = 4;

/** A partial file that is being filled. */
interface Filling {
  readonly place: string;
  readonly file: WritableFile;
}

export class TreeTarget {
  readonly #parts: TreeParts;
  readonly #root: string;
  readonly #options: TargetOptions;
  /** Folders that are there. */
  readonly #folders = new Map<string, Promise<void>>();
  readonly #partials: PartialFiles;

  constructor(parts: TreeParts, root: string, options: TargetOptions) {
    this.#parts = parts;
    this.#partials = new PartialFiles(parts.fileSystem, parts.env.random);
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
    const { signal } = this.#options;
    await reading.place(this.#parts.pipeline, this.place(path), attributes, { signal, check });
    this.#options.progress?.(size, true);
  }

  async #writeLarge(
    path: string,
    reading: FileReading,
    attributes: FileAttributes,
    check: LastCheck | undefined,
  ): Promise<void> {
    const { fileSystem } = this.#parts;
    const stem = this.partialOf(path, reading);
    for (let attempt = 1; attempt <= attemptCountMax; attempt++) {
      // Whoever has lost a file to another run does not take it back: one of them must get to the end.
      const { place, file } = await this.#partials.open(stem, attempt === 1);
      try {
        if (!(await this.#fill({ place, file }, reading))) continue;
      } finally {
        await file.close();
      }
      if ((await ifThere(fileSystem.setAttributes(place, attributes))) === "gone") {
        this.#options.progress?.(-reading.size, false);
        continue;
      }
      const size = (await fileSystem.stat(place))?.size;
      if (size !== undefined && size !== reading.size) {
        throw new HoldfastError("unavailable", `${place} was changed while it was written; get it again`);
      }
      await check?.();
      if ((await ifThere(fileSystem.rename(place, this.place(path)))) === "done") return;
      this.#options.progress?.(-reading.size, false);
    }
    throw new HoldfastError(
      "exists",
      `other runs write ${this.place(path)} too, and take over what is written of it; let one of them end`,
    );
  }

  /** Writes all bytes. False when another run has taken over the file. */
  async #fill({ place, file }: Filling, reading: FileReading): Promise<boolean> {
    const { progress, signal } = this.#options;
    // What is there must be written over, also where zeros belong, and is not cut off: who had it may still be writing.
    const { size: usedEnd } = await file.stat();
    const start = await this.#found(file, usedEnd, reading);
    if (start > 0) progress?.(start, false);
    let offset = start;
    for await (const bytes of reading.stream({ start, signal })) {
      if ((await this.#parts.fileSystem.stat(place)) === undefined) {
        progress?.(-offset, false);
        return false;
      }
      await writeWithHoles(file, bytes, offset, usedEnd);
      offset += bytes.length;
      progress?.(bytes.length, true);
    }
    await file.truncate(offset);
    return true;
  }

  /** Up to where a partial file has the right bytes. */
  async #found(file: WritableFile, size: number, { stored: { content } }: FileReading): Promise<number> {
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
    const partial = this.#partials.name(this.partialOf(path, record));
    await inFolder(partial, () => fileSystem.makeLink(partial, record.target ?? ""));
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
    const partial = this.#partials.name(this.partialOf(path, record));
    try {
      await fileSystem.linkFile(this.place(existing), partial);
    } catch (error) {
      if (error instanceof HoldfastError && ["denied", "invalid", "unavailable"].includes(error.code)) return false;
      throw error;
    }
    try {
      await fileSystem.rename(partial, this.place(path));
    } catch (error) {
      await this.#clear(partial);
      throw error;
    }
    return true;
  }

  async #clear(place: string): Promise<void> {
    // The failure that counts is the one before.
    await this.#parts.fileSystem.remove(place).catch(() => {});
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

  /**
   * Removes what runs that have died, or stand still for very long, have left: of these places, and of the folders where this
   * run has looked for something to go on with. A run that lives loses nothing but what it has written of one file.
   */
  async removeStale(places: readonly string[]): Promise<void> {
    const { fileSystem, env } = this.#parts;
    // Small ones of a run that died a moment ago go too.
    if (places.some(isSmall)) await sleep(env.clock, smallStaleMs + 2);
    const nowMs = env.clock.wallMs();
    for (const place of new Set([...places, ...(await this.#partials.stale(nowMs))])) {
      const stat = await fileSystem.stat(place).catch(() => undefined);
      if (stat !== undefined && isStale(place, stat, nowMs)) await this.#clear(place);
    }
  }

  /** What the names begin with under which a file stands until it is whole: the same for the same bytes at one place. */
  partialOf(path: string, record: FileRecord): string {
    const name = utf8Encode(`${namePart(path)}\0${record.hash}\0${record.target ?? ""}`);
    const digest = toHex(this.#parts.env.digest.sha256(name)).slice(0, 32);
    return this.place(joinPath(parentPath(path), partialPrefix + digest));
  }
}

export function notFolder(path: string): HoldfastError {
  return new HoldfastError("invalid", `${path} is no folder; name one, or a place for a new one`);
}

/** `gone` when the file that it is about is not there. */
async function ifThere(change: Promise<void>): Promise<"done" | "gone"> {
  try {
    await change;
    return "done";
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "notFound") return "gone";
    throw error;
  }
}

/** Writes what is not zero, and before `usedEnd`, up to where the file has had something, all of it. */
async function writeWithHoles(file: WritableFile, bytes: Uint8Array, offset: number, usedEnd: number): Promise<void> {
  let start = 0;
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + blockSize - ((offset + at) % blockSize));
    if (end - at === blockSize && offset + at >= usedEnd && isZero(bytes, at, end)) {
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
