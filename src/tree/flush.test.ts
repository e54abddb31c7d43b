/** Flush and collection: while edits go on, through failures, and never deleting what somebody needs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError, deferred, HoldfastError } from "../base/index.ts";
import { naiveTree } from "./canonical.suite.ts";
import { CountingBlobStore, Dice, env, hex, loading, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { emptyTree, openTree, reachable, verify } from "./index.ts";
import type { Flushed, TreeEdit, TreeRoot, TreeSnapshot } from "./index.ts";

async function opened(store: CountingBlobStore, text = "flush"): Promise<TreeEdit> {
  return openTree(env, store, emptyTree(seedOf(text)));
}

function fill(tree: TreeEdit, count: number): void {
  for (let i = 0; i < count; i++) tree.set(utf8(`key/${i}`), utf8(`value ${i}`));
}

async function checkStored(store: CountingBlobStore, root: TreeRoot): Promise<void> {
  const { problems } = await verify(env, store, root);
  assert.deepEqual(problems, []);
}

/** The entries of a snapshot make a tree; the twin says which. */
async function twinOf(snapshot: TreeSnapshot, seed: Uint8Array): Promise<ReturnType<typeof naiveTree>> {
  const entries = [];
  for await (const batch of snapshot.entries()) entries.push(...batch);
  return naiveTree(seed, entries);
}

test("a flush writes the state of the moment it was called, whatever is edited meanwhile", async () => {
  const store = new CountingBlobStore();
  const tree = await opened(store);
  fill(tree, 3_000);
  const frozen = tree.freeze();
  assert.equal(frozen.root(), undefined);
  const dirtySize = tree.dirtySize;
  const state = { over: false };
  const flushing = tree.flush({ sliceMs: 0 }).finally(() => (state.over = true));
  assert.equal(tree.dirtySize, 0);
  let rounds = 0;
  for (; !state.over; rounds++) {
    tree.set(utf8(`key/${rounds * 7}`), utf8("later"));
    tree.remove(utf8(`key/${rounds * 7 + 1}`));
    await new Promise<void>((resolve) => env.clock.defer(resolve));
  }
  assert.ok(rounds > 20, `${rounds} rounds of edits while the flush ran`);
  const flushed = await flushing;
  assert.equal(flushed.blobSize, dirtySize, "the dirty size is exact");
  assert.equal(flushed.blobCount, store.putCount);
  assert.deepEqual(frozen.root(), flushed.root);
  assert.equal(hex(flushed.root.hash!), (await twinOf(frozen, flushed.root.seed)).root);
  await checkStored(store, flushed.root);
  const second = await tree.flush();
  await checkStored(store, second.root);
  assert.notDeepEqual(second.root, flushed.root);
  assert.equal((await tree.flush()).blobCount, 0, "nothing changed: nothing is written");
});

test("two flushes at once are a bug", async () => {
  const tree = await opened(new CountingBlobStore());
  fill(tree, 100);
  const first = tree.flush();
  await assert.rejects(tree.flush(), AssertionError);
  await first;
});

test("a flush that fails loses nothing; the next writes it all and leaves nothing behind", async () => {
  for (let run = 0; run < 40 * scale; run++) {
    const dice = new Dice(run);
    const store = new CountingBlobStore();
    const tree = await opened(store, `fails ${run}`);
    fill(tree, 400);
    let last: Flushed = await tree.flush();
    for (let round = 0; round < 4; round++) {
      const edit = () => {
        for (let i = dice.roll(60); i >= 0; i--) {
          const key = utf8(`key/${dice.roll(500)}`);
          if (dice.roll(3) === 0) tree.remove(key);
          else tree.set(key, dice.bytes(dice.roll(20) === 0 ? 2_100 : 3));
        }
      };
      edit();
      let countdown = dice.roll(40);
      store.beforePut = async () => {
        if (dice.roll(2) === 0) await Promise.resolve();
        if (countdown-- === 0) throw new Error("no space");
      };
      const flushing = tree.flush({ sliceMs: 0 });
      edit();
      try {
        last = await flushing;
      } catch (error) {
        assert.match(String(error), /no space/);
        // What was flushed before is untouched, also by a collection.
        await tree.collect(last);
        await checkStored(store, last.root);
      }
      store.beforePut = () => {};
      edit();
    }
    last = await tree.flush();
    await checkStored(store, last.root);
    const twin = await twinOf(tree.freeze(), last.root.seed);
    assert.equal(hex(last.root.hash!), twin.root, `run ${run}`);
    await tree.flush();
    await tree.collect(last);
    // Blobs of a failed flush that no root names may stay; what a successful flush wrote may not.
    for (const hash of twin.blobs.keys()) assert.ok(store.blobs.has(hash));
  }
});

test("a failed flush's blobs are collected as others are", async () => {
  const store = new CountingBlobStore();
  const tree = await opened(store);
  fill(tree, 100);
  let blobCount = 0;
  store.beforePut = () => {
    if (blobCount++ === 3) throw new Error("no space");
  };
  await assert.rejects(tree.flush(), /no space/);
  store.beforePut = () => {};
  assert.ok(store.blobs.size > 0);
  for (let i = 0; i < 100; i++) tree.set(utf8(`key/${i}`), utf8("again"));
  const dirtySize = tree.dirtySize;
  const flushed = await tree.flush();
  assert.equal(flushed.blobSize, dirtySize, "the dirty size is exact again");
  const { root } = flushed;
  await tree.collect(flushed);
  assert.deepEqual(
    [...store.blobs.keys()].toSorted(),
    [...(await twinOf(tree.freeze(), root.seed)).blobs.keys()].toSorted(),
  );
});

test("collection spares what snapshots and the newest root need, and takes the rest", async () => {
  for (let run = 0; run < 12 * scale; run++) {
    const dice = new Dice(run);
    const store = new CountingBlobStore();
    const seed = seedOf(`collect ${run}`);
    let tree = await openTree(env, store, emptyTree(seed), { cacheSizeMax: dice.roll(2) * 1_000_000 });
    let kept: { snapshot: TreeSnapshot; root: string | null }[] = [];
    const flushes: Flushed[] = [];
    for (let step = 0; step < 60; step++) {
      for (let i = dice.roll(80); i > 0; i--) {
        const key = utf8(`key/${dice.roll(600)}`);
        const value = dice.bytes(dice.roll(30) === 0 ? 2_050 : 1);
        await loading(() => (dice.roll(3) === 0 ? tree.remove(key) : tree.set(key, value)));
      }
      const kind = dice.roll(6);
      if (kind === 0) {
        const snapshot = tree.freeze();
        kept.push({ snapshot, root: (await twinOf(snapshot, seed)).root });
      } else if (kind === 1 && flushes.length > 0) {
        const { root } = flushes.at(-1)!;
        kept.push({ snapshot: tree.at(root), root: root.hash && hex(root.hash) });
      } else if (kind === 2 && kept.length > 0) {
        const [{ snapshot, root }] = kept.splice(dice.roll(kept.length), 1) as [(typeof kept)[0]];
        assert.equal((await twinOf(snapshot, seed)).root, root);
        snapshot.release();
        snapshot.release();
      } else if (kind < 5) {
        flushes.push(await tree.flush());
        // Any flush since the last collection, not the newest only.
        if (dice.roll(2) === 0) await tree.collect(flushes[dice.roll(flushes.length)]!);
        await checkStored(store, flushes.at(-1)!.root);
      }
      tree.trimCache();
    }
    for (const { snapshot, root } of kept) {
      assert.equal((await twinOf(snapshot, seed)).root, root, `run ${run}`);
      snapshot.release();
    }
    kept = [];
    const last = await tree.flush();
    await tree.collect(last);
    const twin = await twinOf(tree.freeze(), seed);
    assert.deepEqual([...store.blobs.keys()].toSorted(), [...twin.blobs.keys()].toSorted(), `run ${run}`);
    tree = await openTree(env, store, last.root);
    assert.equal((await twinOf(tree.freeze(), seed)).root, twin.root);
  }
});

test("a content that comes back while its old blob is being deleted is stored again", async () => {
  const store = new CountingBlobStore();
  const tree = await opened(store);
  const set = (value: string) => tree.set(utf8("key"), utf8(value));
  set("first");
  const first = await tree.flush();
  set("second");
  const second = await tree.flush();
  const deletion = deferred<void>();
  store.beforeDelete = () => deletion.promise;
  const collecting = tree.collect(second);
  await Promise.resolve();
  set("first");
  const flushing = tree.flush();
  await new Promise<void>((resolve) => env.clock.defer(resolve));
  deletion.resolve();
  assert.equal(await collecting, 1);
  const third = await flushing;
  assert.deepEqual(third.root, first.root);
  await checkStored(store, third.root);
});

test("reachable names every blob once, reads no leaf without need, and leaves out what is known", async () => {
  const store = new CountingBlobStore();
  const tree = await opened(store);
  fill(tree, 3_000);
  const plain = await tree.flush();
  const list = async (root: TreeRoot, known?: (hash: Uint8Array) => boolean) => {
    const names: string[] = [];
    for await (const batch of reachable(store, root, { known })) names.push(...batch.map(hex));
    return names.toSorted();
  };
  const leafCount = [...store.blobs.values()].filter((bytes) => bytes[5] === 0).length;
  store.getCount = 0;
  const before = await list(plain.root);
  assert.equal(store.getCount, store.blobs.size - leafCount);
  assert.deepEqual(before, [...store.blobs.keys()].toSorted());
  tree.set(utf8("key/7"), new Uint8Array(5_000));
  const later = await tree.flush();
  const twin = await twinOf(tree.freeze(), later.root.seed);
  assert.deepEqual(await list(later.root), [...twin.blobs.keys()].toSorted());
  const known = new Set(before);
  assert.deepEqual(
    await list(later.root, (hash) => known.has(hex(hash))),
    [...twin.blobs.keys()].filter((name) => !known.has(name)).toSorted(),
  );
  assert.deepEqual(await list(emptyTree(plain.root.seed)), []);
  store.blobs.delete(hex(later.root.hash!));
  await assert.rejects(list(later.root), { code: "notFound" });
});

test("a frozen state is written under the root that it has, and nothing is deleted that it or the present one needs", async () => {
  for (let run = 0; run < 20 * scale; run++) {
    const dice = new Dice(run);
    const store = new CountingBlobStore();
    const tree = await opened(store, `frozen ${run}`);
    // So few values that pages come to be what they were before.
    const edit = () => {
      for (let count = dice.roll(12); count > 0; count--) {
        const key = utf8(`key/${dice.roll(run % 2 === 0 ? 40 : 400)}`);
        if (dice.roll(4) === 0) tree.remove(key);
        else tree.set(key, utf8(`value ${dice.roll(2)}`));
      }
    };
    fill(tree, 300);
    let kept: readonly Flushed[] = [];
    const waiting: TreeSnapshot[] = [];
    const readers: { readonly snapshot: TreeSnapshot; readonly root: string | null }[] = [];
    const flush = async (state: TreeSnapshot | undefined) => {
      store.beforePut = () => {
        if (dice.roll(6) === 0) edit();
        if (dice.roll(150) === 0) throw new HoldfastError("exhausted", "full");
      };
      try {
        const flushed = await tree.flush({ state, sliceMs: 0 });
        if (state !== undefined) {
          assert.equal(hex(flushed.root.hash!), (await twinOf(state, flushed.root.seed)).root);
          waiting.shift()?.release();
        }
        const [last] = kept;
        if (last !== undefined) await tree.collect(last);
        kept = [flushed, ...kept.slice(0, 1)];
      } catch (error) {
        assert.ok(error instanceof HoldfastError && error.code === "exhausted", String(error));
      }
    };
    for (let step = 0; step < 60; step++) {
      edit();
      const what = dice.roll(6);
      if (what === 0) waiting.push(tree.freeze());
      else if (what === 1 && waiting.length === 0) await flush(undefined);
      else if (what === 2 || what === 3) await flush(waiting[0]);
      else if (what === 4 && readers.length < 3) {
        const snapshot = tree.freeze();
        readers.push({ snapshot, root: (await twinOf(snapshot, seedOf(`frozen ${run}`))).root });
      } else if (what === 5) readers.shift()?.snapshot.release();
      for (const { root } of kept) await checkStored(store, root);
      tree.trimCache();
    }
    for (const { snapshot, root } of readers) {
      assert.equal((await twinOf(snapshot, seedOf(`frozen ${run}`))).root, root);
    }
  }
});

test("what is forgotten is not collected, held or not", async () => {
  const store = new CountingBlobStore();
  const tree = await opened(store);
  fill(tree, 500);
  const first = await tree.flush();
  const held = tree.freeze();
  fill(tree, 250);
  tree.set(utf8("key/1"), utf8("changed"));
  const second = await tree.flush();
  assert.ok(tree.forget(second) > 0);
  assert.equal(tree.forget(second), 0);
  held.release();
  assert.equal(await tree.collect(second), 0);
  await checkStored(store, first.root);
});
