/** What a put of a tree holds while it goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFileSystem } from "../sim/index.ts";
import type { TreeFiles } from "./tree.ts";
import { putTree } from "./tree-put.ts";
import { noise, openTestStore, write } from "./tree.suite.ts";

test("the upload of a file that had several names is given back when they are of another file by now", async (t) => {
  const store = await openTestStore();
  t.after(() => store.close());
  const disk = new MemoryFileSystem();
  await disk.makeFolder("/t", 0o755);
  await write(disk, "/t/a", noise(50_000, 1));
  await disk.linkFile("/t/a", "/t/b");
  await write(disk, "/t/z", noise(50_000, 3));
  const machine = store.machine(disk);
  const files = store.accessOf(machine).files("b");
  const open = new Map<string, number>();
  const watched: TreeFiles = {
    bucket: files.bucket,
    stat: (...args) => files.stat(...args),
    list: files.list.bind(files),
    open: (...args) => files.open(...args),
    settings: (...args) => files.settings(...args),
    info: (...args) => files.info(...args),
    putMany: (...args) => files.putMany(...args),
    move: (...args) => files.move(...args),
    uploadFile: async (path, options) => {
      const uploaded = await files.uploadFile(path, options);
      open.set(path, (open.get(path) ?? 0) + 1);
      const release = () => {
        open.set(path, (open.get(path) ?? 0) - 1);
        uploaded.release();
      };
      return { ...uploaded, release };
    },
  };
  let replaced = false;
  let openAtLast: number | undefined;
  disk.before = async (action, path) => {
    if (action !== "open") return;
    if (path === "/t/a" && !replaced) {
      replaced = true;
      await write(disk, "/t/new", noise(50_000, 2));
      await disk.rename("/t/new", "/t/a");
    }
    // What was read for both names is no file of this tree; each of them has been read for itself.
    if (path === "/t/z") openAtLast = open.get("/t/a");
  };
  await putTree(machine, watched, "/t", "t", { parallelCount: 1 });
  assert.equal(openAtLast, 1);
  assert.deepEqual([...open.values()], [0, 0, 0]);
  assert.deepEqual(await (await files.get("t/a"))?.bytes(), noise(50_000, 2));
  assert.deepEqual(await (await files.get("t/b"))?.bytes(), noise(50_000, 1));
});
