/** The replica: commands as wholes, pages that are missing in the middle, equal roots, restarts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, position } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import { MemoryEngine } from "../log/index.ts";
import { Prng } from "../sim/index.ts";
import { verify } from "../tree/index.ts";
import { ClusterLog } from "./cluster-log.suite.ts";
import { hex, Member, openSession, plain, randomCommand, rootText, scale, utf8 } from "./fixture.suite.ts";
import { encodeCommand, operation, Replica, rootOf } from "./index.ts";
import type { CheckpointRecord, Operation, View } from "./index.ts";

const notThere: View = {
  id: 99,
  name: "unknown",
  operation: { encode: () => utf8("x"), decode: () => ({}) as never },
  result: { encode: () => utf8("x"), decode: () => ({}) },
  apply: () => ({}),
};

async function valueOf(replica: Replica, key: string): Promise<string | undefined> {
  const whole = new Uint8Array([16, 0x6b, ...utf8(key)]);
  const stored = await replica.read((tree) => tree.get(whole));
  return stored === undefined ? undefined : Buffer.from(stored).toString("latin1");
}

test("a refusal undoes every operation of its command", async () => {
  const member = new Member("refusal");
  const replica = await member.open();
  await replica.propose([member.put("a", "before"), member.put("b", "before"), member.grant(7n)]);
  await replica.propose([member.put("leased", "x", { lease: 7n })]);
  const before = await rootText(replica);
  const heard: unknown[] = [];
  replica.subscribe(member.views.key, (revision) => heard.push(revision));
  const outcome = await replica.propose([
    member.put("a", "after"),
    member.put("new", "after", { lease: 7n }),
    member.remove("b"),
    member.revoke(7n),
    member.grant(8n),
    member.key({ case: "compact", value: { revision: 1 } }),
    member.put("new", "twice"),
  ]);
  assert.equal(outcome.ok, false);
  assert.equal(outcome.ok ? "" : outcome.code, "invalid");
  assert.deepEqual(heard, []);
  const after = await rootText(replica);
  // The position has moved on; state and revision have not.
  assert.equal(after.slice(after.indexOf(" ")), before.slice(before.indexOf(" ")));
  await replica.close();
});

for (const seed of Array.from({ length: 3 * scale }, (_, index) => `twin ${index}`)) {
  test(`with a cache of 4 KiB the same commands give the same answers and root (${seed})`, async () => {
    const log = new MemoryEngine();
    const large = new Member(`${seed}/large`, log);
    const small = new Member(`${seed}/small`, log);
    const replicas = [await large.open(), await small.open({ cacheSizeMax: 4_096 })] as const;
    const dice = new Prng(seed);
    for (let step = 0; step < 400; step++) {
      const operations = randomCommand(dice, large);
      // The one that proposes hears the answer; both must give the same, so each proposes its half.
      const [outcome, twin] = dice.chance(0.5)
        ? [await replicas[0].propose(operations), undefined]
        : [undefined, await replicas[1].propose(operations)];
      assert.ok(outcome ?? twin);
      if (dice.chance(0.1)) {
        const compact = large.key({ case: "compact", value: { revision: dice.below(replicas[0].revision + 1) } });
        await replicas[0].propose([compact]);
      }
      if (dice.chance(0.05)) {
        // Everything clean leaves the small cache now.
        await replicas[1].linearize();
        await replicas[1].checkpoint();
      }
      if (dice.chance(0.02)) {
        await Promise.all(replicas.map((replica) => replica.linearize()));
        assert.equal(await rootText(replicas[1]), await rootText(replicas[0]), `${seed}, step ${step}`);
      }
    }
    await Promise.all(replicas.map((replica) => replica.linearize()));
    assert.equal(await rootText(replicas[1]), await rootText(replicas[0]), seed);
    for (const replica of replicas) await replica.close();
  });
}

test("many commands at once through a cache of 4 KiB, with checkpoints in between", async () => {
  const log = new MemoryEngine();
  const large = new Member("burst/large", log);
  const small = new Member("burst/small", log);
  const reference = await large.open();
  const replica = await small.open({ cacheSizeMax: 4_096, checkpointLogSizeMin: 4_096 });
  const dice = new Prng("burst");
  for (let round = 0; round < 8; round++) {
    const commands = Array.from({ length: 300 }, () => randomCommand(dice, small));
    const [taken] = await Promise.all([
      replica.checkpoint(),
      ...commands.map((operations) => replica.propose(operations)),
      replica.checkpoint(),
    ]);
    assert.ok(taken.position <= replica.applied);
  }
  await reference.linearize();
  assert.equal(await rootText(replica), await rootText(reference));
  // And from its checkpoint and the log behind it.
  await replica.close();
  const again = await small.open({ cacheSizeMax: 4_096 });
  assert.equal(await rootText(again), await rootText(reference));
  await again.close();
  await reference.close();
});

const numbered = (index: number) => `k${String(index).padStart(5, "0")}`;

test("a large command on pages that are not here begins again a few times, not once a page", async () => {
  const member = new Member("large command");
  const put = (index: number) => member.put(numbered(index), new Uint8Array(100).fill(index));
  const all = Array.from({ length: 2_000 }, (_, index) => index);
  const first = await member.open();
  assert.ok((await first.propose(all.map(put))).ok);
  await first.checkpoint();
  await first.close();

  const [view, applied] = [member.views.key, member.views.key.apply.bind(member.views.key)];
  let begun = 0;
  const count = async (replica: Replica, operations: Operation[]) => {
    begun = 0;
    view.apply = (context, body) => {
      if (context.emittedCount === 0) begun++;
      return applied(context, body);
    };
    const outcome = await replica.propose(operations);
    assert.ok(outcome.ok, plain(outcome));
    await replica.checkpoint();
    await replica.close();
    return begun;
  };
  const puts = all.map((index) => ({
    operation: { case: "put", value: { key: utf8(numbered(index)), value: utf8("x") } } as const,
  }));
  const transaction = { compares: [], then: puts, otherwise: [] };
  const cold = { cacheSizeMax: 4_096 };
  const replaced = await count(await member.open(cold), [member.key({ case: "transaction", value: transaction })]);
  const deleted = await count(await member.open(cold), [member.remove("k", "l")]);
  const again = await count(await member.open(cold), all.map(put));
  const deletedAgain = await count(await member.open(cold), [member.remove("k", "l")]);
  assert.ok(Math.max(replaced, deleted, again, deletedAgain) <= 20, `${replaced} ${deleted} ${again} ${deletedAgain}`);
});

for (const seed of Array.from({ length: 2 * scale }, (_, index) => `restarts ${index}`)) {
  test(`restarts from a checkpoint and the log behind it lead to the same state (${seed})`, async () => {
    const log = new MemoryEngine();
    const still = new Member(`${seed}/still`, log);
    const moving = new Member(`${seed}/moving`, log);
    const reference = await still.open();
    let replica = await moving.open();
    const dice = new Prng(seed);
    for (let round = 0; round < 12; round++) {
      for (let step = dice.below(40); step > 0; step--) await replica.propose(randomCommand(dice, moving));
      if (dice.chance(0.6)) await replica.checkpoint();
      for (let step = dice.below(10); step > 0; step--) await replica.propose(randomCommand(dice, moving));
      const { revision, timeMs, applied } = replica;
      await replica.close();
      replica = await moving.open({ cacheSizeMax: dice.chance(0.5) ? 4_096 : 1_000_000 });
      assert.deepEqual([replica.revision, replica.timeMs, replica.applied], [revision, timeMs, applied], seed);
    }
    await reference.linearize();
    assert.equal(await rootText(replica), await rootText(reference), seed);
    assert.ok(log.start() > 0, "the log was trimmed");
    await replica.close();
    await reference.close();
  });
}

test("the log is trimmed to the older of two checkpoints, and only their pages are kept", async () => {
  const member = new Member("trim");
  const replica = await member.open();
  const positions: number[] = [];
  for (let round = 0; round < 6; round++) {
    for (let step = 0; step < 50; step++) {
      await replica.propose([member.put(`k${step}`, new Uint8Array(200).fill(round))]);
    }
    await replica.propose([member.key({ case: "compact", value: { revision: replica.revision } })]);
    await replica.propose([member.key({ case: "sweep", value: { limit: 1_000 } })]);
    positions.push((await replica.checkpoint()).position);
    assert.equal(member.log.start(), positions.at(-2) ?? 0);
    for (const record of await member.checkpoints.load()) {
      const { problems } = await verify(member.env, member.blobs, rootOf(record));
      assert.deepEqual(problems, [], `the checkpoint at ${record.position} of ${positions.join()}`);
    }
  }
  const { blobCount } = member.blobs.status();
  await replica.close();
  // Marking and sweeping at the start finds nothing that was left behind but the root before last.
  const again = await member.open();
  assert.ok(blobCount - member.blobs.status().blobCount >= 0);
  assert.equal(again.revision, 300);
  const before = await again.checkpoint();
  assert.equal(before.position, positions.at(-1));
  await again.close();
});

/** Gives way before it answers, so that much happens while a page is waited for. */
class SlowBlobs extends MemoryBlobStore {
  override async get(hash: Uint8Array): Promise<Uint8Array | undefined> {
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    return super.get(hash);
  }
}

test("a checkpoint taken at any moment is the state at its position, and nothing of the next command", async () => {
  const member = new Member("any moment");
  const records: Uint8Array[] = [];
  const reading = (async () => {
    for await (const batch of member.log.read(position(0))) records.push(...batch.records);
  })();
  const taken: CheckpointRecord[] = [];
  const { log: memory, checkpoints, views } = member;
  const parts = { log: memory, checkpoints, blobs: new SlowBlobs(), views: views.all };
  await member.open().then((replica) => replica.close());
  const replica = await Replica.open(member.env, parts, { cacheSizeMax: 4_096 });
  const session = await openSession(replica);
  const dice = new Prng("any moment");
  for (let sequence = 1; sequence <= 150; sequence++) {
    // Each command is later than the one before and acknowledges it.
    member.env.wall.offsetMs += 1_000;
    const stamp = { session, sequence, acknowledgedBelow: sequence };
    const key = `k${String(dice.below(1_000)).padStart(4, "0")}`;
    const answered = new AbortController();
    const proposed = replica.propose([member.put(key, dice.bytes(300))], { stamp }).then((outcome) => {
      answered.abort();
      return outcome;
    });
    while (!answered.signal.aborted) {
      if (dice.chance(0.3)) taken.push(await replica.checkpoint());
      else await new Promise(setImmediate);
    }
    assert.ok((await proposed).ok);
  }
  await replica.close();
  await member.log.close();
  await reading;
  const distinct = [...new Map(taken.map((record) => [record.position, record])).values()];
  assert.ok(distinct.length > 20, `${distinct.length} checkpoints`);
  const log = new MemoryEngine();
  const reference = new Member("any moment/reference", log);
  const still = await reference.open();
  for (const record of distinct) {
    const next = records.slice(still.applied, record.position);
    if (next.length > 0) await log.append(next);
    await still.linearize();
    const { position: at, revision, timeMs, rootHash } = await still.checkpoint();
    const expected = { at, revision, timeMs, root: hex(rootHash) };
    const { position: found, rootHash: root } = record;
    assert.deepEqual({ at: found, revision: record.revision, timeMs: record.timeMs, root: hex(root) }, expected);
  }
  await still.close();
});

test("an operation of a view that it does not know stops the replica, and says so", async () => {
  const member = new Member("unknown view");
  const replica = await member.open();
  await replica.propose([member.put("a", "1")]);
  const waiting = replica.propose([operation(notThere as unknown as View<unknown>, {})]);
  await assert.rejects(waiting, (error: unknown) => {
    assert.ok(error instanceof HoldfastError);
    assert.equal(error.code, "unavailable");
    assert.equal(error.maybe, true);
    assert.match(error.message, /operation of view 99 at position 1, which this version does not know/);
    return true;
  });
  assert.match((await replica.failed).message, /view 99/);
  await assert.rejects(replica.propose([member.put("a", "2")]), { code: "unavailable", maybe: false });
  await assert.rejects(replica.linearize(), { code: "unavailable" });
  // What was applied can still be read.
  assert.match((await valueOf(replica, "a")) ?? "", /1$/);
  await replica.close();
  await assert.rejects(member.open(), /view 99 at position 1/);
});

test("a record that is no command, and bytes that are no operation, are passed over by all alike", async () => {
  const log = new MemoryEngine();
  const a = new Member("garbage/a", log);
  const b = new Member("garbage/b", log);
  const dice = new Prng("garbage");
  const first = await a.open();
  await first.propose([a.put("a", "1")]);
  const header = { session: 0, sequence: 1, acknowledgedBelow: 0, timeMs: 5 };
  for (let step = 0; step < 300; step++) {
    const garbage = dice.bytes(1 + dice.below(40));
    garbage[0] = 8 * (1 + dice.below(5)) + dice.below(8);
    await log.append([garbage]);
    // Whole commands around bytes that are no operation of the view.
    const viewId = dice.pick([a.views.key.id, a.views.lease.id]);
    const view = { id: viewId, result: a.views.key.result } as unknown as Pick<View, "id" | "result">;
    await log.append([encodeCommand(header, [{ view, encoded: dice.bytes(dice.below(30)) }])]);
  }
  // Random bytes may name a view that does not exist; that stops a replica, so only what stops none is compared.
  const failed = await Promise.race([first.failed, first.linearize()]).catch((error: unknown) => error);
  if (failed === undefined) {
    const second = await b.open();
    assert.equal(await rootText(first), await rootText(second));
    await second.close();
  }
  await first.close();
});

test("aborting a proposal leaves it to take effect; one aborted before is never proposed", async () => {
  const member = new Member("abort");
  const replica = await member.open();
  const abort = new AbortController();
  const waiting = replica.propose([member.put("a", "1")], { signal: abort.signal });
  abort.abort();
  await assert.rejects(waiting, { code: "cancelled", maybe: true });
  await assert.rejects(replica.propose([member.put("b", "1")], { signal: abort.signal }), {
    code: "cancelled",
    maybe: false,
  });
  await replica.propose([member.put("c", "1")]);
  assert.equal(replica.revision, 2);
  await replica.close();
  await assert.rejects(replica.propose([member.put("a", "1")]), { code: "unavailable", message: /closed/ });
});

test("closing waits for proposals under way", async () => {
  const member = new Member("close");
  const replica = await member.open();
  const outcomes = Array.from({ length: 100 }, (_, index) => replica.propose([member.put(`k${index}`, "1")]));
  await replica.close();
  for (const outcome of await Promise.all(outcomes)) assert.match(plain(outcome), /^{"ok":true/);
});

test("who gives up waiting for a member that lags leaves nothing behind", async () => {
  const cluster = new ClusterLog();
  const log = cluster.member();
  const member = new Member("lagging", log);
  const replica = await member.open();
  // What others append is in the log, and not seen here.
  const grown = log.grown.bind(log);
  log.grown = () => {};
  const append = () => cluster.append([new Uint8Array([1])]);
  const leave = new AbortController();
  const left = [];
  for (let count = 1; count <= 20; count++) {
    append();
    left.push(assert.rejects(replica.linearize(leave.signal), { code: "cancelled" }));
    if (count % 2 === 0) while (replica.waiterCount < count) await new Promise(setImmediate);
  }
  const stays = replica.linearize();
  while (replica.waiterCount < 21) await new Promise(setImmediate);
  leave.abort();
  await Promise.all(left);
  await assert.rejects(replica.linearize(leave.signal), { code: "cancelled" });
  assert.equal(replica.waiterCount, 1);
  log.grown = grown;
  log.heal();
  await stays;
  assert.equal(replica.waiterCount, 0);
  await replica.close();
});

test("a proposal that its caller leaves, for whatever reason, may take effect", async () => {
  const log = new ClusterLog().member();
  const member = new Member("left", log);
  const replica = await member.open();
  log.cutOff();
  const leave = new AbortController();
  const put = replica.propose([member.put("k", "x")], { signal: leave.signal });
  leave.abort(new HoldfastError("unavailable", "the connection was closed"));
  await assert.rejects(put, { code: "unavailable", maybe: true, message: /the connection was closed/ });
  log.heal();
  await replica.linearize();
  assert.equal(replica.revision, 1);
  await replica.close();
});
