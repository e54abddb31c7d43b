/**
 * Damage: flipped bits, cut and missing files, files of another pack. Whatever is damaged is found by open, verify or
 * get, or harms nothing; it is never served, and what is not damaged stays.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { stored } from "./collection.suite.ts";
import { hashOf, noise, prose } from "./conformance.suite.ts";
import { PackBlobStore } from "./index.ts";
import { isError, scale, verified } from "./pack-model.suite.ts";

const options = { packSizeMax: 24_576 };

interface World {
  readonly simulator: Simulator;
  readonly machine: Machine;
  readonly blobs: readonly Uint8Array[];
  readonly deleted: readonly Uint8Array[];
}

/** A store with several packs, deletions and synced records; closed, or killed so that the last pack has no index. */
async function makeWorld(seed: string, closed: boolean): Promise<World> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const all = Array.from({ length: 60 }, (_, salt) =>
    salt % 3 === 0 ? prose(3_000, salt) : noise(200 + 60 * salt, salt),
  );
  const deleted = all.filter((_, index) => index % 6 === 1);
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(machine.env, "blobs", options);
      for (const [index, blob] of all.entries()) {
        await store.put(hashOf(blob), blob.slice());
        if (index % 10 === 9) await store.sync();
      }
      await store.delete(deleted.map(hashOf));
      await store.sync();
      if (closed) await store.close();
      // The synced record of the last sync, and the index files.
      else await new Promise<void>((resolve) => machine.env.clock.schedule(50, resolve));
    })(),
  );
  if (closed) machine.crash();
  else machine.kill();
  return { simulator, machine, blobs: all.filter((blob) => !deleted.includes(blob)), deleted };
}

interface Findings {
  readonly logged: string[];
  readonly damages: string[];
  readonly corrupt: string[];
  readonly absent: string[];
  /** Deleted blobs that are there again. */
  readonly returned: number;
}

/** Opens, gets everything, verifies. Fails if anything wrong is served. */
async function examine(world: World, label: string, verifyFirst: boolean): Promise<Findings> {
  const { simulator, machine, blobs, deleted } = world;
  const logged: string[] = [];
  const env: Env = {
    ...machine.restart(),
    logger: { log: (level, message, fields) => void logged.push(`${level} ${message} ${JSON.stringify(fields)}`) },
  };
  return simulator.run(
    (async () => {
      const store = await PackBlobStore.open(env, "blobs", options);
      const damages: string[] = [];
      const verify = async () => {
        for await (const report of store.verify()) damages.push(...report.damages);
      };
      if (verifyFirst) await verify();
      const corrupt: string[] = [];
      const absent: string[] = [];
      for (const blob of blobs) {
        try {
          const bytes = await store.get(hashOf(blob));
          if (bytes === undefined) absent.push(toHex(hashOf(blob)));
          else assert.deepEqual(bytes, blob, `${label}: wrong bytes`);
        } catch (error) {
          assert.ok(isError("corrupt")(error), `${label}: ${String(error)}`);
          assert.match(String(error), /blobs\/\d{8}\.pack at offset \d+/);
          corrupt.push(toHex(hashOf(blob)));
        }
      }
      let returned = 0;
      for (const blob of deleted) {
        const bytes = await store.get(hashOf(blob)).catch(() => new Uint8Array(0));
        if (bytes !== undefined) returned += 1;
      }
      if (!verifyFirst) await verify();
      // Repair: what is put again is there again, and stays there.
      for (const blob of blobs) await store.put(hashOf(blob), blob.slice());
      await store.sync();
      for (const blob of blobs) assert.deepEqual(await store.get(hashOf(blob)), blob, `${label}: not repaired`);
      await store.close();
      machine.crash();
      return { logged, damages, corrupt, absent, returned };
    })(),
  );
}

/** After the repair everything is there. */
async function examineAgain(world: World, label: string): Promise<void> {
  const { corrupt, absent } = await examine(world, `${label}, again`, true);
  assert.deepEqual([corrupt, absent], [[], []], `${label}: the repair did not last`);
}

describe("flipped bits", () => {
  for (const closed of [true, false]) {
    test(`in a store that was ${closed ? "closed" : "killed"}`, async () => {
      for (let number = 0; number < 40 * scale; number++) {
        const label = `flip ${number} ${closed}`;
        const random = new Prng(label);
        const world = await makeWorld("damage", closed);
        const files = world.machine.disk.files();
        const path = random.pick(files);
        const size = world.machine.disk.contents(path)?.length ?? 0;
        // Headers are few and matter most.
        const bit = random.chance(0.2) ? random.below(8 * Math.min(size, 100)) : random.below(8 * size);
        world.machine.disk.flipBit(path, bit);
        const where = `${label}: bit ${bit} of ${path} (${size} bytes)`;
        const found = await examine(world, where, number % 2 === 0);
        const told = found.logged.length + found.damages.length + found.corrupt.length;
        assert.ok(told > 0, `${where}: nobody noticed`);
        assert.ok(found.corrupt.length + found.absent.length <= 1, `${where}: one bit cost more than one blob`);
        if (path.endsWith(".index")) {
          assert.deepEqual([found.corrupt, found.absent, found.returned], [[], [], 0], where);
        }
        if (found.absent.length > 0) assert.match(found.logged.join("\n"), /error .*cannot be read.*offset/, where);
        if (number % 5 === 0) await examineAgain(world, where);
      }
    });
  }
});

/** Changes the files of a closed store, and examines it. */
async function mangle(label: string, change: (env: Env, paths: string[]) => Promise<void>): Promise<[World, Findings]> {
  const world = await makeWorld("files", true);
  await world.simulator.run(change(world.machine.restart(), world.machine.disk.files()));
  world.machine.kill();
  return [world, await examine(world, label, false)];
}

/** Overwrites both copies of a pack's header. */
async function wipe(env: Env): Promise<void> {
  const file = await env.disk.open("blobs/00000001.pack", "write");
  await file.write([new Uint8Array(48)], 0);
  await file.close();
}

describe("files", () => {
  test("a missing index file is made anew", async () => {
    const [world, found] = await mangle("no index", async (env, paths) => {
      for (const path of paths) if (path.endsWith(".index")) await env.disk.remove(path);
    });
    assert.deepEqual([found.corrupt, found.absent, found.damages, found.returned], [[], [], [], 0]);
    await examineAgain(world, "no index");
  });

  test("an index file of another pack is found out", async () => {
    const [, found] = await mangle("swapped", async (env, paths) => {
      const [first, second] = paths.filter((path) => path.endsWith(".index"));
      assert.ok(first !== undefined && second !== undefined);
      await env.disk.rename(first, second);
    });
    assert.deepEqual([found.corrupt, found.absent, found.returned], [[], [], 0]);
    assert.match(found.logged.join("\n"), /warn .*another pack/);
  });

  test("a missing pack is told: its blobs are corrupt, not absent", async () => {
    const [world, found] = await mangle("no pack", (env) => env.disk.remove("blobs/00000002.pack"));
    assert.ok(found.corrupt.length > 3);
    assert.deepEqual(found.absent, []);
    assert.match(found.logged.join("\n"), /error .*missing.*00000002\.pack/);
    await examineAgain(world, "no pack");
  });

  test("a pack that was cut short is told", async () => {
    const [world, found] = await mangle("cut", async (env) => {
      const file = await env.disk.open("blobs/00000001.pack", "write");
      await file.truncate(9_000);
      await file.close();
    });
    assert.ok(found.corrupt.length > 3);
    assert.deepEqual(found.absent, []);
    assert.match(found.logged.join("\n"), /error .*lost its end/);
    await examineAgain(world, "cut");
  });

  test("a pack whose whole header is gone is read by the help of its index file, and kept without one", async () => {
    const [, found] = await mangle("header", wipe);
    assert.deepEqual([found.corrupt, found.absent], [[], []]);
    assert.match(found.logged.join("\n"), /error .*header/);
    const [, without] = await mangle("header and index", async (env) => {
      await wipe(env);
      await env.disk.remove("blobs/00000001.index");
    });
    assert.ok(without.absent.length > 3);
    assert.match(without.logged.join("\n"), /error .*both copies of its header/);
  });

  test("a pack of a later version is refused, not overwritten", async () => {
    const world = await makeWorld("version", true);
    const digest = new NodeDigest();
    const env = world.machine.restart();
    await world.simulator.run(
      (async () => {
        const file = await env.disk.open("blobs/00000001.pack", "write");
        const header = await file.read(0, 24);
        header[4] = 2;
        new DataView(header.buffer, header.byteOffset).setUint32(20, digest.crc32(header.subarray(0, 20)), true);
        await file.write([header, header], 0);
        await file.close();
        await assert.rejects(PackBlobStore.open(env, "blobs", options), isError("invalid"));
      })(),
    );
  });
});

test("a blob that holds a copy of a pack is never taken for records, even where its own record is damaged", async () => {
  const simulator = new Simulator({ seed: "copy", drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const inner = noise(400, 1);
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(machine.env, "blobs", { compress: false });
      await store.put(hashOf(inner), inner.slice());
      await store.sync();
      await store.delete([hashOf(inner)]);
      await store.sync();
      await store.close();
    })(),
  );
  const copy = machine.disk.contents("blobs/00000001.pack")!;
  const victim = noise(300, 2);
  let offset = 0;
  machine.kill();
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(machine.restart(), "blobs", { compress: false });
      offset = machine.disk.contents("blobs/00000001.pack")!.length;
      await store.put(hashOf(copy), copy.slice());
      await store.put(hashOf(victim), victim.slice());
      await store.sync();
      await new Promise<void>((resolve) => machine.env.clock.schedule(50, resolve));
    })(),
  );
  machine.kill();
  machine.disk.flipBit("blobs/00000001.pack", 8 * (offset + 15));
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(machine.restart(), "blobs", { compress: false });
      assert.equal(await store.get(hashOf(inner)), undefined);
      assert.deepEqual(await store.get(hashOf(victim)), victim);
      const damages: string[] = [];
      for await (const report of store.verify()) damages.push(...report.damages);
      assert.match(damages.join("\n"), new RegExp(`at offset ${offset}: `));
    })(),
  );
});

test("what an open has made durable is known to be: damage to it is told, not cut off as torn", async () => {
  const simulator = new Simulator({ seed: "twice", drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const blob = noise(300, 1);
  const put = async (store: PackBlobStore) => store.put(hashOf(blob), blob.slice());
  await simulator.run(PackBlobStore.open(machine.env, "blobs").then(put));
  machine.kill();
  const env = machine.restart();
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(env, "blobs");
      // It is there, so nothing is written and nothing is left to sync.
      await put(store);
      await store.sync();
      await new Promise<void>((resolve) => env.clock.schedule(10, resolve));
    })(),
  );
  machine.kill();
  machine.disk.flipBit("blobs/00000001.pack", 8 * 200);
  const store = await simulator.run(PackBlobStore.open(machine.restart(), "blobs"));
  await assert.rejects(simulator.run(store.get(hashOf(blob))), isError("corrupt"));
});

test("a missing pack is told once more in each round, blob by blob, until they are put anew", async () => {
  const world = await makeWorld("rounds", true);
  const env = world.machine.restart();
  await world.simulator.run(
    (async () => {
      await env.disk.remove("blobs/00000002.pack");
      const store = await PackBlobStore.open(env, "blobs", options);
      const first = await verified(store);
      assert.ok(first.hashes.length > 3);
      assert.deepEqual((await verified(store)).hashes, first.hashes);
      const lost = world.blobs.filter((blob) => first.hashes.includes(toHex(hashOf(blob))));
      assert.equal(lost.length, first.hashes.length);
      await store.putStored(lost.map((blob) => stored(blob)));
      assert.deepEqual((await verified(store)).hashes, []);
      for (const blob of world.blobs) assert.deepEqual(await store.get(hashOf(blob)), blob);
    })(),
  );
});
