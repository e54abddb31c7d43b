/** Encryption of chunks: what is equal, what is not, what is refused, and the format. */
import assert from "node:assert/strict";
import { createDecipheriv, createHmac } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { HoldfastError, toHex } from "../base/index.ts";
import { NodeCipher } from "../host/index.ts";
import { ChunkCipher, ChunkCiphers, sealedOverhead } from "./chunk-cipher.ts";
import type { Sealed } from "./chunk-cipher.ts";
import { noise, prose } from "./chunker.suite.ts";
import { digest } from "./content.suite.ts";

const cipher = new NodeCipher();
const keyOf = (byte: number) => new Uint8Array(32).fill(byte);
const one = new ChunkCipher(cipher, keyOf(1));
const other = new ChunkCipher(cipher, keyOf(2));
const is = (code: string) => (error: unknown) => error instanceof HoldfastError && error.code === code;
const sizeMax = 8_388_608;
const hmac = (key: Uint8Array, bytes: Uint8Array | string) => createHmac("sha256", key).update(bytes).digest();

test("what is sealed opens, is the same each time, and another with another key", () => {
  for (const size of [0, 1, 64, 1_024, 100_000]) {
    for (const bytes of [noise(size, 1), prose(size, 2)]) {
      for (const as of ["chunk", "inline"] as Sealed[]) {
        const sealed = one.seal(digest, as, bytes, true);
        assert.ok(sealed.length <= size + sealedOverhead);
        assert.deepEqual(one.open(digest, as, sealed, sizeMax), bytes);
        assert.deepEqual(new ChunkCipher(cipher, keyOf(1)).seal(digest, as, bytes, true), sealed);
        const elsewhere = other.seal(digest, as, bytes, true);
        assert.notDeepEqual(elsewhere.subarray(0, 32), sealed.subarray(0, 32));
        assert.throws(() => other.open(digest, as, sealed, sizeMax), is("denied"));
      }
    }
  }
  assert.ok(one.seal(digest, "chunk", prose(100_000, 2), true).length < 60_000);
  assert.notDeepEqual(one.gear, other.gear);
});

test("neither form stands in for the other, sizes are bounded, and damage is not opened", () => {
  const bytes = prose(5_000, 1);
  const chunk = one.seal(digest, "chunk", bytes, true);
  const inline = one.seal(digest, "inline", bytes, true);
  assert.throws(() => one.open(digest, "inline", chunk, sizeMax), is("corrupt"));
  assert.throws(() => one.open(digest, "chunk", inline, sizeMax), is("corrupt"));
  assert.throws(() => one.open(digest, "chunk", chunk, 4_999), is("corrupt"));
  assert.throws(() => one.open(digest, "inline", inline, 4_999), is("corrupt"));
  fc.assert(
    fc.property(fc.nat(chunk.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(60), (at, flip, cut) => {
      const damaged = chunk.with(at, chunk[at]! ^ flip);
      assert.throws(() => one.open(digest, "chunk", damaged.subarray(0, damaged.length - cut), sizeMax), is("denied"));
    }),
    { numRuns: 100 },
  );
  for (const size of [0, 47, 48]) {
    assert.throws(() => one.open(digest, "chunk", chunk.subarray(0, size), sizeMax), is("denied"));
  }
});

test("the format, opened by hand", () => {
  const bytes = noise(100, 1);
  const sealed = one.seal(digest, "chunk", bytes, false);
  const siv = sealed.subarray(0, 32);
  const key = hmac(hmac(keyOf(1), "holdfast chunk key 1"), siv);
  const decipher = createDecipheriv("aes-256-gcm", key, new Uint8Array(12));
  decipher.setAuthTag(sealed.subarray(-16));
  const message = Buffer.concat([decipher.update(sealed.subarray(32, -16)), decipher.final()]);
  assert.equal(toHex(message), `0064000000${toHex(bytes)}`);
  assert.equal(toHex(siv), toHex(hmac(hmac(keyOf(1), "holdfast chunk siv 1"), message)));
  const gear = hmac(hmac(keyOf(1), "holdfast chunk gear 1"), Uint8Array.of(3));
  assert.equal(one.gear[24], gear.readInt32LE(0));
  assert.equal(one.gear[31], gear.readInt32LE(28));
  const golden =
    "da9cb9f128564231d0804c66cca9be119f1ba9e221edda9ff681283807f7ccb370228d2906a5a755eca845df0bcbe6e11e9d241713ebace7";
  assert.equal(toHex(one.seal(digest, "inline", Uint8Array.of(1, 2, 3), true)), golden);
});

test("ciphers are kept for the keys used last, whatever becomes of the arrays that held them", () => {
  const ciphers = new ChunkCiphers(cipher, 2);
  const key = keyOf(1);
  const first = ciphers.of(key);
  key.fill(9);
  assert.notEqual(ciphers.of(key), first);
  assert.equal(ciphers.of(keyOf(1)), first);
  ciphers.of(keyOf(3));
  ciphers.of(keyOf(4));
  assert.notEqual(ciphers.of(keyOf(1)), first);
  assert.throws(() => ciphers.of(new Uint8Array(31)), is("invalid"));
  assert.throws(() => new ChunkCiphers(undefined).of(keyOf(1)), is("invalid"));
});
