/**
 * A file system in memory: inodes, names, links and attributes as a POSIX system has them, without permissions. For tests
 * of whatever walks, reads and writes trees; `before` lets files change and calls fail at any moment.
 *
 * 1. Names are kept as `pathText` gives them, so one name has one form.
 * 2. Links in the middle of a path are followed, the last name of a path never is.
 * 3. Every change gives the inode another `changedNs`: time is a counter that begins at `startNs`.
 *
 * A path may begin with `/` or not: it is from the root in both cases.
 */
import { compareBytes, HoldfastError, pathBytes, pathText, temporaryPrefix } from "../base/index.ts";
import type {
  ErrorCode,
  FileAttributes,
  FileStat,
  FileSystem,
  FolderEntry,
  OpenedFile,
  WritableFile,
} from "../base/index.ts";

export interface MemoryFileSystemOptions {
  /**
   * Called before a call takes effect, with its name (as in `FileSystem`, `OpenedFile` and `WritableFile`) and path: it may
   * change files, and what it throws is what the call fails with.
   */
  readonly before?: ((action: string, path: string) => void | Promise<void>) | undefined;
  /** Nanoseconds since the Unix epoch of the first file. Default: 2026. */
  readonly startNs?: bigint | undefined;
}

interface Inode {
  readonly number: bigint;
  readonly type: FileStat["type"];
  mode: number;
  uid: number;
  gid: number;
  modifiedNs: bigint;
  changedNs: bigint;
  linkCount: number;
  /** Of a file; what is behind the size is zero. */
  bytes: Uint8Array;
  size: number;
  /** Of a folder. */
  readonly entries: Map<string, Inode>;
  /** Of a link. */
  readonly target: string;
}

/** A name in a folder: where a call takes effect. */
interface Spot {
  readonly folder: Inode;
  readonly name: string;
  readonly inode: Inode | undefined;
}

const nameSizeMax = 255;
const followCountMax = 40;
const device = 7n;

export class MemoryFileSystem implements FileSystem {
  /** May be set at any time; see `MemoryFileSystemOptions`. */
  before: MemoryFileSystemOptions["before"];
  #nowNs: bigint;
  #inodeCount = 0n;
  #temporaryCount = 0;
  readonly #root: Inode;

  constructor(options: MemoryFileSystemOptions = {}) {
    this.before = options.before;
    this.#nowNs = options.startNs ?? 1_767_225_600_000_000_000n;
    this.#root = this.#make("folder", 0o755);
    this.#root.linkCount = 1;
  }

  async stat(path: string): Promise<FileStat | undefined> {
    await this.before?.("stat", path);
    const inode = this.#find(path);
    return inode && statOf(inode);
  }

  async list(path: string): Promise<FolderEntry[]> {
    await this.before?.("list", path);
    const folder = this.#folder(path);
    const names = [...folder.entries.keys()].map((name) => ({ name, bytes: pathBytes(name) }));
    names.sort((a, b) => compareBytes(a.bytes, b.bytes));
    return names.map(({ name }) => ({ name, stat: statOf(folder.entries.get(name) as Inode) }));
  }

  async readLink(path: string): Promise<string> {
    await this.before?.("readLink", path);
    const inode = this.#existing(path);
    if (inode.type !== "link") throw failure("invalid", path, "it is no link");
    return inode.target;
  }

  async open(path: string): Promise<OpenedFile> {
    await this.before?.("open", path);
    return this.#open(path, this.#existing(path), "invalid");
  }

  async create(path: string): Promise<WritableFile> {
    await this.before?.("create", path);
    const spot = this.#spot(path);
    return this.#open(path, spot.inode ?? this.#add(spot, this.#make("file", 0o600)), "exists");
  }

  async place(path: string, bytes: Uint8Array, attributes: FileAttributes): Promise<void> {
    await this.before?.("place", path);
    const { folder } = this.#spot(path);
    const temporary = `${temporaryPrefix}${this.#temporaryCount++}`;
    const inode = this.#add({ folder, name: temporary, inode: undefined }, this.#make("file", 0o600));
    inode.bytes = bytes.slice();
    inode.size = bytes.length;
    this.#change(inode, attributes);
    try {
      this.#rename(path, { folder, name: temporary, inode }, this.#spot(path));
    } catch (error) {
      folder.entries.delete(temporary);
      throw error;
    }
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    await this.before?.("makeFolder", path);
    this.#add(this.#vacant(path), this.#make("folder", mode & 0o7777));
  }

  /** As `makeFolder`, a thing that is none of file, folder and link. */
  makeOther(path: string): void {
    this.#add(this.#vacant(path), this.#make("other", 0o600));
  }

  async makeLink(path: string, target: string): Promise<void> {
    await this.before?.("makeLink", path);
    if (target === "") throw failure("notFound", path, "a link to nothing");
    this.#add(this.#vacant(path), this.#make("link", 0o777, pathText(pathBytes(target))));
  }

  async linkFile(existing: string, path: string): Promise<void> {
    await this.before?.("linkFile", path);
    const inode = this.#existing(existing);
    if (inode.type === "folder") throw failure("denied", existing, "a folder has one name");
    this.#add(this.#vacant(path), inode);
    this.#touch(inode);
  }

  async setAttributes(path: string, attributes: FileAttributes): Promise<void> {
    await this.before?.("setAttributes", path);
    this.#change(this.#existing(path), attributes);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.before?.("rename", from);
    const spot = this.#spot(from);
    if (spot.inode === undefined) throw failure("notFound", from, "there is nothing");
    this.#rename(to, spot, this.#spot(to));
  }

  async remove(path: string): Promise<void> {
    await this.before?.("remove", path);
    const spot = this.#spot(path);
    if (spot.inode === undefined) throw failure("notFound", path, "there is nothing");
    if (spot.inode.type === "folder") throw failure("invalid", path, "it is a folder");
    this.#drop(spot);
  }

  async removeFolder(path: string): Promise<void> {
    await this.before?.("removeFolder", path);
    const spot = this.#spot(path);
    if (spot.inode === undefined) throw failure("notFound", path, "there is nothing");
    if (spot.inode.type !== "folder") throw failure("invalid", path, "it is no folder");
    if (spot.inode.entries.size > 0) throw failure("exists", path, "the folder is not empty");
    this.#drop(spot);
  }

  async syncFolder(path: string): Promise<void> {
    await this.before?.("syncFolder", path);
    this.#folder(path);
  }

  #make(type: Inode["type"], mode: number, target = ""): Inode {
    const now = this.#tick();
    const times = { modifiedNs: now, changedNs: now };
    const content = { bytes: new Uint8Array(0), size: pathBytes(target).length, entries: new Map(), target };
    return { number: ++this.#inodeCount, type, mode, uid: 0, gid: 0, linkCount: 0, ...times, ...content };
  }

  #open(path: string, inode: Inode, link: ErrorCode): MemoryFile {
    if (inode.type === "link") throw failure(link, path, "it is a symbolic link");
    if (inode.type !== "file") throw failure("invalid", path, "it is no plain file");
    return new MemoryFile(inode, {
      before: async (action) => this.before?.(action, path),
      written: () => {
        inode.modifiedNs = this.#touch(inode);
      },
    });
  }

  #add(spot: Spot, inode: Inode): Inode {
    spot.folder.entries.set(spot.name, inode);
    inode.linkCount++;
    spot.folder.modifiedNs = this.#touch(spot.folder);
    return inode;
  }

  #drop({ folder, name, inode }: Spot): void {
    folder.entries.delete(name);
    folder.modifiedNs = this.#touch(folder);
    if (inode === undefined) return;
    inode.linkCount--;
    this.#touch(inode);
  }

  #rename(path: string, from: Spot, to: Spot): void {
    const inode = from.inode as Inode;
    // Two names of one file: POSIX leaves both.
    if (to.inode === inode) return;
    if (to.inode?.type === "folder") {
      if (inode.type !== "folder") throw failure("invalid", path, "it is a folder");
      if (to.inode.entries.size > 0) throw failure("exists", path, "the folder is not empty");
    } else if (to.inode !== undefined && inode.type === "folder") {
      throw failure("invalid", path, "it is no folder");
    }
    if (to.inode !== undefined) this.#drop(to);
    this.#drop(from);
    this.#add(to, inode);
  }

  #change(inode: Inode, { mode, uid, gid, modifiedNs }: FileAttributes): void {
    inode.uid = uid ?? inode.uid;
    inode.gid = gid ?? inode.gid;
    if (mode !== undefined && inode.type !== "link") inode.mode = mode & 0o7777;
    this.#touch(inode);
    inode.modifiedNs = modifiedNs ?? inode.modifiedNs;
  }

  #touch(inode: Inode): bigint {
    inode.changedNs = this.#tick();
    return inode.changedNs;
  }

  #tick(): bigint {
    this.#nowNs += 1_000_003n;
    return this.#nowNs;
  }

  /** Undefined where there is nothing, also not the folder. */
  #find(path: string): Inode | undefined {
    try {
      return this.#spot(path).inode;
    } catch (error) {
      if (error instanceof HoldfastError && absences.has(error)) return undefined;
      throw error;
    }
  }

  #existing(path: string): Inode {
    const { inode } = this.#spot(path);
    if (inode === undefined) throw failure("notFound", path, "there is nothing");
    return inode;
  }

  /** Where something new may stand. */
  #vacant(path: string): Spot {
    const spot = this.#spot(path);
    if (spot.inode !== undefined) throw failure("exists", path, "something has the name");
    return spot;
  }

  /** A folder; the path may end with a link to it. */
  #folder(path: string): Inode {
    const { inode } = this.#spot(`${path}/.`);
    if (inode === undefined) throw failure("notFound", path, "there is nothing");
    return inode;
  }

  #spot(path: string): Spot {
    if (path === "" || path.includes("\0")) throw failure("invalid", path, "it is no path");
    const stack = [this.#root];
    let spot: Spot = { folder: this.#root, name: "", inode: this.#root };
    const parts = namesOf(path);
    let followCount = 0;
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      const folder = stack.at(-1) as Inode;
      if (part === ".") spot = { folder: stack.at(-2) ?? folder, name: spot.name, inode: folder };
      else if (part === "..") {
        if (stack.length > 1) stack.pop();
        spot = { folder: stack.at(-2) ?? this.#root, name: "", inode: stack.at(-1) };
      } else {
        if (pathBytes(part).length > nameSizeMax) throw failure("invalid", path, "a name is too long");
        spot = { folder, name: part, inode: folder.entries.get(part) };
      }
      if (parts.length === 0) return spot;
      if (spot.inode === undefined) throw absence("notFound", path, `${part} is not there`);
      if (spot.inode.type === "link") {
        if (++followCount > followCountMax) throw failure("invalid", path, "too many symbolic links");
        if (spot.inode.target.startsWith("/")) stack.length = 1;
        parts.unshift(...namesOf(spot.inode.target));
      } else if (spot.inode.type !== "folder") {
        throw absence("invalid", path, `${part} is no folder`);
      } else if (part !== "." && part !== "..") stack.push(spot.inode);
    }
    return spot;
  }
}

interface FileHooks {
  before(action: string): Promise<void>;
  written(): void;
}

class MemoryFile implements WritableFile {
  readonly #inode: Inode;
  readonly #hooks: FileHooks;

  constructor(inode: Inode, hooks: FileHooks) {
    this.#inode = inode;
    this.#hooks = hooks;
  }

  async stat(): Promise<FileStat> {
    await this.#hooks.before("stat");
    return statOf(this.#inode);
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    await this.#hooks.before("read");
    return this.#inode.bytes.slice(Math.min(offset, this.#inode.size), Math.min(offset + size, this.#inode.size));
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    await this.#hooks.before("write");
    if (bytes.length === 0) return;
    this.#resize(Math.max(this.#inode.size, offset + bytes.length));
    this.#inode.bytes.set(bytes, offset);
    this.#hooks.written();
  }

  async truncate(size: number): Promise<void> {
    await this.#hooks.before("truncate");
    this.#resize(size);
    this.#hooks.written();
  }

  async sync(): Promise<void> {
    await this.#hooks.before("sync");
  }

  async close(): Promise<void> {
    await this.#hooks.before("close");
  }

  #resize(size: number): void {
    const inode = this.#inode;
    if (size < inode.size) inode.bytes.fill(0, size, inode.size);
    else if (size > inode.bytes.length) {
      const larger = new Uint8Array(Math.max(size, 2 * inode.bytes.length));
      larger.set(inode.bytes.subarray(0, inode.size));
      inode.bytes = larger;
    }
    inode.size = size;
  }
}

function namesOf(path: string): string[] {
  const text = path.isWellFormed() ? path : pathText(pathBytes(path));
  const names = text.split("/").filter((name) => name !== "");
  // A path that ends with `/` is the folder behind the name.
  if (names.length === 0 || text.endsWith("/")) names.push(".");
  return names;
}

function statOf(inode: Inode): FileStat {
  const { type, size, mode, uid, gid, modifiedNs, changedNs, number, linkCount } = inode;
  return { type, size, mode, uid, gid, modifiedNs, changedNs, device, inode: number, linkCount };
}

/** Errors that say that there is nothing under a path. */
const absences = new WeakSet<HoldfastError>();

function absence(code: ErrorCode, path: string, reason: string): HoldfastError {
  const error = failure(code, path, reason);
  absences.add(error);
  return error;
}

function failure(code: ErrorCode, path: string, reason: string): HoldfastError {
  return new HoldfastError(code, `cannot use ${path}: ${reason}`);
}
