/** Changes of the membership and of the leadership on their way: one after another, each until it is complete. */
import { abortable, asHoldfastError, deferred, HoldfastError } from "../../base/index.ts";
import type { Clock, Deferred } from "../../base/index.ts";
import { memberOf } from "../../raft/index.ts";
import type { MemberId, MembershipChange, ProposalOutcome, Raft } from "../../raft/index.ts";
import { noMajority } from "./appends.ts";
import type { Peer } from "./peer.ts";
import { toWireChange } from "./wire.ts";

export type Wish = { readonly change: MembershipChange } | { readonly transfer: MemberId };

interface Wanted {
  readonly wish: Wish;
  readonly done: Deferred<void>;
  readonly sinceMs: number;
}

/** A change takes several steps of the log, and each of them may need an election first. */
const patience = 3;

export class Changes {
  readonly #clock: Clock;
  readonly #unavailableMs: number;
  #queue: Wanted[] = [];
  /** It was proposed, or sent to the leader. */
  #current: Wanted | undefined;
  #proposal: number | undefined;
  #accepted: { readonly index: number; readonly term: number } | undefined;
  #transferring = false;
  #calling = false;
  #pausing = false;
  #busy = false;
  /** Proposals of `Appends` count up from 1; these from here. */
  #nextId = -1;

  constructor(clock: Clock, unavailableMs: number) {
    this.#clock = clock;
    this.#unavailableMs = unavailableMs * patience;
  }

  add(wish: Wish, signal: AbortSignal | undefined): Promise<void> {
    const wanted: Wanted = { wish, done: deferred<void>(), sinceMs: this.#clock.monotonicMs() };
    this.#queue.push(wanted);
    signal?.addEventListener("abort", () => (this.#queue = this.#queue.filter((other) => other !== wanted)));
    return abortable(wanted.done.promise, signal);
  }

  advance(raft: Raft, leader: Peer | undefined, wake: () => void): void {
    if (this.#pausing) return;
    this.#current ??= this.#queue.shift();
    const wanted = this.#current;
    if (wanted === undefined || this.#proposal !== undefined || this.#accepted !== undefined || this.#calling) return;
    if (this.#transferring) return;
    const { wish } = wanted;
    if (raft.role !== "leader") {
      if (leader !== undefined) void this.#forward(wanted, leader, wake);
    } else if ("change" in wish) {
      this.#proposal = this.#nextId--;
      raft.step({ kind: "changeMembership", id: this.#proposal, change: wish.change });
    } else this.#transfer(raft, wish.transfer);
  }

  #transfer(raft: Raft, to: MemberId): void {
    const { self } = raft.status();
    if (to === self) return this.#finish();
    if (to !== 0 && memberOf(raft.configuration, to)?.voter !== true) {
      return this.#finish(new HoldfastError("invalid", `member ${to} is no voter; only a voter can lead`));
    }
    this.#transferring = true;
    raft.step({ kind: "transfer", to });
  }

  async #forward({ wish }: Wanted, leader: Peer, wake: () => void): Promise<void> {
    this.#calling = true;
    const { cluster, to } = leader.hello;
    const options = { timeoutMs: this.#unavailableMs };
    try {
      if ("change" in wish) {
        await leader.stub.changeMembership({ cluster, to, ...toWireChange(wish.change) }, options);
      } else await leader.stub.transfer({ cluster, to, target: wish.transfer }, options);
      this.#finish();
    } catch (error) {
      const failure = asHoldfastError(error);
      if (failure.code === "unavailable" && !failure.maybe) this.#pausing = true;
      else if (failure.code !== "timeout") this.#finish(failure);
      else this.#finish(new HoldfastError("unavailable", failure.message, { maybe: failure.maybe, cause: failure }));
    }
    this.#calling = false;
    wake();
  }

  /** The machine's answer. False when the proposal is none of these. */
  proposed(id: number, outcome: ProposalOutcome): boolean {
    if (id >= 0) return false;
    if (id !== this.#proposal) return true;
    this.#proposal = undefined;
    if (outcome.ok) this.#accepted = outcome;
    else if (outcome.reason === "invalid") this.#finish(asHoldfastError(outcome.error));
    else {
      this.#busy = outcome.reason === "busy";
      this.#pausing = true;
    }
    return true;
  }

  /** Entries up to `index` are delivered. */
  delivered(raft: Raft, index: number): void {
    if (this.#transferring && raft.role !== "leader" && raft.leader !== 0) this.#finish();
    const accepted = this.#accepted;
    if (accepted === undefined || accepted.index > index) return;
    const term = raft.termAt(accepted.index);
    if (term !== undefined && term !== accepted.term) {
      // Another leader's entry took its place: it is proposed again.
      this.#accepted = undefined;
      return;
    }
    if (!raft.configuration.joint && raft.configurationIndex <= index) this.#finish();
  }

  #finish(error?: HoldfastError): void {
    const wanted = this.#current;
    this.#current = undefined;
    this.#accepted = undefined;
    this.#proposal = undefined;
    this.#transferring = false;
    this.#busy = false;
    if (error === undefined) wanted?.done.resolve();
    else wanted?.done.reject(error);
  }

  /** Once a tick. */
  expire(): void {
    this.#pausing = false;
    const beforeMs = this.#clock.monotonicMs() - this.#unavailableMs;
    while (this.#queue.length > 0 && (this.#queue[0] as Wanted).sinceMs <= beforeMs) {
      this.#queue.shift()?.done.reject(noMajority());
    }
    const wanted = this.#current;
    if (wanted === undefined || wanted.sinceMs > beforeMs || this.#calling) return;
    this.#finish(this.#lateError());
  }

  #lateError(): HoldfastError {
    if (this.#transferring) {
      return new HoldfastError("unavailable", "the member did not take over the leadership in time; is it running?");
    }
    if (this.#accepted !== undefined) {
      return new HoldfastError("unavailable", "no majority has confirmed the change in time", { maybe: true });
    }
    if (!this.#busy) return noMajority();
    return new HoldfastError("conflict", "another change of the membership is under way; wait for it and try again");
  }

  /** Nothing goes on any more. */
  fail(error: HoldfastError): void {
    const maybe = this.#accepted !== undefined || this.#calling;
    this.#current?.done.reject(new HoldfastError("unavailable", error.message, { maybe, cause: error }));
    for (const { done } of this.#queue) done.reject(new HoldfastError("unavailable", error.message, { cause: error }));
    this.#queue = [];
    this.#current = undefined;
  }
}
