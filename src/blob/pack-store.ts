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
import { checkPut } from "./check.ts";
import { Compactor } from "./pack-compactor.ts";
import { recordHeaderSize } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import { openRecord } from "./pack-record.ts";
import { recoverPacks } from "./pack-recovery.ts";
import type { Pack } from "./pack-set.ts";
import type { PackEnv, PackOptions, PackState } from "./pack-state.ts";
import { verifyPacks } from "./pack-verifier.ts";
import type { VerifyOptions, VerifyReport } from "./pack-verifier.ts";
import { PackWriter } from "./pack-writer.ts";
import type { BlobStore, Hash } from "./store.ts";

const packSizeMin = 4_096;
const packSizeDefault = 67_108_864;
const packSizeLimit = 1_073_741_824;
const fileCountDefault = 64;

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

export class PackBlobStore implements BlobStore {
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
    if (!Number.isSafeInteger(packSizeMax) || packSizeMax < packSizeMin || packSizeMax > packSizeLimit) {
      throw new HoldfastError(
        "invalid",
        `packSizeMax is ${packSizeMax}; it must be from ${packSizeMin} to ${packSizeLimit}`,
      );
    }
    if (!Number.isSafeInteger(fileCountMax) || fileCountMax < 1) {
      throw new HoldfastError("invalid", `fileCountMax is ${fileCountMax}; it must be a whole number from 1`);
    }
    const { state, current, owed } = await recoverPacks(env, directory, { packSizeMax, compress, fileCountMax });
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

  /** As the contract says. The caller bounds how many puts it has under way. */
  async put(hash: Hash, bytes: Uint8Array): Promise<void> {
    checkPut(hash, bytes);
    this.#writer.check();
    const { index } = this.#state;
    const slot = index.find(hash);
    if (slot < 0) return this.#writer.put(index.add(hash), hash, bytes, undefined);
    const deletion = this.#deletions.get(slot);
    if (deletion !== undefined) {
      // It was asked for before this put and waits for an earlier put: this one comes after both.
      await deletion;
      return this.put(hash, bytes);
    }
    const pending = this.#writer.pending.get(slot);
    if (pending !== undefined) return pending;
    if (!this.#state.isDamaged(slot)) return undefined;
    const replaced = { pack: index.packOf(slot), offset: index.offsetOf(slot) };
    return this.#writer.put(slot, hash, bytes, replaced);
  }

  async get(hash: Hash): Promise<Uint8Array | undefined> {
    const { index, packs, env } = this.#state;
    for (;;) {
      this.#checkOpen();
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
        const opened = openRecord(env.digest, pack.salt, offset, record, hash);
        if ("bytes" in opened) return opened.bytes;
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
    this.#checkOpen();
    const slot = this.#state.index.find(hash);
    return slot >= 0 && this.#state.index.isPlaced(slot) && !this.#state.isDamaged(slot);
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
      locations.push({ pack: index.packOf(slot), offset: index.offsetOf(slot) });
      this.#state.release(slot);
      index.remove(slot);
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
      this.#checkOpen();
      if (index.isPlaced(slot)) yield { hash: index.hashOf(slot), size: index.rawSizeOf(slot) };
    }
  }

  /** Gives back now all the space that is worth it, instead of in the background. Syncs. */
  async compact(): Promise<void> {
    this.#writer.check();
    await this.#compactor.compact();
  }

  /**
   * Reads everything and reports from time to time. Ends with `cancelled` or `timeout` when `signal` aborts. While the
   * caller thinks about a report its pack is not removed, and `close` may wait: finish the iteration, or leave its loop.
   */
  async *verify(options: VerifyOptions = {}): AsyncIterable<VerifyReport> {
    this.#checkOpen();
    yield* verifyPacks(this.#state, options);
  }

  /** Makes everything durable if that is possible, and closes all files. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#compactor.stop();
    await this.#writer.close();
  }

  #checkOpen(): void {
    if (this.#closing === undefined) return;
    throw new HoldfastError("unavailable", `the pack store ${this.#state.packs.directory} is closed`);
  }
}
