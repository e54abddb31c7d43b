/** Objects of a user's own type: the same state everywhere, faults of their code caught, versions, transactions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { NodeDeterminism } from "../../host/index.ts";
import { connectStore, openStore } from "../../member/index.ts";
import { Prng } from "../../sim/index.ts";
import { collect } from "../fixture.suite.ts";
import { defineObject } from "../index.ts";
import { kinds, openPair } from "../store-pair.suite.ts";

interface CartState {
  items: { name: string; count: number }[];
  paidMs?: number;
}
class SoldOut extends Error {}

const Cart = defineObject("cart", {
  initial: (): CartState => ({ items: [] }),
  commands: {
    add(state, name: string, count = 1) {
      const item = state.items.find((one) => one.name === name);
      if (item === undefined) state.items.push({ name, count });
      else item.count += count;
      if (count > 99) throw new SoldOut(`no ${count} of ${name} are left`);
      return state.items.length;
    },
    remove(state, name: string) {
      state.items = state.items.filter((one) => one.name !== name);
    },
    pay(state) {
      state.paidMs = this.timeMs;
      return { at: this.timeMs, lot: Math.floor(this.random() * 1_000), sequence: this.sequence };
    },
  },
  queries: {
    total: (state) => state.items.reduce((sum, { count }) => sum + count, 0),
    items: (state) => state.items,
  },
});

function caught(name: string, what: RegExp) {
  return { code: "invalid", message: new RegExp(`command ${name} of object type bad.*${what.source}`) };
}

/** Doors that watch over code, as in development. */
async function developing(t: TestContext) {
  const { env } = await openPair(t);
  const watched = { ...env, determinism: new NodeDeterminism() };
  const store = await openStore(watched, { inMemory: true });
  const remote = await connectStore(watched, "memory:store");
  t.after(async () => {
    await remote.close();
    await store.close();
  });
  return { store, remote };
}

for (const kind of kinds) {
  test(`commands answer, queries read here, and what throws changes nothing (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    using cart = await store.object(Cart, "alice");
    assert.deepEqual(cart.state, { items: [] });
    assert.equal(await cart.add("tea", 2), 1);
    assert.equal(await cart.add("bread"), 2);
    await assert.rejects(cart.add("tea", 100), (error) => error instanceof SoldOut);
    assert.equal(cart.total(), 3);
    const items = cart.items();
    items.push({ name: "stolen", count: 1 });
    assert.equal(cart.items().length, 2, "what a query gives is a copy");
    await cart.remove("tea");
    assert.equal(await cart.query("total", [], { consistency: "linearizable" }), 1);
    assert.deepEqual(await cart.pay().then(({ sequence }) => sequence), 4);
    assert.deepEqual(await collect(store.objects(Cart)), ["alice"]);
    await cart.delete();
    assert.deepEqual(cart.state, { items: [] });
    assert.deepEqual(await collect(store.objects(Cart)), []);
    assert.equal(await cart.add("milk"), 1);
    assert.equal(cart.sequence, 1);
  });

  test(`many at once are played in one order, past snapshots (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    using cart = await store.object(Cart, "many", { snapshotEvery: 20 });
    const lengths = await Promise.all(Array.from({ length: 150 }, (_, index) => cart.add(`item ${index}`)));
    assert.deepEqual(
      lengths.toSorted((a, b) => a - b),
      Array.from({ length: 150 }, (_, index) => index + 1),
    );
    await cart.snapshot();
    await cart.add("last");
    using again = await store.object(Cart, "many");
    assert.deepEqual(again.state, cart.state);
    assert.equal(again.sequence, 151);
  });

  test(`a transaction sees its own commands, is refused by what throws, and meets others (${kind})`, async (t) => {
    const { [kind]: store, local } = await openPair(t);
    using cart = await local.object(Cart, "alice");
    await cart.add("tea");
    let runs = 0;
    const { value } = await store.transaction(async (tx) => {
      const mine = tx.object(Cart, "alice");
      if (runs++ === 0) await cart.add("bread");
      const length = await mine.add("milk");
      await assert.rejects(mine.add("milk", 100), SoldOut);
      tx.keys.put("bought", String(await mine.total()));
      return [length, await mine.pay()] as const;
    });
    assert.equal(runs, 2);
    assert.equal(value[0], 3);
    await cart.fresh();
    assert.equal(cart.state.paidMs, value[1].at, "the time is that of the transaction, everywhere");
    assert.deepEqual(
      cart.items().map(({ name }) => name),
      ["tea", "bread", "milk"],
    );
    assert.equal((await store.keys.get("bought"))?.text(), "3");
    await assert.rejects(
      store.transaction((tx) => tx.object(Cart, "alice").add("x", 100)),
      SoldOut,
    );
    assert.equal(cart.total(), 3);
  });

  test(`a snapshot of the store keeps it, and a watch gives the newest (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    using cart = await store.object(Cart, "alice");
    await cart.add("tea");
    const { revision } = await store.snapshot("one");
    await cart.add("bread");
    using then = await store.at(revision).object(Cart, "alice");
    assert.deepEqual(
      then.items().map(({ name }) => name),
      ["tea"],
    );
    await assert.rejects(then.add("x"), { code: "invalid", message: /read-only/ });
    const stop = new AbortController();
    for await (const { items } of cart.watch({ signal: stop.signal })) {
      if (items.length === 4) stop.abort();
      else await cart.add(`n${items.length}`);
    }
    assert.equal(cart.total(), 4);
  });
}

test("a client and members far from each other have the same state under random commands", async (t) => {
  const { local, remote } = await openPair(t);
  const random = new Prng("equal");
  const open = [
    await local.object(Cart, "shared", { snapshotEvery: 7 }),
    await local.object(Cart, "shared", { snapshotEvery: 11, development: true }),
    await remote.object(Cart, "shared", { snapshotEvery: 5 }),
  ];
  const calls = Array.from({ length: 300 }, async () => {
    const cart = random.pick(open);
    const name = `item ${random.below(9)}`;
    if (random.chance(0.2)) return cart.remove(name);
    if (random.chance(0.1)) return cart.pay();
    return cart.add(name, random.chance(0.1) ? 100 : random.below(5)).catch((error: unknown) => {
      assert.ok(error instanceof SoldOut, String(error));
    });
  });
  await Promise.all(calls);
  for (const cart of open) await cart.fresh();
  const [first, ...others] = open;
  for (const other of others) {
    assert.equal(other.sequence, 300);
    assert.deepEqual(other.state, first?.state);
  }
  // One that begins with the snapshot has it too.
  using late = await remote.object(Cart, "shared");
  assert.deepEqual(late.state, first?.state);
  for (const cart of open) cart.close();
});

test("in development a command that is not deterministic is caught before it is given, by its name", async (t) => {
  const { store } = await developing(t);
  let calls = 0;
  const seen = new Set<number>();
  const Bad = defineObject("bad", {
    initial: () => ({ value: 0 }),
    commands: {
      now: (state) => (state.value = Date.now()),
      date: (state) => (state.value = new Date().getTime()),
      chance: (state) => (state.value = Math.random()),
      swallowed(state) {
        try {
          state.value = performance.now();
        } catch {
          state.value = 1;
        }
      },
      counter: (state) => (state.value = ++calls),
      collected: (state) => {
        seen.add(seen.size);
        state.value = seen.size;
      },
      timer: () => void setTimeout(() => {}, 1),
      network: () => void fetch("http://127.0.0.1"),
      later: (state) => Promise.resolve((state.value = 3)),
      map: (state) => ((state as { value: unknown }).value = new Map()),
      good: (state) => (state.value = new Date(5).getTime()),
    },
  });
  using bad = await store.object(Bad, "a");
  await assert.rejects(bad.now(), caught("now", /Date\.now\(\)/));
  await assert.rejects(bad.date(), caught("date", /new Date\(\)/));
  await assert.rejects(bad.chance(), caught("chance", /Math\.random\(\)/));
  await assert.rejects(bad.swallowed(), caught("swallowed", /performance\.now\(\)/));
  await assert.rejects(bad.counter(), caught("counter", /runs again/));
  await assert.rejects(bad.collected(), caught("collected", /runs again/));
  await assert.rejects(bad.timer(), caught("timer", /setTimeout/));
  await assert.rejects(bad.network(), caught("network", /fetch/));
  await assert.rejects(bad.map(), caught("map", /Map at state\.value/));
  assert.equal(bad.sequence, 0, "nothing of it is in the log");
  await assert.rejects(bad.later(), caught("later", /promise/));
  assert.deepEqual(bad.state, { value: 0 });
  assert.equal(await bad.good(), 5);
  assert.ok(Date.now() > 5 && Math.random() < 1, "everything is back in its place");
  const frozen = bad.state;
  assert.throws(() => (frozen.value = 6), TypeError);
});

test("later versions take over what earlier ones wrote, and those stop", async (t) => {
  const { local, remote } = await openPair(t);
  const One = defineObject("note", {
    initial: () => ({ lines: [] as string[] }),
    commands: { write: (state, line: string) => state.lines.push(line) },
  });
  const Two = defineObject("note", {
    version: 2,
    previous: One,
    initial: () => ({ lines: [] as { text: string }[] }),
    migrate: (state: { lines: string[] }) => ({ lines: state.lines.map((text) => ({ text })) }),
    commands: { write: (state, text: string) => state.lines.unshift({ text }) },
  });
  const Alone = defineObject("note", { version: 2, initial: Two.initial, commands: Two.commands });
  using old = await local.object(One, "a");
  await old.write("one");
  await old.write("two");
  await assert.rejects(remote.object(Alone, "a"), { code: "unavailable", message: /previous.*snapshot\(\)/ });
  using later = await remote.object(Two, "a");
  assert.deepEqual(later.state, { lines: [{ text: "one" }, { text: "two" }] });
  const told = {
    code: "unavailable",
    message: "object note/a has records of version 2; this program has 1: update it",
  };
  await assert.rejects(old.write("three"), told);
  await assert.rejects(old.fresh(), told);
  assert.throws(() => old.state, told);
  await assert.rejects(local.object(One, "a"), told);
  await later.write("zero");
  using other = await local.object(Alone, "a");
  assert.deepEqual(other.state, later.state);
  // Behind a snapshot nobody needs the old code.
  using last = await local.object(One, "b");
  await last.write("one");
  await last.snapshot();
  using taken = await remote.object(Alone, "b");
  assert.deepEqual(taken.state, { lines: ["one"] }, "as it is, without a migration");
  // In a transaction too.
  using third = await local.object(One, "c");
  await third.write("one");
  await remote.transaction((tx) => tx.object(Two, "c").write("zero"));
  using newest = await local.object(Two, "c");
  assert.deepEqual(newest.state, { lines: [{ text: "zero" }, { text: "one" }] });
});

test("a command that the code does not have stops the object; one that its caller has wrongly is refused", async (t) => {
  const { local } = await openPair(t);
  const More = defineObject("thing", { initial: () => ({ n: 0 }), commands: { up: (s) => ++s.n, down: (s) => --s.n } });
  const Less = defineObject("thing", { initial: () => ({ n: 0 }), commands: { up: (s) => ++s.n } });
  using more = await local.object(More, "a");
  await more.down();
  await assert.rejects(local.object(Less, "a"), { code: "unavailable", message: /has no command down/ });
  const give: (...rest: unknown[]) => Promise<number> = more.up;
  await assert.rejects(give(new Map()), { code: "invalid", message: /Map at the arguments\[0\]/ });
  await assert.rejects(give("x".repeat(1_100_000)), { code: "invalid", message: /valueSizeMax/ });
  assert.throws(() => defineObject("x", { initial: () => 0, commands: { then: () => 0 } }), { code: "invalid" });
  assert.throws(() => defineObject("x", { initial: () => 0, version: 0, commands: {} }), { code: "invalid" });
  await assert.rejects(local.object(More, ""), { code: "invalid", message: /empty/ });
  more.close();
  await assert.rejects(more.up(), { code: "invalid", message: /closed/ });
  assert.ok(new HoldfastError("invalid", "x"));
});
