/**
 * What the tests of packs share: a model of what a store must hold after a crash, and a seeded workload that keeps it.
 */
import assert from "node:assert/strict";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Prng } from "../sim/index.ts";
import { stored } from "./collection.suite.ts";
import { hashOf, noise, prose } from "./conformance.suite.ts";
import type { BlobStore, Hash } from "./index.ts";
import type { PackBlobStore } from "./pack-store.ts";

/** Long campaigns multiply their size by this. */
export const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

export interface Known {
  readonly hash: Hash;
  readonly bytes: Uint8Array;
  /** Its put has resolved, and nobody has begun to delete it since. */
  written: boolean;
  /** Its deletion has resolved, and nobody has begun to put it since. */
  deleted: boolean;
  /** What the next crash must not change. */
  durable: "there" | "absent" | "unknown";
  /** Counts calls that change it, so that a sync knows whether one came meanwhile. */
  changes: number;
  /** Calls under way. What calls that overlap leave behind is open until one comes alone. */
  callCount: number;
}

/** Keeps what was promised about each blob while calls overlap. */
export class Model {
  readonly blobs = new Map<string, Known>();

  known(bytes: Uint8Array): Known {
    const hash = hashOf(bytes);
    const name = toHex(hash);
    let known = this.blobs.get(name);
    if (known === undefined) {
      known = { hash, bytes, written: false, deleted: true, durable: "absent", changes: 0, callCount: 0 };
      this.blobs.set(name, known);
    }
    return known;
  }

  async put(store: BlobStore, bytes: Uint8Array): Promise<void> {
    const known = this.known(bytes);
    if (known.durable === "absent") known.durable = "unknown";
    known.deleted = false;
    if (known.callCount > 0) known.written = false;
    const change = this.#begin(known);
    try {
      await store.put(known.hash, bytes.slice());
    } finally {
      known.callCount -= 1;
    }
    if (known.changes === change) known.written = true;
  }

  /** Puts many in one call, in their stored form. */
  async putStored(store: PackBlobStore, contents: readonly Uint8Array[], compressed: boolean): Promise<void> {
    const list = contents.map((bytes) => this.known(bytes));
    const changes = list.map((known) => {
      if (known.durable === "absent") known.durable = "unknown";
      known.deleted = false;
      if (known.callCount > 0) known.written = false;
      return this.#begin(known);
    });
    try {
      await store.putStored(contents.map((bytes) => stored(bytes, compressed)));
    } finally {
      for (const known of list) known.callCount -= 1;
    }
    for (const [index, known] of list.entries()) if (known.changes === changes[index]) known.written = true;
  }

  /** What a touch finds was put, or not deleted: never what was deleted. */
  async touch(store: PackBlobStore, list: readonly Known[]): Promise<void> {
    const before = list.map((known) => ({ ...known }));
    const there = await store.touch(list.map(({ hash }) => hash));
    for (const [index, known] of list.entries()) {
      const { changes, callCount, written, deleted } = before[index] as Known;
      if (known.changes !== changes || callCount > 0) continue;
      if (written) assert.equal(there[index], true, "a touch denies what is there");
      if (deleted) assert.equal(there[index], false, "a touch finds what was deleted");
    }
  }

  /** Sweeps everything that is of an earlier epoch and not among `kept`. */
  async collect(store: PackBlobStore, kept: readonly Known[]): Promise<void> {
    const before = store.beginEpoch();
    const marking = store.startMarking();
    for (const { hash } of kept) marking.mark(hash);
    const list = [...this.blobs.values()].filter((known) => !kept.includes(known));
    const changes = list.map((known) => {
      if (known.durable === "there") known.durable = "unknown";
      known.written = false;
      return this.#begin(known);
    });
    try {
      for await (const { count } of marking.sweep({ before })) assert.ok(count > 0);
    } finally {
      marking.end();
      for (const known of list) known.callCount -= 1;
    }
    for (const [index, known] of list.entries()) if (known.changes === changes[index]) known.deleted = true;
  }

  async delete(store: BlobStore, list: readonly Known[]): Promise<void> {
    const changes = list.map((known) => {
      if (known.durable === "there") known.durable = "unknown";
      known.written = false;
      return this.#begin(known);
    });
    try {
      await store.delete(list.map((known) => known.hash));
    } finally {
      for (const known of list) known.callCount -= 1;
    }
    for (const [index, known] of list.entries()) if (known.changes === changes[index]) known.deleted = true;
  }

  /** The number of the change; one that nothing has if others are under way. */
  #begin(known: Known): number {
    known.changes += 1;
    known.callCount += 1;
    return known.callCount === 1 ? known.changes : -1;
  }

  async sync(store: BlobStore): Promise<void> {
    const before = [...this.blobs.values()]
      .filter((known) => known.written || known.deleted)
      .map((known) => ({ known, changes: known.changes, durable: known.written ? "there" : "absent" }) as const);
    await store.sync();
    for (const { known, changes, durable } of before) if (known.changes === changes) known.durable = durable;
  }

  /** After a crash: what is there is what was promised, and nothing is wrong. What was found is the truth from now on. */
  async check(store: PackBlobStore, label: string): Promise<void> {
    for (const [name, known] of this.blobs) {
      const bytes = await store.get(known.hash);
      if (bytes !== undefined) assert.deepEqual(bytes, known.bytes, `${label}: wrong bytes of ${name}`);
      const found = bytes === undefined ? "absent" : "there";
      if (known.durable !== "unknown") assert.equal(found, known.durable, `${label}: ${name}`);
      known.written = found === "there";
      known.deleted = found === "absent";
      known.changes += 1;
      known.callCount = 0;
      // What is found at an open has been made durable by it.
      known.durable = found;
    }
    for await (const { hash, size } of store.list()) {
      assert.equal(this.blobs.get(toHex(hash))?.bytes.length, size, `${label}: list`);
    }
    for await (const { damages } of store.verify()) assert.deepEqual(damages, [], label);
  }
}

/** Steps of puts, touches, deletions, collections, syncs and compactions, some of them at once. */
export async function work(model: Model, store: PackBlobStore, random: Prng, stepCount: number): Promise<void> {
  let open: Promise<void>[] = [];
  let collecting = false;
  for (let step = 0; step < stepCount; step++) {
    const dice = random.float();
    const some = (count: number) => random.shuffle([...model.blobs.values()]).slice(0, count);
    if (dice < 0.4) {
      for (let count = 1 + random.below(6); count > 0; count--) open.push(model.put(store, content(random)));
    } else if (dice < 0.55) {
      const contents = new Map(
        Array.from({ length: 1 + random.below(6) }, () => content(random)).map((b) => [hashOf(b).join(), b]),
      );
      open.push(model.putStored(store, [...contents.values()], random.chance(0.4)));
    } else if (dice < 0.6) {
      open.push(model.touch(store, some(8)));
    } else if (dice < 0.73) {
      const gone = some(1 + random.below(12));
      if (gone.length > 0) open.push(model.delete(store, gone));
    } else if (dice < 0.8 && !collecting) {
      collecting = true;
      open.push(model.collect(store, some(10 + random.below(20))).finally(() => (collecting = false)));
    } else if (dice < 0.93) {
      open.push(model.sync(store));
    } else {
      open.push(store.compact());
    }
    if (random.chance(0.6)) {
      await Promise.all(open);
      open = [];
    }
  }
  await Promise.all(open);
}

/** One of few contents, so that they come again. */
function content(random: Prng): Uint8Array {
  const salt = random.below(60);
  const size = [40, 300, 900, 2_500, 6_000][salt % 5] as number;
  return salt % 2 === 0 ? noise(size, salt) : prose(size, salt);
}

export function isError(code: string): (error: unknown) => boolean {
  return (error) => error instanceof HoldfastError && error.code === code;
}

/** What one round of `verify` finds. */
export interface Verified {
  readonly damages: string[];
  /** In hexadecimal digits. */
  readonly hashes: string[];
}

/** Reads everything once. */
export async function verified(store: PackBlobStore): Promise<Verified> {
  const all: Verified = { damages: [], hashes: [] };
  for await (const { damages, damagedBlobs } of store.verify()) {
    all.damages.push(...damages);
    all.hashes.push(...damagedBlobs.map((hash) => toHex(hash)));
  }
  return all;
}
