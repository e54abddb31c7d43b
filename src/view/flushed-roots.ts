/**
 * The states that were written to the blob store and whose pages somebody may still read: the kept checkpoints, the newest
 * state written, and for each state that a reader holds the two next to it.
 *
 * Whatever a frozen state needs of the blob store is in the newest written state that is not younger, or in the oldest
 * that is not older. For a page gets there with a written state that has it; it is in every state from its first to its
 * last; so when that written state is not younger than the reader's, the newest such has the page too, and when it is
 * not older, the oldest such has it.
 */
import type { TreeRoot } from "../tree/index.ts";

export interface FlushedRoot {
  readonly position: number;
  readonly root: TreeRoot;
}

export class FlushedRoots {
  /** Newest first, each position once. */
  #roots: readonly FlushedRoot[];

  constructor(roots: readonly FlushedRoot[]) {
    this.#roots = roots;
  }

  get all(): readonly FlushedRoot[] {
    return this.#roots;
  }

  add(added: FlushedRoot): void {
    const others = this.#roots.filter(({ position }) => position !== added.position);
    this.#roots = [added, ...others].toSorted((a, b) => b.position - a.position);
  }

  /** Forgets all but the newest, those at the positions `kept`, and what states held at the positions `held` need. */
  prune(kept: readonly number[], held: Iterable<number>): void {
    const needed = new Set<number>(kept);
    const [newest] = this.#roots;
    if (newest !== undefined) needed.add(newest.position);
    for (const at of held) {
      const before = this.#roots.find(({ position }) => position <= at);
      const after = this.#roots.findLast(({ position }) => position >= at);
      if (before !== undefined) needed.add(before.position);
      if (after !== undefined) needed.add(after.position);
    }
    this.#roots = this.#roots.filter(({ position }) => needed.has(position));
  }
}
