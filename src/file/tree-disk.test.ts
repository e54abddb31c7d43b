/** A tree of the real file system in and out: what a file system in memory cannot show. */
import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NodeFileSystem } from "../host/index.ts";
import { getTree } from "./tree-get.ts";
import { putTree } from "./tree-put.ts";
import { noise, openTestStore, picture, Reports, write } from "./tree.suite.ts";
import { syncTree } from "./sync.ts";

test("a tree of this machine goes in, comes back the same, and is synchronised", async () => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-tree-"));
  const store = await openTestStore("disk");
  try {
    const disk = new NodeFileSystem();
    const root = join(folder, "tree");
    for (const [name, mode] of [
      ["", 0o755],
      ["/a", 0o750],
      ["/a/empty", 0o711],
      ["/a-b", 0o755],
    ] as const) {
      await disk.makeFolder(root + name, mode);
    }
    for (const name of ["/a/small", "/a-b/\udcff\udc80", "/ü\n", "/zero"]) {
      await write(disk, root + name, name === "/zero" ? "" : `content of ${JSON.stringify(name)}`, 0o640);
    }
    await write(disk, `${root}/large`, noise(3_000_000, 1));
    await disk.linkFile(`${root}/large`, `${root}/a/again`);
    await disk.makeLink(`${root}/link`, "../nowhere/\udcfe");
    const sparse = await disk.create(`${root}/sparse`);
    await sparse.truncate(20_000_000);
    await sparse.write(noise(5_000, 2), 10_000_000);
    await sparse.close();
    await disk.setAttributes(`${root}/a/small`, { modifiedNs: 1_234_567_890_123_456_789n, mode: 0o4711 });
    await disk.setAttributes(`${root}/a/empty`, { modifiedNs: 1_000_000_007n });
    // What was written just now could be written again in the same tick; a second later it is known again.
    store.wall.offsetMs = 1_000;

    const machine = store.machine(disk);
    const files = store.accessOf(machine).files("disk");
    const reports = new Reports();
    await putTree(machine, files, root, "t", { report: reports.add });
    assert.deepEqual(reports.errors, []);
    reports.take();
    const settings = (signal?: AbortSignal) => files.settings(signal);
    const copy = join(folder, "copy");
    await getTree(machine, files, "t", copy, { settings, report: reports.add });
    assert.deepEqual(reports.errors, []);
    reports.take();
    assert.deepEqual(await picture(disk, copy), await picture(disk, root));
    const { blocks } = await stat(join(copy, "sparse"));
    assert.ok(blocks * 512 < 2_000_000, `${blocks} blocks of a file that is mostly holes`);

    await putTree(machine, files, root, "t", { report: reports.add });
    assert.deepEqual(reports.take(), []);
    const got = await getTree(machine, files, "t", copy, { settings, verify: true });
    assert.deepEqual([got.newCount, got.changedCount], [0, 0]);
    const outcome = await syncTree(machine, files, copy, "t", { label: "x", store: "s" });
    assert.deepEqual([outcome.uploadCount, outcome.downloadCount, outcome.conflictCount], [0, 0, 0]);
    await write(disk, `${copy}/zero`, "no longer");
    assert.equal((await syncTree(machine, files, copy, "t", { label: "x", store: "s" })).uploadCount, 1);
  } finally {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
});
