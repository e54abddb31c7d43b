/** `holdfast log move` on a running store, between its files and a real server of NATS. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { NatsServers } from "../host/nats-servers.suite.ts";
import { open } from "../index.ts";
import type { Store } from "../index.ts";
import { failWith, jsonLines, succeed, temporaryDirectory } from "./command.suite.ts";
import { freePorts } from "./demo/free-ports.ts";

/** Puts keys from several sides until it is stopped; gives how many each has put, all of them answered. */
function load(store: Store) {
  const over = new AbortController();
  const counts = [0, 0, 0];
  const writing = Promise.all(
    counts.map(async (_, side) => {
      while (!over.signal.aborted) {
        const count = counts[side] as number;
        await store.keys.put(`side-${side}`, String(count + 1));
        counts[side] = count + 1;
      }
    }),
  );
  // Told by `stop`, so that a failure elsewhere, behind which the stores are closed, is not hidden by what follows it.
  let failure: unknown;
  writing.catch((error: unknown) => (failure = error));
  const more = async () => {
    const wanted = counts.map((count) => count + 20);
    while (counts.some((count, side) => count < (wanted[side] as number))) {
      if (failure !== undefined) throw failure;
      await setTimeout(5);
    }
  };
  const stop = async () => {
    over.abort();
    await writing;
    return counts;
  };
  return { more, stop };
}

async function check(store: Store, counts: readonly number[], revision: number): Promise<void> {
  for (const [side, count] of counts.entries()) {
    assert.equal((await store.keys.get(`side-${side}`))?.text(), String(count));
  }
  assert.equal((await store.status()).revision, revision, "nothing is lost or doubled");
}

test("a running store moves from its files to NATS and back, under load, with a kill in between", async (t) => {
  const servers = await NatsServers.start(1);
  const directory = await temporaryDirectory();
  const [port = 0] = await freePorts(1);
  const endpoint = `127.0.0.1:${port}`;
  const move = async (to: string) => {
    const [moved] = jsonLines(await succeed(["log", "move", "--to", to, "--json"], { endpoint }));
    return moved as { readonly position: number; readonly pauseMs: number };
  };
  let store = await open(directory, { listen: [endpoint] });
  try {
    const { more, stop } = load(store);
    await more();
    const there = await move(servers.address("LOG"));
    await more();
    await servers.kill(0);
    await servers.startOne(0);
    await more();
    const back = await move("file:");
    await more();
    t.diagnostic(`appends waited ${there.pauseMs} ms and ${back.pauseMs} ms`);
    assert.ok(there.position > 0 && back.position > there.position);
    const counts = await stop();
    const revision = counts.reduce((sum, count) => sum + count, 0);
    await check(store, counts, revision);

    // Refused: nothing changes.
    for (const to of ["raft:", "file:elsewhere", "nats://nowhere", "smoke:"]) {
      await failWith(1, ["log", "move", "--to", to], { endpoint });
    }
    await assert.rejects(store.moveLog("nats://127.0.0.1:1/LOG"), { code: "unavailable" });
    await assert.rejects(store.moveLog(servers.address("LOG")), { code: "conflict" });
    await check(store, counts, revision);

    // Over a restart with all three engines, and without those that are trimmed.
    await store.close();
    store = await open(directory);
    await check(store, counts, revision);
    for (const key of ["x", "y", "z"]) {
      await store.keys.put(key, "1");
      await store.checkpoint();
    }
    await store.close();
    assert.deepEqual(await readdir(join(directory, "log")), []);
    await servers.stop();
    store = await open(directory);
    await check(store, counts, revision + 3);
    await store.keys.put("last", "1");
    assert.ok((await store.status()).logStart >= back.position);
  } finally {
    await store.close();
    await servers.stop();
  }
});

test("the log of a running cluster moves to NATS and back to its members, under load, with kills in between", async (t) => {
  const servers = await NatsServers.start(3);
  const names = ["a", "b", "c"];
  const ports = await freePorts(3);
  const directories = await Promise.all(names.map(() => temporaryDirectory()));
  const peers = Object.fromEntries(names.map((name, index) => [name, `127.0.0.1:${ports[index]}`]));
  const start = (index: number) => {
    const name = names[index] as string;
    return open(directories[index] as string, { name, listen: [peers[name] as string], peers });
  };
  const stores = await Promise.all(names.map((_, index) => start(index)));
  const [a, b] = stores as [Store, Store];
  const move = async (by: number, to: string) => {
    const [moved] = jsonLines(
      await succeed(["log", "move", "--to", to, "--json"], { endpoint: `127.0.0.1:${ports[by]}` }),
    );
    return moved as { readonly position: number; readonly pauseMs: number };
  };
  try {
    const { more, stop } = load(a);
    await more();
    const pauses = [(await move(0, servers.address("ONE"))).pauseMs];
    await more();
    await servers.kill(0);
    await more();
    await servers.startOne(0);
    pauses.push((await move(1, servers.address("TWO"))).pauseMs);
    await more();
    await stores[2]?.close();
    pauses.push((await move(0, "raft:")).pauseMs);
    await more();
    stores[2] = await start(2);
    pauses.push((await move(2, servers.address("THREE"))).pauseMs);
    await more();
    pauses.push((await move(1, "raft:")).pauseMs);
    await more();
    const counts = await stop();
    t.diagnostic(`appends waited ${pauses.map((pauseMs) => pauseMs.toFixed(1)).join(", ")} ms`);
    const revision = counts.reduce((sum, count) => sum + count, 0);
    for (const store of stores) await check(store, counts, revision);
    assert.match(await succeed(["log", "status"], { endpoint: `127.0.0.1:${ports[0]}` }), /engine +raft/);
    await failWith(1, ["log", "move", "--to", "file:"], { endpoint: `127.0.0.1:${ports[0]}` });
    await b.keys.put("last", "1");
  } finally {
    await Promise.all(stores.map((store) => store.close()));
    await servers.stop();
  }
});

test("a directory without a server moves its log too", async () => {
  const directory = await temporaryDirectory();
  const store = await open(directory);
  await store.keys.put("a", "1");
  await store.close();
  const text = await succeed(["log", "move", "--to", "file:", "--data", directory]);
  assert.match(text, /goes on in file: from position 1; appends waited [\d.]+ ms/);
  assert.match(await succeed(["log", "verify", "--data", directory]), /^clean/);
  assert.equal((await succeed(["key", "get", "a", "--data", directory])).trim(), "1");
});
