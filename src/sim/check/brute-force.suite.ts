/**
 * The slow twin of the linearizability checker: tries every order of every choice of the operations, on plain maps, as
 * the definition says. For a handful of operations.
 */
import type { Cell, Operation } from "./operation.ts";

interface Options {
  readonly initial?: readonly Cell[];
  readonly revisions: boolean;
}

type State = ReadonlyMap<string, string>;

/** Whether some order explains the history. */
export function isLinearizable(operations: readonly Operation[], { initial = [], revisions }: Options): boolean {
  const certain = operations.filter(({ outcome }) => outcome.kind === "ok" || outcome.kind === "refused");
  const uncertain = operations.filter(({ outcome }) => outcome.kind === "unknown");
  const state: State = new Map(initial.map(({ key, value = "" }) => [key, value]));
  const seenRevisions = revisions ? revisionsOf(operations) : new Map<string, number>();
  if (seenRevisions === undefined) return false;
  const told = operations.flatMap(({ action, outcome }) => {
    if (outcome.kind !== "ok" || outcome.revision === undefined) return [];
    return (outcome.deleted ?? 0) > 0 || hasPut(action) ? [outcome.revision] : [];
  });
  const taken = new Set([...told, ...seenRevisions.values()]);
  const known = revisions ? seenRevisions : undefined;
  return tryAll({ state, left: certain, uncertain, revisions: known, taken, lastRevision: 0 });
}

function hasPut({ writes = [] }: Operation["action"]): boolean {
  return writes.some(({ value }) => value !== undefined);
}

/** The revision of each value as somebody saw it; undefined if they disagree. */
function revisionsOf(operations: readonly Operation[]): Map<string, number> | undefined {
  const revisions = new Map<string, number>();
  for (const { outcome } of operations) {
    if (outcome.kind !== "ok") continue;
    for (const { key, value, revision } of outcome.seen ?? []) {
      if (value === undefined || revision === undefined) continue;
      const name = `${key}=${value}`;
      if ((revisions.get(name) ?? revision) !== revision) return undefined;
      revisions.set(name, revision);
    }
  }
  return revisions;
}

interface Present {
  readonly state: State;
  readonly left: readonly Operation[];
  readonly uncertain: readonly Operation[];
  readonly revisions: ReadonlyMap<string, number> | undefined;
  /** Revisions that are known to be somebody's. */
  readonly taken: ReadonlySet<number>;
  readonly lastRevision: number;
}

function tryAll(present: Present): boolean {
  const { left, uncertain } = present;
  if (left.length === 0) return true;
  const mayBeNext = (operation: Operation) =>
    left.every((other) => other === operation || !(other.end < operation.begin));
  for (const operation of [...left, ...uncertain]) {
    if (!mayBeNext(operation)) continue;
    const after = happen(operation, present);
    if (after === undefined) continue;
    const without = (list: readonly Operation[]) => list.filter((other) => other !== operation);
    if (tryAll({ ...present, ...after, left: without(left), uncertain: without(uncertain) })) return true;
  }
  return false;
}

function happen(
  { action, outcome }: Operation,
  { state, revisions, taken, lastRevision }: Present,
): { state: State; lastRevision: number } | undefined {
  const { guards = [], writes = [], clears, lists } = action;
  const holds = guards.every(({ key, value }) => state.get(key) === value);
  if (outcome.kind === "refused") return holds ? undefined : { state, lastRevision };
  if (!holds) return undefined;
  const inside = (span: typeof clears, key: string) =>
    span !== undefined && key >= span.start && (span.end === undefined || key < span.end);
  const next = new Map(state);
  const named = new Set(writes.map(({ key }) => key));
  let deleted = 0;
  let changed = false;
  for (const key of state.keys()) {
    if (inside(clears, key) && !named.has(key)) {
      next.delete(key);
      deleted += 1;
    }
  }
  let own: number | undefined;
  for (const { key, value } of writes) {
    if (value === undefined) {
      if (next.delete(key)) deleted += 1;
    } else {
      next.set(key, value);
      changed = true;
      const seen = revisions?.get(`${key}=${value}`);
      if (own !== undefined && seen !== undefined && own !== seen) return undefined;
      own ??= seen;
    }
  }
  changed ||= deleted > 0;
  if (outcome.kind === "ok") {
    const { seen = [] } = outcome;
    if (seen.some(({ key, value }) => state.get(key) !== value)) return undefined;
    if (lists !== undefined) {
      const there = [...state.keys()].filter((key) => inside(lists, key));
      if (there.some((key) => !seen.some((cell) => cell.key === key))) return undefined;
    }
    if (outcome.deleted !== undefined && outcome.deleted !== deleted) return undefined;
  }
  if (revisions === undefined) return { state: next, lastRevision };
  return withRevision({ outcome, own, changed, lastRevision, next, taken });
}

/**
 * Changes have ascending revisions. What changed nothing was told the revision of the last change; in between there may
 * be changes of whose revision nobody was told.
 */
function withRevision(now: {
  outcome: Operation["outcome"];
  own: number | undefined;
  changed: boolean;
  lastRevision: number;
  next: State;
  taken: ReadonlySet<number>;
}): { state: State; lastRevision: number } | undefined {
  const { outcome, own, changed, lastRevision, next, taken } = now;
  const told = outcome.kind === "ok" ? outcome.revision : undefined;
  if (!changed) {
    if (told === undefined) return { state: next, lastRevision };
    // A half more: what comes behind must have a higher revision, what comes before the same or a lower one.
    return told + 0.5 < lastRevision ? undefined : { state: next, lastRevision: Math.max(lastRevision, told + 0.5) };
  }
  if (told !== undefined && own !== undefined && told !== own) return undefined;
  const revision = told ?? own;
  if (revision === undefined) {
    // One that nobody else is known to have made.
    let free = Math.floor(lastRevision) + 1;
    while (taken.has(free)) free += 1;
    return { state: next, lastRevision: free };
  }
  return revision <= lastRevision ? undefined : { state: next, lastRevision: revision };
}
