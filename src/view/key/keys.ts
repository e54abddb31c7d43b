/**
 * The keys of a store, as a user sees them. The same face stands before a replica in this process and one elsewhere.
 */
import { HoldfastError, limits, revision } from "../../base/index.ts";
import type { Revision } from "../../base/index.ts";
import { accepted, operation } from "../command.ts";
import type { Operation } from "../command.ts";
import type { KeyView } from "./key-view.ts";
import type { Compare, KeyedRecord, KeyOperation, KeyResult, KeySpan, StoredRecord } from "./key-operation.ts";
import type { KeySource, ReadOptions } from "./key-source.ts";
import { checkedRevision, copyRecord, keyBytes, KeyRecord, kindOf, makeEvent, spanOf, valueBytes } from "./record.ts";
import type { Key, KeyChoice, KeyEvent, Value, WatchProgress } from "./record.ts";

export interface PutOptions {
  /** Only if the key was last changed at this revision; else `conflict`. */
  readonly ifRevision?: number | undefined;
  /** Only if the key does not exist; else `conflict`. */
  readonly ifAbsent?: boolean | undefined;
  /** The lease with which the key goes; `notFound` if there is none of that id. */
  readonly lease?: bigint | { readonly id: bigint } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface DeleteOptions {
  /** Only if the key was last changed at this revision; else `conflict`. For one key. */
  readonly ifRevision?: number | undefined;
  /** Answer what was deleted. */
  readonly previous?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface DeleteOutcome {
  /** Of the deletion; the store's own if there was nothing to delete. */
  readonly revision: Revision;
  readonly count: number;
  /** What was deleted, in key order, if it was asked for. */
  readonly previous: readonly KeyRecord[];
}

export type ListOptions = KeyChoice &
  ReadOptions & {
    /** At most so many. */
    readonly limit?: number | undefined;
    /** From the last key to the first. */
    readonly reverse?: boolean | undefined;
    /** Leave the values out. */
    readonly keysOnly?: boolean | undefined;
  };

export type WatchOptions = KeyChoice & {
  /** The first revision of which events are wanted; without it, what happens from now on. */
  readonly from?: number | undefined;
  /** Give with each event what the key was before. */
  readonly previous?: boolean | undefined;
  /** Leave out puts, or deletions. */
  readonly without?: "put" | "delete" | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** One condition of `commit`; on a prefix or a range, it must hold for every key there. */
export type Condition = KeyChoice & {
  readonly is?: "equal" | "notEqual" | "greater" | "less";
} & (
    | { readonly revision: number }
    | { readonly createRevision: number }
    | { readonly version: number }
    | { readonly lease: bigint }
    | { readonly value: Value }
  );

/** One step of `commit`. */
export type Step =
  | ({ readonly put: Key; readonly value: Value; readonly previous?: boolean } & Pick<PutOptions, "lease">)
  | { readonly delete: KeyChoice; readonly previous?: boolean }
  | {
      readonly list: KeyChoice;
      readonly limit?: number;
      readonly reverse?: boolean;
      readonly keysOnly?: boolean;
      readonly countOnly?: boolean;
    }
  | { readonly commit: Commit };

/** If all conditions hold, the steps of `then` are done, else those of `otherwise`: atomically. */
export interface Commit {
  readonly if?: readonly Condition[];
  readonly then?: readonly Step[];
  readonly otherwise?: readonly Step[];
}

export type StepOutcome =
  | { readonly type: "put"; readonly previous: KeyRecord | undefined }
  | { readonly type: "delete"; readonly count: number; readonly previous: readonly KeyRecord[] }
  | { readonly type: "list"; readonly records: readonly KeyRecord[]; readonly count: number; readonly more: boolean }
  | { readonly type: "commit"; readonly succeeded: boolean; readonly steps: readonly StepOutcome[] };

export interface CommitOutcome {
  /** Of the command; the store's own if it changed nothing. */
  readonly revision: Revision;
  readonly succeeded: boolean;
  /** Of the steps that were done, in their order. */
  readonly steps: readonly StepOutcome[];
}

/** Keys of one state, which does not change: `store.at(revision).keys`. */
export class PastKeys {
  readonly #source: KeySource;
  readonly #at: number | undefined;

  /** `at` undefined: always the present state. */
  constructor(source: KeySource, at: number | undefined) {
    this.#source = source;
    this.#at = at;
  }

  /** The key as it is; undefined if it does not exist. */
  async get(key: Key, options: ReadOptions = {}): Promise<KeyRecord | undefined> {
    const bytes = checkedKey(key);
    checkReading(options);
    const record = await this.#source.get(bytes, this.#at, options);
    if (record === undefined) return undefined;
    return new KeyRecord(bytes, this.#source.shared ? copyRecord(record) : record);
  }

  /**
   * The chosen keys in the order of their bytes, all of one state, however long it takes; they stream, so that there may
   * be more than memory holds.
   */
  async *list(options: ListOptions = {}): AsyncGenerator<KeyRecord, void, undefined> {
    const { limit, reverse, keysOnly, ...choice } = checkedObject("the choice of keys", options);
    checkLimit(limit);
    checkReading(options);
    const query = { span: spanOf(choice), at: this.#at, limit, reverse, keysOnly };
    for await (const { records } of this.#source.list(query, options)) {
      for (const { key, record } of records) yield this.#own(key, record as StoredRecord);
    }
  }

  #own(key: Uint8Array, record: StoredRecord): KeyRecord {
    return this.#source.shared ? new KeyRecord(key.slice(), copyRecord(record)) : new KeyRecord(key, record);
  }

  /** How many of the chosen keys there are. */
  async count(options: KeyChoice & ReadOptions = {}): Promise<number> {
    checkReading(options);
    return this.#source.count(spanOf(options), this.#at, options);
  }
}

export class Keys extends PastKeys {
  readonly #source: KeySource;
  readonly #view: KeyView;

  constructor(source: KeySource, view: KeyView) {
    super(source, undefined);
    this.#source = source;
    this.#view = view;
  }

  /**
   * Writes the key and answers the revision, once it is durable and visible to every later read. Repeating it writes
   * another version. `invalid` over a limit, `conflict` if a condition does not hold; `unavailable`, `timeout` and
   * `cancelled` may have `maybe` set: it may have taken effect.
   */
  async put(key: Key, value: Value, options: PutOptions = {}): Promise<Revision> {
    const { ifRevision, ifAbsent, lease, signal } = options;
    const bytes = checkedKey(key);
    const put: KeyOperation = {
      operation: { case: "put", value: { key: bytes, value: checkedValue(value), lease: leaseId(lease) } },
    };
    const wanted = ifAbsent === true ? 0 : ifRevision;
    const operations = wanted === undefined ? [put] : [revisionCheck(bytes, wanted), put];
    return accepted(await this.#source.propose(this.#operations(operations), { signal })).revision;
  }

  #operations(operations: readonly KeyOperation[]): Operation[] {
    return operations.map((body) => operation(this.#view, body));
  }

  /** Deletes one key, or all chosen ones at one revision. That there are none is no error. */
  async delete(which: Key | KeyChoice, options: DeleteOptions = {}): Promise<DeleteOutcome> {
    const { ifRevision, previous = false, signal } = options;
    const single = typeof which === "string" || which instanceof Uint8Array;
    const span: KeySpan = single ? { key: checkedKey(which), end: undefined } : spanOf(which);
    const remove: KeyOperation = { operation: { case: "delete", value: { span, previous } } };
    const operations = ifRevision === undefined ? [remove] : [revisionCheck(span.key, ifRevision), remove];
    const outcome = accepted(await this.#source.propose(this.#operations(operations), { signal }));
    const step = toStep(outcome.results.at(-1) as KeyResult);
    if (step.type !== "delete") throw new HoldfastError("corrupt", "a deletion was answered with something else");
    return { revision: outcome.revision, count: step.count, previous: step.previous };
  }

  /**
   * Every change of the chosen keys from a revision on, each once, in order. It ends when the signal aborts (`cancelled`)
   * or the loop is left; `trimmed` when the events are no longer retained. A slow reader holds up nobody.
   */
  watch(
    options: WatchOptions & { readonly progressMs: number },
  ): AsyncGenerator<KeyEvent | WatchProgress, void, undefined>;
  watch(options?: WatchOptions): AsyncGenerator<KeyEvent, void, undefined>;
  async *watch(
    options: WatchOptions & { readonly progressMs?: number } = {},
  ): AsyncGenerator<KeyEvent | WatchProgress, void, undefined> {
    const { from, previous, without, progressMs, signal, ...choice } = checkedObject("the choice of keys", options);
    if (from !== undefined) checkedRevision("from", from);
    if (without !== undefined && !["put", "delete"].includes(without)) {
      throw new HoldfastError("invalid", `without is ${without}; it must be "put" or "delete"`);
    }
    if (progressMs !== undefined && !(progressMs > 0)) {
      throw new HoldfastError("invalid", `progressMs is ${progressMs}; it must be above 0`);
    }
    for await (const step of this.#source.watch(
      { span: spanOf(choice), from, previous, without, progressMs },
      signal,
    )) {
      if (step.events.length === 0) yield { type: "progress", revision: revision(step.revision) };
      for (const event of step.events) {
        yield makeEvent(step.revision, this.#source.shared ? copyEvent(event) : event);
      }
    }
  }

  /** The retained versions and deletions of a key, oldest first, each with the one before it where that is retained. */
  async *history(key: Key, options: ReadOptions = {}): AsyncGenerator<KeyEvent, void, undefined> {
    const bytes = checkedKey(key);
    checkReading(options);
    let previous: StoredRecord | undefined;
    for (const version of await this.#source.history(bytes, options)) {
      const record = version.version === 0 ? undefined : version;
      yield makeEvent(version.revision, copyEvent({ key: bytes, record, previous }));
      previous = record;
    }
  }

  /**
   * Forgets what was superseded before `at`: from then on no read and no watch reaches further back. The space comes
   * back in the background. `trimmed` if it is forgotten already.
   */
  async compact(at: number, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const compact: KeyOperation = {
      operation: { case: "compact", value: { revision: checkedRevision("the revision to compact at", at) } },
    };
    accepted(await this.#source.propose(this.#operations([compact]), options));
  }

  /** A transaction in one call: conditions, and what to do in either case. For reads in between, `store.transaction`. */
  async commit(commit: Commit, options: { readonly signal?: AbortSignal } = {}): Promise<CommitOutcome> {
    const outcome = accepted(await this.#source.propose(this.#operations([toTransaction(commit)]), options));
    const step = toStep(outcome.results[0] as KeyResult, { commit });
    if (step.type !== "commit") throw new HoldfastError("corrupt", "a transaction was answered with something else");
    return { revision: outcome.revision, succeeded: step.succeeded, steps: step.steps };
  }

  /** The store's revision, as a read sees it. */
  revision(options: ReadOptions = {}): Promise<Revision> {
    return this.#source.revision(options);
  }
}

export function checkLimit(limit: number | undefined): void {
  if (limit === undefined || (Number.isSafeInteger(limit) && limit >= 0)) return;
  throw new HoldfastError("invalid", `limit is ${limit}; it must be a whole number, 0 or more`);
}

function checkReading({ consistency, atLeast }: ReadOptions): void {
  if (atLeast !== undefined) checkedRevision("atLeast", atLeast);
  if (consistency === undefined || ["linearizable", "local"].includes(consistency)) return;
  throw new HoldfastError("invalid", `consistency is ${consistency}; it must be "linearizable" or "local"`);
}

function revisionCheck(key: Uint8Array, wanted: number): KeyOperation {
  const compare: Compare = {
    span: { key, end: undefined },
    result: "equal",
    target: { case: "revision", value: checkedRevision("ifRevision", wanted) },
  };
  return { operation: { case: "check", value: { compares: [compare] } } };
}

export function leaseId(lease: PutOptions["lease"]): bigint {
  if (lease === undefined) return 0n;
  const id: unknown = typeof lease === "bigint" ? lease : (lease as Partial<typeof lease> | null)?.id;
  if (typeof id === "bigint") return id;
  throw new HoldfastError("invalid", `lease is of type ${kindOf(lease)}; give a lease, or its id as a bigint`);
}

/** What every member would refuse is refused here, before it goes anywhere. */
export function checkedKey(key: Key): Uint8Array {
  const bytes = keyBytes(key);
  if (bytes.length === 0) throw new HoldfastError("invalid", "the key is empty; a key has at least one byte");
  if (bytes.length <= limits.keySizeMax) return bytes;
  const limit = `the limit is ${limits.keySizeMax.toLocaleString("en")} (limits.keySizeMax)`;
  throw new HoldfastError("invalid", `key is ${bytes.length.toLocaleString("en")} bytes; ${limit}`);
}

export function checkedValue(value: Value): Uint8Array {
  const bytes = valueBytes(value);
  if (bytes.length <= limits.valueSizeMax) return bytes;
  const limit = `the limit is ${limits.valueSizeMax.toLocaleString("en")} (limits.valueSizeMax)`;
  throw new HoldfastError(
    "invalid",
    `value is ${bytes.length.toLocaleString("en")} bytes; ${limit}: keep large data in files`,
  );
}

function copyEvent<T extends { key: Uint8Array; record: StoredRecord | undefined; previous: StoredRecord | undefined }>(
  event: T,
): T {
  const { key, record, previous } = event;
  return {
    ...event,
    key: key.slice(),
    record: record === undefined ? undefined : copyRecord(record),
    previous: previous === undefined ? undefined : copyRecord(previous),
  };
}

function toTransaction(commit: Commit, depth = 1): KeyOperation {
  if (depth > limits.transactionDepthMax) {
    const limit = `${limits.transactionDepthMax} (limits.transactionDepthMax)`;
    throw new HoldfastError("invalid", `commits nest deeper than ${limit}: make it flatter`);
  }
  const { if: conditions = [], then = [], otherwise = [] } = checkedObject("a commit", commit);
  for (const list of [conditions, then, otherwise] as unknown[]) {
    if (!Array.isArray(list)) throw new HoldfastError("invalid", "if, then and otherwise of a commit are arrays");
  }
  const value = {
    compares: conditions.map(toCompare),
    then: then.map((step) => toOperation(step, depth)),
    otherwise: otherwise.map((step) => toOperation(step, depth)),
  };
  return { operation: { case: "transaction", value } };
}

function checkedObject<T extends object>(what: string, value: T): T {
  if (typeof value === "object" && (value as T | null) !== null) return value;
  throw new HoldfastError("invalid", `${what} is an object, not ${kindOf(value)}`);
}

function toCompare(condition: Condition): Compare {
  checkedObject("a condition", condition);
  const span = spanOf(condition);
  const result = condition.is ?? "equal";
  if ("revision" in condition) return { span, result, target: { case: "revision", value: condition.revision } };
  if ("createRevision" in condition)
    return { span, result, target: { case: "createRevision", value: condition.createRevision } };
  if ("version" in condition) return { span, result, target: { case: "version", value: condition.version } };
  if ("lease" in condition) return { span, result, target: { case: "lease", value: condition.lease } };
  if ("value" in condition) return { span, result, target: { case: "value", value: valueBytes(condition.value) } };
  throw new HoldfastError(
    "invalid",
    "a condition is on a revision, createRevision, version, lease or value; it names none",
  );
}

function toOperation(step: Step, depth: number): KeyOperation {
  checkedObject("a step", step);
  if ("put" in step) {
    const { put, value, lease, previous = false } = step;
    const body = { key: checkedKey(put), value: checkedValue(value), lease: leaseId(lease), previous };
    return { operation: { case: "put", value: body } };
  }
  if ("delete" in step) {
    return { operation: { case: "delete", value: { span: spanOf(step.delete), previous: step.previous ?? false } } };
  }
  if ("commit" in step) return toTransaction(step.commit, depth + 1);
  if (!("list" in step)) throw new HoldfastError("invalid", "a step is a put, a delete, a list or a commit");
  const { list, ...options } = step;
  return { operation: { case: "range", value: { span: spanOf(list), ...options } } };
}

/** The step says what a result does not: the key of a put, the steps of a commit. */
function toStep({ result }: KeyResult, step?: Step): StepOutcome {
  switch (result?.case) {
    case "put": {
      const { previous } = result.value;
      const key = step !== undefined && "put" in step ? keyBytes(step.put) : new Uint8Array(0);
      return { type: "put", previous: previous === undefined ? undefined : new KeyRecord(key, copyRecord(previous)) };
    }
    case "delete":
      return { type: "delete", count: result.value.count, previous: toRecords(result.value.previous) };
    case "range": {
      const { count, more } = result.value;
      return { type: "list", records: toRecords(result.value.records), count, more };
    }
    case "transaction": {
      const { succeeded, results } = result.value;
      const commit = step !== undefined && "commit" in step ? step.commit : {};
      const steps = (succeeded ? commit.then : commit.otherwise) ?? [];
      return { type: "commit", succeeded, steps: results.map((one, index) => toStep(one, steps[index])) };
    }
    default:
      throw new HoldfastError("corrupt", "the result is none that this version knows");
  }
}

function toRecords(keyed: readonly KeyedRecord[]): KeyRecord[] {
  return keyed.map(({ key, record }) => new KeyRecord(key.slice(), copyRecord(record as StoredRecord)));
}
