/** Snapshots as a user sees them, here and over the network: names, reads at their revisions, differences. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { RpcClient, RpcServer } from "../../rpc/index.ts";
import { Prng } from "../../sim/index.ts";
import { collect, hex, Member, utf8 } from "../fixture.suite.ts";
import {
  commandService,
  Keys,
  keyService,
  LocalKeys,
  LocalSnapshots,
  operation,
  PastKeys,
  RemoteKeys,
  RemoteProposer,
  RemoteSnapshots,
  snapshotService,
  Snapshots,
} from "../index.ts";
import { snapshotKey } from "./layout.ts";
import { StoredSnapshot } from "./snapshot-operation.ts";
import type { FileOperation, Replica, SnapshotDifference } from "../index.ts";

interface World {
  readonly member: Member;
  readonly replica: Replica;
  /** In this process, and of a client. */
  readonly snapshots: readonly [Snapshots, Snapshots];
  readonly keys: readonly [Keys, Keys];
  readonly at: (revision: number) => readonly [PastKeys, PastKeys];
  readonly close: () => Promise<void>;
}

/** Comparisons come in small batches, and break off now and then. */
function unreliable(source: LocalSnapshots, dice: Prng): LocalSnapshots {
  return new Proxy(source, {
    get(target, name) {
      if (name !== "diff") return Reflect.get(target, name).bind(target) as unknown;
      return async function* diff(...given: Parameters<LocalSnapshots["diff"]>) {
        for await (const batch of target.diff(...given)) {
          for (let index = 0; index < batch.length; index += 10) {
            if (dice.chance(0.1)) throw new HoldfastError("unavailable", "this comparison breaks off");
            yield batch.slice(index, index + 10);
          }
        }
      };
    },
  });
}

async function open(name: string): Promise<World> {
  const member = new Member(name);
  const { env, views } = member;
  const replica = await member.open();
  const local = [new LocalSnapshots(replica), new LocalKeys(env.clock, replica)] as const;
  const services = [
    snapshotService(unreliable(local[0], new Prng(name))),
    keyService(local[1]),
    commandService(replica, views.all),
  ];
  const server = new RpcServer(env, services);
  const { address } = await server.listen("memory:server");
  const client = new RpcClient(env, [address]);
  const options = { timeoutMs: 5_000 };
  const proposer = new RemoteProposer(env, client, options);
  const remote = [
    new RemoteSnapshots(env, client, proposer, options),
    new RemoteKeys(env, client, proposer, options),
  ] as const;
  return {
    member,
    replica,
    snapshots: [new Snapshots(local[0], views.snapshot), new Snapshots(remote[0], views.snapshot)],
    keys: [new Keys(local[1], views.key), new Keys(remote[1], views.key)],
    at: (revision) => [new PastKeys(local[1], revision), new PastKeys(remote[1], revision)],
    close: async () => {
      await proposer.close();
      await client.close();
      await server.close();
      await replica.close();
    },
  };
}

test("names: what may be one, what is taken, what is gone", async () => {
  const { snapshots, close } = await open("names");
  for (const all of snapshots) {
    const made = await all.create("before/ümläut 1");
    assert.deepEqual(await all.get("before/ümläut 1"), made);
    assert.deepEqual(await all.list(), [made]);
    await assert.rejects(all.create("before/ümläut 1"), {
      code: "exists",
      message: /of revision \d+: delete it first/,
    });
    await assert.rejects(all.create(""), { code: "invalid", message: /has no name/ });
    await assert.rejects(all.create("a\nb"), { code: "invalid", message: /control characters/ });
    await assert.rejects(all.create("ü".repeat(65)), { code: "invalid", message: /130 bytes; the limit is 128/ });
    await assert.rejects(all.create("\ud800"), { code: "invalid", message: /lone surrogate/ });
    await assert.rejects(all.create(7 as never), { code: "invalid", message: /text, not number/ });
    assert.equal(await all.get("x"), undefined);
    await assert.rejects(all.delete("x"), { code: "notFound", message: /snapshot "x" does not exist/ });
    await assert.rejects(all.delete("x".repeat(9_000)), { code: "notFound" });
    await all.delete("x", { ifExists: true });
    await assert.rejects(all.delete("before/ümläut 1", { revision: made.revision + 1 }), { code: "conflict" });
    const other = await all.create("ü".repeat(64));
    assert.ok(other.revision > made.revision && other.timeMs >= made.timeMs);
    await assert.rejects(all.deleteAll([other, { ...made, revision: other.revision }]), { code: "conflict" });
    assert.equal((await all.list()).length, 2, "all or nothing");
    await all.deleteAll([made, other, { name: "x", revision: made.revision }]);
    assert.deepEqual(await all.list(), []);
  }
  await close();
});

test("the bytes of a snapshot in the tree are these", () => {
  const snapshot = { revision: 300, position: 301, timeMs: 1_700_000_000_000, sealed: true, count: 3 };
  const bytes = StoredSnapshot.encode({ ...snapshot, rootHash: new Uint8Array(32).fill(7) });
  assert.equal(hex(snapshotKey("ü")), "1373c3bc");
  assert.equal(hex(bytes), `08ac0210ad021880d095ffbc3120012a20${"07".repeat(32)}3003`);
});

test("keys at a snapshot's revision are read whatever was compacted, and at no other", async () => {
  const { member, replica, snapshots, keys, at, close } = await open("past");
  await keys[0].put("a", "1");
  await keys[0].put("b", "1");
  const { revision } = await snapshots[1].create("s");
  await keys[1].put("a", "2");
  await keys[1].delete("b");
  await keys[1].put("c", "2");
  const compact = member.key({ case: "compact", value: { revision: replica.revision } });
  await replica.propose([compact, member.key({ case: "sweep", value: { limit: 100 } })]);
  for (const past of at(revision)) {
    assert.equal((await past.get("a"))?.text(), "1");
    assert.equal((await past.get("b"))?.text(), "1");
    assert.equal(await past.get("c"), undefined);
    const all = await collect(past.list({ prefix: "" }));
    assert.deepEqual(
      all.map((record) => `${record.key} ${record.text()} ${record.version}`),
      ["a 1 1", "b 1 1"],
    );
    const reversed = await collect(past.list({ prefix: "", reverse: true, limit: 1, keysOnly: true }));
    assert.deepEqual(
      reversed.map(({ key, bytes }) => [key, bytes.length]),
      [["b", 0]],
    );
    assert.equal(await past.count({ prefix: "" }), 2);
  }
  for (const past of [...at(revision - 1), ...at(revision + 1)]) {
    await assert.rejects(past.get("a"), { code: "trimmed", message: /the oldest that can be read is 6/ });
    await assert.rejects(collect(past.list({ prefix: "" })), { code: "trimmed" });
  }
  for (const past of at(100)) await assert.rejects(past.get("a"), { code: "invalid" });
  await snapshots[0].delete("s");
  for (const past of at(revision)) await assert.rejects(past.count({ prefix: "" }), { code: "trimmed" });
  await close();
});

function shape(difference: SnapshotDifference): string {
  if (difference.type === "key") {
    const { keyBytes, before, after } = difference;
    return `${Buffer.from(keyBytes).toString()}: ${before?.text()} > ${after?.text()}`;
  }
  const { bucket, pathBytes, before, after } = difference;
  const size = (file: typeof before) => file?.content.size;
  return `${bucket}:${Buffer.from(pathBytes).toString()}: ${size(before)} > ${size(after)}`;
}

type State = ReadonlyMap<string, string>;

/** Keys have no colon here and come first; buckets and paths sort as text does, a bucket's end before all else. */
function place(name: string): string {
  return name.includes(":") ? `2${name.replace(":", "\u0000")}` : `1${name}`;
}

function expected(before: State, after: State, of: RegExp): string[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].filter((name) => of.test(name));
  return names
    .filter((name) => before.get(name) !== after.get(name))
    .toSorted((a, b) => (place(a) < place(b) ? -1 : 1))
    .map((name) => `${name}: ${before.get(name)} > ${after.get(name)}`);
}

/** Without files of equal sizes, which are different versions all the same. */
function sizes(lines: readonly string[]): string[] {
  return lines.filter((line) => !/: (\d+) > \1$/.test(line));
}

test("the difference of two snapshots, and of one and the present, is what differs, in order", async () => {
  const { member, replica, snapshots, keys, close } = await open("difference");
  const dice = new Prng("difference");
  const file = (body: NonNullable<FileOperation["operation"]>) => operation(member.views.file, { operation: body });
  const putFile = async (bucket: string, path: string, size: number) => {
    const content = { type: "file", size, inline: new Uint8Array(size) } as const;
    const value = { bucket, path: utf8(path), content };
    const outcome = await replica.propose([file({ case: "put", value })]);
    assert.ok(outcome.ok, JSON.stringify(outcome));
  };
  const model = new Map<string, string>();
  const states: { readonly name: string; readonly model: State }[] = [];
  for (let step = 0; step < 12; step++) {
    for (let count = 0; count < 25; count++) {
      const key = `k${dice.below(150)}`;
      if (dice.chance(0.3)) {
        await keys[0].delete(key);
        model.delete(key);
      } else {
        const value = String(dice.below(1_000_000));
        await keys[0].put(key, value);
        model.set(key, value);
      }
      const [bucket, path, size] = [dice.chance(0.5) ? "a" : "a.b", `p/${dice.below(30)}`, 1 + dice.below(900)];
      if (count % 5 !== 0) continue;
      await putFile(bucket, path, size);
      model.set(`${bucket}:${path}`, String(size));
    }
    await snapshots[0].create(`s${step}`);
    states.push({ name: `s${step}`, model: new Map(model) });
  }
  states.push({ name: "", model });
  for (let round = 0; round < 25; round++) {
    const before = dice.pick(states.slice(0, -1));
    const after = dice.pick(states);
    for (const all of snapshots) {
      const to = after.name === "" ? undefined : after.name;
      const shapes = async (options: Parameters<Snapshots["diff"]>[2]) =>
        (await collect(all.diff(before.name, to, options))).map(shape);
      assert.deepEqual(sizes(await shapes({})), expected(before.model, after.model, /./));
      assert.deepEqual(await shapes({ keys: "k1" }), expected(before.model, after.model, /^k1/));
      const files = { bucket: "a", prefix: "p/2" };
      assert.deepEqual(sizes(await shapes({ files })), expected(before.model, after.model, /^a:p\/2/));
      assert.deepEqual(sizes(await shapes({ files: {} })), expected(before.model, after.model, /:/));
    }
  }
  for (const all of snapshots) {
    await assert.rejects(collect(all.diff("none")), { code: "notFound", message: /"none" does not exist/ });
    await assert.rejects(collect(all.diff(1)), { code: "notFound", message: /no snapshot pins revision 1/ });
  }
  await close();
});
