/**
 * What packs cost. `node --expose-gc src/blob/blob.bench.ts [DIRECTORY]` prints one table on the disk that holds the
 * directory (default: the system's directory for temporary files): put, sync, get, delete, compact and open, in MB/s and
 * microseconds a blob, for blobs of several sizes, not compressed and compressed; then the memory of the index.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeEnv } from "../host/index.ts";
import { BlobIndex } from "./blob-index.ts";
import { hashOf, noise } from "./conformance.suite.ts";
import { PackBlobStore } from "./index.ts";

/** Puts under way together, as a flush of the tree has them. */
const lotSize = 4_194_304;

interface Load {
  readonly name: string;
  readonly size: number;
  readonly count: number;
  readonly compress: boolean;
}

const loads: readonly Load[] = [
  { name: "300 B raw", size: 300, count: 200_000, compress: false },
  { name: "8 KiB raw", size: 8_192, count: 32_768, compress: false },
  { name: "8 KiB zstd, half random", size: 8_192, count: 16_384, compress: true },
  { name: "8 KiB zstd, all random", size: 8_192, count: 16_384, compress: true },
  { name: "64 KiB raw", size: 65_536, count: 4_096, compress: false },
];

function makeBlobs({ size, count, name }: Load): { hash: Uint8Array; bytes: Uint8Array }[] {
  const base = noise(size, 1);
  if (name.includes("half")) for (let at = 0; at < size; at += 2) base[at] = 97;
  return Array.from({ length: count }, (_, number) => {
    const bytes = name.includes("all") ? noise(size, number) : base.slice();
    new DataView(bytes.buffer).setUint32(4, number);
    return { hash: hashOf(bytes), bytes };
  });
}

/** Milliseconds. */
async function time(run: () => Promise<unknown>): Promise<number> {
  globalThis.gc?.();
  const start = performance.now();
  await run();
  return performance.now() - start;
}

async function measure(load: Load, root: string): Promise<Record<string, string>> {
  const directory = await mkdtemp(join(root, "holdfast-blob-bench-"));
  const env = nodeEnv({ directory });
  const blobs = makeBlobs(load);
  const total = load.size * load.count;
  const options = { compress: load.compress };
  const rate = (ms: number, size = total) => (size / 1e3 / ms).toFixed(0);
  const each = (ms: number, count = load.count) => ((ms * 1e3) / count).toFixed(1);
  try {
    let store = await PackBlobStore.open(env, "blobs", options);
    const cpu = process.cpuUsage();
    const putMs = await time(async () => {
      let previous: Promise<unknown> = Promise.resolve();
      let lot: Promise<void>[] = [];
      let size = 0;
      for (const { hash, bytes } of blobs) {
        lot.push(store.put(hash, bytes));
        size += bytes.length;
        if (size < lotSize) continue;
        await previous;
        previous = Promise.all(lot);
        lot = [];
        size = 0;
      }
      await Promise.all([previous, ...lot]);
    });
    const used = process.cpuUsage(cpu);
    const cpuMs = (used.user + used.system) / 1e3;
    const syncMs = await time(() => store.sync());
    const { writtenSize } = store.status();
    const probes = Math.min(load.count, 10_000);
    const getMs = await time(async () => {
      for (let number = 0; number < probes; number++) {
        await store.get((blobs[(number * 7_919) % load.count] as { hash: Uint8Array }).hash);
      }
    });
    const parallelMs = await time(async () => {
      for (let number = 0; number < probes; number += 16) {
        const some = blobs.slice(number, number + 16).map(({ hash }) => store.get(hash));
        await Promise.all(some);
      }
    });
    await store.close();
    const openMs = await time(async () => (store = await PackBlobStore.open(env, "blobs", options)));
    const deleteMs = await time(async () => {
      for (let at = 0; at < load.count; at += 4_096) {
        await store.delete(
          blobs
            .slice(at, at + 4_096)
            .filter((_, i) => i % 3 !== 0)
            .map(({ hash }) => hash),
        );
      }
    });
    const compactMs = await time(() => store.compact());
    const { garbageSize } = store.status();
    const verifyMs = await time(async () => {
      for await (const { damages } of store.verify()) if (damages.length > 0) throw new Error(damages.join("\n"));
    });
    await store.close();
    return {
      load: load.name,
      "put MB/s": rate(putMs),
      "put µs": each(putMs),
      "put CPU µs": each(cpuMs),
      "sync ms": syncMs.toFixed(0),
      "stored/put": (writtenSize / total).toFixed(2),
      "get µs": each(getMs, probes),
      "get 16 at once µs": each(parallelMs, probes),
      "open ms": openMs.toFixed(0),
      "delete µs": each(deleteMs, (load.count * 2) / 3),
      "compact ms": compactMs.toFixed(0),
      "garbage MB then": (garbageSize / 1e6).toFixed(0),
      "verify MB/s": rate(verifyMs, total / 3),
    };
  } finally {
    await rm(directory, { recursive: true });
  }
}

function measureIndex(count: number): Record<string, string | number> {
  globalThis.gc?.();
  const before = process.memoryUsage();
  const index = new BlobIndex(1);
  const hash = new Uint8Array(32);
  const view = new DataView(hash.buffer);
  const fill = (number: number) => {
    for (let at = 0; at < 8; at++) view.setUint32(4 * at, Math.imul(number + 1, 0x9e3779b1 + 2 * at));
  };
  let slowestMs = 0;
  const start = performance.now();
  let last = start;
  for (let number = 0; number < count; number++) {
    fill(number);
    index.set(index.add(hash, 1), 1, number, 8_192, 8_192);
    const now = performance.now();
    slowestMs = Math.max(slowestMs, now - last);
    last = now;
  }
  const addMs = performance.now() - start;
  const findStart = performance.now();
  for (let number = 0; number < count; number++) {
    fill((number * 7_919) % count);
    if (index.find(hash) < 0) throw new Error("lost");
  }
  const findMs = performance.now() - findStart;
  globalThis.gc?.();
  const after = process.memoryUsage();
  // The index must live until here.
  if (index.count !== count) throw new Error("lost");
  const size = after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed;
  return {
    blobs: count,
    MB: (size / 1e6).toFixed(0),
    "add µs": ((addMs * 1e3) / count).toFixed(2),
    "slowest add ms": slowestMs.toFixed(1),
    "find µs": ((findMs * 1e3) / count).toFixed(2),
  };
}

const root = process.argv[2] ?? tmpdir();
const rows: Record<string, string>[] = [];
for (const load of loads) rows.push(await measure(load, root));
console.table(rows);
console.table([10_000, 100_000, 1_000_000].map(measureIndex));
