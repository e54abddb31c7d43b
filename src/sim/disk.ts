/**
 * The disk of a simulated machine. It outlives its machine's crashes; each incarnation sees it through a door of its own
 * (`open`), which goes dead with the incarnation.
 *
 * 1. Every operation takes simulated time: it is *issued*, is in flight for a while, and is *done*. A write's bytes are
 *    taken from the caller's buffers when it is done, so that a caller who changes them too early shows in the result.
 * 2. Operations that are in flight together are done in an order that the seed chooses.
 * 3. A crash decides what becomes of unsynced and of in-flight changes (`file.ts`, `directory.ts`). What was done through
 *    a durable handle, or before a sync that completed, stays.
 * 4. A failed write leaves an unknown part of itself behind; a failed sync leaves its changes orphaned.
 */
import { assert, checkDiskPath, HoldfastError } from "../base/index.ts";
import type { Disk, DiskFile, DiskLock, ErrorCode } from "../base/index.ts";
import { SimDirectory } from "./directory.ts";
import type { Node } from "./directory.ts";
import { SimFile } from "./file.ts";
import type { Change, UnsyncedFate } from "./file.ts";
import { never } from "./incarnation.ts";
import type { Incarnation } from "./incarnation.ts";
import type { Prng } from "./prng.ts";
import type { Schedule } from "./schedule.ts";

export type DiskOperationKind =
  | "open"
  | "list"
  | "makeDirectory"
  | "rename"
  | "remove"
  | "syncDirectory"
  | "lock"
  | "size"
  | "write"
  | "read"
  | "sync"
  | "truncate"
  | "close";

/** One operation, as hooks see it. */
export interface DiskOperation {
  /** Counted from 1 over the whole life of the disk. */
  readonly number: number;
  readonly kind: DiskOperationKind;
  readonly path: string;
  /** Whether it can change what survives a crash: a write, a sync, a change of names, opening a file to write. */
  readonly changes: boolean;
  /** For an operation that changes something, its number among those, counted from 1; else that of the latest before it. */
  readonly changeNumber: number;
  /**
   * `before`: nothing of it has happened. `issued`: it is in flight; a crash now may tear it. `done`: it has taken
   * effect, its caller does not know yet.
   */
  readonly phase: "before" | "issued" | "done";
}

/**
 * Called at each phase of every operation. It may crash the machine. An error that it returns before an operation or when
 * it is issued makes the operation fail.
 */
export type DiskHook = (operation: DiskOperation) => HoldfastError | undefined | void;

/** How long operations take, from least to most, in milliseconds. */
export interface DiskLatency {
  readonly readMs: readonly [number, number];
  readonly writeMs: readonly [number, number];
  /** A sync, and a write through a durable handle. */
  readonly syncMs: readonly [number, number];
  /** Everything about names and sizes. */
  readonly nameMs: readonly [number, number];
}

export const defaultDiskLatency: DiskLatency = {
  readMs: [0.02, 0.2],
  writeMs: [0.02, 0.1],
  syncMs: [0.1, 2],
  nameMs: [0.02, 0.2],
};

type Class = "read" | "write" | "sync" | "name";

/** Also `open`, if it is for writing: it may create the file. */
const changingKinds: ReadonlySet<DiskOperationKind> = new Set([
  "makeDirectory",
  "rename",
  "remove",
  "syncDirectory",
  "write",
  "sync",
  "truncate",
]);

interface InFlight {
  readonly file: SimFile;
  readonly change: () => Change;
}

interface Task<T> {
  readonly kind: DiskOperationKind;
  readonly path: string;
  readonly class: Class;
  /** Whether it changes something although its kind alone does not say so. */
  readonly changes?: boolean;
  /** Appended to the trace. */
  readonly detail?: string;
  /** The change that a crash meanwhile may apply in part. */
  readonly inFlight?: InFlight;
  /** Runs when the operation is done; what it throws is what the caller gets. */
  readonly run: () => T;
  /** Runs instead of `run` when the operation was made to fail, unless it was refused (`denied`) and had no effect. */
  readonly fail?: () => void;
}

export class SimDisk {
  latency: DiskLatency = defaultDiskLatency;
  /** All operations take so many times as long. */
  slowdown = 1;
  /** Bytes that all files together may hold; beyond it `exhausted`. */
  capacity = Number.POSITIVE_INFINITY;
  /** Everything that changes something is `denied`. */
  readOnly = false;
  /** Called around every operation. */
  hook: DiskHook | undefined;

  readonly #schedule: Schedule;
  readonly #random: Prng;
  #root = new SimDirectory();
  readonly #inFlight = new Set<InFlight>();
  readonly #failures = new Map<number, ErrorCode>();
  #operationCount = 0;
  #changeCount = 0;
  /** Nothing is done before this moment. */
  #stalledUntilMs = 0;

  constructor(schedule: Schedule, random: Prng) {
    this.#schedule = schedule;
    this.#random = random;
  }

  /** How many operations were issued so far. */
  get operationCount(): number {
    return this.#operationCount;
  }

  /** How many operations were issued so far that can change what survives a crash. */
  get changeCount(): number {
    return this.#changeCount;
  }

  /** Bytes that all files together hold. */
  get usedSize(): number {
    let used = 0;
    for (const [, file] of walk(this.#root, "")) used += file.size;
    return used;
  }

  /** The disk hangs: what is asked of it within so long is done only afterwards, and takes its time from then on. */
  stall(durationMs: number): void {
    this.#schedule.record(undefined, `disk stall ${durationMs}`);
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, this.#schedule.nowMs + durationMs);
  }

  /** A new, empty disk in the place of this one. The incarnation that used it must be dead already. */
  wipe(): void {
    this.#root = new SimDirectory();
    this.#inFlight.clear();
  }

  /** Makes the operation of that number (`operationCount`) fail; 1 was the first of all. */
  failOperation(number: number, code: ErrorCode = "unavailable"): void {
    this.#failures.set(number, code);
  }

  /** Takes back what `failOperation` has arranged. */
  failNoMore(): void {
    this.#failures.clear();
  }

  /** Paths of all files as programs see them now, sorted. */
  files(): string[] {
    return [...walk(this.#root, "")].map(([path]) => path);
  }

  /** The content of a file as programs see it now; undefined if there is none. */
  contents(path: string): Uint8Array | undefined {
    const node = this.lookup(path);
    return node instanceof SimFile ? node.read(0, node.size) : undefined;
  }

  /** Damages the medium: flips the given bit of a file, counted from its start, or one that the seed chooses. */
  flipBit(path: string, bit?: number): void {
    const node = this.lookup(path);
    assert(node instanceof SimFile && node.size > 0, `no bit can be flipped in ${path}: no such file, or it is empty`);
    const chosen = bit ?? this.#random.below(8 * node.size);
    this.#schedule.record(undefined, `flip bit ${chosen} of ${path}`);
    node.flipBit(chosen);
  }

  /** The power is gone: decides what stays. The incarnation that used the disk must be dead already. */
  crash(fate: UnsyncedFate = "random"): void {
    const inFlight = this.#random.shuffle([...this.#inFlight]);
    this.#inFlight.clear();
    this.#root.crash(this.#random, fate);
    // A file that was moved may be there under both its names.
    for (const file of new Set(Array.from(walk(this.#root, ""), ([, each]) => each))) {
      const changes = inFlight.filter((each) => each.file === file).map((each) => each.change());
      file.crash(changes, this.#random, fate);
    }
  }

  /**
   * The process is gone and the system goes on: what was written stays visible, and as far from durable as it was. Of
   * what was in flight an unknown part happens. The incarnation that used the disk must be dead already.
   */
  abandon(): void {
    const inFlight = this.#random.shuffle([...this.#inFlight]);
    this.#inFlight.clear();
    for (const { file, change } of inFlight) {
      const whole = change();
      if (this.#random.chance(0.5)) file.apply(whole, false);
      else this.leavePart(file, whole);
    }
  }

  /** The door of one incarnation. */
  open(incarnation: Incarnation): Disk {
    return new SimDiskDoor(this, incarnation);
  }

  /** Issues an operation. For the door and its files only. */
  issue<T>(incarnation: Incarnation, task: Task<T>): Promise<T> {
    if (!incarnation.alive) return never();
    this.#operationCount += 1;
    const number = this.#operationCount;
    const changes = task.changes ?? changingKinds.has(task.kind);
    if (changes) this.#changeCount += 1;
    const operation = { number, kind: task.kind, path: task.path, changes, changeNumber: this.#changeCount };
    const early = this.hook?.({ ...operation, phase: "before" });
    if (!incarnation.alive) return never();
    if (task.inFlight !== undefined) this.#inFlight.add(task.inFlight);
    const late = this.hook?.({ ...operation, phase: "issued" });
    if (!incarnation.alive) return never();
    const failure = early ?? late ?? this.#verdict({ ...operation, phase: "issued" });
    const stalledMs = Math.max(0, this.#stalledUntilMs - this.#schedule.nowMs);
    const delayMs = stalledMs + this.#random.between(this.latency[`${task.class}Ms`]) * this.slowdown;
    const label = `disk ${number} ${task.kind} ${task.path}${task.detail ?? ""}${failure ? ` fails ${failure.code}` : ""}`;
    return new Promise<T>((resolve, reject) => {
      this.#schedule.add(delayMs, incarnation, label, () => {
        if (task.inFlight !== undefined) this.#inFlight.delete(task.inFlight);
        const outcome = this.#perform(task, failure);
        this.hook?.({ ...operation, phase: "done" });
        if (!incarnation.alive) return;
        if ("error" in outcome) reject(outcome.error);
        else resolve(outcome.value);
      });
    });
  }

  /** The node at a path of this disk, or undefined. */
  lookup(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    if (path === "") return node;
    for (const name of path.split("/")) {
      if (!(node instanceof SimDirectory)) return undefined;
      node = node.get(name);
    }
    return node;
  }

  /** Completes a change of a file within the disk's capacity. What does not fit is left out, and an error given. */
  change(file: SimFile, path: string, change: Change, durable: boolean): void {
    const end = change.kind === "write" ? change.offset + change.data.length : change.size;
    const grows = change.kind === "write" && change.data.length === 0 ? 0 : Math.max(0, end - file.size);
    const free = grows === 0 || this.capacity === Number.POSITIVE_INFINITY ? grows : this.capacity - this.usedSize;
    if (grows <= free) return file.apply(change, durable);
    if (change.kind === "write") {
      const fitting = Math.max(0, Math.min(change.data.length, file.size + Math.max(0, free) - change.offset));
      file.apply({ ...change, data: change.data.subarray(0, fitting) }, false);
    }
    throw new HoldfastError("exhausted", `cannot write ${path}: no space is left on the simulated disk (capacity)`);
  }

  /** A write has failed: an unknown part of it has happened. */
  leavePart(file: SimFile, change: Change): void {
    if (change.kind === "write") {
      file.apply({ ...change, data: change.data.subarray(0, this.#random.below(change.data.length + 1)) }, false);
    }
  }

  #perform<T>(task: Task<T>, failure: HoldfastError | undefined): { value: T } | { error: unknown } {
    if (failure !== undefined) {
      if (failure.code !== "denied") task.fail?.();
      return { error: failure };
    }
    try {
      return { value: task.run() };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return { error };
    }
  }

  #verdict(operation: DiskOperation): HoldfastError | undefined {
    const { kind, path, number } = operation;
    const code = this.#failures.get(number);
    if (code !== undefined) return new HoldfastError(code, `cannot ${kind} ${path}: the simulated disk fails here`);
    if (this.readOnly && operation.changes) {
      return new HoldfastError("denied", `cannot ${kind} ${path}: the simulated disk is read-only`);
    }
    return undefined;
  }
}

class SimDiskDoor implements Disk {
  readonly #disk: SimDisk;
  readonly #incarnation: Incarnation;
  #locked = false;

  constructor(disk: SimDisk, incarnation: Incarnation) {
    this.#disk = disk;
    this.#incarnation = incarnation;
  }

  async open(path: string, mode: "read" | "write", options: { readonly durable?: boolean } = {}): Promise<DiskFile> {
    checkDiskPath(path, false);
    const changes = mode === "write";
    const detail = ` ${mode}`;
    const run = () => {
      const durable = options.durable === true;
      const [directory, name] = this.#parent(path, "open");
      const found = directory.get(name);
      if (found instanceof SimDirectory) throw isDirectory("open", path);
      if (found !== undefined) return new SimDiskFile(this.#disk, this.#incarnation, path, found, mode, durable);
      if (mode === "read") throw absent("open", path);
      const file = new SimFile();
      directory.add(name, file);
      return new SimDiskFile(this.#disk, this.#incarnation, path, file, mode, durable);
    };
    return this.#disk.issue(this.#incarnation, { kind: "open", path, class: "name", changes, detail, run });
  }

  async list(directory: string): Promise<string[]> {
    checkDiskPath(directory, true);
    return this.#issue("list", directory, "name", "", () =>
      this.#directory(directory, "list")
        .entries()
        .map(([name]) => name),
    );
  }

  async makeDirectory(directory: string): Promise<void> {
    checkDiskPath(directory, true);
    return this.#issue("makeDirectory", directory, "name", "", () => {
      if (directory === "") return;
      let at = this.#directory("", "create");
      for (const name of directory.split("/")) {
        let next = at.get(name);
        if (next instanceof SimFile) throw new HoldfastError("exists", `cannot create ${directory}: ${name} is a file`);
        if (next === undefined) {
          next = new SimDirectory();
          at.add(name, next);
        }
        at = next;
      }
    });
  }

  async rename(from: string, to: string): Promise<void> {
    checkDiskPath(from, false);
    checkDiskPath(to, false);
    return this.#issue("rename", from, "name", ` to ${to}`, () => {
      const [fromDirectory, fromName] = this.#parent(from, "rename");
      const [toDirectory, toName] = this.#parent(to, "rename");
      const node = fromDirectory.get(fromName);
      if (node === undefined) throw absent("rename", from);
      const replaced = toDirectory.get(toName);
      if (replaced === node) return;
      if (replaced instanceof SimDirectory) throw isDirectory("rename", to);
      fromDirectory.move(fromName, toDirectory, toName);
    });
  }

  async remove(path: string): Promise<void> {
    checkDiskPath(path, false);
    return this.#issue("remove", path, "name", "", () => {
      const [directory, name] = this.#parent(path, "remove");
      const node = directory.get(name);
      if (node === undefined) throw absent("remove", path);
      if (node instanceof SimDirectory) throw isDirectory("remove", path);
      directory.remove(name);
    });
  }

  async syncDirectory(directory: string): Promise<void> {
    checkDiskPath(directory, true);
    const node = this.#disk.lookup(directory);
    const mark = node instanceof SimDirectory ? node.mark() : [];
    return this.#issue("syncDirectory", directory, "sync", "", () => {
      this.#directory(directory, "sync").settle(mark);
    });
  }

  lock(): Promise<DiskLock> {
    return this.#issue("lock", "", "name", "", () => {
      if (this.#disk.readOnly) throw new HoldfastError("denied", "cannot lock the simulated disk: it is read-only");
      if (this.#locked) {
        throw new HoldfastError("conflict", `the simulated disk is in use by ${this.#incarnation.machine} itself`);
      }
      this.#locked = true;
      let held = true;
      return {
        release: async () => {
          if (held) this.#locked = false;
          held = false;
        },
      };
    });
  }

  #issue<T>(kind: DiskOperationKind, path: string, cls: Class, detail: string, run: () => T): Promise<T> {
    return this.#disk.issue(this.#incarnation, { kind, path, class: cls, detail, run });
  }

  #directory(path: string, action: string): SimDirectory {
    const node = this.#disk.lookup(path);
    if (node === undefined) throw absent(action, path);
    if (node instanceof SimDirectory) return node;
    throw new HoldfastError("invalid", `cannot ${action} ${path}: it is not a directory`);
  }

  #parent(path: string, action: string): [directory: SimDirectory, name: string] {
    const slash = path.lastIndexOf("/");
    return [this.#directory(path.slice(0, Math.max(0, slash)), action), path.slice(slash + 1)];
  }
}

class SimDiskFile implements DiskFile {
  readonly path: string;
  readonly #disk: SimDisk;
  readonly #incarnation: Incarnation;
  readonly #file: SimFile;
  readonly #writable: boolean;
  readonly #durable: boolean;
  #closing: Promise<void> | undefined;

  constructor(
    disk: SimDisk,
    incarnation: Incarnation,
    path: string,
    file: SimFile,
    mode: "read" | "write",
    durable: boolean,
  ) {
    this.#disk = disk;
    this.#incarnation = incarnation;
    this.path = path;
    this.#file = file;
    this.#writable = mode === "write";
    this.#durable = durable;
  }

  size(): Promise<number> {
    return this.#issue({ kind: "size", class: "name", run: () => this.#file.size });
  }

  write(buffers: readonly Uint8Array[], offset: number): Promise<void> {
    assert(Number.isSafeInteger(offset) && offset >= 0, `${this.path}: write offset ${offset} is not a whole number`);
    let size = 0;
    for (const buffer of buffers) size += buffer.length;
    const change = (): Change => ({ kind: "write", offset, data: join(buffers, size) });
    return this.#issue({
      kind: "write",
      class: this.#durable ? "sync" : "write",
      detail: ` ${size}@${offset}`,
      inFlight: { file: this.#file, change },
      run: () => this.#disk.change(this.#file, this.path, change(), this.#durable),
      fail: () => this.#disk.leavePart(this.#file, change()),
    });
  }

  read(offset: number, size: number): Promise<Uint8Array> {
    assert(Number.isSafeInteger(offset) && offset >= 0, `${this.path}: read offset ${offset} is not a whole number`);
    assert(Number.isSafeInteger(size) && size >= 0, `${this.path}: read size ${size} is not a whole number`);
    return this.#issue({
      kind: "read",
      class: "read",
      detail: ` ${size}@${offset}`,
      run: () => this.#file.read(offset, size),
    });
  }

  sync(): Promise<void> {
    const mark = this.#file.mark();
    return this.#issue({
      kind: "sync",
      class: "sync",
      run: () => this.#file.settle(mark),
      fail: () => this.#file.orphan(mark),
    });
  }

  truncate(size: number): Promise<void> {
    assert(Number.isSafeInteger(size) && size >= 0, `${this.path}: size ${size} is not a whole number`);
    const change: Change = { kind: "truncate", size };
    return this.#issue({
      kind: "truncate",
      class: "name",
      detail: ` ${size}`,
      inFlight: { file: this.#file, change: () => change },
      run: () => this.#disk.change(this.#file, this.path, change, false),
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#disk.issue(this.#incarnation, {
      kind: "close",
      path: this.path,
      class: "name",
      run: () => {},
    });
    return this.#closing;
  }

  #issue<T>(task: Omit<Task<T>, "path">): Promise<T> {
    if (!this.#incarnation.alive) return never();
    const refusal = this.#refusal(task.kind);
    if (refusal !== undefined) return Promise.reject(refusal);
    return this.#disk.issue(this.#incarnation, { ...task, path: this.path });
  }

  #refusal(kind: DiskOperationKind): HoldfastError | undefined {
    if (this.#closing !== undefined) {
      return new HoldfastError("unavailable", `cannot ${kind} ${this.path}: the file is closed`);
    }
    if (!this.#writable && (kind === "write" || kind === "truncate")) {
      return new HoldfastError("denied", `cannot ${kind} ${this.path}: it was opened for reading`);
    }
    return undefined;
  }
}

function join(buffers: readonly Uint8Array[], size: number): Uint8Array {
  const joined = new Uint8Array(size);
  let offset = 0;
  for (const buffer of buffers) {
    joined.set(buffer, offset);
    offset += buffer.length;
  }
  return joined;
}

function* walk(directory: SimDirectory, prefix: string): Generator<[path: string, file: SimFile]> {
  for (const [name, node] of directory.entries()) {
    if (node instanceof SimFile) yield [prefix + name, node];
    else yield* walk(node, `${prefix}${name}/`);
  }
}

function absent(action: string, path: string): HoldfastError {
  return new HoldfastError("notFound", `cannot ${action} ${path}: no such file or directory`);
}

function isDirectory(action: string, path: string): HoldfastError {
  return new HoldfastError("invalid", `cannot ${action} ${path}: it is a directory`);
}
