/** Crons near and far: what is caught up, what is begun again, and what is done once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { deferred } from "../../base/index.ts";
import { kinds, openPair } from "../store-pair.suite.ts";
import type { CronTick } from "./cron-tick.ts";
import type { CronOptions } from "./crons.ts";

const at = (text: string) => Date.parse(text);

const never = () => assert.fail("it does not run");

/** Fails at one o'clock. */
function failAtOne(tick: CronTick): void {
  assert.equal(tick.attempt, 1);
  if (new Date(tick.timeMs).getUTCHours() === 1) throw new Error("no paper");
}

/** A store whose wall clock is set, and what runs its cron until it has seen so many ticks. */
async function openCron(t: TestContext, kind: (typeof kinds)[number]) {
  const { env, [kind]: store } = await openPair(t);
  const setWall = (text: string) => {
    env.wall.offsetMs += at(text) - env.clock.wallMs();
  };
  setWall("2030-01-01T00:00:30Z");
  const cron = store.cron("report");
  /** Nothing is due when the schedule is set. */
  const set = async (schedule: string, options: CronOptions = {}) => {
    const stop = new AbortController();
    const running = cron.run(schedule, () => assert.fail("nothing is due"), { ...options, signal: stop.signal });
    while ((await cron.info())?.schedule !== schedule) await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await running;
  };
  const runFor = async (
    count: number,
    schedule: string,
    work: (tick: CronTick, stop: AbortController) => unknown = () => {},
    options: CronOptions = {},
  ) => {
    const stop = new AbortController();
    const seen: string[] = [];
    const one = async (tick: CronTick) => {
      seen.push(new Date(tick.timeMs).toISOString().slice(11, 16));
      try {
        await work(tick, stop);
      } finally {
        if (seen.length === count) queueMicrotask(() => stop.abort());
      }
    };
    await cron.run(schedule, one, { ...options, signal: stop.signal });
    return seen;
  };
  return { store, cron, set, runFor, setWall };
}

for (const kind of kinds) {
  test(`ticks at which nobody ran it (${kind})`, async (t) => {
    const { cron, set, runFor, setWall, store } = await openCron(t, kind);
    assert.equal(await cron.info(), undefined);
    await set("*/10 * * * *");
    assert.deepEqual(await cron.info(), {
      schedule: "*/10 * * * *",
      timeZone: "UTC",
      lastMs: undefined,
      attempt: 0,
      running: false,
      error: "",
      nextMs: at("2030-01-01T00:10:00Z"),
    });
    setWall("2030-01-01T00:45:00Z");
    assert.deepEqual(await runFor(1, "*/10 * * * *"), ["00:40"]);
    setWall("2030-01-01T01:15:00Z");
    assert.deepEqual(await runFor(3, "*/10 * * * *", undefined, { catchUp: "all" }), ["00:50", "01:00", "01:10"]);
    setWall("2030-01-01T02:20:30Z");
    assert.deepEqual(await runFor(1, "*/10 * * * *", undefined, { catchUp: "none" }), ["02:20"]);
    const crons = await Array.fromAsync(store.crons());
    assert.deepEqual(
      crons.map(({ name, lastMs }) => [name, lastMs]),
      [["report", at("2030-01-01T02:20:00Z")]],
    );
    assert.equal(await cron.delete(), true);
    assert.equal(await cron.delete(), false);
    assert.deepEqual(await Array.fromAsync(store.crons()), []);
  });

  test(`another schedule counts from now on, in its zone (${kind})`, async (t) => {
    const { cron, set, runFor, setWall } = await openCron(t, kind);
    await set("0 * * * *");
    setWall("2030-01-01T05:30:00Z");
    await set("0 7 * * *", { timeZone: "Asia/Tokyo" });
    assert.equal((await cron.info())?.nextMs, at("2030-01-01T22:00:00Z"));
    setWall("2030-01-02T00:00:00Z");
    assert.deepEqual(await runFor(1, "0 7 * * *", undefined, { timeZone: "Asia/Tokyo" }), ["22:00"]);
  });

  test(`work that fails is done, and says why (${kind})`, async (t) => {
    const { cron, set, runFor, setWall } = await openCron(t, kind);
    await set("@hourly");
    setWall("2030-01-01T02:30:00Z");
    assert.deepEqual(await runFor(2, "@hourly", failAtOne, { catchUp: "all" }), ["01:00", "02:00"]);
    assert.equal((await cron.info())?.error, "");
    setWall("2030-01-01T05:30:00Z");
    const errors: (string | undefined)[] = [];
    const always = async () => {
      errors.push((await cron.info())?.error);
      throw new Error("no ink");
    };
    await runFor(
      2,
      "@hourly",
      async () => {
        if (errors.length === 1) setWall("2030-01-01T06:30:00Z");
        await always();
      },
      { catchUp: "all" },
    );
    assert.deepEqual(errors, ["", ""], "of one that runs there is none yet");
    assert.equal((await cron.info())?.error, "");
  });

  test(`a tick that was not done is begun again, so often (${kind})`, async (t) => {
    const { cron, set, runFor, setWall } = await openCron(t, kind);
    await set("@hourly");
    setWall("2030-01-01T01:30:00Z");
    const attempts: number[] = [];
    const interrupted = (tick: CronTick, stop: AbortController) => {
      attempts.push(tick.attempt);
      stop.abort();
      tick.signal.throwIfAborted();
    };
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(await runFor(1, "@hourly", interrupted), ["01:00"]);
      assert.equal((await cron.info())?.running, true);
    }
    setWall("2030-01-01T02:30:00Z");
    const error = "it was begun 3 times, and never done";
    assert.deepEqual(await runFor(1, "@hourly", (tick) => void attempts.push(tick.attempt)), ["02:00"]);
    assert.deepEqual(attempts, [1, 2, 3, 1]);
    assert.notEqual((await cron.info())?.error, error);
  });

  test(`what is done in a tick's transaction is done once (${kind})`, async (t) => {
    const { store, cron, set, runFor, setWall } = await openCron(t, kind);
    await set("@hourly");
    setWall("2030-01-01T01:30:00Z");
    let old: CronTick | undefined;
    await runFor(1, "@hourly", async (tick, stop) => {
      await tick.transaction((tx) => tx.counter("reports").add(1));
      old = tick;
      // It does not come to be noted otherwise.
      stop.abort();
      tick.signal.throwIfAborted();
    });
    assert.equal((await cron.info())?.running, false);
    setWall("2030-01-01T02:30:00Z");
    const begun = deferred<void>();
    const goOn = deferred<void>();
    const running = runFor(1, "@hourly", async () => {
      begun.resolve();
      await goOn.promise;
    });
    await begun.promise;
    assert.ok(old !== undefined);
    const late = old.transaction((tx) => tx.counter("reports").add(1));
    await assert.rejects(late, { code: "conflict" });
    assert.equal((await cron.info())?.lastMs, at("2030-01-01T02:00:00Z"));
    goOn.resolve();
    assert.deepEqual(await running, ["02:00"]);
    assert.equal(await store.counter("reports").get(), 1);
  });

  test(`one has the turn, and the next goes on behind it (${kind})`, async (t) => {
    const { store, set, setWall } = await openCron(t, kind);
    await set("*/10 * * * *");
    setWall("2030-01-01T01:00:30Z");
    const seen: string[] = [];
    const run = () => {
      const stop = new AbortController();
      const work = (tick: CronTick) => {
        seen.push(new Date(tick.timeMs).toISOString().slice(11, 16));
        queueMicrotask(() => stop.abort());
      };
      return store.cron("report").run("*/10 * * * *", work, { signal: stop.signal, catchUp: "all" });
    };
    await Promise.all([run(), run(), run(), run()]);
    assert.deepEqual(seen, ["00:10", "00:20", "00:30", "00:40"]);
  });
}

test("what is no cron is refused", async (t) => {
  const { local } = await openPair(t);
  const cron = local.cron("x");
  await assert.rejects(cron.run("* *", never), { code: "invalid", message: /five fields/ });
  await assert.rejects(cron.run("@daily", never, { timeZone: "Mars/Base" }), { code: "invalid" });
  await assert.rejects(cron.run("@daily", never, { attemptCountMax: 0 }), {
    code: "invalid",
    message: /attemptCountMax/,
  });
  assert.throws(() => local.cron(""), { code: "invalid", message: /empty/ });
  await local.close();
  await assert.rejects(cron.run("@daily", never), { code: "unavailable" });
});
