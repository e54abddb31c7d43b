/** A client with several servers, in simulated time: whom it goes to, when it moves on, and what becomes of its calls. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { RpcClient, RpcServer } from "./index.ts";
import type { RpcClientOptions } from "./index.ts";
import { isError, stubOf, testService, Witness } from "./rpc.suite.ts";

interface World {
  readonly simulator: Simulator;
  readonly client: RpcClient;
  readonly stub: ReturnType<typeof stubOf>;
  readonly servers: Record<string, RpcServer>;
  readonly witnesses: Record<string, Witness>;
  /** Where connections were attempted, in order. */
  readonly attempts: string[];
  readonly sleep: (ms: number) => Promise<void>;
}

/** Servers on the machines of these names, and a client that knows them all in this order; `-` before a name: no server. */
function simulated(title: string, names: string, body: (world: World) => Promise<void>, options?: RpcClientOptions) {
  for (const seed of ["red", "green", "blue"]) {
    test(`${title} (seed ${seed})`, async () => {
      const simulator = new Simulator({ seed, drain: nextTurn, network: { spikeChance: 0 } });
      const run = async () => {
        const servers: Record<string, RpcServer> = {};
        const witnesses: Record<string, Witness> = {};
        const all = names.split(" ").map((name) => name.replace("-", ""));
        for (const name of all) simulator.machine(name);
        for (const name of names.split(" ").filter((one) => !one.startsWith("-"))) {
          const { env } = simulator.machine(name);
          const witness = new Witness();
          const server = new RpcServer(env, [testService(env, witness)]);
          await server.listen(`${name}:7000`);
          servers[name] = server;
          witnesses[name] = witness;
        }
        const { env } = simulator.machine("client");
        const attempts: string[] = [];
        const net: Env["net"] = {
          listen: (address, accept) => env.net.listen(address, accept),
          connect(address, how) {
            attempts.push(address.replace(":7000", ""));
            return env.net.connect(address, how);
          },
        };
        const client = new RpcClient(
          { ...env, net },
          all.map((name) => `${name}:7000`),
          options,
        );
        const world = { simulator, client, stub: stubOf(client), servers, witnesses, attempts };
        await body({ ...world, sleep: (ms) => sleep(env.clock, ms) });
        await client.close();
      };
      await simulator.run(run());
    });
  }
}

function serverOf(servers: World["servers"], name: string): RpcServer {
  const server = servers[name];
  assert.ok(server !== undefined);
  return server;
}

/** What a call rejects with. */
async function failureOf(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
  } catch (error) {
    return error;
  }
  assert.fail("the call should fail");
}

const counts = (servers: World["servers"]) =>
  Object.values(servers)
    .map(({ connectionCount }) => connectionCount)
    .join(" ");

simulated("an address that hangs holds up nobody for long", "a b c", async (world) => {
  const { simulator, client, stub, servers, attempts } = world;
  simulator.network.block("client", "a");
  await stub.echo({});
  assert.ok(simulator.nowMs >= 50 && simulator.nowMs < 60, `took ${simulator.nowMs} ms`);
  assert.deepEqual([client.peer, attempts.join()], ["b:7000", "a,b"]);
  simulator.network.heal();
  await world.sleep(1_000);
  assert.equal(counts(servers), "0 1 0", "what became of the attempt that hung was given up");
});

simulated("the nearest wins, the others are closed", "a b c", async (world) => {
  const { simulator, client, stub, servers } = world;
  // So far away that all three are tried; then what is on its way to b arrives at once.
  simulator.network.settings.latencyMs = [400, 410];
  const call = stub.echo({});
  await world.sleep(40);
  simulator.network.settings.latencyMs = [1, 2];
  await call;
  assert.equal(client.peer, "b:7000");
  simulator.network.settings.latencyMs = [0.1, 1];
  await world.sleep(3_000);
  assert.equal(counts(servers), "0 1 0");
});

simulated("after a loss the others are tried at once, and the lost one last", "a b c", async (world) => {
  const { simulator, client, stub, attempts } = world;
  await stub.echo({});
  assert.equal(client.peer, "a:7000");
  await serverOf(world.servers, "b").close();
  simulator.machine("a").kill();
  simulator.machine("a").restart();
  await world.sleep(20);
  attempts.length = 0;
  const startedMs = simulator.nowMs;
  await stub.echo({});
  assert.ok(simulator.nowMs - startedMs < 10, `took ${simulator.nowMs - startedMs} ms`);
  assert.deepEqual([client.peer, attempts.join()], ["c:7000", "b,c"]);
});

simulated("an address is tried again while another one hangs", "a b", async (world) => {
  const { simulator, stub } = world;
  simulator.network.block("client", "a");
  simulator.machine("b").kill();
  const env = simulator.machine("b").restart();
  const startedMs = simulator.nowMs;
  const call = stub.echo({});
  await world.sleep(600);
  await new RpcServer(env, [testService(env, new Witness())]).listen("b:7000");
  await call;
  assert.ok(simulator.nowMs - startedMs < 2_000, `took ${simulator.nowMs - startedMs} ms`);
  simulator.network.heal();
});

simulated("addresses change under load: no call fails, and the old connection goes", "a b", async (world) => {
  const { client, stub, servers, witnesses } = world;
  client.setAddresses(["a:7000"]);
  let answered = 0;
  const worker = async () => {
    for (let count = 0; count < 50; count++) {
      await stub.later({ number: 1 });
      answered++;
      if (answered === 200) client.setAddresses(["b:7000"]);
    }
  };
  const long = stub.later({ number: 500 });
  await Promise.all(Array.from({ length: 10 }, worker));
  assert.equal(client.peer, "b:7000");
  assert.equal(counts(servers), "1 1", "a call is under way on the old connection");
  assert.equal((await long).number, 500);
  await world.sleep(20);
  assert.equal(counts(servers), "0 1");
  const [a = new Witness(), b = new Witness()] = Object.values(witnesses);
  assert.ok(a.started >= 200 && b.started > 200 && a.started + b.started === 501, `${a.started} ${b.started}`);
  assert.throws(() => client.setAddresses([]), isError("invalid", false));
});

simulated("addresses that come while every known one fails are tried at once", "-a b", async (world) => {
  const { simulator, client, stub } = world;
  client.setAddresses(["a:7000"]);
  const call = stub.echo({});
  // By then it waits for seconds between attempts.
  await world.sleep(20_000);
  const startedMs = simulator.nowMs;
  client.setAddresses(["a:7000", "b:7000"]);
  await call;
  assert.ok(simulator.nowMs - startedMs < 10, `took ${simulator.nowMs - startedMs} ms`);
});

simulated("a server that answers unavailable is left, and its other calls end there", "a b", async (world) => {
  const { client, stub, servers } = world;
  const long = stub.later({ number: 300 });
  const stream = stub.endless({});
  await stream.next();
  const told: string[] = [];
  client.onConnected((peer) => told.push(peer));
  const failure = await failureOf(stub.fail({ text: "unavailable" }));
  assert.equal(client.peer, "a:7000", "nothing moves by itself");
  client.avoid(failure);
  // Until there is another, calls go on as before.
  assert.equal(client.peer, "a:7000");
  await stub.echo({});
  await world.sleep(20);
  assert.deepEqual([client.peer, told.join()], ["b:7000", "b:7000"]);
  // An error of a connection that is no longer in use concerns nobody.
  client.avoid(failure);
  await stub.echo({});
  assert.equal(counts(servers), "1 1");
  assert.equal((await long).number, 300);
  assert.equal((await stream.next()).done, false);
  await stream.return?.();
  await world.sleep(20);
  assert.equal(counts(servers), "0 1");
});

simulated("the only server that can be reached is used, whatever it answers", "a -b c", async (world) => {
  const { simulator, client, stub, attempts } = world;
  simulator.network.block("client", "c");
  await stub.echo({});
  client.avoid(await failureOf(stub.fail({ text: "unavailable" })));
  await world.sleep(3_000);
  assert.equal(attempts.join(), "a,b,c,b,b");
  attempts.length = 0;
  for (let count = 0; count < 40; count++) {
    const failure = await failureOf(stub.fail({ text: "unavailable" }));
    client.avoid(failure);
    const startedMs = simulator.nowMs;
    await stub.echo({});
    assert.ok(simulator.nowMs - startedMs < 10, "other calls do not wait");
    await world.sleep(100);
  }
  assert.equal(client.peer, "a:7000");
  const tries = attempts.filter((name) => name === "b").length;
  assert.ok(tries >= 2 && tries <= 5, `${tries} attempts in four seconds`);
  assert.ok(!attempts.includes("a"));
  simulator.network.heal();
});

simulated("where nobody can serve, the client does not run from one to the other", "a b c", async (world) => {
  const { client, stub, attempts } = world;
  const worker = async () => {
    for (let count = 0; count < 60; count++) {
      await stub.fail({ text: "unavailable" }).catch((error: unknown) => client.avoid(error));
      await world.sleep(50);
    }
  };
  await Promise.all(Array.from({ length: 10 }, worker));
  assert.ok(attempts.length >= 5 && attempts.length <= 12, `${attempts.length} connections in three seconds`);
});

simulated("a call that was not answered in time moves the next ones on", "a b", async (world) => {
  const { client, stub } = world;
  const failure = await failureOf(stub.later({ number: 5_000 }, { timeoutMs: 100 }));
  assert.ok(isError("timeout", true)(failure));
  client.avoid(failure);
  await world.sleep(20);
  assert.equal(client.peer, "b:7000");
  // Errors of any other kind, or of the client itself, move nothing.
  client.avoid(await failureOf(stub.fail({ text: "conflict" })));
  client.avoid(new HoldfastError("unavailable", "said by somebody else"));
  client.avoid(new TypeError("no such thing"));
  await world.sleep(20);
  assert.equal(client.peer, "b:7000");
});

simulated("a frozen server is given up soon after a call, its calls as maybe done", "a b", async (world) => {
  const { simulator, client, stub } = world;
  await stub.echo({});
  const early = assert.rejects(stub.later({ number: 60_000 }), isError("unavailable", true, /sign of life|ping/));
  await world.sleep(5_000);
  simulator.machine("a").freeze(60_000);
  await world.sleep(100);
  const startedMs = simulator.nowMs;
  await assert.rejects(stub.echo({}), isError("unavailable", true, /no answer to a call for 1000 ms/));
  const tookMs = simulator.nowMs - startedMs;
  assert.ok(tookMs >= 1_500 && tookMs < 2_600, `took ${tookMs} ms`);
  await early;
  assert.equal((await stub.echo({ number: 2 })).number, 2);
  assert.ok(simulator.nowMs - startedMs < 2_700);
  assert.equal(client.peer, "b:7000");
});

simulated("a server that takes its time is not given up, nor one over a slow line", "a b", async (world) => {
  const { simulator, client, stub } = world;
  // As a system does that takes everything at once into its own buffer: nothing is heard until all has arrived.
  simulator.network.settings.windowSize = [400_000, 400_000];
  simulator.network.settings.splitChance = 0;
  await stub.later({ number: 25_000 });
  simulator.network.settings.bandwidth = 100;
  const data = new Uint8Array(60_000);
  await Promise.all(Array.from({ length: 5 }, () => stub.later({ number: 4_000, data })));
  assert.equal(client.peer, "a:7000");
  assert.equal(world.attempts.join(), "a");
});

simulated("calls that a stopping server did not begin move on from a retired connection too", "a b", async (world) => {
  const { simulator, client, stub, servers } = world;
  await stub.echo({});
  const long = stub.later({ number: 200 });
  await world.sleep(5);
  client.setAddresses(["b:7000"]);
  // What is sent until there is another connection may cross the go-away.
  const sent = Array.from({ length: 50 }, (_, number) => stub.echo({ number }));
  const closing = serverOf(servers, "a").close();
  for (let number = 50; number < 100; number++) {
    sent.push(stub.echo({ number }));
    await world.sleep(0.05);
  }
  const answers = await Promise.all(sent);
  assert.deepEqual(
    answers.map(({ number }) => number),
    Array.from({ length: 100 }, (_, number) => number),
  );
  assert.equal((await long).number, 200);
  await closing;
  assert.ok(simulator.nowMs < 1_000);
});
