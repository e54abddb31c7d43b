/**
 * The log on a stream of NATS JetStream (why it is so: docs/decisions/0019-the-log-on-nats.md).
 *
 * One message is in flight at a time, on the condition that the stream still ends where this engine believes; everything
 * that arrives meanwhile goes with the next, as one batch. So order and neighbourhood hold whoever else appends, and a
 * message whose answer is lost is simply sent again for the same place: only one of the two can get it, and whoever
 * finds the place taken reads who has it.
 *
 * Durability is the server's: a stream with several replicas acknowledges when a majority has the message; how soon each
 * writes it to its disk is the server's `sync_interval`, two minutes unless it is set to `always`.
 *
 * The tail is linearizable: on a stream with replicas it is asked by a message without records, which a majority must take
 * (or rides on an append that is due anyway); on one server by the stream's state. An engine that is `alone` knows its tail.
 */
import { assert, deferred, HoldfastError, limits, position, sleep } from "../base/index.ts";
import type { Deferred, Env, Position } from "../base/index.ts";
import { followLog } from "../log/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "../log/index.ts";
import { parseNatsAddress } from "./nats-address.ts";
import { claims, partsOf } from "./nats-part.ts";
import type { NatsPart } from "./nats-part.ts";
import { NatsPrimacy } from "./nats-primacy.ts";
import { NatsReader } from "./nats-reader.ts";
import { NatsStream } from "./nats-stream.ts";

type NatsEnv = Pick<Env, "clock" | "random" | "logger">;

export interface NatsEngineOptions {
  /** No other member has this log: the chores are this one's, and what it knows of the tail is all there is. */
  readonly alone?: boolean;
  /** The stream must hold nothing yet (`conflict`). */
  readonly fresh?: boolean;
  /** The stream must be there (`corrupt`). Default: it is made. */
  readonly mustExist?: boolean;
  /** How long an append is tried before it is answered `unavailable`, with `maybe`, in milliseconds. Default: 15,000. */
  readonly appendMs?: number;
}

const retryMs = 100;
/** How often a member that hears nothing looks whether there is something new. */
const pollMs = 1_000;
/** How long a close waits for appends that get no answer. */
const closeMs = 2_000;
const batchSizeMax = 1_048_576;

interface Append {
  /** None: a question for the tail, or a claim. */
  readonly records: readonly Uint8Array[];
  readonly size: number;
  readonly sinceMs: number;
  readonly done: Deferred<AppendOutcome>;
}

/** Whether a part is a certain one of this engine's. */
type Mark = Pick<NatsPart, "writer" | "number" | "part">;

export class NatsEngine implements LogEngine {
  readonly capabilities: LogCapabilities;
  readonly #env: NatsEnv;
  readonly #stream: NatsStream;
  readonly #reader: NatsReader;
  readonly #options: NatsEngineOptions;
  readonly #writer: number;
  readonly #primacy: NatsPrimacy | undefined;
  readonly #replicas: number;
  #number = 0;
  /** The last part of this engine's that was seen in the stream. */
  #seen: Mark | undefined;
  #queue: Append[] = [];
  #queueSize = 0;
  #pumping: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  #closeByMs = Number.POSITIVE_INFINITY;
  #closed: Promise<void> | undefined;
  #isClosed = false;

  private constructor(env: NatsEnv, stream: NatsStream, replicas: number, options: NatsEngineOptions) {
    this.#env = env;
    this.#stream = stream;
    this.#replicas = replicas;
    this.#options = options;
    const durability = replicas > 1 ? "quorum" : "disk";
    this.capabilities = { durability, trim: true, shared: true, elsewhere: options.alone !== true };
    this.#writer = env.random.uint32() * 65_536 + (env.random.uint32() % 65_536) + 1;
    if (options.alone !== true) this.#primacy = new NatsPrimacy(env, this.#writer, () => this.#say());
    this.#reader = new NatsReader(stream, (part) => {
      if (part.writer === this.#writer) this.#seen = part;
      this.#primacy?.heard(part);
    });
  }

  /**
   * Opens the log in a stream, which is made if there is none. `invalid` for an address that is none; `unavailable` when
   * no server answers; `conflict` when the stream was to be new and holds something.
   */
  static async open(env: NatsEnv, address: string, options: NatsEngineOptions = {}): Promise<NatsEngine> {
    const parsed = parseNatsAddress(address);
    if (!parsed.isSynced) {
      env.logger.log(
        "warn",
        `whether NATS syncs the stream ${parsed.stream} to disk cannot be seen from here; by default it does so every two minutes, so that a power failure of a majority of its servers loses acknowledged writes. Set \`jetstream { sync_interval: always }\` (nats-server 2.10 or newer) and add \`sync=always\` to the address`,
      );
    }
    const stream = await NatsStream.open(parsed, options);
    try {
      const { last, replicas } = await stream.state();
      if (options.fresh === true && last > 0) {
        throw new HoldfastError(
          "conflict",
          `the stream ${parsed.stream} on NATS has had ${last} messages; a log begins in a stream of its own: name another, or delete it`,
        );
      }
      const engine = new NatsEngine(env, stream, replicas, options);
      await engine.#reader.open();
      if (options.alone !== true) engine.#follow();
      return engine;
    } catch (error) {
      await stream.close();
      throw error;
    }
  }

  #follow(): void {
    this.#stream.onHint(() => void this.#look());
    this.#primacy?.start();
    const poll = async () => {
      while (!this.#stopping.signal.aborted) {
        await this.#look();
        await sleep(this.#env.clock, pollMs, this.#stopping.signal);
      }
    };
    poll().catch(() => {});
  }

  /** What cannot be read now is read later. */
  async #look(): Promise<void> {
    try {
      await this.#reader.advance();
    } catch (error) {
      this.#env.logger.log("debug", "the log's stream was not read", { error: String(error) });
    }
  }

  append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    assert(records.length > 0, "an append has at least one record");
    let size = 0;
    for (const record of records) {
      assert(
        record.length <= limits.recordSizeMax,
        `record is ${record.length} bytes; the limit is ${limits.recordSizeMax}`,
      );
      size += record.length + 4;
    }
    if (this.#queueSize > 0 && this.#queueSize + size > limits.proposalQueueSizeMax) {
      const what = `${this.#queueSize} bytes wait for the log; the limit is ${limits.proposalQueueSizeMax} (limits.proposalQueueSizeMax): retry later`;
      return Promise.reject(new HoldfastError("exhausted", what));
    }
    return this.#enqueue(records, size);
  }

  #enqueue(records: readonly Uint8Array[], size: number): Promise<AppendOutcome> {
    if (this.#closed !== undefined) return Promise.reject(closedError());
    const done = deferred<AppendOutcome>();
    this.#queue.push({ records, size, sinceMs: this.#env.clock.monotonicMs(), done });
    this.#queueSize += size;
    this.#pump();
    return done.promise;
  }

  #pump(): void {
    // What else is appended in this turn goes along.
    this.#pumping ??= Promise.resolve().then(() => this.#drain());
  }

  /** A message without records, unless one is due anyway. */
  #say(): void {
    if (this.#queue.length === 0 && this.#pumping === undefined) this.#enqueue([], 0).catch(() => {});
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const appends = this.#takeBatch();
      try {
        let next: number = await this.#publish(
          appends.flatMap(({ records }) => records),
          () => appends[0]?.sinceMs ?? 0,
        );
        for (const { records, done } of appends) {
          done.resolve({ ok: true, position: position(next) });
          next += records.length;
        }
        if (this.#primacy !== undefined) this.#stream.hint();
      } catch (error) {
        for (const { done } of appends) done.reject(error);
        this.#rejectLate();
      }
    }
    // In the same turn in which the queue was seen to be empty.
    this.#pumping = undefined;
  }

  /** Those that have waited as long as the one that failed; they were not tried. */
  #rejectLate(): void {
    const nowMs = this.#env.clock.monotonicMs();
    const late = this.#queue.filter(({ sinceMs }) => nowMs >= this.#deadlineOf(sinceMs));
    this.#queue = this.#queue.filter((append) => !late.includes(append));
    for (const { size, done } of late) {
      this.#queueSize -= size;
      done.reject(new HoldfastError("unavailable", `the log's stream ${this.#stream.name} on NATS does not answer`));
    }
  }

  #deadlineOf(sinceMs: number): number {
    return Math.min(sinceMs + (this.#options.appendMs ?? 15_000), this.#closeByMs);
  }

  #takeBatch(): Append[] {
    let size = 0;
    let count = 0;
    for (const append of this.#queue) {
      if (count > 0 && size + append.size > batchSizeMax) break;
      size += append.size;
      count += 1;
    }
    this.#queueSize -= size;
    return this.#queue.splice(0, count);
  }

  /** Puts the records into the stream, all behind its last batch; gives the position of the first. */
  async #publish(records: readonly Uint8Array[], sinceMs: () => number): Promise<Position> {
    const attempt = { isSent: false, sinceMs: sinceMs() };
    for (;;) {
      const at = this.#reader.end;
      const batch = { position: at, writer: this.#writer, number: ++this.#number, claim: this.#claim };
      const parts = partsOf(batch, records, this.#stream.partSizeMax);
      if (await this.#publishAll(parts, attempt)) return at;
    }
  }

  get #claim(): number {
    return this.#primacy?.claim ?? claims.none;
  }

  async #publishAll(
    parts: readonly NatsPart[],
    attempt: { isSent: boolean; readonly sinceMs: number },
  ): Promise<boolean> {
    for (const part of parts) {
      const sequence = this.#reader.last + 1;
      // Another's message may have been read between two parts: then the batch is void.
      if (part.part > 0 && !this.#isSeen({ ...part, part: part.part - 1 })) return false;
      if (!(await this.#publishPart(part, sequence, attempt))) return false;
      this.#reader.take(part, sequence);
    }
    return true;
  }

  #isSeen({ writer, number, part }: Mark): boolean {
    return this.#seen?.writer === writer && this.#seen.number === number && this.#seen.part === part;
  }

  /** Until it is known who has the place: true when it is this part. */
  async #publishPart(
    part: NatsPart,
    sequence: number,
    attempt: { isSent: boolean; readonly sinceMs: number },
  ): Promise<boolean> {
    for (;;) {
      try {
        const leftMs = this.#deadlineOf(attempt.sinceMs) - this.#env.clock.monotonicMs();
        const isTaken = !(await this.#stream.publish(part, sequence - 1, leftMs));
        if (!isTaken) return true;
        await this.#reader.advance();
        if (this.#isSeen(part)) return true;
        // A server that has lost what it had acknowledged answers so too.
        if (this.#reader.last >= sequence) return false;
      } catch (error) {
        if (error instanceof HoldfastError && error.code === "exhausted" && !attempt.isSent) throw error;
        attempt.isSent = true;
      }
      if (this.#env.clock.monotonicMs() >= this.#deadlineOf(attempt.sinceMs)) {
        const what = `the log's stream ${this.#stream.name} on NATS gives no answer; whether the records are in it is not known`;
        throw new HoldfastError("unavailable", what, { maybe: true });
      }
      await sleep(this.#env.clock, retryMs);
    }
  }

  async tail(): Promise<Position> {
    if (this.#options.alone === true) return this.#reader.end;
    if (this.#replicas > 1) {
      const outcome = await this.#enqueue([], 0);
      assert(outcome.ok, "a stream is never sealed by itself");
      return outcome.position;
    }
    try {
      await this.#reader.advance();
    } catch (error) {
      const what = `the log's stream ${this.#stream.name} on NATS does not answer`;
      throw new HoldfastError("unavailable", what, { cause: error });
    }
    return this.#reader.end;
  }

  committed(): Position {
    return this.#reader.end;
  }

  get isPrimary(): boolean {
    return this.#primacy?.isPrimary ?? true;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    return this.#primacy?.onPrimary(listener) ?? (() => {});
  }

  start(): Position {
    return this.#reader.start;
  }

  read(from: Position, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<LogBatch> {
    const reader = this.#reader;
    return followLog(
      {
        recent: reader.recent,
        grown: reader.grown,
        start: () => reader.start,
        end: () => reader.end,
        stored: (first) => this.#stored(first),
        isEnded: () => this.#isClosed,
        failure: () => undefined,
      },
      from,
      options.signal,
    );
  }

  /** A server that does not answer is waited for: what is there has been acknowledged. */
  async *#stored(from: Position): AsyncGenerator<LogBatch, void, undefined> {
    let next = from;
    while (!this.#isClosed) {
      try {
        for await (const batch of this.#reader.stored(next)) {
          yield batch;
          next = position(batch.position + batch.records.length);
        }
        return;
      } catch (error) {
        this.#env.logger.log("debug", "the log's stream was not read", { error: String(error) });
        await sleep(this.#env.clock, retryMs);
      }
    }
  }

  async trim(before: Position): Promise<Position> {
    try {
      return await this.#reader.trim(before);
    } catch (error) {
      const what = `the log's stream ${this.#stream.name} on NATS was not trimmed`;
      throw new HoldfastError("unavailable", what, { cause: error });
    }
  }

  /** Closes the engine and deletes the stream. */
  async remove(): Promise<void> {
    await this.#stream.delete();
    await this.close();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closeByMs = this.#env.clock.monotonicMs() + closeMs;
    await this.#pumping;
    if (this.#primacy?.close() === true) {
      await this.#publish([], () => this.#env.clock.monotonicMs()).catch(() => {});
      this.#stream.hint();
    }
    this.#stopping.abort();
    this.#isClosed = true;
    this.#reader.grown.notify();
    await this.#stream.close();
  }
}

function closedError(): HoldfastError {
  return new HoldfastError("unavailable", "the log is closed");
}
