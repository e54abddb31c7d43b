/** Tests of `holdfast key` against a running member, as a person types it. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  failWith,
  jsonLines,
  launch,
  linesOf,
  outcomeOf,
  startMember,
  succeed,
  temporaryDirectory,
} from "./command.suite.ts";
import type { Member } from "./command.suite.ts";

let directory: string;
let member: Member;
const key = (...args: string[]) => succeed(["key", ...args], { endpoint: member.endpoint });
const keyFails = (status: number, ...args: string[]) =>
  failWith(status, ["key", ...args], { endpoint: member.endpoint });

before(async () => {
  directory = await temporaryDirectory();
  member = await startMember(join(directory, "data"));
});

test("put, get, list, history, delete", async () => {
  assert.equal(await key("put", "greeting", "hello"), "revision 1\n");
  assert.equal(await key("get", "greeting"), "hello\n");
  assert.deepEqual(jsonLines(await key("put", "greeting", "hello again", "--json")), [
    { key: "greeting", revision: 2 },
  ]);
  assert.deepEqual(jsonLines(await key("get", "greeting", "--json")), [
    { key: "greeting", text: "hello again", revision: 2, createRevision: 1, version: 2 },
  ]);
  assert.equal(await key("get", "greeting", "--at", "1", "--raw"), "hello");
  await key("put", "user/1", '{"name":"Ada"}');
  await key("put", "user/2", "two\nlines\tand a tab");
  assert.equal(await key("list", "user/"), 'user/1\t{"name":"Ada"}\nuser/2\ttwo\\nlines\\tand a tab\n');
  assert.equal(await key("list", "--keys-only", "--reverse", "--limit", "2"), "user/2\nuser/1\n");
  assert.equal(await key("list", "--start", "h", "--end", "user/2", "--keys-only"), "user/1\n");
  assert.equal(await key("list", "--count"), "3\n");
  assert.deepEqual(jsonLines(await key("list", "user/1", "--json")), [
    { key: "user/1", value: { name: "Ada" }, revision: 3, createRevision: 3, version: 1 },
  ]);
  assert.equal(await key("delete", "greeting", "nothing"), "deleted 1\n");
  assert.equal(
    await key("history", "greeting"),
    "1\tput\tgreeting\thello\n2\tput\tgreeting\thello again\n5\tdelete\tgreeting\n",
  );
  assert.deepEqual(jsonLines(await key("delete", "--prefix", "user/", "--json")), [{ deleted: 2 }]);
  assert.equal(await key("list"), "");
});

test("values are any bytes, from standard input", async () => {
  const bytes = Uint8Array.of(0, 255, 10, 13);
  await succeed(["key", "put", "binary"], { endpoint: member.endpoint, input: bytes });
  assert.deepEqual(
    jsonLines(await key("get", "binary", "--json")).map((one) => (one as { base64: string }).base64),
    ["AP8KDQ=="],
  );
  assert.equal(await key("list", "binary"), "binary\tbase64:AP8KDQ==\n");
  const child = launch(["key", "get", "binary", "--raw"], { endpoint: member.endpoint });
  child.stdout.setEncoding("latin1");
  assert.equal((await outcomeOf(child)).stdout, "\x00\xff\n\r");
});

test("conditions hold or fail with the reason", async () => {
  await key("put", "lock", "me", "--if-absent");
  assert.match(await keyFails(1, "put", "lock", "you", "--if-absent"), /^error: .*lock/s);
  assert.match(
    await keyFails(1, "put", "lock", "you", "--if-revision", "1", "--json"),
    /^\{"error":\{"code":"conflict"/,
  );
  assert.match(await keyFails(1, "put", "lock", "you", "--lease", "77"), /lease 77/);
});

test("failures say what happened to which thing", async () => {
  assert.equal(await keyFails(1, "get", "no such"), 'error: key "no such" does not exist\n');
  assert.deepEqual(jsonLines(await keyFails(1, "get", "no such", "--json")), [
    { error: { code: "notFound", message: 'key "no such" does not exist', maybe: false } },
  ]);
  assert.match(await keyFails(1, "put", "k".repeat(5_000), "v"), /key is 5,000 bytes; the limit is 4,096/);
  assert.match(await keyFails(1, "get", "lock", "--at", "1000000"), /1000000/);
});

test("wrong usage has exit status 2 and names the help", async () => {
  const commander = [
    ["get"],
    ["lst"],
    ["put", "a", "b", "--lease", "x"],
    ["list", "--limit", "-1"],
    ["get", "a", "--nope"],
  ].map(async (args) =>
    assert.match(await keyFails(2, ...args), /^error: .*\nSee `holdfast key.* --help`\.\n$/s, args.join(" ")),
  );
  await Promise.all(commander);
  assert.match(await keyFails(2, "delete"), /^error: name the keys/);
  assert.match(await keyFails(2, "watch", "a", "--prefix", "b"), /^error: name a key/);
  assert.match(await keyFails(2, "list", "a", "--end", "b"), /^error: give either/);
  assert.match(await keyFails(2, "list", "--data", "x", "--endpoint", "y:1"), /not both/);
  assert.deepEqual(jsonLines(await keyFails(2, "get", "--json")), [
    { error: { code: "usage", message: "missing required argument 'key'", maybe: false } },
  ]);
});

test("a watch prints every change once, past and new, until it is stopped", async () => {
  const first = Number((await key("put", "w/1", "a")).split(" ")[1]);
  const child = launch(["key", "watch", "--prefix", "w/", "--from", String(first), "--previous", "--json"], {
    endpoint: member.endpoint,
  });
  const ended = outcomeOf(child);
  const lines = linesOf(child);
  const next = async () => JSON.parse((await lines.next()).value as string) as Record<string, unknown>;
  assert.equal((await next())["text"], "a");
  await key("put", "w/1", "b");
  const second = await next();
  assert.deepEqual([second["revision"], second["type"], second["previous"]], [first + 1, "put", { text: "a" }]);
  await key("delete", "w/1");
  assert.equal((await next())["type"], "delete");
  child.kill("SIGINT");
  assert.equal((await ended).status, 0);
  const limited = await key("watch", "w/1", "--from", String(first), "--limit", "2");
  assert.equal(limited, `${first}\tput\tw/1\ta\n${first + 1}\tput\tw/1\tb\n`);
});

test("what is exported is imported as the same bytes", async () => {
  await key("put", "x/json", '{"a":[1,2]}');
  await key("put", "x/text", "a\u2028b \u0085 ü");
  await succeed(["key", "put", "x/bytes"], { endpoint: member.endpoint, input: Uint8Array.of(0, 1, 254) });
  const exported = await key("export", "x/");
  assert.equal(exported.split("\n").length, 4);
  const file = join(directory, "x.jsonl");
  assert.match(await key("export", "x/", "-o", file), /^exported 3 records, /);
  assert.equal(await readFile(file, "utf8"), exported);
  assert.match(await key("import", file, "--prefix", "copy/"), /^imported 3 records, .*; revision \d+\n$/);
  assert.equal((await key("export", "copy/")).replaceAll('"copy/', '"'), exported);
  const again = await succeed(["key", "import", "-", "--json"], { endpoint: member.endpoint, input: exported });
  assert.deepEqual(Object.keys(jsonLines(again)[0] as object), ["imported", "revision", "complete"]);
});

test("an import that cannot go on says what it has acknowledged", async () => {
  const file = join(directory, "bad.jsonl");
  await writeFile(file, '{"id":"1"}\n\n{"id":"2"}\nnonsense\n{"id":"3"}\n');
  const said = await keyFails(1, "import", file, "--key", "id", "--prefix", "bad/");
  assert.match(said, /^stopped after line 4; acknowledged: 2 records.*\nerror: .*bad\.jsonl:4 is not JSON/s);
  assert.equal(await key("list", "bad/", "--keys-only"), "bad/1\nbad/2\n");
  assert.match(await keyFails(1, "import", join(directory, "none.jsonl")), /cannot read .*none\.jsonl/);
});

test("what is compacted is no longer readable", async () => {
  const revision = Number((await key("put", "c", "1")).split(" ")[1]);
  await key("put", "c", "2");
  assert.equal(await key("compact", String(revision + 1)), `compacted to revision ${revision + 1}\n`);
  assert.match(await keyFails(1, "get", "c", "--at", String(revision), "--json"), /"code":"trimmed"/);
});
