/** Timers of the real clock under load: order, cancellation, and a process that ends when nothing is left to wait for. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { NodeClock } from "./index.ts";

test("a thousand timers of all delays run in the order of their moments, none early, none cancelled", async () => {
  const clock = new NodeClock();
  const order: number[] = [];
  const cancelled = new Set<number>();
  // A timer's moment lies between these two, since the clock is read again inside `schedule`.
  const earliestMs: number[] = [];
  const latestMs: number[] = [];
  await new Promise<void>((resolve) => {
    let left = 0;
    for (let index = 0; index < 1_000; index += 1) {
      const delayMs = (index * 7919) % 50;
      earliestMs.push(clock.monotonicMs() + delayMs);
      const timer = clock.schedule(delayMs, () => {
        assert.ok(clock.monotonicMs() >= (earliestMs[index] as number), "early");
        order.push(index);
        left -= 1;
        if (left === 0) resolve();
      });
      latestMs.push(clock.monotonicMs() + delayMs);
      left += 1;
      if (index % 3 === 0) {
        cancelled.add(index);
        left -= 1;
        timer.cancel();
      }
    }
  });
  let reachedMs = 0;
  for (const index of order) {
    assert.ok((latestMs[index] as number) >= reachedMs, `timer ${index} ran after one that was due later`);
    reachedMs = Math.max(reachedMs, earliestMs[index] as number);
    assert.ok(!cancelled.has(index));
  }
  assert.equal(order.length, 1_000 - cancelled.size);
});

test("between two timers of one moment no microtask is left", async () => {
  const clock = new NodeClock();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.schedule(2, () => {
      order.push("first");
      void Promise.resolve()
        .then(() => {})
        .then(() => order.push("microtask"));
    });
    clock.schedule(2, () => {
      order.push("second");
      resolve();
    });
  });
  assert.deepEqual(order, ["first", "microtask", "second"]);
});

test("a cancelled timer does not keep the process alive", () => {
  const program = `
    import { NodeClock } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
    const clock = new NodeClock();
    const timers = [60_000, 30_000, 90_000].map((ms) => clock.schedule(ms, () => {}));
    clock.schedule(1, () => timers.forEach((timer) => timer.cancel()));`;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(run.status, 0, run.stderr);
});
