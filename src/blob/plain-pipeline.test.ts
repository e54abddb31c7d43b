/** Contents of all sizes in and out, what repeats and what edits cost, back-pressure, failures, and files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, HoldfastError, limits, toHex } from "../base/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { noise, prose } from "./chunker.suite.ts";
import { CountingSink, pipelineEnv, readAll } from "./content.suite.ts";
import { ContentWalker, defaultChunkSizes, PlainPipeline } from "./index.ts";
import type { ChunkSettings, ChunkSink, ContentWriter, WrittenContent } from "./index.ts";

const tiny: ChunkSettings = { sizeMin: 4_096, sizeAverage: 4_608, sizeMax: 8_192, compress: true };
const usual: ChunkSettings = { ...defaultChunkSizes, compress: true };
const key = new Uint8Array(32).fill(7);
const pipeline = new PlainPipeline(pipelineEnv);
const is = (code: string) => (error: unknown) => error instanceof HoldfastError && error.code === code;

async function put(sink: ChunkSink, settings: ChunkSettings, ...pieces: Uint8Array[]): Promise<WrittenContent> {
  const writer = pipeline.writer(settings, sink);
  for (const piece of pieces) await writer.write(piece);
  return writer.end();
}

/** Every blob below a content, by the walker. */
async function blobsOf(sink: CountingSink, content: WrittenContent): Promise<Set<string>> {
  const walker = new ContentWalker({ get: async (hash) => sink.blobs.get(toHex(hash))?.bytes });
  const found = new Set<string>();
  for await (const batch of walker.walk(content)) for (const hash of batch) found.add(toHex(hash));
  return found;
}

test("contents of all sizes come back, plain and encrypted, and are the same blobs again", async () => {
  const sizes = [
    0,
    1,
    limits.inlineFileSizeMax,
    limits.inlineFileSizeMax + 1,
    4_095,
    4_096,
    4_097,
    8_192,
    8_193,
    300_000,
  ];
  for (const settings of [tiny, { ...tiny, compress: false }, { ...tiny, key }]) {
    const sink = new CountingSink();
    for (const size of sizes) {
      const data = noise(size, size);
      const content = await put(sink, settings, data);
      assert.equal(content.size, size);
      const isInline = size <= limits.inlineFileSizeMax;
      assert.equal(content.inline !== undefined, isInline, String(size));
      assert.equal(content.hash.length, isInline ? 0 : 32);
      assert.equal(content.chunkCount > 0, !isInline);
      assert.equal(content.newCount, content.chunkCount);
      assert.deepEqual(
        await readAll({ get: (hash) => sink.get(hash), pipeline }, content, { key: settings.key }),
        data,
      );
      for (const name of isInline ? [] : await blobsOf(sink, content)) assert.ok(sink.blobs.has(name));
      const before = sink.putCount;
      const again = await put(sink, settings, data);
      assert.equal(sink.putCount, before);
      assert.deepEqual({ ...again, newCount: 0, newSize: 0 }, { ...content, newCount: 0, newSize: 0 });
      assert.equal(again.newCount, 0);
      assert.equal(again.newSize, 0);
    }
  }
});

test("the default sizes, several megabytes, and how the bytes come does not matter", async () => {
  const data = prose(9_000_000, 1);
  const sink = new CountingSink();
  const content = await put(sink, usual, data);
  assert.equal(content.depth, 1);
  assert.ok(content.chunkCount >= 5 && content.chunkCount <= 68, String(content.chunkCount));
  assert.ok(content.newSize < 5_000_000, "it is compressed");
  let stored = 0;
  for (const name of await blobsOf(sink, content))
    if (name !== toHex(content.hash)) stored += sink.blobs.get(name)!.bytes.length;
  assert.equal(content.newSize, stored);
  const pieces = Array.from({ length: 91 }, (_, index) => data.subarray(index * 99_000, (index + 1) * 99_000));
  assert.deepEqual((await put(sink, usual, ...pieces)).hash, content.hash);
  assert.deepEqual(await readAll({ get: (hash) => sink.get(hash), pipeline }, content), data);
});

test("a byte in the middle of a content of many lists costs few blobs", async () => {
  const data = noise(6_000_000, 2);
  const sink = new CountingSink();
  const before = await put(sink, { ...tiny, compress: false }, data);
  assert.equal(before.depth, 2);
  for (const at of [0, 1, 2_999_999, 4_123_456, data.length - 1]) {
    const count = sink.putCount;
    const after = await put(sink, { ...tiny, compress: false }, data.with(at, data[at]! ^ 0x55));
    assert.ok(after.newCount >= 1 && after.newCount <= 20, `${after.newCount} chunks`);
    assert.ok(sink.putCount - count - after.newCount <= 7, `${sink.putCount - count - after.newCount} lists`);
  }
  const count = sink.putCount;
  const shifted = await put(sink, { ...tiny, compress: false }, Uint8Array.of(1, 2, 3), data);
  assert.ok(shifted.newCount <= 20, `${shifted.newCount} chunks`);
  assert.ok(sink.putCount - count < 40);
});

test("chunks that repeat are kept once, also while they are on their way", async () => {
  const sink = new CountingSink();
  const zeros = await put(sink, tiny, new Uint8Array(3_000_000));
  assert.ok(zeros.chunkCount > 300);
  assert.ok(zeros.newCount <= 2, String(zeros.newCount));
  assert.equal(sink.putCount, sink.blobs.size);
  assert.deepEqual(await readAll({ get: (hash) => sink.get(hash), pipeline }, zeros), new Uint8Array(3_000_000));
});

test("another key, or none, gives blobs that have nothing in common", async () => {
  const data = prose(400_000, 4);
  const sinks = await Promise.all(
    [tiny, { ...tiny, key }, { ...tiny, key: key.with(31, 8) }].map(async (settings) => {
      const sink = new CountingSink();
      await put(sink, settings, data);
      return sink;
    }),
  );
  const names = sinks.flatMap((sink) => [...sink.blobs.keys()]);
  assert.equal(new Set(names).size, names.length);
  // A name is that of what is stored, which the store can check without the key.
  for (const [name, blob] of sinks[1]!.blobs) {
    assert.equal(blob.compressed, false);
    assert.equal(toHex(pipelineEnv.digest.sha256(blob.bytes)), name);
  }
});

test("the wrong key, and damage, are told apart", async () => {
  const sink = new CountingSink();
  const content = await put(sink, { ...tiny, key }, noise(3_000, 1));
  const small = await put(sink, { ...tiny, key }, noise(30, 1));
  const blob = (await sink.get(content.hash))!;
  const wrong = key.with(0, 1);
  await assert.rejects(pipeline.open(content.hash, blob, wrong), is("denied"));
  await assert.rejects(pipeline.openInline(small.inline!, wrong), is("denied"));
  await assert.rejects(pipeline.open(content.hash, { ...blob, bytes: blob.bytes.with(9, 1) }, key), is("corrupt"));
  await assert.rejects(pipeline.open(content.hash, { ...blob, bytes: blob.bytes.with(9, 1) }, wrong), is("corrupt"));
  assert.throws(
    () => new PlainPipeline({ ...pipelineEnv, cipher: undefined }).writer({ ...tiny, key }, sink),
    is("invalid"),
  );
});

test("a slow sink holds the writer back, and calls overlap", async () => {
  const sink = new CountingSink();
  const open = deferred<void>();
  sink.before = () => open.promise;
  const writer = pipeline.writer({ ...usual, compress: false }, sink);
  let written = 0;
  const writing = (async () => {
    for (; written < 40; written++) await writer.write(noise(1_000_000, written));
    return writer.end();
  })();
  // The writer stands still when turns pass without a write.
  for (let still = 0, last = -1; still < 50; still = written === last ? still + 1 : 0) {
    last = written;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(written >= 8 && written <= 16, `${written} MB`);
  assert.equal(sink.underWay, 2);
  open.resolve();
  const content = await writing;
  assert.equal(content.size, 40_000_000);
  assert.ok(sink.underWayMax <= 3, String(sink.underWayMax));
});

test("what the sink fails with ends the writing, and it is not called again", async () => {
  for (const failAt of [0, 1, 2, 3]) {
    const sink = new CountingSink();
    let calls = 0;
    sink.before = async () => {
      if (calls++ >= failAt) throw new HoldfastError("exhausted", "the disk is full");
    };
    const writer = pipeline.writer(tiny, sink);
    const run = async () => {
      for (let index = 0; index < 20; index++) await writer.write(noise(400_000, index));
      await writer.end();
    };
    await assert.rejects(run(), is("exhausted"));
    const after = calls;
    await assert.rejects(writer.write(noise(1_000_000, 99)), is("exhausted"));
    await assert.rejects(writer.end(), is("exhausted"));
    assert.ok(calls <= failAt + 2 && calls === after, `${calls} calls`);
  }
});

test("after abort nothing is called, whatever is under way", async () => {
  const sink = new CountingSink();
  const open = deferred<void>();
  sink.before = () => open.promise;
  const writer: ContentWriter = pipeline.writer(tiny, sink);
  const writes = Promise.allSettled([writer.write(noise(2_000_000, 1)), writer.end()]);
  while (sink.underWay === 0) await new Promise((resolve) => setImmediate(resolve));
  writer.abort();
  writer.abort();
  open.resolve();
  for (const result of await writes) assert.ok(result.status === "rejected" && is("cancelled")(result.reason));
  assert.equal(sink.putCount, 0);
  const early = pipeline.writer(tiny, sink);
  early.abort();
  await assert.rejects(early.end(), is("cancelled"));
});

test("files: what they were, whether they changed, progress, and failures", async () => {
  const fileSystem = new MemoryFileSystem();
  const files = new PlainPipeline(pipelineEnv, fileSystem);
  const data = noise(3_500_000, 8);
  const file = await fileSystem.create("data");
  await file.write(data, 0);
  const sink = new CountingSink();
  let seen = 0;
  const written = await files.file("data", usual, sink, { progress: (size) => (seen += size) });
  assert.equal(seen, data.length);
  assert.equal(written.changed, false);
  assert.equal(written.stat.size, data.length);
  assert.deepEqual(written.hash, (await put(new CountingSink(), usual, data)).hash);

  let reads = 0;
  fileSystem.before = async (action) => {
    if (action !== "read" || ++reads !== 2) return;
    fileSystem.before = undefined;
    await file.write(Uint8Array.of(1), data.length);
  };
  const changed = await files.file("data", usual, sink);
  assert.equal(changed.changed, true);
  assert.equal(changed.stat.size, data.length);
  assert.equal(changed.size, data.length + 1);

  await fileSystem.create("empty");
  const empty = await files.file("empty", usual, sink);
  assert.deepEqual([empty.size, empty.inline?.length, empty.changed], [0, 0, false]);

  await assert.rejects(files.file("none", usual, sink), is("notFound"));
  fileSystem.before = (action) => {
    if (action === "read") throw new HoldfastError("unavailable", "bad sector");
  };
  await assert.rejects(files.file("data", usual, sink), /bad sector/);
  fileSystem.before = undefined;
  await assert.rejects(files.file("data", usual, sink, { signal: AbortSignal.abort() }), is("cancelled"));
  const controller = new AbortController();
  await assert.rejects(
    files.file("data", usual, sink, { signal: controller.signal, progress: () => controller.abort() }),
    is("cancelled"),
  );
  await assert.rejects(pipeline.file("data", usual, sink), is("invalid"));
  await files.close();
  await assert.rejects(files.file("data", usual, sink), is("unavailable"));
});
