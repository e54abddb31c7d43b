/**
 * Three members as processes, started by the three commands that README.md shows: killed under load, started again,
 * refused with an empty directory, replaced.
 */
import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { connect } from "../index.ts";
import { failWith, launch, linesOf, outcomeOf, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import { freePorts } from "./demo/free-ports.ts";

interface Running {
  readonly child: ReturnType<typeof launch>;
  readonly outcome: ReturnType<typeof outcomeOf>;
  readonly greeting: string;
}

let directory: string;
let commands: string[][];
/** By name, as README.md has them but for the ports. */
const members = new Map<string, Running>();
const addresses = new Map<string, string>();
let endpoint: string;

/** Runs `holdfast start` for people, and resolves when it serves. */
async function start(words: readonly string[]): Promise<Running> {
  const child = launch(words, { directory });
  const outcome = outcomeOf(child);
  const lines = linesOf(child);
  const greeting: string[] = [];
  while (greeting.at(-1) !== "Ctrl-C stops it.") {
    const next = await lines.next();
    if (next.done === true) assert.fail(`holdfast ${words.join(" ")} ended: ${JSON.stringify(await outcome)}`);
    greeting.push(next.value);
  }
  return { child, outcome, greeting: greeting.join("\n") };
}

async function kill(name: string): Promise<void> {
  const running = members.get(name);
  running?.child.kill("SIGKILL");
  await running?.outcome;
}

before(async () => {
  directory = await temporaryDirectory();
  let readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const ports = await freePorts(4);
  for (const [index, name] of ["a", "b", "c", "d"].entries()) {
    addresses.set(name, `127.0.0.1:${ports[index]}`);
    readme = readme.replaceAll(`127.0.0.1:742${index + 1}`, addresses.get(name) ?? "");
  }
  commands = [...readme.matchAll(/npx holdfast (start --name .*?)(\n|`)/g)].map(([, line = ""]) => line.split(" "));
  endpoint = ["a", "b", "c"].map((name) => addresses.get(name)).join(",");
});

test("three commands found a cluster; the first says for whom it waits", async () => {
  const [a = [], b = [], c = []] = commands;
  const first = launch(a, { directory });
  const outcome = outcomeOf(first);
  let said = "";
  const waiting = new Promise<void>((resolve) => {
    first.stderr.on("data", (text: string) => {
      said += text;
      if (/member a waits for b, c/.test(said)) resolve();
    });
  });
  await Promise.race([waiting, outcome.then((ended) => assert.fail(JSON.stringify(ended)))]);
  // Ctrl-C ends the waiting, and nothing is lost by it.
  first.kill("SIGINT");
  const ended = await outcome;
  assert.deepEqual([ended.status, ended.stdout], [0, ""]);
  assert.match(ended.stderr, /Stopped before it served\.\n$/);

  await Promise.all(
    [a, b, c].map(async (words) => {
      const running = await start(words);
      members.set(words[words.indexOf("--name") + 1] ?? "", running);
    }),
  );
  for (const [name, { greeting }] of members) {
    assert.match(greeting, new RegExp(`^Holdfast serves ${addresses.get(name)}\n`));
    assert.match(greeting, new RegExp(`^  member   ${name}, voter, of a, b, c; `, "m"));
  }
  assert.equal(await succeed(["key", "put", "greeting", "hello"], { endpoint }), "revision 1\n");
});

test("kill -9 of the leader under load: clients go on, and nothing acknowledged is lost", async () => {
  await using store = await connect(endpoint);
  const { members: list } = await store.members.list();
  const leader = list.find((member) => member.leader)?.name ?? "";
  let acknowledged = 0;
  let killed: Promise<void> | undefined;
  for (let number = 0; number < 300; number++) {
    await store.keys.put(`load/${String(number).padStart(3, "0")}`, String(number));
    acknowledged++;
    if (number === 100) killed = kill(leader);
  }
  await killed;
  const found: string[] = [];
  for await (const record of store.keys.list({ prefix: "load/" })) found.push(record.text());
  assert.deepEqual(
    found,
    Array.from({ length: acknowledged }, (_, number) => String(number)),
  );

  // Started again with its directory alone, it listens where it did.
  const again = await start(["start", "--data", leader]);
  members.set(leader, again);
  assert.match(again.greeting, new RegExp(`^Holdfast serves ${addresses.get(leader)}\n`));
  assert.equal(await succeed(["key", "list", "load/", "--count"], { endpoint: addresses.get(leader) ?? "" }), "300\n");
});

test("an empty directory is refused under a known name, and replaces it as a new member", async () => {
  await kill("a");
  await rm(join(directory, "a"), { recursive: true });
  const [a = [], , , d = []] = commands;
  assert.match(await failWith(1, a, { directory }), /member a .*data directory.* lost .*--replace a/);
  const running = await start(d);
  members.set("d", running);
  for (;;) {
    const text = await succeed(["member", "list"], { endpoint: addresses.get("d") ?? "" });
    if (/^.. d +voter /m.test(text) && !/^.. a /m.test(text)) break;
  }
  assert.equal(await succeed(["key", "list", "load/", "--count"], { endpoint: addresses.get("d") ?? "" }), "300\n");
});

test("SIGTERM hands the leadership over and stops a member cleanly", async () => {
  await using store = await connect(["b", "c", "d"].map((name) => addresses.get(name)).join(","));
  const { members: list } = await store.members.list();
  const leader = list.find((member) => member.leader)?.name ?? "";
  const running = members.get(leader);
  running?.child.kill("SIGTERM");
  await store.keys.put("after", "1");
  const { status, stderr } = (await running?.outcome) ?? { status: 1, stderr: "" };
  assert.equal(status, 0);
  assert.match(stderr, /Stopped cleanly\.\n$/);
});

test("wrong usage is refused before anything is touched", async () => {
  assert.match(await failWith(2, ["start", "--peers", "a=127.0.0.1:1"], { directory }), /--name is missing/);
  assert.match(await failWith(2, ["start", "--replace", "a"], { directory }), /goes with --join/);
  const known = ["start", "--data", "b", "--name", "b", "--listen", "127.0.0.1:0"];
  const joining = [...known, "--join", addresses.get("c") ?? ""];
  await kill("b");
  // A directory that has a cluster needs no --join, and is not harmed by one.
  const member = await startMember(join(directory, "b"), joining.slice(3));
  assert.equal((await member.stop()).status, 0);
});
