/** A collection that has begun: what it may count on, until it is over or somebody stops it. */
import { deferred, HoldfastError, toHex } from "../base/index.ts";
import type { TreeRoot, TreeSnapshot } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";
import type { CollectionRoot, CollectionStart, FrozenRoot } from "./collection-start.ts";
import type { FlushedRoot } from "./flushed-roots.ts";
import type { HeldState } from "./held.ts";
import type { Pin, Pins } from "./pins.ts";
import type { StateSnapshot } from "./state.ts";

/** What is given out with its tree, as it is held here. */
type Held<T> = Omit<T, "tree"> & { readonly held: HeldState };

interface BegunParts extends Pick<CollectionStart, "partial" | "epochs"> {
  readonly roots: readonly Held<CollectionRoot>[];
  readonly frozen: readonly Held<FrozenRoot>[];
  readonly older: Held<CollectionStart["older"]>;
  readonly state: StateSnapshot;
  readonly onSwept: () => void;
  readonly onRelease: () => void;
}

export class BegunCollection implements CollectionStart {
  readonly roots: readonly CollectionRoot[];
  readonly frozen: readonly FrozenRoot[];
  readonly older: CollectionStart["older"];
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
    this.frozen = parts.frozen.map(({ held, ...state }) => ({ ...state, tree: held.tree }));
    const { held: olderState, ...older } = parts.older;
    this.older = { ...older, tree: olderState.tree };
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
    const { roots, frozen, older } = this.#parts;
    for (const { held } of [...roots, ...frozen, older]) held.release();
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

/** Newest first, each root once: as that of a snapshot if it is one. */
export function collectionRoots(
  source: RootSource,
  flushed: readonly FlushedRoot[],
  pins: readonly Pin[],
): readonly Held<CollectionRoot>[] {
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
  const snapshots = new Set(pinned.map(({ root }) => nameOf(root)));
  const others = states.filter(({ root }) => !snapshots.has(nameOf(root)));
  const roots: Held<CollectionRoot>[] = [];
  for (const { hold, ...state } of [...others, ...pinned].toSorted((a, b) => b.position - a.position)) {
    const name = nameOf(state.root);
    if (!known.has(name)) roots.push({ ...state, held: hold() });
    known.add(name);
  }
  return roots;
}

function nameOf({ hash }: TreeRoot): string {
  return hash === null ? "" : toHex(hash);
}

/** The states of snapshots that wait to be written, held whatever becomes of the snapshots. */
export function frozenStates(pins: Pins): readonly Held<FrozenRoot>[] {
  const states: Held<FrozenRoot>[] = [];
  for (const { revision, position } of pins.allWaiting()) {
    const held = pins.hold(revision);
    if (held !== undefined) states.push({ position, what: `the snapshot of revision ${revision}`, held });
  }
  return states;
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
