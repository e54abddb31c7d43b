/**
 * Blobs in packs: append-only files of records, with an index of all blobs in memory (`docs/blob.md`; the formats are in
 * `docs/format.md`, "Packs").
 *
 * Files in the directory: `00000001.pack`, … and beside each sealed pack its `00000001.index`. One pack, the newest,
 * is written to.
 *
 * 1. What is served has the hash that was asked for; a record that does not is `corrupt`, by file and offset.
 * 2. A blob whose put resolved before a completed sync is there after a crash, unless it was deleted.
 * 3. After a failed write or sync the store is read-only until it is opened again (`unavailable`). A full disk is no
 *    such failure: that put fails with `exhausted`, and reads and deletes go on.
 * 4. A record known to be damaged does not count as the blob: `has` denies it, and a put writes it anew.
 */
import { deferred, HoldfastError, toHex } from "../base/index.ts";
import { checkPut, checkPutStored } from "./check.ts";
import type { CollectableStore, Marking } from "./collection.ts";
import { checkRate } from "./pace.ts";
import { Compactor } from "./pack-compactor.ts";
import { recordHeaderSize } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import { PackMarking } from "./pack-marking.ts";
import { openRecord, openStored } from "./pack-record.ts";
import { recoverPacks } from "./pack-recovery.ts";
import type { Pack } from "./pack-set.ts";
import type { PackEnv, PackOptions, PackState } from "./pack-state.ts";
import { verifyPacks } from "./pack-verifier.ts";
import type { VerifyOptions, VerifyReport } from "./pack-verifier.ts";
import { PackWriter } from "./pack-writer.ts";
import type { ChunkStore, Hash, NamedBlob, StoredBlob } from "./store.ts";

const packSizeMin = 4_096;
const packSizeDefault = 67_108_864;
const packSizeLimit = 1_073_741_824;
const fileCountDefault = 64;
const compactionRateDefault = 67_108_864;

export interface PackStatus {
  readonly blobCount: number;
  /** Bytes that the records of the blobs take on the disk. */
  readonly blobSize: number;
  /** Bytes in packs that compaction could give back. */
  readonly garbageSize: number;
  readonly packCount: number;
  /** Bytes written to packs and index files since the store was opened. */
  readonly writtenSize: number;
}

export class PackBlobStore implements ChunkStore, CollectableStore {
  readonly #state: PackState;
  readonly #writer: PackWriter;
  readonly #compactor: Compactor;
  /** Deletions that wait for puts under way, by slot; each resolves when the blob is forgotten. */
  readonly #deletions = new Map<number, Promise<void>>();
  #closing: Promise<void> | undefined;

  private constructor(state: PackState, writer: PackWriter) {
    this.#state = state;
    this.#writer = writer;
    this.#compactor = new Compactor(state, writer);
  }

  /**
   * Opens the store in `directory` of the disk, which is made if it is missing. The caller holds the lock of the disk.
   * Damage does not prevent opening: it is logged, and told by `get` and `verify`.
   */
  static async open(env: PackEnv, directory: string, options: PackOptions = {}): Promise<PackBlobStore> {
    const { packSizeMax = packSizeDefault, compress = true, fileCountMax = fileCountDefault } = options;
    const { compactionRate = compactionRateDefault } = options;
    if (!Number.isSafeInteger(packSizeMax) || packSizeMax < packSizeMin || packSizeMax > packSizeLimit) {
      throw new HoldfastError(
        "invalid",
        `packSizeMax is ${packSizeMax}; it must be from ${packSizeMin} to ${packSizeLimit}`,
      );
    }
    if (!Number.isSafeInteger(fileCountMax) || fileCountMax < 1) {
      throw new HoldfastError("invalid", `fileCountMax is ${fileCountMax}; it must be a whole number from 1`);
    }
    checkRate("compactionRate", compactionRate);
    const all = { packSizeMax, compress, fileCountMax, compactionRate };
    const { state, current, owed } = await recoverPacks(env, directory, all);
    return new PackBlobStore(state, new PackWriter(state, current, owed));
  }

  status(): PackStatus {
    let size = 0;
    let blobSize = 0;
    let usedSize = 0;
    for (const pack of this.#state.packs.all()) {
      size += pack.size;
      blobSize += pack.liveSize;
      usedSize += pack.usedSize;
    }
    return {
      blobCount: this.#state.index.count,
      blobSize,
      garbageSize: size - usedSize,
      packCount: this.#state.packs.count,
      writtenSize: this.#state.writtenSize,
    };
  }

  /** Resolves, with the reason, when the store has become read-only (3). */
  get failed(): Promise<HoldfastError> {
    return this.#writer.failed;
  }

  /** As the contract says. The caller bounds how many puts it has under way. */
  async put(hash: Hash, bytes: Uint8Array): Promise<void> {
    checkPut(hash, bytes);
    const done = this.#put(hash, { size: bytes.length, compressed: false, bytes }, true);
    this.#writer.begin();
    return done;
  }

  /** As the contract says, in one write as far as they fit one. When some cannot be kept, others may be there. */
  async putStored(blobs: readonly NamedBlob[]): Promise<void> {
    for (const named of blobs) checkPutStored(named);
    const all = blobs.map(({ hash, blob }) => this.#put(hash, blob, false));
    this.#writer.begin();
    await Promise.all(all);
  }

  async #put(hash: Hash, blob: StoredBlob, compressible: boolean): Promise<void> {
    this.#writer.check();
    const { index, epoch } = this.#state;
    const slot = index.find(hash);
    if (slot < 0) return this.#writer.put(this.#state.addSlot(hash), hash, blob, { compressible, replaced: undefined });
    const deletion = this.#deletions.get(slot);
    if (deletion !== undefined) {
      // It was asked for before this put and waits for an earlier put: this one comes after both.
      await deletion;
      const done = this.#put(hash, blob, compressible);
      this.#writer.begin();
      return done;
    }
    const pending = this.#writer.pending.get(slot);
    if (pending !== undefined) return pending;
    index.setEpoch(slot, epoch);
    if (!this.#state.isDamaged(slot)) return undefined;
    const replaced = { pack: index.packOf(slot), offset: index.offsetOf(slot) };
    return this.#writer.put(slot, hash, blob, { compressible, replaced });
  }

  async get(hash: Hash): Promise<Uint8Array | undefined> {
    const { digest } = this.#state.env;
    const found = await this.#read(hash, (pack, offset, record) => openRecord(digest, pack.salt, offset, record, hash));
    return found?.bytes;
  }

  async getStored(hash: Hash): Promise<StoredBlob | undefined> {
    const { digest } = this.#state.env;
    const found = await this.#read(hash, (pack, offset, record) => {
      // Its checksums may be right all the same: only the content is not what its name says.
      if (this.#state.isDamagedAt(pack.number, offset)) return { damage: "it was found so before" };
      return openStored(digest, pack.salt, offset, record, hash);
    });
    return found?.blob;
  }

  /** What `open` makes of the blob's record; undefined if there is none. */
  async #read<T extends object>(
    hash: Hash,
    open: (pack: Pack, offset: number, record: Uint8Array) => T | { readonly damage: string },
  ): Promise<T | undefined> {
    const { index, packs } = this.#state;
    for (;;) {
      this.#state.checkOpen();
      const slot = index.find(hash);
      if (slot < 0) return undefined;
      const pending = this.#writer.pending.get(slot);
      if (pending !== undefined) {
        await pending.catch(() => {});
        continue;
      }
      const pack = packs.get(index.packOf(slot)) as Pack; // Every record is in a pack of the set.
      const offset = index.offsetOf(slot);
      const size = recordHeaderSize + index.storedSizeOf(slot);
      let damage: string;
      try {
        const record = await packs.use(pack, (file) => file.read(offset, size));
        const opened = open(pack, offset, record);
        if (!("damage" in opened)) return opened;
        damage = opened.damage;
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
        damage = "its pack is missing";
      }
      // It may have been deleted meanwhile, or repaired by a put.
      if (!index.isAt(index.find(hash), pack.number, offset)) continue;
      this.#state.markDamaged(pack.number, offset);
      throw new HoldfastError(
        "corrupt",
        `blob ${toHex(hash)} in ${this.#state.placeName(pack.number, offset)} is damaged: ${damage}; ` +
          "put it again from another copy, or restore the file",
      );
    }
  }

  async has(hash: Hash): Promise<boolean> {
    this.#state.checkOpen();
    return this.#isSound(this.#state.index.find(hash));
  }

  /** Waits for puts and deletions of these blobs that are under way; then all are looked at in one turn. */
  async touch(hashes: readonly Hash[]): Promise<readonly boolean[]> {
    const { index } = this.#state;
    this.#state.checkOpen();
    for (let waited = true; waited;) {
      waited = false;
      for (const hash of hashes) {
        const underWay = this.#underWay(index.find(hash));
        if (underWay === undefined) continue;
        await underWay.catch(() => {});
        this.#state.checkOpen();
        waited = true;
      }
    }
    return hashes.map((hash) => {
      const slot = index.find(hash);
      const there = this.#isSound(slot);
      if (there) index.setEpoch(slot, this.#state.epoch);
      return there;
    });
  }

  #isSound(slot: number): boolean {
    return slot >= 0 && this.#state.index.isPlaced(slot) && !this.#state.isDamaged(slot);
  }

  /** What a slot waits for. */
  #underWay(slot: number): Promise<void> | undefined {
    return slot < 0 ? undefined : (this.#deletions.get(slot) ?? this.#writer.pending.get(slot));
  }

  get epoch(): number {
    return this.#state.epoch;
  }

  beginEpoch(): number {
    this.#state.epoch += 1;
    return this.#state.epoch;
  }

  startMarking(): Marking {
    this.#state.checkOpen();
    return new PackMarking(this.#state, this.#writer, () => this.#compactor.start());
  }

  /** Resolves also when the disk is too full to note the deletion; then `sync` fails with `exhausted` until it is. */
  async delete(hashes: readonly Hash[]): Promise<void> {
    this.#writer.check();
    const { index } = this.#state;
    const slots = hashes.map((hash) => index.find(hash)).filter((slot) => this.#writer.pending.has(slot));
    let locations: Location[];
    if (slots.length === 0) {
      locations = this.#forget(hashes);
    } else {
      const forgotten = deferred<void>();
      for (const slot of slots) this.#deletions.set(slot, forgotten.promise);
      await this.#writer.settled(slots);
      for (const slot of slots) if (this.#deletions.get(slot) === forgotten.promise) this.#deletions.delete(slot);
      locations = this.#forget(hashes);
      forgotten.resolve();
      this.#writer.check();
    }
    if (locations.length === 0) return;
    await this.#writer.delete(locations, false);
    this.#compactor.start();
  }

  /** Takes blobs out of the index; gives the places of their records. */
  #forget(hashes: readonly Hash[]): Location[] {
    const { index } = this.#state;
    const locations: Location[] = [];
    for (const hash of hashes) {
      const slot = index.find(hash);
      // A put that was asked for after this deletion stays.
      if (slot < 0 || this.#writer.pending.has(slot)) continue;
      locations.push(this.#state.forget(slot));
    }
    return locations;
  }

  async sync(): Promise<void> {
    await this.#writer.sync();
    this.#compactor.start();
  }

  async *list(): AsyncIterable<{ readonly hash: Hash; readonly size: number }> {
    const { index } = this.#state;
    for (let slot = 0; slot < index.slotCount; slot++) {
      this.#state.checkOpen();
      if (index.isPlaced(slot)) yield { hash: index.hashOf(slot), size: index.rawSizeOf(slot) };
    }
  }

  /** Gives back now all the space that is worth it, instead of in the background. Syncs. */
  async compact(): Promise<void> {
    this.#writer.check();
    await this.#compactor.compact();
  }

  /**
   * Reads everything that there is at the beginning and reports from time to time, while puts, deletions and compaction
   * go on; what they write meanwhile may be left to the next time. Ends with `cancelled` or `timeout` when `signal`
   * aborts, and with `unavailable` when the store is closed.
   */
  async *verify(options: VerifyOptions = {}): AsyncIterable<VerifyReport> {
    checkRate("rate", options.rate ?? Number.POSITIVE_INFINITY);
    this.#state.checkOpen();
    yield* verifyPacks(this.#state, options);
  }

  /** Makes everything durable if that is possible, and closes all files. */
  close(): Promise<void> {
    this.#state.closing = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#compactor.stop();
    await this.#writer.close();
  }
}
