/**
 * Queues in a cluster in trouble, with workers that die, stand still or are cut off for longer than their leases live:
 * every job that was pushed is done, what is done with its acknowledgement happens once, what fails too often is dead.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import type { Store } from "../../member/index.ts";
import type { Job, PushOptions, Queue } from "../../view/index.ts";
import { Crowd, fate } from "./crowd.suite.ts";
import type { Passer } from "./crowd.suite.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

interface Task {
  readonly name: string;
  /** Fails whoever works on it. */
  readonly poison: boolean;
}

/** What a job leaves behind, in the command that acknowledges it. */
interface Effect {
  readonly name: string;
  readonly id: number;
  readonly attempt: number;
}

const attemptCountMax = 5;
const ttlMs = 1_200;
const longMs = 600_000;
const member = { cacheSizeMax: 20_000, checkpointLogSizeMin: 4_000 };

/** What everybody has seen, against which the state is held at the end. */
class Notes {
  /** By the name of the task: the id of the job of which it is known that it was pushed. */
  readonly pushed = new Map<string, number>();
  /** Tasks of which a push has begun. */
  readonly begun = new Set<string>();
  readonly delivered = new Set<string>();
  /** By the id of the job: the latest attempt that somebody has got. */
  readonly lastAttempt = new Map<number, number>();
  readonly acknowledged = new Set<string>();
  readonly refused = new Set<string>();

  push(name: string, id: number): void {
    assert.equal(this.pushed.get(name) ?? id, id, `${name} is one job`);
    this.pushed.set(name, id);
  }

  deliver(id: number, attempt: number): void {
    const what = `${id} as attempt ${attempt}`;
    assert.ok(!this.delivered.has(what), `job ${what} was leased to two`);
    this.delivered.add(what);
    this.lastAttempt.set(id, Math.max(this.lastAttempt.get(id) ?? 0, attempt));
  }
}

/** Pushes tasks, with a key until it is known that they are there, or without one and perhaps in vain. */
async function produce({ name: who, store, random, stop, sleep }: Passer, notes: Notes): Promise<void> {
  const queue = store.queue<Task>("jobs");
  const keyed: Task[] = [];
  for (let number = 1; !stop.aborted; number++) {
    await sleep(random.below(80));
    const name = `${who}.${number}`;
    const task = { name, poison: random.chance(0.08) };
    const delayMs = random.chance(0.2) ? random.below(500) : 0;
    const priority = random.below(3);
    notes.begun.add(name);
    if (random.chance(0.2)) {
      const pushing = queue.push(task, { delayMs, priority });
      if ((await fate(pushing)) !== "done") continue;
      notes.push(name, (await pushing).id);
      continue;
    }
    await pushWithKey(queue, task, { delayMs, priority }, notes);
    keyed.push(task);
    // It may be done by now, but its key is remembered.
    if (random.chance(0.3)) await pushWithKey(queue, random.pick(keyed), {}, notes);
  }
}

async function pushWithKey(queue: Queue<Task>, task: Task, options: PushOptions, notes: Notes): Promise<void> {
  const { name } = task;
  for (let known = false; !known;) {
    try {
      const { id, duplicate } = await queue.push(task, { ...options, dedupKey: name, dedupMs: longMs });
      assert.ok(duplicate || !notes.pushed.has(name), `${name} was pushed again`);
      notes.push(name, id);
      known = true;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
}

/** Works on one job: well, badly, late, or not at all. */
async function handle({ store, random, sleep }: Passer, job: Job<Task>, notes: Notes): Promise<void> {
  const { id, attempt } = job;
  const { name, poison } = job.value;
  notes.deliver(id, attempt);
  const dice = random.float();
  if (poison || dice < 0.1) {
    await fate(job.reject({ error: "it does not work", ...(random.chance(0.5) && { delayMs: 0 }) }));
    return;
  }
  if (dice < 0.17) return;
  if (dice < 0.27) await sleep(ttlMs + random.below(ttlMs));
  else if (dice < 0.35) {
    const stop = job.keep();
    await sleep(2 * ttlMs);
    stop();
  } else await sleep(random.below(50));
  const leave = random.chance(0.5);
  const became = await fate(
    store.transaction(async (tx) => {
      if (leave) tx.queue("jobs").ack(job);
      tx.counter("done").add(1);
      tx.log("effects").append({ name, id, attempt } satisfies Effect);
      const handled = tx.map<number, string>("handled");
      handled.set(name, ((await handled.get(name)) ?? 0) + 1);
      if (!leave) tx.queue("jobs").ack(job);
    }),
  );
  if (became === "done") notes.acknowledged.add(`${id} as attempt ${attempt}`);
  if (became === "refused") notes.refused.add(`${id} as attempt ${attempt}`);
}

async function work(passer: Passer, notes: Notes): Promise<void> {
  const { store, random, stop, sleep } = passer;
  const queue = store.queue<Task>("jobs");
  while (!stop.aborted) {
    let jobs: readonly Job<Task>[] = [];
    try {
      jobs = await queue.pull({ count: 1 + random.below(3), ttlMs, signal: stop });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      await sleep(20);
    }
    for (const job of jobs) await handle(passer, job, notes);
  }
}

/** Waits until all that is left is dead. */
async function untilDone(scene: Scene, store: Store): Promise<void> {
  await scene.until("every job is done or dead", async () => {
    const { ready, delayed, leased } = await store.queue("jobs").info();
    return ready + delayed + leased === 0;
  });
}

/** Everything adds up: what was left behind, what is dead, and what everybody remembers. */
async function check(store: Store, notes: Notes): Promise<void> {
  const effects = (await Array.fromAsync(store.log<Effect>("effects").read())).map(({ value }) => value);
  const doneNames = new Map(effects.map((effect) => [effect.name, effect]));
  assert.equal(doneNames.size, effects.length, "nothing is done twice");
  assert.equal(await store.counter("done").get(), effects.length);
  for await (const { key, value } of store.map<number, string>("handled").entries()) {
    assert.equal(value, 1, key);
    assert.ok(doneNames.has(key), key);
  }
  const handled = new Set(effects.map(({ id, attempt }) => `${id} as attempt ${attempt}`));
  for (const one of notes.acknowledged) assert.ok(handled.has(one), `${one} was acknowledged, and is lost`);
  for (const one of notes.refused) assert.ok(!handled.has(one), `${one} was refused, and has left something`);
  for (const { name, id, attempt } of effects) {
    assert.equal(
      attempt,
      notes.lastAttempt.get(id),
      `${name} is done by who had lost it, or was leased when it was done`,
    );
  }
  for (const one of handled) assert.ok(notes.delivered.has(one), `${one} was delivered to nobody`);
  const dead = await Array.fromAsync(store.queue<Task>("jobs").list({ dead: true }));
  const deadNames = new Map(dead.map((job) => [job.value.name, job]));
  assert.equal(deadNames.size, dead.length);
  for (const { value, attempt, error } of dead) {
    assert.equal(attempt, attemptCountMax, value.name);
    assert.match(error, /it does not work|its lease has ended/);
    assert.ok(!doneNames.has(value.name), `${value.name} is done and dead`);
  }
  for (const [name, id] of notes.pushed) {
    const left = doneNames.get(name) ?? deadNames.get(name);
    assert.equal(left?.id, id, `${name} was pushed as ${id}, and is lost`);
  }
  for (const name of [...doneNames.keys(), ...deadNames.keys()]) {
    assert.ok(notes.begun.has(name), `${name} was pushed by nobody`);
  }
  const { dead: deadCount } = await store.queue("jobs").info();
  assert.equal(deadCount, dead.length);
}

for (const seed of [1, 2, 3]) {
  test(`every job is done, and once, whatever happens to members and workers (seed ${seed})`, async () => {
    await tell({ seed: `queue ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("queue");
      const store = await scene.client();
      const queue = store.queue<Task>("jobs");
      await queue.configure({ attemptCountMax, retryMinMs: 50, retryMaxMs: 400 });
      const notes = new Notes();
      const producers = new Crowd(scene, random.fork("producers"), { name: "producer", count: 2 }, (passer) =>
        produce(passer, notes),
      );
      const workers = new Crowd(scene, random.fork("workers"), { name: "worker", count: 4 }, (passer) =>
        work(passer, notes),
      );
      const durationMs = 8_000;
      await Promise.all([
        trouble(scene, random.fork("trouble"), durationMs),
        producers.harass(durationMs),
        workers.harass(durationMs),
      ]);
      await producers.end();
      await untilDone(scene, store);
      await workers.end();
      await check(store, notes);
    });
  });
}

for (const seed of [1, 2]) {
  test(`one worker gets every job in its turn, and once, whatever happens to members (seed ${seed})`, async () => {
    await tell({ seed: `queue order ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("queue");
      // Nothing that it asks for stays unanswered, and so it is never in doubt whether a job is its own.
      const store = await scene.client(scene.seats, 60_000);
      const queue = store.queue<number>("jobs");
      const priorities = Array.from({ length: 120 }, () => random.below(5));
      const pushed = await queue.pushMany(priorities.map((priority, value) => ({ value, priority })));
      const inOrder = pushed
        .map(({ id }, value) => ({ id, value, priority: priorities[value] ?? 0 }))
        .toSorted((a, b) => b.priority - a.priority || a.id - b.id);
      const troubled = trouble(scene, random.fork("trouble"), 6_000);
      for await (const job of queue.consume({ ttlMs: 60_000 })) {
        await scene.sleep(random.below(100));
        assert.equal(job.attempt, 1);
        await job.transaction((tx) => tx.log("effects").append(job.value));
        if (job.value === inOrder.at(-1)?.value) break;
      }
      await troubled;
      const effects = await Array.fromAsync(store.log<number>("effects").read());
      assert.deepEqual(
        effects.map(({ value }) => value),
        inOrder.map(({ value }) => value),
      );
    });
  });
}

for (const seed of [1, 2]) {
  test(`a push whose answer is lost with its member is one job, without any key (seed ${seed})`, async () => {
    await tell({ seed: `queue push ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("queue");
      const store = await scene.client();
      const known = new Map<string, number>();
      const push = async ({ name: who, store: near, random: dice, stop, sleep }: Passer, lane: number) => {
        for (let number = 1; !stop.aborted; number++) {
          await sleep(dice.below(40));
          const name = `${who}.${lane}.${number}`;
          const pushing = near.queue<string>("jobs").push(name);
          if ((await fate(pushing)) === "done") known.set(name, (await pushing).id);
        }
      };
      const producers = new Crowd(scene, random.fork("producers"), { name: "producer", count: 3 }, async (passer) => {
        await Promise.all([1, 2, 3].map((lane) => push(passer, lane)));
      });
      await trouble(scene, random.fork("trouble"), 4_000);
      await producers.end();
      const jobs = await Array.fromAsync(store.queue<string>("jobs").list());
      const ids = new Map(jobs.map(({ value, id }) => [value, id]));
      assert.equal(ids.size, jobs.length, "nothing is pushed twice");
      for (const [name, id] of known) assert.equal(ids.get(name), id, `${name} was pushed as ${id}, and is lost`);
      assert.ok(known.size > 200, `${known.size} pushes are a test`);
    });
  });
}
