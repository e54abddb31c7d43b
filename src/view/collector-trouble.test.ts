/** Collections in trouble: full disks, logs that are not trimmed, jobs before them, failures, stores at rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, HoldfastError, toHex } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { bucket, chunkContent, exactlyReachable, listContent, remove, scene, settle, text } from "./collector.suite.ts";
import type { FileWorld } from "./collector.suite.ts";
import { Collector } from "./collector.ts";
import type { CollectorParts } from "./collector.ts";

const keepNothing = { keepMs: 0, keepCountMax: 0 };
const hour = 3_600_000;
const noSpace = () => Promise.reject(new HoldfastError("exhausted", "the disk is full"));

/** The world's replica with some of it replaced. */
function replicaOf(world: FileWorld, other: Partial<CollectorParts["replica"]>): CollectorParts["replica"] {
  const { replica } = world;
  return {
    get applied() {
      return replica.applied;
    },
    get leftCount() {
      return replica.leftCount;
    },
    get revision() {
      return replica.revision;
    },
    beginCollection: (stores) => replica.beginCollection(stores),
    checkpoint: () => replica.checkpoint(),
    linearize: (signal) => replica.linearize(signal),
    propose: (...command) => replica.propose(...command),
    snapshot: () => replica.snapshot(),
    ...other,
  };
}

test("closing ends at once when the log cannot be trimmed, with a checkpoint and a collection under way", async () => {
  for (const replicaFirst of [false, true]) {
    const { world, run, simulator } = await scene("stuck trim");
    world.log.trim = () => new Promise(() => {});
    for (let count = 0; count < 3; count++) {
      await run(world.propose(world.key("a", String(count))));
      await run(world.replica.checkpoint());
    }
    await run(world.propose(world.key("a", "b")));
    const checkpoint = world.replica.checkpoint().catch(() => {});
    const collecting = world.collect().catch(() => {});
    const startedMs = simulator.nowMs;
    if (replicaFirst) await run(world.replica.close());
    await run(world.collector.close());
    await run(world.replica.close());
    assert.ok(simulator.nowMs - startedMs <= 1_000, `took ${String(simulator.nowMs - startedMs)} ms`);
    await run(checkpoint);
    await run(collecting);
    await run(world.close());
  }
});

test("who leaves waits neither for the checkpoint nor for the collection before it; what begins late is released", async () => {
  const { world, run, env, simulator } = await scene("leave");
  const gate = deferred<void>();
  const beginning: ReturnType<typeof world.replica.beginCollection>[] = [];
  const replica = replicaOf(world, {
    beginCollection: (stores) => {
      const start = gate.promise.then(() => world.replica.beginCollection(stores));
      beginning.push(start);
      return start;
    },
  });
  const { pages, chunks } = world;
  const collector = new Collector(env, { replica, pages, chunks }, { startMs: Number.POSITIVE_INFINITY });
  const leave = [new AbortController(), new AbortController()];
  const ends = leave.map(({ signal }) =>
    assert.rejects(
      (async () => {
        for await (const _ of collector.collect({ signal }));
      })(),
      { code: "cancelled" },
    ),
  );
  await simulator.advance(100);
  assert.equal(beginning.length, 1, "one after another");
  leave[1]?.abort();
  await run(ends[1] as Promise<void>);
  leave[0]?.abort();
  await run(ends[0] as Promise<void>);
  gate.resolve();
  const late = await run(beginning[0] as Promise<{ mayDelete(): boolean } | undefined>);
  await simulator.advance(1);
  assert.equal(late?.mayDelete(), false);
  await run(world.collect());
  await run(collector.close());
  await run(world.close());
});

test("a full disk is swept in both stores, and has space again", async () => {
  const { world, run, env, machine } = await scene("full");
  const dice = new Prng("full");
  await run(bucket(world, keepNothing));
  const count = 30;
  for (let index = 0; index < count; index++) {
    await run(world.putFile("b", `f${index}`, chunkContent(env, dice.bytes(20_000)), BigInt(index + 1)));
  }
  await run(settle(world));
  await run(world.propose(world.snapshot({ case: "create", value: { name: "s" } })));
  await run(settle(world));
  for (let index = 1; index < count; index++) await run(remove(world, `f${index}`));
  const deletion = { case: "delete", value: { snapshots: [{ name: "s", revision: 0, lenient: false }] } } as const;
  await run(world.propose(world.snapshot(deletion)));
  await run(settle(world));
  const full = machine.disk.usedSize;
  machine.disk.capacity = full;
  const { pages, chunks } = await run(world.collect());
  assert.ok(pages.sweptCount > 0);
  assert.equal(chunks.sweptCount, count - 1);
  assert.equal((await run(world.chunksHere())).size, 1);
  await run(new Promise<void>((resolve) => env.clock.schedule(60_000, resolve)));
  assert.ok(machine.disk.usedSize < full / 2, `${machine.disk.usedSize} of ${full} bytes are used`);
  await run(world.propose(world.key("there is", "space")));
  await run(world.replica.checkpoint());
  await run(world.collect());
  await run(exactlyReachable(world));
  await run(world.close());
});

test("a snapshot that has no space for its state keeps its chunks, and holds up no collection", async () => {
  const { world, run, env } = await scene("frozen");
  await run(bucket(world, keepNothing));
  const kept = listContent(env, [
    chunkContent(env, text("of the snapshot")),
    chunkContent(env, text("its other half")),
  ]);
  await run(world.putFile("b", "kept", kept, 1n));
  await run(world.upload(chunkContent(env, text("garbage"))));
  await run(settle(world));
  const put = world.pages.put.bind(world.pages);
  world.pages.put = noSpace;
  // What is deleted in memory only is in no checkpoint, nor is the snapshot.
  const later = chunkContent(env, text("put and deleted again"));
  await run(world.putFile("b", "later", later, 2n));
  await run(world.propose(world.snapshot({ case: "create", value: { name: "s" } })));
  await run(remove(world, "kept"));
  await run(remove(world, "later"));
  const done = await run(world.collect());
  assert.deepEqual([done.chunks.sweptCount, done.kept, done.missingCount], [1, undefined, 0]);
  const here = await run(world.chunksHere());
  assert.deepEqual(here, new Set([...kept.blobs.keys(), ...later.blobs.keys()]));
  world.pages.put = put;
  await run(settle(world));
  await run(world.collect());
  assert.deepEqual(await run(world.chunksHere()), here);
  await run(exactlyReachable(world));
  await run(world.close());
});

test("a store at rest is freed of all that can go, by itself and when asked, and left alone then", async () => {
  for (const asked of [false, true]) {
    const { world, run, env, simulator } = await scene("rest");
    await run(bucket(world, keepNothing));
    await run(world.putFile("b", "file", chunkContent(env, text("file")), 1n));
    await run(settle(world));
    const { replica, pages, chunks } = world;
    const collector = new Collector(env, { replica, pages, chunks });
    await simulator.advance(hour);
    await run(remove(world, "file"));
    if (asked) {
      await run(world.collect());
    } else {
      // The first attempt finds no space for a checkpoint.
      const put = pages.put.bind(pages);
      pages.put = noSpace;
      await simulator.advance(hour / 4);
      assert.equal((await run(world.chunksHere())).size, 1);
      pages.put = put;
      await simulator.advance(hour / 4);
    }
    assert.equal((await run(world.chunksHere())).size, 0);
    await run(exactlyReachable(world));
    await simulator.advance(hour);
    const { applied } = replica;
    await simulator.advance(24 * hour);
    assert.equal(replica.applied, applied);
    await run(collector.close());
    await run(world.close());
  }
});

test("versions that are forgotten without a new revision are freed, by itself and when asked", async () => {
  for (const asked of [false, true]) {
    const { world, run, env, simulator } = await scene("forgotten");
    await run(bucket(world, { keepMs: hour, keepCountMax: 1 }));
    // The second one's version goes by count, and the bucket's history then begins behind the version of the first one.
    await run(world.putFile("b", "one", chunkContent(env, text("one")), 1n));
    await run(world.putFile("b", "two", chunkContent(env, text("two")), 2n));
    await run(remove(world, "one"));
    for (const [index, value] of ["2", "22", "222"].entries()) {
      await run(world.putFile("b", "two", chunkContent(env, text(value)), BigInt(3 + index)));
    }
    const { replica, pages, chunks } = world;
    const collector = new Collector(
      env,
      { replica, pages, chunks },
      asked ? { startMs: Number.POSITIVE_INFINITY } : {},
    );
    await simulator.advance(hour * 2);
    if (asked) await run(world.collect());
    const [before, { revision }] = [await run(world.chunksHere()), replica];
    const outcome = await run(world.propose(world.file({ case: "sweep", value: { limit: 100, bucket: "b" } })));
    assert.ok(outcome.ok);
    assert.equal(replica.revision, revision);
    if (asked) await run(world.collect());
    else await simulator.advance(hour);
    const left = await run(world.chunksHere());
    assert.deepEqual([before.size, left.size], [3, 1]);
    await run(exactlyReachable(world));
    await run(collector.close());
    await run(world.close());
  }
});

test("a first collection that takes long and fails is not begun again and again", async () => {
  const { world, run, env, simulator } = await scene("fails");
  let count = 0;
  const replica = replicaOf(world, {
    beginCollection: async () => {
      count++;
      await new Promise<void>((resolve) => env.clock.schedule(600_000, resolve));
      throw new HoldfastError("corrupt", "a page is damaged");
    },
  });
  const { pages, chunks } = world;
  const collector = new Collector(env, { replica, pages, chunks });
  await simulator.advance(24 * hour);
  assert.ok(count >= 6 && count <= 8, `${String(count)} times ten minutes in a day`);
  await run(collector.close());
  await run(world.close());
});

test("collecting writes nothing to a log where nothing was forgotten", async () => {
  const { world, run, env } = await scene("nothing");
  await run(world.putFile("b", "file", chunkContent(env, text("file")), 1n));
  await run(world.collect());
  const { applied, lastCheckpoint } = world.replica;
  await run(world.collect());
  await run(world.collect({ dryRun: true }));
  assert.equal(world.replica.applied, applied);
  assert.equal(toHex(world.replica.lastCheckpoint.rootHash), toHex(lastCheckpoint.rootHash));
  await run(world.close());
});

test("a snapshot that nobody has said the state of keeps all chunks, and the log says once what to do", async () => {
  const { world, run, env } = await scene("unknown");
  await run(world.upload(chunkContent(env, text("garbage"))));
  await run(world.propose(world.snapshot({ case: "create", value: { name: "lost" } })));
  const { position } = await run(world.replica.checkpoint());
  // As on a member that has taken over a later state, and was not there when the snapshot was taken.
  let isHere = false;
  const replica = replicaOf(world, {
    beginCollection: async (stores) => {
      const start = await world.replica.beginCollection(stores);
      if (start === undefined) return undefined;
      const { frozen, older, partial, state, epochs, signal } = start;
      return {
        frozen,
        older,
        partial,
        state,
        epochs,
        signal,
        roots: start.roots.map((root) => (isHere || root.position !== position ? root : { ...root, position: -1 })),
        mayDelete: () => start.mayDelete(),
        swept: () => start.swept(),
        release: () => start.release(),
      };
    },
  });
  const warnings: string[] = [];
  const logger = {
    log: (level: string, message: string, fields?: object) => {
      if (level === "warn") warnings.push(`${message} ${JSON.stringify(fields)}`);
    },
  };
  const { pages, chunks } = world;
  const options = { startMs: Number.POSITIVE_INFINITY };
  const collector = new Collector({ clock: env.clock, logger }, { replica, pages, chunks }, options);
  const collect = async () => {
    let kept: string | undefined;
    for await (const progress of collector.collect()) ({ kept } = progress);
    return kept;
  };
  assert.match((await run(collect())) ?? "", /"lost".*delete it with `holdfast snapshot delete lost`/);
  await run(collect());
  assert.equal(warnings.length, 1, warnings.join("\n"));
  assert.equal((await run(world.chunksHere())).size, 1);
  isHere = true;
  assert.equal(await run(collect()), undefined);
  assert.equal((await run(world.chunksHere())).size, 0);
  isHere = false;
  await run(collect());
  assert.equal(warnings.length, 2, "anew");
  await run(collector.close());
  await run(world.close());
});
