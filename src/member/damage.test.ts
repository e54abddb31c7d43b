/**
 * Flipped bits anywhere in a store's directory: each is found, by file and offset, or repaired and logged, or provably
 * harmless; what it hit is never served as data.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { openStore } from "./index.ts";
import type { LocalStore, OpenOptions } from "./index.ts";
import { StoreNotes, StoreWorkload } from "./store-workload.suite.ts";

const options: OpenOptions = {
  segmentSizeMin: 4_096,
  segmentSizeMax: 8_192,
  packSizeMax: 8_192,
  checkpointLogSizeMin: Number.POSITIVE_INFINITY,
  historyRevisions: 0,
};

/** What a sound store answers. */
interface Expected {
  readonly revision: number;
  readonly tail: number;
  readonly keys: readonly string[];
  readonly log: readonly Uint8Array[];
  readonly checkpoint: string;
}

type Outcome = "refused" | "reported" | "repaired" | "harmless";

async function workload(env: Env, notes: StoreNotes): Promise<void> {
  const store = await openStore(env, options);
  const work = new StoreWorkload(env, store, new Prng("damage"), notes);
  const following = work.follow();
  for (let part = 0; part < 4; part += 1) {
    await work.run(6);
    await work.checkpoint();
  }
  await work.run(4);
  await store.close();
  await following;
}

async function keysAt(store: LocalStore, revision: number): Promise<string[]> {
  const keys: string[] = [];
  for await (const record of store.at(revision).keys.list()) {
    keys.push(`${record.key} ${record.revision} ${record.version} ${record.createRevision} ${record.text()}`);
  }
  return keys;
}

async function look(env: Env, notes: StoreNotes): Promise<Expected> {
  const store = await openStore(env, options);
  const { revision, logTail: tail } = await store.status();
  const checkpoint = JSON.stringify(store.replica.lastCheckpoint);
  const expected = { revision, tail, keys: await keysAt(store, revision), log: notes.log, checkpoint };
  await store.close();
  return expected;
}

/** Opens the store, verifies and reads everything. Whatever it is given must be right. */
async function inspect(env: Env, path: string, expected: Expected): Promise<Outcome> {
  const logged: string[] = [];
  const logger = {
    log(level: string, message: string, fields: object = {}) {
      if (level === "warn" || level === "error") logged.push(`${message} ${JSON.stringify(fields)}`);
    },
  };
  let store: LocalStore;
  try {
    store = await openStore({ ...env, logger }, options);
  } catch (error) {
    named(error, path);
    return "refused";
  }
  try {
    const { log } = expected;
    const damages: string[] = [];
    const served: [name: string, read: () => Promise<void>][] = [
      ["the keys", async () => assert.deepEqual(await keysAt(store, expected.revision), expected.keys)],
      [
        "the log",
        async () => {
          const { logStart, logTail } = await store.status();
          assert.ok(logTail >= expected.tail, `the log ends at ${logTail}, not ${expected.tail}`);
          for await (const { position, records } of store.readLog({ from: logStart })) {
            records.forEach((record, index) => {
              const known = log[position + index];
              if (known !== undefined) assert.deepEqual(record, known);
            });
          }
        },
      ],
      ["the log's verification", () => gather(store.verifyLog(), damages)],
      ["the blobs' verification", () => gather(store.verifyBlobs(), damages)],
      ["the tree's verification", () => gather(store.verifyTree(), damages)],
    ];
    const before = JSON.stringify(store.replica.lastCheckpoint);
    let failed = false;
    for (const [, read] of served) {
      try {
        await read();
      } catch (error) {
        named(error, path);
        failed = true;
      }
    }
    if (failed || damages.length > 0) {
      assert.ok(
        damages.some((text) => text.includes(path) && /offset \d+/.test(text)),
        `no verification names ${path} and an offset: ${damages.join("; ")}`,
      );
      return "reported";
    }
    if (logged.some((text) => text.includes(path))) return "repaired";
    assert.deepEqual(logged, [], "what was logged names the file");
    assert.equal(before, expected.checkpoint, "the checkpoint is the newest");
    return "harmless";
  } finally {
    await store.close();
  }
}

async function gather(reports: AsyncIterable<{ readonly damages: readonly string[] }>, into: string[]): Promise<void> {
  for await (const { damages } of reports) into.push(...damages);
}

/** An error about damage says where it is and what to do. */
function named(error: unknown, path: string): void {
  if (!(error instanceof HoldfastError)) throw error;
  assert.ok(error.code === "corrupt", `${error.code}: ${error.message}`);
  assert.ok(error.message.includes(path), `the message does not name ${path}: ${error.message}`);
  assert.match(error.message, /offset \d+/);
  assert.match(error.message, /restore|put it again/);
}

/** All files as they are now. */
function save({ disk }: Machine): Map<string, Uint8Array> {
  return new Map(disk.files().map((path) => [path, disk.contents(path) as Uint8Array]));
}

async function restore({ disk, env }: Machine, saved: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const path of disk.files()) if (!saved.has(path)) await env.disk.remove(path);
  for (const [path, bytes] of saved) {
    const now = disk.contents(path);
    if (now !== undefined && Buffer.compare(now, bytes) === 0) continue;
    const file = await env.disk.open(path, "write");
    await file.truncate(bytes.length);
    await file.write([bytes], 0);
    await file.close();
  }
}

test("a flipped bit anywhere is found and named, or harmless, and never served", async () => {
  const simulator = new Simulator({ seed: "damage", drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("a");
  const { disk, env } = machine;
  disk.latency = { readMs: [0, 0], writeMs: [0, 0], syncMs: [0, 0], nameMs: [0, 0] };
  const notes = new StoreNotes();
  await simulator.run(workload(env, notes));
  const saved = save(machine);
  const paths = [...saved.keys()];
  for (const kind of [/^log\//, /\.pack$/, /\.index$/, /^checkpoints\//])
    assert.ok(paths.some((path) => kind.test(path)));
  const expected = await simulator.run(look(env, notes));
  await simulator.run(restore(machine, saved));
  const random = new Prng("flips");
  const tally: Record<Outcome, number> = { refused: 0, reported: 0, repaired: 0, harmless: 0 };
  const flipCount = 1_000;
  for (let flip = 0; flip < flipCount; flip += 1) {
    // Small files as often as large ones.
    const path = random.pick(paths);
    const bit = random.below(8 * (saved.get(path) as Uint8Array).length);
    disk.flipBit(path, bit);
    try {
      tally[await simulator.run(inspect(env, path, expected))] += 1;
    } catch (error) {
      throw new Error(`bit ${bit} of ${path}: ${(error as Error).message}`, { cause: error });
    }
    await simulator.run(restore(machine, saved));
  }
  console.log(
    `store: ${flipCount.toLocaleString("en")} flipped bits in ${paths.length} files: ${JSON.stringify(tally)}`,
  );
  assert.ok(tally.refused > 0 && tally.reported > 0 && tally.repaired > 0);
});
