/** States that somebody reads at leisure, and from which position on they are: what they need is not deleted. */
import type { TreeSnapshot } from "../tree/index.ts";

/** A state that stays as it is. Release the whole of it, not the tree. */
export interface HeldState {
  readonly tree: Omit<TreeSnapshot, "release">;
  /** Idempotent; the tree's methods fail with `invalid` from then on. */
  readonly release: () => void;
}

export class HeldStates {
  /** For each position, how many are held. */
  readonly #counts = new Map<number, number>();

  /** Of each state that is held. */
  get positions(): Iterable<number> {
    return this.#counts.keys();
  }

  /** Of the oldest; infinite when there is none. */
  get oldest(): number {
    return Math.min(...this.#counts.keys());
  }

  hold(position: number, tree: TreeSnapshot): HeldState {
    this.#counts.set(position, (this.#counts.get(position) ?? 0) + 1);
    let held = true;
    return {
      tree,
      release: () => {
        if (!held) return;
        held = false;
        const count = (this.#counts.get(position) ?? 0) - 1;
        if (count > 0) this.#counts.set(position, count);
        else this.#counts.delete(position);
        tree.release();
      },
    };
  }
}
