/** What is particular to packs: few system calls, space that comes back, files, reports, and how puts and deletes meet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { stored } from "./collection.suite.ts";
import { hashOf, noise, prose } from "./conformance.suite.ts";
import { PackBlobStore } from "./index.ts";
import type { PackOptions } from "./pack-state.ts";
import { isError } from "./pack-model.suite.ts";

type Body = (store: PackBlobStore, env: Env, machine: Machine) => Promise<void>;

async function withStore(options: PackOptions, body: Body): Promise<void> {
  const simulator = new Simulator({ seed: "store", drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const store = await simulator.run(PackBlobStore.open(machine.env, "blobs", options));
  await simulator.run(body(store, machine.env, machine));
}

const wait = (env: Env, delayMs: number) => new Promise<void>((resolve) => env.clock.schedule(delayMs, resolve));

/** Operations of the given kinds on packs, from now on. */
function counting(machine: Machine): Record<string, number> {
  const counts: Record<string, number> = { write: 0, sync: 0, read: 0, open: 0 };
  machine.disk.hook = ({ kind, phase, path }) => {
    if (phase === "issued" && path.endsWith(".pack")) counts[kind] = (counts[kind] ?? 0) + 1;
  };
  return counts;
}

test("puts of one turn are one write, and what is there already is not written", async () => {
  await withStore({}, async (store, env, machine) => {
    await store.put(hashOf(noise(10, 0)), noise(10, 0));
    const counts = counting(machine);
    const blobs = Array.from({ length: 100 }, (_, salt) => noise(3_000, salt));
    await Promise.all([...blobs, ...blobs].map((blob) => store.put(hashOf(blob), blob)));
    assert.equal(counts["write"], 1);
    const { writtenSize } = store.status();
    await Promise.all(blobs.map((blob) => store.put(hashOf(blob), blob)));
    await wait(env, 5);
    assert.equal(store.status().writtenSize, writtenSize);
  });
});

test("a sync is one sync of one file; a sync of nothing new is none; calls share the next one", async () => {
  await withStore({}, async (store, env, machine) => {
    await store.put(hashOf(noise(10, 0)), noise(10, 0));
    const counts = counting(machine);
    await store.sync();
    assert.equal(counts["sync"], 1);
    await wait(env, 20);
    await store.sync();
    await store.sync();
    assert.equal(counts["sync"], 1);
    await store.put(hashOf(noise(10, 1)), noise(10, 1));
    await Promise.all(Array.from({ length: 10 }, () => store.sync()));
    assert.ok((counts["sync"] ?? 0) <= 3, `${counts["sync"]} syncs`);
  });
});

test("the space of deleted blobs comes back in the background, and what is left stays", async () => {
  await withStore({ packSizeMax: 65_536, compress: false }, async (store, env) => {
    const blobs = Array.from({ length: 400 }, (_, salt) => noise(2_000, salt));
    for (const blob of blobs) await store.put(hashOf(blob), blob.slice());
    await store.sync();
    const full = store.status();
    assert.ok(full.packCount >= 12 && full.garbageSize < 5_000, JSON.stringify(full));
    const stay = blobs.filter((_, index) => index % 10 === 0);
    await store.delete(blobs.filter((_, index) => index % 10 !== 0).map(hashOf));
    await store.sync();
    for (let turn = 0; turn < 10_000 && store.status().packCount > 4; turn++) await wait(env, 1);
    const after = store.status();
    assert.ok(after.packCount <= 4, JSON.stringify(after));
    assert.equal(after.blobCount, 40);
    assert.equal(after.blobSize, 40 * 2_052);
    // 40 blobs of 2,052 bytes moved once, and the deletions.
    assert.ok(after.writtenSize - full.writtenSize < 130_000, JSON.stringify([full, after]));
    for (const blob of stay) assert.deepEqual(await store.get(hashOf(blob)), blob);
    await store.close();
  });
});

test("compact gives back what the current pack holds too, down to nothing", async () => {
  await withStore({}, async (store, env, machine) => {
    const blobs = Array.from({ length: 50 }, (_, salt) => noise(2_000, salt));
    for (const blob of blobs) await store.put(hashOf(blob), blob.slice());
    await store.delete(blobs.map(hashOf));
    await store.compact();
    await store.compact();
    assert.deepEqual(machine.disk.files(), []);
    const { blobCount, blobSize, garbageSize, packCount } = store.status();
    assert.deepEqual(
      { blobCount, blobSize, garbageSize, packCount },
      { blobCount: 0, blobSize: 0, garbageSize: 0, packCount: 0 },
    );
    await store.put(hashOf(noise(5, 5)), noise(5, 5));
    assert.deepEqual(await store.get(hashOf(noise(5, 5))), noise(5, 5));
    await store.close();
  });
});

test("writing and deleting for ever keeps the space and the bytes written in proportion", async () => {
  await withStore({ packSizeMax: 32_768, compress: false }, async (store, env) => {
    let putSize = 0;
    for (let round = 0; round < 60; round++) {
      const blobs = Array.from({ length: 20 }, (_, index) => noise(1_000, round * 20 + index));
      await Promise.all(blobs.map((blob) => store.put(hashOf(blob), blob)));
      putSize += 20_000;
      // Of each round one blob stays for good; the rest goes two rounds later.
      const old = Array.from({ length: 19 }, (_, index) => noise(1_000, (round - 2) * 20 + index));
      if (round >= 2) await store.delete(old.map(hashOf));
      await store.sync();
      await wait(env, 20);
    }
    const { blobCount, blobSize, garbageSize, writtenSize } = store.status();
    assert.equal(blobCount, 60 + 38);
    assert.ok(garbageSize < blobSize + 2 * 32_768, `garbage ${garbageSize} beside ${blobSize}`);
    assert.ok(writtenSize < 2.2 * putSize, `${writtenSize} written for ${putSize}`);
    await store.close();
  });
});

test("gets go on while everything moves, with few files open", async () => {
  await withStore({ packSizeMax: 16_384, fileCountMax: 1, compress: false }, async (store) => {
    const blobs = Array.from({ length: 120 }, (_, salt) => noise(1_500, salt));
    await Promise.all(blobs.map((blob) => store.put(hashOf(blob), blob.slice())));
    await store.sync();
    const stay = blobs.filter((_, index) => index % 3 === 0);
    await store.delete(blobs.filter((_, index) => index % 3 !== 0).map(hashOf));
    const progress = { done: false };
    const compaction = store.compact().finally(() => (progress.done = true));
    let count = 0;
    while (!progress.done) {
      const got = await Promise.all(stay.map((blob) => store.get(hashOf(blob))));
      for (const [index, bytes] of got.entries()) assert.deepEqual(bytes, stay[index]);
      count += got.length;
    }
    await compaction;
    assert.ok(count >= stay.length);
    assert.ok(store.status().packCount <= 5);
    await store.close();
  });
});

test("compressed where it saves, raw where not", async () => {
  await withStore({}, async (store) => {
    await store.put(hashOf(prose(8_192, 1)), prose(8_192, 1));
    const { blobSize } = store.status();
    assert.ok(blobSize < 2_000, `${blobSize}`);
    await store.put(hashOf(noise(8_192, 1)), noise(8_192, 1));
    assert.equal(store.status().blobSize, blobSize + 8_192 + 52);
    assert.deepEqual(await store.get(hashOf(prose(8_192, 1))), prose(8_192, 1));
  });
});

test("a put after a deletion that waits for an earlier put stays", async () => {
  await withStore({}, async (store) => {
    const blob = noise(100, 1);
    const first = store.put(hashOf(blob), blob.slice());
    const deletion = store.delete([hashOf(blob)]);
    const second = store.put(hashOf(blob), blob.slice());
    await Promise.all([first, deletion, second]);
    assert.deepEqual(await store.get(hashOf(blob)), blob);
  });
});

test("verify counts what it reads, and ends when it is told to", async () => {
  await withStore({ packSizeMax: 16_384 }, async (store) => {
    const blobs = Array.from({ length: 50 }, (_, salt) => noise(1_000, salt));
    await Promise.all(blobs.map((blob) => store.put(hashOf(blob), blob.slice())));
    await store.sync();
    let [count, size] = [0, 0];
    for await (const report of store.verify()) {
      count += report.count;
      size += report.size;
      assert.deepEqual(report.damages, []);
    }
    assert.equal(count, 50);
    assert.ok(size > 52_000);
    const controller = new AbortController();
    controller.abort();
    await assert.rejects(async () => {
      for await (const _ of store.verify({ signal: controller.signal }));
    }, isError("cancelled"));
    // Abandoned half-way, it holds nothing up.
    for await (const _ of store.verify()) break;
    await store.delete(blobs.map(hashOf));
    await store.compact();
    await store.close();
  });
});

test("options out of bounds are invalid", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  const { env } = simulator.machine("a");
  for (const options of [
    { packSizeMax: 100 },
    { packSizeMax: 2 ** 31 },
    { packSizeMax: 5_000.5 },
    { fileCountMax: 0 },
    { compactionRate: 0 },
    { compactionRate: Number.NaN },
  ]) {
    await assert.rejects(PackBlobStore.open(env, "blobs", options), isError("invalid"));
  }
});

test("reopening appends to the newest pack and reads no bodies after a clean close", async () => {
  await withStore({}, async (first, env, machine) => {
    let store = first;
    for (let round = 0; round < 5; round++) {
      await store.put(hashOf(noise(9_000, round)), noise(9_000, round));
      await store.close();
      const counts = counting(machine);
      store = await PackBlobStore.open(env, "blobs");
      assert.deepEqual([counts["read"], counts["write"]], [1, 0]);
      machine.disk.hook = undefined;
    }
    assert.equal(store.status().packCount, 1);
    assert.equal(store.status().blobCount, 5);
    await store.close();
  });
});

test("blobs that are put together in their stored form are one write, however large", async () => {
  await withStore({}, async (store, _env, machine) => {
    await store.put(hashOf(noise(10, 0)), noise(10, 0));
    const counts = counting(machine);
    await store.putStored(Array.from({ length: 30 }, (_, salt) => stored(noise(120_000, salt))));
    assert.equal(counts["write"], 1);
    assert.equal(store.status().blobCount, 31);
  });
});

/** Packs of which nine blobs of ten are deleted. */
async function garbage(store: PackBlobStore, packCount: number): Promise<Uint8Array[]> {
  const blobs = Array.from({ length: 32 * packCount }, (_, salt) => noise(2_000, salt));
  for (const blob of blobs) await store.put(hashOf(blob), blob.slice());
  await store.sync();
  await store.delete(blobs.filter((_, index) => index % 10 !== 0).map(hashOf));
  await store.sync();
  return blobs.filter((_, index) => index % 10 === 0);
}

test("compaction keeps to its rate in the background, and hurries when somebody waits or garbage grows", async () => {
  const packSizeMax = 65_536;
  const times: number[] = [];
  for (const [packCount, compactionRate, hurry] of [
    [4, 100_000, false],
    [4, 100_000, true],
    [12, 100_000, false],
    [4, Number.POSITIVE_INFINITY, false],
  ] as const) {
    await withStore({ packSizeMax, compress: false, compactionRate }, async (store, env) => {
      const stay = await garbage(store, packCount);
      const start = env.clock.monotonicMs();
      if (hurry) await store.compact();
      while (store.status().packCount > 2) await wait(env, 1);
      times.push(env.clock.monotonicMs() - start);
      for (const blob of stay) assert.deepEqual(await store.get(hashOf(blob)), blob);
      const closing = env.clock.monotonicMs();
      await store.close();
      assert.ok(env.clock.monotonicMs() - closing < 100, "closing waits for no pause");
    });
  }
  const [slow = 0, hurried = 0, large = 0, fast = 0] = times;
  // Some 65 kB read and 7 kB written for each pack, at 100 kB a second.
  assert.ok(slow > 700, `${slow} ms`);
  assert.ok(hurried < 200, `${hurried} ms`);
  assert.ok(fast < 200, `${fast} ms`);
  assert.ok(large < 8_000, `${large} ms for three times as much`);
});

test("a store can be closed in the middle of a pause of compaction", async () => {
  await withStore({ packSizeMax: 65_536, compress: false, compactionRate: 1_000 }, async (store, env) => {
    const stay = await garbage(store, 3);
    await wait(env, 1_000);
    for (const blob of stay) assert.deepEqual(await store.get(hashOf(blob)), blob);
    const start = env.clock.monotonicMs();
    await store.close();
    assert.ok(env.clock.monotonicMs() - start < 100);
  });
});

test("verify keeps to its rate, names nothing that is whole, and holds up neither compaction nor closing", async () => {
  await withStore({ packSizeMax: 65_536, compress: false }, async (store, env) => {
    const blobs = Array.from({ length: 150 }, (_, salt) => noise(2_000, salt));
    for (const blob of blobs) await store.put(hashOf(blob), blob.slice());
    await store.sync();
    let start = env.clock.monotonicMs();
    let [count, reports] = [0, 0];
    for await (const report of store.verify({ rate: 100_000 })) {
      count += report.count;
      reports += 1;
      assert.deepEqual([report.damages, report.damagedBlobs], [[], []]);
    }
    assert.equal(count, 150);
    const tookMs = env.clock.monotonicMs() - start;
    assert.ok(tookMs > 2_500 && tookMs < 4_000, `${tookMs} ms for 310 kB`);
    assert.ok(reports >= 2, "it reports every second");
    // Everything moves while it reads.
    const verifying = (async () => {
      for await (const report of store.verify({ rate: 100_000 })) {
        assert.deepEqual([report.damages, report.damagedBlobs], [[], []]);
      }
    })();
    await wait(env, 500);
    start = env.clock.monotonicMs();
    await store.delete(blobs.filter((_, index) => index % 3 > 0).map(hashOf));
    await store.putStored(Array.from({ length: 20 }, (_, salt) => stored(noise(1_500, 1_000 + salt))));
    await store.compact();
    assert.ok(env.clock.monotonicMs() - start < 500, "compaction waited for verify");
    await verifying;
    const again = store.verify({ rate: 1_000 })[Symbol.asyncIterator]();
    await again.next();
    const next = again.next();
    await wait(env, 100);
    start = env.clock.monotonicMs();
    await store.close();
    assert.ok(env.clock.monotonicMs() - start < 500);
    await assert.rejects(next, isError("unavailable"));
    await assert.rejects(async () => {
      for await (const _ of store.verify({ rate: 0 }));
    }, isError("invalid"));
  });
});
