/** Locks and their kin: order, leases, fences, near and far. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect } from "../fixture.suite.ts";
import { kinds, openPair } from "../store-pair.suite.ts";

/** Resolves when as many wait as are meant to. */
async function untilWaiting(of: { waiterCount(): Promise<number> }, count: number): Promise<void> {
  while ((await of.waiterCount()) !== count) await new Promise((resolve) => setImmediate(resolve));
}

for (const kind of kinds) {
  test(`what a block ends with is not hidden by a place that cannot be given up (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const failing = store.lock("l").with(async () => {
      await store.close();
      throw new Error("of the block");
    });
    await assert.rejects(failing, { message: "of the block" });
  });

  test(`a lock goes from one to the next in the order of asking, with growing fences (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const lock = store.lock<string>("l");
    const first = await lock.acquire({ value: "first" });
    const order: number[] = [];
    const fences = [first.fence];
    const waiting: Promise<void>[] = [];
    for (let index = 0; index < 5; index++) {
      waiting.push(
        lock.with((hold) => {
          order.push(index);
          fences.push(hold.fence);
        }),
      );
      await untilWaiting(lock, index + 1);
    }
    assert.equal((await lock.holder())?.value, "first");
    assert.equal(await lock.tryAcquire(), undefined);
    await first.release();
    await Promise.all(waiting);
    assert.deepEqual(order, [0, 1, 2, 3, 4]);
    assert.deepEqual(
      fences,
      fences.toSorted((a, b) => a - b),
    );
    assert.equal(await lock.holder(), undefined);
    const taken = await lock.tryAcquire();
    assert.ok(taken !== undefined && taken.fence > (fences.at(-1) as number));
    await taken.release();
    await taken.release();
    assert.equal((await store.status()).leaseCount, 0, "every lease went with its place");
  });

  test(`a holder that dies gives it to the next, and what it still writes is refused (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    const lock = store.lock("l");
    const old = await lock.acquire({ ttlMs: 60_000 });
    await old.transaction((tx) => tx.keys.put("k", "old"));
    const next = lock.acquire();
    await untilWaiting(lock, 1);
    // What happens when nobody hears of the holder for its time to live.
    const holder = await lock.holder();
    await local.leases.revoke(holder?.lease ?? 0n);
    const held = await next;
    assert.ok(held.fence > old.fence);
    await assert.rejects(
      old.transaction((tx) => tx.keys.put("k", "late")),
      {
        code: "conflict",
        message: new RegExp(`no longer held under fence ${old.fence}; it is held under fence ${held.fence}`),
      },
    );
    await held.transaction((tx) => tx.keys.put("k", "new"));
    assert.equal((await store.keys.get("k"))?.text(), "new");
    assert.equal(await old.check(), false);
    assert.equal(await held.check(), true);
    if (!old.isLost) await new Promise((resolve) => old.signal.addEventListener("abort", resolve, { once: true }));
    assert.match((old.signal.reason as Error).message, /is lost: its lease has ended/);
    await assert.rejects(old.proclaim("x"), { code: "conflict" });
    await old.release();
    await held.release();
  });

  test(`who leaves the queue is passed over, also when its lease ends there (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const lock = store.lock("l");
    const first = await lock.acquire();
    const stop = new AbortController();
    const leaving = lock.acquire({ signal: stop.signal });
    await untilWaiting(lock, 1);
    const last = lock.acquire();
    await untilWaiting(lock, 2);
    stop.abort();
    await assert.rejects(leaving, { code: "cancelled" });
    await untilWaiting(lock, 1);
    await first.release();
    await (await last).release();
  });

  test(`readers together, writers alone, nobody overtakes (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const lock = store.readWriteLock("rw");
    const [a, b] = [await lock.read(), await lock.read()];
    const writer = lock.write();
    await untilWaiting(lock, 1);
    assert.equal(await lock.tryRead(), undefined, "a writer waits before it");
    const late = lock.read();
    await untilWaiting(lock, 2);
    await a.release();
    assert.equal(await lock.waiterCount(), 2);
    await b.release();
    const w = await writer;
    assert.equal(await lock.waiterCount(), 1);
    await w.release();
    await (await late).release();
    assert.equal(await lock.tryWrite().then((hold) => hold?.release()), undefined);
  });

  test(`a semaphore gives no more than there are, and in order (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const semaphore = store.semaphore("s", { permits: 3 });
    const [one, two] = [await semaphore.acquire(), await semaphore.acquire({ permits: 2 })];
    assert.equal(await semaphore.tryAcquire(), undefined);
    const many = semaphore.acquire({ permits: 3 });
    await untilWaiting(semaphore, 1);
    const few = semaphore.acquire();
    await untilWaiting(semaphore, 2);
    await one.release();
    assert.equal(await semaphore.waiterCount(), 2, "who wants one waits behind who wants three");
    await two.release();
    await (await many).release();
    await (await few).release();
    await assert.rejects(semaphore.acquire({ permits: 4 }), { code: "invalid", message: /from 1 to 3/ });
    const held = await semaphore.acquire();
    await assert.rejects(store.semaphore("s", { permits: 5 }).acquire(), {
      code: "conflict",
      message: /used with 3 permits/,
    });
    await held.release();
    await store
      .semaphore("s", { permits: 5 })
      .acquire({ permits: 5 })
      .then((hold) => hold.release());
  });

  test(`a barrier opens when all are there, again and again (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const barrier = store.barrier("b", { count: 3 });
    for (let round = 1; round <= 3; round++) {
      const early = [barrier.arrive(), barrier.arrive()];
      await untilWaiting(barrier, 2);
      const stop = new AbortController();
      if (round === 2) {
        const gone = store.barrier("b", { count: 4 }).arrive({ signal: stop.signal });
        await untilWaiting(barrier, 3);
        stop.abort();
        await assert.rejects(gone, { code: "cancelled" });
        await untilWaiting(barrier, 2);
      }
      assert.deepEqual(await Promise.all([...early, barrier.arrive()]), [round, round, round]);
    }
  });

  test(`an election: the leader is seen, proclaims, resigns, and the next one leads (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const election = store.election<string>("leader");
    const stop = new AbortController();
    const seen: (string | undefined)[] = [];
    const observing = (async () => {
      for await (const leader of election.observe({ signal: stop.signal })) seen.push(leader?.value);
    })();
    const a = await election.campaign({ value: "a" });
    const b = election.campaign({ value: "b" });
    assert.equal((await election.leader())?.value, "a");
    await a.proclaim("a2");
    assert.equal((await election.leader())?.value, "a2");
    await a.release();
    const second = await b;
    assert.deepEqual(await election.leader(), {
      fence: second.fence,
      value: "b",
      lease: (await election.leader())?.lease,
    });
    while (seen.at(-1) !== "b") await new Promise((resolve) => setImmediate(resolve));
    await second.release();
    while (seen.at(-1) !== undefined) await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await observing;
  });

  test(`presence: who is here, in the order of joining, until it leaves (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    const presence = store.presence<{ readonly name: string }>("room");
    const holds = await Promise.all(["a", "b", "c"].map((name) => presence.join({ value: { name } })));
    const names = async () => (await collect(presence.list())).map(({ value }) => value.name).toSorted();
    assert.deepEqual(await names(), ["a", "b", "c"]);
    const stop = new AbortController();
    const counts: number[] = [];
    for await (const all of presence.watch({ signal: stop.signal })) {
      counts.push(all.length);
      if (all.length === 3) await local.leases.revoke(all[0]?.lease ?? 0n);
      else if (all.length === 2) await Promise.all(holds.map((hold) => hold.release()));
      else if (all.length === 0) stop.abort();
    }
    assert.equal(counts[0], 3);
    assert.equal(counts.at(-1), 0);
  });

  test(`names of different kinds are different things, and bad ones are told (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    await using one = await store.lock("x").acquire();
    await using two = await store.election("x").campaign();
    assert.notEqual(one.fence, two.fence);
    assert.throws(() => store.lock(""), { code: "invalid", message: /name of the lock is empty/ });
    assert.throws(() => store.semaphore("s", { permits: 0 }), { code: "invalid" });
    await assert.rejects(store.lock("y").acquire({ ttlMs: 1 }), { code: "invalid", message: /leaseTtlMinMs/ });
    await assert.rejects(store.lock("y").acquire({ value: "x".repeat(5_000) }), { code: "invalid", message: /4096/ });
  });

  test(`a snapshot keeps who held it, and a transaction that has seen a lock meets its change (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const hold = await store.lock<string>("l").acquire({ value: "then" });
    const revision = await store.snapshot("s").then((snapshot) => snapshot.revision);
    await hold.release();
    assert.equal((await store.at(revision).lock<string>("l").holder())?.value, "then");
    assert.equal(await store.lock("l").holder(), undefined);
  });
}
