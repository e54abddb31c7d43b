/**
 * The packs of one store: their numbers, what of them is in use, and their open files, of which there are only so many.
 *
 * 1. A pack's file is neither closed nor removed while a `use` of it is under way.
 * 2. Numbers only grow. A deletion names a pack and an offset; it stands in that pack or in one with a greater number,
 *    so a number that is given again, after the greatest was never durable, meets no deletion of its namesake.
 */
import { assert } from "../base/index.ts";
import type { Disk, DiskFile } from "../base/index.ts";
import type { PackContents } from "./pack-contents.ts";
import { deletionSize, indexName, packHeaderSize, packName } from "./pack-format.ts";

export class Pack {
  readonly number: number;
  readonly id: Uint8Array;
  readonly salt: number;
  readonly path: string;
  readonly indexPath: string;
  /** Bytes written, header included. */
  size = packHeaderSize;
  /** So many of them are durable. */
  syncedSize = packHeaderSize;
  /** The greatest size that a synced record states. */
  markedSize = 0;
  /** Something that a caller waits for, not only a synced record, lies beyond `syncedSize`. */
  dirty = false;
  /** Bytes of records of blobs that are there, headers included. */
  liveSize = 0;
  /** Deletions in this pack, counted by the pack of the deleted record. */
  readonly deletions = new Map<number, number>();
  /** How many of them concern other packs that exist: they must not be lost. */
  neededDeletionCount = 0;
  /** Kept until the index file is written; undefined from then on. */
  contents: PackContents | undefined;
  /** Nothing is appended any more. */
  sealed = false;
  /** A part of it that may have held anything cannot be read: it is kept as it is, and not rewritten. */
  damaged = false;
  /** Blobs in it that are known to be damaged. Until they are put anew or deleted it is not rewritten either. */
  damagedCount = 0;
  /** It is about to be removed; nothing in it is of use any more. */
  retiring = false;
  file: DiskFile | undefined;
  opening: Promise<DiskFile> | undefined;
  writable = false;
  useCount = 0;
  lastUse = 0;
  onIdle: (() => void) | undefined;

  constructor(directory: string, number: number, id: Uint8Array, salt: number) {
    this.number = number;
    this.id = id;
    this.salt = salt;
    this.path = `${directory}/${packName(number)}`;
    this.indexPath = `${directory}/${indexName(number)}`;
  }

  /** Bytes that would have to be written again if the pack were rewritten. */
  get usedSize(): number {
    return this.liveSize + this.neededDeletionCount * deletionSize;
  }
}

export class PackSet {
  readonly directory: string;
  readonly #disk: Disk;
  readonly #fileCountMax: number;
  readonly #packs = new Map<number, Pack>();
  /** Packs whose file is open for reading. */
  readonly #open = new Set<Pack>();
  #useNumber = 0;

  constructor(disk: Disk, directory: string, fileCountMax: number) {
    this.#disk = disk;
    this.directory = directory;
    this.#fileCountMax = fileCountMax;
  }

  get count(): number {
    return this.#packs.size;
  }

  get(number: number): Pack | undefined {
    return this.#packs.get(number);
  }

  all(): Pack[] {
    return [...this.#packs.values()];
  }

  get lastNumber(): number {
    let last = 0;
    for (const number of this.#packs.keys()) last = Math.max(last, number);
    return last;
  }

  add(pack: Pack): void {
    assert(!this.#packs.has(pack.number), `${pack.path} is there twice`);
    this.#packs.set(pack.number, pack);
  }

  /** `holder` has got a deletion of a record of the pack numbered `target`. */
  countDeletion(holder: Pack, target: number): void {
    holder.deletions.set(target, (holder.deletions.get(target) ?? 0) + 1);
    if (target !== holder.number && this.#packs.has(target)) holder.neededDeletionCount += 1;
  }

  /** Counts anew which deletions are needed, when all packs are known. */
  recountDeletions(): void {
    for (const pack of this.#packs.values()) {
      pack.neededDeletionCount = 0;
      for (const [target, count] of pack.deletions) {
        if (target !== pack.number && this.#packs.has(target)) pack.neededDeletionCount += count;
      }
    }
  }

  /** Runs with the pack's open file, which stays open and in place meanwhile (1). */
  async use<T>(pack: Pack, run: (file: DiskFile) => Promise<T>): Promise<T> {
    pack.useCount += 1;
    pack.lastUse = ++this.#useNumber;
    try {
      return await run(pack.file ?? (await this.#fileOf(pack)));
    } finally {
      pack.useCount -= 1;
      if (pack.useCount === 0) pack.onIdle?.();
    }
  }

  /** Closes the pack's file after the last use; nothing may begin a new one. Its files can be removed then. */
  async retire(pack: Pack): Promise<void> {
    pack.retiring = true;
    if (pack.useCount > 0) await new Promise<void>((resolve) => (pack.onIdle = resolve));
    await this.#close(pack);
  }

  /** The pack's files are gone, durably. Only now are deletions of its records needed no more. */
  remove(pack: Pack): void {
    this.#packs.delete(pack.number);
    for (const other of this.#packs.values()) {
      const count = other.deletions.get(pack.number);
      if (count === undefined) continue;
      other.deletions.delete(pack.number);
      other.neededDeletionCount -= count;
    }
  }

  /** Nothing is written to the pack any more: its file is open for reading only, and may be closed when not in use. */
  stopWriting(pack: Pack): void {
    pack.writable = false;
    if (pack.file !== undefined) this.#open.add(pack);
    this.#closeIdle();
  }

  async closeAll(): Promise<void> {
    for (const pack of this.#packs.values()) {
      await pack.opening?.catch(() => {});
      await this.#close(pack);
    }
  }

  async #fileOf(pack: Pack): Promise<DiskFile> {
    pack.opening ??= this.#openFile(pack);
    return pack.opening;
  }

  async #openFile(pack: Pack): Promise<DiskFile> {
    try {
      pack.file = await this.#disk.open(pack.path, "read");
    } finally {
      pack.opening = undefined;
    }
    this.#open.add(pack);
    this.#closeIdle();
    return pack.file;
  }

  #closeIdle(): void {
    while (this.#open.size > this.#fileCountMax) {
      let oldest: Pack | undefined;
      for (const pack of this.#open) {
        if (pack.useCount === 0 && (oldest === undefined || pack.lastUse < oldest.lastUse)) oldest = pack;
      }
      if (oldest === undefined) return;
      // A file open for reading has nothing to lose when closing fails.
      void this.#close(oldest).catch(() => {});
    }
  }

  async #close(pack: Pack): Promise<void> {
    const file = pack.file;
    pack.file = undefined;
    pack.writable = false;
    this.#open.delete(pack);
    await file?.close();
  }
}
