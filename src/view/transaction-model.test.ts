/**
 * Random transactions of many at once over keys, a map, a set, a register and a counter, with ranges and deletions. Run again
 * one after another on plain maps, in the order of their revisions, each must see what it has seen: all of its reads, of
 * what was there, of what was not, and of what it wrote itself. That is strict serializability with the order given.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nextTurn } from "../host/index.ts";
import type { Store } from "../member/index.ts";
import { Prng } from "../sim/index.ts";
import { collect, scale } from "./fixture.suite.ts";
import type { TransactionContext } from "./index.ts";
import { kinds, openPair } from "./store-pair.suite.ts";

interface Span {
  readonly start: string;
  readonly end: string;
  readonly limit: number | undefined;
  readonly reverse: boolean;
}

type Table = "keys" | "map" | "set";
/** A set's members have no values: there `get` tells whether one is there, and `put` adds it. */
type Step =
  | { readonly type: "get"; readonly table: Table; readonly name: string }
  | { readonly type: "delete"; readonly table: Table; readonly name: string }
  | { readonly type: "put"; readonly table: Table; readonly name: string; readonly value: string }
  | { readonly type: "list"; readonly table: Table; readonly span: Span }
  | { readonly type: "read" | "remove"; readonly table: "register" }
  | { readonly type: "write"; readonly table: "register"; readonly value: string }
  | { readonly type: "count"; readonly table: "counter" }
  | { readonly type: "add" | "reset"; readonly table: "counter"; readonly amount: number };

const names = Array.from({ length: 6 }, (_, index) => `k/${index}`);

function randomStep(dice: Prng, value: string): Step {
  const choice = dice.below(20);
  if (choice === 0) return { type: "read", table: "register" };
  if (choice === 1) return { type: "remove", table: "register" };
  if (choice === 2) return { type: "write", table: "register", value };
  if (choice === 3) return { type: "count", table: "counter" };
  if (choice === 4) return { type: "add", table: "counter", amount: dice.below(9) - 4 };
  if (choice === 5) return { type: "reset", table: "counter", amount: dice.below(100) };
  const table = dice.pick<Table>(["keys", "map", "set"]);
  const name = dice.pick(names);
  if (choice < 10) return { type: "get", table, name };
  if (choice < 13) return { type: "delete", table, name };
  if (choice < 16) return { type: "put", table, name, value };
  const [start, end] = [dice.pick(names), dice.pick([...names, "k/9"])];
  const limit = dice.chance(0.5) ? 1 + dice.below(4) : undefined;
  return { type: "list", table, span: { start, end: start < end ? end : "k/9", limit, reverse: dice.chance(0.5) } };
}

/** What the step saw; undefined for what writes. */
async function run(tx: TransactionContext, step: Step): Promise<unknown> {
  if (step.table === "register") {
    const register = tx.register<string>("r");
    if (step.type === "read") return (await register.get()) ?? null;
    return step.type === "write" ? register.set(step.value) : register.delete();
  }
  if (step.table === "counter") {
    const counter = tx.counter("c");
    if (step.type === "count") return counter.get();
    return step.type === "add" ? counter.add(step.amount) : counter.set(step.amount);
  }
  if (step.table === "keys") return runOnKeys(tx, step);
  return step.table === "map" ? runOnMap(tx, step) : runOnSet(tx, step);
}

type TableStep = Extract<Step, { readonly table: Table }>;

async function runOnKeys({ keys }: TransactionContext, step: TableStep): Promise<unknown> {
  if (step.type === "get") return (await keys.get(step.name))?.text() ?? null;
  if (step.type === "put") return keys.put(step.name, step.value);
  if (step.type === "delete") return keys.delete(step.name);
  return (await collect(keys.list(step.span))).map((record) => [record.key, record.text()]);
}

async function runOnMap(tx: TransactionContext, step: TableStep): Promise<unknown> {
  const map = tx.map<string, string>("m");
  if (step.type === "get") return (await map.get(step.name)) ?? null;
  if (step.type === "put") return map.set(step.name, step.value);
  if (step.type === "delete") return map.delete(step.name);
  return (await map.list(step.span)).map(({ key, value }) => [key, value]);
}

async function runOnSet(tx: TransactionContext, step: TableStep): Promise<unknown> {
  const set = tx.set<string>("s");
  if (step.type === "get") return (await set.has(step.name)) ? "" : null;
  if (step.type === "put") return set.add(step.name);
  if (step.type === "delete") return set.delete(step.name);
  return (await set.list(step.span)).map((member) => [member, ""]);
}

/** The slow twin. */
class Model {
  readonly keys = new Map<string, string>();
  readonly map = new Map<string, string>();
  readonly set = new Map<string, string>();
  register: string | undefined;
  counter = 0;

  run(step: Step): unknown {
    switch (step.table) {
      case "register":
        if (step.type === "read") return this.register ?? null;
        this.register = step.type === "write" ? step.value : undefined;
        return undefined;
      case "counter":
        if (step.type === "count") return this.counter;
        this.counter = step.type === "add" ? this.counter + step.amount : step.amount;
        return undefined;
      default:
        return this.#runOn(this[step.table], step);
    }
  }

  #runOn(table: Map<string, string>, step: TableStep): unknown {
    if (step.type === "get") return table.get(step.name) ?? null;
    if (step.type === "put") table.set(step.name, step.table === "set" ? "" : step.value);
    if (step.type === "delete") table.delete(step.name);
    return step.type === "list" ? this.list(table, step.span) : undefined;
  }

  list(table: Map<string, string>, { start, end, limit, reverse }: Span): (readonly [string, string])[] {
    const chosen = [...table].filter(([name]) => name >= start && name < end);
    const order = reverse ? -1 : 1;
    return chosen.toSorted(([a], [b]) => (a < b ? -order : order)).slice(0, limit);
  }
}

interface Done {
  readonly name: string;
  readonly steps: readonly Step[];
  readonly saw: readonly unknown[];
  readonly revision: number;
  readonly writes: boolean;
}

const isWrite = ({ type }: Step) => !["get", "list", "read", "count"].includes(type);

async function transact(store: Store, dice: Prng, name: string, noteRun: () => void): Promise<Done> {
  const readsOnly = dice.chance(0.2);
  const all = Array.from({ length: 1 + dice.below(8) }, (_, at) => randomStep(dice, `${name}.${at}`));
  const steps = readsOnly ? all.filter((step) => !isWrite(step)) : all;
  const writes = steps.some(isWrite);
  const { value: saw, revision } = await store.transaction(
    async (tx) => {
      noteRun();
      const seen: unknown[] = [];
      for (const step of steps) {
        // Others go on meanwhile, so that some meet.
        for (let turns = dice.below(6); turns > 0; turns--) await nextTurn();
        seen.push(await run(tx, step));
      }
      // So that every one that writes has a revision of its own, also if it writes what was so before.
      if (writes) tx.keys.put(`by/${name}`, "");
      return seen;
    },
    { attemptCountMax: 1_000 },
  );
  return { name, steps, saw, revision, writes };
}

/** Those of a revision that only read come behind the one that made it. */
function replay(done: readonly Done[]): Model {
  const model = new Model();
  const ordered = done.toSorted((a, b) => a.revision - b.revision || Number(b.writes) - Number(a.writes));
  for (const [at, { name, steps, saw, revision, writes }] of ordered.entries()) {
    const before = ordered[at - 1];
    assert.ok(!writes || before === undefined || before.revision < revision, `${name} shares revision ${revision}`);
    for (const [index, step] of steps.entries())
      assert.deepEqual(saw[index], model.run(step), `${name}, step ${index}: ${JSON.stringify(step)}`);
  }
  return model;
}

for (const kind of kinds) {
  for (const seed of Array.from({ length: scale }, (_, index) => `transactions ${kind} ${index}`)) {
    test(`random transactions of many at once see what they would one after another (${seed})`, async (t) => {
      const store = (await openPair(t, seed))[kind];
      const dice = new Prng(seed);
      let runs = 0;
      const workers = Array.from({ length: 8 }, async (_, worker) => {
        const mine = dice.fork(`worker ${worker}`);
        const done: Done[] = [];
        for (let count = 0; count < 30; count++) {
          // In real time, too: what one has done comes before what it does next.
          const next = await transact(store, mine, `${worker}.${count}`, () => runs++);
          const last = done.at(-1);
          assert.ok(last === undefined || last.revision <= next.revision, `${next.name} reads the past`);
          done.push(next);
        }
        return done;
      });
      const done = (await Promise.all(workers)).flat();
      assert.ok(runs > done.length * 1.1, `${runs} runs of ${done.length} transactions: some met a conflict`);
      const model = replay(done);
      const everything: Span = { start: "k/0", end: "k/9", limit: undefined, reverse: false };
      const steps = (["keys", "map", "set"] as const).map((table): Step => ({ type: "list", table, span: everything }));
      for (const step of [...steps, { type: "read", table: "register" }, { type: "count", table: "counter" }] as Step[])
        assert.deepEqual((await store.transaction((tx) => run(tx, step))).value, model.run(step));
    });
  }
}
