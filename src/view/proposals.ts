/**
 * Commands on their way into the log and back: gathers those of one turn into one append, and finds whose command was
 * applied by its session and sequence.
 *
 * A command may be applied before or after its append is answered; it is the applying that answers the proposer. Where
 * the log has other members, two more things happen. An append is rejected although its records are in the log (`maybe`),
 * and the command is applied later: nobody waits for it any more. And the state here jumps over the command: then it was
 * applied elsewhere, and what became of it is not known here.
 */
import { asHoldfastError, deferred, HoldfastError, limits, pieces } from "../base/index.ts";
import type { Deferred, Env } from "../base/index.ts";
import type { LogEngine } from "../log/index.ts";
import { encodeCommand } from "./command.ts";
import type { CommandHeader, CommandOutcome, Operation } from "./command.ts";
import type { StoreClock } from "./store-clock.ts";

/** Which command of which session this is. */
export type SessionStamp = Omit<CommandHeader, "timeMs">;

interface Proposal {
  readonly session: number;
  readonly sequence: number;
  readonly record: Uint8Array;
  /** In the log; -1 until the append is answered. */
  position: number;
  readonly done: Deferred<CommandOutcome>;
}

const twoTo21 = 2_097_152;

export class Proposals {
  readonly #clock: StoreClock;
  readonly #log: LogEngine;
  /** Without a session: by a number that starts at random, so that no other proposer's commands are taken for ours. */
  readonly #loose = new Map<number, Proposal>();
  /** In sessions: by session, then sequence. A retry may be under way beside the command that it repeats. */
  readonly #stamped = new Map<number, Map<number, Proposal[]>>();
  #nextLoose: number;
  #outbox: Proposal[] = [];
  /** Commands below this position that are not answered will not be applied one by one here. */
  #skippedTo = 0;
  #idle: Deferred<void> | undefined;

  constructor(env: Pick<Env, "random">, log: LogEngine, clock: StoreClock) {
    this.#clock = clock;
    this.#log = log;
    this.#nextLoose = env.random.uint32() * (twoTo21 / 2) + 1;
  }

  propose(operations: readonly Operation[], stamp: SessionStamp | undefined): Promise<CommandOutcome> {
    const sequence = stamp?.sequence ?? this.#nextLoose++;
    const session = stamp?.session ?? 0;
    let record: Uint8Array;
    try {
      const acknowledgedBelow = stamp?.acknowledgedBelow ?? 0;
      record = encodeCommand({ session, sequence, acknowledgedBelow, timeMs: this.#clock.nowMs() }, operations);
    } catch (error) {
      return Promise.reject(asHoldfastError(error, "invalid"));
    }
    const proposal: Proposal = { session, sequence, record, position: -1, done: deferred<CommandOutcome>() };
    if (this.#outbox.push(proposal) === 1) void Promise.resolve().then(() => this.#send());
    return proposal.done.promise;
  }

  #send(): void {
    const proposals = this.#outbox;
    // They were failed before their turn came.
    if (proposals.length === 0) return;
    this.#outbox = [];
    for (const part of pieces(proposals, limits.appendSizeMax, ({ record }) => record.length + 8)) this.#append(part);
  }

  #append(proposals: readonly Proposal[]): void {
    for (const proposal of proposals) this.#add(proposal);
    this.#log.append(proposals.map(({ record }) => record)).then(
      (outcome) => {
        // A sealed log's successor answers for itself.
        if (outcome.ok) this.#appended(proposals, outcome.position);
      },
      (error: unknown) => this.#reject(proposals, asHoldfastError(error)),
    );
  }

  #appended(proposals: readonly Proposal[], first: number): void {
    let next = first;
    for (const proposal of proposals) proposal.position = next++;
    if (first < this.#skippedTo) this.#rejectSkipped(proposals);
  }

  #reject(proposals: readonly Proposal[], error: HoldfastError): void {
    for (const proposal of proposals) this.#remove(proposal)?.done.reject(error);
    this.#wakeIdle();
  }

  #rejectSkipped(proposals: Iterable<Proposal>): void {
    const skipped = Array.from(proposals).filter(({ position }) => position >= 0 && position < this.#skippedTo);
    if (skipped.length === 0) return;
    const message =
      "the command is in the log, but this member was behind and has taken over a newer state: what became of the command is not known here; read what it did";
    this.#reject(skipped, new HoldfastError("unavailable", message, { maybe: true }));
  }

  /** The state has jumped to a position. Those whose place in the log is not known yet are judged when it is. */
  skip(to: number): void {
    this.#skippedTo = to;
    this.#rejectSkipped(this.#appending());
  }

  /** All that the log has been given and that are not answered. */
  #appending(): Proposal[] {
    const stamped = [...this.#stamped.values()].flatMap((bySequence) => [...bySequence.values()].flat());
    return [...this.#loose.values(), ...stamped];
  }

  #add(proposal: Proposal): void {
    if (proposal.session === 0) {
      this.#loose.set(proposal.sequence, proposal);
      return;
    }
    const { session, sequence } = proposal;
    let bySequence = this.#stamped.get(session);
    if (bySequence === undefined) this.#stamped.set(session, (bySequence = new Map<number, Proposal[]>()));
    const others = bySequence.get(sequence);
    if (others === undefined) bySequence.set(sequence, [proposal]);
    else others.push(proposal);
  }

  /** Undefined if it was answered. */
  #remove(proposal: Proposal): Proposal | undefined {
    if (proposal.session === 0) return this.#loose.delete(proposal.sequence) ? proposal : undefined;
    const others = this.#stamped.get(proposal.session)?.get(proposal.sequence);
    const index = others?.indexOf(proposal) ?? -1;
    if (others === undefined || index < 0) return undefined;
    others.splice(index, 1);
    if (others.length === 0) this.#take(proposal);
    return proposal;
  }

  /** Takes out all that wait for a command of a session. */
  #take({ session, sequence }: Pick<CommandHeader, "session" | "sequence">): readonly Proposal[] | undefined {
    const bySequence = this.#stamped.get(session);
    const proposals = bySequence?.get(sequence);
    if (bySequence === undefined || proposals === undefined) return undefined;
    bySequence.delete(sequence);
    if (bySequence.size === 0) this.#stamped.delete(session);
    return proposals;
  }

  /** A command was applied: whoever proposed it here gets the outcome. */
  answer(command: CommandHeader, outcome: CommandOutcome): void {
    if (command.session === 0) {
      const proposal = this.#loose.get(command.sequence);
      if (proposal === undefined) return;
      this.#loose.delete(command.sequence);
      proposal.done.resolve(outcome);
    } else {
      const proposals = this.#take(command);
      if (proposals === undefined) return;
      for (const proposal of proposals) proposal.done.resolve(outcome);
    }
    this.#wakeIdle();
  }

  get #size(): number {
    return this.#loose.size + this.#stamped.size + this.#outbox.length;
  }

  #wakeIdle(): void {
    if (this.#idle === undefined || this.#size > 0) return;
    this.#idle.resolve();
    this.#idle = undefined;
  }

  /** Resolves when no proposal is under way. */
  settled(): Promise<void> {
    if (this.#size === 0) return Promise.resolve();
    this.#idle ??= deferred<void>();
    return this.#idle.promise;
  }

  /** Nothing is applied any more: what is under way may or may not be in the log. */
  fail(cause: HoldfastError): void {
    const failure = new HoldfastError("unavailable", cause.message, { maybe: true, cause });
    const all = [...this.#appending(), ...this.#outbox];
    this.#loose.clear();
    this.#stamped.clear();
    this.#outbox = [];
    for (const proposal of all) proposal.done.reject(failure);
    this.#wakeIdle();
  }
}
