/**
 * What every `ChunkStore` that can be collected must do, as tests: blobs in their stored form, touches, epochs, marking
 * and sweeping; and a seeded workload of all that at once against a model.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { AssertionError, HoldfastError, toHex } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { hashOf, listed, noise, prose } from "./conformance.suite.ts";
import type { ChunkStore, CollectableStore, Hash, Marking, NamedBlob } from "./index.ts";

type Store = ChunkStore & CollectableStore;

export interface CollectionHarness {
  readonly store: Store;
  /** Waits for `promise`, and makes time pass if nobody else does. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Gives way, so that something else may happen. */
  readonly turn: () => Promise<void>;
  /** Called at the end: removes what was made. */
  close(): Promise<void>;
}

/** A blob in its stored form, compressed or as it is. */
export function stored(content: Uint8Array, compressed = false): NamedBlob {
  const bytes = compressed ? new Uint8Array(zstdCompressSync(content)) : content.slice();
  return { hash: hashOf(content), blob: { size: content.length, compressed, bytes } };
}

type Check = (title: string, body: (harness: CollectionHarness) => Promise<void>) => void;

/** `makeStore` is called once a test and gives an empty store. It must be able to decompress. */
export function collectionConformance(name: string, makeStore: () => Promise<CollectionHarness>): void {
  const check: Check = (title, body) => {
    void describe(title, () => {
      let harness: CollectionHarness;
      before(async () => {
        harness = await makeStore();
      });
      after(() => harness.close());
      void test(title, () => harness.run(body(harness)));
    });
  };
  describe(`chunks and collection: ${name}`, () => {
    storedTests(check);
    touchTests(check);
    markingTests(check);
    sweepTests(check);
    for (const seed of ["ash", "beech", "cedar"]) {
      check(`a workload against a model, seed ${seed}`, (harness) => workload(harness, new Prng(seed)));
    }
  });
}

async function refused(promise: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof HoldfastError && error.code === code);
}

/** Count and size of all that a sweep reports. */
async function swept(marking: Marking, before: number, dryRun = false): Promise<{ count: number; size: number }> {
  const sum = { count: 0, size: 0 };
  for await (const { count, size } of marking.sweep({ before, dryRun })) {
    assert.ok(count > 0 && size >= 0);
    sum.count += count;
    sum.size += size;
  }
  return sum;
}

function storedTests(check: Check): void {
  check("what is put in a form comes back in it, and its content by `get`", async ({ store }) => {
    const contents = [0, 1, 600, 70_000, 1_200_000].flatMap((size) => [noise(size, size), prose(size, 5)]);
    const all = contents.map((content, index) => stored(content, index % 2 === 1));
    await store.putStored(all);
    await store.putStored([]);
    await store.sync();
    for (const [index, { hash, blob }] of all.entries()) {
      if (index === 1) continue; // The empty blob again, which is kept as it came first.
      assert.deepEqual(await store.getStored(hash), blob);
      assert.deepEqual(await store.get(hash), contents[index]);
      assert.equal(await store.has(hash), true);
    }
    assert.equal(await store.getStored(hashOf(noise(5, 5))), undefined);
    assert.equal((await listed(store)).get(toHex(all[7]?.hash ?? new Uint8Array(0))), 70_000);
  });

  check("the same blob in two forms, at once or again, stays in the first", async ({ store }) => {
    const content = prose(5_000, 3);
    const [small, whole] = [stored(content, true), stored(content)];
    await Promise.all([store.putStored([small, whole]), store.putStored([whole]), store.put(whole.hash, content)]);
    await store.putStored([whole]);
    assert.deepEqual(await store.getStored(whole.hash), small.blob);
    assert.equal((await listed(store)).size, 1);
  });

  check("what `put` has compressed or not is to be had in that form", async ({ store }) => {
    for (const content of [noise(20_000, 1), prose(20_000, 1)]) {
      await store.put(hashOf(content), content.slice());
      const found = await store.getStored(hashOf(content));
      assert.ok(found !== undefined);
      assert.equal(found.size, 20_000);
      if (!found.compressed) assert.deepEqual(found.bytes, content);
    }
  });

  check("a caller may change what it got", async ({ store }) => {
    const named = stored(noise(100, 1));
    await store.putStored([named]);
    (await store.getStored(named.hash))?.bytes.fill(0);
    assert.deepEqual(await store.get(named.hash), noise(100, 1));
  });

  check("sizes that do not fit are invalid, and then nothing of the call is put", async ({ store }) => {
    const good = stored(noise(10, 1));
    const lie = { hash: hashOf(noise(10, 2)), blob: { size: 9, compressed: false, bytes: noise(10, 2) } };
    const short = { hash: new Uint8Array(31), blob: good.blob };
    const large = { hash: good.hash, blob: { size: 33_554_433, compressed: true, bytes: noise(10, 2) } };
    for (const bad of [lie, short, large]) await refused(store.putStored([good, bad]), "invalid");
    assert.equal(await store.has(good.hash), false);
  });

  check("a put in stored form that follows a deletion stays", async ({ store }) => {
    const named = stored(noise(700, 5));
    for (let round = 0; round < 4; round++) {
      const put = store.putStored([stored(noise(700, 5))]);
      await (round % 2 === 0 ? put : undefined);
      const deletion = store.delete([named.hash]);
      const again = store.putStored([stored(noise(700, 5))]);
      await Promise.all([put, deletion, again]);
      assert.deepEqual(await store.getStored(named.hash), named.blob);
    }
  });

  check("a closed store refuses", async ({ store }) => {
    const named = stored(noise(10, 1));
    await store.close();
    await refused(store.putStored([named]), "unavailable");
    await refused(store.getStored(named.hash), "unavailable");
    await refused(store.touch([named.hash]), "unavailable");
  });
}

function touchTests(check: Check): void {
  check("touch says what is there, puts under way and deletions included", async ({ store }) => {
    const all = Array.from({ length: 50 }, (_, salt) => stored(noise(500, salt)));
    const hashes = all.map(({ hash }) => hash);
    assert.deepEqual(await store.touch([]), []);
    const puts = store.putStored(all.slice(0, 30));
    const deletion = store.delete(hashes.slice(0, 10));
    const there = await store.touch(hashes);
    assert.deepEqual(
      there,
      hashes.map((_, index) => index >= 10 && index < 30),
    );
    await Promise.all([puts, deletion]);
  });

  check("a touched blob is of this epoch", async ({ store }) => {
    const all = Array.from({ length: 6 }, (_, salt) => stored(noise(500, salt)));
    const [a, b, c, d] = all.map(({ hash }) => hash) as [Hash, Hash, Hash, Hash];
    await store.putStored(all);
    const before = store.beginEpoch();
    assert.equal(store.epoch, before);
    await store.touch([a]);
    await store.put(b, noise(500, 1));
    await store.putStored([stored(noise(500, 2))]);
    await store.get(d);
    await store.has(d);
    const marking = store.startMarking();
    assert.equal((await swept(marking, before)).count, 3);
    marking.end();
    assert.deepEqual(await store.touch(all.map(({ hash }) => hash)), [true, true, true, false, false, false]);
    assert.equal((await listed(store)).size, 3);
    assert.ok((await listed(store)).has(toHex(c)));
  });

  check("epochs count from 1", async ({ store }) => {
    assert.equal(store.epoch, 1);
    assert.equal(store.beginEpoch(), 2);
    assert.equal(store.beginEpoch(), 3);
    assert.equal(store.epoch, 3);
  });
}

function markingTests(check: Check): void {
  check("a mark is new, then known; what is not there is absent", async ({ store }) => {
    const named = stored(noise(10, 1));
    await store.putStored([named]);
    const marking = store.startMarking();
    assert.equal(marking.mark(hashOf(noise(10, 2))), "absent");
    assert.equal(marking.mark(named.hash), "new");
    assert.equal(marking.mark(named.hash), "known");
    marking.end();
    marking.end();
    const again = store.startMarking();
    assert.equal(again.mark(named.hash), "new");
    again.end();
  });

  check("a place that is freed and taken by another blob is not marked", async ({ store }) => {
    const [old, young] = [stored(noise(10, 1)), stored(noise(10, 2))];
    await store.putStored([old]);
    const marking = store.startMarking();
    assert.equal(marking.mark(old.hash), "new");
    await store.delete([old.hash]);
    assert.equal(marking.mark(old.hash), "absent");
    await store.putStored([young]);
    assert.equal(marking.mark(young.hash), "new");
    await store.putStored([old]);
    assert.equal(marking.mark(old.hash), "new");
    marking.end();
  });

  check("one marking at a time, and none after its end", async ({ store }) => {
    const marking = store.startMarking();
    assert.throws(() => store.startMarking(), AssertionError);
    marking.end();
    assert.throws(() => marking.mark(hashOf(noise(1, 1))), AssertionError);
    await assert.rejects(swept(marking, 1), AssertionError);
    const next = store.startMarking();
    marking.end();
    assert.equal(next.mark(hashOf(noise(1, 1))), "absent");
    next.end();
  });
}

function sweepTests(check: Check): void {
  check("a dry run counts what a sweep would delete, and deletes nothing", async ({ store }) => {
    const all = Array.from({ length: 3_000 }, (_, salt) => stored(noise(40, salt)));
    await store.putStored(all);
    const before = store.beginEpoch();
    const marking = store.startMarking();
    for (const { hash } of all.slice(0, 1_000)) marking.mark(hash);
    const dry = await swept(marking, before, true);
    assert.equal(dry.count, 2_000);
    assert.ok(dry.size >= 2_000 * 40);
    assert.equal((await listed(store)).size, 3_000);
    assert.deepEqual(await swept(marking, before), dry);
    assert.deepEqual(await swept(marking, before), { count: 0, size: 0 });
    marking.end();
    await store.sync();
    const there = await store.touch(all.map(({ hash }) => hash));
    assert.deepEqual(
      there,
      all.map((_, index) => index < 1_000),
    );
  });

  check("nothing of the epoch that bounds it goes", async ({ store }) => {
    await store.putStored([stored(noise(10, 1))]);
    const middle = store.beginEpoch();
    await store.putStored([stored(noise(10, 2))]);
    const last = store.beginEpoch();
    await store.putStored([stored(noise(10, 3))]);
    const marking = store.startMarking();
    assert.equal((await swept(marking, 1)).count, 0);
    assert.equal((await swept(marking, middle)).count, 1);
    assert.equal((await swept(marking, last)).count, 1);
    await assert.rejects(swept(marking, last + 1), AssertionError);
    marking.end();
    assert.deepEqual([...(await listed(store)).keys()], [toHex(hashOf(noise(10, 3)))]);
  });

  check("a sweep ends when it is told to", async ({ store }) => {
    await store.putStored(Array.from({ length: 3_000 }, (_, salt) => stored(noise(10, salt))));
    const before = store.beginEpoch();
    const marking = store.startMarking();
    const controller = new AbortController();
    await refused(
      (async () => {
        for await (const _ of marking.sweep({ before, signal: controller.signal })) controller.abort();
      })(),
      "cancelled",
    );
    const left = (await listed(store)).size;
    assert.ok(left > 0 && left < 3_000, `${left} are left`);
    for await (const _ of marking.sweep({ before })) break;
    assert.ok((await swept(marking, before)).count > 0);
    marking.end();
    assert.equal((await listed(store)).size, 0);
  });

  check("a blob that is put or touched while it is being swept stays", async ({ store, turn }) => {
    const all = Array.from({ length: 4_000 }, (_, salt) => noise(30, salt));
    await store.putStored(all.map((content) => stored(content)));
    const before = store.beginEpoch();
    const marking = store.startMarking();
    const stays = new Set<number>();
    const sweeping = { over: false };
    const sweep = swept(marking, before).finally(() => (sweeping.over = true));
    for (let index = all.length - 1; index >= 0 && !sweeping.over; index -= 40) {
      const content = all[index] as Uint8Array;
      if (index % 80 < 40) {
        if ((await store.touch([hashOf(content)]))[0] === true) stays.add(index);
      } else {
        await store.putStored([stored(content)]);
        stays.add(index);
      }
      await turn();
    }
    await sweep;
    marking.end();
    assert.ok(stays.size > 0);
    const there = await store.touch(all.map(hashOf));
    for (const [index, one] of there.entries()) assert.equal(one, stays.has(index), `blob ${index}`);
  });
}

/** What a model knows of a blob. */
interface Known {
  readonly content: Uint8Array;
  readonly hash: Hash;
  /** The epoch of the last put or touch that has resolved; undefined if it is not there. */
  epoch: number | undefined;
  /** Of the marking under way. */
  marked: boolean;
}

/** Puts, touches, deletions, epochs, markings and sweeps, one after another, and what must be there after each. */
async function workload({ store, turn }: CollectionHarness, random: Prng): Promise<void> {
  const all: Known[] = Array.from({ length: 200 }, (_, salt) => {
    const content = noise(30 + salt * 7, salt);
    return { content, hash: hashOf(content), epoch: undefined, marked: false };
  });
  const some = () => random.shuffle(all.slice()).slice(0, 1 + random.below(30));
  let marking: Marking | undefined;
  const put = async (known: readonly Known[]) => {
    await (random.chance(0.5)
      ? store.putStored(known.map(({ content }) => stored(content, random.chance(0.3))))
      : Promise.all(known.map(({ content, hash }) => store.put(hash, content.slice()))));
    for (const one of known) {
      if (one.epoch === undefined) one.marked = false;
      one.epoch = store.epoch;
    }
  };
  const touch = async (known: readonly Known[]) => {
    const there = await store.touch(known.map(({ hash }) => hash));
    for (const [index, one] of known.entries()) {
      assert.equal(there[index], one.epoch !== undefined);
      if (one.epoch !== undefined) one.epoch = store.epoch;
    }
  };
  const sweep = async (open: Marking) => {
    const before = 1 + random.below(store.epoch);
    const dryRun = random.chance(0.2);
    const garbage = all.filter(({ epoch, marked }) => epoch !== undefined && epoch < before && !marked);
    assert.equal((await swept(open, before, dryRun)).count, garbage.length);
    if (!dryRun) for (const one of garbage) one.epoch = undefined;
  };
  for (let step = 0; step < 250; step++) {
    const dice = random.below(100);
    if (dice < 30) await put(some());
    else if (dice < 45) await touch(some());
    else if (dice < 55) {
      const gone = some();
      await store.delete(gone.map(({ hash }) => hash));
      for (const one of gone) one.epoch = undefined;
    } else if (dice < 65) store.beginEpoch();
    else if (dice < 70 && marking !== undefined) {
      marking.end();
      marking = undefined;
    } else if (dice < 80 && marking === undefined) {
      marking = store.startMarking();
      for (const one of all) one.marked = false;
    } else if (dice < 90 && marking !== undefined) {
      for (const one of some()) {
        const expected = one.epoch === undefined ? "absent" : one.marked ? "known" : "new";
        assert.equal(marking.mark(one.hash), expected);
        one.marked = one.epoch !== undefined;
      }
    } else if (dice < 96 && marking !== undefined) await sweep(marking);
    else await store.sync();
    if (random.chance(0.2)) await turn();
  }
  marking?.end();
  const expected = all.filter(({ epoch }) => epoch !== undefined);
  const found = await listed(store);
  assert.deepEqual([...found.keys()].toSorted(), expected.map(({ hash }) => toHex(hash)).toSorted());
  for (const { hash, content } of expected) assert.deepEqual(await store.get(hash), content);
}
