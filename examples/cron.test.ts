/** Two processes run the cron; one stops, the other goes on where it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { open } from "../src/index.ts";
import { report } from "./cron.ts";
import type { Report } from "./cron.ts";

/** The wall clock of this process, as the store reads it. */
function setClock(t: TestContext): (text: string) => void {
  let nowMs = 0;
  t.mock.method(Date, "now", () => nowMs);
  return (text) => {
    nowMs = Date.parse(text);
  };
}

test("a report a minute, by whoever has the turn", async (t) => {
  const setTo = setClock(t);
  setTo("2030-01-01T00:00:30Z");
  await using store = await open(":memory:");
  const run = (by: string) => {
    const stop = new AbortController();
    const running = report(store, by, stop.signal);
    return async () => {
      stop.abort();
      await running;
    };
  };
  const isSet = async () => (await store.cron("report").info()) !== undefined;
  const stopFirst = run("first");
  while (!(await isSet())) await setImmediate();
  const stopSecond = run("second");
  await stopFirst();
  await stopSecond();
  await store.counter("orders").add(7);
  setTo("2030-01-01T00:03:10Z");
  const stopBoth = [run("third"), run("fourth")];
  for await (const { value, position } of store.log<Report>("reports").tail()) {
    assert.equal(value.at, `2030-01-01T00:0${position + 1}:00.000Z`);
    assert.equal(value.orderCount, 7);
    if (position === 2) break;
  }
  for (const stop of stopBoth) await stop();
  assert.equal((await store.log("reports").info()).tail, 3);
});
