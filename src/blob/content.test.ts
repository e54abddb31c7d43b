/** Trees of chunk lists: what they look like, what edits change, how damage is told, and walks over them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fromHex, HoldfastError, toHex } from "../base/index.ts";
import { checkContentRoot, ContentBuilder, contentDepthMax, decodeChunkList, encodeChunkList } from "./content.ts";
import { listCountMax, listCountMin } from "./content.ts";
import type { ContentChild, ContentRoot } from "./content.ts";
import { ContentWalker } from "./content-walker.ts";
import { digest } from "./content.suite.ts";

interface Built {
  readonly root: ContentRoot;
  readonly lists: Map<string, Uint8Array>;
  /** Lists emitted, also of the same hash. */
  readonly emitted: number;
}

function build(chunks: Iterable<ContentChild>): Built {
  const lists = new Map<string, Uint8Array>();
  let emitted = 0;
  const builder = new ContentBuilder((_level, bytes) => {
    const hash = digest.sha256(bytes);
    lists.set(toHex(hash), bytes);
    emitted += 1;
    return hash;
  });
  for (const chunk of chunks) builder.add(chunk);
  return { root: builder.end(), lists, emitted };
}

/** The chunk of this number: the same number, the same chunk. */
function chunk(number: number): ContentChild {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, number);
  return { hash: digest.sha256(bytes), size: 1 + (Math.abs(Math.trunc(number)) % 5_000) };
}

function chunks(count: number, from = 0): ContentChild[] {
  return Array.from({ length: count }, (_, index) => chunk(from + index));
}

/** All chunks below a root, in order, read from the lists. */
function read({ root, lists }: Built): ContentChild[] {
  const below = ({ hash, size }: ContentChild, level: number): ContentChild[] => {
    if (level === 0) return [{ hash: hash.slice(), size }];
    const children = decodeChunkList(lists.get(toHex(hash))!, hash, level, size);
    return children.flatMap((child) => below(child, level - 1));
  };
  return below(root, root.depth);
}

async function walk(
  { root, lists }: Built,
  walker = new ContentWalker({ get: async (hash) => lists.get(toHex(hash)) }),
): Promise<string[]> {
  const found: string[] = [];
  for await (const batch of walker.walk(root)) found.push(...batch.map(toHex));
  return found;
}

const corrupt = (error: unknown) => error instanceof HoldfastError && error.code === "corrupt";

test("any number of chunks comes back, without a level that is not needed", () => {
  for (const count of [1, 2, 31, 32, 33, 128, 512, 513, 5_000, 40_000]) {
    const all = chunks(count);
    const built = build(all);
    assert.deepEqual(read(built), all, String(count));
    assert.equal(
      built.root.size,
      all.reduce((sum, { size }) => sum + size, 0),
    );
    checkContentRoot(built.root);
    if (count === 1) assert.deepEqual(built.root, { ...all[0]!, depth: 0 });
    if (built.root.depth === 0) continue;
    const top = decodeChunkList(built.lists.get(toHex(built.root.hash))!, built.root.hash, built.root.depth, undefined);
    assert.ok(top.length > 1, `${count} chunks`);
  }
});

test("a level that ends where the file ends needs none above it", () => {
  // A chunk whose hash ends a list, and one whose hash does not.
  const ending = { hash: new Uint8Array(32), size: 5 };
  const going = { hash: new Uint8Array(32).fill(0xff), size: 7 };
  const exact = [...Array.from({ length: listCountMin - 1 }, () => going), ending];
  assert.equal(build(exact).root.depth, 1);
  assert.equal(build(exact).emitted, 1);
  const more = build([...exact, going]);
  assert.equal(more.root.depth, 2);
  assert.deepEqual(read(more).length, 33);
  // A list ends at its limit in any case, and a file of equal chunks has few different lists.
  const zeros = build(Array.from({ length: listCountMax * 40 }, () => going));
  assert.equal(zeros.root.depth, 2);
  assert.equal(zeros.lists.size, 2);
  assert.equal(zeros.emitted, 41);
});

test("a changed, added or removed chunk changes a path and now and then a neighbour", () => {
  const before = build(chunks(60_000));
  assert.equal(before.root.depth, 3);
  fc.assert(
    fc.property(fc.nat(59_999), fc.nat(3), fc.nat(3), (at, removed, added) => {
      const edited = chunks(60_000);
      edited.splice(at, removed, ...chunks(added, 1_000_000));
      const after = build(edited);
      const changed = [...after.lists.keys()].filter((hash) => !before.lists.has(hash));
      // A boundary that comes or goes makes a list two or two one, a forced one may move a few more; at each level.
      assert.ok(changed.length <= 15, `${changed.length} lists`);
    }),
    { numRuns: 4, seed: 4 },
  );
  const sizes = [...before.lists.values()].map((bytes) => (bytes.length - 8) / 40);
  const mean = 60_000 / sizes.length;
  assert.ok(mean > 90 && mean < 160, `${mean} children`);
});

test("the bytes of a list", () => {
  const bytes = encodeChunkList(2, [
    { hash: new Uint8Array(32).fill(0xaa), size: 5 },
    { hash: new Uint8Array(32).fill(0xbb), size: 2 ** 40 + 3 },
  ]);
  const golden = `4846464c01020200${"aa".repeat(32)}0500000000000000${"bb".repeat(32)}0300000000010000`;
  assert.equal(toHex(bytes), golden);
  const hash = digest.sha256(bytes);
  assert.deepEqual(
    decodeChunkList(fromHex(golden), hash, 2, 2 ** 40 + 8).map(({ size }) => size),
    [5, 2 ** 40 + 3],
  );
});

test("what is no list of the level and size is refused, and nothing else is thrown", () => {
  const all = chunks(40);
  const bytes = encodeChunkList(1, all);
  const size = all.reduce((sum, child) => sum + child.size, 0);
  const hash = digest.sha256(bytes);
  const set = (at: number, value: number) => bytes.with(at, value);
  const wrong: Uint8Array[] = [
    new Uint8Array(0),
    bytes.subarray(0, 7),
    bytes.subarray(0, 8),
    bytes.subarray(0, -1),
    Uint8Array.from([...bytes, 0]),
    set(0, 0),
    set(4, 2),
    set(5, 2),
    set(6, 41),
    set(6, 0),
    set(7, 255),
    set(40, bytes[40]! ^ 1),
    set(47, 0x20),
    set(44, 1),
  ];
  for (const bad of wrong) assert.throws(() => decodeChunkList(bad, hash, 1, size), corrupt);
  assert.throws(() => decodeChunkList(bytes, hash, 1, size + 1), corrupt);
  assert.throws(() => decodeChunkList(bytes, hash, 2, size), corrupt);
  const none = encodeChunkList(1, [{ hash, size: 1 }]);
  none[8 + 32] = 0;
  assert.throws(() => decodeChunkList(none, hash, 1, undefined), corrupt);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(5), (at, value, cut) => {
      try {
        decodeChunkList(bytes.with(at, value).subarray(0, bytes.length - cut), hash, 1, size);
      } catch (error) {
        assert.ok(corrupt(error));
      }
    }),
  );
});

test("roots that no file can have are refused", () => {
  const hash = new Uint8Array(32);
  const wrong: ContentRoot[] = [
    { hash: new Uint8Array(31), size: 5, depth: 0 },
    { hash, size: 0, depth: 0 },
    { hash, size: 2 ** 53, depth: 3 },
    { hash, size: 8_388_609, depth: 0 },
    { hash, size: 5, depth: contentDepthMax + 1 },
    { hash, size: 5, depth: -1 },
  ];
  for (const root of wrong) assert.throws(() => checkContentRoot(root), corrupt);
});

test("a walk names all lists and chunks, and reads each list once, also for several files", async () => {
  const first = build(chunks(30_000));
  const all = new Set([...first.lists.keys(), ...chunks(30_000).map(({ hash }) => toHex(hash))]);
  const found = await walk(first);
  assert.deepEqual(new Set(found), all);
  assert.equal(found.length, all.size);

  const second = build(chunks(20_000));
  const lists = new Map([...first.lists, ...second.lists]);
  const reads: string[] = [];
  const walker = new ContentWalker({
    get: async (hash) => {
      reads.push(toHex(hash));
      return lists.get(toHex(hash));
    },
  });
  const both = new Set([
    ...(await walk(first, walker)),
    ...(await walk(second, walker)),
    ...(await walk(second, walker)),
  ]);
  assert.deepEqual(both, new Set([...all, ...second.lists.keys()]));
  assert.equal(reads.length, new Set(reads).size);
  assert.equal(reads.length, lists.size);
  // A file of one chunk needs no reading.
  assert.deepEqual(await walk(build(chunks(1)), walker), [toHex(chunk(0).hash)]);
  assert.equal(reads.length, lists.size);
});

test("a file whose only chunk is the list of another file hides nothing of that one", async () => {
  const large = build(chunks(3_000));
  const root = toHex(large.root.hash);
  const walker = new ContentWalker({ get: async (hash) => large.lists.get(toHex(hash)) });
  const trap = { root: { hash: large.root.hash, size: 1_000, depth: 0 }, lists: large.lists, emitted: 0 };
  assert.deepEqual(await walk(trap, walker), [root]);
  assert.equal(new Set(await walk(large, walker)).size, 3_000 + large.lists.size);
});

test("a root of the wrong depth hides nothing from one of the right depth", async () => {
  const large = build(chunks(3_000));
  const told: string[] = [];
  const walker = new ContentWalker({
    get: async (hash) => large.lists.get(toHex(hash)),
    unreadable: (hash, { code }) => told.push(`${toHex(hash)} ${code}`),
  });
  const { hash, size, depth } = large.root;
  for (const wrong of [depth + 1, depth - 1]) {
    const trap = { root: { hash, size, depth: wrong }, lists: large.lists, emitted: 0 };
    if (wrong > 0) assert.deepEqual(await walk(trap, walker), [toHex(hash)]);
  }
  assert.deepEqual(new Set(told), new Set([`${toHex(hash)} corrupt`]));
  assert.equal(new Set(await walk(large, walker)).size, 3_000 + large.lists.size);
});

test("a walk over lists that are absent or damaged fails, or tells of them and goes on", async () => {
  const built = build(chunks(30_000));
  const names = [...built.lists.keys()].filter((name) => name !== toHex(built.root.hash));
  const absent = names[3]!;
  const wrong = names[7]!;
  const get = async (hash: Uint8Array) => {
    const name = toHex(hash);
    if (name === absent) return undefined;
    return name === wrong ? new Uint8Array(50) : built.lists.get(name);
  };
  await assert.rejects(walk(built, new ContentWalker({ get })), (error) => {
    return error instanceof HoldfastError && (error.code === "notFound" || error.code === "corrupt");
  });
  const told = new Map<string, string>();
  const found = new Set(
    await walk(built, new ContentWalker({ get, unreadable: (hash, error) => told.set(toHex(hash), error.code) })),
  );
  assert.deepEqual(Object.fromEntries(told), { [absent]: "notFound", [wrong]: "corrupt" });
  const lost = chunks(30_000).filter(({ hash }) => !found.has(toHex(hash))).length;
  assert.ok(lost >= 33 && lost <= 2 * listCountMax, `${lost} chunks`);
  const failing = new ContentWalker({
    get: async () => {
      throw new HoldfastError("unavailable", "no disk");
    },
    unreadable: () => {},
  });
  await assert.rejects(walk(built, failing), /no disk/);
});
