/** What a store that lies about entries of an encrypted bucket gets away with. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeCipher } from "../host/index.ts";
import { fileContent, FileRecord, linkContent } from "./index.ts";
import type { FileEntry } from "./index.ts";
import { sealOf } from "./content-seal.ts";
import { noise, World } from "./world.suite.ts";

const key = noise(32, 77);
const small = { chunkSizeMin: 4_096, chunkSizeAverage: 8_192, chunkSizeMax: 16_384 };

test("the seal is pinned: a released bucket must stay readable", () => {
  const cipher = new NodeCipher();
  const dataKey = noise(32, 1);
  const hex = (content: Parameters<typeof sealOf>[2]) => Buffer.from(sealOf(cipher, dataKey, content)).toString("hex");
  const root = { size: 1_000_000, hash: noise(32, 2), depth: 1 };
  assert.equal(hex({ type: "file", ...root }), "62b3475f8e229cfd34eae6c9c90ec424e3d867ab78495896adc4a8e158a59354");
  assert.equal(
    hex({ type: "link", target: noise(9, 3) }),
    "a1a94cc8e0d21b04a2572b67c7f184683335fc2aa889be71bfe4312c41c17bf2",
  );
  const all = [
    hex(root),
    hex({ ...root, size: 1 }),
    hex({ ...root, depth: 2 }),
    hex({ ...root, hash: noise(32, 3) }),
    hex({ size: 2, inline: Uint8Array.of(1, 2) }),
    hex({ size: 2, inline: Uint8Array.of(1), target: Uint8Array.of(2) }),
    hex({ type: "link", target: Uint8Array.of(1, 2) }),
    hex({}),
  ];
  assert.equal(new Set(all).size, all.length);
});

test("an entry that the store has changed is refused: size, root, depth, small bytes and the target of a link", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  await access.buckets.create("safe", { key, ...small });
  const files = access.files("safe", { key });
  const large = await files.put("large", noise(100_000));
  const other = await files.put("other", noise(100_000, 9));
  const tiny = await files.put("tiny", "tiny");
  const link = await files.makeLink("link", "there");
  for (const record of [large, other, tiny, link]) assert.equal(record.stored.content.seal.length, 32);

  const changed = (record: FileRecord, content: Partial<FileRecord["stored"]["content"]>) =>
    new FileRecord(files.parts.env.digest, "safe", record.pathBytes, {
      ...record.stored,
      content: { ...record.stored.content, ...content },
    });
  const { hash, depth, size } = large.stored.content;
  for (const record of [
    changed(large, { size: size - 1 }),
    changed(large, { depth: depth + 1 }),
    changed(large, { hash: other.stored.content.hash }),
    changed(large, { seal: new Uint8Array(0) }),
    changed(large, { seal: tiny.stored.content.seal }),
    changed(tiny, { size: 3 }),
    changed(tiny, { inline: new Uint8Array(0), size: 0 }),
    changed(tiny, { inline: new Uint8Array(0), size, hash, depth }),
    changed(link, { target: new TextEncoder().encode("elsewhere") }),
    changed(link, { seal: new Uint8Array(0) }),
  ]) {
    await assert.rejects(files.open(record), {
      code: "corrupt",
      message: /^safe:\w+ was not put with the key of its bucket/,
    });
  }
  // What the text says that it does not cover: the path, and what else is said of the file.
  assert.deepEqual(await (await files.open(changed(large, { mode: 0o4777 }))).bytes(), noise(100_000));
  await files.move("large", "moved");
  await files.copy("link", "link too");
  assert.deepEqual(await (await files.get("moved"))?.bytes(), noise(100_000));
  assert.equal((await files.get("link too"))?.target, "there");
});

test("however an entry comes into the bucket it has its seal; without the key there is none", async (t) => {
  const world = await World.open(t);
  const { access } = world;
  await access.buckets.create("safe", { key, ...small });
  const files = access.files("safe", { key });
  const uploaded = await files.upload(noise(30_000));
  const entries: FileEntry[] = [
    { path: "a", content: fileContent(uploaded.content, { mode: 0o600 }), uploaded },
    { path: "b", content: linkContent("a") },
  ];
  await files.putMany(entries);
  assert.deepEqual(await (await files.get("a"))?.bytes(), noise(30_000));
  assert.equal((await files.get("b"))?.target, "a");
  const others = access.files("safe");
  await assert.rejects(others.makeLink("c", "a"), { code: "denied" });
  await assert.rejects(others.putMany([{ path: "c", content: linkContent("a") }]), { code: "denied" });
  // The names, and where links point, everybody may see.
  assert.equal((await others.stat("b"))?.target, "a");
  const plain = await access.files("plain").makeLink("l", "x");
  assert.equal(plain.stored.content.seal.length, 0);
  const long = { ...linkContent("a"), seal: new Uint8Array(33) };
  await assert.rejects(access.files("plain").putMany([{ path: "d", content: long }]), {
    code: "invalid",
    message: /the seal is 33 bytes/,
  });
});

test("an entry whose path is none gives its upload back", async (t) => {
  const world = await World.open(t);
  const files = world.access.files("b");
  let released = 0;
  const uploaded = await files.upload("x");
  const watched = { ...uploaded, release: () => void released++ };
  await assert.rejects(files.putMany([{ path: "", content: fileContent(uploaded.content), uploaded: watched }]), {
    code: "invalid",
  });
  assert.equal(released, 1);
});
