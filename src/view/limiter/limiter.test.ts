/** Rate limiters and sequences: against a slow twin, at the edges, near and far. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../sim/index.ts";
import { kinds, openPair } from "../store-pair.suite.ts";

for (const kind of kinds) {
  test(`a burst, then the even rate, as the wall clock goes (${kind})`, async (t) => {
    const { env, [kind]: store } = await openPair(t);
    // Real time passes meanwhile, so the rate is slow and the steps are long.
    const limiter = store.rateLimiter("mail", { permits: 1, perMs: 1_000_000, burst: 3 });
    for (const left of [2, 1, 0]) assert.deepEqual(await limiter.take(), { allowed: true, waitMs: 0, left });
    const refused = await limiter.take();
    assert.equal(refused.allowed, false);
    assert.ok(refused.waitMs > 900_000 && refused.waitMs <= 1_000_000, `${refused.waitMs}`);
    env.wall.offsetMs += 1_000_000;
    assert.equal((await limiter.take()).allowed, true);
    assert.equal((await limiter.take()).allowed, false);
    env.wall.offsetMs += 100_000_000;
    assert.equal((await limiter.take(3)).allowed, true, "no more than the burst is saved up");
    assert.equal((await limiter.take()).allowed, false);
    await limiter.reset();
    assert.equal((await limiter.take(3)).left, 0);
  });

  test(`who waits gets it when it is there, and leaves when told (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const limiter = store.rateLimiter("api", { permits: 1_000, burst: 1 });
    for (let count = 0; count < 5; count++) await limiter.wait();
    const slow = store.rateLimiter("slow", { permits: 1, perMs: 3_600_000 });
    await slow.take();
    const stop = new AbortController();
    const waiting = slow.wait(1, { signal: stop.signal });
    stop.abort();
    await assert.rejects(waiting, { code: "cancelled" });
    assert.deepEqual((await slow.peek()).allowed, false);
  });

  test(`requests that can never be met are refused (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const limiter = store.rateLimiter("x", { permits: 5 });
    await assert.rejects(async () => limiter.take(6), { code: "invalid", message: /burst of 5/ });
    await assert.rejects(async () => limiter.take(0), { code: "invalid", message: /count is 0/ });
    assert.throws(() => store.rateLimiter("x", { permits: 0 }), { code: "invalid", message: /permits is 0/ });
    assert.throws(() => store.rateLimiter("x", { permits: 1, perMs: 1.5 }), { code: "invalid" });
    assert.throws(() => store.rateLimiter("", { permits: 1 }), { code: "invalid", message: /empty/ });
  });

  test(`a sequence gives no number twice, whoever asks (${kind})`, async (t) => {
    const store = (await openPair(t))[kind];
    const sequences = [7, 1, 100].map((blockSize) => store.sequence("ids", { blockSize }));
    const dice = new Prng(t.name);
    const given = await Promise.all(
      Array.from({ length: 500 }, async () => {
        const index = dice.below(3);
        return { index, number: await sequences[index]?.next() };
      }),
    );
    assert.equal(new Set(given.map(({ number }) => number)).size, 500);
    for (const [index] of sequences.entries()) {
      const mine = given.filter((one) => one.index === index).map(({ number }) => number as number);
      assert.deepEqual(
        mine,
        mine.toSorted((a, b) => a - b),
      );
      assert.ok(mine.every((number) => number >= 1));
    }
    assert.throws(() => store.sequence("ids", { blockSize: 0 }), { code: "invalid" });
  });
}

test("it allows what a twin allows that gives out permits one by one", async (t) => {
  const { env, local } = await openPair(t);
  const dice = new Prng("limiter twin");
  const [perMs, burst] = [10_000_000, 4];
  const limiter = local.rateLimiter("twin", { permits: 1, perMs, burst });
  // The twin holds up to `burst` permits and gets one more each time that `perMs` have passed since it was full.
  let [permits, sinceMs, nowMs] = [burst, 0, 0];
  for (let step = 0; step < 300; step++) {
    const passedMs = dice.below(4) * (perMs / 2) + 1_000_000;
    env.wall.offsetMs += passedMs;
    nowMs += passedMs;
    while (permits < burst && nowMs - sinceMs >= perMs) [permits, sinceMs] = [permits + 1, sinceMs + perMs];
    const count = 1 + dice.below(3);
    const { allowed } = await limiter.take(count);
    // The real time that passes is far less than what the steps differ by.
    assert.equal(allowed, count <= permits, `step ${step}`);
    if (!allowed) continue;
    if (permits === burst) sinceMs = nowMs;
    permits -= count;
  }
});
