/**
 * A store as a driver of unstorage (https://unstorage.unjs.io): items are keys of the key view under a prefix, an item with
 * a time to live goes with a lease of its own, and a watch is a watch of the keys.
 *
 * Every write is durable before it is answered. The store stays the caller's: `dispose` ends watches, and nothing else.
 */
import { HoldfastError } from "../base/index.ts";
import type { Store } from "../member/index.ts";

export interface UnstorageOptions {
  readonly store: Store;
  /** Before every key. Default `unstorage:`. */
  readonly prefix?: string;
}

/** `ttl` in seconds, as unstorage has it. */
interface ItemOptions {
  readonly ttl?: number;
}

type WatchListener = (event: "update" | "remove", key: string) => unknown;

/** Items of one commit. */
const batchCount = 256;

// oxlint-disable-next-line max-lines-per-function -- a driver is one object of small functions
export function holdfastDriver({ store, prefix = "unstorage:" }: UnstorageOptions) {
  const { keys } = store;
  const watches = new Set<() => Promise<void>>();
  const nameOf = (text: string) => text.slice(prefix.length);
  const put = async (key: string, value: string | Uint8Array, { ttl }: ItemOptions = {}) => {
    const lease = ttl === undefined ? undefined : await store.leases.grant({ ttlMs: Math.ceil(ttl * 1_000) });
    await keys.put(prefix + key, value, lease === undefined ? {} : { lease });
  };
  return {
    name: "./src/index.ts",
    flags: { ttl: true },
    getInstance: () => store,
    async hasItem(key: string) {
      return (await keys.get(prefix + key)) !== undefined;
    },
    async getItem(key: string) {
      return (await keys.get(prefix + key))?.text() ?? null;
    },
    async getItemRaw(key: string) {
      return (await keys.get(prefix + key))?.bytes ?? null;
    },
    getItems(items: readonly { readonly key: string }[]) {
      return Promise.all(
        items.map(async ({ key }) => ({ key, value: (await keys.get(prefix + key))?.text() ?? null })),
      );
    },
    setItem: (key: string, value: string, options?: ItemOptions) => put(key, value, options),
    setItemRaw: (key: string, value: string | Uint8Array, options?: ItemOptions) => put(key, value, options),
    /** Those without a time to live in commits of 256; each commit is all or nothing. */
    async setItems(
      items: readonly { readonly key: string; readonly value: string; readonly options?: ItemOptions }[],
      common: ItemOptions = {},
    ) {
      // The last of a key counts.
      const latest = [...new Map(items.map((item) => [item.key, item])).values()];
      const timed = latest.filter(({ options }) => (options?.ttl ?? common.ttl) !== undefined);
      const plain = latest.filter((item) => !timed.includes(item));
      for (let at = 0; at < plain.length; at += batchCount) {
        const some = plain.slice(at, at + batchCount);
        await keys.commit({ then: some.map(({ key, value }) => ({ put: prefix + key, value })) });
      }
      await Promise.all(timed.map(({ key, value, options }) => put(key, value, { ...common, ...options })));
    },
    async removeItem(key: string) {
      await keys.delete({ key: prefix + key });
    },
    async getMeta(key: string) {
      const record = await keys.get(prefix + key);
      if (record === undefined) return null;
      const { revision, version, bytes } = record;
      return { revision, version, size: bytes.length };
    },
    async getKeys(base = "") {
      const names: string[] = [];
      for await (const record of keys.list({ prefix: prefix + base, keysOnly: true })) names.push(nameOf(record.key));
      return names;
    },
    async clear(base = "") {
      await keys.delete({ prefix: prefix + base });
    },
    async watch(listener: WatchListener) {
      const stop = new AbortController();
      const from = (await keys.revision()) + 1;
      const telling = (async () => {
        try {
          for await (const event of keys.watch({ prefix, from, signal: stop.signal })) {
            listener(event.type === "put" ? "update" : "remove", nameOf(event.key));
          }
        } catch (error) {
          // The watch ends so when it is told to, or with the store.
          if (!stop.signal.aborted && !(error instanceof HoldfastError)) throw error;
        }
      })();
      const end = async () => {
        watches.delete(end);
        stop.abort();
        await telling;
      };
      watches.add(end);
      return end;
    },
    async dispose() {
      await Promise.all(Array.from(watches, (end) => end()));
    },
  };
}
