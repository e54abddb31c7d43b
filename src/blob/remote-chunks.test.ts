/** Chunks of a store elsewhere: what travels, how many messages it takes, and what is not believed. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { HoldfastError, limits, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeClock, NodeDigest, silentLogger } from "../host/index.ts";
import { implement, MemoryNet, RpcClient, RpcServer } from "../rpc/index.ts";
import type { Service } from "../rpc/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import { hashOf, noise, prose } from "./conformance.suite.ts";
import { ChunkService, chunkService, MemoryBlobStore, PeerChunkService, RemoteChunks } from "./index.ts";
import type { ChunkServiceOptions, NamedBlob } from "./index.ts";

const random = new Prng("remote chunks");
const env = {
  clock: new NodeClock(),
  digest: new NodeDigest(),
  logger: silentLogger,
  random: { uint32: () => random.uint32(), float: () => random.float(), bytes: (size: number) => random.bytes(size) },
} as unknown as Env;

const anyRevision: ChunkServiceOptions = { reach: async () => {} };

/** Serves one service to one `RemoteChunks`, for the time of `use`. */
async function remote(
  service: Service,
  use: (chunks: RemoteChunks, server: RpcServer) => Promise<void>,
): Promise<void> {
  const doors: Env = { ...env, net: new MemoryNet(env.clock) };
  const server = new RpcServer(doors, [service]);
  await server.listen("memory:other");
  const client = new RpcClient(doors, "memory:other");
  try {
    await use(new RemoteChunks(doors, client, "member b"), server);
  } finally {
    await client.close();
    await server.close({ graceMs: 0 });
  }
}

/** In its stored form, compressed or not. */
function stored(bytes: Uint8Array, compressed = false): NamedBlob {
  const body = compressed ? new Uint8Array(zstdCompressSync(bytes)) : bytes.slice();
  return { hash: hashOf(bytes), blob: { size: bytes.length, compressed, bytes: body } };
}

function isError(error: unknown, code: string, message: RegExp): boolean {
  assert.ok(error instanceof HoldfastError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  return true;
}

describe("chunks elsewhere", () => {
  test("blobs of all sizes go and come as they are stored", async () => {
    const store = new MemoryBlobStore(env);
    const sizes = [0, 1, 6_000, 65_535, 65_536, 65_537, 1_048_576, 9_000_000];
    const all = sizes.flatMap((size) => [stored(noise(size, size)), stored(prose(size + 700, size), true)]);
    await remote(chunkService(env, store, anyRevision), async (chunks) => {
      const absent = hashOf(noise(10, 99));
      await chunks.putStored(all.slice(0, 5));
      await chunks.putStored(all.slice(5));
      await chunks.sync();
      assert.deepEqual(await chunks.touch([absent, ...all.map(({ hash }) => hash)]), [false, ...all.map(() => true)]);
      const got = await Promise.all([chunks.getStored(absent), ...all.map(({ hash }) => chunks.getStored(hash))]);
      assert.equal(got[0], undefined);
      for (const [index, { blob }] of all.entries()) assert.deepEqual(got[index + 1], blob);
      assert.equal(chunks.generation, 0);
    });
    assert.equal(store.status().blobCount, all.length);
  });

  test("calls of one turn share messages", async () => {
    const store = new MemoryBlobStore(env);
    const counts = { put: 0, get: 0 };
    const inner = chunkService(env, store, anyRevision);
    const counted: Service = {
      name: inner.name,
      methods: new Map(
        [...inner.methods].map(([number, served]) => [
          number,
          {
            ...served,
            handle: (request: never, call) => {
              if (served.label.endsWith(".put")) counts.put += 1;
              if (served.label.endsWith(".get")) counts.get += 1;
              return served.handle(request, call);
            },
          },
        ]),
      ),
    };
    const all = Array.from({ length: 600 }, (_, salt) => stored(noise(900, salt)));
    await remote(counted, async (chunks) => {
      await Promise.all(all.map((named) => chunks.putStored([named])));
      assert.equal(counts.put, 3);
      const got = await Promise.all(all.map(({ hash }) => chunks.getStored(hash)));
      assert.equal(counts.get, 3);
      for (const [index, blob] of got.entries()) assert.deepEqual(blob, all[index]?.blob);
    });
  });

  test("touch and put happen at the revision that the caller names, or later", async () => {
    const store = new MemoryBlobStore(env);
    const reached: number[] = [];
    const reach = async (revision: number) => {
      if (revision > 100) throw new HoldfastError("invalid", `revision ${revision} is in the future`);
      await nextTurn();
      reached.push(revision);
    };
    await remote(chunkService(env, store, { reach }), async (chunks) => {
      const [one, two] = [stored(noise(10, 1)), stored(noise(10, 2))];
      await chunks.putStored([one]);
      assert.deepEqual(reached, []);
      await chunks.touch([one.hash], 7);
      await chunks.touch([], 9);
      await chunks.putStored([two]);
      assert.deepEqual(reached, [7, 9]);
      await assert.rejects(chunks.touch([one.hash], 101), (error) => isError(error, "invalid", /future/));
      await assert.rejects(chunks.putStored([two]), (error) => isError(error, "invalid", /future/));
    });
  });

  test("more hashes than fit one touch", async () => {
    const store = new MemoryBlobStore(env);
    const all = Array.from({ length: 9_001 }, (_, salt) => stored(noise(20, salt)));
    await store.putStored(all.filter((_, index) => index % 3 === 0));
    await remote(chunkService(env, store, anyRevision), async (chunks) => {
      const there = await chunks.touch(all.map(({ hash }) => hash));
      assert.deepEqual(
        there,
        all.map((_, index) => index % 3 === 0),
      );
    });
  });

  test("members have a contract of their own", async () => {
    const store = new MemoryBlobStore(env);
    const doors: Env = { ...env, net: new MemoryNet(env.clock) };
    const server = new RpcServer(doors, [chunkService(env, store, { ...anyRevision, contract: PeerChunkService })]);
    await server.listen("memory:other");
    const client = new RpcClient(doors, "memory:other");
    const peer = new RemoteChunks(doors, client, "b", { contract: PeerChunkService });
    await peer.putStored([stored(noise(10, 1))]);
    await assert.rejects(new RemoteChunks(doors, client, "b").sync(), (error) => isError(error, "notFound", /Chunks/));
    await client.close();
    await server.close({ graceMs: 0 });
  });
});

describe("what goes wrong with chunks elsewhere", () => {
  test("a blob that is not what its name says is not kept", async () => {
    const store = new MemoryBlobStore(env);
    const good = noise(1_000, 1);
    const frame = new Uint8Array(zstdCompressSync(good));
    const lies: readonly NamedBlob[] = [
      { hash: hashOf(noise(10, 2)), blob: { size: 1_000, compressed: false, bytes: good } },
      { hash: hashOf(good), blob: { size: 999, compressed: true, bytes: frame } },
      { hash: hashOf(good), blob: { size: 1_001, compressed: true, bytes: frame } },
      { hash: hashOf(good), blob: { size: 1_000, compressed: true, bytes: good } },
    ];
    await remote(chunkService(env, store, anyRevision), async (chunks) => {
      for (const lie of lies) {
        await assert.rejects(chunks.putStored([lie]), (error) => isError(error, "corrupt", /is damaged/));
      }
      const wrongSize = { hash: hashOf(good), blob: { size: 999, compressed: false, bytes: good } };
      await assert.rejects(chunks.putStored([wrongSize]), (error) => isError(error, "invalid", /999 bytes/));
      await assert.rejects(chunks.getStored(new Uint8Array(31)), (error) => isError(error, "invalid", /31 bytes/));
    });
    assert.equal(store.status().blobCount, 0);
  });

  test("the store's errors pass through, and others can be put then", async () => {
    const store = new MemoryBlobStore(env);
    let full = true;
    const served = {
      touch: (hashes: readonly Uint8Array[]) => store.touch(hashes),
      getStored: (hash: Uint8Array) => store.getStored(hash),
      sync: () => store.sync(),
      putStored: async (blobs: readonly NamedBlob[]) => {
        if (full) throw new HoldfastError("exhausted", "the disk is full");
        await store.putStored(blobs);
      },
    };
    await remote(chunkService(env, served, anyRevision), async (chunks) => {
      const all = Array.from({ length: 30 }, (_, salt) => stored(noise(200_000, salt)));
      const results = await Promise.allSettled(all.map((named) => chunks.putStored([named])));
      for (const result of results) {
        assert.ok(result.status === "rejected" && isError(result.reason, "exhausted", /disk is full/));
      }
      full = false;
      await Promise.all(all.map((named) => chunks.putStored([named])));
      assert.equal(store.status().blobCount, 30);
      await store.close();
      await assert.rejects(chunks.sync(), (error) => isError(error, "unavailable", /closed/));
    });
  });

  test("a damaged blob is passed over and the log says so", async () => {
    const store = new MemoryBlobStore(env);
    const [bad, good] = [noise(100, 1), noise(100, 2)];
    const badHash = hashOf(bad);
    await store.put(badHash, bad);
    await store.put(hashOf(good), good);
    bad[50] = (bad[50] as number) ^ 1;
    await store.get(badHash).catch(() => {});
    const lines: string[] = [];
    const logger = { log: (level: string, text: string) => void lines.push(`${level} ${text}`) };
    await remote(chunkService({ ...env, logger }, store, anyRevision), async (chunks) => {
      const got = await Promise.all([chunks.getStored(badHash), chunks.getStored(hashOf(good))]);
      assert.equal(got[0], undefined);
      assert.deepEqual(got[1]?.bytes, good);
    });
    assert.deepEqual(lines, ["error a blob that another member asked for is damaged"]);
  });

  test("when a member was started again, whoever put something before learns that his sync does not cover it", async () => {
    const store = new MemoryBlobStore(env);
    const doors: Env = { ...env, net: new MemoryNet(env.clock) };
    const serve = async () => {
      const server = new RpcServer(doors, [chunkService(env, store, anyRevision)]);
      await server.listen("memory:other");
      return server;
    };
    const first = await serve();
    const client = new RpcClient(doors, "memory:other");
    const chunks = new RemoteChunks(doors, client, "member b");
    const noted = chunks.generation;
    await chunks.putStored([stored(noise(10, 1))]);
    await chunks.sync();
    assert.equal(chunks.generation, noted);
    await chunks.putStored([stored(noise(10, 2))]);
    await first.close({ graceMs: 0 });
    const second = await serve();
    await chunks.sync();
    const later = chunks.generation;
    assert.notEqual(later, noted);
    await chunks.putStored([stored(noise(10, 3))]);
    await chunks.sync();
    assert.equal(chunks.generation, later);
    await client.close();
    await second.close({ graceMs: 0 });
  });

  test("what a member sends wrong is corrupt, by its name", async () => {
    const one = noise(1_000, 1);
    const hashes = [hashOf(one), hashOf(noise(1_000, 2))];
    const part = { index: 0, size: 1_000, storedSize: 1_000, compressed: false, bytes: one };
    const half = { ...part, bytes: one.subarray(0, 500) };
    const lies: readonly (readonly [RegExp, readonly Partial<typeof part>[]])[] = [
      [/sent blob 2 of 2/, [{ ...part, index: 2 }]],
      [/sent blob 0 of 2 where blob 1 may come/, [part, part]],
      [/announced 4294967295 bytes; the limit is 33554432/, [{ ...part, storedSize: 4_294_967_295 }]],
      [/announced 4294967295 bytes; the limit is 33554432/, [{ ...part, compressed: true, size: 4_294_967_295 }]],
      [/announced 1000 bytes, not compressed, of a blob of 999/, [{ ...part, size: 999 }]],
      [/do not make up one blob/, [half, { bytes: one }]],
      [/sent an empty part/, [half, { bytes: new Uint8Array(0) }]],
      [/sent an empty part/, [{ ...part, bytes: new Uint8Array(0) }]],
      [/ended in the middle/, [half]],
    ];
    for (const [message, parts] of lies) {
      const liar = implement(ChunkService, {
        touch: () => ({}),
        put: async () => ({}),
        sync: () => ({}),
        async *get() {
          yield { parts };
        },
      });
      await remote(liar, async (chunks) => {
        const results = await Promise.allSettled(hashes.map((hash) => chunks.getStored(hash)));
        const last = results[1];
        assert.ok(last?.status === "rejected");
        assert.match(String(last.reason), /member b/);
        isError(last.reason, "corrupt", message);
      });
    }
  });

  test("nonsense that a client sends is refused, and costs no more memory than it has sent", async () => {
    const store = new MemoryBlobStore(env);
    const doors: Env = { ...env, net: new MemoryNet(env.clock) };
    const server = new RpcServer(doors, [chunkService(env, store, anyRevision)]);
    await server.listen("memory:other");
    const client = new RpcClient(doors, "memory:other");
    const stub = client.use(ChunkService);
    const bytes = noise(100, 1);
    const part = { hash: hashOf(bytes), size: 100, storedSize: 100, compressed: false, bytes };
    const tooMany = Array.from({ length: 4_097 }, () => part.hash);
    await assert.rejects(stub.touch({ hashes: tooMany }), (error) =>
      isError(error, "invalid", /4097 .* limit is 4096/),
    );
    await assert.rejects(stub.touch({ hashes: [bytes] }), (error) => isError(error, "invalid", /100 bytes/));
    for (const [message, parts] of [
      [/100 bytes; a SHA-256/, [{ ...part, hash: bytes }]],
      [/announced 33554433/, [{ ...part, storedSize: limits.blobSizeMax + 1 }]],
      [/ended in the middle/, [{ ...part, size: 101, storedSize: 101 }]],
      [/empty part/, [{ ...part, bytes: new Uint8Array(0) }]],
    ] as const) {
      await assert.rejects(stub.put([{ parts }]), (error) => isError(error, "invalid", message));
    }
    assert.equal(store.status().blobCount, 0);
    await stub.put([]);
    await stub.put([{ parts: [] }, { parts: [part] }]);
    assert.deepEqual(await store.get(part.hash), bytes);
    await client.close();
    await server.close({ graceMs: 0 });
  });

  test("a store that is slow holds the sender back", async () => {
    const store = new MemoryBlobStore(env);
    let received = 0;
    const gate = Promise.withResolvers<void>();
    const served = {
      touch: (hashes: readonly Uint8Array[]) => store.touch(hashes),
      getStored: (hash: Uint8Array) => store.getStored(hash),
      sync: () => store.sync(),
      putStored: async (blobs: readonly NamedBlob[]) => {
        await gate.promise;
        await store.putStored(blobs);
      },
    };
    const check = async ({ blob }: NamedBlob) => void (received += blob.bytes.length);
    await remote(chunkService(env, served, { ...anyRevision, check }), async (chunks) => {
      const all = Array.from({ length: 60 }, (_, salt) => stored(noise(600_000, salt)));
      const done = Promise.all(all.map((named) => chunks.putStored([named])));
      for (let turn = 0; turn < 500; turn++) await nextTurn();
      // Four calls, of each one lot of two blobs.
      assert.equal(received, 8 * 600_000);
      gate.resolve();
      await done;
      assert.equal(received, 60 * 600_000);
    });
  });

  test("a call in which nothing moves ends with a timeout, a slow one does not", async () => {
    const simulator = new Simulator({ seed: "stall", drain: nextTurn, digest: new NodeDigest() });
    const { env: server } = simulator.machine("server");
    const { env: machine } = simulator.machine("client");
    const store = new MemoryBlobStore(server);
    let delayMs = 14_000;
    const served = {
      touch: (hashes: readonly Uint8Array[]) => store.touch(hashes),
      sync: () => store.sync(),
      putStored: async (blobs: readonly NamedBlob[]) => {
        await new Promise<void>((resolve) => server.clock.schedule(delayMs, resolve));
        await store.putStored(blobs);
      },
      getStored: async (hash: Uint8Array) => {
        await new Promise<void>((resolve) => server.clock.schedule(delayMs, resolve));
        return store.getStored(hash);
      },
    };
    await simulator.run(
      (async () => {
        await new RpcServer(server, [chunkService(server, served, anyRevision)]).listen("server:7000");
        const client = new RpcClient(machine, "server:7000");
        const chunks = new RemoteChunks(machine, client, "member b");
        const all = Array.from({ length: 4 }, (_, salt) => stored(noise(1_100_000, salt)));
        // Three lots in one call, each of which takes 14 s.
        await chunks.putStored(all.slice(0, 3));
        const got = await Promise.all(all.slice(0, 3).map(({ hash }) => chunks.getStored(hash)));
        assert.deepEqual(got[2], all[2]?.blob);
        delayMs = 200_000;
        await assert.rejects(chunks.putStored(all.slice(3)), (error) => isError(error, "timeout", /nothing has moved/));
        await assert.rejects(chunks.getStored(hashOf(noise(1, 1))), (error) => isError(error, "timeout", /nothing/));
        const controller = new AbortController();
        const waiting = chunks.getStored(hashOf(noise(1, 1)), controller.signal);
        controller.abort();
        await assert.rejects(waiting, (error) => isError(error, "cancelled", /./));
        await assert.rejects(chunks.putStored(all, controller.signal), (error) => isError(error, "cancelled", /./));
        await client.close();
      })(),
    );
  });

  test("a bit that flips on the way is found before the blob is kept", async () => {
    const store = new MemoryBlobStore(env);
    let foundCount = 0;
    await remote(chunkService(env, store, anyRevision), async (chunks) => {
      for (let bit = 0; bit < 200; bit++) {
        const content = prose(3_000, bit);
        const named = stored(content, bit % 2 === 0);
        const { bytes } = named.blob;
        const at = (bit * 37) % bytes.length;
        bytes[at] = (bytes[at] as number) ^ (1 << (bit % 8));
        try {
          await chunks.putStored([named]);
          // A few bits of a frame mean nothing: the content is what its name says.
          assert.deepEqual(await store.get(named.hash), content);
        } catch (error) {
          foundCount += 1;
          isError(error, "corrupt", new RegExp(toHex(named.hash)));
          assert.equal(await store.has(named.hash), false);
        }
      }
    });
    assert.ok(foundCount > 190, `${foundCount}`);
  });
});
