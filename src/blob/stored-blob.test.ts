/** Stored forms: what is compressed and what is not, and what is refused on the way back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { PlainDigest } from "../sim/index.ts";
import { noise, prose } from "./chunker.suite.ts";
import { digest } from "./content.suite.ts";
import { openBlob, storeBlob } from "./stored-blob.ts";

const sizeMax = 8_388_608;

test("blobs of all sizes and kinds come back, and are compressed only where that saves an eighth", () => {
  for (const size of [0, 1, 63, 64, 511, 4_096, 65_535, 65_536, 65_537, 300_000]) {
    for (const make of [noise, prose, (size: number) => new Uint8Array(size)]) {
      const bytes = make(size, size);
      const blob = storeBlob(digest, bytes, true);
      assert.equal(blob.size, size);
      if (blob.compressed) assert.ok(blob.bytes.length <= size - (size >>> 3));
      else assert.equal(blob.bytes, bytes);
      assert.equal(blob.compressed, make !== noise && size >= (make === prose ? 511 : 64), `${make.name} ${size}`);
      assert.deepEqual(openBlob(digest, digest.sha256(bytes), blob, sizeMax), bytes);
      assert.equal(storeBlob(digest, bytes, false).compressed, false);
      assert.equal(storeBlob(new PlainDigest(), bytes, true).compressed, false);
    }
  }
});

test("of what does not get smaller only a sample is compressed, and parts that do are found", () => {
  const sizes: number[] = [];
  const counting = {
    sha256: (bytes: Uint8Array) => digest.sha256(bytes),
    crc32: (bytes: Uint8Array) => digest.crc32(bytes),
    decompress: (bytes: Uint8Array, size: number) => digest.decompress(bytes, size),
    compress: (bytes: Uint8Array) => {
      sizes.push(bytes.length);
      return digest.compress(bytes);
    },
  };
  assert.equal(storeBlob(counting, noise(1_000_000, 1), true).compressed, false);
  assert.deepEqual(sizes, [16_384]);
  const mixed = noise(1_000_000, 2);
  mixed.fill(0, 300_000, 700_000);
  assert.equal(storeBlob(counting, mixed, true).compressed, true);
});

test("what does not have its hash or size is refused, before much is allocated", () => {
  const bytes = prose(100_000, 3);
  const hash = digest.sha256(bytes);
  const blob = storeBlob(digest, bytes, true);
  const plain = storeBlob(digest, bytes, false);
  const wrong = [
    { ...plain, bytes: bytes.with(500, 0) },
    { ...plain, bytes: bytes.subarray(1) },
    { ...plain, size: 99_999 },
    { ...plain, compressed: true },
    { ...blob, compressed: false },
    { ...blob, size: 100_001 },
    { ...blob, size: 99_999 },
    { ...blob, size: sizeMax + 1 },
    { ...blob, bytes: blob.bytes.subarray(0, -1) },
    { ...blob, bytes: blob.bytes.with(20, blob.bytes[20]! ^ 4) },
  ];
  for (const bad of wrong) {
    assert.throws(
      () => openBlob(digest, hash, bad, sizeMax),
      (error) => error instanceof HoldfastError && error.code === "corrupt" && error.message.includes("blob "),
    );
  }
  assert.throws(() => openBlob(digest, hash, plain, 99_999), /the limit is 99999/);
});
