/**
 * Which operations of unknown outcome could explain something that somebody found: the others need not be tried. After
 * an outage there may be hundreds of them, and each that stays may double the work.
 *
 * An operation of unknown outcome whose values nobody saw can explain only that a key was not there, that it was there
 * (somebody deleted it), or that a condition on it did not hold. And only if that was found after it can have happened
 * first, and before something certain took its place. The rest cannot matter: leaving one out of an order that explains
 * everything leaves an order that explains everything.
 */
import { cellName } from "./effect.ts";
import type { Effect, Sources } from "./effect.ts";

/** Narrows the optional ones among the effects, and gives those of them that could explain something. */
export function usefulOnes(effects: readonly Effect[], sources: Sources): Effect[] {
  const certain = effects.filter(({ optional }) => !optional);
  const lifetimes = new Lifetimes(certain);
  const needs = new Needs();
  for (const effect of certain) needs.addOf(effect);
  let left = effects.filter((effect) => effect.optional && narrowByGuards(effect, sources, lifetimes));
  const useful: Effect[] = [];
  for (;;) {
    const found = left.filter((effect) => needs.lastServedBy(effect, lifetimes) !== undefined);
    if (found.length === 0) break;
    useful.push(...found);
    // What one of them needs first may be served by another.
    for (const effect of found) needs.addOf(effect);
    const isFound = new Set(found);
    left = left.filter((effect) => !isFound.has(effect));
  }
  for (const effect of useful) {
    const last = needs.lastServedBy(effect, lifetimes) ?? effect.end;
    effect.neededUntil = Math.min(effect.end, last);
  }
  return useful;
}

/** It can have happened only while what it asks for can have been there. False if that is never. */
function narrowByGuards(effect: Effect, sources: Sources, lifetimes: Lifetimes): boolean {
  for (const cell of effect.expects) {
    if (cell.value === undefined) continue;
    const writers = sources.get(cellName(cell));
    if (writers === undefined) return false;
    if (writers.length > 1) continue;
    const [writer] = writers;
    const [begin, end] =
      writer === undefined ? [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY] : [writer.begin, writer.end];
    effect.begin = Math.max(effect.begin, begin);
    effect.end = Math.min(effect.end, lifetimes.goneBy(cell.key, end));
  }
  return effect.begin <= effect.end;
}

/** When something certain took the place of what a key held. */
class Lifetimes {
  /** For each key, the begins of its certain writes in order, and for each the first end of it and all later ones. */
  readonly #writes = new Map<string, { readonly begins: number[]; readonly ends: number[] }>();

  constructor(certain: readonly Effect[]) {
    for (const { begin, end, writes } of certain.toSorted((a, b) => a.begin - b.begin)) {
      for (const { key } of writes) {
        let list = this.#writes.get(key);
        if (list === undefined) this.#writes.set(key, (list = { begins: [], ends: [] }));
        list.begins.push(begin);
        list.ends.push(end);
      }
    }
    for (const { ends } of this.#writes.values()) {
      for (let index = ends.length - 2; index >= 0; index -= 1) {
        ends[index] = Math.min(ends[index] as number, ends[index + 1] as number);
      }
    }
  }

  /** What was there up to `after` at the latest is gone by then. */
  goneBy(key: string, after: number): number {
    const list = this.#writes.get(key);
    if (list === undefined) return Number.POSITIVE_INFINITY;
    return list.ends[countUpTo(list.begins, after)] ?? Number.POSITIVE_INFINITY;
  }
}

/** How many of these ascending numbers are not above the limit. */
function countUpTo(ascending: readonly number[], limit: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] as number) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Need {
  readonly begin: number;
  readonly end: number;
}

/** When somebody needs a key to be changed, or to be found as it is named. */
class Needs {
  readonly #needs = new Map<string, { readonly needs: Need[]; begins?: number[]; lastEnds?: number[] }>();

  #add(name: string, { begin, end }: Effect): void {
    const known = this.#needs.get(name);
    if (known === undefined) {
      this.#needs.set(name, { needs: [{ begin, end }] });
    } else {
      known.needs.push({ begin, end });
      delete known.begins;
    }
  }

  addOf(effect: Effect): void {
    for (const cell of effect.expects) this.#add(`found ${cellName(cell)}`, effect);
    for (const { key, value } of effect.refusedBy) {
      this.#add(`changed ${key}`, effect);
      if (value !== undefined) this.#add(`found ${key}`, effect);
    }
    if (effect.deleted === undefined) return;
    for (const { key, value } of effect.writes) {
      if (value !== undefined) continue;
      this.#add(`changed ${key}`, effect);
      this.#add(`found ${key}`, effect);
    }
  }

  /** The last moment at which somebody may need what the effect did; undefined if nobody does. */
  lastServedBy({ writes, begin, end }: Effect, lifetimes: Lifetimes): number | undefined {
    let last: number | undefined;
    for (const cell of writes) {
      const goneMs = lifetimes.goneBy(cell.key, end);
      const names = [`found ${cellName(cell)}`, ...(cell.value === undefined ? [] : [`changed ${cell.key}`])];
      for (const name of names) {
        const needed = this.#lastEnd(name, goneMs);
        if (needed !== undefined && needed >= begin) last = Math.max(last ?? needed, needed);
      }
    }
    return last;
  }

  /** The last end of the needs that begin by then. */
  #lastEnd(name: string, beginMax: number): number | undefined {
    const known = this.#needs.get(name);
    if (known === undefined) return undefined;
    if (known.begins === undefined) {
      known.needs.sort((a, b) => a.begin - b.begin);
      known.begins = known.needs.map((need) => need.begin);
      let lastEnd = Number.NEGATIVE_INFINITY;
      known.lastEnds = known.needs.map((need) => (lastEnd = Math.max(lastEnd, need.end)));
    }
    return known.lastEnds?.[countUpTo(known.begins, beginMax) - 1];
  }
}
