/**
 * A small simulated cluster for a test that tells a story step by step: founded, with everybody running, and an inspector
 * that watches all members (`inspector.ts`).
 */
import assert from "node:assert/strict";
import { HoldfastError, sleep } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { connectStore, startMember } from "../../member/index.ts";
import type { LocalStore, OpenOptions, RemoteStore, StoreStatus } from "../../member/index.ts";
import { Simulator } from "../simulator.ts";
import { auditMembers } from "./audit.suite.ts";
import { Cluster } from "./cluster.ts";
import type { Seat } from "./cluster.ts";
import { Inspector } from "./inspector.ts";

export interface StoryOptions {
  readonly seed?: string | number;
  readonly memberCount: number;
  readonly member?: OpenOptions;
  /** Simulated time within which the story must come to its end. Default ten minutes. */
  readonly limitMs?: number;
}

/** Runs the story; then everything is healed, and all members must come to the same state. */
export async function tell(options: StoryOptions, story: (scene: Scene) => Promise<void>): Promise<void> {
  const { seed = 1, limitMs = 600_000 } = options;
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const scene = new Scene(simulator, options);
  const failed = scene.cluster.failure.then((error) => {
    throw error;
  });
  const whole = async () => {
    await scene.begin();
    await story(scene);
    await scene.end();
  };
  await simulator.run(Promise.race([whole(), failed]), { limitMs });
}

export class Scene {
  readonly simulator: Simulator;
  readonly cluster: Cluster;
  readonly #inspector: Inspector;
  #clientCount = 0;

  constructor(simulator: Simulator, { memberCount, member = {} }: StoryOptions) {
    this.simulator = simulator;
    this.cluster = new Cluster(simulator, {
      memberCount,
      launch: startMember,
      member: () => ({ segmentSizeMin: 4_096, segmentSizeMax: 16_384, packSizeMax: 16_384, ...member }),
      started: (seat, started) => this.#inspector.watch(seat, started),
    });
    this.#inspector = new Inspector(this.cluster);
  }

  async begin(): Promise<void> {
    this.cluster.found();
    await this.everybodyRuns();
  }

  get seats(): readonly Seat[] {
    return this.cluster.seats;
  }

  sleep(ms: number): Promise<void> {
    return sleep(this.simulator.machine("director").env.clock, ms);
  }

  /** Looks again and again until it is so. */
  async until(what: string, isSo: () => boolean | Promise<boolean>, withinMs = 60_000): Promise<void> {
    const endMs = this.simulator.nowMs + withinMs;
    while (!(await isSo())) {
      assert.ok(this.simulator.nowMs < endMs, `${what}: not within ${withinMs} ms`);
      await this.sleep(20);
    }
  }

  everybodyRuns(): Promise<void> {
    for (const seat of this.seats) this.cluster.start(seat);
    return this.until("everybody runs", () => this.seats.every(({ state }) => state === "running"));
  }

  store(seat: Seat): LocalStore {
    assert.ok(seat.member !== undefined, `${seat.name} runs`);
    return seat.member.store;
  }

  status(seat: Seat): Promise<StoreStatus> {
    return this.store(seat).status();
  }

  /** The seat of the leader that a member with a majority behind it knows. */
  async leader(among: readonly Seat[] = this.seats): Promise<Seat> {
    let found: Seat | undefined;
    await this.until("there is a leader", async () => {
      for (const seat of among) {
        if (seat.member === undefined) continue;
        const { role } = await this.status(seat);
        if (role === "leader") found = seat;
      }
      return found !== undefined;
    });
    return found as Seat;
  }

  others(seat: Seat): Seat[] {
    return this.seats.filter((other) => other !== seat);
  }

  /** A client on a machine of its own, of these members or of all. */
  async client(seats: readonly Seat[] = this.seats, timeoutMs = 10_000): Promise<RemoteStore> {
    const { env } = this.simulator.machine(`client${++this.#clientCount}`);
    const addresses = seats.map(({ address }) => address).join();
    return connectStore(env, addresses, { waitForMember: true, timeoutMs, followMembers: seats === this.seats });
  }

  /** Cuts a member off from the other members; clients still reach it. */
  cutOff(seat: Seat): void {
    for (const other of this.others(seat)) this.simulator.network.block(seat.machine.name, other.machine.name);
  }

  heal(): void {
    this.simulator.network.heal();
  }

  /** Everybody comes back, and all have the same state. */
  async end(): Promise<void> {
    this.heal();
    await this.everybodyRuns();
    const alike = () => new Set(this.seats.map((seat) => this.store(seat).replica.applied)).size === 1;
    await this.until("all members have applied the same", alike);
    const resting = this.seats.map((seat) => ({ name: seat.name, store: this.store(seat), env: seat.machine.env }));
    await auditMembers(resting, this.#inspector);
  }
}

/** The error that a promise rejects with. */
export async function refusal(promise: Promise<unknown>): Promise<HoldfastError> {
  try {
    const value = await promise;
    assert.fail(`it was answered: ${JSON.stringify(value)}`);
  } catch (error) {
    assert.ok(error instanceof HoldfastError, String(error));
    return error;
  }
}
