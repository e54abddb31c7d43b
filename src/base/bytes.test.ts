/** The byte functions against their plain meaning: order, prefixes, hexadecimal, and numbers of both byte orders. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import * as base from "./index.ts";

// Few different bytes, so that equal ones and common prefixes occur.
const some = fc.uint8Array({ max: 3, maxLength: 6 });
const any = fc.oneof(
  some,
  fc.uint8Array({ maxLength: 40 }),
  fc.array(fc.constant(255), { maxLength: 4 }).map((list) => Uint8Array.from(list)),
);

test("compareBytes is the order of unsigned bytes, shorter first, and agrees with equalBytes", () => {
  fc.assert(
    fc.property(any, any, (a, b) => {
      assert.equal(Math.sign(base.compareBytes(a, b)), Buffer.compare(a, b));
      assert.equal(base.equalBytes(a, b), Buffer.compare(a, b) === 0);
      assert.ok(base.equalBytes(a, a.slice()));
    }),
    { numRuns: 5_000 },
  );
});

test("prefixEnd is the first byte string after all with that prefix", () => {
  assert.equal(base.prefixEnd(base.emptyBytes), undefined);
  assert.equal(base.prefixEnd(Uint8Array.of(255, 255)), undefined);
  assert.deepEqual(base.prefixEnd(Uint8Array.of(1, 255)), Uint8Array.of(2));
  fc.assert(
    fc.property(any, any, (prefix, key) => {
      const end = base.prefixEnd(prefix);
      const inside = base.compareBytes(key, prefix) >= 0 && (end === undefined || base.compareBytes(key, end) < 0);
      assert.equal(inside, base.startsWith(key, prefix));
    }),
    { numRuns: 5_000 },
  );
});

test("concatBytes joins into an array of its own", () => {
  fc.assert(
    fc.property(fc.array(any), (parts) => {
      const whole = base.concatBytes(parts);
      assert.deepEqual(Buffer.from(whole), Buffer.concat(parts));
      assert.ok(parts.every((part) => part.length === 0 || part.buffer !== whole.buffer));
    }),
  );
});

test("hexadecimal goes both ways, and nothing else is taken for it", () => {
  fc.assert(
    fc.property(any, (bytes) => {
      assert.equal(base.toHex(bytes), Buffer.from(bytes).toString("hex"));
      assert.deepEqual(base.fromHex(base.toHex(bytes)), bytes);
      assert.deepEqual(base.fromHex(base.toHex(bytes).toUpperCase()), bytes);
    }),
  );
  for (const text of ["0", "0g", " 00", "0x00", "é0"]) assert.throws(() => base.fromHex(text), { code: "invalid" });
});

test("text goes both ways, keeps a byte order mark, and bytes that are no UTF-8 are corrupt", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), (text) => {
      assert.equal(base.utf8Decode(base.utf8Encode(text)), text);
    }),
  );
  assert.equal(base.utf8Decode(base.utf8Encode("\ufeffa")), "\ufeffa");
  for (const bytes of [[0x80], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0, 0, 0], [0xe2, 0x82]]) {
    assert.throws(() => base.utf8Decode(Uint8Array.from(bytes)), { code: "corrupt" });
  }
});

test("numbers in both byte orders, at any offset, and big-endian ones sort as their bytes do", () => {
  const uint32 = fc.oneof(fc.nat(2 ** 32 - 1), fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1));
  const uint64 = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1));
  fc.assert(
    fc.property(uint32, uint64, uint64, fc.nat(5), (small, large, other, offset) => {
      const bytes = new Uint8Array(16).fill(0xee);
      const view = new DataView(bytes.buffer);
      base.writeUint32LE(bytes, offset, small);
      assert.deepEqual([view.getUint32(offset, true), base.readUint32LE(bytes, offset)], [small, small]);
      base.writeUint32BE(bytes, offset, small);
      assert.deepEqual([view.getUint32(offset), base.readUint32BE(bytes, offset)], [small, small]);
      base.writeUint64LE(bytes, offset, large);
      assert.deepEqual([view.getBigUint64(offset, true), base.readUint64LE(bytes, offset)], [BigInt(large), large]);
      base.writeUint64BE(bytes, offset, large);
      assert.deepEqual([view.getBigUint64(offset), base.readUint64BE(bytes, offset)], [BigInt(large), large]);
      assert.ok(bytes.every((byte, index) => (index >= offset && index < offset + 8) || byte === 0xee));
      const [a, b] = [new Uint8Array(8), new Uint8Array(8)];
      base.writeUint64BE(a, 0, large);
      base.writeUint64BE(b, 0, other);
      assert.equal(Math.sign(base.compareBytes(a, b)), Math.sign(large - other));
    }),
    { numRuns: 5_000 },
  );
});
