/**
 * Presence in a cluster in trouble, with guests that die, stand still or are cut off: whoever is here is listed all the
 * while, whoever has left is not, and soon after everything is healed it is said of nobody else.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deferred, HoldfastError, sleep } from "../../base/index.ts";
import { connectStore } from "../../member/index.ts";
import type { Store } from "../../member/index.ts";
import type { Hold, HolderInfo } from "../../view/index.ts";
import type { Machine } from "../machine.ts";
import type { Prng } from "../prng.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";

const ttlMs = 1_500;
/** After which a guest that was not answered asks another member, or again. */
const patienceMs = 1_000;
/** For a new leader, and for those who look for it. */
const slackMs = 2_000;
/** Until it is noticed that the other end of a silent connection has lost its power. */
const silenceMs = 25_000;

/** Somebody on a machine of its own, who is here, and comes again when it was lost. */
class Guest {
  readonly machine: Machine;
  /** Simulated time. */
  standsStillUntilMs = 0;
  /** Since when it has asked for the place that it has. */
  askedMs = 0;
  hold: Hold | undefined;
  readonly #scene: Scene;
  readonly #left: (fence: number) => void;
  #leave: (() => void) | undefined;

  /** `left` is called when it is known that a place of this one is no more. */
  constructor(scene: Scene, name: string, left: (fence: number) => void) {
    this.#scene = scene;
    this.#left = left;
    this.machine = scene.simulator.machine(name);
    this.#attend().catch((error: unknown) => scene.cluster.fail(error as Error));
  }

  async #attend(): Promise<void> {
    const { name, env } = this.machine;
    const addresses = this.#scene.seats.map(({ address }) => address).join();
    const options = { waitForMember: true, timeoutMs: patienceMs, followMembers: true };
    let store: Store | undefined;
    for (;;) {
      const askedMs = this.#scene.simulator.nowMs;
      try {
        store ??= await connectStore(env, addresses, options);
        const hold = await store.presence<string>("room").join({ ttlMs, value: name });
        this.askedMs = askedMs;
        this.hold = hold;
        const over = deferred<void>();
        this.#leave = () => over.resolve();
        hold.signal.addEventListener("abort", () => over.resolve(), { once: true });
        if (!hold.isLost) await over.promise;
        this.hold = undefined;
        await hold.release();
        this.#left(hold.fence);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        await sleep(env.clock, 20);
      }
    }
  }

  /** It leaves, and comes again. */
  leave(): void {
    this.#leave?.();
  }

  /** What it believes, where it can know: the fence of its place. */
  believes(): number | undefined {
    const hasStoodStill = this.standsStillUntilMs >= this.askedMs;
    if (!this.machine.alive || hasStoodStill || this.hold === undefined || this.hold.isLost) return undefined;
    return this.hold.fence;
  }

  standStill(ms: number): void {
    this.machine.freeze(ms);
    this.standsStillUntilMs = Math.max(this.standsStillUntilMs, this.#scene.simulator.nowMs + ms);
  }
}

/** Those who are here, and come and go. */
class Room {
  readonly guests: Guest[] = [];
  /** Fences of places that were given up, or that their holders know to be lost. */
  readonly left = new Set<number>();
  readonly #scene: Scene;

  constructor(scene: Scene, count: number) {
    this.#scene = scene;
    for (let index = 0; index < count; index++) this.guests[index] = this.#guest(`guest${index + 1}`);
  }

  #guest(name: string): Guest {
    return new Guest(this.#scene, name, (fence) => this.left.add(fence));
  }

  /** One dies, and another comes. */
  replace(index: number, how: "kill" | "crash"): void {
    const { machine } = this.guests[index] as Guest;
    machine[how]();
    this.guests[index] = this.#guest(`${machine.name}'`);
  }
}

/** A list of those who are here, from which it follows who is gone for good. */
class Lists {
  #last = new Map<number, string>();
  readonly #gone = new Set<number>();

  take(list: readonly HolderInfo<string>[]): void {
    const now = new Map(list.map(({ fence, value }) => [fence, value]));
    assert.equal(now.size, list.length, "nobody is listed twice under one fence");
    assert.deepEqual(
      [...now.keys()],
      [...now.keys()].toSorted((a, b) => a - b),
      "in the order of joining",
    );
    for (const fence of this.#last.keys()) if (!now.has(fence)) this.#gone.add(fence);
    for (const [fence, name] of now) assert.ok(!this.#gone.has(fence), `${name} was gone under ${fence}, and is back`);
    this.#last = now;
  }

  /** Their names. */
  get names(): string[] {
    return [...this.#last.values()].toSorted();
  }
}

/** Looks again and again: whoever is here all the while is listed. */
async function look(scene: Scene, store: Store, room: Room, signal: AbortSignal): Promise<number> {
  const lists = new Lists();
  let count = 0;
  while (!signal.aborted) {
    await scene.sleep(30);
    const before = new Map(room.guests.map((guest) => [guest, guest.believes()]));
    const left = new Set(room.left);
    try {
      const list = await Array.fromAsync(store.presence<string>("room").list());
      lists.take(list);
      const listed = new Set(list.map(({ fence }) => fence));
      for (const { fence, value } of list) assert.ok(!left.has(fence), `${value} has left ${fence}, and is listed`);
      for (const [guest, fence] of before) {
        if (fence === undefined || guest.believes() !== fence) continue;
        assert.ok(listed.has(fence), `${guest.machine.name} is here under ${fence}, and is not listed`);
        count++;
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return count;
}

/** Follows who is here, from a member or another. */
async function watch(store: Store, lists: Lists, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const list of store.presence<string>("room").watch({ signal })) lists.take(list);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
}

/** Something happens to some of them, and is over when it resolves. */
async function trial(scene: Scene, random: Prng, room: Room): Promise<void> {
  const { network } = scene.simulator;
  const durationMs = random.below(2.5 * ttlMs);
  const endMs = scene.simulator.nowMs + durationMs;
  const seat = random.chance(0.6) ? await scene.leader() : random.pick(scene.seats);
  const dice = random.float();
  if (dice < 0.4) scene.cutOff(seat);
  else if (dice < 0.7) scene.cluster.stop(seat, random.chance(0.5) ? "kill" : { unsynced: "random" });
  for (const [index, guest] of room.guests.entries()) {
    const what = random.float();
    if (what < 0.25) network.isolate(guest.machine.name);
    else if (what < 0.4) room.replace(index, random.chance(0.5) ? "kill" : "crash");
    else if (what < 0.55) guest.standStill(Math.max(0, endMs - scene.simulator.nowMs));
    else if (what < 0.7) guest.leave();
  }
  await scene.sleep(Math.max(0, endMs - scene.simulator.nowMs));
  scene.heal();
  for (const guest of room.guests) network.rejoin(guest.machine.name);
}

for (const seed of [1, 2]) {
  test(`who is here is listed, and soon nobody else, whatever happens to members and guests (seed ${seed})`, async () => {
    await tell({ seed: `presence ${seed}`, memberCount: 3 }, async (scene) => {
      const random = scene.simulator.random.fork("presence");
      const room = new Room(scene, 8);
      const store = await scene.client();
      const stop = new AbortController();
      const looking = look(scene, store, room, stop.signal);
      const watched: Lists[] = [];
      const watching = scene.seats.map(async (seat) => {
        const lists = new Lists();
        watched.push(lists);
        await watch(await scene.client([seat]), lists, stop.signal);
      });
      for (const one of [looking, ...watching]) one.catch((error: unknown) => scene.cluster.fail(error as Error));
      for (let round = 0; round < 8; round++) {
        await trial(scene, random, room);
        for (const seat of scene.seats) scene.cluster.start(seat);
        const here = room.guests.map(({ machine }) => machine.name).toSorted();
        const text = here.join();
        const isListed = async () => {
          const list = await Array.fromAsync(store.presence<string>("room").list());
          return (
            list
              .map(({ value }) => value)
              .toSorted()
              .join() === text
          );
        };
        await scene.until(`round ${round}: ${text} are listed`, isListed, ttlMs + slackMs);
        const isWatched = () => watched.every((lists) => lists.names.join() === text);
        await scene.until(`round ${round}: ${text} are watched`, isWatched, silenceMs + slackMs);
        await scene.everybodyRuns();
      }
      stop.abort();
      assert.ok((await looking) > 500, "it is a test");
      await Promise.all(watching);
    });
  });
}
