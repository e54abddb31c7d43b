/**
 * Moves of a log under load, between all pairs of engines, cut at every step: each change of the disk and each message to a
 * remote log, before it is done and after. What was acknowledged is there once the machine is back, once, in its order.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import { HoldfastError, position, sleep, utf8Decode, utf8Encode } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Chain, ChainFile, FileEngine, MemoryEngine, RaftEngine } from "../log/index.ts";
import type { ChainOptions, LogEngine, Successor } from "../log/index.ts";
import type { Base } from "../raft/index.ts";
import { Simulator } from "./index.ts";
import { RemoteLog } from "./remote-log.suite.ts";

const small = { segmentSizeMin: 4_096, segmentSizeMax: 16_384 };
const digest = new NodeDigest();
const kinds = ["file", "raft", "remote"] as const;

function baseOf(): Base {
  const member = { id: 1, name: "a", address: "a:1", zone: "", voter: true, outgoing: false };
  const members = [{ ...member, leaving: false, replaces: 0, stays: false }];
  return { index: 0, term: 0, position: 0, configuration: { members, joint: false, removed: [], leaderZone: "" } };
}

async function clear(env: Env, directory: string): Promise<void> {
  const names = await env.disk.list(directory).catch((error: unknown): string[] => {
    if (error instanceof HoldfastError && error.code === "notFound") return [];
    throw error;
  });
  for (const name of names) await env.disk.remove(`${directory}/${name}`);
  if (names.length > 0) await env.disk.syncDirectory(directory);
}

/** What is kept beside the machine. */
class World {
  readonly servers = new Map<string, MemoryEngine>();
  step: () => void = () => {};

  options(env: Env): ChainOptions {
    return {
      places: new ChainFile(env, "chain"),
      openEngine: ({ kind, parameters }, { fresh }) => this.#open(env, kind, utf8Decode(parameters), fresh),
      removeEngine: async ({ parameters }) => {
        this.servers.delete(utf8Decode(parameters));
        await clear(env, utf8Decode(parameters));
      },
      pause: () => sleep(env.clock, 10),
    };
  }

  async #open(env: Env, kind: string, name: string, fresh: boolean): Promise<LogEngine> {
    if (kind === "remote") {
      let server = this.servers.get(name);
      if (fresh || server === undefined) server = new MemoryEngine({ shared: true });
      this.servers.set(name, server);
      return new RemoteLog(env, server, { step: () => this.step() });
    }
    if (fresh) await clear(env, name);
    if (kind === "file") return FileEngine.open(env, name, small);
    const cluster = new Uint8Array(16).fill(7);
    return RaftEngine.open(env, { directory: name, cluster, self: 1, base: baseOf(), catchUp, ...small });
  }
}

function catchUp(): Promise<never> {
  return Promise.reject(new HoldfastError("unavailable", "there is nobody else"));
}

const place = (kind: string, name: string): Successor => ({ kind, parameters: utf8Encode(name) });

/** Appends from two sides, in order on each, while the log moves; what was acknowledged is noted with its position. */
async function workload(env: Env, world: World, [from, to]: readonly [string, string], noted: Map<string, number>) {
  const chain = await Chain.open(place(from, "first"), world.options(env));
  const side = async (name: string) => {
    for (let index = 0; index < 8; index++) {
      const text = `${name} ${index}`;
      const outcome = await chain.append([utf8Encode(text), utf8Encode(`${text}, its neighbour`)]);
      assert.ok(outcome.ok);
      noted.set(text, outcome.position);
    }
  };
  const sides = [side("x"), side("y")];
  while (noted.size < 4) await sleep(env.clock, 1);
  await chain.moveTo(place(to, "second"));
  await Promise.all(sides);
  const tail = await chain.tail();
  await chain.trim(tail);
  await chain.close();
}

async function check(env: Env, world: World, from: string, noted: ReadonlyMap<string, number>): Promise<void> {
  const chain = await Chain.open(place(from, "first"), world.options(env));
  const { position: next } = { position: 0, ...(await chain.append([utf8Encode("next")])) };
  const start = chain.start();
  const texts: string[] = [];
  for await (const batch of chain.read(start)) {
    assert.equal(batch.position, start + texts.length);
    texts.push(...batch.records.map(utf8Decode));
    if (start + texts.length > next) break;
  }
  assert.equal(await chain.tail(), next + 1);
  assert.equal(new Set(texts).size, texts.length, "nothing is doubled");
  for (const [text, at] of noted) {
    if (at < start) continue;
    assert.equal(texts[at - start], text);
    assert.equal(texts[at + 1 - start], `${text}, its neighbour`);
  }
  for (const name of ["x", "y"]) {
    const order = texts.filter((text) => text.startsWith(name)).map((text) => Number.parseInt(text.slice(2), 10));
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
      "the order of each side is kept",
    );
  }
  await chain.trim(position(next));
  await chain.close();
}

/** Runs a workload that is cut at its step number `cut`, 0 for never, and checks what is left. Gives the number of steps. */
async function run(pair: readonly [string, string], cut: number): Promise<number> {
  const simulator = new Simulator({ seed: `${pair.join(" ")} ${cut}`, drain: nextTurn, digest });
  const machine = simulator.machine("a");
  const world = new World();
  const noted = new Map<string, number>();
  let steps = 0;
  world.step = () => {
    steps += 1;
    if (steps === cut) machine.crash();
  };
  machine.disk.hook = ({ changes }) => {
    if (changes) world.step();
  };
  let over = false;
  workload(machine.env, world, pair, noted).then(
    () => (over = true),
    (error: unknown) => assert.fail(String(error)),
  );
  await simulator.run(() => over || !machine.alive);
  assert.ok(cut > 0 || noted.size === 16);
  if (machine.alive) machine.crash();
  world.step = () => {};
  machine.disk.hook = undefined;
  await simulator.run(check(machine.restart(), world, pair[0], noted));
  return steps;
}

for (const from of kinds) {
  for (const to of kinds) {
    it(`moves from ${from} to ${to}, cut at every step`, async (t) => {
      const steps = await run([from, to], 0);
      for (let cut = 1; cut <= steps; cut++) {
        try {
          await run([from, to], cut);
        } catch (error) {
          throw new Error(`from ${from} to ${to}, cut at step ${cut}: ${(error as Error).message}`, { cause: error });
        }
      }
      t.diagnostic(`${steps} steps`);
    });
  }
}
