/**
 * Gives back the space of deleted blobs: a sealed pack of which less than half is used is rewritten into the current
 * pack and removed. What is used are the blobs that are there and the deletions of records that still exist.
 *
 * 1. One pack at a time, in slices that give way to other work.
 * 2. A pack is removed after everything that moved out of it is durable, and its index file first, durably: so an index
 *    file without a pack means a lost pack, never a removed one.
 * 3. A pack in which something cannot be read is left as it is.
 *
 * Each pass gives back more than it writes, so the bytes written are at most twice the bytes put and moved before.
 */
import { giveWay, HoldfastError } from "../base/index.ts";
import type { DiskFile } from "../base/index.ts";
import { decodeDeletions, packHeaderSize, recordTypes } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import { scanPack } from "./pack-scan.ts";
import type { ScanItem } from "./pack-scan.ts";
import type { Pack } from "./pack-set.ts";
import type { PackState } from "./pack-state.ts";
import type { Move, PackWriter } from "./pack-writer.ts";

/** Bytes that move at a time. */
const lotSize = 1_048_576;

export class Compactor {
  readonly #state: PackState;
  readonly #writer: PackWriter;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(state: PackState, writer: PackWriter) {
    this.#state = state;
    this.#writer = writer;
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
      if (!pack.sealed || pack.writable || pack.damaged || !isWorthIt(pack)) continue;
      if (best === undefined || pack.usedSize * best.size < best.usedSize * pack.size) best = pack;
    }
    return best;
  }

  async #rewrite(pack: Pack): Promise<void> {
    const { packs } = this.#state;
    if (pack.usedSize > 0) {
      const done = await packs.use(pack, (file) => this.#moveOut(pack, file));
      if (!done) return;
    }
    await this.#remove(pack);
  }

  /** Writes elsewhere what is used of the pack. False if it could not, or should stop. */
  async #moveOut(pack: Pack, file: DiskFile): Promise<boolean> {
    const { env } = this.#state;
    let lot: Move[] = [];
    let size = 0;
    const needed: Location[] = [];
    let seenSize = 0;
    for await (const item of scanPack(env.digest, file, pack.salt, packHeaderSize, pack.size)) {
      if (this.#stopped) return false;
      const move = this.#moveOf(pack, item, needed);
      if (move !== undefined) {
        lot.push(move);
        size += move.body.length;
      }
      seenSize += item.size;
      if (size < lotSize && seenSize < lotSize) continue;
      await this.#writer.move(lot);
      await giveWay(env.clock);
      lot = [];
      size = 0;
      seenSize = 0;
    }
    await this.#writer.move(lot);
    if (pack.liveSize > 0 || needed.length < pack.neededDeletionCount) {
      pack.damaged = true;
      env.logger.log("error", "pack store: a pack is kept, since something in it cannot be read", { path: pack.path });
      return false;
    }
    if (needed.length > 0) await this.#writer.delete(needed, true);
    await this.#writer.syncFiles();
    return true;
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
