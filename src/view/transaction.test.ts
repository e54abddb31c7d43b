/** Transactions: what they commit is as if they had run one after another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { limits } from "../base/index.ts";
import { connectStore, openStore, serveStore } from "../member/index.ts";
import type { LocalStore, Store } from "../member/index.ts";
import { Prng } from "../sim/index.ts";
import { collect, memoryEnv, scale } from "./fixture.suite.ts";
import type { Commit, Step, TransactionContext } from "./index.ts";

async function openBoth(t: TestContext, seed: string): Promise<{ readonly local: LocalStore; readonly remote: Store }> {
  const env = memoryEnv(seed);
  const local = await openStore(env, { inMemory: true, cacheSizeMax: 65_536, checkpointLogSizeMin: 65_536 });
  const server = await serveStore(env, local, ["memory:store"]);
  const remote = await connectStore(env, "memory:store");
  t.after(async () => {
    await remote.close();
    await server.close({ graceMs: 0 });
    await local.close();
  });
  return { local, remote };
}

async function numberAt(keys: TransactionContext["keys"], key: string): Promise<number> {
  return Number((await keys.get(key))?.text() ?? 0);
}

for (const kind of ["local", "remote"] as const) {
  for (const seed of Array.from({ length: scale }, (_, index) => `bank ${kind} ${index}`)) {
    test(`transfers by many at once keep the sum, and every reader sees it (${seed})`, async (t) => {
      const both = await openBoth(t, seed);
      const store = both[kind];
      const dice = new Prng(seed);
      const accounts = Array.from({ length: 12 }, (_, index) => `account/${String(index).padStart(2, "0")}`);
      await store.keys.commit({ then: accounts.map((put) => ({ put, value: "100" })) });
      let runs = 0;
      const transfer = async (mine: Prng) => {
        const [from, to] = mine.shuffle(accounts) as [string, string];
        const amount = 1 + mine.below(30);
        return store.transaction(
          async ({ keys }) => {
            runs++;
            const [have, has] = [await numberAt(keys, from), await numberAt(keys, to)];
            if (have < amount) return false;
            keys.put(from, String(have - amount));
            keys.put(to, String(has + amount));
            return true;
          },
          { attemptCountMax: 1_000 },
        );
      };
      const audit = async () => {
        const { value } = await store.transaction(async ({ keys }) => {
          let sum = 0;
          for await (const record of keys.list({ prefix: "account/" })) sum += Number(record.text());
          return sum;
        });
        assert.equal(value, 1_200, seed);
      };
      const workers = Array.from({ length: 10 }, async (_, worker) => {
        const mine = dice.fork(`worker ${worker}`);
        for (let count = 0; count < 25; count++) {
          await transfer(mine);
          if (count % 8 === 0) await audit();
        }
      });
      await Promise.all(workers);
      await audit();
      const records = await collect(store.keys.list({ prefix: "account/" }));
      assert.ok(records.every((record) => Number(record.text()) >= 0));
      assert.ok(runs > 250, "some met a conflict and ran again");
    });
  }

  test(`write skew is refused: two who each read what the other writes (${kind})`, async (t) => {
    const { [kind]: store } = await openBoth(t, `skew ${kind}`);
    await store.keys.put("on call/a", "1");
    await store.keys.put("on call/b", "1");
    // Whoever leaves makes sure that somebody stays.
    const leave = (who: string) =>
      store.transaction(async ({ keys }) => {
        const on = (await numberAt(keys, "on call/a")) + (await numberAt(keys, "on call/b"));
        if (on > 1) keys.put(`on call/${who}`, "0");
        return on;
      });
    const outcomes = await Promise.all([leave("a"), leave("b")]);
    assert.deepEqual(
      outcomes.map(({ value }) => value).toSorted((a, b) => a - b),
      [1, 2],
    );
    const left = await collect(store.keys.list({ prefix: "on call/" }));
    assert.equal(left.filter((record) => record.text() === "1").length, 1);
  });

  test(`a range that was read is guarded against keys that come, go and change (${kind})`, async (t) => {
    const { [kind]: store, local } = await openBoth(t, `phantoms ${kind}`);
    const changes: readonly { readonly name: string; readonly change: () => Promise<unknown> }[] = [
      { name: "a new key", change: () => local.keys.put("r/5", "new") },
      { name: "a deleted key", change: () => local.keys.delete("r/1") },
      { name: "a changed key", change: () => local.keys.put("r/2", "changed") },
      {
        name: "one for another",
        change: () => local.keys.commit({ then: [{ delete: { key: "r/2" } }, { put: "r/3", value: "x" }] }),
      },
      {
        name: "deleted and made again",
        change: async () => {
          await local.keys.delete("r/2");
          await local.keys.put("r/2", "2");
        },
      },
    ];
    for (const { name, change } of changes) {
      await local.keys.delete({ prefix: "r/" });
      await local.keys.commit({ then: [1, 2].map((index) => ({ put: `r/${index}`, value: String(index) })) });
      let runs = 0;
      await store.transaction(async ({ keys }) => {
        runs++;
        let count = 0;
        for await (const _ of keys.list({ prefix: "r/" })) count++;
        if (runs === 1) await change();
        keys.put("count", String(count));
      });
      assert.equal(runs, 2, name);
      assert.equal((await store.keys.get("count"))?.text(), String(await store.keys.count({ prefix: "r/" })), name);
      // What is beside the range does not matter.
      runs = 0;
      await store.transaction(async ({ keys }) => {
        runs++;
        for await (const _ of keys.list({ start: "r/", end: "r/9" })) continue;
        if (runs === 1) await local.keys.put("r/99", "beside");
        keys.put("count", "done");
      });
      assert.equal(runs, 1, name);
    }
  });
}

test("a transaction sees its own writes over one state, whatever others commit meanwhile", async (t) => {
  const { local: store } = await openBoth(t, "own writes");
  await store.keys.commit({ then: ["a", "b", "c"].map((put) => ({ put, value: "old" })) });
  let runs = 0;
  const { value, revision } = await store.transaction(async ({ keys, revision: at }) => {
    runs++;
    keys.put("b", "mine");
    keys.delete("c");
    keys.put("d", "mine");
    // Beside what is read below, so that it is no conflict.
    await store.keys.put(`z${runs}`, "others");
    const records = await collect(keys.list({ end: "y", reverse: true }));
    assert.equal(await keys.get("c"), undefined);
    assert.equal((await keys.get("b"))?.version, 2);
    const two = await collect(keys.list({ start: "b", end: "y", limit: 2, keysOnly: true }));
    assert.deepEqual(
      two.map((record) => `${record.key} ${record.bytes.length}`),
      ["b 0", "d 0"],
    );
    return records.map((record) => `${record.key}=${record.text()}@${record.revision - at}`);
  });
  assert.equal(runs, 1);
  assert.deepEqual(value, ["d=mine@1", "b=mine@1", "a=old@0"]);
  assert.equal(await store.keys.revision(), revision);
  assert.deepEqual(
    (await collect(store.keys.list())).map((record) => `${record.key}=${record.text()}`),
    ["a=old", "b=mine", "d=mine", "z1=others"],
  );
});

test("conflicts that never end, errors of the function, and a function that is over", async (t) => {
  const { local: store } = await openBoth(t, "errors");
  let runs = 0;
  const never = store.transaction(
    async ({ keys }) => {
      runs++;
      await keys.get("a");
      await store.keys.put("a", String(runs));
      keys.put("b", "x");
    },
    { attemptCountMax: 3 },
  );
  await assert.rejects(never, { code: "conflict", message: /met a conflict 3 times.*key "a" was last changed/ });
  assert.equal(runs, 3);
  assert.equal(await store.keys.get("b"), undefined);
  await assert.rejects(
    store.transaction(({ keys }) => {
      keys.put("b", "x");
      throw new RangeError("mine");
    }),
    /mine/,
  );
  assert.equal(await store.keys.get("b"), undefined);
  let leaked: TransactionContext["keys"] | undefined;
  const before = await store.keys.revision();
  const { revision, value } = await store.transaction(({ keys }) => {
    leaked = keys;
    return 7;
  });
  assert.deepEqual([revision, value], [before, 7]);
  assert.throws(() => leaked?.put("b", "x"), { code: "invalid", message: /is over/ });
  await assert.rejects((leaked as TransactionContext["keys"]).get("b"), { code: "invalid" });
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(
    store.transaction(({ keys }) => keys.put("b", "x"), { signal: abort.signal }),
    {
      code: "cancelled",
    },
  );
  // What it read is compacted under it: it starts again from a newer state.
  runs = 0;
  await store.transaction(async ({ keys }) => {
    if (++runs === 1) {
      await store.keys.put("c", "x");
      await store.keys.compact(await store.keys.revision());
    }
    await keys.get("a");
    keys.put("d", "x");
  });
  assert.equal(runs, 2);
});

test("commits: nested conditions decide alone; each key changes once; nothing is done by halves", async (t) => {
  const { local, remote } = await openBoth(t, "commits");
  for (const store of [local, remote]) {
    await store.keys.delete({});
    await store.keys.put("a", "1");
    const outcome = await store.keys.commit({
      if: [
        { key: "a", value: "1" },
        { key: "none", version: 0 },
        { prefix: "x", is: "greater", revision: 1_000 },
      ],
      then: [
        { put: "b", value: "2", previous: true },
        { commit: { if: [{ key: "b", version: 1 }], then: [{ put: "c", value: "3" }], otherwise: [{ list: {} }] } },
        { commit: { if: [{ key: "b", version: 2 }], then: [{ put: "d", value: "4" }], otherwise: [{ list: {} }] } },
        { delete: { key: "a" }, previous: true },
      ],
    });
    assert.ok(outcome.succeeded);
    const [put, inner, other, removed] = outcome.steps;
    assert.deepEqual(
      [put?.type === "put" && put.previous, inner?.type === "commit" && inner.succeeded],
      [undefined, true],
    );
    assert.ok(other?.type === "commit" && !other.succeeded);
    const [list] = other.steps;
    assert.deepEqual(list?.type === "list" ? list.records.map(({ key }) => key) : [], ["a", "b", "c"]);
    assert.equal(removed?.type === "delete" ? removed.previous[0]?.text() : "", "1");
    const all = (await collect(store.keys.list())).map(({ key, revision }) => [key, revision - outcome.revision]);
    assert.deepEqual(all, [
      ["b", 0],
      ["c", 0],
    ]);
    const twice = store.keys.commit({
      then: [{ put: "e", value: "1" }, { put: "c", value: "1" }, { delete: { prefix: "e" } }],
    });
    await assert.rejects(twice, { code: "invalid", message: /changes key "e" twice/ });
    assert.equal(await store.keys.get("e"), undefined);
    assert.equal((await store.keys.get("c"))?.text(), "3");
  }
});

const puts = (count: number): Step[] =>
  Array.from({ length: count }, (_, index) => ({ put: `many/${index}`, value: "x" }));

test("limits of one command: depth, operations, keys, values, what it reads", async (t) => {
  const { local, remote } = await openBoth(t, "limits");
  const nested = (depth: number): Commit => ({ then: depth === 0 ? [] : [{ commit: nested(depth - 1) }] });
  for (const store of [local, remote]) {
    await store.keys.commit(nested(limits.transactionDepthMax - 1));
    await assert.rejects(store.keys.commit(nested(limits.transactionDepthMax)), {
      code: "invalid",
      message: /nest deeper than 8 \(limits\.transactionDepthMax\)/,
    });
    const key = "k".repeat(limits.keySizeMax);
    await store.keys.put(key, "x".repeat(limits.valueSizeMax));
    await assert.rejects(store.keys.put(`${key}k`, "x"), {
      code: "invalid",
      message: /key is 4,097 bytes.*keySizeMax/,
    });
    await assert.rejects(store.keys.put("", "x"), { code: "invalid", message: /key is empty/ });
    await assert.rejects(store.keys.put("a", "x".repeat(limits.valueSizeMax + 1)), {
      code: "invalid",
      message: /value is 1,048,577 bytes.*valueSizeMax.*files/,
    });
    await store.keys.delete(key);
    // Together over what one command may answer, although each list alone is not.
    for (let index = 0; index < 5; index++) await store.keys.put(`large/${index}`, new Uint8Array(1_000_000));
    const list: Step = { list: { prefix: "large/" } };
    await store.keys.commit({ then: [list] });
    const reads = { code: "invalid", message: /reads more than 8388608 bytes/ };
    await assert.rejects(store.keys.commit({ then: [list, list] }), reads);
    await store.keys.commit({ then: [list, { ...list, keysOnly: true }, { ...list, countOnly: true }] });
    await assert.rejects(store.keys.commit({ then: [list, { delete: { prefix: "large/" }, previous: true }] }), reads);
    assert.equal(await store.keys.count({ prefix: "large/" }), 5);
    await store.keys.delete({ prefix: "large/" });
  }
});

test("a command of as many operations as it may have", async (t) => {
  const { remote: store } = await openBoth(t, "operations");
  // The commit itself is one.
  await store.keys.commit({ then: puts(limits.operationCountMax - 1) });
  assert.equal(await store.keys.count({ prefix: "many/" }), limits.operationCountMax - 1);
  const over = { code: "invalid", message: /more than 16384 things \(limits\.operationCountMax\)/ };
  await assert.rejects(store.keys.commit({ then: puts(limits.operationCountMax) }), over);
  await store.keys.put("many/more", "x");
  await store.keys.put("many/most", "x");
  await assert.rejects(store.keys.delete({ prefix: "many/" }), over);
  await store.keys.delete("many/most");
  assert.equal((await store.keys.delete({ prefix: "many/" })).count, limits.operationCountMax);
});
