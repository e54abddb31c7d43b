/** Scrubbing: every flipped bit that matters is found, named by what needs it, and repaired where there is a copy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { NamedBlob } from "../blob/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { chunkContent, FileWorld, listContent } from "./collector.suite.ts";
import { Scrubber } from "./scrubber.ts";
import type { ScrubberParts, ScrubProgress } from "./scrubber.ts";

const text = (value: string) => new TextEncoder().encode(value);

async function lastOf(progress: AsyncIterable<ScrubProgress>): Promise<ScrubProgress> {
  let last: ScrubProgress | undefined;
  for await (const each of progress) last = each;
  assert.equal(last?.phase, "done");
  return last;
}

/** Flips a bit of the record that has these bytes. */
async function damage(env: Env, directory: string, bytes: Uint8Array): Promise<void> {
  for (const name of await env.disk.list(directory)) {
    if (!name.endsWith(".pack")) continue;
    const file = await env.disk.open(`${directory}/${name}`, "write");
    const whole = await file.read(0, await file.size());
    const at = Buffer.from(whole).indexOf(Buffer.from(bytes));
    if (at >= 0) await file.write([Uint8Array.of((whole[at] as number) ^ 1)], at);
    await file.close();
    if (at >= 0) return;
  }
  assert.fail("the bytes are in no pack");
}

function unreadable(): never {
  throw new HoldfastError("corrupt", "a page is damaged");
}

function simulate(seed: string) {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const { env } = simulator.machine("a");
  return { simulator, env, run: <T>(promise: Promise<T>) => simulator.run(promise) };
}

function scrubber(world: FileWorld, repair?: ScrubberParts["repair"]): Scrubber {
  const { replica, pages, chunks, env } = world;
  return new Scrubber(env, { replica, pages, chunks, repair }, { startMs: Number.POSITIVE_INFINITY });
}

test("a damaged chunk, and a damaged list, are named by files, versions and snapshots, and repaired", async () => {
  const { env, run } = simulate("scrub");
  const world = await run(FileWorld.open(env));
  const shared = chunkContent(env, text("shared by several files"));
  const only = chunkContent(env, text("only in one"));
  const list = listContent(env, [shared, only]);
  await run(world.putFile("photos", "a", list, 1n));
  await run(world.putFile("photos", "b", shared, 2n));
  await run(world.putFile("photos", "c", chunkContent(env, text("untouched")), 3n));
  const snapshot = (name: string) => run(world.propose(world.snapshot({ case: "create", value: { name } })));
  await snapshot("before");
  await run(world.putFile("photos", "b", chunkContent(env, text("another")), 4n));
  const removal = { bucket: "photos", path: text("a"), prefix: false } as const;
  await run(world.propose(world.file({ case: "delete", value: removal })));
  await snapshot("after");
  await run(world.upload(chunkContent(env, text("garbage, damaged too"))));
  await run(world.replica.checkpoint());
  const clean = await run(lastOf(scrubber(world).scrub()));
  assert.equal(clean.damageCount, 0);
  assert.ok(clean.count > 6 && clean.size > 1_000);
  assert.deepEqual(clean.damagedBlobs, []);

  const listBytes = list.blobs.get(toHex(list.hash))?.bytes as Uint8Array;
  await run(damage(env, "chunks", text("shared by several files")));
  await run(damage(env, "chunks", listBytes));
  await run(damage(env, "chunks", text("garbage, damaged too")));
  const copies = new Map<string, NamedBlob>();
  const keep = (hash: Uint8Array, bytes: Uint8Array) =>
    copies.set(toHex(hash), { hash, blob: { size: bytes.length, compressed: false, bytes } });
  keep(list.hash, listBytes);
  const repair = async ({ hash }: { readonly hash: Uint8Array }) => {
    const copy = copies.get(toHex(hash));
    if (copy !== undefined) await world.chunks.putStored([copy]);
    return copy !== undefined;
  };
  const found = await run(lastOf(scrubber(world, repair).scrub()));
  assert.equal(found.damageCount, 3);
  const plain = found.damagedBlobs.map(({ store, hash, files, states, repaired }) => {
    const names = files.map(({ bucket, path, revision }) => `${bucket}:${new TextDecoder().decode(path)}@${revision}`);
    return [store, toHex(hash), names.length, names[0]?.split("@")[0], [...states].toSorted(), repaired] as const;
  });
  const everywhere = ["the present state", 'the snapshot "after"', 'the snapshot "before"'];
  assert.deepEqual(
    plain.toSorted((a, b) => b[2] - a[2] || (a[1] < b[1] ? -1 : 1)),
    [
      // What is below the damaged list is not known before that is repaired.
      ["chunks", toHex(shared.hash), 1, "photos:b", everywhere, false] as const,
      ["chunks", toHex(list.hash), 1, "photos:a", everywhere, true] as const,
    ].toSorted((a, b) => b[2] - a[2] || (a[1] < b[1] ? -1 : 1)),
  );
  keep(shared.hash, text("shared by several files"));
  const second = await run(lastOf(scrubber(world, repair).scrub()));
  const [left] = second.damagedBlobs;
  assert.deepEqual([second.damagedBlobs.length, left?.files.length, left?.repaired], [1, 2, true]);
  assert.deepEqual((await run(world.neededChunks())).missing, []);
  await run(world.close());
});

test("a snapshot that alone needs a chunk is named alone", async () => {
  const { env, run } = simulate("scrub snapshots");
  const world = await run(FileWorld.open(env));
  const settings = { keepMs: 0, keepCountMax: 0 };
  await run(world.propose(world.file({ case: "setBucket", value: { bucket: "b", settings, mustBeNew: false } })));
  const put = async (name: string, lease: bigint) => {
    await world.putFile("b", "file", chunkContent(env, text(`contents ${name}`)), lease);
    await world.propose(world.snapshot({ case: "create", value: { name } }));
    await world.replica.checkpoint();
  };
  await run(put("one", 1n));
  await run(put("two", 2n));
  await run(put("three", 3n));
  await run(damage(env, "chunks", text("contents two")));
  const { damagedBlobs } = await run(lastOf(scrubber(world).scrub()));
  assert.deepEqual(
    damagedBlobs.map(({ states, files, repaired }) => [states, files.length, repaired]),
    [[['the snapshot "two"'], 1, false]],
  );
  await run(world.close());
});

test("a damaged page is named by the states that have it", async () => {
  const { env, run } = simulate("scrub pages");
  const world = await run(FileWorld.open(env));
  for (let index = 0; index < 300; index++) await run(world.propose(world.key(`key ${index}`, "v".repeat(60))));
  await run(world.propose(world.snapshot({ case: "create", value: { name: "s" } })));
  const { rootHash } = await run(world.replica.checkpoint());
  const bytes = await run(world.pages.get(rootHash));
  // Packs compress pages: their records are found by their names.
  assert.ok(bytes !== undefined);
  await run(damage(env, "blobs", rootHash.subarray(8)));
  const asked: string[] = [];
  const repair: ScrubberParts["repair"] = async ({ store, hash }) => {
    asked.push(`${store} ${toHex(hash)}`);
    return false;
  };
  const { damagedBlobs, damageCount } = await run(lastOf(scrubber(world, repair).scrub()));
  assert.ok(damageCount > 0);
  assert.equal(damagedBlobs.length, asked.length);
  for (const { states } of damagedBlobs) assert.ok(states.includes("the present state"), states.join());
  await run(world.pages.put(rootHash, bytes));
  assert.equal((await run(lastOf(scrubber(world).scrub()))).damagedBlobs.length, 0);
  await run(world.close());
});

test("where it cannot be read which snapshots there are, damage is named and repaired all the same", async () => {
  const { env, run } = simulate("scrub names");
  const world = await run(FileWorld.open(env));
  const content = chunkContent(env, text("needed"));
  await run(world.putFile("b", "file", content, 1n));
  await run(world.propose(world.snapshot({ case: "create", value: { name: "s" } })));
  for (let index = 0; index < 300; index++) await run(world.propose(world.key(`key ${index}`, "v".repeat(60))));
  const { rootHash } = await run(world.replica.checkpoint());
  const bytes = await run(world.pages.get(rootHash));
  assert.ok(bytes !== undefined);
  await run(damage(env, "blobs", rootHash.subarray(8)));
  const { replica, pages, chunks } = world;
  const blind: ScrubberParts["replica"] = {
    lastCheckpoint: replica.lastCheckpoint,
    pinAt: (revision) => replica.pinAt(revision),
    snapshot: () => {
      const state = replica.snapshot();
      const tree = { ...state.tree, entries: unreadable } as unknown as typeof state.tree;
      return { ...state, tree };
    },
  };
  const repair: ScrubberParts["repair"] = async ({ hash }) => {
    if (toHex(hash) !== toHex(rootHash)) return false;
    await pages.put(rootHash, bytes);
    return true;
  };
  const lame = new Scrubber(env, { replica: blind, pages, chunks, repair }, { startMs: Number.POSITIVE_INFINITY });
  const { damagedBlobs } = await run(lastOf(lame.scrub()));
  const root = damagedBlobs.find(({ hash }) => toHex(hash) === toHex(rootHash));
  assert.deepEqual([root?.states, root?.repaired], [["the present state"], true]);
  assert.deepEqual((await run(lastOf(scrubber(world).scrub()))).damagedBlobs, []);
  await run(world.close());
});

test("rounds in the background keep to their rate, and end with the scrubber", async () => {
  const { env, run, simulator } = simulate("scrub rounds");
  const world = await run(FileWorld.open(env));
  for (let index = 0; index < 40; index++) {
    const bytes = env.random.bytes(20_000);
    await run(world.upload(chunkContent(env, bytes)));
  }
  const { replica, pages, chunks } = world;
  const rounds = new Scrubber(env, { replica, pages, chunks }, { rate: 100_000, startMs: 1_000, pauseMs: 60_000 });
  await simulator.advance(5_000);
  assert.equal(typeof rounds.last, "undefined", "800 kB take eight seconds");
  await simulator.advance(10_000);
  const { last } = rounds as { readonly last: ScrubProgress | undefined };
  assert.ok((last?.size ?? 0) > 800_000);
  const cancelled = assert.rejects(lastOf(rounds.scrub({ rate: 1_000 })), { code: "cancelled" });
  await simulator.advance(1_000);
  await run(rounds.close());
  await run(cancelled);
  const left = (async () => {
    for await (const { phase } of scrubber(world).scrub()) if (phase === "read chunks") break;
  })();
  await run(left);
  await run(world.close());
});
