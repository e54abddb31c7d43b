/** Damage to chunks: found and named by hash, never served, repaired by a put, and no reason to keep a pack for ever. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HoldfastError, toHex } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import { stored } from "./collection.suite.ts";
import { hashOf, noise, prose } from "./conformance.suite.ts";
import { MemoryBlobStore, PackBlobStore } from "./index.ts";
import type { Hash, NamedBlob } from "./index.ts";
import { isError, scale, verified } from "./pack-model.suite.ts";

describe("damage to chunks", () => {
  test("each bit that flips in a record is found and named by the blob's hash, the others are whole, a put repairs", async () => {
    for (let number = 0; number < 60 * scale; number++) {
      const random = new Prng(`bits ${number}`);
      const simulator = new Simulator({ seed: number, drain: nextTurn, digest: new NodeDigest() });
      const machine = simulator.machine("a");
      const all = Array.from({ length: 12 }, (_, salt) => stored(prose(200 + 90 * salt, salt), salt % 2 === 0));
      const hashes = all.map(({ hash }) => hash);
      const offsets: number[] = [48];
      for (const { blob } of all) offsets.push((offsets.at(-1) as number) + 52 + blob.bytes.length);
      const bit = 8 * 48 + random.below(8 * ((offsets.at(-1) as number) - 48));
      const victim = offsets.findIndex((offset) => offset > bit / 8) - 1;
      const label = `bit ${bit} of blob ${victim}`;
      const damaged = all[victim] as NamedBlob;
      const store = await simulator.run(PackBlobStore.open(machine.env, "chunks"));
      await simulator.run(store.putStored(all).then(() => store.sync()));
      machine.disk.flipBit("chunks/00000001.pack", bit);
      const whole = async () => {
        for (const { hash, blob } of all) {
          if (hash !== damaged.hash) assert.deepEqual(await store.getStored(hash), blob, label);
        }
      };
      await simulator.run(
        (async () => {
          if (number % 2 === 0) await assert.rejects(store.getStored(damaged.hash), isError("corrupt"), label);
          const { hashes: named, damages } = await verified(store);
          assert.deepEqual(named, [toHex(damaged.hash)], label);
          assert.match(damages.join(), new RegExp(`at offset ${offsets[victim]}: `), label);
          // A second round names it again.
          assert.deepEqual((await verified(store)).hashes, named, label);
          const expected = hashes.map((_, index) => index !== victim);
          assert.deepEqual(await store.touch(hashes), expected, label);
          assert.equal(await store.has(damaged.hash), false);
          await assert.rejects(store.getStored(damaged.hash), isError("corrupt"), label);
          await whole();
          await store.putStored([stored(await contentOf(damaged))]);
          assert.deepEqual((await verified(store)).hashes, [], label);
          assert.deepEqual(await store.touch([damaged.hash]), [true]);
          await store.sync();
          await whole();
        })(),
      );
      machine.crash();
      const again = await simulator.run(PackBlobStore.open(machine.restart(), "chunks"));
      for (const named of all) {
        assert.deepEqual(await simulator.run(again.get(named.hash)), await contentOf(named), label);
      }
    }
  });

  test("a damaged blob that is needed is absent for a mark and outlives the sweep; one that is not needed goes", async () => {
    const simulator = new Simulator({ seed: "needed", drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const all = Array.from({ length: 3 }, (_, salt) => stored(noise(1_000, salt)));
    const [needed, useless, sound] = all.map(({ hash }) => hash) as [Hash, Hash, Hash];
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(machine.env, "chunks", { compactionRate: Number.POSITIVE_INFINITY });
        await store.putStored(all);
        await store.sync();
        machine.disk.flipBit("chunks/00000001.pack", 8 * 600);
        machine.disk.flipBit("chunks/00000001.pack", 8 * (600 + 1_052));
        assert.deepEqual((await verified(store)).hashes, [toHex(needed), toHex(useless)]);
        const before = store.beginEpoch();
        const marking = store.startMarking();
        assert.equal(marking.mark(needed), "absent");
        assert.equal(marking.mark(needed), "absent");
        assert.equal(marking.mark(sound), "new");
        let count = 0;
        for await (const report of marking.sweep({ before })) count += report.count;
        assert.equal(count, 1);
        assert.deepEqual((await verified(store)).hashes, [toHex(needed)]);
        // Put anew it is one that nobody has looked into.
        await store.putStored([stored(noise(1_000, 0))]);
        assert.equal(marking.mark(needed), "new");
        marking.end();
        assert.deepEqual((await verified(store)).hashes, []);
        // Nothing keeps the pack now: what was damaged in it is of no more use.
        await store.delete([sound]);
        await store.compact();
        assert.ok(!machine.disk.files().includes("chunks/00000001.pack"));
        assert.deepEqual(await store.get(needed), noise(1_000, 0));
        await store.close();
      })(),
    );
  });

  test("a blob whose content does not have its hash is not served either once that is known", async () => {
    const simulator = new Simulator({ seed: "lie", drain: nextTurn, digest: new NodeDigest() });
    const { env } = simulator.machine("a");
    const content = noise(500, 1);
    const lie = { hash: hashOf(content), blob: stored(noise(500, 2)).blob };
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(env, "chunks");
        await store.putStored([lie]);
        assert.deepEqual(await store.getStored(lie.hash), lie.blob);
        assert.deepEqual((await verified(store)).hashes, [toHex(lie.hash)]);
        await assert.rejects(store.getStored(lie.hash), isError("corrupt"));
        await store.putStored([stored(content)]);
        assert.deepEqual((await store.getStored(lie.hash))?.bytes, content);
      })(),
    );
  });

  test("a put that repairs a blob or brings a new one is not swept, whenever the epoch begins", async () => {
    const simulator = new Simulator({ seed: "repair", drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const [bad, young] = [stored(noise(1_000, 1)), stored(noise(1_000, 2))];
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(machine.env, "chunks");
        await store.putStored([bad]);
        await store.sync();
        machine.disk.flipBit("chunks/00000001.pack", 8 * 600);
        assert.equal((await verified(store)).hashes.length, 1);
        const puts = store.putStored([stored(noise(1_000, 1)), young]);
        const before = store.beginEpoch();
        const marking = store.startMarking();
        const sweep = async () => {
          for await (const _ of marking.sweep({ before })) assert.fail("something was swept");
        };
        await Promise.all([sweep(), puts]);
        await sweep();
        marking.end();
        assert.deepEqual(await store.getStored(bad.hash), stored(noise(1_000, 1)).blob);
        assert.deepEqual(await store.getStored(young.hash), young.blob);
        await store.sync();
      })(),
    );
    machine.crash();
    const again = await simulator.run(PackBlobStore.open(machine.restart(), "chunks"));
    assert.deepEqual(await simulator.run(again.get(bad.hash)), noise(1_000, 1));
  });

  test("a pack with a damaged blob is kept until the blob has been put anew, and holds up no other", async () => {
    const simulator = new Simulator({ seed: "kept", drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const contents = Array.from({ length: 60 }, (_, salt) => noise(2_000, salt));
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(machine.env, "chunks", { packSizeMax: 65_536 });
        for (const content of contents) await store.putStored([stored(content)]);
        await store.sync();
        machine.disk.flipBit("chunks/00000001.pack", 8 * 1_000);
        await store.delete(contents.slice(1, 30).map(hashOf));
        await store.delete(contents.slice(32, 59).map(hashOf));
        await store.compact();
        await store.compact();
        assert.ok(machine.disk.files().includes("chunks/00000001.pack"));
        assert.ok(!machine.disk.files().includes("chunks/00000002.pack"));
        await assert.rejects(store.get(hashOf(contents[0] as Uint8Array)), isError("corrupt"));
        await store.putStored([stored(contents[0] as Uint8Array)]);
        await store.compact();
        assert.ok(!machine.disk.files().includes("chunks/00000001.pack"));
        for (const index of [0, 30, 31, 59]) {
          assert.deepEqual(await store.get(hashOf(contents[index] as Uint8Array)), contents[index]);
        }
        await store.close();
      })(),
    );
  });

  test("a pack that cannot be read for a while is told, and none of its blobs is taken for damaged", async () => {
    const simulator = new Simulator({ seed: "unreadable", drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const named = stored(noise(1_000, 1));
    await simulator.run(
      (async () => {
        const store = await PackBlobStore.open(machine.env, "chunks");
        await store.putStored([named]);
        await store.sync();
        machine.disk.hook = ({ kind, phase }) =>
          kind === "read" && phase === "issued" ? new HoldfastError("unavailable", "the cable is loose") : undefined;
        const { damages, hashes } = await verified(store);
        assert.deepEqual(hashes, []);
        assert.match(damages.join(), /chunks\/00000001\.pack cannot be read: .*cable/);
        machine.disk.hook = undefined;
        assert.deepEqual(await store.touch([named.hash]), [true]);
        assert.deepEqual(await verified(store), { damages: [], hashes: [] });
      })(),
    );
  });
});

/** The content of a blob in its stored form. */
async function contentOf({ hash, blob }: NamedBlob): Promise<Uint8Array> {
  const memory = new MemoryBlobStore({ digest: new NodeDigest() });
  await memory.putStored([{ hash, blob }]);
  const content = await memory.get(hash);
  assert.ok(content !== undefined);
  return content;
}
