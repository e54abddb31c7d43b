/**
 * A store behind keyv (https://keyv.org): entries of a map, with the time at which they end; who reads past it sees
 * nothing, and deletes it. A namespace is what stands before the keys, with `::` behind it.
 */
import { EventEmitter } from "node:events";
import type { Store } from "../member/index.ts";

export interface KeyvOptions {
  readonly store: Store;
  /** The map's name. Default `keyv`. */
  readonly map?: string;
}

interface Held {
  readonly value: unknown;
  /** Milliseconds since the Unix epoch. */
  readonly expires?: number;
}

interface KeyvItem {
  readonly key: string;
  readonly value: unknown;
  readonly expires?: number | undefined;
}

export class HoldfastKeyv extends EventEmitter {
  namespace: string | undefined;
  readonly #map;

  constructor({ store, map = "keyv" }: KeyvOptions) {
    super();
    this.#map = store.map<Held, string>(map);
  }

  /** Read by keyv: the times to live are absolute, and kept here. */
  get capabilities() {
    const there = { exists: true, methodType: "async" as const };
    const names = [
      "get",
      "getMany",
      "has",
      "hasMany",
      "set",
      "setMany",
      "delete",
      "deleteMany",
      "clear",
      "disconnect",
      "iterator",
    ];
    const methods = Object.fromEntries(names.map((name) => [name, there]));
    return { compatible: true, store: "keyvStorage" as const, methods, expires: true };
  }

  get #prefix(): string {
    return this.namespace === undefined ? "" : `${this.namespace}::`;
  }

  async #live(key: string): Promise<Held | undefined> {
    const entry = await this.#map.getEntry(this.#prefix + key);
    if (entry === undefined || !ended(entry.value)) return entry?.value;
    // Unless somebody has set it anew meanwhile.
    await this.#map.delete(entry.key, { ifRevision: entry.revision }).catch(() => {});
    return undefined;
  }

  async get(key: string): Promise<unknown> {
    return (await this.#live(key))?.value;
  }

  getMany(keys: readonly string[]): Promise<unknown[]> {
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async set(key: string, value: unknown, expires?: number): Promise<boolean> {
    await this.#map.set(this.#prefix + key, expires === undefined ? { value } : { value, expires });
    return true;
  }

  setMany(items: readonly KeyvItem[]): Promise<boolean[]> {
    return Promise.all(items.map(({ key, value, expires }) => this.set(key, value, expires)));
  }

  async has(key: string): Promise<boolean> {
    return (await this.#live(key)) !== undefined;
  }

  hasMany(keys: readonly string[]): Promise<boolean[]> {
    return Promise.all(keys.map((key) => this.has(key)));
  }

  async delete(key: string): Promise<boolean> {
    return this.#map.delete(this.#prefix + key);
  }

  deleteMany(keys: readonly string[]): Promise<boolean[]> {
    return Promise.all(keys.map((key) => this.delete(key)));
  }

  /** Of the namespace, if there is one; else of all. */
  async clear(): Promise<void> {
    await this.#map.clear({ prefix: this.#prefix });
  }

  async *iterator(): AsyncGenerator<[string, unknown], void, undefined> {
    const prefix = this.#prefix;
    for await (const { key, value } of this.#map.entries({ prefix })) {
      if (!ended(value)) yield [key.slice(prefix.length), value.value];
    }
  }

  /** The store stays the caller's. */
  async disconnect(): Promise<void> {}
}

function ended({ expires }: Held): boolean {
  return expires !== undefined && expires <= Date.now();
}
