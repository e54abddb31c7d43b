/** Files from their first byte to their last: put, get, names, conditions, versions, bad input. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "../base/index.ts";
import type { HoldfastError } from "../base/index.ts";
import { collect } from "../view/fixture.suite.ts";
import { runTransaction } from "../view/index.ts";
import type { FileListOptions, FileRecord } from "./index.ts";
import { inParts, noise, once, World } from "./world.suite.ts";

const small = { chunkSizeMin: 4_096, chunkSizeAverage: 8_192, chunkSizeMax: 16_384 };

test("bytes of every size come back as they were put, from every kind of source", async (t) => {
  const world = await World.open(t);
  await world.access.buckets.create("b", small);
  const files = world.access.files("b");
  for (const size of [0, 1, 1_023, 1_024, 1_025, 4_096, 16_385, 300_000]) {
    const bytes = noise(size, size + 1);
    const record = await files.put(`f${size}`, size % 2 === 0 ? bytes : inParts(bytes, 1_000));
    assert.equal(record.size, size);
    const reading = await files.get(`f${size}`);
    assert.deepEqual(await reading?.bytes(), bytes);
    assert.equal(reading?.hash, record.hash);
    assert.equal(reading?.hash.length, 64);
    const parts = await collect(reading?.stream() ?? []);
    assert.deepEqual(new Uint8Array(Buffer.concat(parts)), bytes);
    for (const [start, end] of [
      [0, 1],
      [size, size + 5],
      [10, 4_100],
      [4_095, 4_097],
      [size >> 1, undefined],
    ] as const) {
      assert.deepEqual(await reading?.bytes({ start, end }), bytes.slice(start, end), `${start} to ${end} of ${size}`);
    }
  }
  assert.equal(await (await files.get("f0"))?.text(), "");
  await files.put("text", "gr\u00fcn", { contentType: "text/plain" });
  assert.equal(await (await files.get("text"))?.text(), "gr\u00fcn");
  await files.put("json", JSON.stringify({ a: 1 }));
  assert.deepEqual(await (await files.get("json"))?.json(), { a: 1 });
  await assert.rejects(async () => (await files.get("text"))?.json(), {
    code: "corrupt",
    message: /b:text is not JSON/,
  });
  assert.equal(await files.get("absent"), undefined);
  assert.equal(await files.stat("absent"), undefined);
});

test("a chunked put begins an upload, touches, puts, syncs and commits, in this order", async (t) => {
  const world = await World.open(t);
  const record = await world.access.files("b").put("large", noise(10_000));
  const begun = world.log.find((line) => line.startsWith("grant+beginUpload"));
  const at = Number(begun?.split(" at ")[1]);
  assert.deepEqual(world.log, [
    `grant+beginUpload at ${at}`,
    `touch at ${at}`,
    "put",
    "sync",
    `put at ${record.revision}`,
  ]);
  assert.ok(at < record.revision);
  assert.equal(record.version, 1);
  assert.equal(record.createRevision, record.revision);

  // What is there already is not sent again; the shared upload goes on.
  world.log.length = 0;
  const again = await world.access.files("b").put("copy", once(noise(10_000)));
  assert.deepEqual(world.log, [`touch at ${at}`, "sync", `put at ${again.revision}`]);
  assert.equal(again.hash, record.hash);
  assert.equal((await world.uploads()).length, 1);

  // A small file is in its entry.
  world.log.length = 0;
  const entry = await world.access.files("b").put("small", "1");
  assert.deepEqual(world.log, [`put at ${entry.revision}`]);
});

test("a put answers what the store has, and does not ask for it again", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  let gets = 0;
  const { source } = world.access.files("b").parts;
  const get = source.get.bind(source);
  Object.assign(source, {
    get: (...args: Parameters<typeof get>) => {
      gets++;
      return get(...args);
    },
  });
  for (const bytes of ["first", noise(50_000), ""]) {
    const record = await files.put("f", bytes, { metadata: { a: "1" } });
    assert.equal(gets, 0);
    assert.deepEqual(record.stored, (await files.stat("f"))?.stored);
    gets = 0;
  }
  assert.deepEqual((await files.makeFolder("d")).stored, (await files.stat("d"))?.stored);
});

test("what a file is, beside its bytes, comes back", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const attributes = {
    contentType: "image/png",
    metadata: { b: "2", a: "gr\u00fcn", "": "nothing" },
    mode: 0o4755,
    uid: 0,
    gid: 0xffff_ffff,
    modifiedNs: -1_234_567_890_123_456_789n,
  };
  const written = await files.put("f", "x", attributes);
  const read = (await files.stat("f")) as FileRecord;
  assert.deepEqual(read.stored, written.stored);
  for (const record of [written, read]) {
    const { contentType, metadata, mode, uid, gid, modifiedNs } = record;
    assert.deepEqual({ contentType, metadata: { ...metadata }, mode, uid, gid, modifiedNs }, attributes);
    assert.equal(record.type, "file");
    assert.equal(record.bucket, "b");
    assert.equal(record.path, "f");
  }
  const folder = await files.makeFolder("folder", { mode: 0o700, modifiedMs: 1.5 });
  assert.deepEqual(
    [folder.type, folder.modifiedNs, folder.modifiedMs, folder.hash, folder.size],
    ["folder", 1_500_000n, 1.5, "", 0],
  );
  const link = await files.makeLink("link", "../else\udcffwhere", { ifAbsent: true });
  assert.equal(link.target, "../else\udcffwhere");
  assert.equal((await files.stat("link"))?.target, "../else\udcffwhere");
  await assert.rejects(async () => (await files.get("link"))?.bytes(), { code: "invalid", message: /a link to/ });
  await assert.rejects(async () => (await files.get("folder"))?.text(), {
    code: "invalid",
    message: /b:folder is a folder/,
  });
  // Bytes that are no UTF-8 are a name too.
  const odd = await files.put(new Uint8Array([0x61, 0xff, 0x2f, 0xc3, 0xbc]), "odd");
  assert.equal(odd.path, "a\udcff/\u00fc");
  assert.equal(await (await files.get("a\udcff/\u00fc"))?.text(), "odd");
});

test("lists are in the order of bytes, by prefix, by folder, from a place, backwards", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const paths = ["a", "a-b", "a/b", "a/c/d", "a/c/e", "b/x", "z"];
  for (const path of paths.toReversed()) await files.put(path, path);
  const listed = async (options: FileListOptions) =>
    (await collect(files.list(options as { folders: true }))).map(
      (one) => `${one.type === "prefix" ? "+" : ""}${one.path}`,
    );
  assert.deepEqual(await listed({}), paths);
  assert.deepEqual(await listed({ reverse: true, limit: 2 }), ["z", "b/x"]);
  assert.deepEqual(await listed({ prefix: "a/" }), ["a/b", "a/c/d", "a/c/e"]);
  assert.deepEqual(await listed({ prefix: "a/", folders: true }), ["a/b", "+a/c/"]);
  assert.deepEqual(await listed({ folders: true }), ["a", "a-b", "+a/", "+b/", "z"]);
  assert.deepEqual(await listed({ start: "a/c/e", limit: 2 }), ["a/c/e", "b/x"]);
  assert.deepEqual(await listed({ limit: 0 }), []);
  const [first] = await collect(files.list({ limit: 1 }));
  assert.equal(await (await files.open(first as FileRecord)).text(), "a");
});

test("conditions hold for the version that is there", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const first = await files.put("f", "1", { ifAbsent: true });
  await assert.rejects(files.put("f", "2", { ifAbsent: true }), { code: "conflict" });
  const second = await files.put("f", noise(5_000), { ifRevision: first.revision });
  assert.deepEqual([second.version, second.createRevision], [2, first.revision]);
  await assert.rejects(files.put("f", noise(6_000), { ifRevision: first.revision }), { code: "conflict" });
  await assert.rejects(files.delete("f", { ifRevision: first.revision }), { code: "conflict" });
  await assert.rejects(files.copy("z", "f", { ifAbsent: true }), (error: HoldfastError) =>
    ["conflict", "notFound"].includes(error.code),
  );
  await assert.rejects(files.copy("f", "f2", { ifRevision: 7 }), { code: "conflict" });
  assert.equal((await files.delete("f", { ifRevision: second.revision })).count, 1);
  assert.equal((await files.delete("f")).count, 0);
  assert.equal((await files.delete({ prefix: "" })).count, 0);
});

test("copies and moves carry everything and no bytes; versions and the past can be read", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const bytes = noise(30_000);
  const first = await files.put("dir/f", bytes, { metadata: { a: "1" } });
  const second = await files.put("dir/f", "second");
  await files.put("dir", "a file that is called like the folder");
  world.log.length = 0;
  assert.equal((await files.copy("dir/f", "old", { fromRevision: first.revision })).count, 1);
  assert.deepEqual(await (await files.get("old"))?.bytes(), bytes);
  assert.equal((await files.stat("old"))?.metadata["a"], "1");
  assert.equal((await files.move("dir", "new", { folder: true })).count, 2);
  assert.deepEqual(
    (await collect(files.list())).map(({ path }) => path),
    ["new", "new/f", "old"],
  );
  assert.ok(world.log.every((line) => !line.startsWith("touch") && !line.includes("put")));

  const versions = await files.versions("dir/f");
  assert.deepEqual(
    versions.map(({ revision, supersededRevision }) => [revision, supersededRevision === undefined]),
    [
      [first.revision, false],
      [second.revision, false],
    ],
  );
  assert.deepEqual(await (await files.get("dir/f", { revision: first.revision }))?.bytes(), bytes);
  assert.equal(await files.get("dir/f"), undefined);
  assert.equal(await files.get("dir/f", { revision: 1 }), undefined);
  const past = world.access.past("b", second.revision);
  assert.equal(await (await past.get("dir/f"))?.text(), "second");
  assert.deepEqual(
    (await collect(past.list())).map(({ path }) => path),
    ["dir/f"],
  );
  assert.equal(await past.get("old"), undefined);
  assert.equal(await world.access.past("b", first.revision).stat("dir/f", { revision: second.revision }), undefined);

  // To another bucket, and everything away at once.
  await files.copy("old", "x", { toBucket: "c" });
  assert.deepEqual(await (await world.access.files("c").get("x"))?.bytes(), bytes);
  assert.equal((await files.delete({ prefix: "new" })).count, 2);
});

test("a transaction gives uploaded bytes a name together with keys, or nothing", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const uploaded = await files.upload(noise(20_000));
  const { views } = world.member;
  const { LocalKeys, LocalViews } = await import("../view/index.ts");
  const keys = new LocalKeys(world.member.env.clock, world.replica);
  t.after(async () => keys.close());
  await runTransaction(
    world.member.env,
    { proposer: world.replica, keys, files: world.source, source: new LocalViews(world.replica, views.asked), views },
    (tx) => {
      tx.keys.put("k", "v");
      tx.files("b").put("f", uploaded, { contentType: "x/y" });
    },
  );
  uploaded.release();
  assert.deepEqual(await (await files.get("f"))?.bytes(), noise(20_000));
  assert.equal((await files.stat("f"))?.contentType, "x/y");
});

test("what is over a limit, or is none, is told before anything is sent", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const large = "x".repeat(limits.filePathSizeMax + 1);
  const bad: (() => Promise<unknown>)[] = [
    () => files.put("", "x"),
    () => files.put("a\0b", "x"),
    () => files.put(large, "x"),
    () => files.put("\ud800", "x"),
    () => files.put(5 as unknown as string, "x"),
    () => files.put("f", 5 as unknown as string),
    () => files.put("f", "x", { ifAbsent: true, ifRevision: 5 }),
    () => files.put("f", "x", { ifRevision: -1 }),
    () => files.put("f", "x", { mode: 0o10000 }),
    () => files.put("f", "x", { uid: 2 ** 32 }),
    () => files.put("f", "x", { gid: -1 }),
    () => files.put("f", "x", { modifiedNs: 2n ** 63n }),
    () => files.put("f", "x", { modifiedMs: Number.NaN }),
    () => files.put("f", "x", { modifiedMs: 1e300 }),
    () => files.put("f", "x", { contentType: "a\nb" }),
    () => files.put("f", "x", { contentType: "a".repeat(256) }),
    () => files.put("f", "x", { metadata: { a: "x".repeat(limits.fileMetadataSizeMax) } }),
    () => files.put("f", "x", { metadata: { a: 5 as unknown as string } }),
    () => files.makeLink("f", ""),
    () => files.makeLink("f", "x".repeat(limits.linkTargetSizeMax + 1)),
    () => files.get("f", { revision: -1 }),
    () => files.get("f", { consistency: "sometimes" as "local" }),
    () => collect(files.list({ limit: -1 })),
    () => collect(files.list({ folders: true, reverse: true })),
    () => files.copy("a", "b", { folder: true, ifAbsent: true }),
    () => files.move("a", "b", { fromRevision: 3 }),
    () => files.copy("a", "b", { toBucket: "B" }),
    () => files.delete({} as { prefix: string }),
    () => files.delete({ prefix: "a" }, { ifRevision: 1 }),
    () => world.access.buckets.create("b", { keepMs: -1 }),
    () => world.access.buckets.create("b", { keepCountMax: 2 ** 32 }),
    () => world.access.buckets.create("b", { chunkSizeMin: 100 }),
    () => world.access.buckets.create("b", { chunkSizeMin: 1_000_000, chunkSizeAverage: 500_000 }),
    () => world.access.buckets.create("b", { key: new Uint8Array(3) }),
    () => world.access.buckets.get("-"),
  ];
  for (const call of bad) await assert.rejects(call(), { code: "invalid" }, String(call));
  assert.throws(() => world.access.files("Photos"), { code: "invalid", message: /"Photos" is no name for a bucket/ });
  assert.throws(() => world.access.past("b", 0.5), { code: "invalid" });
  await assert.rejects(files.put("f", "x", { metadata: { a: "x".repeat(9_000) } }), {
    message: /9,001 bytes; the limit is 8,192 \(limits.fileMetadataSizeMax\)/,
  });
  assert.deepEqual(world.log, []);
});

test("buckets are made, changed, listed and deleted", async (t) => {
  const { access } = await World.open(t);
  const { buckets } = access;
  await buckets.create("b", { keepMs: Infinity, keepCountMax: Infinity, compress: false, ...small });
  await assert.rejects(buckets.create("b"), { code: "exists" });
  const { createRevision, historyRevision, ...made } = (await buckets.get("b")) ?? {};
  assert.deepEqual(made, {
    name: "b",
    ...small,
    compress: false,
    keepMs: Infinity,
    keepCountMax: Infinity,
    encryption: "none",
    fileCount: 0,
  });
  assert.ok((createRevision ?? 0) > 0 && historyRevision === 0);
  await buckets.set("b", { keepMs: 5 });
  const { keepMs, compress, chunkSizeMin } = (await buckets.get("b")) ?? {};
  assert.deepEqual([keepMs, compress, chunkSizeMin], [5, false, 4_096]);
  await assert.rejects(buckets.set("none", {}), { code: "notFound" });
  await access.files("a").put("f", "x");
  assert.deepEqual(
    (await buckets.list()).map(({ name, fileCount }) => [name, fileCount]),
    [
      ["a", 1],
      ["b", 0],
    ],
  );
  assert.deepEqual(await access.files("a").info(), await buckets.get("a"));
  assert.equal((await buckets.get("a"))?.keepMs, 604_800_000);
  await assert.rejects(buckets.delete("a"), { code: "conflict" });
  await buckets.delete("b");
  assert.equal(await buckets.get("b"), undefined);
});

test("any bytes, cut anyhow, at any sizes of chunks, come back, ranges too", async (t) => {
  const world = await World.open(t);
  await world.access.buckets.create("b", small);
  const files = world.access.files("b");
  const anyRun = fc.record({ size: fc.integer({ min: 0, max: 40_000 }), seed: fc.integer({ min: 0, max: 3 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyRun, { maxLength: 4 }),
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 500, max: 50_000 }),
      async (runs, a, b, step) => {
        const bytes = new Uint8Array(
          Buffer.concat(runs.map(({ size, seed }) => (seed === 0 ? new Uint8Array(size) : noise(size, seed)))),
        );
        await files.put("f", inParts(bytes, step));
        const reading = await files.get("f");
        assert.deepEqual(await reading?.bytes(), bytes);
        const [start, end] = [a % (bytes.length + 1), b % (bytes.length + 1)].toSorted((x, y) => x - y);
        assert.deepEqual(await reading?.bytes({ start, end }), bytes.slice(start, end));
      },
    ),
    { numRuns: 25 },
  );
});

test("a chunk that is gone or damaged is named with its file; other ranges and files are unharmed", async (t) => {
  const world = await World.open(t);
  await world.access.buckets.create("b", small);
  const files = world.access.files("b");
  const bytes = noise(100_000);
  await files.put("f", bytes);
  await files.put("other", noise(100_000, 7));
  const reading = await files.get("f");
  const seen: Uint8Array[] = [];
  world.chunks.before = (what, hashes) => void (what === "get" && seen.push(...hashes));
  await reading?.bytes({ start: 50_000, end: 50_001 });
  const victim = seen.at(-1) as Uint8Array;
  await world.chunks.store.delete([victim]);
  await assert.rejects(
    async () => reading?.bytes(),
    (error: HoldfastError) => error.code === "notFound" && /^b:f: chunk [0-9a-f]{64} at offset \d+/.test(error.message),
  );
  assert.deepEqual(await reading?.bytes({ end: 10_000 }), bytes.slice(0, 10_000));
  assert.deepEqual(await reading?.bytes({ start: 90_000 }), bytes.slice(90_000));
  assert.equal((await (await files.get("other"))?.bytes())?.length, 100_000);
  // Putting the same bytes again heals it.
  await files.put("again", bytes);
  assert.deepEqual(await reading?.bytes(), bytes);
});
