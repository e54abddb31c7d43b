/** The key view against its slow twin, in this process and through a connection. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connectStore, openStore, serveStore } from "../../member/index.ts";
import type { OpenOptions } from "../../member/index.ts";
import { Prng } from "../../sim/index.ts";
import { collect, memoryEnv, scale } from "../fixture.suite.ts";
import { operation } from "../index.ts";
import { bytesOf, keyModelCampaign, recordShape } from "./key-model.suite.ts";

const kinds: readonly { readonly name: string; readonly options: OpenOptions }[] = [
  { name: "all in memory", options: {} },
  { name: "a cache of 4 KiB", options: { cacheSizeMax: 4_096, checkpointLogSizeMin: 20_000 } },
];

for (const { name, options } of kinds) {
  for (const seed of Array.from({ length: scale }, (_, index) => `keys, ${name}, ${index}`)) {
    test(`1,500 random steps, a store in this process, ${name} (${seed})`, async (t) => {
      const env = memoryEnv(seed);
      const store = await openStore(env, { inMemory: true, historyRevisions: 0, ...options });
      t.after(() => store.close());
      const model = await keyModelCampaign({ dice: new Prng(seed), steps: 1_500, store, local: store });
      // Swept to the end, nothing is left of what was compacted, and all is there that was not.
      await store.keys.compact(model.revision);
      await store.replica.propose([
        operation(store.views.key, { operation: { case: "sweep", value: { limit: 1e6 } } }),
      ]);
      const left = await store.replica.read((tree) => tree.entryCount);
      // The keys as they are, and the compact revision.
      assert.equal(left, (await store.keys.count()) + 1, seed);
    });
  }
}

for (const seed of Array.from({ length: scale }, (_, index) => `keys, remote, ${index}`)) {
  test(`800 random steps, a store behind a connection (${seed})`, async (t) => {
    const env = memoryEnv(seed);
    const local = await openStore(env, { inMemory: true, historyRevisions: 0, cacheSizeMax: 16_384 });
    const server = await serveStore(env, local, ["memory:store"]);
    const store = await connectStore(env, "memory:store");
    t.after(async () => {
      await store.close();
      await server.close();
      await local.close();
    });
    await keyModelCampaign({ dice: new Prng(seed), steps: 800, store, local });
  });
}

test("keys of the largest size whose every byte is escaped have a history like others", async (t) => {
  const env = memoryEnv("zeros");
  const store = await openStore(env, { inMemory: true });
  t.after(() => store.close());
  for (const byte of [0x00, 0x01, 0xff]) {
    const key = new Uint8Array(4_096).fill(byte);
    const first = await store.keys.put(key, "1");
    await store.keys.put(key, "2");
    await store.keys.delete(key);
    assert.equal((await store.at(first).keys.get(key))?.text(), "1");
    const [only] = await collect(store.at(first).keys.list({ prefix: key.slice(1) }));
    assert.equal(only?.text(), "1");
    assert.equal((await collect(store.keys.history(key))).length, 3);
  }
});

test("a list is of one state, however slowly it is read, and while keys come and go", async (t) => {
  const env = memoryEnv("slow list");
  const local = await openStore(env, { inMemory: true, cacheSizeMax: 65_536, historyRevisions: 100 });
  const server = await serveStore(env, local, ["memory:store"]);
  const remote = await connectStore(env, "memory:store");
  t.after(async () => {
    await remote.close();
    await server.close();
    await local.close();
  });
  for (const store of [local, remote]) {
    for (let index = 0; index < 3_000; index++) {
      const key = `k${String(index).padStart(5, "0")}`;
      if (index % 100 === 99) await local.keys.put(key, "first");
      else void local.keys.put(key, "first");
    }
    const { revision } = await local.status();
    const lists = [store.keys.list(), store.at(revision).keys.list(), store.keys.list({ reverse: true })];
    const seen: string[][] = lists.map(() => []);
    // All begin on the present state; then it changes under them.
    for (const [index, list] of lists.entries()) seen[index]?.push(recordShape((await list.next()).value as never));
    for (let round = 0; round < 10; round++) {
      await local.keys.delete({ prefix: `k0${round % 3}` });
      await local.keys.put(bytesOf(`k0${round % 3}000`), `round ${round}`);
      await local.keys.compact((await local.status()).revision);
      await local.replica.propose([
        operation(local.views.key, { operation: { case: "sweep", value: { limit: 10_000 } } }),
      ]);
      await local.checkpoint();
    }
    for (const [index, list] of lists.entries()) for await (const one of list) seen[index]?.push(recordShape(one));
    const [now, past, reversed] = seen as [string[], string[], string[]];
    assert.ok(now.length > 10);
    assert.deepEqual(past, now);
    assert.deepEqual(reversed.toReversed(), now);
    assert.ok(now.every((one) => Number(one.split("@")[1]?.split(",")[0]) <= revision));
  }
});
