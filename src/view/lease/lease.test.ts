/** Leases: they end in store time by a command, with their keys, and whatever a wall clock does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { connectStore, openStore, serveStore } from "../../member/index.ts";
import type { LocalStore, Store } from "../../member/index.ts";
import { Simulator } from "../../sim/index.ts";
import type { Machine } from "../../sim/index.ts";
import { collect } from "../fixture.suite.ts";
import { operation } from "../index.ts";
import type { KeyEvent, Lease } from "../index.ts";

interface World {
  readonly simulator: Simulator;
  readonly machine: Machine;
  readonly env: Env;
  readonly local: LocalStore;
  readonly remote: Store;
  readonly run: <T>(promise: Promise<T>) => Promise<T>;
}

async function simulate(seed: string): Promise<World> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("server");
  const { env } = machine;
  const run = <T>(promise: Promise<T>) => simulator.run(promise);
  const local = await run(openStore(env, { inMemory: true }));
  await run(serveStore(env, local, ["server:7000"]));
  const remote = await run(connectStore(simulator.machine("client").env, "server:7000"));
  return { simulator, machine, env, local, remote, run };
}

/** What is told of a watch until the simulation has gone on for so long. */
async function eventsWithin({ simulator, local }: World, durationMs: number): Promise<KeyEvent[]> {
  const abort = new AbortController();
  const events: KeyEvent[] = [];
  const watching = (async () => {
    for await (const event of local.keys.watch({ signal: abort.signal })) events.push(event);
  })().catch(() => {});
  await simulator.advance(durationMs);
  abort.abort();
  await simulator.run(watching);
  return events;
}

for (const kind of ["local", "remote"] as const) {
  test(`a lease that nobody keeps alive takes its keys with it, at one revision (${kind})`, async () => {
    const world = await simulate(`expiry ${kind}`);
    const { run, local } = world;
    const store = world[kind];
    const lease = await run(store.leases.grant({ ttlMs: 5_000 }));
    await run(store.keys.put("a", "1", { lease }));
    await run(store.keys.put("b", "1", { lease: lease.id }));
    await run(store.keys.put("c", "1"));
    assert.equal((await run(store.keys.get("a")))?.lease, lease.id);
    assert.deepEqual(
      (await run(store.leases.get(lease.id, { keys: true })))?.keys.map((key) => Buffer.from(key).toString()),
      ["a", "b"],
    );
    assert.deepEqual(await eventsWithin(world, 4_900), []);
    const events = await eventsWithin(world, 200);
    assert.deepEqual(
      events.map(({ type, key, revision }) => [type, key, revision]),
      [
        ["delete", "a", 4],
        ["delete", "b", 4],
      ],
    );
    assert.equal(await run(store.leases.get(lease.id)), undefined);
    assert.equal((await run(local.status())).leaseCount, 0);
    assert.equal((await run(store.keys.get("c")))?.text(), "1");
    await assert.rejects(run(store.leases.keepAlive(lease.id)), { code: "notFound" });
    await assert.rejects(run(store.keys.put("d", "1", { lease })), { code: "notFound", message: /grant one/ });
  });

  test(`keeping alive gives the full time again, and holding does it by itself (${kind})`, async () => {
    const world = await simulate(`alive ${kind}`);
    const { run, simulator } = world;
    const store = world[kind];
    const lease = await run(store.leases.grant({ ttlMs: 3_000 }));
    await run(store.keys.put("a", "1", { lease }));
    for (let round = 0; round < 5; round++) {
      await simulator.advance(2_900);
      assert.equal(await run(lease.keepAlive()), 3_000);
    }
    const info = await run(store.leases.get(lease.id));
    assert.ok(info !== undefined && info.remainingMs > 2_900 && info.remainingMs <= 3_000, String(info?.remainingMs));
    const abort = new AbortController();
    const holding = lease.hold({ signal: abort.signal });
    await simulator.advance(60_000);
    assert.equal((await run(store.keys.get("a")))?.text(), "1");
    abort.abort();
    await run(holding);
    await simulator.advance(3_100);
    assert.equal(await run(store.keys.get("a")), undefined);
    await assert.rejects(run(lease.hold()), { code: "notFound" });
  });

  test(`revoking deletes at once; that it has ended already is no error of the holder's (${kind})`, async () => {
    const world = await simulate(`revoke ${kind}`);
    const { run } = world;
    const store = world[kind];
    const lease = await run(store.leases.grant({ ttlMs: 60_000, id: 77n }));
    await assert.rejects(run(store.leases.grant({ ttlMs: 60_000, id: 77n })), { code: "exists" });
    for (let index = 0; index < 20; index++) await run(store.keys.put(`k${index}`, "1", { lease }));
    const holding = lease.hold();
    // Put again without it, or under another, a key no longer goes with the lease.
    const other = await run(store.leases.grant({ ttlMs: 60_000 }));
    await run(store.keys.put("k0", "2"));
    await run(store.keys.put("k1", "2", { lease: other }));
    assert.equal((await run(collect(store.leases.list()))).length, 2);
    assert.equal(await run(store.leases.revoke(77n)), 18);
    assert.deepEqual(
      (await run(collect(store.keys.list()))).map(({ key }) => key),
      ["k0", "k1"],
    );
    await run(lease.revoke());
    await run(holding);
    await assert.rejects(run(store.leases.revoke(77n)), { code: "notFound" });
    await run(other.revoke());
    assert.deepEqual(
      (await run(collect(store.keys.list()))).map(({ key }) => key),
      ["k0"],
    );
  });
}

test("a wall clock that jumps ahead ends no lease early; one that is set back keeps none alive", async () => {
  for (const jumpMs of [3_600_000, -3_600_000]) {
    const { run, simulator, machine, local } = await simulate(`jump ${jumpMs}`);
    const lease = await run(local.leases.grant({ ttlMs: 10_000 }));
    await run(local.keys.put("a", "1", { lease }));
    await simulator.advance(2_000);
    machine.wall.offsetMs += jumpMs;
    // Store time hears of it from a command.
    await run(local.keys.put("b", "1"));
    await simulator.advance(7_000);
    assert.equal((await run(local.keys.get("a")))?.text(), "1", `after a jump of ${jumpMs} ms`);
    await simulator.advance(1_500);
    assert.equal(await run(local.keys.get("a")), undefined, `after a jump of ${jumpMs} ms`);
    // Granted after the jump, and kept alive while the clock goes on to jump.
    const second = await run(local.leases.grant({ ttlMs: 5_000 }));
    await run(local.keys.put("c", "1", { lease: second }));
    for (let round = 0; round < 10; round++) {
      machine.wall.offsetMs += simulator.random.between([-900_000, 900_000]);
      await simulator.advance(4_000);
      await run(second.keepAlive());
    }
    await simulator.advance(4_500);
    assert.equal((await run(local.keys.get("c")))?.text(), "1");
    await simulator.advance(1_000);
    assert.equal(await run(local.keys.get("c")), undefined);
  }
});

test("store time goes on while many commands are under way and the wall clock stands in the past", async () => {
  const { run, simulator, machine, local, env } = await simulate("busy");
  await run(local.keys.put("a", "1"));
  machine.wall.offsetMs -= 3_600_000;
  const lease = await run(local.leases.grant({ ttlMs: 2_000 }));
  await run(local.keys.put("a", "1", { lease }));
  const begin = local.replica.timeMs;
  const startMs = env.clock.monotonicMs();
  const stop = new AbortController();
  const writing = (async () => {
    while (!stop.signal.aborted) {
      await local.keys.put("b", "1");
      await new Promise<void>((resolve) => simulator.schedule(0.7, resolve));
    }
  })();
  await simulator.advance(2_100);
  stop.abort();
  await run(writing);
  const passed = env.clock.monotonicMs() - startMs;
  assert.ok(Math.abs(local.replica.timeMs - begin - passed) < 5, `${local.replica.timeMs - begin} of ${passed} ms`);
  assert.equal(await run(local.keys.get("a")), undefined);
});

test("a restart gives every lease its full time again", async () => {
  const simulator = new Simulator({ seed: "restart", drain: nextTurn, digest: new NodeDigest() });
  const machine = simulator.machine("server");
  const run = <T>(promise: Promise<T>) => simulator.run(promise);
  let store = await run(openStore(machine.env));
  const leases: Lease[] = [];
  for (const ttlMs of [1_000, 5_000]) leases.push(await run(store.leases.grant({ ttlMs })));
  for (const lease of leases) await run(store.keys.put(`of ${lease.ttlMs}`, "1", { lease }));
  for (const how of ["crash", "close"] as const) {
    await simulator.advance(900);
    if (how === "crash") machine.crash();
    else {
      await run(store.checkpoint());
      await run(store.close());
      machine.kill();
    }
    // Nobody could keep them alive meanwhile.
    await simulator.advance(60_000);
    store = await run(openStore(machine.restart()));
    assert.equal((await run(store.status())).leaseCount, 2);
    assert.equal(await run(store.keys.count()), 2);
  }
  await simulator.advance(950);
  assert.equal(await run(store.keys.count()), 2);
  await simulator.advance(100);
  assert.deepEqual(
    (await run(collect(store.keys.list()))).map(({ key }) => key),
    ["of 5000"],
  );
  await simulator.advance(4_000);
  assert.equal(await run(store.keys.count()), 0);
  assert.equal((await run(store.status())).leaseCount, 0);
});

test("thousands of leases end in time, in commands of bounded size, and nothing is left of them", async () => {
  const { run, simulator, local } = await simulate("many");
  const count = 1_500;
  const grants = Array.from({ length: count }, async (_, index) => {
    const lease = await local.leases.grant({ ttlMs: 1_000 + (index % 50) * 20 });
    await local.keys.put(`k${index}`, "1", { lease });
  });
  await run(Promise.all(grants));
  assert.equal(await run(local.keys.count()), count);
  await simulator.advance(1_500);
  const left = await run(local.keys.count());
  assert.ok(left > 0 && left < count, `${left} are left after half of the time`);
  await simulator.advance(600);
  assert.equal(await run(local.keys.count()), 0);
  await run(local.keys.compact(local.replica.revision));
  await run(
    local.replica.propose([operation(local.views.key, { operation: { case: "sweep", value: { limit: 1_000_000 } } })]),
  );
  assert.equal(await run(local.replica.read((tree) => tree.entryCount)), 1, "the compact revision alone");
});

test("an expired lease is not ended when it was renewed in time, whoever proposes it", async () => {
  const { run, simulator, local } = await simulate("race");
  const lease = await run(local.leases.grant({ ttlMs: 1_000 }));
  await simulator.advance(990);
  await run(lease.keepAlive());
  const outcome = await run(
    local.replica.propose([
      operation(local.views.lease, { operation: { case: "expire", value: { leases: [lease.id, 5n] } } }),
    ]),
  );
  assert.ok(outcome.ok);
  assert.deepEqual(outcome.results, [{ result: { case: "expire", value: { keyCount: 0, ended: false } } }]);
  assert.equal((await run(local.leases.get(lease.id)))?.ttlMs, 1_000);
});

test("times to live and ids are checked", async () => {
  const { run, local, remote } = await simulate("limits");
  for (const store of [local, remote] as const) {
    for (const ttlMs of [limits.leaseTtlMinMs - 1, limits.leaseTtlMaxMs + 1, 1_000.5, Number.NaN]) {
      await assert.rejects(run(store.leases.grant({ ttlMs })), { code: "invalid", message: /limits\.leaseTtlMinMs/ });
    }
    for (const id of [0n, -1n, 2n ** 63n, 2n ** 64n]) {
      const { leases } = store;
      const calls: (() => Promise<unknown>)[] = [
        () => leases.grant({ ttlMs: 1_000, id }),
        () => leases.get(id),
        () => leases.keepAlive(id),
        () => leases.revoke(id),
      ];
      for (const call of calls) await assert.rejects(run(call()), { code: "invalid" }, String(id));
    }
    const lease = await run(store.leases.grant({ ttlMs: 1_000, id: 2n ** 63n - 1n }));
    await run(store.keys.put("a", "1", { lease }));
    assert.equal(await run(store.leases.revoke(lease.id)), 1);
  }
});
