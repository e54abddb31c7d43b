import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { HoldfastError, position, sleep, utf8Decode, utf8Encode } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { nextTurn, nodeEnv, NodeDigest } from "../../host/index.ts";
import type { Base } from "../../raft/index.ts";
import { RpcServer } from "../../rpc/index.ts";
import { Simulator } from "../../sim/index.ts";
import { logConformance } from "../conformance.suite.ts";
import type { LogEngine } from "../index.ts";
import { RaftEngine } from "./raft-engine.ts";

const cluster = new Uint8Array(16).fill(7);
const small = { segmentSizeMin: 4_096, segmentSizeMax: 16_384 };

function baseOf(names: readonly string[]): Base {
  const members = names.map((name, index) => ({
    id: index + 1,
    name,
    address: `${name}:7420`,
    zone: "",
    voter: true,
    outgoing: false,
    leaving: false,
    replaces: 0,
    stays: false,
  }));
  const configuration = { members, joint: false, removed: [], leaderZone: "" };
  return { index: 0, term: 0, position: 0, configuration };
}

async function catchUp(): Promise<void> {
  throw new HoldfastError("unavailable", "this test has no state to catch up with");
}

function open(env: Env, self: number, names: readonly string[]): Promise<RaftEngine> {
  return RaftEngine.open(env, { directory: "log", cluster, self, base: baseOf(names), catchUp, ...small });
}

const direct = <T>(promise: Promise<T>): Promise<T> => promise;

logConformance("one member of its own", async () => {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-raft-"));
  const env = nodeEnv({ directory });
  const engine = await open(env, 1, ["a"]);
  let again: RaftEngine | undefined;
  const reopen = async () => {
    await engine.close();
    again = await open(env, 1, ["a"]);
    return again;
  };
  const cleanUp = async () => {
    await again?.close();
    await rm(directory, { recursive: true });
  };
  return { engine, reopen, run: direct, cleanUp };
});

class World {
  readonly simulator: Simulator;
  readonly names: readonly string[];
  readonly engines = new Map<string, RaftEngine>();

  constructor(seed: number, names: readonly string[]) {
    this.simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest(), network: { splitChance: 0.02 } });
    this.names = names;
  }

  async start(name: string): Promise<RaftEngine> {
    const machine = this.simulator.machine(name);
    const env = machine.alive ? machine.env : machine.restart();
    const engine = await open(env, this.names.indexOf(name) + 1, this.names);
    const server = new RpcServer(env, [engine.service]);
    await server.listen(`${name}:7420`);
    this.engines.set(name, engine);
    return engine;
  }

  async leader(): Promise<string> {
    for (;;) {
      for (const [name, engine] of this.engines) {
        if (this.simulator.machine(name).alive && engine.isPrimary) return name;
      }
      await sleep(this.simulator.machine("observer").env.clock, 10);
    }
  }

  engine(name: string): RaftEngine {
    return this.engines.get(name) as RaftEngine;
  }
}

for (const seed of [1]) {
  for (const role of ["leader", "follower"]) {
    logConformance(`three members, on the ${role}, seed ${seed}`, async () => {
      const world = new World(seed, ["a", "b", "c"]);
      const { simulator } = world;
      const name = await simulator.run(
        (async () => {
          for (const one of world.names) await world.start(one);
          const leader = await world.leader();
          return role === "leader" ? leader : (world.names.find((one) => one !== leader) as string);
        })(),
      );
      const engine = world.engine(name);
      const reopen = async () => {
        await engine.close();
        simulator.machine(name).kill();
        return world.start(name);
      };
      return { engine, reopen, run: (promise) => simulator.run(promise), cleanUp: async () => {} };
    });
  }
}

async function take(engine: LogEngine, from: number, count: number): Promise<string[]> {
  const texts: string[] = [];
  for await (const batch of engine.read(position(from))) {
    assert.equal(batch.position, from + texts.length);
    texts.push(...batch.records.map(utf8Decode));
    if (texts.length >= count) break;
  }
  return texts.slice(0, count);
}

/** Until it is answered: what was sent to a leader that died may be in the log or not. */
async function appendSurely(engine: LogEngine, text: string): Promise<void> {
  for (;;) {
    try {
      assert.ok((await engine.append([utf8Encode(text)])).ok);
      return;
    } catch (error) {
      assert.ok(error instanceof HoldfastError && error.code === "unavailable");
    }
  }
}

test("appends on every member are one order, and outlive the leader", async () => {
  const world = new World(4, ["a", "b", "c"]);
  const { simulator } = world;
  await simulator.run(
    (async () => {
      for (const name of world.names) await world.start(name);
      const before = await world.leader();
      const outcomes = await Promise.all(
        world.names.flatMap((name) =>
          Array.from({ length: 20 }, (_, index) => world.engine(name).append([utf8Encode(`${name}${index}`)])),
        ),
      );
      const positions = outcomes.map((outcome) => (outcome.ok ? outcome.position : -1));
      assert.deepEqual(
        positions.toSorted((a, b) => a - b),
        Array.from({ length: 60 }, (_, index) => index),
      );
      const lists = await Promise.all(world.names.map((name) => take(world.engine(name), 0, 60)));
      assert.deepEqual(lists[0], lists[1]);
      assert.deepEqual(lists[0], lists[2]);
      simulator.machine(before).crash();
      const rest = world.names.filter((name) => name !== before);
      const fromMs = simulator.nowMs;
      for (const name of rest) await appendSurely(world.engine(name), "more");
      assert.ok(simulator.nowMs - fromMs < 9_000, "the others elect a leader");
      const tails = await Promise.all(rest.map((name) => world.engine(name).tail()));
      assert.deepEqual(new Set(tails).size, 1);
      const again = await world.start(before);
      assert.equal(await again.tail(), tails[0]);
      assert.deepEqual((await take(again, 0, 62)).slice(0, 60), lists[0]);
    })(),
  );
});

test("closing finishes the appends under way, on the leader and on a follower", async () => {
  const world = new World(6, ["a", "b", "c"]);
  const { simulator } = world;
  await simulator.run(
    (async () => {
      for (const name of world.names) await world.start(name);
      const leader = await world.leader();
      const follower = world.names.find((name) => name !== leader) as string;
      for (const name of [follower, leader]) {
        const appended = world.engine(name).append([utf8Encode("last words")]);
        const fromMs = simulator.nowMs;
        await world.engine(name).close();
        assert.ok((await appended).ok);
        assert.ok(simulator.nowMs - fromMs < 500);
      }
    })(),
  );
});

test("a leader whose disk is full hands over, and the log goes on", async () => {
  const world = new World(7, ["a", "b", "c"]);
  const { simulator } = world;
  await simulator.run(
    (async () => {
      for (const name of world.names) await world.start(name);
      const leader = await world.leader();
      await world.engine(leader).append([utf8Encode("before")]);
      simulator.machine(leader).disk.capacity = 0;
      const large = new Uint8Array(20_000);
      const lost = world
        .engine(leader)
        .append([large])
        .catch(() => {});
      const other = world.names.find((name) => name !== leader) as string;
      while (world.engine(leader).isPrimary) await sleep(simulator.machine("observer").env.clock, 10);
      await appendSurely(world.engine(other), "after");
      await assert.rejects(world.engine(leader).append([large]), { code: "exhausted" });
      simulator.machine(leader).disk.capacity = Number.POSITIVE_INFINITY;
      await lost;
      const tail = await world.engine(other).tail();
      while (world.engine(leader).committed() < tail) await sleep(simulator.machine("observer").env.clock, 10);
    })(),
  );
});

test("a leader that is cut off answers neither append nor tail", async () => {
  const world = new World(5, ["a", "b", "c"]);
  const { simulator } = world;
  await simulator.run(
    (async () => {
      for (const name of world.names) await world.start(name);
      const leader = await world.leader();
      await world.engine(leader).append([utf8Encode("before")]);
      simulator.network.isolate(leader);
      const lost = world.engine(leader).append([utf8Encode("lost")]);
      await assert.rejects(world.engine(leader).tail(), { code: "unavailable", maybe: false });
      await assert.rejects(lost, { code: "unavailable", maybe: true });
      await assert.rejects(world.engine(leader).append([utf8Encode("late")]), { code: "unavailable", maybe: false });
      const other = world.names.find((name) => name !== leader) as string;
      await world.engine(other).append([utf8Encode("after")]);
      simulator.network.heal();
      const tail = await world.engine(leader).tail();
      assert.ok(tail >= 2);
      assert.equal(world.engine(leader).committed() <= tail, true);
    })(),
  );
});
