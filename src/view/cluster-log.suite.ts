/**
 * A log with several members for tests, without any protocol: what the majority has agreed on is an array, and what a
 * member sees of it and hears from it is as the test says.
 */
import { assert, deferred, HoldfastError, position, Signal } from "../base/index.ts";
import type { Deferred, Position } from "../base/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "../log/index.ts";

/** What the majority has agreed on. */
export class ClusterLog {
  readonly records: Uint8Array[] = [];
  readonly #members: MemberLog[] = [];

  /** Another view of the log, connected, that knows everything so far. */
  member(): MemberLog {
    const member = new MemberLog(this);
    this.#members.push(member);
    return member;
  }

  append(records: readonly Uint8Array[]): Position {
    const first = this.records.length;
    this.records.push(...records);
    for (const member of this.#members) member.grown();
    return position(first);
  }
}

interface Append {
  readonly records: readonly Uint8Array[];
  readonly done: Deferred<AppendOutcome>;
  /** Where it is in the log; undefined as long as it is not. */
  first: Position | undefined;
}

export class MemberLog implements LogEngine {
  readonly capabilities: LogCapabilities = { durability: "quorum", trim: true };
  readonly #cluster: ClusterLog;
  readonly #grown = new Signal();
  readonly #listeners = new Set<(isPrimary: boolean) => void>();
  #start = 0;
  #committed: number;
  #connected = true;
  #answering = true;
  #primary = false;
  #closed = false;
  /** Not answered yet. */
  #appends: Append[] = [];

  constructor(cluster: ClusterLog) {
    this.#cluster = cluster;
    this.#committed = cluster.records.length;
  }

  /** No majority is in reach: nothing new is seen, appends wait, the tail is unavailable. */
  cutOff(): void {
    this.#connected = false;
  }

  /** Though it is cut off, it has seen as much. */
  see(committed: number): void {
    this.#committed = Math.max(this.#committed, committed);
    this.#grown.notify();
  }

  /** What waited is appended, and what has come meanwhile is seen. */
  heal(): void {
    this.#connected = true;
    // Sending answers, and so takes away from these.
    for (const append of this.#appends.slice()) this.#send(append);
    this.grown();
  }

  /** Appends get into the log, but their answers are held back, until `answer`. */
  holdAnswers(): void {
    this.#answering = false;
  }

  answer(): void {
    this.#answering = true;
    for (const append of this.#appends.splice(0)) {
      if (append.first === undefined) this.#appends.push(append);
      else append.done.resolve({ ok: true, position: append.first });
    }
  }

  /** The appends under way are given up; nobody knows whether they are in the log. */
  giveUp(): void {
    const error = new HoldfastError("unavailable", "the leader is gone", { maybe: true });
    for (const { done } of this.#appends.splice(0)) done.reject(error);
  }

  /** The log here is replaced by what others have from a position on, and is connected again. */
  jump(start: number): void {
    assert(start > this.#start && start <= this.#cluster.records.length, `a jump to ${start}`);
    this.#start = start;
    this.heal();
  }

  setPrimary(isPrimary: boolean): void {
    this.#primary = isPrimary;
    for (const listener of this.#listeners) listener(isPrimary);
  }

  /** The cluster's log has grown. */
  grown(): void {
    if (this.#connected) this.#committed = this.#cluster.records.length;
    this.#grown.notify();
  }

  get isPrimary(): boolean {
    return this.#primary;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    if (this.#closed) return Promise.reject(new HoldfastError("unavailable", "the log is closed"));
    const append: Append = { records, done: deferred<AppendOutcome>(), first: undefined };
    this.#appends.push(append);
    if (this.#connected) this.#send(append);
    return append.done.promise;
  }

  #send(append: Append): void {
    append.first ??= this.#cluster.append(append.records);
    if (this.#answering) this.answer();
  }

  async tail(): Promise<Position> {
    if (!this.#connected) throw new HoldfastError("unavailable", "no majority is in reach");
    return position(this.#cluster.records.length);
  }

  committed(): Position {
    return position(this.#committed);
  }

  start(): Position {
    return position(this.#start);
  }

  async *read(
    from: Position,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LogBatch, void, undefined> {
    const { signal } = options;
    const wake = () => this.#grown.notify();
    signal?.addEventListener("abort", wake);
    try {
      let next: number = from;
      while (!isAborted(signal) && !this.#closed) {
        if (next < this.#start) throw new HoldfastError("trimmed", `the log begins at ${this.#start}, not at ${next}`);
        const records = this.#cluster.records.slice(next, Math.min(next + 100, this.#committed));
        if (records.length === 0) await this.#grown.wait();
        else yield { position: position(next), records };
        next += records.length;
      }
    } finally {
      signal?.removeEventListener("abort", wake);
    }
  }

  trim(before: Position): Promise<Position> {
    this.#start = Math.max(this.#start, Math.min(before, this.#committed));
    return Promise.resolve(position(this.#start));
  }

  close(): Promise<void> {
    this.#closed = true;
    this.giveUp();
    this.#grown.notify();
    return Promise.resolve();
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}
