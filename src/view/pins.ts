/**
 * The states that snapshots pin, as this member has them: which there are, under what root, and whether their pages are
 * here. The log says which there are (view `snapshot`); the rest each member knows by itself.
 *
 * | a pin is | how it begins                                 | its state                                                |
 * | -------- | --------------------------------------------- | -------------------------------------------------------- |
 * | new      | `apply`: its command was applied              | is the running one, until `freeze`                       |
 * | waiting  | `freeze`, before anything else is applied     | is frozen in memory; a crash leads to its command again  |
 * | written  | `written`: its checkpoint is durable          | is a root with all its pages; its checkpoint is kept     |
 * | sealed   | `apply`: the log says the root too            | the same; kept checkpoints of later states know the root |
 * | lacking  | `replace`: it came with another's state       | has pages that are not here, until `fetched`             |
 *
 * Invariants:
 *  1. No checkpoint of a later state is durable before all that wait are written (the Checkpointer's part).
 *  2. The checkpoint of a pin is kept until both kept checkpoints are of states in which the pin is sealed or deleted.
 *  3. A pin stays one, though it is deleted, until both kept checkpoints are of states without it and nobody reads it: so
 *     whatever checkpoint a start begins with, the pages of its snapshots are here.
 *  4. Two members that have pinned different states under one revision have diverged: `diverged` is called.
 *
 * After a crash: `open` finds a pin by its checkpoint, by its seal, or not yet, when its command will be applied again.
 */
import { HoldfastError, Signal, toHex } from "../base/index.ts";
import type { TreeRoot, TreeSnapshot } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import type { KeptCheckpoint } from "./checkpoint.ts";
import type { HeldState } from "./held.ts";
import type { NamedSnapshot } from "./snapshot/snapshot-source.ts";
import type { SnapshotChange } from "./snapshot/snapshot-view.ts";
import type { FrozenState } from "./state.ts";

/** So many may wait to be written, each with what has changed since the one before in memory; then applying waits. */
const waitingCountMax = 8;

/** One pinned state; several names may be of one revision. */
export class Pin {
  readonly revision: number;
  readonly position: number;
  readonly names = new Set<string>();
  /** While it waits; and then as long as somebody reads it. */
  frozen: FrozenState | undefined;
  frozenReaderCount = 0;
  /** What this member has found to be its root. */
  own: TreeRoot | undefined;
  /** What the log says. */
  sealed: TreeRoot | undefined;
  /** Behind the command that sealed it; infinite if there was none. A later position will do. */
  sealedAt = Number.POSITIVE_INFINITY;
  /** Behind the command that took its last name away, likewise. */
  deletedAt = Number.POSITIVE_INFINITY;
  readerCount = 0;
  /** It is being written, and must not go meanwhile. */
  writing = false;
  /** Not all of its pages are here, or its root is not known. */
  lacking = false;

  constructor(revision: number, position: number) {
    this.revision = revision;
    this.position = position;
  }

  get root(): TreeRoot | undefined {
    return this.own ?? this.sealed;
  }

  get waits(): boolean {
    return this.own === undefined && this.frozen !== undefined && this.names.size > 0;
  }
}

/** What a state says of its snapshots, and what the checkpoint of that state knows. */
export interface PinnedBy {
  readonly record: KeptCheckpoint;
  readonly snapshots: readonly NamedSnapshot[];
}

export interface PinsSource {
  readonly seed: Uint8Array;
  /** The state of a root, for reading. */
  at(root: TreeRoot): TreeSnapshot;
  diverged(error: HoldfastError): void;
}

export interface PinToSeal {
  readonly name: string;
  readonly revision: number;
  readonly root: TreeRoot;
}

export interface PinToFetch {
  readonly revision: number;
  /** One of its names, for messages. */
  readonly name: string;
  readonly root: TreeRoot;
}

export class Pins {
  readonly #source: PinsSource;
  /** By revision, which is also the order of their positions. */
  readonly #pins = new Map<number, Pin>();
  readonly #listeners = new Set<{ readonly call: () => void }>();
  readonly #room = new Signal();
  #hasNew = false;
  #closing = false;
  #olderKept = 0;

  constructor(source: PinsSource) {
    this.#source = source;
  }

  /**
   * The pins of a state that is opened, given what the checkpoint before it says too, and all records that there are:
   * those beside the newest two are of pins.
   */
  open(newest: PinnedBy, older: PinnedBy | undefined, records: readonly KeptCheckpoint[]): void {
    const written = new Map(records.map((record) => [record.position, rootOf(record)]));
    const unsealedBefore = new Set(older?.snapshots.filter(({ sealed }) => !sealed).map(({ revision }) => revision));
    for (const [by, isNewest] of [[newest, true] as const, ...(older === undefined ? [] : [[older, false] as const])]) {
      const { record, snapshots } = by;
      for (const snapshot of snapshots) {
        if (!isNewest && this.#pins.has(snapshot.revision)) {
          continue;
        }
        const pin = this.#add(snapshot, isNewest ? record.position : newest.record.position);
        pin.own = written.get(pin.position);
        // Sealed in both: nobody will ask for its checkpoint again.
        if (pin.sealed !== undefined && isNewest && !unsealedBefore.has(pin.revision)) pin.sealedAt = 0;
        if (!isNewest) pin.deletedAt = newest.record.position;
        pin.lacking = pin.own === undefined && (pin.sealed === undefined || isLacking(record, pin));
      }
    }
    for (const pin of this.#pins.values()) {
      if (pin.deletedAt < Number.POSITIVE_INFINITY) pin.names.clear();
    }
    this.#olderKept = older?.record.position ?? newest.record.position;
  }

  /** Another state takes the place of the running one. What of its snapshots was not known here is lacking. */
  replace({ record, snapshots }: PinnedBy): void {
    for (const pin of this.#pins.values()) pin.names.clear();
    for (const snapshot of snapshots) {
      const known = this.#pins.has(snapshot.revision);
      const pin = this.#add(snapshot, record.position);
      if (!known) pin.lacking = true;
      if (pin.position === record.position) {
        pin.own ??= rootOf(record);
        pin.lacking = false;
      }
      this.#compare(pin);
    }
    for (const pin of this.#pins.values()) {
      if (pin.names.size === 0) pin.deletedAt = Math.min(pin.deletedAt, record.position);
    }
    this.#changed();
  }

  /** What is lacking right after `replace`. */
  lackingAfter({ record, snapshots }: PinnedBy): readonly number[] {
    const lacking = snapshots.filter(({ revision, position }) => {
      return position !== record.position && (this.#pins.get(revision)?.lacking ?? true);
    });
    return [...new Set(lacking.map(({ revision }) => revision))];
  }

  #add(snapshot: NamedSnapshot, at: number): Pin {
    const { name, revision, position, sealed } = snapshot;
    let pin = this.#pins.get(revision);
    if (pin === undefined) this.#pins.set(revision, (pin = new Pin(revision, position)));
    pin.names.add(name);
    if (sealed) this.#seal(pin, snapshot, at);
    return pin;
  }

  #seal(pin: Pin, { rootHash, count }: Pick<NamedSnapshot, "rootHash" | "count">, at: number): void {
    pin.sealed ??= { hash: rootHash, seed: this.#source.seed, count };
    pin.sealedAt = Math.min(pin.sealedAt, at);
  }

  /** What a command has done, which ended at the position. */
  apply(change: SnapshotChange, position: number): void {
    if (change.type === "created") {
      this.#add({ name: change.name, ...change.snapshot }, position);
      this.#hasNew = true;
    } else if (change.type === "sealed") {
      const pin = this.#pins.get(change.snapshot.revision);
      if (pin === undefined) return;
      this.#seal(pin, change.snapshot, position);
      this.#compare(pin);
    } else this.#delete(change, position);
    this.#changed();
  }

  #delete({ name, revision }: { readonly name: string; readonly revision: number }, position: number): void {
    const pin = this.#pins.get(revision);
    pin?.names.delete(name);
    if (pin === undefined || pin.names.size > 0) return;
    pin.deletedAt = position;
    // No checkpoint is of a state that has it, unless one is being written.
    if (pin.own === undefined && !pin.writing) pin.deletedAt = 0;
    this.#letGo(pin);
  }

  #compare(pin: Pin): void {
    const { own, sealed } = pin;
    if (own === undefined || sealed === undefined) return;
    if (own.count === sealed.count && textOf(own) === textOf(sealed)) return;
    const found = `snapshot ${nameOf(pin)} of revision ${pin.revision} has the root ${textOf(own)} here and ${textOf(sealed)} elsewhere`;
    const remedy = "the members' states have diverged, which is a bug: replace this member, and report it";
    this.#source.diverged(new HoldfastError("corrupt", `${found}: ${remedy}`));
  }

  /** There is one whose state is the running one and must be frozen before anything else is applied. */
  get hasNew(): boolean {
    return this.#hasNew;
  }

  freeze(state: FrozenState): void {
    this.#hasNew = false;
    let pinned = false;
    for (const pin of this.#pins.values()) {
      if (pin.position !== state.record.position || pin.own !== undefined || pin.names.size === 0) continue;
      pin.frozen = state;
      pinned = true;
    }
    if (!pinned) state.release();
    this.#changed();
  }

  /** The first that waits to be written. */
  get waiting(): Pin | undefined {
    let first: Pin | undefined;
    for (const pin of this.#pins.values()) {
      if (pin.waits && (first === undefined || pin.position < first.position)) first = pin;
    }
    return first;
  }

  /** All of them. */
  allWaiting(): readonly Pin[] {
    return [...this.#pins.values()].filter(({ waits }) => waits);
  }

  /** Its checkpoint is being written. */
  begin(pin: Pin): void {
    pin.writing = true;
  }

  /** That failed: it waits on. */
  failed(pin: Pin): void {
    pin.writing = false;
    if (pin.names.size === 0) pin.deletedAt = 0;
    this.#letGo(pin);
    this.#changed();
  }

  /** Its checkpoint is durable. */
  written(pin: Pin, root: TreeRoot): void {
    pin.writing = false;
    pin.own = root;
    this.#compare(pin);
    this.#letGo(pin);
    this.#changed();
  }

  /** Undefined when no more wait than may; else resolves when it is worth asking again. */
  room(): Promise<void> | undefined {
    if (this.#closing) return undefined;
    return this.allWaiting().length < waitingCountMax ? undefined : this.#room.wait();
  }

  /** From now on nobody waits for room: what is still to be applied is bounded. */
  close(): void {
    this.#closing = true;
    this.#room.notify();
  }

  /** The kept checkpoints are at this position and later ones. */
  kept(older: number): void {
    this.#olderKept = older;
    for (const pin of this.#pins.values()) this.#letGo(pin);
  }

  /** Takes away what is not needed any more of a pin, and the pin itself. */
  #letGo(pin: Pin): void {
    const read = pin.frozenReaderCount > 0;
    if (!pin.waits && !pin.writing && !read && pin.frozen !== undefined) {
      pin.frozen.release();
      pin.frozen = undefined;
    }
    if (pin.names.size > 0 || pin.readerCount > 0 || pin.writing || pin.deletedAt > this.#olderKept) return;
    this.#pins.delete(pin.revision);
  }

  /** Whether there are any, deleted ones that are still needed included. */
  get any(): boolean {
    return this.#pins.size > 0;
  }

  /** Positions of checkpoints that are needed beside the newest two, the older of which is at `older` (invariant 2). */
  files(older: number): ReadonlySet<number> {
    const positions = new Set<number>();
    for (const pin of this.#pins.values()) {
      if (pin.own !== undefined && pin.sealedAt > older && pin.deletedAt > older) positions.add(pin.position);
    }
    return positions;
  }

  /** Revisions of those that a checkpoint taken now has to say are lacking. */
  get lacking(): readonly number[] {
    const lacking = [...this.#pins.values()].filter((pin) => pin.lacking && pin.names.size > 0);
    return lacking.map(({ revision }) => revision).toSorted((a, b) => a - b);
  }

  /** Those all of whose pages are in the blob store, and those of which only some may be. */
  roots(): { readonly whole: readonly Pin[]; readonly partial: readonly TreeRoot[] } {
    const known = [...this.#pins.values()].filter(({ root }) => root !== undefined);
    const whole = known.filter(({ lacking }) => !lacking);
    const partial = known.filter(({ lacking }) => lacking).map(({ root }) => root as TreeRoot);
    return { whole, partial };
  }

  /**
   * The state pinned at a revision, until it is released, whatever becomes of the snapshot; undefined when none pins it.
   * `unavailable` when its pages are not here.
   */
  hold(revision: number): HeldState | undefined {
    const pin = this.#pins.get(revision);
    if (pin === undefined || pin.names.size === 0) return undefined;
    if (pin.own === undefined && pin.frozen !== undefined) {
      pin.frozenReaderCount++;
      return this.#reading(pin, pin.frozen.tree, () => pin.frozenReaderCount--);
    }
    if (pin.root === undefined || pin.lacking) throw lackingError(pin);
    const tree = this.#source.at(pin.root);
    return this.#reading(pin, tree, () => tree.release());
  }

  #reading(pin: Pin, tree: HeldState["tree"], end: () => void): HeldState {
    pin.readerCount++;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      end();
      pin.readerCount--;
      this.#letGo(pin);
    };
    return { tree, release };
  }

  /** Those whose root is known here for certain and not said in the log. */
  toSeal(): readonly PinToSeal[] {
    const seals: PinToSeal[] = [];
    for (const { names, revision, own, sealed } of this.#pins.values()) {
      if (own !== undefined && sealed === undefined)
        for (const name of names) seals.push({ name, revision, root: own });
    }
    return seals;
  }

  /** Those whose root is known and whose pages may not be here. */
  toFetch(): readonly PinToFetch[] {
    const fetches: PinToFetch[] = [];
    for (const { names, revision, root, lacking } of this.#pins.values()) {
      const [name] = names;
      if (lacking && root !== undefined && name !== undefined) fetches.push({ revision, name, root });
    }
    return fetches;
  }

  /** All pages of one are here and durable. Who brought them holds the blobs until it has said so. */
  fetched(revision: number): void {
    const pin = this.#pins.get(revision);
    if (pin === undefined) return;
    pin.lacking = false;
    this.#changed();
  }

  /** Calls `listener` after every change of what there is to seal or to fetch, and perhaps without any. */
  onChange(listener: () => void): () => void {
    const entry = { call: listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  #changed(): void {
    this.#room.notify();
    for (const { call } of this.#listeners) call();
  }
}

function isLacking({ lackingPins = [] }: KeptCheckpoint, { revision }: Pin): boolean {
  return lackingPins.includes(revision);
}

function textOf({ hash }: TreeRoot): string {
  return hash === null ? "of the empty state" : toHex(hash);
}

function nameOf({ names }: Pin): string {
  const [name] = names;
  return name === undefined ? "(deleted)" : JSON.stringify(name);
}

function lackingError(pin: Pin): HoldfastError {
  const what = `the state of snapshot ${nameOf(pin)} is not on this member yet`;
  const why =
    pin.root === undefined ? "no member that has it has said its root" : "its pages are being fetched from the others";
  return new HoldfastError("unavailable", `${what}: ${why}; ask another member, or again later`);
}
