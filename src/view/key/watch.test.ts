/** Watches: every event once and in order, whoever is slow and whatever is compacted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { giveWay, HoldfastError } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import { connectStore, openStore, serveStore } from "../../member/index.ts";
import type { LocalStore, OpenOptions, Store } from "../../member/index.ts";
import { Prng } from "../../sim/index.ts";
import { Member, memoryEnv, scale, utf8 } from "../fixture.suite.ts";
import { operation } from "../index.ts";
import type { KeyChoice, KeyEvent } from "../index.ts";
import { eventShape, KeyModel, makeChoice, modelEvents, writeBoth } from "./key-model.suite.ts";
import { WatchHub } from "./watch-hub.ts";

async function openBoth(
  t: TestContext,
  seed: string,
  options: OpenOptions = {},
): Promise<{ readonly env: ReturnType<typeof memoryEnv>; readonly local: LocalStore; readonly remote: Store }> {
  const env = memoryEnv(seed);
  const local = await openStore(env, { inMemory: true, historyRevisions: 0, ...options });
  const server = await serveStore(env, local, ["memory:store"]);
  const remote = await connectStore(env, "memory:store");
  t.after(async () => {
    await remote.close();
    await server.close({ graceMs: 0 });
    await local.close();
  });
  return { env, local, remote };
}

async function sweep(store: LocalStore, limit = 100_000): Promise<void> {
  await store.replica.propose([operation(store.views.key, { operation: { case: "sweep", value: { limit } } })]);
}

/** Follows a watch to the end of `model`, which has stopped growing when `done` resolves. */
async function follow(
  store: Store,
  dice: Prng,
  model: KeyModel,
  done: Promise<void>,
): Promise<{ readonly told: string[]; readonly expected: () => string[]; readonly what: string }> {
  const choice = makeChoice(dice);
  const previous = dice.chance(0.5);
  const without = dice.pick([undefined, undefined, "put", "delete"] as const);
  const now = model.revision;
  const from = dice.chance(0.3) ? undefined : Math.max(1, now - 40 + dice.below(80));
  const slow = dice.chance(0.4);
  const abort = new AbortController();
  const told: string[] = [];
  const env = memoryEnv("pause");
  let through = 0;
  const watch = store.keys.watch({ ...choice, from, previous, without, progressMs: 5, signal: abort.signal });
  const whole = async () => {
    for await (const event of watch) {
      if (event.type === "progress") {
        assert.ok(event.revision >= through, "progress goes on");
        through = event.revision;
        continue;
      }
      assert.ok(event.revision > through, `${eventShape(event)} came behind progress ${through}`);
      told.push(eventShape(event));
      if (slow) for (let turn = dice.below(5); turn > 0; turn--) await giveWay(env.clock);
    }
  };
  const watching = whole();
  const ended = assert.rejects(watching, { code: "cancelled" });
  await done;
  while (through < model.revision) await giveWay(env.clock);
  abort.abort();
  await ended;
  const expected = () => {
    const all = modelEvents(model, choice, { from: from ?? now + 1, previous, without });
    // Without `from` it began at the latest when the first event came.
    return from === undefined ? all.slice(all.length - told.length) : all;
  };
  return { told, expected, what: `${JSON.stringify(choice)} from ${from} at ${now}, without ${without}` };
}

for (const kind of ["local", "remote"] as const) {
  for (const seed of Array.from({ length: scale }, (_, index) => `watch ${kind} ${index}`)) {
    test(`watchers of all kinds, started at any time, see what the twin says (${seed})`, async (t) => {
      const { env, local, remote } = await openBoth(t, seed, { cacheSizeMax: 16_384 });
      const store = kind === "local" ? local : remote;
      const dice = new Prng(seed);
      const model = new KeyModel();
      const finished = Promise.withResolvers<void>();
      const watches: ReturnType<typeof follow>[] = [];
      for (let step = 0; step < 500; step++) {
        await writeBoth(dice, model, local);
        if (step % 10 === 0) watches.push(follow(store, dice.fork(`watch ${step}`), model, finished.promise));
        if (dice.chance(0.1)) await giveWay(env.clock);
        if (dice.chance(0.01)) await local.checkpoint();
      }
      finished.resolve();
      let count = 0;
      for (const watch of watches) {
        const { told, expected, what } = await watch;
        assert.deepEqual(told, expected(), `${seed}: ${what}`);
        count += told.length;
      }
      assert.ok(count > 1_000, `${count} events were compared`);
    });
  }
}

/** The next so many events. */
async function take(watch: AsyncIterator<KeyEvent>, count: number): Promise<KeyEvent[]> {
  const events: KeyEvent[] = [];
  while (events.length < count) events.push((await watch.next()).value as KeyEvent);
  return events;
}

test("a reader who is behind more than memory holds reads on from the tree, and misses nothing", async (t) => {
  const { local, remote } = await openBoth(t, "ring");
  const watches = [local, remote].map((store) => store.keys.watch({ prefix: "large/", from: 1, previous: true }));
  const value = new Uint8Array(500_000);
  await local.keys.put("large/0", value);
  for (const watch of watches) assert.equal((await take(watch, 1))[0]?.revision, 1);
  for (let index = 1; index <= 80; index++) {
    value[0] = index;
    await local.keys.put(`large/${index % 7}`, value);
  }
  for (const watch of watches) {
    for (let index = 1; index <= 80; index++) {
      const [event] = await take(watch, 1);
      assert.equal(event?.record?.bytes[0], index);
      assert.equal(event?.previous?.bytes[0], index < 7 ? undefined : index - 7);
    }
    await local.keys.put("large/again", "x");
    assert.equal((await take(watch, 1))[0]?.key, "large/again");
    await watch.return();
  }
  // From any revision on, when memory has the end only.
  for (let from = 1; from <= 83; from++) {
    const late = local.keys.watch({ prefix: "large/", from });
    const wanted = [from, from + 1].slice(0, 84 - from);
    assert.deepEqual(
      (await take(late, wanted.length)).map(({ revision }) => revision),
      wanted,
    );
    await late.return();
  }
});

test("progress is never told past an event that is still to come, at whatever moment the event comes", async () => {
  for (let turns = 0; turns < 40; turns++) {
    const member = new Member(`progress ${turns}`);
    const replica = await member.open();
    await replica.propose([member.put("mine", "before")]);
    const timers: (() => void)[] = [];
    const clock: Clock = {
      ...member.env.clock,
      schedule(_, run) {
        timers.push(run);
        return { cancel() {} };
      },
    };
    const hub = new WatchHub(clock, replica);
    const watch = hub.watch({ span: { key: utf8("mine"), end: undefined }, progressMs: 5 }, undefined);
    const first = watch.next();
    while (timers.length === 0) await Promise.resolve();
    const put = replica.propose([member.put("mine", "after")]);
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    timers[0]?.();
    const { value: step } = await first;
    const { value: event } = step?.events.length === 0 ? await watch.next() : { value: step };
    assert.deepEqual([event?.revision, event?.events.length], [2, 1]);
    if (step?.events.length === 0) assert.equal(step.revision, 1, `after ${turns} turns`);
    await put;
    hub.close();
    await replica.close();
  }
});

test("a watch of what has been compacted is `trimmed`, at its start or on its way", async (t) => {
  const { local, remote } = await openBoth(t, "trimmed");
  for (let index = 1; index <= 10; index++) await local.keys.put(`k${index}`, "x");
  await local.keys.compact(5);
  for (const store of [local, remote]) {
    for (const from of [1, 5]) {
      await assert.rejects(store.keys.watch({ from }).next(), (error: unknown) => {
        assert.ok(error instanceof HoldfastError);
        assert.equal(error.code, "trimmed");
        assert.match(error.message, /up to revision 5 have been compacted.*list the keys, then watch/);
        return true;
      });
    }
    const watch = store.keys.watch({ from: 6 });
    assert.equal((await take(watch, 1))[0]?.revision, 6);
    await watch.return();
  }
  // It is so far behind that memory has let go of what it needs, and then that is compacted.
  const behind = local.keys.watch({ from: 6 });
  assert.equal((await take(behind, 1))[0]?.revision, 6);
  for (let index = 0; index < 80; index++) await local.keys.put("large", new Uint8Array(500_000));
  await local.keys.compact(60);
  await sweep(local);
  const rest = async () => {
    for await (const event of behind) assert.ok(event.revision <= 10);
  };
  await assert.rejects(rest(), { code: "trimmed" });
});

test("an idle watch outlives compactions, and goes on with the next event", async (t) => {
  const { local, remote } = await openBoth(t, "idle");
  for (const store of [local, remote]) {
    const watch = store.keys.watch({ key: "mine", progressMs: 5 });
    const { value: first } = await watch.next();
    assert.equal(first?.type, "progress");
    for (let index = 1; index <= 20; index++) await local.keys.put("other", "x");
    await local.keys.compact((await local.status()).revision);
    await sweep(local);
    const put = local.keys.put("mine", "x");
    for (;;) {
      const { value: event } = await watch.next();
      if (event?.type === "progress") continue;
      assert.equal(event?.type, "put");
      assert.equal(event?.revision, await put);
      break;
    }
    await watch.return();
  }
});

test("a watch from a revision to come begins there", async (t) => {
  const { env, local, remote } = await openBoth(t, "future");
  for (const store of [local, remote]) {
    const { revision } = await local.status();
    const watch = store.keys.watch({ from: revision + 3, progressMs: 2 });
    const reading = (async () => {
      for await (const event of watch) {
        if (event.type !== "progress") return event;
        assert.ok(event.revision <= (await local.status()).revision, "progress is not of the future");
      }
      return undefined;
    })();
    for (let index = 0; index < 50; index++) await giveWay(env.clock);
    for (let index = 1; index <= 3; index++) await local.keys.put(`k${index}`, "x");
    const event = await reading;
    assert.equal(event?.key, "k3");
  }
});

test("watches end with the signal, with the loop, and with the store", async (t) => {
  const { env, local, remote } = await openBoth(t, "ends");
  for (const store of [local, remote]) {
    const abort = new AbortController();
    const waiting = store.keys.watch({ key: "a", signal: abort.signal }).next();
    for (let turn = 0; turn < 20; turn++) await giveWay(env.clock);
    assert.equal(local.localKeys.watcherCount, 1);
    abort.abort();
    await assert.rejects(waiting, { code: "cancelled" });
    const timeout = AbortSignal.timeout(20);
    await assert.rejects(store.keys.watch({ signal: timeout }).next(), { code: "timeout" });
    await local.keys.put("a", "x");
    for await (const event of store.keys.watch({ from: 1 })) {
      assert.equal(event.key, "a");
      break;
    }
    while (local.localKeys.watcherCount > 0) await giveWay(env.clock);
  }
  const open = local.keys.watch({ key: "b" }).next();
  for (let turn = 0; turn < 20; turn++) await giveWay(env.clock);
  const closing = local.close();
  await assert.rejects(open, { code: "unavailable", message: /closed/ });
  await closing;
});

test("when the store stops by itself, its watches end", async (t) => {
  const { env, local } = await openBoth(t, "stops");
  const open = local.keys.watch({ key: "b" }).next();
  for (let turn = 0; turn < 20; turn++) await giveWay(env.clock);
  const unknown = { id: 99, result: local.views.key.result } as never;
  await assert.rejects(local.replica.propose([{ view: unknown, encoded: new Uint8Array(1) }]), { code: "unavailable" });
  await assert.rejects(open, { code: "unavailable" });
});

test("one revision with very many events, and with large previous values, comes whole", async (t) => {
  const { local, remote } = await openBoth(t, "wide");
  for (let index = 0; index < 40; index++) await local.keys.put(`large/${index}`, new Uint8Array(700_000).fill(index));
  const first = await local.keys.revision();
  const value = new Uint8Array(600);
  const wide = await local.keys.commit({
    then: Array.from({ length: 5_000 }, (_, index) => ({ put: `wide/${String(index).padStart(5, "0")}`, value })),
  });
  const small = await local.keys.commit({
    then: Array.from({ length: 40 }, (_, index) => ({ put: `large/${index}`, value: "small" })),
  });
  for (const store of [local, remote]) {
    const choices: readonly [KeyChoice, number, number][] = [
      [{ prefix: "wide/" }, 5_000, wide.revision],
      [{ prefix: "large/" }, 40, small.revision],
    ];
    for (const [choice, count, revision] of choices) {
      const watch = store.keys.watch({ ...choice, from: first + 1, previous: true });
      const events = await take(watch, count);
      await watch.return();
      assert.ok(events.every((event) => event.revision === revision));
      assert.equal(new Set(events.map(({ key }) => key)).size, count);
      if (count === 40) assert.ok(events.every(({ previous }) => previous?.bytes.length === 700_000));
    }
  }
});
