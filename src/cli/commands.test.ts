/** Tests of the commands about a store as a whole (lease, log, status, doctor, bench), of help and of completion. */
import assert from "node:assert/strict";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  failWith,
  jsonLines,
  launch,
  linesOf,
  outcomeOf,
  run,
  startMember,
  succeed,
  temporaryDirectory,
} from "./command.suite.ts";
import type { Member } from "./command.suite.ts";

let directory: string;
let member: Member;
const holdfast = (...args: string[]) => succeed(args, { endpoint: member.endpoint });
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the test's word for what is printed
const first = <T>(text: string) => jsonLines(text)[0] as T;

before(async () => {
  directory = await temporaryDirectory();
  member = await startMember(join(directory, "data"), ["--name", "ada"]);
});

test("lease: grant, put with it, get, list, keep-alive, revoke", async () => {
  const id = (await holdfast("lease", "grant", "--ttl", "600000")).trim();
  assert.match(id, /^\d+$/);
  await holdfast("key", "put", "service/a", "10.0.0.1:80", "--lease", id);
  assert.match(
    await holdfast("lease", "get", id),
    new RegExp(`^${id}\\t\\d+ min \\d+ s left of 10 min 0 s\\n {2}service/a\\n$`),
  );
  const info = first<{ lease: string; ttlMs: number; keys: string[] }>(await holdfast("lease", "get", id, "--json"));
  assert.deepEqual([info.lease, info.ttlMs, info.keys], [id, 600_000, ["service/a"]]);
  assert.match(await holdfast("lease", "list"), new RegExp(`^${id}\\t`));
  assert.deepEqual(first(await holdfast("lease", "keep-alive", id, "--once", "--json")), { lease: id, ttlMs: 600_000 });
  const child = launch(["lease", "keep-alive", id, "--json"], { endpoint: member.endpoint });
  const ended = outcomeOf(child);
  await linesOf(child).next();
  child.kill("SIGINT");
  assert.equal((await ended).status, 0);
  assert.equal(await holdfast("lease", "revoke", id), "ended, with 1 key\n");
  assert.equal(await holdfast("key", "list", "service/"), "");
  assert.match(await failWith(1, ["lease", "get", id], { endpoint: member.endpoint }), /does not exist or has ended/);
  assert.match(await failWith(2, ["lease", "grant"], { endpoint: member.endpoint }), /--ttl/);
  assert.match(await failWith(2, ["lease", "revoke", "x"], { endpoint: member.endpoint }), /whole number/);
});

test("status and log: where the store stands", async () => {
  await holdfast("key", "put", "a", "1");
  const text = await holdfast("status");
  assert.match(text, /^member +ada, Holdfast \d+\.\d+\.\d+, up /);
  assert.match(text, /durability disk, all applied/);
  const status = first<Record<string, unknown>>(await holdfast("status", "--json"));
  assert.deepEqual([status["name"], status["keyCount"], status["logStart"]], ["ada", 1, 0]);
  const log = first<{ tail: number; applied: number }>(await holdfast("log", "status", "--json"));
  assert.equal(log.tail, log.applied);
  assert.match(await holdfast("log", "status"), /^engine +file\nstart +0\ntail +\d+\n/);
  const records = jsonLines(await holdfast("log", "tail", "--from", "0", "--no-follow", "--json"));
  assert.deepEqual(
    records.map((record) => (record as { position: number }).position),
    records.map((_, index) => index),
  );
  assert.match(await holdfast("log", "tail", "--no-follow"), /\tkey put a\n/);
  assert.match(await holdfast("log", "verify"), /^clean: [\d,]+ records, /);
  assert.deepEqual(first<{ damages: string[] }>(await holdfast("log", "verify", "--json")).damages, []);
});

test("log tail follows until it is stopped", async () => {
  const { tail } = first<{ tail: number }>(await holdfast("log", "status", "--json"));
  const child = launch(["log", "tail", "--from", String(tail), "--json"], { endpoint: member.endpoint });
  const ended = outcomeOf(child);
  const lines = linesOf(child);
  await holdfast("key", "put", "followed", "1");
  for (let summary = ""; summary !== "key put followed";) {
    ({ summary } = JSON.parse((await lines.next()).value as string) as { summary: string });
  }
  child.kill("SIGTERM");
  assert.equal((await ended).status, 0);
});

test("bench measures and leaves nothing behind", async () => {
  const before = await holdfast("key", "list", "--count");
  assert.match(
    await holdfast("bench", "--count", "200", "--in-flight", "20"),
    /^20 in flight.*\nput +200 .*\nget +200 .*\nlist +200 /s,
  );
  const rows = jsonLines(await holdfast("bench", "--count", "50", "--json")) as { name: string; perSecond: number }[];
  assert.deepEqual(
    rows.map(({ name }) => name),
    ["put", "get", "list"],
  );
  assert.ok(rows.every(({ perSecond }) => perSecond > 0));
  assert.equal(await holdfast("key", "list", "--count"), before);
});

test("doctor: a member, a directory, and one that is damaged", async () => {
  assert.match(
    await holdfast("doctor"),
    /^ok   node .*\nok   store .*\nok   log .*\nok   blobs .*\nok   tree .*all clean\n$/s,
  );
  const data = join(directory, "damaged");
  const other = await startMember(data);
  for (const key of ["a", "b", "c"]) await succeed(["key", "put", key, "value"], { endpoint: other.endpoint });
  await other.stop("SIGKILL");
  const checks = jsonLines(await succeed(["doctor", "--data", data, "--json"])) as { check: string; ok: boolean }[];
  assert.deepEqual(
    checks.map(({ check }) => check),
    ["node", "space", "disk", "store", "log", "blobs", "tree"],
  );
  assert.ok(checks.every(({ ok }) => ok));
  assert.match(await succeed(["log", "verify", "--data", data]), /^clean: /);

  const file = await damageLog(data);
  const verified = await run(["log", "verify", "--data", data]);
  assert.equal(verified.status, 1);
  assert.match(verified.stdout, new RegExp(`^journal file log/${file} is damaged at offset \\d+: .*\n$`));
  assert.match(verified.stderr, /^error: 1 damaged place in [\d,]+ records; restore/);
  const asJson = await run(["log", "verify", "--data", data, "--json"]);
  assert.equal(first<{ damages: string[] }>(asJson.stdout).damages.length, 1);
  assert.equal(first<{ error: { code: string } }>(asJson.stderr).error.code, "corrupt");
  assert.match(
    await failWith(1, ["key", "list", "--data", data]),
    /damaged does not open: journal file .*offset.*holdfast doctor --data/,
  );
  assert.match(await failWith(1, ["start", "--data", data, "--listen", "127.0.0.1:0"]), /does not open: journal file/);
  const examined = await run(["doctor", "--data", data]);
  assert.equal(examined.status, 1);
  assert.match(examined.stdout, /\nFAIL open .*\nFAIL log .*damaged:\n .*offset/s);
  assert.match(examined.stderr, /^error: 2 of 5 checks failed: open, log\n$/);
});

/** Flips a bit in the middle of the first batch of the first segment; gives the file's name. */
async function damageLog(data: string): Promise<string> {
  const name = (await readdir(join(data, "log"))).toSorted()[0] ?? "";
  const file = await open(join(data, "log", name), "r+");
  try {
    const { buffer } = await file.read(Buffer.alloc(4_096), 0, 4_096, 0);
    const at = buffer.indexOf("value") - 1;
    await file.write(Uint8Array.of((buffer[at] ?? 0) ^ 1), 0, 1, at);
  } finally {
    await file.close();
  }
  return name;
}

/** Checks the help of a command and gives the commands below it. */
async function words(...path: string[]): Promise<string[]> {
  const text = await succeed([...path, "--help"]);
  assert.match(text, new RegExp(`^Usage: holdfast ${path.join(" ")}`));
  assert.match(text, /\nExamples?:\n {2}\$ holdfast /, path.join(" "));
  const [, commands = ""] = /\nCommands:\n(.*?)\n\n/s.exec(text) ?? [];
  return [...commands.matchAll(/^ {2}(\S+)/gm)].map(([, name = ""]) => name);
}

test("help at every level has examples and goes to standard output", async () => {
  const top = await words();
  const names =
    "start key file snapshot collect lease map set register object counter queue stream lock elect barrier presence limit cron log member status doctor bench demo completion";
  assert.deepEqual(top, names.split(" "));
  for (const name of top.slice(0, -1)) {
    const below = await words(name);
    await Promise.all(below.map((one) => words(name, one)));
  }
  assert.equal(await succeed([]), await succeed(["--help"]));
  assert.match(await succeed(["--version"]), /^\d+\.\d+\.\d+\n$/);
});

test("completion: the script of each shell, and what it asks for", async () => {
  for (const shell of ["bash", "zsh", "fish", "powershell"]) {
    assert.match(await succeed(["completion", shell]), /holdfast complete/, shell);
  }
  assert.match(await succeed(["complete", "--", "key", "p"]), /^put\t/m);
  assert.match(await succeed(["complete", "--", "key", "get", "--r"]), /^--raw\t/m);
  assert.match(await succeed(["complete", "--", "file", "bucket", "c"]), /^create\t/m);
  assert.match(await failWith(2, ["completion", "tcsh"]), /zsh, bash, fish, powershell/);
});
