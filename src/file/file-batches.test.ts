/** Many names in few commands. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred } from "../base/index.ts";
import { collect } from "../view/fixture.suite.ts";
import { fileContent, folderContent } from "./index.ts";
import type { FileEntry, Files } from "./index.ts";
import { noise, refused, turns, World } from "./world.suite.ts";

const folder = (path: string, more: Partial<FileEntry> = {}): FileEntry => ({
  path,
  content: folderContent(),
  ...more,
});
const inline = (text: string): FileEntry["content"] =>
  fileContent({ size: 1, hash: new Uint8Array(0), depth: 0, inline: new TextEncoder().encode(text) });
const pathOf = (index: number): string => `f${String(index).padStart(5, "0")}`;
const paths = async (files: Files): Promise<string[]> => (await collect(files.list())).map(({ path }) => path);

test("entries go in few commands, in order, puts and deletions together", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  await files.put("gone", "x");
  world.log.length = 0;
  const committed: string[] = [];
  const entries = [
    folder("gone", { content: undefined }),
    ...Array.from({ length: 999 }, (_, index) => folder(pathOf(index))),
  ];
  const outcome = await files.putMany(entries, {
    committed: (some, revision) => {
      assert.ok(revision > 0 && some.length <= 256);
      committed.push(...some.map(({ path }) => String(path)));
    },
  });
  assert.equal(outcome.count, 1_000);
  assert.equal(outcome.revision, world.replica.revision);
  assert.equal(world.log.length, 4);
  assert.deepEqual(
    committed,
    entries.map(({ path }) => path),
  );
  assert.deepEqual(
    await paths(files),
    entries.slice(1).map(({ path }) => path),
  );
  assert.deepEqual(await files.putMany([]), { count: 0, revision: 0 });
});

test("one sync makes the chunks of a batch durable before its names", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  async function* entries(): AsyncGenerator<FileEntry> {
    for (let index = 0; index < 30; index++) {
      const uploaded = await files.upload(noise(3_000, index + 1), { sync: false });
      yield { path: pathOf(index), content: fileContent(uploaded.content), uploaded };
    }
  }
  await files.putMany(entries());
  assert.equal(world.log.filter((line) => line === "sync").length, 1);
  assert.ok(world.log.at(-1)?.startsWith("put+put"));
  assert.deepEqual(await (await files.get(pathOf(7)))?.bytes(), noise(3_000, 8));
  await world.clock.advance(16_000);
  assert.deepEqual(await world.uploads(), []);
});

test("one that is refused does not hold back the others; without a taker it ends the call", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  await files.put(pathOf(100), "mine");
  await files.put(pathOf(200), "mine");
  const entries = Array.from({ length: 300 }, (_, index) => folder(pathOf(index), { ifRevision: 0 }));
  const failed: string[] = [];
  const outcome = await files.putMany(entries, {
    failed: ({ path }, { code }) => failed.push(`${String(path)} ${code}`),
  });
  assert.deepEqual(failed, [`${pathOf(100)} conflict`, `${pathOf(200)} conflict`]);
  assert.equal(outcome.count, 298);
  assert.equal((await paths(files)).length, 300);
  assert.equal(await (await files.get(pathOf(100)))?.text(), "mine");
  await assert.rejects(files.putMany([folder("g"), folder(pathOf(100), { ifRevision: 0 })]), { code: "conflict" });
  assert.notEqual(await files.stat("g"), undefined);
  await assert.rejects(files.putMany([folder("")]), { code: "invalid" });
});

test("entries whose upload has ended are uploaded again, or fail", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const make = async (index: number): Promise<FileEntry> => {
    const uploaded = await files.upload(noise(3_000, index + 1), { sync: false });
    const again = async () => {
      const { content, uploaded: renewed } = await make(index);
      return { content, uploaded: renewed };
    };
    return { path: pathOf(index), content: fileContent(uploaded.content), uploaded, ...(index === 3 ? {} : { again }) };
  };
  const entries = await Promise.all(Array.from({ length: 6 }, (_, index) => make(index)));
  await world.endLeases();
  const failed: string[] = [];
  const { count } = await files.putMany([folder("d"), ...entries], { failed: ({ path }) => failed.push(String(path)) });
  assert.deepEqual([count, failed], [6, [pathOf(3)]]);
  assert.deepEqual(await paths(files), ["d", ...[0, 1, 2, 4, 5].map(pathOf)]);
  assert.deepEqual(await (await files.get(pathOf(5)))?.bytes(), noise(3_000, 6));
  await world.clock.advance(16_000);
  assert.deepEqual(await world.uploads(), []);
});

test("what waits is committed while the source takes its time", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const gate = deferred<void>();
  async function* slow(): AsyncGenerator<FileEntry> {
    yield folder("a");
    yield folder("b");
    await gate.promise;
    yield folder("c");
  }
  const putting = files.putMany(slow());
  await turns();
  assert.deepEqual(await paths(files), []);
  await world.clock.advance(300);
  assert.deepEqual(await paths(files), ["a", "b"]);
  gate.resolve();
  assert.equal((await putting).count, 3);
  assert.equal(world.clock.timerCount, 0);
});

test("a path that comes again goes in a later command", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  await files.putMany(["1", "2", "3"].map((text) => ({ path: "f", content: inline(text) })));
  assert.equal(await (await files.get("f"))?.text(), "3");
  assert.equal((await files.stat("f"))?.version, 3);
});

test("the first failure ends it, and so does its signal; the source is told and uploads are released", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  const uploaded = await Promise.all(Array.from({ length: 20 }, (_, index) => files.upload(noise(2_000, index + 1))));
  let returned = 0;
  async function* endless(): AsyncGenerator<FileEntry> {
    try {
      for (let index = 0; ; index++) {
        const one = uploaded[index];
        if (one === undefined) yield folder(pathOf(index));
        else yield { path: pathOf(index), content: fileContent(one.content), uploaded: one };
      }
    } finally {
      returned++;
    }
  }
  world.beforePropose = () => {
    throw refused();
  };
  await assert.rejects(files.putMany(endless()), { code: "unavailable" });
  assert.equal(returned, 1);
  world.beforePropose = undefined;
  const abort = new AbortController();
  let committed = 0;
  const putting = files.putMany(endless(), {
    signal: abort.signal,
    committed: () => {
      if (++committed === 3) abort.abort();
    },
  });
  await assert.rejects(putting, { code: "cancelled" });
  assert.equal(returned, 2);
  await world.clock.advance(20_000);
  assert.deepEqual(await world.uploads(), []);
});
