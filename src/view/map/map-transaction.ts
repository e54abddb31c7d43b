/** Maps, sets and registers inside a transaction: reads of one state, with what it has written itself laid over them. */
import { compareBytes, toHex } from "../../base/index.ts";
import { decodeValue, encodeValue } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ViewTransaction } from "../view-transaction.ts";
import { rowsOf } from "./map-index.ts";
import type { Definition } from "./map-index.ts";
import { decodeKey, encodeKey } from "./map-key.ts";
import type { IndexValue, MapKey } from "./map-key.ts";
import type { MapEntry, MapQuery, MapRange, MapReference } from "./map-operation.ts";
import { checkedLimit, pages, toEntry, toRange } from "./map-part.ts";
import type { Entry, MapRangeOptions } from "./map-part.ts";
import type { MapView } from "./map-view.ts";
import { registerKey, toIndexRange } from "./maps.ts";

interface Write {
  readonly key: Uint8Array;
  /** Undefined deletes. */
  readonly value: Uint8Array | undefined;
}

interface ListOptions<K extends MapKey> extends MapRangeOptions<K> {
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

/** What the three have alike. */
class MapOverlay {
  readonly #tx: ViewTransaction;
  readonly #view: MapView;
  readonly #map: MapReference;
  readonly #writes = new Map<string, Write>();

  constructor(tx: ViewTransaction, view: MapView, map: MapReference) {
    this.#tx = tx;
    this.#view = view;
    this.#map = map;
  }

  async get(key: Uint8Array): Promise<MapEntry | undefined> {
    this.#tx.checkOpen();
    const write = this.#writes.get(toHex(key));
    if (write !== undefined) return this.#written(write);
    return (await this.read({ case: "get", value: { key } })).entries[0];
  }

  read(query: NonNullable<MapQuery["query"]>) {
    return this.#tx.read(this.#view, { map: this.#map, query });
  }

  /** As if it were committed at the next revision. */
  #written({ key, value }: Write): MapEntry | undefined {
    return value === undefined ? undefined : { key, value, revision: this.#tx.revision + 1, row: new Uint8Array(0) };
  }

  /** All of it is read before the first is given. */
  async list({ limit, reverse = false, ...options }: ListOptions<MapKey>): Promise<MapEntry[]> {
    this.#tx.checkOpen();
    const range = toRange(options);
    const mine = [...this.#writes.values()].filter(({ key }) => contains(range, key));
    const ask = (rest: Partial<MapRange>, count: number) =>
      this.read({
        case: "list",
        value: { range: { start: undefined, end: undefined, ...rest }, limit: count, reverse, keysOnly: false },
      });
    // Each of its own writes hides one entry at most.
    const wanted = limit === undefined ? undefined : checkedLimit(limit) + mine.length;
    const entries: MapEntry[] = [];
    for await (const entry of pages(ask, range, { limit: wanted, reverse }, ({ key }) => key)) {
      if (!this.#writes.has(toHex(entry.key))) entries.push(entry);
    }
    for (const write of mine) {
      const entry = this.#written(write);
      if (entry !== undefined) entries.push(entry);
    }
    const order = reverse ? -1 : 1;
    return entries.toSorted((a, b) => order * compareBytes(a.key, b.key)).slice(0, limit);
  }

  /** All of it is read before the first is given. */
  async findBy(index: string, value: IndexValue): Promise<MapEntry[]> {
    const range = toIndexRange({ value });
    let definition: Definition | undefined;
    const ask = async (rest: Partial<MapRange>, limit: number) => {
      const page = { index, range: { start: undefined, end: undefined, ...rest }, limit, reverse: false };
      const answer = await this.read({ case: "indexList", value: page });
      definition = answer.indexes[0]?.definition;
      return answer;
    };
    const entries: MapEntry[] = [];
    for await (const entry of pages(ask, range, {}, ({ row }) => row)) {
      if (!this.#writes.has(toHex(entry.key))) entries.push(entry);
    }
    for (const write of this.#writes.values()) {
      const rows = definition === undefined ? [] : rowsOf(definition, write.value, write.key);
      // What no index takes is refused when the transaction commits.
      if (rows instanceof Refusal || !rows.some((row) => contains(range, row))) continue;
      const entry = this.#written(write);
      if (entry !== undefined) entries.push(entry);
    }
    return entries.toSorted((a, b) => compareBytes(a.key, b.key));
  }

  set(key: Uint8Array, value: Uint8Array): void {
    const body = { key, value, ifRevision: undefined, ifValue: undefined };
    this.#tx.write(this.#view, { map: this.#map, operation: { case: "set", value: body } });
    this.#writes.set(toHex(key), { key, value });
  }

  delete(key: Uint8Array): void {
    this.#tx.write(this.#view, {
      map: this.#map,
      operation: { case: "delete", value: { key, ifRevision: undefined } },
    });
    this.#writes.set(toHex(key), { key, value: undefined });
  }
}

function contains({ start, end }: MapRange, key: Uint8Array): boolean {
  if (start !== undefined && compareBytes(key, start) < 0) return false;
  return end === undefined || compareBytes(key, end) < 0;
}

export class MapInTransaction<T = unknown, K extends MapKey = MapKey> {
  readonly #overlay: MapOverlay;

  /** @internal */
  constructor(tx: ViewTransaction, view: MapView, name: string) {
    this.#overlay = new MapOverlay(tx, view, { space: "map", name });
  }

  async get(key: K): Promise<T | undefined> {
    const found = await this.#overlay.get(encodeKey(key));
    return found === undefined ? undefined : (decodeValue(found.value) as T);
  }

  async has(key: K): Promise<boolean> {
    return (await this.#overlay.get(encodeKey(key))) !== undefined;
  }

  set(key: K, value: T): void {
    this.#overlay.set(encodeKey(key), encodeValue(value));
  }

  delete(key: K): void {
    this.#overlay.delete(encodeKey(key));
  }

  /** The entries of the range, as this transaction sees them; another that comes into the range meanwhile is a conflict. */
  async list(options: ListOptions<K> = {}): Promise<Entry<T, K>[]> {
    return (await this.#overlay.list(options)).map((entry) => toEntry<T, K>(entry));
  }

  /** The entries that have this value in an index, in the order of their keys, with this transaction's own changes. */
  async findBy(index: string, value: IndexValue): Promise<Entry<T, K>[]> {
    const entries = await this.#overlay.findBy(index, value);
    return entries.map((entry) => toEntry<T, K>(entry));
  }
}

export class SetInTransaction<K extends MapKey = MapKey> {
  readonly #overlay: MapOverlay;

  /** @internal */
  constructor(tx: ViewTransaction, view: MapView, name: string) {
    this.#overlay = new MapOverlay(tx, view, { space: "set", name });
  }

  async has(member: K): Promise<boolean> {
    return (await this.#overlay.get(encodeKey(member))) !== undefined;
  }

  add(member: K): void {
    this.#overlay.set(encodeKey(member), encodeValue(undefined));
  }

  delete(member: K): void {
    this.#overlay.delete(encodeKey(member));
  }

  async list(options: ListOptions<K> = {}): Promise<K[]> {
    return (await this.#overlay.list(options)).map(({ key }) => decodeKey(key) as K);
  }
}

export class RegisterInTransaction<T = unknown> {
  readonly #overlay: MapOverlay;

  /** @internal */
  constructor(tx: ViewTransaction, view: MapView, name: string) {
    this.#overlay = new MapOverlay(tx, view, { space: "register", name });
  }

  async get(): Promise<T | undefined> {
    const found = await this.#overlay.get(registerKey);
    return found === undefined ? undefined : (decodeValue(found.value) as T);
  }

  set(value: T): void {
    this.#overlay.set(registerKey, encodeValue(value));
  }

  delete(): void {
    this.#overlay.delete(registerKey);
  }
}

/** What a transaction's function has of maps; the same object for the same name. */
export function mapsOf(tx: ViewTransaction, view: MapView) {
  return {
    map: <T, K extends MapKey = MapKey>(name: string) =>
      tx.object(view, `map ${name}`, () => new MapInTransaction<T, K>(tx, view, name)),
    set: <K extends MapKey = MapKey>(name: string) =>
      tx.object(view, `set ${name}`, () => new SetInTransaction<K>(tx, view, name)),
    register: <T>(name: string) =>
      tx.object(view, `register ${name}`, () => new RegisterInTransaction<T>(tx, view, name)),
  };
}
