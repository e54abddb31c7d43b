/** The conformance suite on the file system in memory, and what only it has: hooks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileSystemConformance } from "../base/file-system.suite.ts";
import { HoldfastError, utf8Encode } from "../base/index.ts";
import { MemoryFileSystem } from "./index.ts";

fileSystemConformance("memory", async () => {
  const fileSystem = new MemoryFileSystem();
  await fileSystem.makeFolder("/root", 0o755);
  return { fileSystem, root: "/root", setsOwner: true, exactTimes: true, close: async () => {} };
});

test("a file changes while it is read, and calls fail as they are told", async () => {
  const files = new MemoryFileSystem();
  await files.place("file", utf8Encode("before"), {});
  const file = await files.open("/file");
  const stat = await file.stat();
  const calls: string[] = [];
  files.before = async (action, path) => {
    calls.push(`${action} ${path}`);
    if (action === "read") {
      files.before = undefined;
      const other = await files.create("file");
      await other.write(utf8Encode("AFTER!"), 0);
    }
    if (action === "list") throw new HoldfastError("denied", "no");
  };
  assert.deepEqual(await file.read(0, 100), utf8Encode("AFTER!"));
  const after = await file.stat();
  assert.equal(after.inode, stat.inode);
  assert.ok(after.modifiedNs > stat.modifiedNs && after.changedNs > stat.changedNs);
  files.before = (action) => {
    if (action === "list") throw new HoldfastError("denied", "no");
  };
  await assert.rejects(files.list("/"), { code: "denied" });
  assert.deepEqual(calls, ["read /file"]);
});

test("things that are neither file, folder nor link", async () => {
  const files = new MemoryFileSystem();
  files.makeOther("/device");
  assert.equal((await files.stat("device"))?.type, "other");
  await assert.rejects(files.open("device"), { code: "invalid" });
});
