/** The cipher against the published vectors of its algorithms, and what it refuses. */
import assert from "node:assert/strict";
import { createCipheriv, createHmac, randomBytes } from "node:crypto";
import { test } from "node:test";
import { fromHex, toHex, utf8Encode } from "../base/index.ts";
import { NodeCipher } from "./index.ts";

const cipher = new NodeCipher();
const hex = (text: string) => fromHex(text.replaceAll(/\s/g, ""));

test("HMAC-SHA-256 gives what RFC 4231 says", () => {
  const vectors = [
    {
      key: "0b".repeat(20),
      data: toHex(utf8Encode("Hi There")),
      mac: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    },
    {
      key: toHex(utf8Encode("Jefe")),
      data: toHex(utf8Encode("what do ya want for nothing?")),
      mac: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    },
    {
      key: "aa".repeat(20),
      data: "dd".repeat(50),
      mac: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    },
    {
      key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
      data: "cd".repeat(50),
      mac: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    },
    {
      key: "aa".repeat(131),
      data: toHex(utf8Encode("Test Using Larger Than Block-Size Key - Hash Key First")),
      mac: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    },
    {
      key: "aa".repeat(131),
      data: toHex(
        utf8Encode(
          "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
        ),
      ),
      mac: "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    },
  ];
  for (const { key, data, mac } of vectors) assert.equal(toHex(cipher.hmac(hex(key), hex(data))), mac);
});

const expected = (key: Uint8Array, bytes: Uint8Array) => createHmac("sha256", key).update(bytes).digest("hex");

test("a key of HMAC may change in its array, and more keys than are remembered may take turns", () => {
  const key = new Uint8Array(32);
  const data = utf8Encode("data");
  for (let round = 0; round < 3; round++) {
    for (let byte = 0; byte < 40; byte++) {
      key.fill(byte);
      assert.equal(toHex(cipher.hmac(key, data)), expected(key, data));
      assert.equal(toHex(cipher.hmac(key, data)), expected(key, data));
    }
  }
  assert.equal(toHex(cipher.hmac(new Uint8Array(0), data)), expected(new Uint8Array(0), data));
});

test("AES-256-GCM gives what the vectors of NIST and of its authors say", () => {
  // Test cases 13 to 15 of McGrew and Viega, "The Galois/Counter Mode of Operation", which NIST SP 800-38D refers to.
  const vectors = [
    { key: "00".repeat(32), nonce: "00".repeat(12), plain: "", sealed: "530f8afbc74536b9a963b4f1c4cb738b" },
    {
      key: "00".repeat(32),
      nonce: "00".repeat(12),
      plain: "00".repeat(16),
      sealed: "cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919",
    },
    {
      key: "feffe9928665731c6d6a8f9467308308".repeat(2),
      nonce: "cafebabefacedbaddecaf888",
      plain: `d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72
              1c3c0c95956809532fcf0e2449a6b525 b16aedf5aa0de657ba637b391aafd255`,
      sealed: `522dc1f099567d07f47f37a32a84427d 643a8cdcbfe5c0c97598a2bd2555d1aa
               8cb08e48590dbb3da7b08b1056828838 c5f61e6393ba7a0abcc9f662898015ad
               b094dac5d93471bdec1a502270e3cc6c`,
    },
  ];
  for (const { key, nonce, plain, sealed } of vectors) {
    assert.equal(toHex(cipher.encrypt(hex(key), hex(nonce), hex(plain))), toHex(hex(sealed)));
    assert.equal(toHex(cipher.decrypt(hex(key), hex(nonce), hex(sealed)) as Uint8Array), toHex(hex(plain)));
  }
});

test("large data goes in and comes out; any flipped bit, another key and a cut are noticed", () => {
  const [key, nonce] = [randomBytes(32), randomBytes(12)];
  const plain = randomBytes(1_000_003);
  const sealed = cipher.encrypt(key, nonce, plain);
  const stranger = createCipheriv("aes-256-gcm", key, nonce);
  assert.deepEqual(
    Buffer.from(sealed),
    Buffer.concat([stranger.update(plain), stranger.final(), stranger.getAuthTag()]),
  );
  assert.deepEqual(Buffer.from(cipher.decrypt(key, nonce, sealed) as Uint8Array), plain);
  for (const at of [0, 500_000, plain.length, sealed.length - 1]) {
    const damaged = sealed.slice();
    damaged[at] = (damaged[at] as number) ^ 1;
    assert.equal(cipher.decrypt(key, nonce, damaged), undefined);
  }
  assert.equal(cipher.decrypt(randomBytes(32), nonce, sealed), undefined);
  assert.equal(cipher.decrypt(key, nonce, sealed.subarray(0, sealed.length - 1)), undefined);
  assert.equal(cipher.decrypt(key, nonce, sealed.subarray(0, 15)), undefined);
});

test("keys and nonces of a wrong size are refused", () => {
  const invalid = { code: "invalid", message: /a key of 32 and a nonce of 12 bytes, not/ };
  assert.throws(() => cipher.encrypt(new Uint8Array(16), new Uint8Array(12), new Uint8Array(1)), invalid);
  assert.throws(() => cipher.decrypt(new Uint8Array(32), new Uint8Array(16), new Uint8Array(17)), invalid);
});

test("scrypt gives what RFC 7914 says", async () => {
  // The keys of the vectors have 64 bytes; a shorter one is their beginning, since PBKDF2 makes it block by block.
  const vectors = [
    {
      passphrase: "",
      salt: "",
      n: 16,
      r: 1,
      p: 1,
      key: "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442",
    },
    {
      passphrase: "password",
      salt: "NaCl",
      n: 1024,
      r: 8,
      p: 16,
      key: "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162",
    },
    {
      passphrase: "pleaseletmein",
      salt: "SodiumChloride",
      n: 16_384,
      r: 8,
      p: 1,
      key: "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2",
    },
  ];
  for (const { passphrase, salt, key, ...cost } of vectors) {
    assert.equal(toHex(await cipher.scrypt(utf8Encode(passphrase), utf8Encode(salt), cost)), key);
  }
});

const derive = (n: number, r: number, p: number) => cipher.scrypt(new Uint8Array(1), new Uint8Array(1), { n, r, p });

test("scrypt refuses a cost that is none, or would fill the memory", async () => {
  for (const [n, r, p] of [
    [0, 8, 1],
    [1, 8, 1],
    [1000, 8, 1],
    [1024, 0, 1],
    [1024, 8, 0],
    [1024, 1.5, 1],
    [Number.NaN, 8, 1],
  ] as const) {
    await assert.rejects(derive(n, r, p), { code: "invalid" });
  }
  await assert.rejects(derive(2 ** 30, 8, 1), { code: "invalid", message: /lower the cost/ });
  await assert.rejects(derive(1024, 1, 2 ** 30), { code: "invalid" });
});
