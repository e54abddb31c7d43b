/** The states that snapshots pin: equal on all members, held against everything, over restarts and installs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, toHex } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import { Prng } from "../sim/index.ts";
import { reachable, verify } from "../tree/index.ts";
import { ClusterLog } from "./cluster-log.suite.ts";
import type { MemberLog } from "./cluster-log.suite.ts";
import { collect, collectPages, Member, randomCommand, rootText } from "./fixture.suite.ts";
import { MemoryCheckpoints, operation, Replica, rootOf, SnapshotKeeper } from "./index.ts";
import type { Operation, ReplicaOptions } from "./index.ts";
import { readSnapshots } from "./snapshot/layout.ts";
import type { NamedSnapshot } from "./snapshot/snapshot-source.ts";

const never: ReplicaOptions = { checkpointLogSizeMin: Number.POSITIVE_INFINITY };

function create({ views }: Member, name: string): Operation {
  return operation(views.snapshot, { operation: { case: "create", value: { name } } });
}

function remove({ views }: Member, name: string): Operation {
  const snapshots = [{ name, revision: 0, lenient: false }];
  return operation(views.snapshot, { operation: { case: "delete", value: { snapshots } } });
}

async function propose(replica: Replica, ...operations: Operation[]): Promise<number> {
  const outcome = await replica.propose(operations);
  if (!outcome.ok) throw new HoldfastError(outcome.code, outcome.message);
  return outcome.revision;
}

async function snapshotsOf(replica: Replica): Promise<NamedSnapshot[]> {
  const { tree, release } = replica.snapshot();
  return readSnapshots(tree).finally(release);
}

/** All entries of a pinned state, as text. */
async function pinnedText(replica: Replica, revision: number): Promise<string> {
  const pinned = replica.pinAt(revision);
  assert.ok(pinned !== undefined, `revision ${revision} is pinned`);
  try {
    const entries = (await collect(pinned.tree.entries())).flat();
    return entries.map(({ key, value }) => `${toHex(key)}=${toHex(value)}`).join("\n");
  } finally {
    pinned.release();
  }
}

async function nowText(replica: Replica): Promise<string> {
  const { tree, release } = replica.snapshot();
  const entries = (await collect(tree.entries())).flat();
  release();
  return entries.map(({ key, value }) => `${toHex(key)}=${toHex(value)}`).join("\n");
}

async function sealed(replica: Replica): Promise<void> {
  while ((await snapshotsOf(replica)).some((snapshot) => !snapshot.sealed)) await new Promise(setImmediate);
}

async function hashesOf(blobs: BlobStore): Promise<Set<string>> {
  return new Set((await collect(blobs.list())).map(({ hash }) => toHex(hash)));
}

test("members that take checkpoints and restart as they like pin the same states, under the same roots", async () => {
  for (const seed of ["one", "two", "three"]) {
    const dice = new Prng(seed);
    const cluster = new ClusterLog();
    const members = ["a", "b", "c"].map((name) => new Member(`${seed}/${name}`, cluster.member()));
    const [a] = members as [Member, Member, Member];
    const replicas = await Promise.all(members.map((member) => member.open(never)));
    const revisions: number[] = [];
    for (let step = 0; step < 60; step++) {
      await replicas[0]?.propose(randomCommand(dice, a));
      if (dice.chance(0.2)) revisions.push(await propose(replicas[0] as Replica, create(a, `s${step}`)));
      for (const [index, replica] of replicas.entries()) {
        if (dice.chance(0.2)) void replica.checkpoint();
        if (!dice.chance(0.05)) continue;
        await replica.linearize();
        await replica.close();
        replicas[index] = await (members[index] as Member).open({ ...never, cacheSizeMax: 4_096 });
      }
    }
    await Promise.all(replicas.map((replica) => replica.linearize()));
    await Promise.all(replicas.map((replica) => replica.checkpoint()));
    assert.ok(revisions.length > 5);
    const roots = replicas.map((replica) => {
      const seals = replica.pins.toSeal();
      return seals.map(({ revision, root }) => `${revision} ${toHex(root.hash ?? new Uint8Array(0))} ${root.count}`);
    });
    assert.equal(roots[0]?.length, revisions.length);
    assert.deepEqual(roots[1], roots[0]);
    assert.deepEqual(roots[2], roots[0]);
    for (const revision of revisions) {
      const texts = await Promise.all(replicas.map((replica) => pinnedText(replica, revision)));
      assert.equal(new Set(texts).size, 1);
    }
    for (const replica of replicas) await replica.close();
  }
});

test("a member that has another root for a snapshot than the log says has diverged, and stops", async () => {
  const member = new Member("diverged");
  const replica = await member.open(never);
  const revision = await propose(replica, create(member, "s"));
  await replica.checkpoint();
  const value = { name: "s", revision, rootHash: new Uint8Array(32), count: 1 };
  void replica.propose([operation(member.views.snapshot, { operation: { case: "seal", value } })]).catch(() => {});
  const failure = await replica.failed;
  assert.match(failure.message, /snapshot "s" of revision 1 has the root [0-9a-f]{64} here.*diverged/);
  await replica.close();
});

test("a snapshot can be read at once, while nothing of it is written, and is the state behind its command", async () => {
  const member = new Member("at once");
  const replica = await member.open(never);
  let held = true;
  const waiting: (() => void)[] = [];
  const sync = member.blobs.sync.bind(member.blobs);
  member.blobs.sync = async () => {
    if (held) await new Promise<void>((resolve) => waiting.push(resolve));
    await sync();
  };
  await propose(replica, member.put("a", "before"));
  const checkpoint = replica.checkpoint();
  await propose(replica, member.put("a", "with"));
  const revision = await propose(replica, create(member, "s"), member.put("b", "with it"));
  const text = await nowText(replica);
  const early = replica.pinAt(revision);
  assert.ok(early !== undefined);
  await propose(replica, member.put("a", "behind"), member.put("b", "behind"));
  assert.equal(await pinnedText(replica, revision), text);
  held = false;
  for (const resolve of waiting) resolve();
  await checkpoint;
  await replica.checkpoint();
  assert.equal(replica.pins.toSeal().length, 1, "it is written");
  assert.equal(await pinnedText(replica, revision), text);
  assert.equal((await collect(early.tree.entries())).flat().length, early.tree.entryCount);
  early.release();
  await replica.close();
  const again = await member.open(never);
  assert.equal(await pinnedText(again, revision), text);
  await again.close();
});

test("what is pinned stays, also while it is read and deleted; then it goes, with the last checkpoint that has it", async () => {
  const member = new Member("deleted");
  const replica = await member.open({ ...never, cacheSizeMax: 1_000 });
  const keeper = new SnapshotKeeper(member.env, replica, member.views.snapshot);
  for (let index = 0; index < 500; index++) await propose(replica, member.put(`k${index}`, `value ${index}`));
  const revision = await propose(replica, create(member, "s"));
  await sealed(replica);
  const [snapshot] = await snapshotsOf(replica);
  const root = { hash: snapshot?.rootHash ?? null, seed: replica.lastCheckpoint.seed, count: snapshot?.count ?? 0 };
  const isWhole = async () => (await verify(member.env, member.blobs, root)).problems.length === 0;
  const change = async (value: string) => {
    for (let index = 0; index < 500; index += 3) await propose(replica, member.put(`k${index}`, value));
    await replica.checkpoint();
  };
  for (const value of ["1", "2", "3"]) await change(value);
  assert.ok(replica.leftCount > 0, "pages are left to a collection");
  assert.ok(await collectPages(replica, member.blobs));
  assert.equal(replica.leftCount, 0);
  assert.ok(await isWhole());
  const reading = replica.pinAt(revision);
  assert.ok(reading !== undefined);
  await propose(replica, remove(member, "s"));
  assert.equal(replica.pinAt(revision), undefined);
  await collectPages(replica, member.blobs);
  for (const value of ["4", "5", "6"]) {
    await change(value);
    await collectPages(replica, member.blobs);
  }
  assert.ok(await isWhole(), "it is read");
  assert.equal((await collect(reading.tree.entries())).flat().length, root.count);
  reading.release();
  await collectPages(replica, member.blobs);
  assert.ok(!(await isWhole()));
  // And one that nobody reads, as long as a start may begin with a checkpoint that has it.
  const second = await propose(replica, create(member, "t"));
  await sealed(replica);
  const text = await pinnedText(replica, second);
  for (const value of ["7", "8"]) await change(value);
  const [newest] = await member.checkpoints.load();
  await propose(replica, remove(member, "t"));
  await collectPages(replica, member.blobs);
  const before = new Member("deleted/before", member.log);
  assert.ok(newest !== undefined);
  await before.checkpoints.save(newest);
  const opened = await Replica.open(
    before.env,
    { log: new ClusterLog().member(), blobs: member.blobs, checkpoints: before.checkpoints, views: before.views.all },
    never,
  );
  assert.equal(await pinnedText(opened, second), text);
  await opened.close();
  await keeper.close();
  await replica.close();
});

test("a start from the older checkpoint finds and makes again what was pinned", async () => {
  const member = new Member("older");
  const first = await member.open(never);
  const texts = new Map<number, string>();
  const make = async (name: string) => {
    await propose(first, member.put("k", name));
    texts.set(await propose(first, create(member, name)), await nowText(first));
    await propose(first, member.put("k", `behind ${name}`));
    await first.checkpoint();
  };
  for (const name of ["a", "b", "c"]) await make(name);
  await first.close();
  const kept = await member.checkpoints.load();
  assert.equal(kept.length, 2 + 2, "the newest two, and two snapshots of which the log does not know the roots");
  const checkpoints = new MemoryCheckpoints();
  const positions = kept.map(({ position }) => position);
  for (const record of kept.slice(1)) await checkpoints.save(record, { keep: new Set(positions) });
  const { env, log, blobs, views } = member;
  const replica = await Replica.open(env, { log, blobs, checkpoints, views: views.all }, never);
  await replica.checkpoint();
  assert.equal(replica.pins.toSeal().length, 3);
  for (const [revision, text] of texts) assert.equal(await pinnedText(replica, revision), text);
  await replica.close();
});

test("many snapshots, some of one revision, are kept over a restart and go when they are deleted", async () => {
  const member = new Member("many");
  let replica = await member.open(never);
  const keeper = new SnapshotKeeper(member.env, replica, member.views.snapshot);
  const texts = new Map<number, string>();
  for (let index = 0; index < 100; index++) {
    await propose(replica, member.put(`k${index % 17}`, String(index)));
    const names = index === 50 ? ["50", "50 too"] : [String(index)];
    const revision = await propose(replica, ...names.map((name) => create(member, name)));
    texts.set(revision, await nowText(replica));
  }
  await sealed(replica);
  await keeper.close();
  await replica.checkpoint();
  await collectPages(replica, member.blobs);
  await replica.close();
  replica = await member.open(never);
  assert.equal((await snapshotsOf(replica)).length, 101);
  for (const [revision, text] of texts) assert.equal(await pinnedText(replica, revision), text);
  const [, fiftieth] = [...texts.keys()].slice(49, 51);
  await propose(replica, remove(member, "50"));
  assert.equal(await pinnedText(replica, fiftieth as number), texts.get(fiftieth as number));
  for (const { name } of await snapshotsOf(replica)) await propose(replica, remove(member, name));
  for (const value of ["x", "y"]) {
    await propose(replica, member.put("k", value));
    await replica.checkpoint();
  }
  assert.equal((await member.checkpoints.load()).length, 2);
  assert.ok(await collectPages(replica, member.blobs));
  const needed = new Set<string>();
  for (const record of await member.checkpoints.load()) {
    for await (const hashes of reachable(member.blobs, rootOf(record)))
      for (const hash of hashes) needed.add(toHex(hash));
  }
  assert.deepEqual(await hashesOf(member.blobs), needed);
  await replica.close();
});

test("on a full disk so many snapshots wait, then applying does; reads and closing do not", async () => {
  const member = new Member("full");
  const replica = await member.open(never);
  let full = true;
  const put = member.blobs.put.bind(member.blobs);
  member.blobs.put = async (hash, bytes) => {
    if (full) throw new HoldfastError("exhausted", "the disk is full");
    await put(hash, bytes);
  };
  await propose(replica, member.put("k", "x"));
  const revisions: number[] = [];
  for (let index = 0; index < 8; index++) {
    await propose(replica, member.put("k", String(index)));
    revisions.push(await propose(replica, create(member, String(index))));
  }
  const stuck = propose(replica, member.put("k", "stuck"));
  await assert.rejects(replica.checkpoint(), { code: "exhausted" });
  const start = await replica.beginCollection([member.blobs]);
  assert.equal(start?.frozen.length, 8, "what waits for space does not hold up what frees it");
  assert.equal(start.frozen[3]?.position, 9);
  start.release();
  assert.equal(replica.applied, 17, "the last has been made, and nothing is applied behind it");
  await pinnedText(replica, revisions[3] as number);
  full = false;
  await replica.checkpoint();
  await stuck;
  assert.equal(replica.pins.toSeal().length, 8);
  full = true;
  for (let index = 8; index < 16; index++) await propose(replica, create(member, String(index)));
  const late = propose(replica, member.put("k", "late"));
  await replica.close();
  await late;
  full = false;
  const again = await member.open(never);
  await again.checkpoint();
  assert.equal(again.pins.toSeal().length, 16, "what was not written is made again");
  await again.close();
});

interface Side {
  readonly member: Member;
  readonly log: MemberLog;
  replica: Replica;
}

async function openPair(name: string): Promise<readonly [Side, Side]> {
  const cluster = new ClusterLog();
  const open = async (which: string): Promise<Side> => {
    const log = cluster.member();
    const member = new Member(`${name}/${which}`, log);
    return { member, log, replica: await member.open(never) };
  };
  return [await open("a"), await open("b")];
}

async function copyPages(from: Side, to: Side, root: Parameters<typeof reachable>[1]): Promise<void> {
  for await (const hashes of reachable(from.member.blobs, root)) {
    for (const hash of hashes) {
      const bytes = await from.member.blobs.get(hash);
      if (bytes !== undefined) await to.member.blobs.put(hash, bytes);
    }
  }
}

test("a state that is installed brings snapshots whose pages have to be fetched; those known here need none", async () => {
  const [a, b] = await openPair("install");
  const make = async (name: string) => {
    for (let index = 0; index < 40; index++) await propose(a.replica, a.member.put(`k${index}`, `${name} ${index}`));
    return propose(a.replica, create(a.member, name));
  };
  const gone = await make("gone");
  const known = await make("known");
  await b.replica.linearize();
  const knownText = await pinnedText(a.replica, known);
  b.log.cutOff();
  await propose(a.replica, remove(a.member, "gone"));
  const lacking = await make("lacking");
  await propose(a.replica, a.member.put("k", "x"));
  const keeper = new SnapshotKeeper(a.member.env, a.replica, a.member.views.snapshot);
  a.log.setPrimary(true);
  await sealed(a.replica);
  await keeper.close();
  const unknown = await make("unknown");
  await propose(a.replica, a.member.put("k", "y"));
  const lackingText = await pinnedText(a.replica, lacking);
  const record = await a.replica.checkpoint();
  const release = await b.replica.holdBlobs();
  await copyPages(a, b, rootOf(record));
  await b.replica.install(record);
  release();
  b.log.jump(record.position);
  assert.equal(b.replica.pinAt(gone), undefined);
  assert.equal(await pinnedText(b.replica, known), knownText);
  const unavailable = (revision: number, message: RegExp) =>
    assert.throws(() => b.replica.pinAt(revision), { code: "unavailable", message });
  unavailable(lacking, /snapshot "lacking" is not on this member yet: its pages are being fetched/);
  unavailable(unknown, /snapshot "unknown".*no member that has it has said its root/);
  // It is lacking still after a restart, and what has come of it is not collected.
  await b.replica.close();
  b.replica = await b.member.open(never);
  unavailable(lacking, /lacking/);
  const [fetch] = b.replica.pins.toFetch();
  assert.deepEqual([fetch?.revision, fetch?.name], [lacking, "lacking"]);
  assert.ok(fetch !== undefined);
  const rootPage = await a.member.blobs.get(fetch.root.hash as Uint8Array);
  await b.member.blobs.put(fetch.root.hash as Uint8Array, rootPage as Uint8Array);
  assert.ok(await collectPages(b.replica, b.member.blobs));
  assert.ok(await b.member.blobs.has(fetch.root.hash as Uint8Array));
  const hold = await b.replica.holdBlobs();
  await copyPages(a, b, fetch.root);
  b.replica.pins.fetched(fetch.revision);
  hold();
  assert.equal(await pinnedText(b.replica, lacking), lackingText);
  await propose(a.replica, a.member.put("k", "z"));
  await b.replica.linearize();
  await b.replica.checkpoint();
  await b.replica.close();
  b.replica = await b.member.open(never);
  assert.equal(await pinnedText(b.replica, lacking), lackingText);
  assert.deepEqual(b.replica.pins.toFetch(), []);
  // The log says the root of the other in the end.
  const again = new SnapshotKeeper(a.member.env, a.replica, a.member.views.snapshot);
  await sealed(a.replica);
  await again.close();
  await b.replica.linearize();
  assert.deepEqual(
    b.replica.pins.toFetch().map(({ name }) => name),
    ["unknown"],
  );
  await Promise.all([a.replica.close(), b.replica.close()]);
});

test("snapshots that wait are written before a state is installed, and compared with what it says of them", async () => {
  const [a, b] = await openPair("compare");
  for (let index = 0; index < 30; index++) await propose(a.replica, a.member.put(`k${index}`, "x"));
  let held = true;
  const waiting: (() => void)[] = [];
  const sync = b.member.blobs.sync.bind(b.member.blobs);
  b.member.blobs.sync = async () => {
    if (held) await new Promise<void>((resolve) => waiting.push(resolve));
    await sync();
  };
  const revision = await propose(a.replica, create(a.member, "s"));
  await b.replica.linearize();
  b.log.cutOff();
  const keeper = new SnapshotKeeper(a.member.env, a.replica, a.member.views.snapshot);
  a.log.setPrimary(true);
  await sealed(a.replica);
  await keeper.close();
  const record = await a.replica.checkpoint();
  held = false;
  for (const resolve of waiting) resolve();
  const release = await b.replica.holdBlobs();
  await copyPages(a, b, rootOf(record));
  await b.replica.install(record);
  release();
  b.log.jump(record.position);
  assert.deepEqual(b.replica.pins.toFetch(), []);
  assert.equal(await pinnedText(b.replica, revision), await pinnedText(a.replica, revision));
  await b.replica.linearize();
  assert.equal(await rootText(b.replica), await rootText(a.replica));
  await Promise.all([a.replica.close(), b.replica.close()]);
});

test("a collection is not begun while somebody holds the blobs, and stops before they are held or a state is installed", async () => {
  const [a, b] = await openPair("stop");
  for (let index = 0; index < 30; index++) await propose(a.replica, a.member.put(`k${index}`, "x"));
  await b.replica.linearize();
  const release = await b.replica.holdBlobs();
  assert.equal(await b.replica.beginCollection([b.member.blobs]), undefined);
  release();
  const start = await b.replica.beginCollection([b.member.blobs]);
  assert.ok(start !== undefined && start.mayDelete());
  assert.equal(await b.replica.beginCollection([b.member.blobs]), undefined, "one at a time");
  let isHeld = false;
  const holding = b.replica.holdBlobs().then((free) => {
    isHeld = true;
    return free;
  });
  assert.equal(start.mayDelete(), false);
  assert.ok(start.signal.aborted);
  await b.replica.checkpoint();
  assert.equal(isHeld, false);
  start.release();
  start.release();
  (await holding)();
  b.log.cutOff();
  const next = await b.replica.beginCollection([b.member.blobs]);
  await propose(a.replica, a.member.put("k", "y"));
  const record = await a.replica.checkpoint();
  await copyPages(a, b, rootOf(record));
  const installing = b.replica.install(record);
  await new Promise<void>((resolve) => next?.signal.addEventListener("abort", () => resolve()));
  assert.ok(b.replica.applied < record.position);
  next?.release();
  await installing;
  const last = await b.replica.beginCollection([b.member.blobs]);
  await b.replica.close();
  assert.equal(last?.mayDelete(), false, "closing stops it");
  last?.release();
  await a.replica.close();
});

test("pages that a reader needs stay through checkpoints and collections, whenever it began", async () => {
  for (const seed of ["r1", "r2", "r3"]) {
    const dice = new Prng(seed);
    const member = new Member(seed);
    const replica = await member.open({ ...never, cacheSizeMax: 1_000 });
    const readers: { readonly held: ReturnType<Replica["snapshot"]>; readonly text: string }[] = [];
    let snapshotCount = 0;
    for (let step = 0; step < 120; step++) {
      await replica.propose(randomCommand(dice, member));
      const chance = dice.below(10);
      if (chance === 0) void replica.checkpoint();
      else if (chance === 1) await replica.checkpoint();
      else if (chance === 2) await collectPages(replica, member.blobs);
      else if (chance === 3) await propose(replica, create(member, `s${snapshotCount++}`));
      else if (chance === 4) await replica.propose([remove(member, `s${dice.below(snapshotCount + 1)}`)]);
      else if (chance === 5) readers.push({ held: replica.snapshot(), text: await nowText(replica) });
      else if (chance === 6 && readers.length > 3) readers.splice(dice.below(readers.length), 1)[0]?.held.release();
    }
    await replica.checkpoint();
    await collectPages(replica, member.blobs);
    for (const { held, text } of readers) {
      const entries = (await collect(held.tree.entries())).flat();
      assert.equal(entries.map(({ key, value }) => `${toHex(key)}=${toHex(value)}`).join("\n"), text);
      held.release();
    }
    for (const record of (await member.checkpoints.load()).slice(0, 2)) {
      assert.deepEqual((await verify(member.env, member.blobs, rootOf(record))).problems, []);
    }
    for (const { revision } of await snapshotsOf(replica)) await pinnedText(replica, revision);
    await replica.close();
  }
});
