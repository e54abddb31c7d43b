/** Many take the same handles at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "../src/index.ts";
import { find, take } from "./handles.ts";

test("a handle goes to one of many who want it, and to another when it is given up", async () => {
  await using store = await open(":memory:");
  const names = ["ada", "bob", "eve", "joe"];
  const taken = await Promise.all(names.map((name) => take(store, name, "Captain")));
  assert.equal(taken.filter(Boolean).length, 1);
  const owner = names[taken.indexOf(true)] ?? "";
  assert.equal(await find(store, "CAPTAIN"), owner);
  assert.equal(await take(store, owner, "captain"), true, "it is his own");
  assert.equal(await take(store, owner, "major"), true);
  assert.equal(await find(store, "captain"), undefined);
  assert.equal(await take(store, "zoe", "captain"), true);
});
