/**
 * Indexes of maps on values that are JSON: what rows an entry has, and how they change with it.
 *
 * An index is built in steps, one command each, by whoever defines it; any other who defines the same goes on where it
 * stands. From its first step on every change of an entry changes its rows. What is dropped is deleted in steps too.
 */
import { equalBytes, HoldfastError, limits } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { decodeValue } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext } from "../view.ts";
import { encodeIndexValue, keyText, decodeIndexValue, indexValueEnd } from "./map-key.ts";
import type { IndexDefinition, MapReference, MapResult } from "./map-operation.ts";
import { entryKeyStart, entryRange, rowKey, rowKeyStart, rowRange, StoredEntry } from "./map-state.ts";
import type { MapHeader, StoredIndex } from "./map-state.ts";

/** Entries that one step of building looks at, and rows that one step of dropping deletes. */
const stepCount = 256;
/** Bytes of values after which a step of building ends. */
const stepSize = 2_097_152;
const nothing = new Uint8Array(0);

export type Definition = Infer<typeof IndexDefinition>;

/** The values that an entry has in an index, encoded, each once; a refusal for one that is too large. */
function indexValues({ name, path, multi }: Definition, value: unknown): Uint8Array[] | Refusal {
  let found = value;
  for (const step of path === "" ? [] : path.split(".")) {
    const isContainer = typeof found === "object" && found !== null && !(found instanceof Uint8Array);
    if (!isContainer || !Object.hasOwn(found as object, step)) return [];
    found = (found as Record<string, unknown>)[step];
  }
  const values: Uint8Array[] = [];
  const seen = new Set<unknown>();
  for (const one of multi && Array.isArray(found) ? (found as unknown[]) : [found]) {
    const encoded = seen.has(one) ? undefined : encodeIndexValue(one);
    if (encoded === undefined) continue;
    if (encoded.length > limits.indexValueSizeMax) {
      const what = `a value of index ${name} is ${encoded.length} bytes; the limit is ${limits.indexValueSizeMax}`;
      return new Refusal("invalid", `${what} (limits.indexValueSizeMax): index something shorter, such as a hash`);
    }
    seen.add(one);
    values.push(encoded);
  }
  return values;
}

/** The rows of an entry in an index: each value with the key behind it. */
export function rowsOf(definition: Definition, value: Uint8Array | undefined, key: Uint8Array): Uint8Array[] | Refusal {
  if (value === undefined) return [];
  let values: Uint8Array[] | Refusal;
  try {
    values = indexValues(definition, decodeValue(value));
  } catch (error) {
    if (error instanceof HoldfastError)
      return new Refusal("invalid", `the value of key ${keyText(key)}: ${error.message}`);
    throw error;
  }
  if (values instanceof Refusal) return values;
  return values.map((one) => {
    const row = new Uint8Array(one.length + key.length);
    row.set(one);
    row.set(key, one.length);
    return row;
  });
}

/** Another key with the same value in a unique index. */
function clash(context: ApplyContext, map: MapReference, index: StoredIndex, row: Uint8Array, key: Uint8Array) {
  const value = row.subarray(0, row.length - key.length);
  const end = new Uint8Array(value.length + 1);
  end.set(value);
  end[value.length] = 0xff;
  for (const { key: whole } of context.state.entries(rowRange(map, index.id, { start: value, end }))) {
    const other = whole.subarray(rowKeyStart(map) + value.length);
    if (equalBytes(other, key)) continue;
    const shown = JSON.stringify(decodeIndexValue(value));
    return `index ${index.definition?.name} of ${map.space} ${map.name} is unique, and key ${keyText(other)} has ${shown}`;
  }
  return undefined;
}

/** Changes the rows of an entry; changes `header` where rows go. The entry itself is not touched. */
export function changeRows(
  context: ApplyContext,
  map: MapReference,
  header: MapHeader,
  key: Uint8Array,
  before: Uint8Array | undefined,
  after: Uint8Array | undefined,
): { readonly headerChanged: boolean } | Refusal {
  let headerChanged = false;
  for (const [at, index] of header.indexes.entries()) {
    const { definition } = index;
    if (definition === undefined || index.state === "dropping") continue;
    const old = rowsOf(definition, before, key);
    const rows = rowsOf(definition, after, key);
    if (rows instanceof Refusal) return rows;
    const oldRows = old instanceof Refusal ? [] : old;
    const refused = context.work.operate(rows.length + oldRows.length);
    if (refused !== undefined) return refused;
    const kept = new Set(rows.map(textOf));
    const had = new Set(oldRows.map(textOf));
    const gone = oldRows.filter((row) => !kept.has(textOf(row)));
    // A row of an index that is being built may be missing.
    const added = index.state === "ready" ? rows.filter((row) => !had.has(textOf(row))) : rows;
    context.state.require([...gone, ...added].map((row) => rowKey(map, index.id, row)));
    for (const row of gone) context.state.delete(rowKey(map, index.id, row));
    for (const row of added) {
      const other = definition.unique ? clash(context, map, index, row, key) : undefined;
      if (other !== undefined) return new Refusal("exists", other);
      context.state.put(rowKey(map, index.id, row), nothing);
    }
    if (gone.length === 0) continue;
    header.indexes[at] = { ...index, removeRevision: context.revision };
    headerChanged = true;
  }
  return { headerChanged };
}

/** One step towards the index; changes `header`. */
export function defineStep(
  context: ApplyContext,
  map: MapReference,
  header: MapHeader,
  definition: Definition,
): MapResult | Refusal {
  const at = header.indexes.findIndex((index) => index.definition?.name === definition.name);
  const index = header.indexes[at];
  if (index === undefined) {
    if (header.indexes.length >= limits.indexCountMax) {
      return new Refusal(
        "invalid",
        `${map.space} ${map.name} has ${limits.indexCountMax} indexes (limits.indexCountMax)`,
      );
    }
    header.indexes.push({
      id: header.nextIndex++,
      definition,
      state: "building",
      cursor: nothing,
      removeRevision: context.revision,
    });
    header.indexRevision = context.revision;
    return buildStep(context, map, header, header.indexes.length - 1);
  }
  if (index.state === "dropping") {
    const step = dropStep(context, map, header, at);
    // Then it is to be built.
    return step instanceof Refusal ? step : { ...step, existed: false, more: true };
  }
  const { path, unique, multi } = index.definition as Definition;
  if (path !== definition.path || unique !== definition.unique || multi !== definition.multi) {
    const what = `index ${definition.name} of ${map.space} ${map.name} is defined otherwise: path ${JSON.stringify(path)}`;
    return new Refusal("exists", `${what}, unique ${unique}, multi ${multi}; drop it first, or take another name`);
  }
  if (index.state === "ready") return { existed: true, count: 0, more: false, problem: "" };
  return buildStep(context, map, header, at);
}

function buildStep(context: ApplyContext, map: MapReference, header: MapHeader, at: number): MapResult | Refusal {
  const index = header.indexes[at] as StoredIndex;
  const definition = index.definition as Definition;
  const start = new Uint8Array(index.cursor.length + (index.cursor.length === 0 ? 0 : 1));
  start.set(index.cursor);
  const rows: { readonly row: Uint8Array; readonly key: Uint8Array }[] = [];
  let [count, size, more, cursor] = [0, 0, false, index.cursor];
  for (const { key: whole, value } of context.state.entries(entryRange(map, { start }))) {
    if (count === stepCount || size > stepSize || rows.length > 4 * stepCount) {
      more = true;
      break;
    }
    count++;
    size += value.length;
    const key = whole.slice(entryKeyStart(map));
    const found = rowsOf(definition, StoredEntry.decode(value).value, key);
    if (found instanceof Refusal) return failed(header, at, found.message);
    for (const row of found) rows.push({ row, key });
    cursor = key;
  }
  const refused = context.work.operate(rows.length);
  if (refused !== undefined) return refused;
  context.state.require(rows.map(({ row }) => rowKey(map, index.id, row)));
  for (const { row, key } of rows) {
    const other = definition.unique ? clash(context, map, index, row, key) : undefined;
    if (other !== undefined) return failed(header, at, `${other}, as has key ${keyText(key)}`);
    context.state.put(rowKey(map, index.id, row), nothing);
  }
  header.indexes[at] = more ? { ...index, cursor } : { ...index, cursor: nothing, state: "ready" };
  return { existed: false, count, more, problem: "" };
}

/** The index cannot be made: it is dropped by the steps that follow. */
function failed(header: MapHeader, at: number, problem: string): MapResult {
  header.indexes[at] = { ...(header.indexes[at] as StoredIndex), state: "dropping" };
  return { existed: false, count: 0, more: true, problem };
}

/** One step of dropping; changes `header`. */
export function dropStep(context: ApplyContext, map: MapReference, header: MapHeader, at: number): MapResult | Refusal {
  const index = header.indexes[at] as StoredIndex;
  header.indexes[at] = { ...index, state: "dropping" };
  const keys: Uint8Array[] = [];
  for (const { key } of context.state.entries(rowRange(map, index.id, {}))) {
    if (keys.length === 4 * stepCount) break;
    keys.push(key.slice());
  }
  const refused = context.work.operate(keys.length);
  if (refused !== undefined) return refused;
  context.state.require(keys);
  for (const key of keys) context.state.delete(key);
  const more = keys.length === 4 * stepCount;
  if (!more) header.indexes.splice(at, 1);
  header.indexRevision = context.revision;
  return { existed: true, count: keys.length, more, problem: "" };
}

/** Splits a row. */
export function splitRow(row: Uint8Array): { readonly value: Uint8Array; readonly key: Uint8Array } {
  const end = indexValueEnd(row);
  return { value: row.subarray(0, end), key: row.subarray(end) };
}

/** Bytes as a key of a JavaScript map: one character a byte. */
function textOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
