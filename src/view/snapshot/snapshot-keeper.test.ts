/** Who has the log say the roots of snapshots, and when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBlobStore } from "../../blob/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { Simulator } from "../../sim/index.ts";
import { ClusterLog } from "../cluster-log.suite.ts";
import type { MemberLog } from "../cluster-log.suite.ts";
import { LocalSnapshots, makeViews, MemoryCheckpoints, Replica, SnapshotKeeper, Snapshots } from "../index.ts";

const views = makeViews();

interface Side {
  readonly log: MemberLog;
  readonly replica: Replica;
  readonly source: LocalSnapshots;
  readonly keeper: SnapshotKeeper;
}

async function openPair(seed: string): Promise<{ simulator: Simulator; a: Side; b: Side }> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const cluster = new ClusterLog();
  const open = async (name: string): Promise<Side> => {
    const { env } = simulator.machine(name);
    const log = cluster.member();
    const parts = { log, blobs: new MemoryBlobStore(env), checkpoints: new MemoryCheckpoints(), views: views.all };
    const replica = await Replica.open(env, { ...parts, seed: new Uint8Array(16) });
    return {
      log,
      replica,
      source: new LocalSnapshots(replica),
      keeper: new SnapshotKeeper(env, replica, views.snapshot),
    };
  };
  return simulator.run(Promise.all([open("a"), open("b")])).then(([a, b]) => ({ simulator, a, b }));
}

test("the primary seals at once; without one, or when it cannot, another member does after a while", async () => {
  const { simulator, a, b } = await openPair("who");
  const run = <T>(promise: Promise<T>): Promise<T> => simulator.run(promise);
  const snapshots = new Snapshots(a.source, views.snapshot);
  const sealed = async () => {
    const all = await run(b.source.snapshots({ consistency: "local" }));
    return all.filter((snapshot) => snapshot.sealed).map(({ name }) => name);
  };
  a.log.setPrimary(true);
  await run(snapshots.create("by the primary"));
  await simulator.advance(100);
  assert.deepEqual(await sealed(), ["by the primary"]);
  a.log.setPrimary(false);
  await run(snapshots.create("by any"));
  await simulator.advance(5_000);
  assert.deepEqual(await sealed(), ["by the primary"]);
  await simulator.advance(6_000);
  assert.deepEqual(await sealed(), ["by the primary", "by any"]);
  await run(snapshots.create("late"));
  a.log.cutOff();
  b.log.cutOff();
  a.log.setPrimary(true);
  await simulator.advance(20_000);
  a.log.giveUp();
  b.log.giveUp();
  assert.equal((await sealed()).length, 2);
  a.log.heal();
  b.log.heal();
  await simulator.advance(2_000);
  assert.deepEqual(await sealed(), ["by the primary", "by any", "late"]);
  assert.deepEqual([a.replica.pins.toSeal(), b.replica.pins.toSeal()], [[], []]);
  a.log.cutOff();
  const making = snapshots.create("never");
  making.catch(() => {});
  // Closing waits for nobody.
  await run(Promise.all([a.keeper.close(), b.keeper.close()]));
  await run(Promise.all([a.replica.close(), b.replica.close()]));
});
