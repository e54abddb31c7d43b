/**
 * Blobs in memory: for tests, for caches, and for a store that lives as long as its process.
 *
 * Durability: none; `sync` does nothing. With a digest door every get is verified like that of a store on a disk, which
 * finds a caller who changed bytes after giving them away; what was found so is damaged until it is put again.
 */
import { assert, equalBytes, fromHex, giveWay, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { Clock, Env } from "../base/index.ts";
import { checkPut, checkPutStored } from "./check.ts";
import type { CollectableStore, Marking, Swept } from "./collection.ts";
import type { VerifyOptions, VerifyReport } from "./pack-verifier.ts";
import type { ChunkStore, Hash, NamedBlob, StoredBlob } from "./store.ts";

/** Blobs looked at in one slice of a sweep. */
const sliceCount = 1_024;

interface Entry {
  blob: StoredBlob;
  epoch: number;
  /** The marking that has marked it. */
  marking: MemoryMarking | undefined;
  damaged: boolean;
}

export class MemoryBlobStore implements ChunkStore, CollectableStore {
  readonly #digest: Env["digest"] | undefined;
  readonly #clock: Clock | undefined;
  /** By the hash in hexadecimal digits. */
  readonly #blobs = new Map<string, Entry>();
  #size = 0;
  #epoch = 1;
  #marking: MemoryMarking | undefined;
  #closed = false;

  /** Without a digest nothing is verified, and what was put compressed can only be had so; without a clock a sweep does not give way. */
  constructor(env: Partial<Pick<Env, "digest" | "clock">> = {}) {
    this.#digest = env.digest;
    this.#clock = env.clock;
  }

  /** Number of blobs, and the bytes of them all as they are kept. */
  status(): { readonly blobCount: number; readonly blobSize: number } {
    return { blobCount: this.#blobs.size, blobSize: this.#size };
  }

  /** Reads everything, as `PackBlobStore.verify` does; memory has no places, so damage is named by its blob. */
  async *verify({ signal }: VerifyOptions = {}): AsyncGenerator<VerifyReport, void, undefined> {
    let count = 0;
    let size = 0;
    const damagedBlobs: Hash[] = [];
    for (const [name, { blob }] of this.#blobs) {
      throwIfAborted(signal);
      try {
        await this.get(fromHex(name));
        count++;
        size += blob.bytes.length;
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== "corrupt") throw error;
        damagedBlobs.push(fromHex(name));
      }
    }
    yield {
      count,
      size,
      damages: damagedBlobs.map((hash) => `blob ${toHex(hash)} in memory is damaged`),
      damagedBlobs,
    };
  }

  async put(hash: Hash, bytes: Uint8Array): Promise<void> {
    checkPut(hash, bytes);
    this.#put(hash, { size: bytes.length, compressed: false, bytes });
  }

  async putStored(blobs: readonly NamedBlob[]): Promise<void> {
    for (const named of blobs) checkPutStored(named);
    for (const { hash, blob } of blobs) this.#put(hash, blob);
  }

  #put(hash: Hash, blob: StoredBlob): void {
    this.#checkOpen();
    const name = toHex(hash);
    const entry = this.#blobs.get(name);
    if (entry?.damaged === false) {
      entry.epoch = this.#epoch;
      return;
    }
    this.#size += blob.bytes.length - (entry?.blob.bytes.length ?? 0);
    this.#blobs.set(name, { blob, epoch: this.#epoch, marking: undefined, damaged: false });
  }

  /** The array is the caller's. */
  async get(hash: Hash): Promise<Uint8Array | undefined> {
    this.#checkOpen();
    const entry = this.#blobs.get(toHex(hash));
    if (entry === undefined) return undefined;
    const { compressed, size, bytes } = entry.blob;
    const content = compressed ? this.#decompress(hash, entry) : bytes;
    const damaged =
      content === undefined ||
      content.length !== size ||
      (this.#digest !== undefined && !equalBytes(this.#digest.sha256(content), hash));
    if (damaged) {
      entry.damaged = true;
      throw damagedError(hash);
    }
    return compressed ? content : content.slice();
  }

  #decompress(hash: Hash, { blob }: Entry): Uint8Array | undefined {
    if (this.#digest === undefined) {
      throw new HoldfastError("invalid", `blob ${toHex(hash)} is compressed, and this store was made without a digest`);
    }
    try {
      return this.#digest.decompress(blob.bytes, blob.size);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "corrupt") return undefined;
      throw error;
    }
  }

  /** There is no checksum in memory: only what `get` has found damaged is known to be. The array is the caller's. */
  async getStored(hash: Hash): Promise<StoredBlob | undefined> {
    this.#checkOpen();
    const entry = this.#blobs.get(toHex(hash));
    if (entry?.damaged === true) throw damagedError(hash);
    return entry === undefined ? undefined : { ...entry.blob, bytes: entry.blob.bytes.slice() };
  }

  async has(hash: Hash): Promise<boolean> {
    this.#checkOpen();
    return this.#blobs.get(toHex(hash))?.damaged === false;
  }

  async touch(hashes: readonly Hash[]): Promise<readonly boolean[]> {
    this.#checkOpen();
    return hashes.map((hash) => {
      const entry = this.#blobs.get(toHex(hash));
      if (entry?.damaged !== false) return false;
      entry.epoch = this.#epoch;
      return true;
    });
  }

  async delete(hashes: readonly Hash[]): Promise<void> {
    this.#checkOpen();
    for (const hash of hashes) this.#delete(toHex(hash));
  }

  #delete(name: string): void {
    this.#size -= this.#blobs.get(name)?.blob.bytes.length ?? 0;
    this.#blobs.delete(name);
  }

  async sync(): Promise<void> {
    this.#checkOpen();
  }

  async *list(): AsyncIterable<{ readonly hash: Hash; readonly size: number }> {
    this.#checkOpen();
    // A map iterates in the order of insertion and bears changes meanwhile.
    for (const [name, { blob }] of this.#blobs) yield { hash: fromHex(name), size: blob.size };
  }

  get epoch(): number {
    return this.#epoch;
  }

  beginEpoch(): number {
    this.#epoch += 1;
    return this.#epoch;
  }

  startMarking(): Marking {
    this.#checkOpen();
    assert(this.#marking === undefined, "a marking begins while another is under way");
    const marking = new MemoryMarking({
      clock: this.#clock,
      blobs: this.#blobs,
      epoch: () => this.#epoch,
      delete: (name) => this.#delete(name),
      checkUse: () => {
        assert(this.#marking === marking, "a marking is used after its end");
        this.#checkOpen();
      },
      end: () => {
        if (this.#marking === marking) this.#marking = undefined;
      },
    });
    this.#marking = marking;
    return marking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#blobs.clear();
    this.#size = 0;
  }

  #checkOpen(): void {
    if (this.#closed) throw new HoldfastError("unavailable", "the blob store in memory is closed");
  }
}

/** What a marking needs of its store. */
interface Marked {
  readonly clock: Clock | undefined;
  readonly blobs: ReadonlyMap<string, Entry>;
  epoch(): number;
  delete(name: string): void;
  checkUse(): void;
  end(): void;
}

class MemoryMarking implements Marking {
  readonly #store: Marked;

  constructor(store: Marked) {
    this.#store = store;
  }

  /** A damaged blob is marked too, so that it is not swept: that it is needed and damaged must not be forgotten. */
  mark(hash: Hash): "new" | "known" | "absent" {
    this.#store.checkUse();
    const entry = this.#store.blobs.get(toHex(hash));
    if (entry === undefined) return "absent";
    const known = entry.marking === this;
    entry.marking = this;
    if (entry.damaged) return "absent";
    return known ? "known" : "new";
  }

  async *sweep(options: {
    readonly before: number;
    readonly dryRun?: boolean | undefined;
    readonly signal?: AbortSignal | undefined;
  }): AsyncGenerator<Swept, void, undefined> {
    const { before, dryRun = false, signal } = options;
    const store = this.#store;
    assert(before <= store.epoch(), `a sweep below epoch ${before} is asked for in epoch ${store.epoch()}`);
    let [seen, count, size] = [0, 0, 0];
    throwIfAborted(signal);
    store.checkUse();
    // What comes meanwhile is of this epoch or a later one.
    for (const [name, entry] of store.blobs) {
      if (entry.marking !== this && entry.epoch < before) {
        count += 1;
        size += entry.blob.bytes.length;
        if (!dryRun) store.delete(name);
      }
      if (++seen % sliceCount > 0) continue;
      if (count > 0) yield { count, size };
      [count, size] = [0, 0];
      if (store.clock !== undefined) await giveWay(store.clock);
      throwIfAborted(signal);
      store.checkUse();
    }
    if (count > 0) yield { count, size };
  }

  end(): void {
    this.#store.end();
  }
}

function damagedError(hash: Hash): HoldfastError {
  return new HoldfastError(
    "corrupt",
    `blob ${toHex(hash)} in memory is not what was put: somebody changed its bytes, which the store owns since the put`,
  );
}
