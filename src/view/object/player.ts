/**
 * Plays the commands of one object, one after another, on a state of its own.
 *
 *  1. The state is that behind the first `sequence` commands, by code of `version`.
 *  2. A command that throws changes nothing, and is counted all the same.
 *  3. Nobody outside gets hold of the state itself: what is given out is a copy, or is frozen.
 *
 * In development each command runs twice, on two copies, and the outcomes are compared; it is watched over (`Determinism`)
 * and the state is frozen between commands. In production it runs once, in place, and (2) is kept by playing again, on a
 * copy that is made now and then, what has come since.
 */
import { HoldfastError, utf8Decode, utf8Encode } from "../../base/index.ts";
import type { Determinism } from "../../base/index.ts";
import type { AnyDefinition, CommandContext } from "./definition.ts";
import type { ObjectRecord } from "./object-view.ts";
import { copyOf, frozen, stateProblem } from "./plain-state.ts";

/** What a command returned, or threw. */
export type Played = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown };
/** What of a record is played. */
export type PlayedRecord = Pick<ObjectRecord, "command" | "body" | "seed" | "timeMs">;

/** How development looks over code. Without it the code is production's. */
export interface Development {
  readonly determinism: Determinism | undefined;
}

/** Commands, and bytes of them, that are played again at most when one throws. */
const replayCountMax = 256;
const replaySizeMin = 65_536;

export class ObjectPlayer {
  readonly definition: AnyDefinition;
  readonly #development: Development | undefined;
  #state: unknown;
  #sequence: number;
  /** The state as JSON some commands ago, and what has come since and did not throw. */
  #base: string;
  #since: { readonly record: PlayedRecord; readonly sequence: number }[] = [];
  #sinceSize = 0;

  /** `json`: the state behind the first `sequence` commands; undefined for the first state of all. */
  constructor(definition: AnyDefinition, json: string | undefined, sequence: number, development?: Development) {
    this.definition = definition;
    this.#development = development;
    this.#sequence = sequence;
    this.#base = json ?? this.#textOf(definition.initial(), "the first state");
    this.#state = this.#settled(JSON.parse(this.#base));
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** A copy, or frozen. */
  get state(): unknown {
    return this.#development === undefined ? copyOf(this.#state) : this.#state;
  }

  /** The state as JSON. */
  text(): string {
    return this.#textOf(this.#state, "the state");
  }

  query(name: string, rest: readonly unknown[]): unknown {
    const body = this.definition.queries[name] as
      | ((state: unknown, ...rest: readonly unknown[]) => unknown)
      | undefined;
    if (body === undefined)
      throw new HoldfastError("invalid", `object type ${this.definition.type} has no query ${name}`);
    return copyOf(body(this.#state, ...rest));
  }

  /** In development only: throws if the command, on the state as it is, is not deterministic. Changes nothing. */
  rehearse(record: PlayedRecord): void {
    if (this.#development !== undefined) this.#twice(record, this.#sequence);
  }

  /**
   * Plays the next command. Throws, with nothing changed, when development finds that it is not deterministic, and when
   * this code has no such command: then the object cannot go on here. `refusedCounts`: whether (2) counts it, as it does
   * where it has its place in the log.
   */
  play(record: PlayedRecord, { refusedCounts = true }: { readonly refusedCounts?: boolean } = {}): Played {
    const played = this.#playOne(record);
    if (played.ok || refusedCounts) this.#sequence++;
    return played;
  }

  #playOne(record: PlayedRecord): Played {
    if (this.#development !== undefined) {
      const { played, state } = this.#twice(record, this.#sequence);
      if (played.ok) this.#state = this.#settled(state);
      return played;
    }
    this.#renewBase();
    const played = this.#run(this.#state, record, this.#sequence);
    if (played.ok) {
      this.#since.push({ record, sequence: this.#sequence });
      this.#sinceSize += record.body.length;
    } else this.#replay();
    return played;
  }

  #renewBase(): void {
    const due = this.#since.length >= replayCountMax || this.#sinceSize > Math.max(replaySizeMin, this.#base.length);
    if (!due) return;
    this.#base = this.text();
    this.#since = [];
    this.#sinceSize = 0;
  }

  /** The state before a command that has left half of what it does. */
  #replay(): void {
    this.#state = JSON.parse(this.#base) as unknown;
    for (const { record, sequence } of this.#since) this.#run(this.#state, record, sequence);
  }

  #run(state: unknown, { command, body, seed, timeMs }: PlayedRecord, sequence: number): Played {
    const { type, commands, version } = this.definition;
    if (!Object.hasOwn(commands, command)) {
      throw new HoldfastError(
        "unavailable",
        `object type ${type} of version ${version} has no command ${command}, which the log has: this program is older, or took it away without a new version`,
      );
    }
    const run = commands[command] as (state: unknown, ...rest: readonly unknown[]) => unknown;
    const context: CommandContext = { timeMs, sequence, random: randomFrom(seed) };
    try {
      const value = run.call(context, state, ...(JSON.parse(utf8Decode(body)) as unknown[]));
      if (isPromise(value)) {
        // Whatever it does later is too late.
        value.then(undefined, () => {});
        throw new HoldfastError(
          "invalid",
          `command ${command} of object type ${type} returns a promise; it must do all at once`,
        );
      }
      return { ok: true, value: copyOf(value) };
    } catch (error) {
      return { ok: false, error };
    }
  }

  #twice(record: PlayedRecord, sequence: number): { readonly played: Played; readonly state: unknown } {
    const what = `command ${record.command} of object type ${this.definition.type}`;
    const [first, second] = [this.#watched(record, sequence, what), this.#watched(record, sequence, what)];
    const same = outcomeText(first.played) === outcomeText(second.played);
    if (!same || (first.played.ok && JSON.stringify(first.state) !== JSON.stringify(second.state))) {
      throw new HoldfastError(
        "invalid",
        `${what} does something else when it runs again on the same state: it uses what is neither in the state nor in its arguments`,
      );
    }
    if (first.played.ok) {
      const problem = stateProblem(first.state, "state");
      if (problem !== undefined)
        throw new HoldfastError("invalid", `${what} leaves ${problem}, which JSON does not hold`);
    }
    return first;
  }

  #watched(record: PlayedRecord, sequence: number, what: string): { readonly played: Played; readonly state: unknown } {
    const state = copyOf(this.#state);
    let played: Played | undefined;
    let thrown: unknown;
    const run = () => {
      try {
        played = this.#run(state, record, sequence);
      } catch (error) {
        thrown = error;
      }
    };
    const { determinism } = this.#development ?? {};
    let called: string | undefined;
    if (determinism === undefined) run();
    else called = determinism.watch(run);
    if (called !== undefined) {
      const remedy = "the time and chance of a command are this.timeMs and this.random()";
      throw new HoldfastError("invalid", `${what} is not deterministic: it calls ${called}; ${remedy}`);
    }
    if (played === undefined) throw thrown;
    return { played, state };
  }

  #settled(state: unknown): unknown {
    return this.#development === undefined ? state : frozen(state);
  }

  #textOf(state: unknown, what: string): string {
    const problem = stateProblem(state, "state");
    if (problem === undefined) return JSON.stringify(state);
    throw new HoldfastError(
      "invalid",
      `${what} of object type ${this.definition.type} has ${problem}, which JSON does not hold`,
    );
  }
}

/** A command's arguments as bytes. */
export function bodyOf(type: string, command: string, rest: readonly unknown[]): Uint8Array {
  const problem = stateProblem(rest, "the arguments");
  if (problem === undefined) return utf8Encode(JSON.stringify(rest));
  throw new HoldfastError(
    "invalid",
    `command ${command} of object type ${type} is given ${problem}, which JSON does not hold`,
  );
}

function outcomeText(played: Played): string {
  if (played.ok) return `returns ${JSON.stringify(played.value)}`;
  const { error } = played;
  return `throws ${error instanceof Error ? `${error.name} ${error.message}` : String(error)}`;
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { readonly then?: unknown } | null | undefined)?.then === "function";
}

/** Numbers from 0 to 1 that follow from the seed: a Weyl sequence behind the finalizer of MurmurHash3, twice a number. */
function randomFrom(seed: number): () => number {
  let state = seed | 0;
  const next = () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  return () => ((next() >>> 6) * 134_217_728 + (next() >>> 5)) / 9_007_199_254_740_992;
}
