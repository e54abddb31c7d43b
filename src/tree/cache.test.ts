/** A state larger than the cache: its limit, what is read, and what a failing store does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CountingBlobStore, Dice, env, hex, loading, seedOf, utf8 } from "./fixture.suite.ts";
import { diff, emptyTree, openTree, PageMissing, prove } from "./index.ts";
import type { TreeRoot } from "./index.ts";

const turn = () => new Promise<void>((resolve) => env.clock.defer(resolve));

async function stored(count: number, valueSize: number): Promise<{ store: CountingBlobStore; root: TreeRoot }> {
  const store = new CountingBlobStore();
  const tree = await openTree(env, store, emptyTree(seedOf("cache")));
  const dice = new Dice(count);
  for (let i = 0; i < count; i++) tree.set(utf8(`key/${i}`), dice.bytes(i % 500 === 0 ? 3_000 : valueSize));
  return { store, root: (await tree.flush()).root };
}

test("a state three times the limit is edited, flushed and walked within the limit", async () => {
  const { store, root } = await stored(30_000, 100);
  const size = store.blobs.values().reduce((sum, bytes) => sum + bytes.length, 0);
  const cacheSizeMax = Math.floor(size / 3);
  const tree = await openTree(env, store, root, { cacheSizeMax });
  const dice = new Dice(1);
  let missCount = 0;
  for (let round = 0; round < 60; round++) {
    const keys = Array.from({ length: 50 }, () => utf8(`key/${dice.roll(30_000)}`));
    await tree.prefetch(keys);
    for (const key of keys)
      await loading(
        () => tree.put(key, utf8(`round ${round}`)),
        () => void missCount++,
      );
    for (const key of keys) assert.deepEqual(tree.get(key), utf8(`round ${round}`));
    tree.trimCache();
    assert.ok(tree.cacheSize <= cacheSizeMax, `round ${round}: ${tree.cacheSize} of ${cacheSizeMax}`);
    if (round % 20 === 19) {
      await tree.flush();
      assert.ok(tree.cacheSize <= cacheSizeMax, `after the flush: ${tree.cacheSize} of ${cacheSizeMax}`);
    }
  }
  assert.equal(missCount, 0, "what was prefetched is there for puts");
  const snapshot = tree.freeze();
  let [count, most] = [0, 0];
  for await (const batch of snapshot.entries()) {
    count += batch.length;
    most = Math.max(most, tree.cacheSize);
  }
  assert.equal(count, 30_000);
  // The path, and what was asked for ahead, may come on top while the walk stands on it.
  assert.ok(most < cacheSizeMax + 500_000, `${most} of ${cacheSizeMax} during the walk`);
  assert.ok(tree.cacheSize <= cacheSizeMax);
});

test("a walk with room for its path reads hardly a page twice; prefetch reads each once", async () => {
  const { store, root } = await stored(10_000, 20);
  const tree = await openTree(env, store, root, { cacheSizeMax: 400_000 });
  store.getCount = 0;
  for await (const batch of tree.freeze().entries()) assert.ok(batch.length <= 1_024);
  assert.ok(store.getCount <= store.blobs.size * 1.05, `${store.getCount} reads of ${store.blobs.size} blobs`);

  const fresh = await openTree(env, store, root);
  store.getCount = 0;
  const keys = Array.from({ length: 200 }, (_, i) => utf8(`key/${i}`));
  await Promise.all([fresh.prefetch(keys), fresh.prefetch(keys), fresh.freeze().get(keys[0]!)]);
  const reads = store.getCount;
  assert.equal(new Set(keys.map((key) => fresh.get(key))).size, 200);
  assert.equal(store.getCount, reads);
  assert.ok(reads < 330, `${reads} reads`);
});

test("any number of readers at once get on with a cache of nothing", async () => {
  const { store, root } = await stored(3_000, 20);
  const tree = await openTree(env, store, root, { cacheSizeMax: 0 });
  const snapshot = tree.freeze();
  store.beforeGet = () => turn();
  const walk = async (reverse: boolean) => {
    let count = 0;
    for await (const batch of snapshot.entries({ reverse })) count += batch.length;
    return count;
  };
  const differ = async () => {
    let count = 0;
    for await (const batch of diff(tree.at(emptyTree(root.seed)), snapshot)) count += batch.length;
    return count;
  };
  const gets = Array.from({ length: 100 }, (_, i) => snapshot.get(utf8(`key/${i * 30}`)));
  const counts = await Promise.all([
    walk(false),
    walk(true),
    differ(),
    snapshot.count({ start: utf8("key/1") }),
    walk(false),
  ]);
  assert.deepEqual([counts[0], counts[1], counts[2], counts[4]], [3_000, 3_000, 3_000, 3_000]);
  for (const value of await Promise.all(gets)) assert.ok(value !== undefined);
  await prove(snapshot, utf8("key/0"));
  assert.equal(tree.cacheSize, 0);
});

test("what was prefetched stays until the owner trims, whatever other readers do", async () => {
  const { store, root } = await stored(3_000, 20);
  const tree = await openTree(env, store, root, { cacheSizeMax: 0 });
  const snapshot = tree.freeze();
  const keys = Array.from({ length: 20 }, (_, i) => utf8(`key/${i * 100}`));
  await tree.prefetch(keys);
  for (let i = 0; i < 50; i++) await snapshot.get(utf8(`key/${i * 50}`));
  for await (const batch of snapshot.entries()) assert.ok(batch.length > 0);
  assert.equal(tree.prefetch(keys), undefined);
  for (const key of keys) assert.ok(tree.get(key) !== undefined);
  tree.trimCache();
  assert.equal(tree.cacheSize, 0);
  assert.throws(() => tree.get(keys[0]!), PageMissing);
});

test("a synchronous call that misses a page has changed nothing", async () => {
  const { store, root } = await stored(3_000, 20);
  const dice = new Dice(4);
  for (let round = 0; round < 300; round++) {
    const tree = await openTree(env, store, root);
    const key = utf8(`key/${dice.roll(4_000)}`);
    const edit = dice.roll(2) === 0 ? () => tree.put(key, dice.bytes(3)) : () => tree.delete(key);
    for (;;) {
      try {
        edit();
        break;
      } catch (error) {
        assert.ok(error instanceof PageMissing);
        assert.deepEqual([tree.entryCount, tree.dirtySize], [3_000, 0]);
        assert.deepEqual((await tree.flush()).root, root, "nothing changed");
        await error.load();
      }
    }
  }
});

test("an absent page is `notFound`, a damaged one `corrupt`, and both may be tried again", async () => {
  const { store, root } = await stored(3_000, 20);
  const tree = await openTree(env, store, root);
  const key = utf8("key/1000");
  const missing = new Set<PageMissing>();
  assert.throws(
    () => tree.get(key),
    (error) => error instanceof PageMissing && missing.add(error).size === 1,
  );
  const [error] = [...missing] as [PageMissing];
  const blobs = new Map(store.blobs);
  store.blobs.clear();
  await assert.rejects(error.load(), { code: "notFound" });
  await assert.rejects(tree.freeze().get(key), { code: "notFound" });
  await assert.rejects(Promise.resolve(tree.prefetch([key])), { code: "notFound" });
  for (const [name, bytes] of blobs) store.blobs.set(name, bytes.slice(0, -1));
  store.verifies = false;
  await assert.rejects(error.load(), { code: "corrupt" });
  await assert.rejects(openTree(env, store, root), { code: "corrupt" });
  for (const [name, bytes] of blobs) store.blobs.set(name, bytes);
  await error.load();
  assert.ok((await tree.freeze().get(key)) !== undefined);
  store.blobs.delete(hex(root.hash!));
  await assert.rejects(openTree(env, store, root), { code: "notFound" });
  await assert.rejects(openTree(env, store, { ...root, seed: new Uint8Array(4) }), { code: "invalid" });
  assert.throws(() => tree.at(emptyTree(seedOf("another"))), { code: "invalid" });
});
