/** The simulated network: order under faults, partitions that hold instead of losing, and what crashes look like. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, sleep } from "../base/index.ts";
import type { Connection } from "../base/index.ts";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "./index.ts";

interface End {
  readonly connection: Connection;
  readonly closed: Promise<Error | undefined>;
  bytes: number[];
}

function watch(connection: Connection): End {
  const closed = deferred<Error | undefined>();
  const end: End = { connection, closed: closed.promise, bytes: [] };
  connection.start({
    data: (bytes) => end.bytes.push(...bytes),
    drained() {},
    closed: (error) => closed.resolve(error),
  });
  return end;
}

/** A connection from a to b, both ends watched. */
async function joined(simulator: Simulator): Promise<[client: End, server: End]> {
  const accepted = deferred<End>();
  await simulator.machine("b").env.net.listen("b:1", (connection) => accepted.resolve(watch(connection)));
  const client = simulator.run(simulator.machine("a").env.net.connect("b:1")).then(watch);
  const first = await client;
  return [first, await simulator.run(accepted.promise)];
}

test("bytes stay in order through blocks, heals and freezes, for many seeds", async () => {
  for (let seed = 0; seed < 30; seed += 1) {
    const simulator = new Simulator({ seed, drain: nextTurn, network: { latencyMs: [0, 3], spikeChance: 0.1 } });
    const [client, server] = await joined(simulator);
    const { random, network } = simulator;
    const sent: number[] = [];
    for (let count = 0; count < 200; count += 1) {
      simulator.schedule(random.between([0, 100]), () => {
        sent.push(sent.length & 0xff);
        client.connection.write([Uint8Array.of((sent.length - 1) & 0xff)]);
      });
    }
    for (let count = 0; count < 8; count += 1) {
      const fromMs = random.between([0, 100]);
      simulator.schedule(fromMs, () => network.block("a", "b", { oneWay: random.chance(0.5) }));
      simulator.schedule(fromMs + random.between([0, 20]), () => network.unblock("a", "b"));
      simulator.schedule(fromMs, () => random.chance(0.3) && simulator.machine("b").freeze(random.between([0, 20])));
    }
    await simulator.run(() => server.bytes.length === 200, { limitMs: 10_000 });
    assert.deepEqual(server.bytes, sent, `seed ${seed}`);
  }
});

test("a blocked direction holds, and a heal brings all; the other direction goes on", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  const [client, server] = await joined(simulator);
  simulator.network.block("a", "b", { oneWay: true });
  client.connection.write([Uint8Array.of(1, 2, 3)]);
  server.connection.write([Uint8Array.of(9)]);
  await simulator.advance(60_000);
  assert.deepEqual([server.bytes, client.bytes], [[], [9]]);
  simulator.network.heal();
  await simulator.advance(1_000);
  assert.deepEqual(server.bytes, [1, 2, 3]);
});

test("an isolated machine cannot be reached until it rejoins; a connect that is held too long fails", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  await joined(simulator);
  simulator.network.isolate("b");
  const { net } = simulator.machine("a").env;
  await assert.rejects(simulator.run(net.connect("b:1")), { code: "unavailable", message: /in time/ });
  const attempt = net.connect("b:1");
  simulator.schedule(1_000, () => simulator.network.rejoin("b"));
  await simulator.run(attempt);
});

test("the other end of a crashed machine learns of it, soon or late; of a killed one at once", async () => {
  const delaysMs: number[] = [];
  for (let seed = 0; seed < 20; seed += 1) {
    for (const how of ["crash", "kill"] as const) {
      const simulator = new Simulator({ seed, drain: nextTurn });
      const [client] = await joined(simulator);
      const fromMs = simulator.nowMs;
      simulator.machine("b")[how]();
      const error = await simulator.run(client.closed);
      assert.match(String(error), /lost/);
      const delayMs = simulator.nowMs - fromMs;
      if (how === "kill") assert.ok(delayMs < 10);
      else delaysMs.push(delayMs);
      assert.equal(simulator.network.connectionCount, 0);
    }
  }
  assert.ok(delaysMs.some((ms) => ms < 10) && delaysMs.some((ms) => ms > 900), delaysMs.join());
});

test("who connects to a machine that is down waits in vain, to a living one without listener is refused", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  const { net } = simulator.machine("a").env;
  simulator.machine("b");
  await assert.rejects(simulator.run(net.connect("b:1")), { code: "unavailable", message: /nobody listens/ });
  simulator.machine("b").crash();
  const fromMs = simulator.nowMs;
  await assert.rejects(simulator.run(net.connect("b:1")), { code: "unavailable", message: /in time/ });
  assert.ok(simulator.nowMs - fromMs >= 10_000);
});

test("what was delivered is overwritten, so that keeping it without a copy shows", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  const kept: Uint8Array[] = [];
  await simulator
    .machine("b")
    .env.net.listen("b:1", (connection) =>
      connection.start({ data: (bytes) => kept.push(bytes), drained() {}, closed() {} }),
    );
  const { env } = simulator.machine("a");
  const connection = await simulator.run(env.net.connect("b:1"));
  connection.write([Uint8Array.of(1, 2, 3)]);
  await simulator.run(sleep(env.clock, 100));
  assert.ok(kept.length > 0 && kept.every((bytes) => bytes.every((byte) => byte === 0xdb)));
});
