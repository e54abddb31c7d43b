/** What idle watches cost: 10,000 of them in less than 100 MB. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { giveWay } from "../../base/index.ts";
import { connectStore, openStore, serveStore } from "../../member/index.ts";
import type { RemoteStore, Store } from "../../member/index.ts";
import { memoryEnv } from "../fixture.suite.ts";

/** Bytes of each: of one end, and of both. */
const kinds = [
  { name: "in this process", count: 10_000, sizeMax: 10_000, connectionCount: 0 },
  { name: "through connections, both ends in this process", count: 3_000, sizeMax: 15_000, connectionCount: 3 },
];

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function memorySize(): number {
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

for (const { name, count, sizeMax, connectionCount } of kinds) {
  test(`${count} idle watches ${name}`, async (t) => {
    const env = memoryEnv(name);
    const local = await openStore(env, { inMemory: true });
    const server = await serveStore(env, local, ["memory:store"]);
    const remotes: RemoteStore[] = [];
    while (remotes.length < connectionCount) remotes.push(await connectStore(env, "memory:store"));
    const abort = new AbortController();
    t.after(async () => {
      abort.abort();
      for (const remote of remotes) await remote.close();
      await server.close({ graceMs: 0 });
      await local.close();
    });
    const before = memorySize();
    const heard: string[] = [];
    const watches = Array.from({ length: count }, async (_, index) => {
      const store: Store = remotes[index % 3] ?? local;
      const key = `watched/${index}`;
      for await (const event of store.keys.watch({ key, from: 1, signal: abort.signal })) {
        assert.equal(event.key, key);
        heard.push(event.key);
      }
    });
    for (const watch of watches) watch.catch(() => {});
    while (local.localKeys.watcherCount < count) await giveWay(env.clock);
    const each = (memorySize() - before) / count;
    t.diagnostic(`${Math.round(each)} bytes each`);
    assert.ok(each < sizeMax, `${Math.round(each)} bytes each`);
    // A write wakes the one that it concerns and costs the others nothing.
    const startMs = performance.now();
    for (let index = 0; index < 400; index++) await local.keys.put(`watched/${index * 7}`, "x");
    while (heard.length < 400) await giveWay(env.clock);
    const took = performance.now() - startMs;
    assert.ok(took < 3_000, `400 writes under ${count} watches took ${Math.round(took)} ms`);
    assert.equal(new Set(heard).size, 400);
  });
}
