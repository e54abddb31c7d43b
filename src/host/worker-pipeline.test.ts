/** The conformance suite on the pipeline with threads, and what only threads have. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Worker } from "node:worker_threads";
import { toHex } from "../base/index.ts";
import { PlainPipeline } from "../blob/index.ts";
import type { ChunkPipeline } from "../blob/index.ts";
import { MemorySink, noise, pipelineConformance, smallChunks } from "../blob/pipeline.suite.ts";
import { NodeCipher, NodeClock, NodeDigest, NodeFileSystem, WorkerPipeline } from "./index.ts";

function plainPipeline(): ChunkPipeline {
  const env = { clock: new NodeClock(), digest: new NodeDigest({ compressionLevel: 3 }), cipher: new NodeCipher() };
  return new PlainPipeline(env, new NodeFileSystem());
}

const another = () => new WorkerPipeline({ threadCount: 2 });

pipelineConformance("threads", async () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-pipeline-"));
  const pipeline = another();
  const close = async () => {
    await pipeline.close();
    rmSync(folder, { recursive: true });
  };
  return { pipeline, another, fileSystem: new NodeFileSystem(), folder, close };
});

/** A pipeline, and its threads as they start. */
function watched(t: TestContext, threadCount = 2): { readonly pipeline: WorkerPipeline; readonly threads: Worker[] } {
  const threads: Worker[] = [];
  const onWorker = (worker: Worker) => threads.push(worker);
  process.on("worker", onWorker);
  const pipeline = new WorkerPipeline({ threadCount });
  t.after(async () => {
    process.off("worker", onWorker);
    await pipeline.close();
  });
  return { pipeline, threads };
}

test("threads and the plain pipeline make the same contents of the same bytes", async (t) => {
  const { pipeline } = watched(t);
  const plain = plainPipeline();
  for (const settings of [smallChunks, { ...smallChunks, key: new Uint8Array(32).fill(3) }]) {
    for (let seed = 1; seed < 12; seed++) {
      const bytes = noise(seed * seed * 5_000, seed).map((byte, index) => (index % 20_000 < 10_000 ? byte : byte & 3));
      const results = [];
      for (const each of [pipeline, plain]) {
        const sink = new MemorySink();
        const writer = each.writer(settings, sink);
        await writer.write(bytes);
        const { newCount: _, newSize: __, ...content } = await writer.end();
        results.push({ ...content, hash: toHex(content.hash), names: [...sink.blobs.keys()].toSorted() });
      }
      assert.deepEqual(results[0], results[1]);
    }
  }
});

test("a thread that dies fails its calls, and another one takes the next", async (t) => {
  const { pipeline, threads } = watched(t);
  const folder = mkdtempSync(join(tmpdir(), "holdfast-pipeline-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "file");
  writeFileSync(path, noise(3_000_000));
  const gate = Promise.withResolvers<void>();
  const sink = new MemorySink();
  sink.onPut = () => gate.promise;
  const reached = new Promise<void>((resolve) => {
    sink.onWanted = () => resolve();
  });
  const stuck = pipeline.file(path, smallChunks, sink);
  const writer = pipeline.writer(smallChunks, sink);
  await writer.write(noise(2_000_000));
  await reached;
  assert.equal(threads.length, 2);
  const failures = Promise.all([
    assert.rejects(stuck, { code: "unavailable", message: /a thread that works on files ended/ }),
    assert.rejects(writer.end(), { code: "unavailable" }),
  ]);
  await Promise.all(threads.map((thread) => thread.terminate()));
  await failures;
  gate.resolve();
  const content = await pipeline.file(path, smallChunks, new MemorySink());
  assert.equal(content.size, 3_000_000);
  assert.ok(threads.length > 2);
});

test("more large files than a thread reads at once, some of which are given up", async (t) => {
  const { pipeline } = watched(t, 1);
  const folder = mkdtempSync(join(tmpdir(), "holdfast-pipeline-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "file");
  writeFileSync(path, noise(4_500_000));
  const gate = Promise.withResolvers<void>();
  const sink = new MemorySink();
  sink.onWanted = () => gate.promise;
  const controllers = Array.from({ length: 20 }, () => new AbortController());
  const contents = controllers.map(({ signal }) => pipeline.file(path, smallChunks, sink, { signal }));
  const small = await pipeline.file(join(import.meta.dirname, "index.ts"), smallChunks, new MemorySink());
  assert.equal(small.changed, false);
  for (const index of [0, 2, 5, 6, 7, 13, 19]) {
    controllers[index]?.abort();
    await assert.rejects(contents[index] as Promise<unknown>, { code: "cancelled" });
  }
  gate.resolve();
  const results = await Promise.allSettled(contents);
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 13);
});

test("closing fails what is under way", async (t) => {
  const { pipeline } = watched(t);
  const sink = new MemorySink();
  const gate = Promise.withResolvers<void>();
  sink.onWanted = () => gate.promise;
  const writer = pipeline.writer(smallChunks, sink);
  await writer.write(noise(1_000_000));
  const end = assert.rejects(writer.end(), { code: "unavailable" });
  const files = Array.from({ length: 300 }, () =>
    assert.rejects(pipeline.file(import.meta.filename, smallChunks, sink), { code: "unavailable" }),
  );
  await pipeline.close();
  await Promise.all([end, ...files]);
});

test("small contents need no thread", async (t) => {
  const { pipeline, threads } = watched(t);
  const sink = new MemorySink();
  const writer = pipeline.writer(smallChunks, sink);
  await writer.write(noise(20_000));
  await writer.end();
  for (const [name, blob] of sink.blobs) await pipeline.open(Uint8Array.from(Buffer.from(name, "hex")), blob);
  assert.equal(threads.length, 0);
});

const from = (path: string) => JSON.stringify(join(import.meta.dirname, path));

test("a process waits for its contents and then ends, without closing the pipeline", () => {
  const script = `
    import { WorkerPipeline } from ${from("index.ts")};
    const pipeline = new WorkerPipeline();
    const settings = { sizeMin: 4096, sizeAverage: 8192, sizeMax: 16384, compress: true };
    const sink = { wanted: async (hashes) => hashes.map(() => true), put: async () => {} };
    const { size } = await pipeline.file(${from("worker-pipeline.test.ts")}, settings, sink);
    console.log(size > 1024);`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 60_000 });
  assert.deepEqual([child.status, String(child.stdout)], [0, "true\n"], String(child.stderr));
});
