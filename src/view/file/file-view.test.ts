/** The file view: what it refuses, its bytes, uploads, snapshots, and what its reads cost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { RpcClient, RpcServer } from "../../rpc/index.ts";
import { collect, hex, Member, utf8 } from "../fixture.suite.ts";
import {
  contentOf,
  defaultBucketSettings,
  FileKeeper,
  fileRanges,
  fileService,
  liveUploads,
  LocalFiles,
  operation,
  RemoteFiles,
} from "../index.ts";
import type { CommandOutcome, FileChange, FileOperation, FileSource, Operation, Replica } from "../index.ts";
import { listed, shape } from "./file-model.suite.ts";
import { FileWalk } from "./file-walk.ts";

type Body = NonNullable<FileOperation["operation"]>;
type Put = Extract<Body, { case: "put" }>["value"];

class Fixture {
  readonly member: Member;
  readonly replica: Replica;
  readonly files: LocalFiles;

  constructor(member: Member, replica: Replica) {
    this.member = member;
    this.replica = replica;
    this.files = new LocalFiles(member.env.clock, replica);
  }

  static async open(t: TestContext): Promise<Fixture> {
    const member = new Member(t.name);
    const replica = await member.open();
    t.after(() => replica.close());
    return new Fixture(member, replica);
  }

  file(body: Body): Operation {
    return operation(this.member.views.file, { operation: body });
  }

  propose(...bodies: Body[]): Promise<CommandOutcome> {
    return this.replica.propose(bodies.map((body) => this.file(body)));
  }

  put(bucket: string, path: string, more: Put = {}): Body {
    return { case: "put", value: { bucket, path: utf8(path), content: {}, ...more } };
  }

  async done(...bodies: Body[]): Promise<number> {
    const outcome = await this.propose(...bodies);
    assert.ok(outcome.ok, outcome.ok ? "" : outcome.message);
    return outcome.revision;
  }

  async refused(code: string, pattern: RegExp, ...bodies: Body[]): Promise<void> {
    const outcome = await this.propose(...bodies);
    assert.ok(!outcome.ok, `it was taken: ${JSON.stringify(bodies, (_, one: unknown) => String(one))}`);
    assert.equal(outcome.code, code, outcome.message);
    assert.match(outcome.message, pattern);
  }

  async snapshot(name: string): Promise<number> {
    const { snapshot } = this.member.views;
    const outcome = await this.replica.propose([
      operation(snapshot, { operation: { case: "create", value: { name } } } as never),
    ]);
    assert.ok(outcome.ok);
    return outcome.revision;
  }
}

const bucketWith = (more: object): Body => ({
  case: "setBucket",
  value: { bucket: "b", settings: { ...defaultBucketSettings, ...more } },
});

const text = (content: string) => ({ content: { size: content.length, inline: utf8(content) } });

const encrypted = (name: string, encryption: string): Body => ({
  case: "setBucket",
  value: { bucket: name, settings: { ...defaultBucketSettings, encryption: utf8(encryption) } },
});

const copy = (toBucket: string): Body => ({
  case: "copy",
  value: { fromBucket: "a", from: utf8("p"), toBucket, to: utf8("q") },
});

const keeping = (bucket: string, keepMs: number): Body => ({
  case: "setBucket",
  value: { bucket, settings: { ...defaultBucketSettings, keepMs } },
});

/** Sets the bucket that this revision made. */
const change = (bucketRevision: number): Body => ({
  case: "setBucket",
  value: { bucket: "b", settings: defaultBucketSettings, bucketRevision },
});

const hash = new Uint8Array(32).fill(7);

test("names, paths and contents that are over a limit are refused, and change nothing", async (t) => {
  const fixture = await Fixture.open(t);
  const put = (more: Put) => fixture.put("b", "p", more);
  const content = (more: NonNullable<Put["content"]>) => put({ content: more });
  const cases: [RegExp, Body][] = [
    ...["", "A", "-b", ".b", "b/c", "b\0", "é", "b".repeat(129)].map((bucket): [RegExp, Body] => [
      /is no name of a bucket/,
      put({ bucket }),
    ]),
    [/the path is empty/, put({ path: utf8("") })],
    [/zero byte/, put({ path: utf8("a\0b") })],
    [/4097 bytes; the limit is 4096 \(limits.filePathSizeMax\)/, put({ path: new Uint8Array(4_097).fill(1) })],
    [/12 permission bits/, content({ mode: 0o10000 })],
    [/a hash has 32/, content({ size: 1, hash: hash.slice(1), depth: 1 })],
    [/levels of lists/, content({ size: 1, hash, depth: 33 })],
    [/not in both/, content({ size: 1, hash, inline: utf8("x") })],
    [/has no chunks/, content({ size: 0, hash })],
    [/leave the depth out/, content({ size: 0, depth: 1 })],
    [/does not fit its entry.*limits.inlineFileSizeMax/, content({ size: 1_025 })],
    [/does not fit its entry/, content({ size: 1, inline: new Uint8Array(1_089) })],
    [/said to have 2 bytes, and comes with 1/, content({ size: 2, inline: utf8("x") })],
    [/only a link has/, content({ target: utf8("t") })],
    [/a folder has no bytes/, content({ type: "folder", size: 1 })],
    [/only a link has/, content({ type: "folder", target: utf8("t") })],
    [/the target of the link is 0 bytes/, content({ type: "link" })],
    [/the target of the link is 4097 bytes/, content({ type: "link", target: new Uint8Array(4_097) })],
    [/a link has no bytes/, content({ type: "link", target: utf8("t"), hash })],
    [/content type has 256/, content({ contentType: "t".repeat(256) })],
    [/out of order or there twice/, content({ metadata: [{ name: "a" }, { name: "a" }] })],
    [/out of order or there twice/, content({ metadata: [{ name: "b" }, { name: "a" }] })],
    [/limits.fileMetadataSizeMax/, content({ metadata: [{ name: "a", value: "x".repeat(8_192) }] })],
    [/nothing protects/, content({ size: 2_000, hash })],
  ];
  for (const [pattern, body] of cases) await fixture.refused("invalid", pattern, body);
  for (const more of [
    { chunkSizeMin: 4_095 },
    { chunkSizeMax: 8_388_609 },
    { chunkSizeMin: 600_000 },
    { chunkSizeAverage: 3_000_000 },
  ]) {
    await fixture.refused("invalid", /sizes rise/, bucketWith(more));
  }
  await fixture.refused("invalid", /encryption/, bucketWith({ encryption: new Uint8Array(4_097) }));
  await fixture.refused("invalid", /condition is for one file/, {
    case: "delete",
    value: { bucket: "b", prefix: true, ifRevision: 1 },
  });
  assert.equal(fixture.replica.revision, 0);
  assert.equal(await fixture.replica.read((tree) => tree.entryCount), 0);
  // The largest of all that may be large.
  const path = new Uint8Array(4_096).fill(0xff);
  const metadata = [{ name: "n", value: "v".repeat(8_191) }];
  const full = { size: 1_024, inline: new Uint8Array(1_024), metadata, mode: 0o7777 };
  await fixture.done({ case: "put", value: { bucket: "b".repeat(128), path, content: full } });
  await fixture.done(
    { case: "delete", value: { bucket: "b".repeat(128), path } },
    fixture.put("b".repeat(128), "other"),
  );
  assert.equal((await fixture.files.versions("b".repeat(128), path, {})).length, 1);
  assert.equal((await fixture.files.get("b".repeat(128), path, 1, {}))?.content.metadata[0]?.value.length, 8_191);
});

test("a command gives a path one version; what it deletes it may put again", async (t) => {
  const fixture = await Fixture.open(t);
  await fixture.refused("invalid", /changes it again/, fixture.put("b", "p"), fixture.put("b", "p"));
  await fixture.refused("invalid", /changes it again/, fixture.put("b", "p"), {
    case: "delete",
    value: { bucket: "b", path: utf8("p") },
  });
  const first = await fixture.done(fixture.put("b", "p"));
  const remove: Body = { case: "delete", value: { bucket: "b", path: utf8("p") } };
  const second = await fixture.done(remove, fixture.put("b", "p"));
  const found = await fixture.files.get("b", utf8("p"), undefined, {});
  assert.deepEqual([found?.revision, found?.createRevision, found?.version], [second, second, 1]);
  assert.equal((await fixture.files.get("b", utf8("p"), first, {}))?.revision, first);
});

test("the bytes in the tree are as docs/format.md has them", async (t) => {
  const fixture = await Fixture.open(t);
  const { env } = fixture.member;
  env.wall.offsetMs = 1_000_000_000_000 - env.clock.wallMs();
  const content = { size: 2, inline: utf8("hi"), contentType: "text/plain", mode: 0o644, modifiedNs: -1n };
  await fixture.replica.propose([fixture.member.grant(5n)]);
  await fixture.done({ case: "beginUpload", value: { lease: 5n } }, fixture.put("b", "p", { content }));
  await fixture.done(
    fixture.put("b", "p", { content: { ...content, type: "link", target: utf8("t"), size: 0, inline: undefined } }),
  );
  await fixture.done({ case: "setBucket", value: { bucket: "c", settings: { keepMs: 1, encryption: utf8("e") } } });
  await fixture.done({ case: "deleteBucket", value: { bucket: "c" } });
  const range = { start: new Uint8Array([18]), end: new Uint8Array([19]) };
  const entries = await fixture.replica.read((tree) =>
    Array.from(tree.entries(range), ({ key, value }) => [hex(key), hex(value)] as const),
  );
  // The last bytes of a file are its store time, and those of what ages.
  const plain = entries.map(([key, value]) => [key, value.replaceAll(/(28|10)[0-9a-f]{2}[89a-f][0-9a-f]{9}$/g, "$1…")]);
  const attributes = "3a0a746578742f706c61696e48a40360ffffffffffffffffff01";
  assert.deepEqual(plain, [
    ["126262", "0a09288088b2a00230e8071001"],
    ["1264", "0000000000000004"],
    ["1266620070", `0a1f0802320174${attributes}10021801200228…`],
    ["12736200000000000000000200000000", "0a017010…"],
    ["12750000000000000005", "0801"],
    ["127662007000000000000000000200000000", `0a2010022a026869${attributes}10011801200128…`],
  ]);
});

test("chunks are named under an upload that lasts, or with a snapshot that is there", async (t) => {
  const fixture = await Fixture.open(t);
  const { replica, member } = fixture;
  const chunked = (more: Put) => fixture.put("b", "p", { content: { size: 5_000, hash, depth: 1 }, ...more });
  await fixture.refused("notFound", /lease 5 does not exist/, { case: "beginUpload", value: { lease: 5n } });
  await fixture.refused("notFound", /lease 0/, { case: "beginUpload", value: {} });
  await fixture.refused("conflict", /upload 5 has ended/, chunked({ upload: 5n }));
  // Granted in the same command.
  const begun = await replica.propose([member.grant(5n), fixture.file({ case: "beginUpload", value: { lease: 5n } })]);
  assert.ok(begun.ok);
  assert.equal(begun.revision, 1, "beginning takes a revision");
  await fixture.done(chunked({ upload: 5n }));
  // Beginning again leaves it as old as it was.
  await fixture.done({ case: "beginUpload", value: { lease: 5n } });
  const uploads = async () => {
    const { tree, release } = replica.snapshot();
    const revisions = await liveUploads(tree);
    release();
    return revisions;
  };
  assert.deepEqual(await uploads(), [1]);
  await replica.propose([member.grant(6n), fixture.file({ case: "beginUpload", value: { lease: 6n } })]);
  assert.deepEqual(await uploads(), [1, 4]);
  // The lease of another does not begin an upload.
  await replica.propose([member.grant(7n)]);
  await fixture.refused("conflict", /upload 7 has ended/, chunked({ upload: 7n }));
  await replica.propose([member.revoke(5n)]);
  await fixture.refused("conflict", /upload 5 has ended.*upload the file again/, chunked({ upload: 5n }));
  // A lease that ends takes its upload along, and one of the same id begins none.
  assert.deepEqual(await uploads(), [4]);
  await replica.propose([member.grant(5n)]);
  await fixture.refused("conflict", /upload 5 has ended/, chunked({ upload: 5n }));
  assert.deepEqual(await uploads(), [4]);
  await fixture.refused("conflict", /snapshot "s" does not exist/, chunked({ snapshot: "s" }));
  await fixture.refused("invalid", /name of the snapshot/, chunked({ snapshot: "s".repeat(129) }));
  const pinned = await fixture.snapshot("s");
  await fixture.done(chunked({ snapshot: "s" }), fixture.put("b", "q", { snapshot: "s", snapshotRevision: pinned }));
  const other = `is of revision ${pinned}, not of ${pinned + 1}`;
  await fixture.refused("conflict", new RegExp(other), chunked({ snapshot: "s", snapshotRevision: pinned + 1 }));
});

test("a put answers what it has stored", async (t) => {
  const fixture = await Fixture.open(t);
  for (const version of [1, 2]) {
    const outcome = await fixture.propose(fixture.put("b", "p", text("x")), fixture.put("b", `q${version}`));
    assert.ok(outcome.ok);
    const answers = outcome.results.map((one) => (one as { result: { value: object } }).result.value);
    const stored = await Promise.all(
      ["p", `q${version}`].map((path) => fixture.files.get("b", utf8(path), undefined, {})),
    );
    const expected = stored.map((one) => ({
      version: one?.version,
      createRevision: one?.createRevision,
      timeMs: one?.timeMs,
    }));
    assert.deepEqual(answers, expected);
    assert.deepEqual([stored[0]?.version, stored[0]?.revision], [version, outcome.revision]);
  }
});

test("a file is put in the bucket that it was made for, and no other of its name", async (t) => {
  const fixture = await Fixture.open(t);
  const remove = () =>
    fixture.done(
      { case: "delete", value: { bucket: "b", prefix: true } },
      { case: "deleteBucket", value: { bucket: "b" } },
    );
  // Nobody has seen one, and two make it at once.
  const made = await fixture.done(fixture.put("b", "p", text("x")));
  await fixture.done(fixture.put("b", "q", text("x")), fixture.put("b", "r", { bucketRevision: made }));
  await fixture.refused(
    "conflict",
    /was made at revision 1, and that of revision 7/,
    fixture.put("b", "p", { bucketRevision: 7 }),
  );
  await remove();
  const late = fixture.put("b", "p", { ...text("x"), bucketRevision: made });
  await fixture.refused("conflict", /bucket b does not exist any more, and that of revision 1/, late);
  assert.equal(await fixture.files.bucket("b", {}), undefined);

  const again = await fixture.done(encrypted("b", "key"));
  await fixture.refused("conflict", /bucket b was made at revision/, late);
  await fixture.refused(
    "conflict",
    /is encrypted, and the file was made without its key/,
    fixture.put("b", "p", text("x")),
  );
  const chunked = { content: { size: 5_000, hash, depth: 1 } };
  await fixture.refused("conflict", /is encrypted/, fixture.put("b", "p", chunked));
  // What has no bytes needs no key.
  const folder = { content: { type: "folder" } } as const;
  await fixture.done(fixture.put("b", "f", folder), fixture.put("b", "empty", {}));
  await fixture.done(fixture.put("b", "p", { ...text("x"), bucketRevision: again }));
  // The same command has made it, so that its proposer knows.
  await remove();
  await fixture.done(encrypted("b", "key"), fixture.put("b", "p", text("x")));
  await remove();
  await fixture.refused("conflict", /that of revision 1 was expected/, encrypted("b", "key"), late);

  // Settings are changed of the bucket that was read.
  const third = await fixture.done(fixture.put("b", "p"));
  await fixture.done(change(third));
  await fixture.refused("conflict", /was made at revision/, change(again));
  await remove();
  await fixture.refused("conflict", /does not exist any more/, change(third));
});

for (const kind of ["local", "remote"] as const) {
  test(`a bucket of the past is as a snapshot has it, else as it is now or not there (${kind})`, async (t) => {
    const fixture = await Fixture.open(t);
    const { env } = fixture.member;
    let files: FileSource = fixture.files;
    if (kind === "remote") {
      const server = new RpcServer(env, [fileService(files)]);
      await server.listen("memory:store");
      const client = new RpcClient(env, "memory:store");
      t.after(async () => {
        await client.close();
        await server.close({ graceMs: 0 });
      });
      files = new RemoteFiles(env, client, fixture.replica, { timeoutMs: 20_000 });
    }
    const made = await fixture.done(keeping("b", 1));
    await fixture.done(fixture.put("b", "p", text("x")));
    const pinned = await fixture.snapshot("s");
    const second = await fixture.done(keeping("b", 2));
    const at = async (revision: number) => {
      const info = await files.bucket("b", {}, revision);
      return info === undefined ? undefined : [info.settings.keepMs, info.fileCount, info.createRevision];
    };
    assert.deepEqual(await at(pinned), [1, 1, made]);
    assert.deepEqual(await at(made), [2, 1, made]);
    assert.equal(await at(made - 1), undefined);
    assert.deepEqual(await at(second), [2, 1, made]);
    await assert.rejects(fixture.files.bucket("b", {}, second + 10), { code: "invalid", message: /in the future/ });
    const last = await fixture.done(
      { case: "delete", value: { bucket: "b", prefix: true } },
      { case: "deleteBucket", value: { bucket: "b" } },
    );
    assert.deepEqual(await at(pinned), [1, 1, made]);
    assert.equal(await at(last), undefined);
    await assert.rejects(files.bucket("b", {}, second), { code: "trimmed" });
    const again = await fixture.done(keeping("b", 3));
    assert.deepEqual([await at(pinned), await at(last), await at(again)], [[1, 1, made], undefined, [3, 0, again]]);
  });
}

test("a snapshot keeps files that their bucket has forgotten", async (t) => {
  const fixture = await Fixture.open(t);
  const settings = { ...defaultBucketSettings, keepMs: 0 };
  await fixture.done({ case: "setBucket", value: { bucket: "b", settings } });
  await fixture.done(fixture.put("b", "p", text("one")), fixture.put("b", "d/q", text("two")));
  const at = await fixture.snapshot("s");
  const last = await fixture.done(fixture.put("b", "p", text("changed")), {
    case: "delete",
    value: { bucket: "b", path: utf8("d/q") },
  });
  const { files } = fixture;
  const query = { bucket: "b", prefix: utf8("") };
  const deletion: Body = { case: "deleteBucket", value: { bucket: "b" } };
  const pinned = ["d/q@2,2,1=two", "p@2,2,1=one"];
  assert.deepEqual(await listed(files, { ...query, at }), pinned);
  assert.deepEqual(await listed(files, { ...query, at, folders: true, limit: 1 }), ["d/*"]);
  assert.equal((await files.get("b", utf8("p"), at, {}))?.revision, 2);
  assert.equal(await files.get("b", utf8("absent"), at, {}), undefined);
  // Another revision is not pinned.
  await assert.rejects(files.get("b", utf8("p"), 2, {}), { code: "trimmed", message: /bucket b .* revision 2/ });
  await assert.rejects(listed(files, { ...query, at: 2 }), { code: "trimmed" });
  assert.deepEqual(await listed(files, { ...query, at: last }), ["p@4,2,2=changed"]);
  // The same when the bucket itself is gone, and another has its name.
  await fixture.done({ case: "delete", value: { bucket: "b", prefix: true } }, deletion);
  await fixture.done(fixture.put("b", "p", text("new")));
  await assert.rejects(files.get("b", utf8("p"), last, {}), { code: "trimmed" });
  assert.deepEqual(await listed(files, { ...query, at }), pinned);
});

test("of a bucket that was deleted nothing comes back when another gets its name", async (t) => {
  const fixture = await Fixture.open(t);
  const first = await fixture.done(fixture.put("b", "p"), fixture.put("b", "q"));
  await fixture.done({ case: "delete", value: { bucket: "b", prefix: true } });
  await fixture.done({ case: "deleteBucket", value: { bucket: "b" } });
  await assert.rejects(fixture.files.get("b", utf8("p"), first, {}), { code: "trimmed" });
  const made = await fixture.done(fixture.put("b", "q"));
  assert.deepEqual(await fixture.files.versions("b", utf8("p"), {}), []);
  assert.equal((await fixture.files.versions("b", utf8("q"), {})).length, 1);
  const from = { fromBucket: "b", from: utf8("p"), toBucket: "b", to: utf8("x"), fromRevision: first };
  await fixture.refused("notFound", /no longer kept/, { case: "copy", value: from });
  assert.equal((await fixture.files.bucket("b", {}))?.createRevision, made);
  assert.equal(await fixture.files.get("b", utf8("q"), made - 1, {}), undefined);
  // A bucket that never was has no files, at any revision that is kept.
  assert.equal(await fixture.files.get("c", utf8("q"), made, {}), undefined);
});

test("nothing is copied between buckets whose bytes need different keys", async (t) => {
  const fixture = await Fixture.open(t);
  await fixture.done(encrypted("a", "one"), encrypted("b", "two"), encrypted("c", "one"), encrypted("plain", ""));
  // What encryption adds is no concern of the view.
  const inline = new Uint8Array(1_088);
  await fixture.done(fixture.put("a", "p", { content: { size: 1_024, inline }, bucketRevision: 1 }));
  for (const other of ["b", "plain", "missing"]) await fixture.refused("invalid", /same key/, copy(other));
  await fixture.done(copy("c"));
  await fixture.refused("invalid", /is encrypted, and that cannot end/, encrypted("a", ""));
  await fixture.refused("invalid", /is not encrypted, and that cannot begin/, encrypted("plain", "x"));
  await fixture.done(encrypted("a", "the same key, wrapped anew"));
});

test("the keeper sweeps bucket by bucket what is past its time, on the primary alone", async (t) => {
  const fixture = await Fixture.open(t);
  const { member, replica, files } = fixture;
  const { env } = member;
  const paths = Array.from({ length: 300 }, (_, index) => `p/${index}`);
  await fixture.done(keeping("long", 1e12), keeping("short", 60_000));
  for (const bucket of ["gone", "long", "short"]) {
    await fixture.done(...paths.map((path) => fixture.put(bucket, path)));
    await fixture.done({ case: "delete", value: { bucket, prefix: true } });
  }
  await fixture.done({ case: "deleteBucket", value: { bucket: "gone" } });
  const timers: (() => void)[] = [];
  let isPrimary = false;
  const clock = { ...env.clock, schedule: (_: number, run: () => void) => (timers.push(run), { cancel: () => {} }) };
  const seen = new Proxy(replica, {
    get(target, name) {
      if (name === "isPrimary") return isPrimary;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  const keeper = new FileKeeper({ ...env, clock }, seen, member.views.file);
  const kept = async () => {
    const counts = ["gone", "long", "short"].map(async (bucket) =>
      replica.read((tree) => tree.count({ start: utf8(`\x12s${bucket}\0`), end: utf8(`\x12s${bucket}\x01`) })),
    );
    return Promise.all(counts);
  };
  const look = async () => {
    const before = timers.length;
    timers.at(-1)?.();
    // It is done when it has set its next timer.
    while (timers.length === before) await new Promise((resolve) => setImmediate(resolve));
  };
  await look();
  assert.deepEqual(await kept(), [300, 300, 300]);
  isPrimary = true;
  await look();
  assert.deepEqual(await kept(), [0, 300, 300]);
  const before = (await files.bucket("short", {}))?.historyRevision;
  env.wall.offsetMs += 61_000;
  await look();
  assert.deepEqual(await kept(), [0, 300, 0]);
  assert.equal(before, 0);
  assert.equal((await files.bucket("short", {}))?.historyRevision, 7);
  await assert.rejects(listed(files, { bucket: "short", prefix: utf8(""), at: 6 }), { code: "trimmed" });
  assert.equal((await listed(files, { bucket: "long", prefix: utf8(""), at: 4 })).length, 300);
  await keeper.close();
});

test("every change is announced with its path and content", async (t) => {
  const fixture = await Fixture.open(t);
  const heard: string[] = [];
  fixture.replica.subscribe(fixture.member.views.file, (revision, changes) => {
    for (const { bucket, path, content } of changes as readonly FileChange[]) {
      heard.push(`${revision} ${bucket}:${Buffer.from(path).toString()} ${content?.size ?? "-"}`);
    }
  });
  await fixture.replica.propose([
    fixture.member.grant(5n),
    fixture.file({ case: "beginUpload", value: { lease: 5n } }),
  ]);
  await fixture.done(fixture.put("b", "d/p", { content: { size: 9_000, hash }, upload: 5n }));
  await fixture.done({
    case: "copy",
    value: { fromBucket: "b", from: utf8("d"), toBucket: "c", to: utf8("e"), folder: true, move: true },
  });
  await fixture.refused("conflict", /./, fixture.put("c", "other"), fixture.put("c", "e/p", { ifRevision: 0 }));
  await fixture.done({ case: "delete", value: { bucket: "c", prefix: true } });
  assert.deepEqual(heard, ["2 b:d/p 9000", "3 c:e/p 9000", "3 b:d/p -", "4 c:e/p -"]);
  // What a collection looks at: versions that are no longer current need their chunks too.
  const { tree, release } = fixture.replica.snapshot();
  const found: string[] = [];
  for (const range of fileRanges) {
    for (const { value } of (await collect(tree.entries(range))).flat()) {
      const content = contentOf(value);
      found.push(content === undefined ? "none" : `${hex(content.hash.subarray(0, 1))} ${content.depth}`);
    }
  }
  release();
  assert.deepEqual(found, ["07 0", "07 0"]);
});

test("names of folders cost a look-up each, whatever is in them, now and in the past", async (t) => {
  const fixture = await Fixture.open(t);
  const [folders, each] = [10, 1_200];
  const paths = Array.from({ length: folders * each }, (_, index) => `f${index % folders}/${index}`);
  for (let index = 0; index < paths.length; index += 3_000) {
    await fixture.done(...paths.slice(index, index + 3_000).map((path) => fixture.put("b", path)));
  }
  const at = fixture.replica.revision;
  for (let folder = 0; folder < folders; folder++) {
    await fixture.done({ case: "delete", value: { bucket: "b", path: utf8(`f${folder}/`), prefix: true } });
  }
  await fixture.done(...paths.slice(0, 3_000).map((path) => fixture.put("b", path)));
  const query = { bucket: "b", prefix: utf8(""), folders: true };
  for (const past of [undefined, at]) {
    let steps = 0;
    const names = await fixture.replica.read((tree) => {
      steps = 0;
      const counted = {
        entries: (range: object) => {
          const entries = tree.entries(range);
          const next = () => (steps++, entries.next());
          return Object.assign(Object.create(entries) as typeof entries, { next });
        },
      };
      const walk = new FileWalk(counted, query, past);
      const found: string[] = [];
      for (let one = walk.step(); one !== undefined; one = walk.step()) if (one !== null) found.push(shape(one));
      return found;
    });
    assert.deepEqual(
      names,
      Array.from({ length: folders }, (_, index) => `f${index}/*`),
    );
    assert.ok(steps < folders * 40, `${steps} steps`);
  }
  // A prefix of more than a command may change is refused, and nothing is deleted.
  const count = (await fixture.files.bucket("b", {}))?.fileCount;
  await fixture.done(...paths.slice(3_000).map((path) => fixture.put("b", path)));
  await fixture.done(...Array.from({ length: 5_000 }, (_, index) => fixture.put("b", `g/${index}`)));
  await fixture.refused("invalid", /limits.operationCountMax/, {
    case: "delete",
    value: { bucket: "b", prefix: true },
  });
  assert.equal(count, 3_000);
  assert.equal((await fixture.files.bucket("b", {}))?.fileCount, paths.length + 5_000);
});

test("a list through a connection that breaks is of one state, and no longer than its limit", async (t) => {
  const fixture = await Fixture.open(t);
  const { env } = fixture.member;
  await fixture.done(...Array.from({ length: 60 }, (_, index) => fixture.put("b", `p${100 + index}`)));
  let failures = 0;
  const { files } = fixture;
  async function* breakingList(...given: Parameters<FileSource["list"]>) {
    for await (const batch of files.list(...given)) {
      yield { ...batch, files: batch.files.slice(0, 7) };
      if (batch.files.length <= 7) continue;
      // Meanwhile everything changes.
      await fixture.done({ case: "delete", value: { bucket: "b", prefix: true } });
      await fixture.done(fixture.put("b", `p${100 + failures++}`), fixture.put("b", "a"));
      throw new HoldfastError("unavailable", "this list breaks off");
    }
  }
  const breaking = new Proxy<FileSource>(files, {
    get: (target, name) =>
      name === "list" ? breakingList : (Reflect.get(target, name) as (...given: unknown[]) => unknown).bind(target),
  });
  const server = new RpcServer(env, [fileService(breaking)]);
  await server.listen("memory:files");
  const client = new RpcClient(env, "memory:files");
  t.after(async () => {
    await client.close();
    await server.close({ graceMs: 0 });
  });
  const remote = new RemoteFiles(env, client, files, { timeoutMs: 10_000 });
  const before = await listed(files, { bucket: "b", prefix: utf8("p") });
  assert.deepEqual(await listed(remote, { bucket: "b", prefix: utf8("p"), limit: 40 }), before.slice(0, 40));
  assert.ok(failures > 3);
  assert.deepEqual(await listed(remote, { bucket: "b", prefix: utf8(""), at: 1, reverse: true }), before.toReversed());
  await assert.rejects(remote.get("B", utf8("p"), undefined, {}), { code: "invalid" });
  await assert.rejects(remote.get("b", utf8("p"), 1_000, {}), { code: "invalid", message: /in the future/ });
  assert.equal(await remote.bucket("none", {}), undefined);
});
