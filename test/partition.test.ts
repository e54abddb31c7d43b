/**
 * Real partitions between processes: in network namespaces where this process may make them, else by a relay on loopback.
 * Whoever is cut off with a minority serves what it has and nothing else; everybody's history stays linearizable.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../src/index.ts";
import type { Store } from "../src/index.ts";
import { actions } from "../src/sim/check/operation.ts";
import { canMakeNamespaces, Cluster, Load, Namespaces, relayed } from "./cluster.suite.ts";

const names = ["a", "b", "c"];
const inNamespaces = canMakeNamespaces();
const ground = () => (inNamespaces ? new Namespaces(names) : relayed(names));

describe(`a partition ${inNamespaces ? "of network namespaces" : "by a relay"}`, () => {
  test("the leader is cut off from the other members", async (t) => {
    await Cluster.use(names, await ground(), async (cluster) => {
      const load = await Load.start(cluster.addresses, 4);
      await load.goesOn();
      const leader = await cluster.leader();
      const inside = await cluster.at(leader);
      await inside.keys.put("before", "the cut");
      load.takePauseMs();
      cluster.ground.isolate(leader);
      await refuses(load, inside);
      const others = names.filter((name) => name !== leader);
      const next = await cluster.leader(others);
      assert.notEqual(next, leader);
      await load.goesOn();
      t.diagnostic(`${leader} cut off, ${next} leads: a pause of ${load.takePauseMs().toFixed(0)} ms`);
      // Still, also when the others have long gone on; and what it has it serves.
      await refuses(load, inside);
      assert.equal((await inside.keys.get("before", { consistency: "local" }))?.text(), "the cut");
      cluster.ground.heal();
      await cluster.level();
      assert.equal((await inside.keys.get("before"))?.text(), "the cut");
      await load.goesOn();
      await finish(t, load);
    });
  });

  // A relay knows whole connections only.
  if (!inNamespaces) return;

  test("what the leader sends is lost, what the others send arrives; then two cannot hear each other", async (t) => {
    const spaces = new Namespaces(names);
    await Cluster.use(names, spaces, async (cluster) => {
      const load = await Load.start(cluster.addresses, 4);
      await load.goesOn();
      const leader = await cluster.leader();
      const others = names.filter((name) => name !== leader);
      load.takePauseMs();
      for (const other of others) spaces.lose(leader, other);
      const next = await cluster.leader(others);
      await load.goesOn();
      t.diagnostic(`${leader} unheard, ${next} leads: a pause of ${load.takePauseMs().toFixed(0)} ms`);
      spaces.heal();
      await cluster.level();
      // The third hears both: there is a majority that can talk, whoever leads it.
      spaces.lose(leader, next);
      spaces.lose(next, leader);
      await load.goesOn();
      t.diagnostic(`${leader} and ${next} do not hear each other: a pause of ${load.takePauseMs().toFixed(0)} ms`);
      spaces.heal();
      await cluster.level();
      await load.goesOn();
      await finish(t, load);
    });
  });
});

/** A member that is cut off from the majority takes no write and answers no linearizable read. */
async function refuses(load: Load, inside: Store): Promise<void> {
  const client = { name: "client inside" };
  const value = `written inside at ${performance.now()}`;
  const signal = AbortSignal.timeout(1_500);
  const wrote = load.call(client, actions.put("inside", value), async () => {
    return { revision: await inside.keys.put("inside", value, { signal }) };
  });
  const read = inside.keys.get("before", { signal });
  await assert.rejects(read, (error) => {
    assert.ok(error instanceof HoldfastError && ["unavailable", "timeout"].includes(error.code), String(error));
    return true;
  });
  assert.equal(await wrote, false, "a write was acknowledged by a member that is cut off");
}

async function finish(t: TestContext, load: Load): Promise<void> {
  const { callCount, text } = await load.stopAndCheck();
  t.diagnostic(text);
  assert.ok(callCount > 200);
}
