/**
 * A tree of the file system into a bucket. What has not changed since the last time is not read: the entry of a file says
 * what size, times, inode and owner it had.
 *
 * 1. An entry is written when the bytes it names are durable, and with the attributes that the file had when it was read.
 * 2. What cannot be read is reported and left as it is in the bucket; the rest goes on.
 * 3. With `delete`, only what is known to be gone is deleted: nothing below a folder that could not be listed, nothing that
 *    patterns leave out. What was below a folder that is now a file goes in any case, since no tree can have both.
 *
 * A run that was killed is resumed by running it again: entries are committed as they come, and bytes of a file that had
 * not got so far are found in the store. Memory: the folders on the way down, files under way, and a little for each file
 * with several names until all of them were seen.
 */
import { HoldfastError, throwIfAborted } from "../base/index.ts";
import type { FileStat, Init } from "../base/index.ts";
import type { FileContent } from "../view/index.ts";
import { EntryQueue } from "./entry-queue.ts";
import { fileContent, folderContent, linkContent } from "./file-attributes.ts";
import { checkedPath } from "./file-path.ts";
import type { FileEntry } from "./file-batches.ts";
import type { FileRecord } from "./file-record.ts";
import type { Uploaded, UploadedFile } from "./file-writing.ts";
import type { Patterns } from "./patterns.ts";
import { SharedUpload } from "./shared-upload.ts";
import { Tasks } from "./tasks.ts";
import { errorOfFile, identityOf, isUnchanged, linkGroupOf, ownerOf, sameOwner, TreeAccount } from "./tree.ts";
import type { TreeFiles, TreeOptions, TreeOutcome, TreeParts } from "./tree.ts";
import { mergeTrees, storedPath, storedTree } from "./tree-merge.ts";
import type { Pair } from "./tree-merge.ts";
import { checkedTreePrefix, joinPath } from "./tree-path.ts";
import { walkTree } from "./tree-walk.ts";
import type { Walked } from "./tree-walk.ts";

export interface PutTreeOptions extends TreeOptions {
  readonly patterns?: Patterns | undefined;
  readonly oneFileSystem?: boolean | undefined;
  /** Delete from the bucket what is gone from the tree. */
  readonly delete?: boolean | undefined;
  /** Find out first, and meanwhile, how much there is, for `TreeProgress`: the tree is walked twice. */
  readonly measure?: boolean | undefined;
}

/** Files under way: small ones go through the pipeline many at a time. */
const parallelCountDefault = 128;
/** Bytes of files under way, of more than one. */
const underWaySizeMax = 268_435_456;
/** A file that changes while it is read is read so many times at most. */
const readCountMax = 3;

/**
 * Puts what is at `root` (a folder with all below it, a file, a link) at `prefix` in the bucket. `notFound` if there is
 * nothing.
 */
export async function putTree(
  parts: TreeParts,
  files: TreeFiles,
  root: string,
  prefix: string,
  options: PutTreeOptions = {},
): Promise<TreeOutcome> {
  const stat = await parts.fileSystem.stat(root);
  if (stat === undefined) throw new HoldfastError("notFound", `there is nothing at ${root}`);
  return new TreePut(parts, files, { path: root, stat }, checkedTreePrefix(prefix), options).run();
}

interface Read {
  readonly uploaded: Uploaded;
  readonly stat: FileStat;
  readonly changed: boolean;
}

/** A file with several names, while not all of them have been seen. */
interface LinkedFile {
  readonly read: Promise<{ readonly shared: SharedUpload; readonly stat: FileStat; readonly changed: boolean }>;
  seenCount: number;
}

class TreePut {
  readonly #parts: TreeParts;
  readonly #files: TreeFiles;
  readonly #root: { readonly path: string; readonly stat: FileStat };
  readonly #prefix: string;
  readonly #options: PutTreeOptions;
  readonly #account: TreeAccount;
  readonly #entries = new EntryQueue();
  readonly #tasks: Tasks;
  /** By device and inode. */
  readonly #linked = new Map<string, LinkedFile>();
  readonly #shared = new Set<SharedUpload>();
  /** Folders of the bucket that are something else on the disk, with a `/`. */
  readonly #replaced: string[] = [];
  /** Aborts with the caller's signal, and when the run is over. */
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;

  constructor(
    parts: TreeParts,
    files: TreeFiles,
    root: { readonly path: string; readonly stat: FileStat },
    prefix: string,
    options: PutTreeOptions,
  ) {
    this.#parts = parts;
    this.#files = files;
    this.#root = root;
    this.#prefix = prefix;
    this.#options = options;
    this.#account = new TreeAccount(options);
    this.#tasks = new Tasks(options.parallelCount ?? parallelCountDefault, underWaySizeMax);
    const { signal } = options;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
  }

  async run(): Promise<TreeOutcome> {
    throwIfAborted(this.#signal);
    // A wrong key, or none, is told before anything is read.
    await this.#files.settings(this.#signal);
    const { dryRun = false, measure = false } = this.#options;
    const committing = dryRun ? undefined : this.#commit();
    const measuring = measure ? this.#measure() : undefined;
    const decided = this.#decideAll();
    try {
      // Whichever fails first ends it.
      await (committing === undefined ? decided : Promise.race([decided, committing.then(() => decided)]));
      await this.#tasks.finish();
      this.#entries.end();
      await committing;
    } catch (error) {
      this.#stop.abort(error);
      this.#entries.end();
      await Promise.allSettled([decided, committing]);
      await this.#tasks.settled();
      throw error;
    } finally {
      if (!this.#stop.signal.aborted) this.#stop.abort(new HoldfastError("cancelled", "the tree is put"));
      await measuring;
      for (const shared of this.#shared) shared.end();
    }
    return this.#account.outcome;
  }

  async #commit(): Promise<void> {
    const { outcome } = this.#account;
    try {
      await this.#files.putMany(this.#entries, {
        signal: this.#signal,
        committed: (_, revision) => {
          outcome.revision = Math.max(outcome.revision, revision);
        },
        failed: (entry, error) => {
          const path = String(entry.path);
          this.#account.done("failed", path.slice(this.#prefix === "" ? 0 : this.#prefix.length + 1), 0, error);
        },
      });
    } finally {
      this.#entries.end();
    }
  }

  /** Everything there is, for the progress; what goes wrong is told by the run itself. */
  async #measure(): Promise<void> {
    let [count, size] = [0, 0];
    try {
      for await (const walked of this.#walk()) {
        if (walked.type !== "entry") continue;
        count++;
        if (walked.stat.type === "file") size += walked.stat.size;
      }
    } catch {
      return;
    }
    this.#account.state.countTotal = count;
    this.#account.state.sizeTotal = size;
  }

  async *#walk(): AsyncGenerator<Walked, void, undefined> {
    const { path, stat } = this.#root;
    const { patterns, oneFileSystem } = this.#options;
    // The top of a bucket has no path, and so no entry.
    if (this.#prefix !== "" || stat.type !== "folder") yield { type: "entry", path: "", stat };
    if (stat.type !== "folder") return;
    yield* walkTree(this.#parts.fileSystem, path, stat, { patterns, oneFileSystem, signal: this.#signal });
  }

  async #decideAll(): Promise<void> {
    const stored = storedTree(this.#files, this.#prefix, { patterns: this.#options.patterns, signal: this.#signal });
    for await (const pair of mergeTrees(this.#walk(), stored)) {
      if (this.#tasks.failed) break;
      await this.#decide(pair);
    }
  }

  async #decide({ path, local, stored, hidden }: Pair): Promise<void> {
    if (local?.type === "gap") {
      const error = local.error instanceof HoldfastError ? local.error : undefined;
      if (local.error !== undefined && error === undefined) throw local.error;
      this.#account.done(error === undefined ? "skipped" : "failed", path.replace(/\/$/, ""), 0, error);
      return;
    }
    if (local === undefined || local.type === "own") {
      if (stored !== undefined) await this.#gone(path, stored, hidden);
      return;
    }
    const { stat } = local;
    if (stored?.type === "folder" && stat.type !== "folder") this.#replaced.push(`${path}/`);
    if (stat.type === "other") {
      const error = new HoldfastError("invalid", "it is a device, a socket or a pipe");
      return this.#account.done("skipped", path, 0, error);
    }
    if (stored !== undefined && this.#isUnchanged(stored, stat)) {
      if (stat.type !== "file") return this.#account.done("unchanged", path);
      this.#account.holds(stat.size);
      this.#account.outcome.unchangedFileCount++;
      return this.#account.done("unchanged", path, stat.size);
    }
    try {
      checkedPath(storedPath(this.#prefix, path));
    } catch (error) {
      return this.#failed(path, error);
    }
    const type = stored === undefined ? "new" : "changed";
    if (this.#options.dryRun === true) {
      if (stat.type === "file") this.#account.holds(stat.size);
      return this.#account.done(type, path, stat.type === "file" ? stat.size : 0);
    }
    const size = stat.type === "file" ? stat.size : 0;
    await this.#tasks.add(() => this.#put(path, stat, type), size);
  }

  #isUnchanged({ stored: { content } }: FileRecord, stat: FileStat): boolean {
    if (stat.type === "folder") {
      return content.type === "folder" && content.modifiedNs === stat.modifiedNs && sameOwner(content, stat);
    }
    return isUnchanged(content, stat) && content.linkGroup === this.#groupOf(stat);
  }

  #groupOf(stat: FileStat): bigint {
    return linkGroupOf(this.#parts.env.digest, this.#prefix, stat);
  }

  /** It is in the bucket and not on the disk. */
  async #gone(path: string, stored: FileRecord, hidden: boolean): Promise<void> {
    const replaced = this.#replaced.some((folder) => path.startsWith(folder));
    if (hidden || (this.#options.delete !== true && !replaced)) return;
    this.#account.done("deleted", path);
    if (this.#options.dryRun === true) return;
    await this.#entries.push({ path: stored.path, content: undefined, ifRevision: stored.revision });
  }

  async #put(path: string, stat: FileStat, type: "new" | "changed"): Promise<void> {
    try {
      const entry = await this.#entryFor(path, stat);
      if (stat.type === "file") this.#account.holds(entry.content?.size ?? 0);
      await this.#entries.push({
        path: storedPath(this.#prefix, path),
        ...entry,
        again: () => this.#entryAgain(path),
      });
      this.#account.done(type, path);
    } catch (error) {
      throwIfAborted(this.#signal);
      this.#failed(path, error);
    }
  }

  #failed(path: string, error: unknown): void {
    const known = errorOfFile(error, joinPath(this.#root.path, path));
    if (known === undefined) throw error;
    this.#account.done("failed", path, 0, known);
  }

  async #entryFor(path: string, stat: FileStat): Promise<Pick<FileEntry, "content" | "uploaded">> {
    if (stat.type === "folder") return { content: folderContent(ownerOf(stat)) };
    if (stat.type === "link") {
      const target = await this.#parts.fileSystem.readLink(joinPath(this.#root.path, path));
      const attributes = { ...ownerOf(stat), ...identityOf(stat, this.#parts.env.clock.wallMs()) };
      return { content: linkContent(target, attributes) };
    }
    const read = stat.linkCount > 1 ? await this.#readLinked(path, stat) : await this.#read(path);
    if (read.changed) this.#account.done("unstable", path);
    return this.#described(read);
  }

  /** When its upload has ended before it had a name. */
  async #entryAgain(path: string): Promise<Pick<FileEntry, "content" | "uploaded">> {
    return this.#described(await this.#read(path));
  }

  #described({ uploaded, stat, changed }: Read): { content: Init<typeof FileContent>; uploaded: Uploaded } {
    const identity = changed ? {} : identityOf(stat, this.#parts.env.clock.wallMs());
    const linkGroup = this.#groupOf(stat);
    return { content: fileContent(uploaded.content, { ...ownerOf(stat), ...identity, linkGroup }), uploaded };
  }

  async #read(path: string): Promise<Read> {
    for (let attempt = 1; ; attempt++) {
      let size = 0;
      const progress = (more: number) => {
        size += more;
        this.#account.read(more);
      };
      let uploaded: UploadedFile;
      try {
        const options = { signal: this.#signal, progress, sync: false };
        uploaded = await this.#files.uploadFile(joinPath(this.#root.path, path), options);
      } catch (error) {
        this.#account.read(-size);
        throw error;
      }
      const { inline, newSize, size: whole } = uploaded.content;
      // What stands in the entry goes into the store with it.
      this.#account.stored(inline === undefined ? newSize : whole);
      if (!uploaded.changed || attempt >= readCountMax) return uploadedRead(uploaded);
      uploaded.release();
      this.#account.read(-size);
    }
  }

  /** One of the names of a file with several: the bytes are read for the first of them. */
  async #readLinked(path: string, stat: FileStat): Promise<Read> {
    const inode = `${stat.device}:${stat.inode}`;
    let linked = this.#linked.get(inode);
    if (linked === undefined) {
      const read = this.#read(path).then((one) => {
        const shared = new SharedUpload(one.uploaded);
        this.#shared.add(shared);
        return { shared, stat: one.stat, changed: one.changed };
      });
      linked = { read, seenCount: 0 };
      this.#linked.set(inode, linked);
    }
    const isFirst = linked.seenCount++ === 0;
    const isLast = linked.seenCount >= stat.linkCount;
    if (isLast) this.#linked.delete(inode);
    const { shared, stat: seen, changed } = await linked.read;
    // Its name may be of another file by now; then it is read for itself.
    const isSame = seen.inode === stat.inode && seen.device === stat.device;
    const uploaded = isSame ? shared.handle() : undefined;
    if (isLast) {
      shared.end();
      this.#shared.delete(shared);
    }
    if (uploaded === undefined) return this.#read(path);
    if (!isFirst) this.#account.read(stat.size);
    return { uploaded, stat: seen, changed };
  }
}

function uploadedRead(uploaded: UploadedFile): Read {
  return { uploaded, stat: uploaded.stat, changed: uploaded.changed };
}
