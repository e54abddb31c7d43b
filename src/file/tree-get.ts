/**
 * A tree of a bucket onto the file system. What is there already with the size and time of its entry is taken as done, so
 * that a run that was killed is resumed by running it again; large files are continued where they stopped (tree-target.ts).
 *
 * 1. Nothing is written outside of the target (tree-target.ts).
 * 2. What is on the disk and not in the bucket stays, unless `delete` is given; even then what patterns leave out stays, and
 *    what is below a folder that cannot be listed.
 * 3. Folders get their modes and times when everything in them is written, the deepest first.
 * 4. What cannot be written, or is damaged, is reported; the rest goes on.
 *
 * Memory: a little for each folder, and for each file with several names.
 */
import { HoldfastError, throwIfAborted } from "../base/index.ts";
import type { FileStat } from "../base/index.ts";
import type { ChunkSettings } from "../blob/index.ts";
import { contentOf } from "./file-reading.ts";
import type { FileRecord } from "./file-record.ts";
import type { Patterns } from "./patterns.ts";
import { Tasks } from "./tasks.ts";
import { errorOfFile, nameFile, sameContent, TreeAccount } from "./tree.ts";
import type { TreeOptions, TreeOutcome, TreeParts } from "./tree.ts";
import { mergeTrees, storedTree } from "./tree-merge.ts";
import type { Pair, StoredEntry, TreeSource } from "./tree-merge.ts";
import { checkedTreePrefix, isOwnName, namePart, parentPath, unsafeReason } from "./tree-path.ts";
import { notFolder, TreeTarget } from "./tree-target.ts";
import { walkTree } from "./tree-walk.ts";
import type { Walked } from "./tree-walk.ts";

export interface GetTreeOptions extends TreeOptions {
  /** How the bucket's files are cut: `Files.settings`. */
  readonly settings: (signal?: AbortSignal) => Promise<ChunkSettings>;
  readonly patterns?: Patterns | undefined;
  /** Remove from the disk what the bucket does not have. */
  readonly delete?: boolean | undefined;
  /** Compare the contents of files that seem to be there already. */
  readonly verify?: boolean | undefined;
  readonly withoutOwners?: boolean | undefined;
  /** Find out, meanwhile, how much there is, for `TreeProgress`. */
  readonly measure?: boolean | undefined;
}

const parallelCountDefault = 64;
const underWaySizeMax = 67_108_864;

/** Writes what is at `prefix` (a folder with all below it, a file, a link) to `root`. `notFound` if there is nothing. */
export async function getTree(
  parts: TreeParts,
  files: TreeSource,
  prefix: string,
  root: string,
  options: GetTreeOptions,
): Promise<TreeOutcome> {
  const top = checkedTreePrefix(prefix);
  const { signal } = options;
  const record = top === "" ? undefined : await files.stat(top, { signal });
  if (record !== undefined && record.type !== "folder") {
    const folder = parentPath(root);
    const place = folder === "" && root.startsWith("/") ? "/" : folder;
    return new TreeGet(parts, files, top, place, options).run({ name: namePart(root), record });
  }
  if (record === undefined) await checkAny(files, top, signal);
  return new TreeGet(parts, files, top, root, options).run();
}

/** A tree that is not there must not take away everything that is on the disk. */
async function checkAny(files: TreeSource, prefix: string, signal: AbortSignal | undefined): Promise<void> {
  for await (const _ of files.list({ prefix: prefix === "" ? "" : `${prefix}/`, limit: 1, signal })) return;
  throw new HoldfastError("notFound", `there is nothing at ${files.bucket}:${prefix}`);
}

interface Single {
  readonly name: string;
  readonly record: FileRecord;
}

/** The first name of a file that has several in this tree. */
interface LinkedFile {
  readonly path: string;
  readonly hash: string;
  readonly written: Promise<boolean>;
}

class TreeGet {
  readonly #parts: TreeParts;
  readonly #files: TreeSource;
  readonly #prefix: string;
  readonly #root: string;
  readonly #options: GetTreeOptions;
  readonly #account: TreeAccount;
  readonly #target: TreeTarget;
  readonly #tasks: Tasks;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #folders: StoredEntry[] = [];
  readonly #linked = new Map<bigint, LinkedFile>();
  /** Folders to be removed, in order: those in others come later. */
  readonly #extraFolders: string[] = [];
  /** Files and links whose place a folder has. */
  readonly #blocked: StoredEntry[] = [];
  /** Temporary files of runs that have died, or that still write: which, the time tells. */
  readonly #left: string[] = [];

  constructor(parts: TreeParts, files: TreeSource, prefix: string, root: string, options: GetTreeOptions) {
    this.#parts = parts;
    this.#files = files;
    this.#prefix = prefix;
    this.#root = root;
    this.#options = options;
    this.#account = new TreeAccount(options);
    const { signal, withoutOwners } = options;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    this.#target = new TreeTarget(parts, root, {
      settings: () => options.settings(this.#signal),
      withoutOwners,
      signal: this.#signal,
      progress: (size, written) => {
        this.#account.read(size);
        if (written) this.#account.stored(size);
      },
    });
    this.#tasks = new Tasks(options.parallelCount ?? parallelCountDefault, underWaySizeMax);
  }

  /** `single`: only this file, under this name. */
  async run(single?: Single): Promise<TreeOutcome> {
    throwIfAborted(this.#signal);
    const measuring = this.#options.measure === true ? this.#measure() : undefined;
    try {
      if (single === undefined) await this.#getFolder();
      else await this.#getSingle(single);
      await this.#tasks.finish();
      await this.#finish();
    } catch (error) {
      this.#stop.abort(error);
      await this.#tasks.settled();
      throw error;
    } finally {
      if (!this.#stop.signal.aborted) this.#stop.abort(new HoldfastError("cancelled", "the tree is there"));
      await measuring;
    }
    return this.#account.outcome;
  }

  async #measure(): Promise<void> {
    let [count, size] = [0, 0];
    try {
      for await (const { record } of this.#stored()) {
        count++;
        size += record.type === "file" ? record.size : 0;
      }
    } catch {
      // The run itself tells what is wrong.
      return;
    }
    this.#account.state.countTotal = count;
    this.#account.state.sizeTotal = size;
  }

  #stored() {
    return storedTree(this.#files, this.#prefix, { patterns: this.#options.patterns, signal: this.#signal });
  }

  async #getSingle({ name, record }: Single): Promise<void> {
    const stat = await this.#parts.fileSystem.stat(this.#target.place(name));
    const local: Walked | undefined = stat === undefined ? undefined : { type: "entry", path: name, stat };
    if (this.#options.dryRun !== true && this.#root !== "") await this.#target.makeRoot();
    await this.#decide({ path: name, local, stored: record, hidden: false });
  }

  async #getFolder(): Promise<void> {
    const { dryRun, patterns } = this.#options;
    const stat = await this.#parts.fileSystem.stat(this.#root);
    if (dryRun !== true) await this.#target.makeRoot();
    else if (stat !== undefined && stat.type !== "folder") throw notFolder(this.#root);
    for await (const pair of mergeTrees(this.#walk(stat, patterns), this.#stored())) {
      if (this.#tasks.failed) break;
      await this.#decide(pair);
    }
  }

  async *#walk(stat: FileStat | undefined, patterns: Patterns | undefined): AsyncGenerator<Walked, void, undefined> {
    if (stat === undefined) return;
    yield { type: "entry", path: "", stat };
    yield* walkTree(this.#parts.fileSystem, this.#root, stat, { patterns, signal: this.#signal });
  }

  async #decide({ path, local, stored, hidden }: Pair): Promise<void> {
    if (local?.type === "own") {
      if (isTemporary(path)) this.#left.push(this.#target.place(path));
      return;
    }
    if (local?.type === "gap") {
      if (local.error instanceof HoldfastError) this.#account.done("failed", path.replace(/\/$/, ""), 0, local.error);
      return;
    }
    if (stored === undefined) {
      if (local !== undefined && path !== "" && this.#options.delete === true && !hidden)
        await this.#remove(path, local.stat);
      return;
    }
    const reason = path === "" ? undefined : (unsafeReason(path) ?? ownReason(path));
    if (reason !== undefined) {
      const message = `${this.#files.bucket}:${stored.path} has no place on the disk: ${reason}`;
      return this.#account.done("failed", path, 0, new HoldfastError("invalid", message));
    }
    if (stored.type === "file") this.#account.holds(stored.size);
    const stat = local?.stat;
    if (stored.type === "folder") return this.#decideFolder(path, stored, stat);
    if (this.#options.dryRun === true) return this.#wouldWrite(path, stored, stat);
    if (stat?.type === "folder") {
      this.#blocked.push({ path, record: stored });
      return;
    }
    await this.#write(path, stored, stat);
  }

  async #decideFolder(path: string, record: FileRecord, stat: FileStat | undefined): Promise<void> {
    const same = stat?.type === "folder" && this.#target.hasAttributes(record, stat);
    const type = stat === undefined ? "new" : same ? "unchanged" : "changed";
    if (this.#options.dryRun !== true) {
      try {
        await this.#target.ensureFolder(path, { replace: true });
      } catch (error) {
        return this.#failed(path, error);
      }
      this.#folders.push({ path, record });
    }
    this.#account.done(type, path);
  }

  #wouldWrite(path: string, record: FileRecord, stat: FileStat | undefined): void {
    const size = record.type === "file" ? record.size : 0;
    const seemsSame = stat?.type === record.type && (record.type === "link" || this.#seemsDone(record, stat));
    if (seemsSame) this.#unchanged(path, record);
    else this.#account.done(stat === undefined ? "new" : "changed", path, size);
  }

  /** Whether a file on the disk has the size and time of the entry. */
  #seemsDone(record: FileRecord, stat: FileStat): boolean {
    const { modifiedNs } = this.#target.attributesOf(record);
    return stat.type === "file" && stat.size === record.size && stat.modifiedNs === modifiedNs;
  }

  /** A file or a link is there as it is to be. */
  #unchanged(path: string, record: FileRecord): void {
    if (record.type !== "file") return this.#account.done("unchanged", path);
    this.#account.outcome.unchangedFileCount++;
    this.#account.done("unchanged", path, record.size);
  }

  async #remove(path: string, stat: FileStat): Promise<void> {
    if (stat.type === "folder") {
      this.#extraFolders.push(path);
      return;
    }
    if (this.#options.dryRun === true) return this.#account.done("deleted", path);
    await this.#tasks.add(async () => {
      try {
        await this.#parts.fileSystem.remove(this.#target.place(path));
        this.#account.done("deleted", path);
      } catch (error) {
        this.#failed(path, error);
      }
    });
  }

  /** Starts to write a file or a link. */
  async #write(path: string, record: FileRecord, stat: FileStat | undefined): Promise<void> {
    const { linkGroup } = record.stored.content;
    const size = record.type === "file" ? record.size : 0;
    const first = linkGroup === 0n ? undefined : this.#linked.get(linkGroup);
    if (first !== undefined && first.hash === record.hash) {
      return this.#tasks.add(async () => {
        await this.#guarded(path, () => this.#link(path, record, stat, first));
      });
    }
    const written = Promise.withResolvers<boolean>();
    if (linkGroup !== 0n) this.#linked.set(linkGroup, { path, hash: record.hash, written: written.promise });
    // Counted as bytes in memory: a large file has a few chunks there at a time.
    const share = Math.min(size, 16_777_216);
    await this.#tasks.add(async () => {
      let done = false;
      try {
        done = await this.#guarded(path, () => this.#writeOne(path, record, stat));
      } finally {
        written.resolve(done);
      }
    }, share);
  }

  /** False, and reported, when it failed for a reason of its own. */
  async #guarded(path: string, run: () => Promise<void>): Promise<boolean> {
    try {
      await run();
      return true;
    } catch (error) {
      throwIfAborted(this.#signal);
      this.#failed(path, error);
      return false;
    }
  }

  #failed(path: string, error: unknown): void {
    const known = errorOfFile(error, this.#target.place(path));
    if (known === undefined) throw error;
    this.#account.done("failed", path, 0, known);
  }

  async #writeOne(path: string, record: FileRecord, stat: FileStat | undefined): Promise<void> {
    const type = stat === undefined ? "new" : "changed";
    if (stat !== undefined && (await this.#isDone(path, record, stat))) {
      const same = this.#target.hasAttributes(record, stat);
      if (!same) await this.#target.setAttributes(path, record);
      if (same) return this.#unchanged(path, record);
      return this.#account.done("changed", path, record.type === "file" ? record.size : 0);
    }
    // Of a link too, since opening it tells whether it can be trusted.
    const opened = await this.#files.open(record, { signal: this.#signal });
    if (opened.type === "link") await this.#target.writeLink(path, opened);
    else await this.#target.writeFile(path, opened);
    this.#account.done(type, path);
  }

  async #isDone(path: string, record: FileRecord, stat: FileStat): Promise<boolean> {
    if (record.type === "link") {
      return (
        stat.type === "link" && (await this.#parts.fileSystem.readLink(this.#target.place(path))) === record.target
      );
    }
    // Names of one file that are to be several files are parted by writing them.
    if (stat.linkCount > 1 && record.stored.content.linkGroup === 0n) return false;
    if (!this.#seemsDone(record, stat)) return false;
    if (this.#options.verify !== true) return true;
    const settings = await this.#options.settings(this.#signal);
    const content = await nameFile(this.#parts, this.#target.place(path), settings, this.#signal);
    return !content.changed && sameContent(content, contentOf(record.stored.content));
  }

  /** Another name of a file that is written under its first one. */
  async #link(path: string, record: FileRecord, stat: FileStat | undefined, first: LinkedFile): Promise<void> {
    if (await first.written) {
      const existing = await this.#parts.fileSystem.stat(this.#target.place(first.path));
      if (existing !== undefined && existing.inode === stat?.inode && existing.device === stat.device) {
        return this.#unchanged(path, record);
      }
      if (existing?.type === "file" && (await this.#target.linkTo(path, first.path, record))) {
        return this.#account.done(stat === undefined ? "new" : "changed", path, record.size);
      }
    }
    await this.#writeOne(path, record, stat);
  }

  /** When all files are written: what had to wait for that. */
  async #finish(): Promise<void> {
    const { fileSystem } = this.#parts;
    if (this.#options.dryRun === true) {
      for (const path of this.#extraFolders) this.#account.done("deleted", path);
      return;
    }
    await this.#target.removeStale(this.#left);
    for (const path of this.#extraFolders.toReversed()) {
      await this.#guarded(path, async () => {
        try {
          await fileSystem.removeFolder(this.#target.place(path));
          this.#account.done("deleted", path);
        } catch (error) {
          // Something is in it that is not to go.
          if (!(error instanceof HoldfastError) || error.code !== "exists") throw error;
        }
      });
    }
    for (const { path, record } of this.#blocked) await this.#guarded(path, () => this.#replaceFolder(path, record));
    await this.#setFolders();
  }

  async #replaceFolder(path: string, record: FileRecord): Promise<void> {
    const place = this.#target.place(path);
    const { fileSystem } = this.#parts;
    if ((await fileSystem.stat(place))?.type === "folder") {
      await fileSystem.removeFolder(place).catch((error: unknown) => {
        const message = `${place} is a folder with something in it, and a ${record.type} in the bucket; move it away, or delete what the bucket does not have`;
        throw new HoldfastError("exists", message, { cause: error });
      });
    }
    await this.#writeOne(path, record, undefined);
  }

  async #setFolders(): Promise<void> {
    const byDepth = new Map<number, StoredEntry[]>();
    for (const folder of this.#folders) {
      const depth = folder.path === "" ? 0 : folder.path.split("/").length;
      const same = byDepth.get(depth);
      if (same === undefined) byDepth.set(depth, [folder]);
      else same.push(folder);
    }
    for (const depth of [...byDepth.keys()].toSorted((a, b) => b - a)) {
      const tasks = new Tasks(this.#options.parallelCount ?? parallelCountDefault);
      for (const { path, record } of byDepth.get(depth) ?? []) {
        await tasks.add(async () => {
          await this.#guarded(path, () => this.#target.setAttributes(path, record));
        });
      }
      await tasks.finish();
    }
  }
}

function ownReason(path: string): string | undefined {
  return isOwnName(namePart(path)) ? "Holdfast uses such names itself" : undefined;
}

/** Not the state of a synchronisation. */
function isTemporary(path: string): boolean {
  return namePart(path).startsWith(".holdfast-part");
}
