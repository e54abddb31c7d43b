/** Many jobs, workers that fail and workers that die: each thumbnail is made, and counted once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "../src/index.ts";
import type { Store } from "../src/index.ts";
import { order, work } from "./jobs.ts";
import type { Order } from "./jobs.ts";

async function untilMade(store: Store, count: number): Promise<void> {
  for await (const made of store.counter("thumbnails made").watch()) if (made >= count) return;
}

test("every thumbnail that is ordered is made, and counted once", async () => {
  await using store = await open(":memory:");
  const queue = store.queue<Order>("thumbnails");
  await queue.configure({ retryMinMs: 1 });
  const images = Array.from({ length: 40 }, (_, index) => `${index}.jpg`);
  assert.equal(await order(store, ...images), 40);
  assert.equal(await order(store, "0.jpg", "new.jpg"), 1);
  // A worker that has pulled two, and is never heard of again.
  const lost = await queue.pull({ count: 2 });
  await store.leases.revoke(lost[0]?.lease ?? 0n);
  const stop = new AbortController();
  const failed = new Set<string>();
  const make = async (image: string) => {
    if (!failed.has(image)) {
      failed.add(image);
      if (image.startsWith("1")) throw new Error("no memory");
    }
    return `small ${image}`;
  };
  const workers = [1, 2, 3].map(() => work(store, make, { signal: stop.signal, concurrency: 2 }));
  await untilMade(store, 41);
  stop.abort();
  await Promise.all(workers);
  assert.equal(await store.counter("thumbnails made").get(), 41);
  assert.equal(await store.map("thumbnails").size(), 41);
  assert.equal(await store.map<string, string>("thumbnails").get("11.jpg"), "small 11.jpg");
  const { ready, delayed, leased, dead } = await queue.info();
  assert.deepEqual([ready, delayed, leased, dead], [0, 0, 0, 0]);
});
