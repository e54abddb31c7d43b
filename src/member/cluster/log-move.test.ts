/** The log of a cluster moves to an engine elsewhere and back to the members, under load and faults. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep, utf8Decode, utf8Encode } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { MemoryEngine } from "../../log/index.ts";
import type { EngineKind } from "../../log/index.ts";
import { RemoteLog } from "../../sim/remote-log.suite.ts";
import { rejects, World } from "./world.suite.ts";

/** Logs elsewhere, by their names. */
class Far {
  readonly servers = new Map<string, MemoryEngine>();

  kind(env: () => Env): EngineKind {
    return {
      kind: "far",
      parametersOf: (address) => utf8Encode(address.slice("far:".length)),
      open: async (parameters, { fresh }) => {
        const name = utf8Decode(parameters);
        const server = this.servers.get(name) ?? (fresh ? new MemoryEngine({ shared: true }) : undefined);
        if (server === undefined) throw new HoldfastError("corrupt", `there is no log ${name}`);
        this.servers.set(name, server);
        return new RemoteLog(env(), server, { elsewhere: true });
      },
      remove: () => assert.fail("a log of several members is never removed"),
    };
  }
}

const names = ["a", "b", "c"] as const;

class Moving extends World {
  readonly far = new Far();
  readonly counts = new Map<string, number>();

  given(name: string) {
    return { logs: [this.far.kind(() => this.simulator.machine(name).env)] };
  }

  begin(): Promise<void> {
    return this.found(names, (name) => this.given(name));
  }

  async move(by: string, to: string): Promise<void> {
    const { pauseMs } = await this.run(this.member(by).store.moveLog(to));
    assert.ok(pauseMs < 200, `the move to ${to} took ${pauseMs} ms, and an election takes 200`);
  }

  /** Adds 1 to a counter, over and over, through each member that is up; notes what was answered and what may have been. */
  load() {
    const over = new AbortController();
    const answered = { sure: 0, maybe: 0 };
    const add = async (name: string): Promise<void> => {
      while (!over.signal.aborted) {
        const member = this.members.get(name);
        try {
          if (member === undefined) throw new HoldfastError("unavailable", "down");
          const waiting = member.store.counter("n").add(1);
          await Promise.race([waiting, this.#gone(name, member)]);
          answered.sure++;
          await sleep(this.simulator.machine("client").env.clock, 20);
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          if (error.maybe) answered.maybe++;
          await sleep(this.simulator.machine("client").env.clock, 20);
        }
      }
    };
    const adding = Promise.all(names.map(add));
    return async () => {
      over.abort();
      await this.run(adding);
      return answered;
    };
  }

  /** Rejects when the member's machine has crashed: then nobody answers. */
  async #gone(name: string, member: unknown): Promise<never> {
    const { clock } = this.simulator.machine("client").env;
    while (this.members.get(name) === member) await sleep(clock, 10);
    throw new HoldfastError("unavailable", "crashed", { maybe: true });
  }

  /** Waits until a member has a key without asking the others. */
  async hears(name: string, key: string): Promise<void> {
    const keys = this.member(name).store.keys;
    await this.until(async () => (await keys.get(key, { consistency: "local" })) !== undefined, `${name} stays behind`);
  }

  async check({ sure, maybe }: { readonly sure: number; readonly maybe: number }): Promise<void> {
    const values = new Set<number>();
    for (const { store } of this.members.values()) values.add(await this.run(store.counter("n").get()));
    assert.equal(values.size, 1, [...values].join());
    const [value = 0] = values;
    assert.ok(sure > 20, `${sure}`);
    assert.ok(value >= sure && value <= sure + maybe, `${value} of ${sure} and ${maybe}`);
    const roots = new Set<string>();
    for (const { store } of this.members.values())
      roots.add(Buffer.from((await this.run(store.checkpoint())).rootHash).toString("hex"));
    assert.equal(roots.size, 1);
  }
}

test("the log of three members moves elsewhere, on, and back to the members, by any of them, under load", async () => {
  const world = new Moving("three");
  await world.begin();
  const stop = world.load();
  let round = 0;
  for (const by of names) {
    await world.simulator.advance(300);
    await world.move(by, `far:${++round}`);
    await world.simulator.advance(300);
    await world.move(by, `far:${++round}`);
    await world.simulator.advance(300);
    await world.move(by, "raft:");
  }
  await world.simulator.advance(300);
  const answered = await stop();
  assert.equal(answered.maybe, 0, "nothing went wrong");
  await world.check(answered);
  await world.close();
});

for (let seed = 0; seed < 3; seed++) {
  test(`members crash while the log moves (${seed})`, async () => {
    const world = new Moving(`crash ${seed}`);
    await world.begin();
    const dice = world.simulator.random.fork("crashes");
    const stop = world.load();
    let isAway = false;
    for (let round = 0; round < 4; round++) {
      const by = dice.pick(names.filter((name) => world.members.has(name)));
      const moving = world
        .member(by)
        .store.moveLog(isAway ? "raft:" : `far:${round}`)
        .then(
          () => true,
          () => false,
        );
      const ended = new AbortController();
      void moving.then(() => ended.abort());
      await world.simulator.advance(dice.below(40));
      const victim = dice.chance(0.7) ? by : dice.pick(names);
      world.crash(victim);
      for (let turn = 0; turn < 10 && !ended.signal.aborted; turn++) await world.simulator.advance(100);
      await world.run(world.start(victim, world.given(victim)));
      await world.settled();
      await world.simulator.advance(500);
      // Whether a move whose member crashed has happened, the log says.
      await world.until(async () => (await world.member(by).store.status()).leader !== "", "no leader");
      await world.put(by, "round", String(round));
      isAway = (await world.member(by).store.status()).logKind !== "raft";
    }
    const answered = await stop();
    await world.check(answered);
    await world.close();
  });
}

for (let seed = 0; seed < 3; seed++) {
  test(`members are cut off from each other while the log moves (${seed})`, async () => {
    const world = new Moving(`cut ${seed}`);
    await world.begin();
    const { random, network } = world.simulator;
    const dice = random.fork("cuts");
    const stop = world.load();
    for (let round = 0; round < 5; round++) {
      const [by, other] = [dice.pick(names), dice.pick(names)];
      const { logKind } = await world.member(by).store.status();
      const ended = world
        .member(by)
        .store.moveLog(logKind === "raft" ? `far:${round}` : "raft:")
        .then(
          () => true,
          (error: unknown) => {
            if (!(error instanceof HoldfastError)) throw error;
            return false;
          },
        );
      await world.simulator.advance(dice.below(30));
      // What it has sent to the others arrives late: its log elsewhere is reached all the same.
      network.isolate(other);
      await world.simulator.advance(300 + dice.below(2_000));
      network.heal();
      await world.run(ended);
      await world.settled();
    }
    await world.check(await stop());
    await world.close();
  });
}

test("a member that was away while the log moved and was trimmed, and a new one, get the state and go on", async () => {
  const world = new Moving("away");
  await world.begin();
  const fill = async (from: number) => {
    for (let index = 0; index < 150; index++) await world.put("a", `k${from + index}`, "x".repeat(200));
    for (let turn = 0; turn < 2; turn++) {
      await world.put("a", `turn${from}`, String(turn));
      for (const { store } of world.members.values()) await world.run(store.checkpoint());
    }
  };
  world.crash("c");
  await fill(0);
  await world.move("a", "far:1");
  await fill(1_000);
  // Elsewhere: what it lacks was trimmed there.
  await world.run(world.start("c", world.given("c")));
  await world.hears("c", "k1149");
  world.crash("c");
  await fill(2_000);
  await world.move("b", "raft:");
  await fill(3_000);
  await fill(4_000);
  // Back with the members, whose log begins on another stay than c knows of.
  await world.run(world.start("c", world.given("c")));
  await world.hears("c", "k4149");
  await world.put("c", "from c", "1");
  await world.run(world.start("d", { name: "d", join: ["a:1"], ...world.given("d") }));
  await world.hears("d", "from c");
  await world.move("d", "far:2");
  await world.put("d", "from d", "1");
  for (const name of [...names, "d"]) assert.equal(await world.get(name, "from d"), "1");
  // And after a restart of all.
  for (const name of [...names, "d"]) world.crash(name);
  await world.run(Promise.all([...names, "d"].map((name) => world.start(name, world.given(name)))));
  await world.settled();
  await world.put("b", "again", "1");
  for (const name of [...names, "d"]) assert.equal(await world.get(name, "again"), "1");
  const roots = new Set<string>();
  for (const { store } of world.members.values()) {
    roots.add(Buffer.from((await world.run(store.checkpoint())).rootHash).toString("hex"));
  }
  assert.equal(roots.size, 1);
  await world.close();
});

test("a cluster's log refuses places that are none for it, and one that does not open changes nothing", async () => {
  const world = new Moving("refusals");
  await world.begin();
  const { store } = world.member("a");
  await rejects(world.run(store.moveLog("raft:")), "invalid", /with the cluster's members \(raft:\) already/);
  await rejects(world.run(store.moveLog("file:")), "invalid", /log of one process/);
  await rejects(world.run(store.moveLog("moon:1")), "invalid", /write raft: or nats:/);
  await world.put("a", "k", "1");
  await world.move("a", "far:1");
  await world.put("b", "k", "2");
  assert.equal(await world.get("c", "k"), "2");
  await world.close();
});
