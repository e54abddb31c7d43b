/** Tests of the order in which trees are walked and compared. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareBytes, HoldfastError, pathBytes, pathText } from "../base/index.ts";
import type { FileStat } from "../base/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { Patterns } from "./patterns.ts";
import { mergeTrees } from "./tree-merge.ts";
import { comparePaths } from "./tree-path.ts";
import { walkTree } from "./tree-walk.ts";
import type { WalkOptions } from "./tree-walk.ts";
import { write } from "./tree.suite.ts";

const part = fc.array(fc.constantFrom("a", "-", ".", "/", "0", "~", "é", "\uffff", "\u{1f600}", "\udc80", "\udcff"), {
  minLength: 1,
  maxLength: 4,
});
const text = part.map((characters) => pathText(pathBytes(characters.join(""))));

async function walkAll(disk: MemoryFileSystem, options: WalkOptions = {}): Promise<string[]> {
  const lines: string[] = [];
  const stat = await disk.stat("/");
  for await (const { type, path } of walkTree(disk, "/", stat as FileStat, options)) {
    lines.push(type === "entry" ? path : `${type} ${path}`);
  }
  return lines;
}

test("paths are ordered by their bytes", () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(Math.sign(comparePaths(a, b)), Math.sign(compareBytes(pathBytes(a), pathBytes(b))));
    }),
  );
});

test("a walk gives every path once, in the order of the bytes of whole paths", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(
        text.map((one) => one.replaceAll("/", "a/b")),
        { maxLength: 30 },
      ),
      async (paths) => {
        const disk = new MemoryFileSystem();
        const made = new Set<string>();
        for (const path of paths) {
          const names = path.split("/").filter((name) => name !== "" && name !== "." && name !== "..");
          for (let count = 1; count <= names.length; count++) {
            const place = names.slice(0, count).join("/");
            if (await disk.stat(`/${place}`)) continue;
            await disk.makeFolder(`/${place}`, 0o755);
            made.add(place);
          }
        }
        assert.deepEqual(await walkAll(disk), [...made].toSorted(comparePaths));
      },
    ),
    { numRuns: 60 },
  );
});

test("what cannot be listed, or is on another file system, is a gap in its place", async () => {
  const disk = new MemoryFileSystem();
  for (const folder of ["/a", "/a/b", "/a-", "/mnt"]) await disk.makeFolder(folder, 0o755);
  await write(disk, "/a/b/c", "");
  await write(disk, "/mnt/x", "");
  await write(disk, "/.holdfast-sync", "");
  disk.before = (action, path) => {
    if (action === "list" && path === "/a") throw new HoldfastError("denied", "cannot list /a");
    if (action === "list" && path === "/a-") throw new HoldfastError("notFound", "cannot list /a-");
  };
  assert.deepEqual(await walkAll(disk), ["own .holdfast-sync", "a", "a-", "gap a/", "mnt", "mnt/x"]);
  disk.before = undefined;
  const list = disk.list.bind(disk);
  disk.list = async (path) =>
    (await list(path)).map(({ name, stat }) => ({ name, stat: name === "mnt" ? { ...stat, device: 99n } : stat }));
  const walked = await walkAll(disk, { oneFileSystem: true, patterns: new Patterns({ exclude: ["a-"] }) });
  assert.deepEqual(walked, ["own .holdfast-sync", "a", "a/b", "a/b/c", "mnt", "gap mnt/"]);
});

async function* right(paths: readonly string[]) {
  for (const path of paths) yield { path, record: { path } as never };
}

test("a merge gives both sides of each path, hides what is unknown, and refuses what is out of order", async () => {
  const stat = {} as FileStat;
  async function* left() {
    for (const path of ["a", "b", "d"]) yield { type: "entry" as const, path, stat };
    yield { type: "gap" as const, path: "d/", error: undefined };
    yield { type: "entry" as const, path: "e", stat };
  }
  const lines: string[] = [];
  for await (const { path, local, stored, hidden } of mergeTrees(left(), right(["b", "c", "d/x", "f"]))) {
    lines.push(`${path} ${local?.type ?? "-"} ${stored === undefined ? "-" : "stored"}${hidden ? " hidden" : ""}`);
  }
  assert.deepEqual(lines, [
    "a entry -",
    "b entry stored",
    "c - stored",
    "d entry -",
    "d/ gap - hidden",
    "d/x - stored hidden",
    "e entry -",
    "f - stored",
  ]);
  await assert.rejects(async () => {
    for await (const _ of mergeTrees(left(), right(["b", "a"])));
  }, /out of order/);
});
