/**
 * Client machines of a story that do the same work, each with dice of its own, while things happen to them: one dies and
 * another comes in its place, one stands still and goes on without noticing, one is heard by nobody for a while.
 *
 * 1. What a machine does it does by its own clock, so that nothing of it goes on when it has died.
 * 2. An error that is no `HoldfastError` ends the story.
 */
import { HoldfastError, sleep } from "../../base/index.ts";
import { connectStore } from "../../member/index.ts";
import type { RemoteStore } from "../../member/index.ts";
import type { Machine } from "../machine.ts";
import type { Prng } from "../prng.ts";
import type { Scene } from "./scenario.suite.ts";

/** One of them. */
export interface Passer {
  readonly name: string;
  readonly store: RemoteStore;
  readonly random: Prng;
  /** Aborts when the work is to end. */
  readonly stop: AbortSignal;
  /** By its own clock. */
  readonly sleep: (ms: number) => Promise<void>;
  /** Its machine stands still for so long, at once. */
  readonly standStill: (ms: number) => void;
}

export interface CrowdOptions {
  readonly name: string;
  readonly count: number;
  /** Time that a call may take. Default 10,000. */
  readonly timeoutMs?: number;
}

interface Living {
  readonly machine: Machine;
  readonly finished: Promise<void>;
}

const standstillMaxMs = 4_000;

export class Crowd {
  readonly #scene: Scene;
  readonly #random: Prng;
  readonly #options: CrowdOptions;
  readonly #behave: (passer: Passer) => Promise<void>;
  readonly #stop = new AbortController();
  readonly #living: Living[] = [];
  /** By the machine's name, simulated time. */
  readonly #standsStillUntilMs = new Map<string, number>();
  #count = 0;

  constructor(scene: Scene, random: Prng, options: CrowdOptions, behave: (passer: Passer) => Promise<void>) {
    this.#scene = scene;
    this.#random = random;
    this.#options = options;
    this.#behave = behave;
    for (let index = 0; index < options.count; index++) this.#add();
  }

  #add(): void {
    const name = `${this.#options.name}${++this.#count}`;
    const machine = this.#scene.simulator.machine(name);
    const finished = this.#live(machine, this.#random.fork(name));
    finished.catch((error: unknown) =>
      this.#scene.cluster.fail(error instanceof Error ? error : new Error(String(error))),
    );
    this.#living.push({ machine, finished });
  }

  async #live({ name, env }: Machine, random: Prng): Promise<void> {
    const addresses = this.#scene.seats.map(({ address }) => address).join();
    const { timeoutMs = 10_000 } = this.#options;
    const store = await connectStore(env, addresses, { waitForMember: true, timeoutMs, followMembers: true });
    const { signal: stop } = this.#stop;
    const standStill = (ms: number) => this.#freeze(this.#scene.simulator.machine(name), ms);
    await this.#behave({ name, store, random, stop, sleep: (ms) => sleep(env.clock, ms), standStill });
    await store.close();
  }

  /** For so long one thing after another happens to one or another of them; then they are left in peace. */
  async harass(durationMs: number): Promise<void> {
    const { simulator } = this.#scene;
    const endMs = simulator.nowMs + durationMs;
    while (simulator.nowMs < endMs) {
      await this.#scene.sleep(200 + this.#random.below(600));
      const index = this.#random.below(this.#living.length);
      const { machine } = this.#living[index] as Living;
      const dice = this.#random.float();
      if (dice < 0.3) {
        if (this.#random.chance(0.5)) machine.kill();
        else machine.crash();
        this.#living.splice(index, 1);
        this.#add();
      } else if (dice < 0.65) this.#freeze(machine, this.#random.below(standstillMaxMs));
      else if (dice < 0.9) {
        simulator.network.isolate(machine.name);
        simulator.schedule(this.#random.below(standstillMaxMs), () => simulator.network.rejoin(machine.name));
      } else simulator.network.cut(machine.name);
    }
  }

  #freeze(machine: Machine, durationMs: number): void {
    machine.freeze(durationMs);
    const untilMs = this.#scene.simulator.nowMs + durationMs;
    this.#standsStillUntilMs.set(machine.name, Math.max(this.#standsStillUntilMs.get(machine.name) ?? 0, untilMs));
  }

  /** It has died, or stood still at or after that moment of simulated time. */
  hasNotNoticed(name: string, sinceMs: number): boolean {
    return (this.#standsStillUntilMs.get(name) ?? 0) >= sinceMs || !this.#scene.simulator.machine(name).alive;
  }

  /** Lets those who live come to their end. */
  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#living.map(({ finished }) => finished));
  }
}

/** What became of a call: `refused` where it surely had no effect, `unknown` where it may have had one. */
export async function fate(call: Promise<unknown>): Promise<"done" | "refused" | "unknown"> {
  try {
    await call;
    return "done";
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return error.code === "conflict" && !error.maybe ? "refused" : "unknown";
  }
}
