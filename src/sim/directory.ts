/**
 * The directories of a simulated disk: a tree of names, where every change of a name stays uncertain until the directory
 * it was made in is synced.
 *
 * 1. A creation, renaming or removal is visible at once and durable when `syncDirectory` of its directory completes.
 * 2. In a crash each change that is not durable is kept or lost by itself, whether or not the file's content was synced:
 *    a file whose name is lost is lost, and so is all below a directory whose name is lost.
 * 3. A renaming within one directory is kept or lost as a whole. Between two directories, a crash may leave the file
 *    under both names, but never under neither.
 * 4. Whatever makes a change durable also does so for the older changes of the same names.
 */
import type { SimFile, UnsyncedFate } from "./file.ts";
import type { Prng } from "./prng.ts";

export type Node = SimFile | SimDirectory;

/** A change of names in one directory: takes one away, sets one, or both. */
interface NameChange {
  readonly removes: string | undefined;
  readonly sets: string | undefined;
  readonly node: Node | undefined;
  /** For the half of a renaming that takes away: the half that sets, in another directory (3). */
  readonly arrival: { readonly directory: SimDirectory; readonly change: NameChange } | undefined;
  durable: boolean;
}

export class SimDirectory {
  #current = new Map<string, Node>();
  readonly #durable = new Map<string, Node>();
  #unsynced: NameChange[] = [];

  get(name: string): Node | undefined {
    return this.#current.get(name);
  }

  /** The entries as programs see them, sorted by the code units of their names. */
  entries(): [name: string, node: Node][] {
    return [...this.#current].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }

  add(name: string, node: Node): void {
    this.#change({ removes: undefined, sets: name, node, arrival: undefined, durable: false });
  }

  remove(name: string): void {
    this.#change({ removes: name, sets: undefined, node: undefined, arrival: undefined, durable: false });
  }

  /** Moves the node of `name` to `toName` in `to`, over whatever is there. */
  move(name: string, to: SimDirectory, toName: string): void {
    const node = this.#current.get(name);
    if (to === this) {
      this.#change({ removes: name, sets: toName, node, arrival: undefined, durable: false });
      return;
    }
    const change = to.#change({ removes: undefined, sets: toName, node, arrival: undefined, durable: false });
    const arrival = { directory: to, change };
    this.#change({ removes: name, sets: undefined, node: undefined, arrival, durable: false });
  }

  /** What a sync that begins now covers; for `settle`. */
  mark(): readonly NameChange[] {
    return [...this.#unsynced];
  }

  /** A sync that began at `mark` has completed. */
  settle(mark: readonly NameChange[]): void {
    for (const change of mark) this.#settle(change);
    this.#unsynced = this.#unsynced.filter((change) => !change.durable);
  }

  /** The power is gone, for this directory and all below it. */
  crash(random: Prng, fate: UnsyncedFate): void {
    const directories = this.#tree();
    for (const directory of directories) {
      for (const change of directory.#unsynced) {
        if (fate === "kept" || (fate === "random" && random.chance(0.5))) directory.#settle(change);
      }
    }
    // Only now, since keeping a change of one directory may have kept one of another.
    for (const directory of directories) {
      directory.#unsynced = [];
      directory.#current = new Map(directory.#durable);
    }
  }

  #change(change: NameChange): NameChange {
    apply(this.#current, change);
    this.#unsynced.push(change);
    return change;
  }

  #settle(change: NameChange): void {
    if (change.durable) return;
    change.durable = true;
    // Changes of the same name reach the platter in their order (4).
    for (const older of this.#unsynced) {
      if (older === change) break;
      if (sameName(older, change)) this.#settle(older);
    }
    if (change.arrival !== undefined) change.arrival.directory.#settle(change.arrival.change);
    apply(this.#durable, change);
  }

  /** This directory and all below it, as programs see them or as the platter has them. */
  #tree(found = new Set<SimDirectory>()): Set<SimDirectory> {
    if (found.has(this)) return found;
    found.add(this);
    for (const node of [...this.#current.values(), ...this.#durable.values()]) {
      if (node instanceof SimDirectory) node.#tree(found);
    }
    return found;
  }
}

function sameName(a: NameChange, b: NameChange): boolean {
  const names = [b.removes, b.sets];
  return (a.removes !== undefined && names.includes(a.removes)) || (a.sets !== undefined && names.includes(a.sets));
}

function apply(names: Map<string, Node>, change: NameChange): void {
  if (change.removes !== undefined) names.delete(change.removes);
  if (change.sets !== undefined && change.node !== undefined) names.set(change.sets, change.node);
}
