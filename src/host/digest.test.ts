import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { NodeDigest } from "./digest.ts";

const noise = (size: number) => new Uint8Array(createHash("shake256", { outputLength: size }).update("a").digest());

test("a frame is whole whatever its size is", () => {
  // zlib's own step is 16,384 bytes of output: a frame of just that size, or twice that, was followed by an empty one.
  const digest = new NodeDigest();
  const sizes = new Set<number>();
  for (const around of [64, 16_384, 32_768]) {
    for (let size = around - 40; size <= around; size++) {
      const bytes = noise(size);
      const frame = digest.compress(bytes);
      sizes.add(frame.length);
      assert.deepEqual(digest.decompress(frame, size), bytes);
    }
  }
  for (const size of [64, 16_384, 32_768]) assert.ok(sizes.has(size), `a frame of ${size} bytes was tried`);
});
