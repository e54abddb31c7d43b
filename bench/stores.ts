/**
 * The embedded stores that the bench compares, behind one small face. Every put is durable when it resolves: on disk,
 * synced. Each store is given its best way of doing that:
 *  - holdfast: as it is.
 *  - lmdb: its asynchronous puts, which share a transaction and a sync; `overlappingSync: false`, so that the promise
 *    means synced.
 *  - better-sqlite3 and node:sqlite: WAL, synchronous=FULL. They are synchronous, so "100 in flight" is one transaction
 *    of 100 inserts, which is the best that a caller with 100 records at hand can do.
 *  - classic-level: `sync: true`; concurrent puts, which LevelDB groups.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

export interface BenchStore {
  /** Puts the records `from` to `to` (excluded); resolves when all are durable. */
  put(keys: readonly string[], value: Uint8Array): Promise<void> | void;
  get(key: string): unknown;
  close(): Promise<void> | void;
}

export const storeNames = ["holdfast", "lmdb", "better-sqlite3", "node:sqlite", "classic-level"] as const;
export type StoreName = (typeof storeNames)[number];

/** The peers live in a package of their own, so that nobody installs them with Holdfast. */
const peers = createRequire(new URL("./peers/package.json", import.meta.url));

async function load<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(peers.resolve(name)).href)) as T;
}

export async function openBenchStore(name: StoreName, directory: string): Promise<BenchStore> {
  switch (name) {
    case "holdfast": {
      const { open } = await import("../src/index.ts");
      const store = await open(directory);
      return {
        async put(keys, value) {
          if (keys.length === 1) await store.keys.put(keys[0] ?? "", value);
          else await Promise.all(keys.map((key) => store.keys.put(key, value)));
        },
        get: (key) => store.keys.get(key),
        close: () => store.close(),
      };
    }
    case "lmdb": {
      interface Database {
        put(key: string, value: Uint8Array): Promise<boolean>;
        getBinary(key: string): Uint8Array | undefined;
        close(): Promise<void>;
      }
      const lmdb = await load<{ open(options: object): Database }>("lmdb");
      const database = lmdb.open({ path: join(directory, "lmdb"), encoding: "binary", overlappingSync: false });
      return {
        async put(keys, value) {
          if (keys.length === 1) await database.put(keys[0] ?? "", value);
          else await Promise.all(keys.map((key) => database.put(key, value)));
        },
        get: (key) => database.getBinary(key),
        close: () => database.close(),
      };
    }
    case "better-sqlite3":
    case "node:sqlite": {
      interface Database {
        exec(sql: string): void;
        prepare(sql: string): { run(...values: unknown[]): unknown; get(...values: unknown[]): unknown };
        close(): void;
      }
      type Constructor = new (path: string) => Database;
      const constructor =
        name === "node:sqlite"
          ? ((await import("node:sqlite")).DatabaseSync as unknown as Constructor)
          : (await load<{ default: Constructor }>("better-sqlite3")).default;
      const database = new constructor(join(directory, "bench.sqlite"));
      database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;");
      database.exec("CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID");
      const insert = database.prepare("INSERT OR REPLACE INTO kv VALUES (?, ?)");
      const select = database.prepare("SELECT value FROM kv WHERE key = ?");
      return {
        put(keys, value) {
          if (keys.length === 1) {
            insert.run(keys[0], value);
            return;
          }
          database.exec("BEGIN");
          for (const key of keys) insert.run(key, value);
          database.exec("COMMIT");
        },
        get: (key) => select.get(key),
        close: () => database.close(),
      };
    }
    case "classic-level": {
      interface Database {
        open(): Promise<void>;
        put(key: string, value: Uint8Array, options: { sync: boolean }): Promise<void>;
        get(key: string): Promise<Uint8Array>;
        close(): Promise<void>;
      }
      const { ClassicLevel } = await load<{ ClassicLevel: new (path: string, options: object) => Database }>(
        "classic-level",
      );
      const database = new ClassicLevel(join(directory, "level"), { keyEncoding: "utf8", valueEncoding: "view" });
      await database.open();
      return {
        async put(keys, value) {
          await Promise.all(keys.map((key) => database.put(key, value, { sync: true })));
        },
        get: (key) => database.get(key),
        close: () => database.close(),
      };
    }
    default:
      throw new Error(`no such store: ${String(name)}`);
  }
}
