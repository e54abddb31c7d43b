/**
 * The journal under crashes and damage: a workload is cut at every change of the disk, and bits are flipped in what it
 * left behind.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import { HoldfastError, position, readUint32LE, writeUint32LE } from "../base/index.ts";
import { NodeDigest, nextTurn } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { FileEngine, verifyJournal } from "./index.ts";

const small = { segmentSizeMin: 2_048, segmentSizeMax: 8_192 };
const digest = new NodeDigest();

/** Record number `index`: its number, then bytes that follow from it. */
function makeRecord(index: number, random: Prng): Uint8Array {
  const bytes = new Uint8Array(4 + random.between([0, 900])).fill(index);
  writeUint32LE(bytes, 0, index + 1);
  return bytes;
}

interface Progress {
  submitted: number;
  acknowledged: number;
  trimmed: number;
}

async function workload(machine: Machine, seed: string, count: number, progress: Progress): Promise<void> {
  const random = new Prng(`workload ${seed}`);
  const engine = await FileEngine.open(machine.env, "log", small);
  for (let round = 0; progress.submitted < count; round++) {
    const appends: Promise<unknown>[] = [];
    for (let size = random.between([1, 4]); size > 0; size--) {
      const index = progress.submitted++;
      const append = engine.append([makeRecord(index, new Prng(`${seed} ${index}`))]).then((outcome) => {
        assert.deepEqual(outcome, { ok: true, position: index });
        progress.acknowledged = index + 1;
      });
      appends.push(append);
    }
    await Promise.all(appends);
    if (round % 5 === 4) progress.trimmed = await engine.trim(position(Math.max(0, progress.acknowledged - 6)));
  }
  await engine.close();
}

async function check(machine: Machine, seed: string, progress: Progress): Promise<void> {
  const engine = await FileEngine.open(machine.env, "log", small);
  const tail = await engine.tail();
  const start = engine.start();
  assert.ok(tail >= progress.acknowledged, `${progress.acknowledged} were acknowledged, ${tail} are there`);
  assert.ok(tail <= progress.submitted, `${progress.submitted} were submitted, ${tail} are there`);
  let next: number = start;
  if (next < tail) {
    for await (const batch of engine.read(start)) {
      for (const bytes of batch.records) {
        assert.deepEqual(bytes, makeRecord(next, new Prng(`${seed} ${next}`)), `record ${next}`);
        next++;
      }
      if (next === tail) break;
    }
  }
  assert.deepEqual(await engine.append([new Uint8Array([1])]), { ok: true, position: tail });
  for await (const { damages } of engine.verify()) assert.deepEqual(damages, []);
  await engine.close();
}

it("keeps every acknowledged record when it is cut at any change of the disk", async () => {
  let cuts = 0;
  for (const seed of ["a", "b", "c"]) {
    let changes = Number.POSITIVE_INFINITY;
    for (let cut = 0; cut <= 2 * changes; cut++) {
      const simulator = new Simulator({ seed: `${seed} ${cut}`, drain: nextTurn, digest });
      const machine = simulator.machine("a");
      const progress: Progress = { submitted: 0, acknowledged: 0, trimmed: 0 };
      let seen = 0;
      machine.disk.hook = ({ changes: isChange }) => {
        if (!isChange) return;
        seen += 1;
        if (seen === cut) machine.crash();
      };
      const running = workload(machine, seed, 40, progress);
      if (cut === 0) {
        // The whole workload, to know where it can be cut: at the beginning and at the end of every change.
        await simulator.run(running);
        changes = Math.ceil(seen / 2);
        machine.crash({ unsynced: "lost" });
      } else {
        let over = false;
        running.then(
          () => (over = true),
          (error: unknown) => assert.fail(`seed ${seed}, cut ${cut}: ${String(error)}`),
        );
        await simulator.run(() => over || !machine.alive);
        if (machine.alive) machine.crash();
      }
      machine.disk.hook = undefined;
      machine.restart();
      try {
        await simulator.run(check(machine, seed, progress));
      } catch (error) {
        throw new Error(`seed ${seed}, cut ${cut}: ${(error as Error).message}`, { cause: error });
      }
      cuts += 1;
    }
  }
  console.log(`journal: ${cuts} cuts tried`);
  assert.ok(cuts > 300);
});

it("finds every flipped bit, names file and offset, and never serves it", async () => {
  const simulator = new Simulator({ seed: "damage", drain: nextTurn, digest });
  const machine = simulator.machine("a");
  const progress: Progress = { submitted: 0, acknowledged: 0, trimmed: 0 };
  await simulator.run(workload(machine, "damage", 120, progress));
  const names = await simulator.run(machine.env.disk.list("log"));
  const files: { path: string; size: number }[] = [];
  for (const name of names) {
    const file = await simulator.run(machine.env.disk.open(`log/${name}`, "read"));
    files.push({ path: `log/${name}`, size: await simulator.run(file.size()) });
    await simulator.run(file.close());
  }
  const random = new Prng("flips");
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const found = { refused: 0, reported: 0, harmless: 0 };
  for (let flip = 0; flip < 1_000; flip++) {
    let place = random.between([0, total - 1]);
    const { path } = files.find(({ size }) => (place < size ? true : ((place -= size), false))) as { path: string };
    const bit = 8 * place + random.between([0, 7]);
    const outcome = await simulator.run(tryFlip(machine, path, bit, progress));
    found[outcome] += 1;
  }
  console.log(`journal: 1,000 flipped bits: ${JSON.stringify(found)}`);
  assert.ok(found.refused > 0 && found.reported > 0);
});

/** Flips a bit, looks at what verify, opening and reading make of it, and puts everything back. */
async function tryFlip(
  machine: Machine,
  path: string,
  bit: number,
  progress: Progress,
): Promise<"refused" | "reported" | "harmless"> {
  const { env, disk } = machine;
  const saved = await saveFiles(machine);
  disk.flipBit(path, bit);
  const damages: string[] = [];
  for await (const report of verifyJournal(env, "log")) damages.push(...report.damages);
  let refused = false;
  try {
    const engine = await FileEngine.open(env, "log", small);
    const tail = await engine.tail();
    // Nothing acknowledged is missing without a word, and nothing that is served is wrong.
    assert.equal(tail, progress.acknowledged, `bit ${bit} of ${path} cut the tail`);
    try {
      for await (const batch of engine.read(engine.start())) {
        batch.records.forEach((bytes, index) => {
          assert.equal(readUint32LE(bytes, 0), batch.position + index + 1);
          assert.deepEqual(bytes, makeRecord(batch.position + index, new Prng(`damage ${batch.position + index}`)));
        });
        if (batch.position + batch.records.length === tail) break;
      }
    } finally {
      await engine.close();
    }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    assert.equal(error.code, "corrupt");
    assert.match(error.message, /journal file log\/\d+\.log is damaged at offset \d+/);
    refused = true;
  }
  await restoreFiles(machine, saved);
  if (refused) {
    assert.ok(
      damages.some((text) => text.includes(path)),
      `verify does not name ${path}: ${damages.join("; ")}`,
    );
    return "refused";
  }
  return damages.length > 0 ? "reported" : "harmless";
}

async function saveFiles({ env }: Machine): Promise<Map<string, Uint8Array>> {
  const saved = new Map<string, Uint8Array>();
  for (const name of await env.disk.list("log")) {
    const file = await env.disk.open(`log/${name}`, "read");
    saved.set(`log/${name}`, await file.read(0, await file.size()));
    await file.close();
  }
  return saved;
}

async function restoreFiles({ env }: Machine, saved: Map<string, Uint8Array>): Promise<void> {
  for (const name of await env.disk.list("log")) {
    if (!saved.has(`log/${name}`)) await env.disk.remove(`log/${name}`);
  }
  for (const [path, bytes] of saved) {
    const file = await env.disk.open(path, "write");
    await file.write([bytes], 0);
    await file.close();
  }
}
