/**
 * What the revisions say about the order of a history. Changes happened in the order of their revisions; so what is known
 * of one bounds the moments of its neighbours, and little is left for the search to try. A store that hands out
 * revisions in another order than it acknowledges is found out here, with the two operations that show it.
 *
 * 1. A value has one revision, whoever saw it; two operations do not share one.
 * 2. A change happened not before any change with a lower revision began, nor after any with a higher one ended.
 * 3. A key was found at a revision after the change that made it, and before the next change of that key.
 */
import type { Effect } from "./effect.ts";
import { cellName } from "./effect.ts";
import { NotLinearizable } from "./not-linearizable.ts";
import type { Cell, Operation } from "./operation.ts";

/** A revision with the moments between which it was made, and the operations that say so. */
interface Change {
  readonly revision: number;
  /** Who made it, if that is known: some changes are only known from the revision that somebody found. */
  readonly effect: Effect | undefined;
  begin: number;
  beginSays: Effect | undefined;
  end: number;
  endSays: Effect | undefined;
}

/** Narrows the effects, and gives those whose value was only seen their revision. Optional effects are left alone. */
export function narrowByRevisions(effects: readonly Effect[]): FreeRevisions {
  const certain = effects.filter(({ optional }) => !optional);
  learnRevisions(certain);
  const order = new ChangeOrder(certain);
  const sightings = certain.flatMap((effect) => order.sightingsOf(effect));
  for (const sighting of sightings) order.bound(sighting);
  order.spread();
  order.narrowChanges();
  for (const sighting of sightings) narrowSighting(sighting);
  return new FreeRevisions(certain, order.changes);
}

/** Revisions that nobody is known to have made: the changes of unknown outcome have taken them, or others still. */
export class FreeRevisions {
  /** Revisions that somebody found, with their bounds in time. */
  readonly #known: readonly number[];
  readonly #begins: readonly number[];
  readonly #ends: readonly number[];
  /** For each that is taken, the next that is not. */
  readonly #nextFree = new Map<number, number>();

  constructor(effects: readonly Effect[], changes: readonly Change[]) {
    this.#known = changes.map(({ revision }) => revision);
    this.#begins = changes.map(({ begin }) => begin);
    this.#ends = changes.map(({ end }) => end);
    const taken = effects.flatMap(({ revision }) => revision ?? []).toSorted((a, b) => b - a);
    for (const revision of taken) this.#nextFree.set(revision, this.#nextFree.get(revision + 1) ?? revision + 1);
  }

  /** The lowest above `above` that can have been made after `begin` and before `end`. */
  next(above: number, begin: number, end: number): number | undefined {
    const endedCount = countBelow(this.#ends, begin);
    const lowest = Math.max(above, this.#known[endedCount - 1] ?? 0) + 1;
    const free = this.#nextFree.get(lowest) ?? lowest;
    const beforeCount = countBelow(this.#known, free);
    return (this.#begins[beforeCount - 1] ?? end) <= end ? free : undefined;
  }
}

/** How many of these ascending numbers are below the limit. */
function countBelow(ascending: readonly number[], limit: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] as number) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Somebody found the state as it was after one change and before another. */
interface Sighting {
  readonly effect: Effect;
  readonly after: Change | undefined;
  readonly before: Change | undefined;
}

function learnRevisions(effects: readonly Effect[]): void {
  const writers = new Map<string, Effect | undefined>();
  for (const effect of effects) {
    for (const cell of effect.writes) {
      if (cell.value === undefined) continue;
      const name = cellName(cell);
      writers.set(name, writers.has(name) ? undefined : effect);
    }
  }
  const learnt = new Map<Effect, { readonly revision: number; readonly from: Effect }>();
  for (const effect of effects)
    if (effect.revision !== undefined) learnt.set(effect, { revision: effect.revision, from: effect });
  for (const effect of effects) {
    for (const cell of effect.expects) {
      const writer = cell.value === undefined ? undefined : writers.get(cellName(cell));
      if (writer === undefined || cell.revision === undefined) continue;
      const known = learnt.get(writer);
      if (known === undefined) {
        learnt.set(writer, { revision: cell.revision, from: effect });
        writer.revision = cell.revision;
      } else if (known.revision !== cell.revision) {
        throw differing(writer, known, cell, effect);
      }
    }
  }
}

function differing(
  writer: Effect,
  known: { readonly revision: number; readonly from: Effect },
  cell: Cell,
  observer: Effect,
): NotLinearizable {
  const what = `${cell.key} = ${cell.value} was written at revision ${known.revision}, and found at ${cell.revision}`;
  return new NotLinearizable(what, { misfits: operationsOf([writer, known.from, observer]) });
}

function operationsOf(effects: readonly (Effect | undefined)[]): Operation[] {
  return [...new Set(effects)].flatMap((effect) => (effect === undefined ? [] : [effect.operation]));
}

class ChangeOrder {
  /** In the order of their revisions. */
  readonly changes: readonly Change[];
  readonly #byKey = new Map<string, Change[]>();

  constructor(effects: readonly Effect[]) {
    const changes = new Map<number, Change>();
    for (const effect of effects) {
      const { revision, begin, end } = effect;
      if (revision === undefined) continue;
      const other = changes.get(revision);
      if (other !== undefined) {
        const what = `two operations were told that they made revision ${revision}`;
        throw new NotLinearizable(what, { misfits: operationsOf([other.effect, effect]) });
      }
      changes.set(revision, { revision, effect, begin, beginSays: effect, end, endSays: effect });
    }
    for (const { stateRevision: revision } of effects) {
      if (revision !== undefined && !changes.has(revision)) changes.set(revision, someChange(revision));
    }
    this.changes = [...changes.values()].toSorted((a, b) => a.revision - b.revision);
    for (const change of this.changes) this.#addToKeys(change);
  }

  #addToKeys(change: Change): void {
    for (const key of new Set(change.effect?.writes.map((cell) => cell.key))) {
      const list = this.#byKey.get(key);
      if (list === undefined) this.#byKey.set(key, [change]);
      else list.push(change);
    }
  }

  sightingsOf(effect: Effect): Sighting[] {
    const sightings: Sighting[] = [];
    const { stateRevision } = effect;
    if (stateRevision !== undefined) sightings.push(sighting(effect, this.changes, stateRevision));
    for (const { key, revision } of effect.expects) {
      if (revision !== undefined) sightings.push(sighting(effect, this.#byKey.get(key) ?? [], revision));
    }
    return sightings;
  }

  /** What a sighting says about the changes around it (3). */
  bound({ effect, after, before }: Sighting): void {
    if (after !== undefined && effect.end < after.end && effect !== after.effect) {
      after.end = effect.end;
      after.endSays = effect;
    }
    if (before !== undefined && effect.begin > before.begin && effect !== before.effect) {
      before.begin = effect.begin;
      before.beginSays = effect;
    }
  }

  /** Each change's bounds become those of all before and behind it (2). */
  spread(): void {
    const changes = this.changes;
    for (let index = 1; index < changes.length; index += 1) {
      const [before, change] = [changes[index - 1] as Change, changes[index] as Change];
      if (before.begin > change.begin) [change.begin, change.beginSays] = [before.begin, before.beginSays];
    }
    for (let index = changes.length - 2; index >= 0; index -= 1) {
      const [change, next] = [changes[index] as Change, changes[index + 1] as Change];
      if (next.end < change.end) [change.end, change.endSays] = [next.end, next.endSays];
    }
  }

  narrowChanges(): void {
    for (const { revision, effect, begin, beginSays, end, endSays } of this.changes) {
      if (begin > end) {
        const what = `the order of the revisions around ${revision} is not that of the operations`;
        throw new NotLinearizable(what, { misfits: operationsOf([endSays, effect, beginSays]) });
      }
      if (effect === undefined) continue;
      effect.begin = Math.max(effect.begin, begin);
      effect.end = Math.min(effect.end, end);
    }
  }
}

function someChange(revision: number): Change {
  const [begin, end] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  return { revision, effect: undefined, begin, beginSays: undefined, end, endSays: undefined };
}

/** The last change up to the revision, and the first behind it. */
function sighting(effect: Effect, changes: readonly Change[], revision: number): Sighting {
  let low = 0;
  let high = changes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((changes[middle] as Change).revision <= revision) low = middle + 1;
    else high = middle;
  }
  return { effect, after: changes[low - 1], before: changes[low] };
}

function narrowSighting({ effect, after, before }: Sighting): void {
  if (after !== undefined && after.effect !== effect) effect.begin = Math.max(effect.begin, after.begin);
  if (before !== undefined && before.effect !== effect) effect.end = Math.min(effect.end, before.end);
  if (effect.begin <= effect.end) return;
  const culprits = [after?.beginSays, after?.effect, effect, before?.effect, before?.endSays];
  const what = `${effect.operation.client} found a state that was no longer, or not yet, the present one`;
  throw new NotLinearizable(what, { misfits: operationsOf(culprits) });
}
