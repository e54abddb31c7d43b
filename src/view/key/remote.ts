/**
 * Keys of a replica elsewhere. Reads are repeated when a connection is lost; lists and watches go on where they were, so
 * that nothing is lost or doubled.
 */
import { concatBytes, HoldfastError, revision as toRevision } from "../../base/index.ts";
import type { Env, Revision } from "../../base/index.ts";
import type { RpcClient, Stub } from "../../rpc/index.ts";
import type { CommandOutcome, Operation, ProposeOptions, Proposer } from "../command.ts";
import { backOff, Deadline, retried } from "../remote.ts";
import type { RemoteOptions } from "../remote.ts";
import type { KeyedRecord, KeySpan, StoredRecord } from "./key-operation.ts";
import type {
  KeyBatch,
  KeyQuery,
  KeySource,
  KeyVersion,
  ReadOptions,
  WatchedEvent,
  WatchQuery,
  WatchStep,
} from "./key-source.ts";
import { KeyService } from "./service.ts";

/** A watch learns so often how far it has come, so that it can go on after a compaction although nothing happened. */
const progressDefaultMs = 60_000;

export class RemoteKeys implements KeySource {
  readonly shared = false;
  readonly #env: Pick<Env, "clock" | "random">;
  readonly #stub: Stub<(typeof KeyService)["methods"]>;
  readonly #proposer: Proposer;
  readonly #timeoutMs: number;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, proposer: Proposer, options: RemoteOptions) {
    this.#env = env;
    this.#stub = client.use(KeyService);
    this.#proposer = proposer;
    this.#timeoutMs = options.timeoutMs;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#proposer.propose(operations, options);
  }

  #retried<T>(
    signal: AbortSignal | undefined,
    call: (options: ReturnType<Deadline["options"]>) => Promise<T>,
  ): Promise<T> {
    return retried(this.#env, new Deadline(this.#env.clock, this.#timeoutMs), signal, call);
  }

  async get(key: Uint8Array, at: number | undefined, options: ReadOptions): Promise<StoredRecord | undefined> {
    const request = { key, at, freshness: toFreshness(options) };
    return (await this.#retried(options.signal, (callOptions) => this.#stub.get(request, callOptions))).record;
  }

  async *list(query: KeyQuery, options: ReadOptions): AsyncGenerator<KeyBatch, void, undefined> {
    let rest = query;
    let deadline = new Deadline(this.#env.clock, this.#timeoutMs);
    for (let attempt = 1; ; attempt++) {
      try {
        const request = { ...rest, freshness: toFreshness(options) };
        for await (const { revision, records } of this.#stub.list(request, streamOptions(options.signal))) {
          const whole = records.map(toKeyed);
          yield { revision, records: whole };
          rest = behind(rest, revision, whole);
          attempt = 1;
          deadline = new Deadline(this.#env.clock, this.#timeoutMs);
        }
        return;
      } catch (error) {
        if (!isLost(error) || deadline.passed) throw error;
      }
      await backOff(this.#env, attempt, options.signal);
    }
  }

  async count(span: KeySpan, at: number | undefined, options: ReadOptions): Promise<number> {
    const request = { span, at, freshness: toFreshness(options) };
    return (await this.#retried(options.signal, (callOptions) => this.#stub.count(request, callOptions))).count;
  }

  async *watch(query: WatchQuery, signal: AbortSignal | undefined): AsyncGenerator<WatchStep, void, undefined> {
    // Where to go on if the connection is lost.
    let { from, skip = 0 } = query;
    const { without = "nothing", progressMs = progressDefaultMs, ...rest } = query;
    for (let attempt = 1; ; attempt++) {
      try {
        let begun = false;
        for await (const response of this.#stub.watch(
          { ...rest, without, progressMs, from, skip },
          streamOptions(signal),
        )) {
          attempt = 1;
          const events = response.events.map(toEvent);
          const { revision, more } = response;
          if (more) [from, skip] = [revision, (from === revision ? skip : 0) + events.length];
          // A watch that is to begin in the future hears of the revisions before.
          else if (from === undefined || revision >= from) [from, skip] = [revision + 1, 0];
          if (events.length > 0 || (begun && query.progressMs !== undefined)) yield { revision, events };
          begun = true;
        }
        throw new HoldfastError("unavailable", "the member ended the watch");
      } catch (error) {
        // It waits for a member as long as its caller waits for it.
        if (!isLost(error)) throw error;
      }
      await backOff(this.#env, attempt, signal);
    }
  }

  async history(key: Uint8Array, options: ReadOptions): Promise<readonly KeyVersion[]> {
    return this.#retried(options.signal, async (callOptions) => {
      const all: StoredRecord[] = [];
      const request = { key, freshness: toFreshness(options) };
      for await (const { versions } of this.#stub.history(request, callOptions)) all.push(...versions);
      return all;
    });
  }

  async revision(options: ReadOptions): Promise<Revision> {
    const request = { freshness: toFreshness(options) };
    const { revision } = await this.#retried(options.signal, (callOptions) =>
      this.#stub.revision(request, callOptions),
    );
    return toRevision(revision);
  }
}

function toFreshness({ consistency, atLeast }: ReadOptions): { local: boolean; atLeast: number | undefined } {
  return { local: consistency === "local", atLeast };
}

/** A stream may take as long as its reader. */
function streamOptions(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function isLost(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === "unavailable";
}

const absent: StoredRecord = {
  createRevision: 0,
  revision: 0,
  version: 0,
  lease: 0n,
  value: new Uint8Array(0),
  index: 0,
};

function toKeyed({ key, record = absent }: KeyedRecord): KeyedRecord {
  return { key, record };
}

function toEvent({ key, record, previous }: WatchedEvent): WatchedEvent {
  return { key, record, previous };
}

/** What is left of a query after these records: the same state, behind the last of them. */
function behind(query: KeyQuery, revision: number, records: readonly KeyedRecord[]): KeyQuery {
  const last = records[records.length - 1]?.key;
  if (last === undefined) return query;
  const { key, end } = query.span;
  let span: KeySpan;
  if (end === undefined || query.reverse !== true)
    span = { key: concatBytes([last, new Uint8Array(1)]), end: end ?? last };
  else span = { key, end: last };
  const limit = query.limit === undefined ? undefined : query.limit - records.length;
  return { ...query, span, at: revision, limit };
}
