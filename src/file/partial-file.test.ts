/** Several runs that write one file to one place, and what is left of runs that died. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { staleMs } from "./partial-file.ts";
import { getTree } from "./tree-get.ts";
import { putTree } from "./tree-put.ts";
import type { TreeEvent } from "./tree.ts";
import { noise, openTestStore, readBytes, write } from "./tree.suite.ts";

const size = 3_000_000;
/** With a part that is zero: holes must not let through what was there before. */
const content = noise(size, 5).fill(0, 1_000_000, 2_000_000);

async function setup(t: TestContext) {
  const store = await openTestStore();
  t.after(() => store.close());
  const nowNs = BigInt(Math.floor(store.parts.env.clock.wallMs())) * 1_000_000n;
  const disk = new MemoryFileSystem({ startNs: nowNs });
  const machine = store.machine(disk);
  const files = store.accessOf(machine).files("b");
  await disk.makeFolder("/source", 0o755);
  await write(disk, "/source/big", content);
  await putTree(machine, files, "/source", "t");
  const get = (prefix: string, path: string, report?: (event: TreeEvent) => void) =>
    getTree(machine, files, prefix, path, { settings: (signal) => files.settings(signal), report });
  const names = async (path: string) => (await disk.list(path)).map(({ name }) => name);
  /** A run that dies when it has written so often. */
  const die = async (prefix: string, path: string, writeCount: number) => {
    let count = 0;
    disk.before = (action) => {
      if (action === "write" && ++count > writeCount) throw new HoldfastError("exhausted", "killed");
    };
    await assert.rejects(get(prefix, path), /killed/);
    disk.before = undefined;
  };
  return { store, disk, get, names, die, files, machine };
}

test("two runs at once give the file whole, both of them, whenever the second one comes", async (t) => {
  const { disk, get, names, die } = await setup(t);
  for (let turn = 0; turn < 24; turn++) {
    const place = `/copy-${turn}`;
    if (turn % 3 === 0) await die("t", place, 2);
    let calls = 0;
    let second: Promise<unknown> | undefined;
    disk.before = async (_, path) => {
      if (!path.startsWith(place)) return;
      calls++;
      if (calls === turn + 1) second = get("t", place);
      // One runs on while the other waits, now this and now that one.
      if (calls % 3 === turn % 3) for (let wait = 0; wait < 20; wait++) await Promise.resolve();
    };
    const outcome = await get("t", place);
    await second;
    disk.before = undefined;
    assert.equal(outcome.failedCount, 0, `turn ${turn}`);
    assert.deepEqual(await readBytes(disk, `${place}/big`), content, `turn ${turn}`);
    assert.equal((await disk.stat(`${place}/big`))?.modifiedNs, (await disk.stat("/source/big"))?.modifiedNs);
    assert.deepEqual(await names(place), ["big"], `turn ${turn}`);
  }
});

test("a run whose file was taken over writes no more to what the other one has made of it", async (t) => {
  const { disk, get, names } = await setup(t);
  let writes = 0;
  let inside = false;
  const made: (bigint | undefined)[] = [];
  disk.before = async (action) => {
    if (action !== "write" || inside || ++writes !== 2) return;
    inside = true;
    await get("t", "/copy");
    made.push((await disk.stat("/copy/big"))?.inode);
    assert.deepEqual(await readBytes(disk, "/copy/big"), content);
    inside = false;
  };
  await get("t", "/copy");
  disk.before = undefined;
  assert.deepEqual(await readBytes(disk, "/copy/big"), content);
  // It has begun with a file of its own.
  assert.notEqual((await disk.stat("/copy/big"))?.inode, made[0]);
  assert.deepEqual(await names("/copy"), ["big"]);
});

test("what a run that died has left is gone on with by one, and removed when nobody wants it any more", async (t) => {
  const { store, disk, get, names, die, files, machine } = await setup(t);
  await die("t/big", "/copy/big", 3);
  const [left = ""] = await names("/copy");
  const before = (await disk.stat(`/copy/${left}`))?.inode;
  await get("t/big", "/copy/big");
  assert.deepEqual(await names("/copy"), ["big"]);
  assert.equal((await disk.stat("/copy/big"))?.inode, before);

  // Another version comes: what is there of the first is not touched while somebody may be writing it.
  await die("t/big", "/other/big", 3);
  await write(disk, "/other/.holdfast-part-0123456789abcdef-0", "small");
  await write(disk, "/source/big", noise(size, 6));
  await putTree(machine, files, "/source", "t");
  await get("t", "/other");
  // But for a small one, which is written in one go, and again if it is gone.
  assert.equal((await names("/other")).length, 2);
  store.wall.offsetMs = 2 * staleMs;
  const calls: string[] = [];
  disk.before = (action, path) => void (action === "remove" && calls.push(path));
  await get("t", "/other");
  disk.before = undefined;
  assert.deepEqual(await names("/other"), ["big"]);
  assert.equal(calls.length, 1);
});

test("a file that another user has put there is not taken over", async (t) => {
  const { disk, get, names, die } = await setup(t);
  await die("t", "/copy", 3);
  const [left = ""] = await names("/copy");
  await disk.setAttributes(`/copy/${left}`, { uid: 77 });
  await get("t", "/copy");
  assert.deepEqual((await names("/copy")).toSorted(), [left, "big"].toSorted());
  assert.notEqual((await disk.stat("/copy/big"))?.uid, 77);
});

test("a folder that one may not write to is what the message names", async (t) => {
  const { disk, get } = await setup(t);
  await disk.makeFolder("/closed", 0o755);
  disk.before = (action, path) => {
    if (action === "create" && path.startsWith("/closed/")) throw new HoldfastError("denied", `cannot open ${path}`);
  };
  const messages: string[] = [];
  await get("t", "/closed", ({ error }) => {
    if (error !== undefined) messages.push(error.message);
  });
  assert.deepEqual(messages, ["cannot make files in /closed: permission denied"]);
});

test("a second name that cannot be given leaves nothing behind", async (t) => {
  const { disk, get, names, files, machine } = await setup(t);
  await disk.linkFile("/source/big", "/source/same");
  await putTree(machine, files, "/source", "t");
  disk.before = (action, path) => {
    // The second one is that of the link.
    if (action === "rename" && renames.push(path) === 2) throw new HoldfastError("invalid", "no");
  };
  const renames: string[] = [];
  assert.equal((await get("t", "/copy")).failedCount, 1);
  disk.before = undefined;
  assert.deepEqual(await names("/copy"), ["big"]);
});
