/**
 * A whole world from one seed: machines with their clocks, disks and network, and a time that only moves when the next
 * event happens. What real machines do by accident happens here by the seed, and happens again with the same seed.
 *
 * How promises meet simulated time. An event runs, and with it everything that follows without waiting for another
 * event: continuations of promises, their continuations, and so on. Only when none is left may the next event happen;
 * otherwise the order of things would depend on how many `await`s a piece of code has. No code inside JavaScript can
 * tell that the queue of microtasks is empty: any chain of `await`s that one counts out can be too short for another. A
 * new turn of the host's event loop can: by the HTML standard, and equally in Node.js, a task begins only when no
 * microtask is left. So whoever makes a simulator gives it `drain`, which resolves in a new turn: `setImmediate` in
 * Node.js (`nextTurn` of the host layer), a `MessageChannel` in a browser. It is sound as long as simulated code waits
 * for nothing outside its doors, which the rules for pure layers forbid anyway.
 *
 * 1. The same seed and the same program give the same trace, byte for byte.
 * 2. Between two events no microtask is left.
 * 3. An exception from an event is a bug in what is simulated; it ends the run.
 */
import { assert } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { PlainDigest } from "./digest.ts";
import { Machine } from "./machine.ts";
import { SimNetwork } from "./network.ts";
import type { NetworkSettings } from "./network-settings.ts";
import { Prng } from "./prng.ts";
import { inner, Schedule } from "./schedule.ts";
import { Trace } from "./trace.ts";

export interface SimulatorOptions {
  /** Any text or number. All chance in the simulation comes from it. */
  readonly seed: string | number;
  /** Resolves in a new turn of the host's event loop, with no microtask left before it. */
  readonly drain: () => Promise<void>;
  /** Default: `PlainDigest`. A host's digest is faster and gives the same hashes. */
  readonly digest?: Digest;
  readonly network?: Partial<NetworkSettings>;
  /** Keep the whole trace in memory, not only its tail and fingerprint. Default false. */
  readonly wholeTrace?: boolean;
}

export interface RunOptions {
  /** Simulated time after which the run fails. Default one hour. */
  readonly limitMs?: number;
}

/** A simulation that cannot go on or went wrong. The message names the seed and ends with the latest events. */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
}

export class Simulator {
  readonly seed: string;
  /** Chance for the test itself, apart from the simulated world's own. */
  readonly random: Prng;
  readonly network: SimNetwork;
  readonly trace: Trace;
  readonly #schedule: Schedule;
  readonly #root: Prng;
  readonly #drain: () => Promise<void>;
  readonly #digest: Digest;
  readonly #machines = new Map<string, Machine>();
  #running = false;
  #eventCount = 0;

  constructor(options: SimulatorOptions) {
    this.seed = String(options.seed);
    this.#root = new Prng(this.seed);
    this.random = this.#root.fork("test");
    this.trace = new Trace({ whole: options.wholeTrace ?? false });
    this.#schedule = new Schedule(this.trace);
    this.network = new SimNetwork(this.#schedule, this.#root.fork("network"), options.network);
    this.#drain = options.drain;
    this.#digest = options.digest ?? new PlainDigest();
  }

  /** Simulated milliseconds since the beginning. */
  get nowMs(): number {
    return this.#schedule.nowMs;
  }

  /** Events that have happened. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** The machine of that name; made, and started, at the first mention. */
  machine(name: string): Machine {
    let machine = this.#machines.get(name);
    if (machine === undefined) {
      machine = new Machine(name, this.#schedule, this.network, this.#root.fork(`machine ${name}`), this.#digest);
      this.#machines.set(name, machine);
    }
    return machine;
  }

  /** All machines, in the order of their making. */
  machines(): Machine[] {
    return [...this.#machines.values()];
  }

  /** Has the test do something at a moment to come: a crash, a partition. `quiet` leaves it out of the trace. */
  schedule(delayMs: number, run: () => void, options: { readonly quiet?: boolean } = {}): void {
    this.#schedule.add(delayMs, undefined, options.quiet === true ? undefined : "test", run);
  }

  /**
   * Lets the next event happen, and everything that follows from it at the same moment. False if nothing is left.
   */
  async step(): Promise<boolean> {
    assert(!this.#running, "a simulator was stepped from inside one of its own steps");
    this.#running = true;
    try {
      return await this.#step();
    } finally {
      this.#running = false;
    }
  }

  /**
   * Lets events happen until `goal` is reached: a promise that settles (its outcome is the run's) or a condition that
   * holds between two events. Fails with `SimulationError` if nothing is left to happen before that, or after `limitMs`
   * of simulated time.
   */
  run<T>(goal: Promise<T>, options?: RunOptions): Promise<T>;
  run(goal: () => boolean, options?: RunOptions): Promise<void>;
  async run(goal: Promise<unknown> | (() => boolean), options: RunOptions = {}): Promise<unknown> {
    assert(!this.#running, "a simulator was run from inside one of its own steps");
    this.#running = true;
    try {
      const endMs = this.nowMs + (options.limitMs ?? 3_600_000);
      const reached = typeof goal === "function" ? goal : settlement(goal);
      // What was begun outside any step belongs to the moment before the first event.
      await this.#drain();
      while (!reached()) {
        const nextMs = this.#schedule.nextMs;
        if (nextMs === undefined) throw this.#error("nothing is left to happen and the goal is not reached");
        if (nextMs > endMs) throw this.#error(`the goal is not reached within ${options.limitMs ?? 3_600_000} ms`);
        await this.#step();
      }
      return typeof goal === "function" ? undefined : await goal;
    } finally {
      this.#running = false;
    }
  }

  /** Lets everything happen that is due within the next `durationMs` of simulated time. */
  async advance(durationMs: number): Promise<void> {
    let over = false;
    this.#schedule.add(durationMs, undefined, undefined, () => {
      over = true;
    });
    await this.run(() => over, { limitMs: durationMs + 1 });
  }

  async #step(): Promise<boolean> {
    const event = this.#schedule.take();
    if (event === undefined) return false;
    this.#eventCount += 1;
    let happened;
    try {
      happened = event.run();
    } catch (error) {
      throw this.#error(`an event failed (${event.label ?? "unlabelled"}): ${String(error)}`, error);
    }
    if (happened !== inner) await this.#drain();
    return true;
  }

  #error(what: string, cause?: unknown): SimulationError {
    const message = `seed ${this.seed} at ${this.nowMs.toFixed(3)} ms: ${what}\nlatest events:\n${this.trace.tail(20)}`;
    return new SimulationError(message, cause === undefined ? undefined : { cause });
  }
}

/** Whether a promise has settled, to be asked again and again. Its rejection counts as seen. */
function settlement(promise: Promise<unknown>): () => boolean {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  return () => settled;
}
