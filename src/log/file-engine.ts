/**
 * The log of one member on its own disk: group commit in front of a journal.
 *
 * While one durable write is in flight, everything that arrives is gathered and goes with the next. When the log falls
 * silent, a fence is written (scan.ts). Appends wait in a queue of at most `limits.proposalQueueSizeMax` bytes.
 */
import { assert, deferred, HoldfastError, limits, pieces, position, Signal } from "../base/index.ts";
import type { Deferred, Position } from "../base/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";
import { Fence } from "./fence.ts";
import { follow } from "./follow.ts";
import { Journal } from "./journal.ts";
import type { JournalEnv, JournalOptions } from "./journal.ts";
import { RecentBatches } from "./recent.ts";
import { batchDataSizeMax } from "./segment.ts";
import { verifyJournal } from "./verify.ts";
import type { JournalReport } from "./verify.ts";

/** Bytes after which a batch is closed, unless one append alone is larger. */
const batchSizeMax = 1_048_576;
const recentSizeMax = 16_777_216;

interface Append {
  readonly records: readonly Uint8Array[];
  readonly size: number;
  readonly done: Deferred<AppendOutcome>;
}

export class FileEngine implements LogEngine {
  readonly capabilities: LogCapabilities = { durability: "disk", trim: true };
  readonly isPrimary = true;
  readonly #env: JournalEnv;
  readonly #directory: string;
  readonly #journal: Journal;
  readonly #recent = new RecentBatches(recentSizeMax);
  readonly #grown = new Signal();
  #queue: Append[] = [];
  #queueSize = 0;
  #pumping: Promise<void> | undefined;
  readonly #fence: Fence;
  #closed: Promise<void> | undefined;

  private constructor(env: JournalEnv, directory: string, journal: Journal) {
    this.#env = env;
    this.#directory = directory;
    this.#journal = journal;
    this.#fence = new Fence(env, journal, {
      idle: () => this.#pumping === undefined,
      begin: () => {
        this.#pumping = this.#fence.write().then(() => this.#pump());
      },
    });
  }

  /**
   * Opens the log in a directory of the disk, or makes an empty one. The caller holds the disk's lock. `corrupt`,
   * naming file and offset, when the journal is damaged.
   */
  static async open(env: JournalEnv, directory: string, options: JournalOptions = {}): Promise<FileEngine> {
    return new FileEngine(env, directory, await Journal.open(env, directory, options));
  }

  /** Bytes of the journal's files. */
  get size(): number {
    return this.#journal.size;
  }

  /** Bytes written to the journal since `open`. */
  get writtenSize(): number {
    return this.#journal.writtenSize;
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
    const refusal = this.#refusal(size);
    if (refusal !== undefined) return Promise.reject(refusal);
    const done = deferred<AppendOutcome>();
    this.#queue.push({ records, size, done });
    this.#queueSize += size;
    // What else is appended in this turn goes along.
    this.#pumping ??= Promise.resolve().then(() => this.#pump());
    return done.promise;
  }

  #refusal(size: number): HoldfastError | undefined {
    if (this.#journal.failure !== undefined) {
      return new HoldfastError("unavailable", this.#journal.failure.message, { cause: this.#journal.failure });
    }
    if (this.#closed !== undefined) return new HoldfastError("unavailable", "the log is closed");
    if (this.#queueSize === 0 || this.#queueSize + size <= limits.proposalQueueSizeMax) return undefined;
    return new HoldfastError(
      "exhausted",
      `${this.#queueSize} bytes wait for the log; the limit is ${limits.proposalQueueSizeMax} (limits.proposalQueueSizeMax): retry later`,
    );
  }

  async #pump(): Promise<void> {
    while (this.#queue.length > 0) {
      const { appends, records } = this.#takeBatch();
      const first = this.#journal.tail;
      try {
        await this.#write(records);
      } catch (error) {
        this.#rejectAll(appends, error as HoldfastError);
        continue;
      }
      this.#fence.needed();
      let next = first;
      for (const append of appends) {
        append.done.resolve({ ok: true, position: next });
        next = position(next + append.records.length);
      }
    }
    this.#pumping = undefined;
    if (this.#journal.failure !== undefined) this.#grown.notify();
    this.#fence.rest();
  }

  /** Appends from the front of the queue, as many as a batch takes, and their records in one row. */
  #takeBatch(): { appends: Append[]; records: readonly Uint8Array[] } {
    let size = 0;
    let count = 0;
    for (const append of this.#queue) {
      if (count > 0 && size + append.size > batchSizeMax) break;
      size += append.size;
      count++;
    }
    const appends = this.#queue.splice(0, count);
    this.#queueSize -= size;
    const [only] = appends as [Append, ...Append[]];
    return { appends, records: appends.length === 1 ? only.records : appends.flatMap((append) => append.records) };
  }

  /** Makes the records durable and shows them to readers: as one batch, or several if one cannot hold them. */
  async #write(records: readonly Uint8Array[]): Promise<void> {
    let written = false;
    for (const batch of pieces(records, batchDataSizeMax, ({ length }) => length)) {
      const first = this.#journal.tail;
      try {
        await this.#journal.append(batch);
      } catch (error) {
        const failure = error as HoldfastError;
        throw written ? new HoldfastError(failure.code, failure.message, { maybe: true, cause: failure }) : failure;
      }
      this.#recent.push({ position: first, records: batch });
      this.#grown.notify();
      written = true;
    }
  }

  /** The appends of the failed write, and if the journal has stopped, those behind it, which were not tried. */
  #rejectAll(appends: readonly Append[], error: HoldfastError): void {
    for (const append of appends) append.done.reject(error);
    if (this.#journal.failure === undefined) return;
    const queue = this.#queue;
    this.#queue = [];
    this.#queueSize = 0;
    const refusal = new HoldfastError("unavailable", error.message, { cause: error });
    for (const append of queue) append.done.reject(refusal);
    this.#grown.notify();
  }

  tail(): Promise<Position> {
    const { failure } = this.#journal;
    return failure === undefined ? Promise.resolve(this.#journal.tail) : Promise.reject(failure);
  }

  committed(): Position {
    return this.#journal.tail;
  }

  /** It always is. */
  onPrimary(): () => void {
    return () => {};
  }

  start(): Position {
    return this.#journal.start;
  }

  read(from: Position, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<LogBatch> {
    return follow(
      {
        recent: this.#recent,
        grown: this.#grown,
        start: () => this.#journal.start,
        end: () => this.#journal.tail,
        stored: (first) => this.#journal.read(first),
        isEnded: () => this.#closed !== undefined,
        failure: () => this.#journal.failure,
      },
      from,
      options.signal,
    );
  }

  trim(before: Position): Promise<Position> {
    this.#recent.trim(before);
    return this.#journal.trim(before);
  }

  /** Reads everything there is and reports what is damaged; appends go on meanwhile. */
  verify(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<JournalReport> {
    const active = this.#journal.segments().at(-1);
    return verifyJournal(this.#env, this.#directory, {
      ...options,
      ...(active === undefined ? {} : { activePath: active.path, activeEnd: active.end }),
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#fence.close();
    await this.#pumping;
    await this.#fence.write();
    this.#grown.notify();
    await this.#journal.close();
  }
}
