/** A whole member, a client and the network between them, under crashes: one seed, one trace, byte for byte. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { crashOptions } from "./crash.suite.ts";
import { connectStore, openStore, serveStore } from "./index.ts";

const durationMs = 3_000;

async function serve({ env }: Machine, seed: string): Promise<void> {
  const store = await openStore(env, crashOptions(seed));
  env.logger.log("info", "recovered", { revision: store.replica.revision, position: store.replica.applied });
  await serveStore(env, store, ["server:7420"]);
}

/** Writes, reads, watches and transacts until its machine goes. */
async function use(env: Env, random: Prng): Promise<void> {
  for (;;) {
    try {
      await using store = await connectStore(env, "server:7420", { timeoutMs: 400 });
      const stop = new AbortController();
      const watching = (async () => {
        for await (const { key, revision } of store.keys.watch({ prefix: "k/", signal: stop.signal })) {
          env.logger.log("debug", "event", { key, revision });
        }
      })().catch((error: unknown) => env.logger.log("debug", "the watch ended", { error: String(error) }));
      try {
        for (let count = 0; count < 20; count += 1) await change(env, store, random);
        for await (const { key, revision } of store.keys.list()) env.logger.log("debug", "listed", { key, revision });
      } finally {
        stop.abort();
        await watching;
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      env.logger.log("warn", error.message, { code: error.code, maybe: error.maybe });
      await sleep(env.clock, 20);
    }
  }
}

async function change(env: Env, store: Awaited<ReturnType<typeof connectStore>>, random: Prng): Promise<void> {
  const key = `k/${random.below(20)}`;
  const dice = random.below(10);
  if (dice < 5) await store.keys.put(key, "x".repeat(random.below(3_000)));
  else if (dice < 6) await store.keys.delete({ prefix: key });
  else if (dice < 7) await store.keys.put(key, "leased", { lease: await store.leases.grant({ ttlMs: 150 }) });
  else if (dice < 8) await store.checkpoint();
  else {
    await store.transaction(async (tx) => {
      const before = await tx.keys.get("count");
      tx.keys.put("count", String(Number(before?.text() ?? 0) + 1));
    });
  }
  await sleep(env.clock, 5 * random.float());
}

async function run(seed: string): Promise<Simulator> {
  const simulator = new Simulator({
    seed,
    drain: nextTurn,
    digest: new NodeDigest(),
    wholeTrace: true,
    network: { cutChance: 0.002 },
  });
  const [server, client] = [simulator.machine("server"), simulator.machine("client")];
  const failures: unknown[] = [];
  let incarnation = 0;
  const start = (machine: Machine) => {
    incarnation += 1;
    const random = new Prng(`${seed} ${incarnation}`);
    const running = machine === server ? serve(machine, seed) : use(machine.env, random);
    running.catch((error: unknown) => failures.push(error));
  };
  [server, client].forEach(start);
  const { random } = simulator;
  for (let round = 0; round < 8; round += 1) {
    simulator.schedule(random.between([0, durationMs]), () => {
      const victim = random.chance(0.7) ? server : client;
      if (random.chance(0.3)) victim.freeze(random.between([0, 100]));
      else {
        if (random.chance(0.5)) victim.crash();
        else victim.kill();
        victim.restart();
        start(victim);
      }
    });
  }
  await simulator.advance(durationMs);
  assert.deepEqual(failures, [], `seed ${seed}`);
  return simulator;
}

test("the same seed gives the same trace of a served store, byte for byte; another seed another one", async () => {
  for (const seed of ["one", "two"]) {
    const [first, second] = [await run(seed), await run(seed)];
    const text = first.trace.text();
    for (const part of [/ log info recovered revision=[1-9]/, / event key=/, / listed key=/, / log info checkpoint /]) {
      assert.match(text, part, `seed ${seed}`);
    }
    assert.ok(first.trace.count > 1_000, `only ${first.trace.count} events`);
    assert.equal(second.trace.text(), text, `seed ${seed}`);
    assert.equal(second.trace.fingerprint, first.trace.fingerprint, `seed ${seed}`);
  }
  assert.notEqual((await run("three")).trace.fingerprint, (await run("two")).trace.fingerprint);
});
