/** How a client finds, loses and finds again its servers, in simulated time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { RpcClient, RpcServer } from "./index.ts";
import type { RpcClientOptions, RpcServerOptions } from "./index.ts";
import { isError, stubOf, Test, testService, Witness } from "./rpc.suite.ts";

const seeds = ["red", "green", "blue"];

/** A test in simulated time, once a seed; the simulator's errors name it. */
function simulated(title: string, body: (simulator: Simulator) => Promise<void>): void {
  for (const seed of seeds) {
    test(`${title} (seed ${seed})`, async () => {
      const simulator = new Simulator({ seed, drain: nextTurn });
      await simulator.run(body(simulator));
    });
  }
}

async function serve(env: Env, address: string, witness = new Witness(), options: RpcServerOptions = {}) {
  const server = new RpcServer(env, [testService(env, witness)], options);
  const listener = await server.listen(address);
  return { server, witness, address: listener.address };
}

function connect(simulator: Simulator, addresses: readonly string[], options: RpcClientOptions = {}) {
  const client = new RpcClient(simulator.machine("client").env, addresses, options);
  return { client, stub: stubOf(client) };
}

simulated("a silent server is noticed by both sides, and calls fail as maybe done", async (simulator) => {
  const { env } = simulator.machine("server");
  const keepAlive = { keepAliveMs: 1_000, keepAliveTimeoutMs: 500 };
  const { server, witness, address } = await serve(env, "server:0", new Witness(), keepAlive);
  const { client, stub } = connect(simulator, [address], keepAlive);
  await stub.echo({});
  const call = stub.later({ number: 3_600_000 }, { timeoutMs: Infinity });
  const outcome = assert.rejects(call, isError("unavailable", true, /sign of life/));
  // A long silence alone is no reason: pings are answered.
  await sleep(env.clock, 60_000);
  assert.equal(server.callCount, 1);
  simulator.network.block("client", "server");
  const startedMs = simulator.nowMs;
  await outcome;
  const noticedMs = simulator.nowMs - startedMs;
  assert.ok(noticedMs <= 2 * 1_000 + 500 + 1, `noticed after ${noticedMs} ms`);
  await sleep(env.clock, 3_000);
  assert.deepEqual([server.callCount, server.connectionCount, witness.aborts.length], [0, 0, 1]);
  simulator.network.heal();
  assert.equal((await stub.echo({ number: 4 })).number, 4);
  await client.close();
});

simulated("a call waits for a server that comes later", async (simulator) => {
  const { client, stub } = connect(simulator, ["server:7000"]);
  const call = stub.echo({ number: 1 });
  const hopeless = assert.rejects(
    stub.echo({}, { timeoutMs: 200 }),
    isError("timeout", false, /no connection within 200 ms.*server:7000/),
  );
  await hopeless;
  await sleep(simulator.machine("server").env.clock, 2_000);
  await serve(simulator.machine("server").env, "server:7000");
  assert.equal((await call).number, 1);
  await client.close();
});

simulated("attempts back off exponentially, with jitter", async (simulator) => {
  const inner = simulator.machine("client").env;
  const attemptsMs: number[] = [];
  const net: Env["net"] = {
    listen: (address, accept) => inner.net.listen(address, accept),
    connect(address) {
      attemptsMs.push(inner.clock.monotonicMs());
      return Promise.reject(new HoldfastError("unavailable", `nobody at ${address}`));
    },
  };
  const client = new RpcClient({ ...inner, net }, ["server:7000"], { backoffMinMs: 100, backoffMaxMs: 1_600 });
  await assert.rejects(stubOf(client).echo({}, { timeoutMs: 20_000 }), isError("timeout", false));
  const gaps = attemptsMs.slice(1).map((ms, index) => ms - (attemptsMs[index] as number));
  gaps.forEach((gap, index) => {
    const fullMs = Math.min(1_600, 100 * 2 ** index);
    assert.ok(gap >= fullMs / 2 - 0.01 && gap <= fullMs + 0.01, `gap ${index} is ${gap} ms of ${fullMs}`);
  });
  assert.ok(gaps.length > 12 && new Set(gaps.map(Math.round)).size > 5, `gaps: ${gaps.join(" ")}`);
  await client.close();
});

simulated("the next address is tried at once", async (simulator) => {
  const { env } = simulator.machine("b");
  simulator.machine("a");
  const { address } = await serve(env, "b:7000");
  const { client, stub } = connect(simulator, ["a:7000", address], { backoffMinMs: 5_000 });
  await stub.echo({});
  assert.ok(simulator.nowMs < 1_000, `took ${simulator.nowMs} ms`);
  await client.close();
});

simulated("a crash in the middle: sent calls may be done, later ones go elsewhere", async (simulator) => {
  const a = await serve(simulator.machine("a").env, "a:7000");
  const b = await serve(simulator.machine("b").env, "b:7000");
  const { client, stub } = connect(simulator, [a.address, b.address], { keepAliveMs: 500, keepAliveTimeoutMs: 500 });
  await stub.echo({});
  const sent = assert.rejects(stub.later({ number: 60_000 }), isError("unavailable", true));
  await sleep(simulator.machine("client").env.clock, 50);
  simulator.machine("a").kill();
  await sent;
  assert.equal((await stub.echo({ number: 9 })).number, 9);
  assert.equal(b.server.connectionCount, 1);
  await client.close();
});

simulated("calls that a stopping server did not begin go to the next one", async (simulator) => {
  const a = await serve(simulator.machine("a").env, "a:7000");
  const b = await serve(simulator.machine("b").env, "b:7000");
  const { client, stub } = connect(simulator, [a.address, b.address]);
  const { clock } = simulator.machine("client").env;
  let [answered, stopped] = [0, false];
  const worker = async () => {
    for (let number = 1; number <= 100; number++) {
      assert.equal((await stub.later({ number: 1 })).number, 1);
      answered++;
      if (answered === 200) {
        stopped = true;
        void a.server.close();
      }
    }
  };
  // None of 1,000 calls fails although the server changes under them.
  await Promise.all(Array.from({ length: 10 }, worker));
  await sleep(clock, 10);
  assert.ok(stopped && a.witness.started >= 200 && b.witness.started > 0);
  assert.equal(a.witness.started + b.witness.started, 1_000);
  await client.close();
});

simulated("what waits is bounded", async (simulator) => {
  const options = { waitingCountMax: 10, waitingSizeMax: 10_000 };
  const { client, stub } = connect(simulator, ["server:7000"], options);
  const many = Array.from({ length: 12 }, () => stub.echo({}, { timeoutMs: 100 }));
  const codes = (await Promise.allSettled(many)).map((outcome) =>
    outcome.status === "rejected" ? (outcome.reason as HoldfastError).code : "",
  );
  assert.deepEqual(codes, [...Array(10).fill("timeout"), ...Array(2).fill("exhausted")]);
  const large = Array.from({ length: 3 }, () => stub.echo({ data: new Uint8Array(6_000) }, { timeoutMs: 100 }));
  const outcomes = await Promise.allSettled(large);
  assert.equal(outcomes.filter((outcome) => outcome.status === "rejected").length, 3);
  assert.match(String((outcomes[1] as PromiseRejectedResult).reason.message), /waitingSizeMax/);
  await client.close();
});

simulated("an address that no net takes fails at once", async (simulator) => {
  const { client, stub } = connect(simulator, ["carrier pigeon"]);
  await assert.rejects(stub.echo({}), isError("invalid", false, /carrier pigeon/));
  assert.ok(simulator.nowMs < 10);
  await client.close();
});

simulated("cut connections: every call ends, and none without maybe has happened twice", async (simulator) => {
  simulator.network.settings.cutChance = 0.002;
  const { env } = simulator.machine("server");
  const { address, witness } = await serve(env, "server:7000");
  const { client, stub } = connect(simulator, [address]);
  let [done, maybe] = [0, 0];
  const worker = async () => {
    for (let count = 0; count < 100; count++) {
      try {
        await stub.later({ number: 2 });
        done++;
      } catch (error) {
        assert.ok(error instanceof HoldfastError && error.code === "unavailable", String(error));
        assert.equal(error.maybe, true);
        maybe++;
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  assert.equal(done + maybe, 800);
  assert.ok(witness.started >= done && witness.started <= done + maybe, `${witness.started} of ${done} + ${maybe}`);
  simulator.network.settings.cutChance = 0;
  await client.close();
});

simulated("a server that does not pass the check gets no call", async (simulator) => {
  const wrong = await serve(simulator.machine("wrong").env, "wrong:1");
  const right = await serve(simulator.machine("right").env, "right:1");
  const checked: string[] = [];
  const check: RpcClientOptions["check"] = async (server) => {
    const { text } = await server.use(Test).echo({ text: server.address });
    checked.push(text);
    if (text === "wrong:1") throw new HoldfastError("invalid", `${text} is wrong`);
  };
  const { client, stub } = connect(simulator, ["wrong:1", "right:1"], { check });
  const connected: string[] = [];
  client.onConnected((peer) => connected.push(peer));
  const [first] = await Promise.all([stub.later({ number: 5 }), stub.later({ number: 6 })]);
  assert.equal(first.number, 5);
  assert.deepEqual([wrong.witness.started, right.witness.started], [0, 2]);
  assert.deepEqual([connected, checked], [["right:1"], ["wrong:1", "right:1"]]);
  // When nobody else is left, calls wait for the other one, and say what is wrong.
  await right.server.close({ graceMs: 0 });
  await assert.rejects(stub.later({ number: 1 }, { timeoutMs: 3_000 }), isError("timeout", false, /no connection/));
  assert.ok(checked.length < 30, `it was asked ${checked.length} times`);
  client.setAddresses(["wrong:1"]);
  await assert.rejects(stub.later({ number: 1 }), isError("invalid", false, /wrong:1 is wrong/));
  assert.equal(wrong.witness.started, 0);
  await client.close();
  await sleep(simulator.machine("wrong").env.clock, 100);
  assert.equal(wrong.server.connectionCount, 0);
});

const askSlowly: RpcClientOptions["check"] = async (server) => {
  if (server.address === "slow:1") await server.use(Test).later({ number: 3_600_000 }, { timeoutMs: Infinity });
};

simulated("a check that hangs, or whose server stops, holds up no other", async (simulator) => {
  const slow = await serve(simulator.machine("slow").env, "slow:1");
  const { env } = simulator.machine("right");
  const { client, stub } = connect(simulator, ["slow:1", "right:1"], { check: askSlowly, connectTimeoutMs: 1_000 });
  const call = stub.echo({ number: 1 });
  await sleep(env.clock, 500);
  const stopping = slow.server.close({ graceMs: 0 });
  await sleep(env.clock, 500);
  const right = await serve(env, "right:1");
  assert.equal((await call).number, 1);
  await stopping;
  // The question went to the one server alone.
  assert.deepEqual([slow.witness.started, right.witness.started], [1, 0]);
  await client.close();
});
