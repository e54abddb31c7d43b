/**
 * What each operation of a history must have found and what it left, key by key, and the least and the latest moment at
 * which that may have been: operations made ready for the search.
 *
 * 1. Operations that failed, and reads of unknown outcome, say nothing and are left out.
 * 2. What a client saw was written by somebody who had begun; that writer took effect before whoever saw it ended. So an
 *    operation of unknown outcome whose value was seen did happen, and by when.
 */
import { operationText } from "./operation.ts";
import type { Cell, Operation, Span } from "./operation.ts";
import { NotLinearizable } from "./not-linearizable.ts";

export interface Effect {
  readonly operation: Operation;
  /** It took effect not before, and not after. Narrowed as more becomes known. */
  begin: number;
  end: number;
  /** It may never have happened. */
  optional: boolean;
  /** Of an optional one: nobody needs it after this. */
  neededUntil: number;
  /** All of it was found so. */
  readonly expects: readonly Cell[];
  /** Unless empty: at least one of these was not found so. */
  readonly refusedBy: readonly Cell[];
  readonly writes: readonly Cell[];
  /** So many of the keys that it deletes were there. */
  readonly deleted: number | undefined;
  /** Of its own change; learnt later where a client only saw what it wrote. */
  revision: number | undefined;
  /** Of the state that it found, where it changed nothing. */
  stateRevision: number | undefined;
}

/** One name for each key and value. */
export function cellName({ key, value }: Cell): string {
  return value === undefined ? key : `${key}\0${value}`;
}

/** Narrowed (2). `initial` is what there was before the first operation. */
export function effectsOf(
  operations: readonly Operation[],
  initial: readonly Cell[],
): { readonly effects: readonly Effect[]; readonly sources: Sources } {
  const keys = keysOf(operations, initial);
  const effects: Effect[] = [];
  for (const operation of operations) {
    const effect = effectOf(operation, keys);
    if (effect !== undefined) effects.push(effect);
  }
  const sources = sourcesOf(effects, initial);
  checkOrigins(effects, sources, operations);
  narrow(effects, sources);
  return { effects, sources };
}

/** Every key that is mentioned, in order. */
function keysOf(operations: readonly Operation[], initial: readonly Cell[]): string[] {
  const keys = new Set(initial.map(({ key }) => key));
  for (const { action, outcome } of operations) {
    for (const { key } of action.guards ?? []) keys.add(key);
    for (const { key } of action.writes ?? []) keys.add(key);
    if (outcome.kind === "ok") for (const { key } of outcome.seen ?? []) keys.add(key);
  }
  // The default order is that of `<` on strings, which is what a span means.
  return [...keys].toSorted();
}

function within({ start, end }: Span, key: string): boolean {
  return key >= start && (end === undefined || key < end);
}

function effectOf(operation: Operation, keys: readonly string[]): Effect | undefined {
  const { action, outcome, begin, end } = operation;
  const { guards = [] } = action;
  const neededUntil = Number.POSITIVE_INFINITY;
  const common = { operation, begin, end, optional: false, neededUntil, deleted: undefined, stateRevision: undefined };
  if (outcome.kind === "failed") return undefined;
  if (outcome.kind === "refused") {
    if (guards.length === 0) return undefined;
    return { ...common, expects: [], refusedBy: guards, writes: [], revision: undefined };
  }
  const writes = writesOf(operation, keys);
  if (outcome.kind === "unknown") {
    if (writes.length === 0) return undefined;
    const open = { end: Number.POSITIVE_INFINITY, optional: true, revision: undefined };
    return { ...common, ...open, expects: guards, refusedBy: [], writes };
  }
  const { seen = [], deleted, revision } = outcome;
  const expects = [...guards, ...seen];
  if (action.lists !== undefined) {
    const there = new Set(seen.map(({ key }) => key));
    for (const key of keys) {
      if (within(action.lists, key) && !there.has(key)) expects.push({ key, value: undefined });
    }
  }
  if (deleted === 0) {
    // Nothing was there to be deleted: that is something it found.
    for (const cell of writes) if (cell.value === undefined) expects.push(cell);
  }
  const changes = deleted === 0 ? writes.filter(({ value }) => value !== undefined) : writes;
  const was = (key: string) => expects.some((cell) => cell.key === key && cell.value !== undefined);
  const certain = (deleted ?? 0) > 0 || changes.some(({ key, value }) => value !== undefined || was(key));
  return {
    ...common,
    expects,
    refusedBy: [],
    writes: changes,
    deleted: deleted === 0 ? undefined : deleted,
    revision: certain ? revision : undefined,
    stateRevision: changes.length === 0 ? revision : undefined,
  };
}

function writesOf({ action }: Operation, keys: readonly string[]): readonly Cell[] {
  const { writes = [], clears } = action;
  if (clears === undefined) return writes;
  const named = new Set(writes.map(({ key }) => key));
  const cleared = keys.filter((key) => within(clears, key) && !named.has(key));
  return [...writes, ...cleared.map((key) => ({ key, value: undefined }))];
}

/** Who may have put a value there; undefined stands for the beginning. */
export type Sources = ReadonlyMap<string, readonly (Effect | undefined)[]>;

function sourcesOf(effects: readonly Effect[], initial: readonly Cell[]): Sources {
  const sources = new Map<string, (Effect | undefined)[]>();
  const add = (cell: Cell, source: Effect | undefined) => {
    if (cell.value === undefined) return;
    const name = cellName(cell);
    const list = sources.get(name);
    if (list === undefined) sources.set(name, [source]);
    else list.push(source);
  };
  for (const cell of initial) add(cell, undefined);
  for (const effect of effects) for (const cell of effect.writes) add(cell, effect);
  return sources;
}

function checkOrigins(effects: readonly Effect[], sources: Sources, operations: readonly Operation[]): void {
  for (const { operation, optional, expects } of effects) {
    if (optional) continue;
    for (const cell of expects) {
      if (cell.value === undefined || sources.has(cellName(cell))) continue;
      const failed = operations.find(
        ({ action, outcome }) =>
          (outcome.kind === "failed" || outcome.kind === "refused") &&
          action.writes?.some(({ key, value }) => key === cell.key && value === cell.value),
      );
      const who = failed === undefined ? "nobody wrote that" : "that was written only by an operation without effect";
      const what = `${operation.client} found ${cell.key} = ${cell.value}; ${who}`;
      throw new NotLinearizable(what, { misfits: failed === undefined ? [operation] : [failed, operation] });
    }
  }
}

/** Narrows until nothing changes (2). */
function narrow(effects: readonly Effect[], sources: Sources): void {
  const queue = effects.filter(({ optional }) => !optional);
  for (let index = 0; index < queue.length; index += 1) {
    const observer = queue[index] as Effect;
    for (const cell of observer.expects) {
      const list = cell.value === undefined ? undefined : sources.get(cellName(cell));
      const writer = list?.length === 1 ? list[0] : undefined;
      if (writer === undefined || writer === observer) continue;
      if (observer.end < writer.begin) throw seenTooEarly(observer, writer, cell);
      if (writer.optional || observer.end < writer.end) {
        writer.optional = false;
        writer.end = Math.min(writer.end, observer.end);
        queue.push(writer);
      }
      observer.begin = Math.max(observer.begin, writer.begin);
    }
  }
}

function seenTooEarly(observer: Effect, writer: Effect, cell: Cell): NotLinearizable {
  const { client } = observer.operation;
  const what = `${client} found ${cell.key} = ${cell.value} before anybody had begun to write that`;
  return new NotLinearizable(`${what}: ${operationText(writer.operation)}`, {
    misfits: [writer.operation, observer.operation],
  });
}
