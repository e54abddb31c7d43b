/**
 * Opens the packs of a directory: finds out what is there, from the index files where they hold and from the packs
 * themselves where not, and puts right what a crash has left.
 *
 * 1. Bytes that a valid index file covers, or that a synced record anywhere in the pack states, were durable: what
 *    cannot be read of them is damage. It is reported, kept, and does not prevent opening.
 * 2. The first thing that cannot be read behind those bytes is where the last, unfinished writes were torn: the pack is
 *    cut there. Nothing of what is cut was ever promised to be durable.
 * 3. What lies between, readable but perhaps only in the system's memory, is written once more and synced: after a
 *    failed sync a system may take pages for clean that never reached the disk.
 * 4. The packs are read from the newest to the oldest, so that a deletion is known before the record that it deletes,
 *    and of two records of one blob (a move that a crash interrupted) the newer one counts. The older is owed a
 *    deletion. A record with a damaged body counts only where no other is.
 */
import { equalBytes, HoldfastError } from "../base/index.ts";
import type { DiskFile } from "../base/index.ts";
import { BlobIndex } from "./blob-index.ts";
import { decodeIndex, PackContents } from "./pack-contents.ts";
import type { DecodedIndex } from "./pack-contents.ts";
import {
  decodeDeletions,
  decodePackHeader,
  indexName,
  isPackHeaderIntact,
  packHeaderSize,
  packIdSize,
  packName,
  recordHeaderSize,
  recordTypes,
  saltOf,
} from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import { scanPack } from "./pack-scan.ts";
import type { ScanItem } from "./pack-scan.ts";
import { Pack, PackSet } from "./pack-set.ts";
import { PackState } from "./pack-state.ts";
import type { PackEnv, PackOptions } from "./pack-state.ts";
import { writeDurably } from "./pack-writer.ts";
import type { Hash } from "./store.ts";

export interface Recovered {
  readonly state: PackState;
  /** The pack to append to, open for writing. */
  readonly current: Pack | undefined;
  /** Records that are superseded and whose deletion is not yet on the disk. */
  readonly owed: Location[];
}

/** Bytes rewritten at once. */
const rewriteSize = 4_194_304;

export async function recoverPacks(
  env: PackEnv,
  directory: string,
  options: Required<PackOptions>,
): Promise<Recovered> {
  const packs = new PackSet(env.disk, directory, options.fileCountMax);
  const state = new PackState(env, packs, new BlobIndex(env.random.uint32()), options);
  await makeDurableDirectory(env, directory);
  return new Recovery(state).run();
}

async function makeDurableDirectory(env: PackEnv, directory: string): Promise<void> {
  await env.disk.makeDirectory(directory);
  const parts = directory.split("/");
  for (let count = 0; count < parts.length; count++) {
    await env.disk.syncDirectory(parts.slice(0, count).join("/"));
  }
}

interface DamagedBlob {
  readonly hash: Hash;
  readonly pack: Pack;
  readonly offset: number;
  readonly storedSize: number;
  readonly rawSize: number;
}

class Recovery {
  readonly #state: PackState;
  /** Offsets of deleted records, by pack. */
  readonly #deleted = new Map<number, Set<number>>();
  readonly #damagedBlobs: DamagedBlob[] = [];
  readonly #owed: Location[] = [];
  #names = new Set<string>();

  constructor(state: PackState) {
    this.#state = state;
  }

  async run(): Promise<Recovered> {
    const { env, packs } = this.#state;
    this.#names = new Set(await env.disk.list(packs.directory));
    const numbers = new Set<number>();
    for (const name of this.#names) {
      const [, digits] = /^(\d{8,10})\.(?:pack|index)$/.exec(name) ?? [];
      if (digits !== undefined) numbers.add(Number(digits));
      // An index file that was being written when the process ended.
      else if (name.endsWith(".index.new")) await this.#remove(name);
    }
    let last: Pack | undefined;
    for (const number of [...numbers].toSorted((a, b) => b - a)) {
      const pack = await this.#open(number);
      if (pack === undefined) continue;
      last ??= pack;
      this.#addBlobs(pack);
      if (pack !== last) await this.#seal(pack);
    }
    this.#addDamagedBlobs();
    packs.recountDeletions();
    const current = last === undefined ? undefined : await this.#resume(last);
    // Of removals, and of a pack whose making a killed process did not finish.
    await env.disk.syncDirectory(packs.directory);
    return { state: this.#state, current, owed: this.#owed };
  }

  /** A pack as far as it can be read; undefined if there is nothing of it. */
  async #open(number: number): Promise<Pack | undefined> {
    const { env, packs } = this.#state;
    const index = await this.#readIndex(number);
    if (!this.#names.has(packName(number))) return this.#openLost(number, index);
    const path = `${packs.directory}/${packName(number)}`;
    const file = await env.disk.open(path, "read");
    try {
      const size = await file.size();
      const headers = await file.read(0, packHeaderSize);
      const header = decodePackHeader(env.digest, headers, path);
      const id = header?.id ?? index?.id;
      // The header is durable before the first record is written: a torn one was never more than begun.
      const begun = index === undefined && size <= packHeaderSize && !isPackHeaderIntact(env.digest, headers);
      if (begun || id === undefined || (header !== undefined && header.number !== number)) {
        return await this.#openUnreadable(number, size);
      }
      if (header === undefined) this.#report("error", "the header of a pack is damaged", { path, offset: 0 });
      const pack = new Pack(packs.directory, number, id, saltOf(env.digest, id));
      packs.add(pack);
      await this.#read(pack, file, size, index);
      return pack;
    } finally {
      await file.close();
    }
  }

  /** The pack's index file, if there is one that is whole. */
  async #readIndex(number: number): Promise<DecodedIndex | undefined> {
    const name = indexName(number);
    if (!this.#names.has(name)) return undefined;
    const { env, packs } = this.#state;
    const path = `${packs.directory}/${name}`;
    const file = await env.disk.open(path, "read");
    try {
      const index = decodeIndex(env.digest, await file.read(0, await file.size()));
      if (index === undefined) {
        this.#report("warn", "an index file is damaged or of another version; it is made anew from its pack", { path });
      }
      return index;
    } finally {
      await file.close();
    }
  }

  /** Packs are removed after their index files: an index file without its pack says that the pack got lost. */
  async #openLost(number: number, index: DecodedIndex | undefined): Promise<Pack | undefined> {
    const { env, packs } = this.#state;
    if (index === undefined) {
      await this.#remove(indexName(number));
      return undefined;
    }
    const pack = new Pack(packs.directory, number, index.id, saltOf(env.digest, index.id));
    pack.damaged = true;
    pack.contents = index.contents;
    pack.size = index.coveredSize;
    packs.add(pack);
    this.#report("error", "a pack is missing; its blobs cannot be read until it is restored or they are put again", {
      path: pack.path,
      blobCount: index.contents.blobCount,
    });
    return pack;
  }

  /** Neither copy of the header can be read, and no index file helps. */
  async #openUnreadable(number: number, size: number): Promise<Pack | undefined> {
    const { packs } = this.#state;
    if (size <= packHeaderSize) {
      // This pack never got so far as to hold a record.
      await this.#remove(packName(number));
      return undefined;
    }
    const pack = new Pack(packs.directory, number, new Uint8Array(packIdSize), 0);
    pack.damaged = true;
    pack.size = size;
    packs.add(pack);
    this.#report(
      "error",
      "a pack cannot be read: both copies of its header are damaged; restore it or put its blobs again",
      {
        path: pack.path,
        offset: 0,
        size,
      },
    );
    return pack;
  }

  /** Reads what the index file does not cover, and cuts or reports what cannot be read. */
  async #read(pack: Pack, file: DiskFile, size: number, found: DecodedIndex | undefined): Promise<void> {
    let index = found;
    if (index !== undefined && !equalBytes(index.id, pack.id)) {
      this.#report("warn", "an index file is that of another pack; it is made anew", { path: pack.indexPath });
      index = undefined;
    }
    pack.contents = index?.contents ?? new PackContents();
    pack.size = size;
    const covered = index?.coveredSize ?? packHeaderSize;
    if (size < covered) {
      pack.damaged = true;
      pack.syncedSize = size;
      this.#report("error", "a pack has lost its end; restore it or put its blobs again", {
        path: pack.path,
        offset: size,
        size: covered - size,
      });
      return;
    }
    pack.syncedSize = covered;
    pack.markedSize = covered;
    if (size === covered && index !== undefined) return;
    // Without an index file that covers all of it, `syncedSize` below `size` lets the pack be sealed anew.
    const items: ScanItem[] = [];
    let synced = covered;
    // Nothing proves that even the header is durable before an index file or a synced record says so.
    let provenSize = index === undefined ? 0 : covered;
    for await (const item of scanPack(this.#state.env.digest, file, pack.salt, covered, size)) {
      items.push(item);
      if (item.kind !== "record" || item.header.type !== recordTypes.synced || !item.intact) continue;
      const claim = item.header.rawSize;
      if (claim > item.offset) continue;
      synced = Math.max(synced, claim);
      provenSize = synced;
    }
    pack.markedSize = provenSize;
    let end = size;
    for (const item of items) {
      if (item.offset >= synced && !(item.kind === "record" && item.intact)) {
        end = item.offset;
        break;
      }
      this.#take(pack, item);
    }
    await this.#settleTail(pack, provenSize, end, size);
  }

  /** One item of a scan, in the part of the pack that counts. */
  #take(pack: Pack, item: ScanItem): void {
    const { contents } = pack;
    if (contents === undefined) return;
    if (item.kind === "damage") {
      pack.damaged = true;
      this.#report("error", "a part of a pack cannot be read; what blobs it held is unknown", {
        path: pack.path,
        offset: item.offset,
        size: item.size,
      });
      return;
    }
    const { header, offset } = item;
    if (header.type === recordTypes.deletions) {
      if (item.intact) for (const location of decodeDeletions(item.body)) contents.addDeletion(location);
    } else if (header.type !== recordTypes.synced && item.intact) {
      contents.add(header.hash, offset, header.storedSize, header.rawSize);
    } else if (header.type !== recordTypes.synced) {
      const { storedSize, rawSize } = header;
      this.#damagedBlobs.push({ hash: header.hash.slice(), pack, offset, storedSize, rawSize });
    }
    if (item.intact) return;
    pack.damaged = true;
    this.#report("error", "a record in a pack is damaged; restore the pack or put the blob again", {
      path: pack.path,
      offset,
      size: item.size,
    });
  }

  /** Cuts what was torn (2) and makes the rest durable (3). */
  async #settleTail(pack: Pack, provenSize: number, end: number, size: number): Promise<void> {
    if (end < size) {
      this.#report("info", "the last writes before a crash were torn and are cut off", {
        path: pack.path,
        offset: end,
        size: size - end,
      });
    }
    pack.size = end;
    if (provenSize < size) {
      const file = await this.#state.env.disk.open(pack.path, "write");
      try {
        for (let at = provenSize; at < end; at += rewriteSize) {
          await file.write([await file.read(at, Math.min(rewriteSize, end - at))], at);
        }
        if (end < size) await file.truncate(end);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    pack.syncedSize = end;
    // No index file covers this: tells `#seal` to write one.
    pack.dirty = true;
  }

  /** Newer packs have been added already (4). */
  #addBlobs(pack: Pack): void {
    const { contents } = pack;
    if (contents === undefined) return;
    for (const location of contents.deletions()) {
      let offsets = this.#deleted.get(location.pack);
      if (offsets === undefined) this.#deleted.set(location.pack, (offsets = new Set()));
      offsets.add(location.offset);
      pack.deletions.set(location.pack, (pack.deletions.get(location.pack) ?? 0) + 1);
    }
    const deleted = this.#deleted.get(pack.number);
    const readableSize = this.#names.has(packName(pack.number)) ? pack.size : 0;
    for (let at = contents.blobCount - 1; at >= 0; at--) {
      const offset = contents.offsetAt(at);
      if (deleted?.has(offset) === true) continue;
      const [storedSize, rawSize] = [contents.storedSizeAt(at), contents.rawSizeAt(at)];
      const hash = contents.hashAt(at);
      const lost = offset + recordHeaderSize + storedSize > readableSize;
      if (lost) this.#damagedBlobs.push({ hash: hash.slice(), pack, offset, storedSize, rawSize });
      else this.#add(hash, pack, offset, storedSize, rawSize);
    }
  }

  #addDamagedBlobs(): void {
    for (const { hash, pack, offset, storedSize, rawSize } of this.#damagedBlobs) {
      if (this.#deleted.get(pack.number)?.has(offset) === true) continue;
      if (this.#add(hash, pack, offset, storedSize, rawSize)) this.#state.markDamaged(pack.number, offset);
    }
  }

  /** False if the blob is there already; then this record is owed a deletion. */
  #add(hash: Hash, pack: Pack, offset: number, storedSize: number, rawSize: number): boolean {
    const { index } = this.#state;
    if (index.find(hash) >= 0) {
      this.#owed.push({ pack: pack.number, offset });
      return false;
    }
    this.#state.settle(index.add(hash, this.#state.epoch), pack.number, offset, storedSize, rawSize);
    return true;
  }

  /** Nothing is appended to it any more; from the next open on its index file serves. */
  async #seal(pack: Pack): Promise<void> {
    pack.sealed = true;
    if (pack.dirty && !pack.damaged && pack.contents !== undefined) {
      const bytes = pack.contents.encode(this.#state.env.digest, pack.id, pack.size);
      try {
        await writeDurably(this.#state, pack.indexPath, bytes);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        this.#report("warn", "cannot write an index file", { path: pack.indexPath, reason: error.message });
      }
    }
    pack.dirty = false;
    pack.contents = undefined;
  }

  /** The newest pack goes on, if it is sound and has room. */
  async #resume(pack: Pack): Promise<Pack | undefined> {
    if (pack.damaged || pack.size >= this.#state.packSizeMax) {
      await this.#seal(pack);
      return undefined;
    }
    pack.file = await this.#state.env.disk.open(pack.path, "write");
    pack.writable = true;
    pack.dirty = false;
    return pack;
  }

  async #remove(name: string): Promise<void> {
    const { env, packs } = this.#state;
    await env.disk.remove(`${packs.directory}/${name}`);
  }

  #report(level: "info" | "warn" | "error", message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#state.env.logger.log(level, `pack store: ${message}`, fields);
  }
}
