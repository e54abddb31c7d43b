/**
 * What the tests of packs share: a model of what a store must hold after a crash, and a seeded workload that keeps it.
 */
import assert from "node:assert/strict";
import { HoldfastError, toHex } from "../base/index.ts";
import type { Prng } from "../sim/index.ts";
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

/** Steps of puts, deletions, syncs and compactions, some of them at once. */
export async function work(model: Model, store: PackBlobStore, random: Prng, stepCount: number): Promise<void> {
  let open: Promise<void>[] = [];
  for (let step = 0; step < stepCount; step++) {
    const dice = random.float();
    if (dice < 0.55) {
      const count = 1 + random.below(6);
      for (let index = 0; index < count; index++) {
        const salt = random.below(60);
        const size = [40, 300, 900, 2_500, 6_000][salt % 5] as number;
        open.push(model.put(store, salt % 2 === 0 ? noise(size, salt) : prose(size, salt)));
      }
    } else if (dice < 0.75) {
      const there = [...model.blobs.values()];
      if (there.length > 0) open.push(model.delete(store, random.shuffle(there).slice(0, 1 + random.below(12))));
    } else if (dice < 0.92) {
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

export function isError(code: string): (error: unknown) => boolean {
  return (error) => error instanceof HoldfastError && error.code === code;
}
