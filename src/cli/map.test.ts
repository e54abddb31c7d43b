/** `holdfast map` and `holdfast counter` against a running member. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { jsonLines, startMember, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

const program = new Program();
let member: Member;
const holdfast = (...args: string[]) => program.succeed(args, { endpoint: member.endpoint });
const fails = (status: number, ...args: string[]) => program.failWith(status, args, { endpoint: member.endpoint });

before(async () => {
  member = await startMember(join(await temporaryDirectory(), "data"));
});

test("entries of a map: set, get, list, delete; numbers as keys", async () => {
  assert.match(await holdfast("map", "set", "users", "ada", '{"age":36}', "--if-absent"), /^revision \d+\n$/);
  assert.match(await fails(1, "map", "set", "users", "ada", "1", "--if-absent"), /map users was last changed/);
  await holdfast("map", "set", "users", "bob", "just text");
  assert.equal(await holdfast("map", "get", "users", "ada"), '{"age":36}\n');
  assert.match(await fails(1, "map", "get", "users", "eve"), /map users has no key "eve"/);
  assert.equal(await holdfast("map", "list", "users", "--reverse"), 'bob\tjust text\nada\t{"age":36}\n');
  assert.equal(await holdfast("map", "list", "users", "--prefix", "a", "--count"), "1\n");
  for (const [key, value] of [
    ["10", "ten"],
    ["9", "nine"],
  ] as const) {
    await holdfast("map", "set", "scores", key, value, "--number");
  }
  assert.equal(await holdfast("map", "list", "scores"), "9\tnine\n10\tten\n");
  assert.equal(await holdfast("map", "list", "scores", "--start", "9.5", "--number"), "10\tten\n");
  assert.match(await fails(2, "map", "get", "scores", "x", "--number"), /"x" is no number/);
  assert.equal(await holdfast("map", "list"), "scores\nusers\n");
  assert.equal(await holdfast("map", "delete", "users", "bob", "eve"), "deleted 1\n");
  assert.equal(await holdfast("map", "delete", "scores", "--all"), "deleted 2\n");
  assert.equal(await holdfast("map", "list"), "users\n");
  assert.match(await fails(2, "map", "delete", "users"), /--all/);
});

test("an index of a map", async () => {
  await holdfast("map", "set", "people", "ada", '{"email":"a@x"}');
  assert.equal(
    await holdfast("map", "index", "people", "byEmail", "--path", "email", "--unique"),
    "byEmail\tof email, unique, 1 row\n",
  );
  assert.match(await fails(1, "map", "set", "people", "bob", '{"email":"a@x"}'), /"ada" has "a@x"/);
  const found = jsonLines(await holdfast("map", "list", "people", "--index", "byEmail", "--value", "a@x", "--json"));
  assert.equal((found[0] as { key: string }).key, "ada");
  assert.equal(await holdfast("map", "index", "people", "byEmail", "--delete"), "");
  assert.match(await fails(2, "map", "index", "people", "byEmail"), /--path/);
});

test("counters: add, get, set, list, delete", async () => {
  assert.equal(await holdfast("counter", "add", "visits"), "1\n");
  assert.equal(await holdfast("counter", "add", "visits", "4", "--json"), '{"name":"visits","value":5}\n');
  assert.match(await fails(1, "counter", "add", "--min", "0", "visits", "--", "-6"), /visits is 5/);
  assert.equal(await holdfast("counter", "set", "stock", "7"), "7\n");
  assert.equal(await holdfast("counter", "list"), "stock\t7\nvisits\t5\n");
  await holdfast("counter", "delete", "stock");
  assert.equal(await holdfast("counter", "get", "stock"), "0\n");
  assert.match(await fails(2, "counter", "set", "stock", "1.5"), /whole number/);
});
