/** `diff` against a slow twin that compares all entries, and what it reads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CountingBlobStore, Dice, env, hex, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { diff, emptyTree, openTree } from "./index.ts";
import type { TreeDiffOptions, TreeEdit, TreeSnapshot } from "./index.ts";

type State = Map<string, string>;

async function stateOf(snapshot: TreeSnapshot): Promise<State> {
  const state: State = new Map();
  for await (const batch of snapshot.entries()) for (const { key, value } of batch) state.set(hex(key), hex(value));
  return state;
}

/** The slow twin: every key of either, in order. */
function naiveDiff(before: State, after: State): string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .toSorted()
    .filter((key) => before.get(key) !== after.get(key))
    .map((key) => `${key} ${before.get(key)} ${after.get(key)}`);
}

async function differences(before: TreeSnapshot, after: TreeSnapshot, options?: TreeDiffOptions): Promise<string[]> {
  const list: string[] = [];
  for await (const batch of diff(before, after, options)) {
    assert.ok(batch.length > 0, "no batch is empty");
    for (const each of batch)
      list.push(`${hex(each.key)} ${each.before && hex(each.before)} ${each.after && hex(each.after)}`);
  }
  return list;
}

function edit(tree: TreeEdit, dice: Dice, count: number): void {
  for (let i = 0; i < count; i++) {
    const key = utf8(`key/${dice.roll(3_000)}`);
    // Values from few, so that some are put back.
    if (dice.roll(3) === 0) tree.remove(key);
    else tree.set(key, new Uint8Array(dice.roll(30) === 0 ? 2_100 : 4).fill(dice.roll(3)));
  }
}

test("two states of one history, flushed or not, whatever the cache", async () => {
  for (let run = 0; run < 30 * scale; run++) {
    const dice = new Dice(run);
    const tree = await openTree(env, new CountingBlobStore(), emptyTree(seedOf("diff")), {
      cacheSizeMax: run % 3 === 0 ? 0 : 100_000_000,
    });
    if (run % 5 > 0) edit(tree, dice, dice.roll(4_000));
    if (run % 2 === 0) await tree.flush();
    const before = tree.freeze();
    // Small differences and large ones; all pages are here, for nothing was trimmed since.
    if (run % 3 !== 0) edit(tree, dice, dice.roll(run % 4 === 0 ? 4_000 : 20));
    else {
      for (let i = dice.roll(20); i > 0; i--) {
        const key = utf8(`key/${dice.roll(3_000)}`);
        await tree.prefetch([key]);
        tree.set(key, utf8("new"));
      }
    }
    if (run % 4 < 2) await tree.flush();
    const after = tree.freeze();
    const [a, b] = [await stateOf(before), await stateOf(after)];
    assert.deepEqual(await differences(before, after), naiveDiff(a, b), `run ${run}`);
    assert.deepEqual(await differences(after, before), naiveDiff(b, a), `run ${run}`);
    assert.deepEqual(await differences(after, after), []);
    const keys = await differences(before, after, { keysOnly: true });
    assert.deepEqual(
      keys.map((line) => line.split(" ")[0]),
      naiveDiff(a, b).map((line) => line.split(" ")[0]),
      `run ${run}`,
    );
  }
});

test("a range of two states, whatever its bounds", async () => {
  for (let run = 0; run < 24 * scale; run++) {
    const dice = new Dice(1_000 + run);
    const store = new CountingBlobStore();
    const tree = await openTree(env, store, emptyTree(seedOf("range")), {
      cacheSizeMax: run % 3 === 0 ? 0 : 100_000_000,
    });
    edit(tree, dice, dice.roll(5_000));
    if (run % 2 === 0) await tree.flush();
    const before = tree.freeze();
    for (let i = dice.roll(run % 4 === 0 ? 2_000 : 20); i > 0; i--) {
      const key = utf8(`key/${dice.roll(3_000)}`);
      await tree.prefetch([key]);
      tree.set(key, utf8(`new ${dice.roll(2)}`));
    }
    if (run % 4 < 2) await tree.flush();
    const after = tree.freeze();
    const all = naiveDiff(await stateOf(before), await stateOf(after));
    for (let i = 0; i < 12; i++) {
      const bound = () => (dice.roll(6) === 0 ? undefined : utf8(`key/${dice.roll(3_100)}`.slice(0, 3 + dice.roll(6))));
      const range = { start: bound(), end: bound() };
      const inside = (line: string) => {
        const key = line.split(" ")[0] as string;
        return (
          (range.start === undefined || key >= hex(range.start)) && (range.end === undefined || key < hex(range.end))
        );
      };
      const name = `run ${run}, ${range.start && hex(range.start)} to ${range.end && hex(range.end)}`;
      assert.deepEqual(await differences(before, after, { range }), all.filter(inside), name);
    }
  }
});

test("a range of a large difference is found without the rest of it", async () => {
  const store = new CountingBlobStore();
  const first = await openTree(env, store, emptyTree(seedOf("reads a range")));
  for (let i = 0; i < 30_000; i++) first.set(utf8(`key/${String(i).padStart(6, "0")}`), utf8(String(i)));
  const a = await first.flush();
  for (let i = 0; i < 30_000; i += 10) first.set(utf8(`key/${String(i).padStart(6, "0")}`), utf8("changed"));
  const b = await first.flush();
  const second = await openTree(env, store, b.root);
  store.getCount = 0;
  const range = { start: utf8("key/015000"), end: utf8("key/015100") };
  assert.equal((await differences(second.at(a.root), second.freeze(), { range })).length, 10);
  // The paths to it, and what was asked for ahead of it.
  assert.ok(store.getCount < 80, `${store.getCount} pages read`);
});

test("two trees with different seeds, and with nothing in common", async () => {
  const dice = new Dice(8);
  const snapshots: TreeSnapshot[] = [];
  for (const seed of ["one", "two", "three"]) {
    const tree = await openTree(env, new CountingBlobStore(), emptyTree(seedOf(seed)), { cacheSizeMax: 0 });
    for (let i = 0; i < 2_000; i++) tree.set(utf8(`key/${i}`), new Uint8Array(i % 50 === 0 ? 2_100 : 4).fill(i));
    if (seed === "two") edit(tree, dice, 30);
    await tree.flush();
    snapshots.push(tree.freeze());
  }
  const [one, two, three] = snapshots as [TreeSnapshot, TreeSnapshot, TreeSnapshot];
  assert.deepEqual(await differences(one, two), naiveDiff(await stateOf(one), await stateOf(two)));
  assert.deepEqual(await differences(one, three), [], "equal contents do not differ, whatever the seeds");
});

test("it reads what differs and not the states", async () => {
  const store = new CountingBlobStore();
  const first = await openTree(env, store, emptyTree(seedOf("reads")));
  for (let i = 0; i < 30_000; i++) first.set(utf8(`key/${i}`), utf8(String(i)));
  const a = await first.flush();
  for (let i = 0; i < 5; i++) first.set(utf8(`key/${i * 5_000}`), utf8("changed"));
  const b = await first.flush();
  const second = await openTree(env, store, b.root);
  store.getCount = 0;
  assert.equal((await differences(second.at(a.root), second.freeze())).length, 5);
  // Five paths on each side, and the neighbours that were asked for ahead.
  assert.ok(store.getCount < 80, `${store.getCount} pages read`);
});

test("it ends by its signal, and with a snapshot that is released", async () => {
  const tree = await openTree(env, new CountingBlobStore(), emptyTree(seedOf("ends")));
  edit(tree, new Dice(1), 3_000);
  const [empty, snapshot] = [
    (await openTree(env, new CountingBlobStore(), emptyTree(seedOf("ends")))).freeze(),
    tree.freeze(),
  ];
  const controller = new AbortController();
  const batches = diff(empty, snapshot, { signal: controller.signal });
  assert.equal((await batches.next()).done, false);
  controller.abort();
  await assert.rejects(batches.next(), { code: "cancelled" });
  const others = diff(empty, snapshot);
  await others.next();
  snapshot.release();
  await assert.rejects(others.next(), { code: "invalid" });
});
