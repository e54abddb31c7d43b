/** Ranges against the bytes themselves, reading ahead, cancelling, and damage in one place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { deferred, HoldfastError, toHex } from "../base/index.ts";
import { noise } from "./chunker.suite.ts";
import { CountingSink, pipelineEnv, readAll } from "./content.suite.ts";
import { locateChunks, PlainPipeline, readContent } from "./index.ts";
import type { ChunkSettings, ContentSource, LocatedChunk, StoredBlob, WrittenContent } from "./index.ts";

const settings: ChunkSettings = { sizeMin: 4_096, sizeAverage: 4_608, sizeMax: 8_192, compress: false };
const key = new Uint8Array(32).fill(3);
const pipeline = new PlainPipeline(pipelineEnv);
const data = noise(4_000_000, 1);

async function stored(bytes: Uint8Array, own: ChunkSettings) {
  const sink = new CountingSink();
  const writer = pipeline.writer(own, sink);
  await writer.write(bytes);
  const content = await writer.end();
  return { sink, content, source: { get: (hash: Uint8Array) => sink.get(hash), pipeline } };
}

const plain = await stored(data, settings);

async function chunksOf(source: ContentSource, content: WrittenContent): Promise<LocatedChunk[]> {
  const chunks: LocatedChunk[] = [];
  for await (const chunk of locateChunks(source, content, 0, content.size)) chunks.push(chunk);
  return chunks;
}

test("any range is that of the bytes, and reads only what it needs", async () => {
  assert.equal(plain.content.depth, 2);
  const sealed = await stored(data.subarray(0, 200_000), { ...settings, key });
  const small = await stored(data.subarray(0, 1_000), { ...settings, key });
  const chunks = await chunksOf(plain.source, plain.content);
  const edges = fc.constantFrom(
    ...chunks.flatMap(({ offset }) => [offset - 1, offset, offset + 1]).filter((at) => at > 0),
  );
  const place = fc.oneof(fc.nat(4_100_000), edges, fc.nat(10_000));
  await fc.assert(
    fc.asyncProperty(place, fc.oneof(fc.nat(30_000), fc.nat(400_000)), async (start, size) => {
      for (const { source, content } of [plain, sealed, small]) {
        const from = start % (content.size + 100);
        const range = { start: from, end: from + size, key: content === plain.content ? undefined : key };
        const got = await readAll(source, content, range);
        assert.ok(Buffer.from(got).equals(data.subarray(0, content.size).subarray(from, from + size)));
      }
    }),
    { numRuns: 40 },
  );
  let gets = 0;
  const counting: ContentSource = {
    pipeline,
    get: (hash) => {
      gets += 1;
      return plain.sink.get(hash);
    },
  };
  const middle = chunks[400]!;
  await readAll(counting, plain.content, { start: middle.offset + 5, end: middle.offset + 50 });
  assert.equal(gets, 3);
  gets = 0;
  assert.equal((await readAll(counting, plain.content, { start: 5, end: 5 })).length, 0);
  assert.equal((await readAll(counting, plain.content, { start: 5_000_000 })).length, 0);
  assert.equal(gets, 0);
  for (const range of [{ start: -1 }, { start: 0.5 }, { start: 9, end: 8 }, { end: Number.NaN }]) {
    await assert.rejects(readAll(plain.source, plain.content, range), /the range from byte/);
  }
});

test("chunks are read ahead, so many and no more, and come in order", async () => {
  const waiting: (() => void)[] = [];
  const source: ContentSource = {
    pipeline,
    get: async (hash) => {
      const blob = await plain.sink.get(hash);
      const isList = blob !== undefined && Buffer.from(blob.bytes.subarray(0, 4)).toString() === "HFFL";
      if (isList) return blob;
      const gate = deferred<void>();
      waiting.push(() => gate.resolve());
      await gate.promise;
      return blob;
    },
  };
  const reading = readContent(source, plain.content, { readAheadCount: 5 });
  const first = reading.next();
  while (waiting.length < 5) await new Promise((resolve) => setImmediate(resolve));
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(waiting.length, 5);
  // The last one comes first.
  for (const go of waiting.splice(0).toReversed()) go();
  const chunk = await first;
  assert.ok(chunk.done !== true);
  assert.deepEqual(new Uint8Array(chunk.value), data.subarray(0, chunk.value.length));
  const controller = new AbortController();
  await reading.return(undefined);
  const cancelled = readAll(source, plain.content, { signal: controller.signal });
  while (waiting.length < 4) await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  await assert.rejects(cancelled, (error) => error instanceof HoldfastError && error.code === "cancelled");
});

test("an absent or damaged chunk is named with its place, and hurts no other range", async () => {
  const chunks = await chunksOf(plain.source, plain.content);
  const absent = chunks[100]!;
  const damaged = chunks[500]!;
  const wrongSize = chunks[700]!;
  const get = async (hash: Uint8Array): Promise<StoredBlob | undefined> => {
    const blob = await plain.sink.get(hash);
    if (toHex(hash) === toHex(absent.hash)) return undefined;
    if (toHex(hash) === toHex(damaged.hash)) return { ...blob!, bytes: blob!.bytes.with(7, blob!.bytes[7]! ^ 1) };
    return toHex(hash) === toHex(wrongSize.hash) ? { ...blob!, size: 1 } : blob;
  };
  const source = { get, pipeline };
  const cases: [LocatedChunk, string][] = [
    [absent, "notFound"],
    [damaged, "corrupt"],
    [wrongSize, "corrupt"],
  ];
  for (const [chunk, code] of cases) {
    const isNamed = (error: unknown) =>
      error instanceof HoldfastError &&
      error.code === code &&
      error.message.includes(toHex(chunk.hash)) &&
      error.message.includes(`offset ${chunk.offset} of the file`);
    await assert.rejects(readAll(source, plain.content, { start: chunk.offset + 1, end: chunk.offset + 2 }), isNamed);
    // What is before it has come when the error does.
    const parts: Uint8Array[] = [];
    const start = chunk.offset - 20_000;
    const reading = async () => {
      for await (const part of readContent(source, plain.content, { start })) parts.push(part);
    };
    await assert.rejects(reading(), isNamed);
    assert.ok(Buffer.concat(parts).equals(data.subarray(start, chunk.offset)));
    const after = chunk.offset + chunk.size;
    const rest = await readAll(source, plain.content, { start: after, end: after + 50_000 });
    assert.ok(Buffer.from(rest).equals(data.subarray(after, after + 50_000)));
  }
});

test("a list that is absent is named where it begins, when its turn comes", async () => {
  const lists = new Set(
    [...plain.sink.blobs].filter(([, { bytes }]) => bytes[0] === 0x48 && bytes[3] === 0x4c).map(([name]) => name),
  );
  lists.delete(toHex(plain.content.hash));
  const order: string[] = [];
  const watching: ContentSource = {
    pipeline,
    get: async (hash) => {
      if (lists.has(toHex(hash))) order.push(toHex(hash));
      return plain.sink.get(hash);
    },
  };
  await readAll(watching, plain.content);
  assert.deepEqual(new Set(order), lists);
  const second = order[1]!;
  let size = 0;
  const source: ContentSource = {
    pipeline,
    get: async (hash) => (toHex(hash) === second ? undefined : plain.sink.get(hash)),
  };
  const reading = async () => {
    for await (const part of readContent(source, plain.content, { readAheadCount: 1 })) size += part.length;
  };
  await assert.rejects(reading(), (error) => {
    return error instanceof HoldfastError && error.message.includes(`list ${second} at offset ${size} of the file`);
  });
  assert.ok(size > 0);
});

test("a size or depth that is not that of the blobs is corrupt", async () => {
  const { content, source } = plain;
  const wrong = [
    { ...content, size: content.size - 1 },
    { ...content, depth: 1 },
    { ...content, depth: 3 },
    { ...content, depth: 13 },
    { ...content, hash: content.hash.subarray(1) },
    { ...content, size: 5, inline: new Uint8Array(4) },
  ];
  for (const bad of wrong) {
    await assert.rejects(readAll(source, bad), (error) => error instanceof HoldfastError && error.code === "corrupt");
  }
});
