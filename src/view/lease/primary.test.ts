/** Chores on several members: the primary alone does them, and no lease ends early when another becomes primary. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, position } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { MemoryBlobStore } from "../../blob/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { Simulator } from "../../sim/index.ts";
import type { Machine } from "../../sim/index.ts";
import { ClusterLog } from "../cluster-log.suite.ts";
import type { MemberLog } from "../cluster-log.suite.ts";
import { utf8 } from "../fixture.suite.ts";
import {
  Compactor,
  compactRevision,
  decodeCommand,
  LeaseKeeper,
  makeViews,
  MemoryCheckpoints,
  operation,
  Replica,
} from "../index.ts";
import type { StateSnapshot } from "../index.ts";
import { leaseKey, StoredLease } from "./lease-state.ts";

const views = makeViews();

/** A member with its chores. */
interface Side {
  readonly env: Env;
  readonly machine: Machine;
  readonly log: MemberLog;
  readonly blobs: MemoryBlobStore;
  readonly replica: Replica;
  readonly keeper: LeaseKeeper;
  readonly compactor: Compactor;
}

interface World {
  readonly simulator: Simulator;
  readonly cluster: ClusterLog;
  readonly a: Side;
  readonly b: Side;
  readonly run: <T>(promise: Promise<T>) => Promise<T>;
}

async function openSide(machine: Machine, cluster: ClusterLog, historyRevisions: number): Promise<Side> {
  const { env } = machine;
  const log = cluster.member();
  const blobs = new MemoryBlobStore(env);
  const parts = { log, blobs, checkpoints: new MemoryCheckpoints(), views: views.all, seed: new Uint8Array(16) };
  const replica = await Replica.open(env, parts);
  const keeper = await LeaseKeeper.start(env, replica, views.lease);
  const compactor = new Compactor(env, replica, views.key, historyRevisions);
  return { env, machine, log, blobs, replica, keeper, compactor };
}

/** Two members, the first of which is primary. */
async function openWorld(seed: string, historyRevisions = 0): Promise<World> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const run = <T>(promise: Promise<T>) => simulator.run(promise);
  const cluster = new ClusterLog();
  const a = await run(openSide(simulator.machine("a"), cluster, historyRevisions));
  const b = await run(openSide(simulator.machine("b"), cluster, historyRevisions));
  a.log.setPrimary(true);
  return { simulator, cluster, a, b, run };
}

async function closeWorld({ a, b, run }: World): Promise<void> {
  for (const { keeper, compactor, replica } of [a, b]) {
    await run(keeper.close());
    await run(compactor.close());
    await run(replica.close());
  }
}

const grant = (lease: bigint, ttlMs: number) =>
  operation(views.lease, { operation: { case: "grant", value: { lease, ttlMs } } });
const keepAlive = (lease: bigint) =>
  operation(views.lease, { operation: { case: "keepAlive", value: { leases: [lease] } } });
const put = (key: string, lease = 0n) =>
  operation(views.key, { operation: { case: "put", value: { key: utf8(key), value: utf8("x"), lease } } });

/** What the log says about leases, beside grants, in order. */
function leaseCommands({ records }: ClusterLog): string[] {
  const names: string[] = [];
  for (const record of records) {
    for (const { viewId, body } of decodeCommand(record).operations) {
      if (viewId !== views.lease.id) continue;
      const { operation: what } = views.lease.operation.decode(body);
      if (what?.case !== "grant") names.push(what?.case ?? "none");
    }
  }
  return names;
}

/** Hands the chores from one to the other. */
function handOver(from: Side, to: Side): void {
  from.log.setPrimary(false);
  to.log.setPrimary(true);
}

test("the primary alone ends leases, also those that were granted on another member", async () => {
  const world = await openWorld("alone");
  const { simulator, cluster, a, b, run } = world;
  await run(b.replica.propose([grant(1n, 2_000), put("k", 1n)]));
  assert.deepEqual([a.keeper.count, b.keeper.count], [1, 1]);
  await simulator.advance(1_900);
  assert.deepEqual(leaseCommands(cluster), []);
  await simulator.advance(200);
  assert.deepEqual(leaseCommands(cluster), ["expire"]);
  assert.deepEqual([a.keeper.count, b.keeper.count], [0, 0]);
  // Without a primary they stay.
  a.log.setPrimary(false);
  await run(b.replica.propose([grant(2n, 2_000)]));
  await simulator.advance(60_000);
  assert.deepEqual(leaseCommands(cluster), ["expire"]);
  await closeWorld(world);
});

test("who becomes primary gives every lease its full time again before it ends any", async () => {
  const world = await openWorld("again");
  const { simulator, cluster, a, b, run } = world;
  await run(a.replica.propose([grant(1n, 5_000)]));
  await run(a.replica.propose([grant(2n, 9_000)]));
  await simulator.advance(4_000);
  // For two seconds there is none, so that nobody could keep the lease alive.
  a.log.cutOff();
  a.log.setPrimary(false);
  await simulator.advance(2_000);
  // The other cannot reach anybody at first, and then hears that nobody knows what became of its command.
  b.log.cutOff();
  b.log.setPrimary(true);
  await simulator.advance(30_000);
  assert.deepEqual(leaseCommands(cluster), []);
  b.log.giveUp();
  await simulator.advance(500);
  b.log.heal();
  await simulator.advance(600);
  assert.deepEqual(leaseCommands(cluster), ["renewAll"]);
  await simulator.advance(4_800);
  assert.deepEqual(leaseCommands(cluster), ["renewAll"], "the first has 100 ms left");
  await run(b.replica.propose([keepAlive(1n)]));
  await simulator.advance(4_300);
  assert.deepEqual(leaseCommands(cluster), ["renewAll", "keepAlive", "expire"]);
  assert.deepEqual([b.keeper.count, a.keeper.count], [1, 2]);
  await simulator.advance(1_000);
  assert.equal(b.keeper.count, 0);
  a.log.heal();
  await simulator.advance(10);
  assert.equal(a.keeper.count, 0);
  await closeWorld(world);
});

test("who is not primary any more ends nothing, whatever it has under way", async () => {
  const world = await openWorld("under way");
  const { simulator, cluster, a, b, run } = world;
  await run(a.replica.propose([grant(1n, 3_000), put("k", 1n)]));
  a.log.cutOff();
  // Its time has passed, and the command that ends it waits.
  await simulator.advance(4_000);
  assert.deepEqual(leaseCommands(cluster), []);
  handOver(a, b);
  await simulator.advance(100);
  a.log.heal();
  await simulator.advance(100);
  assert.deepEqual(leaseCommands(cluster), ["renewAll", "expire"], "what had waited comes too late");
  assert.deepEqual([a.keeper.count, b.keeper.count], [1, 1]);
  // To and fro: each time all of it again.
  for (let round = 0; round < 6; round++) {
    await simulator.advance(2_000);
    handOver(round % 2 === 0 ? b : a, round % 2 === 0 ? a : b);
  }
  assert.equal(leaseCommands(cluster).filter((name) => name === "expire").length, 1);
  await simulator.advance(2_900);
  assert.deepEqual([a.keeper.count, b.keeper.count], [1, 1]);
  await simulator.advance(200);
  assert.deepEqual([a.keeper.count, b.keeper.count], [0, 0]);
  await closeWorld(world);
});

test("a new primary whose wall clock is ahead ends no lease early", async () => {
  const world = await openWorld("ahead");
  const { simulator, a, b, run } = world;
  await run(a.replica.propose([grant(1n, 4_000)]));
  b.machine.wall.offsetMs += 3_600_000;
  await simulator.advance(3_000);
  handOver(a, b);
  await simulator.advance(3_900);
  assert.equal(b.keeper.count, 1);
  await simulator.advance(200);
  assert.equal(b.keeper.count, 0);
  await closeWorld(world);
});

test("a keeper reads the leases again when a newer state is installed, and misses nothing behind it", async () => {
  const world = await openWorld("installed");
  const { simulator, cluster, a, b, run } = world;
  for (const lease of [1n, 2n, 3n]) await run(a.replica.propose([grant(lease, 60_000)]));
  await run(b.replica.linearize());
  b.log.cutOff();
  const revoke = operation(views.lease, { operation: { case: "revoke", value: { lease: 2n } } });
  await run(a.replica.propose([revoke]));
  for (let lease = 10n; lease < 40n; lease++) await run(a.replica.propose([grant(lease, 20_000)]));
  const record = await run(a.replica.checkpoint());
  for await (const { hash } of a.blobs.list()) {
    await b.blobs.put(hash, (await a.blobs.get(hash)) as Uint8Array);
  }
  await run(a.replica.propose([grant(50n, 20_000)]));
  assert.equal(b.keeper.count, 3);
  b.log.jump(record.position);
  const primary = run(b.replica.install(record));
  // In the middle of it.
  handOver(a, b);
  await primary;
  await simulator.advance(10);
  assert.deepEqual([a.keeper.count, b.keeper.count], [33, 33]);
  assert.deepEqual(leaseCommands(cluster), ["revoke", "renewAll"]);
  await simulator.advance(19_900);
  assert.equal(b.keeper.count, 33);
  await simulator.advance(200);
  assert.deepEqual([a.keeper.count, b.keeper.count], [2, 2]);
  await closeWorld(world);
});

test("what is heard while the leases are read again is not overwritten by older things", async () => {
  const world = await openWorld("heard");
  const { simulator, a, b, run } = world;
  b.log.cutOff();
  for (let begin = 1; begin <= 4_001; begin += 500) {
    const grants = Array.from({ length: 500 }, (_, index) => grant(BigInt(begin + index), 3_600_000));
    await run(a.replica.propose(grants));
  }
  const record = await run(a.replica.checkpoint());
  for await (const { hash } of a.blobs.list()) await b.blobs.put(hash, (await a.blobs.get(hash)) as Uint8Array);
  const revoke = operation(views.lease, { operation: { case: "revoke", value: { lease: 4_000n } } });
  await run(a.replica.propose([revoke]));
  const get = b.blobs.get.bind(b.blobs);
  b.blobs.get = async (hash) => {
    await new Promise<void>((resolve) => simulator.schedule(10, resolve));
    return get(hash);
  };
  await run(b.replica.install(record));
  b.log.jump(record.position);
  await run(b.replica.linearize());
  assert.ok(b.keeper.count < 4_000, `${b.keeper.count} are read`);
  await simulator.advance(1_000);
  assert.equal(b.keeper.count, 4_499);
  await closeWorld(world);
});

test("the primary alone compacts, and closing does not wait for members that are out of reach", async () => {
  const world = await openWorld("compacts", 10);
  const { simulator, cluster, a, b, run } = world;
  const puts = async (count: number) => {
    for (let index = 0; index < count; index++) await run(b.replica.propose([put(`k${index % 3}`)]));
  };
  a.log.setPrimary(false);
  await puts(50);
  await simulator.advance(5_000);
  assert.equal(cluster.records.length, 50);
  b.log.setPrimary(true);
  await simulator.advance(1_100);
  assert.equal(await run(a.replica.read(compactRevision)), 40);
  const { length } = cluster.records;
  assert.equal(length, 52, "one compaction, one sweep");
  await puts(20);
  await run(b.replica.propose([grant(1n, 1_000)]));
  b.log.cutOff();
  await simulator.advance(3_000);
  // A compaction and an expiry are under way, and nobody answers.
  assert.equal(cluster.records.length, length + 21);
  const stuck = assert.rejects(b.replica.propose([put("stuck")]), { code: "unavailable", maybe: true });
  const startMs = simulator.nowMs;
  await run(b.compactor.close());
  await run(b.keeper.close());
  assert.equal(simulator.nowMs, startMs);
  await run(b.replica.close());
  await stuck;
  assert.ok(simulator.nowMs - startMs < 1_100);
  assert.equal(b.replica.applied, position(length + 21));
  await closeWorld(world);
});

test("a lease that was kept alive after its end was proposed lives on, however far ahead that proposer's clock is", async () => {
  const world = await openWorld("behind");
  const { simulator, a, b, run } = world;
  await run(a.replica.propose([grant(1n, 5_000)]));
  const deadline = async () => {
    await run(b.replica.linearize());
    const stored = await run(b.replica.read((tree) => tree.get(leaseKey(1n))));
    return stored === undefined ? 0 : StoredLease.decode(stored).deadlineMs;
  };
  const expire = async (deadlineMs: number) => {
    const value = { leases: [1n], deadlinesMs: [deadlineMs] };
    await run(b.replica.propose([operation(views.lease, { operation: { case: "expire", value } })]));
    return b.keeper.count;
  };
  const seen = await deadline();
  await simulator.advance(1_000);
  await run(a.replica.propose([keepAlive(1n)]));
  b.machine.wall.offsetMs += 3_600_000;
  assert.equal(await expire(seen), 1);
  assert.ok(b.replica.timeMs > (await deadline()));
  assert.equal(await expire(await deadline()), 0);
  await closeWorld(world);
});

test("a keeper whose member becomes primary while it begins renews the leases when it knows them", async () => {
  const world = await openWorld("begins");
  const { simulator, cluster, a, b, run } = world;
  await run(a.replica.propose([grant(1n, 60_000)]));
  await run(b.replica.linearize());
  const snapshot = b.replica.snapshot.bind(b.replica);
  const gate = deferred<void>();
  b.replica.snapshot = () => {
    const held = snapshot();
    const tree = Object.create(held.tree) as StateSnapshot["tree"];
    tree.entries = async function* entries(options) {
      await gate.promise;
      yield* held.tree.entries(options);
    };
    return { ...held, tree };
  };
  await run(b.keeper.close());
  const starting = LeaseKeeper.start(b.env, b.replica, views.lease);
  handOver(a, b);
  await simulator.advance(1_000);
  assert.deepEqual(leaseCommands(cluster), []);
  gate.resolve();
  const keeper = await run(starting);
  await simulator.advance(10);
  assert.deepEqual(leaseCommands(cluster), ["renewAll"]);
  await run(keeper.close());
  await closeWorld(world);
});
