/** Deadlines against the simplest twin: a timer for each. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { Deadlines, Expiring } from "./deadlines.ts";

class Item extends Expiring {
  readonly run: () => void;

  constructor(run: () => void) {
    super();
    this.run = run;
  }

  expire(): void {
    this.run();
  }
}

for (const seed of ["one", "two", "three"]) {
  test(`nothing expires early, twice, after its removal, or later than 1/64 of its time (seed ${seed})`, async () => {
    const simulator = new Simulator({ seed, drain: nextTurn });
    const { clock } = simulator.machine("a").env;
    const { random } = simulator;
    const deadlines = new Deadlines(clock);
    let [expiredCount, removedCount] = [0, 0];
    for (let count = 0; count < 2_000; count++) {
      simulator.schedule(random.between([0, 10_000]), () => {
        const timeoutMs = 2 ** random.between([-2, 16]);
        const dueMs = clock.monotonicMs() + timeoutMs;
        const item = new Item(() => {
          const lateMs = clock.monotonicMs() - dueMs;
          assert.ok(lateMs >= 0 && lateMs <= Math.max(1, timeoutMs / 64) + 0.01, `${lateMs} ms late of ${timeoutMs}`);
          assert.equal(removed, false);
          removed = true;
          expiredCount++;
        });
        let removed = false;
        deadlines.add(item, dueMs, timeoutMs);
        if (random.chance(0.5)) {
          simulator.schedule(random.between([0, timeoutMs]), () => {
            if (removed) return;
            removed = true;
            removedCount++;
            deadlines.remove(item);
            deadlines.remove(item);
          });
        }
      });
    }
    await simulator.advance(10_000 + 65_536 + 1_025);
    assert.equal(expiredCount + removedCount, 2_000);
    assert.ok(removedCount > 900);
  });
}
