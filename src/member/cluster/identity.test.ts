import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { emptyBytes, HoldfastError, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { crashEverywhere, Simulator } from "../../sim/index.ts";
import { openStore } from "../index.ts";
import { verifyDirectory } from "../verify-directory.ts";
import { baseOf, checkMemberName, IdentityFile, isFormed, newMemberId } from "./identity.ts";
import type { Identity } from "./identity.ts";
import { intendedIdentity } from "./intention.ts";
import { rejects, World } from "./world.suite.ts";

const waiting: Identity = {
  id: 0x1234_5678_9abc,
  name: "b",
  cluster: emptyBytes,
  seed: emptyBytes,
  founding: undefined,
  data: false,
  position: 0,
  peers: ["a", "b"],
  listen: ["127.0.0.1:7421"],
  address: "127.0.0.1:7421",
  zone: "",
  joined: undefined,
  begun: false,
  removed: false,
};
const rest = { zone: "", outgoing: false, leaving: false, replaces: 0, stays: false };
const formed: Identity = {
  ...waiting,
  cluster: new Uint8Array(16).fill(1),
  seed: new Uint8Array(16).fill(2),
  founding: {
    members: [
      { ...rest, id: 7, name: "a", address: "127.0.0.1:7420", voter: true },
      { ...rest, id: waiting.id, name: "b", address: "127.0.0.1:7421", voter: true },
    ],
    joint: false,
    removed: [],
    leaderZone: "",
  },
  begun: true,
};

function machine(seed: string): { readonly simulator: Simulator; readonly env: Env } {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  return { simulator, env: simulator.machine("m").env };
}

async function bytesOf(env: Env, path: string): Promise<Uint8Array> {
  const file = await env.disk.open(path, "read");
  const whole = await file.read(0, await file.size());
  await file.close();
  return whole;
}

test("the file has the bytes that docs/format.md says", async () => {
  const { simulator, env } = machine("golden");
  const work = async () => {
    const file = new IdentityFile(env);
    assert.equal(await file.load(), undefined);
    await file.save(waiting);
    const whole = toHex(await bytesOf(env, "member"));
    // Magic and checksum; then the fields 1, 2, 8 twice, 9 and 10.
    const fields = ["08bcb5e2b3c5c604", "120162", "420161420162", "4a0e3132372e302e302e313a37343231"];
    assert.equal(whole, ["48464d454d425231", "23f7e4d6", ...fields, "520e3132372e302e302e313a37343231"].join(""));
    await file.save(formed);
    assert.deepEqual(await file.load(), formed);
  };
  await simulator.run(work());
});

test("a damaged file is named, wherever the damage is", async () => {
  const { simulator, env } = machine("damage");
  const work = async () => {
    const file = new IdentityFile(env);
    await file.save(formed);
    const whole = await bytesOf(env, "member");
    const stored = await env.disk.open("member", "write");
    for (let offset = 0; offset < whole.length; offset++) {
      const damaged = whole.slice();
      damaged[offset] = (damaged[offset] as number) ^ 0x10;
      await stored.write([damaged], 0);
      await rejects(file.load(), "corrupt", /the file member.*damaged.*--replace/);
    }
    await stored.write([whole], 0);
    for (const size of [0, 7, 12, whole.length - 1]) {
      await stored.truncate(size);
      await rejects(file.load(), "corrupt", /the file member/);
    }
    await stored.close();
    await rejects(openStore(env), "corrupt", /the file member/);
  };
  await simulator.run(work());
});

test("after a crash it is as it was before the change, or behind it", async () => {
  await crashEverywhere<{ saved: number }>(
    { seed: "identity", drain: nextTurn, digest: new NodeDigest() },
    {
      start: () => ({ saved: 0 }),
      run: async (env, notes) => {
        for (const identity of [waiting, formed, { ...formed, removed: true }]) {
          await new IdentityFile(env).save(identity);
          notes.saved++;
        }
      },
      check: async (env, { saved }) => {
        const states = [undefined, waiting, formed, { ...formed, removed: true }];
        const found = await new IdentityFile(env).load();
        const at = states.findIndex((state) => isDeepStrictEqual(state, found));
        assert.ok(at === saved || at === saved + 1, `state ${at} after ${saved} changes`);
      },
    },
  );
});

test("ids are of 48 bits and not 0; names can stand in a list", () => {
  const drawn = [new Uint8Array(6), new Uint8Array(6).fill(255)];
  const random = { uint32: () => 0, float: () => 0, bytes: () => drawn.shift() ?? assert.fail() };
  assert.equal(newMemberId(random), 2 ** 48 - 1);
  for (const name of ["a", "node-1.example", "ß"]) checkMemberName(name);
  for (const name of ["", "a b", "a,b", "a=b", "a/b", "x".repeat(65), 7, undefined]) {
    assert.throws(() => checkMemberName(name), HoldfastError, String(name));
  }
});

test("the log begins with the founders, with whoever let the member in, or behind a store", () => {
  assert.deepEqual(baseOf(formed), { index: 0, term: 0, position: 0, configuration: formed.founding });
  assert.equal(baseOf({ ...formed, joined: { ...formed.founding!, leaderZone: "z" } }).configuration.leaderZone, "z");
  assert.deepEqual(baseOf({ ...formed, data: true, position: 9 }), { ...baseOf(formed), index: 1, position: 9 });
});

test("an id stands for one name and one set of peers; a directory goes with what is wanted, or is refused", async () => {
  const { simulator, env } = machine("intention");
  const work = async () => {
    const file = new IdentityFile(env);
    const intend = (wanted: Parameters<typeof intendedIdentity>[2]) => intendedIdentity(env, file, wanted);
    const peers = { a: "a:1", b: "b:1" };
    assert.equal(await intend({ name: "b" }), undefined);
    const first = await intend({ name: "b", peers });
    assert.ok(first !== undefined && !isFormed(first));
    await file.save(first);
    assert.deepEqual(await intend({ name: "b", peers }), first);
    const others = [
      { name: "a", peers },
      { name: "b", peers: { ...peers, c: "c:1" } },
      { name: "b", join: ["a:1"] },
    ];
    for (const wanted of others) assert.notEqual((await intend(wanted))?.id, first.id);
    await rejects(intend({}), "invalid", /waits for its cluster: start it with --peers/);
    await rejects(openStore(env), "invalid", /member b, which still waits for its cluster/);
    await rejects(intend({ peers }), "invalid", /needs a name/);
    await rejects(intend({ name: "c", peers }), "invalid", /c is not among its --peers, which are a, b/);
    await rejects(intend({ name: "b", peers: { a: "x", b: "x" } }), "invalid", /one address/);
    await rejects(intend({ name: "b", peers, join: ["a:1"] }), "invalid", /not both/);
    await rejects(intend({ name: "b c", peers }), "invalid", /no name for a member/);
    await file.save(formed);
    assert.deepEqual(await intend({}), formed);
    assert.deepEqual(await intend({ name: "b", peers: { b: "x" } }), formed);
    await rejects(intend({ name: "c" }), "invalid", /belongs to member b: it cannot be started as c/);
    await rejects(openStore(env), "invalid", /belongs to member b of a cluster/);
    await file.save({ ...formed, removed: true });
    await rejects(intend({}), "denied", /was removed/);
  };
  await simulator.run(work());
});

test("a member whose log is gone does not start, and its log can be verified without it", async () => {
  const world = new World("gone");
  await world.found(["a"]);
  await world.put("a", "k", "1");
  await world.run(world.member("a").close());
  const { env } = world.simulator.machine("a");
  const verified = async () => {
    for await (const report of verifyDirectory(env)) {
      assert.deepEqual(report.damages, []);
      if (report.done) assert.ok(report.count > 0);
    }
  };
  await world.run(verified());
  await world.run(rejects(openStore(env), "invalid", /belongs to member a of a cluster/));
  const lose = async () => {
    for (const name of await env.disk.list("raft")) await env.disk.remove(`raft/${name}`);
  };
  await world.run(lose());
  await rejects(world.run(world.start("a")), "corrupt", /the log of member a is missing/);
});
