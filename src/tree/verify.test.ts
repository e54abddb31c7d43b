/** `verify` finds any damage: flipped bits, lost blobs, and trees that are well formed but not the canonical ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Boundary } from "./boundary.ts";
import { CountingBlobStore, Dice, env, hex, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { encodeLargeValue, hashText } from "./format.ts";
import { emptyTree, openTree, verify } from "./index.ts";
import type { TreeRoot } from "./index.ts";
import { LargeValue, Page } from "./page.ts";

async function stored(count: number): Promise<{ readonly store: CountingBlobStore; readonly root: TreeRoot }> {
  const store = new CountingBlobStore();
  const tree = await openTree(env, store, emptyTree(seedOf("verify")));
  const dice = new Dice(count);
  for (let i = 0; i < count; i++) tree.set(utf8(`key/${i}`), dice.bytes(i % 100 === 7 ? 2_100 : 10));
  return { store, root: (await tree.flush()).root };
}

test("an undamaged state", async () => {
  const { store, root } = await stored(3_000);
  const report = await verify(env, store, root);
  assert.deepEqual(report.problems, []);
  assert.equal(report.ok, true);
  assert.equal(report.entryCount, 3_000);
  assert.equal(report.largeValueCount, 30);
  assert.equal(report.pageCount + report.largeValueCount, store.blobs.size);
  assert.equal(
    report.blobSize,
    store.blobs.values().reduce((sum, bytes) => sum + bytes.length, 0),
  );
  assert.equal((await verify(env, store, emptyTree(root.seed))).ok, true);
});

test("one flipped bit in any blob is one problem, which names that blob", async () => {
  const { store, root } = await stored(1_200);
  const dice = new Dice(11);
  const names = dice.shuffled([...store.blobs.keys()]);
  // A real store tells of damage by itself; one that does not changes nothing.
  for (let i = 0; i < 400 * scale; i++) {
    const name = names[i % names.length]!;
    const bytes = store.blobs.get(name)!;
    const at = i < names.length * 2 ? dice.roll(Math.min(bytes.length, 60)) : dice.roll(bytes.length);
    const bit = 1 << dice.roll(8);
    bytes[at]! ^= bit;
    store.verifies = i % 2 === 0;
    const report = await verify(env, store, root);
    assert.equal(report.ok, false, `bit ${bit} at ${at} of ${name}`);
    assert.deepEqual(
      report.problems.map(({ hash }) => hex(hash)),
      [name],
    );
    bytes[at]! ^= bit;
  }
  assert.equal((await verify(env, store, root)).ok, true);
});

test("an absent blob is one problem; a failing store fails the call", async () => {
  const { store, root } = await stored(1_200);
  for (const [name, bytes] of Array.from(store.blobs)) {
    store.blobs.delete(name);
    const { problems } = await verify(env, store, root);
    assert.deepEqual(
      problems.map(({ hash, what }) => `${hex(hash)} ${what}`),
      [`${name} the blob is absent`],
    );
    store.blobs.set(name, bytes);
  }
  store.beforeGet = () => {
    throw new Error("the disk is gone");
  };
  await assert.rejects(verify(env, store, root), /the disk is gone/);
});

test("a wrong count in the root is found", async () => {
  const { store, root } = await stored(100);
  const report = await verify(env, store, { ...root, count: 99 });
  assert.equal(report.problemCount, 1);
  assert.match(report.problems[0]!.what, /its parent says 99/);
});

/** Pages made by hand, with right hashes, that no history of edits would leave. */
class Forger {
  readonly store = new CountingBlobStore();
  readonly seed = seedOf("forger");
  readonly boundary = new Boundary(this.seed);

  /** The first `count` keys of this level. */
  keys(level: number, count: number, prefix = "k"): Uint8Array[] {
    const keys: Uint8Array[] = [];
    for (let i = 0; keys.length < count; i++) {
      const key = utf8(`${prefix}${String(i).padStart(6, "0")}`);
      if (this.boundary.level(key) === level) keys.push(key);
    }
    return keys;
  }

  keep(page: Page): Page {
    const bytes = page.encode(this.seed);
    const hash = env.digest.sha256(bytes);
    this.store.blobs.set(hex(hash), bytes);
    page.hash = hashText(hash);
    page.generation = 0;
    return page;
  }

  leaf(keys: readonly Uint8Array[]): Page {
    const page = Page.empty(0, 1);
    for (const [i, key] of keys.entries()) page.insert(i, key, utf8("value"), undefined);
    return this.keep(page);
  }

  inner(level: number, children: readonly (readonly [Uint8Array, Page])[]): Page {
    const page = Page.empty(level, 1);
    for (const [i, [key, child]] of children.entries()) page.insertChild(i, key, child);
    page.sum();
    return this.keep(page);
  }

  async problems(page: Page): Promise<string[]> {
    const hash = new Uint8Array(Buffer.from(page.hash, "utf16le"));
    const report = await verify(env, this.store, { hash, seed: this.seed, count: page.entryCount });
    return report.problems.map(({ what }) => what);
  }
}

const noKey = new Uint8Array(0);

test("well formed trees that are not canonical", async () => {
  const forger = new Forger();
  const plain = forger.keys(0, 6);
  const [first, second] = forger.keys(1, 2) as [Uint8Array, Uint8Array];
  /** A key of level 0 behind this one. */
  const inside = (key: Uint8Array) => {
    const keys = Array.from({ length: 100 }, (_, suffix) => new Uint8Array([...key, suffix]));
    return keys.find((each) => forger.boundary.level(each) === 0)!;
  };

  assert.deepEqual(await forger.problems(forger.leaf(plain)), []);
  const right = forger.leaf([second, inside(second)]);
  const good = forger.inner(1, [
    [noKey, forger.leaf([])],
    [first, forger.leaf([first])],
    [second, right],
  ]);
  assert.deepEqual(await forger.problems(good), []);

  const unsplit = forger.leaf([first, inside(first)]);
  assert.match((await forger.problems(unsplit)).join(), /key 0 has level 1/);
  const split = forger.inner(1, [
    [noKey, forger.leaf([])],
    [plain[0]!, forger.leaf([plain[0]!])],
  ]);
  assert.match((await forger.problems(split)).join(), /key 1 has level 0/);
  assert.match((await forger.problems(forger.inner(1, [[noKey, forger.leaf(plain)]]))).join(), /root with one child/);
  assert.match((await forger.problems(forger.leaf([]))).join(), /empty state/);
  const misplaced = forger.inner(1, [
    [noKey, forger.leaf([])],
    [first, right],
  ]);
  assert.match((await forger.problems(misplaced)).join(), /first key is not the one/);
  const past = forger.inner(1, [
    [noKey, forger.leaf([])],
    [first, forger.leaf([first, inside(second)])],
    [second, forger.leaf([second])],
  ]);
  assert.match((await forger.problems(past)).join(), /belongs into the next page/);
  const notLeft = forger.inner(1, [
    [first, forger.leaf([first])],
    [second, right],
  ]);
  assert.match((await forger.problems(notLeft)).join(), /first key is not the one/);
  const tall = forger.inner(2, [[noKey, good]]);
  assert.match((await forger.problems(tall)).join(), /root with one child/);
});

test("a large value under another entry's key", async () => {
  const forger = new Forger();
  const [a, b] = forger.keys(0, 2) as [Uint8Array, Uint8Array];
  const value = new Uint8Array(3_000);
  const blob = encodeLargeValue(forger.seed, b, value);
  const hash = env.digest.sha256(blob);
  forger.store.blobs.set(hex(hash), blob);
  const page = Page.empty(0, 1);
  page.insert(0, a, value, new LargeValue(hashText(hash), 0, a.length, value.length, value));
  assert.match((await forger.problems(forger.keep(page))).join(), /another entry's key/);
});

test("pages that name the same page again and again are no work without end", async () => {
  const forger = new Forger();
  // Six heights of 200 children that are all the same page: 200^6 visits for who follows them all.
  let page = forger.leaf(forger.keys(0, 1));
  const keys = forger.keys(0, 199, "z");
  for (let level = 1; level <= 6; level++) {
    page = forger.inner(level, [[noKey, page], ...keys.map((key) => [key, page] as const)]);
  }
  const problems = await forger.problems(page);
  assert.ok(problems.length >= 199);
});
