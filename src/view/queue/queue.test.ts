/** Queues: order, leases, retries, and effects that happen once, near and far. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../sim/index.ts";
import { collect } from "../fixture.suite.ts";
import { kinds, openPair } from "../store-pair.suite.ts";
import type { Job } from "./job.ts";

const ids = (jobs: readonly { readonly id: number }[]) => jobs.map(({ id }) => id);

for (const kind of kinds) {
  test(`jobs come by priority, then in the order of pushing, and go when acknowledged (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const queue = store.queue<string>("jobs");
    for (const [value, priority] of [
      ["a", 0],
      ["b", 5],
      ["c", -5],
      ["d", 5],
      ["e", 0],
    ] as const) {
      await queue.push(value, { priority });
    }
    const jobs = await queue.pull({ count: 10 });
    assert.deepEqual(
      jobs.map(({ value }) => value),
      ["b", "d", "a", "e", "c"],
    );
    assert.deepEqual(await queue.pull({ wait: false }), []);
    const { ready, leased } = await queue.info();
    assert.deepEqual([ready, leased], [0, 5]);
    for (const job of jobs) await job.ack();
    assert.equal((await queue.info()).leased, 0);
    assert.equal((await store.status()).leaseCount, 0, "the lease ended with its last job");
    await assert.rejects((jobs[0] as Job).ack(), { code: "conflict", message: /job 2 .* it is done/ });
    await queue.delete();
  });

  test(`a worker that dies gives its jobs back, and its late acknowledgement is refused (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    const queue = store.queue<number>("jobs");
    await queue.pushMany([{ value: 1 }, { value: 2 }]);
    const lost = await queue.pull({ count: 2 });
    const waiting = queue.pull({ count: 2 });
    await local.leases.revoke(lost[0]?.lease ?? 0n);
    const again = await waiting;
    assert.deepEqual(
      again.map(({ value, attempt }) => [value, attempt]),
      [
        [1, 2],
        [2, 2],
      ],
    );
    for (const job of lost) {
      await assert.rejects(job.ack(), {
        code: "conflict",
        message: /no longer leased as attempt 1: it is leased, after 2/,
      });
      await assert.rejects(job.reject(), { code: "conflict" });
      await assert.rejects(
        job.transaction((tx) => tx.keys.put("effect", "late")),
        { code: "conflict" },
      );
    }
    assert.equal(await store.keys.get("effect"), undefined);
    await again[0]?.transaction((tx) => tx.keys.put("effect", "once"));
    await again[1]?.ack();
    assert.equal((await store.keys.get("effect"))?.text(), "once");
    assert.deepEqual((await queue.info()).leased, 0);
  });

  test(`what fails is retried later each time, and is dead in the end (${kind})`, async (t) => {
    const { env, [kind]: store } = await openPair(t);
    const queue = store.queue<string>("jobs");
    await queue.configure({ attemptCountMax: 3, retryMinMs: 1_000_000, retryMaxMs: 1_500_000 });
    await queue.push("x");
    const seen: number[] = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      const [job] = await queue.pull({ wait: false });
      assert.equal(job?.attempt, attempt);
      await job?.reject({ error: `failure ${attempt}` });
      const [info] = await collect(queue.list());
      seen.push((info?.readyMs ?? 0) - env.clock.wallMs());
      assert.equal(info?.error, `failure ${attempt}`);
      assert.equal(info?.state, attempt < 3 ? "delayed" : "dead");
      env.wall.offsetMs += 1_600_000;
    }
    assert.ok((seen[0] ?? 0) > 900_000 && (seen[0] ?? 0) <= 1_000_000, seen.join());
    assert.ok((seen[1] ?? 0) > 1_400_000 && (seen[1] ?? 0) <= 1_500_000, seen.join());
    assert.deepEqual(await queue.pull({ wait: false }), []);
    assert.deepEqual(ids(await collect(queue.list({ dead: true }))), [1]);
    assert.equal(await queue.requeue(), 1);
    const [job] = await queue.pull();
    assert.equal(job?.attempt, 1);
    await job?.reject({ dead: true });
    assert.equal((await queue.info()).dead, 1);
    await assert.rejects(queue.delete(), { code: "conflict", message: /has 1 jobs/ });
    assert.equal(await queue.purge(), 1);
    await queue.delete();
  });

  test(`a delayed job is waited for, and a push wakes who waits (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const queue = store.queue<string>("jobs");
    await queue.push("later", { delayMs: 50 });
    assert.deepEqual(await queue.pull({ wait: false }), []);
    const [first] = await queue.pull();
    assert.equal(first?.value, "later");
    await first?.ack();
    const waiting = queue.pull();
    await queue.push("now");
    assert.equal((await waiting)[0]?.value, "now");
    const stop = new AbortController();
    const left = queue.pull({ signal: stop.signal });
    stop.abort();
    await assert.rejects(left, { code: "cancelled" });
  });

  test(`a deduplication key counts while the job is there, and for its time (${kind})`, async (t) => {
    const { env, [kind]: store } = await openPair(t);
    const queue = store.queue<string>("jobs");
    const first = await queue.push("a", { dedupKey: "k" });
    assert.deepEqual(await queue.push("b", { dedupKey: "k" }), { id: first.id, duplicate: true });
    await (await queue.pull())[0]?.ack();
    const timed = await queue.push("c", { dedupKey: "k", dedupMs: 1_000_000 });
    assert.equal(timed.duplicate, false);
    await (await queue.pull())[0]?.ack();
    assert.deepEqual(await queue.push("d", { dedupKey: "k" }), { id: timed.id, duplicate: true });
    env.wall.offsetMs += 1_000_001;
    assert.equal((await queue.push("e", { dedupKey: "k" })).duplicate, false);
  });

  test(`in a transaction jobs move with everything else, or not at all (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const [from, to] = [store.queue<number>("from"), store.queue<number>("to")];
    await from.pushMany(Array.from({ length: 20 }, (_, value) => ({ value })));
    const stop = new AbortController();
    let failures = 0;
    const working = from.work(
      async (job) => {
        if (job.value % 5 === 0 && job.attempt === 1) {
          failures++;
          throw new Error("once");
        }
        await job.transaction((tx) => {
          tx.queue("to").push(job.value);
          tx.counter("sum").add(job.value);
        });
        if ((await store.counter("sum").get()) === 190) stop.abort();
      },
      { concurrency: 4, signal: stop.signal },
    );
    await from.configure({ retryMinMs: 1 });
    await working;
    assert.equal(failures, 4);
    const moved = await to.pull({ count: 100 });
    assert.deepEqual(
      moved.map(({ value }) => value).toSorted((a, b) => a - b),
      Array.from({ length: 20 }, (_, value) => value),
    );
  });

  test(`who leaves a loop in the middle gives the job back (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const queue = store.queue<string>("jobs");
    await queue.push("x");
    for await (const job of queue.consume()) {
      assert.equal(job.attempt, 1);
      break;
    }
    const [job] = await queue.pull();
    assert.equal(job?.attempt, 2);
    await job?.extend();
    await job?.ack();
  });

  test(`random work by many adds up, against a model (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    const dice = new Prng(t.name);
    const queue = store.queue<number>("jobs");
    await queue.configure({ attemptCountMax: 0, retryMinMs: 0, retryMaxMs: 0 });
    const open = new Set<number>();
    let held: Job<number>[] = [];
    let next = 0;
    for (let step = 0; step < 200; step++) {
      const choice = dice.below(10);
      if (choice < 4) {
        await queue.push(next, { priority: dice.below(3) });
        open.add(next++);
      } else if (choice < 7) held.push(...(await queue.pull({ count: 1 + dice.below(4), wait: false })));
      else if (choice === 7 && held.length > 0) {
        const lease = dice.pick(held).lease;
        await local.leases.revoke(lease);
        held = held.filter((job) => job.lease !== lease);
      } else {
        const job = held.pop();
        if (job === undefined) continue;
        if (dice.chance(0.3)) await job.reject();
        else {
          await job.ack();
          open.delete(job.value);
        }
      }
      const { ready, delayed, leased, dead } = await queue.info();
      assert.deepEqual([ready + delayed + leased, leased, dead], [open.size, held.length, 0], `step ${step}`);
    }
    const all = (await collect(queue.list())).map(({ value }) => value);
    assert.deepEqual(
      all.toSorted((a, b) => a - b),
      [...open].toSorted((a, b) => a - b),
    );
  });

  test(`what cannot be is refused and says what can (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const queue = store.queue("jobs");
    await assert.rejects(queue.push("x", { priority: 0.5 }), { code: "invalid", message: /priority/ });
    await assert.rejects(queue.push("x", { delayMs: -1 }), { code: "invalid", message: /delayMs/ });
    await assert.rejects(queue.push("x", { dedupKey: "k".repeat(257) }), {
      code: "invalid",
      message: /the limit is 256/,
    });
    await assert.rejects(queue.pull({ count: 0 }), { code: "invalid" });
    await assert.rejects(queue.pull({ count: 1_001 }), { code: "invalid", message: /from 1 to 1000/ });
    await assert.rejects(queue.configure({ retryMinMs: 5, retryMaxMs: 1 }), { code: "invalid" });
    await assert.rejects(queue.requeue({ id: 9 }), { code: "notFound" });
    await assert.rejects(queue.remove(9), { code: "notFound" });
    assert.throws(() => store.queue("a\u0000b"), { code: "invalid" });
    assert.deepEqual(await collect(store.queues()), []);
    await queue.push("x");
    assert.deepEqual(
      (await collect(store.queues())).map(({ name, ready }) => [name, ready]),
      [["jobs", 1]],
    );
  });
}
