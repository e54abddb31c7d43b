/** Encrypted buckets from outside: what needs the key, what does not, and what the store gets to see. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect } from "../view/fixture.suite.ts";
import { fileContent } from "./index.ts";
import type { FileEntry } from "./index.ts";
import { noise, once, World } from "./world.suite.ts";

const key = noise(32, 77);
const small = { chunkSizeMin: 4_096, chunkSizeAverage: 8_192, chunkSizeMax: 16_384 };

const without = (all: ReadonlySet<string>, some: ReadonlySet<string>): Set<string> =>
  new Set([...all].filter((one) => !some.has(one)));

async function blobsOf(world: World): Promise<Set<string>> {
  const blobs = await collect(world.chunks.store.list());
  return new Set(blobs.map(({ hash }) => Buffer.from(hash).toString("hex")));
}

test("with its key a bucket is like any other; without, its bytes are denied and its names are not", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  await access.buckets.create("safe", { passphrase: "open sesame", ...small });
  assert.equal((await access.buckets.get("safe"))?.encryption, "passphrase");
  const files = access.files("safe", { passphrase: "open sesame" });
  const bytes = noise(100_000);
  await files.put("large", bytes);
  await files.put("small", "a secret");
  await files.put("empty", "");
  assert.deepEqual(await (await files.get("large"))?.bytes(), bytes);
  assert.deepEqual(
    await (await files.get("large"))?.bytes({ start: 50_000, end: 60_000 }),
    bytes.slice(50_000, 60_000),
  );
  assert.equal(await (await files.get("small"))?.text(), "a secret");
  assert.equal(await (await files.get("empty"))?.text(), "");
  assert.deepEqual(
    await (await access.past("safe", world.replica.revision, { passphrase: "open sesame" }).get("large"))?.bytes(),
    bytes,
  );

  world.log.length = 0;
  for (const [wrong, message] of [
    [{ passphrase: "open" }, /this is not the passphrase of bucket safe/],
    [undefined, /bucket safe is encrypted: give its passphrase/],
    [{ key }, /give its passphrase/],
  ] as const) {
    const others = access.files("safe", wrong);
    await assert.rejects(others.get("large"), { code: "denied", message });
    await assert.rejects(others.put("large", noise(50_000)), { code: "denied", message });
    await assert.rejects(others.put("small", "x"), { code: "denied", message });
    await assert.rejects(others.upload("x"), { code: "denied", message });
    await assert.rejects(others.uploadFile("/x"), { code: "denied", message });
  }
  assert.deepEqual(world.log, []);
  // What the store knows, everybody may see who can ask it.
  const others = access.files("safe");
  assert.equal((await others.stat("large"))?.size, 100_000);
  assert.deepEqual(
    (await collect(others.list())).map(({ path }) => path),
    ["empty", "large", "small"],
  );
  await others.move("small", "moved");
  assert.equal(await (await files.get("moved"))?.text(), "a secret");
});

test("the store sees neither contents nor equality with other buckets; within one bucket equal chunks are kept once", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  await access.buckets.create("plain", small);
  await access.buckets.create("one", { key, ...small });
  await access.buckets.create("two", { key, ...small });
  const text = new TextEncoder().encode("the quick brown fox ".repeat(5_000));
  await access.files("plain").put("f", text);
  const plain = await blobsOf(world);
  await access.files("one", { key }).put("f", text);
  const one = without(await blobsOf(world), plain);
  await access.files("one", { key }).put("again", text);
  assert.deepEqual(without(await blobsOf(world), plain), one);
  await access.files("two", { key }).put("f", text);
  const two = without(without(await blobsOf(world), plain), one);
  assert.ok(one.size > 0 && two.size > 0);
  const hashes = await Promise.all(
    ["one", "two", "plain"].map(async (name) => (await access.files(name).stat("f"))?.hash),
  );
  assert.equal(new Set(hashes).size, 3);
  await access.files("one", { key }).put("tiny", "the quick");
  const tiny = await access.files("one").stat("tiny");
  assert.ok(!Buffer.from(tiny?.stored.content.inline ?? []).includes("quick"));
  await assert.rejects(access.files("one", { key }).copy("f", "g", { toBucket: "two" }), { code: "invalid" });
});

test("another passphrase opens what the old one wrote", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  const { buckets } = access;
  await buckets.create("safe", { key });
  await access.files("safe", { key }).put("f", noise(5_000));
  await assert.rejects(buckets.changeSecret("safe", { passphrase: "x" }, { key }), { code: "denied" });
  await buckets.changeSecret("safe", { key }, { passphrase: "new" });
  assert.equal((await buckets.get("safe"))?.encryption, "passphrase");
  assert.deepEqual(await (await access.files("safe", { passphrase: "new" }).get("f"))?.bytes(), noise(5_000));
  await assert.rejects(access.files("safe", { key }).get("f"), { code: "denied" });
  // Other settings leave the encryption as it is.
  await buckets.set("safe", { keepMs: 0 });
  assert.deepEqual(await (await access.files("safe", { passphrase: "new" }).get("f"))?.bytes(), noise(5_000));
  await access.files("plain").put("f", "x");
  await assert.rejects(buckets.changeSecret("plain", { key }, { key }), { code: "invalid", message: /not encrypted/ });
  await assert.rejects(buckets.changeSecret("none", { key }, { key }), { code: "notFound" });
});

test("settings and secret that are changed at once are both changed", async (t) => {
  const world = await World.open(t);
  const { buckets } = world.access;
  await buckets.create("safe", { key });
  await world.access.files("safe", { key }).put("f", noise(5_000));
  const other = noise(32, 78);
  let count = 0;
  world.beforePropose = async (names) => {
    if (!names.includes("setBucket") || ++count > 1) return;
    await buckets.changeSecret("safe", { key }, { key: other });
    await buckets.set("safe", { keepCountMax: 3 });
  };
  await buckets.set("safe", { keepMs: 5_000 });
  world.beforePropose = undefined;
  const { keepMs, keepCountMax } = (await buckets.get("safe")) ?? {};
  assert.deepEqual([keepMs, keepCountMax], [5_000, 3]);
  const files = world.access.files("safe", { key: other });
  assert.deepEqual(await (await files.get("f"))?.bytes(), noise(5_000));
  // The other way round, and for a secret that somebody else has changed: the old one no longer opens it.
  count = 0;
  world.beforePropose = async (names) => {
    if (names.includes("setBucket") && ++count === 1) await buckets.set("safe", { keepMs: 6_000 });
  };
  await buckets.changeSecret("safe", { key: other }, { key });
  assert.equal((await buckets.get("safe"))?.keepMs, 6_000);
  count = 0;
  world.beforePropose = async (names) => {
    if (names.includes("setBucket") && ++count === 1) await buckets.changeSecret("safe", { key }, { key: other });
  };
  await assert.rejects(buckets.changeSecret("safe", { key }, { key: other }), { code: "denied" });
});

test("a bucket that is deleted, and made again with encryption, gets nothing in the clear, whenever that happens", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  const files = access.files("b");
  const remake = async () => {
    world.beforePropose = undefined;
    if ((await access.buckets.get("b")) !== undefined) {
      await files.delete({ prefix: "" });
      await access.buckets.delete("b");
    }
    await access.buckets.create("b", { key });
  };
  const putting = (during: (names: readonly string[]) => boolean) => {
    world.beforePropose = async (names) => {
      if (during(names)) await remake();
    };
  };
  const empty = async () => {
    assert.deepEqual(await collect(files.list()), []);
    await access.buckets.delete("b");
  };
  for (const bytes of ["small", noise(20_000)]) {
    for (const seen of [false, true]) {
      if (seen) await files.put("before", "x");
      // Its settings are known; the bucket is another one when the name is committed.
      putting((names) => names.includes("put"));
      await assert.rejects(files.put("f", bytes), { code: "denied", message: /bucket b is encrypted/ });
      await empty();
    }
  }
  // What cannot be read again fails for what has happened.
  putting((names) => names.includes("put"));
  await assert.rejects(files.put("f", once(noise(20_000))), { code: "conflict", message: /bucket b is encrypted/ });
  await empty();
  await files.put("before", "x");
  putting((names) => names.includes("put"));
  await assert.rejects(files.put("f", once(noise(20_000))), { code: "conflict", message: /that of revision/ });
  await empty();

  // Who has the key puts again, with it.
  await access.buckets.create("b", { key });
  const safe = access.files("b", { key });
  await safe.put("before", "x");
  putting((names) => names.includes("put"));
  await safe.put("f", noise(20_000));
  assert.deepEqual(await (await safe.get("f"))?.bytes(), noise(20_000));
  // Many at once: what was uploaded for the old bucket is uploaded again.
  const entry = async (path: string): Promise<FileEntry> => {
    const uploaded = await safe.upload(path);
    return { path, content: fileContent(uploaded.content), uploaded, again: () => entry(path) };
  };
  const without: FileEntry = { ...(await entry("without")), again: undefined };
  const entries = [await entry("one"), without, await entry("two")];
  putting((names) => names.includes("put"));
  const failed: unknown[] = [];
  const { count } = await safe.putMany(entries, { failed: ({ path }, { code }) => failed.push(path, code) });
  assert.deepEqual([count, failed], [2, ["without", "conflict"]]);
  assert.equal(await (await safe.get("two"))?.text(), "two");
  // An entry that nobody uploaded is in the clear.
  await assert.rejects(safe.putMany([{ path: "p", content: { size: 1, inline: new Uint8Array(1) } }]), {
    code: "conflict",
    message: /made without its key/,
  });
});

test("a key for a bucket that is not encrypted, or not there, is refused: nothing goes out in the clear", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  await assert.rejects(access.files("none", { key }).put("f", "secret"), {
    code: "notFound",
    message: /buckets.create/,
  });
  await access.files("plain").put("f", "x");
  await assert.rejects(access.files("plain", { key }).put("f", "secret"), {
    code: "invalid",
    message: /is not encrypted/,
  });
  await assert.rejects(access.files("plain", { key }).get("f"), { code: "invalid" });
  assert.equal(await access.buckets.get("none"), undefined);
  assert.throws(() => access.files("plain", { key: new Uint8Array(4) }), {
    code: "invalid",
    message: /at least 32 bytes/,
  });
  assert.equal(await (await access.files("plain", {}).get("f"))?.text(), "x");
  // One that was missing is looked for again, and found encrypted.
  const files = access.files("late");
  assert.equal(await files.get("f"), undefined);
  await files.settings();
  await access.buckets.create("late", { key });
  await assert.rejects(files.put("f", "in the clear"), { code: "denied" });
});
