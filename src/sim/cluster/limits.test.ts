/**
 * Sequences and rate limiters in a cluster in trouble, with clients that die, stand still or are cut off: no number is
 * given twice, and no more is allowed than may be, whichever member answers and whatever its clock shows.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import type { Store } from "../../member/index.ts";
import { Crowd } from "./crowd.suite.ts";
import type { Passer } from "./crowd.suite.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const member = { cacheSizeMax: 20_000, checkpointLogSizeMin: 4_000 };

/** Undefined where it failed, as it may. */
async function orFailed<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}

/** Takes numbers, several at once, from one sequence after another. */
async function number({ name, store, random, stop, sleep }: Passer, given: Map<number, string>): Promise<void> {
  for (let count = 1; !stop.aborted; count++) {
    const sequence = store.sequence("ids", { blockSize: random.pick([1, 2, 7, 30]) });
    let last = 0;
    const take = async () => {
      for (let left = random.below(20); left > 0 && !stop.aborted; left--) {
        const next = await orFailed(sequence.next());
        if (next !== undefined) {
          const who = `${name}, sequence ${count}`;
          assert.ok(!given.has(next), `${next} is given to ${who}, and was to ${given.get(next)}`);
          given.set(next, who);
          assert.ok(next > last, `${next} comes after ${last}`);
          last = next;
        }
        await sleep(random.below(30));
      }
    };
    await Promise.all([take(), take(), take()]);
  }
}

for (const seed of [1, 2]) {
  test(`no number is given twice, whatever happens to members and clients (seed ${seed})`, async () => {
    await tell({ seed: `sequence ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("sequence");
      const given = new Map<number, string>();
      // A short patience leaves more blocks in doubt.
      const options = { name: "client-", count: 5, timeoutMs: seed === 2 ? 900 : 10_000 };
      const clients = new Crowd(scene, random.fork("clients"), options, (passer) => number(passer, given));
      const durationMs = 6_000;
      await Promise.all([trouble(scene, random.fork("trouble"), durationMs), clients.harass(durationMs)]);
      await clients.end();
      const last = await (await scene.client()).counter("ids").get();
      assert.ok(Math.min(...given.keys()) >= 1 && Math.max(...given.keys()) <= last);
      assert.ok(given.size > 500, `${given.size} numbers are a test`);
    });
  });
}

const rate = { permits: 40, perMs: 1_000, burst: 10 };
const eachMs = rate.perMs / rate.permits;

/** What was allowed at some moment between the two, simulated time. */
interface Allowed {
  readonly count: number;
  readonly beganMs: number;
  readonly endedMs: number;
}

/** The store hears of a clock that has jumped with what its member proposes next. */
const heardMs = 300;

/** What is known to have happened within any stretch of time is no more than may. `ahead`: when clocks jumped ahead. */
function check(allowed: readonly Allowed[], ahead: readonly number[] = []): void {
  const byEnd = allowed.toSorted((a, b) => a.endedMs - b.endedMs);
  for (const { beganMs } of allowed) {
    let sum = 0;
    for (const one of byEnd) {
      if (one.beganMs < beganMs) continue;
      sum += one.count;
      // Store time is in whole milliseconds.
      const passedMs = one.endedMs - beganMs + 1;
      const jumpCount = ahead.filter((atMs) => atMs >= beganMs - heardMs && atMs <= one.endedMs).length;
      const max = rate.burst * (1 + jumpCount) + passedMs / eachMs;
      assert.ok(sum <= max, `${sum} were allowed from ${beganMs} to ${one.endedMs}, and ${max} may`);
    }
  }
}

/** Asks again and again for some. */
async function ask(
  scene: Scene,
  store: Store,
  passer: Pick<Passer, "random" | "stop" | "sleep">,
  allowed: Allowed[],
): Promise<void> {
  const { random, stop, sleep } = passer;
  const limiter = store.rateLimiter("limiter", rate);
  const nowMs = () => scene.simulator.nowMs;
  while (!stop.aborted) {
    const count = 1 + random.below(3);
    const beganMs = nowMs();
    const answer = await orFailed(limiter.take(count));
    if (answer?.allowed === true) allowed.push({ count, beganMs, endedMs: nowMs() });
    if (answer?.allowed === false) {
      assert.ok(answer.waitMs > 0 && answer.waitMs <= rate.burst * eachMs + eachMs, `wait for ${answer.waitMs} ms`);
    }
    await sleep(random.below(60));
  }
}

for (const seed of [1, 2]) {
  test(`no more is allowed than the rate and the burst, whatever happens to members and clients (seed ${seed})`, async () => {
    await tell({ seed: `limiter ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("limiter");
      const allowed: Allowed[] = [];
      const clients = new Crowd(scene, random.fork("clients"), { name: "client-", count: 6 }, (passer) =>
        ask(scene, passer.store, passer, allowed),
      );
      const durationMs = 8_000;
      await Promise.all([trouble(scene, random.fork("trouble"), durationMs), clients.harass(durationMs)]);
      await clients.end();
      check(allowed);
      const sum = allowed.reduce((total, { count }) => total + count, 0);
      assert.ok(sum > durationMs / eachMs / 4, `${sum} are a test`);
    });
  });
}

test("clocks of members that are set ahead and back give one burst more, and keep nobody waiting", async () => {
  await tell({ seed: "limiter clocks", memberCount: 3, member }, async (scene) => {
    const random = scene.simulator.random.fork("limiter");
    const allowed: Allowed[] = [];
    const ahead: number[] = [];
    const stop = new AbortController();
    const clients = scene.seats.map(async (seat, index) => {
      // Each asks a member of its own.
      const store = await scene.client([seat]);
      const passer = {
        random: random.fork(`client ${index}`),
        stop: stop.signal,
        sleep: (ms: number) => scene.sleep(ms),
      };
      await Promise.all([ask(scene, store, passer, allowed), ask(scene, store, passer, allowed)]);
    });
    for (const one of clients) one.catch((error: unknown) => scene.cluster.fail(error as Error));
    const walls = scene.seats.map(({ machine }) => machine.wall);
    for (const jumpMs of [-3_600_000, 60_000, -60_000, 3_600_000, 7_200_000, -1]) {
      for (const wall of walls) {
        const allowedBefore = allowed.length;
        const fromMs = scene.simulator.nowMs;
        if (wall.offsetMs + jumpMs > 0) ahead.push(fromMs);
        wall.offsetMs += jumpMs;
        await scene.sleep(700);
        const sum = allowed.slice(allowedBefore).reduce((total, { count }) => total + count, 0);
        assert.ok(sum >= (700 / eachMs) * 0.7, `only ${sum} were allowed when a clock was set by ${jumpMs} ms`);
      }
    }
    stop.abort();
    await Promise.all(clients);
    check(allowed, ahead);
  });
});
