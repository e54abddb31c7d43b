/**
 * One machine of a simulation: a name, a disk that stays, and one incarnation after another that uses it.
 *
 * 1. A crash ends everything of the incarnation at once: its timers, disk calls and connections; promises that wait for
 *    them never settle, and its doors have no effect any more.
 * 2. Nothing passes from one incarnation to the next but the disk.
 */
import { assert } from "../base/index.ts";
import type { Digest, Env, Logger } from "../base/index.ts";
import { SimClock, WallClock } from "./clock.ts";
import { SimDisk } from "./disk.ts";
import type { DiskOperation } from "./disk.ts";
import type { UnsyncedFate } from "./file.ts";
import { Incarnation } from "./incarnation.ts";
import type { SimNetwork } from "./network.ts";
import type { Prng } from "./prng.ts";
import type { Schedule } from "./schedule.ts";

/**
 * When around an operation of the disk a crash happens: before anything of it, while it is in flight (so that it may be
 * torn), or when it has taken effect and nobody was told yet.
 */
export type CrashMoment = "before" | "during" | "after";

const phases: Readonly<Record<CrashMoment, DiskOperation["phase"]>> = {
  before: "before",
  during: "issued",
  after: "done",
};

export class Machine {
  readonly name: string;
  readonly disk: SimDisk;
  /** How far the machine's wall clock is off, and how fast its clocks run; may be changed at any moment. */
  readonly wall: WallClock;
  readonly #schedule: Schedule;
  readonly #network: SimNetwork;
  readonly #random: Prng;
  readonly #digest: Digest;
  #incarnation: Incarnation;
  #env: Env;

  constructor(name: string, schedule: Schedule, network: SimNetwork, random: Prng, digest: Digest) {
    this.name = name;
    this.#schedule = schedule;
    this.#network = network;
    this.#random = random;
    this.#digest = digest;
    this.wall = new WallClock(schedule);
    this.disk = new SimDisk(schedule, random.fork("disk"));
    this.#incarnation = new Incarnation(name, 1);
    this.#env = this.#open();
  }

  get alive(): boolean {
    return this.#incarnation.alive;
  }

  /** The doors of the living incarnation. */
  get env(): Env {
    assert(this.alive, `${this.name} is down; restart it first`);
    return this.#env;
  }

  /**
   * The power fails. `unsynced` decides what becomes of changes to the disk that were not durable: each as the seed
   * chooses (the default), all `lost`, or all `kept`.
   */
  crash(options: { readonly unsynced?: UnsyncedFate } = {}): void {
    this.#die(`crash ${options.unsynced ?? "random"}`, false);
    this.disk.crash(options.unsynced ?? "random");
  }

  /**
   * The process is killed and the system goes on: what was written stays, no more durable than it was, and connections
   * are reset at once.
   */
  kill(): void {
    this.#die("kill", true);
    this.disk.abandon();
  }

  /**
   * Arranges for a crash around the disk's next-but-so-many change: 1 is the next operation that changes something
   * (`DiskOperation.changes`). It replaces the disk's hook until the crash.
   */
  crashAtChange(distance: number, moment: CrashMoment, options: { readonly unsynced?: UnsyncedFate } = {}): void {
    assert(Number.isSafeInteger(distance) && distance >= 1, `a crash at change ${distance} from now; give 1 or more`);
    const { disk } = this;
    const earlier = disk.hook;
    const target = disk.changeCount + distance;
    disk.hook = (operation) => {
      if (operation.changes && operation.changeNumber === target && operation.phase === phases[moment]) {
        disk.hook = earlier;
        this.crash(options);
        return undefined;
      }
      return earlier?.(operation);
    };
  }

  /** Gives a machine that is down an empty disk. */
  wipe(): void {
    assert(!this.alive, `${this.name} is up; crash it before its disk is changed`);
    this.#schedule.record(this.#incarnation, "wipe");
    this.disk.wipe();
  }

  /** Starts the next incarnation of a machine that is down, over the same disk. */
  restart(): Env {
    assert(!this.alive, `${this.name} is up; crash it first`);
    this.#incarnation = new Incarnation(this.name, this.#incarnation.number + 1);
    this.#env = this.#open();
    return this.#env;
  }

  /** Nothing of this machine happens for so long: a stopped virtual machine, a long collection of garbage. */
  freeze(durationMs: number): void {
    this.#schedule.record(this.#incarnation, `freeze ${durationMs}`);
    this.#schedule.freeze(this.name, this.#schedule.nowMs + durationMs);
  }

  #die(how: string, reset: boolean): void {
    assert(this.alive, `${this.name} is down already`);
    this.#schedule.record(this.#incarnation, how);
    this.#incarnation.die();
    this.#network.crash(this.#incarnation, reset);
  }

  #open(): Env {
    const incarnation = this.#incarnation;
    const random = this.#random.fork(`incarnation ${incarnation.number}`);
    this.#schedule.record(incarnation, "start");
    const startMs = random.fork("clock").between([0, 1_000_000]);
    return {
      clock: new SimClock(this.#schedule, incarnation, this.wall, startMs),
      random,
      disk: this.disk.open(incarnation),
      net: this.#network.open(incarnation),
      digest: this.#digest,
      logger: traceLogger(this.#schedule, incarnation),
    };
  }
}

/** Log lines are part of what happened. */
function traceLogger(schedule: Schedule, incarnation: Incarnation): Logger {
  return {
    log(level, message, fields) {
      if (!incarnation.alive) return;
      const rest =
        fields === undefined
          ? ""
          : ` ${Object.entries(fields)
              .map(([name, value]) => `${name}=${String(value)}`)
              .join(" ")}`;
      schedule.record(incarnation, `log ${level} ${message}${rest}`);
    },
  };
}
