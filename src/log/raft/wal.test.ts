/** The disk of a member of a replicated log: random writes, cut at every change of the disk, against a model. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, toHex, utf8Encode } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { emptyConfiguration } from "../../raft/index.ts";
import type { Base, Entry, HardState } from "../../raft/index.ts";
import { crashEverywhere, Prng, Simulator } from "../../sim/index.ts";
import { Wal } from "./wal.ts";
import type { WalContents } from "./wal.ts";

const identity = { cluster: new Uint8Array(16).fill(3), self: 9 };
const first: Base = { index: 0, term: 0, position: 0, configuration: emptyConfiguration };
const small = { segmentSizeMin: 1_024, segmentSizeMax: 4_096 };
const digest = new NodeDigest();

const open = (env: Env): Promise<WalContents> =>
  Wal.open(env, "log", small, identity, first, {
    failed: (error) => {
      throw error;
    },
    idle: () => {},
  });

/** One item as the model sees it. */
type Item =
  | { readonly entry: Entry }
  | { readonly state: HardState }
  | { readonly base: Base; readonly reset: boolean };

class Model {
  base = first;
  state: HardState = { term: 0, vote: 0, commit: 0 };
  entries: Entry[] = [];

  get lastIndex(): number {
    return this.base.index + this.entries.length;
  }

  get lastPosition(): number {
    const last = this.entries.at(-1);
    return last === undefined ? this.base.position : last.position + last.records.length;
  }

  apply(item: Item): void {
    if ("entry" in item) {
      this.entries = [...this.entries.slice(0, item.entry.index - this.base.index - 1), item.entry];
    } else if ("state" in item) this.state = item.state;
    else {
      this.entries = item.reset ? [] : this.entries.filter(({ index }) => index > item.base.index);
      this.base = item.base;
    }
  }

  /** What `open` is expected to find: the state's term is never below the entries'. */
  contents(): unknown {
    const term = Math.max(this.state.term, this.entries.at(-1)?.term ?? this.base.term);
    return { base: this.base, state: { ...this.state, term }, entries: this.entries };
  }
}

interface Notes {
  readonly items: Item[];
  /** Items that were said to be durable. */
  durable: number;
}

async function write(env: Env, random: Prng, notes: Notes, count: number): Promise<void> {
  const { wal } = await open(env);
  const model = new Model();
  const add = (item: Item): void => {
    notes.items.push(item);
    model.apply(item);
  };
  const waiting: Promise<void>[] = [];
  for (let number = 1; number <= count; number++) {
    const dice = random.below(10);
    if (dice === 0 && model.lastIndex > model.base.index) {
      await Promise.all(waiting.splice(0));
      const kept = model.entries[random.below(model.entries.length)] as Entry;
      const position = kept.position + kept.records.length;
      const base = { ...first, index: kept.index, term: kept.term, position };
      add({ base, reset: false });
      const upTo = notes.items.length;
      await wal.trim(base);
      notes.durable = upTo;
      continue;
    }
    const { term: before } = model.state;
    const term = random.chance(0.3) ? before + 1 : Math.max(1, before);
    let reset: Base | undefined;
    if (dice === 1) {
      reset = { ...first, index: model.lastIndex + 3, term, position: model.lastPosition + 7 };
      add({ base: reset, reset: true });
    }
    const entries: Entry[] = [];
    let from = model.lastIndex + 1;
    if (term > before && model.entries.length > 0) from -= random.below(Math.min(3, model.entries.length) + 1);
    let position = model.entries[from - model.base.index - 1]?.position ?? model.lastPosition;
    for (let index = from; index < from + random.below(4); index++) {
      const records = Array.from({ length: random.below(4) }, () => utf8Encode("r".repeat(random.below(200))));
      const size = records.reduce((sum, { length }) => sum + length, 0);
      const entry: Entry = { index, term, position, records, size, configuration: undefined };
      position += records.length;
      entries.push(entry);
      add({ entry });
    }
    const state: HardState = { term, vote: random.below(4), commit: model.base.index };
    add({ state });
    const upTo = notes.items.length;
    waiting.push(
      new Promise((resolve) => {
        wal.submit({ number, reset, entries, state }, () => {
          notes.durable = upTo;
          resolve();
        });
      }),
    );
    if (random.chance(0.5)) await Promise.all(waiting.splice(0));
  }
  await Promise.all(waiting);
  await wal.close();
}

async function check(env: Env, notes: Notes): Promise<void> {
  const { wal, base, state, entries, released } = await open(env);
  const whole: Entry[] = [];
  for await (const entry of wal.read(base.index + 1)) whole.push(entry);
  for (const entry of entries) if (entry.index > released) assert.deepEqual(entry, whole[entry.index - base.index - 1]);
  const found = { base, state, entries: whole };
  const model = new Model();
  let matches = notes.durable === 0 && isDeepEqual(found, model.contents());
  for (let count = 1; count <= notes.items.length && !matches; count++) {
    model.apply(notes.items[count - 1] as Item);
    matches = count >= notes.durable && isDeepEqual(found, model.contents());
  }
  if (!matches) assert.deepEqual(found, model.contents(), `none of the states after ${notes.durable} items`);
  await wal.close();
}

function isDeepEqual(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}

test("keeps what was durable, whatever change of the disk is cut", async () => {
  let cuts = 0;
  for (const seed of [1, 2]) {
    const result = await crashEverywhere(
      { seed, drain: nextTurn, digest, recoveryCrashes: true, stride: 3, moments: ["during", "after"] },
      {
        start: (): Notes => ({ items: [], durable: 0 }),
        run: (env, notes) => write(env, new Prng(`wal ${seed}`), notes, 40),
        check,
      },
    );
    cuts += result.crashCount;
  }
  assert.ok(cuts > 60, `${cuts} cuts`);
});

test("writes the items that docs/format.md describes", async () => {
  const simulator = new Simulator({ seed: 3, drain: nextTurn, digest });
  const { env } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const { wal } = await open(env);
      const member = { id: 9, name: "a", address: "a:1", zone: "z", voter: true, outgoing: false, leaving: false };
      const configuration = {
        members: [{ ...member, replaces: 0, stays: false }],
        joint: false,
        removed: [4],
        leaderZone: "",
      };
      const entries: Entry[] = [
        {
          index: 1,
          term: 2,
          position: 0,
          records: [utf8Encode("one"), utf8Encode("")],
          size: 3,
          configuration: undefined,
        },
        { index: 2, term: 2, position: 2, records: [], size: 0, configuration },
      ];
      const state = { term: 2, vote: 9, commit: 1 };
      await new Promise<void>((resolve) => wal.submit({ number: 1, reset: undefined, entries, state }, resolve));
      const records: string[] = [];
      for await (const batch of wal.journal.read(wal.journal.start)) records.push(...batch.records.map(toHex));
      assert.deepEqual(records, [
        // base { configuration {} reset 1 cluster self }
        "1a18220028013210030303030303030303030303030303033809",
        // entry { index 1 term 2 count 2 }, then its two records
        "0a06080110022002",
        "6f6e65",
        "",
        // entry { index 2 term 2 position 2 configuration { member removed } }
        "0a1c0802100218022a140a0f08091201611a03613a3122017a28011a0104",
        "1206080210091801",
      ]);
      await wal.close();
    })(),
  );
});

test("refuses the log of another member", async () => {
  const simulator = new Simulator({ seed: 1, drain: nextTurn, digest });
  const { env } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const { wal } = await open(env);
      await wal.close();
      const other = { ...identity, self: 8 };
      await assert.rejects(
        Wal.open(env, "log", small, other, first, { failed: () => {}, idle: () => {} }),
        (error: unknown) =>
          error instanceof HoldfastError && error.code === "invalid" && error.message.includes("member 9"),
      );
    })(),
  );
});

test("waits while the disk is full, and goes on when there is space", async () => {
  const simulator = new Simulator({ seed: 2, drain: nextTurn, digest });
  const { env, disk } = simulator.machine("a");
  const { wal } = await simulator.run(open(env));
  disk.capacity = 0;
  const records = Array.from({ length: 30 }, () => new Uint8Array(1_000));
  const entry: Entry = { index: 1, term: 1, position: 0, records, size: 30_000, configuration: undefined };
  const seen = { written: false };
  wal.submit({ number: 1, reset: undefined, entries: [entry], state: { term: 1, vote: 0, commit: 0 } }, () => {
    seen.written = true;
  });
  await simulator.run(() => wal.full !== undefined);
  assert.equal(wal.full?.code, "exhausted");
  assert.equal(seen.written, false);
  disk.capacity = Number.POSITIVE_INFINITY;
  await simulator.run(() => seen.written);
  assert.equal(wal.full, undefined);
  await simulator.run(wal.close());
});

test("a trim that will not be written is told so", async () => {
  const simulator = new Simulator({ seed: 4, drain: nextTurn, digest });
  const { env, disk } = simulator.machine("a");
  const { wal } = await simulator.run(open(env));
  disk.capacity = 0;
  const records = [new Uint8Array(30_000)];
  const entry: Entry = { index: 1, term: 1, position: 0, records, size: 30_000, configuration: undefined };
  wal.submit({ number: 1, reset: undefined, entries: [entry], state: { term: 1, vote: 0, commit: 0 } }, () => {});
  const trimmed = wal.trim({ ...first, index: 1, term: 1, position: 1 });
  await simulator.run(() => wal.full !== undefined);
  const refused = assert.rejects(trimmed, { code: "unavailable" });
  await simulator.run(wal.close());
  await simulator.run(refused);
  await simulator.run(assert.rejects(wal.trim(first), { code: "unavailable" }));
});

const entryOf = (index: number, term: number, size: number): Entry => ({
  index,
  term,
  position: index - 1,
  records: [new Uint8Array(size)],
  size,
  configuration: undefined,
});

test("opens when the crash came between an entry of a new term and its state", async () => {
  const simulator = new Simulator({ seed: 5, drain: nextTurn, digest });
  const { env } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const before = await open(env);
      const state = { term: 2, vote: 7, commit: 0 };
      before.wal.submit({ number: 1, reset: undefined, entries: [], state }, () => {});
      before.wal.submit({ number: 2, reset: undefined, entries: [entryOf(1, 3, 10)], state: undefined }, () => {});
      await before.wal.close();
      const after = await open(env);
      assert.deepEqual(after.state, { term: 3, vote: 0, commit: 0 });
      await after.wal.close();
    })(),
  );
});

test("keeps term and vote when everything before them is trimmed", async () => {
  const simulator = new Simulator({ seed: 6, drain: nextTurn, digest });
  const { env } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const { wal } = await open(env);
      const state = { term: 2, vote: 7, commit: 0 };
      for (let index = 1; index <= 30; index++) {
        const write = { number: index, reset: undefined, entries: [entryOf(index, 2, 500)], state };
        await new Promise<void>((resolve) => wal.submit(write, resolve));
      }
      for (const index of [10, 20, 30]) await wal.trim({ ...first, index, term: 2, position: index });
      await wal.close();
      const after = await open(env);
      assert.deepEqual([after.state, after.base.index, after.entries], [state, 30, []]);
      await after.wal.close();
    })(),
  );
});

test("writes nothing, and says nothing is durable, behind a write that failed", async () => {
  const simulator = new Simulator({ seed: 7, drain: nextTurn, digest });
  const { env, disk } = simulator.machine("a");
  const failures: HoldfastError[] = [];
  const host = { failed: (error: HoldfastError) => failures.push(error), idle: () => {} };
  const { wal } = await simulator.run(Wal.open(env, "log", small, identity, first, host));
  disk.hook = ({ kind, phase }) =>
    kind === "rename" && phase === "before" ? new HoldfastError("unavailable", "the disk is gone") : undefined;
  const durable: number[] = [];
  const state = { term: 1, vote: 0, commit: 0 };
  for (let index = 1; index <= 12; index++) {
    const write = { number: index, reset: undefined, entries: [entryOf(index, 1, 700)], state };
    wal.submit(write, () => durable.push(index));
    wal.submit(undefined, () => durable.push(index));
    await simulator.advance(5);
  }
  await simulator.advance(100);
  assert.equal(failures.length, 1);
  await simulator.run(wal.close());
  disk.hook = undefined;
  const after = await simulator.run(open(env));
  assert.equal(after.entries.length, new Set(durable).size);
  await simulator.run(after.wal.close());
});
