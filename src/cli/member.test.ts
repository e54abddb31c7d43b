/** Tests of `holdfast member` and of what `status` says of a cluster: the real commands on three members in this process. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { open } from "../index.ts";
import type { MemberList, Store } from "../index.ts";
import { failWith, jsonLines, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import { freePorts } from "./demo/free-ports.ts";
import { listForPeople } from "./member.ts";

const names = ["a", "b", "c"];
const stores = new Map<string, Store>();
let directory: string;
let addresses: Record<string, string>;
let endpoint: string;
const holdfast = (...args: string[]) => succeed(args, { endpoint });
const refused = (...args: string[]) => failWith(1, args, { endpoint });
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the test's word for what is printed
const json = async <T>(...args: string[]) => jsonLines(await holdfast(...args, "--json"))[0] as T;
/** Short, so that an election takes a moment. */
const timing = { tickMs: 10 };

before(async () => {
  directory = await temporaryDirectory();
  const ports = await freePorts(names.length);
  addresses = Object.fromEntries(names.map((name, index) => [name, `127.0.0.1:${ports[index]}`]));
  endpoint = Object.values(addresses).join(",");
  await Promise.all(
    names.map(async (name) => {
      const listen = [addresses[name] ?? ""];
      const zone = name === "a" ? "west" : "east";
      const store = await open(join(directory, name), { name, listen, peers: addresses, zone, timing });
      stores.set(name, store);
    }),
  );
  await stores.get("a")?.keys.put("first", "1");
});

after(async () => {
  for (const store of stores.values()) await store.close();
});

test("list: every member, its role, who leads", async () => {
  const list = await json<MemberList>("member", "list");
  assert.deepEqual(list.members.map(({ name }) => name).toSorted(), names);
  assert.ok(list.members.every(({ role }) => role === "voter"));
  assert.equal(list.members.filter(({ leader }) => leader).length, 1);
  const text = await holdfast("member", "list");
  assert.match(text, /^ {3}name {2}role {3}address +zone {2}lag {2}id\n/);
  for (const name of names) {
    const zone = name === "a" ? "west" : "east";
    assert.match(text, new RegExp(`^[* ] {2}${name} +voter {2}${addresses[name]} +${zone} +\\d+ +\\d+$`, "m"));
  }
  assert.match(text, /\n\n\* [abc] leads, term \d+\n$/);
});

test("status names the members and the leader", async () => {
  const text = await holdfast("status");
  assert.match(text, /^cluster +3 members: a, b, c\nleader +[abc], term \d+$/m);
  assert.match(text, /durability quorum/);
  const { cluster } = await json<{ cluster: MemberList }>("status");
  assert.equal(cluster.members.length, 3);
});

test("transfer: to a member, to a zone, and not to both or nobody", async () => {
  assert.match(await holdfast("member", "transfer", "b"), /^b leads, term \d+\n$/);
  const list = await json<MemberList>("member", "list");
  assert.equal(list.members.find(({ leader }) => leader)?.name, "b");
  assert.match(await holdfast("member", "transfer", "--zone", "west"), /^a leads, term \d+\n$/);
  assert.match(await holdfast("member", "list"), /zone west should lead\n$/);
  assert.equal(await holdfast("member", "transfer", "--zone", ""), "no zone is preferred\n");
  const [unknown, empty, nobody, both] = await Promise.all([
    refused("member", "transfer", "nobody"),
    refused("member", "transfer", "--zone", "north"),
    failWith(2, ["member", "transfer"], { endpoint }),
    failWith(2, ["member", "transfer", "a", "--zone", "west"], { endpoint }),
  ]);
  assert.match(unknown, /there is no member nobody/);
  assert.match(empty, /no voter is in zone "north"/);
  assert.match(nobody, /one of the two/);
  assert.match(both, /one of the two/);
});

test("add, join, promote, remove: a fourth member comes and goes", async () => {
  const added = await holdfast("member", "add", "d", "--learner", "--zone", "north");
  assert.match(added, /^expecting d\nStart it/);
  const [, join_ = ""] = /--name d --data \.\/d --listen HOST:PORT --zone north --join (\S+)\n$/.exec(added) ?? [];
  assert.deepEqual(join_.split(",").toSorted(), Object.values(addresses).toSorted());
  assert.match(await holdfast("member", "list"), /^ {3}d +learner {2}\(has not come yet\) +north +- /m);
  const [again, early] = await Promise.all([refused("member", "add", "d"), refused("member", "promote", "d")]);
  assert.match(again, /member d is expected already/);
  assert.match(early, /member d has never come/);

  const member = await startMember(join(directory, "d"), ["--name", "d", "--join", join_]);
  assert.equal(await succeed(["key", "get", "first", "--endpoint", member.endpoint]), "1\n");
  // It learns what it lacks in its own time; until it has, promoting it is refused as too early.
  for (;;) {
    const { members = [] } = (await stores.get("a")?.members.list()) ?? {};
    if (members.some(({ name, lag, active }) => name === "d" && lag === 0 && active)) break;
    await setImmediate();
  }
  assert.equal(await holdfast("member", "promote", "d"), "d is a voter\n");
  assert.match(await holdfast("member", "list"), /^[* ] {2}d +voter {2}127/m);
  assert.equal(await holdfast("member", "remove", "d"), "removed d\n");
  assert.doesNotMatch(await holdfast("member", "list"), /^.. d /m);
  const { status, stderr } = await member.outcome;
  assert.equal(status, 1);
  assert.match(stderr, /removed/);
  assert.match(await refused("member", "remove", "d"), /there is no member d; there are/);
  assert.match(
    await failWith(1, ["start", "--data", join(directory, "d"), "--listen", "127.0.0.1:0"]),
    /removed/,
    "it does not come back",
  );
});

test("a store that is no cluster has itself, and says how to make one", async () => {
  const alone = await startMember(join(directory, "alone"), ["--name", "solo"]);
  assert.match(
    await succeed(["member", "list"], { endpoint: alone.endpoint }),
    /\n\* {2}solo {2}voter +- +- +0 +0\n\nThis store has one member and is no cluster\.\n$/,
  );
  await Promise.all(
    ["add", "remove", "promote", "transfer"].map(async (word) => {
      assert.match(await failWith(1, ["member", word, "x"], { endpoint: alone.endpoint }), /--peers/, word);
    }),
  );
  const status = await succeed(["status"], { endpoint: alone.endpoint });
  assert.doesNotMatch(status, /^(cluster|leader)/m);
});

test("options of a member without an address to listen at are refused", async () => {
  const options = { name: "x", peers: addresses } as unknown as { readonly name: string };
  await assert.rejects(open(join(directory, "unborn"), options), { code: "invalid", message: /give listen as well/ });
});

test("the list for people: behind, silent, expected, replacing, leaderless", () => {
  const member = { id: 1, name: "a", address: "h:1", zone: "", role: "voter", leader: false, self: false, lag: 0 };
  const text = listForPeople({
    members: [
      { ...member, id: 30, name: "c", lag: 1_234, active: false, replaces: "" },
      { ...member, id: 4, name: "d", address: "", role: "learner", lag: -1, active: false, replaces: "c" },
      { ...member, id: 200, name: "a", leader: true, active: true, replaces: "" },
    ],
    leaderZone: "",
    term: 1_000,
    leader: 200,
    cluster: "00",
    store: "01",
  });
  assert.equal(
    text,
    `   name  role           address             zone  lag            id
*  a     voter          h:1                 -     0              200
   c     voter          h:1                 -     1,234, silent  30
   d     learner for c  (has not come yet)  -     -              4

* a leads, term 1,000`,
  );
  assert.match(
    listForPeople({ members: [], leaderZone: "", term: 3, leader: 0, cluster: "00", store: "01" }),
    /no leader is known, term 3$/,
  );
});
