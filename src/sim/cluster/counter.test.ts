/**
 * Counters in a cluster in trouble, with clients that die, stand still or are cut off: every addition that was answered
 * counts once, one that is in doubt once or not at all, and what is refused does nothing.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import type { Store } from "../../member/index.ts";
import { Crowd, fate } from "./crowd.suite.ts";
import type { Passer } from "./crowd.suite.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const member = { cacheSizeMax: 20_000, checkpointLogSizeMin: 4_000 };
/** The stock is from 0 to this. */
const stockMax = 40;
/** More than all that is added before. */
const theEnd = 1_000_000;

interface Addition {
  readonly amount: number;
  readonly sum: number;
  readonly beganMs: number;
  readonly endedMs: number;
}

/** What became of all changes of one counter. */
class Account {
  readonly done: Addition[] = [];
  /** What the additions that are in doubt would take and give. */
  doubtMin = 0;
  doubtMax = 0;
  refusedCount = 0;

  async add(scene: Scene, amount: number, adding: Promise<number>): Promise<void> {
    const beganMs = scene.simulator.nowMs;
    // Whoever dies while it waits is in doubt, too.
    this.#doubt(amount, 1);
    const became = await fate(adding);
    if (became === "unknown") return;
    this.#doubt(amount, -1);
    if (became === "refused") this.refusedCount++;
    else this.done.push({ amount, sum: await adding, beganMs, endedMs: scene.simulator.nowMs });
  }

  #doubt(amount: number, factor: number): void {
    if (amount < 0) this.doubtMin += factor * amount;
    else this.doubtMax += factor * amount;
  }

  /** Where the value must be at the end. */
  check(name: string, value: number): void {
    const sum = this.done.reduce((total, { amount }) => total + amount, 0);
    const [min, max] = [sum + this.doubtMin, sum + this.doubtMax];
    assert.ok(value >= min && value <= max, `${name} is ${value}, and must be from ${min} to ${max}`);
  }

  /**
   * Where all amounts are positive every addition has a place of its own between 0 and the value, and the places of those
   * that followed each other follow each other. Answers what nobody was told of.
   */
  checkPlaces(name: string, value: number): number {
    let [end, latestBegin, gaps] = [0, 0, 0];
    for (const { amount, sum, beganMs, endedMs } of this.done.toSorted((a, b) => a.sum - b.sum)) {
      assert.ok(sum - amount >= end, `${name}: ${amount} was added up to ${sum}, and another up to ${end}`);
      assert.ok(endedMs >= latestBegin, `${name}: ${sum} is above what began when it was there`);
      gaps += sum - amount - end;
      end = sum;
      latestBegin = Math.max(latestBegin, beganMs);
    }
    assert.ok(value >= end, `${name} is ${value}, and was ${end}`);
    return gaps + value - end;
  }
}

class Notes {
  readonly plain = new Account();
  readonly left = new Account();
  readonly stock = new Account();
  readonly steps = new Account();
  auditCount = 0;
}

/** Changes counters in one way or another. */
async function change(scene: Scene, { store, random, stop, sleep }: Passer, notes: Notes): Promise<void> {
  while (!stop.aborted) {
    await sleep(random.below(30));
    const dice = random.float();
    const amount = 1 + random.below(9);
    if (dice < 0.35) await notes.plain.add(scene, amount, store.counter("plain").add(amount));
    else if (dice < 0.6) {
      const moving = store.transaction((tx) => {
        tx.counter("left").add(amount);
        tx.counter("right").add(-amount);
        tx.log("moved").append(amount);
      });
      await notes.left.add(
        scene,
        amount,
        moving.then(() => 0),
      );
    } else if (dice < 0.8) {
      const signed = random.chance(0.5) ? amount : -amount;
      const adding = store.counter("stock").add(signed, { min: 0, max: stockMax });
      await notes.stock.add(scene, signed, adding);
      const value = await adding.catch(() => 0);
      assert.ok(value >= 0 && value <= stockMax, `the stock is ${value}`);
    } else if (dice < 0.9) {
      const steps = store.counter("steps");
      const value = await steps.get().catch(() => undefined);
      if (value === undefined) continue;
      const setting = steps.set(value + 1, { expected: value }).then(() => value + 1);
      await notes.steps.add(scene, 1, setting);
    } else await audit(store, notes);
  }
}

/** What moves from one to the other is never lost in between. */
async function audit(store: Store, notes: Notes): Promise<void> {
  try {
    const { value: sum } = await store.transaction(async (tx) => {
      return (await tx.counter("left").get()) + (await tx.counter("right").get());
    });
    assert.equal(sum, 0, "a transaction reads one state");
    notes.auditCount++;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
}

/** Follows a counter that only grows, until it is told the end. */
async function watch({ name, store, sleep }: Passer): Promise<void> {
  for (let last = 0; ;) {
    try {
      for await (const value of store.counter("plain").watch()) {
        assert.ok(value >= last, `${name} saw ${last}, and then ${value}`);
        last = value;
        if (value >= theEnd) return;
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      await sleep(20);
    }
  }
}

for (const seed of [2, 11, 30]) {
  test(`every addition counts once, whatever happens to members and clients (seed ${seed})`, async () => {
    await tell({ seed: `counter ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("counter");
      const store = await scene.client();
      const notes = new Notes();
      // A short patience leaves more calls in doubt.
      const timeoutMs = seed === 2 ? 900 : 10_000;
      const clients = new Crowd(scene, random.fork("clients"), { name: "client-", count: 6, timeoutMs }, (passer) =>
        change(scene, passer, notes),
      );
      const watchers = new Crowd(scene, random.fork("watchers"), { name: "watcher", count: 3 }, watch);
      const durationMs = 8_000;
      await Promise.all([
        trouble(scene, random.fork("trouble"), durationMs),
        clients.harass(durationMs),
        watchers.harass(durationMs),
      ]);
      await clients.end();
      const { plain, left, stock, steps } = notes;
      const value = await store.counter("plain").get();
      plain.check("plain", value);
      const untold = plain.checkPlaces("plain", value);
      assert.ok(untold <= plain.doubtMax, `${untold} were added without an answer, and ${plain.doubtMax} are in doubt`);
      const moved = await store.counter("left").get();
      left.check("left", moved);
      assert.equal(await store.counter("right").get(), -moved);
      const amounts = (await Array.fromAsync(store.log<number>("moved").read())).map((entry) => entry.value);
      assert.equal(
        amounts.reduce((total, amount) => total + amount, 0),
        moved,
      );
      stock.check("stock", await store.counter("stock").get());
      const stepCount = await store.counter("steps").get();
      steps.check("steps", stepCount);
      steps.checkPlaces("steps", stepCount);
      await store.counter("plain").add(theEnd);
      await watchers.end();
      assert.ok(stock.refusedCount > 3 && steps.refusedCount > 0 && notes.auditCount > 3, "it is a test");
    });
  });
}

for (const seed of [1, 2]) {
  test(`with patience nothing is in doubt, and the sum is exact, whatever happens to members (seed ${seed})`, async () => {
    await tell({ seed: `counter exact ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("counter");
      const account = new Account();
      const options = { name: "client-", count: 3, timeoutMs: 60_000 };
      const clients = new Crowd(scene, random.fork("clients"), options, async (passer) => {
        const add = async () => {
          while (!passer.stop.aborted) {
            await passer.sleep(passer.random.below(40));
            const amount = 1 + passer.random.below(5);
            await account.add(scene, amount, passer.store.counter("plain").add(amount));
          }
        };
        await Promise.all([add(), add(), add()]);
      });
      await trouble(scene, random.fork("trouble"), 5_000);
      await clients.end();
      const value = await (await scene.client()).counter("plain").get();
      assert.deepEqual([account.doubtMax, account.refusedCount], [0, 0]);
      account.check("plain", value);
      assert.equal(account.checkPlaces("plain", value), 0);
      assert.ok(account.done.length > 200, `${account.done.length} additions are a test`);
    });
  });
}
