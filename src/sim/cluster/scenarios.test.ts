/** Failures that replicated stores have met before, told step by step on the production code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HoldfastError } from "../../base/index.ts";
import type { KeyEvent, RemoteStore } from "../../member/index.ts";
import { WatchChecker } from "../check/index.ts";
import { collectionRace } from "./collection-race.suite.ts";
import { refusal, tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";

async function text(store: Pick<RemoteStore, "keys">, key: string): Promise<string | undefined> {
  return (await store.keys.get(key))?.text();
}

/** Crashes a member at a change of its disk under `path`, and lets it come back. */
async function crashAtChange(scene: Scene, index: number, path: string, distance: number): Promise<void> {
  const seat = scene.cluster.seat(index);
  let left = distance;
  let target = 0;
  seat.machine.disk.hook = ({ changes, phase, path: at, number }) => {
    if (!changes || !at.startsWith(path)) return;
    if (phase === "before" && --left === 0) target = number;
    if (number === target && phase === "issued") {
      seat.machine.disk.hook = undefined;
      scene.cluster.stop(seat, { unsynced: "random" });
    }
  };
}

test("five members lose two and work; lose three and refuse; and recover by themselves when one comes back", async () => {
  await tell({ memberCount: 5 }, async (scene) => {
    const client = await scene.client();
    await client.keys.put("a", "1");
    const [first, second, third, ...left] = scene.seats;
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    for (const seat of [first, second]) scene.cluster.stop(seat, { unsynced: "random" });
    await client.keys.put("a", "2");
    assert.equal(await text(client, "a"), "2");
    scene.cluster.stop(third, "kill");
    const write = await refusal(client.keys.put("a", "3"));
    assert.ok(write.code === "unavailable" || write.code === "timeout", write.message);
    const inside = await refusal(scene.store(left[0] as typeof first).keys.put("b", "1"));
    assert.equal(inside.code, "unavailable");
    const read = await refusal(scene.store(left[1] as typeof first).keys.get("a"));
    assert.equal(read.code, "unavailable");
    assert.equal(read.maybe, false);
    const here = await scene.store(left[1] as typeof first).keys.get("a", { consistency: "local" });
    assert.equal(here?.text(), "2");
    scene.cluster.start(third);
    await client.keys.put("c", "1");
    // What was unknown may have happened meanwhile; what was refused for sure has not.
    const after = await text(client, "a");
    assert.ok(after === "2" || (after === "3" && write.maybe), `a = ${after}`);
  });
});

test("a leader that is cut off serves no linearizable read or write, while local reads work", async () => {
  await tell({ memberCount: 3 }, async (scene) => {
    const client = await scene.client();
    await client.keys.put("a", "before");
    const old = await scene.leader();
    const near = await scene.client([old]);
    assert.equal(await text(near, "a"), "before");
    scene.cutOff(old);
    const reading = refusal(scene.store(old).keys.get("a"));
    const writing = refusal(scene.store(old).keys.put("a", "by the old leader"));
    const others = await scene.client(scene.others(old));
    await others.keys.put("a", "after");
    assert.equal(await text(others, "a"), "after");
    assert.equal((await reading).code, "unavailable");
    const refused = await writing;
    assert.equal(refused.code, "unavailable");
    const refusals = await Promise.all([refusal(near.keys.get("a")), refusal(near.keys.put("b", "1"))]);
    for (const { code } of refusals) assert.ok(["unavailable", "timeout"].includes(code), code);
    assert.equal((await near.keys.get("a", { consistency: "local" }))?.text(), "before");
    scene.heal();
    await scene.until(
      "the old leader has heard",
      async () => (await scene.store(old).keys.get("a"))?.text() === "after",
    );
  });
});

test("stale read after a process pause: a leader that slept answers with what happened meanwhile", async () => {
  await tell({ memberCount: 3 }, async (scene) => {
    const client = await scene.client();
    await client.keys.put("a", "before");
    const old = await scene.leader();
    const others = await scene.client(scene.others(old));
    const ask = () =>
      scene
        .store(old)
        .keys.get("a")
        .then(
          (record) => record?.text(),
          (error: HoldfastError) => error.code,
        );
    const sleepMs = 20_000;
    const endMs = scene.simulator.nowMs + sleepMs;
    old.machine.freeze(sleepMs);
    await scene.leader(scene.others(old));
    await others.keys.put("a", "after");
    assert.ok(scene.simulator.nowMs < endMs - 1_000, "the others elect a leader meanwhile");
    // One question waits inside the sleeping process, another is put at the moment in which it wakes up.
    const answers = [ask(), scene.sleep(endMs - scene.simulator.nowMs).then(ask)];
    for (const answer of answers) assert.ok(["after", "unavailable"].includes((await answer) ?? ""), await answer);
    await scene.until("it hears of the others", async () => (await ask()) === "after");
  });
});

test("lost write on a single node: what was answered is there after a power failure at that moment", async () => {
  await tell({ memberCount: 1 }, async (scene) => {
    const [seat] = scene.seats;
    assert.ok(seat !== undefined);
    for (let round = 1; round <= 25; round++) {
      await scene.store(seat).keys.put("a", String(round));
      // The same turn in which the answer came.
      scene.cluster.stop(seat, { unsynced: "lost" });
      await scene.everybodyRuns();
      assert.equal((await scene.store(seat).keys.get("a"))?.text(), String(round));
    }
  });
});

test("crash in compaction: at any change of the disk, on all members, nothing is half compacted", async () => {
  const member = { checkpointLogSizeMin: 1_000, historyRevisions: 0 };
  await tell({ memberCount: 3, member }, async (scene) => {
    const client = await scene.client();
    for (let round = 0; round < 12; round++) {
      for (let number = 0; number < 12; number++) await client.keys.put(`k/${number % 5}`, `${round} ${number}`);
      await client.keys.delete(`k/${round % 5}`);
      const at = await client.keys.revision();
      for (const index of [0, 1, 2]) {
        const path = ["blobs", "checkpoints", "raft"][(round + index) % 3] as string;
        await crashAtChange(scene, index, path, 1 + ((round * 5 + index * 3) % 11));
      }
      const compacted = client.keys.compact(at - 3).catch(() => {});
      for (const { member: running } of scene.seats) void running?.store.checkpoint().catch(() => {});
      await scene.sleep(100);
      for (const seat of scene.seats) seat.machine.disk.hook = undefined;
      await scene.everybodyRuns();
      await compacted;
      await client.keys.compact(at - 3).catch((error: { code: string }) => assert.equal(error.code, "trimmed"));
      const early = await refusal(client.at(at - 4).keys.get("k/0"));
      assert.equal(early.code, "trimmed");
      assert.equal(await client.at(at).keys.get(`k/${round % 5}`), undefined, "deleted at that revision");
      for (const seat of scene.seats) {
        await scene.store(seat).keys.revision();
        const keys = [];
        for await (const { key } of scene.store(seat).at(at).keys.list({ prefix: "k/" })) keys.push(key);
        assert.equal(keys.length, 4, `${seat.name} at revision ${at}: ${keys.join()}`);
      }
    }
  });
});

test("a delete lost at compaction: what was deleted stays so, also for those who fetch the state", async () => {
  await tell({ memberCount: 3, member: { checkpointLogSizeMin: 500 } }, async (scene) => {
    const client = await scene.client();
    const [, , away] = scene.seats;
    assert.ok(away !== undefined);
    for (let number = 0; number < 20; number++) await client.keys.put(`k/${number}`, "x".repeat(100));
    // It has the keys, and will not hear of their end but from the state of the others.
    await scene.until("it has them", () => scene.store(away).replica.revision >= 20);
    scene.cluster.stop(away, { unsynced: "random" });
    const { revision } = await client.keys.delete({ prefix: "k/1" });
    await client.keys.compact(revision);
    for (let number = 0; number < 60; number++) await client.keys.put("filler", `${number} ${"x".repeat(200)}`);
    for (const seat of scene.others(away)) await scene.store(seat).checkpoint();
    await scene.everybodyRuns();
    await scene.store(away).keys.revision();
    for (const seat of scene.seats) {
      const left = await scene.store(seat).keys.count({ prefix: "k/" });
      assert.equal(left, 9, `${left} keys are left on ${seat.name}`);
      assert.equal(await scene.store(seat).keys.get("k/1"), undefined);
    }
    // A new version begins anew: nobody remembers the old one.
    await client.keys.put("k/1", "again");
    assert.equal((await scene.store(away).keys.get("k/1"))?.version, 1);
  });
});

/** Writes to `w/…` until it is told to stop; gives every change in its order. */
async function writeOn(store: RemoteStore, until: () => boolean) {
  const changes: { revision: number; key: string; value: string | undefined }[] = [];
  for (let number = 0; !until(); number++) {
    const key = `w/${number % 7}`;
    if (number % 11 === 10) {
      const { revision, count } = await store.keys.delete(key);
      if (count > 0) changes.push({ revision, key, value: undefined });
    } else {
      const value = `v${number}`;
      changes.push({ revision: await store.keys.put(key, value), key, value });
    }
  }
  return changes;
}

test("watch going back in time, and progress out of order: from member to member a watch goes on where it was", async () => {
  await tell({ memberCount: 3 }, async (scene) => {
    const writer = await scene.client();
    const watching = await scene.client();
    const checker = new WatchChecker({ name: "the watch", from: 1, wants: ({ key }) => key.startsWith("w/") });
    const stop = new AbortController();
    let notices = 0;
    const watched = (async () => {
      const options = { prefix: "w/", from: 1, progressMs: 50, signal: stop.signal };
      for await (const step of watching.keys.watch(options)) {
        if (step.type === "progress") {
          notices += 1;
          checker.progress(step.revision);
        } else checker.event({ revision: step.revision, key: step.key, value: step.record?.text() });
      }
    })().catch(() => {});
    let over = false;
    const writing = writeOn(writer, () => over);
    // Every member in turn falls behind, and the watch is sent away from all of them again and again.
    for (let round = 0; round < 12; round++) {
      const seat = scene.cluster.seat(round % 3);
      scene.cutOff(seat);
      await scene.sleep(300);
      scene.simulator.network.cut("client2");
      await scene.sleep(900);
      scene.heal();
      if (round % 4 === 3) scene.cluster.stop(seat, "kill");
      await scene.sleep(200);
      scene.cluster.start(seat);
    }
    over = true;
    const changes = await writing;
    const revision = changes.at(-1)?.revision ?? 0;
    await scene.until("the watch has everything", () => checker.revision >= revision);
    stop.abort();
    await watched;
    checker.finish(changes, { through: revision });
    assert.ok(changes.length > 100 && notices > 5, `${changes.length} changes, ${notices} notices`);
  });
});

test("events lost when a watcher starves: a slow reader gets all of them, in their order", async () => {
  await tell({ memberCount: 3 }, async (scene) => {
    const writer = await scene.client();
    const slow = await scene.client();
    const events = slow.keys.watch({ prefix: "w/", from: 1 });
    const first = events.next();
    let number = 0;
    const changes = await writeOn(writer, () => ++number > 600);
    const { value: begun } = await first;
    const seen: KeyEvent[] = begun === undefined ? [] : [begun];
    // Nobody reads while members come and go.
    for (const seat of scene.seats) {
      scene.cluster.stop(seat, "kill");
      await scene.sleep(3_000);
      scene.cluster.start(seat);
      await scene.everybodyRuns();
    }
    while (seen.length < changes.length) {
      const { value } = await events.next();
      if (value !== undefined) seen.push(value);
    }
    const found = seen.map(({ revision, key, record }) => ({ revision, key, value: record?.text() }));
    assert.deepEqual(found, changes);
    await events.return?.();
  });
});

test("validity checks outside apply: of conditions that only one can meet, one is met, and all members agree", async () => {
  await tell({ memberCount: 3 }, async (scene) => {
    const clients = await Promise.all(scene.seats.map((seat) => scene.client([seat])));
    for (let round = 0; round < 30; round++) {
      const before = (await clients[0]?.keys.get("a"))?.revision ?? 0;
      // Each has seen the same, and each asks another member.
      const attempts = clients.map((client, index) =>
        client.keys.put("a", `${round} ${index}`, { ifRevision: before }),
      );
      const inside = scene.seats.map((seat) =>
        scene.store(seat).keys.put(`once/${round}`, seat.name, { ifAbsent: true }),
      );
      const [outcomes, once] = await Promise.all([Promise.allSettled(attempts), Promise.allSettled(inside)]);
      assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
      assert.equal(once.filter(({ status }) => status === "fulfilled").length, 1);
    }
  });
});

test("applied index stored apart from the data: a restart applies no command twice, and none never", async () => {
  for (const seed of [1, 2]) {
    await tell({ seed, memberCount: 1, member: { checkpointLogSizeMin: 500 } }, async (scene) => {
      const [seat] = scene.seats;
      assert.ok(seat !== undefined);
      let acknowledged = 0;
      let unknown = 0;
      for (let round = 0; round < 20; round++) {
        await crashAtChange(scene, 0, round % 2 === 0 ? "checkpoints" : "blobs", 1 + (round % 6));
        // Without a session, so that only the position of the checkpoint keeps a command from being applied again.
        for (let count = 0; count < 15 && seat.state === "running"; count++) {
          const counted = scene.store(seat).transaction(async (tx) => {
            tx.keys.put("count", String(Number((await tx.keys.get("count"))?.text() ?? 0) + 1));
          });
          unknown += 1;
          const answered = counted.then(
            () => true,
            () => false,
          );
          // A call of a dead process has no end.
          if (!(await Promise.race([answered, scene.sleep(500)]))) break;
          acknowledged += 1;
          unknown -= 1;
        }
        seat.machine.disk.hook = undefined;
        await scene.everybodyRuns();
        const count = Number((await scene.store(seat).keys.get("count"))?.text() ?? 0);
        assert.ok(count >= acknowledged && count <= acknowledged + unknown, `${count}, acknowledged ${acknowledged}`);
        acknowledged = count;
        unknown = 0;
      }
      assert.ok(acknowledged > 50, `only ${acknowledged} were counted`);
    });
  }
});

test("collection racing with puts of the same content, with clocks a day off in either direction, loses nothing", async () => {
  for (const seed of [1, 2, 3]) await collectionRace({ seed, roundCount: 6 });
});
