/** What the `file` commands say when a place, a destination, a moment or a secret is not what it was taken for. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { openSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { connectStore } from "../member/index.ts";
import type { Store } from "../member/index.ts";
import { nodeEnv } from "../host/index.ts";
import { failWith, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

let directory: string;
let endpoint: string;
let store: Store;

const program = new Program();
const file = (...args: string[]) => program.succeed(["file", ...args], { endpoint, directory });
const fails = (status: number, ...args: string[]) =>
  program.failWith(status, ["file", ...args], { endpoint, directory });

before(async () => {
  directory = await temporaryDirectory();
  ({ endpoint } = await startMember(join(directory, "data")));
  store = await connectStore(nodeEnv({ directory: "." }), endpoint);
  await store.files("notes").put("a/b.txt", "text");
  await store.files("notes").makeFolder("made");
  await store.snapshot("7");
  await store.buckets.create("diary", { passphrase: "open sesame" });
  await mkdir(join(directory, "folder"));
  await symlink("folder", join(directory, "link"));
});

test("a place where nothing is: the message says what is there instead", async () => {
  await Promise.all([
    fails(1, "cat", "nots:x").then((said) => {
      assert.equal(said, "error: bucket nots does not exist; there are diary, notes\n");
    }),
    fails(1, "get", "nots:x").then((said) => assert.match(said, /^error: bucket nots does not exist; there are/)),
    fails(1, "versions", "nots:x").then((said) => assert.match(said, /^error: bucket nots does not exist; there are/)),
    fails(1, "cat", "notes:a").then((said) => {
      assert.match(said, /^error: notes:a is a folder without an entry of its own; `holdfast file ls notes:a` lists/);
    }),
    fails(1, "get", "notes:a", "-").then((said) => assert.match(said, /notes:a is a folder without an entry/)),
    fails(1, "stat", "notes:a/").then((said) => assert.match(said, /notes:a is a folder without an entry/)),
    fails(1, "cat", "notes:made").then((said) => assert.match(said, /notes:made is a folder, which has no bytes/)),
    file("stat", "notes:made/").then((said) => assert.match(said, /type +folder/)),
    fails(1, "stat", "notes:nothing").then((said) => assert.equal(said, "error: notes:nothing does not exist\n")),
  ]);
});

test("folders where files are meant are told as such", async () => {
  assert.match(
    await fails(1, "put", "folder", "diary:", "--passphrase-file", "folder"),
    /^error: cannot read folder: it is a folder\n$/,
  );
  assert.match(await fails(2, "put", "folder", "notes:x", "--content-type", "text/plain"), /folder is a folder/);
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  const folder = openSync(join(directory, "folder"), "r");
  const args = [main, "file", "put", "-", "notes:x", "--endpoint", endpoint];
  const child = spawn(process.execPath, args, { stdio: [folder, "ignore", "pipe"] });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
  const status = await new Promise((resolve) => child.once("close", resolve));
  assert.deepEqual([status, said], [1, "error: standard input is a folder: name it instead of -\n"]);
});

test("a destination that is a link to a folder is followed", async () => {
  await Promise.all([file("get", "notes:a/b.txt", "link"), file("get", "notes:a/b.txt", "link/other.txt")]);
  await file("get", "notes:a", "link");
  assert.equal(await readFile(join(directory, "folder", "b.txt"), "utf8"), "text");
  assert.equal(await readFile(join(directory, "folder", "other.txt"), "utf8"), "text");
});

test("a moment that is a revision, and the name of a snapshot of another one, is refused", async () => {
  const { revision } = (await store.snapshots.get("7")) ?? { revision: 0 };
  assert.notEqual(revision, 7);
  assert.match(
    await fails(2, "cat", "notes:a/b.txt", "--at", "7"),
    new RegExp(`"7" is a revision, and also the name of a snapshot: --at ${revision} is that snapshot`),
  );
  assert.equal(await file("cat", "notes:a/b.txt", "--at", `revision:${revision}`), "text");
  assert.equal(await file("cat", "notes:a/b.txt", "--at", String(revision)), "text");
});

test("a passphrase in the environment is for encrypted buckets: one that was made anew in the clear gets nothing", async (t) => {
  // The environment is that of a process.
  const withSecret = (...args: string[]) => succeed(["file", ...args], { endpoint, directory });
  const failsWithSecret = (...args: string[]) => failWith(1, ["file", ...args], { endpoint, directory });
  process.env["HOLDFAST_PASSPHRASE"] = "open sesame";
  t.after(() => delete process.env["HOLDFAST_PASSPHRASE"]);
  await writeFile(join(directory, "secret"), "secret");
  await withSecret("put", "secret", "diary:secret");
  assert.equal(await withSecret("cat", "diary:secret"), "secret");
  await store.files("diary").delete("secret");
  await store.buckets.delete("diary");
  await store.buckets.create("diary");
  const message =
    /bucket diary is not encrypted, but \$HOLDFAST_PASSPHRASE has a passphrase: put HOLDFAST_PASSPHRASE= /;
  assert.match(await failsWithSecret("put", "secret", "diary:secret"), message);
  assert.match(await failsWithSecret("get", "notes:a", "x"), /bucket notes is not encrypted/);
  assert.equal(await store.files("diary").stat("secret"), undefined);
  process.env["HOLDFAST_PASSPHRASE"] = "";
  await withSecret("put", "secret", "diary:secret");
});
