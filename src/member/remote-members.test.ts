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

test("a client that moves while it asks for the members asks again where it has come to", async () => {
  const simulator = new Simulator({ seed: "follow", drain: nextTurn });
  const others = { add: refuse, remove: refuse, promote: refuse, transfer: refuse, hello: refuse, join: refuse };
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
