/**
 * A crash at every change of the disk while snapshots are made, sealed, read and deleted beside checkpoints and
 * collections: every snapshot that was acknowledged is there afterwards, with exactly its contents.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Env } from "../base/index.ts";
import { PackBlobStore } from "../blob/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { FileEngine } from "../log/index.ts";
import { crashEverywhere } from "../sim/index.ts";
import { reachable, verify } from "../tree/index.ts";
import { collectPages, hex, utf8 } from "./fixture.suite.ts";
import {
  DiskCheckpoints,
  LocalKeys,
  LocalSnapshots,
  makeViews,
  operation,
  Replica,
  rootOf,
  SnapshotKeeper,
  Snapshots,
} from "./index.ts";
import type { KeyOperation, Snapshot } from "./index.ts";

const views = makeViews();
const seed = new Uint8Array(16).fill(3);

type Contents = Readonly<Record<string, string>>;

interface Notes {
  /** Acknowledged, and not to be deleted so far. */
  readonly snapshots: Map<string, { readonly snapshot: Snapshot; readonly contents: Contents }>;
}

interface Store {
  readonly env: Env;
  readonly log: FileEngine;
  readonly blobs: PackBlobStore;
  readonly checkpoints: DiskCheckpoints;
  readonly replica: Replica;
  readonly keys: LocalKeys;
  readonly snapshots: Snapshots;
  readonly keeper: SnapshotKeeper;
}

async function open(env: Env): Promise<Store> {
  const blobs = await PackBlobStore.open(env, "blobs", { packSizeMax: 32_768 });
  const log = await FileEngine.open(env, "log", { segmentSizeMin: 8_192, segmentSizeMax: 16_384 });
  const checkpoints = new DiskCheckpoints(env, "checkpoints");
  const parts = { log, blobs, checkpoints, views: views.all, seed };
  const replica = await Replica.open(env, parts, { checkpointLogSizeMin: Number.POSITIVE_INFINITY });
  const keys = new LocalKeys(env.clock, replica);
  const snapshots = new Snapshots(new LocalSnapshots(replica), views.snapshot);
  const keeper = new SnapshotKeeper(env, replica, views.snapshot);
  return { env, log, blobs, checkpoints, replica, keys, snapshots, keeper };
}

async function close({ log, blobs, replica, keeper }: Store): Promise<void> {
  await keeper.close();
  await replica.close();
  await blobs.close();
  await log.close();
}

async function propose(replica: Replica, body: NonNullable<KeyOperation["operation"]>): Promise<void> {
  const outcome = await replica.propose([operation(views.key, { operation: body })]);
  assert.ok(outcome.ok);
}

/** Changes that a model follows. */
class Writer {
  readonly #replica: Replica;
  contents: Record<string, string> = {};

  constructor(replica: Replica) {
    this.#replica = replica;
  }

  async put(from: number, to: number): Promise<void> {
    for (let index = from; index < to; index++) {
      const [key, value] = [`k${(index * 7) % 40}`, `${index} ${"x".repeat(100)}`];
      await propose(this.#replica, { case: "put", value: { key: utf8(key), value: utf8(value) } });
      this.contents[key] = value;
    }
  }

  /** Nothing but a snapshot holds what was. */
  async compact(): Promise<void> {
    await propose(this.#replica, { case: "compact", value: { revision: this.#replica.revision } });
    await propose(this.#replica, { case: "sweep", value: { limit: 1_000 } });
  }
}

/** Without sealing, each member knows the roots of its snapshots by their checkpoints alone. */
async function run(env: Env, { snapshots: noted }: Notes, sealing: boolean): Promise<void> {
  const store = await open(env);
  const { replica, snapshots } = store;
  if (!sealing) await store.keeper.close();
  const writer = new Writer(replica);
  const create = async (name: string): Promise<Snapshot> => {
    const contents = { ...writer.contents };
    const snapshot = await snapshots.create(name);
    noted.set(name, { snapshot, contents });
    return snapshot;
  };
  const remove = (name: string): Promise<void> => {
    noted.delete(name);
    return snapshots.delete(name);
  };
  await writer.put(0, 25);
  await create("first");
  await writer.put(25, 40);
  await writer.compact();
  // The second of these begins when the snapshot has been made, and before it is written.
  const checkpoints = Promise.all([replica.checkpoint(), replica.checkpoint()]);
  await create("second");
  await writer.put(40, 45);
  await checkpoints;
  await remove("first");
  await replica.checkpoint();
  await writer.put(45, 50);
  await create("third");
  await remove("third");
  const [fourth] = await Promise.all([create("fourth"), replica.checkpoint()]);
  replica.pinAt(fourth.revision)?.release();
  await writer.put(50, 60);
  await writer.compact();
  await replica.checkpoint();
  await collectPages(replica, store.blobs);
  for (let round = 0; round < 3; round++) {
    await writer.put(60 + 3 * round, 63 + 3 * round);
    await replica.checkpoint();
  }
  await close(store);
}

async function contentsAt({ keys }: Store, revision: number): Promise<Contents> {
  const contents: Record<string, string> = {};
  const span = { key: new Uint8Array([0]), end: new Uint8Array(0) };
  for await (const { records } of keys.list({ span, at: revision }, {})) {
    for (const { key, record } of records)
      contents[Buffer.from(key).toString()] = Buffer.from(record?.value ?? []).toString();
  }
  return contents;
}

async function assertWhole(store: Store, { snapshots: noted }: Notes): Promise<void> {
  for (const [name, { snapshot, contents }] of noted) {
    assert.deepEqual(await store.snapshots.get(name), snapshot);
    assert.deepEqual(await contentsAt(store, snapshot.revision), contents, `snapshot ${name}`);
    const pinned = store.replica.pinAt(snapshot.revision);
    assert.ok(pinned !== undefined, `snapshot ${name} is pinned`);
    pinned.release();
  }
  for (const record of (await store.checkpoints.load()).slice(0, 2)) {
    const { problems } = await verify(store.env, store.blobs, rootOf(record));
    assert.deepEqual(problems, [], `the checkpoint at ${record.position}`);
  }
}

/** Pages that are there although nothing needs them, and needed ones that are not. */
async function difference(store: Store): Promise<string[]> {
  const needed = new Set<string>();
  const roots = (await store.checkpoints.load()).map(rootOf);
  for (const { revision, rootHash, count, sealed } of await new LocalSnapshots(store.replica).snapshots({})) {
    assert.ok(sealed, `revision ${revision} is sealed`);
    roots.push({ hash: rootHash, seed, count });
  }
  for (const root of roots) {
    for await (const hashes of reachable(store.blobs, root)) for (const hash of hashes) needed.add(hex(hash));
  }
  const here = new Set<string>();
  for await (const { hash } of store.blobs.list()) here.add(hex(hash));
  return [...needed].filter((hash) => !here.has(hash)).concat([...here].filter((hash) => !needed.has(hash)));
}

async function check(env: Env, notes: Notes): Promise<void> {
  let store = await open(env);
  await assertWhole(store, notes);
  const writer = new Writer(store.replica);
  for (let round = 0; round < 2; round++) {
    await writer.put(100, 104);
    await store.replica.checkpoint();
    await assertWhole(store, notes);
  }
  await collectPages(store.replica, store.blobs);
  await assertWhole(store, notes);
  await close(store);
  store = await open(env);
  await assertWhole(store, notes);
  await untilSealed(store);
  for (let round = 0; round < 2; round++) {
    await new Writer(store.replica).put(200, 203);
    await store.replica.checkpoint();
  }
  assert.ok(await collectPages(store.replica, store.blobs));
  assert.deepEqual(await difference(store), [], "exactly what is needed is there");
  await assertWhole(store, notes);
  await close(store);
}

async function untilSealed({ replica }: Store): Promise<void> {
  while (replica.pins.toSeal().length > 0) {
    await new Promise<void>((resolve) => {
      const stop = replica.pins.onChange(() => {
        stop();
        resolve();
      });
    });
  }
}

for (const sealing of [true, false]) {
  test(`after a crash at any change every acknowledged snapshot has exactly its contents, and nothing is left over (${sealing ? "sealed" : "not sealed"})`, async () => {
    const campaign = { seed: `pins ${sealing}`, drain: nextTurn, digest: new NodeDigest(), recoveryCrashes: true };
    const random = { moments: ["during", "after"], unsynced: ["random"], stride: 7 } as const;
    const lost = { moments: ["after"], unsynced: ["lost"], stride: 11 } as const;
    for (const how of [random, lost]) {
      const { changeCount } = await crashEverywhere(
        { ...campaign, ...how },
        {
          start: (): Notes => ({ snapshots: new Map() }),
          run: (env, notes) => run(env, notes, sealing),
          check,
        },
      );
      assert.ok(changeCount > 60, `${changeCount} changes`);
    }
  });
}
