/** Tests of whole trees in and out of a bucket, on file systems in memory. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { Patterns } from "./patterns.ts";
import { getTree } from "./tree-get.ts";
import type { GetTreeOptions } from "./tree-get.ts";
import { putTree } from "./tree-put.ts";
import type { PutTreeOptions } from "./tree-put.ts";
import { noise, oddTree, openTestStore, picture, read, readBytes, Reports, write } from "./tree.suite.ts";
import type { TestStore } from "./tree.suite.ts";
import { verifyTree } from "./verify.ts";

let store: TestStore;
before(async () => {
  store = await openTestStore();
});
after(() => store.close());

let bucketCount = 0;
/** A bucket of its own for each test. */
function setup(disk: MemoryFileSystem, bucket = `bucket-${++bucketCount}`) {
  const machine = store.machine(disk);
  const files = store.accessOf(machine).files(bucket);
  return {
    files,
    put: (path: string, prefix: string, options: PutTreeOptions = {}) => putTree(machine, files, path, prefix, options),
    get: (prefix: string, path: string, options: Partial<GetTreeOptions> = {}) =>
      getTree(machine, files, prefix, path, { settings: (signal) => files.settings(signal), ...options }),
    paths: async () => {
      const paths: string[] = [];
      for await (const { path } of files.list()) paths.push(path);
      return paths;
    },
  };
}

test("everything that a tree can have goes in and comes back the same", async () => {
  const disk = await oddTree();
  const { put, get } = setup(disk);
  const reports = new Reports();
  const outcome = await put("/tree", "some/place", { report: reports.add });
  assert.deepEqual([outcome.failedCount, outcome.skippedCount, outcome.unstableCount], [0, 1, 0]);
  assert.ok(reports.lines.includes("skipped socket"));
  const wanted = await picture(disk, "/tree");
  const got = await get("some/place", "/new/tree");
  assert.equal(got.failedCount, 0);
  assert.deepEqual(await picture(disk, "/new/tree"), wanted);
  assert.equal((await disk.stat("/new/tree"))?.modifiedNs, (await disk.stat("/tree"))?.modifiedNs);
  // Onto another machine, from the top of a bucket.
  const other = new MemoryFileSystem();
  const elsewhere = setup(disk);
  await elsewhere.put("/tree", "");
  await setup(other, elsewhere.files.bucket).get("", "/");
  assert.deepEqual(await picture(other, ""), wanted);
});

test("a second put reads nothing and writes nothing; a second get neither", async () => {
  const disk = await oddTree();
  const { put, get } = setup(disk);
  await put("/tree", "t");
  await get("t", "/copy");
  const calls: string[] = [];
  disk.before = (action, path) => void (["list", "stat"].includes(action) || calls.push(`${action} ${path}`));
  const again = await put("/tree", "t");
  assert.deepEqual([again.newCount, again.changedCount, again.deletedCount, again.newSize], [0, 0, 0, 0]);
  assert.deepEqual(calls, []);
  const got = await get("t", "/copy");
  assert.deepEqual([got.newCount, got.changedCount, got.failedCount, got.newSize], [0, 0, 0, 0]);
  const written = calls.filter((call) => !/^(readLink|setAttributes) /.test(call));
  assert.deepEqual(written, []);
});

test("what changed is put, what is gone stays unless it is to be deleted", async () => {
  const disk = await oddTree();
  const { put, paths, files } = setup(disk);
  await put("/tree", "t");
  await write(disk, "/tree/a/x/deep", "deeper");
  await disk.remove("/tree/zero");
  await disk.setAttributes("/tree/a-b/between", { mode: 0o600 });
  const reports = new Reports();
  await put("/tree", "t", { dryRun: true, report: reports.add, delete: true });
  const expected = ["changed ", "changed a-b/between", "changed a/x/deep", "deleted zero", "skipped socket"];
  assert.deepEqual(reports.take(), expected);
  assert.equal(await (await files.get("t/a/x/deep"))?.text(), "deep");
  await put("/tree", "t", { report: reports.add });
  assert.deepEqual(
    reports.take(),
    expected.filter((line) => !line.startsWith("deleted")),
  );
  assert.equal(await (await files.get("t/a/x/deep"))?.text(), "deeper");
  assert.ok((await paths()).includes("t/zero"));
  await put("/tree", "t", { delete: true });
  assert.ok(!(await paths()).includes("t/zero"));
  assert.equal((await files.stat("t/a-b/between"))?.mode, 0o600);
});

test("a folder that has become a file, and the other way round", async () => {
  const disk = new MemoryFileSystem();
  await disk.makeFolder("/t", 0o755);
  await disk.makeFolder("/t/a", 0o755);
  await write(disk, "/t/a/b", "1");
  await write(disk, "/t/a-", "between");
  await write(disk, "/t/c", "2");
  const { put, get, paths } = setup(disk);
  await put("/t", "t");
  await get("t", "/copy");
  await disk.remove("/t/a/b");
  await disk.removeFolder("/t/a");
  await write(disk, "/t/a", "now a file");
  await disk.remove("/t/c");
  await disk.makeFolder("/t/c", 0o755);
  await write(disk, "/t/c/d", "3");
  await put("/t", "t");
  assert.deepEqual(await paths(), ["t", "t/a", "t/a-", "t/c", "t/c/d"]);
  const reports = new Reports();
  await get("t", "/copy", { report: reports.add });
  assert.deepEqual(
    reports.take().filter((line) => line.startsWith("failed")),
    ["failed a"],
  );
  assert.match(reports.errors[0] ?? "", /folder with something in it/);
  await get("t", "/copy", { delete: true });
  assert.deepEqual(await picture(disk, "/copy"), await picture(disk, "/t"));
});

test("patterns leave out, on both sides, and one file system is left", async () => {
  const disk = await oddTree();
  const { put, get, paths } = setup(disk);
  await put("/tree", "t");
  const patterns = new Patterns({ exclude: ["a/", "sparse"] });
  await write(disk, "/tree/sparse", "changed");
  const outcome = await put("/tree", "t", { patterns, delete: true });
  assert.deepEqual([outcome.changedCount, outcome.deletedCount], [0, 0]);
  assert.ok((await paths()).includes("t/a/x/deep"));
  await get("t", "/copy", { patterns: new Patterns({ include: ["deep", "*.txt"] }) });
  const got = (await picture(disk, "/copy")).map((line) => line.split(" ")[0]);
  assert.deepEqual(got, ["/a/", "/a/x/", "/a/x/deep", "/a.txt"]);
});

test("files that change, vanish or cannot be read are told of, and the rest goes on", async () => {
  const disk = await oddTree();
  const { put, get, files } = setup(disk);
  let growths = 0;
  disk.before = async (action, path) => {
    if (action === "read" && path === "/tree/a/large too") {
      disk.before = undefined;
      // Once: the second reading finds it quiet.
      growths++;
      await write(disk, "/tree/large", noise(1_400_000, 2));
    }
  };
  assert.equal((await put("/tree", "t")).unstableCount, 0);
  assert.equal(growths, 1);
  assert.deepEqual(await (await files.get("t/large"))?.bytes(), noise(1_400_000, 2));

  const before = disk.before;
  disk.before = async (action, path) => {
    if (action === "read" && path === "/tree/sparse") await disk.setAttributes(path, { modifiedNs: BigInt(++growths) });
    if (action === "open" && path === "/tree/zero") throw new HoldfastError("denied", `cannot open ${path}`);
    if (action === "open" && path === "/tree/a/ ") throw new HoldfastError("unavailable", `cannot read ${path}: EIO`);
    if (action === "open" && path === "/tree/a/...") throw new HoldfastError("notFound", `cannot open ${path}`);
    if (action === "list" && path === "/tree/a/x") throw new HoldfastError("denied", `cannot list ${path}`);
  };
  for (const path of ["sparse", "zero", "a/ ", "a/..."]) await disk.setAttributes(`/tree/${path}`, { mode: 0o600 });
  const reports = new Reports();
  const outcome = await put("/tree", "t", { delete: true, report: reports.add });
  assert.deepEqual(
    reports.take().filter((line) => /^(failed|unstable|deleted)/.test(line)),
    ["failed a/ ", "failed a/...", "failed a/x", "failed zero", "unstable sparse"],
  );
  assert.equal(outcome.failedCount, 4);
  assert.equal((await files.stat("t/a/x/deep"))?.size, 4, "what cannot be seen is not gone");
  disk.before = before;
  // What was unstable is read again next time.
  assert.ok((await put("/tree", "t")).changedCount >= 1);
  assert.equal((await get("t", "/copy")).failedCount, 0);
  assert.deepEqual(await picture(disk, "/copy"), await picture(disk, "/tree"));
});

test("a failure of the store ends a put; the next one goes on where it stopped", async () => {
  const disk = await oddTree();
  for (let index = 0; index < 50; index++) await write(disk, `/tree/a/n${index}`, noise(2_000, index));
  const { put, get } = setup(disk);
  const { chunks } = store.parts as { chunks: { putStored: typeof store.parts.chunks.putStored } };
  const { putStored } = chunks;
  let left = 20;
  chunks.putStored = (blobs) => {
    if (left-- <= 0) throw new HoldfastError("exhausted", "the disk of the store is full");
    return putStored(blobs);
  };
  await assert.rejects(put("/tree", "t", { parallelCount: 4 }), /the store is full/);
  chunks.putStored = putStored;
  store.traffic.putCount = 0;
  await put("/tree", "t");
  assert.ok(store.traffic.putCount < 50);
  await get("t", "/copy");
  assert.deepEqual(await picture(disk, "/copy"), await picture(disk, "/tree"));
  await assert.rejects(put("/tree", "t", { signal: AbortSignal.abort() }), /cancelled/);
  await assert.rejects(put("/nothing", "t"), /there is nothing at \/nothing/);
  await assert.rejects(get("nothing", "/x", { delete: true }), /there is nothing at/);
});

test("single files and links", async () => {
  const disk = await oddTree();
  const { put, get, paths } = setup(disk);
  await put("/tree/large", "one");
  await put("/tree/link", "two/link");
  assert.deepEqual(await paths(), ["one", "two/link"]);
  await get("one", "/deep/er/file");
  assert.deepEqual(await readBytes(disk, "/deep/er/file"), noise(1_500_000, 1));
  await get("two/link", "/l");
  assert.equal(await disk.readLink("/l"), "a/../nowhere");
});

test("a large file is continued from the chunks that are there", async () => {
  const disk = new MemoryFileSystem();
  await disk.makeFolder("/t", 0o755);
  await write(disk, "/t/big", noise(9_000_000, 3));
  const { put, get } = setup(disk);
  await put("/t", "t");
  let writes = 0;
  disk.before = (action) => {
    if (action === "write" && ++writes > 6) throw new HoldfastError("exhausted", "no space");
  };
  await assert.rejects(get("t", "/copy"), /no space/);
  disk.before = undefined;
  const names = (await disk.list("/copy")).map(({ name }) => name);
  assert.equal(names.length, 1);
  assert.match(names[0] ?? "", /^\.holdfast-partial-[0-9a-f]{32}-[0-9a-f]{16}$/);
  const partial = `/copy/${names[0]}`;
  const size = (await disk.stat(partial))?.size ?? 0;
  assert.ok(size > 1_000_000 && size < 9_000_000);
  // What is damaged in it is not used.
  const file = await disk.create(partial);
  await file.write(Uint8Array.of(1, 2, 3), Math.floor(size * 0.7));
  await file.close();
  const outcome = await get("t", "/copy");
  assert.ok(outcome.newSize < 9_000_000 && outcome.newSize > 9_000_000 - size);
  assert.deepEqual(await picture(disk, "/copy"), await picture(disk, "/t"));
});

test("verify compares contents, and nothing else does", async () => {
  const disk = await oddTree();
  const { put, get } = setup(disk);
  await put("/tree", "t");
  await get("t", "/copy");
  for (const path of ["/copy/large", "/copy/a/x/deep"]) {
    const { modifiedNs } = (await disk.stat(path)) ?? { modifiedNs: 0n };
    const file = await disk.create(path);
    await file.write(Uint8Array.of(88), 2);
    await file.close();
    await disk.setAttributes(path, { modifiedNs });
  }
  assert.equal((await get("t", "/copy")).changedCount, 0);
  assert.equal(await read(disk, "/copy/a/x/deep"), "deXp");
  await get("t", "/copy", { verify: true });
  assert.deepEqual(await picture(disk, "/copy"), await picture(disk, "/tree"));
});

test("nothing is written outside of the target", async () => {
  const disk = new MemoryFileSystem();
  await disk.makeFolder("/outside", 0o755);
  await disk.makeFolder("/t", 0o755);
  await disk.makeLink("/t/mine", "/outside");
  const { files, get } = setup(disk);
  for (const path of ["t/../evil", "t/a//b", "t/./c", "t/link/evil", "t/mine/evil", "t/ok", "t/.holdfast-sync"]) {
    await files.put(path, "x");
  }
  await files.makeLink("t/link", "/outside");
  const reports = new Reports();
  await get("t", "/t", { report: reports.add });
  const failed = reports.take().filter((line) => line.startsWith("failed"));
  assert.deepEqual(failed, [
    "failed ../evil",
    "failed ./c",
    "failed .holdfast-sync",
    "failed a//b",
    "failed link/evil",
    "failed mine/evil",
  ]);
  assert.deepEqual(await disk.list("/outside"), []);
  assert.equal(await read(disk, "/t/ok"), "x");
  // An entry for a folder takes the place of a link.
  await files.makeFolder("t/mine");
  await get("t", "/t");
  assert.equal(await read(disk, "/t/mine/evil"), "x");
  assert.deepEqual(await disk.list("/outside"), []);
});

test("verify names every file with damage, and only those", async () => {
  const disk = await oddTree();
  const { put, files } = setup(disk);
  await put("/tree", "t");
  const sound = await verifyTree(files, "t");
  assert.deepEqual([sound.failedCount, sound.unchangedCount > 15], [0, true]);
  const { chunks } = store.parts as { chunks: { getStored: typeof store.parts.chunks.getStored } };
  const { getStored } = chunks;
  const large = (await files.stat("t/large"))?.stored.content.hash;
  chunks.getStored = (hash) =>
    Buffer.compare(hash, large as Uint8Array) === 0 ? Promise.resolve(undefined) : getStored(hash);
  const reports = new Reports();
  await verifyTree(files, "t", { report: reports.add });
  chunks.getStored = getStored;
  assert.deepEqual(reports.take(), ["failed a/large too", "failed large"]);
  await assert.rejects(verifyTree(files, "nothing"), /there is nothing at/);
});
