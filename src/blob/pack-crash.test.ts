/**
 * Crashes, failures and full disks: a seeded workload over a simulated disk, cut at each of its disk operations, opened
 * again, checked, gone on with, and crashed again.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { stored } from "./collection.suite.ts";
import { hashOf, noise } from "./conformance.suite.ts";
import { PackBlobStore } from "./index.ts";
import { isError, Model, scale, work } from "./pack-model.suite.ts";

/** Compaction waits at times, so that it is cut there too. */
const options = { packSizeMax: 16_384, fileCountMax: 2, compactionRate: 1_000_000 };
const stepCount = 30;

/** Log lines that say that something was found wrong. */
function listening(env: Env, complaints: string[]): Env {
  return {
    ...env,
    logger: {
      log(level, message, fields) {
        if (level === "error" || level === "warn") complaints.push(`${message} ${JSON.stringify(fields)}`);
      },
    },
  };
}

interface Cut {
  /** Counted over the issued and done phases of all operations; undefined is no crash. */
  readonly at: number | undefined;
  readonly unsynced: "random" | "lost" | "kept";
}

/** One life after another; gives the number of moments at which the first could have been cut. */
async function live(seed: string, cut: Cut): Promise<number> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const model = new Model();
  const label = `seed ${seed}, cut ${cut.at} ${cut.unsynced}`;
  let moments = 0;
  machine.disk.hook = () => {
    moments += 1;
    if (moments === cut.at && machine.alive) machine.crash({ unsynced: cut.unsynced });
  };
  const complaints: string[] = [];
  let done = false;
  const first = (async () => {
    const store = await PackBlobStore.open(listening(machine.env, complaints), "blobs", options);
    await work(model, store, new Prng(seed), stepCount);
    done = true;
  })();
  first.catch(() => {});
  await simulator.run(() => done || !machine.alive);
  if (machine.alive) await first;
  const count = moments;
  machine.disk.hook = undefined;
  if (machine.alive) machine.crash({ unsynced: cut.unsynced });
  // Opened, checked, used, killed; opened, checked, used, crashed; opened and checked.
  for (let life = 0; life < 3; life++) {
    const env = listening(machine.restart(), complaints);
    const random = new Prng(`${seed} ${life}`);
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(env, "blobs", options);
        await model.check(store, `${label}, life ${life}`);
        if (life < 2) await work(model, store, random, 8);
      })(),
    );
    if (life === 0) machine.kill();
    else machine.crash();
  }
  assert.deepEqual(complaints, [], label);
  return count;
}

for (const seed of ["larch", "rowan"]) {
  test(`cut at each disk operation, seed ${seed}`, async () => {
    const count = await live(seed, { at: undefined, unsynced: "random" });
    assert.ok(count > 150, `only ${count} moments`);
    const stride = Math.max(1, Math.floor(16 / scale));
    const offset = seed.length % stride;
    for (let at = 1 + offset; at <= count; at += stride) await live(seed, { at, unsynced: "random" });
    for (let at = 3; at <= count; at += 5 * stride) {
      await live(seed, { at, unsynced: "lost" });
      await live(seed, { at, unsynced: "kept" });
    }
  });
}

test("random workloads with a random cut", async () => {
  for (let number = 0; number < 30 * scale; number++) {
    const seed = `random ${number}`;
    await live(seed, { at: 1 + new Prng(seed).below(700), unsynced: "random" });
  }
});

test("after a failed sync or write everything that writes is refused, reads go on, and nothing promised is lost", async () => {
  for (let number = 0; number < 20 * scale; number++) {
    const seed = `failure ${number}`;
    const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const model = new Model();
    const store = await simulator.run(PackBlobStore.open(machine.env, "blobs", options));
    await simulator.run(work(model, store, new Prng(seed), 10));
    await simulator.run(model.sync(store));
    const kind = number % 2 === 0 ? "sync" : "write";
    let failed: string | undefined;
    machine.disk.hook = (operation) => {
      if (operation.phase !== "issued" || operation.kind !== kind || !operation.path.endsWith(".pack"))
        return undefined;
      // Another pack may have been begun at the same moment.
      if (failed !== undefined && failed !== operation.path) return undefined;
      assert.equal(failed, undefined, `seed ${seed}: another ${kind} of ${operation.path} after a failed one`);
      failed = operation.path;
      return new HoldfastError("unavailable", `the ${kind} failed`);
    };
    const late = noise(500, 1_000 + number);
    await simulator.run(
      (async () => {
        const put = model.put(store, late);
        // The put begins a new pack at times, and its header's sync is the one that fails.
        await put.catch((error: unknown) => assert.ok(isError("unavailable")(error), String(error)));
        await assert.rejects(store.sync(), isError("unavailable"));
        assert.ok(failed !== undefined);
        await assert.rejects(store.put(hashOf(noise(9, 9)), noise(9, 9)), isError("unavailable"));
        await assert.rejects(store.sync(), isError("unavailable"));
        for (const known of model.blobs.values()) {
          if (known.durable === "there") assert.deepEqual(await store.get(known.hash), known.bytes, `seed ${seed}`);
        }
        await store.close();
      })(),
    );
    machine.disk.hook = undefined;
    machine.crash();
    const again = await simulator.run(PackBlobStore.open(machine.restart(), "blobs", options));
    await simulator.run(model.check(again, `seed ${seed}`));
  }
});

test("a full disk refuses puts and keeps reads and deletes, which make room", async () => {
  for (let number = 0; number < 8 * scale; number++) {
    const seed = `full ${number}`;
    const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const model = new Model();
    machine.disk.capacity = 100_000 + 1_000 * (number % 20);
    const blobs = Array.from({ length: 80 }, (_, salt) => noise(2_000, salt));
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(machine.env, "blobs", { ...options, compress: false });
        let refusedCount = 0;
        for (const blob of blobs) {
          await model.put(store, blob).catch((error: unknown) => {
            assert.ok(isError("exhausted")(error), String(error));
            refusedCount += 1;
          });
        }
        assert.ok(refusedCount > 10, `${refusedCount} were refused`);
        const { blobSize, garbageSize } = store.status();
        assert.equal(filesSize(machine), blobSize + garbageSize, "the parts of refused writes are cut off");
        const there = [...model.blobs.values()].filter((known) => known.written);
        for (const known of there) assert.deepEqual(await store.get(known.hash), known.bytes);
        await model.delete(store, there.slice(0, 35));
        for (const known of there.slice(0, 35)) assert.equal(await store.has(known.hash), false);
        // Packs in which nothing is left are removed without a byte written.
        while (store.status().packCount > 5) await nextTick(machine.env);
        await model.put(store, noise(2_000, 5_000));
        await model.sync(store);
        machine.disk.capacity = Number.POSITIVE_INFINITY;
        await model.put(store, noise(2_000, 5_001));
        await model.sync(store);
      })(),
    );
    machine.crash();
    const again = await simulator.run(PackBlobStore.open(machine.restart(), "blobs", options));
    await simulator.run(model.check(again, `seed ${seed}`));
  }
});

test("a deletion that there is no space to note is owed, and durable after the next sync that succeeds", async () => {
  const simulator = new Simulator({ seed: "owed", drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const [gone, stays] = [noise(500, 1), noise(5_000, 2)];
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(machine.env, "blobs", options);
      await store.put(hashOf(gone), gone.slice());
      await store.put(hashOf(stays), stays.slice());
      await store.sync();
      for (let turn = 0; turn < 20; turn++) await nextTick(machine.env);
      machine.disk.capacity = filesSize(machine);
      await store.delete([hashOf(gone)]);
      assert.equal(await store.has(hashOf(gone)), false);
      await assert.rejects(store.sync(), isError("exhausted"));
      await assert.rejects(store.sync(), isError("exhausted"));
      machine.disk.capacity = Number.POSITIVE_INFINITY;
      await store.sync();
    })(),
  );
  machine.crash({ unsynced: "lost" });
  const again = await simulator.run(PackBlobStore.open(machine.restart(), "blobs", options));
  assert.equal(await simulator.run(again.get(hashOf(gone))), undefined);
  assert.deepEqual(await simulator.run(again.get(hashOf(stays))), stays);
});

/** Bytes of all packs as they are now. */
function filesSize(machine: Machine): number {
  let size = 0;
  for (const path of machine.disk.files()) if (path.endsWith(".pack")) size += machine.disk.contents(path)?.length ?? 0;
  return size;
}

function nextTick(env: Env): Promise<void> {
  return new Promise((resolve) => env.clock.schedule(1, resolve));
}

test("what was swept stays away after the next sync, and what was marked or touched stays", async () => {
  for (let number = 0; number < 6 * scale; number++) {
    const seed = `swept ${number}`;
    const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const all = Array.from({ length: 200 }, (_, salt) => noise(300 + salt, salt));
    const hashes = all.map(hashOf);
    const [marked, touched] = [hashes.slice(0, 40), hashes.slice(40, 60)];
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(machine.env, "blobs", options);
        await store.putStored(all.map((content, index) => stored(content, index % 3 === 0)));
        await store.sync();
        const before = store.beginEpoch();
        const marking = store.startMarking();
        for (const hash of marked) assert.equal(marking.mark(hash), "new");
        const touch = store.touch(touched);
        // Before the sync or in the middle of it, everything may still be there.
        for await (const _ of marking.sweep({ before }));
        marking.end();
        assert.deepEqual(
          await touch,
          touched.map(() => true),
        );
        await store.sync();
      })(),
    );
    machine.crash({ unsynced: number % 2 === 0 ? "random" : "lost" });
    const again = await simulator.run(PackBlobStore.open(machine.restart(), "blobs", options));
    await simulator.run(
      (async () => {
        const there = await again.touch(hashes);
        assert.deepEqual(
          there,
          hashes.map((_, index) => index < 60),
          seed,
        );
        for (const [index, hash] of hashes.slice(0, 60).entries()) assert.deepEqual(await again.get(hash), all[index]);
        // Everything that was found has the first epoch again.
        const before = again.beginEpoch();
        const marking = again.startMarking();
        let count = 0;
        for await (const report of marking.sweep({ before })) count += report.count;
        marking.end();
        assert.equal(count, 60);
        await again.compact();
        assert.equal(again.status().blobSize, 0);
      })(),
    );
  }
});
