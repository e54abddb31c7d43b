/** Collections: what stays, what goes, and what may happen meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, toHex } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { EpochBook } from "./collector-epochs.ts";
import {
  bucket,
  chunkContent,
  exactlyReachable,
  FileWorld,
  listContent,
  randomContent,
  remove,
  scene,
  settle,
  text,
} from "./collector.suite.ts";
import type { TestContent } from "./collector.suite.ts";
import { Collector } from "./collector.ts";

const keepNothing = { keepMs: 0, keepCountMax: 0 };

test("what nothing names goes, and a dry run says so before", async () => {
  const { world, run, env } = await scene("garbage");
  await run(bucket(world, keepNothing));
  const a = chunkContent(env, text("a".repeat(100)));
  const shared = chunkContent(env, text("s".repeat(50)));
  const list = listContent(env, [a, shared]);
  await run(world.putFile("b", "list", list, 1n));
  await run(world.putFile("b", "shared", shared, 2n));
  await run(world.upload(chunkContent(env, text("never named"))));
  await run(settle(world));
  const before = await run(world.chunksHere());
  const dry = await run(world.collect({ dryRun: true }));
  assert.equal(dry.chunks.sweptCount, 1);
  assert.ok(dry.chunks.sweptSize >= 11);
  assert.equal(dry.chunks.markedCount, 3);
  assert.deepEqual(await run(world.chunksHere()), before);
  const done = await run(world.collect());
  assert.deepEqual(done.chunks, { ...dry.chunks });
  assert.equal(done.missingCount, 0);
  await run(exactlyReachable(world));
  await run(remove(world, "list"));
  assert.equal((await run(world.collect())).chunks.sweptCount, 2, "two checkpoints are taken that do not know it");
  await run(exactlyReachable(world));
  assert.deepEqual(await run(world.chunksHere()), new Set([toHex(shared.hash)]));
  await run(world.close());
});

test("versions and snapshots keep chunks, and give them back", async () => {
  const { world, run, env } = await scene("versions");
  await run(bucket(world, { keepMs: 3_600_000, keepCountMax: 10 }));
  const contents = ["one", "two", "three"].map((each) =>
    listContent(env, [chunkContent(env, text(each)), chunkContent(env, text("x"))]),
  );
  for (const [index, content] of contents.entries()) {
    await run(world.putFile("b", "file", content, BigInt(index + 1)));
    if (index === 1) await run(world.propose(world.snapshot({ case: "create", value: { name: "second" } })));
  }
  await run(settle(world));
  assert.equal((await run(world.collect())).chunks.sweptCount, 0, "two versions of the past");
  await run(bucket(world, keepNothing));
  await run(remove(world, "file"));
  const outcome = await run(world.propose(world.file({ case: "sweep", value: { limit: 100, bucket: "b" } })));
  assert.ok(outcome.ok);
  await run(settle(world));
  assert.equal((await run(world.collect())).chunks.sweptCount, 2, "the snapshot has the first as a version, too");
  assert.deepEqual((await run(world.neededChunks())).missing, []);
  const deletion = { case: "delete", value: { snapshots: [{ name: "second", revision: 0, lenient: false }] } } as const;
  await run(world.propose(world.snapshot(deletion)));
  await run(settle(world));
  await run(world.collect());
  assert.deepEqual(await run(world.chunksHere()), new Set());
  await run(exactlyReachable(world));
  await run(world.close());
});

test("an upload keeps what it has put or found, also over a collection that began right after it", async () => {
  const { world, run, env } = await scene("upload");
  const content = listContent(env, [chunkContent(env, text("old")), chunkContent(env, text("new"))]);
  const old = chunkContent(env, text("old"));
  await run(world.upload(old));
  await run(settle(world));
  await run(world.beginUpload(7n));
  await run(world.upload(content));
  // Both begin at the revision of the upload: neither may go below the epoch before.
  const first = await run(world.collect());
  assert.equal(first.uploadCount, 1);
  await run(world.collect());
  assert.equal((await run(world.chunksHere())).size, 3);
  const put = await run(world.propose(world.put("b", "file", content, 7n)));
  assert.ok(put.ok);
  await run(world.propose(world.revoke(7n)));
  await run(settle(world));
  await run(world.collect());
  await run(exactlyReachable(world));
  assert.equal((await run(world.chunksHere())).size, 3);
  await run(world.close());
});

test("uploads from before a start keep everything; the bound follows them as they end", async () => {
  const { world, run, env, machine } = await scene("restart");
  await run(world.beginUpload(7n));
  await run(world.upload(chunkContent(env, text("uploaded"))));
  await run(world.close());
  machine.crash();
  const again = await run(FileWorld.open(machine.restart()));
  await run(again.upload(chunkContent(env, text("garbage of this run"))));
  await run(settle(again));
  assert.equal((await run(again.collect())).chunks.sweptCount, 0);
  await run(settle(again));
  await run(again.beginUpload(8n));
  await run(again.upload(chunkContent(env, text("of the second"))));
  assert.equal((await run(again.collect())).chunks.sweptCount, 0, "the first one holds up the rest");
  await run(again.propose(again.revoke(7n)));
  const swept = (await run(again.collect())).chunks.sweptCount;
  assert.equal(swept, 2, "what is older than the second");
  await run(again.propose(again.revoke(8n)));
  assert.equal((await run(again.collect())).chunks.sweptCount, 1);
  await run(again.close());
});

test("an epoch that began at the revision of an upload is no bound for it", () => {
  const book = new EpochBook();
  book.began(2, 10);
  book.began(3, 20);
  assert.equal(book.bound([25, 21]), 3);
  const other = new EpochBook();
  other.began(2, 10);
  other.began(3, 20);
  assert.equal(other.bound([20, 30]), 2);
  assert.equal(other.bound([]), Number.POSITIVE_INFINITY);
  const fresh = new EpochBook();
  fresh.began(2, 0);
  assert.equal(fresh.bound([1]), 2);
});

test("the bytes of a list as a chunk, and a false depth, hide nothing from the marking", async () => {
  const { world, run, env } = await scene("lists");
  await run(bucket(world, keepNothing));
  const list = listContent(env, [chunkContent(env, text("below")), chunkContent(env, text("below too"))]);
  const bytes = list.blobs.get(toHex(list.hash))?.bytes as Uint8Array;
  // Files come in the order of their names: these two before the one that has the chunks.
  await run(world.putFile("b", "a", chunkContent(env, bytes), 1n));
  const wrong: TestContent = { ...list, depth: 2 };
  await run(world.putFile("b", "b", wrong, 2n));
  await run(world.putFile("b", "c", list, 3n));
  await run(settle(world));
  const done = await run(world.collect());
  assert.equal((await run(world.chunksHere())).size, 3);
  assert.deepEqual(
    done.missing.map(({ hash, file }) => [toHex(hash), file?.bucket, new TextDecoder().decode(file?.path)]),
    [[toHex(list.hash), "b", "b"]],
    "the file that cannot be read is named",
  );
  assert.equal(done.kept, undefined, "its bytes say nothing, here or elsewhere");
  await run(world.close());
});

test("a missing chunk is named and repaired; a missing list holds up the sweep of chunks until it is", async () => {
  const asked: string[] = [];
  const repaired = new Map<string, Uint8Array>();
  const worlds: FileWorld[] = [];
  const repair = async ({ hash }: { readonly hash: Uint8Array }) => {
    asked.push(toHex(hash));
    const bytes = repaired.get(toHex(hash));
    if (bytes === undefined) return false;
    await worlds[0]?.chunks.putStored([{ hash, blob: { size: bytes.length, compressed: false, bytes } }]);
    return true;
  };
  const { world, run, env } = await scene("missing", { repair });
  worlds.push(world);
  await run(bucket(world, keepNothing));
  const parts = [chunkContent(env, text("one")), chunkContent(env, text("two"))];
  const list = listContent(env, parts);
  await run(world.putFile("b", "file", list, 1n));
  await run(world.upload(chunkContent(env, text("garbage"))));
  await run(settle(world));
  const one = parts[0] as TestContent;
  await run(world.chunks.delete([one.hash]));
  const first = await run(world.collect({ dryRun: true }));
  assert.deepEqual(
    first.missing.map(({ hash, where }) => [toHex(hash), where]),
    [[toHex(one.hash), "the present state"]],
  );
  assert.equal(first.kept, undefined);
  assert.equal(first.chunks.sweptCount, 1, "a chunk hides nothing");
  assert.deepEqual(asked, []);
  await run(world.chunks.delete([list.hash]));
  const second = await run(world.collect());
  assert.match(second.kept ?? "", /the chunk list of b:file of revision \d+ \(the present state\) is missing/);
  assert.equal(second.chunks.sweptCount, 0);
  assert.deepEqual(asked, [toHex(list.hash)]);
  for (const { hash, bytes } of list.blobs.values()) repaired.set(toHex(hash), bytes);
  await run(world.collect());
  const third = await run(world.collect());
  assert.equal(third.chunks.sweptCount, 1);
  assert.equal((await run(world.collect())).missingCount, 0);
  await run(exactlyReachable(world));
  await run(world.close());
});

test("a damaged page of a kept state: nothing is deleted, and the state is named", async () => {
  const { world, run, env } = await scene("damaged");
  for (let index = 0; index < 400; index++) await run(world.propose(world.key(`key ${index}`, "v".repeat(60))));
  await run(world.upload(chunkContent(env, text("garbage"))));
  await run(settle(world));
  const root = world.replica.lastCheckpoint.rootHash;
  const [needed, here] = await run(world.pagesNeededAndHere());
  const [leaf] = [...needed].filter((name) => name !== toHex(root));
  await run(world.pages.delete([Uint8Array.from(Buffer.from(leaf as string, "hex"))]));
  await assert.rejects(run(world.collect()), { code: "notFound", message: /position \d+ cannot be read as a whole/ });
  assert.equal((await run(world.chunksHere())).size, 1);
  assert.equal((await run(world.pagesNeededAndHere()).catch(() => [needed, here]))[1].size, here.size);
  await run(world.close());
});

test("whoever holds the blobs ends a collection, and none begins meanwhile", async () => {
  const { world, run, env } = await scene("hold");
  await run(bucket(world, keepNothing));
  for (let index = 0; index < 30; index++) {
    await run(world.putFile("b", `f${index}`, randomContent(env, new Prng(index)), BigInt(index + 1)));
  }
  await run(settle(world));
  const seen: string[] = [];
  const collecting = (async () => {
    for await (const { phase } of world.collector.collect()) seen.push(phase);
  })();
  const refused = assert.rejects(collecting, { code: "unavailable", message: /taken over from other members/ });
  const release = await run(
    (async () => {
      while (!seen.includes("mark chunks")) await new Promise<void>((resolve) => env.clock.defer(resolve));
      return world.replica.holdBlobs();
    })(),
  );
  await run(refused);
  await assert.rejects(run(world.collect()), { code: "unavailable" });
  release();
  await run(world.collect());
  await run(exactlyReachable(world));
  await run(world.close());
});

test("a member that cannot know what was acknowledged elsewhere does not collect", async () => {
  const { world, run, env } = await scene("cut off");
  await run(world.upload(chunkContent(env, text("garbage, or of an upload that is not applied here yet"))));
  const { replica, pages, chunks } = world;
  const cutOff = {
    linearize: () => Promise.reject(new HoldfastError("unavailable", "no majority is in reach")),
    beginCollection: () => assert.fail("a collection begins"),
    snapshot: () => replica.snapshot(),
    checkpoint: () => assert.fail("a checkpoint is taken"),
    propose: () => assert.fail("something is proposed"),
    revision: replica.revision,
    applied: replica.applied,
    leftCount: 0,
  };
  const options = { startMs: Number.POSITIVE_INFINITY };
  const collector = new Collector(env, { replica: cutOff, pages, chunks }, options);
  await assert.rejects(run(collector.collect().next()), { code: "unavailable", message: /no majority/ });
  assert.equal((await run(world.chunksHere())).size, 1);
  await run(collector.close());
  await run(world.close());
});

test("leaving the loop, a signal and closing end it", async () => {
  const { world, run } = await scene("ends");
  await run(settle(world));
  await run(
    (async () => {
      for await (const { phase } of world.collector.collect()) if (phase === "mark pages") break;
    })(),
  );
  await assert.rejects(run(world.collect({ signal: AbortSignal.abort() })), { code: "cancelled" });
  await run(world.collect());
  const last = assert.rejects(world.collect(), { code: "cancelled" });
  await run(world.collector.close());
  await run(last);
  await run(world.close());
});

test("collections begin by themselves, when there is reason to, and not for ever", async () => {
  const { world, run, env, simulator } = await scene("by itself");
  await run(bucket(world, keepNothing));
  let count = 0;
  const { replica, pages, chunks } = world;
  const counting = {
    beginCollection: (stores: Parameters<typeof replica.beginCollection>[0]) => {
      count++;
      return replica.beginCollection(stores);
    },
    linearize: () => replica.linearize(),
    snapshot: () => replica.snapshot(),
    checkpoint: () => replica.checkpoint(),
    propose: (...command: Parameters<typeof replica.propose>) => replica.propose(...command),
    get applied() {
      return replica.applied;
    },
    get revision() {
      return replica.revision;
    },
    get leftCount() {
      return replica.leftCount;
    },
  };
  const collector = new Collector(env, { replica: counting, pages, chunks });
  const hour = 3_600_000;
  await run(world.putFile("b", "file", chunkContent(env, text("file")), 1n));
  // Each begins anew when checkpoints were taken for it.
  await simulator.advance(hour / 4);
  assert.equal(count, 2, "a while after the start");
  const { applied } = replica;
  await simulator.advance(24 * hour);
  assert.equal(count, 2, "nothing has happened");
  assert.equal(replica.applied, applied);
  await run(world.propose(world.key("a", "b")));
  await simulator.advance(hour);
  assert.equal(count, 4, "any change is a reason after so long");
  await run(world.propose(world.key("a", "c")));
  await simulator.advance(hour);
  assert.equal(count, 4, "but not soon");
  await run(remove(world, "file"));
  await simulator.advance(hour);
  assert.equal(count, 6, "a version was forgotten");
  assert.equal((await run(world.chunksHere())).size, 0);
  for (let index = 0; index < 60; index++) {
    await run(world.beginUpload(100n + BigInt(index)));
    await simulator.advance(60_000);
  }
  assert.ok(count >= 8 && count <= 20, `${String(count)} in an hour of uploads`);
  await run(collector.close());
  await run(world.close());
});
