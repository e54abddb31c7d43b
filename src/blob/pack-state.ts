/** What the parts of one open pack store share. */
import type { Env } from "../base/index.ts";
import type { BlobIndex } from "./blob-index.ts";
import { packName, recordHeaderSize } from "./pack-format.ts";
import type { PackSet } from "./pack-set.ts";

export type PackEnv = Pick<Env, "disk" | "digest" | "clock" | "random" | "logger">;

export interface PackOptions {
  /** A pack that would grow past this is sealed. From 4 KiB to 1 GiB; default 64 MiB. A single larger blob fits still. */
  readonly packSizeMax?: number;
  /** Whether blobs are compressed where that saves at least an eighth. Default true. */
  readonly compress?: boolean;
  /** Sealed packs whose files are kept open for reading. Default 64. */
  readonly fileCountMax?: number;
}

/** Work gives way after so long. */
export const sliceMs = 4;

export class PackState {
  readonly env: PackEnv;
  readonly packs: PackSet;
  readonly index: BlobIndex;
  readonly packSizeMax: number;
  readonly compress: boolean;
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
  }

  /** The place in words. */
  placeName(pack: number, offset: number): string {
    return `${this.packs.directory}/${packName(pack)} at offset ${offset}`;
  }

  markDamaged(pack: number, offset: number): void {
    this.#damaged.add(`${pack}:${offset}`);
    const holder = this.packs.get(pack);
    if (holder !== undefined) holder.damaged = true;
  }

  isDamaged(slot: number): boolean {
    return this.#damaged.size > 0 && this.#damaged.has(`${this.index.packOf(slot)}:${this.index.offsetOf(slot)}`);
  }

  /** The slot's record is no longer the blob's: it was deleted, moved or replaced. */
  release(slot: number): void {
    const pack = this.index.packOf(slot);
    const holder = this.packs.get(pack);
    if (holder !== undefined) holder.liveSize -= recordHeaderSize + this.index.storedSizeOf(slot);
    if (this.#damaged.size > 0) this.#damaged.delete(`${pack}:${this.index.offsetOf(slot)}`);
  }

  /** The slot's record is the one at this place. */
  settle(slot: number, pack: number, offset: number, storedSize: number, rawSize: number): void {
    this.index.set(slot, pack, offset, storedSize, rawSize);
    const holder = this.packs.get(pack);
    if (holder !== undefined) holder.liveSize += recordHeaderSize + storedSize;
  }
}
