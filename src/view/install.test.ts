/** A state that other members have made takes the place of the running one: what goes on, and what is told to whom. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, HoldfastError, position, toHex } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import type { BlobStore } from "../blob/index.ts";
import { Prng } from "../sim/index.ts";
import { reachable, verify } from "../tree/index.ts";
import { ClusterLog } from "./cluster-log.suite.ts";
import type { MemberLog } from "./cluster-log.suite.ts";
import {
  collect,
  collectPages,
  Member,
  openSession,
  plain,
  randomCommand,
  rootText,
  scale,
  utf8,
} from "./fixture.suite.ts";
import { LocalKeys, MemoryCheckpoints, Replica, rootOf } from "./index.ts";
import type { CheckpointRecord, CommandOutcome, ReplicaOptions, SessionStamp } from "./index.ts";

/** A member and its log. */
interface Side {
  readonly member: Member;
  readonly log: MemberLog;
  readonly replica: Replica;
}

async function openSide(cluster: ClusterLog, name: string, options: ReplicaOptions = {}): Promise<Side> {
  const log = cluster.member();
  const member = new Member(name, log);
  return { member, log, replica: await member.open(options) };
}

/** Two members, the second of which is about to be left behind. */
async function openPair(name: string, options: ReplicaOptions = {}): Promise<readonly [Side, Side]> {
  const cluster = new ClusterLog();
  return [await openSide(cluster, `${name}/a`, options), await openSide(cluster, `${name}/b`, options)];
}

async function copyBlobs(from: BlobStore, to: BlobStore): Promise<void> {
  for await (const { hash } of from.list()) {
    const bytes = await from.get(hash);
    // What has been deleted meanwhile belongs to no checkpoint.
    if (bytes !== undefined && !(await to.has(hash))) await to.put(hash, bytes.slice());
  }
  await to.sync();
}

/** What the member does that was left behind: a checkpoint of the other one, with all pages. */
async function fetch(from: Side, to: Side): Promise<CheckpointRecord> {
  const record = await from.replica.checkpoint();
  await copyBlobs(from.member.blobs, to.member.blobs);
  return record;
}

async function putAll({ member, replica }: Side, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index++) await replica.propose([member.put(`k${index % 50}`, `value ${index}`)]);
}

async function hashesOf(blobs: BlobStore): Promise<string[]> {
  return (await collect(blobs.list())).map(({ hash }) => toHex(hash)).toSorted();
}

/** What the two checkpoints that are kept need. */
async function needed({ member }: Side): Promise<string[]> {
  const hashes = new Set<string>();
  for (const record of await member.checkpoints.load()) {
    for await (const batch of reachable(member.blobs, rootOf(record)))
      for (const hash of batch) hashes.add(toHex(hash));
  }
  return [...hashes].toSorted();
}

async function assertSame(a: Side, b: Side): Promise<void> {
  await Promise.all([a.replica.linearize(), b.replica.linearize()]);
  assert.equal(await rootText(b.replica), await rootText(a.replica));
}

const unknownOutcome = { code: "unavailable", maybe: true };

for (const order of ["the log jumps first", "the log jumps last"] as const) {
  test(`a member that was left behind takes over a newer state and goes on with the log (${order})`, async () => {
    const [a, b] = await openPair(`left ${order}`);
    await putAll(a, 0, 60);
    const session = await openSession(a.replica);
    await b.replica.linearize();
    b.log.cutOff();
    await putAll(a, 60, 300);
    const stamp = { session, sequence: 1, acknowledgedBelow: 1 };
    const answered = await a.replica.propose([a.member.put("stamped", "x")], { stamp });
    const record = await fetch(a, b);
    await putAll(a, 300, 320);
    if (order === "the log jumps first") b.log.jump(record.position);
    // Old, but whole, and what waits for the new state waits.
    const old = b.replica.snapshot();
    assert.deepEqual([b.replica.applied, b.replica.revision, old.revision], [61, 60, 60]);
    const fresh = order === "the log jumps first" ? b.replica.linearize() : undefined;
    await b.replica.install(record);
    assert.deepEqual((await b.member.checkpoints.load())[0], record);
    assert.equal(b.replica.lastCheckpoint, record);
    assert.ok(b.replica.applied >= record.position);
    if (order === "the log jumps last") b.log.jump(record.position);
    await fresh;
    await b.replica.linearize();
    assert.equal(b.replica.revision, 321);
    assert.equal(b.replica.sessionCount, 1);
    const again = await b.replica.propose([b.member.put("stamped", "y")], { stamp });
    assert.equal(plain(again), plain(answered), "a command that comes again is found in the sessions of the new state");
    await putAll(b, 320, 340);
    await assertSame(a, b);
    // The state before is still there for who reads it, and is deleted when nobody does.
    assert.equal((await collect(old.tree.entries())).flat().length, old.tree.entryCount);
    old.release();
    await putAll(a, 340, 350);
    await assertSame(a, b);
    assert.deepEqual(await hashesOf(b.member.blobs), await needed(b));
    await b.replica.close();
    const restarted = await b.member.open();
    assert.equal(restarted.revision, a.replica.revision);
    await restarted.close();
    await a.replica.close();
  });
}

test("what only the old state needed is collected, unless somebody reads it", async () => {
  const [a, b] = await openPair("garbage");
  await putAll(a, 0, 200);
  await b.replica.linearize();
  await b.replica.checkpoint();
  b.log.cutOff();
  for (let index = 0; index < 50; index++) await a.replica.propose([a.member.remove(`k${index}`)]);
  await a.replica.propose([a.member.key({ case: "compact", value: { revision: a.replica.revision } })]);
  await a.replica.propose([a.member.key({ case: "sweep", value: { limit: 1_000 } })]);
  const record = await fetch(a, b);
  const old = b.replica.snapshot();
  await b.replica.install(record);
  b.log.jump(record.position);
  const before = (await hashesOf(b.member.blobs)).length;
  for (let round = 0; round < 3; round++) {
    await putAll(b, 0, 20);
    await b.replica.checkpoint();
    assert.equal(Number.isFinite(b.replica.leftCount), round > 0, "what was left by the install is unknown");
    assert.ok(await collectPages(b.replica, b.member.blobs));
    assert.ok((await hashesOf(b.member.blobs)).length >= before, "a snapshot of the old state needs its pages");
  }
  assert.equal((await collect(old.tree.entries())).flat().length, old.tree.entryCount);
  old.release();
  const young = b.replica.snapshot();
  await putAll(b, 0, 1);
  await b.replica.checkpoint();
  assert.ok(await collectPages(b.replica, b.member.blobs));
  assert.deepEqual(await hashesOf(b.member.blobs), await needed(b), "a younger snapshot is no obstacle");
  assert.equal((await collect(young.tree.entries())).flat().length, young.tree.entryCount);
  young.release();
  await b.replica.close();
  await a.replica.close();
});

test("checkpoints behind an install leave a snapshot from before it its pages", async () => {
  // So little memory that the snapshot has to read them.
  const [a, b] = await openPair("snapshot", { cacheSizeMax: 1_000 });
  for (let index = 0; index < 1_500; index++) await a.replica.propose([a.member.put(`k${index}`, `value ${index}`)]);
  await b.replica.linearize();
  await b.replica.checkpoint();
  b.log.cutOff();
  await a.replica.propose([a.member.put("k", "x")]);
  const record = await fetch(a, b);
  const old = b.replica.snapshot();
  await b.replica.install(record);
  b.log.jump(record.position);
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 1_500; index += 10) await b.replica.propose([b.member.put(`k${index}`, "new")]);
    await b.replica.checkpoint();
    assert.ok(await collectPages(b.replica, b.member.blobs));
  }
  assert.equal((await collect(old.tree.entries())).flat().length, old.tree.entryCount);
  old.release();
  await putAll(b, 0, 1);
  await b.replica.checkpoint();
  assert.ok(await collectPages(b.replica, b.member.blobs));
  assert.deepEqual(await hashesOf(b.member.blobs), await needed(b));
  await b.replica.close();
  await a.replica.close();
});

test("without the checkpoint that was installed the member is to be replaced: the log here begins at it", async () => {
  const [a, b] = await openPair("damaged");
  await putAll(b, 0, 10);
  const older = await b.replica.checkpoint();
  b.log.cutOff();
  await putAll(a, 10, 50);
  const record = await fetch(a, b);
  await b.replica.install(record);
  b.log.jump(record.position);
  await b.replica.close();
  const checkpoints = new MemoryCheckpoints();
  await checkpoints.save(older);
  const { env, log, blobs, views } = b.member;
  await assert.rejects(Replica.open(env, { log, blobs, checkpoints, views: views.all }), {
    code: "corrupt",
    message: /positions 50 to 50, but the last checkpoint is at 10: a newer one is damaged.*replace the member/,
  });
  await a.replica.close();
});

test("while somebody holds the blobs none is deleted, and none in the middle of the holding", async () => {
  const [a] = await openPair("held");
  await putAll(a, 0, 100);
  await a.replica.checkpoint();
  await putAll(a, 0, 100);
  await a.replica.checkpoint();
  await putAll(a, 0, 100);
  // It deletes what the first one needed, before the blobs are held.
  const taking = a.replica.checkpoint();
  const release = await a.replica.holdBlobs();
  await taking;
  const held = await hashesOf(a.member.blobs);
  for (let round = 0; round < 3; round++) {
    await putAll(a, 0, 100);
    await a.replica.checkpoint();
  }
  const later = new Set(await hashesOf(a.member.blobs));
  assert.ok(held.every((hash) => later.has(hash)));
  release();
  release();
  for (let round = 0; round < 2; round++) {
    await putAll(a, 0, 100);
    await a.replica.checkpoint();
  }
  assert.deepEqual(await hashesOf(a.member.blobs), await needed(a));
  await a.replica.close();
});

test("a state that is not newer, another store's, or not whole does not take the place of the one here", async () => {
  const [a, b] = await openPair("refused");
  await putAll(a, 0, 100);
  const early = await fetch(a, b);
  await putAll(a, 100, 150);
  await b.replica.linearize();
  await b.replica.install(early);
  assert.equal(b.replica.applied, 150);
  assert.equal(b.replica.lastCheckpoint.position, 150, "what is as new is durable");
  await b.replica.install(early);
  assert.equal((await b.member.checkpoints.load()).length, 2);
  b.log.cutOff();
  await putAll(a, 150, 250);
  const record = await a.replica.checkpoint();
  await assert.rejects(b.replica.install({ ...record, seed: new Uint8Array(16) }), { code: "invalid" });
  await assert.rejects(b.replica.install(record), { code: "notFound" });
  await copyBlobs(a.member.blobs, b.member.blobs);
  const save = b.member.checkpoints.save.bind(b.member.checkpoints);
  b.member.checkpoints.save = () => Promise.reject(new HoldfastError("exhausted", "no space"));
  await assert.rejects(b.replica.install(record), { code: "exhausted" });
  b.member.checkpoints.save = save;
  assert.equal(b.replica.revision, 150);
  b.log.heal();
  // It goes on by itself with the log that is still there.
  await b.replica.linearize();
  assert.equal(b.replica.revision, 250);
  await assertSame(a, b);
  await b.replica.close();
  await a.replica.close();
  await assert.rejects(b.replica.install({ ...record, position: 1_000 }), { code: "unavailable" });
});

/** Holds up the next `get` of a store until the function that it gives is called, which says what it then finds. */
function holdGet(blobs: MemoryBlobStore, found: "found" | "gone"): () => void {
  const get = blobs.get.bind(blobs);
  const gate = deferred<void>();
  blobs.get = async (hash) => {
    blobs.get = get;
    await gate.promise;
    return found === "found" ? blobs.get(hash) : undefined;
  };
  return () => gate.resolve();
}

test("who waits for what the new state has goes on at once, also who waits for a page of the old one", async () => {
  const [a, b] = await openPair("waiting");
  await putAll(a, 0, 400);
  await b.replica.linearize();
  await b.replica.close();
  const replica = await b.member.open({ cacheSizeMax: 1 });
  await replica.checkpoint();
  replica.tree.trimCache();
  b.log.cutOff();
  await putAll(a, 400, 450);
  const record = await fetch(a, b);
  // Nothing follows in the log.
  b.log.jump(record.position);
  const fresh = replica.linearize();
  const goOn = holdGet(b.member.blobs, "gone");
  const whole = new Uint8Array([16, 0x6b, ...utf8("k7")]);
  const read = replica.read((tree) => tree.get(whole));
  await replica.install(record);
  await fresh;
  goOn();
  assert.match(Buffer.from((await read) as Uint8Array).toString("latin1"), /value 407/);
  await replica.close();
  await a.replica.close();
});

test("a state that is overtaken while it is opened is not installed: nothing goes back", async () => {
  const [a, b] = await openPair("overtaken");
  b.log.cutOff();
  await putAll(a, 0, 50);
  const record = await fetch(a, b);
  const goOn = holdGet(b.member.blobs, "found");
  const installing = b.replica.install(record);
  await putAll(a, 50, 60);
  b.log.heal();
  await b.replica.linearize();
  goOn();
  await installing;
  assert.equal(b.replica.applied, 60);
  assert.equal((await b.member.checkpoints.load())[0]?.position, 60);
  await putAll(b, 60, 70);
  await assertSame(a, b);
  await b.replica.close();
  await a.replica.close();
});

test("a state is installed although commands wait for the checkpoint before it", async () => {
  const [a, b] = await openPair("pressing", { dirtySizeMax: 30_000 });
  const { blobs } = b.member;
  const put = blobs.put.bind(blobs);
  const gate = deferred<void>();
  blobs.put = (hash, bytes) => gate.promise.then(() => put(hash, bytes));
  // A checkpoint that cannot be written yet.
  await putAll(a, 0, 1);
  await b.replica.linearize();
  const taking = b.replica.checkpoint();
  b.log.cutOff();
  await a.replica.propose([a.member.put("large", new Uint8Array(40_000))]);
  await putAll(a, 2, 50);
  const record = await a.replica.checkpoint();
  for await (const { hash } of a.member.blobs.list()) {
    await put(hash, (await a.member.blobs.get(hash)) as Uint8Array);
  }
  const installing = b.replica.install(record);
  // So much changes meanwhile that the next command waits for all that is to be written and installed.
  b.log.see(2);
  while (b.replica.applied < 2) await new Promise(setImmediate);
  gate.resolve();
  await taking;
  await installing;
  assert.equal(b.replica.applied, 50);
  b.log.jump(50);
  await assertSame(a, b);
  await b.replica.close();
  await a.replica.close();
});

test("a disk that fails while a state is installed stops the replica", async () => {
  const [a, b] = await openPair("failing");
  b.log.cutOff();
  await putAll(a, 0, 50);
  const record = await fetch(a, b);
  b.member.checkpoints.save = () => Promise.reject(new HoldfastError("unavailable", "the disk is gone"));
  await assert.rejects(b.replica.install(record), { code: "unavailable" });
  assert.match((await b.replica.failed).message, /the disk is gone/);
  await b.replica.close();
  await a.replica.close();
});

/** What becomes of a proposal, in one word. */
function fate(outcome: Promise<CommandOutcome>): Promise<string> {
  return outcome.then(
    ({ ok }) => (ok ? "applied" : "refused"),
    (error: unknown) => {
      assert.ok(error instanceof HoldfastError && error.code === "unavailable");
      return error.maybe ? "unknown" : "not taken";
    },
  );
}

test("proposals under way are answered, or told that nobody here knows, by their place in the log", async () => {
  const [a, b] = await openPair("under way");
  const { member, replica, log } = b;
  const propose = async (key: string, stamp?: SessionStamp) => {
    const told = fate(replica.propose([member.put(key, "x")], stamp === undefined ? {} : { stamp }));
    await new Promise(setImmediate);
    return { told };
  };
  const session = await openSession(a.replica);
  const stamp = { session, sequence: 1, acknowledgedBelow: 1 };
  await replica.linearize();
  // Applied before its append is answered: the answer, whatever it is, comes too late to matter.
  log.holdAnswers();
  const applied = await propose("applied");
  log.giveUp();
  assert.equal(await applied.told, "applied");
  // In the log, and not seen here before the state jumps over it: one whose place is known, and two whose is not yet.
  const seeAgain = seeNothing(b);
  const early = await propose("early");
  log.answer();
  log.holdAnswers();
  const unanswered = await propose("unanswered");
  const stamped = await propose("stamped", stamp);
  log.cutOff();
  await putAll(a, 5, 40);
  const record = await fetch(a, b);
  // Not in the log yet, and behind the new state later.
  const behind = await propose("behind");
  seeAgain();
  await replica.install(record);
  assert.equal(await early.told, "unknown");
  log.answer();
  assert.deepEqual([await unanswered.told, await stamped.told], ["unknown", "unknown"]);
  log.jump(record.position);
  assert.equal(await behind.told, "applied");
  // The retry in the session finds what became of it.
  const { revision } = replica;
  assert.equal(await (await propose("stamped", stamp)).told, "applied");
  assert.equal(replica.revision, revision);
  await assertSame(a, b);
  for (const key of ["applied", "early", "unanswered", "stamped", "behind"]) {
    const whole = new Uint8Array([16, 0x6b, ...utf8(key)]);
    assert.ok(await replica.read((tree) => tree.has(whole)), key);
  }
  await replica.close();
  await a.replica.close();
});

/** Has the log show nothing new from now on, while what is appended gets into it, until the function that it gives is called. */
function seeNothing({ log }: Side): () => void {
  const grown = log.grown.bind(log);
  log.grown = () => {};
  return () => {
    log.grown = grown;
  };
}

for (const seed of Array.from({ length: 3 * scale }, (_, index) => `jumps ${index}`)) {
  test(`whenever a state is installed, it is the state of the log, and every watcher sees every change (${seed})`, async () => {
    const dice = new Prng(seed);
    const [cacheSizeMax, dirtySizeMax] = [dice.pick([4_096, 1_000_000]), dice.pick([10_000, 1_000_000])];
    const options = { cacheSizeMax, dirtySizeMax, checkpointLogSizeMin: 8_192 };
    const [a, b] = await openPair(seed, options);
    const keys = new LocalKeys(b.member.env.clock, b.replica);
    const stop = new AbortController();
    const seen: number[][] = [[], []];
    const watching = seen.map(async (revisions, index) => {
      const span = { key: utf8("k"), end: utf8(index === 0 ? "l" : "k2") };
      const query = { span, from: 1, previous: index === 0, progressMs: undefined };
      try {
        for await (const { revision, events } of keys.watch(query, stop.signal)) {
          if (events.length > 0) revisions.push(revision);
          if (dice.chance(0.1)) await new Promise(setImmediate);
        }
      } catch (error) {
        if (!stop.signal.aborted) throw error;
      }
    });
    for (let round = 0; round < 8; round++) {
      const proposer = dice.chance(0.5) ? a : b;
      for (let step = dice.below(20); step > 0; step--) {
        const proposed = proposer.replica.propose(randomCommand(dice, proposer.member));
        if (dice.chance(0.5)) await proposed;
      }
      await a.replica.linearize();
      if (dice.chance(0.3)) void b.replica.checkpoint();
      if (dice.chance(0.7)) {
        b.log.cutOff();
        for (let step = dice.below(60); step > 0; step--) await a.replica.propose(randomCommand(dice, a.member));
        const release = await b.replica.holdBlobs();
        const record = await fetch(a, b);
        if (dice.chance(0.5))
          for (let step = 5; step > 0; step--) await a.replica.propose(randomCommand(dice, a.member));
        if (dice.chance(0.3)) void b.replica.checkpoint();
        // The log may jump before or after, or go on as if nothing had been: then the state is overtaken meanwhile.
        const jump = record.position > b.log.start() ? dice.below(3) : 0;
        if (jump === 0) b.log.heal();
        if (jump === 1) b.log.jump(record.position);
        await b.replica.install(record);
        if (jump === 2) b.log.jump(record.position);
        release();
      }
      await assertSame(a, b);
      for (const record of await b.member.checkpoints.load()) {
        const { problems } = await verify(b.member.env, b.member.blobs, rootOf(record));
        assert.deepEqual(problems, [], `the checkpoint at ${record.position}`);
      }
    }
    await keys.revision({});
    const all = await changedRevisions(a);
    const until = (index: number) => seen[index]?.at(-1) === all[index]?.at(-1);
    while (!until(0) || !until(1)) await new Promise(setImmediate);
    stop.abort();
    await Promise.all(watching);
    assert.deepEqual(seen, all, seed);
    keys.close();
    await b.replica.close();
    await a.replica.close();
  });
}

/** The revisions at which keys of the two spans have changed, from the history of a member that was never left behind. */
async function changedRevisions({ member, replica }: Side): Promise<number[][]> {
  const keys = new LocalKeys(member.env.clock, replica);
  const lists: number[][] = [];
  for (const end of ["l", "k2"]) {
    const stop = new AbortController();
    const revisions: number[] = [];
    const query = { span: { key: utf8("k"), end: utf8(end) }, from: 1, progressMs: 5 };
    for await (const { revision, events } of keys.watch(query, stop.signal)) {
      if (events.length === 0) break;
      revisions.push(revision);
    }
    lists.push(revisions);
  }
  keys.close();
  return lists;
}

test("a watcher whose history was compacted on the way is told so; one that needs none of it goes on", async () => {
  const [a, b] = await openPair("compacted");
  await putAll(a, 0, 10);
  await b.replica.linearize();
  const keys = new LocalKeys(b.member.env.clock, b.replica);
  const steps = keys.watch({ span: { key: utf8("k"), end: utf8("l") }, progressMs: undefined }, undefined);
  const watcher = steps[Symbol.asyncIterator]();
  const next = watcher.next();
  const told = assert.rejects(next, { code: "trimmed", message: /have been compacted/ });
  while (keys.watcherCount === 0) await new Promise(setImmediate);
  b.log.cutOff();
  await putAll(a, 10, 60);
  await a.replica.propose([a.member.key({ case: "compact", value: { revision: 40 } })]);
  const record = await fetch(a, b);
  await b.replica.install(record);
  b.log.jump(record.position);
  await told;
  const later = keys.watch({ span: { key: utf8("k"), end: utf8("l") }, from: 59, progressMs: undefined }, undefined);
  const revisions: number[] = [];
  for await (const { revision } of later) if (revisions.push(revision) === 2) break;
  assert.deepEqual(revisions, [59, 60]);
  keys.close();
  await b.replica.close();
  await a.replica.close();
});

test("opens, reads and closes without a majority; what needs one says so", async () => {
  const [a, b] = await openPair("minority");
  await putAll(a, 0, 20);
  await b.replica.linearize();
  await b.replica.checkpoint();
  await b.replica.close();
  b.log.cutOff();
  await putAll(a, 20, 30);
  const replica = await b.member.open();
  assert.equal(replica.revision, 20, "as far as it is known here");
  await assert.rejects(replica.linearize(), { code: "unavailable", maybe: false });
  const stuck = assert.rejects(replica.propose([b.member.put("stuck", "x")]), unknownOutcome);
  const cancelled = new AbortController();
  const aborted = replica.propose([b.member.put("aborted", "x")], { signal: cancelled.signal });
  cancelled.abort();
  await assert.rejects(aborted, { code: "cancelled", maybe: true });
  b.log.giveUp();
  await stuck;
  // One failed question is not the next one's.
  b.log.heal();
  await replica.linearize();
  assert.equal(replica.revision, 30);
  b.log.cutOff();
  await replica.close();
  await a.replica.close();
});

test("a checkpoint ahead of the log's end is no damage where other members have the rest", async () => {
  const [a, b] = await openPair("ahead");
  b.log.cutOff();
  await putAll(a, 0, 50);
  const record = await fetch(a, b);
  await b.replica.install(record);
  await b.replica.close();
  // After a crash the state is there, and the log is still the old one.
  const replica = await b.member.open();
  assert.deepEqual([replica.applied, replica.revision], [50, 50]);
  await replica.install(record);
  b.log.jump(50);
  await putAll(a, 50, 60);
  await replica.linearize();
  assert.equal(replica.revision, 60);
  await replica.close();
  await b.log.trim(position(60));
  const lost = new Member("ahead/lost", b.log);
  await assert.rejects(lost.open(), { code: "corrupt" }, "a log that begins behind the checkpoint is");
  await a.replica.close();
});

test("the seed of a store's tree comes from outside where its members must agree on it", async () => {
  const member = new Member("seed");
  const { env, log, checkpoints, views } = member;
  const seed = new Uint8Array(16).fill(5);
  const parts = { log, blobs: new MemoryBlobStore(env), checkpoints, views: views.all, seed };
  const replica = await Replica.open(env, parts);
  assert.deepEqual(replica.lastCheckpoint.seed, seed);
  await replica.close();
  await assert.rejects(Replica.open(env, { ...parts, seed: new Uint8Array(16) }), { code: "invalid" });
});
