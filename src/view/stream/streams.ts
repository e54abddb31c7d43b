/** Streams, as a user sees them. */
import { HoldfastError, isAborted } from "../../base/index.ts";
import type { Env, Revision } from "../../base/index.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { Hold } from "../lock/hold.ts";
import type { LockParts } from "../lock/hold.ts";
import { turnOf } from "../lock/lock-state.ts";
import type { LockView } from "../lock/lock-view.ts";
import { checkedName, decodeValue, encodeValue } from "../value.ts";
import { proposeOne } from "../view-source.ts";
import type { ViewSource } from "../view-source.ts";
import type { NumberedEntry, StreamAnswer, StreamOperation, StreamResult } from "./stream-operation.ts";
import type { StoredStream } from "./stream-state.ts";
import type { StreamView } from "./stream-view.ts";

export interface StreamParts extends Omit<LockParts, "view"> {
  readonly env: Pick<Env, "clock" | "random" | "logger">;
  readonly source: ViewSource;
  readonly view: StreamView;
  readonly lockView: LockView;
}

export interface StreamEntry<T> {
  /** Dense, from 0. */
  readonly position: number;
  readonly value: T;
  /** Of the store, of the command that appended it. */
  readonly revision: number;
  /** Store time when it was appended, milliseconds since the Unix epoch. */
  readonly timeMs: number;
}

export interface StreamInfo {
  /** The first position that can be read, and one past the last. */
  readonly start: number;
  readonly tail: number;
  /** Bytes of the values, and 32 for each. */
  readonly size: number;
  readonly retention: Required<RetentionOptions>;
}

/** What is kept; 0 or absent: no bound. The newest entry is always kept. */
export interface RetentionOptions {
  readonly countMax?: number | undefined;
  /** Bytes, as `StreamInfo.size` counts them. */
  readonly sizeMax?: number | undefined;
  /** Milliseconds of store time. */
  readonly ageMaxMs?: number | undefined;
}

export interface AppendOptions {
  /** `conflict` unless the stream's tail is this. */
  readonly expectedTail?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ReadStreamOptions extends ReadOptions {
  /** The first position; with `reverse` one past it. Default: the start; with `reverse` the tail. */
  readonly from?: number | undefined;
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

const pageCount = 256;
const behindEverything = Number.MAX_SAFE_INTEGER;

/** A stream of the shared log: `store.log(name)`. */
export class Stream<T = unknown> {
  readonly name: string;
  readonly #parts: StreamParts;

  /** @internal */
  constructor(parts: StreamParts, name: string) {
    this.#parts = parts;
    this.name = checkedName(name, "stream");
  }

  /** Answers its position, when it is durable. */
  append(value: T, options?: AppendOptions): Promise<number> {
    return this.appendMany([value], options);
  }

  /** In one command: all or none, as neighbours. Answers the position of the first. */
  async appendMany(values: readonly T[], { expectedTail, signal }: AppendOptions = {}): Promise<number> {
    return (await this.#propose({ case: "append", value: appendBody(this.name, values, expectedTail) }, signal))
      .position;
  }

  async #propose(
    operation: NonNullable<StreamOperation["operation"]>,
    signal: AbortSignal | undefined,
  ): Promise<StreamResult> {
    return (await proposeOne(this.#parts.source, this.#parts.view, { operation }, signal)).result;
  }

  async #ask(query: Parameters<StreamView["answerTo"]>[1]["query"], options: ReadOptions): Promise<StreamAnswer> {
    return (await this.#parts.source.ask(this.#parts.view, { query }, options)).answer;
  }

  async info(options: ReadOptions = {}): Promise<StreamInfo> {
    return infoOf((await this.#ask({ case: "info", value: { name: this.name, group: "" } }, options)).stream);
  }

  /**
   * The entries up to the tail, a page at a time. `trimmed`, naming the start, when what is wanted next is no longer there.
   */
  async *read(options: ReadStreamOptions = {}): AsyncGenerator<StreamEntry<T>, void, undefined> {
    const { from, limit = behindEverything, reverse = false, ...reading } = options;
    let next = from ?? (reverse ? behindEverything : (await this.info(reading)).start);
    for (let left = limit; left > 0;) {
      const { entries, more } = await this.#page(next, Math.min(left, pageCount), reverse, reading);
      for (const entry of entries) yield toEntry<T>(entry);
      left -= entries.length;
      const last = entries.at(-1);
      if (!more || last === undefined) return;
      next = reverse ? last.position : last.position + 1;
    }
  }

  async #page(from: number, limit: number, reverse: boolean, options: ReadOptions): Promise<StreamAnswer> {
    const answer = await this.#ask({ case: "entries", value: { name: this.name, from, limit, reverse } }, options);
    if (!reverse && from < (answer.stream?.start ?? 0)) {
      const what = `position ${from} of the stream ${this.name} was trimmed; it starts at ${answer.stream?.start ?? 0}`;
      throw new HoldfastError("trimmed", what);
    }
    return answer;
  }

  /** The entries from a position on, and then those that come; none is lost or doubled. Default: from the tail of now. Ends without error when `signal` aborts. */
  async *tail(
    options: { readonly from?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<StreamEntry<T>, void, undefined> {
    const { signal } = options;
    try {
      let next = options.from ?? (await this.info({ signal })).tail;
      for await (const atLeast of this.#changes(signal)) {
        for (let more = true; more;) {
          const page = await this.#page(next, pageCount, false, { atLeast, consistency: "local", signal });
          for (const entry of page.entries) {
            yield toEntry<T>(entry);
            next = entry.position + 1;
          }
          ({ more } = page);
        }
      }
    } catch (error) {
      if (!isAborted(signal)) throw error;
    }
  }

  #changes(signal: AbortSignal | undefined): AsyncIterable<Revision> {
    return this.#parts.source.changes({ view: this.#parts.view, name: this.name }, signal);
  }

  /** Forgets the entries before a position. Answers the new start. */
  async trim(before: number, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<number> {
    for (;;) {
      const value = { name: this.name, before: checkedPosition(before, "before") };
      const { start, tail } = await this.#propose({ case: "trim", value }, options.signal);
      if (start >= Math.min(before, tail)) return start;
    }
  }

  /** What is kept from now on; what is beyond it goes with the next appends. What is not named has no bound. */
  async retain(
    retention: RetentionOptions,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const { countMax = 0, sizeMax = 0, ageMaxMs = 0 } = retention;
    for (const [what, value] of Object.entries({ countMax, sizeMax, ageMaxMs })) checkedPosition(value, what);
    await this.#propose(
      { case: "configure", value: { name: this.name, retention: { countMax, sizeMax, ageMaxMs } } },
      options.signal,
    );
  }

  /** Deletes it, with its groups. A later append begins at 0 again. */
  async delete(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.trim(behindEverything, options);
    await this.#propose({ case: "delete", value: { name: this.name } }, options.signal);
  }

  group(name: string): StreamGroup<T> {
    return new StreamGroup(this.#parts, this, name);
  }

  /** The groups that have committed, in the order of their names, and how many entries each has before it. */
  async *groups(options: ReadOptions = {}): AsyncGenerator<GroupInfo & { readonly name: string }, void, undefined> {
    for (let after = ""; ;) {
      const { groups, stream, more } = await this.#ask({ case: "groups", value: { name: this.name, after } }, options);
      for (const { name, group } of groups) yield { name, ...groupInfo(group?.position ?? 0, stream) };
      if (!more) return;
      after = groups.at(-1)?.name ?? "";
    }
  }
}

export interface GroupInfo {
  /** Everything before it is done with. */
  readonly position: number;
  /** Entries that are not. */
  readonly lag: number;
}

export interface StreamBatch<T> {
  readonly entries: readonly StreamEntry<T>[];
  /** One past the last entry. */
  readonly next: number;
  /**
   * Notes that the entries are done with. `conflict`, for good, when another consumer has taken the turn meanwhile: then
   * that one has them too.
   */
  commit(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/** Readers that share one place in a stream. */
export class StreamGroup<T = unknown> {
  readonly name: string;
  readonly stream: string;
  readonly #parts: StreamParts;
  readonly #stream: Stream<T>;

  /** @internal */
  constructor(parts: StreamParts, stream: Stream<T>, name: string) {
    this.#parts = parts;
    this.#stream = stream;
    this.stream = stream.name;
    this.name = checkedName(name, "group");
  }

  async info(options: ReadOptions = {}): Promise<GroupInfo> {
    const query = { query: { case: "info", value: { name: this.stream, group: this.name } } } as const;
    const { answer } = await this.#parts.source.ask(this.#parts.view, query, options);
    return groupInfo(answer.group?.position ?? 0, answer.stream);
  }

  /** Sets the place, forwards or backwards. `conflict` unless it was `expected`, if that is given. */
  async commit(
    position: number,
    options: { readonly expected?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const { expected, signal } = options;
    const value = { name: this.stream, group: this.name, position: checkedPosition(position, "position"), expected };
    await proposeOne(this.#parts.source, this.#parts.view, { operation: { case: "commit", value } }, signal);
  }

  /**
   * The entries from the group's place on, without end. One consumer of a group has its turn at a time; when it is not heard
   * of for `ttlMs` (default 10,000), the next goes on from what was committed. Each entry is given at least once, and those
   * that were committed are never given again. Ends without error when `signal` aborts; `conflict` when the turn is lost.
   */
  async *consume(
    options: {
      readonly ttlMs?: number | undefined;
      /** At most so many at once. Default 256. */
      readonly batchCount?: number | undefined;
      readonly signal?: AbortSignal | undefined;
    } = {},
  ): AsyncGenerator<StreamBatch<T>, void, undefined> {
    const { ttlMs, batchCount = pageCount, signal } = options;
    const parts = { ...this.#parts, view: this.#parts.lockView };
    try {
      await using hold = await Hold.acquire(parts, turnOf(this.stream, this.name), {
        mode: "exclusive",
        ttlMs,
        signal,
      });
      yield* this.#haveTurn(hold, batchCount, signal);
    } catch (error) {
      if (!isAborted(signal)) throw error;
    }
  }

  /** What comes while the turn is held. */
  async *#haveTurn(
    hold: Hold,
    batchCount: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamBatch<T>, void, undefined> {
    const stop = signal === undefined ? hold.signal : AbortSignal.any([hold.signal, signal]);
    const entries: StreamEntry<T>[] = [];
    const batch = (): StreamBatch<T> => {
      const given = entries.splice(0);
      const next = (given.at(-1) as StreamEntry<T>).position + 1;
      return { entries: given, next, commit: (how = {}) => this.#commitUnder(hold, next, how.signal) };
    };
    try {
      let { position } = await this.info({ signal: stop });
      // What was trimmed before the group came to it is gone for all.
      position = Math.max(position, (await this.#stream.info({ signal: stop })).start);
      for await (const atLeast of this.#parts.source.changes({ view: this.#parts.view, name: this.stream }, stop)) {
        for (;;) {
          const reading = { from: position, limit: batchCount, atLeast, consistency: "local", signal: stop } as const;
          for await (const entry of this.#stream.read(reading)) entries.push(entry);
          const last = entries.at(-1);
          if (last === undefined) break;
          position = last.position + 1;
          yield batch();
        }
      }
    } catch (error) {
      if (!isAborted(stop)) throw error;
    }
    if (hold.isLost) throw hold.signal.reason as HoldfastError;
  }

  /** The turn and the commit in one command: nobody commits whose turn is over. */
  async #commitUnder(hold: Hold, position: number, signal: AbortSignal | undefined): Promise<void> {
    await hold.transaction((tx) => tx.log(this.stream).commit(this.name, position), { signal });
  }

  /** Forgets the group's place. */
  async delete(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const value = { name: this.stream, group: this.name };
    await proposeOne(
      this.#parts.source,
      this.#parts.view,
      { operation: { case: "deleteGroup", value } },
      options.signal,
    );
  }
}

/** All streams whose names begin with `prefix`, in the order of their names. */
export async function* listStreams(
  source: ViewSource,
  view: StreamView,
  { prefix = "", ...options }: ReadOptions & { readonly prefix?: string | undefined } = {},
): AsyncGenerator<StreamInfo & { readonly name: string }, void, undefined> {
  for (let after = ""; ;) {
    const { answer } = await source.ask(view, { query: { case: "streams", value: { prefix, after } } }, options);
    for (const { name, stream } of answer.streams) yield { name, ...infoOf(stream) };
    if (!answer.more) return;
    after = answer.streams.at(-1)?.name ?? "";
  }
}

function infoOf(stream: StoredStream | undefined): StreamInfo {
  const { start = 0, tail = 0, size = 0, countMax = 0, sizeMax = 0, ageMaxMs = 0 } = stream ?? {};
  return { start, tail, size, retention: { countMax, sizeMax, ageMaxMs } };
}

function groupInfo(position: number, stream: StoredStream | undefined): GroupInfo {
  const { start, tail } = infoOf(stream);
  return { position, lag: tail - Math.max(start, Math.min(position, tail)) };
}

function toEntry<T>({ position, entry }: NumberedEntry): StreamEntry<T> {
  if (entry === undefined) throw new HoldfastError("corrupt", `the entry at ${position} has no content`);
  return { position, value: decodeValue(entry.value) as T, revision: entry.revision, timeMs: entry.timeMs };
}

function appendBody(
  name: string,
  values: readonly unknown[],
  expectedTail: number | undefined,
): Extract<NonNullable<StreamOperation["operation"]>, { case: "append" }>["value"] {
  if (expectedTail !== undefined) checkedPosition(expectedTail, "expectedTail");
  return { name, values: values.map((value) => encodeValue(value, "an entry")), expectedTail };
}

function checkedPosition(value: number, what: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new HoldfastError("invalid", `${what} is ${String(value)}; it must be a whole number from 0`);
}
