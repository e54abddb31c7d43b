/** Clients of several members: they go on when one is cut off, frozen, behind or gone, and nothing is lost or doubled. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, limits } from "../base/index.ts";
import type { ErrorCode } from "../base/index.ts";
import type { RemoteStore } from "../member/index.ts";
import { collect, scale } from "./fixture.suite.ts";
import { eventShape, KeyModel, makeChoice, modelEvents, writeBoth } from "./key/key-model.suite.ts";
import { inCluster, keepTroubling } from "./remote-cluster.suite.ts";
import type { Cluster, ServedMember } from "./remote-cluster.suite.ts";

function cluster(
  title: string,
  names: string,
  run: (cluster: Cluster, members: ServedMember[]) => Promise<void>,
): void {
  test(title, () => inCluster(title, names, (world) => run(world, [...world.members])));
}

async function fails(call: Promise<unknown>, code: ErrorCode, maybe: boolean, pattern = /./): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof HoldfastError, String(error));
    assert.deepEqual([error.code, error.maybe], [code, maybe], error.message);
    assert.match(error.message, pattern);
    return true;
  });
}

/** The member that the client is connected to. */
function servingOf(members: readonly ServedMember[]): ServedMember {
  const serving = members.filter(({ server }) => server.connectionCount > 0);
  assert.equal(serving.length, 1);
  return serving[0] as ServedMember;
}

for (const seed of Array.from({ length: 2 * scale }, (_, index) => `failover ${index}`)) {
  test(`each command is done once, whichever members fail (${seed})`, () =>
    inCluster(seed, "a b c", async (world) => {
      const stores = await Promise.all(["x", "y", "z"].map((name) => world.connect(name)));
      const stop = keepTroubling(world, 400);
      const told: number[] = [];
      const put = async (store: RemoteStore, lane: string) => {
        for (let count = 0; count < 40; count++) {
          told.push(await store.keys.put(lane, String(count)));
          await world.sleep(world.dice.below(200));
        }
      };
      // Reads, then writes if unchanged: a retry that ran twice would meet its own first try.
      const increment = async (store: RemoteStore) => {
        for (let count = 0; count < 25;) {
          const before = await store.keys.get("counter");
          const value = String(Number(before?.text() ?? 0) + 1);
          try {
            told.push(await store.keys.put("counter", value, { ifRevision: before?.revision ?? 0 }));
            count++;
          } catch (error) {
            assert.ok(error instanceof HoldfastError && error.code === "conflict", String(error));
          }
          await world.sleep(world.dice.below(200));
        }
      };
      await Promise.all(
        stores.flatMap((store, index) => [put(store, `a${index}`), put(store, `b${index}`), increment(store)]),
      );
      stop();
      assert.equal(new Set(told).size, told.length, "each has a revision of its own");
      const [store] = stores as [RemoteStore];
      const records = await collect(store.keys.list());
      assert.equal(
        records.reduce((sum, { version }) => sum + version, 0),
        told.length,
      );
      assert.equal(records.find(({ key }) => key === "counter")?.text(), "75");
      await Promise.all(stores.map((one) => one.close()));
    }));
}

for (const seed of Array.from({ length: scale }, (_, index) => `watches ${index}`)) {
  test(`watches lose nothing, repeat nothing and never go back (${seed})`, () =>
    inCluster(seed, "a b c", async (world) => {
      const { dice } = world;
      const writer = await world.connect("writer");
      const readers = await Promise.all(["x", "y"].map((name) => world.connect(name)));
      const stop = keepTroubling(world, 300);
      const model = new KeyModel();
      const abort = new AbortController();
      const watches: { readonly told: string[]; readonly expected: () => string[]; readonly what: string }[] = [];
      const begin = (store: RemoteStore) => {
        const [choice, previous] = [makeChoice(dice), dice.chance(0.5)];
        const from = Math.max(1, model.revision - 20 + dice.below(40));
        const told: string[] = [];
        const progressMs = dice.pick([200, 1_000, 30_000]);
        let last = 0;
        const follow = async () => {
          for await (const event of store.keys.watch({ ...choice, from, previous, progressMs, signal: abort.signal })) {
            assert.ok(event.revision >= last, `${event.revision} after ${last}`);
            last = event.revision;
            if (event.type !== "progress") told.push(eventShape(event));
          }
        };
        follow().catch((error: unknown) => {
          if (!(error instanceof HoldfastError && error.code === "cancelled")) told.push(String(error));
        });
        const expected = () => modelEvents(model, choice, { from, previous, without: undefined });
        watches.push({ told, expected, what: `${JSON.stringify(choice)} from ${from}` });
      };
      for (let step = 0; step < 100; step++) {
        await writeBoth(dice, model, writer);
        if (step % 10 === 0) begin(dice.pick(readers));
        await world.sleep(dice.below(100));
      }
      stop();
      const complete = () => watches.every(({ told, expected }) => told.length >= expected().length);
      for (let waits = 0; waits < 300 && !complete(); waits++) await world.sleep(100);
      // Whatever came twice would come soon.
      await world.sleep(2_000);
      for (const { told, expected, what } of watches) assert.deepEqual(told, expected(), `${seed}: ${what}`);
      abort.abort();
      await Promise.all([writer, ...readers].map((store) => store.close()));
    }));
}

cluster("a member that is cut off is left; when it is alone, local reads go on there", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const store = await world.connect("client", { timeoutMs: 3_000 });
  await store.keys.put("k", "1");
  const first = servingOf([a, b]);
  const second = first === a ? b : a;
  first.cutOff();
  const startedMs = world.simulator.nowMs;
  await store.keys.put("k", "2");
  assert.equal((await store.keys.get("k"))?.text(), "2");
  assert.ok(world.simulator.nowMs - startedMs < 500, `took ${world.simulator.nowMs - startedMs} ms`);
  assert.equal(servingOf([a, b]), second);

  world.simulator.network.isolate(second.name);
  // Cut off from everybody but its clients, it has what it had.
  await world.sleep(3_000);
  const local = await store.keys.get("k", { consistency: "local" });
  assert.equal(local?.text(), "1");
  await fails(store.keys.get("k"), "unavailable", false, /attempts within 3000 ms failed; the last: .*no majority/);
  // It took the command in, and gave it up: who knows.
  await fails(store.keys.put("k", "3"), "unavailable", true);
  assert.equal((await store.keys.get("k", { consistency: "local" }))?.text(), "1");
  const alone = await world.connect("other", { timeoutMs: 3_000 });
  assert.equal((await alone.keys.get("k", { consistency: "local" }))?.text(), "1");
  // A client that never had a session says for sure that nothing was done.
  await fails(alone.keys.put("k", "4"), "unavailable", false);

  world.simulator.network.heal();
  first.heal();
  await store.keys.put("k", "5");
  assert.equal((await store.keys.get("k"))?.text(), "5");
  await Promise.all([store.close(), alone.close()]);
});

cluster("a watch without other calls leaves a member that is cut off, or frozen", "a b c", async (world, members) => {
  const store = await world.connect("client");
  const abort = new AbortController();
  const told: string[] = [];
  const watching = async () => {
    for await (const event of store.keys.watch({ prefix: "k", signal: abort.signal })) told.push(event.key);
  };
  const end = fails(watching(), "cancelled", false);
  await world.sleep(500);
  const until = async (count: number, limitMs: number) => {
    const startedMs = world.simulator.nowMs;
    while (told.length < count && world.simulator.nowMs - startedMs < limitMs) await world.sleep(10);
    assert.equal(told.length, count, `after ${limitMs} ms`);
  };
  const first = servingOf(members);
  const others = members.filter((member) => member !== first);
  const writer = await world.connect("writer", { to: others, followMembers: false });
  await writer.keys.put("k1", "");
  await until(1, 100);
  first.cutOff();
  await writer.keys.put("k2", "");
  await until(2, 6_000);
  await world.sleep(100);
  assert.equal(first.server.connectionCount, 0, "nothing is left at the member that was cut off");
  // Its one connection beside the writer's.
  for (const member of others) member.freeze(20_000);
  first.heal();
  const last = await world.connect("last", { to: [first], followMembers: false });
  await last.keys.put("k3", "");
  await until(3, 8_000);
  abort.abort();
  await end;
  await Promise.all([store, writer, last].map((one) => one.close()));
});

cluster("what is asked of a revision waits for it on a member that lags", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const store = await world.connect("client");
  const keys = Array.from({ length: 200 }, (_, index) => `k${String(index).padStart(3, "0")}`);
  await store.keys.commit({ then: keys.map((key) => ({ put: key, value: new Uint8Array(3_000) })) });
  const serving = servingOf([a, b]);
  const other = serving === a ? b : a;
  other.lagMs = 12_000;
  const revision = await store.keys.put("late", "x");
  const listed: string[] = [];
  for await (const { key } of store.keys.list({ consistency: "local" })) {
    listed.push(key);
    // In its middle the list moves to the other member, which does not have this state yet.
    if (listed.length === 10) world.simulator.network.isolate(serving.name);
  }
  assert.deepEqual(listed, [...keys, "late"]);
  assert.ok(world.simulator.nowMs > 12_000 && world.simulator.nowMs < 13_000, `took ${world.simulator.nowMs} ms`);
  await world.sleep(100);
  assert.equal(servingOf([other]), other);
  other.lagMs = 1_000;
  const elsewhere = await world.connect("writer");
  const next = await elsewhere.keys.put("late", "y");
  const past = store.at(next).keys;
  const [record, count] = await Promise.all([past.get("late", { consistency: "local" }), past.count()]);
  assert.deepEqual([record?.text(), count], ["y", 201]);
  assert.equal((await store.keys.get("late", { consistency: "local", atLeast: next }))?.text(), "y");
  assert.equal((await store.at(revision).keys.get("late"))?.text(), "x");
  await fails(store.at(next + 1).keys.get("late"), "invalid", false, /in the future/);
  world.simulator.network.heal();
  await Promise.all([store.close(), elsewhere.close()]);
});

cluster("a session that ends while a command's fate is unknown: maybe", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const store = await world.connect("client");
  await store.keys.put("k", "1");
  const serving = servingOf([a, b]);
  serving.lagMs = 2_000;
  serving.loseAnswers(1_000);
  const put = fails(store.keys.put("k", "2"), "unavailable", true, /the answer is lost: session .* is not open/);
  await world.sleep(400);
  // An hour passes for the store, and somebody else's session makes it forget this one.
  for (const member of [a, b]) {
    world.simulator.machine(member.name).wall.offsetMs += limits.sessionIdleMs + 1_000;
  }
  const other = await world.connect("other");
  await Promise.all([put, other.keys.put("o", "1")]);
  assert.equal((await store.keys.get("k"))?.text(), "2");
  // The next command has a session of its own.
  await store.keys.put("k", "3");
  assert.equal((await store.keys.get("k"))?.version, 3);
  await Promise.all([store.close(), other.close()]);
});

cluster("the client follows the members", "a b c d", async (world, members) => {
  const [a, b, c, d] = members as [ServedMember, ServedMember, ServedMember, ServedMember];
  const { simulator } = world;
  world.listed = ["a", "b", "learner d"];
  const store = await world.connect("client", { timeoutMs: 3_000, to: [a] });
  assert.equal((await store.members.list()).members.length, 3);
  await world.sleep(1_000);
  world.listed = ["a", "c", "learner d"];
  // Within the minute it hears of that.
  await world.sleep(40_000);
  simulator.machine("a").kill();
  await store.keys.put("k", "1");
  assert.equal(servingOf([b, c, d]), c);
  // A learner is nobody's choice, nor is who has been removed.
  simulator.machine("c").kill();
  await fails(
    store.keys.get("k"),
    "unavailable",
    false,
    /to c:7000 was lost.*reach (c:7000, a:7000|a:7000, c:7000) failed/,
  );
  await store.close();
});

cluster("a member that does not answer leaves time to ask another", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const store = await world.connect("client", { timeoutMs: 4_000 });
  await store.keys.put("k", "1");
  const serving = servingOf([a, b]);
  // It takes everything and answers pings, and nothing comes of it.
  serving.lagMs = 1_000_000;
  const startedMs = world.simulator.nowMs;
  await Promise.all([store.keys.put("k", "2"), store.keys.put("k", "3")]);
  assert.equal((await store.keys.get("k"))?.version, 3);
  const tookMs = world.simulator.nowMs - startedMs;
  assert.ok(tookMs >= 2_000 && tookMs < 2_100, `took ${tookMs} ms`);
  await store.close();
});

cluster("addresses that the user never gave are used, unless that is not wanted", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const { connectStore } = await import("../member/index.ts");
  world.listed = ["a", "b"];
  const env = world.simulator.machine("client").env;
  const store = await connectStore(env, "a:7000", { timeoutMs: 5_000 });
  const alone = await connectStore(env, "a:7000", { timeoutMs: 1_000, followMembers: false });
  await world.sleep(100);
  world.simulator.machine("a").kill();
  const startedMs = world.simulator.nowMs;
  await store.keys.put("k", "1");
  assert.ok(world.simulator.nowMs - startedMs < 500);
  await fails(alone.keys.get("k"), "timeout", false, /a:7000/);
  await Promise.all([store.close(), alone.close()]);
});

cluster("leases are listed once each, over connections that break in between", "a b", async (world) => {
  const store = await world.connect("client");
  const ids = Array.from({ length: 60 }, (_, index) => BigInt(index + 1));
  for (const id of ids) await store.leases.grant({ id, ttlMs: 1_000_000 });
  // The list takes a second, so that it can be broken in its middle.
  world.simulator.network.settings.bandwidth = 1;
  world.simulator.network.settings.splitChance = 1;
  const told: bigint[] = [];
  for await (const { id } of store.leases.list()) {
    told.push(id);
    if (told.length % 25 === 0) world.simulator.network.cut("client");
  }
  assert.deepEqual(told, ids);
  assert.equal((await store.leases.get(7n))?.ttlMs, 1_000_000);
  await store.close();
});

cluster("a list that nobody answers ends in time", "a b", async (world, members) => {
  const store = await world.connect("client", { timeoutMs: 2_000 });
  for (const { name } of members) world.simulator.network.isolate(name);
  const startedMs = world.simulator.nowMs;
  await assert.rejects(collect(store.keys.list()), { code: "timeout" });
  assert.ok(world.simulator.nowMs - startedMs < 2_100);
  world.simulator.network.heal();
  assert.deepEqual(await collect(store.keys.list()), []);
  await store.close();
});

/** One call of each kind, all of which fail when the store is closed. */
function callsUntilClosed(one: RemoteStore): Promise<void>[] {
  return [
    fails(one.keys.watch({ prefix: "k" }).next(), "unavailable", false, /closed/),
    fails(collect(one.keys.list()), "unavailable", false, /closed/),
    fails(one.keys.get("k"), "unavailable", false, /closed/),
    fails(one.members.list(), "unavailable", false, /closed/),
    assert.rejects(one.keys.put("k", "2"), { code: "unavailable" }),
  ];
}

cluster("closing ends everything at once, also where nobody answers", "a b", async (world, members) => {
  const store = await world.connect("client");
  const never = await world.connect("never");
  await store.keys.put("k", "1");
  for (const { name } of members) world.simulator.network.isolate(name);
  await world.sleep(20_000);
  const all = [...callsUntilClosed(store), ...callsUntilClosed(never)];
  await world.sleep(5_000);
  const startedMs = world.simulator.nowMs;
  await Promise.all([store.close(), never.close()]);
  await Promise.all(all);
  assert.ok(world.simulator.nowMs - startedMs < 2_100, `took ${world.simulator.nowMs - startedMs} ms`);
});

/** One that is connected to the first member when both are there. */
async function connectTo(world: Cluster, member: ServedMember, options: { timeoutMs: number }): Promise<RemoteStore> {
  for (let count = 0; count < 100; count++) {
    const before = member.server.connectionCount;
    const store = await world.connect(`client ${count}`, { ...options, followMembers: false });
    await store.keys.get("x", { consistency: "local" });
    if (member.server.connectionCount > before) return store;
    await store.close();
  }
  throw new Error(`nobody comes to ${member.name}`);
}

cluster("a list leaves a member that lags", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const writer = await world.connect("writer", { to: [a], followMembers: false });
  await writer.keys.put("x", "1");
  await writer.leases.grant({ id: 7n, ttlMs: 1_000_000 });
  for (const kind of ["keys", "leases"] as const) {
    b.lagMs = 0;
    await world.sleep(40_000);
    const store = await connectTo(world, b, { timeoutMs: 10_000 });
    b.lagMs = 3_600_000;
    await writer.keys.put("x", "2");
    // What it has read already it applies.
    await writer.keys.put("x", "3");
    const startedMs = world.simulator.nowMs;
    const listed = kind === "keys" ? collect(store.keys.list()) : collect(store.leases.list());
    assert.equal((await listed).length, 1);
    const tookMs = world.simulator.nowMs - startedMs;
    assert.ok(tookMs >= 5_000 && tookMs < 8_000, `${kind} took ${tookMs} ms`);
    await store.close();
  }
  await writer.close();
});

/** Follows a key; what it is told of so far. */
function follow(store: RemoteStore, key: string): string[] {
  const told: string[] = [];
  const following = async () => {
    for await (const event of store.keys.watch({ key })) if (event.type === "put") told.push(event.record.text());
  };
  following().catch(() => told.push("end"));
  return told;
}

cluster("a watch leaves a member that lags before it has told anything", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const writer = await world.connect("writer", { to: [a], followMembers: false });
  await writer.keys.put("x", "1");
  const store = await connectTo(world, b, { timeoutMs: 60_000 });
  b.lagMs = 3_600_000;
  await writer.keys.put("x", "2");
  await writer.keys.put("x", "3");
  const told = follow(store, "x");
  await world.sleep(12_000);
  await writer.keys.put("x", "4");
  await world.sleep(100);
  assert.deepEqual(told, ["4"]);
  await Promise.all([store.close(), writer.close()]);
});

cluster("a watch of which nothing had come goes along when calls go elsewhere", "a b", async (world, [a, b]) => {
  assert.ok(a !== undefined && b !== undefined);
  const writer = await world.connect("writer", { to: [a], followMembers: false });
  await writer.keys.put("x", "1");
  const store = await connectTo(world, b, { timeoutMs: 4_000 });
  b.lagMs = 8_000;
  await writer.keys.put("x", "2");
  const told = follow(store, "x");
  await store.keys.get("x");
  assert.equal(b.server.connectionCount, 0, "nothing is left at the member that lags");
  // It catches up, and would answer now, and then hears nothing any more.
  await world.sleep(10_000);
  b.cutOff();
  await writer.keys.put("x", "3");
  await world.sleep(100);
  assert.deepEqual(told, ["3"]);
  await Promise.all([store.close(), writer.close()]);
});

cluster(
  "a command that waits for a session, or for its turn, has no more time than any other",
  "a b",
  async (world) => {
    const store = await world.connect("client", { timeoutMs: 10_000 });
    const inTime = async (key: string, code: ErrorCode, maybe: boolean) => {
      const startedMs = world.simulator.nowMs;
      await fails(store.keys.put(key, "1"), code, maybe);
      const tookMs = world.simulator.nowMs - startedMs;
      assert.ok(tookMs > 9_900 && tookMs < 10_100, `${key} took ${tookMs} ms`);
    };
    for (const member of world.members) member.cutOff();
    const first = inTime("first", "unavailable", false);
    await world.sleep(1_000);
    const second = inTime("second", "unavailable", false);
    await world.sleep(8_000);
    await Promise.all([first, second, inTime("third", "unavailable", false)]);
    for (const member of world.members) member.heal();
    await store.keys.put("k", "1");
    // Members that take everything and answer nothing.
    for (const member of world.members) member.lagMs = 3_600_000;
    const many = Array.from({ length: 1_024 }, () => store.keys.put("k", "2").catch(() => {}));
    await world.sleep(5_000);
    // Its turn comes when theirs is over.
    await inTime("queued", "timeout", true);
    await Promise.all(many);
    await store.close();
  },
);
