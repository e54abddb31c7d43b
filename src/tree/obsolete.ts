/**
 * Which blobs may be deleted: those that were in a flushed root and are in no later one, once no snapshot needs them.
 *
 * Time is counted in epochs: flush number n ends epoch n - 1. A block that leaves the state in epoch n was in it when
 * that epoch began. A state that was frozen, or flushed, in epoch n has nothing that left before; so it needs what leaves
 * in epoch n or later. A flush may also write a state that was frozen in an earlier epoch: then that epoch is its own.
 *
 * Invariants:
 *  1. A hash in `#epochs` is not in the running state as it was when the last flush began: `written` takes a hash out
 *     that a flush has encoded again, and a block becomes clean only by a flush that began when all blocks of the same
 *     hash that left before were in `#epochs`.
 *  2. Hence, and because a hash occurs at most once in a root (page.ts, invariant 5), a hash that is neither held nor
 *     younger than a durable root is needed by nobody who reads a state of this process.
 */
import type { HashText } from "./format.ts";
import type { Block } from "./page.ts";

export class ObsoleteBlobs {
  /** The current epoch: how many flushes have begun. */
  epoch = 0;
  /** What left in the current epoch. A block under flush has no hash yet, so blocks are kept, until the next flush. */
  #hashes: HashText[] = [];
  #blocks: Block[] = [];
  /** Obsolete blobs, and the epoch in which they left. */
  readonly #epochs = new Map<HashText, number>();
  /** For each epoch that a snapshot holds, how many do. */
  readonly #held = new Map<number, number>();

  /** The state does without a block that a flush has taken. */
  retire(block: Block): void {
    if (block.generation !== 0) this.#blocks.push(block);
    else if (block.hash !== "") this.#hashes.push(block.hash);
  }

  /** Ends the epoch. The flushes before this one are over, so that every block they took has its hash. */
  beginFlush(): void {
    for (const hash of this.#hashes) this.#epochs.set(hash, this.epoch);
    for (const block of this.#blocks) if (block.hash !== "") this.#epochs.set(block.hash, this.epoch);
    this.#hashes = [];
    this.#blocks = [];
    this.epoch++;
  }

  /** The root under flush has this blob. */
  written(hash: HashText): void {
    this.#epochs.delete(hash);
  }

  hold(epoch: number): void {
    this.#held.set(epoch, (this.#held.get(epoch) ?? 0) + 1);
  }

  release(epoch: number): void {
    const count = (this.#held.get(epoch) ?? 0) - 1;
    if (count > 0) this.#held.set(epoch, count);
    else this.#held.delete(epoch);
  }

  /** Hands over, once, all that left before `epoch` and before anything that is held. */
  take(epoch: number): HashText[] {
    return this.#takeBefore(Math.min(epoch, ...this.#held.keys()));
  }

  /** Forgets all that left before `epoch`, held or not; says how many. */
  forget(epoch: number): number {
    return this.#takeBefore(epoch).length;
  }

  #takeBefore(before: number): HashText[] {
    const taken: HashText[] = [];
    for (const [hash, left] of this.#epochs) {
      if (left >= before) continue;
      taken.push(hash);
      this.#epochs.delete(hash);
    }
    return taken;
  }
}
