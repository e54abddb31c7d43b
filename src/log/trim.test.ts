/** Trimming the journal under readers and under a failing disk, and the room that every batch leaves for its fence. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { HoldfastError, position } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import { FileEngine, Journal, verifyJournal } from "./index.ts";
import type { LogBatch } from "./index.ts";

const small = { segmentSizeMin: 1_024, segmentSizeMax: 1_024 };

function simulate(seed: string): Simulator {
  return new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
}

/** A journal of some segments with several batches each; record number n is filled with n + 1. */
async function filled(env: Parameters<typeof Journal.open>[0], count: number): Promise<Journal> {
  const journal = await Journal.open(env, "log", small);
  for (let number = 0; number < count; number += 1) await journal.append([new Uint8Array(200).fill(number + 1)]);
  return journal;
}

it("tells a reader whose segments are trimmed that they are trimmed, not that they are damaged", async () => {
  let trimmedCount = 0;
  for (let seed = 0; seed < 60; seed += 1) {
    const simulator = simulate(`trim ${seed}`);
    const { env } = simulator.machine("a");
    const random = new Prng(`trim ${seed}`);
    await simulator.run(
      (async () => {
        const journal = await filled(env, 24);
        const turn = random.below(6);
        const before = position(4 + random.below(20));
        let next = 0;
        let trimming: Promise<unknown> = Promise.resolve();
        try {
          for await (const batch of journal.read(position(0))) {
            assert.equal(batch.position, next);
            next += batch.records.length;
            if (next !== turn + 1) continue;
            trimming = journal.trim(before);
            if (random.chance(0.5)) await trimming;
          }
          assert.equal(next, 24);
        } catch (error) {
          assert.ok(error instanceof HoldfastError && error.code === "trimmed", String(error));
          trimmedCount += 1;
        }
        await trimming;
        await journal.close();
      })(),
    );
  }
  assert.ok(trimmedCount > 0);
});

it("leaves no gap when a removal fails, and trims the next time", async () => {
  const simulator = simulate("removal");
  const { env, disk } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const journal = await filled(env, 24);
      for (const kind of ["remove", "syncDirectory"]) {
        const start = journal.start;
        disk.hook = (operation) =>
          operation.kind === kind && operation.phase === "before"
            ? new HoldfastError("unavailable", "the simulated disk fails here")
            : undefined;
        await assert.rejects(journal.trim(position(8)), { code: "unavailable" });
        assert.equal(journal.start, start);
        disk.hook = undefined;
      }
      assert.ok((await journal.trim(position(16))) > 8);
      await journal.close();
      const again = await Journal.open(env, "log", small);
      assert.equal(again.tail, 24);
      await again.close();
    })(),
  );
});

it("protects the last batch of a full segment by a fence, whatever its size", async () => {
  for (let size = 700; size < 1_000; size += 9) {
    const simulator = simulate(`fence ${size}`);
    const machine = simulator.machine("a");
    const { env, disk } = machine;
    await simulator.run(
      (async () => {
        const engine = await FileEngine.open(env, "log", small);
        await engine.append([new Uint8Array(size).fill(1)]);
        await engine.close();
        // The record's first byte, in whichever segment it is.
        const path = disk.files().find((file) => disk.contents(file)?.includes(1, 200) === true) as string;
        disk.flipBit(path, 8 * (disk.contents(path) as Uint8Array).indexOf(1, 200));
        await assert.rejects(FileEngine.open(env, "log", small), { code: "corrupt" }, `a record of ${size} bytes`);
        const damages: string[] = [];
        for await (const report of verifyJournal(env, "log")) damages.push(...report.damages);
        assert.match(damages.join(), new RegExp(`${path} is damaged at offset \\d+`));
      })(),
    );
  }
});

it("reads on from segment to segment while it is trimmed behind the reader", async () => {
  const simulator = simulate("follow");
  const { env } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const journal = await filled(env, 30);
      const batches: LogBatch[] = [];
      for await (const batch of journal.read(position(0))) {
        batches.push(batch);
        await journal.trim(position(batch.position));
      }
      assert.deepEqual(
        batches.flatMap(({ records }) => records.map(([byte]) => byte)),
        Array.from({ length: 30 }, (_, number) => number + 1),
      );
      await journal.close();
    })(),
  );
});
