/**
 * What a client asked of the keys of a store, when, and what it was told: the material of the checkers.
 *
 * Every action has one shape: if all guards hold, the writes happen, all at one moment; and what was seen, was seen at
 * that moment. A put, a conditional put, a deletion, a get, a list and a transaction are cases of it.
 *
 * Each value should be written once in a history (give it the number of its operation). The checkers stay right without
 * that, but an operation of unknown outcome whose value others write too costs them much more.
 */

/** A key and what it holds. */
export interface Cell {
  readonly key: string;
  /** undefined: there is no such key. */
  readonly value: string | undefined;
  /** The revision that wrote the value, where a client was told it. */
  readonly revision?: number | undefined;
}

/** `start` ≤ key < `end`, in the order of JavaScript's strings; without `end`, to the last key. */
export interface Span {
  readonly start: string;
  readonly end?: string | undefined;
}

export interface Action {
  /** For people. */
  readonly text: string;
  /** All of them must hold, or nothing is written. A condition on a revision is one on the value of that revision. */
  readonly guards?: readonly Cell[];
  /** `value` undefined: deletes. At most one for a key. */
  readonly writes?: readonly Cell[];
  /** Deletes every key there, except those in `writes`. */
  readonly clears?: Span;
  /** What is seen there is all that is there. A list that was cut off ends behind the last key that came. */
  readonly lists?: Span;
}

export type Outcome =
  /** It happened, once, at some moment between begin and end. */
  | ({ readonly kind: "ok" } & Result)
  /** A guard did not hold at some moment between begin and end, and nothing was written. */
  | { readonly kind: "refused" }
  /** It has had no effect and never will. */
  | { readonly kind: "failed" }
  /** It happens at some moment after its begin, perhaps long after its end, or never. */
  | { readonly kind: "unknown" };

export interface Result {
  /** Keys as they were found, those that were not there included; of a list, those that are there. */
  readonly seen?: readonly Cell[];
  /** How many keys there were to be deleted. */
  readonly deleted?: number;
  /** Of the change; where nothing was changed, of the state that was read. */
  readonly revision?: number;
}

export interface Operation {
  readonly client: string;
  /** Milliseconds, or any other number that grows. An operation that ended before another began, happened before it. */
  readonly begin: number;
  /** When the client went on. Of an unknown outcome, this says nothing about the effect. */
  readonly end: number;
  readonly action: Action;
  readonly outcome: Outcome;
}

/** Actions by the names that the store gives them. */
export const actions = { get, put, remove, removeAll, list, transaction } as const;

function get(key: string): Action {
  return { text: `get ${key}` };
}

/** `before`: only if this is what the key holds; `{ value: undefined }`: only if it does not exist. */
function put(key: string, value: string, before?: { readonly value: string | undefined }): Action {
  const text = `put ${key} = ${value}`;
  const writes = [{ key, value }];
  if (before === undefined) return { text, writes };
  return { text: `${text} if ${valueText(before.value)}`, writes, guards: [{ key, value: before.value }] };
}

function remove(key: string, before?: { readonly value: string | undefined }): Action {
  const writes = [{ key, value: undefined }];
  if (before === undefined) return { text: `delete ${key}`, writes };
  const text = `delete ${key} if ${valueText(before.value)}`;
  return { text, writes, guards: [{ key, value: before.value }] };
}

function removeAll(span: Span): Action {
  return { text: `delete ${spanText(span)}`, clears: span };
}

function list(span: Span): Action {
  return { text: `list ${spanText(span)}`, lists: span };
}

/** What its function read in its last attempt, and what that wrote. */
function transaction(reads: readonly Cell[], writes: readonly Cell[]): Action {
  return { text: `transaction: ${cellsText(reads)} ⇒ ${cellsText(writes)}`, guards: reads, writes };
}

function valueText(value: string | undefined): string {
  return value ?? "nothing";
}

function spanText({ start, end }: Span): string {
  return `${start}…${end ?? ""}`;
}

export function cellsText(cells: readonly Cell[]): string {
  return cells.map(({ key, value }) => `${key} = ${valueText(value)}`).join(", ");
}

/** What was asked and answered, on one line. */
export function operationText({ action, outcome }: Operation): string {
  if (outcome.kind === "refused") return `${action.text} → refused`;
  if (outcome.kind === "failed") return `${action.text} → failed`;
  if (outcome.kind === "unknown") return `${action.text} → unknown`;
  const { seen, deleted, revision } = outcome;
  const parts: string[] = [];
  if (seen !== undefined) parts.push(seen.length === 0 ? "none" : seen.map(cellText).join(", "));
  if (deleted !== undefined) parts.push(`${deleted} deleted`);
  if (revision !== undefined) parts.push(`revision ${revision}`);
  return `${action.text} → ${parts.length === 0 ? "ok" : parts.join(", ")}`;
}

function cellText({ key, value, revision }: Cell): string {
  return `${key} = ${valueText(value)}${revision === undefined ? "" : ` (revision ${revision})`}`;
}
