/**
 * Follows the log: reads what it acknowledges and applies it to the running state, one command after another, answers the
 * proposers and wakes who waits, until it is stopped, between two commands; then it may be started again.
 *
 * Where the log has forgotten what is not applied here, it ends, and a newer state of other members has to be installed.
 */
import { abortable, assert, deferred, giveWay, HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { LogBatch, LogEngine } from "../log/index.ts";
import type { Checkpointer } from "./checkpointer.ts";
import { decodeCommand } from "./command.ts";
import type { CommandOutcome, DecodedCommand } from "./command.ts";
import { hasOthers } from "./log-check.ts";
import type { Pins } from "./pins.ts";
import type { Proposals } from "./proposals.ts";
import type { RunningState } from "./state.ts";
import type { StoreClock } from "./store-clock.ts";
import type { Waiters } from "./waiters.ts";

export interface FollowerParts {
  readonly log: LogEngine;
  readonly state: RunningState;
  readonly clock: StoreClock;
  readonly proposals: Proposals;
  readonly pins: Pins;
  readonly checkpointer: Pick<Checkpointer, "grown" | "pressing" | "takePinsSoon">;
  readonly waiters: Waiters;
  /** The log has failed, or the applying, which is a bug. */
  readonly fail: (error: unknown) => void;
}

/** How long commands are applied before other work gets its turn. */
const sliceMs = 4;

export class Follower {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #log: LogEngine;
  readonly #state: RunningState;
  readonly #clock: StoreClock;
  readonly #proposals: Proposals;
  readonly #pins: Pins;
  readonly #checkpointer: FollowerParts["checkpointer"];
  readonly #waiters: Waiters;
  readonly #fail: (error: unknown) => void;
  readonly #leftBehind = deferred<void>();
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(env: Pick<Env, "clock" | "logger">, parts: FollowerParts) {
    this.#env = env;
    this.#log = parts.log;
    this.#state = parts.state;
    this.#clock = parts.clock;
    this.#proposals = parts.proposals;
    this.#pins = parts.pins;
    this.#checkpointer = parts.checkpointer;
    this.#waiters = parts.waiters;
    this.#fail = parts.fail;
  }

  /** Resolves when the log is found to begin behind the state for the first time. */
  get leftBehind(): Promise<void> {
    return this.#leftBehind.promise;
  }

  /** From where the state is. */
  start(): void {
    this.#stop = new AbortController();
    this.#running = this.#run();
  }

  /** Resolves when nothing is applied any more. */
  stop(): Promise<void> {
    this.#stop.abort();
    return this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const batch of this.#log.read(this.#state.applied, { signal })) {
        await this.#applyBatch(batch);
        if (signal.aborted) return;
      }
      if (!signal.aborted) throw new HoldfastError("unavailable", "the log was closed under the store");
    } catch (error) {
      if (this.#isLeftBehind(error)) {
        this.#leftBehind.resolve();
        const [at, start] = [this.#state.applied, this.#log.start()];
        this.#env.logger.log("warn", "left behind: waiting for a newer state of other members", {
          position: at,
          start,
        });
      } else this.#fail(error);
    }
  }

  /** The other members have what is missing here. On a log of one member, records that are gone are lost. */
  #isLeftBehind(error: unknown): boolean {
    const trimmed = error instanceof HoldfastError && error.code === "trimmed";
    return trimmed && hasOthers(this.#log) && this.#log.start() > this.#state.applied;
  }

  async #applyBatch({ position: first, records }: LogBatch): Promise<void> {
    assert(first === this.#state.applied, "the log goes on where the state is");
    const { clock } = this.#env;
    const commands = records.map((record, index) => this.#decode(first + index, record));
    const fetching = this.#state.prefetch(commands);
    if (fetching !== undefined) await fetching;
    let sliceEndMs = clock.monotonicMs() + sliceMs;
    for (let index = 0; index < commands.length; index++) {
      const command = commands[index];
      if (command === undefined) this.#state.pass();
      else {
        const applied = this.#state.apply(command);
        const outcome = applied instanceof Promise ? await applied : applied;
        if (this.#pins.hasNew) await this.#pin(command, outcome);
        else this.#proposals.answer(command, outcome);
      }
      if (index % 16 === 15 && clock.monotonicMs() > sliceEndMs) {
        this.#waiters.wake(this.#state.applied);
        await giveWay(clock);
        sliceEndMs = clock.monotonicMs() + sliceMs;
      }
      if (this.#stop.signal.aborted) return;
    }
    this.#clock.hear(this.#state.timeMs);
    this.#waiters.wake(this.#state.applied);
    this.#state.tree.trimCache();
    this.#checkpointer.grown(records);
    const { pressing } = this.#checkpointer;
    // Whoever stops the reading may be the one that is waited for.
    if (pressing !== undefined) await abortable(pressing, this.#stop.signal).catch(() => {});
  }

  /** The command has made a snapshot: of the state as it is now. */
  async #pin(command: DecodedCommand, outcome: CommandOutcome): Promise<void> {
    this.#pins.freeze(await this.#state.freeze());
    this.#checkpointer.takePinsSoon();
    this.#proposals.answer(command, outcome);
    const { signal } = this.#stop;
    for (let room = this.#pins.room(); room !== undefined && !signal.aborted; room = this.#pins.room()) {
      this.#waiters.wake(this.#state.applied);
      await abortable(room, signal).catch(() => {});
    }
  }

  /** A record that is no command is passed over, by every replica alike. */
  #decode(at: number, record: Uint8Array): DecodedCommand | undefined {
    try {
      return decodeCommand(record);
    } catch (error) {
      this.#env.logger.log("error", "a record of the log is no command", { position: at, error: String(error) });
      return undefined;
    }
  }
}
