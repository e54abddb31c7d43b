/** Checkpoints as files: what is kept, what a damaged one costs, what is left over. And when they are taken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { openStore } from "../member/index.ts";
import type { LocalStore, OpenOptions } from "../member/index.ts";
import { Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { Member, rootText } from "./fixture.suite.ts";
import { DiskCheckpoints, MemoryCheckpoints, Replica } from "./index.ts";
import type { CheckpointRecord } from "./index.ts";

interface World {
  readonly simulator: Simulator;
  readonly machine: Machine;
  readonly run: <T>(promise: Promise<T>) => Promise<T>;
}

function simulate(seed: string): World {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  return { simulator, machine: simulator.machine("a"), run: (promise) => simulator.run(promise) };
}

const record = (position: number): CheckpointRecord => ({
  position,
  revision: position,
  timeMs: 1_700_000_000_000,
  rootHash: new Uint8Array(32).fill(7),
  seed: new Uint8Array(16).fill(9),
  count: 3,
});

async function flip(env: Env, path: string, offset: number): Promise<void> {
  const file = await env.disk.open(path, "write");
  const byte = await file.read(offset, 1);
  byte[0] = (byte[0] as number) ^ 0x10;
  await file.write([byte], offset);
  await file.sync();
  await file.close();
}

const file = (position: number) => `checkpoints/checkpoint-${String(position).padStart(16, "0")}`;

test("the newest two are kept, newest first, and their bytes are these", async () => {
  const { machine, run } = simulate("two");
  const { env } = machine;
  const store = new DiskCheckpoints(env, "checkpoints");
  assert.deepEqual(await run(store.load()), []);
  for (const position of [5, 70, 300]) await run(store.save(record(position)));
  assert.deepEqual(await run(store.load()), [record(300), record(70)]);
  assert.deepEqual(await run(env.disk.list("checkpoints")), [
    "checkpoint-0000000000000070",
    "checkpoint-0000000000000300",
  ]);
  const opened = await run(env.disk.open(file(300), "read"));
  const bytes = await run(opened.read(0, 1_000));
  assert.equal(
    toHex(bytes),
    "4846434845434b31" + // HFCHECK1
      "98598280" +
      "08ac0210ac021880d095ffbc31" +
      `2220${"07".repeat(32)}2a10${"09".repeat(16)}3003`,
  );
});

test("those that are asked for are kept beside the newest two, and a file says which snapshots are lacking", async () => {
  const { machine, run } = simulate("beside");
  const { env } = machine;
  for (const store of [new DiskCheckpoints(env, "checkpoints"), new MemoryCheckpoints()]) {
    for (const position of [5, 70, 300]) await run(store.save(record(position), { keep: new Set([5]) }));
    const lacking = { ...record(400), lackingPins: [7, 300] };
    await run(store.save(record(400), { keep: new Set([5, 70]), lackingPins: [7, 300] }));
    assert.deepEqual(await run(store.load()), [lacking, record(300), record(70), record(5)]);
    await run(store.save(record(500), { keep: new Set([70, 900]) }));
    assert.deepEqual(await run(store.load()), [record(500), lacking, record(70)]);
  }
  const opened = await run(env.disk.open(file(400), "read"));
  const bytes = await run(opened.read(0, 1_000));
  assert.equal(
    toHex(bytes.subarray(12)),
    `0890031090031880d095ffbc312220${"07".repeat(32)}2a10${"09".repeat(16)}30033a0307ac02`,
  );
});

test("every flipped bit of a file is noticed; the older one is used, and both that are kept afterwards are sound", async () => {
  const { machine, run } = simulate("flips");
  const { env } = machine;
  for (let offset = 0; offset < 79; offset++) {
    const store = new DiskCheckpoints(env, "checkpoints");
    await run(store.save(record(1_000 + 2 * offset)));
    await run(store.save(record(1_001 + 2 * offset)));
    await run(flip(env, file(1_001 + 2 * offset), offset));
    const again = new DiskCheckpoints(env, "checkpoints");
    assert.deepEqual(await run(again.load()), [record(1_000 + 2 * offset)], `offset ${offset}`);
    await run(again.save(record(5_000)));
    assert.deepEqual(await run(new DiskCheckpoints(env, "checkpoints").load()), [
      record(5_000),
      record(1_000 + 2 * offset),
    ]);
    await run(env.disk.remove(file(5_000)));
  }
  // Cut short, empty, under another's name.
  for (const size of [0, 11, 12, 50]) {
    const opened = await run(env.disk.open(file(1_156), "write"));
    await run(opened.truncate(size));
    await run(opened.close());
    await assert.rejects(run(new DiskCheckpoints(env, "checkpoints").load()), (error: unknown) => {
      assert.ok(error instanceof HoldfastError);
      assert.equal(error.code, "corrupt");
      assert.match(error.message, /checkpoint file checkpoints\/checkpoint-0000000000001156 is damaged \(offset 0\)/);
      return true;
    });
  }
  await run(new DiskCheckpoints(env, "checkpoints").save(record(12)));
  await run(env.disk.rename(file(12), file(9_912)));
  await run(env.disk.remove(file(1_156)));
  await assert.rejects(run(new DiskCheckpoints(env, "checkpoints").load()), { code: "corrupt" });
});

const options: OpenOptions = { segmentSizeMin: 4_096, segmentSizeMax: 8_192, packSizeMax: 65_536, historyRevisions: 0 };

async function fill(store: LocalStore, from: number, to: number): Promise<void> {
  const puts: Promise<unknown>[] = [];
  for (let index = from; index < to; index++) puts.push(store.keys.put(`k${index % 40}`, `value ${index}`));
  await Promise.all(puts);
}

test("a store opens from the older checkpoint when the newest is damaged, and trims its log as it goes", async () => {
  const { machine, run } = simulate("older");
  let store = await run(openStore(machine.env, options));
  const positions: number[] = [];
  for (let round = 0; round < 5; round++) {
    await run(fill(store, round * 200, round * 200 + 200));
    positions.push((await run(store.checkpoint())).checkpointPosition);
  }
  await run(fill(store, 1_000, 1_100));
  const { logStart } = await run(store.status());
  assert.ok(logStart > 0 && logStart <= (positions.at(-2) as number), `the log begins at ${logStart}`);
  const root = (await run(store.checkpoint())).rootHash;
  const damaged = (await run(store.status())).checkpointPosition;
  machine.crash();
  const env = machine.restart();
  await run(flip(env, file(damaged), 20));
  store = await run(openStore(env, options));
  assert.equal(store.replica.lastCheckpoint.position, positions.at(-1));
  assert.equal(store.replica.revision, 1_100);
  assert.equal((await run(store.keys.get("k19")))?.text(), "value 1099");
  const again = await run(store.checkpoint());
  assert.equal(toHex(again.rootHash), toHex(root), "the same state has the same root");
  await run(fill(store, 1_100, 1_200));
  await run(store.checkpoint());
  assert.deepEqual((await run(env.disk.list("checkpoints"))).length, 2);
  for await (const { damages } of { [Symbol.asyncIterator]: () => iterate(run, store.verifyTree()) }) {
    assert.deepEqual(damages, []);
  }
  machine.crash();
  store = await run(openStore(machine.restart(), options));
  assert.equal((await run(store.keys.get("k39")))?.text(), "value 1199");
});

/** Steps of an iteration whose waiting happens in the simulation. */
async function* iterate<T>(run: World["run"], items: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await run(iterator.next());
    if (done === true) return;
    yield value;
  }
}

test("a log that lacks what the checkpoint needs is refused, and nothing is written", async () => {
  const member = new Member("lacks");
  const replica = await member.open();
  for (let step = 0; step < 10; step++) await replica.propose([member.put("a", String(step))]);
  await replica.checkpoint();
  await replica.close();
  const { log: whole } = member;
  const other = new Member("lacks/other");
  await other.checkpoints.save((await member.checkpoints.load())[0] as CheckpointRecord);
  await assert.rejects(other.open(), {
    code: "corrupt",
    message: /the log holds positions 0 to 0, but the last checkpoint is at 10: log files are missing/,
  });
  // Checkpoints that are lost are no reason to begin anew over a log that was trimmed.
  await whole.trim(5 as never);
  const lost = new Member("lacks/lost", whole);
  await assert.rejects(lost.open(), { code: "corrupt" });
});

test("a checkpoint is taken when the log has grown enough, and when nothing happens for a while", async () => {
  const { simulator, machine, run } = simulate("when");
  const store = await run(
    openStore(machine.env, { ...options, checkpointLogSizeMin: 4_000_000, checkpointIdleMs: 700 }),
  );
  const value = new Uint8Array(50_000);
  const put = (count: number) => run(Promise.all(Array.from({ length: count }, () => store.keys.put("large", value))));
  const at = () => store.replica.lastCheckpoint.revision;
  await put(10);
  await simulator.advance(5_000);
  assert.equal(at(), 0, "half a megabyte is not worth it");
  await put(15);
  await simulator.advance(600);
  assert.equal(at(), 0);
  await simulator.advance(1_500);
  assert.equal(at(), 25);
  await put(85);
  // By size alone; the timer has not come yet.
  await simulator.advance(100);
  assert.ok(at() > 25, `the last checkpoint is of revision ${at()}`);
  // All history is kept, so the state grows as fast as the log; checkpoints come all the same, at twice the size each.
  const seen = new Set<number>();
  for (let round = 0; round < 60; round++) {
    await put(10);
    seen.add(at());
  }
  assert.ok(seen.size >= 3, `checkpoints at ${[...seen].join()}`);
  await run(store.close());
});

const key = (index: number) => new Uint8Array([16, 0x6b, ...Buffer.from(`k${index}`)]);

test("reads keep to the cache's limit, also when nothing is written", async () => {
  const member = new Member("cache");
  const first = await member.open();
  const before = await (async () => {
    for (let index = 0; index < 2_000; index++) await first.propose([member.put(`k${index}`, new Uint8Array(1_000))]);
    return rootText(first);
  })();
  await first.close();
  const cacheSizeMax = 200_000;
  const replica = await member.open({ cacheSizeMax });
  const read = async (index: number) => {
    assert.ok(await replica.read((tree) => tree.get(key(index))));
    assert.ok(replica.tree.cacheSize < cacheSizeMax + 100_000, `${replica.tree.cacheSize} bytes are cached`);
  };
  for (let index = 0; index < 2_000; index++) await read((index * 7) % 2_000);
  // Many at once, always some under way, get on too.
  await Promise.all(
    Array.from({ length: 50 }, async (_, reader) => {
      for (let index = 0; index < 60; index++)
        await replica.read((tree) => tree.get(key((index * 31 + reader) % 2_000)));
    }),
  );
  assert.ok(replica.tree.cacheSize < cacheSizeMax + 100_000, `${replica.tree.cacheSize} bytes are cached`);
  assert.equal(await rootText(replica), before);
  await replica.close();
});

test("neither a checkpoint nor closing waits for the log to be trimmed, and one trim goes on at a time", async () => {
  const { simulator, machine, run } = simulate("trim");
  const { env } = machine;
  const member = new Member("trim");
  const { log, checkpoints, views } = member;
  const trims: (readonly [number, () => void])[] = [];
  log.trim = (before) => new Promise((resolve) => trims.push([before, () => resolve(before)]));
  const blobs = new MemoryBlobStore(env);
  const replica = await run(Replica.open(env, { log, blobs, checkpoints, views: views.all }));
  await run(replica.propose([member.put("k", "x")]));
  for (let count = 1; count <= 4; count++) {
    assert.equal((await run(replica.checkpoint())).position, count);
    await run(replica.propose([member.put("k", "x")]));
  }
  assert.deepEqual(
    trims.map(([before]) => before),
    [1],
    "there is nothing to trim to the first",
  );
  trims[0]?.[1]();
  await simulator.advance(10);
  assert.equal(trims[1]?.[0], 3, "to the older of the two that are kept by then");
  const startedMs = simulator.nowMs;
  await run(replica.close());
  assert.ok(simulator.nowMs - startedMs <= 1_000, `took ${simulator.nowMs - startedMs} ms`);
  assert.equal((await checkpoints.load())[0]?.position, 4);
});

test("a trim that fails for want of space is tried again behind the next checkpoint; any other failure stops the store", async () => {
  const { simulator, machine, run } = simulate("trim fails");
  const { env } = machine;
  const member = new Member("trim fails");
  const { log, checkpoints, views } = member;
  const asked: number[] = [];
  let error: Error = new HoldfastError("exhausted", "the disk is full");
  log.trim = (before) => {
    asked.push(before);
    return Promise.reject(error);
  };
  const replica = await run(Replica.open(env, { log, blobs: new MemoryBlobStore(env), checkpoints, views: views.all }));
  const take = async () => {
    await run(replica.propose([member.put("k", "x")]));
    await run(replica.checkpoint());
    await simulator.advance(10);
  };
  for (let count = 0; count < 3; count++) await take();
  assert.deepEqual(asked, [1, 2]);
  error = new HoldfastError("unavailable", "the log has failed");
  await take();
  assert.match((await run(replica.failed)).message, /the log has failed/);
  await run(replica.close());
});
