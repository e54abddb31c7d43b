/** What a client knows of the members of its cluster, as its connections come and go. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep } from "../base/index.ts";
import { nextTurn } from "../host/index.ts";
import { implement, RpcClient, RpcServer } from "../rpc/index.ts";
import { Simulator } from "../sim/index.ts";
import { RemoteCalls } from "../view/index.ts";
import { ClusterService } from "./cluster/cluster-service.ts";
import type { MemberInfo } from "./cluster/members.ts";
import { RemoteMembers } from "./remote-members.ts";

const refuse = () => Promise.reject(new HoldfastError("unavailable", "ask another"));
const others = { add: refuse, remove: refuse, promote: refuse, transfer: refuse, hello: refuse, join: refuse };

/** A member that answers what `listed` says, and counts the questions. */
async function serveList(simulator: Simulator, listed: () => readonly Partial<MemberInfo>[]): Promise<() => number> {
  const { env } = simulator.machine("a");
  let asked = 0;
  const list = () => {
    asked++;
    return { cluster: "c1", members: [...listed()] };
  };
  await new RpcServer(env, [implement(ClusterService, { ...others, list })]).listen("a:1");
  return () => asked;
}

test("while members are no voters yet a client asks again soon, and ever more seldom", async () => {
  const simulator = new Simulator({ seed: "changing", drain: nextTurn });
  const first: Partial<MemberInfo> = { name: "a", address: "a:1", role: "voter" };
  let role: MemberInfo["role"] = "learner";
  const body = async () => {
    const asked = await serveList(simulator, () => [first, { name: "b", address: "b:1", role }]);
    const { env } = simulator.machine("client");
    const client = new RpcClient(env, ["a:1"], {});
    const members = new RemoteMembers(env, client, new RemoteCalls(env, client, { timeoutMs: 5_000 }), true);
    await members.list();
    assert.deepEqual(new Set(client.addresses), new Set(["a:1"]));
    await sleep(env.clock, 2_000);
    role = "voter";
    await sleep(env.clock, 6_400);
    assert.deepEqual(new Set(client.addresses), new Set(["a:1", "b:1"]));
    role = "leaving";
    await sleep(env.clock, 36_000);
    assert.deepEqual(new Set(client.addresses), new Set(["a:1"]));
    const before = asked();
    await sleep(env.clock, 300_000);
    // 1 + 2 + 4 + 8 + 16 + 30 + …, each a fifth more or less.
    assert.ok(asked() - before <= 18, `${asked() - before} questions in five minutes`);
    members.close();
    await client.close();
  };
  await simulator.run(body());
});

test("a client that moves while it asks for the members asks again where it has come to", async () => {
  const simulator = new Simulator({ seed: "follow", drain: nextTurn });
  const serve = async (name: string, listed: string, delayMs: number) => {
    const { env } = simulator.machine(name);
    const info: Partial<MemberInfo> = { name: listed, address: `${listed}:1`, role: "voter" };
    const list = async () => {
      await sleep(env.clock, delayMs);
      return { cluster: "c1", members: [info] };
    };
    const service = implement(ClusterService, { ...others, list });
    await new RpcServer(env, [service]).listen(`${name}:1`);
  };
  const body = async () => {
    // The old member takes its time, and knows only itself.
    await serve("a", "a", 800);
    await serve("b", "b", 0);
    const { env } = simulator.machine("client");
    const client = new RpcClient(env, ["a:1", "b:1"], {});
    const calls = new RemoteCalls(env, client, { timeoutMs: 5_000 });
    const members = new RemoteMembers(env, client, calls, true);
    const refused = await client
      .use(ClusterService)
      .join({})
      .catch((error: unknown) => error);
    assert.equal(client.peer, "a:1");
    await sleep(env.clock, 100);
    client.avoid(refused);
    await sleep(env.clock, 2_000);
    assert.equal(client.peer, "b:1");
    assert.deepEqual(client.addresses.slice(0, 1), ["b:1"]);
    members.close();
    await client.close();
  };
  await simulator.run(body());
});
