/** Uploads: shared, renewed, given back; and what becomes of puts whose upload ends, or whose holder of chunks changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, HoldfastError } from "../base/index.ts";
import { collect } from "../view/fixture.suite.ts";
import { inParts, noise, once, turns, World } from "./world.suite.ts";

const small = { chunkSizeMin: 4_096, chunkSizeAverage: 8_192, chunkSizeMax: 16_384 };

test("puts at once share one upload and few syncs", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  await Promise.all(Array.from({ length: 40 }, (_, index) => files.put(`f${index}`, noise(5_000, index + 1))));
  assert.equal(world.log.filter((line) => line.startsWith("grant")).length, 1);
  const syncs = world.log.filter((line) => line === "sync").length;
  assert.ok(syncs < 20, `${syncs} syncs`);
  assert.equal((await collect(files.list())).length, 40);
});

test("an upload is kept alive while it is used, renewed after a minute, and given back when it is idle", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const [gate, reached] = [deferred<void>(), deferred<void>()];
  async function* slow() {
    yield noise(9_000_000);
    reached.resolve();
    await gate.promise;
    yield noise(3_000_000, 2);
  }
  const putting = files.put("slow", slow());
  await reached.promise;
  // The first chunks are on their way before the source waits.
  while ((await world.uploads()).length === 0) await turns();
  const [first] = await world.uploads();
  await world.clock.advance(59_000);
  assert.equal(world.log.filter((line) => line.startsWith("keepAlive")).length, 2);
  await files.put("quick", noise(5_000, 3));
  assert.equal((await world.uploads()).length, 1);
  // Those who come later begin a new one; the slow put goes on under its own.
  await world.clock.advance(2_000);
  await files.put("quick", noise(5_000, 4));
  const both = await world.uploads();
  assert.deepEqual([both.length, both.some(({ id }) => id === first?.id)], [2, true]);
  gate.resolve();
  await putting;
  await turns();
  const left = await world.uploads();
  assert.deepEqual([left.length, left.some(({ id }) => id === first?.id)], [1, false]);
  await world.clock.advance(16_000);
  assert.deepEqual(await world.uploads(), []);
  assert.equal(world.clock.timerCount, 0);
  // At the next need there is another.
  await files.put("later", noise(5_000, 5));
  assert.equal((await world.uploads()).length, 1);
  await world.access.close();
  assert.deepEqual(await world.uploads(), []);
  await assert.rejects(files.put("closed", noise(5_000, 6)), { code: "unavailable" });
});

test("an upload that has ended before the commit: what can be read again is put again, the rest is told", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  let endings = 1;
  world.beforePropose = async (names) => {
    if (names[0] !== "put" || endings === 0) return;
    endings--;
    await world.endLeases();
  };
  const record = await files.put("bytes", noise(10_000));
  assert.equal(record.version, 1);
  assert.equal(world.log.filter((line) => line === "put refused: conflict").length, 1);
  assert.equal(world.log.filter((line) => line.startsWith("grant")).length, 2);

  endings = 1;
  const read: number[] = [];
  const again = () => {
    read.push(1);
    return inParts(noise(10_000, 2), 999);
  };
  await files.put("function", again);
  assert.equal(read.length, 2);

  endings = 1;
  await assert.rejects(files.put("stream", once(noise(10_000, 3))), {
    code: "conflict",
    message: /cannot be read again: put it again/,
  });
  assert.equal(await files.stat("stream"), undefined);

  // A condition that does not hold is no ended upload, and not tried again.
  endings = 0;
  world.log.length = 0;
  await assert.rejects(files.put("bytes", noise(10_000, 4), { ifAbsent: true }), { code: "conflict" });
  assert.equal(world.log.filter((line) => line.startsWith("put refused")).length, 1);

  // It does not go on for ever.
  endings = 100;
  await assert.rejects(files.put("never", noise(10_000, 5)), { code: "conflict" });
  assert.equal(endings, 97);
});

test("when another holder of chunks answers, what is not yet durable is put again", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  let changes = 1;
  world.chunks.before = (what) => {
    if (what !== "sync" || changes === 0) return;
    changes--;
    world.chunks.generation++;
  };
  await files.put("bytes", noise(10_000));
  assert.equal(world.log.filter((line) => line.startsWith("touch")).length, 2);
  assert.equal(world.log.filter((line) => line === "sync").length, 2);
  changes = 1;
  await assert.rejects(files.put("stream", once(noise(10_000, 2))), { code: "conflict" });
  // Between two puts it costs a new upload and nothing else.
  world.chunks.generation++;
  world.log.length = 0;
  await files.put("next", once(noise(10_000, 3)));
  assert.equal(world.log.filter((line) => line.startsWith("grant")).length, 1);
  // In a batch.
  changes = 1;
  const uploaded = await files.upload(noise(10_000, 4), { sync: false });
  assert.equal(uploaded.durable, false);
  const { fileContent } = await import("./index.ts");
  let againCount = 0;
  const again = async () => {
    againCount++;
    const one = await files.upload(noise(10_000, 4), { sync: false });
    return { content: fileContent(one.content), uploaded: one };
  };
  await files.putMany([{ path: "batch", content: fileContent(uploaded.content), uploaded, again }]);
  assert.equal(againCount, 1);
  assert.deepEqual(await (await files.get("batch"))?.bytes(), noise(10_000, 4));
});

test("bytes without a name are let go after ten minutes, or when their handle is released", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const kept = await files.upload(noise(5_000));
  await world.clock.advance(599_000);
  assert.equal((await world.uploads()).length, 1);
  await world.clock.advance(20_000);
  assert.deepEqual(await world.uploads(), []);
  kept.release();
  const released = await files.upload(noise(5_000, 2));
  released.release();
  released.release();
  await world.clock.advance(16_000);
  assert.deepEqual(await world.uploads(), []);
  const inline = await files.upload("small");
  assert.deepEqual([inline.upload, inline.durable], [0n, true]);
});

test("a put that is cancelled, or fails, has no name and holds nothing back", async (t) => {
  const world = await World.open(t);
  await world.access.buckets.create("b", small);
  const files = world.access.files("b");
  const abort = new AbortController();
  let left = false;
  async function* endless() {
    try {
      for (let index = 1; ; index++) {
        yield noise(50_000, index);
        if (index === 20) abort.abort();
      }
    } finally {
      left = true;
    }
  }
  await assert.rejects(files.put("f", endless(), { signal: abort.signal }), { code: "cancelled" });
  await assert.rejects(files.put("f", "x", { signal: AbortSignal.abort() }), { code: "cancelled" });
  await turns();
  assert.ok(left);
  // The disk is full, in the middle and at the sync.
  for (const at of ["put", "sync", "touch"]) {
    world.chunks.before = (what) => {
      if (what === at) throw new HoldfastError("exhausted", "the disk is full");
    };
    await assert.rejects(files.put("f", inParts(noise(200_000, at.length), 10_000)), { code: "exhausted" });
  }
  world.chunks.before = undefined;
  await assert.rejects(
    files.put(
      "f",
      (async function* () {
        yield noise(50_000);
        throw new Error("the source broke");
      })(),
    ),
    { message: "the source broke" },
  );
  assert.equal(await files.stat("f"), undefined);
  await turns();
  await world.clock.advance(16_000);
  assert.deepEqual(await world.uploads(), []);
});

test("an upload that cannot begin fails the put, and the next put tries again", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  world.beforePropose = () => {
    throw new HoldfastError("unavailable", "no majority");
  };
  await assert.rejects(files.put("f", noise(5_000)), { code: "unavailable" });
  world.beforePropose = undefined;
  await files.put("f", noise(5_000));
  // Keeping alive fails for a while: nothing ends that the store has not ended.
  const held = await files.upload(noise(5_000, 2));
  world.beforePropose = (names) => {
    if (names[0] === "keepAlive") throw new HoldfastError("unavailable", "no majority");
  };
  await world.clock.advance(45_000);
  world.beforePropose = undefined;
  await world.clock.advance(10_000);
  assert.ok(world.log.at(-1)?.startsWith("keepAlive at"));
  assert.equal((await world.uploads()).length, 1);
  held.release();
});

test("memory stays bounded however large the file is, and progress tells all of it", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const total = 64 * 1_048_576;
  let [given, stored, most, told] = [0, 0, 0, 0];
  world.chunks.before = async (what) => {
    if (what !== "put") return;
    // A slow disk.
    await turns(3);
  };
  const { store } = world.chunks;
  world.chunks.putStored = async (blobs) => {
    await world.chunks.before?.("put", []);
    await store.putStored(blobs);
    for (const { blob } of blobs) stored += blob.size;
  };
  async function* source() {
    for (let index = 1; index <= total / 1_048_576; index++) {
      given += 1_048_576;
      most = Math.max(most, given - stored);
      yield noise(1_048_576, index);
    }
  }
  world.chunks.touch = async (hashes) => hashes.map(() => false);
  const record = await files.put("f", source(), { progress: (size) => (told += size) });
  assert.equal(record.size, total);
  assert.equal(told, total);
  assert.ok(most < 20 * 1_048_576, `${most} bytes under way`);
});
