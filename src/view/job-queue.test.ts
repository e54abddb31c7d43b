/** Jobs one after another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred } from "../base/index.ts";
import { JobQueue } from "./job-queue.ts";

test("jobs run one after another, whatever becomes of each", async () => {
  const jobs = new JobQueue();
  const isIdle = () => jobs.working === undefined;
  assert.ok(isIdle());
  const order: string[] = [];
  const gate = deferred<void>();
  const first = jobs.run(async () => {
    order.push("first begins");
    await gate.promise;
    order.push("first ends");
    throw new Error("first");
  });
  const second = jobs.run(async () => {
    order.push("second");
    return 2;
  });
  const { working } = jobs;
  assert.ok(working !== undefined);
  gate.resolve();
  await assert.rejects(first, /first/);
  assert.equal(await second, 2);
  await working;
  assert.deepEqual(order, ["first begins", "first ends", "second"]);
  assert.ok(isIdle());
});

test("who leaves while another job runs does not wait for it; a job that runs is waited for", async () => {
  const jobs = new JobQueue();
  const gate = deferred<void>();
  const running = new AbortController();
  const waiting = new AbortController();
  let begun = false;
  const first = jobs.run(async () => {
    begun = true;
    await gate.promise;
    return 1;
  }, running.signal);
  let ran = false;
  const second = jobs.run(async () => void (ran = true), waiting.signal);
  waiting.abort();
  await assert.rejects(second, { code: "cancelled" });
  assert.ok(begun);
  running.abort();
  gate.resolve();
  assert.equal(await first, 1);
  await jobs.working;
  assert.equal(ran, false);
  await assert.rejects(
    jobs.run(() => assert.fail("it runs"), AbortSignal.abort()),
    { code: "cancelled" },
  );
});
