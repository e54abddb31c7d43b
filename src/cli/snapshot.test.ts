/** Tests of `holdfast snapshot` and `holdfast collect` as a person types them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { jsonLines, startMember, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

let member: Member;
const program = new Program();
const holdfast = (...args: string[]) => program.succeed(args, { endpoint: member.endpoint });
const fails = (status: number, ...args: string[]) => program.failWith(status, args, { endpoint: member.endpoint });
const put = (place: string, input: string) =>
  program.succeed(["file", "put", "-", place], { endpoint: member.endpoint, input });
const lastJson = (text: string) => jsonLines(text).at(-1) as Record<string, unknown>;

before(async () => {
  member = await startMember(join(await temporaryDirectory(), "data"));
});

test("create, list, read, compare, restore, delete", async () => {
  await holdfast("key", "put", "user/1", "Ada");
  await put("notes:a", "one");
  await put("notes:gone", "gone");
  assert.match(await holdfast("snapshot", "create", "first"), /^first {2}revision 4\n$/);
  assert.match(await fails(1, "snapshot", "create", "first"), /"first" exists/);
  await holdfast("key", "put", "user/1", "Grace");
  await put("notes:a", "two");
  await put("notes:new", "new");
  await holdfast("file", "rm", "notes:gone");
  assert.equal(await holdfast("file", "cat", "notes:a", "--at", "first"), "one");
  assert.equal(await holdfast("file", "ls", "notes", "--at", "first"), "a\ngone\n");

  const difference = "~ key   user/1\n~ file  notes:a\n- file  notes:gone\n+ file  notes:new\n";
  assert.equal(await holdfast("snapshot", "diff", "first"), difference);
  await holdfast("snapshot", "create", "second");
  assert.equal(await holdfast("snapshot", "diff", "first", "second"), difference);
  const json = jsonLines(await holdfast("snapshot", "diff", "first", "second", "--files", "notes:n", "--json"));
  assert.deepEqual(json, [
    { change: "added", bucket: "notes", path: "new", after: { type: "file", size: 3, revision: 7 } },
  ]);

  const planned = await holdfast("snapshot", "restore", "first", "--dry-run");
  assert.equal(
    planned,
    "change  key   user/1\nchange  file  notes:a\nadd     file  notes:gone\ndelete  file  notes:new\nwould restore 1 key and 3 files, at one revision\n",
  );
  assert.equal(await holdfast("file", "cat", "notes:a"), "two");
  assert.match(
    await holdfast("snapshot", "restore", "first", "--keys", "user/"),
    /^restored 1 key and 0 files, at revision/,
  );
  assert.equal(await holdfast("key", "get", "user/1"), "Ada\n");
  assert.deepEqual(lastJson(await holdfast("snapshot", "restore", "first", "--json"))["files"], 3);
  assert.equal(await holdfast("file", "ls", "notes"), "a\ngone\n");
  assert.equal(await holdfast("snapshot", "restore", "first"), "nothing differs from the snapshot\n");

  assert.deepEqual(
    jsonLines(await holdfast("snapshot", "list", "--json")).map((one) => (one as { name: string }).name),
    ["first", "second"],
  );
  assert.equal(await holdfast("snapshot", "delete", "first"), "deleted first\n");
  assert.match(await fails(1, "snapshot", "delete", "first"), /"first" does not exist/);
  assert.match(await fails(1, "snapshot", "diff", "first"), /"first" does not exist/);
  assert.equal(await holdfast("snapshot", "delete", "first", "--if-exists"), "deleted first\n");
});

test("retain deletes what no rule keeps", async () => {
  for (const name of ["r1", "r2", "r3"]) await holdfast("snapshot", "create", name);
  const said = await holdfast("snapshot", "retain", "--keep-last", "2", "--dry-run");
  assert.match(
    said,
    /^keep +r3 .* last\nkeep +r2 .* last\ndelete +r1 .*\n(delete .*\n)*would delete \d+ snapshots?, 2 kept\n$/,
  );
  await holdfast("snapshot", "retain", "--keep-last", "2");
  assert.match(await holdfast("snapshot", "list"), /^r2 .*\nr3 .*\n$/);
  assert.match(await fails(2, "snapshot", "retain"), /^error: give a rule/);
  assert.match(await fails(2, "snapshot", "retain", "--keep-last", "few"), /whole number/);
});

test("collect says what it does, and does it", async () => {
  await program.succeed(["file", "bucket", "create", "short", "--keep", "0"], { endpoint: member.endpoint });
  await put("short:large", "a line that is not needed for long\n".repeat(10_000));
  await holdfast("file", "rm", "short:large");
  const would = lastJson(await holdfast("collect", "--dry-run", "--json"));
  assert.deepEqual([would["dryRun"], would["missingCount"]], [true, 0]);
  assert.match(await holdfast("collect"), /^deleted \d+ tree pages? \(.*\) of \d+ and \d+ chunks? \(.*\) of \d+\n/);
});
