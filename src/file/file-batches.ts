/**
 * Many names in few commands. Entries are taken as they come, gathered into commands of bounded size, and proposed a few
 * commands at a time, each when the chunks of its entries are durable.
 *
 * A command is refused as a whole. When that is for a condition of one of its entries, it is proposed again in halves, so
 * that the others are not held back; when uploads have ended meanwhile, or the bucket is another one, entries are uploaded
 * again first.
 */
import { abortable, abortError, HoldfastError, pathText, throwIfAborted } from "../base/index.ts";
import type { Init, Revision } from "../base/index.ts";
import type { FileContent, FileOperation } from "../view/index.ts";
import type { BucketAccess } from "./bucket-access.ts";
import type { FileWork } from "./file-work.ts";
import { isConflict, isLost, lostError } from "./file-writing.ts";
import type { Uploaded } from "./file-writing.ts";
import { checkedPath } from "./file-path.ts";
import type { FilePath } from "./file-path.ts";

/** A file to be put, or with `content` undefined to be deleted. */
export interface FileEntry {
  readonly path: FilePath;
  /** See `fileContent`, `folderContent` and `linkContent`. */
  readonly content: Init<typeof FileContent> | undefined;
  /** Only if the current version was written at this revision; 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  /** Where the content's chunks come from; released here. */
  readonly uploaded?: Uploaded | undefined;
  /**
   * Uploads and describes it again, when its upload has ended before it had a name, or the bucket is another one than it was
   * uploaded for. Without it the entry fails.
   */
  readonly again?: (() => Promise<Pick<FileEntry, "content" | "uploaded">>) | undefined;
}

export interface PutManyOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called after every command with the entries that it has written or deleted. */
  readonly committed?: ((entries: readonly FileEntry[], revision: Revision) => void) | undefined;
  /** Called with an entry that was refused, and why; the others go on. Without it the first one ends everything. */
  readonly failed?: ((entry: FileEntry, error: HoldfastError) => void) | undefined;
}

export interface PutManyOutcome {
  /** Entries that were written or deleted. */
  readonly count: number;
  /** Of the newest command; 0 if there was none. */
  readonly revision: number;
}

/** Of one command. Small enough that applying one holds up nobody. */
const batchCountMax = 256;
const batchSizeMax = 1_048_576;
/** What an entry takes beside its path, its metadata and its bytes. */
const entrySize = 160;
/** Commands under way. */
const underWayMax = 4;
/** When no entry comes for so long, those that wait are committed, so that a slow source can be resumed where it stopped. */
const patienceMs = 250;
const attemptCountMax = 3;

export class FileBatches {
  readonly #work: FileWork;
  readonly #access: BucketAccess;
  readonly #options: PutManyOptions;
  /** Aborts with the caller's signal, and with the first failure. */
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #underWay = new Set<Promise<void>>();
  #batch: FileEntry[] = [];
  #batchSize = 0;
  /** Paths of the batch: a command may name each once. */
  readonly #paths = new Set<string>();
  #count = 0;
  #revision = 0;

  constructor(work: FileWork, access: BucketAccess, options: PutManyOptions) {
    this.#work = work;
    this.#access = access;
    this.#options = options;
    const { signal } = options;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
  }

  async run(entries: Iterable<FileEntry> | AsyncIterable<FileEntry>): Promise<PutManyOutcome> {
    try {
      throwIfAborted(this.#signal);
      await this.#take(entries);
      await this.#flush();
      await Promise.all(this.#underWay);
    } catch (error) {
      this.#stop.abort(error);
      await Promise.allSettled(this.#underWay);
      throw error;
    } finally {
      release(this.#batch);
    }
    return { count: this.#count, revision: this.#revision };
  }

  async #take(entries: Iterable<FileEntry> | AsyncIterable<FileEntry>): Promise<void> {
    const iterator = Symbol.asyncIterator in entries ? entries[Symbol.asyncIterator]() : entries[Symbol.iterator]();
    let ended = false;
    try {
      for (;;) {
        const { done, value } = await this.#next(iterator);
        ended = done === true;
        if (ended) return;
        await this.#add(value as FileEntry);
      }
    } finally {
      if (!ended) await iterator.return?.();
    }
  }

  /** The next entry. What waits is committed meanwhile if it takes its time. */
  async #next(iterator: Iterator<FileEntry> | AsyncIterator<FileEntry>): Promise<IteratorResult<FileEntry, unknown>> {
    const next = iterator.next();
    if (!(next instanceof Promise)) {
      throwIfAborted(this.#signal);
      return next;
    }
    const timer = this.#work.parts.env.clock.schedule(patienceMs, () => {
      this.#flush().catch((error: unknown) => this.#stop.abort(error));
    });
    try {
      return await abortable(next, this.#signal);
    } finally {
      timer.cancel();
    }
  }

  async #add(entry: FileEntry): Promise<void> {
    let path: Uint8Array;
    try {
      path = checkedPath(entry.path);
    } catch (error) {
      // Nobody else knows of it.
      entry.uploaded?.release();
      throw error;
    }
    const name = pathText(path);
    const size = entrySize + path.length + contentSize(entry.content);
    const isFull = this.#batch.length >= batchCountMax || this.#batchSize + size > batchSizeMax;
    if (isFull || this.#paths.has(name)) await this.#flush();
    this.#batch.push(entry);
    this.#batchSize += size;
    this.#paths.add(name);
  }

  /** Sends what waits; resolves when there is room for the next. */
  async #flush(): Promise<void> {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#batchSize = 0;
    this.#paths.clear();
    const sending = this.#send(batch).finally(() => {
      release(batch);
      this.#underWay.delete(sending);
    });
    this.#underWay.add(sending);
    // Whoever waits hears of it through the signal.
    sending.catch((error: unknown) => this.#stop.abort(error));
    while (this.#underWay.size >= underWayMax) await abortable(Promise.race(this.#underWay), this.#signal);
  }

  async #send(batch: readonly FileEntry[]): Promise<void> {
    await this.#sync(batch, 1);
  }

  /** Commits when the chunks are durable; those of an upload that may have lost some are uploaded again first. */
  async #sync(batch: readonly FileEntry[], attempt: number): Promise<void> {
    const pending = batch.flatMap(({ uploaded }) => (uploaded?.durable === false ? [uploaded.upload] : []));
    if (pending.length > 0) await this.#work.syncs.sync(this.#signal);
    const lost = new Set(batch.filter(({ uploaded }) => uploaded !== undefined && !this.#isIntact(uploaded)));
    if (lost.size > 0) return this.#again(batch, lost, attempt, lostError(undefined));
    await this.#commit(batch, attempt);
  }

  #isIntact({ durable, upload }: Uploaded): boolean {
    return durable || this.#work.uploads.isIntact(upload);
  }

  async #commit(batch: readonly FileEntry[], attempt: number): Promise<void> {
    try {
      const operations = await Promise.all(batch.map((entry) => this.#operation(entry)));
      const { revision } = await this.#work.propose(operations, this.#signal);
      this.#count += batch.length;
      this.#revision = Math.max(this.#revision, revision);
      this.#options.committed?.(batch, revision);
    } catch (error) {
      if (!(error instanceof HoldfastError) || !isRefusal(error)) throw error;
      await this.#resolve(batch, attempt, error);
    }
  }

  async #operation({ path, content, ifRevision, uploaded }: FileEntry): Promise<Init<typeof FileOperation>> {
    const named = { bucket: this.#access.bucket, path: checkedPath(path), ifRevision };
    if (content === undefined) return { operation: { case: "delete", value: { ...named, prefix: false } } };
    const { upload, bucketRevision } = uploaded ?? { upload: 0n, bucketRevision: 0 };
    const sealed = await this.#access.sealed(content, this.#signal);
    return { operation: { case: "put", value: { ...named, content: sealed, upload, bucketRevision } } };
  }

  /** The command was refused: because of what has to be uploaded again, or of one entry, which is then found by halving. */
  async #resolve(batch: readonly FileEntry[], attempt: number, error: HoldfastError): Promise<void> {
    const lost = await this.#lost(batch, error);
    if (lost.size > 0) return this.#again(batch, lost, attempt, error);
    if (batch.length === 1) return this.#fail(batch[0] as FileEntry, error);
    const middle = Math.ceil(batch.length / 2);
    await this.#commit(batch.slice(0, middle), attempt);
    await this.#commit(batch.slice(middle), attempt);
  }

  /** The entries of the batch whose upload has ended, or which were uploaded for another bucket. */
  async #lost(batch: readonly FileEntry[], error: HoldfastError): Promise<Set<FileEntry>> {
    const uploads = isConflict(error) ? batch.flatMap(({ uploaded }) => uploaded ?? []) : [];
    const ended = new Set<bigint>();
    for (const upload of new Set(uploads.map((one) => one.upload))) {
      if (await isLost(this.#work, upload, this.#signal)) ended.add(upload);
    }
    const stale = new Set<number>();
    for (const revision of new Set(uploads.map((one) => one.bucketRevision))) {
      if (await this.#access.isStale(revision, this.#signal)) stale.add(revision);
    }
    const isGone = ({ upload, bucketRevision }: Uploaded) => ended.has(upload) || stale.has(bucketRevision);
    return new Set(batch.filter(({ uploaded }) => uploaded !== undefined && isGone(uploaded)));
  }

  async #again(
    batch: readonly FileEntry[],
    lost: ReadonlySet<FileEntry>,
    attempt: number,
    error: HoldfastError,
  ): Promise<void> {
    const renewed: FileEntry[] = [];
    const uploads: Uploaded[] = [];
    try {
      for (const entry of batch) {
        if (!lost.has(entry)) {
          renewed.push(entry);
          continue;
        }
        entry.uploaded?.release();
        if (entry.again === undefined || attempt >= attemptCountMax) {
          this.#fail(entry, error);
          continue;
        }
        throwIfAborted(this.#signal);
        const again = await entry.again();
        if (again.uploaded !== undefined) uploads.push(again.uploaded);
        renewed.push({ ...entry, ...again });
      }
      if (renewed.length > 0) await this.#sync(renewed, attempt + 1);
    } finally {
      for (const upload of uploads) upload.release();
    }
  }

  #fail(entry: FileEntry, error: HoldfastError): void {
    if (this.#signal.aborted) throw abortError(this.#signal);
    if (this.#options.failed === undefined) throw error;
    this.#options.failed(entry, error);
  }
}

/** What the store has judged, and not a failure on the way to it. */
function isRefusal({ code, maybe }: HoldfastError): boolean {
  return !maybe && ["conflict", "invalid", "notFound", "exists", "denied"].includes(code);
}

function contentSize(content: FileEntry["content"]): number {
  if (content === undefined) return 0;
  let size = (content.inline?.length ?? 0) + (content.target?.length ?? 0);
  for (const { name = "", value = "" } of content.metadata ?? []) size += 4 + 3 * (name.length + value.length);
  return size;
}

function release(entries: readonly FileEntry[]): void {
  for (const { uploaded } of entries) uploaded?.release();
}
