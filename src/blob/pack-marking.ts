/**
 * Marking and sweeping a pack store (`collection.ts` says what that promises): one bit a slot of the index, since a slot
 * keeps its number as long as its blob is there, wherever its record moves.
 *
 * 1. A slot that is freed and given to another blob is not marked (`PackState.addSlot`).
 * 2. A blob whose put is under way is not swept: it gets the epoch of the moment at which it is written.
 * 3. A damaged blob that somebody marks is `absent`, and all the same not swept: that it is needed and damaged must not
 *    be forgotten. When it has been put anew, its next mark is `new`.
 * 4. What is swept in one slice leaves the index in the turn in which it was chosen, and its deletion is written before
 *    the next slice begins. After a crash a swept blob may be there again until a sync has followed the sweep.
 */
import { assert, giveWay, throwIfAborted } from "../base/index.ts";
import type { Marking, Swept } from "./collection.ts";
import { recordHeaderSize } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import { sliceMs } from "./pack-state.ts";
import type { PackState } from "./pack-state.ts";
import type { PackWriter } from "./pack-writer.ts";
import { SlotMarks } from "./slot-marks.ts";
import type { Hash } from "./store.ts";

/** Slots looked at, and blobs deleted, in one slice at most. */
const slotCountMax = 16_384;
const sweptCountMax = 1_024;

export class PackMarking implements Marking {
  readonly #state: PackState;
  readonly #writer: PackWriter;
  readonly #deleted: () => void;
  readonly #marks = new SlotMarks();
  /** Slots of damaged blobs that are needed (3). */
  readonly #needed = new Set<number>();

  /** `deleted` is called after each slice in which something was deleted. */
  constructor(state: PackState, writer: PackWriter, deleted: () => void) {
    assert(state.marks === undefined, "a marking begins while another is under way");
    this.#state = state;
    this.#writer = writer;
    this.#deleted = deleted;
    state.marks = this.#marks;
  }

  mark(hash: Hash): "new" | "known" | "absent" {
    const state = this.#state;
    this.#checkUse();
    const slot = state.index.find(hash);
    if (slot < 0 || !state.index.isPlaced(slot)) return "absent";
    if (state.isDamaged(slot)) {
      this.#needed.add(slot);
      return "absent";
    }
    return this.#marks.add(slot) ? "new" : "known";
  }

  async *sweep(options: {
    readonly before: number;
    readonly dryRun?: boolean | undefined;
    readonly signal?: AbortSignal | undefined;
  }): AsyncGenerator<Swept, void, undefined> {
    const { before, dryRun = false, signal } = options;
    const { index, env, epoch } = this.#state;
    this.#checkUse();
    assert(before <= epoch, `a sweep below epoch ${before} is asked for in epoch ${epoch}`);
    // Blobs that come from now on are of this epoch, so the slots that there are now are all that matter.
    const { slotCount } = index;
    for (let slot = 0; slot < slotCount;) {
      throwIfAborted(signal);
      this.#checkUse();
      if (!dryRun) this.#writer.check();
      const locations: Location[] = [];
      let [count, size] = [0, 0];
      const endSlot = Math.min(slotCount, slot + slotCountMax);
      const endMs = env.clock.monotonicMs() + sliceMs;
      for (; slot < endSlot && count < sweptCountMax; slot++) {
        if (slot % 256 === 255 && env.clock.monotonicMs() >= endMs) break;
        if (!this.#isGarbage(slot, before)) continue;
        count += 1;
        size += recordHeaderSize + index.storedSizeOf(slot);
        if (!dryRun) locations.push(this.#state.forget(slot));
      }
      if (locations.length > 0) {
        await this.#writer.delete(locations, false);
        this.#deleted();
      }
      if (count > 0) yield { count, size };
      await giveWay(env.clock);
    }
  }

  end(): void {
    if (this.#state.marks === this.#marks) this.#state.marks = undefined;
  }

  #isGarbage(slot: number, before: number): boolean {
    const { index } = this.#state;
    if (!index.isPlaced(slot) || index.epochOf(slot) >= before || this.#marks.has(slot)) return false;
    if (this.#writer.pending.has(slot)) return false;
    return !(this.#needed.size > 0 && this.#needed.has(slot) && this.#state.isDamaged(slot));
  }

  #checkUse(): void {
    assert(this.#state.marks === this.#marks, "a marking is used after its end");
    this.#state.checkOpen();
  }
}
