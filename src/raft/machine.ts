/** What all roles of a machine share: its log, its term and what is to be done next. */
import type { MemberId } from "./configuration.ts";
import type { EntryLog } from "./entry-log.ts";
import type { Entry, RaftLimits, RaftMessage, ProposalOutcome, ReadOutcome, Ready } from "./protocol.ts";

/** A message without its sender. */
type Unsigned<M> = M extends RaftMessage ? Omit<M, "from" | "term"> & { readonly term?: number } : never;

export class Machine {
  readonly self: MemberId;
  readonly random: () => number;
  readonly heartbeatTicks: number;
  readonly electionTicks: number;
  readonly limits: RaftLimits;
  readonly log: EntryLog;
  term = 0;
  commit: number;
  /** The last index that is durable here. */
  durable: number;
  /** Ticks since the beginning. */
  tick = 0;
  /** Entries that no write has taken yet. */
  unwritten: Entry[] = [];
  messages: RaftMessage[] = [];
  promises: RaftMessage[] = [];
  proposals: { readonly id: number; readonly outcome: ProposalOutcome }[] = [];
  reads: { readonly id: number; readonly outcome: ReadOutcome }[] = [];
  fetches: Ready["fetches"][number][] = [];

  constructor(
    log: EntryLog,
    settings: Pick<Machine, "self" | "random" | "heartbeatTicks" | "electionTicks" | "limits">,
  ) {
    this.log = log;
    this.self = settings.self;
    this.random = settings.random;
    this.heartbeatTicks = settings.heartbeatTicks;
    this.electionTicks = settings.electionTicks;
    this.limits = settings.limits;
    this.commit = log.base.index;
    this.durable = log.base.index;
  }

  /** Sent as soon as possible. */
  send(message: Unsigned<RaftMessage>): void {
    this.messages.push({ term: this.term, ...message, from: this.self });
  }

  /** Sent when everything that was written before is durable. */
  promise(message: Unsigned<RaftMessage>): void {
    this.promises.push({ term: this.term, ...message, from: this.self });
  }

  append(entries: readonly Entry[]): void {
    this.log.append(entries);
    for (const entry of entries) this.unwritten.push(entry);
  }
}
