/**
 * The formats of packs and index files, byte for byte as `docs/format.md` describes them. A change here is a new version
 * of the format, and the old one must still be read.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fromHex, toHex, utf8Encode } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import type { Machine } from "../sim/index.ts";
import { hashOf } from "./conformance.suite.ts";
import { PackBlobStore } from "./index.ts";

const hello = utf8Encode("hello, blobs");
const other = utf8Encode("deleted");

const goldenPack =
  "4846504b01000000a5a5a5a5a5a5a5a501000000def7019a4846504b01000000a5a5a5a5a5a5a5a501000000def7019a4846" +
  "526247c321d3334e3beb07000000070000001185f37d33b0f89e331f101a51bb8e51165c7efda15950b86a3ebcbb363f898e" +
  "64656c6574656448465262b4a5fd0c4c5db04c0c0000000c000000686c82473de28c4ad4ff4d46877b13f393904a4a23aa74" +
  "c6bdda31607cda020768656c6c6f2c20626c6f627348465273d5474bc30000000000000000ab000000000000000000000000" +
  "000000000000000000000000000000000000000000000048465264f02e66345627a359080000000800000000000000000000" +
  "000000000000000000000000000000000000000000000000000100000030000000";
const goldenIndex =
  "4846504901000000a5a5a5a5a5a5a5a51b01000002000000010000001185f37d33b0f89e331f101a51bb8e51165c7efda159" +
  "50b86a3ebcbb363f898e300000000700000007000000686c82473de28c4ad4ff4d46877b13f393904a4a23aa74c6bdda3160" +
  "7cda02076b0000000c0000000c0000000100000030000000fbde7d06";
/** A record of 4,096 times the letter a, compressed, as the second record of a pack. */
const goldenZstd =
  "4846504b01000000a5a5a5a5a5a5a5a501000000def7019a4846504b01000000a5a5a5a5a5a5a5a501000000def7019a4846" +
  "5262ae9b05bd4c5db04c0c0000000c000000686c82473de28c4ad4ff4d46877b13f393904a4a23aa74c6bdda31607cda0207" +
  "68656c6c6f2c20626c6f62734846527a657b8e51a0fc143f1300000000100000c93eee2d0db02f10acc7460d9576e122dcf8" +
  "cd53c4bf8dfcae1b3e74ebcfff5a28b52ffd60000f4d00001061610100fbf70116";

function fixedRandom(env: Env): Env {
  return { ...env, random: { ...env.random, bytes: (size) => new Uint8Array(size).fill(0xa5), uint32: () => 7 } };
}

function makeMachine(): { simulator: Simulator; machine: Machine } {
  const simulator = new Simulator({ seed: "golden", drain: nextTurn, digest: new NodeDigest() });
  return { simulator, machine: simulator.machine("a") };
}

test("a small pack and its index file", async () => {
  const { simulator, machine } = makeMachine();
  const env = fixedRandom(machine.env);
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(env, "blobs", { compress: false });
      await store.put(hashOf(other), other.slice());
      await store.put(hashOf(hello), hello.slice());
      await store.sync();
      await new Promise<void>((resolve) => env.clock.schedule(10, resolve));
      await store.delete([hashOf(other)]);
      await store.close();
    })(),
  );
  const pack = toHex(machine.disk.contents("blobs/00000001.pack") ?? new Uint8Array(0));
  const index = toHex(machine.disk.contents("blobs/00000001.index") ?? new Uint8Array(0));
  if (process.env["UPDATE"] !== undefined) console.log(`${pack}\n${index}`);
  assert.equal(pack, goldenPack);
  assert.equal(index, goldenIndex);
});

test("the golden pack is read, with its index file and without, and with a compressed record", async () => {
  for (const [packHex, withIndex] of [
    [goldenPack, true],
    [goldenPack, false],
    [goldenZstd, false],
  ] as const) {
    const { simulator, machine } = makeMachine();
    const { env } = machine;
    await simulator.run(
      (async () => {
        await env.disk.makeDirectory("blobs");
        const files = { "blobs/00000001.pack": packHex, ...(withIndex && { "blobs/00000001.index": goldenIndex }) };
        for (const [path, content] of Object.entries(files)) {
          const file = await env.disk.open(path, "write");
          await file.write([fromHex(content)], 0);
          await file.close();
        }
        const store = await PackBlobStore.open(env, "blobs");
        assert.deepEqual(await store.get(hashOf(hello)), hello);
        assert.equal(await store.get(hashOf(other)), undefined);
        const letters = new Uint8Array(4_096).fill(97);
        if (packHex === goldenZstd) assert.deepEqual(await store.get(hashOf(letters)), letters);
        await store.close();
      })(),
    );
  }
});

test("a compressed record that was written here is read back", async () => {
  const { simulator, machine } = makeMachine();
  const env = fixedRandom(machine.env);
  const letters = new Uint8Array(4_096).fill(97);
  await simulator.run(
    (async () => {
      const store = await PackBlobStore.open(env, "blobs");
      await store.put(hashOf(hello), hello.slice());
      await store.put(hashOf(letters), letters.slice());
      assert.ok(store.status().blobSize < 300);
      assert.deepEqual(await store.get(hashOf(letters)), letters);
      await store.close();
    })(),
  );
  if (process.env["UPDATE"] !== undefined) console.log(toHex(machine.disk.contents("blobs/00000001.pack") ?? hello));
});
