/** Counters, as a user sees them. */
import { HoldfastError } from "../../base/index.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { checkedName } from "../value.ts";
import { proposeOne } from "../view-source.ts";
import type { ViewSource } from "../view-source.ts";
import type { ViewTransaction } from "../view-transaction.ts";
import type { CounterOperation, CounterView } from "./counter-view.ts";

export interface AddOptions {
  /** `conflict`, and nothing is added, when the sum would be below `min` or above `max`. */
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SetOptions {
  /** `conflict` unless the counter is this. */
  readonly expected?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A whole number from -(2^53 - 1) to 2^53 - 1, 0 until it is changed. Every change is durable and linearizable, and takes
 * effect exactly once.
 */
export class Counter {
  readonly name: string;
  readonly #source: ViewSource;
  readonly #view: CounterView;

  /** @internal */
  constructor(source: ViewSource, view: CounterView, name: string) {
    this.#source = source;
    this.#view = view;
    this.name = checkedName(name, "counter");
  }

  async get(options?: ReadOptions): Promise<number> {
    const { answer } = await this.#source.ask(
      this.#view,
      { query: { case: "get", value: { name: this.name } } },
      options,
    );
    return answer.value;
  }

  /** Answers the sum. */
  add(amount = 1, { min, max, signal }: AddOptions = {}): Promise<number> {
    for (const bound of [min, max]) if (bound !== undefined) checkedNumber(bound, "a bound");
    const value = { name: this.name, amount: checkedNumber(amount, "the amount"), min, max };
    return this.#change({ operation: { case: "add", value } }, signal);
  }

  async set(value: number, { expected, signal }: SetOptions = {}): Promise<void> {
    if (expected !== undefined) checkedNumber(expected, "the expected value");
    const body = { name: this.name, value: checkedNumber(value, "the value"), expected };
    await this.#change({ operation: { case: "set", value: body } }, signal);
  }

  /** From then on it is 0, and not in the list. */
  async delete(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#change({ operation: { case: "delete", value: { name: this.name } } }, options.signal);
  }

  /** Its value now, and after changes: the newest, where several came at once. */
  async *watch(options: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<number, void, undefined> {
    let last: number | undefined;
    for await (const revision of this.#source.changes({ view: this.#view, name: this.name }, options.signal)) {
      const value = await this.get({ atLeast: revision, consistency: "local", signal: options.signal });
      if (value !== last) yield value;
      last = value;
    }
  }

  async #change(body: CounterOperation, signal: AbortSignal | undefined): Promise<number> {
    const { result } = await proposeOne(this.#source, this.#view, body, signal);
    return result.value;
  }
}

/** A counter inside a transaction. */
export class CounterInTransaction {
  readonly #tx: ViewTransaction;
  readonly #view: CounterView;
  readonly #name: string;
  /** What this transaction has done: added, or set and then added. */
  #set: number | undefined;
  #added = 0;

  /** @internal */
  constructor(tx: ViewTransaction, view: CounterView, name: string) {
    this.#tx = tx;
    this.#view = view;
    this.#name = checkedName(name, "counter");
  }

  /** As this transaction sees it. Who only adds had better not read: then additions do not meet. */
  async get(): Promise<number> {
    const query = { query: { case: "get", value: { name: this.#name } } } as const;
    const before = this.#set ?? (await this.#tx.read(this.#view, query)).value;
    return before + this.#added;
  }

  add(amount = 1): void {
    const value = { name: this.#name, amount: checkedNumber(amount, "the amount"), min: undefined, max: undefined };
    this.#tx.write(this.#view, { operation: { case: "add", value } });
    this.#added += amount;
  }

  set(value: number): void {
    const body = { name: this.#name, value: checkedNumber(value, "the value"), expected: undefined };
    this.#tx.write(this.#view, { operation: { case: "set", value: body } });
    this.#set = value;
    this.#added = 0;
  }
}

/** All counters whose names begin with `prefix`, in the order of their names' bytes. A page at a time, each of one revision. */
export async function* listCounters(
  source: ViewSource,
  view: CounterView,
  { prefix = "", ...options }: ReadOptions & { readonly prefix?: string | undefined } = {},
): AsyncGenerator<{ readonly name: string; readonly value: number }, void, undefined> {
  for (let after = ""; ;) {
    const { answer } = await source.ask(view, { query: { case: "list", value: { prefix, after } } }, options);
    yield* answer.list;
    if (!answer.more) return;
    after = answer.list.at(-1)?.name ?? "";
  }
}

function checkedNumber(value: number, what: string): number {
  if (Number.isSafeInteger(value)) return value;
  throw new HoldfastError(
    "invalid",
    `${what} is ${String(value)}; it must be a whole number from -(2^53 - 1) to 2^53 - 1`,
  );
}
