/** `holdfast set`, `register`, `object`, `presence`, `barrier`, `limit`, kinds of locks and sequences against a running member. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { connect, defineObject } from "../index.ts";
import { launch, linesOf, outcomeOf, startMember, succeed, temporaryDirectory } from "./command.suite.ts";
import type { Member } from "./command.suite.ts";
import { Program } from "./program.suite.ts";

const program = new Program();
let member: Member;
const holdfast = (...args: string[]) => program.succeed(args, { endpoint: member.endpoint });
const fails = (status: number, ...args: string[]) => program.failWith(status, args, { endpoint: member.endpoint });

before(async () => {
  member = await startMember(join(await temporaryDirectory(), "data"));
});

test("a set", async () => {
  assert.equal(await holdfast("set", "add", "online", "bob", "ada", "bob"), "added 2\n");
  assert.equal(await holdfast("set", "list", "online"), "ada\nbob\n");
  assert.equal(await holdfast("set", "list", "online", "--reverse", "--limit", "1", "--json"), '"bob"\n');
  await holdfast("set", "has", "online", "ada");
  assert.equal(await fails(1, "set", "has", "online", "eve"), "");
  assert.equal(await holdfast("set", "delete", "online", "ada", "eve"), "deleted 1\n");
  assert.equal(await holdfast("set", "list", "online", "--count"), "1\n");
  await holdfast("set", "add", "ports", "80", "9", "--number");
  assert.equal(await holdfast("set", "list", "ports"), "9\n80\n");
});

test("a register", async () => {
  assert.match(await fails(1, "register", "get", "state"), /the register state is not set/);
  assert.equal(await holdfast("register", "set", "state", "idle", "--if-absent"), "idle\n");
  assert.match(await fails(1, "register", "set", "state", "x", "--if-absent"), /is set already/);
  assert.match(await fails(1, "register", "set", "state", "done", "--expected", "busy"), /is not busy/);
  const watching = launch(["register", "watch", "state"], { endpoint: member.endpoint });
  const lines = linesOf(watching);
  const ended = outcomeOf(watching);
  assert.equal((await lines.next()).value, "idle");
  await holdfast("register", "set", "state", '{"n":1}', "--expected", "idle");
  assert.equal((await lines.next()).value, '{"n":1}');
  assert.equal(await holdfast("register", "delete", "state"), "deleted 1\n");
  assert.equal((await lines.next()).value, "(not set)");
  watching.kill("SIGTERM");
  assert.equal((await ended).status, 0);
});

test("the objects of a type", async () => {
  const definition = defineObject("cart", {
    version: 1,
    initial: () => ({ count: 0 }),
    commands: {
      add: (state: { count: number }) => {
        state.count++;
      },
    },
    queries: {},
  });
  await using store = await connect(member.endpoint);
  const cart = await store.object(definition, "ada");
  await cart.add();
  cart.close();
  assert.equal(await holdfast("object", "list", "cart"), "ada\n");
  assert.equal(await holdfast("object", "list", "cart", "--prefix", "b"), "");
});

test("who is here", async () => {
  assert.equal(await holdfast("presence", "list", "web"), "");
  const joined = launch(["presence", "join", "web", "--value", "one"], { endpoint: member.endpoint });
  const ended = outcomeOf(joined);
  const watching = launch(["presence", "watch", "web"], { endpoint: member.endpoint });
  const watched = outcomeOf(watching);
  const lines = linesOf(watching);
  let line = "";
  while (line !== "one") line = String((await lines.next()).value);
  assert.match(await holdfast("presence", "list", "web"), /^\d+\tone\n$/);
  assert.equal(await holdfast("presence", "join", "web", "--value", "two", "--", "true"), "");
  joined.kill("SIGTERM");
  assert.deepEqual(await ended, { status: 0, stdout: "", stderr: "" });
  while (line !== "nobody") line = String((await lines.next()).value);
  watching.kill("SIGTERM");
  assert.equal((await watched).status, 0);
});

test("a barrier opens when all have arrived", async () => {
  const arrivals = [1, 2, 3].map(() => succeed(["barrier", "ready", "--count", "3"], { endpoint: member.endpoint }));
  assert.deepEqual(await Promise.all(arrivals), ["1\n", "1\n", "1\n"]);
  assert.match(await fails(2, "barrier", "ready"), /--count/);
});

test("a rate limiter", async () => {
  const rate = ["--permits", "1", "--per", "3600000", "--burst", "2"];
  assert.equal(await holdfast("limit", "mail", ...rate), "allowed; 1 left\n");
  await holdfast("limit", "mail", ...rate, "--wait");
  const { status, stdout } = await outcomeOf(launch(["limit", "mail", ...rate], { endpoint: member.endpoint }));
  assert.equal(status, 1);
  assert.match(stdout, /^not before \d/);
});

test("readers and writers, a semaphore, a sequence", async () => {
  await using store = await connect(member.endpoint);
  const reading = await store.readWriteLock("doc").read();
  await holdfast("lock", "doc", "--read", "--try", "--", "true");
  assert.match(await fails(1, "lock", "doc", "--write", "--try", "--", "true"), /held by somebody else/);
  await holdfast("lock", "doc", "--try", "--", "true");
  const writing = succeed(["lock", "doc", "--write", "--", "true"], { endpoint: member.endpoint });
  while ((await store.readWriteLock("doc").waiterCount()) === 0) await setImmediate();
  await reading.release();
  await writing;
  const two = await store.semaphore("gpu", { permits: 3 }).acquire({ permits: 2 });
  await holdfast("lock", "gpu", "--of", "3", "--try", "--", "true");
  assert.match(await fails(1, "lock", "gpu", "--of", "3", "--permits", "2", "--try", "--", "true"), /held/);
  assert.match(await fails(2, "lock", "gpu", "--of", "3", "--read", "--", "true"), /cannot be used with/);
  await two.release();
  assert.equal(await holdfast("counter", "next", "invoice"), "1\n");
  assert.equal(await holdfast("counter", "next", "invoice"), "2\n");
});
