/** The index against a map: seeded additions, removals and look-ups. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { BlobIndex } from "./blob-index.ts";

test("it agrees with a map, collisions of the probed bytes included", () => {
  for (const seed of ["one", "two", "three"]) {
    const random = new Prng(seed);
    const index = new BlobIndex(random.uint32());
    const model = new Map<string, { hash: Uint8Array; pack: number; offset: number }>();
    for (let step = 0; step < 20_000; step++) {
      const hash = random.bytes(32);
      // Few tables, and many hashes that begin alike.
      hash[31] = random.below(2);
      hash.fill(random.below(3), 0, random.pick([2, 4, 8]));
      const dice = random.float();
      if (dice < 0.6 || model.size === 0) {
        if (index.find(hash) >= 0) continue;
        const entry = { hash, pack: 1 + random.below(9), offset: random.below(1_000) };
        index.set(index.add(hash, 1), entry.pack, entry.offset, 3, 4);
        model.set(toHex(hash), entry);
      } else {
        const [name, entry] = model.entries().next().value!; // It is not empty.
        const slot = index.find(entry.hash);
        assert.ok(index.isAt(slot, entry.pack, entry.offset));
        index.remove(slot);
        model.delete(name);
        assert.equal(index.find(entry.hash), -1);
      }
      for (const entry of step % 50 === 0 ? model.values() : []) {
        const slot = index.find(entry.hash);
        assert.ok(index.isAt(slot, entry.pack, entry.offset), `seed ${seed}, step ${step}`);
        assert.deepEqual(index.hashOf(slot), entry.hash);
      }
      assert.equal(index.count, model.size);
    }
    let count = 0;
    for (let slot = 0; slot < index.slotCount; slot++) {
      if (!index.isPlaced(slot)) continue;
      count += 1;
      assert.ok(model.has(toHex(index.hashOf(slot))));
    }
    assert.equal(count, model.size);
  }
});

test("a million blobs take no more than 100 MB, and free slots are used again", () => {
  const random = new Prng("memory");
  const index = new BlobIndex(1);
  const before = process.memoryUsage().arrayBuffers;
  const hash = random.bytes(32);
  const view = new DataView(hash.buffer);
  const fill = (number: number) => {
    for (let at = 0; at < 32; at += 4) view.setUint32(at, Math.imul(number + 1, 0x9e3779b1 + at));
  };
  for (let number = 0; number < 1_000_000; number++) {
    fill(number);
    index.add(hash, 1);
  }
  const size = process.memoryUsage().arrayBuffers - before;
  assert.ok(size < 100_000_000, `${size} bytes`);
  for (let number = 0; number < 1_000; number++) {
    fill(number);
    index.remove(index.find(hash));
    fill(-2 - number);
    index.add(hash, 1);
  }
  assert.equal(index.slotCount, 1_000_000);
});
