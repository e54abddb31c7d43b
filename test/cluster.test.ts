/**
 * Three members as processes, killed with SIGKILL under load and started again or replaced: clients go on, and what was
 * acknowledged is there, once.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Cluster, Load, loopback, until } from "./cluster.suite.ts";

const names = ["a", "b", "c"];

test("kill -9 of each member in turn, the leader among them, under load", async (t) => {
  await Cluster.use(names, await loopback(names), async (cluster) => {
    const load = await Load.start(cluster.addresses, 4);
    await load.goesOn();
    const leader = await cluster.leader();
    // The leader first: then each of the three is killed once, and at least one leader.
    for (const name of [leader, ...names.filter((other) => other !== leader)]) {
      load.takePauseMs();
      const leads = (await cluster.leader()) === name;
      await cluster.kill(name);
      await load.goesOn();
      t.diagnostic(`${name}${leads ? ", the leader," : ""} killed: a pause of ${load.takePauseMs().toFixed(0)} ms`);
      await cluster.start(name);
      await cluster.level();
      await load.goesOn();
    }
    const { callCount, text } = await load.stopAndCheck();
    t.diagnostic(text);
    assert.ok(callCount > 200);
    await cluster.level();
    const states = await Promise.all(names.map((name) => localState(cluster, name)));
    assert.equal(states[1], states[0]);
    assert.equal(states[2], states[0]);
  });
});

test("a member that was away while the log was trimmed gets the state from the others, and a new one takes its place", async (t) => {
  const ground = await loopback([...names, "d"]);
  await Cluster.use(names, ground, async (cluster) => {
    const load = await Load.start(cluster.addresses, 2);
    await load.goesOn();
    const leader = await cluster.leader();
    const [away = "", other = ""] = names.filter((name) => name !== leader);
    const { applied } = await (await cluster.at(away)).status();
    await cluster.kill(away);
    const store = await cluster.at(leader);
    const large = randomBytes(500_000);
    for (let number = 0; number < 30; number++) await store.keys.put(`large/${number % 10}`, large);
    // The log goes back to the older of the last two checkpoints, in whole segments.
    await until("the log is trimmed", async () => {
      await store.keys.put("large/0", large);
      await load.goesOn(1);
      const { logStart } = await store.checkpoint();
      return logStart > applied;
    });
    await (await cluster.at(other)).checkpoint();
    await cluster.start(away);
    await cluster.level();
    assert.match(cluster.said(away), /took over a newer state/);
    await load.goesOn();
    // The same for one that has nothing at all.
    await cluster.kill(away);
    await cluster.start("d", ["--name", "d", "--join", cluster.addresses, "--replace", away]);
    await until(`d takes the place of ${away}`, async () => {
      const { members } = await store.members.list();
      return members.some(({ name, role }) => name === "d" && role === "voter") && members.length === 3;
    });
    assert.match(cluster.said("d"), /took over a newer state/);
    await load.goesOn();
    t.diagnostic((await load.stopAndCheck()).text);
  });
});

/** What this member has, without asking the others. */
async function localState(cluster: Cluster, name: string): Promise<string> {
  const lines: string[] = [];
  const store = await cluster.at(name);
  for await (const record of store.keys.list({ prefix: "", consistency: "local" })) {
    lines.push(`${record.key} ${record.revision} ${record.text()}`);
  }
  return lines.join("\n");
}
