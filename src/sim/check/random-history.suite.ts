/**
 * Makes histories at random that are linearizable: operations happen one after another on plain maps, each at one moment,
 * and begin before and end after it, so that those of different clients overlap. And spoils them.
 */
import type { Prng } from "../index.ts";
import { actions } from "./operation.ts";
import type { Action, Cell, Operation, Outcome } from "./operation.ts";

export interface HistoryShape {
  readonly operationCount: number;
  readonly clientCount: number;
  readonly keyCount: number;
  /** Of operations whose outcome the client does not learn. */
  readonly unknownRatio: number;
  /** Lists and transactions, which join keys. */
  readonly joins: boolean;
  /** With `joins`: deletions of ranges too. */
  readonly clears?: boolean;
  /** Values from a small set, so that several operations write the same. */
  readonly repeatedValues?: boolean;
}

class Model {
  readonly cells = new Map<string, { readonly value: string; readonly revision: number }>();
  revision = 0;

  cell(key: string): Cell {
    const found = this.cells.get(key);
    return { key, value: found?.value, revision: found?.revision };
  }

  /** Does the action, and says what its client is told. */
  happen({ guards = [], writes = [], clears, lists }: Action, reads: readonly string[]): Outcome {
    if (guards.some(({ key, value }) => this.cells.get(key)?.value !== value)) return { kind: "refused" };
    const listed = lists === undefined ? [] : [...this.cells.keys()].filter((key) => key >= lists.start);
    const seen = [...reads, ...listed].map((key) => this.cell(key));
    const cleared = clears === undefined ? [] : [...this.cells.keys()].filter((key) => key >= clears.start);
    const removed = [...writes.filter(({ value }) => value === undefined).map(({ key }) => key), ...cleared];
    const deleted = removed.filter((key) => this.cells.has(key)).length;
    const puts = writes.filter((cell): cell is Cell & { value: string } => cell.value !== undefined);
    if (deleted + puts.length > 0) this.revision += 1;
    for (const key of removed) this.cells.delete(key);
    for (const { key, value } of puts) this.cells.set(key, { value, revision: this.revision });
    const isChange = writes.length > 0 || clears !== undefined;
    return {
      kind: "ok",
      ...(isChange ? { revision: this.revision } : { seen }),
      ...(removed.length > 0 || clears !== undefined || writes.some(({ value }) => value === undefined)
        ? { deleted }
        : {}),
    };
  }
}

export function randomHistory(random: Prng, shape: HistoryShape): Operation[] {
  const model = new Model();
  const operations: Operation[] = [];
  const freeMs = Array.from({ length: shape.clientCount }, () => 0);
  let nowMs = 0;
  for (let number = 1; number <= shape.operationCount; number += 1) {
    nowMs += 1;
    // A client that is not under way at this moment, and began some time before it.
    let client = random.below(shape.clientCount);
    for (let tries = 0; (freeMs[client] as number) >= nowMs; tries += 1) {
      if (tries > 2 * shape.clientCount) nowMs = Math.max(...freeMs) + 1;
      client = (client + 1) % shape.clientCount;
    }
    const spanMs = shape.clientCount * random.between([0, 1.2]);
    const begin = Math.max(freeMs[client] as number, nowMs - spanMs) + 0.001;
    const end = nowMs + shape.clientCount * random.between([0, 1.2]);
    freeMs[client] = end;
    operations.push(randomOperation(random, shape, model, { number, client, begin: Math.min(begin, nowMs), end }));
  }
  return operations;
}

function randomOperation(
  random: Prng,
  shape: HistoryShape,
  model: Model,
  at: { readonly number: number; readonly client: number; readonly begin: number; readonly end: number },
): Operation {
  const { action, reads } = randomAction(random, shape, model, at.number);
  const unknown = random.chance(shape.unknownRatio);
  const happens = !unknown || random.chance(0.5);
  const outcome: Outcome = happens ? model.happen(action, reads) : { kind: "unknown" };
  return {
    client: `client ${at.client}`,
    begin: at.begin,
    // Its client may have gone on before it happened.
    end: unknown ? at.begin + (at.end - at.begin) * random.float() : at.end,
    action,
    outcome: unknown ? { kind: "unknown" } : outcome,
  };
}

function randomAction(
  random: Prng,
  { keyCount, joins, clears = joins, repeatedValues = false }: HistoryShape,
  model: Model,
  number: number,
): { readonly action: Action; readonly reads: readonly string[] } {
  const keys = Array.from({ length: keyCount }, (_, index) => `k${index}`);
  const key = random.pick(keys);
  const value = repeatedValues ? `v${random.below(3)}` : `v${number}`;
  // Mostly what is there, sometimes something else.
  const guess = () => ({
    value: random.chance(0.6) ? model.cell(key).value : random.chance(0.5) ? undefined : `v${random.below(number) + 1}`,
  });
  const kinds: readonly (readonly [number, () => { readonly action: Action; readonly reads?: readonly string[] }])[] = [
    [8, () => ({ action: actions.get(key), reads: [key] })],
    [6, () => ({ action: actions.put(key, value) })],
    [2, () => ({ action: actions.put(key, value, guess()) })],
    [2, () => ({ action: actions.remove(key) })],
    [1, () => ({ action: actions.remove(key, guess()) })],
    [joins ? 2 : 0, () => ({ action: actions.list({ start: key }) })],
    [clears ? 1 : 0, () => ({ action: actions.removeAll({ start: key }) })],
    [
      joins ? 3 : 0,
      () => {
        const [first = key, second = key] = random.shuffle(keys);
        const writes: Cell[] = [{ key: first, value: random.chance(0.2) ? undefined : value }];
        if (second !== first) writes.push({ key: second, value });
        return { action: actions.transaction([{ key: first, value: model.cell(first).value }], writes) };
      },
    ],
  ];
  let left = random.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, make] of kinds) {
    if (left < weight) {
      const { action, reads = [] } = make();
      return { action, reads };
    }
    left -= weight;
  }
  throw new Error("weights are wrong");
}

/** The same history with one thing told otherwise; it may still be linearizable. */
export function spoiled(random: Prng, operations: readonly Operation[]): Operation[] {
  const index = random.below(operations.length);
  const operation = operations[index] as Operation;
  const others = operations.flatMap(({ outcome }) => (outcome.kind === "ok" ? (outcome.seen ?? []) : []));
  const values = operations.flatMap(({ action }) => action.writes ?? []);
  return operations.with(index, spoiledOne(random, operation, [...others, ...values]));
}

function spoiledOne(random: Prng, operation: Operation, cells: readonly Cell[]): Operation {
  const { outcome, begin, end } = operation;
  const way = random.below(5);
  if (outcome.kind === "ok" && outcome.seen !== undefined && outcome.seen.length > 0 && way < 3) {
    const at = random.below(outcome.seen.length);
    const cell = outcome.seen[at] as Cell;
    const same = cells.filter(({ key }) => key === cell.key);
    const other =
      random.chance(0.2) || same.length === 0 ? { value: undefined, revision: undefined } : random.pick(same);
    const seen = outcome.seen.with(at, { key: cell.key, value: other.value, revision: other.revision });
    return { ...operation, outcome: { ...outcome, seen } };
  }
  const guarded = (operation.action.guards?.length ?? 0) > 0;
  if (way === 3) return { ...operation, outcome: { kind: guarded && random.chance(0.5) ? "refused" : "failed" } };
  if (outcome.kind === "ok" && outcome.revision !== undefined && way === 4) {
    return { ...operation, outcome: { ...outcome, revision: Math.max(1, outcome.revision + random.pick([-1, 1])) } };
  }
  // Another time.
  const shiftMs = random.between([-4, 4]);
  return { ...operation, begin: begin + shiftMs, end: Math.max(begin, end) + shiftMs };
}
