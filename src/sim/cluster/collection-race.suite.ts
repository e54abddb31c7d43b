/**
 * Collections against puts of the same contents: clients put a handful of contents again and again, slowly, and delete them,
 * while every member collects without a pause, clocks jump by a day in either direction, members crash, and a client
 * sleeps until its upload has ended. No collection begins but those of the story, so that none repairs what another one
 * has lost.
 *
 *  1. What an answered put needs is on a majority of the members at that moment, and from then on.
 *  2. When nothing is collected for a while, it is on all of them; and nothing else is after a last collection.
 */
import assert from "node:assert/strict";
import { HoldfastError } from "../../base/index.ts";
import type { RemoteStore } from "../../member/index.ts";
import { keptBlobs, neededChunks } from "../../member/kept-blobs.suite.ts";
import { Prng } from "../prng.ts";
import type { Seat } from "./cluster.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { bucketName, fileBytes, isWhole } from "./written-files.ts";

const dayMs = 86_400_000;
/** For how long an upload lasts whose client says nothing, and some time more. */
const sleepMs = 75_000;
const thinkMs = 30;
/** Past versions go every five seconds. */
const forgetMs = 6_000;
/** Between two collections of a member, at most. */
const pauseMs = 40;
/** After so long a client lets go of its upload. */
const idleMs = 20_000;
const sizes = { chunkSizeMin: 4_096, chunkSizeAverage: 4_096, chunkSizeMax: 8_192, keepMs: 0, keepCountMax: 0 };

export interface RaceOptions {
  readonly seed: string | number;
  readonly roundCount: number;
}

export async function collectionRace({ seed, roundCount }: RaceOptions): Promise<void> {
  const member = {
    checkpointLogSizeMin: 4_000,
    collection: { startMs: Number.POSITIVE_INFINITY },
    scrubbing: { startMs: Number.POSITIVE_INFINITY },
  };
  await tell({ seed, memberCount: 3, member, limitMs: 3_600_000 }, async (scene) => {
    const clients = [await scene.client(), await scene.client(), await scene.client()];
    await clients[0]?.buckets.create(bucketName, sizes);
    const race = new Race(scene, clients, new Prng(`race ${seed}`));
    for (let round = 1; round <= roundCount; round++) await race.round(round === Math.ceil(roundCount / 2));
    await race.end();
  });
}

class Race {
  readonly #scene: Scene;
  readonly #clients: readonly RemoteStore[];
  readonly #random: Prng;
  #collecting = true;
  #roundCount = 0;
  #pauseMs = pauseMs;

  constructor(scene: Scene, clients: readonly RemoteStore[], random: Prng) {
    this.#scene = scene;
    this.#clients = clients;
    this.#random = random;
  }

  /** Some puts and deletions by each client, with all members collecting. With `asleep`, the first client sleeps in it. */
  async round(asleep: boolean): Promise<void> {
    const { seats } = this.#scene;
    this.#roundCount++;
    await this.#forget();
    this.#collecting = true;
    const collecting = seats.map((seat) => this.#collectOn(seat));
    const writing = this.#clients.map((client, index) => this.#write(client, index, asleep && index === 0));
    if (this.#random.chance(0.3)) await this.#restart(this.#random.pick(seats));
    await Promise.all(writing);
    await this.#checkHolders(2);
    this.#collecting = false;
    await Promise.all(collecting);
    await this.#scene.until("every member has every chunk", () => this.#everywhere(), 30_000);
    await this.#checkReads();
    // Uploads end when their clients have had nothing to put for a while: the next round has new ones.
    await this.#scene.sleep(idleMs);
  }

  /** Files go, and their chunks stay: no state here needs them any more, and nothing has collected them yet. */
  async #forget(): Promise<void> {
    for (const [index, client] of this.#clients.entries()) {
      if (this.#random.chance(0.7)) await again(() => client.files(bucketName).delete(`p${index}`));
    }
    await this.#scene.sleep(forgetMs);
    await this.#passCheckpoints();
  }

  /** So that no kept checkpoint has files that are gone. */
  async #passCheckpoints(): Promise<void> {
    for (const value of ["1", "2"]) {
      await again(async () => this.#clients[1]?.keys.put("pass", value));
      for (const seat of this.#scene.seats) await this.#scene.store(seat).checkpoint();
    }
  }

  /** Whatever a client writes is its own; the contents are everybody's. */
  async #write(client: RemoteStore, index: number, asleep: boolean): Promise<void> {
    const random = this.#random.fork(`client ${index}`);
    const files = client.files(bucketName);
    const path = `p${index}`;
    for (let count = asleep ? 1 : 4; count > 0; count--) {
      await this.#scene.sleep(random.below(thinkMs));
      // Of its own, or one that others have put, put now or have deleted.
      const number =
        asleep || random.chance(0.5) ? 1_000 + random.below(1_000_000) : this.#roundCount + random.below(2);
      const bytes = fileBytes(number, 20_000);
      let isFirst = true;
      const sent = () => {
        if (asleep && isFirst) void this.#sleepSoon(`client${index + 1}`, random.below(6));
        isFirst = false;
      };
      await again(() => files.put(path, () => this.#slowly(bytes, random, sent)));
      if (asleep) this.#pauseMs = pauseMs;
    }
  }

  async *#slowly(bytes: Uint8Array, random: Prng, sent: () => void): AsyncGenerator<Uint8Array> {
    for (let begin = 0; begin < bytes.length; begin += 5_000) {
      await this.#scene.sleep(random.below(thinkMs));
      yield bytes.subarray(begin, begin + 5_000);
    }
    sent();
  }

  async #sleepSoon(name: string, delayMs: number): Promise<void> {
    await this.#scene.sleep(delayMs);
    this.#scene.simulator.machine(name).freeze(sleepMs);
    // What goes on meanwhile is told often enough by the other rounds.
    this.#pauseMs = 2_000;
  }

  async #collectOn(seat: Seat): Promise<void> {
    const random = this.#random.fork(seat.machine.name);
    while (this.#collecting) {
      await this.#scene.sleep(5 + random.below(this.#pauseMs));
      seat.machine.wall.offsetMs += random.pick([-dayMs, 0, 0, dayMs]);
      // Of a call to a member that dies nobody ever hears.
      const patience = this.#scene.sleep(2_000);
      if (seat.member !== undefined) await Promise.race([collect(seat.member.store), patience]);
    }
  }

  async #restart(seat: Seat): Promise<void> {
    await this.#scene.sleep(this.#random.below(100));
    this.#scene.cluster.stop(seat, { unsynced: "random" });
    await this.#scene.sleep(this.#random.below(200));
    await this.#scene.everybodyRuns();
  }

  /** Of every member what it has, and what the newest state needs. */
  async #look(): Promise<{ readonly kept: readonly Set<string>[]; readonly needed: Set<string> }> {
    const stores = this.#scene.seats.map((seat) => this.#scene.store(seat));
    const newest = stores.toSorted((a, b) => b.replica.applied - a.replica.applied)[0];
    assert.ok(newest !== undefined);
    const { clock } = this.#scene.simulator.machine("director").env;
    const get = async (hash: Uint8Array) => {
      for (const { ownChunks } of stores) {
        const bytes = await ownChunks.get(hash);
        if (bytes !== undefined) return bytes;
      }
      return undefined;
    };
    const needed = await neededChunks({ clock }, newest, get);
    return { kept: await Promise.all(stores.map(({ ownChunks }) => keptBlobs(ownChunks))), needed };
  }

  /** (1) */
  async #checkHolders(countMin: number): Promise<void> {
    await this.#scene.everybodyRuns();
    const { kept, needed } = await this.#look();
    for (const name of needed) {
      const count = kept.filter((one) => one.has(name)).length;
      assert.ok(count >= countMin, `chunk ${name} of an answered put is on ${count} members`);
    }
  }

  async #everywhere(): Promise<boolean> {
    const { kept, needed } = await this.#look();
    return kept.every((one) => [...needed].every((name) => one.has(name)));
  }

  async #checkReads(): Promise<void> {
    for (const seat of this.#scene.seats) {
      const files = this.#scene.store(seat).files(bucketName);
      for await (const record of files.list()) {
        assert.ok(isWhole(await (await files.open(record)).bytes()), `${record.path} at ${seat.name}`);
      }
    }
  }

  /** (2) */
  async end(): Promise<void> {
    const isExact = async () => {
      await this.#passCheckpoints();
      for (const seat of this.#scene.seats) await collect(this.#scene.store(seat));
      const { kept, needed } = await this.#look();
      return kept.every((one) => one.size === needed.size && [...needed].every((name) => one.has(name)));
    };
    for (let attempt = 1; !(await isExact()); attempt++) {
      assert.ok(attempt < 30, "garbage stays, or something needed is gone");
      await this.#scene.sleep(10_000);
    }
  }
}

/** Until it is answered: members die, and clients sleep. */
async function again(call: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await call();
      return;
    } catch (error) {
      if (!(error instanceof HoldfastError) || !["unavailable", "timeout"].includes(error.code) || attempt === 5)
        throw error;
    }
  }
}

/** It may be in the way of something else, or its member may die. */
async function collect(store: Pick<RemoteStore, "collect">): Promise<void> {
  try {
    for await (const _ of store.collect()) continue;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
}
