import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBlobStore } from "../blob/index.ts";
import type { Hash } from "../blob/index.ts";
import { MemoryEngine } from "../log/index.ts";
import { emptyTree, fetchTree, openTree, reachable } from "../tree/index.ts";
import { HoldfastError, toHex } from "../base/index.ts";
import { collect, memoryEnv } from "./fixture.suite.ts";
import { Collector, makeViews, MemoryCheckpoints, operation, Replica, rootOf } from "./index.ts";

test("what has come of a state that is being fetched outlives collections, until a state as new is here", async () => {
  const env = memoryEnv("resume");
  const seed = env.random.bytes(16);
  const there = new MemoryBlobStore(env);
  const tree = await openTree(env, there, emptyTree(seed));
  for (let i = 0; i < 5_000; i++)
    tree.set(new TextEncoder().encode(`k${i}`), new Uint8Array(i % 50 === 0 ? 3_000 : 50));
  const { root } = await tree.flush();
  const here = new MemoryBlobStore(env);
  const start = { position: 0, revision: 0, timeMs: 0, rootHash: new Uint8Array(0), seed, count: 0 };
  const wanted = { position: 9, revision: 9, timeMs: 9, rootHash: root.hash as Uint8Array, seed, count: root.count };
  const fetching = new MemoryCheckpoints();
  await fetching.save(wanted);
  let left = 120;
  const source = {
    name: "other",
    async *get(hashes: readonly Hash[]) {
      for (const [index, hash] of hashes.entries()) {
        if (left-- <= 0) throw new HoldfastError("corrupt", "enough");
        yield { index, bytes: (await there.get(hash)) as Uint8Array };
      }
    },
  };
  await assert.rejects(fetchTree(env, here, root, [source]));
  assert.equal(here.status().blobCount, 120);
  await here.put(env.digest.sha256(Uint8Array.of(1)), Uint8Array.of(1));
  const checkpoints = new MemoryCheckpoints();
  await checkpoints.save(start);
  const views = makeViews();
  const log = new MemoryEngine();
  const replica = await Replica.open(env, { log, blobs: here, checkpoints, fetching, views: views.all });
  const chunks = new MemoryBlobStore(env);
  await chunks.put(env.digest.sha256(Uint8Array.of(2)), Uint8Array.of(2));
  const collector = new Collector(env, { replica, pages: here, chunks }, { startMs: Number.POSITIVE_INFINITY });
  const last = async () => (await collect(collector.collect())).at(-1);
  const first = await last();
  assert.equal(here.status().blobCount, 120);
  assert.match(first?.kept ?? "", /a state is not wholly here yet/);
  assert.equal(chunks.status().blobCount, 1, "files of that state may need it");
  for (let i = 0; i < 10; i++) {
    const put = { key: new TextEncoder().encode(`k${i}`), value: new Uint8Array(3) };
    await replica.propose([operation(views.key, { operation: { case: "put", value: put } })]);
    await replica.checkpoint();
  }
  const second = await last();
  assert.equal(second?.kept, undefined);
  assert.equal(chunks.status().blobCount, 0);
  const needed = new Set<string>();
  for (const record of await checkpoints.load()) {
    for await (const hashes of reachable(here, rootOf(record))) for (const hash of hashes) needed.add(toHex(hash));
  }
  assert.equal(here.status().blobCount, needed.size);
  await collector.close();
  await replica.close();
});
