/**
 * Keys of a replica elsewhere. Reads are repeated, on another member where there is one; lists and watches go on where
 * they were, so that nothing is lost or doubled.
 *
 * 1. What is asked of a revision (`at`, the rest of a list, a watch from there on) is answered by a member that has it:
 *    one that lags behind catches up first.
 * 2. A watch tells nobody of a revision below one that it has told of before.
 */
import { concatBytes, HoldfastError, revision as toRevision } from "../../base/index.ts";
import type { Clock, Env, Revision } from "../../base/index.ts";
import type { CallOptions, RpcClient, Stub } from "../../rpc/index.ts";
import type { CommandOutcome, Operation, ProposeOptions, Proposer } from "../command.ts";
import { toFreshness } from "../freshness-message.ts";
import { RemoteCalls, RemoteStream, unchanging } from "../remote-calls.ts";
import type { RemoteCall, RemoteOptions } from "../remote-calls.ts";
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
import { LiveStreams } from "./remote-streams.ts";
import { KeyService } from "./service.ts";

/**
 * A watch learns at least so often how far it has come, so that it can go on elsewhere although nothing of its keys has
 * happened and what did happen has been compacted: the usual history of 100,000 revisions lasts for 5 s at 20,000 writes
 * a second. An idle watch costs its member one message of some 20 bytes in this time.
 */
const progressMaxMs = 5_000;

/** How long a watch waits at most to hear anything of a member, before it asks another. */
const firstMsMax = 3_600_000;

const finite = { endless: false };
const endless = { endless: true };

export class RemoteKeys implements KeySource {
  readonly shared = false;
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof KeyService)["methods"]>;
  readonly #proposer: Proposer;
  readonly #streams: LiveStreams;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, proposer: Proposer, options: RemoteOptions) {
    this.#calls = new RemoteCalls(env, client, options);
    const stub = client.use(KeyService);
    this.#stub = stub;
    this.#proposer = proposer;
    this.#streams = new LiveStreams(env.clock, client, (timeoutMs) => stub.revision({ freshness: {} }, { timeoutMs }));
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#proposer.propose(operations, options);
  }

  async get(key: Uint8Array, at: number | undefined, options: ReadOptions): Promise<StoredRecord | undefined> {
    const request = { key, at, freshness: toFreshness(options, at) };
    return (await this.#calls.repeated(options.signal, (callOptions) => this.#stub.get(request, callOptions))).record;
  }

  async *list(query: KeyQuery, options: ReadOptions): AsyncGenerator<KeyBatch, void, undefined> {
    let rest = query;
    let call = this.#calls.begin(options.signal);
    for (;;) {
      const request = { ...rest, freshness: toFreshness(options, rest.at) };
      const stream = this.#stream(options.signal, (callOptions) => this.#stub.list(request, callOptions));
      this.#streams.add(stream, finite);
      try {
        for (;;) {
          const batch = await stream.next(call.attemptMs);
          if (batch === undefined) return;
          const records = batch.records.map(toKeyed);
          yield { revision: batch.revision, records };
          rest = behind(rest, batch.revision, records);
          call = this.#calls.begin(options.signal);
        }
      } catch (error) {
        if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
        await call.again(error, false);
      } finally {
        this.#streams.delete(stream);
        stream.end();
      }
    }
  }

  #stream<T>(
    signal: AbortSignal | undefined,
    begin: (options: CallOptions) => AsyncIterator<T, undefined>,
  ): RemoteStream<T> {
    return new RemoteStream(this.#calls.clock, signal, begin);
  }

  async count(span: KeySpan, at: number | undefined, options: ReadOptions): Promise<number> {
    const request = { span, at, freshness: toFreshness(options, at) };
    return (await this.#calls.repeated(options.signal, (callOptions) => this.#stub.count(request, callOptions))).count;
  }

  async *watch(query: WatchQuery, signal: AbortSignal | undefined): AsyncGenerator<WatchStep, void, undefined> {
    const place = new WatchPlace(this.#calls.clock, query);
    const { without = "nothing", ...rest } = query;
    const progressMs = Math.min(query.progressMs ?? progressMaxMs, progressMaxMs);
    let call: RemoteCall | undefined;
    let firstMs = this.#calls.timeoutMs / 2;
    for (;;) {
      const request = { ...rest, without, progressMs, ...place.begin() } as const;
      const stream = this.#stream(signal, (options) => this.#stub.watch(request, options));
      this.#streams.add(stream, endless);
      try {
        let response = await stream.next(firstMs);
        for (; response !== undefined; response = await stream.next()) {
          call = undefined;
          firstMs = this.#calls.timeoutMs / 2;
          const events = response.events.map(toEvent);
          if (place.pass(response.revision, events.length, response.more))
            yield { revision: response.revision, events };
        }
        throw new HoldfastError("unavailable", "the member ended the watch");
      } catch (error) {
        // It waits for a member as long as its caller waits for it.
        call ??= this.#calls.begin(signal, Number.POSITIVE_INFINITY);
        if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
        // Where all members are slow, it gives the next one more time.
        if (error.code === "timeout") firstMs = Math.min(2 * firstMs, firstMsMax);
        await call.again(error, false);
      } finally {
        this.#streams.delete(stream);
        stream.end();
      }
    }
  }

  async history(key: Uint8Array, options: ReadOptions): Promise<readonly KeyVersion[]> {
    return this.#calls.repeated(options.signal, async (callOptions) => {
      const all: StoredRecord[] = [];
      const request = { key, freshness: toFreshness(options, undefined) };
      for await (const { versions } of this.#stub.history(request, callOptions)) all.push(...versions);
      return all;
    });
  }

  async revision(options: ReadOptions): Promise<Revision> {
    const request = { freshness: toFreshness(options, undefined) };
    const { revision } = await this.#calls.repeated(options.signal, (callOptions) =>
      this.#stub.revision(request, callOptions),
    );
    return toRevision(revision);
  }
}

/** Where a watch is: what to ask for when it has to begin again elsewhere. */
class WatchPlace {
  /** The first revision of which not everything was handed over; undefined until a member has said where it begins. */
  #from: number | undefined;
  /** Events of that revision that were handed over. */
  #skip: number;
  readonly #clock: Clock;
  /** How often its caller wants to hear of progress. */
  readonly #progressMs: number | undefined;
  #toldMs: number;
  #toldRevision = 0;
  /** The first message of a stream says where it begins. */
  #begins = true;

  constructor(clock: Clock, { from, skip = 0, progressMs }: WatchQuery) {
    this.#clock = clock;
    this.#from = from;
    this.#skip = skip;
    this.#progressMs = progressMs;
    this.#toldMs = clock.monotonicMs();
  }

  /** A stream begins from here. */
  begin(): { readonly from: number | undefined; readonly skip: number } {
    this.#begins = true;
    return { from: this.#from, skip: this.#skip };
  }

  /** Takes note of a message of the member; true if its events, or that there were none, are to be told. */
  pass(revision: number, eventCount: number, more: boolean): boolean {
    const begins = this.#begins;
    this.#begins = false;
    if (more) {
      this.#skip = (this.#from === revision ? this.#skip : 0) + eventCount;
      this.#from = revision;
    } else if (this.#from === undefined || revision >= this.#from) {
      // A watch that is to begin in the future hears of the revisions before.
      this.#from = revision + 1;
      this.#skip = 0;
    }
    if (eventCount === 0 && (begins || !this.#tellsProgress(revision))) return false;
    this.#toldMs = this.#clock.monotonicMs();
    this.#toldRevision = revision;
    return true;
  }

  /** The member tells more often than the caller may want to know. */
  #tellsProgress(revision: number): boolean {
    if (this.#progressMs === undefined || revision < this.#toldRevision) return false;
    return this.#progressMs <= progressMaxMs || this.#clock.monotonicMs() >= this.#toldMs + this.#progressMs;
  }
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
