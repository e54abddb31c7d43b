/**
 * What every `ChunkPipeline` must do, as tests: run by `blob/` on the plain one and by `host/` on the one with threads.
 * `contentOf` is the same content by a few lines of its own, so that two pipelines that pass agree with each other.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { concatBytes, emptyBytes, HoldfastError, limits, toHex } from "../base/index.ts";
import type { ErrorCode, FileSystem } from "../base/index.ts";
import { readContent } from "./index.ts";
import type { ChunkPipeline, ChunkSettings, ChunkSink, Content, Hash, NamedBlob, StoredBlob } from "./index.ts";

export interface PipelineHarness {
  readonly pipeline: ChunkPipeline;
  readonly fileSystem: FileSystem;
  /** An empty folder, whose files `pipeline.file` reads. */
  readonly folder: string;
  /** Another pipeline of the same kind, for a test that closes it. */
  another(): ChunkPipeline;
  close(): Promise<void>;
}

/** `make` is called once, before the first test. */
export function pipelineConformance(name: string, make: () => Promise<PipelineHarness>): void {
  describe(`chunk pipeline: ${name}`, () => {
    let harness: PipelineHarness;
    before(async () => {
      harness = await make();
    });
    after(() => harness.close());
    const check: Check = (title, body) => test(title, () => body(harness));
    writerTests(check);
    sinkTests(check);
    encryptionTests(check);
    openTests(check);
    fileTests(check);
    closeTests(check);
  });
}

type Check = (title: string, body: (harness: PipelineHarness) => Promise<void>) => Promise<void>;

export const smallChunks: ChunkSettings = { sizeMin: 4_096, sizeAverage: 8_192, sizeMax: 16_384, compress: true };
const plainChunks: ChunkSettings = { ...smallChunks, compress: false };
const largeChunks: ChunkSettings = { sizeMin: 131_072, sizeAverage: 524_288, sizeMax: 2_097_152, compress: true };
const secretChunks: ChunkSettings = { ...smallChunks, key: new Uint8Array(32).fill(7) };

/** Keeps blobs by their hash. */
export class MemorySink implements ChunkSink {
  readonly blobs = new Map<string, StoredBlob>();
  putCount = 0;
  onWanted: (() => void | Promise<void>) | undefined;
  onPut: (() => void | Promise<void>) | undefined;

  async wanted(hashes: readonly Hash[]): Promise<readonly boolean[]> {
    await this.onWanted?.();
    return hashes.map((hash) => !this.blobs.has(toHex(hash)));
  }

  async put(blobs: readonly NamedBlob[]): Promise<void> {
    await this.onPut?.();
    for (const { hash, blob } of blobs) {
      this.putCount++;
      this.blobs.set(toHex(hash), blob);
    }
  }

  get(hash: Hash): Promise<StoredBlob | undefined> {
    return Promise.resolve(this.blobs.get(toHex(hash)));
  }
}

/** Bytes that look random, the same for the same seed; a multiple of four is quickest. */
export function noise(size: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = Math.imul(seed, 0x9e3779b9) | 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

function text(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let index = 0; index < size; index++) bytes[index] = 97 + (((index * index) >>> 7) % 11);
  return bytes;
}

function isError(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HoldfastError, `not a HoldfastError: ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return true;
  };
}

async function write(
  pipeline: ChunkPipeline,
  settings: ChunkSettings,
  sink: ChunkSink,
  bytes: Uint8Array,
  step = bytes.length,
) {
  const writer = pipeline.writer(settings, sink);
  for (let at = 0; at < bytes.length; at += step) await writer.write(bytes.subarray(at, at + step));
  return writer.end();
}

async function read(
  pipeline: ChunkPipeline,
  sink: MemorySink,
  content: Content,
  key?: Uint8Array,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const source = { get: (hash: Hash) => sink.get(hash), pipeline };
  for await (const part of readContent(source, content, { key })) parts.push(part);
  return concatBytes(parts);
}

const same = (a: Uint8Array, b: Uint8Array) => assert.equal(Buffer.compare(a, b), 0, "other bytes came back");

function writerTests(check: Check): void {
  check("contents of every size come back", async ({ pipeline }) => {
    const { inlineFileSizeMax: inline } = limits;
    const sizes = [
      0,
      1,
      inline - 1,
      inline,
      inline + 1,
      4_095,
      4_096,
      4_097,
      16_384,
      16_385,
      32_768,
      32_769,
      1_000_003,
    ];
    for (const size of sizes) {
      for (const bytes of [noise(size), text(size), new Uint8Array(size)]) {
        const sink = new MemorySink();
        const content = await write(pipeline, smallChunks, sink, bytes);
        assert.equal(content.size, size);
        assert.equal(content.inline === undefined, size > inline);
        assert.equal(content.hash.length, size > inline ? 32 : 0);
        assert.equal(sink.putCount, sink.blobs.size);
        same(await read(pipeline, sink, content), bytes);
      }
    }
  });

  check("large contents come back, with large chunks and with many levels", async ({ pipeline }) => {
    const bytes = concatBytes([noise(3_000_000, 2), text(2_000_000), new Uint8Array(2_500_000), noise(1_000_000, 3)]);
    for (const settings of [largeChunks, smallChunks]) {
      const sink = new MemorySink();
      const content = await write(pipeline, settings, sink, bytes, 100_000);
      assert.ok(content.depth >= 1);
      // The zeros are one chunk again and again.
      if (settings === smallChunks) assert.ok(content.newCount < content.chunkCount);
      assert.ok(content.newSize > 4_000_000 && content.newSize < 6_000_000);
      same(await read(pipeline, sink, content), bytes);
    }
  });

  check("how the bytes come makes no difference", async ({ pipeline }) => {
    const steps = fc.array(fc.integer({ min: 0, max: 60_000 }), { minLength: 1, maxLength: 20 });
    const property = fc.asyncProperty(
      fc.integer({ min: 0, max: 150_000 }),
      fc.nat(),
      steps,
      async (size, seed, steps) => {
        const bytes = seed % 2 === 0 ? noise(size, seed) : text(size);
        const sinks = [new MemorySink(), new MemorySink()] as const;
        const whole = await write(pipeline, smallChunks, sinks[0], bytes);
        const writer = pipeline.writer(smallChunks, sinks[1]);
        let at = 0;
        // Without waiting: the order is that of the calls.
        const writes = steps.map((step) => {
          const written = writer.write(bytes.subarray(at, at + step));
          at = Math.min(size, at + step);
          return written;
        });
        writes.push(writer.write(bytes.subarray(at)));
        const [parts] = await Promise.all([writer.end(), ...writes]);
        assert.deepEqual(parts, whole);
        assert.deepEqual([...sinks[0].blobs.keys()].toSorted(), [...sinks[1].blobs.keys()].toSorted());
      },
    );
    await fc.assert(property, { numRuns: 15 });
  });

  check("what a sink has is neither sent nor counted again", async ({ pipeline }) => {
    const bytes = concatBytes([noise(200_000), text(300_000)]);
    const sink = new MemorySink();
    const first = await write(pipeline, smallChunks, sink, bytes);
    assert.ok(first.newCount > 20 && first.newSize > 200_000);
    const { putCount } = sink;
    const second = await write(pipeline, smallChunks, sink, bytes, 7_000);
    assert.equal(sink.putCount, putCount);
    assert.deepEqual(second, { ...first, newCount: 0, newSize: 0 });
  });

  check("blobs are compressed where that helps and is wished", async ({ pipeline }) => {
    const blobsOf = async (settings: ChunkSettings, bytes: Uint8Array) => {
      const sink = new MemorySink();
      const content = await write(pipeline, settings, sink, bytes);
      same(await read(pipeline, sink, content), bytes);
      return [...sink.blobs.values()].filter(({ size }) => size > 4_000);
    };
    assert.ok(
      (await blobsOf(smallChunks, text(300_000))).every(
        ({ compressed, bytes, size }) => compressed && bytes.length < size,
      ),
    );
    assert.ok((await blobsOf(smallChunks, noise(300_000))).every(({ compressed }) => !compressed));
    assert.ok(
      (await blobsOf(plainChunks, text(300_000))).every(
        ({ compressed, bytes, size }) => !compressed && bytes.length === size,
      ),
    );
  });

  check("many at once keep apart", async ({ pipeline }) => {
    const contents = Array.from({ length: 40 }, (_, index) => noise(index * 3_000, index + 1));
    const sink = new MemorySink();
    const written = await Promise.all(contents.map((bytes) => write(pipeline, smallChunks, sink, bytes, 10_000)));
    for (const [index, content] of written.entries()) {
      same(await read(pipeline, sink, content), contents[index] as Uint8Array);
    }
  });

  check("settings that cannot be are refused", async ({ pipeline }) => {
    const sink = new MemorySink();
    const wrong: ChunkSettings[] = [
      { ...smallChunks, sizeMin: 100 },
      { ...smallChunks, sizeAverage: 5 },
      { ...smallChunks, sizeMax: 2 ** 30 },
      { ...smallChunks, key: new Uint8Array(5) },
    ];
    for (const settings of wrong) {
      await assert.rejects(async () => write(pipeline, settings, sink, noise(100_000)), isError("invalid"));
      await assert.rejects(async () => pipeline.file("/absent", settings, sink), isError("invalid"));
    }
  });
}

function sinkTests(check: Check): void {
  check("a failure of the sink reaches the writer, and the sink is left alone", async ({ pipeline }) => {
    for (const call of ["onWanted", "onPut"] as const) {
      const sink = new MemorySink();
      const failure = new Error("the sink is broken");
      sink[call] = () => {
        sink[call] = () => assert.fail("called again");
        throw failure;
      };
      const writer = pipeline.writer(largeChunks, sink);
      const bytes = noise(1_000_000);
      await assert.rejects(
        async () => {
          // For ever, if nobody says that it failed.
          for (;;) await writer.write(bytes);
        },
        (error) => error === failure,
      );
      await assert.rejects(writer.end(), (error) => error === failure);
      writer.abort();
      await assert.rejects(
        write(
          pipeline,
          smallChunks,
          Object.assign(new MemorySink(), {
            [call]: () => {
              throw failure;
            },
          }),
          noise(5_000),
        ),
        (error) => error === failure,
      );
    }
  });

  check("a sink that takes its time slows the writer down", async ({ pipeline }) => {
    const sink = new MemorySink();
    const gate = Promise.withResolvers<void>();
    const called = Promise.withResolvers<void>();
    sink.onPut = () => {
      called.resolve();
      return gate.promise;
    };
    const writer = pipeline.writer(largeChunks, sink);
    let written = 0;
    const writing = (async () => {
      for (let index = 0; index < 32; index++) {
        await writer.write(noise(1_048_576, index + 1));
        written++;
      }
    })();
    await called.promise;
    // Everything that can happen without the sink happens in these turns, or at least much of it.
    for (let turn = 0; turn < 500; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(written < 26, `${written} MiB were taken`);
    gate.resolve();
    await writing;
    const content = await writer.end();
    assert.equal(content.size, 32 * 1_048_576);
    assert.equal(content.newSize, content.size);
  });

  check("who gives up hears nothing more", async ({ pipeline }) => {
    for (const size of [100, 5_000, 200_000, 9_000_000]) {
      const sink = new MemorySink();
      const writer = pipeline.writer(smallChunks, sink);
      const written = writer.write(noise(size));
      written.catch(() => {});
      writer.abort();
      writer.abort();
      sink.onWanted = sink.onPut = () => assert.fail("called after the end");
      await assert.rejects(writer.write(noise(10)), isError("cancelled"));
      await assert.rejects(writer.end(), isError("cancelled"));
    }
    const sink = new MemorySink();
    const writer = pipeline.writer(smallChunks, sink);
    await writer.write(noise(50_000));
    const content = await writer.end();
    writer.abort();
    same(await read(pipeline, sink, content), noise(50_000));
  });

  check("one content that is given up disturbs no other", async ({ pipeline }) => {
    const gate = Promise.withResolvers<void>();
    const stuck = new MemorySink();
    stuck.onWanted = () => gate.promise;
    const writers = [1, 2, 3].map((seed) => {
      const writer = pipeline.writer(largeChunks, stuck);
      writer.write(noise(6_000_000, seed)).catch(() => {});
      return writer;
    });
    const sink = new MemorySink();
    const content = write(pipeline, largeChunks, sink, noise(3_000_000), 500_000);
    for (const writer of writers) writer.abort();
    same(await read(pipeline, sink, await content), noise(3_000_000));
    gate.resolve();
  });
}

function encryptionTests(check: Check): void {
  check("encrypted contents come back with their key, and only with it", async ({ pipeline }) => {
    const { key } = secretChunks;
    for (const bytes of [emptyBytes, noise(500), noise(300_000), text(300_000)]) {
      const sink = new MemorySink();
      const content = await write(pipeline, secretChunks, sink, bytes);
      same(await read(pipeline, sink, content, key), bytes);
      if (bytes.length === 0) continue;
      const other = new Uint8Array(32).fill(8);
      await assert.rejects(read(pipeline, sink, content, other), isError("denied"));
    }
  });

  check("the same bytes under a key are the same blobs, under another key others", async ({ pipeline }) => {
    const blobsOf = async (settings: ChunkSettings) => {
      const sink = new MemorySink();
      const { hash } = await write(pipeline, settings, sink, text(400_000), 50_000);
      return { root: toHex(hash), names: new Set(sink.blobs.keys()) };
    };
    const [one, again, other, plain] = [
      await blobsOf(secretChunks),
      await blobsOf({ ...secretChunks, key: new Uint8Array(32).fill(7) }),
      await blobsOf({ ...secretChunks, key: new Uint8Array(32).fill(9) }),
      await blobsOf(smallChunks),
    ];
    assert.deepEqual(one, again);
    for (const name of one.names) assert.ok(!other.names.has(name) && !plain.names.has(name));
  });
}

function openTests(check: Check): void {
  check("a blob that is damaged, or is another one, is never given out", async ({ pipeline }) => {
    for (const [bytes, settings] of [
      [noise(1_500_000), largeChunks],
      [text(1_500_000), largeChunks],
      [noise(5_000), smallChunks],
      [text(5_000), smallChunks],
    ] as const) {
      const sink = new MemorySink();
      await write(pipeline, settings, sink, bytes);
      const [[name, blob], next] = [...sink.blobs] as [[string, StoredBlob], [string, StoredBlob]?];
      const hash = Uint8Array.from(Buffer.from(name, "hex"));
      const content = await pipeline.open(hash, blob);
      assert.equal(content.length, blob.size);
      const damaged = blob.bytes.slice();
      damaged[damaged.length >>> 1] = (damaged[damaged.length >>> 1] as number) ^ 4;
      await assert.rejects(pipeline.open(hash, { ...blob, bytes: damaged }), isError("corrupt"));
      await assert.rejects(pipeline.open(hash, { ...blob, size: blob.size + 1 }), isError("corrupt"));
      await assert.rejects(pipeline.open(hash, { ...blob, size: 2 ** 40 }), isError("corrupt"));
      await assert.rejects(pipeline.open(hash, { ...blob, compressed: !blob.compressed }), isError("corrupt"));
      await assert.rejects(pipeline.open(hash.with(3, (hash[3] as number) ^ 1), blob), isError("corrupt"));
      if (next !== undefined) await assert.rejects(pipeline.open(hash, next[1]), isError("corrupt"));
      // The caller's bytes are as they were.
      assert.deepEqual(await pipeline.open(hash, blob), content);
    }
  });

  check("many blobs are opened at once, also parts of one array", async ({ pipeline }) => {
    const sink = new MemorySink();
    const bytes = concatBytes([noise(4_000_000), text(4_000_000)]);
    const content = await write(pipeline, largeChunks, sink, bytes);
    const all = [...sink.blobs].map(([name, blob]) => pipeline.open(Uint8Array.from(Buffer.from(name, "hex")), blob));
    const sizes = (await Promise.all(all)).map(({ length }) => length);
    assert.deepEqual(
      sizes,
      [...sink.blobs.values()].map(({ size }) => size),
    );
    assert.equal(content.size, 8_000_000);
  });
}

function fileTests(check: Check): void {
  let count = 0;
  const place = async ({ fileSystem, folder }: PipelineHarness, bytes: Uint8Array, name = `file-${count++}`) => {
    const path = `${folder}/${name}`;
    await fileSystem.place(path, bytes, {});
    return path;
  };

  check("a file gives the same content as its bytes", async (harness) => {
    const { pipeline, fileSystem } = harness;
    for (const size of [0, 1, 1_024, 1_025, 16_384, 1_048_576, 1_048_577, 2_500_001]) {
      for (const settings of [smallChunks, largeChunks, secretChunks]) {
        const path = await place(harness, noise(size));
        const sinks = [new MemorySink(), new MemorySink()] as const;
        const written = await write(pipeline, settings, sinks[0], noise(size));
        let read = 0;
        const progress = (size: number) => {
          read += size;
        };
        const { stat, changed, ...content } = await pipeline.file(path, settings, sinks[1], { progress });
        assert.deepEqual(content, written);
        assert.deepEqual(sinks[1].blobs, sinks[0].blobs);
        assert.deepEqual(stat, await fileSystem.stat(path));
        assert.equal(changed, false);
        assert.equal(read, size);
      }
    }
  });

  check("many files at once, small and large ones, with odd names", async (harness) => {
    const { pipeline, fileSystem, folder } = harness;
    const odd = "caf\udce9 \n";
    const files = Array.from({ length: 150 }, (_, index) =>
      noise(index % 29 === 0 ? 1_500_000 : index * 50, index + 1),
    );
    const paths = await Promise.all(files.map((bytes, index) => place(harness, bytes, `${index} ${odd}`)));
    const sink = new MemorySink();
    const contents = await Promise.all(paths.map((path) => pipeline.file(path, smallChunks, sink)));
    for (const [index, content] of contents.entries()) {
      same(await read(pipeline, sink, content), files[index] as Uint8Array);
    }
    assert.equal((await fileSystem.list(folder)).filter(({ name }) => name.endsWith(odd)).length, 150);
  });

  check("what is no file is refused, and one failure disturbs no other", async (harness) => {
    const { pipeline, fileSystem, folder } = harness;
    const path = await place(harness, noise(10_000));
    await fileSystem.makeLink(`${folder}/link`, path);
    const sink = new MemorySink();
    const results = await Promise.allSettled([
      pipeline.file(`${folder}/absent`, smallChunks, sink),
      pipeline.file(path, smallChunks, sink),
      pipeline.file(folder, smallChunks, sink),
      pipeline.file(`${folder}/link`, smallChunks, sink),
      pipeline.file(`${path}/below`, smallChunks, sink),
      pipeline.file(path, smallChunks, sink),
    ]);
    const codes = results.map((result) =>
      result.status === "rejected" ? (result.reason as HoldfastError).code : "read",
    );
    assert.deepEqual(codes, ["notFound", "read", "invalid", "invalid", "invalid", "read"]);
  });

  check("a file that changes while it is read is told", async (harness) => {
    const { pipeline, fileSystem } = harness;
    const size = 16 * 1_048_576;
    for (const change of ["overwritten", "longer", "shorter"]) {
      const path = await place(harness, noise(size));
      const sink = new MemorySink();
      sink.onWanted = async () => {
        sink.onWanted = undefined;
        const file = await fileSystem.create(path);
        if (change === "shorter") await file.truncate(1_000);
        else await file.write(noise(4_096, 9), change === "longer" ? size : 0);
        await file.close();
      };
      const content = await pipeline.file(path, largeChunks, sink);
      assert.equal(content.changed, true, change);
      assert.equal(content.stat.size, size);
      if (change === "longer") assert.equal(content.size, size + 4_096);
      if (change === "shorter") assert.ok(content.size < size);
      assert.equal((await read(pipeline, sink, content)).length, content.size);
    }
  });

  check("reading a file can be given up, and fails with its sink", async (harness) => {
    const { pipeline } = harness;
    const path = await place(harness, noise(20_000_000));
    const controller = new AbortController();
    const sink = new MemorySink();
    sink.onWanted = () => {
      sink.onWanted = sink.onPut = () => assert.fail("called after the end");
      controller.abort();
    };
    await assert.rejects(pipeline.file(path, largeChunks, sink, { signal: controller.signal }), isError("cancelled"));
    const { signal } = controller;
    await assert.rejects(pipeline.file(path, largeChunks, new MemorySink(), { signal }), isError("cancelled"));
    const broken = new MemorySink();
    const failure = new Error("the sink is broken");
    broken.onPut = () => {
      throw failure;
    };
    await assert.rejects(pipeline.file(path, largeChunks, broken), (error) => error === failure);
    const content = await pipeline.file(path, largeChunks, new MemorySink());
    assert.equal(content.size, 20_000_000);
  });
}

function closeTests(check: Check): void {
  check("a closed pipeline does nothing more", async (harness) => {
    const pipeline = harness.another();
    const path = `${harness.folder}/to-close`;
    await harness.fileSystem.place(path, noise(50_000), {});
    const sink = new MemorySink();
    await pipeline.file(path, smallChunks, sink);
    await pipeline.close();
    await pipeline.close();
    const [[name, blob]] = [...sink.blobs] as [[string, StoredBlob]];
    const hash = Uint8Array.from(Buffer.from(name, "hex"));
    await assert.rejects(async () => pipeline.writer(smallChunks, sink), isError("unavailable"));
    await assert.rejects(pipeline.file(path, smallChunks, sink), isError("unavailable"));
    await assert.rejects(pipeline.open(hash, blob), isError("unavailable"));
    await assert.rejects(pipeline.openInline(noise(100)), isError("unavailable"));
  });
}
