/** What happens when checkpoints cannot keep up, or cannot be taken at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import { nodeEnv } from "../host/index.ts";
import { MemoryEngine } from "../log/index.ts";
import { makeViews, MemoryCheckpoints, operation, Replica } from "./index.ts";

const env = nodeEnv({ directory: "." });
const views = makeViews();
const put = (key: string, size: number) =>
  operation(views.key, {
    operation: { case: "put", value: { key: new TextEncoder().encode(key), value: new Uint8Array(size) } },
  });

test("changed pages stay under their limit, and writing goes on", async () => {
  const parts = {
    log: new MemoryEngine(),
    blobs: new MemoryBlobStore(env),
    checkpoints: new MemoryCheckpoints(),
    views: views.all,
  };
  const dirtySizeMax = 1_048_576;
  const replica = await Replica.open(env, parts, { dirtySizeMax, checkpointLogSizeMin: 1_073_741_824 });
  let dirtiest = 0;
  for (let round = 0; round < 100; round++) {
    const batch = Array.from({ length: 100 }, (_, index) => replica.propose([put(`${round * 100 + index}`, 1_000)]));
    for (const outcome of await Promise.all(batch)) assert.ok(outcome.ok);
    dirtiest = Math.max(dirtiest, replica.tree.dirtySize);
  }
  assert.equal(replica.revision, 10_000);
  // What one batch changes comes on top: each of its puts may make a page its own.
  assert.ok(dirtiest < 3 * dirtySizeMax, `${dirtiest} bytes of changed pages`);
  assert.ok(replica.lastCheckpoint.position > 1_000);
  await replica.close();
});

test("a blob store that fails stops the replica, which says why", async () => {
  const blobs = new MemoryBlobStore(env);
  const log = new MemoryEngine();
  const replica = await Replica.open(env, { log, blobs, checkpoints: new MemoryCheckpoints(), views: views.all });
  assert.ok((await replica.propose([put("kept", 10)])).ok);
  blobs.put = () => Promise.reject(new HoldfastError("unavailable", "the disk is gone"));
  await assert.rejects(replica.checkpoint(), { code: "unavailable", message: /the disk is gone/ });
  assert.match((await replica.failed).message, /the disk is gone/);
  await assert.rejects(replica.propose([put("later", 10)]), { code: "unavailable", maybe: false });
  await assert.rejects(replica.checkpoint(), { code: "unavailable" });
  await replica.close();
});

test("a full disk delays checkpoints and stops nothing", async () => {
  const blobs = new MemoryBlobStore(env);
  const log = new MemoryEngine();
  const replica = await Replica.open(env, { log, blobs, checkpoints: new MemoryCheckpoints(), views: views.all });
  const store = blobs.put.bind(blobs);
  blobs.put = () => Promise.reject(new HoldfastError("exhausted", "no space"));
  assert.ok((await replica.propose([put("a", 10)])).ok);
  await assert.rejects(replica.checkpoint(), { code: "exhausted" });
  assert.ok((await replica.propose([put("b", 10)])).ok);
  blobs.put = store;
  assert.equal((await replica.checkpoint()).revision, 2);
  await replica.close();
});
