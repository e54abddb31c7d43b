/** A crash at every change of the disk while a member takes over a newer state: the old one or the new one is there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Env } from "../base/index.ts";
import { MemoryBlobStore, PackBlobStore } from "../blob/index.ts";
import type { BlobStore } from "../blob/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { crashEverywhere } from "../sim/index.ts";
import { verify } from "../tree/index.ts";
import { ClusterLog } from "./cluster-log.suite.ts";
import { rootText, utf8 } from "./fixture.suite.ts";
import { DiskCheckpoints, makeViews, MemoryCheckpoints, operation, Replica, rootOf } from "./index.ts";
import type { CheckpointRecord } from "./index.ts";

const views = makeViews();
const seed = new Uint8Array(16).fill(3);

interface Notes {
  readonly cluster: ClusterLog;
  /** A position that the state has been promised to have. */
  position: number;
  /** Where the log begins. */
  start: number;
}

interface Parts {
  readonly replica: Replica;
  readonly blobs: BlobStore;
}

/** A member in memory, which nothing disturbs. */
async function openSteady(env: Env, cluster: ClusterLog): Promise<Parts> {
  const blobs = new MemoryBlobStore(env);
  const parts = { log: cluster.member(), blobs, checkpoints: new MemoryCheckpoints(), views: views.all, seed };
  return { replica: await Replica.open(env, parts, { checkpointLogSizeMin: Number.POSITIVE_INFINITY }), blobs };
}

async function putAll(replica: Replica, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index++) {
    const put = { key: utf8(`k${(index * 7) % 60}`), value: utf8(`${index} ${"x".repeat(120)}`) };
    await replica.propose([operation(views.key, { operation: { case: "put", value: put } })]);
  }
}

/** Brings a checkpoint of one member with all its pages to the other. */
async function fetch(from: Parts, to: Parts): Promise<CheckpointRecord> {
  const record = await from.replica.checkpoint();
  for await (const { hash } of from.blobs.list()) {
    const bytes = await from.blobs.get(hash);
    if (bytes !== undefined && !(await to.blobs.has(hash))) await to.blobs.put(hash, bytes);
  }
  await to.blobs.sync();
  return record;
}

function start(): Notes {
  return { cluster: new ClusterLog(), position: 0, start: 0 };
}

async function run(env: Env, notes: Notes): Promise<void> {
  const { cluster } = notes;
  const steady = await openSteady(env, cluster);
  const log = cluster.member();
  const blobs = await PackBlobStore.open(env, "blobs", { packSizeMax: 16_384 });
  const checkpoints = new DiskCheckpoints(env, "checkpoints");
  const replica = await Replica.open(env, { log, blobs, checkpoints, views: views.all, seed });
  await putAll(steady.replica, 0, 50);
  await replica.linearize();
  notes.position = (await replica.checkpoint()).position;
  log.cutOff();
  await putAll(steady.replica, 50, 120);
  const release = await replica.holdBlobs();
  const record = await fetch(steady, { replica, blobs });
  await replica.install(record);
  notes.position = record.position;
  release();
  // Only now may the log forget what the old state needs.
  log.jump(record.position);
  notes.start = record.position;
  await putAll(replica, 120, 150);
  notes.position = (await replica.checkpoint()).position;
  await putAll(replica, 150, 170);
  await replica.close();
  await blobs.close();
}

async function check(env: Env, { cluster, position, start }: Notes): Promise<void> {
  const log = cluster.member();
  if (start > 0) log.jump(start);
  const blobs = await PackBlobStore.open(env, "blobs", { packSizeMax: 16_384 });
  const checkpoints = new DiskCheckpoints(env, "checkpoints");
  const kept = await checkpoints.load();
  for (const record of kept) {
    const { problems } = await verify(env, blobs, rootOf(record));
    assert.deepEqual(problems, [], `the checkpoint at ${record.position}`);
  }
  assert.ok((kept[0]?.position ?? 0) >= position, `the state is at ${kept[0]?.position}, not at ${position}`);
  const replica = await Replica.open(env, { log, blobs, checkpoints, views: views.all, seed });
  const steady = await openSteady(env, cluster);
  await replica.linearize();
  assert.equal(await rootText(replica), await rootText(steady.replica));
  // And again, whatever is left of the first time.
  log.cutOff();
  await putAll(steady.replica, 200, 230);
  const record = await fetch(steady, { replica, blobs });
  await replica.install(record);
  log.jump(record.position);
  await putAll(replica, 230, 240);
  await steady.replica.linearize();
  assert.equal(await rootText(replica), await rootText(steady.replica));
  await replica.close();
  await steady.replica.close();
  await blobs.close();
}

test("a crash at any change leaves the old state or the new one, and the log leads on from it", async () => {
  const campaign = { seed: "install", drain: nextTurn, digest: new NodeDigest(), recoveryCrashes: true };
  const random = { moments: ["during", "after"], unsynced: ["random"], stride: 3 } as const;
  const lost = { moments: ["after"], unsynced: ["lost"], stride: 5 } as const;
  for (const how of [random, lost]) {
    const { changeCount } = await crashEverywhere({ ...campaign, ...how }, { start, run, check });
    assert.ok(changeCount > 20, `${changeCount} changes`);
  }
});
