/** Runs the tutorial as its reader would: the server in one process, the client in another. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { promisify } from "node:util";

const file = (name: string) => join(import.meta.dirname, name);

test("the server computes, the client prints, both end", async () => {
  const server = spawn(process.execPath, [file("server.ts"), "0"], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(server, "exit");
  try {
    const [line] = (await once(createInterface(server.stdout), "line")) as [string];
    const port = /^Listening on 127\.0\.0\.1:(\d+)$/.exec(line)?.[1];
    assert.ok(port, `the server printed ${JSON.stringify(line)}`);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file("client.ts"), port]);
    assert.equal(stdout, "After 6 iterations, z = 7.07107\n");
    assert.equal(stderr, "");
  } finally {
    server.kill("SIGTERM");
  }
  assert.deepEqual(await exited, [0, null]);
});
