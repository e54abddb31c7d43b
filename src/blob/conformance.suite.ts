/**
 * What every `BlobStore` must do, as tests: run on memory, and on packs over a real and a simulated disk, and by whoever
 * makes another store. It needs `node:test` and nothing else.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { HoldfastError, limits, toHex } from "../base/index.ts";
import type { BlobStore, Hash } from "./index.ts";

export interface BlobHarness {
  readonly store: BlobStore;
  /** Waits for `promise`, and makes time pass if nobody else does. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Called at the end: removes what was made. */
  close(): Promise<void>;
}

/** The SHA-256 of `bytes`. */
export function hashOf(bytes: Uint8Array): Hash {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** `size` bytes that depend on `salt` and do not compress. */
export function noise(size: number, salt: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = (salt * 2_654_435_761 + 1) >>> 0;
  for (let index = 0; index < size; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** `size` bytes that depend on `salt` and compress well. */
export function prose(size: number, salt: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let index = 0; index < size; index++) bytes[index] = 97 + (((index % 61) * (salt % 97)) % 23);
  bytes.set(new TextEncoder().encode(String(salt)).subarray(0, size));
  return bytes;
}

/** Every name and size that `list` gives. */
export async function listed(store: BlobStore): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const { hash, size } of store.list()) {
    assert.ok(!found.has(toHex(hash)), "a blob was listed twice");
    found.set(toHex(hash), size);
  }
  return found;
}

/** `makeStore` is called once a test and gives an empty store. */
export function blobConformance(name: string, makeStore: () => Promise<BlobHarness>): void {
  const check: Check = (title, body) => {
    void describe(title, () => {
      let harness: BlobHarness;
      before(async () => {
        harness = await makeStore();
      });
      after(() => harness.close());
      void test(title, () => harness.run(body(harness.store)));
    });
  };
  describe(`blobs: ${name}`, () => {
    basicTests(check);
    manyTests(check);
    refusalTests(check);
  });
}

type Check = (title: string, body: (store: BlobStore) => Promise<void>) => void;

async function refused(promise: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof HoldfastError && error.code === code);
}

function basicTests(check: Check): void {
  check("what was put is there, byte for byte, before and after a sync", async (store) => {
    const blobs = [0, 1, 511, 512, 8_192, 65_536, 1_000_000].flatMap((size) => [noise(size, size), prose(size, 7)]);
    for (const blob of blobs) await store.put(hashOf(blob), blob.slice());
    for (const blob of blobs) assert.deepEqual(await store.get(hashOf(blob)), blob);
    await store.sync();
    for (const blob of blobs) {
      assert.deepEqual(await store.get(hashOf(blob)), blob);
      assert.equal(await store.has(hashOf(blob)), true);
    }
  });

  check("what is not there is undefined, and deleting it is no error", async (store) => {
    const hash = hashOf(noise(10, 1));
    assert.equal(await store.get(hash), undefined);
    assert.equal(await store.has(hash), false);
    await store.delete([hash, hash]);
    await store.delete([]);
    await store.sync();
    assert.deepEqual(await listed(store), new Map());
  });

  check("puts of the same bytes, at once and again, leave one blob (3)", async (store) => {
    const blob = noise(3_000, 2);
    await Promise.all(Array.from({ length: 10 }, () => store.put(hashOf(blob), blob.slice())));
    await store.put(hashOf(blob), blob.slice());
    assert.deepEqual(await listed(store), new Map([[toHex(hashOf(blob)), 3_000]]));
    await store.delete([hashOf(blob)]);
    assert.equal(await store.get(hashOf(blob)), undefined);
  });

  check("a deleted blob is gone, the others stay, and it can be put again", async (store) => {
    const blobs = Array.from({ length: 20 }, (_, salt) => noise(1_000, salt));
    await Promise.all(blobs.map((blob) => store.put(hashOf(blob), blob.slice())));
    await store.delete(blobs.slice(0, 10).map(hashOf));
    for (const [index, blob] of blobs.entries()) assert.equal(await store.has(hashOf(blob)), index >= 10);
    await store.sync();
    const again = blobs[3]!; // There are 20.
    await store.put(hashOf(again), again.slice());
    assert.deepEqual(await store.get(hashOf(again)), again);
    assert.equal((await listed(store)).size, 11);
  });

  check("a put that follows a deletion of the same blob stays, whatever of both has finished", async (store) => {
    const blob = noise(700, 5);
    const hash = hashOf(blob);
    for (let round = 0; round < 5; round++) {
      const put = store.put(hash, blob.slice());
      await (round % 2 === 0 ? put : undefined);
      const deletion = store.delete([hash]);
      await (round % 3 === 0 ? deletion : undefined);
      await Promise.all([put, deletion]);
      await store.put(hash, blob.slice());
      assert.deepEqual(await store.get(hash), blob);
    }
  });

  check("a caller may change the array that it got", async (store) => {
    const blob = noise(900, 6);
    await store.put(hashOf(blob), blob.slice());
    (await store.get(hashOf(blob)))?.fill(0);
    assert.deepEqual(await store.get(hashOf(blob)), blob);
  });
}

function manyTests(check: Check): void {
  check("many small blobs, put at once, deleted in part, listed", async (store) => {
    const blobs = Array.from({ length: 2_000 }, (_, salt) => noise(20 + (salt % 300), salt));
    await Promise.all(blobs.map((blob) => store.put(hashOf(blob), blob.slice())));
    await store.sync();
    const gone = blobs.filter((_, index) => index % 3 !== 0);
    await store.delete(gone.map(hashOf));
    await store.sync();
    const expected = new Map(
      blobs.filter((_, index) => index % 3 === 0).map((blob) => [toHex(hashOf(blob)), blob.length]),
    );
    assert.deepEqual(await listed(store), expected);
    const got = await Promise.all(blobs.map((blob) => store.get(hashOf(blob))));
    for (const [index, bytes] of got.entries()) {
      if (index % 3 === 0) assert.deepEqual(bytes, blobs[index]);
      else assert.equal(bytes, undefined);
    }
  });

  check("the list holds all that is there for the whole of it, while others come and go", async (store) => {
    const stay = Array.from({ length: 300 }, (_, salt) => noise(50, salt));
    const go = Array.from({ length: 300 }, (_, salt) => noise(60, salt));
    for (let index = 0; index < 300; index++) {
      await Promise.all([stay[index]!, go[index]!].map((blob) => store.put(hashOf(blob), blob.slice())));
    }
    const seen = new Set<string>();
    let step = 0;
    for await (const { hash } of store.list()) {
      assert.ok(!seen.has(toHex(hash)));
      seen.add(toHex(hash));
      const blob = go[step];
      if (blob === undefined) continue;
      await store.delete([hashOf(blob)]);
      await store.put(hashOf(noise(70, step)), noise(70, step));
      step += 1;
    }
    for (const blob of stay) assert.ok(seen.has(toHex(hashOf(blob))));
  });
}

function refusalTests(check: Check): void {
  check("a blob over the limit and a hash of the wrong size are invalid", async (store) => {
    await refused(store.put(new Uint8Array(31), noise(10, 1)), "invalid");
    await refused(store.put(new Uint8Array(32), new Uint8Array(limits.blobSizeMax + 1)), "invalid");
  });

  check("a closed store refuses everything, and closing is repeatable", async (store) => {
    const blob = noise(100, 1);
    await store.put(hashOf(blob), blob.slice());
    await store.close();
    await store.close();
    await refused(store.put(hashOf(blob), blob.slice()), "unavailable");
    await refused(store.get(hashOf(blob)), "unavailable");
    await refused(store.has(hashOf(blob)), "unavailable");
    await refused(store.delete([hashOf(blob)]), "unavailable");
    await refused(store.sync(), "unavailable");
  });
}
