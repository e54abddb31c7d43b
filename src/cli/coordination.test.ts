/** `holdfast queue`, `stream`, `lock` and `elect` against a running member. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { failWith, launch, linesOf, outcomeOf, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { connect } from "../index.ts";
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

test("a cron runs its command at the ticks that are due, and is listed and deleted", async (t) => {
  const { endpoint } = member;
  // The schedule was set long ago, and nobody has run it since.
  const store = await connect(endpoint);
  t.mock.method(Date, "now", () => Date.parse("2020-01-01T00:30:00Z"));
  const stop = new AbortController();
  const running = store.cron("report").run("0 3 * * *", () => {}, { signal: stop.signal });
  while ((await store.cron("report").info()) === undefined) await setImmediate();
  stop.abort();
  await running;
  await store.close();
  t.mock.restoreAll();
  assert.equal(await holdfast("cron", "list"), "report\t0 3 * * * UTC\tnever ran\tnext 2020-01-01T03:00:00.000Z\n");
  const command = "echo $HOLDFAST_TICK $HOLDFAST_ATTEMPT; exit 3";
  const runner = launch(["cron", "run", "report", "0 3 * * *", "--", "sh", "-c", command], { endpoint });
  const lines = linesOf(runner);
  const ended = outcomeOf(runner);
  const { value: line } = await lines.next();
  assert.match(String(line), /^20\d\d-\d\d-\d\dT03:00:00\.000Z 1$/);
  const isOver = async () => /done|failed/.test(await holdfast("cron", "list"));
  while (!(await isOver())) await setImmediate();
  assert.match(
    await holdfast("cron", "list"),
    /^report\t0 3 \* \* \* UTC\tlast 20.*, failed: the command has ended with exit status 3\tnext 20/,
  );
  runner.kill("SIGINT");
  const { status, stderr } = await ended;
  assert.match(stderr, /the work of a cron has failed.*exit status 3/);
  assert.equal(status, 0);
  assert.match(await fails(1, "cron", "run", "x", "1 2 3", "--", "true"), /needs five fields/);
  assert.match(await fails(1, "cron", "run", "x", "@daily", "--catch-up", "some", "--", "true"), /none, last or all/);
  assert.equal(await holdfast("cron", "delete", "report"), "cron report was deleted\n");
  assert.match(await fails(1, "cron", "delete", "report"), /there is no cron report/);
});
