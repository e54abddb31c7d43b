/**
 * Gets many blobs from several sources at once, each blob from whichever source has it.
 *
 * Every source takes from one queue as fast as it delivers, so that fast ones do most of the work. What happens to a
 * source that does not do well:
 *
 * | it                                       | and so                                                                |
 * | ---------------------------------------- | --------------------------------------------------------------------- |
 * | does not have a blob                     | is not asked for that one again                                       |
 * | fails                                    | gets nothing for a while, twice as long each time; given up at the 5th in a row |
 * | sends nothing for `stallMs`              | the same                                                              |
 * | is slow, while others have nothing to do | they ask for what it is still owing; the first answer counts          |
 * | sends what was not asked for (`corrupt`) | is given up                                                           |
 *
 * 1. `take` is called once a blob, with bytes that have its hash.
 * 2. Per source at most 4 requests of at most 256 blobs and about 1 MiB, one of them at least one blob, are under way;
 *    what they brought counts until `take` has settled.
 * 3. Given up as soon as some blob cannot be had: `notFound` when every source that is left lacks it, `unavailable` when
 *    none is left.
 */
import { abortError, asHoldfastError, assert, HoldfastError, toHex } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { BlobSource } from "./remote.ts";
import type { Hash } from "./store.ts";

const requestCountMax = 4;
const batchCountMax = 256;
const batchSizeMax = 1_048_576;
/** Failures in a row after which a source is given up. */
const failureCountMax = 5;
/** How often stalls, ends of pauses and slow requests are looked for; also the first pause after a failure. */
const tickMs = 200;
const stallMsDefault = 5_000;
/** A request that takes longer is helped with by sources that have nothing else to do. */
const slowMs = 1_000;

export interface WantedBlob {
  readonly hash: Hash;
  /** About how many bytes it has; for the size of requests. */
  readonly sizeHint: number;
}

export interface FetcherOptions<Wanted> {
  /** Called with each blob. If it rejects, so does everything. */
  readonly take: (wanted: Wanted, bytes: Uint8Array) => Promise<void>;
  /** Called when a blob was taken, and at the end. */
  readonly changed: () => void;
  readonly signal?: AbortSignal | undefined;
  /** After so long without a sign of the source a request is given up. Default 5,000. */
  readonly stallMs?: number | undefined;
}

interface Entry<Wanted> {
  readonly wanted: Wanted;
  /** Sources that do not have it. */
  lackedBy: Set<Site<Wanted>> | undefined;
  /** Requests under way that ask for it. */
  askedCount: number;
  /** It has come. */
  done: boolean;
}

interface Request<Wanted> {
  readonly entries: readonly Entry<Wanted>[];
  readonly controller: AbortController;
  readonly startedMs: number;
  /** When something came last. */
  heardMs: number;
}

/** A source and how it is doing. */
interface Site<Wanted> {
  readonly source: BlobSource;
  readonly requests: Set<Request<Wanted>>;
  /** How many requests it gets: one more with each that goes well. */
  requestCountMax: number;
  failureCount: number;
  /** It gets nothing before this. */
  notBeforeMs: number;
  /** Why it was given up. */
  end: HoldfastError | undefined;
}

export class BlobFetcher<Wanted extends WantedBlob> {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #options: FetcherOptions<Wanted>;
  readonly #stallMs: number;
  readonly #sites: readonly Site<Wanted>[];
  /** Wanted and asked of nobody; the last is asked for first. */
  #queue: Entry<Wanted>[] = [];
  /** Wanted and not yet taken. */
  #openCount = 0;
  #failure: HoldfastError | undefined;
  readonly #running = new Set<Promise<void>>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(env: Pick<Env, "clock" | "logger">, sources: readonly BlobSource[], options: FetcherOptions<Wanted>) {
    this.#env = env;
    this.#options = options;
    this.#stallMs = options.stallMs ?? stallMsDefault;
    this.#sites = sources.map((source) => ({
      source,
      requests: new Set(),
      requestCountMax: 1,
      failureCount: 0,
      notBeforeMs: Number.NEGATIVE_INFINITY,
      end: undefined,
    }));
    const { signal } = options;
    if (signal?.aborted === true) this.#fail(abortError(signal));
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** What has gone wrong. Nothing comes any more. */
  get failure(): HoldfastError | undefined {
    return this.#failure;
  }

  /** Blobs that no source has been asked for yet. */
  get waitingCount(): number {
    return this.#queue.length;
  }

  /** Everything wanted was taken. */
  get idle(): boolean {
    return this.#openCount === 0;
  }

  /** Asks for more. The caller wants each blob once. */
  want(blobs: readonly Wanted[]): void {
    assert(!this.#closed, "the fetcher is closed");
    for (const wanted of blobs) this.#queue.push({ wanted, lackedBy: undefined, askedCount: 0, done: false });
    this.#openCount += blobs.length;
    this.#ask();
  }

  /** Ends what is under way, and resolves when it has ended and all that came was taken. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#stop();
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  readonly #onAbort = (): void => {
    this.#fail(abortError(this.#options.signal as AbortSignal)); // It is this signal's listener.
  };

  #stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const stopped = new HoldfastError("cancelled", "the fetch has ended");
    for (const { requests } of this.#sites) for (const { controller } of requests) controller.abort(stopped);
  }

  #fail(error: HoldfastError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#stop();
    this.#options.changed();
  }

  /** Gives every source that can take more something to do. */
  #ask(): void {
    if (this.#failure !== undefined || this.#closed) return;
    const nowMs = this.#env.clock.monotonicMs();
    // In turns, so that a short queue is divided among the sources.
    for (let asked = true; asked;) {
      asked = false;
      for (const site of this.#sites) {
        if (site.end !== undefined || site.notBeforeMs > nowMs || site.requests.size >= site.requestCountMax) continue;
        const batch = this.#batch(site) ?? this.#owed(site, nowMs);
        if (batch === undefined) continue;
        asked = true;
        const running = this.#request(site, batch);
        this.#running.add(running);
        void running.then(() => this.#running.delete(running));
      }
    }
    const waiting = this.#openCount > 0 && this.#sites.some(({ end }) => end === undefined);
    if (waiting) this.#timer ??= this.#env.clock.schedule(tickMs, () => this.#tick());
    else if (this.#openCount > 0) this.#failWithoutSources();
  }

  /** From the queue's end, what the source may have. */
  #batch(site: Site<Wanted>): Entry<Wanted>[] | undefined {
    const batch: Entry<Wanted>[] = [];
    const passed: Entry<Wanted>[] = [];
    // A source's fair share, while there is little: else the first would take all.
    const countMax = Math.min(batchCountMax, Math.max(1, Math.ceil(this.#queue.length / this.#sites.length)));
    let size = 0;
    while (batch.length < countMax && size < batchSizeMax) {
      const entry = this.#queue.pop();
      if (entry === undefined) break;
      if (entry.lackedBy?.has(site) === true) {
        passed.push(entry);
        continue;
      }
      batch.push(entry);
      size += entry.wanted.sizeHint;
    }
    for (const entry of passed.toReversed()) this.#queue.push(entry);
    return batch.length === 0 ? undefined : batch;
  }

  /** What another source has owed for longest, if it is slow. */
  #owed(site: Site<Wanted>, nowMs: number): Entry<Wanted>[] | undefined {
    let slowest: Request<Wanted> | undefined;
    for (const other of this.#sites) {
      if (other === site) continue;
      for (const request of other.requests) {
        if (nowMs - request.startedMs < slowMs || (slowest !== undefined && slowest.startedMs <= request.startedMs))
          continue;
        if (request.entries.some((entry) => canHelp(entry, site))) slowest = request;
      }
    }
    return slowest?.entries.filter((entry) => canHelp(entry, site));
  }

  async #request(site: Site<Wanted>, entries: readonly Entry<Wanted>[]): Promise<void> {
    const nowMs = this.#env.clock.monotonicMs();
    const request = { entries, controller: new AbortController(), startedMs: nowMs, heardMs: nowMs };
    const { signal } = request.controller;
    for (const entry of entries) entry.askedCount++;
    site.requests.add(request);
    const taking: Promise<void>[] = [];
    let failure: HoldfastError | undefined;
    try {
      const hashes = entries.map(({ wanted }) => wanted.hash);
      const heard = () => {
        request.heardMs = this.#env.clock.monotonicMs();
      };
      for await (const { index, bytes } of site.source.get(hashes, { signal, heard })) {
        heard();
        site.failureCount = 0;
        const entry = entries[index];
        assert(entry !== undefined, `${site.source.name} gave blob ${index} of ${entries.length}`);
        if (entry.done) continue;
        entry.done = true;
        taking.push(this.#take(entry, bytes));
        this.#release(entry);
      }
    } catch (error) {
      failure = asHoldfastError(error);
    }
    // Whoever waits for room waits for the store too.
    await Promise.all(taking);
    site.requests.delete(request);
    this.#finish(site, request, failure);
    this.#ask();
  }

  async #take(entry: Entry<Wanted>, bytes: Uint8Array): Promise<void> {
    try {
      await this.#options.take(entry.wanted, bytes);
    } catch (error) {
      this.#fail(asHoldfastError(error));
      return;
    }
    this.#openCount--;
    this.#options.changed();
  }

  /** Ends requests all of whose blobs have come by another way. */
  #release(entry: Entry<Wanted>): void {
    if (entry.askedCount < 2) return;
    for (const { requests } of this.#sites) {
      for (const { entries, controller } of requests) {
        if (!entries.includes(entry) || entries.some(({ done }) => !done)) continue;
        controller.abort(new HoldfastError("cancelled", "everything that was asked for has come from elsewhere"));
      }
    }
  }

  /** A request is over. What it did not bring is wanted again. */
  #finish(site: Site<Wanted>, { entries, controller }: Request<Wanted>, failure: HoldfastError | undefined): void {
    for (const entry of entries) entry.askedCount--;
    if (this.#failure !== undefined || this.#closed) return;
    const left = entries.filter(({ done }) => !done);
    // Not a failure of the source if this ended it because nothing was left to come.
    const failed = failure !== undefined && !(left.length === 0 && controller.signal.aborted);
    if (failed) {
      this.#pause(site, failure);
    } else if (failure === undefined) {
      site.failureCount = 0;
      site.requestCountMax = Math.min(requestCountMax, site.requestCountMax + 1);
      for (const entry of left) (entry.lackedBy ??= new Set()).add(site);
    }
    for (const entry of left.toReversed()) if (entry.askedCount === 0) this.#queue.push(entry);
    // Also when the source was given up: it may have been the last that could have something.
    this.#checkHope(site.end === undefined ? left : this.#queue);
  }

  #pause(site: Site<Wanted>, failure: HoldfastError): void {
    site.failureCount++;
    site.requestCountMax = 1;
    const over = failure.code === "corrupt" || site.failureCount >= failureCountMax;
    if (over) site.end = failure;
    else site.notBeforeMs = this.#env.clock.monotonicMs() + tickMs * 2 ** (site.failureCount - 1);
    this.#env.logger.log("warn", over ? "a source of blobs is given up" : "a source of blobs has failed", {
      source: site.source.name,
      error: failure.message,
    });
  }

  /** Fails when no source is left that could have one of these. */
  #checkHope(entries: readonly Entry<Wanted>[]): void {
    if (this.#sites.every(({ end }) => end !== undefined)) return this.#failWithoutSources();
    for (const { lackedBy, done, wanted } of entries) {
      if (done || lackedBy === undefined) continue;
      if (this.#sites.some((site) => site.end === undefined && !lackedBy.has(site))) continue;
      const count = this.#sites.filter(({ end }) => end === undefined).length;
      const where = `none of the ${count} sources that can be reached has it`;
      return this.#fail(new HoldfastError("notFound", `blob ${toHex(wanted.hash)}: ${where}`));
    }
  }

  #failWithoutSources(): void {
    const { end } = this.#sites.findLast((site) => site.end !== undefined) ?? {};
    const what = end === undefined ? "there is no source of blobs" : `no source of blobs is left: ${end.message}`;
    this.#fail(new HoldfastError("unavailable", what, { cause: end }));
  }

  #tick(): void {
    this.#timer = undefined;
    const nowMs = this.#env.clock.monotonicMs();
    for (const { requests } of this.#sites) {
      for (const { heardMs, controller } of requests) {
        if (nowMs - heardMs < this.#stallMs) continue;
        controller.abort(new HoldfastError("timeout", `nothing has come within ${this.#stallMs} ms`));
      }
    }
    this.#ask();
  }
}

/** Nobody but one slow source is asked for it, and this one may have it. */
function canHelp<Wanted>(entry: Entry<Wanted>, site: Site<Wanted>): boolean {
  return !entry.done && entry.askedCount === 1 && entry.lackedBy?.has(site) !== true;
}
