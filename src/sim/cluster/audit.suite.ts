/**
 * What must be true when a simulated cluster has come to rest, whatever happened to it. The log that the members agree on
 * is replayed on plain maps (`store-model.suite.ts`) and on a replica in memory that nothing ever disturbed, and everything
 * that anybody was told is held against the two.
 *
 *  1. All members are at the same position with the same root, which is that of the undisturbed replica.
 *  2. What a call was told that it did, it did: at that revision, with nothing else. What failed has done nothing. What is
 *     unknown happened once or never. No value is there twice.
 *  3. The history of the clients' calls is linearizable.
 *  4. A watch delivered exactly what the log says, in its order, up to the end.
 *  5. A read of what is here now found a state that there has been.
 *  6. No lease ended early, and all have ended.
 *  7. What each member keeps on its disk verifies, unless the disk was damaged.
 *  8. Every file, and every file of a snapshot, reads back whole at every member, from its own disk or another's.
 *  9. After a collection each member keeps exactly the pages and the chunks that are needed.
 */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { HoldfastError, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { LocalStore } from "../../member/index.ts";
import { bucketName, isWhole } from "./written-files.ts";
import { keptBlobs, neededChunks, neededPages, snapshotRoots } from "../../member/kept-blobs.suite.ts";
import { StoreModel } from "../../member/store-model.suite.ts";
import type { ModelChanges, ModelRecord } from "../../member/store-model.suite.ts";
import { replayUndisturbed } from "../../member/undisturbed.suite.ts";
import type { CheckpointRecord } from "../../view/index.ts";
import { checkLinearizable, operationText } from "../check/index.ts";
import type { Operation } from "../check/index.ts";
import type { Inspector } from "./inspector.ts";
import { unpadded } from "./notes.ts";
import type { Notes } from "./notes.ts";
import { accountCount, balanceOf, balanceTotal } from "./workload.ts";

/** One member at rest. */
export interface Resting {
  readonly name: string;
  readonly store: LocalStore;
  readonly env: Env;
}

/** Takes a checkpoint on every member; they must be equal (1). */
export async function auditMembers(members: readonly Resting[], inspector: Inspector): Promise<CheckpointRecord> {
  const [first, ...others] = await checkpointsAtOnePosition(members);
  for (const [index, record] of others.entries()) {
    const names = `${members[index + 1]?.name} and ${members[0]?.name}`;
    assert.deepEqual(textOf(record), textOf(first), `the states of ${names}`);
  }
  const { env } = members[0] as Resting;
  const twin = await replayUndisturbed(env, first, wholeLog(inspector, first.position));
  assert.deepEqual(
    textOf(first),
    textOf(twin),
    "the state of the members and that of a replica that nothing disturbed",
  );
  return first;
}

/** The members still keep house now and then: it is tried until nothing comes in between. */
async function checkpointsAtOnePosition(
  members: readonly Resting[],
): Promise<[CheckpointRecord, ...CheckpointRecord[]]> {
  for (let attempt = 1; ; attempt++) {
    const records: CheckpointRecord[] = [];
    for (const { store } of members) {
      await store.checkpoint();
      records.push(store.replica.lastCheckpoint);
    }
    const [first, ...others] = records;
    assert.ok(first !== undefined, "a cluster has a member");
    if (others.every(({ position }) => position === first.position)) return [first, ...others];
    assert.ok(attempt < 20, "the members do not come to rest");
  }
}

function textOf(record: CheckpointRecord) {
  return { ...record, rootHash: toHex(record.rootHash), seed: toHex(record.seed) };
}

function wholeLog({ records }: Inspector, end: number): Uint8Array[] {
  return Array.from({ length: end }, (_, position) => {
    const record = records[position];
    assert.ok(record !== undefined, `no member has shown the record at position ${position}`);
    return record;
  });
}

/** `damaged`: damage was done to some disk. */
export function auditNotes(notes: Notes, inspector: Inspector, end: CheckpointRecord, damaged: boolean): void {
  const model = new StoreModel();
  model.replay(wholeLog(inspector, end.position));
  assert.equal(end.revision, model.revision, "the revision at the end");
  const changes = model.changes.map(
    (changed) => new Map([...changed].map(([key, record]) => [key, unpaddedRecord(record)])),
  );
  const { operations } = notes.history;
  auditValues(operations, changes);
  for (const operation of operations) auditOperation(operation, changes);
  auditAccounts(model);
  checkLinearizable(operations);
  auditWatches(notes, changes, damaged);
  auditLocalReads(notes, changes);
  auditLeases(notes, changes, inspector);
}

function unpaddedRecord(record: ModelRecord | undefined): ModelRecord | undefined {
  return record === undefined ? undefined : { ...record, value: unpadded(record.value) };
}

/** Every value stands at one revision at most; those of calls that failed, at none (2). */
function auditValues(operations: readonly Operation[], changes: readonly ModelChanges[]): void {
  const revisions = new Map<string, number>();
  for (const [revision, changed] of changes.entries()) {
    for (const [key, record] of changed) {
      if (record === undefined) continue;
      const earlier = revisions.get(record.value);
      if (earlier !== undefined && earlier !== revision) {
        assert.fail(`${key} = ${record.value} was written twice: at revision ${earlier} and at ${revision}`);
      }
      revisions.set(record.value, revision);
    }
  }
  for (const operation of operations) {
    const { action, outcome } = operation;
    if (outcome.kind !== "failed" && outcome.kind !== "refused") continue;
    for (const { value } of action.writes ?? []) {
      const revision = value === undefined ? undefined : revisions.get(value);
      if (revision === undefined) continue;
      assert.fail(`${describe(operation)}, and yet it took effect, at revision ${revision}`);
    }
  }
}

function describe(operation: Operation): string {
  const { client, begin, end } = operation;
  return `${client} from ${begin.toFixed(3)} to ${end.toFixed(3)} ms: ${operationText(operation)}`;
}

/** A call that was told its revision made exactly that change (2). */
function auditOperation(operation: Operation, changes: readonly ModelChanges[]): void {
  const { action, outcome } = operation;
  if (outcome.kind !== "ok" || outcome.revision === undefined) return;
  const { writes = [] } = action;
  if (writes.length === 0 || outcome.deleted === 0) return;
  const changed = changes[outcome.revision];
  assert.ok(changed !== undefined, `${describe(operation)}, and there is no such revision`);
  for (const { key, value } of writes) {
    const record = changed.get(key);
    if (value === undefined && !changed.has(key)) continue;
    if (record?.value === value) continue;
    const found = [...changed].map(([name, one]) => `${name} = ${one?.value ?? "nothing"}`).join(", ");
    assert.fail(`${describe(operation)}, and that revision says ${found}`);
  }
  const extra = [...changed.keys()].filter((key) => !writes.some((cell) => cell.key === key));
  assert.deepEqual(extra, [], `${describe(operation)}: what else that revision changed`);
}

function auditAccounts(model: StoreModel): void {
  const balances = [...model.keys].filter(([key]) => key.startsWith("acct/")).map(([, { value }]) => balanceOf(value));
  if (balances.length === 0) return;
  assert.equal(balances.length, accountCount, "the number of accounts");
  assert.equal(
    balances.reduce((sum, balance) => sum + balance, 0),
    balanceTotal,
    "the sum of all accounts",
  );
}

function auditWatches({ watches }: Notes, changes: readonly ModelChanges[], damaged: boolean): void {
  // In a command the order of keys is that of its operations, which the model keeps too.
  const all = changes.flatMap((changed, revision) =>
    [...changed].map(([key, record]) => ({ revision, key, value: record?.value })),
  );
  for (const { name, checker, ended } of watches) {
    if (typeof ended === "object") assert.fail(`${name} ended: ${ended.error.message}`);
    if (ended === "corrupt") assert.ok(damaged, `${name} met damage where none was done`);
    checker.finish(all);
  }
}

function auditLocalReads({ localReads }: Notes, changes: readonly ModelChanges[]): void {
  for (const { client, key, record, endMs } of localReads) {
    if (record === undefined) continue;
    const found = changes[record.revision]?.get(key);
    const what = `at ${endMs.toFixed(3)} ms ${client} read ${key} = ${record.value} of revision ${record.revision} locally`;
    assert.equal(found?.value, record.value, what);
  }
}

/** A key is gone when the first member has applied that, and in the end all are (6). */
function auditLeases({ leases, leasedKeys }: Notes, changes: readonly ModelChanges[], inspector: Inspector): void {
  const keys = new Set(leasedKeys);
  for (const [revision, changed] of changes.entries()) {
    for (const [key, record] of changed) {
      if (record !== undefined || !keys.delete(key)) continue;
      const endedMs = inspector.revisions.get(revision)?.atMs;
      if (endedMs !== undefined) leases.gone(key, endedMs, endedMs);
    }
  }
  assert.deepEqual([...keys], [], "keys whose leases have not ended");
  leases.finish();
}

/** (8) */
export async function auditFiles(
  members: readonly Resting[],
  inspector: Inspector,
  end: CheckpointRecord,
): Promise<void> {
  const model = new StoreModel();
  model.replay(wholeLog(inspector, end.position));
  for (const { name, store } of members) {
    const moments = new Map([["now", undefined as number | undefined], ...model.snapshots]);
    for (const [moment, revision] of moments) {
      const files = (revision === undefined ? store : store.at(revision)).files(bucketName);
      const found = new Map<string, number>();
      for await (const record of files.list({ consistency: "local" })) {
        const bytes = await (await files.open(record)).bytes();
        assert.ok(isWhole(bytes), `file ${record.path} of ${moment} at ${name}`);
        found.set(`${bucketName}:${record.path}`, record.revision);
      }
      assert.deepEqual(found, model.filesAt(revision ?? model.revision), `the files of ${moment} at ${name}`);
    }
  }
}

/**
 * (9) Uploads whose clients are gone end within a minute, and the members still keep house: what comes in between is looked
 * at again.
 */
export async function auditGarbage(members: readonly Resting[], sleep: (ms: number) => Promise<void>): Promise<void> {
  await passCheckpoints(members, sleep);
  for (const { name, store, env } of members) {
    for (let attempt = 1; ; attempt++) {
      const kept = await keptAndNeeded(store, env);
      if (kept !== undefined && isDeepStrictEqual(kept.kept, kept.needed)) break;
      if (attempt === 20) assert.deepEqual(kept?.kept, kept?.needed, `what ${name} keeps after a collection`);
      await sleep(5_000);
    }
  }
}

/** So that the checkpoints that are kept are of states with the same files and snapshots. */
async function passCheckpoints(members: readonly Resting[], sleep: (ms: number) => Promise<void>): Promise<void> {
  for (let pass = 1; pass <= 2; pass++) {
    const revision = await members[0]?.store.keys.put("pass", String(pass));
    for (const { store } of members) {
      while (store.replica.revision < (revision ?? 0)) await sleep(100);
      await store.checkpoint();
    }
  }
}

/** Undefined when there was no collection, or an upload keeps what nothing needs. */
async function keptAndNeeded(store: LocalStore, env: Env) {
  let uploadCount = 1;
  try {
    for await (const progress of store.collect()) ({ uploadCount } = progress);
  } catch (error) {
    if (error instanceof HoldfastError && ["unavailable", "timeout"].includes(error.code)) return undefined;
    throw error;
  }
  if (uploadCount > 0) return undefined;
  const needed = {
    chunks: await neededChunks(env, store),
    pages: await neededPages(env, store.blobs, await snapshotRoots(store)),
  };
  return { kept: { chunks: await keptBlobs(store.ownChunks), pages: await keptBlobs(store.blobs) }, needed };
}

/** (7) */
export async function auditDisks(members: readonly Resting[]): Promise<void> {
  for (const { name, store } of members) {
    for (const verification of [store.verifyLog(), store.verifyBlobs(), store.verifyTree()]) {
      for await (const { damages } of verification) assert.deepEqual(damages, [], `damage on ${name}`);
    }
  }
}
