/**
 * The disk of a real machine: one directory of the file system through Node.js.
 *
 * 1. No call leaves the root: a path is relative, uses `/`, and has no empty, `.` or `..` part. Symbolic links that the
 *    owner of the machine placed inside the root are followed.
 * 2. A write is complete or fails: what the system wrote only in part is continued.
 * 3. A descriptor is closed only when no call on it is under way, since the system reuses its number at once.
 * 4. The lock's own files are invisible: they are neither listed nor opened (`lock.ts`, invariant 2).
 *
 * After a crash, a file holds what completed durable writes and syncs put there; a directory what was there at the last
 * `syncDirectory`; of everything else any part may be missing.
 *
 * The callback interface of `node:fs` is used on purpose: a `FileHandle` costs one more object and one more promise a
 * call. A durable write is one `pwritev` on a descriptor opened with O_DSYNC, where the system honours that flag;
 * elsewhere a write and an `fdatasync` (which on macOS flushes the drive's own cache too, as O_DSYNC there does not).
 */
import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { assert, checkDiskPath, HoldfastError } from "../base/index.ts";
import type { Disk, DiskFile, DiskLock } from "../base/index.ts";
import { diskError, systemCode } from "./disk-error.ts";
import { isLockFile, lockDirectory } from "./lock.ts";

/** How many buffers one system call takes (IOV_MAX on every system that Node.js supports). */
const vectorCountMax = 1_024;
/** Durable writes are made on the spot when they are of at most so many bytes and have lately taken at most so long. */
const promptSizeMax = 16_384;
const promptMs = 0.6;
/** So much of one turn of the event loop goes to them; then one is made on a thread, and everybody else has a turn. */
const promptTurnMs = 4;

/** Reads of at most so many bytes are made on the spot, as long as they come from memory: in at most so long. */
const promptReadSizeMax = 65_536;
const promptReadMs = 0.2;
/** After one that took longer, so many are made on a thread before it is tried again. */
const patientReadCount = 1_024;

/** Reads above this size first ask for the size of the file, so that a careless size costs no memory. */
const trustedReadSizeMax = 1_048_576;

const writesThrough = process.platform === "linux" || process.platform === "freebsd";

/**
 * What has gone to writes on the spot in this turn of the event loop. Whoever writes one thing after another goes on in
 * microtasks, which would never end the turn.
 */
class TurnBudget {
  #spentMs = 0;
  /** Reads to be made on a thread. */
  patientReads = 0;

  has(budgetMs: number): boolean {
    return this.#spentMs < budgetMs;
  }

  spend(ms: number): void {
    if (this.#spentMs === 0) setImmediate(() => (this.#spentMs = 0));
    this.#spentMs += Math.max(ms, Number.MIN_VALUE);
  }
}

export class NodeDisk implements Disk {
  readonly #root: string;
  readonly #turn = new TurnBudget();

  constructor(root: string) {
    this.#root = resolve(root);
  }

  async open(path: string, mode: "read" | "write", options: { readonly durable?: boolean } = {}): Promise<DiskFile> {
    const full = this.#resolve(path, "file");
    const { O_CREAT, O_DSYNC, O_RDONLY, O_RDWR } = fs.constants;
    const durable = mode === "write" && options.durable === true;
    const flags = mode === "read" ? O_RDONLY : O_RDWR | O_CREAT | (durable && writesThrough ? O_DSYNC : 0);
    return new Promise((resolve, reject) => {
      fs.open(full, flags, 0o644, (error, descriptor) => {
        if (error !== null) return reject(diskError(error, "open", full));
        const file = new NodeDiskFile(path, full, descriptor, mode === "write", durable, this.#turn);
        if (mode === "write") return resolve(file);
        // The system opens a directory for reading, and would refuse only the read.
        fs.fstat(descriptor, (error, stats) => {
          if (error === null && !stats.isDirectory()) return resolve(file);
          const failure = error ?? new HoldfastError("invalid", `cannot open ${full}: it is a directory`);
          void file.close().finally(() => reject(diskError(failure, "open", full)));
        });
      });
    });
  }

  async list(directory: string): Promise<string[]> {
    const full = this.#resolve(directory, "directory");
    const names = await attempt("list", full, fs.promises.readdir(full));
    return names.filter((name) => full !== this.#root || !isLockFile(name)).toSorted();
  }

  async makeDirectory(directory: string): Promise<void> {
    const full = this.#resolve(directory, "directory");
    await attempt("create the directory", full, makeDirectories(full));
  }

  async rename(from: string, to: string): Promise<void> {
    const [fullFrom, fullTo] = [this.#resolve(from, "file"), this.#resolve(to, "file")];
    await attempt(`rename to ${to}`, fullFrom, fs.promises.rename(fullFrom, fullTo));
  }

  async remove(path: string): Promise<void> {
    const full = this.#resolve(path, "file");
    await attempt("remove", full, fs.promises.unlink(full));
  }

  async syncDirectory(directory: string): Promise<void> {
    const full = this.#resolve(directory, "directory");
    await attempt("sync the directory", full, syncDirectoryAt(full));
  }

  async lock(): Promise<DiskLock> {
    const created = await attempt("create the data directory", this.#root, makeDirectories(this.#root));
    if (created !== undefined) await attempt("sync the directory above", created, syncDirectoryAt(dirname(created)));
    return lockDirectory(this.#root);
  }

  #resolve(path: string, kind: "file" | "directory"): string {
    checkDiskPath(path, kind === "directory");
    if (isLockFile(path)) {
      throw new HoldfastError("invalid", `${path} is reserved for the lock of the data directory`);
    }
    return join(this.#root, path);
  }
}

class NodeDiskFile implements DiskFile {
  readonly path: string;
  readonly #full: string;
  readonly #descriptor: number;
  readonly #writable: boolean;
  /** Whether each write is followed by a sync because the descriptor itself does not write through. */
  readonly #syncsWrites: boolean;
  /** About how long a durable write takes; undefined where there is no O_DSYNC. */
  #durableMs: number | undefined;
  #busyCount = 0;
  #closing: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  readonly #turn: TurnBudget;

  constructor(path: string, full: string, descriptor: number, writable: boolean, durable: boolean, turn: TurnBudget) {
    this.#turn = turn;
    this.path = path;
    this.#full = full;
    this.#descriptor = descriptor;
    this.#writable = writable;
    this.#syncsWrites = durable && !writesThrough;
    this.#durableMs = durable && writesThrough ? promptMs : undefined;
  }

  size(): Promise<number> {
    return this.#call<number>("read the size of", (done) => {
      fs.fstat(this.#descriptor, (error, stats) => done(error, error === null ? stats.size : 0));
    });
  }

  write(buffers: readonly Uint8Array[], offset: number): Promise<void> {
    assert(Number.isSafeInteger(offset) && offset >= 0, `${this.path}: write offset ${offset} is not a whole number`);
    return this.#call<void>(
      "write",
      (done) => {
        if (this.#durableMs !== undefined) return this.#writeDurably(buffers, offset, this.#durableMs, done);
        this.#writeFrom(buffers, 0, offset, (error) => {
          if (error === null && this.#syncsWrites) fs.fdatasync(this.#descriptor, done);
          else done(error);
        });
      },
      true,
    );
  }

  /**
   * On a fast disk, handing a small write to another thread and waking up again costs as much as the write itself: so
   * it is made here and now, as long as such writes have taken less than `promptMs`. On a slow disk nobody is held up.
   */
  #writeDurably(
    buffers: readonly Uint8Array[],
    offset: number,
    expectedMs: number,
    done: (error: Error | null) => void,
  ): void {
    const startedMs = performance.now();
    const measured = (error: Error | null) => {
      this.#durableMs = 0.8 * expectedMs + 0.2 * (performance.now() - startedMs);
      done(error);
    };
    const size = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    if (expectedMs > promptMs || size > promptSizeMax || !this.#turn.has(promptTurnMs)) {
      return this.#writeFrom(buffers, 0, offset, measured);
    }
    let written = 0;
    let failure: Error | null = null;
    try {
      written = fs.writevSync(this.#descriptor, buffers, offset);
    } catch (error) {
      failure = error as Error;
    }
    this.#turn.spend(performance.now() - startedMs);
    if (failure !== null || written === size) return measured(failure);
    // A short write goes on in the usual way.
    const rest = Buffer.concat(buffers).subarray(written);
    this.#writeFrom([rest], 0, offset + written, measured);
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    assert(Number.isSafeInteger(offset) && offset >= 0, `${this.path}: read offset ${offset} is not a whole number`);
    assert(Number.isSafeInteger(size) && size >= 0, `${this.path}: read size ${size} is not a whole number`);
    const want = size <= trustedReadSizeMax ? size : Math.min(size, Math.max(0, (await this.size()) - offset));
    const buffer = Buffer.allocUnsafeSlow(want);
    if (this.#readNow(buffer, offset)) return new Uint8Array(buffer.buffer, 0, want);
    const filled = await this.#call<number>("read", (done) => {
      this.#readInto(buffer, 0, offset, done);
    });
    return new Uint8Array(buffer.buffer, 0, filled);
  }

  /**
   * Whether the buffer was filled here and now. What the system has in memory it copies in microseconds, a fraction of what
   * asking through another thread takes; what comes from the disk holds nobody up but once in a while.
   */
  #readNow(buffer: Buffer, offset: number): boolean {
    if (buffer.length > promptReadSizeMax || this.#closing !== undefined || !this.#turn.has(promptTurnMs)) return false;
    if (this.#turn.patientReads > 0) {
      this.#turn.patientReads -= 1;
      return false;
    }
    const startedMs = performance.now();
    let count = 0;
    try {
      count = fs.readSync(this.#descriptor, buffer, 0, buffer.length, offset);
    } catch {
      // The usual way tells what is wrong.
    }
    const tookMs = performance.now() - startedMs;
    this.#turn.spend(tookMs);
    if (tookMs > promptReadMs) this.#turn.patientReads = patientReadCount;
    return count === buffer.length;
  }

  sync(): Promise<void> {
    return this.#call<void>("sync", (done) => fs.fdatasync(this.#descriptor, done));
  }

  truncate(size: number): Promise<void> {
    assert(Number.isSafeInteger(size) && size >= 0, `${this.path}: size ${size} is not a whole number`);
    return this.#call<void>("truncate", (done) => fs.ftruncate(this.#descriptor, size, done), true);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#busyCount > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await new Promise<void>((resolve, reject) => {
      fs.close(this.#descriptor, (error) => {
        if (error) reject(diskError(error, "close", this.#full));
        else resolve();
      });
    });
  }

  /** Counts the call as under way (3) and maps its failure. */
  #call<T>(action: string, run: (done: (error: Error | null, value?: T) => void) => void, changes = false): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== undefined) {
        return reject(new HoldfastError("unavailable", `cannot ${action} ${this.path}: the file is closed`));
      }
      if (changes && !this.#writable) {
        return reject(new HoldfastError("denied", `cannot ${action} ${this.path}: it was opened for reading`));
      }
      this.#busyCount += 1;
      run((error, value) => {
        this.#busyCount -= 1;
        if (this.#busyCount === 0) this.#idle?.();
        if (error !== null) reject(diskError(error, action, this.#full));
        else resolve(value as T);
      });
    });
  }

  /** Writes the buffers from the one at `index`, and goes on after a short write. */
  #writeFrom(buffers: readonly Uint8Array[], index: number, offset: number, done: (error: Error | null) => void): void {
    if (index === buffers.length) return done(null);
    const whole = index === 0 && buffers.length <= vectorCountMax;
    const vector = whole ? buffers : buffers.slice(index, index + vectorCountMax);
    fs.writev(this.#descriptor, vector, offset, (error, written) => {
      if (error !== null) return done(error);
      let rest = written;
      let next = index;
      for (const buffer of vector) {
        if (rest < buffer.length) break;
        rest -= buffer.length;
        next += 1;
      }
      if (next === index + vector.length) return this.#writeFrom(buffers, next, offset + written, done);
      // A short write. No progress at all would repeat for ever: the system should have given an error instead.
      if (written === 0) return done(new Error("the system wrote nothing and gave no reason"));
      const remaining = buffers.slice(next);
      remaining[0] = (remaining[0] as Uint8Array).subarray(rest);
      this.#writeFrom(remaining, 0, offset + written, done);
    });
  }

  /** Fills the buffer from `filled`, and goes on after a short read until it is full or the file ends. */
  #readInto(buffer: Buffer, filled: number, offset: number, done: (error: Error | null, filled: number) => void): void {
    if (filled === buffer.length) return done(null, filled);
    fs.read(this.#descriptor, buffer, filled, buffer.length - filled, offset + filled, (error, count) => {
      if (error !== null) return done(error, 0);
      if (count === 0) return done(null, filled);
      this.#readInto(buffer, filled + count, offset, done);
    });
  }
}

async function attempt<T>(action: string, full: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw diskError(error, action, full);
  }
}

/** Creates a directory and its parents; gives the topmost directory that was missing, if one was. */
async function makeDirectories(full: string): Promise<string | undefined> {
  // Not by mkdir's `recursive`: with it, Node.js says ENOENT of a read-only file system, and never ends below /proc.
  try {
    await fs.promises.mkdir(full);
    return full;
  } catch (error) {
    const code = systemCode(error);
    if (code === "EEXIST" && (await fs.promises.stat(full)).isDirectory()) return undefined;
    if (code !== "ENOENT" || dirname(full) === full) throw error;
  }
  const topmost = await makeDirectories(dirname(full));
  await fs.promises.mkdir(full).catch((error: unknown) => {
    if (systemCode(error) !== "EEXIST") throw error;
  });
  return topmost ?? full;
}

async function syncDirectoryAt(full: string): Promise<void> {
  // Windows cannot open a directory, and keeps its entries in a journal of its own.
  if (process.platform === "win32") return;
  const handle = await fs.promises.open(full, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
