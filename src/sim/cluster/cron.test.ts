/**
 * A cron in a cluster in trouble around its ticks, with runners that die, stand still or are cut off in the middle of the
 * work: every tick is done once, in order, and no two runners are at work under one turn.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Store } from "../../member/index.ts";
import type { CronTick } from "../../view/index.ts";
import { Crowd, fate } from "./crowd.suite.ts";
import type { Passer } from "./crowd.suite.ts";
import { tell } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const minuteMs = 60_000;
const minuteCount = 5;

interface Report {
  readonly timeMs: number;
  readonly attempt: number;
  readonly fence: number;
}

class Notes {
  beginCount = 0;
  againCount = 0;
  readonly done = new Set<number>();
  /** The turn that was last seen at work by an outside system. */
  #fence = 0;
  #timeMs = 0;

  begin({ timeMs, attempt, fence }: CronTick): void {
    this.beginCount++;
    if (attempt > 1) this.againCount++;
    if (fence < this.#fence) return;
    assert.ok(timeMs >= this.#timeMs, `${new Date(timeMs).toISOString()} is begun after a later tick`);
    if (fence === this.#fence) assert.ok(timeMs > this.#timeMs, "a turn begins a tick once");
    this.#fence = fence;
    this.#timeMs = timeMs;
  }
}

/** Works on ticks, for up to three seconds each, until it is told to stop. */
async function report({ store, random, stop, sleep, standStill }: Passer, notes: Notes): Promise<void> {
  const work = async (tick: CronTick) => {
    notes.begin(tick);
    await sleep(random.below(2_000));
    if (random.chance(0.2)) standStill(random.below(3_000));
    await sleep(random.below(1_000));
    const { timeMs, attempt, fence } = tick;
    const one: Report = { timeMs, attempt, fence };
    const became = await fate(tick.transaction((tx) => tx.log("reports").append(one)));
    if (became === "done") notes.done.add(timeMs);
    else throw new Error(`the report is ${became}`);
  };
  const options = { signal: stop, ttlMs: 1_000, catchUp: "all", attemptCountMax: 100 } as const;
  await store.cron("report").run("* * * * *", work, options);
}

async function check(store: Store, notes: Notes, firstMs: number): Promise<void> {
  const reports = (await Array.fromAsync(store.log<Report>("reports").read())).map(({ value }) => value);
  let fence = 0;
  for (const [index, one] of reports.entries()) {
    assert.ok(index === 0 || one.timeMs > (reports[index - 1] as Report).timeMs, "each tick once, in order");
    assert.ok(one.fence >= fence, "whose turn is over does nothing");
    fence = one.fence;
  }
  const times = new Set(reports.map(({ timeMs }) => timeMs));
  for (const timeMs of notes.done) assert.ok(times.has(timeMs), "what was done is there");
  for (let index = 0; index < minuteCount; index++) {
    const timeMs = firstMs + index * minuteMs;
    const info = await store.cron("report").info();
    assert.ok(times.has(timeMs), `${new Date(timeMs).toISOString()} is missing: ${JSON.stringify({ info, reports })}`);
  }
}

for (const seed of [1, 2]) {
  test(`each tick is done once, whatever happens to members and runners (seed ${seed})`, async () => {
    await tell({ seed: `cron ${seed}`, memberCount: 3, member: { checkpointLogSizeMin: 4_000 } }, async (scene) => {
      const random = scene.simulator.random.fork("cron");
      const store = await scene.client();
      const notes = new Notes();
      const { clock } = scene.simulator.machine("director").env;
      const crowd = new Crowd(scene, random.fork("crowd"), { name: "runner", count: 4 }, (passer) =>
        report(passer, notes),
      );
      const isKnown = async () => (await store.cron("report").info()) !== undefined;
      await scene.until("the schedule is set", isKnown);
      const firstMs = (await store.cron("report").info())?.nextMs ?? 0;
      for (let index = 0; index < minuteCount; index++) {
        await scene.sleep(Math.max(1, firstMs + index * minuteMs - 1_000 - clock.wallMs()));
        const durationMs = 6_000;
        await Promise.all([trouble(scene, random.fork(`${index}`), durationMs), crowd.harass(durationMs)]);
      }
      const lastMs = firstMs + (minuteCount - 1) * minuteMs;
      await scene.until("the last tick is done", async () => {
        const info = await store.cron("report").info();
        return info !== undefined && !info.running && (info.lastMs ?? 0) >= lastMs;
      });
      await crowd.end();
      assert.ok(notes.againCount > 0, "it is a test");
      await check(store, notes, firstMs);
    });
  });
}
