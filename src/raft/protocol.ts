/**
 * What goes into the consensus machine and what comes out: entries, messages between machines, events, and `Ready`.
 *
 * An entry is a batch of neighbouring records. Indexes count entries from 1; positions count records from 0, so that
 * entries without records (the first of each term, and configurations) take an index and no position.
 */
import type { Configuration, MemberId, MembershipChange } from "./configuration.ts";

export interface Entry {
  /** From 1, dense. */
  readonly index: number;
  readonly term: number;
  /** Of the first record; for an entry without records, of the next one. */
  readonly position: number;
  /** None for the entry that a leader begins its term with. Shared: nobody may change them. */
  readonly records: readonly Uint8Array[];
  /** Bytes of the records together. */
  readonly size: number;
  /** Only in an entry that changes the configuration, which has no records. */
  readonly configuration?: Configuration | undefined;
}

/** What lies before the first entry of a log. */
export interface Base {
  /** Of the last entry that is no longer there; 0 in a log that has everything. */
  readonly index: number;
  readonly term: number;
  /** One past the last record that is no longer there. */
  readonly position: number;
  /** As of `index`. */
  readonly configuration: Configuration;
}

/** What a member must never forget. */
export interface HardState {
  readonly term: number;
  /** Whom it voted for in that term; 0 for nobody. */
  readonly vote: MemberId;
  /** An index that is committed; may be behind. */
  readonly commit: number;
}

interface Envelope {
  readonly from: MemberId;
  readonly to: MemberId;
  /** Of the sender; in a pre-vote and its granting, the term that the sender would begin. */
  readonly term: number;
}

/** Asks for a vote. */
export interface VoteMessage extends Envelope {
  readonly kind: "vote" | "preVote";
  /** Of the candidate's last entry. */
  readonly index: number;
  readonly entryTerm: number;
  /** The leader itself asked for this election: a voter grants it although it hears from the leader. */
  readonly transfer: boolean;
}

export interface VoteAnswer extends Envelope {
  readonly kind: "voteAnswer" | "preVoteAnswer";
  readonly granted: boolean;
}

/** Entries behind the one at (`index`, `entryTerm`); none to probe. */
export interface AppendMessage extends Envelope {
  readonly kind: "append";
  readonly index: number;
  readonly entryTerm: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
}

export interface AppendAnswer extends Envelope {
  readonly kind: "appendAnswer";
  /** The log here agrees with the sender's. */
  readonly accepted: boolean;
  /** Accepted: the last index known to agree, durable here. Refused: the `index` that did not agree. */
  readonly index: number;
  /** Refused: the last index and its term where agreement is possible (an entry here with a term ≤ the one asked for). */
  readonly hintIndex: number;
  readonly hintTerm: number;
}

/** Says that the leader leads, and what is committed. Never refused. */
export interface HeartbeatMessage extends Envelope {
  readonly kind: "heartbeat";
  /** No more than what the receiver is known to have. */
  readonly commit: number;
  /** Echoed by the answer: a majority of echoes confirms the reads of the round. 0: no answer is wanted. */
  readonly round: number;
}

export interface HeartbeatAnswer extends Envelope {
  readonly kind: "heartbeatAnswer";
  readonly round: number;
}

/** The entries that the receiver needs are no longer in the leader's log, which begins behind `base`. */
export interface InstallMessage extends Envelope {
  readonly kind: "install";
  readonly base: Base;
}

/** The leader hands over: begin an election at once. */
export interface CampaignMessage extends Envelope {
  readonly kind: "campaign";
}

export type RaftMessage =
  | VoteMessage
  | VoteAnswer
  | AppendMessage
  | AppendAnswer
  | HeartbeatMessage
  | HeartbeatAnswer
  | InstallMessage
  | CampaignMessage;

/** What may happen to a machine. */
export type RaftEvent =
  /** Time passes; the unit of all timeouts. */
  | { readonly kind: "tick" }
  | { readonly kind: "message"; readonly message: RaftMessage }
  /** The writes up to this number are durable. */
  | { readonly kind: "written"; readonly write: number }
  /** Records for the log, as neighbours. `id` is the proposer's, and comes back in `Ready.proposals`. */
  | { readonly kind: "propose"; readonly id: number; readonly records: readonly Uint8Array[] }
  /** Which position is one past everything acknowledged? `id` comes back in `Ready.reads`. Leader only. */
  | { readonly kind: "read"; readonly id: number }
  /** `id` comes back in `Ready.proposals`. */
  | { readonly kind: "changeMembership"; readonly id: number; readonly change: MembershipChange }
  /** Hand the leadership to a member, 0 for the one that is best suited. */
  | { readonly kind: "transfer"; readonly to: MemberId }
  /** The connection to a member broke, or messages to it were lost. */
  | { readonly kind: "unreachable"; readonly member: MemberId }
  /** Entries that `Ready.fetches` asked for, from storage; none when they are gone meanwhile. */
  | { readonly kind: "fetched"; readonly member: MemberId; readonly entries: readonly Entry[] }
  /** The state before `base` is durable here, as `Ready.catchUp` asked. */
  | { readonly kind: "caughtUp"; readonly base: Base }
  /** Delivered entries up to this index may be forgotten for good; `position` is one past their last record. */
  | { readonly kind: "trim"; readonly index: number; readonly position: number }
  /** Entries up to this index, which are durable and delivered, need not be kept in memory any longer. */
  | { readonly kind: "release"; readonly index: number };

export type Role = "follower" | "preCandidate" | "candidate" | "leader";

/** What must be made durable, as a whole and in the order of the fields. */
export interface RaftWrite {
  /** Counts up from 1; told to `written`. */
  readonly number: number;
  /** The log begins anew behind this: whatever was in it is void. */
  readonly reset: Base | undefined;
  /** The first may overwrite entries with the same or higher indexes, which are void then. */
  readonly entries: readonly Entry[];
  /** Present when a term or vote changed, and with entries. */
  readonly state: HardState | undefined;
}

export type ProposalOutcome =
  /** In this member's log at these entries, if they keep this term; not yet committed. */
  | { readonly ok: true; readonly term: number; readonly index: number; readonly position: number }
  /** Nothing was taken. `leader` is 0 if none is known. */
  | { readonly ok: false; readonly reason: "notLeader"; readonly leader: MemberId }
  /** Too much is uncommitted, or a transfer is under way, or another change of the membership is: later. */
  | { readonly ok: false; readonly reason: "busy" }
  | { readonly ok: false; readonly reason: "invalid"; readonly error: Error };

export type ReadOutcome =
  /** Everything acknowledged before the question lies below `position`, and is committed up to `index`. */
  | { readonly ok: true; readonly index: number; readonly position: number }
  | { readonly ok: false; readonly leader: MemberId };

/**
 * What has to be done after the events since the last `ready()`, each part in its own order:
 *
 *  - `messages` may be sent at once, also before `write` is durable: a leader's entries go out while it writes them.
 *  - `write` is to be made durable after every earlier write; then `written` is told.
 *  - `promises` may be sent only when `write` and all earlier writes are durable. Without a `write` they wait for the
 *    earlier ones all the same.
 *  - `committed` may be delivered at once: those entries are durable here and on a majority.
 *
 * Messages may be lost, doubled and reordered. Every list is bounded by the machine's limits.
 */
export interface Ready {
  readonly messages: readonly RaftMessage[];
  readonly write: RaftWrite | undefined;
  readonly promises: readonly RaftMessage[];
  /** Entries up to this index are to be delivered now; undefined if nothing new is. */
  readonly committed: number | undefined;
  readonly proposals: readonly { readonly id: number; readonly outcome: ProposalOutcome }[];
  readonly reads: readonly { readonly id: number; readonly outcome: ReadOutcome }[];
  /** Entries to be read from storage for a member that is far behind: from `index` on, about `sizeMax` bytes. */
  readonly fetches: readonly { readonly member: MemberId; readonly index: number; readonly sizeMax: number }[];
  /** The log here is too far behind: get the state before this, make it durable, then tell `caughtUp`. */
  readonly catchUp: Base | undefined;
}

export interface RaftLimits {
  /** Bytes of records in one append message, unless one entry alone has more. */
  readonly messageSizeMax: number;
  /** Append messages and bytes on the way to one member. */
  readonly inFlightCountMax: number;
  readonly inFlightSizeMax: number;
  /** Bytes of records in entries that are not committed; beyond it proposals are `busy`. */
  readonly uncommittedSizeMax: number;
  /** Reads that wait for confirmation; beyond it they fail. */
  readonly readCountMax: number;
}

export interface RaftOptions {
  readonly self: MemberId;
  /** A uniform number from 0 (included) to 1 (excluded), for election timeouts. */
  readonly random: () => number;
  /** Ticks between heartbeats. Default 5. */
  readonly heartbeatTicks?: number;
  /** Ticks without a leader before an election: this many to twice as many. Default 50. */
  readonly electionTicks?: number;
  readonly limits?: Partial<RaftLimits>;
  /** What storage held. Default: an empty log of nobody. */
  readonly state?: HardState;
  readonly base?: Base;
  /** All durable entries behind the base. */
  readonly entries?: readonly Entry[];
  /** Committed entries up to this index are not needed in memory: their records may be left out, though not their number. */
  readonly released?: number;
}

/** For people and tests. */
export interface RaftStatus {
  readonly self: MemberId;
  readonly role: Role;
  readonly term: number;
  readonly vote: MemberId;
  /** 0 if none is known. */
  readonly leader: MemberId;
  readonly commit: number;
  readonly base: Base;
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** The last index that is durable here. */
  readonly durableIndex: number;
  readonly configuration: Configuration;
  /** On a leader: how far every other member is. */
  readonly progress: readonly MemberProgress[];
  /** To whom the leadership is being handed; 0 for nobody. */
  readonly transferringTo: MemberId;
}

export interface MemberProgress {
  readonly member: MemberId;
  /** `probe`: one message at a time until it agrees; `replicate`: a pipeline; `catchUp`: it fetches the state. */
  readonly state: "probe" | "replicate" | "catchUp";
  /** The last index known to be durable there, and the next to be sent. */
  readonly match: number;
  readonly next: number;
  /** Heard from since the last check. */
  readonly active: boolean;
}
