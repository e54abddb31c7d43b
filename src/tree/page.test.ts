/** Pages in bytes: decoding trusts nothing, and what it accepts encodes to the same bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, limits } from "../base/index.ts";
import { CountingBlobStore, Dice, env, hex, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { encodeLargeValue, hashText, parseLargeValue, parsePage } from "./format.ts";
import { emptyTree, openTree } from "./index.ts";
import { LargeValue, Page } from "./page.ts";

const seed = seedOf("pages");

/** Some real pages: leaves with and without large values, inner pages of two heights. */
async function realPages(): Promise<Uint8Array[]> {
  const store = new CountingBlobStore();
  const tree = await openTree(env, store, emptyTree(seed));
  const dice = new Dice(5);
  for (let i = 0; i < 3_000; i++) tree.set(utf8(`key/${i}`), dice.bytes(dice.roll(i % 50 === 0 ? 3_000 : 20)));
  await tree.flush();
  return [...store.blobs.values()];
}

/** What decoding makes of it; undefined when it refuses, which it does by `corrupt` and by nothing else. */
function decode(bytes: Uint8Array): Page | undefined {
  const page = Page.stored("", -1, -1, -1, -1);
  try {
    page.accept(bytes, seed);
    return page;
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.code === "corrupt", String(error));
    return undefined;
  }
}

/** A decoded page stands every read, and encodes to what it was made from. */
function checkReads(page: Page, bytes: Uint8Array): void {
  for (let index = 0; index < page.slots.length; index++) {
    const key = page.keyAt(index);
    if (index > 0 || page.level === 0) assert.equal(page.search(key), index);
    if (page.level === 0)
      assert.equal(page.valueAt(index).length, page.largeAt(index) === undefined ? page.valueSizeAt(index) : 0);
  }
  assert.equal(page.encodedSize, bytes.length);
  const hostileTotals = page.children.some(
    ({ dataSize, entryCount }) => dataSize + entryCount > Number.MAX_SAFE_INTEGER,
  );
  if (!hostileTotals) assert.equal(hex(page.copy(1).encode(seed)), hex(bytes));
}

test("random bytes, with and without a good header, never do worse than `corrupt`", () => {
  const dice = new Dice(1);
  for (let i = 0; i < 20_000 * scale; i++) {
    const bytes = dice.bytes(dice.roll(200));
    if (i % 4 > 0 && bytes.length > 26) {
      bytes.set([0x48, 0x46, 0x54, 0x50, 1, dice.roll(8), dice.roll(4), 0, 0, 0]);
      bytes.set(seed, 10);
    }
    // Small key sizes, so that it comes further.
    if (i % 4 > 1) for (let at = 27; at < bytes.length; at += 1 + dice.roll(3)) bytes[at] = 0;
    const page = decode(bytes);
    if (page !== undefined) checkReads(page, bytes);
    try {
      parseLargeValue(bytes, seed);
    } catch (error) {
      assert.ok(error instanceof HoldfastError && error.code === "corrupt", String(error));
    }
  }
});

test("real pages, damaged: refused, or read safely and encoded to the same bytes", async () => {
  const dice = new Dice(2);
  const pages = (await realPages()).filter((bytes) => bytes[3] === 0x50);
  let acceptedCount = 0;
  for (let i = 0; i < 10_000 * scale; i++) {
    let bytes = pages[dice.roll(pages.length)]!.slice();
    const kind = dice.roll(4);
    if (kind === 0) bytes = bytes.slice(0, dice.roll(bytes.length));
    else if (kind === 1) bytes = Buffer.concat([bytes, dice.bytes(1 + dice.roll(40))]);
    else
      for (let n = dice.roll(3); n >= 0; n--)
        bytes[kind === 2 ? dice.roll(60) % bytes.length : dice.roll(bytes.length)] = dice.roll(256);
    const page = decode(new Uint8Array(bytes));
    if (page === undefined) continue;
    acceptedCount++;
    checkReads(page, bytes);
  }
  assert.ok(acceptedCount > 100, `${acceptedCount} accepted`);
});

/** An inner page's entry of zeros with this key. */
const child = (...key: number[]) => [key.length, 0, ...Array<number>(18 + 32).fill(0), ...key];

test("each rule of the grammar is checked", () => {
  const header = (level: number, count: number) => [0x48, 0x46, 0x54, 0x50, 1, level, count, 0, 0, 0, ...seed];
  const refused = (bytes: readonly number[], why: RegExp) =>
    assert.throws(() => parsePage(Uint8Array.from(bytes), seed), why);
  refused(header(0, 0).slice(0, 25), /too few for a header/);
  refused([0x49, ...header(0, 0).slice(1)], /magic/);
  refused([...header(0, 0).slice(0, 4), 2, ...header(0, 0).slice(5)], /version is 2/);
  refused([...header(0, 0).slice(0, 25), 0], /another seed/);
  refused(header(7, 1), /level 7/);
  refused(header(1, 0), /no child/);
  refused(header(0, 1), /do not fit/);
  refused([...header(0, 0), 1], /follow the last entry/);
  refused([...header(0, 1), 2, 0, 0, 0, 1], /passes the end/);
  refused([...header(0, 1), 0xff, 0xff, 0, 0], /limit is 8192/);
  refused([...header(0, 1), 0, 0, 0x01, 0x08], /stands in the page/);
  refused([...header(0, 1), 0, 0, 0xff, 0xff, ...Array<number>(36).fill(0)], /blob of its own/);
  refused([...header(0, 1), 0, 0, 0xff, 0xff, 1], /passes the end/);
  refused([...header(0, 2), 1, 0, 0, 0, 5, 1, 0, 0, 0, 5], /not above/);
  refused([...header(0, 2), 1, 0, 0, 0, 5, 0, 0, 0, 0], /not above/);
  refused([...header(1, 2), ...child(), ...child()], /child 1 has no key/);
  assert.equal(parsePage(Uint8Array.from([...header(1, 2), ...child(), ...child(5)]), seed).offsets.length, 2);
});

test("a page is edited like an array of entries, whatever its bytes have been through", () => {
  const dice = new Dice(3);
  for (let round = 0; round < 60 * scale; round++) {
    let page = Page.empty(0, 1);
    const model: { key: Uint8Array; value: Uint8Array }[] = [];
    for (let step = 0; step < 200; step++) {
      const key = utf8(`k${dice.roll(60)}`);
      const value = dice.bytes(dice.roll(20) === 0 ? 2_049 : dice.roll(300));
      const large =
        value.length > limits.inlineValueSizeMax
          ? new LargeValue(
              hashText(env.digest.sha256(encodeLargeValue(seed, key, value))),
              0,
              key.length,
              value.length,
              value,
            )
          : undefined;
      const index = page.search(key);
      const kind = dice.roll(10);
      if (index < 0 && kind < 7) {
        page.insert(~index, key, value, large);
        model.splice(~index, 0, { key, value });
      } else if (index >= 0 && kind < 4) {
        page.replace(index, key, value, large);
        model[index] = { key, value };
      } else if (index >= 0 && kind < 7) {
        page.removeEntry(index);
        model.splice(index, 1);
      } else if (kind === 7) {
        page = page.copy(1);
      } else if (kind === 8 && model.length > 0) {
        const at = dice.roll(model.length + 1);
        const right = page.split(at);
        assert.equal(right.slots.length, model.length - at);
        page.append(right, 0);
      } else if (dice.roll(4) === 0) {
        page.encode(seed);
      }
    }
    assert.deepEqual(
      model.map((_, index) => hex(page.keyAt(index)) + hex(page.valueAt(index))),
      model.map(({ key, value }) => hex(key) + hex(value)),
    );
    assert.equal(page.entryCount, model.length);
    assert.equal(
      page.dataSize,
      model.reduce((sum, { key, value }) => sum + key.length + value.length, 0),
    );
    assert.equal(page.largeCount, model.filter(({ value }) => value.length > limits.inlineValueSizeMax).length);
    // Garbage stays within a constant of what is alive.
    assert.ok(
      page.base.length + page.heap.length <= 6 * page.encodedSize + 8_192,
      `${page.heap.length} for ${page.encodedSize}`,
    );
    const size = page.encodedSize;
    assert.equal(page.encode(seed).length, size);
  }
});
