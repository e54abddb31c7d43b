/** Blobs of another member: what travels, and what is not believed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, limits, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { NodeClock, NodeDigest, silentLogger } from "../host/index.ts";
import { implement, MemoryNet, RpcClient, RpcServer } from "../rpc/index.ts";
import type { Service } from "../rpc/index.ts";
import { hashOf, noise } from "./conformance.suite.ts";
import { BlobService, blobService, MemoryBlobStore, RemoteBlobs } from "./index.ts";
import type { Hash } from "./index.ts";

const env = {
  clock: new NodeClock(),
  digest: new NodeDigest(),
  logger: silentLogger,
  random: { uint32: () => 0, float: () => 0, bytes: (size: number) => new Uint8Array(size) },
} as unknown as Env;

/** Serves one service to one source of blobs, for the time of `use`. */
async function remote(service: Service, use: (blobs: RemoteBlobs) => Promise<void>): Promise<void> {
  const doors: Env = { ...env, net: new MemoryNet(env.clock) };
  const server = new RpcServer(doors, [service]);
  await server.listen("memory:other");
  const client = new RpcClient(doors, "memory:other");
  try {
    await use(new RemoteBlobs(doors, client, "member b"));
  } finally {
    await client.close();
    await server.close({ graceMs: 0 });
  }
}

async function got(blobs: RemoteBlobs, hashes: readonly Hash[]): Promise<Map<number, Uint8Array>> {
  const found = new Map<number, Uint8Array>();
  for await (const { index, bytes } of blobs.get(hashes)) {
    assert.ok(!found.has(index), "a blob came twice");
    found.set(index, bytes);
  }
  return found;
}

test("blobs of all sizes come, in parts where they must, and absent ones do not", async () => {
  const store = new MemoryBlobStore(env);
  const sizes = [0, 1, 6_000, 65_535, 65_536, 65_537, 1_048_576, limits.blobSizeMax];
  const contents = sizes.map((size, index) => noise(size, index));
  for (const bytes of contents) await store.put(hashOf(bytes), bytes.slice());
  const absent = hashOf(noise(10, 99));
  await remote(blobService(env, store), async (blobs) => {
    const found = await got(blobs, [absent, ...contents.map((bytes) => hashOf(bytes)), absent]);
    assert.deepEqual([...found.keys()], [1, 2, 3, 4, 5, 6, 7, 8]);
    for (const [index, bytes] of found) assert.equal(toHex(hashOf(bytes)), toHex(hashOf(contents[index - 1] ?? bytes)));
    assert.equal((await got(blobs, [])).size, 0);
  });
});

test("more hashes than fit one request", async () => {
  const store = new MemoryBlobStore(env);
  const hashes: Hash[] = [];
  for (let number = 0; number < 2_100; number++) {
    const bytes = noise(20, number);
    hashes.push(hashOf(bytes));
    if (number % 3 > 0) await store.put(hashOf(bytes), bytes);
  }
  await remote(blobService(env, store), async (blobs) => {
    const found = await got(blobs, hashes);
    assert.equal(found.size, 1_400);
    for (const [index, bytes] of found) assert.deepEqual(hashOf(bytes), hashes[index]);
  });
});

test("a damaged blob is passed over and the log says so", async () => {
  const store = new MemoryBlobStore(env);
  const [bad, good] = [noise(100, 1), noise(100, 2)];
  const [badHash, goodHash] = [hashOf(bad), hashOf(good)];
  await store.put(badHash, bad);
  await store.put(goodHash, good);
  bad[50] = (bad[50] as number) ^ 1;
  const lines: string[] = [];
  const logger = { log: (level: string, text: string) => void lines.push(`${level} ${text}`) };
  await remote(blobService({ logger }, store), async (blobs) => {
    assert.deepEqual([...(await got(blobs, [badHash, goodHash])).keys()], [1]);
  });
  assert.deepEqual(lines, ["error a blob that another member asked for is damaged"]);
});

test("a failing store fails the call, and nonsense is refused", async () => {
  const store = new MemoryBlobStore(env);
  await store.close();
  await remote(blobService(env, store), async (blobs) => {
    await assert.rejects(got(blobs, [hashOf(noise(1, 1))]), (error) => isError(error, "unavailable", /closed/));
    await assert.rejects(got(blobs, [new Uint8Array(31)]), (error) => isError(error, "invalid", /31 bytes/));
  });
});

test("what a member sends wrong is corrupt, by its name", async () => {
  const one = noise(1_000, 1);
  const two = noise(1_000, 2);
  const hashes = [hashOf(one), hashOf(two)];
  const half = one.subarray(0, 500);
  type Part = { index: number; size: number; bytes: Uint8Array };
  const lies: readonly (readonly [RegExp, readonly Part[]])[] = [
    [/do not have the hash/, [{ index: 0, size: 1_000, bytes: two }]],
    [/do not have the hash/, [{ index: 0, size: 0, bytes: new Uint8Array(0) }]],
    [/sent blob 2 of 2/, [{ index: 2, size: 1_000, bytes: one }]],
    [
      /sent blob 0 of 2 behind blob 0/,
      [
        { index: 0, size: 1_000, bytes: one },
        { index: 0, size: 1_000, bytes: one },
      ],
    ],
    [/announced 4294967295 bytes; the limit is 33554432/, [{ index: 0, size: 4_294_967_295, bytes: one }]],
    [/do not make up one blob/, [{ index: 0, size: 999, bytes: one }]],
    [
      /do not make up one blob/,
      [
        { index: 0, size: 1_000, bytes: half },
        { index: 1, size: 1_000, bytes: half },
      ],
    ],
    [/empty part/, [{ index: 0, size: 1_000, bytes: new Uint8Array(0) }]],
    [/ended in the middle/, [{ index: 0, size: 1_000, bytes: half }]],
  ];
  for (const [message, parts] of lies) {
    const liar = implement(BlobService, {
      async *get() {
        yield { parts };
      },
    });
    await remote(liar, async (blobs) => {
      await assert.rejects(got(blobs, hashes), (error) => {
        assert.match(String(error), /member b/);
        return isError(error, "corrupt", message);
      });
    });
  }
});

function isError(error: unknown, code: string, message: RegExp): boolean {
  assert.ok(error instanceof HoldfastError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
}
