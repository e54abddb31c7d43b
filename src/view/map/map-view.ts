/**
 * The `map` view: maps, sets and registers. A set is a map of keys without values, a register one of a single entry. The
 * layout is in `map-state.ts`, indexes are in `map-index.ts`.
 *
 * Invariants:
 *  1. An entry's revision is that of the last command that set it.
 *  2. Each operation touches a bounded number of entries; what is larger (clearing, indexes) is several.
 */
import { HoldfastError, limits } from "../../base/index.ts";
import { nameProblem } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, State, View } from "../view.ts";
import { changeRows, defineStep, dropStep, splitRow } from "./map-index.ts";
import type { Definition } from "./map-index.ts";
import { keyProblem, keyText } from "./map-key.ts";
import { MapAnswer, MapOperation, MapQuery, MapResult } from "./map-operation.ts";
import type { MapEntry, MapRange, MapReference } from "./map-operation.ts";
import {
  deleteRevisionOf,
  dropKey,
  entryKey,
  entryKeyStart,
  entryRange,
  headerKey,
  mapViewId,
  nameOf,
  namesRange,
  readHeader,
  rowKeyStart,
  rowRange,
  StoredDrop,
  StoredEntry,
  writeHeader,
} from "./map-state.ts";
import type { MapHeader, StoredIndex } from "./map-state.ts";

/** Entries that one answer holds, and that one `clear` deletes. */
const pageCount = 512;
const clearSizeMax = 16_777_216;
const nameCountMax = 1_024;
const done: MapResult = { existed: true, count: 0, more: false, problem: "" };
const emptyAnswer: MapAnswer = { entries: [], more: false, count: 0, found: false, indexes: [], names: [] };

/** What of a map is announced: its name behind its space. */
export function mapTopic({ space, name }: MapReference): string {
  return `${space} ${name}`;
}

export class MapView implements AskedView<MapOperation, MapResult, MapQuery, MapAnswer> {
  readonly name = "map";
  readonly id = mapViewId;
  readonly operation = MapOperation;
  readonly result = MapResult;
  readonly query = MapQuery;
  readonly answer = MapAnswer;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { map, operation }: MapOperation): MapResult | Refusal {
    if (operation === undefined || map === undefined) {
      return new Refusal("invalid", "the operation is none that this version knows");
    }
    const problem = nameProblem(map.name);
    if (problem !== undefined) return new Refusal("invalid", `the name of the ${map.space} ${problem}`);
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    switch (operation.case) {
      case "set":
        return this.#set(context, map, operation.value);
      case "delete":
        return this.#delete(context, map, operation.value);
      case "clear":
        return this.#clear(context, map, operation.value.range ?? {});
      case "drop":
        return this.#drop(context, map);
      case "defineIndex":
        return this.#defineIndex(context, map, operation.value.definition);
      case "dropIndex":
        return this.#dropIndex(context, map, operation.value.name);
    }
  }

  #announce(context: ApplyContext, map: MapReference): void {
    context.changed();
    context.emit(this.#self, mapTopic(map));
  }

  #set(context: ApplyContext, map: MapReference, one: SetValue): MapResult | Refusal {
    const { key, value, ifRevision, ifValue } = one;
    const problem = keyProblem(key) ?? valueProblem(value);
    if (problem !== undefined) return new Refusal("invalid", `a key or value of ${map.space} ${map.name} ${problem}`);
    const { state } = context;
    const header = readHeader(state, map);
    const whole = entryKey(map, key);
    const stored = state.get(whole);
    const refused = context.work.load(stored?.length ?? 0);
    if (refused !== undefined) return refused;
    const before = stored === undefined ? undefined : StoredEntry.decode(stored);
    const met = conditionMet(map, key, before?.revision ?? 0, ifRevision) ?? valueMet(map, key, before?.value, ifValue);
    if (met !== undefined) return met;
    const fresh: MapHeader = header ?? { deleteRevision: 0, indexRevision: 0, nextIndex: 0, indexes: [] };
    if (fresh.indexes.length > 0) {
      const changed = changeRows(context, map, fresh, key, before?.value, value);
      if (changed instanceof Refusal) return changed;
      if (changed.headerChanged) writeHeader(state, map, fresh);
    }
    if (header === undefined) {
      fresh.deleteRevision = deleteRevisionOf(context, map);
      writeHeader(state, map, fresh);
    }
    state.put(whole, StoredEntry.encode({ revision: context.revision, value }));
    this.#announce(context, map);
    return { ...done, existed: before !== undefined };
  }

  #delete(
    context: ApplyContext,
    map: MapReference,
    { key, ifRevision }: { readonly key: Uint8Array; readonly ifRevision: number | undefined },
  ): MapResult | Refusal {
    const problem = keyProblem(key);
    if (problem !== undefined) return new Refusal("invalid", `a key of ${map.space} ${map.name} ${problem}`);
    const stored = context.state.get(entryKey(map, key));
    const before = stored === undefined ? undefined : StoredEntry.decode(stored);
    const met = conditionMet(map, key, before?.revision ?? 0, ifRevision);
    if (met !== undefined) return met;
    const header = readHeader(context.state, map);
    if (before === undefined || header === undefined) return { ...done, existed: false };
    const refused = context.work.load(before.value.length) ?? this.#remove(context, map, header, key, before.value);
    if (refused !== undefined) return refused;
    writeHeader(context.state, map, header);
    this.#announce(context, map);
    return { ...done, count: 1 };
  }

  /** The entry and its rows; the header is to be written. */
  #remove(
    context: ApplyContext,
    map: MapReference,
    header: MapHeader,
    key: Uint8Array,
    value: Uint8Array,
  ): Refusal | undefined {
    const changed = header.indexes.length === 0 ? undefined : changeRows(context, map, header, key, value, undefined);
    if (changed instanceof Refusal) return changed;
    context.state.delete(entryKey(map, key));
    header.deleteRevision = context.revision;
    return undefined;
  }

  #clear(context: ApplyContext, map: MapReference, range: Partial<MapRange>): MapResult | Refusal {
    const header = readHeader(context.state, map);
    const found: { readonly key: Uint8Array; readonly value: Uint8Array }[] = [];
    let [size, more] = [0, false];
    for (const { key, value } of context.state.entries(entryRange(map, range))) {
      if (found.length === pageCount || size > clearSizeMax) {
        more = true;
        break;
      }
      size += value.length;
      found.push({ key: key.slice(entryKeyStart(map)), value: StoredEntry.decode(value).value });
    }
    if (header === undefined || found.length === 0) return { ...done, existed: header !== undefined };
    const refused = context.work.operate(found.length) ?? context.work.load(size);
    if (refused !== undefined) return refused;
    for (const { key, value } of found) {
      const failed = this.#remove(context, map, header, key, value);
      if (failed !== undefined) return failed;
    }
    writeHeader(context.state, map, header);
    this.#announce(context, map);
    return { ...done, count: found.length, more };
  }

  #drop(context: ApplyContext, map: MapReference): MapResult | Refusal {
    const { state } = context;
    const header = readHeader(state, map);
    if (header === undefined) return { ...done, existed: false };
    if (header.indexes.length > 0 || state.count(entryRange(map, {})) > 0) {
      return new Refusal(
        "conflict",
        `${map.space} ${map.name} is not empty, or has indexes: clear it and drop them first`,
      );
    }
    state.delete(headerKey(map));
    state.put(dropKey, StoredDrop.encode({ revision: context.revision }));
    this.#announce(context, map);
    return done;
  }

  #defineIndex(context: ApplyContext, map: MapReference, definition: Definition | undefined): MapResult | Refusal {
    const problem = definition === undefined ? "is missing" : nameProblem(definition.name);
    if (definition === undefined || problem !== undefined)
      return new Refusal("invalid", `the name of an index ${problem}`);
    if (definition.path.length > limits.nameSizeMax) {
      return new Refusal(
        "invalid",
        `the path of an index has more than ${limits.nameSizeMax} characters (limits.nameSizeMax)`,
      );
    }
    const header = readHeader(context.state, map) ?? {
      deleteRevision: deleteRevisionOf(context, map),
      indexRevision: 0,
      nextIndex: 0,
      indexes: [],
    };
    const result = defineStep(context, map, header, definition);
    // Ready as it is.
    if (result instanceof Refusal || (result.existed && !result.more)) return result;
    writeHeader(context.state, map, header);
    this.#announce(context, map);
    return result;
  }

  #dropIndex(context: ApplyContext, map: MapReference, name: string): MapResult | Refusal {
    const header = readHeader(context.state, map);
    const at = header?.indexes.findIndex((index) => index.definition?.name === name) ?? -1;
    if (header === undefined || at < 0) return { ...done, existed: false };
    const result = dropStep(context, map, header, at);
    if (result instanceof Refusal) return result;
    writeHeader(context.state, map, header);
    this.#announce(context, map);
    return result;
  }

  touches({ map, operation }: MapOperation, touch: (key: Uint8Array) => void): void {
    if (map === undefined || operation === undefined) return;
    touch(headerKey(map));
    if (operation.case === "set" || operation.case === "delete") touch(entryKey(map, operation.value.key));
  }

  answerTo(context: ReadingContext, { map, query }: MapQuery): MapAnswer {
    if (map === undefined || query === undefined) {
      throw new HoldfastError("invalid", "the question is none that this version knows");
    }
    const { state } = context;
    switch (query.case) {
      case "get": {
        const value = state.get(entryKey(map, query.value.key));
        if (value === undefined) return emptyAnswer;
        const { key } = query.value;
        return { ...emptyAnswer, entries: [{ key, row: nothing, ...StoredEntry.decode(value) }] };
      }
      case "list":
        return { ...emptyAnswer, ...listEntries(state, map, query.value) };
      case "count":
        return { ...emptyAnswer, count: state.count(entryRange(map, query.value.range ?? {})) };
      case "rank": {
        const { key } = query.value;
        const count = state.count(entryRange(map, { end: key }));
        return { ...emptyAnswer, count, found: state.get(entryKey(map, key)) !== undefined };
      }
      case "indexList": {
        const index = readyIndex(state, map, query.value.index);
        const indexes = [{ definition: index.definition, state: index.state }];
        return { ...emptyAnswer, ...listRows(state, map, index, query.value), indexes };
      }
      case "indexCount": {
        const index = readyIndex(state, map, query.value.index);
        return { ...emptyAnswer, count: state.count(rowRange(map, index.id, query.value.range ?? {})) };
      }
      case "describe": {
        const header = readHeader(state, map);
        const indexes = header?.indexes.map(({ definition, state: how }) => ({ definition, state: how })) ?? [];
        return { ...emptyAnswer, indexes, found: header !== undefined, count: state.count(entryRange(map, {})) };
      }
      case "maps":
        return listNames(state, map, query.value.prefix);
    }
  }

  unchanged(context: ReadingContext, { map, query }: MapQuery, since: number): boolean {
    if (map === undefined || query === undefined) return false;
    const { state } = context;
    if (query.case === "get") {
      const stored = state.get(entryKey(map, query.value.key));
      if (stored !== undefined) return StoredEntry.decode(stored).revision <= since;
      return deleteRevisionOf(context, map) <= since;
    }
    if (query.case === "list") {
      if (deleteRevisionOf(context, map) > since) return false;
      return listEntries(state, map, query.value).entries.every(({ revision }) => revision <= since);
    }
    if (query.case !== "indexList") return false;
    const header = readHeader(state, map);
    const index = header?.indexes.find(({ definition }) => definition?.name === query.value.index);
    if (header === undefined || index?.state !== "ready") return false;
    if (header.indexRevision > since || index.removeRevision > since) return false;
    return listRows(state, map, index, query.value).entries.every(({ revision }) => revision <= since);
  }
}

const nothing = new Uint8Array(0);

interface SetValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly ifRevision: number | undefined;
  readonly ifValue: Uint8Array | undefined;
}

function valueProblem(value: Uint8Array): string | undefined {
  if (value.length === 0) return "has no form";
  if (value.length <= 1 + limits.valueSizeMax) return undefined;
  return `is ${value.length} bytes; the limit is ${limits.valueSizeMax} (limits.valueSizeMax)`;
}

function conditionMet(
  map: MapReference,
  key: Uint8Array,
  revision: number,
  wanted: number | undefined,
): Refusal | undefined {
  if (wanted === undefined || wanted === revision) return undefined;
  const is = revision === 0 ? "does not exist" : `was last changed at revision ${revision}`;
  const not = wanted === 0 ? "must not exist" : `must be that of revision ${wanted}`;
  return new Refusal("conflict", `key ${keyText(key)} of ${map.space} ${map.name} ${is}; it ${not}`);
}

function valueMet(
  map: MapReference,
  key: Uint8Array,
  value: Uint8Array = nothing,
  wanted: Uint8Array | undefined,
): Refusal | undefined {
  if (wanted === undefined) return undefined;
  if (wanted.length === value.length && wanted.every((byte, at) => byte === value[at])) return undefined;
  return new Refusal("conflict", `key ${keyText(key)} of ${map.space} ${map.name} has another value than was expected`);
}

interface Page {
  readonly range: Partial<MapRange> | undefined;
  readonly limit: number;
  readonly reverse: boolean;
}

function listEntries(
  state: Pick<State, "entries">,
  map: MapReference,
  { range = {}, limit, reverse, keysOnly }: Page & { readonly keysOnly: boolean },
): { readonly entries: MapEntry[]; readonly more: boolean } {
  const countMax = limit === 0 ? pageCount : Math.min(limit, pageCount);
  const entries: MapEntry[] = [];
  let size = 0;
  for (const { key, value } of state.entries({ ...entryRange(map, range), reverse })) {
    if (entries.length === countMax || size >= limits.answerSizeMax) return { entries, more: true };
    const stored = StoredEntry.decode(value);
    entries.push({
      key: key.slice(entryKeyStart(map)),
      row: nothing,
      revision: stored.revision,
      value: keysOnly ? nothing : stored.value,
    });
    size += key.length + (keysOnly ? 0 : value.length);
  }
  return { entries, more: false };
}

function listRows(
  state: Pick<State, "entries" | "get">,
  map: MapReference,
  index: StoredIndex,
  { range = {}, limit, reverse }: Page,
): { readonly entries: MapEntry[]; readonly more: boolean } {
  const countMax = limit === 0 ? pageCount : Math.min(limit, pageCount);
  const entries: MapEntry[] = [];
  let size = 0;
  for (const { key: whole } of state.entries({ ...rowRange(map, index.id, range), reverse })) {
    if (entries.length === countMax || size >= limits.answerSizeMax) return { entries, more: true };
    const row = whole.slice(rowKeyStart(map));
    const { key } = splitRow(row);
    const stored = state.get(entryKey(map, key));
    if (stored === undefined) continue;
    entries.push({ key, row, ...StoredEntry.decode(stored) });
    size += row.length + stored.length;
  }
  return { entries, more: false };
}

function readyIndex(state: Pick<State, "get">, map: MapReference, name: string): StoredIndex {
  const index = readHeader(state, map)?.indexes.find(({ definition }) => definition?.name === name);
  if (index?.state === "ready") return index;
  if (index?.state === "building") {
    const remedy = "define it once more, which goes on with it";
    throw new HoldfastError("unavailable", `index ${name} of ${map.space} ${map.name} is being built: ${remedy}`);
  }
  throw new HoldfastError("notFound", `${map.space} ${map.name} has no index ${name}; define it first`);
}

function listNames(state: Pick<State, "entries">, map: MapReference, prefix: string): MapAnswer {
  const found: string[] = [];
  let range = namesRange(map, prefix);
  while (found.length < nameCountMax) {
    const [first] = state.entries(range);
    const next = first === undefined ? undefined : nameOf(first.key);
    if (next === undefined || !next.startsWith(prefix)) return { ...emptyAnswer, names: found };
    found.push(next);
    range = namesRange({ space: map.space, name: next }, prefix);
  }
  return { ...emptyAnswer, names: found, more: true };
}
