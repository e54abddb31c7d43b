/** Streams: dense positions, tails that miss nothing, groups that take turns, near and far. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../sim/index.ts";
import { collect } from "../fixture.suite.ts";
import { kinds, openPair } from "../store-pair.suite.ts";

const range = (start: number, end: number) => Array.from({ length: end - start }, (_, index) => start + index);

for (const kind of kinds) {
  test(`positions are dense, and many who append at once get their own (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const log = store.log<number>("s");
    const positions = await Promise.all(
      range(0, 100).map((value) => (value % 3 === 0 ? log.appendMany([value, value]) : log.append(value))),
    );
    const entries = await collect(log.read());
    assert.deepEqual(
      entries.map(({ position }) => position),
      range(0, 134),
    );
    for (const [value, position] of positions.entries()) {
      assert.equal(entries[position]?.value, value);
      if (value % 3 === 0) assert.equal(entries[position + 1]?.value, value, "neighbours");
    }
    assert.deepEqual(
      (await collect(log.read({ from: 130 }))).map(({ position }) => position),
      range(130, 134),
    );
    assert.deepEqual(
      (await collect(log.read({ limit: 3, reverse: true }))).map(({ position }) => position),
      [133, 132, 131],
    );
    assert.deepEqual(
      (await collect(log.read({ from: 2, reverse: true }))).map(({ position }) => position),
      [1, 0],
    );
    await assert.rejects(log.append(0, { expectedTail: 5 }), {
      code: "conflict",
      message: "the tail of the stream s is 134, not 5",
    });
    assert.equal(await log.append(0, { expectedTail: 134 }), 134);
    const many = store.log<number>("many");
    for (let begin = 0; begin < 2_000; begin += 500) await many.appendMany(range(begin, begin + 500));
    assert.deepEqual(
      (await collect(many.read())).map(({ value }) => value),
      range(0, 2_000),
    );
  });

  test(`a tail gives what was there and what comes, each once (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const log = store.log<number>("s");
    await log.appendMany(range(0, 600));
    const seen: number[] = [];
    const stop = new AbortController();
    const writing = (async () => {
      for (let value = 600; value < 700; value += 2) await log.appendMany([value, value + 1]);
    })();
    for await (const { value, position } of log.tail({ from: 100, signal: stop.signal })) {
      assert.equal(value, position);
      seen.push(value);
      if (value === 699) stop.abort();
    }
    await writing;
    assert.deepEqual(seen, range(100, 700));
  });

  test(`what is trimmed is gone, by hand and by bounds (${kind})`, async (t) => {
    const { env, [kind]: store } = await openPair(t);
    const log = store.log<string>("s");
    await log.appendMany(range(0, 2_500).map(String));
    assert.equal(await log.trim(2_400), 2_400);
    await assert.rejects(collect(log.read({ from: 5 })), { code: "trimmed", message: /position 5 .* starts at 2400/ });
    assert.equal((await collect(log.read())).length, 100);
    await log.retain({ countMax: 10 });
    await log.append("x");
    await log.append("y");
    assert.deepEqual([(await log.info()).start, (await log.info()).tail], [2_492, 2_502]);
    await log.retain({ ageMaxMs: 1_000_000 });
    env.wall.offsetMs += 2_000_000;
    await log.append("new");
    assert.deepEqual(
      (await collect(log.read())).map(({ value }) => value),
      ["new"],
    );
    await log.retain({ sizeMax: 200 });
    for (let index = 0; index < 5; index++) await log.append("z".repeat(100));
    const { start, tail, size } = await log.info();
    assert.deepEqual([tail - start, size <= 200], [1, true]);
    await log.delete();
    assert.deepEqual(await collect(store.logs()), []);
    assert.equal(await log.append("again"), 0);
  });

  test(`in a transaction several streams are appended to, or none (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    await store.transaction((tx) => {
      tx.log("a").append(1, 2);
      tx.log("b").append(3);
      tx.keys.put("k", "v");
    });
    assert.equal((await store.log("a").info()).tail, 2);
    let runs = 0;
    await store.transaction(async (tx) => {
      const tail = await tx.log("a").tail();
      if (runs++ === 0) await store.log("a").append("between");
      tx.log("b").append(tail);
    });
    assert.equal(runs, 2);
    assert.deepEqual(
      (await collect(store.log("b").read())).map(({ value }) => value),
      [3, 3],
    );
    await assert.rejects(
      store.transaction((tx) => {
        tx.log("a").append("lost");
        tx.log("b").commit("g", 1_000);
      }),
      { code: "invalid", message: /behind the tail/ },
    );
    assert.equal((await store.log("a").info()).tail, 3);
  });

  test(`a group goes on where it was committed, and who lost the turn commits nothing (${kind})`, async (t) => {
    const { local, [kind]: store } = await openPair(t);
    const log = store.log<number>("s");
    await log.appendMany(range(0, 20));
    const group = log.group("g");
    const first = group.consume({ batchCount: 5 });
    const one = (await first.next()).value;
    assert.deepEqual(
      one?.entries.map(({ value }) => value),
      range(0, 5),
    );
    await one?.commit();
    const two = (await first.next()).value;
    // Nobody hears of it for the time that its turn lives.
    const [lease] = await collect(local.leases.list());
    await local.leases.revoke(lease?.id ?? 0n);
    const seen: number[] = [];
    const stop = new AbortController();
    for await (const batch of group.consume({ batchCount: 4, signal: stop.signal })) {
      seen.push(...batch.entries.map(({ value }) => value));
      if (seen.length === 4) await assert.rejects(two?.commit() as Promise<void>, { code: "conflict" });
      await batch.commit();
      if (batch.next === 20) stop.abort();
    }
    assert.deepEqual(seen, range(5, 20));
    assert.deepEqual(await group.info(), { position: 20, lag: 0 });
    await log.append(20);
    assert.deepEqual(await collect(log.groups()), [{ name: "g", position: 20, lag: 1 }]);
    await assert.rejects(group.commit(3, { expected: 7 }), { code: "conflict", message: /is at 20, not 7/ });
    await group.commit(3, { expected: 20 });
    await assert.rejects(first.next(), { code: "conflict", message: /is lost/ });
    await group.delete();
    assert.deepEqual(await collect(log.groups()), []);
  });

  test(`who waits for a turn, or follows from a tail that it has not asked for yet, leaves when told (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const log = store.log<number>("s");
    await log.append(0);
    const first = log.group("g").consume();
    await first.next();
    const stop = new AbortController();
    const waiting = collect(log.group("g").consume({ signal: stop.signal }));
    stop.abort();
    assert.deepEqual(await waiting, []);
    assert.deepEqual(await collect(log.group("g").consume({ signal: stop.signal })), []);
    assert.deepEqual(await collect(log.tail({ signal: stop.signal })), []);
    await first.return();
  });

  test(`groups with long and odd names, and locks of users, do not wait for each other (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    // Names whose joined text is the same, whose ends are, whose parts look like quotes, and the largest that there are.
    const long = "x".repeat(126);
    const pairs = [
      ["a b", "c"],
      ["a", "b c"],
      ['a" "b', "c"],
      ["a", 'b" "c'],
      [`${long}a`, `${long}1`],
      [`${long}b`, `${long}1`],
      [`${long}b`, `${long}2`],
      ['"'.repeat(128), "\\".repeat(128)],
      ["é".repeat(64), "é".repeat(64)],
    ] as const;
    await using _ = await store.lock('"a b" "c"').acquire();
    const all = pairs.map(([stream, group]) => store.log(stream).group(group).consume());
    await store.transaction((tx) => {
      for (const stream of new Set(pairs.map(([name]) => name))) tx.log(stream).append(stream.length);
    });
    const batches = await Promise.all(all.map(async (consumer) => (await consumer.next()).value));
    for (const [index, batch] of batches.entries()) {
      assert.equal(batch?.entries[0]?.value, pairs[index]?.[0].length);
      await batch?.commit();
    }
    await Promise.all(all.map((consumer) => consumer.return()));
  });

  test(`random appends, trims and reads, against a model (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const dice = new Prng(t.name);
    const log = store.log<number>("s");
    const model: number[] = [];
    let start = 0;
    for (let step = 0; step < 150; step++) {
      const choice = dice.below(8);
      if (choice < 5) {
        const values = Array.from({ length: 1 + dice.below(5) }, () => dice.below(1_000));
        assert.equal(await log.appendMany(values), model.length);
        model.push(...values);
      } else if (choice === 5) {
        const before = dice.below(model.length + 10);
        start = Math.max(start, Math.min(before, model.length));
        assert.equal(await log.trim(before), start);
      } else {
        const from = start + dice.below(model.length - start + 1);
        const limit = dice.below(20);
        const values = (await collect(log.read({ from, limit }))).map(({ value }) => value);
        assert.deepEqual(values, model.slice(from, from + limit), `step ${step}`);
      }
    }
    const { start: from, tail } = await log.info();
    assert.deepEqual([from, tail], [start, model.length]);
  });
}
