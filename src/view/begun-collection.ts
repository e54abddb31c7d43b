/** A collection that has begun: what it may count on, until it is over or somebody stops it. */
import { deferred, HoldfastError, toHex } from "../base/index.ts";
import type { TreeRoot, TreeSnapshot } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";
import type { CollectionRoot, CollectionStart } from "./collection-start.ts";
import type { FlushedRoot } from "./flushed-roots.ts";
import type { HeldState } from "./held.ts";
import type { Pin } from "./pins.ts";
import type { StateSnapshot } from "./state.ts";

type BegunRoot = Omit<CollectionRoot, "tree"> & { readonly held: HeldState };

interface BegunParts extends Pick<CollectionStart, "partial" | "epochs"> {
  readonly roots: readonly BegunRoot[];
  readonly state: StateSnapshot;
  readonly onSwept: () => void;
  readonly onRelease: () => void;
}

export class BegunCollection implements CollectionStart {
  readonly roots: readonly CollectionRoot[];
  readonly partial: CollectionStart["partial"];
  readonly state: StateSnapshot;
  readonly epochs: readonly number[];
  readonly #parts: BegunParts;
  readonly #stop = new AbortController();
  readonly #over = deferred<void>();
  #released = false;

  constructor(parts: BegunParts) {
    this.#parts = parts;
    this.roots = parts.roots.map(({ held, ...root }) => ({ ...root, tree: held.tree }));
    this.partial = parts.partial;
    this.state = parts.state;
    this.epochs = parts.epochs;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  mayDelete(): boolean {
    return !this.#stop.signal.aborted && !this.#released;
  }

  /** Nothing may be deleted any more. */
  stop(): void {
    this.#stop.abort();
  }

  /** Resolves when it is released. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  swept(): void {
    this.#parts.onSwept();
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const { held } of this.#parts.roots) held.release();
    this.state.release();
    this.#parts.onRelease();
    this.#over.resolve();
  }
}

export interface RootSource {
  /** The state of a root that was written, held at its position. */
  at(position: number, root: TreeRoot): HeldState;
  /** The same, not held. */
  atRoot(root: TreeRoot): TreeSnapshot;
}

/** Newest first, each root once. */
export function collectionRoots(
  source: RootSource,
  flushed: readonly FlushedRoot[],
  pins: readonly Pin[],
): readonly BegunRoot[] {
  const states = flushed.map(({ position, root }) => {
    return { position, root, what: `the state at position ${position}`, hold: () => source.at(position, root) };
  });
  const pinned = pins.map((pin) => {
    const root = pin.root as TreeRoot;
    const hold = () => {
      const tree = source.atRoot(root);
      return { tree, release: () => tree.release() };
    };
    return { position: pin.position, root, what: `the snapshot of revision ${pin.revision}`, hold };
  });
  const known = new Set<string>();
  const roots: BegunRoot[] = [];
  for (const { hold, ...state } of [...states, ...pinned].toSorted((a, b) => b.position - a.position)) {
    const name = state.root.hash === null ? "" : toHex(state.root.hash);
    if (!known.has(name)) roots.push({ ...state, held: hold() });
    known.add(name);
  }
  return roots;
}

/** States whose fetching has not come to its end. The notes only save work: damaged ones are none. */
export async function unfinished(fetching: CheckpointStore | undefined, last: CheckpointRecord): Promise<TreeRoot[]> {
  try {
    const notes = (await fetching?.load()) ?? [];
    return notes.filter(({ position }) => position > last.position).map(rootOf);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "corrupt") return [];
    throw error;
  }
}
