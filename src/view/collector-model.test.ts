/**
 * Collections while everything else happens: after each, and after each crash, every file that any state names can be read
 * as a whole; at the end the stores hold what is needed and nothing else.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { crashEverywhere, Prng } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import {
  bucket,
  exactlyReachable,
  FileWorld,
  randomContent,
  remove,
  scene,
  settle,
  text,
  unlessBusy,
} from "./collector.suite.ts";
import type { TestContent } from "./collector.suite.ts";
import { scale } from "./fixture.suite.ts";

/** What outlives the machine. */
interface Clients {
  lease: bigint;
  /** Uploads whose chunks are durable, and that no file names yet. */
  readonly uploaded: { readonly lease: bigint; readonly content: TestContent }[];
  snapshot: number;
}

function newClients(): Clients {
  return { lease: 0n, uploaded: [], snapshot: 0 };
}

const sweepAll = { case: "sweep", value: { limit: 50, bucket: "b" } } as const;

/** One client: a few steps, each of which lets others have their turn. Refusals are as good as successes. */
async function clientStep(world: FileWorld, dice: Prng, clients: Clients, machine: Machine): Promise<void> {
  const { env } = world;
  const path = `f${dice.below(5)}`;
  const kind = dice.below(16);
  if (kind < 5) {
    const lease = ++clients.lease;
    const content = randomContent(env, dice);
    await world.beginUpload(lease);
    await world.upload(content);
    const upload = { lease, content };
    clients.uploaded.push(upload);
    // Now and then somebody else puts it, or nobody.
    if (dice.chance(0.15)) return;
    clients.uploaded.splice(clients.uploaded.indexOf(upload), 1);
    await world.propose(world.put("b", path, content, lease));
    if (dice.chance(0.95)) await world.propose(world.revoke(lease));
  } else if (kind === 5) {
    const upload = clients.uploaded.splice(0, 1)[0];
    if (upload === undefined) return;
    if (dice.chance(0.7)) await world.propose(world.put("b", path, upload.content, upload.lease));
    await world.propose(world.revoke(upload.lease));
  } else if (kind < 8) await remove(world, path);
  else if (kind === 8) {
    const value = {
      fromBucket: "b",
      from: text(path),
      toBucket: "b",
      to: text(`f${dice.below(5)}`),
      move: dice.chance(0.5),
    };
    await world.propose(world.file({ case: "copy", value }));
  } else if (kind < 11) {
    machine.wall.offsetMs = dice.pick([-86_400_000, 0, 0, 86_400_000]);
    await world.propose(world.file(sweepAll));
  } else if (kind === 11) {
    // The names of few, so that they come and go.
    clients.snapshot = 4;
    await world.propose(world.snapshot({ case: "create", value: { name: `s${dice.below(4)}` } }));
  } else if (kind === 12) {
    const name = `s${dice.below(clients.snapshot + 1)}`;
    const value = { snapshots: [{ name, revision: 0, lenient: true }] };
    await world.propose(world.snapshot({ case: "delete", value }));
  } else if (kind < 15) await world.replica.checkpoint();
  else {
    const state = world.replica.snapshot();
    for (let wait = dice.below(20); wait > 0; wait--) await world.replica.linearize();
    state.release();
  }
}

async function everythingIsWhole(world: FileWorld, when: string): Promise<void> {
  const { missing } = await world.neededChunks();
  assert.deepEqual(missing, [], when);
}

async function live(world: FileWorld, dice: Prng, clients: Clients, machine: Machine): Promise<void> {
  await bucket(world, { keepMs: 3_600_000, keepCountMax: 1 });
  // Of an upload that a crash has cut off, nobody goes on.
  const lasting = new Set(clients.uploaded.map(({ lease }) => lease));
  for (let lease = 1n; lease <= clients.lease; lease++) {
    if (!lasting.has(lease)) await world.propose(world.revoke(lease));
  }
  const busy = { count: 3 };
  const client = async (steps: number) => {
    for (let step = 0; step < steps; step++) await clientStep(world, dice, clients, machine);
    busy.count--;
  };
  const collecting = async () => {
    for (let round = 0; busy.count > 0; round++) {
      await sleep(world.env.clock, dice.below(30));
      const done = await world.collect({ dryRun: dice.chance(0.1) }).catch((error: unknown) => {
        unlessBusy(error);
        return undefined;
      });
      if (done !== undefined) assert.equal(done.missingCount, 0, "nothing is missing");
      await everythingIsWhole(world, `after collection ${round}`);
    }
  };
  await Promise.all([client(25), client(25), client(25), collecting()]);
}

/** Ends what is under way; then what is here is what is needed. */
async function quiet(world: FileWorld, clients: Clients): Promise<void> {
  for (let lease = 1n; lease <= clients.lease; lease++) await world.propose(world.revoke(lease));
  clients.uploaded.length = 0;
  await world.replica.checkpoint();
  const state = world.replica.snapshot();
  const names: string[] = [];
  for await (const batch of state.tree.entries({ start: new Uint8Array([19]), end: new Uint8Array([20]) })) {
    for (const { key } of batch) names.push(new TextDecoder().decode(key.subarray(2)));
  }
  state.release();
  // Those that are not sealed need a checkpoint of their own, which no other is compared with here.
  for (const name of names) {
    await world.propose(
      world.snapshot({ case: "delete", value: { snapshots: [{ name, revision: 0, lenient: true }] } }),
    );
  }
  await settle(world);
  await world.collect();
  await exactlyReachable(world);
}

async function interleave(seed: string): Promise<void> {
  const { simulator, machine, world: first } = await scene(seed);
  const run = <T>(promise: Promise<T>) => simulator.run(promise);
  const dice = new Prng(seed);
  const clients = newClients();
  let world = first;
  for (let life = 0; life < 3; life++) {
    const lived = live(world, dice, clients, machine);
    lived.catch(() => {});
    if (life < 2) {
      // Somewhere in the middle.
      let over = false;
      lived.then(
        () => (over = true),
        () => (over = true),
      );
      const end = simulator.eventCount + 200 + dice.below(4_000);
      await simulator.run(() => over || simulator.eventCount >= end);
      if (over) await lived;
      machine.crash();
      world = await run(FileWorld.open(machine.restart()));
      await run(everythingIsWhole(world, `after crash ${life}`));
    } else await run(lived);
  }
  await run(everythingIsWhole(world, "at the end"));
  await run(quiet(world, clients));
  await run(world.close());
}

test("uploads, puts, copies, sweeps, snapshots, checkpoints, crashes and collections in any order lose nothing", async () => {
  for (let index = 0; index < 5 * scale; index++) {
    const seed = `collector ${index}`;
    try {
      await interleave(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof HoldfastError ? error.code : ""} ${String(error)}`, {
        cause: error,
      });
    }
  }
});

test("a crash at any change of a collection loses nothing that is needed, and the next leaves nothing else", async () => {
  const campaign = { seed: "collect and crash", drain: nextTurn, digest: new NodeDigest(), recoveryCrashes: true };
  const how = { moments: ["during", "after"], unsynced: ["random"], stride: 3 } as const;
  const { changeCount } = await crashEverywhere<Clients>(
    { ...campaign, ...how },
    {
      start: newClients,
      run: async (env, notes, machine) => {
        const world = await FileWorld.open(env);
        const dice = new Prng("collect and crash");
        await bucket(world, { keepMs: 3_600_000, keepCountMax: 1 });
        for (let round = 0; round < 3; round++) {
          for (let step = 0; step < 6; step++) await clientStep(world, dice, notes, machine);
          await world.replica.checkpoint();
          await world.collect();
        }
        await world.close();
      },
      check: async (env, notes) => {
        const world = await FileWorld.open(env);
        await everythingIsWhole(world, "after the crash");
        for (const { lease, content } of notes.uploaded)
          await world.propose(world.put("b", `late ${lease}`, content, lease));
        await everythingIsWhole(world, "when what was uploaded is put");
        await quiet(world, { ...notes, uploaded: [] });
        await world.close();
      },
    },
  );
  assert.ok(changeCount > 30, `${changeCount} changes`);
});
