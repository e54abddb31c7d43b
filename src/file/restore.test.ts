/** Restoring: what differs comes back, all or nothing where that fits, and what is alike is left alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Keys, LocalKeys, operation } from "../view/index.ts";
import { collect } from "../view/fixture.suite.ts";
import { fileContent, restore } from "./index.ts";
import type { RestoreOptions, RestoreProgress } from "./index.ts";
import { noise, World } from "./world.suite.ts";

interface Restored {
  readonly world: World;
  readonly keys: Keys;
  readonly run: (options: RestoreOptions) => Promise<RestoreProgress[]>;
  readonly text: () => Promise<Record<string, string>>;
}

async function open(t: { after(run: () => Promise<void>): void }): Promise<Restored> {
  const world = await World.open(t);
  const { key: keyView, file: fileView } = world.member.views;
  const local = new LocalKeys(world.member.env.clock, world.replica);
  t.after(async () => local.close());
  const keys = new Keys(local, keyView);
  const parts = { snapshots: world.snapshotSource, files: world.source, keyView, fileView };
  return {
    world,
    keys,
    run: (options) => collect(restore(parts, options)),
    text: async () => {
      const all: Record<string, string> = {};
      for await (const { key, bytes } of keys.list())
        all[key] = `${bytes.length} ${Buffer.from(bytes.subarray(0, 20)).toString("latin1")}`;
      for (const { name } of await world.access.buckets.list()) {
        for await (const record of world.access.files(name).list()) {
          all[`${name}:${record.path}`] = `${record.type} ${record.hash} ${JSON.stringify(record.metadata)}`;
        }
      }
      return all;
    },
  };
}

const describe = ({ changes }: RestoreProgress): string[] =>
  changes.map(({ action, difference: one }) => {
    const name = one.type === "key" ? one.key : one.path;
    return `${action} ${one.type === "key" ? "" : `${one.bucket}:`}${Buffer.from(name).toString()}`;
  });

test("keys and files come back at one revision, whatever became of them", async (t) => {
  const { world, keys, run, text } = await open(t);
  const files = world.access.files("b");
  await keys.put("changed", "before");
  await keys.put("gone", "x".repeat(5_000));
  await keys.put("same", "same");
  await files.put("changed", noise(50_000), { metadata: { a: "1" } });
  await files.put("gone", "before");
  await files.put("same", noise(9_000, 2));
  await files.makeFolder("folder", { mode: 0o755 });
  const { name, revision } = await world.snapshots.create("s");
  const before = await text();

  await keys.put("changed", "after");
  await keys.delete("gone");
  await keys.put("new", "after");
  await keys.put("same", "other");
  await keys.put("same", "same");
  await files.put("changed", noise(50_000), { metadata: { a: "2" } });
  await files.delete("gone");
  await files.put("new", "after");
  await files.put("same", "other");
  await files.put("same", noise(9_000, 2));
  await files.delete("folder");
  await world.access.files("other").put("f", "x");

  const expected = [
    "put changed",
    "put gone",
    "delete new",
    "put b:changed",
    "put b:folder",
    "put b:gone",
    "delete b:new",
    "delete other:f",
  ];
  const at = world.replica.revision;
  const dry = await run({ snapshot: name, dryRun: true });
  assert.deepEqual(dry.flatMap(describe), expected);
  assert.deepEqual(
    [dry.at(-1)?.done, dry.at(-1)?.count, dry.at(-1)?.atomic, dry.at(-1)?.revision],
    [true, 8, true, undefined],
  );
  assert.equal(world.replica.revision, at);

  const done = await run({ snapshot: name });
  assert.deepEqual(done.flatMap(describe), expected);
  assert.deepEqual([done.length, done[0]?.atomic, done[0]?.revision], [1, true, at + 1]);
  assert.deepEqual(await text(), before);
  assert.deepEqual(await (await files.get("changed"))?.bytes(), noise(50_000));
  // Again there is nothing to do.
  const again = await run({ snapshot: name });
  assert.deepEqual([again.length, again[0]?.count, again[0]?.revision], [1, 0, undefined]);
  // The snapshot is what it was.
  assert.equal((await world.snapshots.get(name))?.revision, revision);
});

test("a part of it: keys with a prefix, files of a bucket with a prefix", async (t) => {
  const { world, keys, run } = await open(t);
  for (const name of ["a/1", "a/2", "b/1"]) await keys.put(name, "before");
  for (const bucket of ["x", "y"])
    for (const path of ["a/1", "b/1"]) await world.access.files(bucket).put(path, "before");
  await world.snapshots.create("s");
  await keys.delete({});
  for (const bucket of ["x", "y"]) await world.access.files(bucket).delete({ prefix: "" });
  const some = async (options: Partial<RestoreOptions>) =>
    (await run({ snapshot: "s", dryRun: true, ...options })).flatMap(describe);
  assert.deepEqual(await some({ keys: { prefix: "a/" } }), ["put a/1", "put a/2"]);
  assert.deepEqual(await some({ files: {} }), ["put x:a/1", "put x:b/1", "put y:a/1", "put y:b/1"]);
  assert.deepEqual(await some({ files: { bucket: "y", prefix: "a" } }), ["put y:a/1"]);
  assert.deepEqual(await some({ keys: { prefix: "b" }, files: { bucket: "x" } }), [
    "put b/1",
    "put x:a/1",
    "put x:b/1",
  ]);
  assert.equal((await some({})).length, 7);
});

test("what does not fit one command comes back in several, and says so", async (t) => {
  const { world, keys, run, text } = await open(t);
  const { key: view } = world.member.views;
  const put = (index: number, value: string) =>
    operation(view, {
      operation: { case: "put", value: { key: Buffer.from(`k${index}`), value: Buffer.from(value) } },
    });
  const all = Array.from({ length: 5_000 }, (_, index) => index);
  await world.replica.propose(all.map((index) => put(index, "before")));
  await world.access.files("b").put("f", noise(3_000));
  await world.snapshots.create("s");
  const before = await text();
  await keys.delete({});
  await world.access.files("b").delete("f");
  const done = await run({ snapshot: "s" });
  assert.deepEqual(await text(), before);
  const last = done.at(-1);
  assert.deepEqual([last?.done, last?.count, last?.atomic], [true, 5_001, false]);
  assert.ok(done.length >= 10 && done.every(({ changes }) => changes.length <= 512));
  // Bytes count too: nine keys of a megabyte.
  for (let index = 0; index < 9; index++) await keys.put(`large${index}`, noise(1_000_000, index + 1));
  await world.snapshots.create("t");
  await keys.delete({ prefix: "large" });
  const large = await run({ snapshot: "t" });
  assert.deepEqual([large.at(-1)?.count, large.at(-1)?.atomic], [9, false]);
  assert.deepEqual((await keys.get("large8"))?.bytes, noise(1_000_000, 9));
});

test("keys come back without the leases that they had, and stay when they have one now", async (t) => {
  const { world, keys, run } = await open(t);
  const { lease: view } = world.member.views;
  const grant = (lease: bigint) => operation(view, { operation: { case: "grant", value: { lease, ttlMs: 60_000 } } });
  await world.replica.propose([grant(1n), grant(2n)]);
  await keys.put("leased", "x", { lease: 1n });
  await keys.put("leased still", "x", { lease: 1n });
  await keys.put("for good", "x");
  await world.snapshots.create("s");
  await keys.delete("leased");
  await keys.put("for good", "x", { lease: 2n });
  assert.deepEqual((await run({ snapshot: "s" })).flatMap(describe), ["put for good", "put leased"]);
  assert.equal((await keys.get("leased"))?.lease, undefined);
  assert.equal((await keys.get("for good"))?.lease, undefined);
  assert.equal((await keys.get("leased still"))?.lease, 1n);
});

test("a snapshot that is not there, a bucket of another key, a signal: told, and nothing is done", async (t) => {
  const { world, keys, run } = await open(t);
  await assert.rejects(run({ snapshot: "none" }), { code: "notFound", message: /snapshot "none"/ });
  const files = world.access.files("b");
  await keys.put("k", "before");
  await files.put("f", noise(3_000));
  await world.snapshots.create("s");
  await files.delete("f");
  await keys.delete("k");
  await world.access.buckets.delete("b");
  const at = world.replica.revision;
  await assert.rejects(run({ snapshot: "s", signal: AbortSignal.abort() }), { code: "cancelled" });
  await assert.rejects(run({ snapshot: "s", keys: { prefix: 5 as unknown as string } }), { code: "invalid" });
  await assert.rejects(run({ snapshot: "s", files: { bucket: "B" } }), { code: "invalid" });
  assert.equal(world.replica.revision, at);
  await world.access.buckets.create("b", { key: noise(32) });
  await assert.rejects(run({ snapshot: "s" }), { code: "invalid", message: /not encrypted with the same key/ });
  await world.access.buckets.delete("b");
  await world.access.buckets.create("b");
  await run({ snapshot: "s" });
  assert.deepEqual(await (await files.get("f"))?.bytes(), noise(3_000));
});

const key = noise(32, 5);

/** Clears buckets and deletes them. */
async function drop(world: World, ...names: string[]): Promise<void> {
  for (const name of names) {
    await world.access.files(name).delete({ prefix: "" });
    await world.access.buckets.delete(name);
  }
}

test("buckets that are gone are made again as they were, encryption included", async (t) => {
  const { world, run } = await open(t);
  const { buckets } = world.access;
  await buckets.create("safe", { key, keepMs: 5_000, chunkSizeMin: 4_096, chunkSizeAverage: 8_192 });
  await buckets.create("plain", { keepCountMax: 3 });
  await world.access.files("safe", { key }).put("large", noise(50_000));
  await world.access.files("safe", { key }).put("small", "a secret");
  await world.access.files("plain").put("f", noise(9_000, 2));
  await world.access.files("plain").makeFolder("d");
  const before = await buckets.list();
  const { revision } = await world.snapshots.create("s");
  await drop(world, "safe", "plain");
  // The past of a bucket that is gone is read with the key that it had.
  const past = world.access.past("safe", revision, { key });
  assert.equal(await (await past.get("small"))?.text(), "a secret");
  await assert.rejects(world.access.past("safe", revision).get("large"), { code: "denied" });

  const dry = await run({ snapshot: "s", dryRun: true });
  assert.deepEqual([dry.at(-1)?.count, await buckets.list()], [4, []]);
  const [done, ...more] = await run({ snapshot: "s" });
  assert.deepEqual([done?.count, done?.atomic, more.length], [4, true, 0]);
  const settings = ({ name, keepMs, keepCountMax, chunkSizeMin, encryption }: (typeof before)[0]) =>
    [name, keepMs, keepCountMax, chunkSizeMin, encryption] as const;
  assert.deepEqual((await buckets.list()).map(settings), before.map(settings));
  assert.deepEqual(await (await world.access.files("safe", { key }).get("large"))?.bytes(), noise(50_000));
  assert.equal(await (await world.access.files("safe", { key }).get("small"))?.text(), "a secret");
  assert.deepEqual(await (await world.access.files("plain").get("f"))?.bytes(), noise(9_000, 2));

  // What was made again is another bucket, of the same key: more comes back into it.
  await world.access.files("safe").delete("small");
  await run({ snapshot: "s", files: { bucket: "safe" } });
  assert.equal(await (await world.access.files("safe", { key }).get("small"))?.text(), "a secret");
  // Into the bucket of the snapshot itself also when another secret opens it.
  await world.snapshots.create("t");
  await buckets.changeSecret("safe", { key }, { key: noise(32, 6) });
  await world.access.files("safe").delete("small");
  await run({ snapshot: "t" });
  assert.equal(await (await world.access.files("safe", { key: noise(32, 6) }).get("small"))?.text(), "a secret");
  // The snapshot opens with what opens the bucket now, as long as it is the same one.
  const t2 = (await world.snapshots.get("t"))?.revision ?? 0;
  assert.equal(await (await world.access.past("safe", t2, { key: noise(32, 6) }).get("small"))?.text(), "a secret");
});

test("a bucket that comes back in several commands is made by the first; what meets another bucket or snapshot stops", async (t) => {
  const { world, run } = await open(t);
  const { buckets } = world.access;
  const parts = {
    snapshots: world.snapshotSource,
    files: world.source,
    keyView: world.member.views.key,
    fileView: world.member.views.file,
  };
  await buckets.create("safe", { key });
  const files = world.access.files("safe", { key });
  const small = await files.upload("a secret");
  const content = fileContent(small.content);
  const paths = Array.from({ length: 4_500 }, (_, index) => `f${index}`);
  await files.putMany(paths.map((path) => ({ path, content, uploaded: small })));
  await world.snapshots.create("s");
  await drop(world, "safe");
  const done = await run({ snapshot: "s" });
  assert.deepEqual([done.at(-1)?.count, done.at(-1)?.atomic], [4_500, false]);
  assert.equal((await buckets.get("safe"))?.fileCount, 4_500);
  assert.equal(await (await files.get("f4499"))?.text(), "a secret");

  // Between two commands the bucket is deleted, and made again.
  await drop(world, "safe");
  let steps = 0;
  const interrupted = async (between: () => Promise<void>) => {
    steps = 0;
    for await (const _ of restore(parts, { snapshot: "s" })) if (++steps === 1) await between();
  };
  await assert.rejects(
    interrupted(async () => {
      await drop(world, "safe");
      await buckets.create("safe");
    }),
    { code: "conflict", message: /bucket safe was made at revision/ },
  );
  assert.deepEqual([steps, (await buckets.get("safe"))?.fileCount], [1, 0]);
  // Or the snapshot is another one.
  await drop(world, "safe");
  await assert.rejects(
    interrupted(async () => {
      await world.snapshots.delete("s");
      await world.snapshots.create("s");
    }),
    { code: "conflict", message: /snapshot "s" is of revision/ },
  );
});
