/** The simulated disk: what a crash keeps, loses and tears, failures on demand, and its invariants by number. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DiskFile, Env } from "../base/index.ts";
import { HoldfastError } from "../base/index.ts";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "./index.ts";
import type { DiskOperation, Machine, UnsyncedFate } from "./index.ts";

const fill = (size: number, byte: number) => new Uint8Array(size).fill(byte);
const is = (code: string) => (error: unknown) => error instanceof HoldfastError && error.code === code;

/** A file `f` that is durable with its name, holding `size` bytes of 1. */
async function durableFile(env: Env, size: number, options = { durable: true }): Promise<DiskFile> {
  const file = await env.disk.open("f", "write", options);
  await file.write([fill(size, 1)], 0);
  await file.sync();
  await env.disk.syncDirectory("");
  return file;
}

async function world(seed: string | number, body: (machine: Machine, simulator: Simulator) => Promise<void>) {
  const simulator = new Simulator({ seed, drain: nextTurn });
  await body(simulator.machine("a"), simulator);
}

test("what was synced, or written durably, stays; what was not is lost when all of it is", async () => {
  await world(1, async (machine, simulator) => {
    const { env } = machine;
    await simulator.run(
      (async () => {
        const file = await durableFile(env, 10, { durable: false });
        await file.write([fill(10, 2)], 10);
        await file.sync();
        await file.write([fill(10, 3)], 20);
        const through = await env.disk.open("f", "write", { durable: true });
        await through.write([fill(5, 4)], 40);
      })(),
    );
    machine.crash({ unsynced: "lost" });
    const expected = new Uint8Array(45);
    expected.fill(1, 0, 10).fill(2, 10, 20).fill(4, 40, 45);
    assert.deepEqual(machine.disk.contents("f"), expected);
  });
});

test("each fate of unsynced and of in-flight writes occurs, and never one that touches synced bytes", async () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 300; seed += 1) {
    await world(seed, async (machine, simulator) => {
      const { env } = machine;
      await simulator.run(durableFile(env, 2_048));
      const file = await simulator.run(env.disk.open("f", "write", { durable: true }));
      machine.crashAtChange(1, "during");
      void file.write([fill(2_048, 2)], 2_048);
      await simulator.run(() => !machine.alive);
      // Nobody wrote below 2,048, so nothing there may change.
      const left = machine.disk.contents("f") as Uint8Array;
      assert.deepEqual(left.subarray(0, 2_048), fill(2_048, 1), `seed ${seed}`);
      const tail = left.subarray(2_048);
      assert.ok(
        tail.every((byte) => byte === 0 || byte === 2),
        `seed ${seed}`,
      );
      const twos = tail.reduce((count, byte) => count + (byte === 2 ? 1 : 0), 0);
      const prefix = tail.indexOf(0) < 0 ? tail.length : tail.indexOf(0);
      if (tail.length === 0) seen.add("nothing");
      else if (twos === 2_048) seen.add("all");
      else if (twos === 0) seen.add("zeros");
      else if (prefix === twos && twos % 512 === 0) seen.add("torn at a sector");
      else if (prefix === twos) seen.add("torn anywhere");
      else seen.add("sectors in another order");
    });
  }
  assert.deepEqual([...seen].toSorted(), [
    "all",
    "nothing",
    "sectors in another order",
    "torn anywhere",
    "torn at a sector",
    "zeros",
  ]);
});

test("a name is durable after syncDirectory alone, whatever happened to the content", async () => {
  const lost = new Set<boolean>();
  for (let seed = 0; seed < 40; seed += 1) {
    await world(seed, async (machine, simulator) => {
      const { disk } = machine.env;
      await simulator.run(
        (async () => {
          await disk.makeDirectory("d");
          await disk.syncDirectory("");
          const kept = await disk.open("d/kept", "write", { durable: true });
          await kept.write([fill(3, 1)], 0);
          await disk.syncDirectory("d");
          const file = await disk.open("d/new", "write", { durable: true });
          await file.write([fill(3, 1)], 0);
          await disk.syncDirectory("");
        })(),
      );
      machine.crash();
      assert.deepEqual(machine.disk.contents("d/kept"), fill(3, 1));
      lost.add(machine.disk.contents("d/new") === undefined);
    });
  }
  assert.equal(lost.size, 2, "a name that was not synced is sometimes kept and sometimes lost");
});

test("a renaming in one directory is atomic, between two directories the file is never nowhere", async () => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 80; seed += 1) {
    await world(seed, async (machine, simulator) => {
      const { disk } = machine.env;
      await simulator.run(
        (async () => {
          await disk.makeDirectory("x");
          await disk.makeDirectory("y");
          await disk.syncDirectory("");
          for (const path of ["x/a", "x/old", "x/b"]) {
            const file = await disk.open(path, "write", { durable: true });
            await file.write([fill(1, path.charCodeAt(2))], 0);
          }
          await disk.syncDirectory("x");
          await disk.rename("x/a", "x/old");
          await disk.rename("x/b", "y/b");
        })(),
      );
      machine.crash();
      const renamed = machine.disk.contents("x/old")?.[0];
      assert.equal(machine.disk.contents("x/a") === undefined, renamed === "a".charCodeAt(0), `seed ${seed}`);
      const places = ["x/b", "y/b"].filter((path) => machine.disk.contents(path) !== undefined);
      assert.ok(places.length > 0, `seed ${seed}: the file is nowhere`);
      outcomes.add(`${String(renamed)} ${places.join(" ")}`);
    });
  }
  assert.ok(outcomes.size >= 5, `only ${[...outcomes].join(", ")}`);
});

test("a name that was changed twice reaches the platter in order: the file has exactly one name", async () => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 60; seed += 1) {
    await world(seed, async (machine, simulator) => {
      const { disk } = machine.env;
      await simulator.run(durableFile(machine.env, 1));
      await simulator.run(disk.rename("f", "g"));
      await simulator.run(disk.rename("g", "h"));
      machine.crash();
      assert.equal(machine.disk.files().length, 1, `seed ${seed}: ${machine.disk.files().join()}`);
      outcomes.add(machine.disk.files().join());
    });
  }
  assert.deepEqual([...outcomes].toSorted(), ["f", "g", "h"]);
});

test("a killed process leaves what it wrote, no more durable than it was", async () => {
  await world(1, async (machine, simulator) => {
    const file = await simulator.run(durableFile(machine.env, 4, { durable: false }));
    await simulator.run(file.write([fill(4, 2)], 0));
    machine.kill();
    assert.deepEqual(machine.disk.contents("f"), fill(4, 2));
    const { disk } = machine.restart();
    await simulator.run(disk.open("f", "read").then((again) => again.read(0, 4)));
    machine.crash({ unsynced: "lost" });
    assert.deepEqual(machine.disk.contents("f"), fill(4, 1));
  });
});

test("after a failed sync, a second one that succeeds does not save what the first lost", async () => {
  await world(1, async (machine, simulator) => {
    const file = await simulator.run(durableFile(machine.env, 4, { durable: false }));
    await simulator.run(file.write([fill(4, 2)], 0));
    machine.disk.failOperation(machine.disk.operationCount + 1);
    await assert.rejects(simulator.run(file.sync()), is("unavailable"));
    await simulator.run(file.sync());
    machine.crash({ unsynced: "lost" });
    assert.deepEqual(machine.disk.contents("f"), fill(4, 1));
  });
});

test("a sync covers what was complete when it began, and no more", async () => {
  await world(1, async (machine, simulator) => {
    const file = await simulator.run(durableFile(machine.env, 4, { durable: false }));
    machine.disk.latency = { ...machine.disk.latency, writeMs: [5, 5], syncMs: [10, 10] };
    await simulator.run(Promise.all([file.write([fill(4, 2)], 0), file.sync()]));
    machine.crash({ unsynced: "lost" });
    assert.deepEqual(machine.disk.contents("f"), fill(4, 1));
  });
});

test("a full disk is exhausted, and has room again when something was removed", async () => {
  await world(1, async (machine, simulator) => {
    const { disk } = machine.env;
    machine.disk.capacity = 1_000;
    const file = await simulator.run(disk.open("f", "write"));
    await simulator.run(file.write([fill(800, 1)], 0));
    const other = await simulator.run(disk.open("g", "write"));
    await assert.rejects(simulator.run(other.write([fill(300, 1)], 0)), is("exhausted"));
    assert.ok((machine.disk.contents("g") as Uint8Array).length <= 200);
    await assert.rejects(simulator.run(other.truncate(500)), is("exhausted"));
    // What is there already may be written again.
    await simulator.run(file.write([fill(800, 2)], 0));
    await simulator.run(disk.remove("f"));
    await simulator.run(other.write([fill(300, 1)], 0));
  });
});

test("a read-only disk denies every change and leaves no part of one", async () => {
  await world(1, async (machine, simulator) => {
    const { disk } = machine.env;
    const file = await simulator.run(durableFile(machine.env, 4));
    machine.disk.readOnly = true;
    for (const change of [
      () => file.write([fill(4, 2)], 0),
      () => file.truncate(0),
      () => disk.open("f", "write"),
      () => disk.open("new", "write"),
      () => disk.makeDirectory("d"),
      () => disk.rename("f", "g"),
      () => disk.remove("f"),
      () => disk.lock(),
    ]) {
      await assert.rejects(simulator.run<unknown>(change()), is("denied"));
    }
    assert.deepEqual(machine.disk.contents("f"), fill(4, 1));
    assert.deepEqual(machine.disk.files(), ["f"]);
    await simulator.run(disk.open("f", "read"));
  });
});

test("a flipped bit shows now and after a crash", async () => {
  await world(1, async (machine, simulator) => {
    const file = await simulator.run(durableFile(machine.env, 4));
    machine.disk.flipBit("f", 8 * 2 + 7);
    assert.deepEqual([...(await simulator.run(file.read(0, 4)))], [1, 1, 0x81, 1]);
    machine.crash();
    assert.deepEqual([...(machine.disk.contents("f") ?? [])], [1, 1, 0x81, 1]);
    machine.disk.flipBit("f");
    assert.throws(() => machine.disk.flipBit("nowhere"), { name: "AssertionError" });
  });
});

test("a failed write leaves an unknown part; a hook sees every phase and can fail or crash", async () => {
  await world(1, async (machine, simulator) => {
    const file = await simulator.run(durableFile(machine.env, 4));
    const seen: DiskOperation[] = [];
    machine.disk.hook = (operation) => {
      seen.push(operation);
      if (operation.kind === "write" && operation.phase === "issued") return new HoldfastError("unavailable", "broken");
      return undefined;
    };
    await assert.rejects(simulator.run(file.write([fill(4, 2)], 4)), is("unavailable"));
    await simulator.run(file.read(0, 1));
    const read = { kind: "read", changes: false };
    const write = { kind: "write", changes: true };
    assert.deepEqual(
      seen.map(({ kind, changes, phase }) => ({ kind, changes, phase })),
      [
        ...["before", "issued", "done"].map((phase) => ({ ...write, phase })),
        ...["before", "issued", "done"].map((phase) => ({ ...read, phase })),
      ],
    );
    assert.equal(seen[0]?.changeNumber, machine.disk.changeCount);
    const left = machine.disk.contents("f") as Uint8Array;
    assert.ok(left.length >= 4 && left.length <= 8);
  });
});

test("nothing of a dead incarnation goes on, and its calls never settle", async () => {
  await world(1, async (machine, simulator) => {
    const { env } = machine;
    const file = await simulator.run(durableFile(env, 4));
    let settled = false;
    const note = () => (settled = true);
    file.write([fill(4, 9)], 4).then(note, note);
    machine.crash({ unsynced: "lost" });
    file.write([fill(4, 9)], 8).then(note, note);
    env.disk.open("other", "write").then(note, note);
    env.disk.lock().then(note, note);
    env.clock.schedule(0, note);
    machine.restart();
    await simulator.advance(1_000);
    assert.equal(settled, false);
    assert.deepEqual(machine.disk.contents("f"), fill(4, 1));
    // The lock of a dead process is free.
    await simulator.run(machine.env.disk.lock());
  });
});

test("random changes and crashes against a model: synced bytes are there, others are old, new or zero", async () => {
  for (let seed = 0; seed < 25; seed += 1) {
    await world(seed, async (machine, simulator) => {
      const size = 4_096;
      const { random } = simulator;
      await simulator.run(durableFile(machine.env, size, { durable: false }));
      // For each byte, the values that it may have after a crash; the last one is what programs see.
      let possible = Array.from({ length: size }, () => [1]);
      for (let life = 0; life < 4; life += 1) {
        const file = await simulator.run(machine.env.disk.open("f", "write", { durable: random.chance(0.3) }));
        for (let step = 0; step < 12; step += 1) {
          const offset = random.below(size - 1);
          const length = 1 + random.below(Math.min(1_500, size - offset));
          const byte = 2 + random.below(200);
          await simulator.run(file.write([fill(length, byte)], offset));
          for (let at = offset; at < offset + length; at += 1) possible[at]?.push(byte);
          if (random.chance(0.2)) {
            await simulator.run(file.sync());
            possible = possible.map((values) => values.slice(-1));
          }
        }
        const fate = random.pick<UnsyncedFate>(["random", "lost", "kept"]);
        machine.crash({ unsynced: fate });
        const left = machine.disk.contents("f") as Uint8Array;
        assert.equal(left.length, size);
        left.forEach((byte, at) => {
          const values = possible[at] as number[];
          assert.ok(values.includes(byte), `seed ${seed}: byte ${at} is ${byte}, not one of ${values.join()}`);
          if (fate === "kept") assert.equal(byte, values.at(-1), `seed ${seed}`);
        });
        possible = Array.from(left, (byte) => [byte]);
        machine.restart();
      }
    });
  }
});
