/**
 * Equal contents, equal roots: against the slow twin that builds the pages from a sorted list, and the golden bytes of
 * the format.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Boundary } from "./boundary.ts";
import { halfSipHash, naiveLevel, naiveTree } from "./canonical.suite.ts";
import type { NaiveEntry } from "./canonical.suite.ts";
import { CountingBlobStore, Dice, env, hex, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { emptyTree, openTree } from "./index.ts";

test("HalfSipHash: the published vectors hold for the twin, and the twin for the tree's own", () => {
  // The reference code's vectors for HalfSipHash-2-4: key 00…07, input 00, 01, … of each length.
  const vectors = [
    "a9359f5b",
    "27475ab8",
    "fa62a603",
    "8afee704",
    "2a6e4689",
    "c5fab669",
    "5863fc23",
    "8bcf63c5",
    "d0b8848f",
  ];
  const counting = Uint8Array.from({ length: 64 }, (_, i) => i);
  for (const [size, vector] of vectors.entries()) {
    const tag = halfSipHash(counting.subarray(0, 8), counting.subarray(0, size), 2, 4);
    assert.equal(tag, Buffer.from(vector, "hex").readUInt32LE(), `length ${size}`);
  }
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.uint8Array({ maxLength: 300, size: "max" }),
      (seed, key) => {
        const boundary = new Boundary(seed);
        assert.equal(
          boundary.hash(key),
          halfSipHash(seed.subarray(0, 8), Buffer.concat([seed.subarray(8), key]), 1, 3),
        );
        assert.equal(boundary.level(key), naiveLevel(seed, key));
      },
    ),
  );
});

test("levels are distributed as the fan-out says", () => {
  const boundary = new Boundary(seedOf("levels"));
  const count = 200_000;
  const atLeast = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const level = boundary.level(utf8(`key/${i}`));
    for (let n = 0; n <= Math.min(level, 2); n++) atLeast[n]!++;
  }
  assert.equal(atLeast[0], count);
  assert.ok(Math.abs(atLeast[1]! / (count / 32) - 1) < 0.05, `${atLeast[1]} keys of level 1 or more`);
  assert.ok(Math.abs(atLeast[2]! / (count / 1_024) - 1) < 0.3, `${atLeast[2]} keys of level 2 or more`);
});

/** Few distinct keys, with common prefixes, so that random histories meet the same ones again. */
const keyArbitrary = fc.oneof(
  fc.integer({ min: 0, max: 400 }).map((i) => utf8(`k/${i}`)),
  fc.uint8Array({ maxLength: 3 }),
);
const valueArbitrary = fc.oneof(
  { weight: 20, arbitrary: fc.uint8Array({ maxLength: 8 }) },
  { weight: 1, arbitrary: fc.integer({ min: 2_047, max: 2_050 }).map((size) => new Uint8Array(size).fill(size)) },
);

test("any history gives the pages that the twin builds from the outcome", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(keyArbitrary, fc.option(valueArbitrary), fc.integer({ min: 0, max: 99 })), {
        maxLength: 600,
        size: "max",
      }),
      fc.integer(),
      async (steps, seedNumber) => {
        const seed = seedOf(`canonical ${seedNumber}`);
        const store = new CountingBlobStore();
        const tree = await openTree(env, store, emptyTree(seed));
        const model = new Map<string, NaiveEntry>();
        for (const [key, value, dice] of steps) {
          if (value === null) {
            tree.delete(key);
            model.delete(hex(key));
          } else {
            tree.put(key, value);
            model.set(hex(key), { key, value });
          }
          if (dice < 2) await tree.collect(await tree.flush());
        }
        const flushed = await tree.flush();
        await tree.collect(flushed);
        const twin = naiveTree(seed, sorted(model));
        assert.equal(flushed.root.hash === null ? null : hex(flushed.root.hash), twin.root);
        assert.equal(flushed.root.count, model.size);
        // Neither a blob too few nor, after the collection, one too many.
        assert.deepEqual([...store.blobs.keys()].toSorted(), [...twin.blobs.keys()].toSorted());
        for (const [hash, bytes] of twin.blobs) assert.deepEqual(hex(store.blobs.get(hash)!), hex(bytes));
      },
    ),
    { numRuns: 60 * scale },
  );
});

test("a larger state: shuffled puts and deletes, several heights", async () => {
  const seed = seedOf("larger");
  const dice = new Dice(7);
  const entries = Array.from({ length: 20_000 }, (_, i) => ({
    key: utf8(`user/${i * 7_919}`),
    value: dice.bytes(dice.roll(12)),
  }));
  const extra = Array.from({ length: 5_000 }, (_, i) => utf8(`user/${i}/gone`));
  const store = new CountingBlobStore();
  const tree = await openTree(env, store, emptyTree(seed));
  for (const key of extra) tree.set(key, key);
  for (const [i, { key, value }] of dice.shuffled(entries).entries()) {
    tree.put(key, value);
    if (i % 4 === 0) tree.remove(extra[i / 4]!);
    if (i % 3_000 === 0) await tree.flush();
  }
  const flushed = await tree.flush();
  const twin = naiveTree(seed, sorted(new Map(entries.map((entry) => [hex(entry.key), entry]))));
  assert.equal(hex(flushed.root.hash!), twin.root);
  assert.equal(tree.entryCount, entries.length);
  assert.equal(
    tree.dataSize,
    entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0),
  );
});

test("inverse edits lead back to the same root and write nothing", async () => {
  const seed = seedOf("inverse");
  const dice = new Dice(11);
  const tree = await openTree(env, new CountingBlobStore(), emptyTree(seed));
  for (let i = 0; i < 3_000; i++) tree.put(utf8(`k${dice.roll(10_000)}`), dice.bytes(dice.roll(40)));
  tree.put(utf8("large"), new Uint8Array(5_000).fill(1));
  const before = await tree.flush();
  const undo: (() => void)[] = [];
  for (let i = 0; i < 2_000; i++) {
    const key = utf8(dice.roll(50) === 0 ? "large" : `k${dice.roll(10_000)}`);
    const previous = dice.roll(2) === 0 ? tree.delete(key) : tree.put(key, dice.bytes(dice.roll(40)));
    undo.push(() => void (previous === undefined ? tree.delete(key) : tree.put(key, previous)));
  }
  for (const step of undo.toReversed()) step();
  const after = await tree.flush();
  assert.deepEqual(after.root, before.root);
  assert.equal(await tree.collect(after), 0, "what reappeared with the same content is not obsolete");
});

test("golden bytes of a leaf, an inner page and a large value", async () => {
  const seed = Uint8Array.from({ length: 16 }, (_, i) => i);
  const store = new CountingBlobStore();
  const tree = await openTree(env, store, emptyTree(seed));
  tree.put(utf8("a"), utf8("one"));
  tree.put(utf8("b"), new Uint8Array(0));
  const small = await tree.flush();
  assert.equal(
    hex(store.blobs.get(hex(small.root.hash!))!),
    "48465450" +
      "01" +
      "00" +
      "02000000" +
      "000102030405060708090a0b0c0d0e0f" +
      "01000300" +
      "61" +
      "6f6e65" +
      "01000000" +
      "62",
  );
  assert.equal(hex(small.root.hash!), "3e44038bd30a256f445ab8f390fbb5087ca23a2331a3b19e87ea1fa8d3413abb");
  // The first key of this series that begins a page is of level 1; its value is a blob of its own.
  assert.equal(Array.from({ length: 23 }, (_, i) => new Boundary(seed).level(utf8(`k${i}`))).indexOf(1), 22);
  tree.put(utf8("k22"), new Uint8Array(2_049));
  const two = await tree.flush();
  const header = "000102030405060708090a0b0c0d0e0f";
  assert.equal(
    hex(store.blobs.get(hex(two.root.hash!))!),
    "4846545001" +
      "01" +
      "02000000" +
      header +
      "0000" +
      "020000000000" +
      "050000000000" +
      "000000000000" +
      "3e44038bd30a256f445ab8f390fbb5087ca23a2331a3b19e87ea1fa8d3413abb" +
      "0300" +
      "010000000000" +
      "040800000000" +
      "010000000000" +
      "54b822e2a756afd06ce6d2c3c6c5fce4bc225d94bfb02ed2e94f83a51f1f85ec" +
      "6b3232",
  );
  assert.equal(hex(two.root.hash!), "5943bdb7c1abb33caab59685278116bcbb9868f95837bb30e0a588b71fa899c8");
  const large = [...store.blobs.values()].find((bytes) => Buffer.from(bytes.subarray(0, 4)).toString() === "HFTV")!;
  assert.equal(hex(large.subarray(0, 28)), "4846545601" + header + "03006b32320000");
  assert.equal(large.length, 23 + 3 + 2_049);
});

function sorted(model: ReadonlyMap<string, NaiveEntry>): NaiveEntry[] {
  return [...model.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}
