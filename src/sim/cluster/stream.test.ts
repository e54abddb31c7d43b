/**
 * Streams in a cluster in trouble, with writers, readers and consumers that die, stand still or are cut off: everybody
 * reads the same, dense and whole; a group goes forwards; what is handled with the commit of its place is handled once.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import type { Store } from "../../member/index.ts";
import type { StreamBatch, StreamEntry } from "../../view/index.ts";
import { Crowd, fate } from "./crowd.suite.ts";
import type { Passer } from "./crowd.suite.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const ttlMs = 1_000;
const member = { cacheSizeMax: 20_000, checkpointLogSizeMin: 4_000 };
/** One that keeps everything, one that is trimmed behind its groups, one that keeps its newest. */
const streams = ["plain", "trimmed", "retained"] as const;
type StreamName = (typeof streams)[number];
const countMax = 30;
/** `noted`: the consumer commits when it is done; `once`: what it does and the commit are one transaction. */
const groups = (["plain", "trimmed"] as const).flatMap((stream) =>
  (["noted", "once"] as const).map((group) => ({ stream, group, name: `${stream} ${group}` })),
);
type Group = (typeof groups)[number];

/** One of the neighbours that one append brought. */
interface Part {
  readonly id: string;
  readonly part: number;
  /** How many there are in this stream. */
  readonly count: number;
  /** All streams that have some. */
  readonly streams: readonly string[];
  /** The tail that it was appended at, where that was a condition. */
  readonly at?: number;
}

/** What a handled entry leaves behind. */
interface Effect {
  readonly group: string;
  readonly position: number;
  readonly id: string;
}

interface Append {
  readonly beganMs: number;
  readonly endedMs: number;
  /** Where the answer has told. */
  readonly position?: number | undefined;
}

const theEnd = "the end";
const restCount = 100;

/** What everybody has seen. */
class Notes {
  readonly #scene: Scene;
  readonly begun = new Set<string>();
  readonly done = new Map<string, Append>();
  readonly refused = new Set<string>();
  /** By the stream, what is at each position. */
  readonly entries = new Map<StreamName, StreamEntry<Part>[]>(streams.map((name) => [name, []]));
  /** By the group: everything before it is known to be committed. */
  readonly committed = new Map<string, number>();
  readonly positions = new Map<string, number>();
  readonly handled = new Map<string, Set<number>>(groups.map(({ name }) => [name, new Set()]));
  readonly turns = new Map<string, number>();
  /** By the stream: where its last entry is, when it is there. */
  readonly ends = new Map<StreamName, number>();
  refusedCommitCount = 0;
  trimmedReaderCount = 0;
  consumers: Crowd | undefined;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  get nowMs(): number {
    return this.#scene.simulator.nowMs;
  }

  /** Whoever reads a position reads the same. */
  read(stream: StreamName, entry: StreamEntry<Part>): void {
    const all = this.entries.get(stream) ?? [];
    const before = all[entry.position];
    if (before !== undefined) assert.deepEqual(entry, before, `${stream} at ${entry.position}`);
    all[entry.position] = entry;
  }

  given(
    who: { readonly machine: string; readonly sinceMs: number },
    { group, name }: Group,
    batch: StreamBatch<Part>,
  ): void {
    const first = batch.entries[0]?.position ?? Number.NaN;
    for (const [index, { position }] of batch.entries.entries()) assert.equal(position, first + index);
    assert.equal(batch.next, first + batch.entries.length);
    // A transaction of one's own asks for no turn, and may commit after this one has begun.
    const committed = group === "noted" ? (this.committed.get(name) ?? 0) : 0;
    const mayErr = this.consumers?.hasNotNoticed(who.machine, who.sinceMs) === true;
    const what = `${who.machine} is given ${first} of ${name}, and ${committed} is committed`;
    assert.ok(first >= committed || mayErr, what);
    const handled = this.handled.get(name);
    // Nothing is passed over.
    if (first > 0) assert.ok(handled?.has(first - 1), `${name}: ${first} is given, and nobody had what is before it`);
    for (const { position } of batch.entries) handled?.add(position);
  }

  commit({ name }: Group, next: number): void {
    this.committed.set(name, Math.max(this.committed.get(name) ?? 0, next));
  }
}

/** Appends in one way or another, one append after another. */
async function write(passer: Passer, notes: Notes): Promise<void> {
  await Promise.all(["a", "b"].map((lane) => writeIn(`${passer.name}${lane}`, passer, notes)));
}

async function writeIn(who: string, { store, random, stop, sleep }: Passer, notes: Notes): Promise<void> {
  for (let number = 1; !stop.aborted; number++) {
    await sleep(random.below(100));
    const id = `${who}.${number}`;
    const stream = random.pick(streams);
    const parts = (count: number, into: readonly string[], at?: number): Part[] =>
      Array.from({ length: count }, (_, part) => ({ id, part, count, streams: into, ...(at !== undefined && { at }) }));
    const dice = random.float();
    let position: number | undefined;
    let appending: Promise<unknown>;
    notes.begun.add(id);
    const beganMs = notes.nowMs;
    if (dice < 0.3) appending = store.log(stream).appendMany(parts(1 + random.below(4), [stream]));
    else if (dice < 0.55) {
      // What it knows may be old.
      const info = await store
        .log(stream)
        .info({ consistency: "local" })
        .catch(() => undefined);
      const expectedTail = info?.tail ?? 0;
      appending = store.log(stream).appendMany(parts(2, [stream], expectedTail), { expectedTail });
    } else if (dice < 0.85) {
      appending = store.transaction((tx) => {
        for (const name of streams) tx.log(name).append(...parts(2, streams));
      });
    } else {
      appending = store.transaction(async (tx) => {
        const at = await tx.log(stream).tail();
        tx.log(stream).append(...parts(2, [stream], at));
      });
    }
    const became = await fate(appending.then((answer) => (position = typeof answer === "number" ? answer : undefined)));
    if (became === "done") notes.done.set(id, { beganMs, endedMs: notes.nowMs, position });
    if (became === "refused") notes.refused.add(id);
  }
}

/** Follows every stream from where it can, until the end. */
async function read({ store, random, sleep }: Passer, notes: Notes): Promise<void> {
  const follow = async (stream: StreamName) => {
    const log = store.log<Part>(stream);
    for (let next = 0; ;) {
      try {
        for await (const entry of log.tail({ from: next })) {
          assert.equal(entry.position, next++, `${stream}: nothing is lost or doubled`);
          notes.read(stream, entry);
          if (entry.value.id === theEnd) return;
          if (random.chance(0.02)) break;
          if (random.chance(0.05)) await sleep(random.below(400));
        }
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        await sleep(20);
        if (error.code !== "trimmed") continue;
        assert.notEqual(stream, "plain");
        const start = (await log.info().catch(() => undefined))?.start ?? next;
        assert.ok(start >= next, `${stream}: ${next} was trimmed, and it starts at ${start}`);
        next = start;
        notes.trimmedReaderCount++;
        if (next > (notes.ends.get(stream) ?? next)) return;
      }
    }
  };
  await Promise.all(streams.map(follow));
}

/** Has its turn in one group after another. */
async function consume(passer: Passer, notes: Notes): Promise<void> {
  const { name: machine, store, random, stop, sleep } = passer;
  while (!stop.aborted) {
    const group = random.pick(groups);
    const who = { machine, sinceMs: notes.nowMs };
    const enough = new AbortController();
    void sleep(500 + random.below(3_000)).then(() => enough.abort());
    const signal = AbortSignal.any([stop, enough.signal]);
    const options = { ttlMs, batchCount: 1 + random.below(8), signal };
    let left = 1 + random.below(12);
    let isOver = false;
    try {
      for await (const batch of store.log<Part>(group.stream).group(group.group).consume(options)) {
        assert.ok(!isOver, `${machine}: its commit was refused, and it is given more of ${group.name}`);
        notes.given(who, group, batch);
        for (const entry of batch.entries) notes.read(group.stream, entry);
        if (random.chance(0.06)) passer.standStill(ttlMs + random.below(ttlMs));
        await sleep(1 + random.below(40));
        const became = await fate(group.group === "noted" ? batch.commit() : handleOnce(passer, group, batch));
        if (became === "done") notes.commit(group, batch.next);
        if (became === "refused") {
          notes.refusedCommitCount++;
          // By then it must have been told.
          await sleep(ttlMs + 1);
          isOver = group.group === "noted";
        }
        // Whoever goes on without knowing would pass over what may not be done.
        if (group.group === "once" && became !== "done") break;
        if (--left === 0 || stop.aborted) break;
      }
      notes.turns.set(group.name, (notes.turns.get(group.name) ?? 0) + 1);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      assert.notEqual(error.code, "cancelled", "a signal ends it without error");
      await sleep(20);
    }
  }
}

/** Handles what is left of the batch, and notes the place, in one transaction: whoever has had the turn meanwhile. */
async function handleOnce(passer: Passer, { stream, group, name }: Group, batch: StreamBatch<Part>): Promise<void> {
  const { store, random, sleep } = passer;
  await store.transaction(async (tx) => {
    const place = await tx.log(stream).position(group);
    assert.ok(
      place >= batch.next - batch.entries.length,
      `${name} is at ${place}, and ${batch.next} is to be committed`,
    );
    const rest = batch.entries.filter(({ position }) => position >= place);
    if (rest.length === 0) return;
    if (random.chance(0.08)) {
      passer.standStill(ttlMs + random.below(ttlMs));
      await sleep(1);
    }
    const effects = rest.map(({ position, value }): Effect => ({ group: name, position, id: value.id }));
    tx.log("effects").append(...effects);
    tx.counter(name).add(rest.length);
    tx.log(stream).commit(group, batch.next);
  });
}

/** Sees that groups go forwards, and forgets what they are done with. */
async function trim(store: Store, notes: Notes, scene: Scene, signal: AbortSignal): Promise<void> {
  const log = store.log<Part>("trimmed");
  let start = 0;
  while (!signal.aborted) {
    await scene.sleep(200);
    try {
      for (const { stream, group, name } of groups) {
        const { position } = await store.log(stream).group(group).info();
        const before = notes.positions.get(name) ?? 0;
        assert.ok(position >= before, `${name} has gone back from ${before} to ${position}`);
        notes.positions.set(name, position);
      }
      const done = Math.min(
        ...groups.filter(({ stream }) => stream === "trimmed").map(({ name }) => notes.positions.get(name) ?? 0),
      );
      const now = await log.trim(done);
      assert.ok(now >= start && now <= done, `it starts at ${now}, and was trimmed before ${done}`);
      start = now;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
}

/** What is in a stream is whole, in order, and what was answered. */
function checkStream(stream: StreamName, entries: readonly StreamEntry<Part>[], notes: Notes): void {
  const ids = new Set<string>();
  let latestBegin = 0;
  let [revision, timeMs] = [0, 0];
  for (const [position, entry] of entries.entries()) {
    // Nobody may have seen some of what was forgotten by its bound.
    if (entry === undefined) {
      assert.equal(stream, "retained", `${stream} has nothing at ${position}`);
      continue;
    }
    const { id, part, count, at } = entry.value;
    assert.equal(entry.position, position);
    assert.ok(
      entry.revision >= revision && entry.timeMs >= timeMs,
      `${stream}: ${position} is older than what is before it`,
    );
    [revision, timeMs] = [entry.revision, entry.timeMs];
    const first = position - part;
    for (let other = 0; other < count; other++) {
      const neighbour = entries[first + other];
      if (neighbour === undefined && stream === "retained") continue;
      assert.deepEqual([neighbour?.value.id, neighbour?.value.part], [id, other], `${id} is not whole in ${stream}`);
      assert.equal(neighbour?.revision, entry.revision);
    }
    if (at !== undefined) assert.equal(first, at, `${id} was to be at ${at} of ${stream}`);
    assert.ok(!notes.refused.has(id), `${id} was refused, and is in ${stream}`);
    assert.ok(id === theEnd || notes.begun.has(id), `${id} was written by nobody`);
    if (part > 0) continue;
    assert.ok(!ids.has(id), `${id} is in ${stream} twice`);
    ids.add(id);
    const append = notes.done.get(id);
    if (append === undefined) continue;
    assert.equal(append.position ?? first, first, `${id} was told another position`);
    // Whoever ends before another begins is before it.
    assert.ok(append.endedMs >= latestBegin, `${id} is behind what began when it was there`);
    latestBegin = Math.max(latestBegin, append.beganMs);
  }
}

/** What is in one stream is in all that it was for; what was answered is there. */
function checkTogether(notes: Notes): void {
  const found = new Map<string, { readonly entry: StreamEntry<Part>; readonly places: Set<string> }>();
  for (const [stream, entries] of notes.entries) {
    for (const entry of entries) {
      if (entry === undefined || entry.value.id === theEnd) continue;
      const { id } = entry.value;
      const one = found.get(id) ?? { entry, places: new Set() };
      assert.equal(entry.revision, one.entry.revision, `${id} has one revision`);
      found.set(id, one);
      one.places.add(stream);
    }
  }
  for (const [id, { entry, places }] of found) {
    for (const stream of entry.value.streams) {
      assert.ok(places.has(stream) || stream === "retained", `${id} is not in ${stream}`);
    }
  }
  for (const [id, { position }] of notes.done) {
    // One that stood in the stream that forgets alone may have been seen by nobody.
    if (found.has(id)) continue;
    const entries = notes.entries.get("retained") ?? [];
    assert.ok(position === undefined || entries[position] === undefined, `${id} is lost`);
  }
}

/** Everything was handled, and under `once` once and in order. */
async function checkGroups(store: Store, notes: Notes): Promise<void> {
  const effects = (await Array.fromAsync(store.log<Effect>("effects").read())).map(({ value }) => value);
  for (const { stream, group, name } of groups) {
    const entries = notes.entries.get(stream) ?? [];
    assert.deepEqual(await store.log(stream).group(group).info(), { position: entries.length, lag: 0 });
    assert.equal(notes.handled.get(name)?.size, entries.length, `${name}: everything was given to somebody`);
    const mine = effects.filter((effect) => effect.group === name);
    if (group === "noted") {
      assert.equal(mine.length, 0);
      continue;
    }
    assert.equal(await store.counter(name).get(), entries.length);
    assert.deepEqual(
      mine.map(({ position, id }) => ({ position, id })),
      entries.map(({ value }, position) => ({ position, id: value.id })),
      name,
    );
  }
}

/** What can still be read is what everybody has read; forwards, backwards, and through any member. */
async function checkReading(scene: Scene, notes: Notes): Promise<void> {
  for (const seat of scene.seats) {
    const store = await scene.client([seat]);
    for (const stream of streams) {
      const log = store.log<Part>(stream);
      const { start, tail } = await log.info();
      const entries = notes.entries.get(stream) ?? [];
      assert.equal(tail, entries.length, `${stream}: the end was the last`);
      assert.deepEqual(await Array.fromAsync(log.read()), entries.slice(start));
      assert.deepEqual(await Array.fromAsync(log.read({ reverse: true })), entries.slice(start).toReversed());
      if (stream === "plain") assert.equal(start, 0);
      if (stream === "retained") assert.equal(tail - start, countMax);
    }
    await store.close();
  }
}

for (const seed of [2, 9]) {
  test(`everybody reads the same, and handles it once, whatever happens to members and clients (seed ${seed})`, async () => {
    await tell({ seed: `stream ${seed}`, memberCount: 3, member }, async (scene) => {
      const random = scene.simulator.random.fork("stream");
      const store = await scene.client();
      await store.log("retained").retain({ countMax });
      const notes = new Notes(scene);
      const crowd = (name: string, count: number, behave: (passer: Passer, notes: Notes) => Promise<void>) =>
        // A short patience leaves more calls in doubt.
        new Crowd(scene, random.fork(name), { name, count, timeoutMs: seed === 2 ? 900 : 10_000 }, (passer) =>
          behave(passer, notes),
        );
      const writers = crowd("writer", 3, write);
      const readers = crowd("reader", 2, read);
      const consumers = crowd("consumer", 7, consume);
      notes.consumers = consumers;
      const done = new AbortController();
      const trimming = trim(store, notes, scene, done.signal);
      trimming.catch((error: unknown) => scene.cluster.fail(error as Error));
      const durationMs = 2_800;
      await Promise.all([
        trouble(scene, random.fork("trouble"), durationMs),
        ...[writers, readers, consumers].map((one) => one.harass(durationMs)),
      ]);
      await writers.end();
      // A long rest while nobody writes.
      for (const [index, stream] of streams.entries()) {
        const id = `rest${index}`;
        notes.begun.add(id);
        const rest = Array.from({ length: restCount }, (_, part): Part => ({
          id,
          part,
          count: restCount,
          streams: [stream],
        }));
        await store.log(stream).appendMany(rest);
        const end: Part = { id: theEnd, part: 0, count: 1, streams: [stream] };
        notes.ends.set(stream, await store.log(stream).append(end));
      }
      await Promise.all([readers.end(), consumers.harass(1_500)]);
      await scene.until("every group is done", async () => {
        const lags = groups.map(async ({ stream, group }) => (await store.log(stream).group(group).info()).lag);
        return (await Promise.all(lags)).every((lag) => lag === 0);
      });
      await consumers.end();
      done.abort();
      await trimming;
      for (const [stream, entries] of notes.entries) checkStream(stream, entries, notes);
      checkTogether(notes);
      await checkGroups(store, notes);
      await checkReading(scene, notes);
      assert.ok((await store.log("trimmed").info()).start > 50, "it is trimmed");
      assert.ok(
        groups.every(({ name }) => (notes.turns.get(name) ?? 0) > 3),
        "turns change",
      );
    });
  });
}
