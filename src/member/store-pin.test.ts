/** A client works with one store: members that come back with another one, since their directory was lost, are not used. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { World } from "./cluster/world.suite.ts";
import { connectStore } from "./index.ts";
import type { ConnectOptions, RemoteStore } from "./index.ts";

const abc = ["a", "b", "c"];

class Clients {
  readonly #world: World;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
  }

  connect(addresses: string, options: ConnectOptions = {}): Promise<RemoteStore> {
    const { env } = this.#world.simulator.machine(`client ${this.#count++}`);
    return this.#world.run(connectStore(env, addresses, options));
  }
}

async function told(world: World, store: RemoteStore): Promise<string | undefined> {
  return (await world.run(store.keys.get("k")))?.text();
}

const isOther = (code: string) => (error: unknown) =>
  error instanceof HoldfastError && error.code === code && /the member at a:1 has another store/.test(error.message);

test("a member that was started anew with an empty directory is not used, by old clients and by new ones", async () => {
  const world = new World("wiped");
  const clients = new Clients(world);
  await world.found(abc);
  await world.put("a", "k", "1");
  const old = await clients.connect("a:1");
  await world.simulator.advance(1_000);
  await world.wipe("a");
  await world.run(world.start("a"));
  assert.equal(await world.get("a", "k"), undefined);
  assert.equal(await told(world, old), "1");
  for (let round = 0; round < 6; round++) {
    const store = await clients.connect("a:1,b:1,c:1");
    assert.equal(await told(world, store), "1");
    const { members } = await world.run(store.members.list());
    assert.equal(members.length, 3);
    await world.run(store.close());
  }
  await world.run(old.keys.put("k", "2"));
  assert.equal(await world.get("b", "k"), "2");
  await world.run(old.close());
  await world.close();
});

test("where only another store is left, calls fail and name the address", async () => {
  const world = new World("left");
  const clients = new Clients(world);
  await world.run(world.start("a"));
  await world.put("a", "k", "1");
  const store = await clients.connect("a:1");
  const several = await clients.connect("a:1,b:1", { timeoutMs: 2_000 });
  const watch = store.keys.watch({ prefix: "" })[Symbol.asyncIterator]();
  const next = watch.next();
  next.catch(() => {});
  await world.simulator.advance(100);
  await world.wipe("a");
  await world.run(world.start("a"));
  await assert.rejects(world.run(store.keys.put("k", "2")), isOther("invalid"));
  await assert.rejects(world.run(next), isOther("invalid"));
  // The right one may be at the other address, and come back.
  await assert.rejects(world.run(several.keys.get("k")), { code: "timeout" });
  assert.equal(await world.get("a", "k"), undefined);
  const fresh = await clients.connect("a:1");
  assert.equal(await told(world, fresh), undefined);
  for (const client of [store, several, fresh]) await world.run(client.close());
  await world.close();
});

test("a store stays the same when it becomes a cluster, restarts, and moves to other members", async () => {
  const world = new World("same");
  const clients = new Clients(world);
  await world.run(world.start("a"));
  await world.put("a", "k", "1");
  const store = await clients.connect("a:1");
  await world.run(world.member("a").close());
  world.simulator.machine("a").crash();
  world.members.clear();
  await world.found(abc);
  assert.equal(await told(world, store), "1");
  // It may have asked while the others were learners, and asks again after about one second, two and four.
  await world.simulator.advance(8_400);
  await world.run(world.member("b").store.members.remove("a"));
  await world.run(world.member("a").close());
  world.members.delete("a");
  await world.settled();
  assert.equal(await told(world, store), "1");
  await world.run(store.close());
  await world.close();
});

test("a member that is up is enough, if the others do not answer", async () => {
  const world = new World("silent");
  const clients = new Clients(world);
  await world.run(world.start("a"));
  await world.put("a", "k", "1");
  const startedMs = world.simulator.nowMs;
  const store = await clients.connect("b:1,a:1,c:1");
  assert.equal(await told(world, store), "1");
  assert.ok(world.simulator.nowMs - startedMs < 1_000, "connecting takes long");
  await world.run(store.close());
  await world.close();
});
