/**
 * The tree against a sorted list, through thousands of random operations with a cache so small that pages are missing
 * all the time.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes } from "../base/index.ts";
import { naiveTree } from "./canonical.suite.ts";
import { CountingBlobStore, Dice, env, hex, loading, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { emptyTree, openTree, PageMissing } from "./index.ts";
import type { Flushed, TreeEdit, TreeEntry, TreeRangeOptions, TreeSnapshot } from "./index.ts";

/** A map that is searched by going through all of it. */
class Model {
  entries: TreeEntry[];

  constructor(entries: readonly TreeEntry[] = []) {
    this.entries = [...entries];
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.entries.find((entry) => compareBytes(entry.key, key) === 0)?.value;
  }

  put(key: Uint8Array, value: Uint8Array): Uint8Array | undefined {
    const at = this.entries.findIndex((entry) => compareBytes(entry.key, key) >= 0);
    const found = this.entries[at];
    if (found === undefined) this.entries.push({ key, value });
    else if (compareBytes(found.key, key) !== 0) this.entries.splice(at, 0, { key, value });
    else {
      this.entries[at] = { key, value };
      return found.value;
    }
    return undefined;
  }

  delete(key: Uint8Array): Uint8Array | undefined {
    const at = this.entries.findIndex((entry) => compareBytes(entry.key, key) === 0);
    return at < 0 ? undefined : this.entries.splice(at, 1)[0]?.value;
  }

  range({ start, end, reverse, keysOnly }: TreeRangeOptions): TreeEntry[] {
    const list = this.entries
      .filter(
        ({ key }) =>
          (start === undefined || compareBytes(key, start) >= 0) && (end === undefined || compareBytes(key, end) < 0),
      )
      .map(({ key, value }) => ({ key, value: keysOnly === true ? new Uint8Array(0) : value }));
    return reverse === true ? list.toReversed() : list;
  }
}

const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : hex(bytes));
const texts = (entries: readonly TreeEntry[]) => entries.map(({ key, value }) => `${hex(key)}=${hex(value)}`);

async function all(snapshot: TreeSnapshot, range: TreeRangeOptions): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for await (const batch of snapshot.entries(range)) {
    assert.ok(batch.length > 0, "no batch is empty");
    entries.push(...batch);
  }
  return entries;
}

function makeKey(dice: Dice): Uint8Array {
  const kind = dice.roll(20);
  if (kind === 0) return dice.bytes(dice.roll(3));
  if (kind === 1) return new Uint8Array(dice.roll(6)).fill(0xff);
  return utf8(`${"ab"[dice.roll(2)]}/${dice.roll(900)}`);
}

function makeValue(dice: Dice): Uint8Array {
  return dice.bytes(dice.roll(40) === 0 ? 2_045 + dice.roll(8) : dice.roll(60));
}

function makeRange(dice: Dice): TreeRangeOptions {
  return {
    start: dice.roll(4) === 0 ? undefined : makeKey(dice),
    end: dice.roll(4) === 0 ? undefined : makeKey(dice),
    reverse: dice.roll(2) === 0,
    keysOnly: dice.roll(4) === 0,
  };
}

interface Kept {
  readonly snapshot: TreeSnapshot;
  readonly model: Model;
}

/** One random history. Returns how often a page was missing. */
async function history(seedNumber: number, steps: number, cacheSizeMax: number): Promise<number> {
  const dice = new Dice(seedNumber);
  const seed = seedOf(`model ${seedNumber}`);
  const store = new CountingBlobStore();
  let tree: TreeEdit = await openTree(env, store, emptyTree(seed), { cacheSizeMax });
  let model = new Model();
  let flushed: { readonly result: Flushed; readonly model: Model } | undefined;
  let kept: Kept[] = [];
  let missCount = 0;
  const sure = <T>(call: () => T) => loading(call, () => void missCount++);
  const checkRange = async ({ snapshot, model: expected }: Kept) => {
    const range = makeRange(dice);
    const wanted = texts(expected.range(range));
    if (dice.roll(2) === 0) assert.deepEqual(texts(await all(snapshot, range)), wanted);
    else {
      // One iterator through all its misses: it stands where it stood.
      const walk = snapshot.entriesSync(range);
      const entries: TreeEntry[] = [];
      for (;;) {
        const { value, done } = await sure(() => walk.next());
        if (done === true) break;
        entries.push(value);
      }
      assert.deepEqual(texts(entries), wanted);
    }
    assert.equal(await snapshot.count(range), wanted.length);
    assert.equal(await sure(() => snapshot.countSync(range)), wanted.length);
    const key = makeKey(dice);
    assert.equal(text(await snapshot.get(key)), text(expected.get(key)));
  };

  for (let step = 0; step < steps; step++) {
    const kind = dice.roll(100);
    const key = makeKey(dice);
    if (kind < 45) {
      const value = makeValue(dice);
      if (dice.roll(3) === 0) assert.equal(await sure(() => tree.set(key, value)), model.put(key, value) !== undefined);
      else assert.equal(text(await sure(() => tree.put(key, value))), text(model.put(key, value)));
    } else if (kind < 70) {
      if (dice.roll(3) === 0) assert.equal(await sure(() => tree.remove(key)), model.delete(key) !== undefined);
      else assert.equal(text(await sure(() => tree.delete(key))), text(model.delete(key)));
    } else if (kind < 78) {
      assert.equal(text(await sure(() => tree.get(key))), text(model.get(key)));
      assert.equal(await sure(() => tree.has(key)), model.get(key) !== undefined);
    } else if (kind < 84) {
      const range = makeRange(dice);
      assert.deepEqual(texts(await sure(() => [...tree.entries(range)])), texts(model.range(range)));
      assert.equal(await sure(() => tree.count(range)), model.range(range).length);
    } else if (kind < 87) {
      // A command that misses a page half-way is undone and repeated: undoing never misses one.
      const commands = Array.from({ length: 8 }, () => ({
        key: makeKey(dice),
        value: dice.roll(2) === 0 ? undefined : makeValue(dice),
      }));
      await sure(() => {
        const undo: (() => void)[] = [];
        try {
          for (const command of commands) {
            const { key: at, value } = command;
            const previous = value === undefined ? tree.delete(at) : tree.put(at, value);
            undo.push(() => void (previous === undefined ? tree.delete(at) : tree.put(at, previous)));
          }
        } catch (error) {
          assert.ok(error instanceof PageMissing);
          for (const inverse of undo.toReversed()) inverse();
          throw error;
        }
      });
      for (const { key: at, value } of commands) void (value === undefined ? model.delete(at) : model.put(at, value));
    } else if (kind < 90) {
      const keys = Array.from({ length: 10 }, () => makeKey(dice));
      await tree.prefetch(keys);
      assert.equal(tree.prefetch(keys), undefined);
      for (const each of keys)
        assert.equal(text(tree.get(each)), text(model.get(each)), "prefetched: nothing is missing");
    } else if (kind < 93) {
      tree.trimCache();
      assert.ok(tree.cacheSize <= cacheSizeMax, `the cache holds ${tree.cacheSize} bytes`);
    } else if (kind < 95) {
      kept.push({ snapshot: tree.freeze(), model: new Model(model.entries) });
      if (kept.length > 3) kept.splice(dice.roll(kept.length), 1)[0]?.snapshot.release();
    } else if (kind < 97) {
      for (const each of kept) await checkRange(each);
    } else if (kind < 99) {
      const frozen = new Model(model.entries);
      const flushing = tree.flush({ sliceMs: 0 });
      // Edits go on while the flush runs.
      for (let i = dice.roll(20); i > 0; i--) {
        const [at, value] = [makeKey(dice), makeValue(dice)];
        await sure(() => tree.put(at, value));
        model.put(at, value);
      }
      flushed = { result: await flushing, model: frozen };
      assert.equal(flushed.result.root.count, frozen.entries.length);
      if (dice.roll(2) === 0) await tree.collect(flushed.result);
    } else if (dice.roll(4) === 0 && flushed !== undefined) {
      // A restart: what was not flushed is lost, and so are the snapshots.
      tree = await openTree(env, store, flushed.result.root, { cacheSizeMax });
      model = new Model(flushed.model.entries);
      kept = [];
      flushed = undefined;
    }
    assert.equal(tree.entryCount, model.entries.length);
  }

  for (const each of kept) await checkRange(each);
  for (const { snapshot } of kept) snapshot.release();
  const last = await tree.flush();
  const twin = naiveTree(seed, model.entries);
  assert.equal(text(last.root.hash ?? undefined) ?? null, twin.root);
  await tree.collect(last);
  for (const hash of twin.blobs.keys()) assert.ok(store.blobs.has(hash), "no blob of the last root was deleted");
  return missCount;
}

for (const cacheSizeMax of [0, 20_000, 100_000_000]) {
  test(`random histories, cache of ${cacheSizeMax} bytes`, async () => {
    let missCount = 0;
    for (let seed = 1; seed <= 6 * scale; seed++) {
      try {
        missCount += await history(seed + cacheSizeMax, 1_500, cacheSizeMax);
      } catch (error) {
        throw new Error(`history ${seed + cacheSizeMax} failed`, { cause: error });
      }
    }
    if (cacheSizeMax < 100_000_000) assert.ok(missCount > 500, `pages were missing ${missCount} times only`);
  });
}
