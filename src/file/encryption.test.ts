/** Wrapping the key of a bucket: the right secret opens it, nothing else does, and damage is found. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeCipher, NodeDigest } from "../host/index.ts";
import { Prng } from "../sim/index.ts";
import { BucketEncryption } from "./index.ts";
import { changeEncryption, KeyRing, makeEncryption, openEncryption, secretOf } from "./encryption.ts";
import type { BucketSecret } from "./encryption.ts";

const env = { cipher: new NodeCipher(), digest: new NodeDigest(), random: new Prng("encryption") };
const key = new Prng("key file").bytes(48);

const golden =
  "08011a220a200000000000000000000000000000000000000000000000000000000000000000223c000000000000000000000000675e22d58fdd7180d16ec9b77d4182c82592cb88a1370e05b0688558bab00e2a4870af2f09fb648715bfdc497687a049";

test("a bucket opens with its secret, also in another form of Unicode, and with no other", async () => {
  const encryption = await makeEncryption(env, { passphrase: "Br\u00fccke" });
  assert.equal(secretOf("b", encryption), "passphrase");
  const dataKey = await openEncryption(env, "b", encryption, { passphrase: "Br\u00fccke" });
  assert.equal(dataKey.length, 32);
  assert.deepEqual(await openEncryption(env, "b", encryption, { passphrase: "Bru\u0308cke" }), dataKey);
  await assert.rejects(openEncryption(env, "photos", encryption, { passphrase: "brücke" }), {
    code: "denied",
    message: "this is not the passphrase of bucket photos",
  });
  await assert.rejects(openEncryption(env, "b", encryption, { key }), { code: "denied", message: /--passphrase-file/ });
  await assert.rejects(openEncryption(env, "b", encryption, undefined), {
    code: "denied",
    message: /bucket b is encrypted/,
  });

  const other = await makeEncryption(env, { key });
  assert.equal(secretOf("b", other), "key");
  assert.notDeepEqual(await openEncryption(env, "b", other, { key }), dataKey);
  await assert.rejects(openEncryption(env, "b", other, { key: key.map((byte) => byte ^ 1) }), { code: "denied" });
  await assert.rejects(openEncryption(env, "b", other, { passphrase: "x" }), { code: "denied", message: /--key-file/ });
  assert.equal(secretOf("b", new Uint8Array(0)), "none");
});

test("the settings of an encrypted bucket are these bytes", async () => {
  const random = { uint32: () => 0, float: () => 0, bytes: (size: number) => new Uint8Array(size) };
  const encryption = await makeEncryption({ ...env, random }, { key: new Uint8Array(32) });
  assert.equal(Buffer.from(encryption).toString("hex"), golden);
  assert.deepEqual(await openEncryption(env, "b", encryption, { key: new Uint8Array(32) }), new Uint8Array(32));
});

test("another secret opens the same data key, and the old one nothing any more", async () => {
  const encryption = await makeEncryption(env, { key });
  const changed = await changeEncryption(env, "b", encryption, { key }, { passphrase: "new" });
  assert.deepEqual(
    await openEncryption(env, "b", changed, { passphrase: "new" }),
    await openEncryption(env, "b", encryption, { key }),
  );
  await assert.rejects(openEncryption(env, "b", changed, { key }), { code: "denied" });
  await assert.rejects(changeEncryption(env, "b", changed, { passphrase: "old" }, { key }), { code: "denied" });
});

test("secrets that are none, or too weak to be a key, are refused", async () => {
  const bad: BucketSecret[] = [
    {},
    { passphrase: "" },
    { passphrase: "\ud800" },
    { passphrase: "x", key },
    { key: key.subarray(0, 31) },
    { key: "text" as unknown as Uint8Array },
    { passphrase: 5 as unknown as string },
  ];
  for (const secret of bad) await assert.rejects(makeEncryption(env, secret), { code: "invalid" });
  await assert.rejects(makeEncryption({ ...env, cipher: undefined }, { key }), { code: "denied" });
});

test("damaged settings open nothing, and a store cannot make its clients work without end", async () => {
  const encryption = await makeEncryption(env, { key });
  for (let index = 0; index < encryption.length; index++) {
    for (const mask of [1, 0x80]) {
      const damaged = encryption.map((byte, at) => (at === index ? byte ^ mask : byte));
      await assert.rejects(openEncryption(env, "b", damaged, { key }), (error: { code: string }) =>
        ["denied", "corrupt", "invalid"].includes(error.code),
      );
    }
    await assert.rejects(openEncryption(env, "b", encryption.subarray(0, index), { key }), { code: "corrupt" });
  }
  const wrapped = new Uint8Array(60);
  const salt = new Uint8Array(32);
  for (const cost of [
    { n: 2 ** 31, r: 8, p: 1 },
    { n: 65_536, r: 1_024, p: 1 },
    { n: 65_536, r: 8, p: 1_000_000 },
    { n: 1_000, r: 8, p: 1 },
    { n: 0, r: 8, p: 1 },
    { n: 1_024, r: 0, p: 1 },
  ]) {
    const from = { case: "passphrase", value: { ...cost, salt } } as const;
    const asked = BucketEncryption.encode({ version: 1, from, wrapped });
    await assert.rejects(openEncryption(env, "b", asked, { passphrase: "x" }), { code: "corrupt" });
  }
  const newer = BucketEncryption.encode({ version: 2, wrapped });
  await assert.rejects(openEncryption(env, "b", newer, { key }), { code: "invalid", message: /newer version/ });
});

test("a passphrase is stretched once for many calls; what failed is tried again", async () => {
  let count = 0;
  const counted = Object.assign(Object.create(env.cipher) as NodeCipher, {
    scrypt: (...given: Parameters<NodeCipher["scrypt"]>) => {
      count++;
      return env.cipher.scrypt(...given);
    },
  });
  const encryption = await makeEncryption(env, { passphrase: "p" });
  const ring = new KeyRing({ ...env, cipher: counted });
  const [one, two] = await Promise.all([1, 2].map(() => ring.open("b", encryption, { passphrase: "p" })));
  assert.equal(one, two);
  assert.equal(count, 1);
  await assert.rejects(ring.open("b", encryption, { passphrase: "q" }), { code: "denied" });
  await assert.rejects(ring.open("other", encryption, { passphrase: "q" }), { message: /bucket other/ });
  assert.equal(count, 3);
});
