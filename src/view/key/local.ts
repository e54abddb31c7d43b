/** Keys of a replica in this process. */
import type { Clock, Revision } from "../../base/index.ts";
import type { CommandOutcome, Operation, ProposeOptions } from "../command.ts";
import { fresh } from "../freshness.ts";
import type { HeldState } from "../held.ts";
import type { Replica } from "../replica.ts";
import type { KeySpan, StoredRecord } from "./key-operation.ts";
import {
  countNow,
  getIn,
  getNow,
  getPast,
  isPast,
  isPastIn,
  listNow,
  listSnapshot,
  trimmedError,
  versionsOf,
} from "./key-reader.ts";
import { compactRevision } from "./key-view.ts";
import type { KeyBatch, KeyQuery, KeySource, KeyVersion, ReadOptions, WatchQuery, WatchStep } from "./key-source.ts";
import { WatchHub } from "./watch-hub.ts";

/** Lists of at most so many keys are read at one go, without freezing the state. */
const listAtOnceMax = 128;

export class LocalKeys implements KeySource {
  readonly shared = true;
  readonly #replica: Replica;
  readonly #hub: WatchHub;

  constructor(clock: Clock, replica: Replica) {
    this.#replica = replica;
    this.#hub = new WatchHub(clock, replica);
  }

  get watcherCount(): number {
    return this.#hub.watcherCount;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#replica.propose(operations, options);
  }

  async revision(options: ReadOptions): Promise<Revision> {
    await fresh(this.#replica, options);
    return this.#replica.revision;
  }

  get(key: Uint8Array, at: number | undefined, options: ReadOptions): Promise<StoredRecord | undefined> {
    const { consistency, atLeast, signal } = options;
    const plain = at === undefined && atLeast === undefined && signal === undefined && consistency !== "local";
    if (!plain) return this.#get(key, at, options);
    // The everyday read, with as few promises as can be.
    return this.#replica.linearize().then(() => this.#replica.readNow((tree) => getNow(tree, key)));
  }

  async #get(key: Uint8Array, at: number | undefined, options: ReadOptions): Promise<StoredRecord | undefined> {
    await fresh(this.#replica, options);
    if (at === undefined) return this.#replica.readNow((tree) => getNow(tree, key));
    const found = await this.#replica.readNow((tree) => {
      return isPast(tree, at, this.#replica.revision) ? { record: getPast(tree, key, at) } : undefined;
    });
    if (found !== undefined) return found.record;
    const pinned = await this.#pinned(at);
    try {
      return await getIn(pinned.tree, key);
    } finally {
      pinned.release();
    }
  }

  /** The state at a revision whose history is compacted; `trimmed` when no snapshot pins it. */
  async #pinned(at: number): Promise<HeldState> {
    const held = this.#replica.pinAt(at);
    if (held !== undefined) return held;
    throw trimmedError(at, await this.#replica.read(compactRevision));
  }

  async *list(query: KeyQuery, options: ReadOptions): AsyncGenerator<KeyBatch, void, undefined> {
    await fresh(this.#replica, options);
    const { span, at, limit = Number.POSITIVE_INFINITY } = query;
    if (at === undefined && (span.end === undefined || limit <= listAtOnceMax)) {
      yield await this.#replica.read((tree) => {
        return { revision: this.#replica.revision, records: listNow(tree, query, limit) };
      });
      return;
    }
    const { revision, ...held } = this.#replica.snapshot();
    const past = at === undefined || (await isPastIn(held, at, revision));
    if (!past) held.release();
    const { tree, release } = past ? held : await this.#pinned(at);
    try {
      const wanted = past ? query : { ...query, at: undefined };
      for await (const records of listSnapshot(tree, wanted, options.signal))
        yield { revision: at ?? revision, records };
    } finally {
      release();
    }
  }

  async count(span: KeySpan, at: number | undefined, options: ReadOptions): Promise<number> {
    await fresh(this.#replica, options);
    const now = await this.#replica.read((tree) =>
      at === undefined || at === this.#replica.revision ? countNow(tree, span) : undefined,
    );
    if (now !== undefined) return now;
    let count = 0;
    const all = this.list({ span, at, keysOnly: true }, { consistency: "local", signal: options.signal });
    for await (const { records } of all) count += records.length;
    return count;
  }

  watch(query: WatchQuery, signal: AbortSignal | undefined): AsyncIterable<WatchStep> {
    return this.#hub.watch(query, signal);
  }

  async history(key: Uint8Array, options: ReadOptions): Promise<readonly KeyVersion[]> {
    await fresh(this.#replica, options);
    const { tree, release } = this.#replica.snapshot();
    try {
      return await versionsOf(tree, key, options.signal);
    } finally {
      release();
    }
  }

  close(): void {
    this.#hub.close();
  }
}
