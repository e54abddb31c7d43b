import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBlobStore } from "../blob/index.ts";
import type { Hash } from "../blob/index.ts";
import { emptyTree, fetchTree, openTree } from "../tree/index.ts";
import { HoldfastError } from "../base/index.ts";
import { memoryEnv } from "./fixture.suite.ts";
import { MemoryCheckpoints } from "./index.ts";
import { sweep } from "./sweep.ts";

test("what has come of a state that is being fetched outlives a sweep, until a state as new is here", async () => {
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
  await sweep(env, here, [start], fetching);
  assert.equal(here.status().blobCount, 120);
  await sweep(env, here, [{ ...start, position: 10 }], fetching);
  assert.equal(here.status().blobCount, 0);
});
