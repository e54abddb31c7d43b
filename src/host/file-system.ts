/**
 * The file system of a real machine, through Node.js: whole trees of it go in and out of a store.
 *
 * 1. Names are bytes: a path goes to the system as the bytes that `pathBytes` gives, and comes back so (`pathText`).
 * 2. Nothing but the last name of a path is ever left unfollowed: a symbolic link there is the thing itself. Opening a
 *    link, or anything that is not a plain file, is refused, and does not wait for the other end of a pipe.
 * 3. A file whose owner cannot be set does not get the bits that would let others act as the owner.
 *
 * The callback interface of `node:fs` is used where there are calls for each of 100,000 files: it costs the event loop a
 * quarter of what promises cost. `list` asks for a few hundred at a time, so that no turn takes long.
 */
import * as fs from "node:fs";
import { HoldfastError, pathText } from "../base/index.ts";
import type { FileAttributes, FileStat, FileSystem, FolderEntry, OpenedFile, WritableFile } from "../base/index.ts";
import { isAbsence, systemCode } from "./disk-error.ts";
import { fileError, openError, placeOf, quoted } from "./file-error.ts";
import { FileTimes } from "./file-times.ts";
import type { FileTimesOptions } from "./file-times.ts";
import { Looks } from "./looks.ts";
import { FilePlacer } from "./file-placing.ts";
import { fileStat } from "./file-stat.ts";
import { NodeOpenedFile } from "./opened-file.ts";

/** Names whose attributes are asked for at once: together they take the event loop about a millisecond. */
const listBatchCount = 256;

const { O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, S_IFLNK, S_IFMT, S_IFREG } = fs.constants;
const specialBits = 0o6000;

type Place = string | Buffer;
type Done<T> = (error: Error | null, value?: T) => void;

export class NodeFileSystem implements FileSystem {
  readonly #times: FileTimes;
  readonly #placer: FilePlacer;
  readonly #looks = new Looks();

  constructor(options: FileTimesOptions = {}) {
    this.#times = new FileTimes(options);
    this.#placer = new FilePlacer(this.#times);
  }

  stat(path: string): Promise<FileStat | undefined> {
    return call("look at", path, (place, done) => {
      fs.lstat(place, { bigint: true }, (error, stats) => {
        if (error === null) return done(null, fileStat(stats));
        done(isAbsence(error) ? null : error);
      });
    });
  }

  async list(path: string): Promise<FolderEntry[]> {
    // Each character is a byte: sorting text is then sorting bytes.
    const names = await call<string[]>("list", path, (place, done) => fs.readdir(place, "latin1", done));
    names.sort();
    const entries: FolderEntry[] = [];
    for (let from = 0; from < names.length; from += listBatchCount) {
      for (const entry of await this.#looks.all(path, names.slice(from, from + listBatchCount))) entries.push(entry);
    }
    return entries;
  }

  async readLink(path: string): Promise<string> {
    const target = await call<Buffer>("read the link", path, (place, done) => fs.readlink(place, "buffer", done));
    return pathText(target);
  }

  async open(path: string): Promise<OpenedFile> {
    // Without O_NONBLOCK, opening a pipe waits for somebody who writes.
    return openFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, "invalid");
  }

  async create(path: string): Promise<WritableFile> {
    return openFile(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, "exists");
  }

  /** With calls that wait for the system. Who has many files to write gives them to `ChunkPipeline.place`. */
  place(path: string, bytes: Uint8Array, attributes: FileAttributes): Promise<void> {
    return this.#placer.place(path, bytes, attributes);
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    await call<void>("create the folder", path, (place, done) => fs.mkdir(place, mode, done));
    // The process's umask took bits away, and no folder begins with some of them.
    await call<void>("set the permissions of", path, (place, done) => fs.chmod(place, mode, done));
  }

  makeLink(path: string, target: string): Promise<void> {
    return call<void>("create the link", path, (place, done) => fs.symlink(placeOf(target), place, done));
  }

  linkFile(existing: string, path: string): Promise<void> {
    return call<void>(`link ${quoted(existing)} as`, path, (place, done) => fs.link(placeOf(existing), place, done));
  }

  async setAttributes(path: string, attributes: FileAttributes): Promise<void> {
    let kind = S_IFREG;
    // Only a mode asks what it is: the system has no call that leaves a link alone.
    if (attributes.mode !== undefined) {
      const stats = await call<fs.Stats>("look at", path, (place, done) => fs.lstat(place, done));
      kind = stats.mode & S_IFMT;
    }
    await this.#setAttributes(path, kind, attributes);
  }

  rename(from: string, to: string): Promise<void> {
    return call<void>(`rename to ${quoted(to)}`, from, (place, done) => fs.rename(place, placeOf(to), done));
  }

  remove(path: string): Promise<void> {
    return call<void>("remove", path, (place, done) => fs.unlink(place, done));
  }

  removeFolder(path: string): Promise<void> {
    return call<void>("remove the folder", path, (place, done) => fs.rmdir(place, done));
  }

  async syncFolder(path: string): Promise<void> {
    // Windows cannot open a folder, and keeps its entries in a journal of its own.
    if (process.platform === "win32") return;
    const descriptor = await call<number>("open the folder", path, (place, done) =>
      fs.open(place, O_RDONLY | O_DIRECTORY, done),
    );
    try {
      await call<void>("sync the folder", path, (_, done) => fs.fsync(descriptor, done));
    } finally {
      fs.close(descriptor);
    }
  }

  /** The owner comes first: the system takes bits of the mode away with the owner. */
  async #setAttributes(path: string, kind: number, attributes: FileAttributes): Promise<void> {
    const { mode, uid, gid, modifiedNs } = attributes;
    let allowed = 0o7777;
    if ((uid ?? gid) !== undefined && !(await setOwner(path, uid, gid))) allowed &= ~specialBits;
    if (mode !== undefined && kind !== S_IFLNK) {
      await call<void>("set the permissions of", path, (place, done) => fs.chmod(place, mode & allowed, done));
    }
    if (modifiedNs !== undefined) {
      await call<void>("set the times of", path, (place, done) => this.#times.set(place, modifiedNs, done));
    }
  }
}

/** Runs one call of `node:fs`; its error becomes a `HoldfastError` that names the path. */
function call<T>(action: string, path: string, run: (place: Place, done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const failed = (error: unknown) => reject(fileError(error, action, path));
    try {
      run(placeOf(path), (error, value) => {
        if (error === null) resolve(value as T);
        else failed(error);
      });
    } catch (error) {
      // Node.js refuses what it sees itself, such as a NUL in a path, in the call.
      failed(error);
    }
  });
}

/** `link` is the code when the path is a link. */
async function openFile(path: string, flags: number, link: "invalid" | "exists"): Promise<NodeOpenedFile> {
  let handle: fs.promises.FileHandle;
  try {
    handle = await fs.promises.open(placeOf(path), flags, 0o600);
  } catch (error) {
    throw openError(error, path, link);
  }
  const file = new NodeOpenedFile(handle, (error, action) => fileError(error, action, path));
  try {
    const { type } = await file.stat();
    if (type === "file") return file;
    throw new HoldfastError("invalid", `cannot open ${quoted(path)}: it is no plain file`);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Whether the owner is now as asked for. */
async function setOwner(path: string, uid: number | undefined, gid: number | undefined): Promise<boolean> {
  if (process.platform === "win32") return true;
  return call<boolean>("set the owner of", path, (place, done) => {
    // -1 leaves it as it is, which Node.js wants as an unsigned number.
    fs.lchown(place, uid ?? 0xffffffff, gid ?? 0xffffffff, (error) => {
      if (error === null) done(null, true);
      // EINVAL: an owner that does not exist where this process lives (user namespaces).
      else if (systemCode(error) === "EPERM" || systemCode(error) === "EINVAL") done(null, false);
      else done(error);
    });
  });
}
