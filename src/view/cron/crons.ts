/**
 * Crons, as a user sees them. Every process that runs a cron waits for its turn, a lock of its own kind; who has the turn
 * notes in the store that a tick begins, does its work, and notes that it is done.
 *
 * 1. Ticks of a cron are begun one after another, each later than the one before, and never two at a time: what is noted
 *    is noted in one command with the check of the turn.
 * 2. A tick that was begun and not done, because its process died or lost its turn, is begun again by who has the next
 *    turn, `attemptCountMax` times in all. What its work does in `tick.transaction` happens once.
 * 3. When a tick is due is told by the clock of the process that has the turn. Clocks that differ make a tick early or late,
 *    never double (1).
 */
import { HoldfastError, isAborted, sleep } from "../../base/index.ts";
import { accepted } from "../command.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { Hold } from "../lock/hold.ts";
import type { LockParts } from "../lock/hold.ts";
import { MapPart } from "../map/map-part.ts";
import type { CallOptions } from "../map/map-part.ts";
import type { MapView } from "../map/map-view.ts";
import { listMaps, registerKey } from "../map/maps.ts";
import { checkedName, checkedWhole, decodeValue } from "../value.ts";
import { isPassing } from "../view-source.ts";
import { stateOperations } from "./cron-state.ts";
import type { CronState } from "./cron-state.ts";
import { CronTick } from "./cron-tick.ts";
import { Schedule } from "./schedule.ts";

export interface CronParts extends LockParts {
  readonly mapView: MapView;
}

export interface CronOptions extends CallOptions {
  /** Of the schedule, such as `Europe/Berlin`. Default `UTC`. */
  readonly timeZone?: string | undefined;
  /**
   * What becomes of ticks at which nobody ran it, or the work of an earlier one was not done: the `last` of them is begun
   * late (default), `all` of them are, or `none` that is more than a minute late.
   */
  readonly catchUp?: "none" | "last" | "all" | undefined;
  /** How often the work of one tick is begun, if its processes die. Default 3; with 1 it is begun once at most. */
  readonly attemptCountMax?: number | undefined;
  /** How long the turn outlives the last sign of life of its process. Default 10,000. */
  readonly ttlMs?: number | undefined;
}

export interface CronInfo {
  readonly schedule: string;
  readonly timeZone: string;
  /** The tick that was begun last, milliseconds since the Unix epoch; undefined before the first. */
  readonly lastMs: number | undefined;
  /** How often the work of that tick was begun. */
  readonly attempt: number;
  /** It is not known to be over: it runs, or its process has died. */
  readonly running: boolean;
  /** Why the work of that tick failed; empty if it did not. */
  readonly error: string;
  /** The first tick behind the last one. */
  readonly nextMs: number;
}

/** A tick that is later than this is not begun where nothing is to be caught up. */
const lateMs = 60_000;
/** The longest sleep before the clock is looked at anew. */
const napMs = 60_000;
/** Before somebody whom no member answered asks again. */
const pauseMs = 1_000;
const hourMs = 3_600_000;

export class Cron {
  readonly name: string;
  readonly #parts: CronParts;
  readonly #part: MapPart;

  /** @internal */
  constructor(parts: CronParts, name: string) {
    this.#parts = parts;
    this.name = checkedName(name, "cron");
    this.#part = new MapPart({ env: parts.env, source: parts.source, view: parts.mapView }, { space: "cron", name });
  }

  /**
   * Runs until `signal` aborts: does the work at the ticks of the schedule (five fields or a shortcut such as `@hourly`),
   * whenever this process has the turn among all that run the cron of this name. Work that throws is done, and its error
   * is kept; work that still runs at the next tick makes that one late. When the schedule is another than the cron's last
   * one, it counts from now on. Resolves when the work that was under way is over. `invalid` for a schedule or a zone that
   * is none.
   */
  async run(schedule: string, work: (tick: CronTick) => unknown, options: CronOptions = {}): Promise<void> {
    const { signal, ttlMs, attemptCountMax = 3 } = options;
    const ticks = new Schedule(schedule, options.timeZone);
    checkedWhole(attemptCountMax, "attemptCountMax");
    const { env, source } = this.#parts;
    while (!isAborted(signal)) {
      try {
        const turn = { kind: "cron", name: this.name } as const;
        await using hold = await Hold.acquire(this.#parts, turn, { mode: "exclusive", ttlMs, signal });
        await this.#runTurn(hold, ticks, work, { ...options, attemptCountMax });
      } catch (error) {
        if (isAborted(signal)) return;
        const turnIsLost = error instanceof HoldfastError && error.code === "conflict";
        if (source.closed || !(turnIsLost || isPassing(error))) throw error;
        env.logger.log("warn", "the turn of a cron is over; it waits for the next", {
          cron: this.name,
          error: String(error),
        });
        await sleep(env.clock, pauseMs, signal).catch(() => {});
      }
    }
  }

  async #runTurn(
    hold: Hold,
    schedule: Schedule,
    work: (tick: CronTick) => unknown,
    { signal, catchUp = "last", attemptCountMax }: CronOptions & { readonly attemptCountMax: number },
  ): Promise<void> {
    const stop = signal === undefined ? hold.signal : AbortSignal.any([hold.signal, signal]);
    let state = await this.#take(hold, schedule);
    if (!state.done && state.attempt >= attemptCountMax) {
      const error = `it was begun ${state.attempt} times, and never done`;
      state = await this.#note(hold, { ...state, done: true, error });
    }
    while (!isAborted(stop)) {
      const next = state.done
        ? { ...state, tickMs: await this.#due(schedule, state.tickMs, catchUp, stop), attempt: 0 }
        : state;
      if (isAborted(stop)) break;
      state = await this.#note(hold, { ...next, attempt: next.attempt + 1, done: false, error: "" });
      const error = await this.#workAt(hold, state, work, stop);
      if (error === undefined) break;
      state = await this.#note(hold, { ...state, done: true, error });
    }
    if (hold.isLost) throw hold.signal.reason as HoldfastError;
  }

  /** The state as it is for this schedule. */
  async #take(hold: Hold, schedule: Schedule): Promise<CronState> {
    const state = await this.#state();
    if (state?.schedule === schedule.text && state.timeZone === schedule.timeZone) return state;
    const nowMs = this.#parts.env.clock.wallMs();
    const { text, timeZone } = schedule;
    if (state === undefined) {
      return this.#note(hold, { schedule: text, timeZone, tickMs: nowMs, attempt: 0, done: true, error: "" });
    }
    // A tick that is not done yet is due all the same.
    const tickMs = state.done ? Math.max(nowMs, state.tickMs) : state.tickMs;
    return this.#note(hold, { ...state, schedule: text, timeZone, tickMs });
  }

  async #note(hold: Hold, state: CronState): Promise<CronState> {
    const { source, view: lock, mapView: map } = this.#parts;
    accepted(await source.propose(stateOperations({ lock, map }, hold, state), { signal: hold.signal }));
    return state;
  }

  /** Waits for the next tick behind this one that is to be begun; when `stop` aborts it gives any. */
  async #due(
    schedule: Schedule,
    afterMs: number,
    catchUp: "none" | "last" | "all",
    stop: AbortSignal,
  ): Promise<number> {
    const { clock } = this.#parts.env;
    for (;;) {
      const nowMs = clock.wallMs();
      const nextMs = schedule.next(afterMs);
      if (nextMs <= nowMs) {
        if (catchUp === "all") return nextMs;
        const lastMs = lastUntil(schedule, afterMs, nowMs) ?? nextMs;
        if (catchUp === "last" || nowMs - lastMs <= lateMs) return lastMs;
      }
      const dueMs = nextMs > nowMs ? nextMs : schedule.next(nowMs);
      await sleep(clock, Math.max(1, Math.min(napMs, dueMs - clock.wallMs())), stop).catch(() => {});
      if (isAborted(stop)) return nextMs;
    }
  }

  /** The error of the work, or empty; undefined where it was stopped, so that the tick is not done. */
  async #workAt(
    hold: Hold,
    state: CronState,
    work: (tick: CronTick) => unknown,
    stop: AbortSignal,
  ): Promise<string | undefined> {
    const tick = new CronTick(hold, state, stop, this.#parts.transaction);
    try {
      await work(tick);
      return "";
    } catch (error) {
      if (isAborted(stop)) return undefined;
      const text = error instanceof Error ? error.message : String(error);
      const fields = { cron: this.name, tickMs: state.tickMs, error: text };
      this.#parts.env.logger.log("warn", "the work of a cron has failed", fields);
      return text.slice(0, 1_000);
    }
  }

  async #state(options?: ReadOptions): Promise<CronState | undefined> {
    const found = await this.#part.get(registerKey, options);
    return found === undefined ? undefined : (decodeValue(found.value) as CronState);
  }

  /** Undefined if it never ran. */
  async info(options?: ReadOptions): Promise<CronInfo | undefined> {
    const state = await this.#state(options);
    if (state === undefined) return undefined;
    const { schedule, timeZone, tickMs, attempt, done, error } = state;
    return {
      schedule,
      timeZone,
      lastMs: attempt === 0 ? undefined : tickMs,
      attempt,
      running: !done,
      error,
      nextMs: new Schedule(schedule, timeZone).next(tickMs),
    };
  }

  /** Forgets its last tick, and answers whether there was one. Who runs it notes the next one again. */
  async delete(options?: CallOptions): Promise<boolean> {
    const { result } = await this.#part.propose(
      { case: "delete", value: { key: registerKey, ifRevision: undefined } },
      options,
    );
    if (result.existed) await this.#part.propose({ case: "drop", value: {} }, options);
    return result.existed;
  }
}

/** The last tick of the time after `afterMs` until `untilMs`. Looks back twice as far each time. */
function lastUntil(schedule: Schedule, afterMs: number, untilMs: number): number | undefined {
  for (let spanMs = hourMs; ; spanMs *= 2) {
    const fromMs = Math.max(afterMs, untilMs - spanMs);
    let last: number | undefined;
    for (let tick = schedule.next(fromMs); tick <= untilMs; tick = schedule.next(tick)) last = tick;
    if (last !== undefined || fromMs === afterMs) return last;
  }
}

/** The crons that have run, in the order of their names. */
export async function* listCrons(
  parts: CronParts,
  options: ReadOptions & { readonly prefix?: string | undefined } = {},
): AsyncGenerator<CronInfo & { readonly name: string }, void, undefined> {
  const { env, source, mapView: view } = parts;
  for await (const name of listMaps({ env, source, view }, "cron", options)) {
    const info = await new Cron(parts, name).info(options);
    if (info !== undefined) yield { name, ...info };
  }
}
