/** Maps, sets, registers and indexes: against slow twins, at the edges, near and far, in transactions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareBytes } from "../../base/index.ts";
import { Prng } from "../../sim/index.ts";
import { collect } from "../fixture.suite.ts";
import { kinds, openPair } from "../store-pair.suite.ts";
import { decodeIndexValue, decodeKey, encodeIndexValue, encodeKey, indexValueEnd } from "./map-key.ts";
import type { IndexValue, MapKey } from "./map-key.ts";

interface User {
  readonly email?: unknown;
  readonly age?: unknown;
  readonly tags?: unknown;
  readonly home?: { readonly city: string };
}

const numbers = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer(), fc.constantFrom(0, -0));
const texts = fc.string({ unit: "binary", maxLength: 6 }).filter((text) => text.isWellFormed());

const kind = (key: MapKey) => ["number", "string", "object"].indexOf(typeof key);
const rank = (value: IndexValue) =>
  typeof value === "string" ? 4 : typeof value === "number" ? 3 : Number(value ?? -1);
const order = (a: MapKey, b: MapKey) => compareBytes(encodeKey(a), encodeKey(b));

test("keys come back, in the order of numbers, text and bytes", () => {
  const keys = fc.oneof(numbers, texts, fc.uint8Array({ maxLength: 4 }));
  fc.assert(
    fc.property(keys, keys, (a, b) => {
      assert.deepEqual(decodeKey(encodeKey(a)), a === 0 ? 0 : a);
      const found = order(a, b);
      if (kind(a) !== kind(b)) assert.equal(Math.sign(found), Math.sign(kind(a) - kind(b)));
      else if (typeof a === "number" && typeof b === "number") assert.equal(Math.sign(found), Math.sign(a - b) + 0);
      else
        assert.equal(Math.sign(found), Math.sign(Buffer.compare(Buffer.from(a as string), Buffer.from(b as string))));
    }),
  );
  for (const bad of [Number.NaN, Infinity, "\ud800", "x".repeat(2_049)]) {
    assert.throws(() => encodeKey(bad), { code: "invalid" });
  }
  assert.throws(() => encodeKey(undefined as unknown as string), {
    code: "invalid",
    message: /text, a number or bytes/,
  });
});

test("values of an index come back, in order, and end where they say", () => {
  const values = fc.oneof(fc.constantFrom<IndexValue>(null, false, true, "", "\0", "a\0", "a\0b"), numbers, texts);
  const key = new Uint8Array([0x30, 0]);
  const row = (value: IndexValue) => Buffer.concat([encodeIndexValue(value) as Uint8Array, key]);
  fc.assert(
    fc.property(values, values, (a, b) => {
      const whole = row(a);
      assert.equal(indexValueEnd(whole), whole.length - key.length);
      assert.deepEqual(decodeIndexValue(whole.subarray(0, -key.length)), a === 0 ? 0 : a);
      const found = Math.sign(compareBytes(whole, row(b)));
      if (rank(a) !== rank(b)) assert.equal(found, Math.sign(rank(a) - rank(b)));
      else if (typeof a === "number") assert.equal(found, Math.sign(a - (b as number)) + 0);
      else if (typeof a === "string")
        assert.equal(found, Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b as string))));
    }),
  );
});

for (const kind of kinds) {
  test(`entries are set, read, listed and counted like those of a twin (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.map<number>("m");
    const twin = new Map<string, number>();
    const dice = new Prng(t.name);
    const keyOf = () => (dice.chance(0.5) ? `k${dice.below(30)}` : dice.below(30) - 15);
    for (let step = 0; step < 150; step++) {
      const key = keyOf();
      const name = JSON.stringify(key);
      const before = twin.get(name);
      const what = dice.float();
      if (what < 0.3) {
        assert.equal(await map.delete(key), twin.delete(name));
      } else if (what < 0.5) {
        await map.update(key, (value) => (value ?? 0) + 1);
        twin.set(name, (before ?? 0) + 1);
      } else {
        await map.set(key, step);
        twin.set(name, step);
      }
      assert.equal(await map.get(key), twin.get(name));
    }
    const sorted = [...twin].map(([name, value]) => [JSON.parse(name) as string | number, value] as const);
    sorted.sort(([a], [b]) => order(a, b));
    const shown = async (options: Parameters<typeof map.entries>[0]) =>
      (await collect(map.entries(options))).map(({ key, value }) => [key, value]);
    assert.deepEqual(await shown({}), sorted);
    assert.deepEqual(await shown({ reverse: true, limit: 7 }), sorted.toReversed().slice(0, 7));
    assert.deepEqual(
      await shown({ start: -3, end: "k2" }),
      sorted.filter(([key]) => order(key, -3) >= 0 && order(key, "k2") < 0),
    );
    assert.deepEqual(
      await shown({ prefix: "k1" }),
      sorted.filter(([key]) => typeof key === "string" && key.startsWith("k1")),
    );
    assert.equal(await map.size(), sorted.length);
    assert.equal(await map.size({ end: 0 }), sorted.filter(([key]) => typeof key === "number" && key < 0).length);
    for (const [at, [key]] of sorted.entries()) assert.equal(await map.rank(key), at);
    assert.equal(await map.rank("nobody"), undefined);
    assert.equal(await map.clear({ end: 0 }), sorted.filter(([key]) => typeof key === "number" && key < 0).length);
    assert.deepEqual(await collect(map.keys({ end: 0 })), []);
  });

  test(`conditions, updates of many at once, and what is refused (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.map<unknown, string>("m");
    const revision = await map.set("a", { n: 1 }, { ifAbsent: true });
    await assert.rejects(map.set("a", 2, { ifAbsent: true }), { code: "conflict", message: /"a" of map m was last/ });
    await assert.rejects(map.set("b", 2, { ifRevision: 1 }), { code: "conflict", message: /does not exist/ });
    await map.set("a", 0, { ifRevision: revision });
    await assert.rejects(map.delete("a", { ifRevision: revision }), { code: "conflict" });
    await Promise.all(Array.from({ length: 10 }, () => map.update("a", (value) => (value as number) + 1)));
    assert.equal(await map.get("a"), 10);
    assert.equal(await map.update("a", () => undefined), undefined);
    assert.equal(await map.has("a"), false);
    await map.set("bytes", new Uint8Array([1, 2]));
    assert.deepEqual(await map.get("bytes"), new Uint8Array([1, 2]));
    await map.set("", "");
    assert.equal(await map.get(""), "");
    await assert.rejects(async () => map.set("x", new Map()), { code: "invalid" });
    await assert.rejects(async () => map.set("x", "y".repeat(1_048_577)), { code: "invalid", message: /valueSizeMax/ });
    assert.throws(() => store.map(""), { code: "invalid" });
    await store.set("m").add("only here");
    assert.equal(await map.has("only here"), false);
  });

  test(`a large map is listed and cleared in pages, and forgotten (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.map<string, number>("large");
    await store.transaction((tx) => {
      for (let key = 0; key < 1_300; key++) tx.map<string, number>("large").set(key, "x".repeat(key % 50));
    });
    assert.deepEqual(
      await collect(map.keys()),
      Array.from({ length: 1_300 }, (_, key) => key),
    );
    assert.deepEqual(
      await collect(map.keys({ reverse: true, limit: 600 })),
      Array.from({ length: 600 }, (_, at) => 1_299 - at),
    );
    await map.defineIndex("text", { path: "" });
    assert.equal(await map.index("text").count(), 1_300);
    assert.equal(await map.index("text").count({ value: "" }), 26);
    await store.map("lard").set("x", 1);
    await store.map("other").set("x", 1);
    assert.deepEqual(await collect(store.maps({ prefix: "lar" })), ["lard", "large"]);
    assert.deepEqual(await collect(store.maps()), ["lard", "large", "other"]);
    assert.equal(await map.clear(), 1_300);
    assert.equal(await map.index("text").count(), 0);
    await map.drop();
    assert.deepEqual(await collect(store.maps()), ["lard", "other"]);
  });

  test(`an index finds what a twin finds (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.map<User, number>("users");
    const twin = new Map<number, User>();
    const dice = new Prng(t.name);
    const ages: unknown[] = [1, 2, 2.5, -1, null, true, false, "old", "", undefined, { years: 3 }];
    const change = async () => {
      const key = dice.below(25);
      if (dice.chance(0.2)) {
        await map.delete(key);
        twin.delete(key);
        return;
      }
      const tags = Array.from({ length: dice.below(4) }, () => dice.pick(["a", "b", "c"]));
      const user: User = { age: dice.pick(ages), tags, home: { city: dice.pick(["Ulm", "Bonn"]) } };
      await map.set(key, user);
      twin.set(key, user);
    };
    for (let step = 0; step < 40; step++) await change();
    await Promise.all([
      map.defineIndex("age", { path: "age" }),
      map.defineIndex("tags", { path: "tags", multi: true }),
      map.defineIndex("city", { path: "home.city" }),
    ]);
    for (let step = 0; step < 60; step++) await change();
    const keysBy = async (index: string, value: IndexValue) =>
      (await collect(map.index(index).entries({ value }))).map(({ key, value: user }) => {
        assert.deepEqual(user, JSON.parse(JSON.stringify(twin.get(key))));
        return key;
      });
    const twinBy = (matches: (user: User) => boolean) =>
      [...twin]
        .filter(([, user]) => matches(user))
        .map(([key]) => key)
        .toSorted((a, b) => a - b);
    for (const age of [1, 2, 2.5, -1, null, true, false, "old", "", "nobody"]) {
      assert.deepEqual(
        await keysBy("age", age),
        twinBy((user) => user.age === age),
        `age ${age}`,
      );
    }
    for (const tag of ["a", "b", "c"]) {
      assert.deepEqual(
        await keysBy("tags", tag),
        twinBy((user) => (user.tags as string[]).includes(tag)),
      );
    }
    assert.deepEqual(
      await keysBy("city", "Ulm"),
      twinBy((user) => user.home?.city === "Ulm"),
    );
    const values = (await collect(map.index("age").values({ start: 0, end: "" }))).map(({ value }) => value);
    assert.deepEqual(
      values,
      values.toSorted((a, b) => Number(a) - Number(b)),
    );
    assert.equal(values.length, twinBy((user) => typeof user.age === "number" && user.age >= 0).length);
    const back = (await collect(map.index("age").values({ start: 0, end: "", reverse: true, limit: 2 }))).map(
      ({ value }) => value,
    );
    assert.deepEqual(back, values.toReversed().slice(0, 2));
  });

  test(`a unique index lets nobody in twice, also when it is made (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const users = store.map<User, string>("users");
    await users.set("ada", { email: "a@x" });
    await users.defineIndex("byEmail", { path: "email", unique: true });
    await users.defineIndex("byEmail", { path: "email", unique: true });
    await assert.rejects(users.set("bob", { email: "a@x" }), { code: "exists", message: /byEmail.*"ada" has "a@x"/ });
    const race = await Promise.allSettled(["c", "d", "e"].map((key) => users.set(key, { email: "new@x" })));
    assert.equal(race.filter(({ status }) => status === "fulfilled").length, 1);
    await users.set("ada", { email: "a@x", age: 3 });
    await users.set("ada", { email: "b@x" });
    await users.set("bob", { email: "a@x" });
    assert.equal((await users.index("byEmail").get("a@x"))?.key, "bob");
    assert.equal(await users.index("byEmail").get("nobody"), undefined);
    await assert.rejects(users.defineIndex("byEmail", { path: "age" }), {
      code: "exists",
      message: /defined otherwise/,
    });
    for (let key = 0; key < 5; key++) await users.set(`same${key}`, { age: 7 });
    await assert.rejects(users.defineIndex("byAge", { path: "age", unique: true }), {
      code: "exists",
      message: /as has/,
    });
    assert.deepEqual(await users.indexes(), [{ name: "byEmail", path: "email", unique: true, multi: false }]);
    await users.defineIndex("byAge", { path: "age" });
    assert.equal(await users.index("byAge").count({ value: 7 }), 5);
    await assert.rejects(users.set("z", { email: "x".repeat(2_000) }), {
      code: "invalid",
      message: /indexValueSizeMax/,
    });
    await assert.rejects(collect(users.index("none").entries()), { code: "notFound" });
    await users.dropIndex("byEmail");
    await users.set("ada", { email: "a@x" });
  });

  test(`sets and registers (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const set = store.set<string>("colours");
    assert.deepEqual([await set.add("red"), await set.add("blue"), await set.add("red")], [true, true, false]);
    assert.deepEqual([await set.has("red"), await set.delete("green"), await set.size()], [true, false, 2]);
    assert.deepEqual(await collect(set.list()), ["blue", "red"]);
    assert.equal(await set.clear(), 2);
    const register = store.register<{ n: number }>("r");
    assert.equal(await register.get(), undefined);
    const wins = await Promise.all([1, 2, 3].map((n) => register.compareAndSet(undefined, { n })));
    assert.equal(wins.filter(Boolean).length, 1);
    const now = await register.get();
    assert.equal(await register.compareAndSet({ n: 9 }, { n: 0 }), false);
    assert.equal(await register.compareAndSet(now, { n: 10 }), true);
    const stop = new AbortController();
    const seen: unknown[] = [];
    for await (const value of register.watch({ signal: stop.signal })) {
      seen.push(value?.n);
      if (value === undefined) stop.abort();
      else if (value.n === 12) await register.delete();
      else await register.set({ n: value.n + 1 });
    }
    assert.deepEqual(seen, [10, 11, 12, undefined]);
  });

  test(`a transaction sees its own changes and meets phantoms (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.map<number, string>("m");
    for (const key of ["a", "b", "c", "d"]) await map.set(key, 1);
    await map.defineIndex("value", { path: "" });
    const listed = await store.transaction(async (tx) => {
      const mine = tx.map<number, string>("m");
      mine.delete("a");
      mine.set("bb", 2);
      tx.set("s").add("x");
      tx.register<string>("r").set("v");
      assert.equal(await mine.get("bb"), 2);
      assert.equal(await mine.has("a"), false);
      assert.equal(await tx.register("r").get(), "v");
      assert.deepEqual(await tx.set("s").list(), ["x"]);
      return (await mine.list({ start: "a", end: "d", limit: 2 })).map(({ key }) => key);
    });
    assert.deepEqual(listed.value, ["b", "bb"]);
    assert.deepEqual([await store.register("r").get(), await map.size()], ["v", 4]);
    // An index shows what the transaction has written: what it added, changed, moved away and deleted.
    const { value: byIndex } = await store.transaction(async (tx) => {
      const mine = tx.map<number, string>("m");
      const keys = async (value: number) => (await mine.findBy("value", value)).map(({ key }) => key);
      const before = await keys(1);
      mine.set("new", 1);
      mine.set("aa", 1);
      for (const key of before.slice(0, 1)) mine.delete(key);
      for (const key of before.slice(1, 2)) mine.set(key, 77);
      const seen = [await keys(1), await keys(77)];
      for (const key of ["new", "aa"]) mine.delete(key);
      for (const key of before) mine.set(key, 1);
      return { before, seen, after: await keys(1) };
    });
    assert.deepEqual(byIndex.seen, [["aa", ...byIndex.before.slice(2), "new"].toSorted(), byIndex.before.slice(1, 2)]);
    assert.deepEqual(byIndex.after, byIndex.before);
    const disturbances: (() => Promise<unknown>)[] = [
      () => map.set("bbb", 1),
      () => map.delete("bbb"),
      () => map.set("b", 5),
      () => map.clear({ start: "c", end: "cc" }),
    ];
    for (const disturb of disturbances) {
      let runs = 0;
      await store.transaction(async (tx) => {
        await tx.map("m").list({ prefix: "b" });
        await tx.map("m").findBy("value", 1);
        if (runs++ === 0) await disturb();
        tx.counter("done").add(1);
      });
      assert.equal(runs, 2);
    }
    let runs = 0;
    await store.transaction(async (tx) => {
      await tx.map("m").list({ prefix: "b" });
      assert.equal(await tx.map("other").get("x"), undefined);
      if (runs++ === 0) await map.set("z", 9);
      tx.counter("done").add(1);
    });
    assert.equal(runs, 1, "what lies beside the range is no conflict");
  });

  test(`a map that is dropped and comes again is not taken for the old one (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.map<number, string>("m");
    let runs = 0;
    await store.transaction(async (tx) => {
      assert.equal(await tx.map("m").get("k"), undefined);
      if (runs++ === 0) {
        await map.set("k", 1);
        await map.drop();
      }
      tx.counter("done").add(1);
    });
    assert.equal(runs, 2);
  });

  test(`a watch of a key tells of what becomes of it; the past stays (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const map = store.sortedMap<string>("m");
    const stop = new AbortController();
    const seen: unknown[] = [];
    for await (const entry of map.watch(1, { signal: stop.signal })) {
      seen.push(entry?.value);
      if (seen.length === 1) await map.set(1, "one");
      else if (seen.length === 2) await map.delete(1);
      else stop.abort();
    }
    assert.deepEqual(seen, [undefined, "one", undefined]);
    await map.set(2, "two");
    const { revision } = await store.snapshot("before");
    await map.set(2, "changed");
    assert.equal(await store.at(revision).map("m").get(2), "two");
    await assert.rejects(store.at(revision).map("m").set(2, "x"), { code: "invalid", message: /read-only/ });
  });
}
