/**
 * Appends on their way into a replicated log. Each is cut into parts, which an entry holds whole:
 *
 * | state    | left by                                                                      |
 * |----------|------------------------------------------------------------------------------|
 * | queued   | `#propose` (this member leads), `#forward` (another does), `expire` → failed |
 * | proposed | `proposed` → pending, or queued again                                        |
 * | sent     | the leader's answer → pending, queued again, or failed                       |
 * | pending  | `settle` → done, or queued again when its entry became void; `expire`        |
 *
 * A part whose fate nobody knows fails with `maybe`; one that is surely not in the log without.
 */
import {
  asHoldfastError,
  assert,
  deferred,
  HoldfastError,
  limits,
  pieces,
  position,
  Signal,
} from "../../base/index.ts";
import type { Clock, Deferred } from "../../base/index.ts";
import type { ProposalOutcome, Raft } from "../../raft/index.ts";
import type { AppendOutcome } from "../engine.ts";
import type { Peer } from "./peer.ts";

/** Where a proposal is, if its entry keeps its term. */
interface Accepted {
  readonly term: number;
  /** Of the entry. */
  readonly index: number;
  /** Of the proposal's first record. */
  readonly position: number;
}

/** An append of this member, or one that another member has forwarded. */
interface Owner {
  /** Answered when everything is delivered here. */
  readonly done: Deferred<AppendOutcome> | undefined;
  /** Answered when it is in the leader's log. */
  readonly accepted: Deferred<Accepted> | undefined;
  partsLeft: number;
  first: number;
}

interface Part {
  readonly owner: Owner;
  readonly records: readonly Uint8Array[];
  readonly size: number;
  readonly sinceMs: number;
}

interface PlacedPart {
  readonly part: Part;
  readonly position: number;
}

interface Pending {
  readonly index: number;
  readonly term: number;
  readonly parts: readonly PlacedPart[];
  readonly sinceMs: number;
}

/** Entries proposed at once. */
const entryCountMax = 8;

export class Appends {
  readonly #clock: Clock;
  readonly #unavailableMs: number;
  readonly #changed = new Signal();
  #queue: Part[] = [];
  #queueSize = 0;
  readonly #proposed = new Map<number, readonly Part[]>();
  #sending = false;
  /** Nothing is proposed or forwarded before the next tick. */
  #pausing = false;
  #pending: Pending[] = [];
  #nextId = 1;
  #deliveredIndex = 0;
  #progressMs: number;
  #failure: HoldfastError | undefined;

  constructor(clock: Clock, unavailableMs: number) {
    this.#clock = clock;
    this.#unavailableMs = unavailableMs;
    this.#progressMs = clock.monotonicMs();
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0 && this.#pending.length === 0 && this.#proposed.size === 0 && !this.#sending;
  }

  /** Resolves when something was answered. */
  changed(): Promise<void> {
    return this.#changed.wait();
  }

  /** Takes an append of this member. `exhausted` when too much waits. */
  add(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    const done = deferred<AppendOutcome>();
    const owner: Owner = { done, accepted: undefined, partsLeft: 0, first: Number.POSITIVE_INFINITY };
    const refusal = this.#enqueue(owner, records);
    return refusal === undefined ? done.promise : Promise.reject(refusal);
  }

  /** Takes an append that another member forwards; it fits an entry. */
  accept(records: readonly Uint8Array[]): Promise<Accepted> {
    if (records.length === 0) throw new HoldfastError("invalid", "an append has at least one record");
    const accepted = deferred<Accepted>();
    const owner: Owner = { done: undefined, accepted, partsLeft: 0, first: Number.POSITIVE_INFINITY };
    const refusal = this.#enqueue(owner, records);
    return refusal === undefined ? accepted.promise : Promise.reject(refusal);
  }

  #enqueue(owner: Owner, records: readonly Uint8Array[]): HoldfastError | undefined {
    const sinceMs = this.#clock.monotonicMs();
    const parts = [...pieces(records, limits.appendSizeMax, ({ length }) => length + 8)].map((part): Part => {
      const size = part.reduce((sum, { length }) => sum + length + 8, 0);
      return { owner, records: part, size, sinceMs };
    });
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    if (this.#queueSize > 0 && this.#queueSize + size > limits.proposalQueueSizeMax) {
      return new HoldfastError(
        "exhausted",
        `${this.#queueSize} bytes wait for the log; the limit is ${limits.proposalQueueSizeMax} (limits.proposalQueueSizeMax): retry later`,
      );
    }
    owner.partsLeft = parts.length;
    for (const part of parts) this.#queue.push(part);
    this.#queueSize += size;
    return undefined;
  }

  /** Brings what waits towards the log: here if this member leads, else to `leader` if one is known. */
  advance(raft: Raft, leader: Peer | undefined, wake: () => void): void {
    if (this.#queue.length === 0 || this.#pausing) return;
    if (raft.role === "leader") {
      for (let count = 0; count < entryCountMax && this.#queue.length > 0; count++) this.#propose(raft);
    } else if (leader !== undefined && !this.#sending) {
      void this.#forward(leader, wake);
    }
  }

  /** Parts from the front of the queue, as many as an entry takes. */
  #take(): readonly Part[] {
    let size = 0;
    let count = 0;
    for (const part of this.#queue) {
      if (count > 0 && size + part.size > limits.appendSizeMax) break;
      size += part.size;
      count++;
    }
    this.#queueSize -= size;
    return this.#queue.splice(0, count);
  }

  #putBack(parts: readonly Part[]): void {
    if (this.#failure !== undefined) {
      const error = new HoldfastError("unavailable", this.#failure.message, { cause: this.#failure });
      for (const part of parts) this.#fail(part, error);
      return;
    }
    this.#queue = [...parts, ...this.#queue];
    for (const { size } of parts) this.#queueSize += size;
  }

  #propose(raft: Raft): void {
    const parts = this.#take();
    const id = this.#nextId++;
    this.#proposed.set(id, parts);
    raft.step({ kind: "propose", id, records: join(parts) });
  }

  /** The machine's answer to a proposal. */
  proposed(id: number, outcome: ProposalOutcome): void {
    const parts = this.#proposed.get(id);
    assert(parts !== undefined, `proposal ${id} was made here`);
    this.#proposed.delete(id);
    if (outcome.ok) this.#pend(outcome, parts);
    else this.#refused(parts, outcome);
  }

  #refused(parts: readonly Part[], outcome: Extract<ProposalOutcome, { ok: false }>): void {
    if (outcome.reason === "busy") {
      this.#pausing = true;
      this.#putBack(parts);
      return;
    }
    this.#putBack(parts.filter(({ owner }) => owner.accepted === undefined));
    const error = new HoldfastError("unavailable", "this member does not lead the log any more");
    for (const part of parts) if (part.owner.accepted !== undefined) this.#fail(part, error);
  }

  #pend({ term, index, position: first }: Accepted, parts: readonly Part[]): void {
    const placed: PlacedPart[] = [];
    let next = first;
    for (const part of parts) {
      const { owner } = part;
      owner.first = Math.min(owner.first, next);
      if (owner.accepted !== undefined) owner.accepted.resolve({ term, index, position: next });
      else placed.push({ part, position: next });
      next += part.records.length;
    }
    if (placed.length > 0) this.#pending.push({ index, term, parts: placed, sinceMs: this.#clock.monotonicMs() });
    // An answer of the leader came after this log had stopped.
    if (this.#failure !== undefined) this.fail(this.#failure);
    this.#changed.notify();
  }

  async #forward(leader: Peer, wake: () => void): Promise<void> {
    this.#sending = true;
    const parts = this.#take();
    const { cluster, to } = leader.hello;
    try {
      const request = { cluster, to, records: join(parts) as Uint8Array[] };
      this.#pend(await leader.stub.append(request, { timeoutMs: this.#unavailableMs }), parts);
    } catch (error) {
      this.#notForwarded(parts, asHoldfastError(error));
    }
    this.#sending = false;
    this.#changed.notify();
    wake();
  }

  #notForwarded(parts: readonly Part[], error: HoldfastError): void {
    const again = !error.maybe && (error.code === "unavailable" || error.code === "timeout");
    if (again) {
      this.#pausing = true;
      this.#putBack(parts);
      return;
    }
    const code = error.code === "timeout" ? "unavailable" : error.code;
    const failure = new HoldfastError(code, `the leader's answer is lost: ${error.message}`, {
      maybe: error.maybe,
      cause: error,
    });
    for (const part of parts) this.#fail(part, failure);
  }

  /** Entries up to `index` are delivered: answers what they hold, and queues again what they were to hold and do not. */
  settle(index: number, termAt: (index: number) => number | undefined): void {
    if (index > this.#deliveredIndex) {
      this.#deliveredIndex = index;
      this.#progressMs = this.#clock.monotonicMs();
    }
    if (this.#pending.length === 0) return;
    const settled = this.#pending.filter((pending) => pending.index <= index);
    if (settled.length === 0) return;
    this.#pending = this.#pending.filter((pending) => pending.index > index);
    const again: Part[] = [];
    // Appends are answered in the order of their positions.
    for (const { index: at, term, parts } of settled.toSorted((a, b) => a.index - b.index)) {
      const found = termAt(at);
      for (const { part } of parts) {
        if (found === term) this.#done(part);
        else if (found === undefined) this.#fail(part, lostError());
        else again.push(part);
      }
    }
    if (again.length > 0) this.#putBack(again);
    this.#changed.notify();
  }

  #done({ owner }: Part): void {
    owner.partsLeft--;
    if (owner.partsLeft === 0) owner.done?.resolve({ ok: true, position: position(owner.first) });
  }

  #fail({ owner }: Part, error: HoldfastError): void {
    // A part of it may be in the log although this one is not.
    const partial = owner.first < Number.POSITIVE_INFINITY && !error.maybe;
    const failure = partial ? new HoldfastError(error.code, error.message, { maybe: true, cause: error }) : error;
    owner.done?.reject(failure);
    owner.accepted?.reject(failure);
  }

  /**
   * Once a tick: gives up what has waited too long while the log made no progress; sooner if for `leaderlessMs` no leader is
   * known.
   */
  expire(leaderlessMs: number): void {
    this.#pausing = false;
    if (this.isEmpty) return;
    const nowMs = this.#clock.monotonicMs();
    const lateMs = nowMs - this.#unavailableMs;
    const stalledMs = this.#progressMs <= lateMs ? lateMs : Number.NEGATIVE_INFINITY;
    this.#expireQueue(leaderlessMs > this.#unavailableMs / 4 ? nowMs : stalledMs);
    this.#expirePending(leaderlessMs > this.#unavailableMs / 2 ? nowMs : stalledMs);
  }

  #expireQueue(beforeMs: number): void {
    const late = this.#queue.filter(({ sinceMs }) => sinceMs <= beforeMs);
    if (late.length === 0) return;
    this.#queue = this.#queue.filter(({ sinceMs }) => sinceMs > beforeMs);
    for (const part of late) {
      this.#queueSize -= part.size;
      this.#fail(part, noMajority());
    }
    this.#changed.notify();
  }

  #expirePending(beforeMs: number): void {
    const stuck = this.#pending.filter(({ sinceMs }) => sinceMs <= beforeMs);
    if (stuck.length === 0) return;
    this.#pending = this.#pending.filter(({ sinceMs }) => sinceMs > beforeMs);
    for (const { parts } of stuck) for (const { part } of parts) this.#fail(part, lostError());
    this.#changed.notify();
  }

  /** Nothing goes on any more. */
  fail(cause: HoldfastError): void {
    this.#failure = cause;
    const untouched = new HoldfastError("unavailable", cause.message, { cause });
    const touched = new HoldfastError("unavailable", cause.message, { maybe: true, cause });
    for (const part of this.#queue) this.#fail(part, untouched);
    for (const parts of this.#proposed.values()) for (const part of parts) this.#fail(part, touched);
    for (const { parts } of this.#pending) for (const { part } of parts) this.#fail(part, touched);
    this.#queue = [];
    this.#queueSize = 0;
    this.#proposed.clear();
    this.#pending = [];
    this.#changed.notify();
  }
}

export function noMajority(): HoldfastError {
  return new HoldfastError(
    "unavailable",
    "the log has no leader that a majority of the members follows: are enough members running, and do they reach each other?",
  );
}

function lostError(): HoldfastError {
  return new HoldfastError("unavailable", "no majority has confirmed the append in time; it may still be confirmed", {
    maybe: true,
  });
}

function join(parts: readonly Part[]): readonly Uint8Array[] {
  return parts.length === 1 ? (parts[0] as Part).records : parts.flatMap(({ records }) => records);
}
