/** What the parts of one open pack store share. */
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { BlobIndex } from "./blob-index.ts";
import { packName, recordHeaderSize } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import type { PackSet } from "./pack-set.ts";
import type { SlotMarks } from "./slot-marks.ts";
import type { Hash } from "./store.ts";

export type PackEnv = Pick<Env, "disk" | "digest" | "clock" | "random" | "logger">;

export interface PackOptions {
  /** A pack that would grow past this is sealed. From 4 KiB to 1 GiB; default 64 MiB. A single larger blob fits still. */
  readonly packSizeMax?: number;
  /** Whether blobs are compressed where that saves at least an eighth. Default true. */
  readonly compress?: boolean;
  /** Sealed packs whose files are kept open for reading. Default 64. */
  readonly fileCountMax?: number;
  /**
   * Bytes a second that compaction in the background reads and writes. It hurries when garbage takes more space than
   * what is in use. Default 64 MiB; `Infinity`: as fast as it can.
   */
  readonly compactionRate?: number;
}

/** Work gives way after so long. */
export const sliceMs = 4;

export class PackState {
  readonly env: PackEnv;
  readonly packs: PackSet;
  readonly index: BlobIndex;
  readonly packSizeMax: number;
  readonly compress: boolean;
  readonly compactionRate: number;
  /** That of puts and touches made now (`collection.ts`); what is found at opening has the first. */
  epoch = 1;
  /** Of the marking under way. */
  marks: SlotMarks | undefined;
  /** Nothing new may begin. */
  closing = false;
  /** Records of blobs that are there but known to be unreadable. A put of such a blob writes it anew. */
  readonly #damaged = new Set<string>();
  /** Bytes written since the store was opened. */
  writtenSize = 0;

  constructor(env: PackEnv, packs: PackSet, index: BlobIndex, options: Required<PackOptions>) {
    this.env = env;
    this.packs = packs;
    this.index = index;
    this.packSizeMax = options.packSizeMax;
    this.compress = options.compress;
    this.compactionRate = options.compactionRate;
  }

  checkOpen(): void {
    if (this.closing) throw new HoldfastError("unavailable", `the pack store ${this.packs.directory} is closed`);
  }

  /** The place in words. */
  placeName(pack: number, offset: number): string {
    return `${this.packs.directory}/${packName(pack)} at offset ${offset}`;
  }

  /** The blob at this place is known to be damaged until it is deleted or replaced. */
  markDamaged(pack: number, offset: number): void {
    const name = `${pack}:${offset}`;
    if (this.#damaged.has(name)) return;
    this.#damaged.add(name);
    const holder = this.packs.get(pack);
    if (holder !== undefined) holder.damagedCount += 1;
  }

  isDamaged(slot: number): boolean {
    return this.#damaged.size > 0 && this.isDamagedAt(this.index.packOf(slot), this.index.offsetOf(slot));
  }

  isDamagedAt(pack: number, offset: number): boolean {
    return this.#damaged.size > 0 && this.#damaged.has(`${pack}:${offset}`);
  }

  /** The slot's record is no longer the blob's: it was deleted, moved or replaced. */
  release(slot: number): void {
    const pack = this.index.packOf(slot);
    const holder = this.packs.get(pack);
    if (holder !== undefined) holder.liveSize -= recordHeaderSize + this.index.storedSizeOf(slot);
    if (this.#damaged.size === 0 || !this.#damaged.delete(`${pack}:${this.index.offsetOf(slot)}`)) return;
    if (holder !== undefined) holder.damagedCount -= 1;
  }

  /** A slot for a blob whose put begins. It is not marked, whatever was in the slot before. */
  addSlot(hash: Hash): number {
    const slot = this.index.add(hash, this.epoch);
    this.marks?.delete(slot);
    return slot;
  }

  /** Takes a blob out of the index; gives the place of its record. */
  forget(slot: number): Location {
    const location = { pack: this.index.packOf(slot), offset: this.index.offsetOf(slot) };
    this.release(slot);
    this.index.remove(slot);
    return location;
  }

  /** The slot's record is the one at this place. */
  settle(slot: number, pack: number, offset: number, storedSize: number, rawSize: number): void {
    this.index.set(slot, pack, offset, storedSize, rawSize);
    const holder = this.packs.get(pack);
    if (holder !== undefined) holder.liveSize += recordHeaderSize + storedSize;
  }
}
