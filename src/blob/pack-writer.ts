/**
 * Everything that is written to the packs goes through here, in one queue: new blobs, blobs that move to another pack,
 * deletions, and what a sync leaves behind.
 *
 * What is asked for while a write is under way joins the next one. A write is one batch: records of blobs, then one
 * record of deletions, then perhaps a synced record; it never spans packs. So of a blob that moves or is replaced, the
 * deletion of the old record stands behind the new record, and a torn batch never keeps only the deletion.
 *
 * 1. One write is in flight at a time, at the end of the current pack.
 * 2. A pack's header and its directory entry are durable before its first record is written.
 * 3. A synced record states a size that a completed sync has covered, never one that its own sync is to cover.
 * 4. After a failed sync, or a failed write other than for want of space, nothing is written any more: what the file
 *    holds is unknown. For want of space the file is cut back to what it was, and the store goes on.
 * 5. Deletions that could not be written are owed: they go with the next batch, and no sync succeeds before.
 */
import { asHoldfastError, assert, deferred, giveWay, HoldfastError } from "../base/index.ts";
import type { DiskFile } from "../base/index.ts";
import { Compressor, layRecords } from "./pack-batch.ts";
import type { EncodedRecord, Layout } from "./pack-batch.ts";
import { PackContents } from "./pack-contents.ts";
import { encodePackHeader, packHeaderSize, packIdSize, recordHeaderSize, recordTypes, saltOf } from "./pack-format.ts";
import type { Location, RecordHeader, RecordType } from "./pack-format.ts";
import { Pack } from "./pack-set.ts";
import { sliceMs } from "./pack-state.ts";
import type { PackState } from "./pack-state.ts";
import type { Hash, StoredBlob } from "./store.ts";

/** Bytes of blobs in one write, unless a single blob is larger. */
const batchSizeMax = 4_194_304;
/** With so many bytes waiting, a write begins without waiting for the end of the turn. */
const eagerSize = 1_048_576;

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

interface PutItem extends Waiter {
  readonly kind: "put";
  readonly slot: number;
  readonly hash: Hash;
  readonly blob: StoredBlob;
  /** Whether it may be compressed before it is written. */
  readonly compressible: boolean;
  /** The damaged record that this one replaces. */
  readonly replaced: Location | undefined;
}

/** A blob's record that is to be written again in the current pack. */
export interface Move {
  readonly from: Location;
  readonly header: RecordHeader;
  readonly body: Uint8Array;
}

interface MoveItem extends Move {
  readonly kind: "move";
  readonly waiter: Waiter | undefined;
}

type Item = PutItem | MoveItem;

interface Prepared extends EncodedRecord {
  readonly item: Item;
}

interface DeletionWaiter extends Waiter {
  /** Whether want of space is a failure; otherwise the deletions stay owed (5). */
  readonly strict: boolean;
}

export class PackWriter {
  /** Puts under way, by slot. */
  readonly pending = new Map<number, Promise<void>>();
  readonly #state: PackState;
  #current: Pack | undefined;
  #failure: HoldfastError | undefined;
  readonly #failed = deferred<HoldfastError>();
  #closed = false;
  #queue: Item[] = [];
  #queueSize = 0;
  #owed: Location[];
  #owedInFlight = false;
  #deletionWaiters: DeletionWaiter[] = [];
  #markerDue = false;
  #scheduled = false;
  #running: Promise<void> | undefined;
  readonly #dirty = new Set<Pack>();
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  /** Index files are written one after another. */
  #sealing: Promise<void> = Promise.resolve();
  readonly #compressor: Compressor | undefined;

  /** `current` is open for writing; `owed` are deletions found missing when the store was opened. */
  constructor(state: PackState, current: Pack | undefined, owed: Location[]) {
    this.#state = state;
    this.#current = current;
    this.#owed = owed;
    this.#compressor = state.compress ? new Compressor(state.env.digest) : undefined;
    if (current === undefined || current.syncedSize <= current.markedSize) return;
    // What was found behind the last synced record has been made durable, but nothing in the pack says so yet.
    this.#markerDue = true;
    this.#wake(0);
  }

  get current(): Pack | undefined {
    return this.#current;
  }

  /** Throws if nothing can be written. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw new HoldfastError("unavailable", `the pack store ${this.#directory} is closed`);
  }

  /**
   * Has the blob of a slot written that has no record, or whose record `replaced` is damaged. `begin` follows: what is
   * put before it joins one write, as far as that takes it.
   */
  put(
    slot: number,
    hash: Hash,
    blob: StoredBlob,
    options: { readonly compressible: boolean; readonly replaced: Location | undefined },
  ): Promise<void> {
    const promise = new Promise<void>((resolve, reject) => {
      this.#enqueue({ kind: "put", slot, hash, blob, ...options, resolve, reject }, blob.bytes.length);
    });
    this.pending.set(slot, promise);
    return promise;
  }

  /** Lets the writing of what has been put begin. */
  begin(): void {
    this.#wake(this.#queueSize);
  }

  /** Waits for the puts under way of these slots, however they end. */
  async settled(slots: readonly number[]): Promise<void> {
    for (const slot of slots) await this.pending.get(slot)?.catch(() => {});
  }

  /** Writes blobs once more that are still where they were; resolves when the index says where they are now. */
  move(moves: readonly Move[]): Promise<void> {
    if (moves.length === 0) return Promise.resolve();
    return new Promise<void>((resolve, reject) => {
      for (const [index, move] of moves.entries()) {
        const waiter = index === moves.length - 1 ? { resolve, reject } : undefined;
        this.#enqueue({ kind: "move", ...move, waiter }, move.body.length);
      }
      this.begin();
    });
  }

  /** Writes that records are deleted. With `strict`, want of space is a failure; otherwise they are owed (5). */
  delete(locations: readonly Location[], strict: boolean): Promise<void> {
    for (const location of locations) this.#owed.push(location);
    return new Promise<void>((resolve, reject) => {
      this.#deletionWaiters.push({ resolve, reject, strict });
      this.#wake(0);
    });
  }

  /** Makes durable what was written before, deletions that are owed included. */
  async sync(): Promise<void> {
    this.check();
    if (this.#owed.length > 0 || this.#owedInFlight) await this.delete([], true);
    await this.#syncFiles();
  }

  /** Makes durable what was written before, whatever is owed. */
  syncFiles(): Promise<void> {
    this.check();
    return this.#syncFiles();
  }

  /** Resolves when the index files of all sealed packs that are durable have been written. */
  sealed(): Promise<void> {
    return this.#sealing;
  }

  /** Seals the current pack, so that the next write begins a new one. */
  async seal(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    this.check();
    this.#sealCurrent();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    while (this.#isBusy) {
      this.#start();
      await this.#running;
    }
    if (this.#failure === undefined) {
      // What cannot be made durable now was not promised to be.
      await this.sync().catch((error: unknown) => this.#warn("closing did not make everything durable", error));
      while (this.#running !== undefined) await this.#running;
    }
    this.#closed = true;
    this.#markerDue = false;
    const pack = this.#current;
    this.#current = undefined;
    if (pack !== undefined && this.#failure === undefined) this.#sealLater(pack);
    await this.#sealing;
    await this.#state.packs.closeAll();
  }

  get #directory(): string {
    return this.#state.packs.directory;
  }

  get #isBusy(): boolean {
    return this.#running !== undefined || this.#scheduled || this.#hasWork;
  }

  get #hasWork(): boolean {
    return this.#queue.length > 0 || this.#deletionWaiters.length > 0 || this.#markerDue;
  }

  #enqueue(item: Item, size: number): void {
    this.#queue.push(item);
    this.#queueSize += size;
  }

  /** Writes at the end of the turn, with all that is asked for until then; at once if that is much already. */
  #wake(size: number): void {
    if (this.#running !== undefined) return;
    if (size >= eagerSize) return this.#start();
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#state.env.clock.defer(() => {
      if (this.#scheduled) this.#start();
    });
  }

  #start(): void {
    this.#scheduled = false;
    // A bug in here is a rejection that nobody handles, which stops the process: never write on after one.
    this.#running ??= this.#run();
  }

  /** While one batch is being written, the next is prepared. */
  async #run(): Promise<void> {
    let writing: Promise<void> | undefined;
    for (;;) {
      if (writing !== undefined && this.#queueSize < eagerSize) {
        await writing;
        writing = undefined;
      }
      if (!this.#hasWork || this.#failure !== undefined) {
        await writing;
        break;
      }
      const prepared = await this.#prepare(this.#take());
      await writing;
      writing = this.#writeBatch(prepared);
    }
    this.#running = undefined;
    if (this.#failure !== undefined) this.#rejectAll(this.#failure);
    else if (this.#hasWork) this.#wake(this.#queueSize);
  }

  #take(): Item[] {
    const sizeMax = Math.min(batchSizeMax, this.#state.packSizeMax);
    let size = 0;
    let count = 0;
    for (const item of this.#queue) {
      const itemSize = item.kind === "put" ? item.blob.bytes.length : item.body.length;
      if (count > 0 && size + itemSize > sizeMax) break;
      size += itemSize;
      count += 1;
    }
    const items = count === this.#queue.length ? this.#queue : this.#queue.slice(0, count);
    this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count);
    this.#queueSize -= size;
    return items;
  }

  async #prepare(items: readonly Item[]): Promise<Prepared[]> {
    const { clock } = this.#state.env;
    const prepared: Prepared[] = [];
    let sliceEndMs = clock.monotonicMs() + sliceMs;
    for (const item of items) {
      if (item.kind === "put") prepared.push(this.#encode(item));
      else prepared.push({ item, header: item.header, body: item.body });
      if (clock.monotonicMs() < sliceEndMs) continue;
      await giveWay(clock);
      sliceEndMs = clock.monotonicMs() + sliceMs;
    }
    return prepared;
  }

  #encode(item: PutItem): Prepared {
    const { hash, blob } = item;
    const { digest } = this.#state.env;
    const small = item.compressible ? this.#compressor?.compress(blob.bytes) : undefined;
    const body = small ?? blob.bytes;
    const compressed = blob.compressed || small !== undefined;
    const type: RecordType = compressed ? recordTypes.zstd : recordTypes.blob;
    const header = { type, bodyCrc: digest.crc32(body), storedSize: body.length, rawSize: blob.size, hash };
    return { item, header, body };
  }

  /** Never rejects: whoever waits for something in the batch is told. */
  async #writeBatch(prepared: readonly Prepared[]): Promise<void> {
    const waiters = this.#deletionWaiters;
    this.#deletionWaiters = [];
    // Of a pack that is gone nothing needs to be deleted.
    const owed = this.#owed.filter((location) => this.#state.packs.get(location.pack) !== undefined);
    this.#owed = [];
    this.#owedInFlight = owed.length > 0;
    let size = owed.length * 8;
    for (const { header } of prepared) size += recordHeaderSize + header.storedSize;
    const markerDue = this.#markerDue;
    this.#markerDue = false;
    let pack: Pack | undefined;
    try {
      if (this.#failure !== undefined) throw this.#failure;
      pack = await this.#packFor(size);
      if (pack === undefined) return resolveAll(waiters);
      assert(pack.file !== undefined && pack.writable, `${pack.path} is not open for writing (1)`);
      // From here to the write nothing waits: what is at its place now still is when the layout is made.
      const records = prepared.filter(({ item }) => item.kind === "put" || this.#isThere(item));
      const deletions = this.#deletionsOf(records, owed);
      const claim = markerDue && pack.syncedSize > pack.markedSize ? pack.syncedSize : 0;
      const layout = layRecords(this.#state.env.digest, pack.salt, pack.size, records, deletions, claim);
      if (layout.buffers.length > 0) await pack.file.write(layout.buffers, pack.size);
      this.#written(pack, records, deletions, claim, layout);
      for (const { item } of prepared) this.#resolve(item);
      resolveAll(waiters);
    } catch (error) {
      await this.#batchFailed(pack, prepared, owed, waiters, error);
    } finally {
      this.#owedInFlight = false;
    }
  }

  #isThere(item: MoveItem): boolean {
    const { index } = this.#state;
    return index.isAt(index.find(item.header.hash), item.from.pack, item.from.offset);
  }

  #deletionsOf(records: readonly Prepared[], owed: readonly Location[]): Location[] {
    const deletions: Location[] = [];
    for (const { item } of records) {
      if (item.kind === "move") deletions.push(item.from);
      else if (item.replaced !== undefined) deletions.push(item.replaced);
    }
    for (const location of owed) deletions.push(location);
    return deletions;
  }

  /** The batch is in the file: the index says so from now on. */
  #written(
    pack: Pack,
    records: readonly Prepared[],
    deletions: readonly Location[],
    claim: number,
    layout: Layout,
  ): void {
    const state = this.#state;
    const { contents } = pack;
    assert(contents !== undefined, `${pack.path} is written to without a list of its contents`);
    state.writtenSize += layout.end - pack.size;
    pack.size = layout.end;
    for (const [number, { item, header }] of records.entries()) {
      const offset = layout.offsets[number] as number;
      contents.add(header.hash, offset, header.storedSize, header.rawSize);
      // Between layout and now a blob that moves may have been deleted, and even put again.
      if (item.kind === "move" && !this.#isThere(item)) {
        this.#owed.push({ pack: pack.number, offset });
        continue;
      }
      const slot = item.kind === "put" ? item.slot : state.index.find(header.hash);
      // Whoever waits for the put is told of it now. What moves was put when it was put.
      if (item.kind === "put") state.index.setEpoch(slot, state.epoch);
      if (item.kind === "move" || item.replaced !== undefined) state.release(slot);
      state.settle(slot, pack.number, offset, header.storedSize, header.rawSize);
    }
    for (const location of deletions) {
      contents.addDeletion(location);
      state.packs.countDeletion(pack, location.pack);
    }
    if (claim > 0) pack.markedSize = claim;
    if (records.length + deletions.length === 0) return;
    pack.dirty = true;
    this.#dirty.add(pack);
  }

  async #batchFailed(
    pack: Pack | undefined,
    prepared: readonly Prepared[],
    owed: Location[],
    waiters: readonly DeletionWaiter[],
    error: unknown,
  ): Promise<void> {
    if (!(error instanceof HoldfastError)) throw error;
    this.#owed = owed.concat(this.#owed);
    let reason = error;
    if (error.code === "exhausted") {
      try {
        // What the failed write has left must go, or the next one would stand behind it.
        if (pack?.file !== undefined) await pack.file.truncate(pack.size);
      } catch (cutError) {
        reason = this.#fail(cutError);
      }
    } else {
      reason = this.#fail(error);
    }
    for (const { item } of prepared) this.#reject(item, reason);
    for (const waiter of waiters) {
      if (waiter.strict || this.#failure !== undefined) waiter.reject(reason);
      else waiter.resolve();
    }
  }

  #resolve(item: Item): void {
    if (item.kind === "move") return item.waiter?.resolve();
    this.pending.delete(item.slot);
    item.resolve();
  }

  #reject(item: Item, error: HoldfastError): void {
    if (item.kind === "move") return item.waiter?.reject(error);
    this.pending.delete(item.slot);
    if (item.replaced === undefined) this.#state.index.remove(item.slot);
    item.reject(error);
  }

  #rejectAll(error: HoldfastError): void {
    const items = this.#queue;
    const waiters = this.#deletionWaiters;
    this.#queue = [];
    this.#queueSize = 0;
    this.#deletionWaiters = [];
    this.#markerDue = false;
    for (const item of items) this.#reject(item, error);
    for (const waiter of waiters) waiter.reject(error);
  }

  /** Resolves, with the reason, when nothing is written any more (4). */
  get failed(): Promise<HoldfastError> {
    return this.#failed.promise;
  }

  /** The store writes nothing any more (4). */
  #fail(cause: unknown): HoldfastError {
    if (this.#failure !== undefined) return this.#failure;
    const { message } = asHoldfastError(cause);
    this.#failure = new HoldfastError(
      "unavailable",
      `the pack store ${this.#directory} takes nothing any more, since a write failed and what the file holds is ` +
        `unknown: ${message}; mend the disk and open the store again`,
      { cause },
    );
    this.#state.env.logger.log("error", "pack store failed", { directory: this.#directory, reason: message });
    this.#failed.resolve(this.#failure);
    return this.#failure;
  }

  #warn(message: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#state.env.logger.log("warn", `pack store: ${message}`, { directory: this.#directory, reason });
  }

  /** The pack that takes a batch of `size` bytes; undefined if there is neither a pack nor anything to write. */
  async #packFor(size: number): Promise<Pack | undefined> {
    let pack = this.#current;
    if (pack !== undefined && size > 0 && pack.size > packHeaderSize && pack.size + size > this.#state.packSizeMax) {
      this.#sealCurrent();
      pack = undefined;
    }
    if (pack !== undefined || size === 0) return pack;
    this.#current = await this.#create();
    return this.#current;
  }

  /** A new pack, its header and its entry durable (2). */
  async #create(): Promise<Pack> {
    const { env, packs } = this.#state;
    const id = env.random.bytes(packIdSize);
    const pack = new Pack(packs.directory, packs.lastNumber + 1, id, saltOf(env.digest, id));
    let file: DiskFile | undefined;
    try {
      file = await env.disk.open(pack.path, "write");
      // An earlier attempt for which there was no space may have left something.
      await file.truncate(0);
      await file.write([encodePackHeader(env.digest, pack)], 0);
      await file.sync();
      await env.disk.syncDirectory(packs.directory);
    } catch (error) {
      await file?.close().catch(() => {});
      await env.disk.remove(pack.path).catch(() => {});
      throw error;
    }
    this.#state.writtenSize += packHeaderSize;
    pack.file = file;
    pack.writable = true;
    pack.contents = new PackContents();
    packs.add(pack);
    return pack;
  }

  #sealCurrent(): void {
    const pack = this.#current;
    if (pack === undefined) return;
    this.#current = undefined;
    pack.sealed = true;
    if (!pack.dirty) return this.#sealLater(pack);
    // Its index file follows the sync. A failure has stopped the store already, and is told to whoever writes next.
    this.#syncFiles().catch(() => {});
  }

  /** One sync at a time; all who come meanwhile share the next one. */
  #syncFiles(): Promise<void> {
    if (this.#syncing === undefined) {
      this.#syncing = this.#syncDirty().finally(() => (this.#syncing = undefined));
      return this.#syncing;
    }
    this.#nextSync ??= this.#syncing
      .catch(() => {})
      .then(() => {
        this.#nextSync = undefined;
        return this.#syncFiles();
      });
    return this.#nextSync;
  }

  async #syncDirty(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    try {
      await Promise.all(dirty.map((pack) => syncPack(pack)));
    } catch (error) {
      throw this.#fail(error);
    }
    for (const pack of dirty) {
      if (pack.sealed && !pack.dirty) this.#sealLater(pack);
      else if (pack === this.#current) this.#markerDue = true;
    }
    if (this.#markerDue) this.#wake(0);
  }

  #sealLater(pack: Pack): void {
    this.#sealing = this.#sealing.then(() => this.#writeIndex(pack));
  }

  /** Writes the pack's index file and stops writing to the pack. Without the file the pack is read at the next open. */
  async #writeIndex(pack: Pack): Promise<void> {
    const { env, packs } = this.#state;
    try {
      if (pack.contents === undefined || pack.file === undefined || this.#failure !== undefined) return;
      // Only a synced record can be left over: everything else has been waited for.
      if (pack.syncedSize < pack.size) await syncPack(pack);
      if (!pack.damaged && pack.damagedCount === 0) {
        const bytes = pack.contents.encode(env.digest, pack.id, pack.size);
        await writeDurably(this.#state, pack.indexPath, bytes);
      }
      pack.contents = undefined;
    } catch (error) {
      this.#warn(`cannot write ${pack.indexPath}`, error);
    }
    packs.stopWriting(pack);
  }
}

async function syncPack(pack: Pack): Promise<void> {
  const { file, size } = pack;
  assert(file !== undefined, `${pack.path} is dirty and closed`);
  pack.dirty = false;
  await file.sync();
  pack.syncedSize = Math.max(pack.syncedSize, size);
}

/** Writes a whole file: afterwards, crash or not, it is there whole or as it was before. */
export async function writeDurably(state: PackState, path: string, bytes: Uint8Array): Promise<void> {
  const { disk } = state.env;
  const newPath = `${path}.new`;
  const file = await disk.open(newPath, "write");
  try {
    await file.truncate(0);
    await file.write([bytes], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(newPath, path);
  await disk.syncDirectory(state.packs.directory);
  state.writtenSize += bytes.length;
}

function resolveAll(waiters: readonly Waiter[]): void {
  for (const waiter of waiters) waiter.resolve();
}
