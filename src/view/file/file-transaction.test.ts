/** Files inside transactions: what they commit, with keys, is as if they had run one after another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { RpcClient, RpcServer } from "../../rpc/index.ts";
import { Prng } from "../../sim/index.ts";
import { collect, Member, utf8 } from "../fixture.suite.ts";
import {
  commandService,
  defaultBucketSettings,
  fileService,
  keyService,
  LocalFiles,
  LocalKeys,
  LocalViews,
  operation,
  RemoteFiles,
  RemoteKeys,
  RemoteProposer,
  runTransaction,
} from "../index.ts";
import type {
  FileOperation,
  FileTransaction,
  TransactionContext,
  TransactionOptions,
  TransactionParts,
} from "../index.ts";

type Run = <T>(body: (tx: TransactionContext) => T | Promise<T>, options?: TransactionOptions) => Promise<T>;

interface Fixture {
  readonly files: LocalFiles;
  readonly run: Run;
  readonly done: (...bodies: NonNullable<FileOperation["operation"]>[]) => Promise<number>;
}

async function open(t: TestContext, kind: "local" | "remote"): Promise<Fixture> {
  const member = new Member(t.name);
  const { env, views } = member;
  const replica = await member.open({ cacheSizeMax: 65_536 });
  const [keys, files] = [new LocalKeys(env.clock, replica), new LocalFiles(env.clock, replica)];
  t.after(async () => {
    keys.close();
    await replica.close();
  });
  let parts: TransactionParts = { proposer: replica, keys, files, source: new LocalViews(replica, views.asked), views };
  if (kind === "remote") {
    const server = new RpcServer(env, [keyService(keys), fileService(files), commandService(replica, views.all)]);
    await server.listen("memory:store");
    const client = new RpcClient(env, "memory:store");
    t.after(async () => {
      await client.close();
      await server.close({ graceMs: 0 });
    });
    const options = { timeoutMs: 20_000 };
    const proposer = new RemoteProposer(env, client, options);
    parts = {
      ...parts,
      proposer,
      keys: new RemoteKeys(env, client, proposer, options),
      files: new RemoteFiles(env, client, proposer, options),
    };
  }
  return {
    files,
    run: async (body, options) => (await runTransaction(env, parts, body, options)).value,
    done: async (...bodies) => {
      const outcome = await replica.propose(bodies.map((body) => operation(views.file, { operation: body })));
      assert.ok(outcome.ok, outcome.ok ? "" : outcome.message);
      return outcome.revision;
    },
  };
}

const prepared = (text: string) => ({ content: { size: text.length, inline: utf8(text) } });

const put = (path: string, text: string) =>
  ({ case: "put", value: { bucket: "b", path: utf8(path), ...prepared(text) } }) as const;
const remove = (path: string) => ({ case: "delete", value: { bucket: "b", path: utf8(path) } }) as const;
const move = (from: string, to: string) =>
  ({
    case: "copy",
    value: { fromBucket: "b", from: utf8(from), toBucket: "b", to: utf8(to), move: true },
  }) as const;

const textOf = (file: { readonly content: { readonly inline: Uint8Array } } | undefined): string =>
  file === undefined ? "nothing" : new TextDecoder().decode(file.content.inline);

async function contents(fixture: Fixture, bucket: string): Promise<Record<string, string>> {
  const batches = await collect(fixture.files.list({ bucket, prefix: utf8("") }, {}));
  const entries = batches.flatMap(({ files }) =>
    files.map(({ path, file }) => [new TextDecoder().decode(path), textOf(file)] as const),
  );
  return Object.fromEntries(entries);
}

async function inside(files: FileTransaction, prefix = ""): Promise<Record<string, string>> {
  const all = await collect(files.list({ prefix }));
  return Object.fromEntries(all.map(({ path, file }) => [new TextDecoder().decode(path), textOf(file)]));
}

for (const kind of ["local", "remote"] as const) {
  test(`tokens move between files and keys by many at once, and none is lost (${kind})`, async (t) => {
    const { run } = await open(t, kind);
    const dice = new Prng(t.name);
    await run((tx) => {
      for (let index = 0; index < 6; index++) {
        tx.files("b").put(`token/${index}`, prepared(String(index)));
        tx.keys.put(`owner/${index}`, "file");
      }
    });
    let runs = 0;
    const move = (mine: Prng) =>
      run(
        async (tx) => {
          runs++;
          const index = mine.below(6);
          const files = tx.files("b");
          const path = `token/${index}`;
          // The token is a file, or a key with its text: one of both.
          if ((await tx.keys.get(`owner/${index}`))?.text() === "file") {
            const file = await files.stat(path);
            assert.ok(file !== undefined, "the key says that there is a file");
            tx.keys.put(`owner/${index}`, `key ${textOf(file)}`);
            if (mine.chance(0.5)) files.delete(path);
            else await files.move(path, `gone/${mine.below(1e9)}`);
          } else {
            assert.equal(await files.stat(path), undefined);
            files.put(path, prepared(String(index)));
            tx.keys.put(`owner/${index}`, "file");
          }
        },
        { attemptCountMax: 1_000 },
      );
    const audit = () =>
      run(async (tx) => {
        const files = await inside(tx.files("b"), "token/");
        const keys = await collect(tx.keys.list({ prefix: "owner/" }));
        const names = keys.filter((one) => one.text() === "file").map(({ key }) => key.replace("owner", "token"));
        assert.deepEqual(Object.keys(files), names);
      });
    const workers = Array.from({ length: 6 }, async (_, worker) => {
      const mine = dice.fork(`worker ${worker}`);
      for (let count = 0; count < 20; count++) {
        await move(mine);
        if (count % 5 === 0) await audit();
      }
    });
    await Promise.all(workers);
    await audit();
    assert.ok(runs > 120, "some met a conflict and ran again");
  });

  test(`reads see what the transaction has written itself (${kind})`, async (t) => {
    const fixture = await open(t, kind);
    const { run } = fixture;
    await run((tx) => {
      for (const name of ["a", "b", "c"]) tx.files("x").put(name, prepared(`old ${name}`), { contentType: "t/old" });
    });
    await run(async (tx) => {
      const files = tx.files("x");
      files.put("a", prepared("new a"), { contentType: "t/new", mode: 0o600 });
      await files.copy("a", "d");
      await files.move("b", "e/b");
      files.delete("c");
      assert.equal((await files.stat("a"))?.content.contentType, "t/new");
      assert.deepEqual([(await files.stat("a"))?.version, (await files.stat("d"))?.version], [2, 1]);
      assert.equal(textOf(await files.stat("d")), "new a");
      assert.equal(await files.stat("b"), undefined);
      assert.deepEqual(await inside(files), { a: "new a", d: "new a", "e/b": "old b" });
      const last = await collect(files.list({ reverse: true, limit: 2 }));
      assert.deepEqual(
        last.map(({ path }) => new TextDecoder().decode(path)),
        ["e/b", "d"],
      );
      await files.copy("e/b", "a", "other");
      assert.equal(textOf(await tx.files("other").stat("a")), "old b");
      await assert.rejects(files.copy("c", "f"), { code: "notFound" });
      await assert.rejects(files.copy("a", "f", "other"), { code: "invalid", message: /before it is committed/ });
      await assert.rejects(files.move("a", "a"), { code: "invalid" });
      assert.throws(() => files.put("", prepared("x")), { code: "invalid" });
      assert.throws(() => tx.files("NO"), { code: "invalid" });
    });
    assert.deepEqual(await contents(fixture, "x"), { a: "new a", d: "new a", "e/b": "old b" });
    assert.deepEqual(await contents(fixture, "other"), { a: "old b" });
    assert.equal((await fixture.files.get("x", utf8("e/b"), undefined, {}))?.content.contentType, "t/old");
  });

  test(`names change places, also in a circle (${kind})`, async (t) => {
    const fixture = await open(t, kind);
    const { run, done } = fixture;
    const names = ["a", "b", "c", "d", "e"];
    const reset = () =>
      run((tx) => {
        for (const name of names) tx.files("x").put(name, prepared(name));
        tx.files("x").delete("f");
      });
    await reset();
    await run(async ({ files }) => {
      const x = files("x");
      await x.copy("a", "f");
      for (const [index, name] of names.entries()) await x.copy(index === 4 ? "f" : (names[index + 1] as string), name);
    });
    // The last one took what had just been written for `f`, which is what `a` was.
    assert.deepEqual(await contents(fixture, "x"), { a: "b", b: "c", c: "d", d: "e", e: "a", f: "a" });
    // A chain needs no old versions; a circle does.
    const settings = { ...defaultBucketSettings, keepMs: 0 };
    await done({ case: "setBucket", value: { bucket: "x", settings } });
    await reset();
    await run(async (tx) => {
      for (const [index, name] of names.entries()) await tx.files("x").move(name, index === 4 ? "f" : `moved/${name}`);
      tx.files("x").put("a", prepared("new"));
    });
    const moved = { "moved/a": "a", "moved/b": "b", "moved/c": "c", "moved/d": "d" };
    assert.deepEqual(await contents(fixture, "x"), { a: "new", f: "e", ...moved });
    await reset();
    // In the order in which the last comes first: f ← e ← d ← c ← b ← a.
    await run(async (tx) => {
      for (const [index, name] of [...names, "f"].entries()) {
        if (index > 0) await tx.files("x").copy(names[index - 1] as string, name);
      }
    });
    const all = await contents(fixture, "x");
    assert.deepEqual([all["a"], all["b"], all["f"]], ["a", "a", "a"], "each copied what was written before");
  });

  test(`what a prepared file counts on and is gone ends a transaction at once (${kind})`, async (t) => {
    const fixture = await open(t, kind);
    const { run, done } = fixture;
    const hash = new Uint8Array(32).fill(1);
    const chunks = { content: { size: 5_000, hash } };
    const settings = { ...defaultBucketSettings, encryption: utf8("key") };
    await done({ case: "setBucket", value: { bucket: "secret", settings } });
    for (const [bucket, file, message] of [
      ["b", { ...chunks, upload: 77n }, /^upload 77 has ended/],
      ["b", { ...chunks, snapshot: "s", snapshotRevision: 1 }, /^snapshot "s" does not exist/],
      ["b", { ...prepared("x"), bucketRevision: 1 }, /^bucket b does not exist any more/],
      ["secret", prepared("x"), /^bucket secret is encrypted/],
    ] as const) {
      let runs = 0;
      const refused = run((tx) => {
        runs++;
        tx.keys.put("k", "v");
        tx.files(bucket).put("f", file);
      });
      await assert.rejects(refused, { code: "conflict", message });
      assert.equal(runs, 1);
    }
    assert.equal(await run((tx) => tx.keys.get("k")), undefined);
    assert.equal(await fixture.files.bucket("b", {}), undefined);
  });

  test(`a list that was read is guarded against files that come, go and change (${kind})`, async (t) => {
    const { run, done } = await open(t, kind);
    const changes = [
      { name: "a new file", change: () => done(put("r/5", "new")), conflicts: true },
      { name: "a deleted file", change: () => done(remove("r/1")), conflicts: true },
      { name: "a changed file", change: () => done(put("r/2", "changed")), conflicts: true },
      { name: "another name", change: () => done(move("r/2", "r/3")), conflicts: true },
      { name: "deleted and made again", change: () => done(remove("r/2"), put("r/2", "2")), conflicts: true },
      { name: "something else", change: () => done(put("s/1", "x")), conflicts: false },
    ];
    for (const { name, change, conflicts } of changes) {
      await done({ case: "delete", value: { bucket: "b", prefix: true } });
      await done(put("r/1", "1"), put("r/2", "2"));
      let runs = 0;
      await run(async (tx) => {
        runs++;
        const found = await inside(tx.files("b"), "r/");
        if (runs === 1) await change();
        tx.keys.put("count", String(Object.keys(found).length));
      });
      assert.equal(runs, conflicts ? 2 : 1, name);
    }
  });
}

test("a refusal undoes keys and files together; a state that is forgotten is read anew", async (t) => {
  const fixture = await open(t, "local");
  const { run, done } = fixture;
  const refused = run((tx) => {
    tx.keys.put("k", "v");
    tx.files("b").put("fine", prepared("x"));
    tx.files("b").put("none", { content: { type: "link" } });
  });
  await assert.rejects(refused, { code: "invalid", message: /target of the link/ });
  assert.equal(await fixture.files.bucket("b", {}), undefined);
  assert.equal(await run((tx) => tx.keys.get("k")), undefined);
  // A bucket that keeps nothing forgets what a slow transaction is reading.
  const settings = { ...defaultBucketSettings, keepMs: 0 };
  await done({ case: "setBucket", value: { bucket: "b", settings } });
  await done(put("p", "1"));
  let runs = 0;
  const seen = await run(async (tx) => {
    if (++runs === 1) await done(put("p", "2"));
    const found = textOf(await tx.files("b").stat("p"));
    tx.files("b").put("q", prepared(found));
    return found;
  });
  assert.deepEqual([seen, runs], ["2", 2]);
  let late: FileTransaction | undefined;
  await run((tx) => {
    late = tx.files("b");
  });
  await assert.rejects(async () => late?.stat("p"), { code: "invalid", message: /transaction is over/ });
  assert.throws(() => late?.delete("p"), { code: "invalid" });
});
