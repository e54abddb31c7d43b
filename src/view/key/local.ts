/** Keys of a replica in this process. */
import { throwIfAborted } from "../../base/index.ts";
import type { Clock, Revision } from "../../base/index.ts";
import type { CommandOutcome, Operation, ProposeOptions } from "../command.ts";
import type { Replica } from "../replica.ts";
import type { KeySpan, StoredRecord } from "./key-operation.ts";
import { checkPast, checkPastIn, countNow, getNow, getPast, listNow, listSnapshot, versionsOf } from "./key-reader.ts";
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

  async #fresh({ consistency, atLeast, signal }: ReadOptions): Promise<void> {
    throwIfAborted(signal);
    // The other members of the log may be out of reach, and the caller need not wait for them.
    if (atLeast !== undefined && atLeast > this.#replica.revision) {
      await this.#replica.reachRevision(atLeast, signal);
    } else if (consistency !== "local") await this.#replica.linearize(signal);
    throwIfAborted(signal);
  }

  async revision(options: ReadOptions): Promise<Revision> {
    await this.#fresh(options);
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
    await this.#fresh(options);
    if (at === undefined) return this.#replica.readNow((tree) => getNow(tree, key));
    return this.#replica.readNow((tree) => {
      checkPast(tree, at, this.#replica.revision);
      return getPast(tree, key, at);
    });
  }

  async *list(query: KeyQuery, options: ReadOptions): AsyncGenerator<KeyBatch, void, undefined> {
    await this.#fresh(options);
    const { span, at, limit = Number.POSITIVE_INFINITY } = query;
    if (at === undefined && (span.end === undefined || limit <= listAtOnceMax)) {
      yield await this.#replica.read((tree) => {
        return { revision: this.#replica.revision, records: listNow(tree, query, limit) };
      });
      return;
    }
    const { tree, revision, release } = this.#replica.snapshot();
    try {
      if (at !== undefined) await checkPastIn(tree, at, revision);
      for await (const records of listSnapshot(tree, query, options.signal))
        yield { revision: at ?? revision, records };
    } finally {
      release();
    }
  }

  async count(span: KeySpan, at: number | undefined, options: ReadOptions): Promise<number> {
    await this.#fresh(options);
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
    await this.#fresh(options);
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
