/** Clusters of real members on simulated machines: founding, restarts, and every change of who belongs to them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rejects, World } from "./world.suite.ts";

const abc = ["a", "b", "c"];

test("three members found a cluster, share what is written, and start again without being told anything", async () => {
  const world = new World("found");
  await world.found(abc);
  await world.put("a", "k", "1");
  for (const name of abc) assert.equal(await world.get(name, "k"), "1");
  const before = await world.list("b");
  assert.equal(before.members.length, 3);
  assert.ok(before.members.every(({ role, address }) => role === "voter" && address !== ""));
  for (const name of abc) world.crash(name);
  await world.run(Promise.all(abc.map((name) => world.start(name, { listen: [] }))));
  await world.settled();
  for (const name of abc) assert.equal(await world.get(name, "k"), "1");
  const after = await world.list("c");
  assert.equal(after.cluster, before.cluster);
  assert.deepEqual(
    after.members.map(({ id, address }) => [id, address]),
    before.members.map(({ id, address }) => [id, address]),
  );
  await world.close();
});

test("a member joins, catches up behind a trimmed log, becomes a voter, and survives a restart", async () => {
  const world = new World("join");
  await world.found(abc);
  for (let round = 0; round < 40; round++) await world.put("a", `k${round % 7}`, "x".repeat(2_000));
  for (const name of abc) {
    const { store } = world.member(name);
    await world.run(store.checkpoint());
    await world.put(name, "again", name);
    await world.run(store.checkpoint());
  }
  assert.ok((await world.run(world.member("a").store.status())).logStart > 0, "nothing was trimmed");
  await world.run(world.start("d", { name: "d", join: ["b:1"], zone: "east" }));
  await world.until(async () => (await world.member("d").store.status()).role === "follower", "d is no voter");
  assert.equal(await world.get("d", "k3"), "x".repeat(2_000));
  assert.deepEqual(await world.info("a", "d").then((d) => [d?.role, d?.zone, d?.address]), ["voter", "east", "d:1"]);
  world.crash("d");
  await world.run(world.start("d"));
  await world.until(
    async () => (await world.member("d").store.keys.get("again")) !== undefined,
    "d does not come back",
  );
  await world.close();
});

test("names are kept: for a member that is expected, and against one that is another", async () => {
  const world = new World("names");
  await world.found(abc);
  const { members } = world.member("c").store;
  const added = await world.run(members.add("d", { zone: "west" }));
  assert.deepEqual([added.name, added.address, added.role, added.zone], ["d", "", "learner", "west"]);
  await world.run(rejects(members.add("d"), "exists", /expected already/));
  await world.run(rejects(members.add("a"), "exists", /has a member a already/));
  await world.run(rejects(members.add("e", { replaces: "nobody" }), "notFound", /no member nobody/));
  // Nobody waits for a member that never comes.
  await world.put("a", "k", "1");
  await world.run(world.start("d", { name: "d", join: ["a:1", "c:1"] }));
  await world.until(async () => (await world.member("d").store.status()).role === "follower", "d is no voter");
  const d = await world.info("a", "d");
  assert.deepEqual([d?.zone, d?.role], ["west", "voter"]);
  assert.notEqual(d?.id, added.id);
  await rejects(
    world.run(world.start("x", { name: "b", join: ["a:1"] })),
    "exists",
    /has a member b already.*--replace b/,
  );
  await world.close();
});

test("a member whose directory is lost is refused, and replaced in one step", async () => {
  const world = new World("replace");
  await world.found(abc);
  await world.put("a", "k", "1");
  await world.wipe("b");
  const peers = { a: "a:1", b: "b:1", c: "c:1" };
  await rejects(world.run(world.start("b", { name: "b", peers })), "denied", /--name b2 --join .* --replace b/);
  await world.wipe("b");
  await world.run(world.start("b", { name: "b2", join: ["a:1"], replace: "b" }));
  await world.until(async () => {
    const { members } = await world.member("a").store.members.list();
    return members.length === 3 && members.some(({ name, role }) => name === "b2" && role === "voter");
  }, "b is not replaced");
  assert.equal(await world.get("b", "k"), "1");
  // The new one counts: another may go.
  await world.settled();
  world.crash("c");
  await world.settled();
  await world.put("a", "k", "2");
  assert.equal(await world.get("b", "k"), "2");
  await world.close();
});

test("a member that is removed stops, and does not start again, whether it was up or not", async () => {
  const world = new World("remove");
  await world.found([...abc, "d", "e"]);
  const leader = await world.settled();
  const [up = "", down = ""] = ["a", "b", "c", "d", "e"].filter((name) => name !== leader);
  const { members } = world.member(leader).store;
  const { failed } = world.member(up);
  await world.run(members.remove(up));
  await rejects(
    world.run(failed.then((error) => Promise.reject(error))),
    "denied",
    new RegExp(`member ${up} was removed`),
  );
  await world.run(world.member(up).close());
  world.crash(down);
  await world.run(members.remove(down));
  assert.equal((await world.list(leader)).members.length, 3);
  await rejects(world.run(world.start(up)), "denied", /was removed from its cluster, for good/);
  world.simulator.machine(up).crash();
  const member = await world.run(world.start(down));
  await rejects(world.run(member.failed.then((error) => Promise.reject(error))), "denied", /was removed/);
  await world.run(member.close());
  world.members.delete(up);
  world.members.delete(down);
  await world.run(rejects(members.remove(up), "notFound", /there is no member/));
  await world.close();
});

test("the leader hands over: to a member, to a zone, when it stops, when it is removed", async () => {
  const world = new World("transfer");
  await world.found(abc, (name) => ({ zone: name === "c" ? "east" : "west" }));
  const leader = await world.settled();
  const other = abc.find((name) => name !== leader) ?? "";
  await world.run(world.member(other).store.members.transfer({ name: other }));
  assert.equal(await world.settled(), other);
  await world.run(world.member("a").store.members.transfer({ zone: "east" }));
  await world.until(async () => (await world.member("c").store.status()).role === "leader", "the zone does not lead");
  assert.equal((await world.list("b")).leaderZone, "east");
  await world.run(
    rejects(world.member("a").store.members.transfer({ zone: "north" }), "invalid", /no voter is in zone/),
  );
  await world.run(world.member("a").store.members.transfer({ zone: "" }));
  const startedMs = world.simulator.nowMs;
  await world.run(world.member("c").close());
  world.members.delete("c");
  await world.settled();
  assert.ok(world.simulator.nowMs - startedMs < 500, "closing takes long");
  await world.put("a", "k", "1");
  await world.close();
});

test("a member that moves tells the others, and what only the leader knows is asked of it", async () => {
  const world = new World("move");
  await world.found(abc);
  world.crash("b");
  await world.run(world.start("b", { listen: ["b:9"] }));
  for (const name of abc) {
    await world.until(async () => {
      const { members } = await world.member(name).store.members.list();
      return members.find((member) => member.name === "b")?.address === "b:9";
    }, `${name} does not know that b moved`);
  }
  await world.put("b", "k", "1");
  const leader = await world.settled();
  const other = abc.find((name) => name !== leader) ?? "";
  const list = await world.list(other);
  assert.ok(list.members.every(({ lag, active }) => lag >= 0 && active));
  assert.deepEqual(
    list.members.filter(({ self }) => self).map(({ name }) => name),
    [other],
  );
  await world.close();
});

test("a learner that is to stay one is promoted by hand", async () => {
  const world = new World("learner");
  await world.found(["a"]);
  const { members } = world.member("a").store;
  await world.run(members.add("b", { learner: true }));
  await world.run(rejects(members.promote("b"), "conflict", /has never come/));
  await world.run(world.start("b", { name: "b", join: ["a:1"] }));
  await world.put("a", "k", "1");
  assert.equal(await world.get("b", "k"), "1");
  await world.simulator.advance(5_000);
  assert.equal((await world.info("a", "b"))?.role, "learner");
  await world.run(world.member("b").store.members.promote("b"));
  assert.equal((await world.info("a", "b"))?.role, "voter");
  await world.run(rejects(members.promote("x"), "notFound", /there is no member x; there are (a, b|b, a)/));
  await world.close();
});

test("without a majority a member still says what it knows, and changes fail", async () => {
  const world = new World("minority");
  await world.found(abc);
  await world.put("a", "k", "1");
  await world.put("a", "later", "2");
  world.crash("b");
  world.crash("c");
  const { store } = world.member("a");
  await world.simulator.advance(2_000);
  const status = await world.run(store.status());
  assert.equal(status.keyCount, 2);
  assert.equal((await world.list("a")).members.length, 3);
  await world.run(rejects(store.members.add("d"), "unavailable", /majority|leader/));
  // It also starts, and stops, on its own.
  await world.run(world.member("a").close());
  world.simulator.machine("a").crash();
  const again = await world.run(world.start("a"));
  await world.until(async () => {
    const record = await again.store.keys.get("k", { consistency: "local" });
    return record?.text() === "1";
  }, "what was known before is gone");
  await world.close();
});

test("a store on its own becomes a cluster, with all that it holds", async () => {
  const world = new World("data");
  await world.run(world.start("b", { listen: ["b:1"] }));
  for (let round = 0; round < 30; round++) await world.put("b", `k${round}`, "x".repeat(1_000));
  await rejects(world.run(world.member("b").store.members.add("c")), "invalid", /not a cluster.*--peers/);
  const before = await world.run(world.member("b").store.status());
  await world.run(world.member("b").close());
  world.simulator.machine("b").crash();
  world.members.clear();
  await world.found(abc);
  assert.equal(await world.get("a", "k29"), "x".repeat(1_000));
  await world.until(async () => {
    const { members } = await world.member("a").store.members.list();
    return members.every(({ role }) => role === "voter");
  }, "not all vote");
  for (const name of abc) assert.equal(await world.get(name, "k0"), "x".repeat(1_000));
  const after = await world.run(world.member("c").store.status());
  assert.ok(after.revision >= before.revision && after.logTail >= before.logTail);
  assert.deepEqual(await world.run(world.simulator.machine("b").env.disk.list("log")), []);
  for (const name of abc) world.crash(name);
  await world.run(Promise.all(abc.map((name) => world.start(name))));
  await world.settled();
  assert.equal(await world.get("c", "k7"), "x".repeat(1_000));
  await world.close();
});

test("a member joins when nobody is left of those who founded, and hears the whole log", async () => {
  const world = new World("successors");
  await world.found(["a"]);
  // More than goes in one message: while the log is sent, its configurations are those of old.
  for (let round = 0; round < 10; round++) await world.put("a", `k${round}`, "x".repeat(500_000));
  await world.put("a", "k", "1");
  for (const [name, before] of [
    ["b", "a"],
    ["c", "b"],
  ] as const) {
    await world.run(world.start(name, { name, join: [`${before}:1`], replace: before }));
    await world.until(async () => (await world.member(name).store.status()).role === "leader", `${name} does not lead`);
    await world.run(world.member(before).close());
    world.members.delete(before);
  }
  await world.run(world.start("d", { name: "d", join: ["c:1"] }));
  await world.until(async () => (await world.member("d").store.status()).role === "follower", "d is no voter");
  assert.equal(await world.get("d", "k"), "1");
  await world.close();
});

test("what is written when a member stops is answered, and it stops at once", async () => {
  for (const leads of [true, false]) {
    const world = new World(`stop ${leads}`);
    await world.found(abc);
    const leader = await world.settled();
    const name = abc.find((other) => (other === leader) === leads) ?? "";
    const member = world.member(name);
    const startedMs = world.simulator.nowMs;
    const put = member.store.keys.put("k", "v");
    await world.run(member.close());
    await world.run(put);
    assert.ok(world.simulator.nowMs - startedMs < 500, `closing took ${world.simulator.nowMs - startedMs} ms`);
    world.members.delete(name);
    await world.close();
  }
});

test("a state that is as new as the others' checkpoint, but only in memory, survives a crash after catching up", async () => {
  const world = new World("equal");
  await world.found(abc);
  const applied = async () => {
    const statuses = await Promise.all([...world.members.values()].map(({ store }) => store.status()));
    return new Set(statuses.map((status) => status.applied)).size === 1;
  };
  for (let round = 0; round < 40; round++) await world.put("a", `k${round}`, "x".repeat(200));
  await world.until(applied, "not all have all");
  const leader = await world.settled();
  const behind = abc.find((name) => name !== leader) ?? "";
  const member = world.member(behind);
  world.simulator.network.isolate(behind);
  world.members.delete(behind);
  // Elections bring entries without records: what is trimmed is not there, but its position is.
  for (let round = 0; round < 3; round++) {
    const leads = await world.settled();
    const [next = ""] = [...world.members.keys()].filter((name) => name !== leads);
    await world.run(world.member(leads).store.members.transfer({ name: next }));
  }
  const [other = ""] = world.members.keys();
  for (const { store } of world.members.values()) await world.run(store.checkpoint());
  for (let round = 0; round < 40; round++) await world.put(other, `m${round}`, "x".repeat(200));
  await world.until(applied, "not both have all");
  for (const { store } of world.members.values()) await world.run(store.checkpoint());
  world.simulator.network.rejoin(behind);
  world.members.set(behind, member);
  await world.until(applied, "it does not catch up");
  world.crash(behind);
  await world.run(world.start(behind));
  assert.equal(await world.get(behind, "k7"), "x".repeat(200));
  await world.close();
});

test("a change that cannot be made is answered before a client of ten seconds gives up", async () => {
  const world = new World("late");
  await world.found(abc);
  const leader = await world.settled();
  const other = abc.find((name) => name !== leader) ?? "";
  // The leader is silent, and the one that was asked has not noticed yet.
  world.simulator.machine(leader).freeze(60_000);
  world.simulator.network.isolate(abc.find((name) => name !== leader && name !== other) ?? "");
  const startedMs = world.simulator.nowMs;
  await world.run(rejects(world.member(other).store.members.add("d"), "unavailable", /leader|majority|was given up/));
  assert.ok(world.simulator.nowMs - startedMs < 9_100, `it took ${world.simulator.nowMs - startedMs} ms`);
});
