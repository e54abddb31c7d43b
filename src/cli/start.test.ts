/** Tests of `holdfast start`: what it says, how it stops, and what it refuses. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  failWith,
  launch,
  linesOf,
  outcomeOf,
  run,
  startMember,
  succeed,
  temporaryDirectory,
} from "./command.suite.ts";

let directory: string;

before(async () => {
  directory = await temporaryDirectory();
});

/** Starts a member whose greeting is for people, and gives that greeting up to its last line. */
async function startForPeople(data: string) {
  const child = launch(["start", "--data", data, "--listen", "127.0.0.1:0"]);
  const outcome = outcomeOf(child);
  const lines = linesOf(child);
  const greeting: string[] = [];
  while (greeting.at(-1) !== "Ctrl-C stops it.") {
    const { value, done } = await lines.next();
    assert.ok(done !== true, greeting.join("\n"));
    greeting.push(value);
  }
  return { child, outcome, greeting: greeting.join("\n") };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`it greets with three commands that work as printed, and ${signal} stops it cleanly`, async () => {
    const data = join(directory, signal);
    const { child, outcome, greeting } = await startForPeople(data);
    const commands = [...greeting.matchAll(/^ {2}npx holdfast (.*)$/gm)].map(([, words = ""]) => words.split(" "));
    assert.equal(commands.length, 3);
    const [put = [], get = [], watch = []] = commands;
    assert.equal(await succeed(put), "revision 1\n");
    assert.equal(await succeed(get), "hello\n");
    const watched = watch.map((word) => (word === "''" ? "" : word));
    assert.match(await succeed([...watched, "--from", "1", "--limit", "1"]), /^1\tput\tgreeting\thello\n$/);
    child.kill(signal);
    const { status, stderr } = await outcome;
    assert.equal(status, 0);
    assert.match(stderr, /Stopped cleanly\.\n$/);
    assert.equal(await succeed(["key", "get", "greeting", "--data", data]), "hello\n");
  });
}

test("a watch under way does not keep it from stopping, and goes on when it is back", async () => {
  const data = join(directory, "watched");
  const member = await startMember(data);
  const { endpoint } = member;
  const child = launch(["key", "watch", "--prefix", "", "--from", "1", "--json"], { endpoint });
  const watching = outcomeOf(child);
  const lines = linesOf(child);
  const next = async () => JSON.parse((await lines.next()).value as string) as { revision: number; text: string };
  await succeed(["key", "put", "tick", "one"], { endpoint });
  assert.equal((await next()).text, "one");
  assert.equal((await member.stop("SIGINT")).status, 0);
  await startMember(data, ["--listen", endpoint]);
  await succeed(["key", "put", "tick", "two"], { endpoint });
  const { text, revision } = await next();
  assert.deepEqual([text, revision], ["two", 2]);
  child.kill("SIGINT");
  assert.equal((await watching).status, 0);
});

test("a killed member loses nothing that it acknowledged", async () => {
  const data = join(directory, "killed");
  const member = await startMember(data);
  await succeed(["key", "put", "a", "1"], { endpoint: member.endpoint });
  await member.stop("SIGKILL");
  const again = await startMember(data);
  assert.equal(await succeed(["key", "get", "a"], { endpoint: again.endpoint }), "1\n");
});

test("one process a directory: the second is told who has it", async () => {
  const data = join(directory, "held");
  const { process: holder } = await startMember(data);
  const pattern = new RegExp(`held is in use by process ${holder.pid} .*--endpoint`);
  assert.match(await failWith(1, ["start", "--data", data, "--listen", "127.0.0.1:0"]), pattern);
  assert.match(await failWith(1, ["key", "list", "--data", data]), pattern);
  assert.match(await failWith(1, ["log", "verify", "--data", data]), pattern);
});

test("a port that is taken is named, and the directory is free again", async () => {
  const data = join(directory, "port");
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const said = await failWith(1, ["start", "--data", data, "--listen", `127.0.0.1:${port}`]);
  assert.match(said, new RegExp(`127\\.0\\.0\\.1:${port}: the port is in use`));
  server.close();
  await succeed(["status", "--data", data]);
});

test("wrong usage is refused before anything is touched", async () => {
  const refusals: readonly [readonly string[], RegExp][] = [
    [["--listen", "0.0.0.0:7420"], /beyond this machine without TLS.*--insecure/],
    [["--listen", "[::]:7420"], /beyond this machine without TLS/],
    [["--listen", "tls:127.0.0.1:0"], /does not serve TLS yet/],
    [["--listen", "example"], /--listen: "example" is no address/],
    [["--history", "-3"], /--history.*whole number/],
    [["--cache", "0"], /--cache.*1 or more/],
    [["--data"], /argument missing/],
  ];
  for (const [args, pattern] of refusals) assert.match(await failWith(2, ["start", ...args], { directory }), pattern);
  assert.match(await failWith(1, ["status", "--data", "holdfast-data"], { directory }), /there is no store in/);
});

test("a data directory that cannot be one is named", async () => {
  const file = join(directory, "file");
  await writeFile(file, "");
  assert.match(await failWith(1, ["start", "--data", file, "--listen", "127.0.0.1:0"]), new RegExp(file));
  await mkdir(join(directory, "empty"));
  assert.match(await failWith(1, ["key", "list", "--data", join(directory, "empty")]), /there is no store in .*empty/);
});

test("listening beyond loopback needs --insecure, and then works", async () => {
  const member = await startMember(join(directory, "insecure"), ["--listen", "0.0.0.0:0", "--insecure"]);
  const port = member.endpoint.split(":").at(-1);
  assert.equal(await succeed(["key", "list", "--endpoint", `127.0.0.1:${port}`]), "");
});

test("without a member a command fails within a moment and says what to do", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  const startedMs = performance.now();
  const { status, stderr } = await run(["key", "get", "a"], { endpoint: `127.0.0.1:${port}` });
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`^error: cannot connect to 127\\.0\\.0\\.1:${port}.*holdfast start`));
  assert.ok(performance.now() - startedMs < 5_000, "the deadline of a call is 10 s");
});
