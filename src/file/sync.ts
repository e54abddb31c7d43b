/**
 * A folder and a tree of a bucket, brought together both ways. What has changed on one side since the last time goes to the
 * other (sync-decision.ts); where both have changed, the one of the disk gets a second name, and both are on both sides.
 *
 * 1. Nothing that anybody wrote is lost: an upload replaces only the version that was seen (else it is refused), whose bytes
 *    stay as an old version; a download replaces, and a deletion takes away, a file on the disk only if it is still as it
 *    was seen, which is looked at right before.
 * 2. The state (sync-state.ts) has of a path only what was really alike on both sides. A run that was killed, or that met
 *    changes while it went on, leaves work for the next run and no other harm.
 * 3. Only what one and the same bucket has lost since the last time was deleted (sync-opening.ts): another store or bucket, or one
 *    that was set back, deletes nothing and replaces nothing that it does not have.
 * 4. Owners, hard links and the times of folders are not synchronised.
 *
 * Memory: the folders on the way down, and the paths under way. Long because each kind of step needs the same few parts.
 */
import { HoldfastError, throwIfAborted } from "../base/index.ts";
import type { FileStat } from "../base/index.ts";
import { EntryCommits } from "./entry-commits.ts";
import { fileContent, folderContent, linkContent } from "./file-attributes.ts";
import type { FileEntry } from "./file-batches.ts";
import { checkedPath } from "./file-path.ts";
import { contentOf } from "./file-reading.ts";
import type { FileRecord } from "./file-record.ts";
import type { UploadedFile } from "./file-writing.ts";
import { conflictPath, decideSync } from "./sync-decision.ts";
import type { SideState } from "./sync-decision.ts";
import { mergeState } from "./sync-merge.ts";
import type { Triple } from "./sync-merge.ts";
import { openState, stateFileOf, hadVersion } from "./sync-opening.ts";
import type { SyncFiles } from "./sync-opening.ts";
import type { SyncEventType, SyncOptions, SyncOutcome } from "./sync-options.ts";
import { signatureOf } from "./sync-state.ts";
import type { SyncRecord, SyncState, SyncStateWriter } from "./sync-state.ts";
import { Tasks } from "./tasks.ts";
import { errorOfFile, identityOf, isSettled, nameFile, ownerOf, sameContent } from "./tree.ts";
import type { TreeParts, TreeProgress } from "./tree.ts";
import { mergeTrees, sameStat, storedPath, storedTree } from "./tree-merge.ts";
import { checkedTreePrefix, comparePaths, isOwnName, namePart, partialPrefix, unsafeReason } from "./tree-path.ts";
import { TreeTarget } from "./tree-target.ts";
import { walkTree } from "./tree-walk.ts";

const parallelCountDefault = 64;
const underWaySizeMax = 67_108_864;
/** Paths whose outcome is waited for, so that the state is written in order. */
const orderedCountMax = 2_048;

/** Brings the folder at `root`, which is made if it is missing, and the tree at `prefix` together. */
export async function syncTree(
  parts: TreeParts,
  files: SyncFiles,
  root: string,
  prefix: string,
  options: SyncOptions,
): Promise<SyncOutcome> {
  return new Sync(parts, files, root, checkedTreePrefix(prefix), options).run();
}

/** What is waited for after the work on a file: its name in the bucket, for instance. Gives the next state of the path. */
type Outcome = SyncRecord | undefined | Promise<SyncRecord | undefined>;

/** In an object, so that an `await` does not wait for the outcome too. */
interface Decided {
  readonly outcome: Outcome;
}

/** Somebody changed the file while it was being replaced. */
class Overtaken extends Error {}

class Sync {
  readonly #parts: TreeParts;
  readonly #files: SyncFiles;
  readonly #root: string;
  readonly #prefix: string;
  readonly #options: SyncOptions;
  readonly #target: TreeTarget;
  readonly #tasks: Tasks;
  readonly #commits: EntryCommits;
  readonly #ordered: Promise<SyncRecord | undefined>[] = [];
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #outcome: SyncOutcome;
  readonly #progress: TreeProgress = { count: 0, size: 0, newSize: 0, countTotal: undefined, sizeTotal: undefined };
  /** Folders to be removed from the disk, in order, and files whose place such a folder has. */
  readonly #doomedFolders: string[] = [];
  /** Partial files of other runs. */
  readonly #left: string[] = [];
  readonly #blocked: { readonly path: string; readonly record: FileRecord }[] = [];

  constructor(parts: TreeParts, files: SyncFiles, root: string, prefix: string, options: SyncOptions) {
    this.#parts = parts;
    this.#files = files;
    this.#root = root;
    this.#prefix = prefix;
    this.#options = options;
    if (options.label === "" || options.label.includes("/")) {
      throw new HoldfastError(
        "invalid",
        `the label ${JSON.stringify(options.label)} cannot be part of a name; give text without "/"`,
      );
    }
    const { signal } = options;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    this.#commits = new EntryCommits(files, this.#signal);
    this.#tasks = new Tasks(options.parallelCount ?? parallelCountDefault, underWaySizeMax);
    this.#target = new TreeTarget(parts, root, {
      settings: () => files.settings(this.#signal),
      withoutOwners: true,
      signal: this.#signal,
      progress: (size, written) => this.#moved(size, written ? size : 0),
    });
    const counts = ["upload", "download", "deleteStored", "deleteLocal", "conflict", "skipped", "failed"] as const;
    const zero = Object.fromEntries(counts.map((type) => [`${type}Count`, 0]));
    this.#outcome = { ...(zero as Record<`${SyncEventType}Count`, number>), sameCount: 0, newSize: 0 };
  }

  async run(): Promise<SyncOutcome> {
    const { dryRun = false, lock } = this.#options;
    throwIfAborted(this.#signal);
    await this.#files.settings(this.#signal);
    if (dryRun) return this.#run(true);
    await this.#target.makeRoot();
    const release = await lock?.(`${stateFileOf({ root: this.#root, options: this.#options })}-lock`);
    try {
      return await this.#run(false);
    } finally {
      await release?.();
    }
  }

  async #run(dryRun: boolean): Promise<SyncOutcome> {
    const state = await openState({
      parts: this.#parts,
      files: this.#files,
      root: this.#root,
      prefix: this.#prefix,
      options: this.#options,
      signal: this.#signal,
    });
    const writer = dryRun ? undefined : state.writer();
    const committing = dryRun ? Promise.resolve() : this.#commits.run();
    const decided = this.#decideAll(state, writer);
    try {
      await Promise.race([decided, committing.then(() => decided)]);
      await this.#tasks.finish();
      // No more names are to come: those that wait for company are given.
      this.#commits.end();
      await this.#drain(writer, 0);
      await committing;
      await writer?.end();
      if (writer !== undefined) await state.replace();
      await this.#finish();
    } catch (error) {
      this.#stop.abort(error);
      this.#commits.fail(error);
      await Promise.allSettled([committing, decided, this.#tasks.settled()]);
      await Promise.allSettled(this.#ordered);
      // What is known by now stays for the next run.
      await writer?.end().catch(() => {});
      throw error;
    } finally {
      if (!this.#stop.signal.aborted) this.#stop.abort(new HoldfastError("cancelled", "the trees are synchronised"));
    }
    return this.#outcome;
  }

  #moved(size: number, newSize: number): void {
    this.#progress.size += size;
    this.#progress.newSize += newSize;
    this.#outcome.newSize += newSize;
    this.#options.progress?.(this.#progress);
  }

  #tell(type: SyncEventType, path: string, more: { other?: string; error?: HoldfastError | undefined } = {}): void {
    this.#outcome[`${type}Count`]++;
    this.#options.report?.({ type, path, ...more });
  }

  async *#triples(state: SyncState): AsyncGenerator<Triple, void, undefined> {
    const { fileSystem } = this.#parts;
    const { patterns } = this.#options;
    const stat = await fileSystem.stat(this.#root);
    const walk =
      stat === undefined ? none() : walkTree(fileSystem, this.#root, stat, { patterns, signal: this.#signal });
    const stored = below(storedTree(this.#files, this.#prefix, { patterns, signal: this.#signal }));
    yield* mergeState(mergeTrees(walk, stored), state.records());
  }

  async #decideAll(state: SyncState, writer: SyncStateWriter | undefined): Promise<void> {
    let begun = false;
    for await (const triple of this.#triples(state)) {
      if (this.#tasks.failed) break;
      if (!begun) await writer?.begin();
      begun = true;
      const { outcome } = await this.#decide(triple);
      this.#ordered.push(Promise.resolve(outcome));
      if (this.#ordered.length > orderedCountMax) await this.#drain(writer, orderedCountMax / 2);
    }
    if (!begun) await writer?.begin();
  }

  async #drain(writer: SyncStateWriter | undefined, countMax: number): Promise<void> {
    while (this.#ordered.length > countMax) {
      const record = await this.#ordered[0];
      void this.#ordered.shift();
      if (record === undefined || writer === undefined) continue;
      if (writer.createRevision === 0) await this.#nameBucket(writer);
      await writer.add(record);
    }
    await writer?.flush();
  }

  /** The first thing that both sides have in common has made the bucket: what is known of it, is of this one. */
  async #nameBucket(writer: SyncStateWriter): Promise<void> {
    const info = await this.#files.info({ signal: this.#signal });
    if (info !== undefined) await writer.setCreateRevision(info.createRevision);
  }

  async #decide(triple: Triple): Promise<Decided> {
    const { path, local, stored, hidden } = triple;
    // Revisions only grow: the bucket was set back to an earlier state, and what it had later is nowhere but here.
    const isSetBack = stored !== undefined && triple.last !== undefined && stored.revision < triple.last.revision;
    const last = isSetBack ? undefined : triple.last;
    if (local?.type === "own") {
      if (namePart(path).startsWith(partialPrefix)) this.#left.push(this.#target.place(path));
      return { outcome: undefined };
    }
    if (local?.type === "gap") {
      if (local.error !== undefined) this.#failed(path.replace(/\/$/, ""), local.error);
      return { outcome: undefined };
    }
    if (hidden) return { outcome: last };
    const stat = local?.stat;
    if (stat?.type === "other") {
      this.#tell("skipped", path, { error: new HoldfastError("invalid", "it is a device, a socket or a pipe") });
      return { outcome: last };
    }
    const reason = unsafeReason(path) ?? (isOwnName(namePart(path)) ? "Holdfast uses such names itself" : undefined);
    if (reason !== undefined) {
      const message = `${this.#files.bucket}:${storedPath(this.#prefix, path)} has no place on the disk: ${reason}`;
      this.#tell("skipped", path, { error: new HoldfastError("invalid", message) });
      return { outcome: undefined };
    }
    const localState = sideOf(
      stat !== undefined,
      last,
      stat !== undefined && last?.signature === signatureOf(stat, true),
    );
    const storedState = sideOf(stored !== undefined, last, stored?.revision === last?.revision);
    return this.#act({ ...triple, stat, last }, localState, storedState);
  }

  async #act(
    { path, stat, stored, last }: Triple & { readonly stat: FileStat | undefined },
    localState: SideState,
    storedState: SideState,
  ): Promise<Decided> {
    switch (decideSync(localState, storedState, this.#options.delete === true)) {
      case "none":
        this.#outcome.sameCount++;
        this.#progress.count++;
        return { outcome: last };
      case "forget":
        return { outcome: undefined };
      case "upload":
        return this.#start(path, last, stat?.size ?? 0, () => this.#upload(path, stat as FileStat, stored));
      case "download":
        return this.#start(path, last, stored?.size ?? 0, () => this.#download(path, stored as FileRecord, stat, last));
      case "compare":
        return this.#start(path, last, stat?.size ?? 0, () =>
          this.#compare(path, stat as FileStat, stored as FileRecord),
        );
      case "deleteStored":
        return this.#start(path, last, 0, () => this.#deleteStored(path, stored as FileRecord));
      case "deleteLocal":
        return this.#start(path, last, 0, () => this.#deleteLocal(path, stat as FileStat, last));
    }
  }

  /**
   * Works on one path when there is room. What it gives is the path's next state; when it fails for a reason of its own,
   * the last one, so that the next run sees the same.
   */
  async #start(
    path: string,
    last: SyncRecord | undefined,
    size: number,
    run: () => Promise<Decided>,
  ): Promise<Decided> {
    const next = Promise.withResolvers<SyncRecord | undefined>();
    // Whoever waits for it in order hears of it.
    next.promise.catch(() => {});
    const handle = (error: unknown) => {
      if (error instanceof Overtaken)
        this.#tell("skipped", path, { error: new HoldfastError("conflict", error.message) });
      else if (error instanceof HoldfastError && error.code === "conflict") this.#tell("skipped", path, { error });
      else this.#failed(path, error);
      return last;
    };
    await this.#tasks.add(
      async () => {
        try {
          const { outcome } = await run();
          // The name comes later, with others; the next file need not wait for it.
          const settled = Promise.resolve(outcome).catch(handle);
          settled.then((record) => (this.#progress.count++, next.resolve(record)), next.reject);
        } catch (error) {
          try {
            throwIfAborted(this.#signal);
            next.resolve(handle(error));
          } catch (fatal) {
            next.reject(fatal);
            throw fatal;
          }
        }
      },
      Math.min(size, 16_777_216),
    );
    return { outcome: next.promise };
  }

  #failed(path: string, error: unknown): void {
    const known = errorOfFile(error, this.#target.place(path));
    if (known === undefined) throw error;
    this.#tell("failed", path, { error: known });
  }

  /** The state of a path that is now alike on both sides. */
  #record(path: string, stat: FileStat, revision: number): SyncRecord {
    return { path, signature: signatureOf(stat, isSettled(stat, this.#parts.env.clock.wallMs())), revision };
  }

  async #upload(path: string, stat: FileStat, stored: FileRecord | undefined): Promise<Decided> {
    checkedPath(storedPath(this.#prefix, path));
    if (stored !== undefined && (await this.#isAlike(path, stat, stored))) {
      // Only times on the disk that nobody else keeps have changed, or nothing but that could not be told.
      const record = this.#record(path, stat, stored.revision);
      if (stat.type === "folder" || this.#target.hasAttributes(stored, stat)) {
        this.#outcome.sameCount++;
        return { outcome: record };
      }
    }
    this.#tell("upload", path);
    if (this.#options.dryRun === true) return { outcome: undefined };
    const { entry, seen } = await this.#entryOf(path, stat);
    const ifRevision = stored?.revision ?? 0;
    const { committed } = await this.#commits.send({ ...entry, path: storedPath(this.#prefix, path), ifRevision });
    return { outcome: committed.then((revision) => this.#record(path, seen, revision)) };
  }

  /** What is on the disk, as an entry, and the file as it was when it was read. */
  async #entryOf(path: string, stat: FileStat): Promise<{ entry: Omit<FileEntry, "path">; seen: FileStat }> {
    const { fileSystem, env } = this.#parts;
    if (stat.type === "folder") return { entry: { content: folderContent(ownerOf(stat)) }, seen: stat };
    if (stat.type === "link") {
      const target = await fileSystem.readLink(this.#target.place(path));
      return { entry: { content: linkContent(target, ownerOf(stat)) }, seen: stat };
    }
    let read = 0;
    const progress = (size: number) => {
      read += size;
      this.#moved(size, 0);
    };
    const described = (uploaded: UploadedFile) => {
      const attributes = { ...ownerOf(uploaded.stat), ...identityOf(uploaded.stat, env.clock.wallMs()) };
      return { content: fileContent(uploaded.content, attributes), uploaded };
    };
    const options = { signal: this.#signal, progress, sync: false };
    const uploaded = await this.#files.uploadFile(this.#target.place(path), options);
    if (uploaded.changed) {
      uploaded.release();
      this.#moved(-read, 0);
      throw new Overtaken(`${this.#target.place(path)} was written to while it was read; the next run takes it`);
    }
    this.#moved(0, uploaded.content.newSize);
    // Read again it could be another content than the one whose state is kept: it is left for the next run.
    return { entry: described(uploaded), seen: uploaded.stat };
  }

  async #download(
    path: string,
    stored: FileRecord,
    stat: FileStat | undefined,
    last: SyncRecord | undefined,
  ): Promise<Decided> {
    if (stat !== undefined && (await this.#isAlike(path, stat, stored))) return this.#adopt(path, stat, stored);
    const isFree = stat === undefined || stat.type === "folder" || (await this.#isOld(path, last));
    if (!isFree) return this.#part(path, stat, stored);
    this.#tell("download", path);
    if (this.#options.dryRun === true) return { outcome: undefined };
    return { outcome: await this.#fetch(path, stored, stat) };
  }

  /** Writes what the bucket has over what was seen on the disk. */
  async #fetch(path: string, stored: FileRecord, seen: FileStat | undefined): Promise<SyncRecord | undefined> {
    const check = () => this.#checkSeen(path, seen);
    if (stored.type === "folder") {
      await check();
      await this.#target.ensureFolder(path, { replace: true });
      await this.#target.setAttributes(path, stored);
    } else if (seen?.type === "folder") {
      // It goes when it is empty, which is known only behind all that is in it.
      this.#doomedFolders.push(path);
      this.#blocked.push({ path, record: stored });
      return undefined;
    } else if (stored.type === "link") {
      await this.#target.writeLink(path, await this.#files.open(stored, { signal: this.#signal }), check);
    } else {
      await this.#target.writeFile(path, await this.#files.open(stored, { signal: this.#signal }), check);
    }
    const stat = await this.#parts.fileSystem.stat(this.#target.place(path));
    // Whoever wrote to it in between has given it another time; then the next run compares.
    const isOurs = stat?.type === stored.type && (stored.type !== "file" || stat.size === stored.size);
    if (stat === undefined || !isOurs) return undefined;
    if (stored.type === "file" && !this.#target.hasAttributes(stored, stat)) return undefined;
    return this.#record(path, stat, stored.revision);
  }

  /** Fails unless the file on the disk is as it was seen. */
  async #checkSeen(path: string, seen: FileStat | undefined): Promise<void> {
    const stat = await this.#parts.fileSystem.stat(this.#target.place(path));
    const same = seen === undefined || stat === undefined ? seen === stat : isSame(stat, seen);
    if (!same) throw new Overtaken(`${this.#target.place(path)} has changed meanwhile; the next run looks at it again`);
  }

  /** Whether both sides have the same content. */
  async #isAlike(path: string, stat: FileStat, stored: FileRecord): Promise<boolean> {
    if (stat.type !== stored.type) return false;
    const place = this.#target.place(path);
    if (stored.type === "folder") return (stored.mode ?? stat.mode) === stat.mode;
    if (stored.type === "link") return (await this.#parts.fileSystem.readLink(place)) === stored.target;
    if (stat.size !== stored.size) return false;
    const content = await nameFile(this.#parts, place, await this.#files.settings(this.#signal), this.#signal);
    return !content.changed && isSame(content.stat, stat) && sameContent(content, contentOf(stored.stored.content));
  }

  /** The same content on both sides: the disk gets the attributes that the bucket has. */
  async #adopt(path: string, stat: FileStat, stored: FileRecord): Promise<Decided> {
    // The times of folders are nobody's.
    const modifiedNs = stat.type === "folder" ? this.#target.attributesOf(stored).modifiedNs : undefined;
    if (this.#target.hasAttributes(stored, { ...stat, modifiedNs: modifiedNs ?? stat.modifiedNs })) {
      this.#outcome.sameCount++;
      return { outcome: this.#record(path, stat, stored.revision) };
    }
    this.#tell("download", path);
    if (this.#options.dryRun === true) return { outcome: undefined };
    await this.#checkSeen(path, stat);
    await this.#target.setAttributes(path, stored);
    const now = await this.#parts.fileSystem.stat(this.#target.place(path));
    const isOurs = now !== undefined && now.size === stat.size && this.#target.hasAttributes(stored, now);
    return { outcome: isOurs || now?.type === "folder" ? this.#record(path, now, stored.revision) : undefined };
  }

  async #compare(path: string, stat: FileStat, stored: FileRecord): Promise<Decided> {
    if (stat.type === "folder" && stored.type === "folder") return this.#adopt(path, stat, stored);
    if (await this.#isAlike(path, stat, stored)) return this.#adopt(path, stat, stored);
    return this.#part(path, stat, stored);
  }

  /** Both have changed: one of them gets another name. */
  async #part(path: string, stat: FileStat, stored: FileRecord): Promise<Decided> {
    const { other, isLocal } = await this.#otherPath(path, stat);
    this.#tell("conflict", path, { other });
    if (this.#options.dryRun === true) return { outcome: undefined };
    if (stat.type === "folder") {
      // A folder keeps its name, since all that is in it has it too.
      const [from, to] = [storedPath(this.#prefix, path), storedPath(this.#prefix, other)];
      await this.#files.move(from, to, { ifAbsent: true, signal: this.#signal });
      // At once: who has the file under this name, and finds none in the bucket, would put it there again.
      return this.#upload(path, stat, undefined);
    }
    // One that is there already has its own turn.
    if (isLocal) return { outcome: await this.#fetch(path, stored, stat) };
    await this.#setAside(path, other, stat);
    const seen = await this.#parts.fileSystem.stat(this.#target.place(other));
    if (seen === undefined) throw new Overtaken(`${this.#target.place(other)} has gone meanwhile`);
    const { entry } = await this.#entryOf(other, seen);
    const { committed } = await this.#commits.send({ ...entry, path: storedPath(this.#prefix, other), ifRevision: 0 });
    const record = await this.#fetch(path, stored, stat);
    return { outcome: committed.then(() => record) };
  }

  /** A name for the file in a conflict: one that neither side has, or what a run that was cut off has given it. */
  async #otherPath(path: string, stat: FileStat): Promise<{ other: string; isLocal: boolean }> {
    for (let number = 1; ; number++) {
      const other = conflictPath(path, this.#options.label, number);
      const [local, stored] = await Promise.all([
        this.#parts.fileSystem.stat(this.#target.place(other)),
        this.#files.stat(storedPath(this.#prefix, other), { signal: this.#signal }),
      ]);
      const isLocal = local !== undefined && local.type === "file" && isSame(local, stat);
      if (isLocal || (local === undefined && stored === undefined)) return { other, isLocal };
    }
  }

  /** A second name for what is on the disk: at no moment is it without one. */
  async #setAside(path: string, other: string, stat: FileStat): Promise<void> {
    const { fileSystem } = this.#parts;
    const [place, aside] = [this.#target.place(path), this.#target.place(other)];
    if (stat.type === "link") return fileSystem.makeLink(aside, await fileSystem.readLink(place));
    try {
      await fileSystem.linkFile(place, aside);
    } catch (error) {
      // Not every file system has hard links.
      if (!(error instanceof HoldfastError) || !["denied", "invalid", "unavailable"].includes(error.code)) throw error;
      await fileSystem.rename(place, aside);
      throw new Overtaken(`${place} is now ${aside}; the next run fetches the other one`);
    }
  }

  /** Whether what is on the disk, as it was the last time, is an old version of the bucket. */
  async #isOld(path: string, last: SyncRecord | undefined): Promise<boolean> {
    const where = storedPath(this.#prefix, path);
    return last !== undefined && hadVersion(this.#files, where, last.revision, this.#signal);
  }

  async #deleteStored(path: string, stored: FileRecord): Promise<Decided> {
    this.#tell("deleteStored", path);
    if (this.#options.dryRun === true) return { outcome: undefined };
    const entry = { path: storedPath(this.#prefix, path), content: undefined, ifRevision: stored.revision };
    const { committed } = await this.#commits.send(entry);
    return { outcome: committed.then(() => undefined) };
  }

  async #deleteLocal(path: string, stat: FileStat, last: SyncRecord | undefined): Promise<Decided> {
    if (stat.type === "folder") {
      this.#doomedFolders.push(path);
      return { outcome: undefined };
    }
    if (!(await this.#isOld(path, last))) return this.#upload(path, stat, undefined);
    this.#tell("deleteLocal", path);
    if (this.#options.dryRun === true) return { outcome: undefined };
    await this.#checkSeen(path, stat);
    await this.#parts.fileSystem.remove(this.#target.place(path));
    return { outcome: undefined };
  }

  /** Folders that are to go, now that what was in them is gone, and what takes their place. */
  async #finish(): Promise<void> {
    const { fileSystem } = this.#parts;
    for (const path of this.#doomedFolders.toSorted((a, b) => comparePaths(b, a))) {
      if (this.#options.dryRun === true) this.#tell("deleteLocal", path);
      else {
        try {
          await fileSystem.removeFolder(this.#target.place(path));
          this.#tell("deleteLocal", path);
        } catch (error) {
          // Something new is in it: the next run finds a folder that the bucket does not have.
          if (!(error instanceof HoldfastError) || error.code !== "exists") this.#failed(path, error);
        }
      }
    }
    if (this.#options.dryRun !== true) await this.#target.removeStale(this.#left);
    for (const { path, record } of this.#blocked) {
      if (this.#options.dryRun === true) continue;
      try {
        await this.#fetch(path, record, undefined);
      } catch (error) {
        if (!(error instanceof Overtaken)) this.#failed(path, error);
        else
          this.#tell("skipped", path, {
            error: new HoldfastError("exists", `a folder with something in it is at ${path}`),
          });
      }
    }
  }
}

function sideOf(isThere: boolean, last: SyncRecord | undefined, isSame: boolean): SideState {
  if (!isThere) return last === undefined ? "absent" : "gone";
  return last !== undefined && isSame ? "same" : "changed";
}

/** A second name changes `changedNs` of a file, and nothing that matters here. */
function isSame(a: FileStat, b: FileStat): boolean {
  return sameStat({ ...a, changedNs: 0n }, { ...b, changedNs: 0n }) && a.mode === b.mode;
}

/** Without the top of the tree. */
async function* below<T extends { readonly path: string }>(
  entries: AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  for await (const entry of entries) if (entry.path !== "") yield entry;
}

async function* none(): AsyncGenerator<never, void, undefined> {}
