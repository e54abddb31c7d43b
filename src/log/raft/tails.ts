/**
 * Those who ask for the tail of a replicated log. All who wait when a question goes out share it; who comes later shares
 * the next, since an answer says nothing about what was acknowledged after its question.
 */
import { deferred, position } from "../../base/index.ts";
import type { Clock, Deferred, HoldfastError, Position } from "../../base/index.ts";
import type { Raft, ReadOutcome } from "../../raft/index.ts";
import { noMajority } from "./appends.ts";
import type { Peer } from "./peer.ts";

interface Question {
  readonly done: Deferred<Position>;
  readonly sinceMs: number;
}

/** How long one question to the leader may take. */
const callTimeoutMs = 1_000;

export class Tails {
  readonly #clock: Clock;
  readonly #unavailableMs: number;
  #waiting: Question[] = [];
  readonly #asked = new Map<number, readonly Question[]>();
  #calling: readonly Question[] | undefined;
  #pausing = false;
  #nextId = 1;

  constructor(clock: Clock, unavailableMs: number) {
    this.#clock = clock;
    this.#unavailableMs = unavailableMs;
  }

  add(): Promise<Position> {
    const done = deferred<Position>();
    this.#waiting.push({ done, sinceMs: this.#clock.monotonicMs() });
    return done.promise;
  }

  /** Asks: the machine if this member leads, else `leader` if one is known. */
  advance(raft: Raft, leader: Peer | undefined, wake: () => void): void {
    if (this.#waiting.length === 0 || this.#pausing) return;
    if (raft.role === "leader") {
      // They go with the next question, when this one is answered.
      if (this.#asked.size > 0) return;
      const id = this.#nextId++;
      this.#asked.set(id, this.#waiting);
      this.#waiting = [];
      raft.step({ kind: "read", id });
    } else if (leader !== undefined && this.#calling === undefined) {
      void this.#call(leader, wake);
    }
  }

  /** The machine's answer. */
  answered(id: number, outcome: ReadOutcome): void {
    const questions = this.#asked.get(id) ?? [];
    this.#asked.delete(id);
    if (outcome.ok) resolveAll(questions, outcome.position);
    else {
      this.#pausing = true;
      this.#waiting = [...questions, ...this.#waiting];
    }
  }

  async #call(leader: Peer, wake: () => void): Promise<void> {
    const questions = this.#waiting;
    this.#calling = questions;
    this.#waiting = [];
    const { cluster, to } = leader.hello;
    try {
      const { position: tail } = await leader.stub.tail({ cluster, to }, { timeoutMs: callTimeoutMs });
      resolveAll(questions, tail);
    } catch {
      // Whoever leads now is asked again, until it takes too long.
      this.#waiting = [...questions, ...this.#waiting];
      this.#pausing = true;
    }
    this.#calling = undefined;
    wake();
  }

  /** Once a tick: gives up questions that have waited too long; soon if for `leaderlessMs` no leader is known. */
  expire(leaderlessMs: number): void {
    this.#pausing = false;
    const leaderless = leaderlessMs > this.#unavailableMs / 4;
    const beforeMs = this.#clock.monotonicMs() - (leaderless ? 0 : this.#unavailableMs);
    this.#waiting = keepYoung(this.#waiting, beforeMs);
    // A question stays asked, so that no other is asked beside it, although nobody waits for it any more.
    for (const [id, questions] of this.#asked) this.#asked.set(id, keepYoung(questions, beforeMs));
  }

  /** Nothing goes on any more. */
  fail(error: HoldfastError): void {
    rejectAll(this.#waiting, error);
    for (const questions of this.#asked.values()) rejectAll(questions, error);
    rejectAll(this.#calling ?? [], error);
    this.#waiting = [];
    this.#asked.clear();
  }
}

function resolveAll(questions: readonly Question[], tail: number): void {
  for (const { done } of questions) done.resolve(position(tail));
}

function rejectAll(questions: readonly Question[], error: HoldfastError): void {
  for (const { done } of questions) done.reject(error);
}

/** Rejects those that were asked by then, and gives the others. */
function keepYoung(questions: readonly Question[], beforeMs: number): Question[] {
  const late = questions.filter(({ sinceMs }) => sinceMs <= beforeMs);
  if (late.length === 0) return [...questions];
  rejectAll(late, noMajority());
  return questions.filter(({ sinceMs }) => sinceMs > beforeMs);
}
