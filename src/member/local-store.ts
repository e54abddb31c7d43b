/** A store in this process: puts the log, the blobs, the replica and the views together over the doors (storage.ts). */
import { HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { DiskLock, Env, Position } from "../base/index.ts";
import { PackBlobStore, PlainPipeline } from "../blob/index.ts";
import type { BlobStore, ChunkPipeline, ChunkStore } from "../blob/index.ts";
import { FileAccess } from "../file/index.ts";
import type { Buckets, BucketSecret, FileChunks, Files } from "../file/index.ts";
import { Chain } from "../log/index.ts";
import type { Moved, Successor } from "../log/index.ts";
import { verify } from "../tree/index.ts";
import {
  checkedRevision,
  Collector,
  compactRevision,
  Compactor,
  FileKeeper,
  Keys,
  LeaseKeeper,
  Leases,
  LocalFiles,
  LocalKeys,
  LocalLeases,
  LocalSnapshots,
  LocalViews,
  makeViews,
  PastKeys,
  pastTransaction,
  pastViews,
  placeName,
  Replica,
  rootOf,
  runTransaction,
  Scrubber,
  SnapshotKeeper,
  StoreObjects,
} from "../view/index.ts";
import type {
  CollectionOptions,
  CollectionProgress,
  MissingBlob,
  ScrubOptions,
  ScrubProgress,
  Snapshot,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
  Views,
} from "../view/index.ts";
import { IdentityFile } from "./cluster/identity.ts";
import type { Members } from "./cluster/members.ts";
import { belongsToMember } from "./cluster/refusals.ts";
import { SingleMembers } from "./cluster/single-members.ts";
import { checkOpenOptions } from "./open-options.ts";
import type { OpenOptions } from "./open-options.ts";
import { checkedFrom } from "./service.ts";
import type { Collecting, LogRecords, Scrubbing, StoreStatus, VerifyProgress } from "./service.ts";
import { closeStorage, entriesOf, memoryStorage, openFiles } from "./storage.ts";
import type { Storage } from "./storage.ts";
import { successorOf } from "./store-log.ts";
import { storeIdOf } from "./store-id.ts";
import { StoreSnapshots } from "./store-snapshots.ts";
import type { PastStore, Store } from "./store.ts";
import { version } from "./version.ts";

/** Missing blobs that are named in one progress. */
const missingCountMax = 100;

/** What a member of a cluster adds to a store. */
export interface ClusterParts {
  readonly members: Members;
  /** The tree's seed where there is no checkpoint yet. */
  readonly seed: Uint8Array;
  /** The fields of the status that are about the cluster. */
  readonly status: () => Partial<StoreStatus>;
  /** Where the log goes that moves to this address; `invalid` for what is none. */
  readonly successorOf: (log: Chain, address: string) => Successor;
  /** The chunks of the cluster, as this member has them and gets them. */
  readonly chunks: FileChunks;
  /** Gets from another member what is missing or damaged here; says whether it has. */
  readonly repair: (missing: Pick<MissingBlob, "store" | "hash">, signal: AbortSignal) => Promise<boolean>;
}

/** Opens the store on the disk door, or makes one there. `conflict` when another process has it open. */
export async function openStore(env: Env, options: OpenOptions = {}): Promise<LocalStore> {
  checkOpenOptions(options);
  if (options.inMemory === true) return LocalStore.open(env, memoryStorage(env), options);
  if (options.mustExist === true) await checkStoreExists(env);
  const lock = await env.disk.lock();
  try {
    const identity = await new IdentityFile(env).load();
    if (identity !== undefined) throw belongsToMember(identity);
    return await openLocked(env, options, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The same, on a directory whose lock is held and that is known to belong to no member. */
export async function openLocked(env: Env, options: OpenOptions, lock: DiskLock): Promise<LocalStore> {
  return LocalStore.open(env, await openFiles(env, options, lock), options);
}

/** `notFound` where there is neither a store nor a member. */
export async function checkStoreExists(env: Env): Promise<void> {
  if ((await entriesOf(env, "checkpoints")).length > 0) return;
  if ((await new IdentityFile(env).load()) !== undefined) return;
  throw new HoldfastError("notFound", "there is no store in this directory; `holdfast start --data DIR` makes one");
}

export class LocalStore extends StoreObjects implements Store {
  readonly keys: Keys;
  readonly leases: Leases;
  readonly localKeys: LocalKeys;
  readonly localLeases: LocalLeases;
  readonly localFiles: LocalFiles;
  readonly localSnapshots: LocalSnapshots;
  readonly localViews: LocalViews;
  /** The chunks of files: of the cluster, where the store is a member's. */
  readonly chunks: FileChunks;
  readonly buckets: Buckets;
  readonly snapshots: StoreSnapshots;
  readonly replica: Replica;
  readonly views: Views;
  readonly members: Members;
  /** Of the member. */
  readonly name: string;
  readonly #env: Env;
  readonly #cluster: ClusterParts | undefined;
  readonly #storage: Storage;
  readonly #log: Chain;
  readonly #leaseKeeper: LeaseKeeper;
  readonly #compactor: Compactor;
  readonly #fileKeeper: FileKeeper;
  readonly #snapshotKeeper: SnapshotKeeper;
  readonly #collector: Collector;
  readonly #scrubber: Scrubber;
  readonly pipeline: ChunkPipeline;
  readonly #files: FileAccess;
  readonly #openedMs: number;
  readonly #options: OpenOptions;
  #settling: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(
    env: Env,
    storage: Storage,
    options: OpenOptions,
    parts: { log: Chain; replica: Replica; views: Views; leaseKeeper: LeaseKeeper; cluster: ClusterParts | undefined },
  ) {
    const localViews = new LocalViews(parts.replica, parts.views.asked);
    const localLeases = new LocalLeases(parts.replica);
    const leases = new Leases(env, localLeases, parts.views.lease);
    const transaction: LocalStore["transaction"] = (body, how) => this.transaction(body, how);
    super({ env, source: localViews, views: parts.views, leases, transaction });
    this.localViews = localViews;
    this.localLeases = localLeases;
    this.leases = leases;
    this.#env = env;
    this.#options = options;
    this.#storage = storage;
    this.#log = parts.log;
    this.#cluster = parts.cluster;
    this.replica = parts.replica;
    this.views = parts.views;
    this.#leaseKeeper = parts.leaseKeeper;
    this.name = options.name ?? "holdfast";
    this.members = parts.cluster?.members ?? this.#single();
    this.#openedMs = env.clock.monotonicMs();
    this.localKeys = new LocalKeys(env.clock, parts.replica);
    this.keys = new Keys(this.localKeys, parts.views.key);
    this.#compactor = new Compactor(env, parts.replica, parts.views.key, options.historyRevisions ?? 100_000);
    this.localFiles = new LocalFiles(env.clock, parts.replica);
    this.localSnapshots = new LocalSnapshots(parts.replica);
    this.chunks = parts.cluster?.chunks ?? storage.chunks;
    this.pipeline = options.pipeline ?? new PlainPipeline(env);
    this.#files = this.#openFiles();
    this.buckets = this.#files.buckets;
    this.snapshots = this.#openSnapshots();
    this.#fileKeeper = new FileKeeper(env, parts.replica, parts.views.file);
    this.#snapshotKeeper = new SnapshotKeeper(env, parts.replica, parts.views.snapshot);
    const { blobs: pages, chunks } = storage;
    const size = () => sizeOf(pages) + sizeOf(chunks);
    const { replica } = parts;
    const repair = parts.cluster?.repair;
    this.#collector = new Collector(env, { replica, pages, chunks, repair, size }, options.collection);
    this.#scrubber = new Scrubber(env, { replica, pages, chunks, repair }, options.scrubbing);
  }

  #openFiles(): FileAccess {
    const { file: view, lease: leaseView } = this.views;
    const { localFiles: source, localLeases: leases, chunks } = this;
    return new FileAccess({ env: this.#env, source, view, leases, leaseView, chunks, pipeline: this.pipeline });
  }

  #openSnapshots(): StoreSnapshots {
    const { key: keyView, file: fileView, snapshot } = this.views;
    return new StoreSnapshots({ snapshots: this.localSnapshots, files: this.localFiles, keyView, fileView }, snapshot);
  }

  #single(): Members {
    return new SingleMembers(this.name, storeIdOf(this.#env, this.replica.lastCheckpoint.seed));
  }

  /** @internal The storage is the store's from now on, also if this fails: then all but its lock is closed. */
  static async open(env: Env, storage: Storage, options: OpenOptions, cluster?: ClusterParts): Promise<LocalStore> {
    try {
      return await LocalStore.#open(env, storage, options, cluster);
    } catch (error) {
      await closeStorage({ ...storage, lock: undefined });
      throw error;
    }
  }

  static async #open(env: Env, storage: Storage, options: OpenOptions, cluster?: ClusterParts): Promise<LocalStore> {
    const views = makeViews();
    const log = storage.log instanceof Chain ? storage.log : new Chain(storage.log);
    const { blobs, checkpoints } = storage;
    const seed = cluster === undefined ? {} : { seed: cluster.seed };
    const replica = await Replica.open(
      env,
      { log, blobs, checkpoints, fetching: storage.fetching, views: views.all, ...seed },
      options,
    );
    try {
      const leaseKeeper = await LeaseKeeper.start(env, replica, views.lease);
      return new LocalStore(env, storage, options, { log, replica, views, leaseKeeper, cluster });
    } catch (error) {
      await replica.close();
      throw error;
    }
  }

  /** For the other members. */
  get blobs(): BlobStore {
    return this.#storage.blobs;
  }

  /** The chunks that this member itself has. */
  get ownChunks(): ChunkStore {
    return this.#storage.chunks;
  }

  /** A chunk store that takes nothing any more is mended by a restart alone; until then the member lacks what others put. */
  get failed(): Promise<HoldfastError> {
    const { chunks } = this.#storage;
    return chunks instanceof PackBlobStore ? Promise.race([this.replica.failed, chunks.failed]) : this.replica.failed;
  }

  at(revision: number): PastStore {
    const source = pastViews(this.localViews, checkedRevision("the revision", revision));
    const transaction: LocalStore["transaction"] = () => Promise.reject(pastTransaction(revision));
    const parts = { env: this.#env, source, views: this.views, leases: this.leases, transaction };
    return Object.assign(new StoreObjects(parts), {
      keys: new PastKeys(this.localKeys, revision),
      files: (bucket: string, secret?: BucketSecret) => this.#files.past(bucket, revision, secret),
    });
  }

  files(bucket: string, secret?: BucketSecret): Files {
    return this.#files.files(bucket, secret);
  }

  snapshot(name: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<Snapshot> {
    return this.snapshots.create(name, options);
  }

  async *collect(options: CollectionOptions = {}): AsyncGenerator<Collecting, void, undefined> {
    for await (const progress of this.#collector.collect(options)) yield toCollecting(progress);
  }

  async *scrub(options: ScrubOptions = {}): AsyncGenerator<Scrubbing, void, undefined> {
    for await (const progress of this.#scrubber.scrub(options)) yield toScrubbing(progress);
  }

  transaction<T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<T>> {
    const { localKeys: keys, localFiles: files, localViews: source, views } = this;
    const parts = { proposer: this.replica, keys, files, source, views };
    return runTransaction(this.#env, parts, body, options);
  }

  async status(): Promise<StoreStatus> {
    const { replica } = this;
    const { files, blobs } = this.#storage;
    const { tree, lastCheckpoint } = replica;
    const packs = { garbageSize: 0, writtenSize: 0, ...blobs.status() };
    const chunkPacks = { garbageSize: 0, ...this.#storage.chunks.status() };
    return {
      name: this.name,
      version,
      revision: replica.revision,
      compactRevision: await replica.read(compactRevision),
      logTail: this.#log.committed(),
      logStart: this.#log.start(),
      logKind: this.#log.places.at(-1)?.engine.kind ?? "",
      applied: replica.applied,
      timeMs: replica.timeMs,
      keyCount: await this.keys.count({ consistency: "local" }),
      leaseCount: this.#leaseKeeper.count,
      sessionCount: replica.sessionCount,
      watcherCount: this.localKeys.watcherCount,
      checkpointPosition: lastCheckpoint.position,
      checkpointRevision: lastCheckpoint.revision,
      rootHash: lastCheckpoint.rootHash,
      blobSize: packs.blobSize,
      blobGarbageSize: packs.garbageSize,
      blobCount: packs.blobCount,
      blobWrittenSize: packs.writtenSize,
      chunkCount: chunkPacks.blobCount,
      chunkSize: chunkPacks.blobSize,
      chunkGarbageSize: chunkPacks.garbageSize,
      logSize: files?.size ?? 0,
      logWrittenSize: files?.writtenSize ?? 0,
      cacheSize: tree.cacheSize,
      dirtySize: tree.dirtySize,
      uptimeMs: Math.round(this.#env.clock.monotonicMs() - this.#openedMs),
      durability: this.#log.capabilities.durability,
      cluster: "",
      role: "",
      term: 0,
      leader: "",
      memberCount: 1,
      ...this.#cluster?.status(),
    };
  }

  async checkpoint(): Promise<StoreStatus> {
    await this.replica.checkpoint();
    return this.status();
  }

  async moveLog(to: string): Promise<Moved> {
    if (this.#cluster !== undefined) return this.#log.moveTo(this.#cluster.successorOf(this.#log, to));
    if (this.#storage.log instanceof Chain) {
      return this.#log.moveTo(await successorOf(this.#env, this.#options, this.#log, to));
    }
    throw new HoldfastError("invalid", "the log of a store in memory cannot be moved; open it in a directory");
  }

  async *readLog(options: {
    readonly from: number;
    readonly follow?: boolean;
    readonly signal?: AbortSignal;
  }): AsyncGenerator<LogRecords, void, undefined> {
    const { follow = false, signal } = options;
    const from = checkedFrom(options.from);
    const tail = await this.#log.tail();
    if (from > tail)
      throw new HoldfastError("invalid", `position ${from} is behind the log's tail, which is at ${tail}`);
    const end: Position | undefined = follow ? undefined : tail;
    if (end !== undefined && from >= end) return;
    const reading = this.#log.read(from, signal === undefined ? {} : { signal });
    for await (const { position: first, records } of reading) {
      const wanted = end === undefined ? records : records.slice(0, end - first);
      yield { position: first, records: wanted };
      if (end !== undefined && first + records.length >= end) return;
    }
  }

  async *verifyLog(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<VerifyProgress, void, undefined> {
    const { files } = this.#storage;
    let size = 0;
    let count = 0;
    if (files !== undefined) {
      for await (const report of files.verify(options)) {
        size += report.size;
        count += report.count;
        yield { size, count, damages: report.damages, done: false };
      }
    }
    yield { size, count, damages: [], done: true };
  }

  async *verifyBlobs(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<VerifyProgress, void, undefined> {
    const { blobs } = this.#storage;
    let size = 0;
    let count = 0;
    if (blobs instanceof PackBlobStore) {
      for await (const report of blobs.verify(options)) {
        size += report.size;
        count += report.count;
        yield { size, count, damages: report.damages, done: false };
      }
    }
    yield { size, count, damages: [], done: true };
  }

  /** Takes a checkpoint, so that all of the state is in blobs, and follows its root through every page. */
  async *verifyTree(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<VerifyProgress, void, undefined> {
    const record = await this.replica.checkpoint();
    // While it is held, no page that it needs is deleted.
    const held = this.replica.at(record);
    try {
      throwIfAborted(options.signal);
      const report = await verify(this.#env, this.#storage.blobs, rootOf(record));
      const damages = report.problems.map(({ hash, what }) => `tree page ${toHex(hash)}: ${what}`);
      yield { size: report.blobSize, count: report.pageCount, damages, done: true };
    } finally {
      held.release();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** @internal The first part of `close`: finishes what is under way; the log and the blobs are still served. */
  settle(): Promise<void> {
    this.#settling ??= this.#settle();
    return this.#settling;
  }

  async #settle(): Promise<void> {
    this.localKeys.close();
    this.localViews.close();
    await this.#files.close();
    await this.#collector.close();
    await this.#scrubber.close();
    await this.#fileKeeper.close();
    await this.#snapshotKeeper.close();
    await this.#leaseKeeper.close();
    await this.#compactor.close();
    await this.replica.close();
  }

  async #close(): Promise<void> {
    try {
      await this.settle();
      await this.pipeline.close();
    } finally {
      await closeStorage(this.#storage);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Bytes of the records of a store's blobs. */
function sizeOf(blobs: Storage["blobs"]): number {
  return blobs instanceof PackBlobStore ? blobs.status().blobSize : 0;
}

function toCollecting({ phase, missing, kept, ...progress }: CollectionProgress): Collecting {
  const { pages, chunks, missingCount, uploadCount } = progress;
  const shown = missing.slice(0, missingCountMax).map((one) => ({ hash: one.hash, where: whereText(one) }));
  return { phase, done: phase === "done", pages, chunks, missing: shown, missingCount, uploadCount, kept: kept ?? "" };
}

function toScrubbing({ phase, count, size, damages, damageCount, damagedBlobs }: ScrubProgress): Scrubbing {
  const named = damagedBlobs.slice(0, missingCountMax).map((one) => ({
    ...one,
    files: one.files.map((file) => placeName(file)),
    states: [...one.states],
  }));
  return { phase, done: phase === "done", count, size, damages, damageCount, damagedBlobs: named };
}

function whereText({ file, where }: MissingBlob): string {
  return file === undefined ? where : `${placeName(file)}, ${where}`;
}
