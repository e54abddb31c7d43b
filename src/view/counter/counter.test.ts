/** Counters: exact under many at once, near and far, in transactions and in the past. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect } from "../fixture.suite.ts";
import { kinds, openPair } from "../store-pair.suite.ts";

for (const kind of kinds) {
  test(`many add at once, and nothing is lost (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const counter = store.counter("hits");
    assert.equal(await counter.get(), 0);
    const sums = await Promise.all(Array.from({ length: 200 }, (_, index) => counter.add(index % 2 === 0 ? 3 : -1)));
    assert.equal(new Set(sums).size, 200, "each addition has answered its own sum");
    assert.equal(await counter.get(), 200);
  });

  test(`bounds, expected values and numbers that are none are told (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const stock = store.counter("stock");
    await stock.set(2);
    assert.equal(await stock.add(-2, { min: 0 }), 0);
    await assert.rejects(stock.add(-1, { min: 0 }), { code: "conflict", message: /stock is 0: with -1 added/ });
    await assert.rejects(stock.set(7, { expected: 1 }), { code: "conflict", message: "counter stock is 0, not 1" });
    await stock.set(Number.MAX_SAFE_INTEGER, { expected: 0 });
    await assert.rejects(stock.add(1), { code: "conflict" });
    assert.equal(await stock.get(), Number.MAX_SAFE_INTEGER);
    await assert.rejects(async () => stock.add(0.5), { code: "invalid", message: /whole number/ });
    assert.throws(() => store.counter(""), { code: "invalid", message: /empty/ });
    assert.throws(() => store.counter("a\n"), { code: "invalid", message: /control character/ });
    assert.throws(() => store.counter("ä".repeat(65)), { code: "invalid", message: /130 bytes.*nameSizeMax/ });
    await stock.delete();
    assert.equal(await stock.get(), 0);
  });

  test(`the list is in the order of names, page by page, under a prefix (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const names = Array.from({ length: 1_100 }, (_, index) => `n/${String(index).padStart(4, "0")}`);
    await store.transaction((tx) => names.forEach((name) => tx.counter(name).add(1)));
    await store.counter("m").add(1);
    await store.counter("n").add(1);
    await store.counter("o").add(1);
    const listed = await collect(store.counters({ prefix: "n/" }));
    assert.deepEqual(
      listed.map(({ name }) => name),
      names,
    );
    assert.equal((await collect(store.counters())).length, 1_103);
  });

  test(`a transaction reads one state, sees its own changes, and meets those of others (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const [from, to] = [store.counter("from"), store.counter("to")];
    await from.set(10);
    let runs = 0;
    const { value } = await store.transaction(async (tx) => {
      const have = await tx.counter("from").get();
      // Once, between what it reads and what it commits.
      if (runs++ === 0) await from.set(20);
      tx.counter("from").add(-have);
      tx.counter("to").add(have);
      tx.keys.put("moved", String(have));
      return [await tx.counter("from").get(), await tx.counter("to").get()];
    });
    assert.equal(runs, 2);
    assert.deepEqual(value, [0, 20]);
    assert.deepEqual([await from.get(), await to.get()], [0, 20]);
    assert.equal((await store.keys.get("moved"))?.text(), "20");
  });

  test(`additions without a reading never meet (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    let runs = 0;
    const one = () => store.transaction((tx) => (runs++, tx.counter("a").add(1), tx.counter("b").add(-1)));
    await Promise.all(Array.from({ length: 50 }, one));
    assert.equal(runs, 50);
    assert.deepEqual([await store.counter("a").get(), await store.counter("b").get()], [50, -50]);
  });

  test(`what was read as absent is met when it appears and goes again (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const counter = store.counter("c");
    let runs = 0;
    await store.transaction(async (tx) => {
      assert.equal(await tx.counter("c").get(), 0);
      if (runs++ === 0) {
        await counter.add(5);
        await counter.delete();
      }
      tx.keys.put("k", "v");
    });
    assert.equal(runs, 2);
  });

  test(`a watch gives the value now and the newest after changes, and ends (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const counter = store.counter("w");
    const stop = new AbortController();
    const seen: number[] = [];
    for await (const value of counter.watch({ signal: stop.signal })) {
      seen.push(value);
      if (value >= 3) stop.abort();
      else await counter.add(1);
    }
    assert.deepEqual(seen, [0, 1, 2, 3]);
  });

  test(`a snapshot keeps it, and a revision since which it has not changed (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const counter = store.counter("c");
    await counter.set(1);
    const { revision } = await store.snapshot("one");
    await counter.set(2);
    assert.equal(await store.at(revision).counter("c").get(), 1);
    const later = await store.keys.put("k", "v");
    await store.keys.put("k", "w");
    assert.equal(await store.at(later).counter("c").get(), 2);
    await counter.set(3);
    await assert.rejects(store.at(later).counter("c").get(), {
      code: "trimmed",
      message: /no snapshot keeps/,
    });
    await assert.rejects(store.at(revision).counter("c").add(1), { code: "invalid", message: /read-only/ });
  });
}
