/**
 * The `key` view: keys and values with the data model of etcd v3, applied to the state.
 */
import { compareBytes, limits, readUint64BE, writeUint64BE } from "../../base/index.ts";
import type { Init } from "../../base/index.ts";
import { leaseExists } from "../lease/lease-state.ts";
import type { ApplyContext, State, View } from "../view.ts";
import { Refusal } from "../view.ts";
import { KeyOperation, KeyResult, StoredRecord } from "./key-operation.ts";
import type { Compare, KeySpan, Transaction } from "./key-operation.ts";
import { currentEntries, currentRecord, deleteKey, keyText, putKey } from "./key-state.ts";
import {
  compactionKey,
  currentKey,
  currentRange,
  deletedKey,
  eventRange,
  keyViewId,
  revisionOfEvent,
  StoredEvent,
} from "./layout.ts";

type Value<Name extends string> = Extract<NonNullable<KeyOperation["operation"]>, { case: Name }>["value"];
type Applied = NonNullable<KeyResult["result"]> | Refusal;

export class KeyView implements View<KeyOperation, KeyResult> {
  readonly name = "key";
  readonly id = keyViewId;
  readonly operation = KeyOperation;
  readonly result = KeyResult;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, operation: KeyOperation): KeyResult | Refusal {
    const result = this.#apply(context, operation, 0);
    return result instanceof Refusal ? result : { result };
  }

  touches({ operation }: KeyOperation, touch: (key: Uint8Array) => void): void {
    touchOf(operation, 0, touch);
  }

  #apply(context: ApplyContext, { operation }: KeyOperation, depth: number): Applied {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    switch (operation.case) {
      case "put":
        return this.#put(context, operation.value);
      case "delete":
        return this.#delete(context, operation.value);
      case "range":
        return range(context, operation.value);
      case "transaction":
        return this.#transaction(context, operation.value, depth);
      case "check":
        return check(context, operation.value);
      case "compact":
        return compact(context, operation.value);
      case "sweep":
        return sweep(context, operation.value);
    }
  }

  #put(context: ApplyContext, put: Value<"put">): Applied {
    const { key = noBytes, value = noBytes, lease = 0n } = put;
    const refusal = checkKey(key) ?? checkValue(value);
    if (refusal !== undefined) return refusal;
    const before = currentRecord(context, key);
    if (before === undefined && (put.keepValue === true || put.keepLease === true)) {
      return new Refusal(
        "notFound",
        `key ${keyText(key)} does not exist, so there is nothing to keep; put it with a value`,
      );
    }
    if (before !== undefined) {
      const { work } = context;
      const size = before.value.length;
      const refused = work.load(size) ?? (put.previous === true ? work.read(key.length + size) : undefined);
      if (refused !== undefined) return refused;
    }
    const newLease = put.keepLease === true ? (before as StoredRecord).lease : lease;
    if (newLease !== 0n && newLease !== before?.lease && !leaseExists(context.state, newLease)) {
      return new Refusal("notFound", `lease ${newLease} does not exist or has ended; grant one and put the key again`);
    }
    const newValue = put.keepValue === true ? (before as StoredRecord).value : value;
    const refused = putKey(context, this.#self, key, { value: newValue, lease: newLease }, before);
    if (refused !== undefined) return refused;
    return { case: "put", value: { previous: put.previous === true ? before : undefined } };
  }

  #delete(context: ApplyContext, { span, previous }: Value<"delete">): Applied {
    const checked = checkSpan(span);
    if (checked instanceof Refusal) return checked;
    const { work } = context;
    const wanted = previous === true;
    let count = 0;
    const entries = currentEntries(context, checked, {
      visit: ({ key, record }) => {
        // The operation itself stands for its first key.
        const refused = (count++ === 0 ? undefined : work.operate()) ?? work.load(record.value.length);
        return refused ?? (wanted ? work.read(key.length + record.value.length) : undefined);
      },
    });
    if (entries instanceof Refusal) return entries;
    if (entries.length > 1) context.state.require(entries.map(({ key }) => deletedKey(key)));
    for (const { key, record } of entries) {
      const refused = deleteKey(context, this.#self, key.slice(), record);
      if (refused !== undefined) return refused;
    }
    return { case: "delete", value: { count: entries.length, previous: wanted ? entries : [] } };
  }

  #transaction(context: ApplyContext, transaction: Transaction, depth: number): Applied {
    if (depth >= limits.transactionDepthMax) {
      return new Refusal(
        "invalid",
        `transactions nest deeper than ${limits.transactionDepthMax} (limits.transactionDepthMax): make it flatter`,
      );
    }
    let succeeded = true;
    for (const compare of transaction.compares) {
      const holds = evaluate(context, compare);
      if (holds instanceof Refusal) return holds;
      if (!holds) {
        succeeded = false;
        break;
      }
    }
    const results: KeyResult[] = [];
    for (const operation of succeeded ? transaction.then : transaction.otherwise) {
      const result = this.#apply(context, operation, depth + 1);
      if (result instanceof Refusal) return result;
      results.push({ result });
    }
    return { case: "transaction", value: { succeeded, results } };
  }
}

const noBytes = new Uint8Array(0);
function touchOf(operation: KeyOperation["operation"], depth: number, touch: (key: Uint8Array) => void): void {
  switch (operation?.case) {
    case "put": {
      const { key = noBytes } = operation.value;
      touch(currentKey(key));
      // A key that is new takes the place of its deletion.
      touch(deletedKey(key));
      return;
    }
    case "delete":
      return touch(currentKey(operation.value.span?.key ?? noBytes));
    case "check":
      for (const { span } of operation.value.compares ?? []) touch(currentKey(span?.key ?? noBytes));
      return;
    case "transaction": {
      if (depth >= limits.transactionDepthMax) return;
      const { compares, then, otherwise } = operation.value;
      for (const { span } of compares) touch(currentKey(span?.key ?? noBytes));
      for (const each of then) touchOf(each.operation, depth + 1, touch);
      for (const each of otherwise) touchOf(each.operation, depth + 1, touch);
      return;
    }
    default:
  }
}

/** Bytes of superseded values after which a sweep's step ends. */
const sweepSizeMax = 1_048_576;

function checkKey(key: Uint8Array): Refusal | undefined {
  if (key.length === 0) return new Refusal("invalid", "the key is empty; a key has at least one byte");
  if (key.length <= limits.keySizeMax) return undefined;
  return new Refusal(
    "invalid",
    `key ${keyText(key)} is ${key.length} bytes; the limit is ${limits.keySizeMax} (limits.keySizeMax)`,
  );
}

function checkValue(value: Uint8Array): Refusal | undefined {
  if (value.length <= limits.valueSizeMax) return undefined;
  return new Refusal(
    "invalid",
    `the value is ${value.length} bytes; the limit is ${limits.valueSizeMax} (limits.valueSizeMax): keep large data in files`,
  );
}

/** A span's bounds may be any bytes of a key's size, the empty key included. */
function checkSpan(span: Init<typeof KeySpan> | undefined): KeySpan | Refusal {
  if (span === undefined) return new Refusal("invalid", "the operation names no keys");
  const { key = noBytes, end } = span;
  if (end === undefined) return checkKey(key) ?? { key, end };
  if (key.length > limits.keySizeMax || end.length > limits.keySizeMax + 1) {
    return new Refusal("invalid", `a bound of the span is longer than ${limits.keySizeMax} bytes (limits.keySizeMax)`);
  }
  return { key, end };
}

function range(context: ApplyContext, query: Value<"range">): Applied {
  const span = checkSpan(query.span);
  if (span instanceof Refusal) return span;
  const count = countSpan(context.state, span);
  if (query.countOnly === true) return { case: "range", value: { records: [], count, more: false } };
  const keysOnly = query.keysOnly === true;
  const entries = currentEntries(context, span, {
    limit: query.limit === undefined || query.limit === 0 ? Number.POSITIVE_INFINITY : query.limit,
    reverse: query.reverse === true,
    visit: ({ key, record: { value } }) =>
      context.work.load(value.length) ?? context.work.read(key.length + (keysOnly ? 0 : value.length)),
  });
  if (entries instanceof Refusal) return entries;
  const records = keysOnly
    ? entries.map(({ key, record }) => ({ key, record: { ...record, value: noBytes } }))
    : entries;
  return { case: "range", value: { records, count, more: count > entries.length } };
}

function countSpan(state: State, span: KeySpan): number {
  if (span.end === undefined) return state.get(currentKey(span.key)) === undefined ? 0 : 1;
  return state.count(currentRange(span));
}

const absent: StoredRecord = { createRevision: 0, revision: 0, version: 0, lease: 0n, value: noBytes, index: 0 };

function evaluate(context: ApplyContext, compare: Partial<Compare>): boolean | Refusal {
  const span = checkSpan(compare.span);
  if (span instanceof Refusal) return span;
  const { target } = compare;
  if (target === undefined) return new Refusal("invalid", "a comparison names nothing to compare");
  if (span.end === undefined) {
    const record = currentRecord(context, span.key);
    if (record === undefined && target.case === "value") return false;
    return holds(record ?? absent, compare as Compare);
  }
  return everyEntry(context, span, (record) => holds(record, compare as Compare));
}

/** Whether it is true for every key of the span; stops at the first for which it is not. */
function everyEntry(
  { state, work }: ApplyContext,
  span: KeySpan,
  isTrue: (record: StoredRecord) => boolean,
): boolean | Refusal {
  for (const { key, value } of state.entries(currentRange(span))) {
    const refused = work.load(value.length) ?? work.read(key.length);
    if (refused !== undefined) return refused;
    if (!isTrue(StoredRecord.decode(value))) return false;
  }
  return true;
}

function holds(record: StoredRecord, { target, result }: Compare): boolean {
  // `evaluate` has seen that there is a target.
  const { case: name, value } = target as NonNullable<Compare["target"]>;
  let order: number;
  if (name === "value") order = compareBytes(record.value, value);
  else if (name === "lease") order = record.lease < value ? -1 : record.lease > value ? 1 : 0;
  else order = record[name] - value;
  switch (result) {
    case "equal":
      return order === 0;
    case "notEqual":
      return order !== 0;
    case "greater":
      return order > 0;
    case "less":
      return order < 0;
  }
}

function check(context: ApplyContext, { compares = [], spans = [] }: Value<"check">): Applied {
  for (const compare of compares) {
    const result = evaluate(context, compare as Compare);
    if (result instanceof Refusal) return result;
    if (!result) return new Refusal("conflict", conflictText(context, compare as Compare));
  }
  for (const { span: wanted, count = 0, revision = 0 } of spans) {
    const span = checkSpan(wanted);
    if (span instanceof Refusal) return span;
    const unchanged =
      countSpan(context.state, span) === count && everyEntry(context, span, (record) => record.revision <= revision);
    if (unchanged instanceof Refusal) return unchanged;
    if (!unchanged)
      return new Refusal("conflict", `keys from ${keyText(span.key)} on have changed; read them again and retry`);
  }
  return { case: "check", value: {} };
}

function conflictText(context: ApplyContext, { span, target }: Compare): string {
  const key = span?.key ?? noBytes;
  if (span?.end !== undefined) return `the keys from ${keyText(key)} on are not as expected; read them again and retry`;
  const record = currentRecord(context, key);
  const found = record === undefined ? "does not exist" : `was last changed at revision ${record.revision}`;
  let expected = `its ${target?.case} is not as expected`;
  if (target?.case === "revision") {
    expected = target.value === 0 ? "it was expected not to exist" : `revision ${target.value} was expected`;
  }
  return `key ${keyText(key)} ${found}, and ${expected}; read it again and retry`;
}

/** The revision below which history is gone; 0 as long as nothing was compacted. */
export function compactRevision(state: Pick<State, "get">): number {
  const stored = state.get(compactionKey);
  return stored === undefined ? 0 : readUint64BE(stored, 0);
}

function compact({ state, revision: next }: ApplyContext, { revision = 0 }: Value<"compact">): Applied {
  if (revision >= next) {
    return new Refusal("invalid", `cannot compact at revision ${revision}: the store is at ${next - 1}`);
  }
  const before = compactRevision(state);
  if (revision < before) {
    return new Refusal("trimmed", `revision ${revision} has been compacted already; history begins at ${before}`);
  }
  if (revision > before) {
    const stored = new Uint8Array(8);
    writeUint64BE(stored, 0, revision);
    state.put(compactionKey, stored);
  }
  return { case: "compact", value: {} };
}

/**
 * Removes the oldest events up to the compact revision. What an event superseded was readable only before it. A deletion
 * says no more than the key's absence once nothing older can be read, so it goes with its event.
 */
function sweep({ state }: ApplyContext, { limit = 0 }: Value<"sweep">): Applied {
  const doomed: { eventKey: Uint8Array; deleted: Uint8Array | undefined; revision: number }[] = [];
  const most = Math.min(limit, limits.operationCountMax);
  let size = 0;
  for (const { key, value } of state.entries(eventRange(0, compactRevision(state)))) {
    // At least one, so that it gets on.
    if (doomed.length >= most || size > sweepSizeMax) break;
    size += value.length;
    const event = StoredEvent.decode(value);
    const deleted = event.deleted ? deletedKey(event.key) : undefined;
    doomed.push({ eventKey: key.slice(), deleted, revision: revisionOfEvent(key) });
  }
  for (const { eventKey, deleted, revision } of doomed) {
    const deletion = deleted === undefined ? undefined : state.get(deleted);
    // The key may have been put and deleted again since.
    if (deleted !== undefined && deletion !== undefined && StoredRecord.decode(deletion).revision === revision) {
      state.delete(deleted);
    }
    state.delete(eventKey);
  }
  return { case: "sweep", value: { swept: doomed.length } };
}
