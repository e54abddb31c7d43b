/** Files and snapshots of a cluster: what is put at one member is whole at every other, whoever is away or damaged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "../../base/index.ts";
import { Prng } from "../../sim/index.ts";
import { rejects, World } from "./world.suite.ts";

const sizes = { chunkSizeMin: 4_096, chunkSizeAverage: 8_192, chunkSizeMax: 16_384 };
const trio = ["a", "b", "c"] as const;

class Files {
  readonly world: World;

  constructor(seed: string) {
    this.world = new World(seed);
  }

  async open(): Promise<void> {
    await this.world.found(trio);
    await this.world.run(this.#store("a").buckets.create("f", sizes));
  }

  #store(name: string) {
    return this.world.member(name).store;
  }

  put(name: string, path: string, bytes: Uint8Array) {
    return this.#store(name).files("f").put(path, bytes);
  }

  async read(name: string, path: string, at?: number): Promise<Uint8Array | undefined> {
    const store = this.#store(name);
    const files = at === undefined ? store.files("f") : store.at(at).files("f");
    return (await files.get(path))?.bytes();
  }

  /** Names of the chunks that the member itself has. */
  async own(name: string): Promise<string> {
    const hashes: string[] = [];
    for await (const { hash } of this.#store(name).ownChunks.list()) hashes.push(toHex(hash));
    return hashes.toSorted().join();
  }

  async collect(name: string): Promise<void> {
    for await (const _ of this.#store(name).collect()) continue;
  }

  async same(names: readonly string[]): Promise<void> {
    await this.world.until(async () => {
      const all = new Set(await Promise.all(names.map((name) => this.own(name))));
      return all.size === 1 && !all.has("");
    }, "the members have not the same chunks");
  }
}

function content(seed: string, size = 100_000): Uint8Array {
  return new Prng(seed).bytes(size);
}

function reads(actual: Uint8Array | undefined, expected: Uint8Array, what: string): void {
  assert.ok(actual !== undefined && Buffer.compare(actual, expected) === 0, what);
}

test("a file put at any member is whole at every member, also when the one that took it is gone", async () => {
  const files = new Files("everywhere");
  const { world } = files;
  await files.open();
  for (const name of trio) await world.run(files.put(name, `of ${name}`, content(name)));
  for (const at of trio) {
    for (const name of trio) reads(await world.run(files.read(at, `of ${name}`)), content(name), `${name} at ${at}`);
  }
  await files.same(trio);
  await world.run(files.put("a", "last", content("last")));
  world.crash("a");
  for (const at of ["b", "c"]) reads(await world.run(files.read(at, "last")), content("last"), at);
  await world.close();
});

test("a member that was down gets by itself what was put meanwhile", async () => {
  const files = new Files("down");
  const { world } = files;
  await files.open();
  world.crash("c");
  for (let count = 0; count < 3; count++) await world.run(files.put("b", `${count}`, content(`${count}`)));
  await world.run(world.start("c"));
  await files.same(trio);
  // What was asked of nobody is here.
  world.crash("b");
  for (let count = 0; count < 3; count++) reads(await world.run(files.read("c", `${count}`)), content(`${count}`), "c");
  await world.close();
});

test("without a majority a put is unavailable; when that is back it can be repeated", async () => {
  const files = new Files("minority");
  const { world } = files;
  await files.open();
  // So that there is an upload, and only chunks are in the way.
  await world.run(files.put("a", "before", content("before")));
  world.crash("b");
  world.crash("c");
  await rejects(
    world.run(world.member("a").store.chunks.putStored([chunk("lost")])),
    "unavailable",
    /too few of the 2 other members/,
  );
  await world.run(Promise.all([world.start("b"), world.start("c")]));
  await world.settled();
  await world.run(files.put("a", "again", content("again")));
  // The first one has what nobody else took.
  await files.same(["b", "c"]);
  world.crash("a");
  reads(await world.run(files.read("c", "again")), content("again"), "again");
  await world.close();
});

function chunk(seed: string) {
  const bytes = content(seed, 5_000);
  const hash = new World(seed).simulator.machine("x").env.digest.sha256(bytes);
  return { hash, blob: { size: bytes.length, compressed: false, bytes } };
}

test("a damaged chunk comes from another member and is repaired", async () => {
  const files = new Files("damage");
  const { world } = files;
  await files.open();
  await world.run(files.put("a", "one", content("one")));
  await files.same(trio);
  const { disk } = world.simulator.machine("c");
  let flipped = 0;
  for (const path of disk.files().filter((one) => one.startsWith("chunks/"))) {
    const size = disk.contents(path)?.length ?? 0;
    for (let at = 5_000; at < size; at += 30_000) {
      disk.flipBit(path, 8 * at);
      flipped++;
    }
  }
  assert.ok(flipped > 2);
  reads(await world.run(files.read("c", "one")), content("one"), "with damage");
  world.crash("a");
  world.crash("b");
  const local = world.member("c").store.ownChunks;
  const get = async () => {
    for await (const { hash } of local.list()) assert.ok((await local.get(hash)) !== undefined);
  };
  await world.run(get());
  await world.run(Promise.all([world.start("a"), world.start("b")]));
  await world.close();
});

test("a damaged page comes from another member when the store is scrubbed", async () => {
  const files = new Files("page");
  const { world } = files;
  await files.open();
  for (let count = 0; count < 60; count++) await world.put("a", `k${count}`, `${count} `.repeat(300));
  await world.until(
    async () => (await files.own("c")) !== undefined && world.member("c").store.replica.applied > 60,
    "it lags",
  );
  for (const name of trio) await world.run(world.member(name).store.checkpoint());
  const { disk } = world.simulator.machine("c");
  const packs = disk.files().filter((one) => one.startsWith("blobs/") && one.endsWith(".pack"));
  for (const path of packs) disk.flipBit(path, 8 * Math.floor((disk.contents(path)?.length ?? 0) / 2));
  const scrub = async () => {
    let damaged: readonly { readonly store: string; readonly repaired: boolean }[] = [];
    for await (const progress of world.member("c").store.scrub()) damaged = progress.damagedBlobs;
    return damaged;
  };
  const found = await world.run(scrub());
  assert.ok(
    found.some(({ store }) => store === "pages"),
    "a page is damaged",
  );
  assert.ok(
    found.every(({ repaired }) => repaired),
    "all are repaired",
  );
  // They are here, and durable.
  world.crash("c");
  await world.run(world.start("c"));
  await world.settled();
  assert.deepEqual(await world.run(scrub()), []);
  await world.close();
});

test("a member in the place of a lost one gets all chunks and snapshots", async () => {
  const files = new Files("replaced");
  const { world } = files;
  await files.open();
  await world.run(files.put("a", "one", content("one", 300_000)));
  const first = await world.run(world.member("a").store.snapshot("first"));
  await world.run(files.put("b", "one", content("two")));
  await world.run(world.member("b").store.files("f").delete("one"));
  await world.run(files.put("b", "other", content("other")));
  for (let count = 0; count < 100; count++) await world.put("a", `k${count}`, "x".repeat(1_000));
  for (const name of trio) await world.run(world.member(name).store.checkpoint());
  await world.wipe("c");
  await world.run(world.start("c", { name: "c2", join: ["a:1"], replace: "c" }));
  await world.until(async () => {
    const { members } = await world.member("a").store.members.list();
    return members.some(({ name, role }) => name === "c2" && role === "voter");
  }, "c2 does not vote");
  await files.same(["a", "b", "c"]);
  await world.until(async () => {
    const { pins } = world.member("c").store.replica;
    return pins.toFetch().length === 0;
  }, "the snapshot is not here");
  world.crash("a");
  reads(await world.run(files.read("c", "one", first.revision)), content("one", 300_000), "in the snapshot");
  reads(await world.run(files.read("c", "other")), content("other"), "now");
  const roots: string[] = [];
  for (const name of ["b", "c"]) {
    const listed = world.member(name).store.localSnapshots.snapshots({ consistency: "local" });
    const [snapshot] = await world.run(listed);
    assert.equal(snapshot?.sealed, true);
    roots.push(toHex(snapshot.rootHash));
  }
  assert.equal(roots[0], roots[1]);
  await world.close();
});

test("members collect while files are put through others, and in the end have what is needed and nothing else", async () => {
  const files = new Files("collecting");
  const { world } = files;
  await files.open();
  const set = { chunkSizeMin: 4_096, chunkSizeAverage: 8_192, chunkSizeMax: 16_384, keepMs: 0, keepCountMax: 0 };
  await world.run(world.member("a").store.buckets.set("f", set));
  const random = new Prng("collecting");
  for (let round = 0; round < 8; round++) {
    const works = trio.flatMap((name) => [
      files.put(name, `p${random.below(4)}`, content(`c${random.below(3)}`)),
      files.collect(name).catch(() => {}),
    ]);
    await world.run(Promise.all(random.shuffle(works)));
  }
  for (const name of trio) {
    for (let count = 0; count < 4; count++) {
      const record = await world.run(world.member("a").store.files("f").stat(`p${count}`));
      if (record !== undefined) assert.equal((await world.run(files.read(name, `p${count}`)))?.length, 100_000);
    }
  }
  await world.run(world.member("a").store.files("f").delete({ prefix: "" }));
  await world.run(files.put("b", "last", content("last")));
  const needed = new Set<number>();
  await world.until(async () => {
    for (const name of trio) {
      await files.collect(name).catch(() => {});
      needed.add((await files.own(name)).split(",").length);
    }
    const counts = await Promise.all(trio.map(async (name) => (await files.own(name)).split(",").length));
    return counts.every((count) => count < 30);
  }, "garbage stays");
  for (const name of trio) reads(await world.run(files.read(name, "last")), content("last"), name);
  await files.same(trio);
  await world.close();
});

test("a member that closes waits for no chunks of others that do not answer", async () => {
  const files = new Files("closing");
  const { world } = files;
  await files.open();
  await world.run(files.put("a", "one", content("one")));
  const network = world.simulator.network;
  network.block("a", "b");
  network.block("a", "c");
  const { store } = world.member("a");
  const put = store.chunks.putStored([chunk("never")]);
  const get = store.chunks.getStored(chunk("absent").hash);
  let endedMs = Number.POSITIVE_INFINITY;
  const both = Promise.allSettled([put, get]).finally(() => (endedMs = world.simulator.nowMs));
  await world.simulator.advance(100);
  assert.equal(endedMs, Number.POSITIVE_INFINITY, "they wait");
  const beganMs = world.simulator.nowMs;
  await world.run(world.member("a").close({ graceMs: 0 }));
  for (const one of await world.run(both)) assert.equal(one.status === "rejected" && one.reason.code, "unavailable");
  assert.ok(endedMs - beganMs < 100, `${endedMs - beganMs} ms`);
  assert.ok(world.simulator.nowMs - beganMs < 3_000, `${world.simulator.nowMs - beganMs} ms`);
  world.members.delete("a");
  network.heal();
  await world.close();
});
