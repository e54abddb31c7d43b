/**
 * Random transactions of many clients on a cluster in trouble: over keys, ranges of keys, a counter and an object at once.
 * What each has read and written must be strictly serializable (`check/serializability.ts`).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, sleep } from "../../base/index.ts";
import type { RemoteStore } from "../../member/index.ts";
import { defineObject } from "../../view/index.ts";
import type { TransactionContext } from "../../view/index.ts";
import { checkSerializable } from "../check/index.ts";
import type { SeenTransaction, Version } from "../check/index.ts";
import { Prng } from "../prng.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const Diary = defineObject("diary", {
  initial: () => ({ entries: [] as string[] }),
  /** Answers the entry before. */
  commands: { write: (state, entry: string) => state.entries[state.entries.push(entry) - 2] ?? null },
});

const keyCount = 5;
const keys = Array.from({ length: keyCount }, (_, index) => `k/${index}`);

interface Attempt {
  readonly reads: Map<string, string | undefined>;
  readonly writes: Map<string, string | undefined>;
}

/** With the revision at which it took effect, where that is known: it says whose a deletion is. */
interface Seen extends SeenTransaction {
  readonly revision: number | undefined;
}

/** Reads and writes some of everything; each value says whose it is. */
async function attempt(tx: TransactionContext, random: Prng, value: string): Promise<Attempt> {
  const [reads, writes]: [Attempt["reads"], Attempt["writes"]] = [new Map(), new Map()];
  if (random.chance(0.3)) {
    for (const key of keys) reads.set(key, undefined);
    for await (const record of tx.keys.list({ prefix: "k/" }))
      reads.set(record.text().split(" ")[0] ?? "", record.text());
  }
  for (const key of random.shuffle(keys).slice(0, random.below(3))) reads.set(key, (await tx.keys.get(key))?.text());
  for (const key of random.shuffle(keys).slice(0, random.below(3))) {
    // A deletion is seen only where something was there.
    const isDeletion = random.chance(0.3);
    if (isDeletion && (await tx.keys.get(key)) === undefined) continue;
    writes.set(key, isDeletion ? undefined : `${key} ${value}`);
    if (isDeletion) tx.keys.delete(key);
    else tx.keys.put(key, `${key} ${value}`);
  }
  if (random.chance(0.3)) {
    const count = await tx.counter("count").get();
    reads.set("count", count === 0 ? undefined : String(count));
    if (random.chance(0.5)) {
      tx.counter("count").add(1);
      writes.set("count", String(count + 1));
    }
  }
  if (random.chance(0.3)) {
    reads.set("diary", (await tx.object(Diary, "d").write(value)) ?? undefined);
    writes.set("diary", value);
  }
  return { reads, writes };
}

async function client(scene: Scene, name: string, random: Prng, endMs: number, seen: Seen[]): Promise<void> {
  const store = await scene.client(scene.seats, 4_000);
  for (let number = 0; scene.simulator.nowMs < endMs; number++) {
    const beginMs = scene.simulator.nowMs;
    const told = `${name}.${number}`;
    let runs = 0;
    let last: Attempt = { reads: new Map(), writes: new Map() };
    const body = async (tx: TransactionContext): Promise<void> => {
      // Nothing of an earlier run may be taken for this one's.
      last = { reads: new Map(), writes: new Map() };
      last = await attempt(tx, random.fork(`${told}.${runs}`), `${told}.${runs++}`);
    };
    try {
      const { revision } = await store.transaction(body);
      seen.push({ name: told, beginMs, endMs: scene.simulator.nowMs, revision, ...last });
    } catch (error) {
      assert.ok(error instanceof HoldfastError, String(error));
      // It may have taken effect; what it has read counts only if so, which its writes tell.
      if (error.maybe)
        seen.push({ name: told, beginMs, endMs: Number.POSITIVE_INFINITY, revision: undefined, ...last });
    }
    await scene.sleep(random.below(60));
  }
  await store.close();
}

/** The order in which the store itself has had the values of each item. */
async function versionsOf(store: RemoteStore, seen: readonly Seen[]): Promise<Map<string, Version[]>> {
  const writers = new Map<string, string>();
  for (const { name, writes } of seen)
    for (const [item, value] of writes) if (value !== undefined) writers.set(`${item}=${value}`, name);
  // The first event of a revision that has a value tells whose it is, where nobody was answered.
  const atRevision = new Map<number, string>();
  for (const { name, revision, writes } of seen)
    if (revision !== undefined && writes.size > 0) atRevision.set(revision, name);
  const versions = new Map<string, Version[]>();
  const add = (item: string, value: string | undefined, revision = 0) => {
    const list = versions.get(item) ?? [];
    versions.set(item, list);
    list.push({ value, writer: writers.get(`${item}=${value}`) ?? atRevision.get(revision) ?? "somebody" });
  };
  const end = await store.keys.put("k-end", "x");
  const events: { readonly key: string; readonly value: string | undefined; readonly revision: number }[] = [];
  for await (const event of store.keys.watch({ prefix: "k", from: 1 })) {
    if (event.revision >= end) break;
    const value = event.type === "put" ? event.record.text() : undefined;
    events.push({ key: event.key, value, revision: event.revision });
    const writer = writers.get(`${event.key}=${value}`);
    if (value !== undefined && writer !== undefined) atRevision.set(event.revision, writer);
  }
  for (const { key, value, revision } of events) add(key, value, revision);
  const count = await store.counter("count").get();
  for (let value = 1; value <= count; value++) add("count", String(value));
  using diary = await store.object(Diary, "d");
  for (const entry of diary.state.entries) add("diary", entry);
  return versions;
}

for (const seed of [1, 2, 3]) {
  test(`random transactions on a cluster in trouble are strictly serializable (seed ${seed})`, async () => {
    await tell({ seed: `serializable ${seed}`, memberCount: 3 }, async (scene) => {
      const random = new Prng(`serializable ${seed}`);
      const durationMs = 6_000;
      const endMs = scene.simulator.nowMs + durationMs;
      const all: Seen[] = [];
      const clients = Array.from({ length: 4 }, (_, index) =>
        client(scene, `c${index}`, random.fork(`client ${index}`), endMs, all),
      );
      await Promise.all([trouble(scene, random.fork("trouble"), durationMs - 1_000), ...clients]);
      await sleep(scene.simulator.machine("auditor").env.clock, 1_000);
      const store = await scene.client();
      const versions = await versionsOf(store, all);
      const happened = new Set([...versions.values()].flat().map(({ writer }) => writer));
      const seen = all.filter(({ name, endMs: end }) => Number.isFinite(end) || happened.has(name));
      for (const { name, endMs: end, writes } of all) {
        // What was acknowledged is there, and all of it or nothing of what was not.
        // Whose a deletion was is not known where nobody was answered.
        const known = [...writes].filter(([, value]) => value !== undefined || Number.isFinite(end));
        const found = known.filter(([item, value]) =>
          versions.get(item)?.some((one) => one.value === value && one.writer === name),
        );
        const whole = found.length === known.length || (found.length === 0 && !Number.isFinite(end));
        assert.ok(whole, `${name} has ${found.length} of its ${known.length} writes`);
      }
      const edges = checkSerializable(seen, versions);
      assert.ok(seen.length > 100 && edges > 300, `${seen.length} transactions with ${edges} edges are a test`);
      await store.close();
    });
  });
}
