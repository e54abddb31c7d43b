/**
 * A store in this process: puts the log, the blobs, the replica and the views together over the doors.
 *
 * In the data directory: `log/` the journal, `blobs/` the packs, `checkpoints/`, and the lock.
 */
import { HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { DiskLock, Env, Position } from "../base/index.ts";
import { MemoryBlobStore, PackBlobStore } from "../blob/index.ts";
import { Chain, FileEngine, MemoryEngine } from "../log/index.ts";
import { verify } from "../tree/index.ts";
import {
  checkedRevision,
  compactRevision,
  Compactor,
  DiskCheckpoints,
  Keys,
  LeaseKeeper,
  Leases,
  LocalKeys,
  LocalLeases,
  makeViews,
  MemoryCheckpoints,
  PastKeys,
  Replica,
  rootOf,
  runTransaction,
} from "../view/index.ts";
import type {
  CheckpointStore,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
  Views,
} from "../view/index.ts";
import { checkOpenOptions } from "./open-options.ts";
import type { OpenOptions } from "./open-options.ts";
import { checkedFrom } from "./service.ts";
import type { LogRecords, StoreStatus, VerifyProgress } from "./service.ts";
import type { PastStore, Store } from "./store.ts";
import { version } from "./version.ts";

/** What lies under a replica. */
interface Storage {
  readonly log: FileEngine | MemoryEngine;
  readonly blobs: PackBlobStore | MemoryBlobStore;
  readonly checkpoints: CheckpointStore;
  readonly lock: DiskLock | undefined;
}

/** Opens the store on the disk door, or makes one there. `conflict` when another process has it open. */
export async function openStore(env: Env, options: OpenOptions = {}): Promise<LocalStore> {
  checkOpenOptions(options);
  const storage = await openStorage(env, options);
  try {
    return await LocalStore.open(env, storage, options);
  } catch (error) {
    await closeStorage(storage);
    throw error;
  }
}

async function openStorage(env: Env, options: OpenOptions): Promise<Storage> {
  if (options.inMemory === true) {
    const blobs = new MemoryBlobStore(env);
    return { log: new MemoryEngine(), blobs, checkpoints: new MemoryCheckpoints(), lock: undefined };
  }
  if (options.mustExist === true) await checkExists(env);
  const lock = await env.disk.lock();
  const opened: { close(): Promise<void> }[] = [];
  try {
    const blobs = await PackBlobStore.open(
      env,
      "blobs",
      options.packSizeMax === undefined ? {} : { packSizeMax: options.packSizeMax },
    );
    opened.push(blobs);
    const log = await FileEngine.open(env, "log", segmentSizes(options));
    return { log, blobs, checkpoints: new DiskCheckpoints(env, "checkpoints"), lock };
  } catch (error) {
    for (const part of opened) await part.close();
    await lock.release();
    throw error;
  }
}

function segmentSizes({ segmentSizeMin, segmentSizeMax }: OpenOptions): {
  segmentSizeMin?: number;
  segmentSizeMax?: number;
} {
  return {
    ...(segmentSizeMin !== undefined && { segmentSizeMin }),
    ...(segmentSizeMax !== undefined && { segmentSizeMax }),
  };
}

async function checkExists(env: Env): Promise<void> {
  try {
    await env.disk.list("checkpoints");
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    throw new HoldfastError("notFound", "there is no store in this directory; `holdfast start --data DIR` makes one");
  }
}

/** In the order in which they depend on each other. */
async function closeStorage({ log, blobs, lock }: Storage): Promise<void> {
  try {
    await log.close();
  } finally {
    try {
      await blobs.close();
    } finally {
      await lock?.release();
    }
  }
}

export class LocalStore implements Store {
  readonly keys: Keys;
  readonly leases: Leases;
  readonly localKeys: LocalKeys;
  readonly localLeases: LocalLeases;
  readonly replica: Replica;
  readonly views: Views;
  readonly #env: Env;
  readonly #storage: Storage;
  readonly #log: Chain;
  readonly #leaseKeeper: LeaseKeeper;
  readonly #compactor: Compactor;
  readonly #name: string;
  readonly #openedMs: number;
  #closing: Promise<void> | undefined;

  private constructor(
    env: Env,
    storage: Storage,
    options: OpenOptions,
    parts: { log: Chain; replica: Replica; views: Views; leaseKeeper: LeaseKeeper },
  ) {
    this.#env = env;
    this.#storage = storage;
    this.#log = parts.log;
    this.replica = parts.replica;
    this.views = parts.views;
    this.#leaseKeeper = parts.leaseKeeper;
    this.#name = options.name ?? "holdfast";
    this.#openedMs = env.clock.monotonicMs();
    this.localKeys = new LocalKeys(env.clock, parts.replica);
    this.localLeases = new LocalLeases(parts.replica);
    this.keys = new Keys(this.localKeys, parts.views.key);
    this.leases = new Leases(env, this.localLeases, parts.views.lease);
    this.#compactor = new Compactor(env, parts.replica, parts.views.key, options.historyRevisions ?? 100_000);
  }

  /** @internal */
  static async open(env: Env, storage: Storage, options: OpenOptions): Promise<LocalStore> {
    const views = makeViews();
    const log = new Chain(storage.log);
    const { blobs, checkpoints } = storage;
    const replica = await Replica.open(env, { log, blobs, checkpoints, views: views.all }, options);
    try {
      const leaseKeeper = await LeaseKeeper.start(env, replica, views.lease);
      return new LocalStore(env, storage, options, { log, replica, views, leaseKeeper });
    } catch (error) {
      await replica.close();
      throw error;
    }
  }

  get failed(): Promise<HoldfastError> {
    return this.replica.failed;
  }

  at(revision: number): PastStore {
    return { keys: new PastKeys(this.localKeys, checkedRevision("the revision", revision)) };
  }

  transaction<T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<T>> {
    const parts = { proposer: this.replica, keys: this.localKeys, keyView: this.views.key };
    return runTransaction(this.#env, parts, body, options);
  }

  async status(): Promise<StoreStatus> {
    const { replica } = this;
    const { log, blobs } = this.#storage;
    const { tree, lastCheckpoint } = replica;
    const packs = { garbageSize: 0, writtenSize: 0, ...blobs.status() };
    return {
      name: this.#name,
      version,
      revision: replica.revision,
      compactRevision: await replica.read(compactRevision),
      logTail: await this.#log.tail(),
      logStart: this.#log.start(),
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
      logSize: log instanceof FileEngine ? log.size : 0,
      logWrittenSize: log instanceof FileEngine ? log.writtenSize : 0,
      cacheSize: tree.cacheSize,
      dirtySize: tree.dirtySize,
      uptimeMs: Math.round(this.#env.clock.monotonicMs() - this.#openedMs),
      durability: this.#log.capabilities.durability,
    };
  }

  async checkpoint(): Promise<StoreStatus> {
    await this.replica.checkpoint();
    return this.status();
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
    const { log } = this.#storage;
    let size = 0;
    let count = 0;
    if (log instanceof FileEngine) {
      for await (const report of log.verify(options)) {
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
    const held = this.replica.tree.at(rootOf(record));
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

  async #close(): Promise<void> {
    this.localKeys.close();
    await this.#leaseKeeper.close();
    await this.#compactor.close();
    await this.replica.close();
    await closeStorage(this.#storage);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
