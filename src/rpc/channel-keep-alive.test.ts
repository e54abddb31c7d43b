/** When a peer is asked for a sign of life and when it is given up, on a clock that the test moves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock, Timer } from "../base/index.ts";
import { KeepAlive } from "./channel-keep-alive.ts";

class HandClock implements Clock {
  nowMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly run: () => void }>();
  readonly deferred: (() => void)[] = [];

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  schedule(delayMs: number, run: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  defer(run: () => void): void {
    this.deferred.push(run);
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  /** Runs the timers that are due by then, in order, but nothing that was deferred. */
  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ atMs }) => atMs <= endMs).toSorted((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
    }
    this.nowMs = endMs;
  }

  turn(): void {
    for (const run of this.deferred.splice(0)) run();
  }
}

function begin(answers = true) {
  const clock = new HandClock();
  const seen = { pings: 0, ends: [] as string[] };
  const options = { keepAliveMs: 10_000, keepAliveTimeoutMs: 5_000 };
  const life = new KeepAlive(
    clock,
    answers ? { ...options, answers: { answerMs: 1_000, answerTimeoutMs: 1_500 } } : options,
    {
      ping: () => void seen.pings++,
      givenUp(how) {
        seen.ends.push(how);
        life.stop();
      },
    },
  );
  life.open();
  const pass = (ms: number) => {
    clock.pass(ms);
    clock.turn();
  };
  return { clock, life, seen, pass };
}

test("silence alone: asked after 10 s, given up after 5 s more", () => {
  const { clock, life, seen, pass } = begin();
  pass(9_999);
  assert.equal(seen.pings, 0);
  pass(1);
  assert.equal(seen.pings, 1);
  life.hear();
  pass(5_000);
  pass(10_000);
  assert.deepEqual([seen.pings, seen.ends.length], [2, 0]);
  pass(5_000);
  assert.match(seen.ends.join(), /^15000 ms without a sign of life/);
  assert.equal(clock.timerCount, 0);
});

test("an answer that does not come: asked within a second, given up a second and a half later", () => {
  const { clock, life, seen, pass } = begin();
  life.expect();
  pass(1_000);
  assert.equal(seen.pings, 1);
  pass(1_499);
  assert.equal(seen.ends.length, 0);
  pass(1);
  assert.match(seen.ends.join(), /^no answer to a call for 1000 ms, nor to a ping for 1500 ms/);
  assert.equal(clock.timerCount, 0);
});

test("answers that come cost one timer a second and no question", () => {
  const { clock, life, seen, pass } = begin();
  for (let call = 0; call < 1_000; call++) {
    life.expect();
    assert.equal(clock.timerCount, 2);
    pass(5);
    life.hear();
    pass(4);
  }
  assert.ok(seen.pings <= 5, `${seen.pings} pings`);
  pass(2_500);
  assert.equal(clock.timerCount, 1);
  assert.equal(seen.ends.length, 0);
});

test("a call after the sign of life is watched over again; a stream without calls is not", () => {
  const { life, seen, pass } = begin();
  life.expect();
  pass(1_000);
  life.hear();
  life.expect();
  pass(1_500);
  assert.equal(seen.pings, 1);
  pass(1_000);
  assert.equal(seen.pings, 2);
  life.hear();
  pass(5_000);
  assert.equal(seen.pings, 2);
  assert.equal(seen.ends.length, 0);
});

test("what was sent lately is given time to arrive", () => {
  const { life, seen, pass } = begin();
  life.expect();
  life.sent(128 * 2_000);
  pass(1_000);
  pass(3_499);
  assert.equal(seen.ends.length, 0);
  pass(1);
  assert.equal(seen.ends.length, 1);
});

test("who stood still reads first what has come, then judges", () => {
  for (const expecting of [true, false]) {
    const { clock, life, seen } = begin();
    if (expecting) life.expect();
    // All timers are due at once; the answer has been waiting to be read.
    clock.pass(60_000);
    assert.ok(seen.pings > 0);
    assert.equal(seen.ends.length, 0);
    life.hear();
    clock.turn();
    assert.equal(seen.ends.length, 0);
    // It goes on watching.
    clock.pass(20_000);
    clock.turn();
    assert.equal(seen.ends.length, 1);
  }
});

test("a server expects no answers", () => {
  const { clock, life, seen, pass } = begin(false);
  life.expect();
  pass(9_000);
  assert.deepEqual([seen.pings, clock.timerCount], [0, 1]);
});

test("a peer that does not even begin to speak the protocol is not asked", () => {
  const clock = new HandClock();
  const seen: string[] = [];
  const life: KeepAlive = new KeepAlive(
    clock,
    { keepAliveMs: 100, keepAliveTimeoutMs: 50 },
    {
      ping: () => seen.push("ping"),
      givenUp() {
        seen.push("end");
        life.stop();
      },
    },
  );
  clock.pass(100);
  clock.turn();
  assert.deepEqual(seen, ["end"]);
});
