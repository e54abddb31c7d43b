/**
 * What the tree costs. `node --expose-gc src/tree/tree.bench.ts [COUNT…]` prints one table, a column for each number of
 * entries (default 10,000, 100,000 and 1,000,000): microseconds a call, random and in order, with keys of 20 bytes and
 * values of 256; flush in MB/s, hashing included; what a flush writes for each key changed since the one before; memory
 * an entry, changed and clean; the sizes of pages.
 */
import { NodeClock, NodeDigest } from "../host/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { emptyTree, openTree } from "./index.ts";
import type { TreeEdit } from "./index.ts";

const env = { clock: new NodeClock(), digest: new NodeDigest() };
const valueSize = 256;
/** Puts between two freezes, where the cost of copying is measured. */
const batchCount = 50;

/** Keeps only the sizes: the tree has the pages in memory, and the bench measures the tree. */
class SizingBlobStore implements BlobStore {
  readonly sizes: number[] = [];
  async put(_hash: Hash, bytes: Uint8Array): Promise<void> {
    this.sizes.push(bytes.length);
  }
  async get(): Promise<Uint8Array | undefined> {
    return undefined;
  }
  async has(): Promise<boolean> {
    return false;
  }
  async delete(): Promise<void> {}
  async sync(): Promise<void> {}
  async *list(): AsyncIterable<{ readonly hash: Hash; readonly size: number }> {}
  async close(): Promise<void> {}
}

const key = new TextEncoder().encode("\u0001some/table/00000000");

/** 20 bytes, always the same array, as a caller's key has just been decoded: the number in 8 hexadecimal digits. */
function keyOf(number: number): Uint8Array {
  for (let at = 19, rest = number; at >= 12; at--, rest >>>= 4) {
    const digit = rest & 15;
    key[at] = digit < 10 ? 48 + digit : 87 + digit;
  }
  return key;
}

const scrambled = (index: number) => keyOf(Math.imul(index, 0x9e3779b1) >>> 0);

function memory(): number {
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Microseconds a call. */
function time(count: number, run: (index: number) => void): number {
  const start = performance.now();
  for (let i = 0; i < count; i++) run(i);
  return ((performance.now() - start) * 1_000) / count;
}

const us = (number: number) => number.toFixed(2);

async function measure(count: number): Promise<Record<string, string | number>> {
  const value = new Uint8Array(valueSize).fill(7);
  const order = makeOrder(count);
  const probes = Math.min(count, 200_000);
  const before = memory();
  const store = new SizingBlobStore();
  const open = (): Promise<TreeEdit> =>
    openTree(env, store, emptyTree(new Uint8Array(16).fill(3)), { cacheSizeMax: 2 ** 40 });
  const tree = await open();

  const putRandom = time(count, (i) => {
    value[0] = i;
    tree.put(scrambled(i), value);
  });
  const dirtyMemory = (memory() - before) / count;
  const dirtySize = tree.dirtySize;
  const flushStart = performance.now();
  await tree.flush();
  const flushMs = performance.now() - flushStart;
  const cleanMemory = (memory() - before) / count;
  const sizes = store.sizes.toSorted((a, b) => a - b);
  const cacheSize = tree.cacheSize / count;

  const get = time(probes, (i) => tree.get(scrambled(order[i] as number)));
  let read = 0;
  const scan = time(1, () => {
    for (const entry of tree.entries()) read += entry.value.length;
  });
  const overwrite = time(probes, (i) => tree.put(scrambled(order[i] as number), value));
  const overwriteFrozen = time(probes, (i) => {
    tree.put(scrambled(order[i] as number), value);
    if (i % batchCount === 0) tree.freeze().release();
  });
  const flushed: Record<string, string> = {};
  for (const changed of [1, 100, 10_000]) {
    await tree.flush();
    for (let i = 0; i < changed; i++) tree.put(scrambled(order[(i * 7_919) % count] as number), value);
    const { blobSize } = await tree.flush();
    flushed[`B flushed/key, ${changed} changed`] = (blobSize / changed).toFixed(0);
  }
  const deleteRandom = time(probes, (i) => tree.delete(scrambled(order[i] as number)));

  // All puts in batches, each on top of a frozen state: every batch copies each page it touches once.
  const batched = await open();
  const putBatched = time(count, (i) => {
    batched.put(scrambled(i), value);
    if (i % batchCount === batchCount - 1) batched.freeze().release();
  });

  const other = await open();
  const putOrdered = time(count, (i) => {
    other.put(keyOf(i), value);
  });
  const getOrdered = time(probes, (i) => other.get(keyOf(i)));
  return {
    entries: count,
    "put random µs": us(putRandom),
    [`… in batches of ${batchCount} µs`]: us(putBatched),
    "put in order µs": us(putOrdered),
    "overwrite µs": us(overwrite),
    [`… in batches of ${batchCount}, µs`]: us(overwriteFrozen),
    "get random µs": us(get),
    "get in order µs": us(getOrdered),
    "delete random µs": us(deleteRandom),
    "scan µs/entry": us(scan / (read / valueSize)),
    "flush MB/s": (dirtySize / 1e3 / flushMs).toFixed(0),
    "flush ms": flushMs.toFixed(0),
    ...flushed,
    "dirty B/entry": dirtyMemory.toFixed(0),
    "clean B/entry": cleanMemory.toFixed(0),
    "counted B/entry": cacheSize.toFixed(0),
    "encoded B/entry": (dirtySize / count).toFixed(0),
    pages: sizes.length,
    "page median": sizes[sizes.length >> 1] ?? 0,
    "page p99": sizes[Math.floor(sizes.length * 0.99)] ?? 0,
    "page max": sizes.at(-1) ?? 0,
  };
}

/** A fixed shuffle. */
function makeOrder(count: number): Uint32Array {
  const order = new Uint32Array(count).map((_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const j = state % (i + 1);
    const swapped = order[i] as number;
    order[i] = order[j] as number;
    order[j] = swapped;
  }
  return order;
}

const counts = process.argv.slice(2).map(Number);
const rows: Record<string, string | number>[] = [];
for (const count of counts.length > 0 ? counts : [10_000, 100_000, 1_000_000]) rows.push(await measure(count));
for (const name of Object.keys(rows[0] ?? {})) {
  console.log(name.padEnd(28) + rows.map((row) => String(row[name]).padStart(10)).join(""));
}
