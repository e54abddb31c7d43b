/** The conformance suite on a folder of this machine, and what only a real machine has. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { fileSystemConformance } from "../base/file-system.suite.ts";
import { NodeFileSystem } from "./index.ts";

const hasHelper = ["perl", "python3"].some((program) => spawnSync(program, ["--version"]).status === 0);

for (const helpers of [undefined, [] as const]) {
  fileSystemConformance(helpers === undefined ? "Node.js" : "Node.js alone", async () => {
    const root = fs.mkdtempSync(join(tmpdir(), "holdfast-files-"));
    return {
      fileSystem: new NodeFileSystem({ helpers }),
      root,
      setsOwner: process.getuid?.() === 0,
      exactTimes: helpers === undefined && hasHelper,
      close: async () => fs.rmSync(root, { recursive: true }),
    };
  });
}

function scratch(t: TestContext): string {
  const root = fs.mkdtempSync(join(tmpdir(), "holdfast-files-"));
  t.after(() => fs.rmSync(root, { recursive: true }));
  return root;
}

test("a pipe is refused and does not hang", async (t) => {
  const pipe = join(scratch(t), "pipe");
  execFileSync("mkfifo", [pipe]);
  const files = new NodeFileSystem();
  assert.equal((await files.stat(pipe))?.type, "other");
  await assert.rejects(files.open(pipe), { code: "invalid", message: /no plain file/ });
  await assert.rejects(files.create(pipe), { code: "invalid", message: /no plain file/ });
});

test("when the process that sets times is missing or dies, the next one is asked, and at last nobody", async (t) => {
  const path = join(scratch(t), "file");
  fs.writeFileSync(path, "");
  const modified = 1_764_000_000_123_456_789n;
  const set = async (helpers: (readonly string[])[]) => {
    const files = new NodeFileSystem({ helpers });
    await Promise.all([1, 2, 3].map(() => files.setAttributes(path, { modifiedNs: modified })));
    return fs.statSync(path, { bigint: true }).mtimeNs;
  };
  for (const helpers of [
    [["/does/not/exist"], ["false"]],
    [["head", "-c", "5"]],
    [["sh", "-c", "exec <&-; sleep 0.01"]],
  ]) {
    const got = await set(helpers);
    assert.ok(got - modified < 1_000n && modified - got < 1_000n);
  }
});

test("both programs that set times do, and say what failed", async (t) => {
  const root = scratch(t);
  const path = join(root, "file");
  fs.writeFileSync(path, "");
  const { machineHelpers } = await import("./file-times.ts");
  for (const helper of machineHelpers()) {
    if (spawnSync(helper[0] as string, ["--version"]).status !== 0) {
      t.diagnostic(`${helper[0]} is not on this machine`);
      continue;
    }
    const files = new NodeFileSystem({ helpers: [helper] });
    for (const modifiedNs of [1_764_000_000_123_456_789n, -1n, 1n]) {
      await files.setAttributes(path, { modifiedNs });
      assert.equal(fs.statSync(path, { bigint: true }).mtimeNs, modifiedNs, helper[0]);
    }
    await assert.rejects(files.setAttributes(join(root, "absent"), { modifiedNs: 1n }), { code: "notFound" });
  }
});

test("the process that sets times keeps nobody alive", () => {
  const path = join(import.meta.dirname, "index.ts");
  const script = `
    import { NodeFileSystem } from ${JSON.stringify(path)};
    import { mkdtempSync, rmdirSync } from "node:fs";
    const folder = mkdtempSync(${JSON.stringify(join(tmpdir(), "holdfast-files-"))});
    await new NodeFileSystem().setAttributes(folder, { modifiedNs: 1n });
    rmdirSync(folder);
    console.log("done");`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 60_000 });
  assert.deepEqual([child.status, String(child.stdout)], [0, "done\n"], String(child.stderr));
});

test("messages show no name that a terminal would obey", async () => {
  const files = new NodeFileSystem();
  await assert.rejects(files.list("/absent/\u001b[31m\n"), { message: /"\/absent\/\\u001b\[31m\\n"/ });
});
