/** Maps and their indexes, as a user sees them. */
import { HoldfastError } from "../../base/index.ts";
import type { Revision } from "../../base/index.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { checkedName, decodeValue, encodeValue } from "../value.ts";
import { decodeIndexValue, encodeIndexValue, encodeKey } from "./map-key.ts";
import { splitRow } from "./map-index.ts";
import type { IndexValue, MapKey } from "./map-key.ts";
import type { MapRange, MapReference } from "./map-operation.ts";
import { MapPart, pages, toEntry, toRange } from "./map-part.ts";
import type { CallOptions, Entry, MapParts, MapRangeOptions } from "./map-part.ts";

export interface SetEntryOptions extends CallOptions {
  /** `conflict` if the key exists. */
  readonly ifAbsent?: boolean | undefined;
  /** `conflict` unless the entry was last set at this revision; 0: does not exist. */
  readonly ifRevision?: number | undefined;
}

export interface MapListOptions<K extends MapKey = MapKey> extends MapRangeOptions<K>, ReadOptions {
  /** At most so many. */
  readonly limit?: number | undefined;
  /** From the last to the first. */
  readonly reverse?: boolean | undefined;
}

export interface IndexOptions {
  /** Which part of a value counts: names of members, separated by points (`address.city`); empty for the value itself. */
  readonly path: string;
  /** `exists` for a second entry with the same value. */
  readonly unique?: boolean | undefined;
  /** Where the value is an array, each of its elements counts. */
  readonly multi?: boolean | undefined;
}

export interface IndexInfo {
  readonly name: string;
  readonly path: string;
  readonly unique: boolean;
  readonly multi: boolean;
}

/**
 * Entries in the order of their keys: numbers, then text, then bytes. Values are JSON or bytes. Every change is durable
 * and linearizable, and takes effect exactly once; a list is a page at a time, each page of one revision (for all of one
 * revision, list in a transaction or in a snapshot).
 */
export class StoreMap<T, K extends MapKey = MapKey> {
  readonly name: string;
  readonly #part: MapPart;

  /** @internal */
  constructor(parts: MapParts, name: string) {
    this.name = checkedName(name, "map");
    this.#part = new MapPart(parts, { space: "map", name });
  }

  async get(key: K, options?: ReadOptions): Promise<T | undefined> {
    return (await this.getEntry(key, options))?.value;
  }

  async getEntry(key: K, options?: ReadOptions): Promise<Entry<T, K> | undefined> {
    const found = await this.#part.get(encodeKey(key), options);
    return found === undefined ? undefined : toEntry(found);
  }

  async has(key: K, options?: ReadOptions): Promise<boolean> {
    const { found } = await this.#part.ask({ case: "rank", value: { key: encodeKey(key) } }, options);
    return found;
  }

  /** Answers the entry's revision. `exists` where a unique index has the value already. */
  async set(key: K, value: T, { ifAbsent, ifRevision, signal }: SetEntryOptions = {}): Promise<Revision> {
    if (ifAbsent === true && ifRevision !== undefined && ifRevision !== 0) {
      throw new HoldfastError("invalid", `ifAbsent and ifRevision ${ifRevision} contradict each other`);
    }
    const wanted = ifAbsent === true ? 0 : ifRevision;
    const body = { key: encodeKey(key), value: encodeValue(value), ifRevision: wanted, ifValue: undefined };
    return (await this.#part.propose({ case: "set", value: body }, { signal })).revision;
  }

  /** Answers whether it was there. */
  async delete(key: K, { ifRevision, signal }: Omit<SetEntryOptions, "ifAbsent"> = {}): Promise<boolean> {
    const value = { key: encodeKey(key), ifRevision };
    return (await this.#part.propose({ case: "delete", value }, { signal })).result.existed;
  }

  /**
   * Sets the entry to what the function makes of its value, and answers that; `undefined` deletes it. The function runs
   * again where somebody else has changed the entry meanwhile.
   */
  update(key: K, change: (value: T | undefined) => T | undefined, options?: CallOptions): Promise<T | undefined> {
    return this.#part.retried(async () => {
      const found = await this.getEntry(key, options);
      const value = change(found?.value);
      const ifRevision = found?.revision ?? 0;
      if (value !== undefined) await this.set(key, value, { ...options, ifRevision });
      else if (found !== undefined) await this.delete(key, { ...options, ifRevision });
      return value;
    }, options);
  }

  async *entries(options: MapListOptions<K> = {}): AsyncGenerator<Entry<T, K>, void, undefined> {
    for await (const entry of this.#list(options, false)) yield toEntry(entry);
  }

  async *keys(options: MapListOptions<K> = {}): AsyncGenerator<K, void, undefined> {
    for await (const entry of this.#list(options, true)) yield toEntry<T, K>({ ...entry, value: noValue }).key;
  }

  async *values(options: MapListOptions<K> = {}): AsyncGenerator<T, void, undefined> {
    for await (const { value } of this.entries(options)) yield value;
  }

  #list(options: MapListOptions<K>, keysOnly: boolean) {
    const reverse = options.reverse === true;
    const ask = (range: Partial<MapRange>, limit: number) =>
      this.#part.ask(
        { case: "list", value: { range: { start: undefined, end: undefined, ...range }, limit, reverse, keysOnly } },
        options,
      );
    return pages(ask, toRange(options), options, ({ key }) => key);
  }

  /** How many entries there are, in all or in the range; costs the logarithm of their number. */
  async size(options: MapRangeOptions<K> & ReadOptions = {}): Promise<number> {
    return (await this.#part.ask({ case: "count", value: { range: toRange(options) } }, options)).count;
  }

  /** How many keys come before this one; undefined if it is not there. */
  async rank(key: K, options?: ReadOptions): Promise<number | undefined> {
    const { count, found } = await this.#part.ask({ case: "rank", value: { key: encodeKey(key) } }, options);
    return found ? count : undefined;
  }

  /** Deletes the entries, all or those of the range, and answers how many. More than 512 go in several steps. */
  clear({ signal, ...range }: MapRangeOptions<K> & CallOptions = {}): Promise<number> {
    return this.#part.repeat({ case: "clear", value: { range: toRange(range) } }, { signal });
  }

  /** Deletes the entries, the indexes and what is remembered of the map. */
  async drop(options: CallOptions = {}): Promise<void> {
    await this.clear(options);
    for (const { name } of await this.indexes(options)) await this.dropIndex(name, options);
    await this.#part.propose({ case: "drop", value: {} }, options);
  }

  /** The entry of a key now, and after changes: the newest, where several came at once. */
  async *watch(key: K, { signal }: CallOptions = {}): AsyncGenerator<Entry<T, K> | undefined, void, undefined> {
    let last: number | undefined;
    for await (const atLeast of this.#part.changes(signal)) {
      const entry = await this.getEntry(key, { atLeast, consistency: "local", signal });
      const revision = entry?.revision ?? 0;
      if (revision !== last) yield entry;
      last = revision;
    }
  }

  /** A revision now, and one after changes of anything in the map: ask then. */
  changes({ signal }: CallOptions = {}): AsyncIterable<Revision> {
    return this.#part.changes(signal);
  }

  /**
   * Sees to it that there is this index, and builds it where the map has entries already, a few at a time; `exists` if
   * there is another of the name, or if it is to be unique and two entries have the same value.
   */
  async defineIndex(name: string, { path, unique = false, multi = false }: IndexOptions, options?: CallOptions) {
    const definition = { name: checkedName(name, "index"), path, unique, multi };
    for (;;) {
      const { result } = await this.#part.propose({ case: "defineIndex", value: { definition } }, options);
      if (result.problem !== "") {
        await this.dropIndex(name, options);
        throw new HoldfastError("exists", result.problem);
      }
      if (!result.more) return this.index(name);
    }
  }

  async dropIndex(name: string, options?: CallOptions): Promise<void> {
    await this.#part.repeat({ case: "dropIndex", value: { name } }, options);
  }

  /** One that has been defined. */
  index(name: string): MapIndex<T, K> {
    return new MapIndex<T, K>(this.#part, checkedName(name, "index"));
  }

  async indexes(options?: ReadOptions): Promise<IndexInfo[]> {
    const { indexes } = await this.#part.ask({ case: "describe", value: {} }, options);
    return indexes.flatMap(({ definition }) => {
      if (definition === undefined) return [];
      const { name, path, unique, multi } = definition;
      return [{ name, path, unique, multi }];
    });
  }
}

/** start ≤ value < end, in the order null, false, true, numbers, text; or exactly `value`. */
export interface IndexRange {
  readonly value?: IndexValue | undefined;
  readonly start?: IndexValue | undefined;
  readonly end?: IndexValue | undefined;
}

export interface IndexListOptions extends IndexRange, ReadOptions {
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

/** Finds entries by what their values hold. */
export class MapIndex<T, K extends MapKey = MapKey> {
  readonly name: string;
  readonly #part: MapPart;

  /** @internal */
  constructor(part: MapPart, name: string) {
    this.#part = part;
    this.name = name;
  }

  /** The first entry with this value; the only one, if the index is unique. */
  async get(value: IndexValue, options?: ReadOptions): Promise<Entry<T, K> | undefined> {
    for await (const { entry } of this.#list({ ...options, value, limit: 1 })) return entry;
    return undefined;
  }

  /** In the order of the values, where they are the same in the order of the keys. */
  async *entries(options: IndexListOptions = {}): AsyncGenerator<Entry<T, K>, void, undefined> {
    for await (const { entry } of this.#list(options)) yield entry;
  }

  /** The values with the keys that have them. */
  async *values(
    options: IndexListOptions = {},
  ): AsyncGenerator<{ readonly value: IndexValue; readonly key: K }, void, undefined> {
    for await (const { entry, value } of this.#list(options)) yield { value, key: entry.key };
  }

  /** How many entries there are in the range; costs the logarithm of their number. Ranks in a leader board come from it. */
  async count(options: IndexRange & ReadOptions = {}): Promise<number> {
    const value = { index: this.name, range: toIndexRange(options) };
    return (await this.#part.ask({ case: "indexCount", value }, options)).count;
  }

  async *#list(options: IndexListOptions) {
    const reverse = options.reverse === true;
    const ask = (range: Partial<MapRange>, limit: number) =>
      this.#part.ask(
        {
          case: "indexList",
          value: { index: this.name, range: { start: undefined, end: undefined, ...range }, limit, reverse },
        },
        options,
      );
    for await (const entry of pages(ask, toIndexRange(options), options, ({ row }) => row)) {
      yield { entry: toEntry<T, K>(entry), value: decodeIndexValue(splitRow(entry.row).value) };
    }
  }
}

export function toIndexRange(range: IndexRange): MapRange {
  const { value, start, end } = range;
  if (value === undefined) return { start: bound(start), end: bound(end) };
  if (start !== undefined || end !== undefined) {
    throw new HoldfastError("invalid", "choose by one value or by start and end, not by both");
  }
  const first = bound(value) as Uint8Array;
  const last = new Uint8Array(first.length + 1);
  last.set(first);
  // Behind a value comes a key, whose first byte is less.
  last[first.length] = 0xff;
  return { start: first, end: last };
}

function bound(value: IndexValue | undefined): Uint8Array | undefined {
  if (value === undefined) return undefined;
  const encoded = encodeIndexValue(value);
  if (encoded !== undefined) return encoded;
  throw new HoldfastError("invalid", "an index is of text, finite numbers, true, false and null");
}

const noValue = encodeValue(undefined);

/** Distinct values that are kept; `has` is a point read. */
export class StoreSet<K extends MapKey = MapKey> {
  readonly name: string;
  readonly #part: MapPart;

  /** @internal */
  constructor(parts: MapParts, name: string) {
    this.name = checkedName(name, "set");
    this.#part = new MapPart(parts, { space: "set", name });
  }

  /** Answers whether it is new. */
  async add(member: K, options?: CallOptions): Promise<boolean> {
    const value = { key: encodeKey(member), value: noValue, ifRevision: undefined, ifValue: undefined };
    return !(await this.#part.propose({ case: "set", value }, options)).result.existed;
  }

  /** Answers whether it was there. */
  async delete(member: K, options?: CallOptions): Promise<boolean> {
    const value = { key: encodeKey(member), ifRevision: undefined };
    return (await this.#part.propose({ case: "delete", value }, options)).result.existed;
  }

  async has(member: K, options?: ReadOptions): Promise<boolean> {
    return (await this.#part.get(encodeKey(member), options)) !== undefined;
  }

  async size(options: MapRangeOptions<K> & ReadOptions = {}): Promise<number> {
    return (await this.#part.ask({ case: "count", value: { range: toRange(options) } }, options)).count;
  }

  /** In the order of the members: numbers, text, bytes. */
  async *list(options: MapListOptions<K> = {}): AsyncGenerator<K, void, undefined> {
    const reverse = options.reverse === true;
    const ask = (range: Partial<MapRange>, limit: number) =>
      this.#part.ask(
        {
          case: "list",
          value: { range: { start: undefined, end: undefined, ...range }, limit, reverse, keysOnly: false },
        },
        options,
      );
    for await (const entry of pages(ask, toRange(options), options, ({ key }) => key))
      yield toEntry<unknown, K>(entry).key;
  }

  clear({ signal, ...range }: MapRangeOptions<K> & CallOptions = {}): Promise<number> {
    return this.#part.repeat({ case: "clear", value: { range: toRange(range) } }, { signal });
  }

  changes({ signal }: CallOptions = {}): AsyncIterable<Revision> {
    return this.#part.changes(signal);
  }
}

/** The only key of a register. */
export const registerKey = encodeKey("");

/** One value with a name. */
export class Register<T> {
  readonly name: string;
  readonly #part: MapPart;

  /** @internal */
  constructor(parts: MapParts, name: string) {
    this.name = checkedName(name, "register");
    this.#part = new MapPart(parts, { space: "register", name });
  }

  /** Undefined until it is set. */
  async get(options?: ReadOptions): Promise<T | undefined> {
    const found = await this.#part.get(registerKey, options);
    return found === undefined ? undefined : (decodeValue(found.value) as T);
  }

  async set(value: T, options?: CallOptions): Promise<Revision> {
    const body = { key: registerKey, value: encodeValue(value), ifRevision: undefined, ifValue: undefined };
    return (await this.#part.propose({ case: "set", value: body }, options)).revision;
  }

  /**
   * Sets it if it is `expected` (undefined: not set), and answers whether. Values are the same if their JSON is, with the
   * members of objects in the same order; in doubt use what `get` has given.
   */
  async compareAndSet(expected: T | undefined, value: T, options?: CallOptions): Promise<boolean> {
    const ifValue = expected === undefined ? new Uint8Array(0) : encodeValue(expected);
    const body = { key: registerKey, value: encodeValue(value), ifRevision: undefined, ifValue };
    try {
      await this.#part.propose({ case: "set", value: body }, options);
      return true;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "conflict" && !error.maybe) return false;
      throw error;
    }
  }

  async delete(options?: CallOptions): Promise<boolean> {
    const value = { key: registerKey, ifRevision: undefined };
    return (await this.#part.propose({ case: "delete", value }, options)).result.existed;
  }

  /** Its value now, and after changes: the newest, where several came at once. */
  async *watch({ signal }: CallOptions = {}): AsyncGenerator<T | undefined, void, undefined> {
    let last: number | undefined;
    for await (const atLeast of this.#part.changes(signal)) {
      const found = await this.#part.get(registerKey, { atLeast, consistency: "local", signal });
      if ((found?.revision ?? 0) !== last) yield found === undefined ? undefined : (decodeValue(found.value) as T);
      last = found?.revision ?? 0;
    }
  }
}

/** The names of the maps, sets or registers that there are, in the order of their bytes. */
export async function* listMaps(
  { source, view }: MapParts,
  space: MapReference["space"],
  { prefix = "", ...options }: ReadOptions & { readonly prefix?: string | undefined } = {},
): AsyncGenerator<string, void, undefined> {
  for (let name = ""; ;) {
    const question = { map: { space, name }, query: { case: "maps" as const, value: { prefix } } };
    const { answer } = await source.ask(view, question, options);
    yield* answer.names;
    if (!answer.more) return;
    name = answer.names.at(-1) ?? "";
  }
}
