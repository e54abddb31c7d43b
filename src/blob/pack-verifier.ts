/**
 * Reads every byte of the packs and index files and says what cannot be read, by file and offset. Blobs are checked
 * against their hashes. What it finds damaged is known from then on: `has` denies it, and a put writes it anew.
 */
import { deferred, giveWay, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { DiskFile } from "../base/index.ts";
import { decodeIndex } from "./pack-contents.ts";
import { isPackHeaderIntact, packHeaderSize, recordTypes } from "./pack-format.ts";
import { openBody } from "./pack-record.ts";
import { scanPack } from "./pack-scan.ts";
import type { ScanItem } from "./pack-scan.ts";
import type { Pack } from "./pack-set.ts";
import { sliceMs } from "./pack-state.ts";
import type { PackState } from "./pack-state.ts";

/** What was found since the last report. */
export interface VerifyReport {
  /** Blobs that were read and are right. */
  readonly count: number;
  /** Bytes read. */
  readonly size: number;
  /** Each names a file, an offset and what is wrong. */
  readonly damages: string[];
}

/** A report at least after so many bytes. */
const reportSize = 16_777_216;

export interface VerifyOptions {
  readonly signal?: AbortSignal;
}

export async function* verifyPacks(
  state: PackState,
  options: VerifyOptions,
): AsyncGenerator<VerifyReport, void, undefined> {
  const packs = state.packs.all().toSorted((a, b) => a.number - b.number);
  for (const pack of packs) {
    // Removed meanwhile: what was in it has moved to a pack that was read, or will be, or is of no interest.
    if (state.packs.get(pack.number) !== pack || pack.retiring) continue;
    yield* verifyPack(state, pack, options.signal);
  }
}

async function* verifyPack(
  state: PackState,
  pack: Pack,
  signal: AbortSignal | undefined,
): AsyncGenerator<VerifyReport, void, undefined> {
  const verification = new Verification(state, pack);
  // Keeps the file open and in place for as long as the caller takes.
  let file: DiskFile | undefined;
  const opened = deferred<void>();
  const ended = deferred<void>();
  state.packs
    .use(pack, (openFile) => {
      file = openFile;
      opened.resolve();
      return ended.promise;
    })
    .catch((error: unknown) => opened.reject(error));
  try {
    try {
      await opened.promise;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      verification.lost(error.message);
    }
    if (file !== undefined) yield* verification.read(file, signal);
    await verification.readIndex();
    yield verification.report();
  } finally {
    ended.resolve();
  }
}

class Verification {
  readonly #state: PackState;
  readonly #pack: Pack;
  #count = 0;
  #size = 0;
  #damages: string[] = [];

  constructor(state: PackState, pack: Pack) {
    this.#state = state;
    this.#pack = pack;
  }

  report(): VerifyReport {
    const report = { count: this.#count, size: this.#size, damages: this.#damages };
    this.#count = 0;
    this.#size = 0;
    this.#damages = [];
    return report;
  }

  lost(reason: string): void {
    this.#damages.push(`${this.#pack.path} cannot be opened: ${reason}`);
    this.#blameBlobs(0, Number.POSITIVE_INFINITY);
  }

  async *read(file: DiskFile, signal: AbortSignal | undefined): AsyncGenerator<VerifyReport, void, undefined> {
    const { digest, clock } = this.#state.env;
    const pack = this.#pack;
    const end = pack.size;
    const header = await file.read(0, packHeaderSize);
    this.#size += header.length;
    if (!isPackHeaderIntact(digest, header)) {
      this.#damages.push(`${pack.path} at offset 0: its header is damaged`);
      pack.damaged = true;
    }
    const fileSize = await file.size();
    if (fileSize < end) {
      this.#damages.push(`${pack.path} at offset ${fileSize}: the file ends ${end - fileSize} bytes too early`);
      this.#blameBlobs(fileSize, end);
    }
    let sliceEndMs = clock.monotonicMs() + sliceMs;
    for await (const item of scanPack(digest, file, pack.salt, packHeaderSize, Math.min(end, fileSize))) {
      throwIfAborted(signal);
      this.#check(item);
      if (this.#size >= reportSize) yield this.report();
      if (clock.monotonicMs() < sliceEndMs) continue;
      await giveWay(clock);
      sliceEndMs = clock.monotonicMs() + sliceMs;
    }
  }

  async readIndex(): Promise<void> {
    const { disk, digest } = this.#state.env;
    const { indexPath } = this.#pack;
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
      if (decodeIndex(digest, bytes) !== undefined) return;
      this.#damages.push(`${indexPath} at offset 0: it is damaged, though no blob is; the next open makes it anew`);
    } finally {
      await file.close();
    }
  }

  #check(item: ScanItem): void {
    const { digest } = this.#state.env;
    const { index } = this.#state;
    const pack = this.#pack;
    const where = `${pack.path} at offset ${item.offset}`;
    this.#size += item.size;
    if (item.kind === "damage") {
      pack.damaged = true;
      this.#damages.push(`${where}: ${item.size} bytes are no record`);
      this.#blameBlobs(item.offset, item.offset + item.size);
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
    const opened = intact ? openBody(digest, header, body) : { damage: "its body fails the checksum" };
    if ("bytes" in opened) {
      this.#count += 1;
      return;
    }
    this.#state.markDamaged(pack.number, item.offset);
    this.#damages.push(`${where}: blob ${toHex(header.hash)} is damaged: ${opened.damage}`);
  }

  /** Names the blobs whose records begin in a part of the pack that cannot be read. */
  #blameBlobs(from: number, to: number): void {
    const { index } = this.#state;
    for (let slot = 0; slot < index.slotCount; slot++) {
      const offset = index.offsetOf(slot);
      if (index.packOf(slot) !== this.#pack.number || offset < from || offset >= to) continue;
      this.#state.markDamaged(this.#pack.number, offset);
      this.#damages.push(`${this.#pack.path} at offset ${offset}: blob ${toHex(index.hashOf(slot))} cannot be read`);
    }
  }
}
