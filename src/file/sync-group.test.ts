/** Syncs that wait share one, and nobody's sync began before what it is to cover. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred } from "../base/index.ts";
import type { Deferred } from "../base/index.ts";
import { SyncGroup } from "./sync-group.ts";

function recorded(): { readonly group: SyncGroup; readonly syncs: Deferred<void>[] } {
  const syncs: Deferred<void>[] = [];
  const group = new SyncGroup({
    sync: () => {
      const next = deferred<void>();
      syncs.push(next);
      return next.promise;
    },
  });
  return { group, syncs };
}

test("those who come while one is under way share the next", async () => {
  const { group, syncs } = recorded();
  const first = group.sync();
  const rest = [group.sync(), group.sync(), group.sync()];
  assert.equal(syncs.length, 1);
  syncs[0]?.resolve();
  await first;
  await Promise.resolve();
  assert.equal(syncs.length, 2);
  let done = false;
  void Promise.all(rest).then(() => (done = true));
  const last = group.sync();
  assert.equal(syncs.length, 2);
  syncs[1]?.resolve();
  await Promise.all(rest);
  await Promise.resolve();
  assert.ok(done);
  assert.equal(syncs.length, 3);
  syncs[2]?.resolve();
  await last;
  // At rest: the next begins at once.
  void group.sync();
  assert.equal(syncs.length, 4);
});

test("a failure is that of those who shared it, and one who gives up disturbs nobody", async () => {
  const { group, syncs } = recorded();
  const abort = new AbortController();
  const first = group.sync(abort.signal);
  const second = group.sync();
  abort.abort();
  await assert.rejects(first, { code: "cancelled" });
  syncs[0]?.reject(new Error("full"));
  await new Promise(setImmediate);
  assert.equal(syncs.length, 2);
  syncs[1]?.resolve();
  await second;
});
