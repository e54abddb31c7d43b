/**
 * The tree as `apply` sees it, with a way back: it remembers what every edit replaced, and `undo` puts it back in
 * reverse order. Since the tree is canonical, it is then the very tree that it was.
 */
import type { TreeEdit } from "../tree/index.ts";
import type { KeyRange, State, StateEntry } from "./view.ts";

export class UndoState implements State {
  readonly #tree: TreeEdit;
  readonly #keys: Uint8Array[] = [];
  readonly #previous: (Uint8Array | undefined)[] = [];

  constructor(tree: TreeEdit) {
    this.#tree = tree;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#tree.get(key);
  }

  put(key: Uint8Array, value: Uint8Array): Uint8Array | undefined {
    const previous = this.#tree.put(key, value);
    this.#keys.push(key);
    this.#previous.push(previous);
    return previous;
  }

  delete(key: Uint8Array): Uint8Array | undefined {
    const previous = this.#tree.delete(key);
    if (previous !== undefined) {
      this.#keys.push(key);
      this.#previous.push(previous);
    }
    return previous;
  }

  entries(range: KeyRange & { readonly reverse?: boolean }): IterableIterator<StateEntry> {
    return this.#tree.entries(range);
  }

  count(range: KeyRange): number {
    return this.#tree.count(range);
  }

  require(keys: readonly Uint8Array[]): void {
    this.#tree.require(keys);
  }

  /** Forgets the way back: what was done stays. */
  commit(): void {
    this.#keys.length = 0;
    this.#previous.length = 0;
  }

  /** Takes back everything since the last `commit`. */
  undo(): void {
    for (let index = this.#keys.length - 1; index >= 0; index--) {
      const key = this.#keys[index] as Uint8Array;
      const previous = this.#previous[index];
      if (previous === undefined) this.#tree.remove(key);
      else this.#tree.set(key, previous);
    }
    this.commit();
  }
}
