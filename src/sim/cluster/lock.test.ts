/**
 * Locks and their kin in a cluster in trouble, with holders that die, stand still or are cut off for longer than their
 * leases live: never do more hold together than may, in the store, outside of it by fences, and in their own belief.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import type { Store } from "../../member/index.ts";
import type { AcquireOptions, Hold } from "../../view/index.ts";
import { Crowd, fate } from "./crowd.suite.ts";
import type { Passer } from "./crowd.suite.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const ttlMs = 1_000;
const permits = 3;

/** One way to hold something. The shares of all who hold the same thing together are at most 1. */
interface Way {
  readonly thing: "lock" | "readWriteLock" | "semaphore" | "election";
  readonly share: number;
  readonly ask: (store: Store, options: AcquireOptions) => Promise<Hold>;
}

const ways: readonly Way[] = [
  { thing: "lock", share: 1, ask: (store, options) => store.lock("x").acquire(options) },
  { thing: "election", share: 1, ask: (store, options) => store.election("x").campaign(options) },
  { thing: "readWriteLock", share: 1, ask: (store, options) => store.readWriteLock("x").write(options) },
  { thing: "readWriteLock", share: 0.01, ask: (store, options) => store.readWriteLock("x").read(options) },
  ...[1, 2].map((wanted): Way => ({
    thing: "semaphore",
    share: wanted / permits,
    ask: (store, options) => store.semaphore("x", { permits }).acquire({ ...options, permits: wanted }),
  })),
];
const things = [...new Set(ways.map(({ thing }) => thing))];

/** What a holder does in the store while it holds. */
interface Act {
  readonly fence: number;
  readonly share: number;
  readonly text: string;
}

/** One who believes that it holds. */
interface Believer {
  readonly way: Way;
  readonly hold: Hold;
  readonly machine: string;
  /** Simulated time. */
  readonly askedMs: number;
}

class Notes {
  readonly done = new Set<string>();
  readonly refused = new Set<string>();
  readonly #scene: Scene;
  readonly #believers = new Set<Believer>();
  /** The largest fence that an outside system has seen, by the thing. */
  readonly #seen = new Map<string, number>();
  readonly #fences = new Set<string>();
  crowd: Crowd | undefined;
  readonly heldCount = new Map<string, number>();
  outsideRefusedCount = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Whoever has stood still since it asked believes what it did before; all others know better. */
  #mayErr({ machine, askedMs, hold }: Believer): boolean {
    return hold.isLost || this.crowd?.hasNotNoticed(machine, askedMs) === true;
  }

  enter(entering: Believer): void {
    const { thing } = entering.way;
    const name = `${thing} ${entering.hold.fence}`;
    assert.ok(!this.#fences.has(name), `${name} was given twice`);
    this.#fences.add(name);
    this.heldCount.set(thing, (this.heldCount.get(thing) ?? 0) + 1);
    this.#believers.add(entering);
    if (this.#mayErr(entering)) return;
    const together = [...this.#believers].filter((one) => one.way.thing === thing && !this.#mayErr(one));
    const sum = together.reduce((total, { way }) => total + way.share, 0);
    const who = together.map(({ machine, hold }) => `${machine} under ${hold.fence}`).join(", ");
    assert.ok(sum < 1.05, `${this.#scene.simulator.nowMs}: ${who} believe that they hold the ${thing} together`);
  }

  leave(believer: Believer): void {
    this.#believers.delete(believer);
  }

  /** An outside system, which refuses fences smaller than one it has seen; it knows nothing of leases. */
  actOutside(believer: Believer): void {
    const { way, hold, machine } = believer;
    if (way.share < 1) return;
    const seen = this.#seen.get(way.thing) ?? 0;
    this.#seen.set(way.thing, Math.max(seen, hold.fence));
    if (hold.fence >= seen) return;
    this.outsideRefusedCount++;
    assert.ok(this.#mayErr(believer), `${machine} holds the ${way.thing} under ${hold.fence}, and ${seen} has acted`);
  }
}

/** Asks, waits or loses patience, acts while it holds, and leaves. */
async function visit(scene: Scene, passer: Passer, notes: Notes): Promise<void> {
  const { name: machine, store, random, stop, sleep } = passer;
  const way = random.pick(ways);
  const impatient = new AbortController();
  if (random.chance(0.2)) void sleep(random.below(ttlMs)).then(() => impatient.abort());
  const signal = AbortSignal.any([stop, impatient.signal]);
  const askedMs = scene.simulator.nowMs;
  let hold: Hold;
  try {
    hold = await way.ask(store, { ttlMs, signal, value: machine });
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    await sleep(10);
    return;
  }
  const believer = { way, hold, machine, askedMs };
  notes.enter(believer);
  for (let count = 1 + random.below(4); count > 0; count--) {
    if (random.chance(0.06)) {
      passer.standStill(ttlMs + random.below(2 * ttlMs));
      await sleep(1);
    }
    notes.actOutside(believer);
    const text = `${machine}, ${way.thing} ${hold.fence}, ${count} to go`;
    const act: Act = { fence: hold.fence, share: way.share, text };
    const became = await fate(hold.transaction((tx) => tx.log(way.thing).append(act)));
    if (became === "done") notes.done.add(text);
    if (became === "refused") {
      notes.refused.add(text);
      // It cannot have been renewed since, and so it is told.
      await sleep(ttlMs + 1);
      assert.ok(hold.isLost, `${text}: it was refused, and is not told that it has lost`);
    }
    await sleep(random.below(80));
  }
  notes.leave(believer);
  await fate(hold.release());
}

/** What was done in the store: never by more together than may, and in the order of fences where one is alone. */
async function check(store: Store, notes: Notes): Promise<void> {
  const texts = new Set<string>();
  for (const thing of things) {
    const acts = (await Array.fromAsync(store.log<Act>(thing).read())).map(({ value }) => value);
    for (const { text } of acts) {
      assert.ok(!texts.has(text), `${text}: done twice`);
      texts.add(text);
    }
    // Whoever acts, and acts again, has held all the while.
    const last = new Map(acts.map(({ fence }, index) => [fence, index]));
    const within = new Map<number, Act>();
    let [aloneMax, max] = [0, 0];
    for (const [index, act] of acts.entries()) {
      within.set(act.fence, act);
      const sum = [...within.values()].reduce((total, { share }) => total + share, 0);
      assert.ok(sum < 1.05, `${act.text}: together with ${[...within.keys()].join()}`);
      assert.ok(act.fence >= aloneMax, `${act.text}: after ${aloneMax}, which was alone`);
      if (act.share === 1) {
        assert.ok(act.fence >= max, `${act.text}: it was overtaken by ${max}`);
        aloneMax = act.fence;
      }
      max = Math.max(max, act.fence);
      if (last.get(act.fence) === index) within.delete(act.fence);
    }
  }
  for (const text of notes.done) assert.ok(texts.has(text), `${text}: it is lost`);
  for (const text of notes.refused) assert.ok(!texts.has(text), `${text}: it was refused`);
}

/** Nothing is left of those who are gone. */
async function untilFree(scene: Scene, store: Store): Promise<void> {
  const isFree = async () => (await scene.status(await scene.leader())).leaseCount === 0;
  await scene.until("everything is free", isFree, 15_000);
  for (const named of [
    store.lock("x"),
    store.election("x"),
    store.readWriteLock("x"),
    store.semaphore("x", { permits }),
  ]) {
    assert.equal(await named.waiterCount(), 0);
  }
  assert.equal(await store.lock("x").holder(), undefined);
  assert.equal(await store.election("x").leader(), undefined);
}

/** Follows who leads: a later one has a larger fence. Answers how many it has seen. */
async function observe(store: Store, signal: AbortSignal): Promise<number> {
  const fences = new Set<number>();
  let lastFence = 0;
  for await (const leader of store.election("x").observe({ signal })) {
    if (leader === undefined) continue;
    assert.ok(leader.fence >= lastFence, `${leader.fence} leads after ${lastFence}`);
    lastFence = leader.fence;
    fences.add(leader.fence);
  }
  return fences.size;
}

for (const seed of [1, 2, 3]) {
  test(`no more hold together than may, whatever happens to members and holders (seed ${seed})`, async () => {
    await tell({ seed: `lock ${seed}`, memberCount: 3, member: { checkpointLogSizeMin: 4_000 } }, async (scene) => {
      const random = scene.simulator.random.fork("lock");
      const store = await scene.client();
      const notes = new Notes(scene);
      const crowd = new Crowd(scene, random.fork("crowd"), { name: "holder", count: 10 }, async (passer) => {
        while (!passer.stop.aborted) await visit(scene, passer, notes);
      });
      notes.crowd = crowd;
      const observed = new AbortController();
      const observing = observe(store, observed.signal);
      const durationMs = 12_000;
      await Promise.all([trouble(scene, random.fork("trouble"), durationMs), crowd.harass(durationMs)]);
      await crowd.end();
      await untilFree(scene, store);
      observed.abort();
      assert.ok((await observing) > 0);
      assert.ok(
        things.every((thing) => (notes.heldCount.get(thing) ?? 0) > 3) && notes.refused.size > 3,
        "it is a test",
      );
      await check(store, notes);
    });
  });
}

test("who waits for long is granted, though the member that would tell it is gone, or nobody is heard for a while", async () => {
  await tell({ seed: "lock waiting", memberCount: 3 }, async (scene) => {
    const { network } = scene.simulator;
    const near = await scene.client();
    const far = await scene.client();
    const farName = "client2";
    const waitLongMs = 90_000;
    for (const trial of ["its member is gone", "it is cut off"] as const) {
      const held = await near.lock("x").acquire({ ttlMs: waitLongMs });
      let granted: Hold | undefined;
      const waiting = far
        .lock("x")
        .acquire({ ttlMs: waitLongMs })
        .then((hold) => (granted = hold));
      await scene.until("it waits", async () => (await near.lock("x").waiterCount()) === 1);
      // Longer than a call may take.
      if (trial === "it is cut off") network.isolate(farName);
      await scene.sleep(25_000);
      if (trial === "its member is gone") {
        for (const seat of scene.seats) {
          scene.cluster.stop(seat, "kill");
          await scene.sleep(500);
          await scene.everybodyRuns();
        }
      }
      await held.release();
      network.rejoin(farName);
      await scene.until(`${trial}: it is granted`, () => granted !== undefined, 10_000);
      await (await waiting).release();
    }
  });
});

test("a holder far away knows that it has lost before another holds", async () => {
  await tell({ seed: "lock far", memberCount: 3 }, async (scene) => {
    const { network, random } = scene.simulator;
    const near = await scene.client();
    const far = await scene.client();
    const farName = "client2";
    for (let round = 0; round < 12; round++) {
      // An answer takes up to a second, so that a renewal is older than it looks.
      network.slow(farName, 500);
      const held = await far.election("x").campaign({ ttlMs: 8_000 });
      const waiting = near.election("x").campaign();
      await scene.sleep(3_000 + random.below(5_000));
      assert.ok(!held.isLost, "it is renewed in time");
      network.isolate(farName);
      const next = await waiting;
      assert.ok(held.isLost, `round ${round}: two believe that they lead`);
      network.rejoin(farName);
      network.slow(farName, 1);
      await next.release();
      await fate(held.release());
    }
  });
});
