/**
 * Reads every byte of the packs and index files and says what cannot be read, by file and offset, and which blobs are
 * damaged, by their hashes. Blobs are checked against their hashes. What it finds damaged is known from then on: `has`
 * denies it, and a put writes it anew.
 *
 * 1. Between two reads it holds no file: packs are compacted and removed, and the store is closed, as if nobody read.
 *    What was in a pack that is removed meanwhile has been read and checked by whoever moved it.
 * 2. Every round names every damaged blob again, until it is put anew or deleted.
 */
import { giveWay, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { DiskFile } from "../base/index.ts";
import { Pace } from "./pace.ts";
import { decodeIndex } from "./pack-contents.ts";
import { isPackHeaderIntact, packHeaderSize, recordTypes } from "./pack-format.ts";
import { openBody } from "./pack-record.ts";
import { scanPack } from "./pack-scan.ts";
import type { ScanItem } from "./pack-scan.ts";
import type { Pack } from "./pack-set.ts";
import { sliceMs } from "./pack-state.ts";
import type { PackState } from "./pack-state.ts";
import type { Hash } from "./store.ts";

/** What was found since the last report. */
export interface VerifyReport {
  /** Blobs that were read and are right. */
  readonly count: number;
  /** Bytes read. */
  readonly size: number;
  /** Each names a file, an offset and what is wrong. */
  readonly damages: string[];
  /** The blobs that cannot be read, each at its place among the damages. */
  readonly damagedBlobs: Hash[];
}

/** A report at least after so many bytes, so many damages, or so long. */
const reportSize = 16_777_216;
const reportDamageCount = 256;
const reportMs = 1_000;
/** Bytes after which the rate is looked at, at most; or those of so much time. */
const paceSizeMax = 262_144;
const paceSeconds = 0.25;

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes read a second at most, on average; at least 1. Default `Infinity`. */
  readonly rate?: number | undefined;
}

export async function* verifyPacks(
  state: PackState,
  options: VerifyOptions,
): AsyncGenerator<VerifyReport, void, undefined> {
  const verifier = new Verifier(state, options);
  for (const pack of state.packs.all().toSorted((a, b) => a.number - b.number)) {
    if (isThere(state, pack)) yield* verifier.read(pack);
  }
  yield verifier.report();
}

function isThere(state: PackState, pack: Pack): boolean {
  return state.packs.get(pack.number) === pack && !pack.retiring;
}

/** The pack is about to be removed: no damage. */
class Gone extends Error {}

class Verifier {
  readonly #state: PackState;
  readonly #signal: AbortSignal | undefined;
  readonly #pace: Pace;
  readonly #paceSize: number;
  #count = 0;
  #size = 0;
  #damages: string[] = [];
  #damagedBlobs: Hash[] = [];
  #reportedMs: number;
  /** Bytes read since the rate was looked at. */
  #unpaidSize = 0;

  constructor(state: PackState, options: VerifyOptions) {
    this.#state = state;
    this.#signal = options.signal;
    const { rate = Number.POSITIVE_INFINITY } = options;
    this.#pace = new Pace(state.env.clock, rate);
    this.#paceSize = Math.min(paceSizeMax, rate * paceSeconds);
    this.#reportedMs = state.env.clock.monotonicMs();
  }

  report(): VerifyReport {
    const report = {
      count: this.#count,
      size: this.#size,
      damages: this.#damages,
      damagedBlobs: this.#damagedBlobs,
    };
    this.#count = 0;
    this.#size = 0;
    this.#damages = [];
    this.#damagedBlobs = [];
    this.#reportedMs = this.#state.env.clock.monotonicMs();
    return report;
  }

  async *read(pack: Pack): AsyncGenerator<VerifyReport, void, undefined> {
    /** Parts in which any blob is lost whose record begins there. */
    const lost: [from: number, to: number][] = [];
    try {
      yield* this.#readPack(pack, lost);
      yield* this.#readIndex(pack);
    } catch (error) {
      if (error instanceof Gone) return;
      if (!(error instanceof HoldfastError) || this.#signal?.aborted === true) throw error;
      this.#state.checkOpen();
      if (error.code === "notFound") lost.splice(0, lost.length, [0, Number.POSITIVE_INFINITY]);
      // A disk that cannot read now may be able to later: only what was read and is wrong is known to be damaged.
      this.#damages.push(`${pack.path} cannot be read: ${error.message}`);
    }
    if (lost.length > 0) yield* this.#blame(pack, lost);
  }

  async *#readPack(pack: Pack, lost: [number, number][]): AsyncGenerator<VerifyReport, void, undefined> {
    const { env, packs } = this.#state;
    const { clock, digest } = env;
    const use = async <T>(run: (file: DiskFile) => Promise<T>): Promise<T> => {
      throwIfAborted(this.#signal);
      this.#state.checkOpen();
      if (!isThere(this.#state, pack)) throw new Gone();
      return packs.use(pack, run);
    };
    const file = { read: (offset: number, size: number) => use((open) => open.read(offset, size)) };
    const end = pack.size;
    const header = await file.read(0, packHeaderSize);
    this.#size += header.length;
    if (!isPackHeaderIntact(digest, header)) {
      this.#damages.push(`${pack.path} at offset 0: its header is damaged`);
      pack.damaged = true;
    }
    const fileSize = await use((open) => open.size());
    if (fileSize < end) {
      this.#damages.push(`${pack.path} at offset ${fileSize}: the file ends ${end - fileSize} bytes too early`);
      lost.push([fileSize, end]);
    }
    let sliceEndMs = clock.monotonicMs() + sliceMs;
    for await (const item of scanPack(digest, file, pack.salt, packHeaderSize, Math.min(end, fileSize))) {
      throwIfAborted(this.#signal);
      this.#check(pack, item, lost);
      yield* this.#reportIfDue();
      this.#unpaidSize += item.size;
      if (this.#unpaidSize >= this.#paceSize) await this.#pay();
      if (clock.monotonicMs() < sliceEndMs) continue;
      await giveWay(clock);
      sliceEndMs = clock.monotonicMs() + sliceMs;
    }
    await this.#pay();
  }

  async #pay(): Promise<void> {
    const size = this.#unpaidSize;
    this.#unpaidSize = 0;
    await this.#pace.spend(size, this.#signal);
    this.#state.checkOpen();
  }

  *#reportIfDue(): Generator<VerifyReport, void, undefined> {
    const due =
      this.#size >= reportSize ||
      this.#damages.length >= reportDamageCount ||
      this.#state.env.clock.monotonicMs() - this.#reportedMs >= reportMs;
    if (due) yield this.report();
  }

  async *#readIndex(pack: Pack): AsyncGenerator<VerifyReport, void, undefined> {
    const { disk, digest } = this.#state.env;
    const { indexPath } = pack;
    let file: DiskFile;
    try {
      file = await disk.open(indexPath, "read");
    } catch (error) {
      // The pack that grows, and a damaged one, have no index file.
      if (error instanceof HoldfastError && error.code === "notFound") return;
      throw error;
    }
    try {
      const bytes = await file.read(0, await file.size());
      this.#size += bytes.length;
      if (decodeIndex(digest, bytes) === undefined) {
        this.#damages.push(`${indexPath} at offset 0: it is damaged, though no blob is; the next open makes it anew`);
      }
    } finally {
      await file.close();
    }
    yield* this.#reportIfDue();
  }

  #check(pack: Pack, item: ScanItem, lost: [number, number][]): void {
    const { index, env } = this.#state;
    const where = `${pack.path} at offset ${item.offset}`;
    this.#size += item.size;
    if (item.kind === "damage") {
      pack.damaged = true;
      this.#damages.push(`${where}: ${item.size} bytes are no record`);
      lost.push([item.offset, item.offset + item.size]);
      return;
    }
    const { header, body, intact } = item;
    if (header.type === recordTypes.deletions || header.type === recordTypes.synced) {
      if (intact) return;
      pack.damaged = true;
      this.#damages.push(`${where}: a record of deletions is damaged; deleted blobs may come back`);
      return;
    }
    const live = index.isAt(index.find(header.hash), pack.number, item.offset);
    if (!live) {
      if (!intact) this.#damages.push(`${where}: the record of a deleted blob is damaged, which harms nothing`);
      return;
    }
    const opened = intact ? openBody(env.digest, header, body) : { damage: "its body fails the checksum" };
    if ("bytes" in opened) {
      this.#count += 1;
      return;
    }
    this.#found(pack, item.offset, header.hash.slice(), `is damaged: ${opened.damage}`);
  }

  /** Names the blobs whose records begin in the parts of the pack that cannot be read. */
  async *#blame(
    pack: Pack,
    lost: readonly (readonly [from: number, to: number])[],
  ): AsyncGenerator<VerifyReport, void, undefined> {
    const { index, env } = this.#state;
    const parts = lost.toSorted((a, b) => a[0] - b[0]);
    let sliceEndMs = env.clock.monotonicMs() + sliceMs;
    for (let slot = 0; slot < index.slotCount; slot++) {
      if (slot % 256 === 255 && env.clock.monotonicMs() >= sliceEndMs) {
        await giveWay(env.clock);
        throwIfAborted(this.#signal);
        this.#state.checkOpen();
        sliceEndMs = env.clock.monotonicMs() + sliceMs;
      }
      if (index.packOf(slot) !== pack.number || !holds(parts, index.offsetOf(slot))) continue;
      this.#found(pack, index.offsetOf(slot), index.hashOf(slot), "cannot be read");
      yield* this.#reportIfDue();
    }
  }

  #found(pack: Pack, offset: number, hash: Hash, what: string): void {
    this.#state.markDamaged(pack.number, offset);
    this.#damages.push(`${pack.path} at offset ${offset}: blob ${toHex(hash)} ${what}`);
    this.#damagedBlobs.push(hash);
  }
}

/** Whether one of the parts, which are in order, holds the offset. */
function holds(parts: readonly (readonly [from: number, to: number])[], offset: number): boolean {
  let [low, high] = [0, parts.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((parts[middle]?.[0] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  const part = parts[low - 1];
  return part !== undefined && offset < part[1];
}
