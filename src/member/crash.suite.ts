/**
 * A whole store under crashes: the workload of `store-workload.suite.ts` is cut at every change of the disk, and the
 * restarted store is held against what it had said, and against two twins that replay the same log: a model on plain
 * maps, and a replica in memory that nothing ever disturbed. Shared by `crash.test.ts` and `scripts/sim.ts`.
 *
 * After every crash:
 *  1. Everything acknowledged is there, all of it at the revision that was told, and no command by half.
 *  2. The state is that of the model after a prefix of the log; the log is what was seen before the crash, or longer.
 *  3. The checkpoint has the root of the undisturbed replica, and of a tree built from its entries in random order.
 *  4. The log, the blobs and the tree verify without complaint, and nothing is kept that no checkpoint needs.
 *  5. Every file of the state and of every snapshot is the model's and reads back whole, and the keys of snapshots are the
 *     model's too. A collection leaves exactly the pages and chunks that are needed, unless an upload lasts.
 *  6. The store goes on: it takes writes, checkpoints, closes and opens again. So it does when it crashes while it
 *     recovers (`recoveryCrashes` of the campaign).
 */
import assert from "node:assert/strict";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { MemoryBlobStore, PackBlobStore } from "../blob/index.ts";
import { Prng } from "../sim/index.ts";
import type { CrashPoint, CrashWorkload } from "../sim/index.ts";
import type { PastFiles } from "../file/index.ts";
import { emptyTree, openTree } from "../tree/index.ts";
import type { TreeRoot } from "../tree/index.ts";
import { operation, rootOf } from "../view/index.ts";
import type { KeyRecord } from "../view/index.ts";
import { openStore } from "./index.ts";
import type { LocalStore, OpenOptions } from "./index.ts";
import { keptBlobs, neededChunks, neededPages, snapshotRoots } from "./kept-blobs.suite.ts";
import { StoreModel } from "./store-model.suite.ts";
import type { ModelRecord } from "./store-model.suite.ts";
import { replayUndisturbed } from "./undisturbed.suite.ts";
import { bucketName, isWhole } from "../sim/cluster/written-files.ts";
import { checkBalance, putOperation, StoreNotes, StoreWorkload } from "./store-workload.suite.ts";

/** Small files, so that a short workload fills many; the rest follows from the seed. */
export function crashOptions(seed: string): OpenOptions {
  const random = new Prng(`options ${seed}`);
  return {
    segmentSizeMin: 4_096,
    segmentSizeMax: 16_384,
    packSizeMax: random.pick([4_096, 16_384, 65_536]),
    checkpointLogSizeMin: random.pick([1_000, 4_000, 1_000_000]),
    checkpointIdleMs: 50,
    cacheSizeMax: random.pick([1, 20_000, 1_000_000]),
    historyRevisions: random.pick([0, 20]),
  };
}

export function storeCrashes(seed: string, roundCount: number): CrashWorkload<StoreNotes> {
  const options = crashOptions(seed);
  return {
    start: () => new StoreNotes(),
    async run(env, notes) {
      const store = await openStore(env, options);
      const workload = new StoreWorkload(env, store, new Prng(`workload ${seed}`), notes);
      const following = workload.follow();
      await workload.run(roundCount);
      await store.close();
      await following;
    },
    check: (env, notes, crash) => checkRecovered(env, options, notes, crash),
  };
}

async function checkRecovered(env: Env, options: OpenOptions, notes: StoreNotes, crash: CrashPoint): Promise<void> {
  const store = await openStore(env, options);
  if (notes.treeSeed !== undefined) {
    assert.deepEqual(store.replica.lastCheckpoint.seed, notes.treeSeed, "the seed of the tree");
  }
  assert.ok(store.replica.lastCheckpoint.position >= notes.checkpointPosition, "the checkpoint that was reported");
  await readLog(store, notes);
  const random = new Prng(`check ${JSON.stringify(crash)}`);
  const workload = new StoreWorkload(env, store, random, notes);
  const following = workload.follow();
  await retrySession(store, notes);
  await checkAgainstModel(store, notes, random);
  await checkVerified(store);
  await checkRoot(env, store, notes, random);
  await workload.run(2);
  await workload.checkpoint();
  await store.close();
  await following;
  const again = await openStore(env, { ...options, checkpointLogSizeMin: Number.POSITIVE_INFINITY });
  await checkAgainstModel(again, notes, random);
  // So that the kept checkpoints are of states with the same files and snapshots.
  for (const value of ["1", "2"]) {
    await again.keys.put("last", value);
    await again.checkpoint();
  }
  const [progress] = (await collect(again.collect())).slice(-1);
  if (progress?.uploadCount === 0) {
    assert.deepEqual(await keptBlobs(again.ownChunks), await neededChunks(env, again), "the chunks that are kept");
  }
  const roots = await snapshotRoots(again);
  await again.close();
  await checkNoGarbage(env, options, roots);
}

/** What the journal still holds must be what was seen before, and go on from there. */
async function readLog(store: LocalStore, notes: StoreNotes): Promise<void> {
  const { logStart, logTail } = await store.status();
  assert.ok(logTail >= notes.log.length, `${notes.log.length} records were durable, the log ends at ${logTail}`);
  try {
    for await (const { position, records } of store.readLog({ from: logStart })) notes.addRecords(position, records);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "trimmed") throw error;
    // A checkpoint has trimmed the log meanwhile; what is left must still follow on what was seen.
    await readLog(store, notes);
  }
}

/** A command that was under way when the machine died may be sent again: it takes effect once. */
async function retrySession(store: LocalStore, notes: StoreNotes): Promise<void> {
  const { session } = notes;
  if (session?.last === undefined) return;
  const { last } = session;
  const stamp = { session: session.session, sequence: last.sequence, acknowledgedBelow: last.sequence };
  const body = operation(store.views.key, putOperation("session", last.value));
  const outcome = await store.replica.propose([body], { stamp });
  assert.ok(outcome.ok, outcome.ok ? "" : outcome.message);
  if (last.revision !== undefined) assert.equal(outcome.revision, last.revision, "a retry after the crash took effect");
  else notes.acknowledged.push({ revision: outcome.revision, changes: new Map([["session", last.value]]) });
  last.revision = outcome.revision;
}

async function checkAgainstModel(store: LocalStore, notes: StoreNotes, random: Prng): Promise<void> {
  await store.keys.revision();
  // From here to the comparison of the numbers nothing is applied: no other event happens.
  await readLog(store, notes);
  const { revision, applied } = store.replica;
  const model = new StoreModel();
  model.replay(notes.log.slice(0, applied));
  assert.equal(revision, model.revision, "the store's revision");
  for (const { revision: told, changes } of notes.acknowledged) {
    assert.ok(told <= revision, `revision ${told} was acknowledged, the store is at ${revision}`);
    const found = [...(model.changes[told] ?? [])].map(([key, record]) => [key, record?.value] as const);
    assert.deepEqual(new Map(found), changes, `what was acknowledged at revision ${told}`);
  }
  const moments = [revision, model.compactRevision + random.below(revision - model.compactRevision + 1)];
  for (const at of moments) {
    if (at === 0) continue;
    const records = await collect(store.at(at).keys.list());
    const found = records.map((record) => [record.key, toModel(record)] as const);
    const expected = [...model.at(at)].toSorted(([a], [b]) => (a < b ? -1 : 1));
    assert.deepEqual(found, expected, `the keys at revision ${at}`);
    checkBalance(records);
  }
  await checkFiles(store, notes, model);
}

async function checkFiles(store: LocalStore, notes: StoreNotes, model: StoreModel): Promise<void> {
  for (const { revision, path, put } of notes.files) {
    const changes = [...(model.fileChanges.get(revision) ?? [])];
    const expected = [[`${bucketName}:${path}`, put ? revision : undefined]];
    assert.deepEqual(changes, expected, `what was acknowledged of file ${path} at revision ${revision}`);
  }
  const present = await filesOf(store.files(bucketName));
  assert.deepEqual(present, model.filesAt(model.revision), "the files");
  const snapshots = await store.localSnapshots.snapshots({ consistency: "local" });
  assert.deepEqual(new Map(snapshots.map(({ name, revision }) => [name, revision])), model.snapshots, "the snapshots");
  for (const { name, revision } of snapshots) {
    const past = store.at(revision);
    assert.deepEqual(await filesOf(past.files(bucketName)), model.filesAt(revision), `the files of snapshot ${name}`);
    const keys = (await collect(past.keys.list())).map((record) => [record.key, toModel(record)] as const);
    const expected = [...model.at(revision)].toSorted(([a], [b]) => (a < b ? -1 : 1));
    assert.deepEqual(keys, expected, `the keys of snapshot ${name}`);
  }
}

/** By what revision each was put. All of them are read. */
async function filesOf(files: PastFiles): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const record of await collect(files.list({ consistency: "local" }))) {
    const bytes = await (await files.open(record)).bytes();
    assert.ok(isWhole(bytes), `file ${record.path} of revision ${record.revision} is not what was put`);
    found.set(`${bucketName}:${record.path}`, record.revision);
  }
  return found;
}

function toModel(record: KeyRecord): ModelRecord {
  const { createRevision, revision, version, lease = 0n } = record;
  return { createRevision, revision, version, lease, value: record.text() };
}

async function checkVerified(store: LocalStore): Promise<void> {
  for (const verification of [store.verifyLog(), store.verifyBlobs(), store.verifyTree()]) {
    for await (const { damages } of verification) assert.deepEqual(damages, []);
  }
}

/** The root says all of the state: sessions, leases, history and events included. */
async function checkRoot(env: Env, store: LocalStore, notes: StoreNotes, random: Prng): Promise<void> {
  await store.checkpoint();
  const record = store.replica.lastCheckpoint;
  await readLog(store, notes);
  const root = toHex(record.rootHash);
  const twin = await replayUndisturbed(env, record, notes.log.slice(0, record.position));
  assert.equal(root, toHex(twin.rootHash), "the root of an undisturbed replica");
  assert.deepEqual({ ...record, rootHash: 0 }, { ...twin, rootHash: 0 }, "the checkpoint of an undisturbed replica");
  const snapshot = store.replica.tree.at(rootOf(record));
  const entries = (await collect(snapshot.entries())).flat();
  snapshot.release();
  const rebuilt = await openTree(env, new MemoryBlobStore(env), emptyTree(record.seed));
  for (const { key, value } of random.shuffle(entries)) rebuilt.put(key, value);
  const { hash } = (await rebuilt.flush()).root;
  assert.equal(toHex(hash ?? new Uint8Array(0)), root, "the root of a tree built from the entries");
}

/** A collection has deleted all blobs but those that the kept checkpoints and the snapshots need. */
async function checkNoGarbage(env: Env, options: OpenOptions, snapshots: readonly TreeRoot[]): Promise<void> {
  const { packSizeMax } = options;
  const blobs = await PackBlobStore.open(env, "blobs", packSizeMax === undefined ? {} : { packSizeMax });
  assert.deepEqual(await keptBlobs(blobs), await neededPages(env, blobs, snapshots), "the blobs that are kept");
  await blobs.close();
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
