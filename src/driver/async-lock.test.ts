/** Locks that go along with asynchronous code: taken again inside, not outlived, and guarding what is written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { open } from "../index.ts";
import { currentHold, lockedTransaction, withLock } from "./async-lock.ts";

test("one function at a time, and whoever it calls is under the same hold", async () => {
  await using store = await open(":memory:");
  let inside = 0;
  const fences: number[] = [];
  const inner = () => withLock(store, "l", (hold) => hold.fence);
  const work = async () => {
    assert.equal(currentHold(store, "l"), undefined);
    await withLock(store, "l", async (hold) => {
      assert.equal(++inside, 1);
      await setImmediate();
      assert.equal(currentHold(store, "l"), hold);
      assert.equal(currentHold(store, "other"), undefined);
      assert.equal(await inner(), hold.fence);
      await withLock(store, "other", async (second) => {
        assert.notEqual(second.fence, hold.fence);
        assert.equal(currentHold(store, "l"), hold);
      });
      assert.equal(await store.lock("other").holder(), undefined);
      assert.equal(--inside, 0);
      fences.push(hold.fence);
    });
  };
  await Promise.all([work(), work(), work()]);
  assert.deepEqual(
    fences,
    fences.toSorted((a, b) => a - b),
  );
  assert.equal(await store.lock("l").holder(), undefined);
});

test("another store's lock of the name is another lock", async () => {
  await using first = await open(":memory:");
  await using second = await open(":memory:");
  await withLock(first, "l", async (hold) => {
    assert.equal(currentHold(second, "l"), undefined);
    await withLock(second, "l", (other) => assert.notEqual(other, hold));
  });
});

test("what a function leaves running behind it holds nothing", async () => {
  await using store = await open(":memory:");
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  let left: Promise<void> | undefined;
  let fence = 0;
  await withLock(store, "l", (hold) => {
    fence = hold.fence;
    const behind = async () => {
      await over;
      assert.equal(currentHold(store, "l"), undefined);
      await assert.rejects(
        lockedTransaction(store, () => {}),
        { code: "invalid", message: /withLock/ },
      );
      await withLock(store, "l", (again) => assert.ok(again.fence > fence));
    };
    left = behind();
  });
  end();
  await left;
});

test("a transaction under a lock that is lost has no effect, and the lock is not taken again inside", async () => {
  await using store = await open(":memory:");
  const lost = withLock(store, "l", async (hold) => {
    await withLock(store, "other", () => lockedTransaction(store, (tx) => tx.counter("c").add(1)));
    const holder = await store.lock("l").holder();
    await store.leases.revoke(holder?.lease ?? 0n);
    await assert.rejects(
      lockedTransaction(store, (tx) => tx.counter("c").add(1)),
      { code: "conflict" },
    );
    while (!hold.isLost) await setImmediate();
    await withLock(store, "l", () => assert.fail("it is not held"));
  });
  await assert.rejects(lost, { code: "conflict", message: /the lock l .* is lost/ });
  assert.equal(await store.counter("c").get(), 1);
  await assert.rejects(
    withLock(store, "l", () => Promise.reject(new Error("mine"))),
    /mine/,
  );
  assert.equal(await store.lock("l").holder(), undefined);
});
