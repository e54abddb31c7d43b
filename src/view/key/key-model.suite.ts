/**
 * The slow twin of the key view: every version of every key in a list, searched by going through all of it. And the
 * campaign that compares it with a store, whichever kind of store it is, through its public face.
 */
import assert from "node:assert/strict";
import { HoldfastError } from "../../base/index.ts";
import type { LocalStore, Store } from "../../member/index.ts";
import type { Prng } from "../../sim/index.ts";
import { operation } from "../index.ts";
import type { Commit, Condition, KeyChoice, KeyEvent, KeyRecord, Step, StepOutcome } from "../index.ts";

/** One version; without a value it is a deletion. Keys and values as text, one character a byte. */
export interface ModelVersion {
  readonly key: string;
  readonly revision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly value: string | undefined;
}

export const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

class Refused extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const text = (given: string | Uint8Array): string => (typeof given === "string" ? given : textOf(given));

function chosen(choice: KeyChoice, key: string): boolean {
  if (choice.key !== undefined) return key === text(choice.key);
  if (choice.prefix !== undefined) return key.startsWith(text(choice.prefix));
  return (
    (choice.start === undefined || key >= text(choice.start)) && (choice.end === undefined || key < text(choice.end))
  );
}

export class KeyModel {
  /** Of each key, in the order in which they were written. */
  readonly versions = new Map<string, ModelVersion[]>();
  /** Every change, in order, with what the key was before it. */
  readonly events: { readonly version: ModelVersion; readonly previous: ModelVersion | undefined }[] = [];
  revision = 0;
  compactRevision = 0;
  #writing = new Map<string, ModelVersion>();

  /** Does it all at one revision, or nothing. */
  command<T>(body: () => T): T {
    this.#writing = new Map();
    try {
      const result = body();
      if (this.#writing.size > 0) this.revision++;
      for (const [key, version] of this.#writing) {
        this.events.push({ version, previous: this.get(key, version.revision - 1) });
        this.versions.set(key, [...(this.versions.get(key) ?? []), version]);
      }
      return result;
    } finally {
      this.#writing = new Map();
    }
  }

  get(key: string, at = Number.POSITIVE_INFINITY): ModelVersion | undefined {
    const found =
      (at > this.revision ? this.#writing.get(key) : undefined) ??
      this.versions.get(key)?.findLast((one) => one.revision <= at);
    return found?.value === undefined ? undefined : found;
  }

  list(choice: KeyChoice, at = Number.POSITIVE_INFINITY): ModelVersion[] {
    const keys = new Set([...this.versions.keys(), ...this.#writing.keys()]);
    return [...keys]
      .filter((key) => chosen(choice, key))
      .toSorted(order)
      .flatMap((key) => this.get(key, at) ?? []);
  }

  #write(key: string, value: string | undefined): void {
    if (this.#writing.has(key)) throw new Refused("invalid");
    const before = this.get(key);
    const revision = this.revision + 1;
    const version = value === undefined ? 0 : (before?.version ?? 0) + 1;
    const createRevision = value === undefined ? 0 : (before?.createRevision ?? revision);
    this.#writing.set(key, { key, revision, createRevision, version, value });
  }

  put(key: string, value: string): void {
    this.#write(key, value);
  }

  delete(choice: KeyChoice): ModelVersion[] {
    const found = this.list(choice);
    for (const { key } of found) this.#write(key, undefined);
    return found;
  }

  /** What is still told of a key: what is readable at the compact revision or was written since. */
  history(key: string): ModelVersion[] {
    const all = this.versions.get(key) ?? [];
    return all.filter((one, index) => {
      const next = all[index + 1];
      if (one.revision > this.compactRevision) return true;
      return one.value !== undefined && (next === undefined || next.revision > this.compactRevision);
    });
  }

  checkPast(at: number): void {
    if (at > this.revision) throw new Refused("invalid");
    if (at < this.compactRevision) throw new Refused("trimmed");
  }

  compact(at: number): void {
    if (at > this.revision) throw new Refused("invalid");
    if (at < this.compactRevision) throw new Refused("trimmed");
    this.compactRevision = at;
  }

  #holds(condition: Condition): boolean {
    const compare = (version: ModelVersion | undefined): boolean => {
      let sign: number;
      if ("value" in condition) {
        if (version === undefined) return false;
        sign = order(version.value ?? "", textOf(condition.value as Uint8Array));
      } else if ("revision" in condition) sign = (version?.revision ?? 0) - condition.revision;
      else if ("createRevision" in condition) sign = (version?.createRevision ?? 0) - condition.createRevision;
      else if ("version" in condition) sign = (version?.version ?? 0) - condition.version;
      else throw new Error("the campaign makes no such condition");
      const { is = "equal" } = condition;
      if (is === "equal") return sign === 0;
      if (is === "notEqual") return sign !== 0;
      return is === "greater" ? sign > 0 : sign < 0;
    };
    if (condition.key !== undefined) return compare(this.get(textOf(condition.key as Uint8Array)));
    return this.list(condition).every(compare);
  }

  /** What `keys.commit` answers of it, as plain text. */
  commit({ if: conditions = [], then = [], otherwise = [] }: Commit): string {
    const succeeded = conditions.every((condition) => this.#holds(condition));
    const steps = (succeeded ? then : otherwise).map((step) => this.#step(step));
    return `${succeeded ? "then" : "otherwise"}[${steps.join(";")}]`;
  }

  #step(step: Step): string {
    if ("commit" in step) return this.commit(step.commit);
    if ("put" in step) {
      const key = textOf(step.put as Uint8Array);
      const before = this.get(key);
      this.put(key, textOf(step.value as Uint8Array));
      return `put ${step.previous === true && before !== undefined ? `was ${shape(before, false)}` : ""}`;
    }
    if ("delete" in step) {
      const found = this.delete(step.delete);
      return `delete ${found.length} ${step.previous === true ? found.map((one) => shape(one)).join() : ""}`;
    }
    const all = this.list(step.list);
    if (step.countOnly === true) return `list  of ${all.length}`;
    const ordered = step.reverse === true ? all.toReversed() : all;
    const shown = step.limit === undefined || step.limit === 0 ? ordered : ordered.slice(0, step.limit);
    const rest = shown.length < all.length ? " and more" : "";
    return `list ${shown.map((one) => shape(one, true, step.keysOnly)).join()} of ${all.length}${rest}`;
  }
}

function shape(version: ModelVersion, named = true, keysOnly = false): string {
  const value = keysOnly ? "" : Buffer.from(version.value ?? "", "latin1").toString("hex");
  const name = named ? Buffer.from(version.key, "latin1").toString("hex") : "";
  return `${name}=${value}@${version.revision},${version.createRevision},${version.version}`;
}

/** What a watch of the choice delivers from a revision on, as `eventShape` writes it. */
export function modelEvents(
  model: KeyModel,
  choice: KeyChoice,
  options: { readonly from: number; readonly previous?: boolean; readonly without?: "put" | "delete" | undefined },
): string[] {
  return model.events
    .filter(({ version }) => version.revision >= options.from && chosen(choice, version.key))
    .filter(({ version }) => options.without !== (version.value === undefined ? "delete" : "put"))
    .map(({ version, previous }) => {
      const before = options.previous === true && previous !== undefined ? ` after ${shape(previous)}` : "";
      return `${version.value === undefined ? `deleted@${version.revision}` : shape(version)}${before}`;
    });
}

export function recordShape(record: KeyRecord, named = true): string {
  const { keyBytes, bytes, revision, createRevision, version } = record;
  const name = named ? Buffer.from(keyBytes).toString("hex") : "";
  return `${name}=${Buffer.from(bytes).toString("hex")}@${revision},${createRevision},${version}`;
}

function stepShape(step: StepOutcome): string {
  switch (step.type) {
    case "put":
      return `put ${step.previous === undefined ? "" : `was ${recordShape(step.previous, false)}`}`;
    case "delete":
      return `delete ${step.count} ${step.previous.map((one) => recordShape(one)).join()}`;
    case "list":
      return `list ${step.records.map((one) => recordShape(one)).join()} of ${step.count}${step.more ? " and more" : ""}`;
    case "commit":
      return `${step.succeeded ? "then" : "otherwise"}[${step.steps.map(stepShape).join(";")}]`;
  }
}

export function eventShape(event: KeyEvent): string {
  const previous = event.previous === undefined ? "" : ` after ${recordShape(event.previous)}`;
  if (event.type === "delete") return `deleted@${event.revision}${previous}`;
  return `${recordShape(event.record)}${previous}`;
}

/** Keys that begin one another, with the bytes that escapes and range ends stumble over. */
export function makeKey(dice: Prng): string {
  const size = 1 + dice.below(3) + (dice.chance(0.1) ? 1 : 0);
  return Array.from({ length: size }, () => dice.pick(["\x00", "\x01", "\xff", "a", "b"])).join("");
}

function makeValue(dice: Prng): string {
  const size = dice.chance(0.03) ? 2_049 + dice.below(2_000) : dice.below(12);
  return textOf(dice.bytes(size));
}

export function makeChoice(dice: Prng): KeyChoice {
  const kind = dice.below(6);
  if (kind === 0) return { key: bytesOf(makeKey(dice)) };
  if (kind <= 2) return { prefix: bytesOf(dice.chance(0.1) ? "" : makeKey(dice)) };
  const start = dice.chance(0.3) ? undefined : bytesOf(makeKey(dice));
  const end = dice.chance(0.3) ? undefined : bytesOf(dice.chance(0.03) ? "" : makeKey(dice));
  return { start, end };
}

function makeCondition(dice: Prng, model: KeyModel): Condition {
  const choice = dice.chance(0.7) ? { key: bytesOf(makeKey(dice)) } : makeChoice(dice);
  const is = dice.pick(["equal", "notEqual", "greater", "less"] as const);
  const near = model.revision + 1 - dice.below(Math.min(40, model.revision + 2));
  const target = dice.pick([
    { revision: near },
    { createRevision: near },
    { version: dice.below(3) },
    { value: bytesOf(makeValue(dice)) },
  ]);
  return { ...choice, is, ...target };
}

function makeCommit(dice: Prng, model: KeyModel, depth: number): Commit {
  const steps = () => Array.from({ length: dice.below(4) }, () => makeStep(dice, model, depth));
  return {
    if: Array.from({ length: dice.below(3) }, () => makeCondition(dice, model)),
    then: steps(),
    otherwise: steps(),
  };
}

function makeStep(dice: Prng, model: KeyModel, depth: number): Step {
  const kind = dice.below(8);
  if (kind <= 2) {
    return { put: bytesOf(makeKey(dice)), value: bytesOf(makeValue(dice)), previous: dice.chance(0.5) };
  }
  if (kind <= 4) {
    const which = dice.chance(0.8) ? { key: bytesOf(makeKey(dice)) } : makeChoice(dice);
    return { delete: which, previous: dice.chance(0.5) };
  }
  if (kind === 5 && depth < 3) return { commit: makeCommit(dice, model, depth + 1) };
  return {
    list: makeChoice(dice),
    ...(dice.chance(0.3) && { limit: dice.below(4) }),
    reverse: dice.chance(0.5),
    keysOnly: dice.chance(0.3),
    countOnly: dice.chance(0.2),
  };
}

async function codeOf(call: () => Promise<unknown>): Promise<string> {
  try {
    return String(await call());
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof Refused) return `refused: ${error.code}`;
    throw error;
  }
}

export interface Campaign {
  readonly dice: Prng;
  readonly steps: number;
  /** What is under test. */
  readonly store: Store;
  /** The store behind it, for what is no public operation. */
  readonly local: LocalStore;
}

/** Random writes and reads on both; answers what was done, for the record. */
export async function keyModelCampaign({ dice, steps, store, local }: Campaign): Promise<KeyModel> {
  const model = new KeyModel();
  const context = { step: 0, what: "" };
  const same = async (what: string, actual: () => Promise<unknown>, expected: () => unknown) => {
    const message = `seed ${dice.seed}, step ${context.step}: ${what}`;
    const wanted = await codeOf(async () => expected());
    assert.equal(await codeOf(actual), wanted, message);
  };
  for (context.step = 0; context.step < steps; context.step++) {
    await write(dice, model, store, same);
    if (dice.chance(0.02)) {
      const at = dice.chance(0.1) ? model.revision + 1 : model.revision - dice.below(Math.min(60, model.revision + 1));
      await same(
        "compact",
        () => store.keys.compact(at),
        () => model.compact(at),
      );
    }
    if (dice.chance(0.03)) {
      const limit = 1 + dice.below(50);
      await local.replica.propose([operation(local.views.key, { operation: { case: "sweep", value: { limit } } })]);
    }
    if (dice.chance(0.01)) await store.checkpoint();
    if (dice.chance(0.5)) await read(dice, model, store, same);
  }
  assert.equal(await store.keys.revision(), model.revision);
  return model;
}

type Same = (what: string, actual: () => Promise<unknown>, expected: () => unknown) => Promise<void>;

/** One random write on both. */
export async function writeBoth(dice: Prng, model: KeyModel, store: Store): Promise<void> {
  await write(dice, model, store, async (what, actual, expected) => {
    const wanted = await codeOf(async () => expected());
    assert.equal(await codeOf(actual), wanted, `seed ${dice.seed}: ${what}`);
  });
}

async function write(dice: Prng, model: KeyModel, store: Store, same: Same): Promise<void> {
  const kind = dice.below(10);
  if (kind <= 3) {
    const [key, value] = [makeKey(dice), makeValue(dice)];
    const ifRevision = dice.chance(0.2) ? (model.get(key)?.revision ?? 0) + dice.below(2) : undefined;
    const ifAbsent = dice.chance(0.1);
    await same(
      `put ${key}`,
      () => store.keys.put(bytesOf(key), bytesOf(value), { ifRevision, ifAbsent }),
      () =>
        model.command(() => {
          const found = model.get(key)?.revision ?? 0;
          if (ifAbsent ? found !== 0 : ifRevision !== undefined && found !== ifRevision) throw new Refused("conflict");
          model.put(key, value);
          return model.revision + 1;
        }),
    );
  } else if (kind <= 5) {
    const choice = dice.chance(0.7) ? { key: bytesOf(makeKey(dice)) } : makeChoice(dice);
    const previous = dice.chance(0.5);
    await same(
      "delete",
      async () => {
        const outcome = await store.keys.delete(choice, { previous });
        return `${outcome.revision} ${outcome.count} ${outcome.previous.map((one) => recordShape(one)).join()}`;
      },
      () => {
        const found = model.command(() => model.delete(choice));
        return `${model.revision} ${found.length} ${previous ? found.map((one) => shape(one)).join() : ""}`;
      },
    );
  } else {
    const commit = makeCommit(dice, model, 0);
    await same(
      `commit ${JSON.stringify(commit)}`,
      async () => {
        const { revision, succeeded, steps } = await store.keys.commit(commit);
        return `${revision} ${stepShape({ type: "commit", succeeded, steps })}`;
      },
      () => {
        const done = model.command(() => model.commit(commit));
        return `${model.revision} ${done}`;
      },
    );
  }
}

async function read(dice: Prng, model: KeyModel, store: Store, same: Same): Promise<void> {
  const past = dice.chance(0.6);
  // One in thirty in the future, some compacted.
  const at = dice.chance(0.03)
    ? model.revision + 1 + dice.below(3)
    : model.revision - dice.below(Math.min(80, model.revision + 1));
  const keys = past ? store.at(at).keys : store.keys;
  const limited = past ? at : undefined;
  const check = () => {
    if (past) model.checkPast(at);
  };
  const key = makeKey(dice);
  await same(
    `get ${key} at ${limited}`,
    async () => {
      const record = await keys.get(bytesOf(key));
      return record === undefined ? "none" : recordShape(record);
    },
    () => {
      check();
      const found = model.get(key, limited);
      return found === undefined ? "none" : shape(found);
    },
  );
  const choice = makeChoice(dice);
  const limit = dice.chance(0.3) ? dice.below(5) : undefined;
  const reverse = dice.chance(0.5);
  const keysOnly = dice.chance(0.3);
  await same(
    `list ${JSON.stringify(choice)} at ${limited}, limit ${limit}, reverse ${reverse}`,
    async () => {
      const records: string[] = [];
      const listing = keys.list({ ...choice, limit, reverse, keysOnly });
      for await (const record of listing) records.push(recordShape(record));
      return records.join();
    },
    () => {
      check();
      const all = model.list(choice, limited);
      const ordered = reverse ? all.toReversed() : all;
      return ordered
        .slice(0, limit ?? all.length)
        .map((one) => shape(one, true, keysOnly))
        .join();
    },
  );
  await same(
    "count",
    () => keys.count(choice),
    () => {
      check();
      return model.list(choice, limited).length;
    },
  );
  if (!dice.chance(0.2)) return;
  // A sweep may be behind the compaction: then there is more history than must be.
  const told: string[] = [];
  for await (const event of store.keys.history(bytesOf(key))) told.push(eventShape(event));
  const must = model.history(key).map((one) => (one.value === undefined ? `deleted@${one.revision}` : shape(one)));
  const shown = told.map((one) => one.split(" after ")[0]).slice(told.length - must.length);
  assert.deepEqual(shown, must, `seed ${dice.seed}: history of ${key}`);
}
