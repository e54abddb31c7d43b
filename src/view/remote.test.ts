/** Clients over a simulated network whose connections break at random: each command takes effect once, no event is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, limits } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { connectStore, openStore, serveStore } from "../member/index.ts";
import type { LocalStore, RemoteStore } from "../member/index.ts";
import { Simulator } from "../sim/index.ts";
import type { Prng } from "../sim/index.ts";
import { collect, memoryEnv, scale } from "./fixture.suite.ts";
import { eventShape, KeyModel, makeChoice, modelEvents, writeBoth } from "./key/key-model.suite.ts";

interface World {
  readonly simulator: Simulator;
  readonly dice: Prng;
  readonly local: LocalStore;
  readonly clients: readonly RemoteStore[];
}

async function simulate(seed: string, cutChance: number, clientCount: number): Promise<World> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const { env } = simulator.machine("server");
  const begin = async () => {
    const local = await openStore(env, { inMemory: true, historyRevisions: 0 });
    await serveStore(env, local, ["server:7000"]);
    const clients: RemoteStore[] = [];
    for (let index = 0; index < clientCount; index++) {
      clients.push(await connectStore(simulator.machine(`client${index}`).env, "server:7000", { timeoutMs: 120_000 }));
    }
    return { local, clients };
  };
  const { local, clients } = await simulator.run(begin());
  simulator.network.settings.cutChance = cutChance;
  return { simulator, dice: simulator.random, local, clients };
}

/** Breaks all connections of the server from time to time, until told to stop. */
function keepCutting({ simulator, dice }: World, everyMs: number): () => void {
  let stopped = false;
  const next = () => {
    simulator.schedule(dice.below(2 * everyMs) + 1, () => {
      if (stopped) return;
      simulator.network.cut("server");
      next();
    });
  };
  next();
  return () => {
    stopped = true;
  };
}

for (const seed of Array.from({ length: 3 * scale }, (_, index) => `once ${index}`)) {
  test(`each increment is counted once, however often its connection breaks (${seed})`, async () => {
    const world = await simulate(seed, 0.02, 3);
    const { simulator, local, clients } = world;
    const stop = keepCutting(world, 40);
    let lost = 0;
    // The version of a key counts its puts: a put that took effect twice shows.
    const client = async (store: RemoteStore, name: string) => {
      let acknowledged = 0;
      const revisions: number[] = [];
      // Four at a time, one after another.
      const work = Array.from({ length: 4 }, async (_, lane) => {
        for (let count = 0; count < 40; count++) {
          try {
            revisions.push(await store.keys.put(`${name}/${lane}`, String(count)));
            acknowledged++;
          } catch (error) {
            assert.ok(error instanceof HoldfastError && error.maybe, String(error));
            lost++;
          }
        }
      });
      await Promise.all(work);
      assert.equal(new Set(revisions).size, revisions.length, "each has a revision of its own");
      return acknowledged;
    };
    const all = Promise.all(clients.map((store, index) => client(store, `client${index}`)));
    const acknowledged = await simulator.run(all);
    stop();
    const records = await simulator.run(collect(local.keys.list()));
    const puts = records.reduce((sum, { version }) => sum + version, 0);
    const told = acknowledged.reduce((sum, count) => sum + count, 0);
    assert.ok(puts >= told && puts <= told + lost, `${seed}: ${told} acknowledged, ${lost} unknown, ${puts} puts`);
    assert.equal(lost, 0, `${seed}: with so much time, every command is told what became of it`);
    assert.equal(local.replica.revision, puts);
    const repeated = local.replica.applied - puts - clients.length;
    assert.ok(repeated > 0, `${seed}: some commands came more than once`);
  });
}

/** Reads, then writes if unchanged: with a retry that ran twice, the second would see the first and say `conflict`. */
async function increment(store: RemoteStore): Promise<void> {
  for (let count = 0; count < 15;) {
    const before = await store.keys.get("counter");
    const value = String(Number(before?.text() ?? 0) + 1);
    try {
      await store.keys.put("counter", value, { ifRevision: before?.revision ?? 0 });
      count++;
    } catch (error) {
      assert.ok(error instanceof HoldfastError && error.code === "conflict", String(error));
    }
  }
}

for (const seed of Array.from({ length: 2 * scale }, (_, index) => `conditional ${index}`)) {
  test(`a conditional put never meets its own first try (${seed})`, async () => {
    const world = await simulate(seed, 0.03, 4);
    const { simulator, clients } = world;
    const stop = keepCutting(world, 40);
    await simulator.run(Promise.all(clients.map(increment)));
    stop();
    const last = await simulator.run((clients[0] as RemoteStore).keys.get("counter"));
    assert.equal(last?.text(), String(15 * clients.length), seed);
  });
}

for (const seed of Array.from({ length: 2 * scale }, (_, index) => `watch ${index}`)) {
  test(`watches through connections that break lose nothing and repeat nothing (${seed})`, async () => {
    const world = await simulate(seed, 0.01, 2);
    const { simulator, dice, local, clients } = world;
    const stop = keepCutting(world, 25);
    const model = new KeyModel();
    const abort = new AbortController();
    const watches: { readonly told: string[]; readonly expected: () => string[]; readonly what: string }[] = [];
    const begin = (store: RemoteStore) => {
      const [choice, previous, slow] = [makeChoice(dice), dice.chance(0.5), dice.chance(0.3)];
      const without = dice.pick([undefined, undefined, "put", "delete"] as const);
      const from = Math.max(1, model.revision - 20 + dice.below(40));
      const told: string[] = [];
      const progressMs = dice.chance(0.5) ? 5 : undefined;
      const watch = store.keys.watch({
        ...choice,
        from,
        previous,
        without,
        signal: abort.signal,
        ...(progressMs && { progressMs }),
      });
      const follow = async () => {
        for await (const event of watch) {
          if ((event as { type: string }).type === "progress") continue;
          told.push(eventShape(event));
          if (slow) await new Promise<void>((resolve) => simulator.schedule(dice.below(5), resolve));
        }
      };
      follow().catch((error: unknown) => {
        if (!(error instanceof HoldfastError && error.code === "cancelled")) told.push(String(error));
      });
      const expected = () => modelEvents(model, choice, { from, previous, without });
      watches.push({ told, expected, what: `${JSON.stringify(choice)} from ${from}, without ${without}` });
    };
    const writing = async () => {
      for (let step = 0; step < 250; step++) {
        await writeBoth(dice, model, local);
        if (step % 12 === 0) begin(dice.pick(clients));
        // A revision whose events go in several messages.
        if (step % 60 === 30) {
          const value = new Uint8Array(9_000);
          const keys = Array.from({ length: 150 }, (_, index) => `wide${String(index).padStart(3, "0")}`);
          await local.keys.commit({ then: keys.map((key) => ({ put: key, value })) });
          model.command(() => {
            for (const key of keys) model.put(key, "\0".repeat(9_000));
          });
        }
        await new Promise<void>((resolve) => simulator.schedule(dice.below(6), resolve));
      }
    };
    await simulator.run(writing());
    const complete = () => watches.every(({ told, expected }) => told.length >= expected().length);
    let next = 0;
    // The condition is costly: it is looked at now and then.
    await simulator.run(() => simulator.nowMs >= next && ((next = simulator.nowMs + 200), complete()), {
      limitMs: 300_000,
    });
    stop();
    // Whatever came twice would come soon.
    await simulator.advance(2_000);
    for (const { told, expected, what } of watches) assert.deepEqual(told, expected(), `${seed}: ${what}`);
    abort.abort();
    await simulator.advance(10);
  });
}

test("lists go on in the same state when a connection breaks in their middle", async () => {
  const world = await simulate("lists", 0, 1);
  const { simulator, dice, local, clients } = world;
  const store = clients[0] as RemoteStore;
  const fill = Array.from({ length: 400 }, (_, index) =>
    local.keys.put(`k${String(index).padStart(3, "0")}`, new Uint8Array(8_000)),
  );
  await simulator.run(Promise.all(fill));
  const stop = keepCutting(world, 15);
  const listing = async (reverse: boolean, limit: number | undefined) => {
    const keys: string[] = [];
    for await (const record of store.keys.list({ prefix: "k", reverse, limit })) {
      keys.push(record.key);
      if (keys.length % 40 === 0) {
        await local.keys.delete(`k${String(dice.below(400)).padStart(3, "0")}`);
        await local.keys.put(`kk${keys.length}`, "later");
        await new Promise<void>((resolve) => simulator.schedule(dice.below(30), resolve));
      }
    }
    return keys;
  };
  for (let round = 0; round < 6; round++) {
    const before = await simulator.run(collect(local.keys.list({ keysOnly: true })));
    const all = before.map(({ key }) => key);
    const [reverse, limit] = [round % 2 === 1, round < 4 ? undefined : 300];
    const told = await simulator.run(listing(reverse, limit));
    const expected = (reverse ? all.toReversed() : all).slice(0, limit ?? all.length);
    // The first message says which state it is; it may be a later one only if the first was lost before it came.
    assert.deepEqual(told, expected);
  }
  stop();
});

test("more commands at once than a session remembers all take effect once", async (t) => {
  const env = memoryEnv("many at once");
  const local = await openStore(env, { inMemory: true });
  const server = await serveStore(env, local, ["memory:store"]);
  const remote = await connectStore(env, "memory:store", { timeoutMs: 60_000 });
  t.after(async () => {
    await remote.close();
    await server.close();
    await local.close();
  });
  const count = limits.sessionWindowCountMax + 2_000;
  const puts = Array.from({ length: count }, (_, index) => remote.keys.put(`k${index % 100}`, "x"));
  const revisions = new Set(await Promise.all(puts));
  assert.equal(revisions.size, count);
  assert.equal(local.replica.revision, count);
});

test("who cancels alone does not cancel others who wait for the same session", async (t) => {
  const env = memoryEnv("shared opening");
  const local = await openStore(env, { inMemory: true });
  const server = await serveStore(env, local, ["memory:store"]);
  const remote = await connectStore(env, "memory:store");
  t.after(async () => {
    await remote.close();
    await server.close();
    await local.close();
  });
  const abort = new AbortController();
  const first = remote.keys.put("a", "1", { signal: abort.signal });
  const second = remote.keys.put("b", "1");
  abort.abort();
  await assert.rejects(first, { code: "cancelled" });
  await second;
  assert.equal(local.replica.sessionCount, 1);
});

test("a session that has ended is replaced, unless a command of it may have taken effect", async () => {
  const { simulator, local, clients } = await simulate("ended session", 0, 1);
  const store = clients[0] as RemoteStore;
  await simulator.run(store.keys.put("a", "1"));
  assert.equal(local.replica.sessionCount, 1);
  // An hour passes for the store, and somebody else's session makes it forget this one.
  const machine = simulator.machine("server");
  machine.wall.offsetMs += limits.sessionIdleMs + 1_000;
  const other = await simulator.run(connectStore(simulator.machine("other").env, "server:7000"));
  await simulator.run(other.keys.put("b", "1"));
  assert.equal(local.replica.sessionCount, 1);
  const all = [store.keys.put("a", "2"), store.keys.put("c", "1"), store.keys.put("d", "1")];
  await simulator.run(Promise.all(all));
  assert.equal(local.replica.sessionCount, 2, "they share one new session");
  await simulator.run(store.close());
  assert.equal(local.replica.sessionCount, 1);
});
