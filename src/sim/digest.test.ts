/** The plain digest against the native one: same hashes and checksums, and neither takes the other for a frame. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../base/index.ts";
import { NodeDigest } from "../host/index.ts";
import { PlainDigest } from "./index.ts";

const plain = new PlainDigest();
const native = new NodeDigest();

test("SHA-256 agrees on every size around the block boundaries, and on random bytes", () => {
  for (let size = 0; size <= 260; size += 1) {
    const bytes = Uint8Array.from({ length: size }, (_, index) => index * 7 + size);
    assert.deepEqual(plain.sha256(bytes), native.sha256(bytes), `${size} bytes`);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5_000, size: "max" }), (bytes) => {
      assert.deepEqual(plain.sha256(bytes), native.sha256(bytes));
    }),
    { numRuns: 200 },
  );
});

test("CRC-32 agrees, whole, continued, and on views that begin anywhere", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 2_000, size: "max" }),
      fc.nat(2_000),
      fc.nat(2 ** 32 - 1),
      (all, cut, first) => {
        const bytes = all.subarray(Math.min(cut, all.length));
        assert.equal(plain.crc32(bytes), native.crc32(bytes));
        assert.equal(plain.crc32(bytes, first), native.crc32(bytes, first));
      },
    ),
    { numRuns: 1_000 },
  );
});

test("frames: the native digest keeps to its limit before it allocates; damage is corrupt, never anything else", () => {
  assert.equal(plain.compress(new Uint8Array(10)), undefined);
  // Frames of every shape of header and block: compressed, raw, repeated bytes; cut off anywhere, they are refused.
  for (const size of [0, 1, 255, 256, 65_791, 65_792, 300_000]) {
    for (const content of [new Uint8Array(size), randomBytes(size), Buffer.from("abc ".repeat(size / 4))]) {
      const frame = native.compress(content);
      assert.deepEqual(Buffer.from(native.decompress(frame, content.length)), Buffer.from(content));
      for (let cut = 0; cut < frame.length; cut += 1 + Math.floor(frame.length / 50)) {
        assert.throws(() => native.decompress(frame.subarray(0, cut), content.length), { code: "corrupt" });
      }
    }
  }
  const content = new Uint8Array(64 * 1_048_576);
  const frame = native.compress(content);
  assert.ok(frame.length < 20_000, "a frame that grows a thousandfold");
  const before = process.memoryUsage().arrayBuffers;
  assert.throws(() => native.decompress(frame, 1_000_000), { code: "corrupt", message: /at most 1000000 bytes/ });
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1_048_576);
  assert.throws(() => plain.decompress(frame, content.length), { code: "corrupt" });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 500 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (bytes, at, mask) => {
        const damaged = native.compress(bytes).slice();
        damaged[at % damaged.length] = (damaged[at % damaged.length] as number) ^ mask;
        try {
          // Damage to the content itself goes unseen: frames carry no checksum, records around them do.
          assert.ok(native.decompress(damaged, bytes.length).length <= bytes.length);
        } catch (error) {
          assert.ok(error instanceof HoldfastError && error.code === "corrupt", String(error));
        }
      },
    ),
    { numRuns: 500 },
  );
});
