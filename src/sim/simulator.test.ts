/**
 * Determinism: one seed, one trace, byte for byte, for a program that uses every door on machines that crash; and what
 * the simulator itself promises about steps, goals and failures.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, HoldfastError, sleep } from "../base/index.ts";
import type { Connection, Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { SimulationError, Simulator } from "./index.ts";
import type { Machine } from "./index.ts";

/** Answers each batch with its CRC-32 when it is on the disk. */
async function serve(env: Env): Promise<void> {
  const file = await env.disk.open("log", "write", { durable: true });
  let offset = await file.size();
  env.logger.log("info", "serving", { offset });
  await env.net.listen("b:1", (connection) => {
    connection.start({
      data(bytes) {
        const copy = bytes.slice();
        const at = offset;
        offset += copy.length;
        void file.write([copy], at).then(() => {
          const answer = new Uint8Array(4);
          new DataView(answer.buffer).setUint32(0, env.digest.crc32(copy));
          connection.write([answer]);
        });
      },
      drained() {},
      closed(error) {
        env.logger.log("debug", "client gone", { error: error?.message });
      },
    });
  });
}

async function ask(env: Env): Promise<void> {
  for (;;) {
    try {
      const connection = await env.net.connect("b:1");
      const over = deferred<void>();
      connection.start({
        data: (bytes) => env.logger.log("debug", "answer", { bytes: bytes.join("-") }),
        drained() {},
        closed: () => over.resolve(),
      });
      const timer = env.clock.schedule(200 * env.random.float(), () => connection.end());
      await talk(env, connection);
      await over.promise;
      timer.cancel();
    } catch (error) {
      assert.ok(error instanceof HoldfastError, String(error));
      env.logger.log("warn", error.message);
      await sleep(env.clock, 50);
    }
  }
}

async function talk(env: Env, connection: Connection): Promise<void> {
  const note = await env.disk.open("note", "write");
  for (let count = 0; count < 5; count += 1) {
    const batch = env.random.bytes(1 + (env.random.uint32() % 30_000));
    await note.write([batch.subarray(0, 100)], 100 * count);
    connection.write([batch]);
    await sleep(env.clock, 10 * env.random.float());
  }
  await note.sync();
}

/** Two machines under crashes, freezes, partitions and clock jumps, all chosen by the seed. */
async function run(seed: string, digest?: NodeDigest): Promise<Simulator> {
  const simulator = new Simulator({ seed, drain: nextTurn, wholeTrace: true, ...(digest !== undefined && { digest }) });
  const [a, b] = [simulator.machine("a"), simulator.machine("b")];
  const start = (machine: Machine) => void (machine === b ? serve(machine.env) : ask(machine.env));
  [a, b].forEach(start);
  const { random } = simulator;
  for (let round = 0; round < 12; round += 1) {
    simulator.schedule(random.between([0, 2_000]), () => {
      const victim = random.pick([a, b]);
      const dice = random.below(5);
      if (dice === 0) simulator.network.block("a", "b", { oneWay: random.chance(0.5) });
      else if (dice === 1) simulator.network.heal();
      else if (dice === 2) victim.freeze(random.between([0, 100]));
      else if (dice === 3) victim.wall.offsetMs += random.between([-10_000, 10_000]);
      else {
        if (random.chance(0.5)) victim.crash();
        else victim.kill();
        victim.restart();
        start(victim);
      }
    });
  }
  await simulator.advance(2_000);
  return simulator;
}

test("the same seed gives the same trace, byte for byte; another seed another one", async () => {
  const first = await run("one");
  const second = await run("one");
  assert.ok(first.trace.count > 500, `only ${first.trace.count} events`);
  assert.equal(second.trace.text(), first.trace.text());
  assert.equal(second.trace.fingerprint, first.trace.fingerprint);
  const other = await run("two");
  assert.notEqual(other.trace.text(), first.trace.text());
  assert.notEqual(other.trace.fingerprint, first.trace.fingerprint);
});

test("a host's digest gives the same trace as the plain one", async () => {
  const [plain, native] = await Promise.all([run("digest"), run("digest", new NodeDigest())]);
  assert.equal(native.trace.text(), plain.trace.text());
});

test("between two events no microtask is left, however long the chain", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  const { clock } = simulator.machine("a").env;
  const order: string[] = [];
  clock.schedule(1, () => {
    void (async () => {
      for (let count = 0; count < 1_000; count += 1) await Promise.resolve();
      order.push("chain");
    })();
  });
  clock.schedule(1, () => order.push("next"));
  await simulator.advance(2);
  assert.deepEqual(order, ["chain", "next"]);
});

test("a goal that cannot be reached fails with the seed, and an event that fails ends the run", async () => {
  const simulator = new Simulator({ seed: "s-7", drain: nextTurn });
  await assert.rejects(simulator.run(new Promise(() => {})), (error: Error) => {
    assert.ok(error instanceof SimulationError);
    return /^seed s-7 .*nothing is left to happen/.test(error.message);
  });
  const { clock } = simulator.machine("a").env;
  clock.schedule(1_000, () => {});
  await assert.rejects(
    simulator.run(() => false, { limitMs: 10 }),
    /not reached within 10 ms/,
  );
  clock.schedule(0, () => {
    throw new Error("planted");
  });
  await assert.rejects(
    simulator.run(() => false),
    /an event failed \(timer\): Error: planted/,
  );
});

test("time of one machine: its own monotonic start, its own wall clock, frozen while it is frozen", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn });
  const [a, b] = [simulator.machine("a"), simulator.machine("b")];
  assert.notEqual(a.env.clock.monotonicMs(), b.env.clock.monotonicMs());
  assert.equal(a.env.clock.wallMs(), b.env.clock.wallMs());
  b.wall.offsetMs = -60_000;
  assert.equal(a.env.clock.wallMs() - b.env.clock.wallMs(), 60_000);
  let ranMs = 0;
  const order: string[] = [];
  a.env.clock.schedule(5, () => (ranMs = simulator.nowMs));
  a.env.clock.schedule(6, () => order.push("first"));
  a.env.clock.schedule(7, () => order.push("second"));
  a.freeze(100);
  await simulator.advance(200);
  assert.equal(ranMs, 100);
  assert.deepEqual(order, ["first", "second"]);
});
