/** Fetching a state: all of it comes, only what is missing comes, and it may be cut anywhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import type { BlobSource, FoundBlob, Hash } from "../blob/index.ts";
import { silentLogger } from "../host/index.ts";
import { CountingBlobStore, Dice, env as treeEnv, hex, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { emptyTree, fetchTree, openTree, reachable, verify } from "./index.ts";
import type { TreeEdit, TreeRoot } from "./index.ts";

const env = { ...treeEnv, logger: silentLogger };
const seed = seedOf("fetch");

/** Another member's store. */
class StoreSource implements BlobSource {
  readonly name: string;
  readonly store: CountingBlobStore;
  givenCount = 0;
  /** What it pretends not to have; may throw. */
  lacks: (hash: string) => boolean = () => false;

  constructor(store: CountingBlobStore, name = "other") {
    this.store = store;
    this.name = name;
  }

  async *get(hashes: readonly Hash[], options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<FoundBlob> {
    for (const [index, hash] of hashes.entries()) {
      if (options.signal?.aborted === true) throw new HoldfastError("cancelled", "aborted");
      const bytes = this.lacks(hex(hash)) ? undefined : await this.store.get(hash);
      if (bytes === undefined) continue;
      this.givenCount++;
      yield { index, bytes };
    }
  }
}

function change(tree: TreeEdit, dice: Dice, count: number): void {
  for (let number = 0; number < count; number++) {
    const key = utf8(`key ${dice.roll(4_000)}`);
    const kind = dice.roll(20);
    if (kind === 0) tree.remove(key);
    else tree.set(key, dice.bytes(kind === 1 ? 2_049 + dice.roll(3_000) : dice.roll(100)));
  }
}

/** A store with a state of some thousands of entries, and its root. */
async function build(dice: Dice, count = 5_000): Promise<{ store: CountingBlobStore; tree: TreeEdit; root: TreeRoot }> {
  const store = new CountingBlobStore();
  const tree = await openTree(env, store, emptyTree(seed));
  change(tree, dice, count);
  return { store, tree, root: (await tree.flush()).root };
}

async function names(store: CountingBlobStore, root: TreeRoot): Promise<Set<string>> {
  const all = new Set<string>();
  for await (const hashes of reachable(store, root)) for (const hash of hashes) all.add(hex(hash));
  return all;
}

async function assertWhole(store: CountingBlobStore, root: TreeRoot): Promise<void> {
  const { problems } = await verify(env, store, root);
  assert.deepEqual(
    problems.map(({ what }) => what),
    [],
  );
}

test("the empty state needs nothing, and nobody", async () => {
  const local = new CountingBlobStore();
  assert.deepEqual(await fetchTree(env, local, emptyTree(seed), []), { blobCount: 0, size: 0 });
  assert.equal(local.getCount, 0);
});

test("a whole state comes, from one and from several, each blob once", async () => {
  const { store, root } = await build(new Dice(1));
  const count = (await names(store, root)).size;
  for (const sourceCount of [1, 3]) {
    const local = new CountingBlobStore();
    const sources = Array.from({ length: sourceCount }, (_, number) => new StoreSource(store, `other ${number}`));
    const seen: number[] = [];
    const progress = await fetchTree(env, local, root, sources, { progress: ({ blobCount }) => seen.push(blobCount) });
    assert.equal(progress.blobCount, count);
    assert.equal(local.putCount, count);
    assert.equal(seen.at(-1), count);
    assert.deepEqual(new Set(local.blobs.keys()), await names(store, root));
    for (const { givenCount } of sources) assert.ok(givenCount > 0);
    await assertWhole(local, root);
  }
});

test("of a state that is mostly here only what is missing comes", async () => {
  const dice = new Dice(2);
  const { store, tree, root: before } = await build(dice);
  const local = new CountingBlobStore();
  for (const [name, bytes] of store.blobs) local.blobs.set(name, bytes);
  change(tree, dice, 50);
  const { root } = await tree.flush();
  const missing = [...(await names(store, root))].filter((name) => !local.blobs.has(name));
  const source = new StoreSource(store);
  const { blobCount } = await fetchTree(env, local, root, [source]);
  assert.equal(blobCount, missing.length);
  assert.equal(source.givenCount, missing.length);
  await assertWhole(local, root);
  await assertWhole(local, before);
  // And of one that is all here, nothing.
  assert.equal((await fetchTree(env, local, root, [])).blobCount, 0);
});

test("a page that is here proves nothing about what is below it", async () => {
  const { store, root } = await build(new Dice(3));
  for (let round = 0; round < 10 * scale; round++) {
    const dice = new Dice(100 + round);
    const local = new CountingBlobStore();
    const share = dice.roll(100);
    for (const [name, bytes] of store.blobs) if (dice.roll(100) < share) local.blobs.set(name, bytes);
    const missing = store.blobs.size - local.blobs.size;
    const { blobCount } = await fetchTree(env, local, root, [new StoreSource(store)]);
    assert.equal(blobCount, missing, `round ${round}`);
    await assertWhole(local, root);
  }
});

test("damaged pages are put again", async () => {
  const { store, root } = await build(new Dice(4));
  const local = new CountingBlobStore();
  for (const [name, bytes] of store.blobs) local.blobs.set(name, bytes.slice());
  // The root is read, so its damage is seen.
  const bytes = local.blobs.get(hex(root.hash as Uint8Array)) as Uint8Array;
  bytes[70] = (bytes[70] as number) ^ 4;
  assert.equal((await fetchTree(env, local, root, [new StoreSource(store)])).blobCount, 1);
  await assertWhole(local, root);
});

test("each source has a part, one fails, and one lies", async () => {
  const { store, root } = await build(new Dice(5));
  const sources = [0, 1, 2].map((part) => {
    const source = new StoreSource(store, `part ${part}`);
    source.lacks = (name) => Number.parseInt(name.slice(0, 2), 16) % 3 === part;
    return source;
  });
  const failing = new StoreSource(store, "failing");
  failing.lacks = () => {
    throw new HoldfastError("unavailable", "away");
  };
  const liar = new StoreSource(store, "liar");
  liar.lacks = () => {
    throw new HoldfastError("corrupt", "other bytes");
  };
  const local = new CountingBlobStore();
  await fetchTree(env, local, root, [failing, liar, ...sources]);
  await assertWhole(local, root);
});

test("cut again and again it gets on, and nothing that has come comes again", async () => {
  const { store, root } = await build(new Dice(6));
  const local = new CountingBlobStore();
  const count = (await names(store, root)).size;
  let cuts = 0;
  for (const dice = new Dice(7); ; cuts++) {
    const controller = new AbortController();
    const before = local.blobs.size;
    let left = 1 + dice.roll(Math.ceil(count / 6));
    local.beforePut = () => {
      if (--left === 0) controller.abort();
    };
    const source = new StoreSource(store);
    source.lacks = (name) => {
      assert.ok(!local.blobs.has(name), "asked for a blob that is here");
      return false;
    };
    try {
      const { blobCount } = await fetchTree(env, local, root, [source], { signal: controller.signal });
      assert.equal(blobCount, count - before);
      break;
    } catch (error) {
      assert.ok(error instanceof HoldfastError && error.code === "cancelled", String(error));
      const settled = local.putCount;
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(local.putCount, settled, "something is put after the end");
      assert.ok(local.blobs.size > before);
    }
  }
  assert.ok(cuts > 3);
  assert.equal(local.putCount, count);
  await assertWhole(local, root);
});

test("a page that nobody has: not found, and what has come stays", async () => {
  const dice = new Dice(8);
  const { store, tree, root } = await build(dice);
  const whole = await names(store, root);
  const absent = [...whole][Math.floor(whole.size / 2)] as string;
  const source = new StoreSource(store);
  source.lacks = (name) => name === absent;
  const local = new CountingBlobStore();
  await assert.rejects(fetchTree(env, local, root, [source]), (error) => {
    assert.ok(error instanceof HoldfastError && error.code === "notFound", String(error));
    assert.match(error.message, new RegExp(absent));
    return true;
  });
  const came = local.blobs.size;
  assert.ok(came > 0);
  // A later state, most of which is here by now.
  change(tree, dice, 20);
  const { root: later } = await tree.flush();
  const { blobCount } = await fetchTree(env, local, later, [new StoreSource(store)]);
  assert.ok(blobCount < (await names(store, later)).size);
  await assertWhole(local, later);
});

test("a failing local store ends it with the store's error", async () => {
  const { store, root } = await build(new Dice(9), 1_000);
  const local = new CountingBlobStore();
  local.beforePut = () => {
    if (local.putCount > 20) throw new HoldfastError("exhausted", "the disk is full");
  };
  await assert.rejects(
    fetchTree(env, local, root, [new StoreSource(store)]),
    (error) => error instanceof HoldfastError && error.code === "exhausted",
  );
  local.beforeGet = () => {
    throw new HoldfastError("unavailable", "closed");
  };
  await assert.rejects(
    fetchTree(env, local, root, [new StoreSource(store)]),
    (error) => error instanceof HoldfastError && error.code === "unavailable" && error.message === "closed",
  );
});

test("the pages of another tree are corrupt, and not kept", async () => {
  const { store, root } = await build(new Dice(10), 1_000);
  const local = new CountingBlobStore();
  const foreign = { ...root, seed: seedOf("another") };
  await assert.rejects(
    fetchTree(env, local, foreign, [new StoreSource(store)]),
    (error) => error instanceof HoldfastError && error.code === "corrupt" && /another seed/.test(error.message),
  );
  assert.equal(local.blobs.size, 0);
});
