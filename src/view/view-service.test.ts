/** Questions and topics near and far: breaking connections, states that jump, views that a member does not know. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RpcClient, RpcServer } from "../rpc/index.ts";
import { Member } from "./fixture.suite.ts";
import { commandService, LocalViews, operation, RemoteProposer, RemoteViews, viewService } from "./index.ts";
import { kinds, openPair } from "./store-pair.suite.ts";

const get = (name: string) => ({ query: { case: "get", value: { name } } }) as const;

test("changes go on at a member that comes back, and tell once more", async (t) => {
  const member = new Member(t.name);
  const { env, views } = member;
  const replica = await member.open();
  const local = new LocalViews(replica, views.asked);
  const serve = async () => {
    const server = new RpcServer(env, [viewService(local, views.asked), commandService(replica, views.all)]);
    await server.listen("memory:store");
    return server;
  };
  let server = await serve();
  const client = new RpcClient(env, "memory:store");
  const options = { timeoutMs: 20_000 };
  const remote = new RemoteViews(env, client, new RemoteProposer(env, client, options), options);
  t.after(async () => {
    await client.close();
    await server.close({ graceMs: 0 });
    local.close();
    await replica.close();
  });
  const add = (name: string) =>
    replica.propose([
      operation(views.counter, {
        operation: { case: "add", value: { name, amount: 1, min: undefined, max: undefined } },
      }),
    ]);

  const stop = new AbortController();
  const changes = remote.changes({ view: views.counter, name: "a" }, stop.signal);
  assert.equal((await changes.next()).value, 0);
  await add("b");
  await add("a");
  assert.equal((await changes.next()).value, 2, "the other counter is not told");
  await server.close({ graceMs: 0 });
  await add("a");
  server = await serve();
  assert.equal((await changes.next()).value, 3, "what came meanwhile is told");
  const { answer } = await remote.ask(views.counter, get("a"));
  assert.equal(answer.value, 2);
  assert.equal(local.waiterCount, 1);
  stop.abort();
  assert.equal((await changes.next()).done, true);
  await server.close({ graceMs: 0 });
  assert.equal(local.waiterCount, 0, "nobody waits any more");
  server = await serve();
});

test("changes that come together are told as one, and a close ends those who wait", async (t) => {
  const member = new Member(t.name);
  const { views } = member;
  const replica = await member.open();
  const local = new LocalViews(replica, views.asked);
  t.after(async () => replica.close());
  const changes = local.changes({ view: views.counter, name: "a" }, undefined);
  await changes.next();
  for (let round = 0; round < 10; round++) {
    await replica.propose([
      operation(views.counter, {
        operation: { case: "add", value: { name: "a", amount: 1, min: undefined, max: undefined } },
      }),
    ]);
  }
  assert.equal((await changes.next()).value, 10);
  const next = changes.next();
  local.close();
  assert.equal((await next).done, true);
});

for (const kind of kinds) {
  test(`an answer says whether it is what it was at a revision (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    const source = local.localViews;
    const view = local.views.counter;
    await store.counter("a").add(1);
    const since = await store.keys.revision();
    assert.equal((await source.ask(view, get("a"), { since })).unchanged, true);
    await store.counter("a").add(1);
    assert.equal((await source.ask(view, get("a"), { since })).unchanged, false);
    await assert.rejects(source.ask(view, get("a"), { atLeast: (since + 100) as typeof since }), { code: "invalid" });
  });

  test(`a guard of a view that is not there, or of bytes that are no question, is refused (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    await store.keys.put("k", "v");
    const { guard, counter } = local.views;
    const check = (viewId: number, query: Uint8Array) =>
      local.replica.propose([operation(guard, { checks: [{ viewId, query, revision: 0 }] })]);
    assert.match(JSON.stringify(await check(16, new Uint8Array(0))), /view 16, which cannot be asked/);
    assert.match(JSON.stringify(await check(counter.id, new Uint8Array([0xff]))), /"code":"invalid"/);
  });
}
