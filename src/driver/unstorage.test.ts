/** The driver of unstorage, by the cases that unstorage 1.17.6 tests its own drivers with, and its own: time to live, batches, watches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createStorage } from "unstorage";
import { open } from "../index.ts";
import { holdfastDriver } from "./unstorage.ts";

test("items are set, found, listed, changed and cleared", async () => {
  await using store = await open(":memory:");
  const storage = createStorage({ driver: holdfastDriver({ store }) });
  await storage.setItem("s1:a", "test_data");
  await storage.setItem("s2:a", "test_data");
  await storage.setItem("s3:a?q=1", "test_data");
  assert.equal(await storage.hasItem("s1:a"), true);
  assert.equal(await storage.getItem("s1:a"), "test_data");
  assert.equal(await storage.getItem("s3:a?q=2"), "test_data", "a query is no part of a key");
  assert.equal(await storage.getItem("nothing"), null);
  assert.deepEqual((await storage.getKeys()).toSorted(), ["s1:a", "s2:a", "s3:a"]);
  assert.deepEqual(await storage.getKeys("s1"), ["s1:a"]);
  for (const value of [{ json: "works" }, [1, "two"], "text", 5, true]) {
    await storage.setItem("value", value);
    assert.deepEqual(await storage.getItem("value"), value);
  }
  await storage.setItem("date", new Date(0));
  assert.equal(await storage.getItem("date"), "1970-01-01T00:00:00.000Z");
  const raw = new Uint8Array([0, 1, 255]);
  await storage.setItemRaw("raw", raw);
  assert.deepEqual(new Uint8Array((await storage.getItemRaw("raw")) as Uint8Array), raw);
  await storage.setItems([
    { key: "t:1", value: "test_data_t1" },
    { key: "t:2", value: "test_data_t2" },
  ]);
  assert.deepEqual(await storage.getItems(["t:1", "t:2", { key: "t:3" }]), [
    { key: "t:1", value: "test_data_t1" },
    { key: "t:2", value: "test_data_t2" },
    { key: "t:3", value: null },
  ]);
  await storage.removeItem("s1:a");
  assert.equal(await storage.hasItem("s1:a"), false);
  await holdfastDriver({ store }).clear("t:");
  assert.deepEqual(await storage.getKeys("t"), []);
  await storage.clear();
  assert.deepEqual(await storage.getKeys(), []);
  await storage.dispose();
});

test("a time to live, a watch, and a second storage beside it", async () => {
  await using store = await open(":memory:");
  const storage = createStorage({ driver: holdfastDriver({ store, prefix: "one/" }) });
  const other = createStorage({ driver: holdfastDriver({ store, prefix: "two/" }) });
  await other.setItem("kept", "x");
  const seen: string[] = [];
  const gone = Promise.withResolvers<void>();
  const unwatch = await storage.watch((event, key) => {
    seen.push(`${event} ${key}`);
    if (event === "remove") gone.resolve();
  });
  await storage.setItem("short", "x", { ttl: 0.2 });
  await gone.promise;
  assert.equal(await storage.getItem("short"), null);
  await unwatch();
  await storage.setItem("unseen", "x");
  await storage.clear();
  assert.deepEqual(seen, ["update short", "remove short"]);
  assert.deepEqual(await other.getKeys(), ["kept"]);
  await storage.dispose();
});
