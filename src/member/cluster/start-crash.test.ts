/** A member that loses power at any change of its disk while it founds, joins, or brings a store into a cluster. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MemberOptions } from "./member-options.ts";
import { World } from "./world.suite.ts";

const abc = ["a", "b", "c"];
const peers = { a: "a:1", b: "b:1", c: "c:1" };

/** Starts members, one of which crashes at a change of its disk and starts again; the changes that it made. */
async function startWithCrash(
  world: World,
  starts: Readonly<Record<string, Partial<MemberOptions>>>,
  victim: string,
  change: number,
): Promise<number> {
  const machine = world.simulator.machine(victim);
  const before = machine.disk.changeCount;
  if (change > 0) machine.crashAtChange(change, change % 2 === 0 ? "during" : "after");
  const up = new Set<string>();
  const begin = (name: string) => world.start(name, starts[name]).then(() => up.add(name));
  const all = Object.keys(starts);
  const failures: unknown[] = [];
  for (const name of all) begin(name).catch((error: unknown) => failures.push(error));
  const done = () => failures.length > 0 || all.every((name) => up.has(name));
  await world.simulator.run(() => done() || !machine.alive, { limitMs: 60_000 });
  if (!machine.alive) {
    up.delete(victim);
    begin(victim).catch((error: unknown) => failures.push(error));
    await world.simulator.run(done, { limitMs: 60_000 });
  }
  assert.deepEqual(failures, []);
  machine.disk.hook = undefined;
  return machine.disk.changeCount - before;
}

async function checkWhole(world: World, key: string | undefined): Promise<void> {
  await world.settled();
  await world.until(async () => {
    const { members } = await world.member("a").store.members.list();
    return members.length === world.members.size && members.every(({ role }) => role === "voter");
  }, "not all vote");
  await world.put("c", "k", "1");
  for (const name of world.members.keys()) {
    assert.equal(await world.get(name, "k"), "1");
    if (key !== undefined) assert.equal(await world.get(name, key), "x".repeat(500));
  }
  await world.close();
}

/** Every change of the victim, or every so many, after one run without a crash. */
async function everywhere(stride: number, run: (change: number) => Promise<number>): Promise<void> {
  const changeCount = await run(0);
  assert.ok(changeCount > 10, `only ${changeCount} changes`);
  for (let change = 1; change <= changeCount; change += stride) await run(change);
}

test("a founder crashes", async () => {
  for (const victim of ["a", "c"]) {
    await everywhere(9, async (change) => {
      const world = new World(`found ${victim} ${change}`);
      const starts = Object.fromEntries(abc.map((name) => [name, { name, peers }]));
      const changeCount = await startWithCrash(world, starts, victim, change);
      await checkWhole(world, undefined);
      return changeCount;
    });
  }
});

test("a member that joins crashes, or the one that lets it in", async () => {
  for (const victim of ["d", "a"]) {
    await everywhere(victim === "d" ? 5 : 7, async (change) => {
      const world = new World(`join ${victim} ${change}`);
      await world.found(abc);
      if (victim === "a") {
        // Something of its disk changes while the other joins, at a few of which it crashes.
        world.simulator.machine("a").crashAtChange(change + 1, "after");
      }
      const joins = { d: { name: "d", join: ["a:1", "b:1"] } };
      let changeCount = 20;
      if (victim === "d") changeCount = await startWithCrash(world, joins, "d", change);
      else await world.run(world.start("d", joins.d));
      if (!world.simulator.machine("a").alive) {
        world.members.delete("a");
        await world.run(world.start("a"));
      }
      world.simulator.machine("a").disk.hook = undefined;
      await checkWhole(world, undefined);
      return changeCount;
    });
  }
});

test("a member that brings a store crashes", async () => {
  await everywhere(8, async (change) => {
    const world = new World(`data ${change}`);
    await world.run(world.start("b", { listen: ["b:1"] }));
    for (let round = 0; round < 5; round++) await world.put("b", `k${round}`, "x".repeat(500));
    await world.run(world.member("b").close());
    world.simulator.machine("b").crash();
    world.members.clear();
    world.simulator.machine("b").restart();
    const starts = Object.fromEntries(abc.map((name) => [name, { name, peers }]));
    const changeCount = await startWithCrash(world, starts, "b", change);
    await checkWhole(world, "k4");
    return changeCount;
  });
});
