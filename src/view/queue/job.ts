/** A job in the hands of who has pulled it. */
import { isAborted, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { Leases } from "../lease/leases.ts";
import { decodeValue } from "../value.ts";
import type { ViewSource } from "../view-source.ts";
import { proposeOne } from "../view-source.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "../transaction-context.ts";
import type { NumberedJob, QueueOperation } from "./queue-operation.ts";
import { StoredJob } from "./queue-state.ts";
import type { DeliveredJob } from "./push.ts";
import type { QueueView } from "./queue-view.ts";

export interface JobParts {
  readonly env: Pick<Env, "clock">;
  readonly source: ViewSource;
  readonly view: QueueView;
  readonly leases: Leases;
  readonly transaction: <T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ) => Promise<TransactionOutcome<T>>;
  readonly queue: string;
  readonly lease: bigint;
  readonly ttlMs: number;
}

export interface RejectOptions {
  /** When it is ready again. Default: as the queue's settings say, later each time. */
  readonly delayMs?: number | undefined;
  /** Among the dead ones at once. */
  readonly dead?: boolean | undefined;
  /** Kept with the job, up to 1,024 characters. */
  readonly error?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A job that is leased. What is done with it when it is somebody else's already is `conflict`: it was not heard of for as
 * long as its lease lives.
 */
export class Job<T = unknown> implements DeliveredJob {
  readonly queue: string;
  readonly id: number;
  readonly value: T;
  /** How often it has been pulled, this time included. */
  readonly attempt: number;
  readonly priority: number;
  /** Store time, milliseconds since the Unix epoch. */
  readonly pushedMs: number;
  readonly lease: bigint;
  readonly #parts: JobParts;
  #over = false;
  readonly #stop = new AbortController();

  /** @internal */
  constructor(parts: JobParts, { id, job }: NumberedJob) {
    const { value, attempt, priority, pushedMs } = job ?? StoredJob.decode(new Uint8Array(0));
    this.#parts = parts;
    this.queue = parts.queue;
    this.lease = parts.lease;
    this.id = id;
    this.value = decodeValue(value) as T;
    this.attempt = attempt;
    this.priority = priority;
    this.pushedMs = pushedMs;
  }

  /** It was acknowledged or rejected here. */
  get isOver(): boolean {
    return this.#over;
  }

  /** It is done, and gone. */
  async ack(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#propose({ case: "ack", value: { name: this.queue, deliveries: [this.#delivery] } }, options.signal);
    this.#end();
  }

  /** It was not done: it is ready again after a while, or dead after too many attempts. */
  async reject({ delayMs, dead = false, error = "", signal }: RejectOptions = {}): Promise<void> {
    const value = { name: this.queue, delivery: this.#delivery, delayMs, dead, error };
    await this.#propose({ case: "reject", value }, signal);
    this.#end();
  }

  get #delivery(): { readonly id: number; readonly attempt: number; readonly lease: bigint } {
    return { id: this.id, attempt: this.attempt, lease: this.lease };
  }

  async #propose(operation: NonNullable<QueueOperation["operation"]>, signal: AbortSignal | undefined): Promise<void> {
    await proposeOne(this.#parts.source, this.#parts.view, { operation }, signal);
  }

  #end(): void {
    this.#over = true;
    this.#stop.abort();
  }

  /** Its lease, and so that of all jobs of the same pull, has its full time again. `notFound` when it has ended. */
  async extend(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#parts.leases.keepAlive(this.lease, options);
  }

  /** Extends it again and again, until it is over or the function that this gives is called. */
  keep(): () => void {
    const { env, ttlMs } = this.#parts;
    const { signal } = this.#stop;
    const keeping = async () => {
      for (;;) {
        await sleep(env.clock, ttlMs / 3, signal).catch(() => {});
        if (isAborted(signal)) return;
        // That it has failed shows when the job is acknowledged.
        await this.extend({ signal }).catch(() => {});
      }
    };
    void keeping();
    return () => this.#stop.abort();
  }

  /**
   * A transaction that acknowledges the job: what it does takes effect exactly once, with the job's end. `conflict`, for
   * good, when the job is somebody else's already.
   */
  async transaction<R>(
    body: (tx: TransactionContext) => R | Promise<R>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<R>> {
    const outcome = await this.#parts.transaction((tx) => {
      tx.queue(this.queue).ack(this);
      return body(tx);
    }, options);
    this.#end();
    return outcome;
  }
}
