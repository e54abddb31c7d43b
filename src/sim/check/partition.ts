/**
 * Effects in the form that the search needs. Keys that no operation touches together are searched apart: a history is
 * linearizable if it is for every part (Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent
 * Objects", 1990: locality). Keys and values become small numbers, and all values that nobody found or asked for become
 * one, since no operation can tell them apart.
 */
import type { Effect } from "./effect.ts";
import type { Cell } from "./operation.ts";

/** Numbers of values. */
export const absentValue = 0;
/** Any value that nobody asks for. */
export const otherValue = 1;

/** The place of a key among the keys of its partition, and a value's number. */
export type Slot = readonly [cell: number, value: number];

export interface Step {
  readonly effect: Effect;
  readonly begin: number;
  readonly end: number;
  readonly expects: readonly Slot[];
  readonly refusedBy: readonly Slot[];
  /** At most one for a cell. */
  readonly writes: readonly Slot[];
  readonly deleted: number | undefined;
  /** Of its own change. */
  readonly revision: number | undefined;
  readonly stateRevision: number | undefined;
  /** What it reads: the value that it must find, or -1 if that depends. */
  readonly reads: ReadonlyMap<number, number>;
  /** Nobody can tell that it happened, other than by not finding what was there before: best hidden by another. */
  readonly hides: boolean;
}

/** Optional steps that do the same: they are used in the order in which they begin, the others being no better. */
export interface OptionalGroup {
  readonly begins: readonly number[];
  /** Nobody needs them after this. */
  readonly until: number;
  /** One for all. */
  readonly step: Step;
  /** Touches one cell. */
  readonly simple: boolean;
}

export interface Partition {
  readonly keys: readonly string[];
  /** Texts of the values, by their numbers. */
  readonly values: readonly (string | undefined)[];
  readonly initial: readonly number[];
  /** Those that did happen, in the order in which they begin. */
  readonly steps: readonly Step[];
  /** In the order of their first begins. */
  readonly groups: readonly OptionalGroup[];
}

export function partitions(effects: readonly Effect[], initial: readonly Cell[]): Partition[] {
  const sets = new KeySets();
  for (const effect of effects) sets.join(keysOf(effect));
  const parts = new Map<string, Effect[]>();
  for (const effect of effects) {
    const [first] = keysOf(effect);
    if (first === undefined) continue;
    const root = sets.root(first);
    const part = parts.get(root);
    if (part === undefined) parts.set(root, [effect]);
    else part.push(effect);
  }
  return Array.from(parts.values(), (part) => new PartitionMaker(part, initial).make());
}

function keysOf({ expects, refusedBy, writes }: Effect): string[] {
  return [...expects, ...refusedBy, ...writes].map(({ key }) => key);
}

/** Sets of keys that are joined (union-find, with paths halved). */
class KeySets {
  readonly #parents = new Map<string, string>();

  root(key: string): string {
    let at = key;
    for (;;) {
      const parent = this.#parents.get(at) ?? at;
      if (parent === at) return at;
      const grandparent = this.#parents.get(parent) ?? parent;
      this.#parents.set(at, grandparent);
      at = grandparent;
    }
  }

  join(keys: readonly string[]): void {
    const [first, ...others] = keys;
    if (first === undefined) return;
    const root = this.root(first);
    for (const key of others) this.#parents.set(this.root(key), root);
  }
}

function changesOf({ writes }: Effect): number {
  return Math.min(writes.length, 1);
}

class PartitionMaker {
  readonly #effects: readonly Effect[];
  readonly #initial: ReadonlyMap<string, string | undefined>;
  readonly #cells = new Map<string, number>();
  readonly #numbers = new Map<string, number>();
  readonly #values: (string | undefined)[] = [undefined, undefined];
  /** Cells of which somebody needs that they were changed. */
  readonly #contested = new Set<number>();

  constructor(effects: readonly Effect[], initial: readonly Cell[]) {
    // Changes first: what finds a state that several began to make at one moment must see them all under way.
    this.#effects = effects.toSorted((a, b) => a.begin - b.begin || changesOf(b) - changesOf(a));
    this.#initial = new Map(initial.map(({ key, value }) => [key, value]));
    for (const effect of effects) this.#note(effect);
  }

  #note(effect: Effect): void {
    for (const key of keysOf(effect)) if (!this.#cells.has(key)) this.#cells.set(key, this.#cells.size);
    for (const { value } of [...effect.expects, ...effect.refusedBy]) {
      if (value === undefined || this.#numbers.has(value)) continue;
      this.#numbers.set(value, this.#values.length);
      this.#values.push(value);
    }
    for (const { key } of effect.refusedBy) this.#contested.add(this.#cell(key));
    if (effect.deleted === undefined) return;
    for (const { key, value } of effect.writes) if (value === undefined) this.#contested.add(this.#cell(key));
  }

  #cell(key: string): number {
    return this.#cells.get(key) as number;
  }

  #slot({ key, value }: Cell): Slot {
    return [this.#cell(key), value === undefined ? absentValue : (this.#numbers.get(value) ?? otherValue)];
  }

  make(): Partition {
    const keys = [...this.#cells.keys()];
    const initial = keys.map((key) => this.#slot({ key, value: this.#initial.get(key) })[1]);
    const steps: Step[] = [];
    const groups = new Map<string, { begins: number[]; until: number; step: Step; simple: boolean }>();
    for (const effect of this.#effects) {
      const step = this.#step(effect);
      if (!effect.optional) {
        steps.push(step);
        continue;
      }
      const signature = JSON.stringify([step.expects, step.writes]);
      const group = groups.get(signature);
      if (group === undefined) {
        const simple = new Set([...step.expects, ...step.writes].map(([cell]) => cell)).size === 1;
        groups.set(signature, { begins: [step.begin], until: effect.neededUntil, step, simple });
      } else {
        group.begins.push(step.begin);
        group.until = Math.max(group.until, effect.neededUntil);
      }
    }
    return { keys, values: this.#values, initial, steps, groups: [...groups.values()] };
  }

  #step(effect: Effect): Step {
    const { begin, end, deleted, revision, stateRevision } = effect;
    const expects = effect.expects.map((cell) => this.#slot(cell));
    const refusedBy = effect.refusedBy.map((cell) => this.#slot(cell));
    const writes = effect.writes.map((cell) => this.#slot(cell));
    const reads = new Map(expects);
    for (const [cell] of refusedBy) reads.set(cell, -1);
    if (deleted !== undefined) for (const [cell, value] of writes) if (value === absentValue) reads.set(cell, -1);
    const hides =
      reads.size === 0 &&
      writes.length === 1 &&
      writes.every(([cell, value]) => value === otherValue && !this.#contested.has(cell));
    return { effect, begin, end, expects, refusedBy, writes, deleted, revision, stateRevision, reads, hides };
  }
}

/** A step's change of the cells; undefined if it cannot have found these. The same cells if it changes nothing. */
export function applied(
  { expects, refusedBy, writes, deleted }: Step,
  cells: readonly number[],
): readonly number[] | undefined {
  for (const [cell, value] of expects) if (cells[cell] !== value) return undefined;
  if (refusedBy.length > 0 && refusedBy.every(([cell, value]) => cells[cell] === value)) return undefined;
  if (deleted !== undefined) {
    let count = 0;
    for (const [cell, value] of writes) if (value === absentValue && cells[cell] !== absentValue) count += 1;
    if (count !== deleted) return undefined;
  }
  if (writes.length === 0) return cells;
  const after = cells.slice();
  for (const [cell, value] of writes) after[cell] = value;
  return after;
}
