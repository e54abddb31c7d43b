/** `holdfast queue`, `stream`, `lock` and `elect` against a running member. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { failWith, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

const program = new Program();
let member: Member;
const holdfast = (...args: string[]) => program.succeed(args, { endpoint: member.endpoint });
const fails = (status: number, ...args: string[]) => program.failWith(status, args, { endpoint: member.endpoint });

before(async () => {
  member = await startMember(join(await temporaryDirectory(), "data"));
});

test("a queue: push, pull, acknowledge, reject, dead jobs", async () => {
  assert.equal(await holdfast("queue", "push", "mail", '{"to":"ada"}'), "1\n");
  assert.equal(await holdfast("queue", "push", "mail", "hello", "--priority", "5", "--dedup", "k"), "2\n");
  assert.equal(await holdfast("queue", "push", "mail", "hello", "--dedup", "k"), "2  (it is there already)\n");
  assert.equal(await holdfast("queue", "list"), "mail\t2 ready, 0 delayed, 0 leased, 0 dead\n");
  const [, lease = ""] = /^2\t1\t(\d+)\thello\n$/.exec(await holdfast("queue", "pull", "mail")) ?? [];
  assert.equal(await holdfast("queue", "ack", "mail", "2", "--attempt", "1", "--lease", lease), "job 2 is done\n");
  assert.match(await fails(1, "queue", "ack", "mail", "2", "--attempt", "1", "--lease", lease), /no longer leased/);
  const [, second = ""] = /^1\t1\t(\d+)\t/.exec(await holdfast("queue", "pull", "mail")) ?? [];
  await holdfast(
    "queue",
    "reject",
    "mail",
    "1",
    "--attempt",
    "1",
    "--lease",
    second,
    "--dead",
    "--error",
    "no such user",
  );
  assert.equal(
    await holdfast("queue", "list", "mail", "--dead"),
    '1\tdead\t0\t1 attempt\t{"to":"ada"}\t"no such user"\n',
  );
  assert.equal(await holdfast("queue", "requeue", "mail"), "1 job will be pulled again\n");
  assert.match(await holdfast("queue", "pull", "mail", "--ack"), /^1\t1\t/);
  assert.match(await fails(1, "queue", "pull", "mail"), /no job of the queue mail is ready/);
  assert.match(await holdfast("queue", "info", "mail"), /^ready +0\ndelayed +0\nleased +0\ndead +0\n/);
  assert.equal(await holdfast("queue", "purge", "mail"), "deleted 0 jobs\n");
});

test("a stream: append, read, trim, retain", async () => {
  assert.equal(await holdfast("stream", "append", "orders", "a", '{"b":1}', "c"), "0\n");
  assert.equal(await holdfast("stream", "read", "orders"), '0\ta\n1\t{"b":1}\n2\tc\n');
  assert.equal(await holdfast("stream", "read", "orders", "--reverse", "--limit", "1"), "2\tc\n");
  assert.match(
    await fails(1, "stream", "append", "orders", "d", "--expect", "1"),
    /the tail of the stream orders is 3/,
  );
  assert.equal(await holdfast("stream", "trim", "orders", "2"), "2\n");
  assert.match(await fails(1, "stream", "read", "orders", "--from", "0"), /starts at 2/);
  assert.equal(await holdfast("stream", "retain", "orders", "--count", "5"), "countMax 5, sizeMax 0, ageMaxMs 0\n");
  assert.match(await holdfast("stream", "info", "orders"), /^from 2 to below 3: 1 entries/);
  assert.equal(await holdfast("stream", "delete", "orders"), "stream orders was deleted\n");
  assert.equal(await holdfast("stream", "list"), "");
});

test("lock and elect run a command with the fence, and end as it does", async () => {
  const { endpoint } = member;
  const first = await succeed(["lock", "l", "--", "sh", "-c", "echo $HOLDFAST_FENCE"], { endpoint });
  const second = await succeed(["elect", "e", "--", "sh", "-c", "echo $HOLDFAST_FENCE"], { endpoint });
  assert.ok(Number(second) > Number(first), `${first} ${second}`);
  await failWith(3, ["lock", "l", "--", "sh", "-c", "exit 3"], { endpoint });
  assert.match(await failWith(1, ["lock", "l", "--", "/no/such/command"], { endpoint }), /cannot run/);
  // Inside of the one that holds it.
  const nested = `${process.execPath} ${JSON.stringify(join(import.meta.dirname, "main.ts"))} lock l --try -- true`;
  assert.match(await failWith(1, ["lock", "l", "--", "sh", "-c", nested], { endpoint }), /held by somebody else/);
});
