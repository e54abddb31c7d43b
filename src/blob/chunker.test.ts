/** The chunker against its slow twin, on random and on crafted data, and what edits change. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HoldfastError, utf8Encode } from "../base/index.ts";
import { NodeCipher } from "../host/index.ts";
import { defaultGear, secretGear } from "./chunker-gear.ts";
import { ChunkCutter } from "./chunk-cutter.ts";
import { Chunker, checkChunkSizes, defaultChunkSizes } from "./chunker.ts";
import type { ChunkSizes } from "./chunker.ts";
import { naiveSizes, noise } from "./chunker.suite.ts";

const small: ChunkSizes = { sizeMin: 4_096, sizeAverage: 8_192, sizeMax: 32_768 };

function sizesOf(data: Uint8Array, sizes: ChunkSizes, gear?: Int32Array): number[] {
  const chunker = new Chunker(sizes, gear);
  const result: number[] = [];
  for (let at = 0; at < data.length;) {
    const end = chunker.cut(data, at, data.length, true);
    result.push(end - at);
    at = end;
  }
  return result;
}

/** All chunks of the pieces, through a cutter. */
function chunksOf(pieces: Iterable<Uint8Array>, sizes: ChunkSizes): Uint8Array[] {
  const cutter = new ChunkCutter(new Chunker(sizes));
  const chunks: Uint8Array[] = [];
  for (const piece of pieces) chunks.push(...cutter.push(piece));
  const last = cutter.end();
  return last === undefined ? chunks : [...chunks, last];
}

const anySizes = fc
  .tuple(
    fc.integer({ min: 4_096, max: 9_000 }),
    fc.integer({ min: 0, max: 9_000 }),
    fc.integer({ min: 0, max: 20_000 }),
  )
  .map(([min, more, most]) => ({ sizeMin: min, sizeAverage: min + more, sizeMax: min + more + most }));

/** Tables whose hash over equal bytes is any number that a test wants: below both thresholds, between them, above. */
function tableFor(hash: number): Int32Array {
  return new Int32Array(256).fill(-hash);
}

test("the twin cuts random data in the same places", () => {
  fc.assert(
    fc.property(anySizes, fc.integer(), fc.integer({ min: 0, max: 60_000 }), (sizes, seed, size) => {
      const data = noise(size, seed);
      assert.deepEqual(sizesOf(data, sizes), naiveSizes(data, sizes, defaultGear));
    }),
    { numRuns: 25 },
  );
});

test("the twin cuts runs, periods and data of few values in the same places", () => {
  const kinds = fc.oneof(
    fc.constant((size: number) => new Uint8Array(size)),
    fc.nat(255).map((value) => (size: number) => new Uint8Array(size).fill(value)),
    fc.uint8Array({ minLength: 1, maxLength: 70 }).map((period) => (size: number) => {
      return Uint8Array.from({ length: size }, (_, index) => period[index % period.length]!);
    }),
    fc.integer().map((seed) => (size: number) => noise(size, seed).map((value) => value & 1)),
  );
  fc.assert(
    fc.property(anySizes, kinds, fc.integer({ min: 0, max: 60_000 }), fc.integer(), (sizes, make, size, seed) => {
      const data = make(size);
      assert.deepEqual(sizesOf(data, sizes), naiveSizes(data, sizes, defaultGear));
      const table = Int32Array.from({ length: 256 }, (_, index) => Math.imul(index + seed, 0x6b8b4567));
      assert.deepEqual(sizesOf(data, sizes, table), naiveSizes(data, sizes, table));
    }),
    { numRuns: 20 },
  );
});

test("hashes that always, never and only sometimes end a chunk", () => {
  const data = new Uint8Array(100_000);
  const cases: [number, number][] = [
    [-(2 ** 31), small.sizeMin], // Below both thresholds.
    [-(2 ** 31) + 2 ** 30 / 8_192 - 1, small.sizeMin],
    [-(2 ** 31) + 2 ** 30 / 8_192, 4_096 + 2_457], // Between them: where the high one begins.
    [-(2 ** 31) + 2 ** 34 / 8_192 - 1, 4_096 + 2_457],
    [-(2 ** 31) + 2 ** 34 / 8_192, small.sizeMax],
    [0, small.sizeMax],
    [2 ** 31 - 1, small.sizeMax],
  ];
  for (const [hash, size] of cases) {
    const found = sizesOf(data, small, tableFor(hash));
    assert.deepEqual(found, naiveSizes(data, small, tableFor(hash)), String(hash));
    assert.equal(found[0], size, String(hash));
  }
});

test("sizes at and beside the bounds of one chunk", () => {
  const fixed: ChunkSizes = { sizeMin: 4_096, sizeAverage: 4_096, sizeMax: 4_096 };
  for (const sizes of [small, fixed]) {
    for (const size of [0, 1, 31, 32, 33, 4_095, 4_096, 4_097, 6_552, 6_553, 6_554, 32_767, 32_768, 32_769]) {
      const data = noise(size, size);
      assert.deepEqual(sizesOf(data, sizes), naiveSizes(data, sizes, defaultGear), String(size));
    }
  }
});

test("the pieces in which a file comes do not matter, nor does the class of the array", () => {
  const data = noise(300_000, 7);
  const expected = sizesOf(data, small);
  assert.deepEqual(
    chunksOf([Buffer.from(data)], small).map((chunk) => chunk.length),
    expected,
  );
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 90_000 }), { maxLength: 40 }), fc.boolean(), (lengths, tiny) => {
      const pieces: Uint8Array[] = [];
      let at = 0;
      for (const length of lengths) {
        const size = tiny ? length % 100 : length;
        pieces.push(data.subarray(at, (at += size)));
      }
      pieces.push(data.subarray(at));
      const chunks = chunksOf(pieces, small);
      assert.deepEqual(
        chunks.map((chunk) => chunk.length),
        expected,
      );
      assert.ok(Buffer.concat(chunks).equals(data));
    }),
    { numRuns: 20 },
  );
});

test("a file may come byte by byte, and a chunker is used again after a file was given up", () => {
  const data = noise(20_000, 3);
  const bytewise = chunksOf(
    Array.from(data, (byte) => Uint8Array.of(byte)),
    small,
  );
  assert.deepEqual(
    bytewise.map((chunk) => chunk.length),
    sizesOf(data, small),
  );
  const chunker = new Chunker(small);
  const abandoned = new ChunkCutter(chunker);
  assert.deepEqual([...abandoned.push(data.subarray(0, 3_000))], []);
  const next = new ChunkCutter(chunker);
  assert.deepEqual(
    [...next.push(data)].map((chunk) => chunk.length),
    sizesOf(data, small).slice(0, -1),
  );
});

test("sizes keep their bounds and are near the average in the mean", () => {
  const settings: ChunkSizes[] = [
    { sizeMin: 4_096, sizeAverage: 16_384, sizeMax: 65_536 },
    { sizeMin: 8_192, sizeAverage: 16_384, sizeMax: 131_072 },
    { sizeMin: 4_096, sizeAverage: 5_000, sizeMax: 65_536 },
  ];
  const data = noise(8_388_608, 11);
  for (const sizes of settings) {
    const found = sizesOf(data, sizes);
    const mean = data.length / found.length;
    assert.ok(Math.abs(mean / sizes.sizeAverage - 1) < 0.1, `${mean} for ${sizes.sizeAverage}`);
    for (const size of found.slice(0, -1)) assert.ok(size >= sizes.sizeMin && size <= sizes.sizeMax);
  }
});

test("an edit of any bytes changes only chunks near it", () => {
  const sizes: ChunkSizes = { sizeMin: 4_096, sizeAverage: 6_144, sizeMax: 24_576 };
  const before = noise(600_000, 5);
  const old = new Set(chunksOf([before], sizes).map((chunk) => Buffer.from(chunk).toString("base64")));
  const edits = fc.record({
    at: fc.integer({ min: 0, max: before.length }),
    remove: fc.integer({ min: 0, max: 20_000 }),
    insert: fc.uint8Array({ maxLength: 5_000 }),
  });
  fc.assert(
    fc.property(edits, ({ at, remove, insert }) => {
      const after = Buffer.concat([before.subarray(0, at), insert, before.subarray(at + remove)]);
      const chunks = chunksOf([after], sizes);
      const changed: number[] = [];
      let offset = 0;
      for (const chunk of chunks) {
        if (!old.has(Buffer.from(chunk).toString("base64"))) changed.push(offset);
        offset += chunk.length;
      }
      // Before the edit nothing changes but the chunk that it is in; behind it, cutting finds its way back.
      for (const place of changed) {
        assert.ok(place > at - sizes.sizeMax && place < at + insert.length + 20 * sizes.sizeAverage, `${place}, ${at}`);
      }
      assert.ok(changed.length <= 20, `${changed.length} chunks`);
    }),
    { numRuns: 60, seed: 1 },
  );
});

test("a table made from a secret cuts elsewhere, and always in the same places", () => {
  const data = noise(400_000, 9);
  const cipher = new NodeCipher();
  const table = secretGear(cipher, utf8Encode("a secret of exactly 32 bytes ...."));
  const again = secretGear(cipher, utf8Encode("a secret of exactly 32 bytes ...."));
  const other = secretGear(cipher, utf8Encode("another one, of exactly 32 bytes"));
  assert.deepEqual(sizesOf(data, small, table), sizesOf(data, small, again));
  assert.deepEqual(sizesOf(data, small, table), naiveSizes(data, small, table));
  const ends = [defaultGear, table, other].map((gear) => {
    let at = 0;
    return new Set(sizesOf(data, small, gear).map((size) => (at += size)));
  });
  // The last end is that of the file.
  assert.ok([...ends[0]!].filter((end) => ends[1]!.has(end)).length < 4);
  assert.ok([...ends[1]!].filter((end) => ends[2]!.has(end)).length < 4);
});

test("the table and the cuts of the format", () => {
  assert.deepEqual([...defaultGear.subarray(0, 4)], [-1832243442, 1020716019, 454327756, 1275600319]);
  assert.equal(new Set(defaultGear).size, 256);
  assert.deepEqual(sizesOf(noise(60_000, 1), small), [12578, 7038, 8387, 9447, 6620, 7285, 8478, 167]);
});

test("sizes that cannot be are refused", () => {
  checkChunkSizes(defaultChunkSizes);
  const bad: ChunkSizes[] = [
    { ...small, sizeMin: 4_095 },
    { ...small, sizeMin: 8_193 },
    { ...small, sizeMax: 8_191 },
    { ...small, sizeMax: 8_388_609 },
    { ...small, sizeAverage: 8_192.5 },
    { ...small, sizeMin: Number.NaN },
  ];
  for (const sizes of bad) {
    assert.throws(
      () => new Chunker(sizes),
      (error) => error instanceof HoldfastError && error.code === "invalid",
    );
  }
});
