/**
 * The real disk beyond the conformance suite: the lock against other processes, however they end, and what the system's
 * failures become.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import nodeFs, * as fs from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { diskError } from "./disk-error.ts";
import { NodeDisk } from "./index.ts";

async function directory(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "holdfast-disk-"));
  context.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Another process that takes the lock, says so and holds it until it is told to stop. */
async function holder(path: string): Promise<{ child: ChildProcess; output: string }> {
  const program = `
    import { NodeDisk } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
    try {
      await new NodeDisk(${JSON.stringify(path)}).lock();
      console.log("locked");
      setInterval(() => {}, 1_000);
    } catch (error) {
      console.log(error.code + ": " + error.message);
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [chunk] = (await once(child.stdout, "data")) as [Buffer];
  return { child, output: chunk.toString() };
}

test("the lock holds against another process, names it, and ends when it is killed", async (context) => {
  const path = await directory(context);
  const { child, output } = await holder(path);
  context.after(() => child.kill("SIGKILL"));
  assert.equal(output, "locked\n");
  const disk = new NodeDisk(path);
  await assert.rejects(disk.lock(), {
    code: "conflict",
    message: new RegExp(`${path} is in use by process ${child.pid} \\(.*stop it`),
  });
  // A refused attempt must not have ended the other's lock.
  await assert.rejects(disk.lock(), { code: "conflict" });
  child.kill("SIGKILL");
  await once(child, "exit");
  const lock = await disk.lock();
  const second = await holder(path);
  assert.match(second.output, new RegExp(`^conflict: .* in use by process ${process.pid} `));
  await lock.release();
});

test("the lock outlives every other use of the directory by its own process", async (context) => {
  const path = await directory(context);
  const disk = new NodeDisk(path);
  const lock = await disk.lock();
  await assert.rejects(new NodeDisk(path).lock(), { code: "conflict", message: /this process itself/ });
  for (const name of ["LOCK", "LOCK.holder", "LOCK-journal"]) {
    await assert.rejects(disk.open(name, "read"), { code: "invalid", message: /reserved/ });
    await assert.rejects(disk.remove(name), { code: "invalid" });
    await assert.rejects(disk.rename("a", name), { code: "invalid" });
  }
  assert.deepEqual(await disk.list(""), []);
  const { output } = await holder(path);
  assert.match(output, /^conflict/);
  await lock.release();
  assert.deepEqual(await readdir(path), ["LOCK"]);
  assert.equal(fs.statSync(join(path, "LOCK")).size, 0);
});

test("a directory that is missing is created with the lock; a file in its place is refused", async (context) => {
  const path = await directory(context);
  const disk = new NodeDisk(join(path, "a", "b"));
  await (await disk.lock()).release();
  await writeFile(join(path, "file"), "x");
  await assert.rejects(new NodeDisk(join(path, "file")).lock(), (error: unknown) => error instanceof HoldfastError);
  await writeFile(join(path, "a", "b", "LOCK"), "this is not the lock of a data directory, and no database");
  await assert.rejects(disk.lock(), { code: "unavailable", message: /must be an empty file/ });
});

test("what the system says becomes a code of ours, with the path and the remedy", () => {
  const expected = {
    ENOSPC: "exhausted",
    EDQUOT: "exhausted",
    EMFILE: "exhausted",
    EROFS: "denied",
    EACCES: "denied",
    EPERM: "denied",
    ENOENT: "notFound",
    EEXIST: "exists",
    EISDIR: "invalid",
    ENOTDIR: "invalid",
    EIO: "unavailable",
    EWHATEVER: "unavailable",
  };
  for (const [name, code] of Object.entries(expected)) {
    const cause = Object.assign(new Error(`${name}: said the system`), { code: name });
    const error = diskError(cause, "write", "/data/journal/1");
    assert.deepEqual([error.code, error.cause, error.maybe], [code, cause, false], name);
    assert.match(error.message, new RegExp(`^cannot write /data/journal/1: .*${name}`));
  }
});

test("a device without space is exhausted", { skip: !fs.existsSync("/dev/full") && "no /dev/full" }, async () => {
  const file = await new NodeDisk("/dev").open("full", "write");
  await assert.rejects(file.write([new Uint8Array(10)], 0), { code: "exhausted", message: /\/dev\/full.*ENOSPC/ });
  await file.close();
});

/** Runs a program whose `directory` is mounted read-only for it alone; undefined where that is not allowed. */
function runReadOnly(directory: string, program: string): string | undefined {
  const mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$1" --input-type=module -e "$2"';
  const run = spawnSync("unshare", ["--mount", "sh", "-c", mount, directory, process.execPath, program], {
    encoding: "utf8",
  });
  return run.status === 0 ? run.stdout : undefined;
}

test("a read-only file system is denied", async (context) => {
  const path = await directory(context);
  await writeFile(join(path, "f"), "x");
  const program = `
    import { NodeDisk } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
    const disk = new NodeDisk(${JSON.stringify(path)});
    const attempts = [
      () => disk.open("f", "write"),
      () => disk.open("new", "write"),
      () => disk.makeDirectory("d"),
      () => disk.rename("f", "g"),
      () => disk.remove("f"),
      () => disk.lock(),
    ];
    for (const attempt of attempts) {
      await attempt().then(() => console.log("done"), (e) => console.log(e.code, /EROFS/.test(e.message)));
    }
    console.log((await (await disk.open("f", "read")).read(0, 10)).length);`;
  const output = runReadOnly(path, program);
  if (output === undefined) return context.skip("this process may not mount");
  assert.equal(output, `${"denied true\n".repeat(6)}1\n`);
});

test("a directory without permission is denied", async (context) => {
  const path = await directory(context);
  fs.chmodSync(path, 0o500);
  const disk = new NodeDisk(path);
  // Root may do everything, so it plays somebody else for a moment.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    await assert.rejects(disk.open("f", "write"), { code: "denied", message: /EACCES/ });
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test("a short write is continued to its end, and one that makes no progress fails", async (context) => {
  const path = await directory(context);
  const file = await new NodeDisk(path).open("f", "write");
  const buffers = Array.from({ length: 3_000 }, (_, index) => new Uint8Array(index % 7).fill(index));
  const whole = Buffer.concat(buffers);
  type Writev = (
    fd: number,
    list: readonly Uint8Array[],
    at: number,
    done: (e: Error | null, n: number) => void,
  ) => void;
  const writev = nodeFs.writev as Writev;
  /** A system that writes at most `size` bytes a call. */
  const play = (size: number) => {
    context.mock.method(nodeFs, "writev", ((descriptor, list, at, done) => {
      const part = Buffer.concat(list).subarray(0, size);
      if (part.length === 0) done(null, 0);
      else writev(descriptor, [part], at, done);
    }) as Writev);
    syncBuiltinESMExports();
  };
  context.after(() => {
    context.mock.restoreAll();
    syncBuiltinESMExports();
  });
  for (const size of [1_000, 37, 1]) {
    play(size);
    await file.write(buffers.slice(0, size === 1 ? 200 : 3_000), 0);
    assert.deepEqual(Buffer.from(await file.read(0, 100_000)), whole);
    if (size > 1) await file.truncate(0);
    if (size === 37) await file.write([whole], 0);
  }
  play(0);
  await assert.rejects(file.write([whole], 0), { code: "unavailable", message: /wrote nothing/ });
  await file.close();
});

test(
  "a durable file is opened to write through",
  { skip: process.platform !== "linux" && "Linux only" },
  async (context) => {
    const path = await directory(context);
    const disk = new NodeDisk(path);
    for (const durable of [true, false]) {
      const file = await disk.open(`f-${durable}`, "write", { durable });
      const target = join(fs.realpathSync(path), `f-${durable}`);
      const descriptors = fs.readdirSync("/proc/self/fd").filter((number) => {
        try {
          return fs.readlinkSync(`/proc/self/fd/${number}`, { encoding: "utf8" }) === target;
        } catch {
          // The descriptor that listed the directory is gone.
          return false;
        }
      });
      assert.equal(descriptors.length, 1);
      const [, flags = ""] =
        /flags:\s+([0-7]+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${descriptors[0]}`, "utf8")) ?? [];
      assert.equal((parseInt(flags, 8) & fs.constants.O_DSYNC) !== 0, durable);
      await file.close();
    }
  },
);
