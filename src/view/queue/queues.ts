/** Queues, as a user sees them. */
import { abortError, deferred, HoldfastError, isAborted, sleep } from "../../base/index.ts";
import type { Env, Revision } from "../../base/index.ts";
import type { ReadOptions } from "../key/key-source.ts";
import type { Leases } from "../lease/leases.ts";
import { checkedName, checkedWhole, decodeValue } from "../value.ts";
import { isPassing, proposeOne } from "../view-source.ts";
import type { ViewSource } from "../view-source.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "../transaction-context.ts";
import { Job } from "./job.ts";
import type { JobParts, RejectOptions } from "./job.ts";
import type { NumberedJob, QueueAnswer, QueueOperation, QueueResult } from "./queue-operation.ts";
import { settingsDefault } from "./queue-state.ts";
import type { JobState, StoredQueue } from "./queue-state.ts";
import { pushBody } from "./push.ts";
import type { DeliveredJob, PushOptions } from "./push.ts";
import { readyTopic } from "./queue-view.ts";
import type { QueueView } from "./queue-view.ts";

export interface QueueParts {
  readonly env: Pick<Env, "clock" | "logger">;
  readonly source: ViewSource;
  readonly view: QueueView;
  readonly leases: Leases;
  readonly transaction: <T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ) => Promise<TransactionOutcome<T>>;
}

export interface PushOutcome {
  /** Counts up from 1 in the order of pushing. Of a duplicate: the job's that is there. */
  readonly id: number;
  readonly duplicate: boolean;
}

export interface PullOptions {
  /** At most so many, 1 to 1,000. Default 1. */
  readonly count?: number | undefined;
  /** How long the jobs stay with a worker of whom nothing is heard. Default 30,000. */
  readonly ttlMs?: number | undefined;
  /** Wait until there is one. Default true. */
  readonly wait?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface QueueSettingsOptions {
  /** Pulls after which a job that was not acknowledged goes to the dead ones. 0: never. Default 16. */
  readonly attemptCountMax?: number | undefined;
  /** A rejected job waits this long the first time (default 1,000), then twice as long each time, */
  readonly retryMinMs?: number | undefined;
  /** up to this. Default 3,600,000. */
  readonly retryMaxMs?: number | undefined;
}

export interface QueueInfo {
  /** Those that a pull would get, as of the last change; a delayed job whose time has come counts from the next pull on. */
  readonly ready: number;
  readonly delayed: number;
  readonly leased: number;
  readonly dead: number;
  readonly settings: Required<QueueSettingsOptions>;
}

export interface JobInfo<T> {
  readonly id: number;
  readonly value: T;
  readonly state: JobState;
  readonly priority: number;
  readonly attempt: number;
  /** Store time, milliseconds since the Unix epoch. */
  readonly pushedMs: number;
  /** Of a delayed one: when it becomes ready. */
  readonly readyMs: number;
  /** Why it was rejected last; empty if it was not. */
  readonly error: string;
}

const ttlDefaultMs = 30_000;
const pageCount = 256;
/** What one command purges or requeues. */
const togetherCount = 1_000;
/** Before a worker whom no member answered asks again. */
const pauseMs = 1_000;

export class Queue<T = unknown> {
  readonly name: string;
  readonly #parts: QueueParts;

  /** @internal */
  constructor(parts: QueueParts, name: string) {
    this.#parts = parts;
    this.name = checkedName(name, "queue");
  }

  /** The job is durable when this resolves. */
  async push(value: T, options: PushOptions = {}): Promise<PushOutcome> {
    const [pushed] = await this.pushMany([{ value, ...options }], options);
    return pushed as PushOutcome;
  }

  /** In one command: all or none, neighbours in the order of the queue. */
  async pushMany(
    jobs: readonly (Omit<PushOptions, "signal"> & { readonly value: T })[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly PushOutcome[]> {
    if (jobs.length === 0) return [];
    return (await this.#propose({ case: "push", value: pushBody(this.name, jobs) }, options.signal)).pushed;
  }

  async #propose(
    operation: NonNullable<QueueOperation["operation"]>,
    signal: AbortSignal | undefined,
  ): Promise<QueueResult> {
    return (await proposeOne(this.#parts.source, this.#parts.view, { operation }, signal)).result;
  }

  /**
   * Leases jobs: those with the largest priority, and of these the oldest. Empty only without `wait`. Each stays with the
   * caller until it is acknowledged or rejected, or `ttlMs` after it was last kept alive; then somebody else gets it.
   */
  async pull(options: PullOptions = {}): Promise<readonly Job<T>[]> {
    const { wait = true, signal } = options;
    if (isAborted(signal)) throw abortError(signal as AbortSignal);
    const jobs = await this.#pullNow(options);
    return jobs.length > 0 || !wait ? jobs : this.#pullLater(options);
  }

  async #pullNow({ count = 1, ttlMs = ttlDefaultMs, signal }: PullOptions): Promise<readonly Job<T>[]> {
    const { leases } = this.#parts;
    const lease = leases.newId();
    const pull = { name: this.name, count: checkedWhole(count, "count"), lease, ttlMs };
    const { pulled } = await this.#propose({ case: "pull", value: pull }, signal);
    const parts: JobParts = { ...this.#parts, queue: this.name, lease, ttlMs };
    return pulled.map((one) => new Job<T>(parts, one));
  }

  /** Looks when something has been pushed or given back, and when the next delayed one is due. */
  async #pullLater(options: PullOptions): Promise<readonly Job<T>[]> {
    const { signal } = options;
    const { source, view, env } = this.#parts;
    const stop = new AbortController();
    const changes = source.changes({ view, name: readyTopic(this.name) }, stop.signal)[Symbol.asyncIterator]();
    let change = changes.next();
    try {
      for (;;) {
        const { value: revision, done } = await orAborted(change, signal);
        if (done === true) throw new HoldfastError("unavailable", "the store is closing");
        change = changes.next();
        change.catch(() => {});
        const waitMs = await this.#readyIn(revision, signal);
        if (waitMs === 0) {
          const jobs = await this.#pullNow(options);
          if (jobs.length > 0) return jobs;
        } else if (waitMs !== undefined) {
          const due = new AbortController();
          const sleeping = sleep(env.clock, waitMs, due.signal).catch(() => {});
          await orAborted(Promise.race([sleeping, change]), signal).finally(() => due.abort());
          const jobs = await this.#pullNow(options);
          if (jobs.length > 0) return jobs;
        }
      }
    } finally {
      stop.abort();
      await changes.return?.();
    }
  }

  /** 0: there is one; undefined: there is none, not even a delayed one. */
  async #readyIn(atLeast: Revision, signal: AbortSignal | undefined): Promise<number | undefined> {
    const { answer, timeMs } = await this.#ask(
      { case: "info", value: { name: this.name } },
      { atLeast, consistency: "local", signal },
    );
    if ((answer.queue?.readyCount ?? 0) > 0) return 0;
    if (answer.nextReadyMs === 0) return undefined;
    const nowMs = Math.max(timeMs, this.#parts.env.clock.wallMs());
    return Math.max(1, answer.nextReadyMs - nowMs);
  }

  async #ask(
    query: Parameters<QueueView["answerTo"]>[1]["query"],
    options: ReadOptions,
  ): Promise<{ readonly answer: QueueAnswer; readonly timeMs: number }> {
    return this.#parts.source.ask(this.#parts.view, { query }, options);
  }

  /**
   * Jobs one after another, without end, each kept alive while it is looked at: what has been neither acknowledged nor
   * rejected when the next one is asked for, or the loop is left, is given back at once.
   */
  async *consume(options: Omit<PullOptions, "count" | "wait"> = {}): AsyncGenerator<Job<T>, void, undefined> {
    for (;;) {
      const [job] = await this.pull({ ...options, count: 1, wait: true });
      if (job === undefined) return;
      const stop = job.keep();
      try {
        yield job;
      } finally {
        stop();
        if (!job.isOver) await job.reject({ delayMs: 0, error: "its worker left it" }).catch(() => {});
      }
    }
  }

  /**
   * Works until `signal` aborts: calls `work` with each job, `concurrency` at a time (default 1), acknowledges those for
   * which it resolves and rejects the others with the error's text. Resolves when the last one is over.
   */
  async work(
    work: (job: Job<T>) => unknown,
    options: Omit<PullOptions, "count" | "wait"> & { readonly concurrency?: number | undefined } = {},
  ): Promise<void> {
    const { concurrency = 1 } = options;
    await Promise.all(
      Array.from({ length: checkedWhole(concurrency, "concurrency") }, () => this.#worker(work, options)),
    );
  }

  async #worker(work: (job: Job<T>) => unknown, options: PullOptions): Promise<void> {
    const { env, source } = this.#parts;
    while (!isAborted(options.signal)) {
      try {
        for await (const job of this.consume(options)) await this.#workOn(job, work);
        return;
      } catch (error) {
        if (isAborted(options.signal)) return;
        if (source.closed || !isPassing(error)) throw error;
        env.logger.log("warn", "no member answers a worker; it goes on", { queue: this.name, error: String(error) });
        await sleep(env.clock, pauseMs, options.signal).catch(() => {});
      }
    }
  }

  async #workOn(job: Job<T>, work: (job: Job<T>) => unknown): Promise<void> {
    try {
      await work(job);
      if (!job.isOver) await job.ack();
    } catch (error) {
      if (job.isOver) return;
      const text = error instanceof Error ? error.message : String(error);
      await job.reject({ error: text }).catch((why: unknown) => {
        const fields = { queue: this.name, error: String(why) };
        this.#parts.env.logger.log("warn", "a job could not be rejected; it comes back when its lease ends", fields);
      });
    }
  }

  /** `Job.ack`, for a delivery that another process has pulled. */
  async ack(
    { id, attempt, lease }: Omit<DeliveredJob, "queue">,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    await this.#propose(
      { case: "ack", value: { name: this.name, deliveries: [{ id, attempt, lease }] } },
      options.signal,
    );
  }

  /** `Job.reject`, for a delivery that another process has pulled. */
  async reject({ id, attempt, lease }: Omit<DeliveredJob, "queue">, options: RejectOptions = {}): Promise<void> {
    const { delayMs, dead = false, error = "", signal } = options;
    const value = { name: this.name, delivery: { id, attempt, lease }, delayMs, dead, error };
    await this.#propose({ case: "reject", value }, signal);
  }

  /** Sets how failures are retried; what is not named keeps its default, not its former value. */
  async configure(
    settings: QueueSettingsOptions,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const { attemptCountMax, retryMinMs, retryMaxMs } = settingsDefault;
    const whole = {
      attemptCountMax: settings.attemptCountMax ?? attemptCountMax,
      retryMinMs: settings.retryMinMs ?? retryMinMs,
      retryMaxMs: settings.retryMaxMs ?? retryMaxMs,
    };
    for (const [what, value] of Object.entries(whole)) checkedWhole(value, what, 0);
    await this.#propose({ case: "configure", value: { name: this.name, settings: whole } }, options.signal);
  }

  async info(options: ReadOptions = {}): Promise<QueueInfo> {
    const { answer } = await this.#ask({ case: "info", value: { name: this.name } }, options);
    return infoOf(answer.queue);
  }

  /** All jobs in the order of pushing, or the dead ones alone. A page at a time, each of one revision. */
  async *list(
    options: ReadOptions & { readonly dead?: boolean | undefined } = {},
  ): AsyncGenerator<JobInfo<T>, void, undefined> {
    const { dead = false, ...reading } = options;
    for (let after = 0; ;) {
      const page = { name: this.name, after, dead, limit: pageCount };
      const { answer } = await this.#ask({ case: "jobs", value: page }, reading);
      for (const one of answer.jobs) yield jobInfo<T>(one);
      if (!answer.more) return;
      after = answer.jobs.at(-1)?.id ?? after + pageCount;
    }
  }

  /** A dead job, or all of them, become ready, as if they had never been pulled. Answers how many. */
  requeue(
    options: { readonly id?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<number> {
    const { id = 0, signal } = options;
    return this.#all(id, () =>
      this.#propose({ case: "requeue", value: { name: this.name, id, limit: togetherCount } }, signal),
    );
  }

  /** Deletes a job that nobody has leased. */
  async remove(id: number, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const value = { name: this.name, id: checkedWhole(id, "id"), state: "ready", limit: 1 } as const;
    await this.#propose({ case: "remove", value }, options.signal);
  }

  /** Deletes all jobs in these states; leased ones stay. Default: ready, delayed and dead. Answers how many. */
  async purge(
    options: {
      readonly states?: readonly Exclude<JobState, "leased">[] | undefined;
      readonly signal?: AbortSignal | undefined;
    } = {},
  ): Promise<number> {
    const { states = ["ready", "delayed", "dead"], signal } = options;
    let count = 0;
    for (const state of states) {
      const value = { name: this.name, id: 0, state, limit: togetherCount };
      count += await this.#all(0, () => this.#propose({ case: "remove", value }, signal));
    }
    return count;
  }

  async #all(id: number, some: () => Promise<QueueResult>): Promise<number> {
    for (let total = 0; ;) {
      const { count } = await some();
      total += count;
      if (id !== 0 || count < togetherCount) return total;
    }
  }

  /** Deletes the queue and its settings. `conflict` while it has jobs. */
  async delete(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#propose({ case: "delete", value: { name: this.name } }, options.signal);
  }
}

/** All queues, in the order of their names. */
export async function* listQueues(
  source: ViewSource,
  view: QueueView,
  options: ReadOptions = {},
): AsyncGenerator<QueueInfo & { readonly name: string }, void, undefined> {
  for (let after = ""; ;) {
    const { answer } = await source.ask(view, { query: { case: "queues", value: { after } } }, options);
    for (const { name, queue } of answer.queues) yield { name, ...infoOf(queue) };
    if (!answer.more) return;
    after = answer.queues.at(-1)?.name ?? "";
  }
}

function infoOf(queue: StoredQueue | undefined): QueueInfo {
  const { attemptCountMax, retryMinMs, retryMaxMs } = queue ?? settingsDefault;
  const { readyCount = 0, delayedCount = 0, leasedCount = 0, deadCount = 0 } = queue ?? {};
  const settings = { attemptCountMax, retryMinMs, retryMaxMs };
  return { ready: readyCount, delayed: delayedCount, leased: leasedCount, dead: deadCount, settings };
}

function jobInfo<T>({ id, job }: NumberedJob): JobInfo<T> {
  if (job === undefined) throw new HoldfastError("corrupt", `job ${id} has no content`);
  const { value, state, priority, attempt, pushedMs, readyMs, error } = job;
  return { id, value: decodeValue(value) as T, state, priority, attempt, pushedMs, readyMs, error };
}

/** As the promise does, or rejects when the signal aborts. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const left = deferred<never>();
  const leave = () => left.reject(abortError(signal));
  if (signal.aborted) throw abortError(signal);
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([promise, left.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
