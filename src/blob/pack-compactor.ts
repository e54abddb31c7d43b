/**
 * Gives back the space of deleted blobs: a sealed pack of which less than half is used is rewritten into the current
 * pack and removed. What is used are the blobs that are there and the deletions of records that still exist.
 *
 * 1. One pack at a time, in slices that give way to other work, and no faster than `compactionRate`, unless garbage has
 *    come to take more space than what is in use, or somebody waits for `compact`. Reads are never held up: a blob is read
 *    where it was until it is written where it goes.
 * 2. A pack is removed after everything that moved out of it is durable, and its index file first, durably: so an index
 *    file without a pack means a lost pack, never a removed one.
 * 3. A pack in which something cannot be read is left as it is.
 *
 * Each pass gives back more than it writes, so the bytes written are at most twice the bytes put and moved before.
 */
import { giveWay, HoldfastError } from "../base/index.ts";
import type { DiskFile } from "../base/index.ts";
import { Pace } from "./pace.ts";
import { decodeDeletions, packHeaderSize, recordTypes } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import { scanPack } from "./pack-scan.ts";
import type { ScanItem } from "./pack-scan.ts";
import type { Pack } from "./pack-set.ts";
import type { PackState } from "./pack-state.ts";
import type { Move, PackWriter } from "./pack-writer.ts";

/** Bytes that move at a time. */
const lotSize = 1_048_576;
/** Packs full of garbage that are no reason to hurry. */
const packCountSpare = 4;

export class Compactor {
  readonly #state: PackState;
  readonly #writer: PackWriter;
  readonly #pace: Pace;
  #running: Promise<void> | undefined;
  #stopped = false;
  /** Calls of `compact` that wait. */
  #hurryCount = 0;
  /** Ends the wait under way. */
  #pause: AbortController | undefined;

  constructor(state: PackState, writer: PackWriter) {
    this.#state = state;
    this.#writer = writer;
    this.#pace = new Pace(state.env.clock, state.compactionRate);
  }

  /** Begins in the background if there is something to do and nothing under way. */
  start(): void {
    if (this.#running !== undefined || this.#stopped || this.#candidate() === undefined) return;
    void this.#run().catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) throw error;
      const { logger } = this.#state.env;
      if (!this.#stopped) logger.log("warn", "pack store: compaction stopped", { reason: error.message });
    });
  }

  /** Rewrites all packs, the current one too, that are worth it. */
  async compact(): Promise<void> {
    this.#hurryCount += 1;
    this.#pause?.abort();
    try {
      await this.#compact();
    } finally {
      this.#hurryCount -= 1;
    }
  }

  async #compact(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
    const { current } = this.#writer;
    await this.#writer.sync();
    if (current !== undefined && isWorthIt(current)) await this.#writer.seal();
    await this.#writer.sync();
    await this.#writer.sealed();
    await this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pause?.abort();
    await this.#running?.catch(() => {});
  }

  #run(): Promise<void> {
    // Two calls of `compact` may come here together.
    this.#running ??= this.#rewriteAll().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #rewriteAll(): Promise<void> {
    for (;;) {
      const pack = this.#stopped ? undefined : this.#candidate();
      if (pack === undefined) return;
      await this.#rewrite(pack);
    }
  }

  /** The pack that gives back most for what it costs. */
  #candidate(): Pack | undefined {
    let best: Pack | undefined;
    for (const pack of this.#state.packs.all()) {
      if (!pack.sealed || pack.writable || pack.damaged || pack.damagedCount > 0 || !isWorthIt(pack)) continue;
      if (best === undefined || pack.usedSize * best.size < best.usedSize * pack.size) best = pack;
    }
    return best;
  }

  async #rewrite(pack: Pack): Promise<void> {
    if (pack.usedSize > 0 && !(await this.#moveOut(pack))) return;
    await this.#remove(pack);
  }

  /** Writes elsewhere what is used of the pack. False if it could not, or should stop. */
  async #moveOut(pack: Pack): Promise<boolean> {
    const { env, packs } = this.#state;
    const needed: Location[] = [];
    let unreadable = false;
    try {
      unreadable = await packs.use(pack, (file) => this.#moveBlobs(pack, file, needed));
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code === "exhausted") throw error;
      // If it was the writer that failed, nothing can go on. A pack that cannot be read holds up no other.
      this.#writer.check();
      env.logger.log("error", "pack store: a pack cannot be read", { path: pack.path, reason: error.message });
      pack.damaged = true;
      return false;
    }
    if (this.#stopped) return false;
    if (pack.liveSize > 0 || needed.length < pack.neededDeletionCount) {
      // What is left of a pack in which only blobs are damaged is of no more use once they have been put anew.
      if (unreadable || pack.damagedCount === 0) pack.damaged = true;
      env.logger.log("error", "pack store: a pack is kept, since something in it cannot be read", { path: pack.path });
      return false;
    }
    if (needed.length > 0) await this.#writer.delete(needed, true);
    await this.#writer.syncFiles();
    return true;
  }

  /** Moves the blobs, in lots; deletions that are needed go to `needed`. True if some part could not be read. */
  async #moveBlobs(pack: Pack, file: Pick<DiskFile, "read">, needed: Location[]): Promise<boolean> {
    const { env } = this.#state;
    let lot: Move[] = [];
    let size = 0;
    let seenSize = 0;
    let unreadable = false;
    for await (const item of scanPack(env.digest, file, pack.salt, packHeaderSize, pack.size)) {
      if (this.#stopped) return unreadable;
      if (item.kind === "damage" || (item.header.type === recordTypes.deletions && !item.intact)) unreadable = true;
      const move = this.#moveOf(pack, item, needed);
      if (move !== undefined) {
        lot.push(move);
        size += move.body.length;
      }
      seenSize += item.size;
      if (size < lotSize && seenSize < lotSize) continue;
      await this.#writer.move(lot);
      await giveWay(env.clock);
      await this.#wait(seenSize + size);
      lot = [];
      size = 0;
      seenSize = 0;
    }
    await this.#writer.move(lot);
    await this.#wait(seenSize + size);
    return unreadable;
  }

  /** Keeps to the rate (1) after so many bytes have been read and written. */
  async #wait(size: number): Promise<void> {
    if (this.#stopped || this.#hurryCount > 0 || this.#isFull()) return;
    const pause = new AbortController();
    this.#pause = pause;
    // Nothing else ends it early but `compact` and `stop`, which say themselves what comes next.
    await this.#pace.spend(size, pause.signal).catch(() => {});
    this.#pause = undefined;
  }

  /** Whether garbage takes more space than what is in use, beside the few packs that any store has. */
  #isFull(): boolean {
    const { packs, packSizeMax } = this.#state;
    let [size, usedSize] = [0, 0];
    for (const pack of packs.all()) {
      size += pack.size;
      usedSize += pack.usedSize;
    }
    return size > 2 * usedSize + packCountSpare * packSizeMax;
  }

  /** The blob of a record if it is there still; deletions that are needed go to `needed`. */
  #moveOf(pack: Pack, item: ScanItem, needed: Location[]): Move | undefined {
    if (item.kind !== "record") return undefined;
    const { header, body, offset, intact } = item;
    if (header.type === recordTypes.synced) return undefined;
    if (header.type === recordTypes.deletions) {
      if (!intact) return undefined;
      for (const location of decodeDeletions(body)) {
        if (location.pack !== pack.number && this.#state.packs.get(location.pack) !== undefined) needed.push(location);
      }
      return undefined;
    }
    const { index } = this.#state;
    if (!index.isAt(index.find(header.hash), pack.number, offset)) return undefined;
    if (intact) return { from: { pack: pack.number, offset }, header, body };
    this.#state.markDamaged(pack.number, offset);
    return undefined;
  }

  async #remove(pack: Pack): Promise<void> {
    const { env, packs } = this.#state;
    await packs.retire(pack);
    for (const path of [pack.indexPath, pack.path]) {
      try {
        await env.disk.remove(path);
      } catch (error) {
        // A pack that was sealed while the disk was full has no index file; an earlier attempt may have got half-way.
        if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
      }
      await env.disk.syncDirectory(packs.directory);
    }
    packs.remove(pack);
  }
}

function isWorthIt(pack: Pack): boolean {
  return pack.size > packHeaderSize && pack.usedSize * 2 < pack.size;
}
