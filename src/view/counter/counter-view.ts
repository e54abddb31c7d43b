/**
 * The `counter` view: whole numbers with a name that are added to. An addition needs no reading before it, so that many
 * may add at once without conflicts, and it answers the sum.
 *
 *   23 'c' name 0 → StoredCounter
 *   23 'd'        → StoredDeletion
 *
 * A counter that does not exist is 0. Of those that were deleted only the revision of the last deletion is kept, so that
 * a transaction that has read a counter's absence knows whether it is still so.
 */
import {
  bool,
  embed,
  message,
  oneOf,
  optional,
  repeated,
  sint64,
  string,
  uint64,
  utf8Decode,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameKey, nameProblem } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, State, View } from "../view.ts";

const counterViewId = 23;
const counterLetter = 0x63;
const deletionKey = new Uint8Array([counterViewId, 0x64]);
const counterEnd = new Uint8Array([counterViewId, counterLetter + 1]);

const StoredCounter = message("holdfast.counter.Counter", {
  value: sint64(1),
  /** The last that changed it. */
  revision: uint64(2),
});
type StoredCounter = Infer<typeof StoredCounter>;
const StoredDeletion = message("holdfast.counter.Deletion", { revision: uint64(1) });

/** `conflict` when the sum would leave the bounds, which are included. */
const Add = message("holdfast.counter.Add", {
  name: string(1),
  amount: sint64(2),
  min: optional(sint64(3)),
  max: optional(sint64(4)),
});
/** `conflict` unless the counter is `expected`, if that is given. */
const SetTo = message("holdfast.counter.Set", { name: string(1), value: sint64(2), expected: optional(sint64(3)) });
const Delete = message("holdfast.counter.Delete", { name: string(1) });

export const CounterOperation = message("holdfast.counter.Operation", {
  operation: oneOf({ add: embed(1, Add), set: embed(2, SetTo), delete: embed(3, Delete) }),
});
export type CounterOperation = Infer<typeof CounterOperation>;
/** What the counter is behind the operation. */
export const CounterResult = message("holdfast.counter.Result", { value: sint64(1) });
export type CounterResult = Infer<typeof CounterResult>;

/** One counter; or those whose names begin with `prefix` and come after `after`, in the order of their names' bytes. */
const Get = message("holdfast.counter.Get", { name: string(1) });
const List = message("holdfast.counter.List", { prefix: string(1), after: string(2) });
export const CounterQuery = message("holdfast.counter.Query", {
  query: oneOf({ get: embed(1, Get), list: embed(2, List) }),
});
export type CounterQuery = Infer<typeof CounterQuery>;
const NamedCounter = message("holdfast.counter.Named", { name: string(1), value: sint64(2) });
export const CounterAnswer = message("holdfast.counter.Answer", {
  value: sint64(1),
  list: repeated(embed(2, NamedCounter)),
  /** There are more behind the last. */
  more: bool(3),
});
export type CounterAnswer = Infer<typeof CounterAnswer>;

const listCountMax = 1_024;

export class CounterView implements AskedView<CounterOperation, CounterResult, CounterQuery, CounterAnswer> {
  readonly name = "counter";
  readonly id = counterViewId;
  readonly operation = CounterOperation;
  readonly result = CounterResult;
  readonly query = CounterQuery;
  readonly answer = CounterAnswer;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { operation }: CounterOperation): CounterResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const { name } = operation.value;
    const problem = nameProblem(name);
    if (problem !== undefined) return new Refusal("invalid", `the name of the counter ${problem}`);
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    const before = read(context.state, name)?.value ?? 0;
    switch (operation.case) {
      case "add": {
        const { amount, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = operation.value;
        const value = before + amount;
        if (value < min || value > max) {
          const what = `counter ${name} is ${before}: with ${amount} added it would not be from ${min} to ${max}`;
          return new Refusal("conflict", what);
        }
        return this.#write(context, name, value);
      }
      case "set": {
        const { value, expected } = operation.value;
        if (expected === undefined || before === expected) return this.#write(context, name, value);
        return new Refusal("conflict", `counter ${name} is ${before}, not ${expected}`);
      }
      case "delete":
        if (context.state.delete(counterKey(name)) !== undefined) {
          context.state.put(deletionKey, StoredDeletion.encode({ revision: context.revision }));
          this.#announce(context, name);
        }
        return { value: 0 };
    }
  }

  #write(context: ApplyContext, name: string, value: number): CounterResult {
    context.state.put(counterKey(name), StoredCounter.encode({ value, revision: context.revision }));
    this.#announce(context, name);
    return { value };
  }

  #announce(context: ApplyContext, name: string): void {
    context.changed();
    context.emit(this.#self, name);
  }

  touches({ operation }: CounterOperation, touch: (key: Uint8Array) => void): void {
    if (operation !== undefined) touch(counterKey(operation.value.name));
  }

  answerTo({ state }: ReadingContext, { query }: CounterQuery): CounterAnswer {
    if (query?.case === "get") return { value: read(state, query.value.name)?.value ?? 0, list: [], more: false };
    const list: CounterAnswer["list"][number][] = [];
    for (const { key, value } of state.entries(listRange(query?.value))) {
      const name = nameOf(key);
      if (query !== undefined && !name.startsWith(query.value.prefix)) break;
      if (list.length === listCountMax) return { value: 0, list, more: true };
      list.push({ name, value: StoredCounter.decode(value).value });
    }
    return { value: 0, list, more: false };
  }

  unchanged({ state }: ReadingContext, { query }: CounterQuery, since: number): boolean {
    if (query?.case !== "get") return false;
    const stored = read(state, query.value.name);
    if (stored !== undefined) return stored.revision <= since;
    const deletion = state.get(deletionKey);
    return deletion === undefined || StoredDeletion.decode(deletion).revision <= since;
  }
}

function counterKey(name: string): Uint8Array {
  return nameKey(counterViewId, counterLetter, name);
}

function nameOf(key: Uint8Array): string {
  return utf8Decode(key.subarray(2, -1));
}

function read(state: Pick<State, "get">, name: string): StoredCounter | undefined {
  const stored = state.get(counterKey(name));
  return stored === undefined ? undefined : StoredCounter.decode(stored);
}

function listRange({ prefix = "", after = "" }: Partial<Infer<typeof List>> = {}): {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
} {
  // Names end with 0, so that behind a name and its 0 comes the next.
  const start = after === "" ? counterKey(prefix).subarray(0, -1) : nameKey(counterViewId, counterLetter, after, 1);
  return { start, end: counterEnd };
}
