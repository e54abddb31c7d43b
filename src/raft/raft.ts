/**
 * Consensus as a pure machine (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended
 * version, 2014; Ongaro, "Consensus: Bridging Theory and Practice", 2014, for pre-votes, learners, transfer and reads).
 * Takes events with `step`, gives what has to be done with `ready`; in between it knows no clock, disk or network.
 *
 * | role         | left by                                                                     |
 * |--------------|-----------------------------------------------------------------------------|
 * | follower     | `#campaign` → preCandidate, candidate                                       |
 * | preCandidate | `#countVotes` → candidate, follower; `#follow`                              |
 * | candidate    | `#countVotes` → leader, follower; `#follow`                                 |
 * | leader       | `#follow`, when a higher term is seen or it resigns (`Leadership.resigned`) |
 *
 * Invariants, checked by the tests:
 *  1. At most one leader a term (election safety).
 *  2. Entries with the same index and term are the same, and so are all before them (log matching).
 *  3. A committed entry is in the log of every leader of a later term (leader completeness), and is never dropped here.
 *  4. Terms, `commit` and what was delivered never go back.
 *  5. Nothing that promises durability leaves before it is durable: a vote, an accepted append, the leader's own share in
 *     a majority.
 */
import { assert, unreachable } from "../base/index.ts";
import { emptyConfiguration, isVoter, memberOf } from "./configuration.ts";
import type { Configuration, MemberId } from "./configuration.ts";
import { EntryLog } from "./entry-log.ts";
import { Leadership } from "./leadership.ts";
import { Machine } from "./machine.ts";
import { electionResult } from "./quorum.ts";
import type {
  AppendMessage,
  Base,
  Entry,
  HeartbeatMessage,
  InstallMessage,
  ProposalOutcome,
  RaftEvent,
  RaftLimits,
  RaftMessage,
  RaftOptions,
  RaftStatus,
  RaftWrite,
  Ready,
  Role,
  VoteAnswer,
  VoteMessage,
} from "./protocol.ts";

const defaultLimits: RaftLimits = {
  messageSizeMax: 1_048_576,
  inFlightCountMax: 64,
  inFlightSizeMax: 8_388_608,
  uncommittedSizeMax: 67_108_864,
  readCountMax: 65_536,
};

interface PendingWrite {
  readonly number: number;
  /** What is durable when it is done, unless some of it was overwritten since. */
  lastIndex: number;
}

export class Raft {
  readonly #machine: Machine;
  #role: Role = "follower";
  #vote: MemberId = 0;
  #leader: MemberId = 0;
  #leadership: Leadership | undefined;
  #votes = new Map<MemberId, boolean>();
  /** Ticks since a leader was heard or an election began. */
  #silence = 0;
  /** Ticks of silence after which an election begins. */
  #patience: number;
  #transferred = false;
  /** The log is too far behind, and the state before this is being fetched. */
  #catchingUp: Base | undefined;
  #catchUpAsked = false;

  #delivered: number;
  /** What `ready` said last. */
  #reset: Base | undefined;
  #stateChanged = false;
  /** The own vote counts when the write that holds it is durable; 0 when no write holds it yet. */
  #ownVoteWrite: number | undefined;
  #writeCount = 0;
  #writes: PendingWrite[] = [];

  constructor(options: RaftOptions) {
    const base = options.base ?? { index: 0, term: 0, position: 0, configuration: emptyConfiguration };
    const log = new EntryLog(base);
    const { self, random, heartbeatTicks = 5, electionTicks = 50 } = options;
    assert(electionTicks > heartbeatTicks && heartbeatTicks > 0, "an election takes more patience than a heartbeat");
    const limits = { ...defaultLimits, ...options.limits };
    this.#machine = new Machine(log, { self, random, heartbeatTicks, electionTicks, limits });
    log.append(options.entries ?? []);
    const { term, vote, commit } = options.state ?? { term: base.term, vote: 0, commit: 0 };
    assert(term >= log.lastTerm, `the term ${term} is not below that of the last entry, ${log.lastTerm}`);
    this.#machine.term = term;
    this.#vote = vote;
    this.#machine.durable = log.lastIndex;
    this.#machine.commit = Math.max(base.index, Math.min(commit, log.lastIndex));
    this.#delivered = base.index;
    log.release(Math.min(options.released ?? 0, this.#machine.commit));
    // The first time it is less patient: if somebody leads, the others will not let it disturb them.
    this.#patience = heartbeatTicks + Math.floor((random() * electionTicks) / 2);
    const voters = log.configuration.members.filter(isVoter);
    if (voters.length === 1 && voters[0]?.id === self) this.#patience = 1;
  }

  get role(): Role {
    return this.#role;
  }

  get term(): number {
    return this.#machine.term;
  }

  /** 0 if none is known. */
  get leader(): MemberId {
    return this.#leader;
  }

  get configuration(): RaftStatus["configuration"] {
    return this.#machine.log.configuration;
  }

  /** The latest entry with a configuration; whether it is committed is seen from `status().commit`. */
  get configurationIndex(): number {
    return this.#machine.log.configurationIndex;
  }

  /** The term of an entry; undefined where the log does not reach. */
  termAt(index: number): number | undefined {
    return this.#machine.log.termAt(index);
  }

  /** The entry, if it is in memory: released ones are not. */
  entry(index: number): Entry | undefined {
    return this.#machine.log.at(index);
  }

  /** Whether a learner may be made a voter without holding up the others; only the leader knows. */
  isCaughtUp(member: MemberId): boolean {
    return this.#leadership?.isCaughtUp(member) ?? false;
  }

  step(event: RaftEvent): void {
    switch (event.kind) {
      case "tick":
        this.#tick();
        break;
      case "message":
        this.#receive(event.message);
        break;
      case "written":
        this.#written(event.write);
        break;
      case "propose":
        this.#machine.proposals.push({ id: event.id, outcome: this.#leading((l) => l.propose(event.records)) });
        break;
      case "changeMembership": {
        const outcome = this.#leading((leadership) => leadership.changeMembership(event.change));
        this.#machine.proposals.push({ id: event.id, outcome });
        break;
      }
      case "read":
        if (this.#leadership?.read(event.id) !== true) {
          this.#machine.reads.push({ id: event.id, outcome: { ok: false, leader: this.#leader } });
        }
        break;
      case "transfer":
        this.#leadership?.transfer(event.to);
        break;
      case "unreachable":
        this.#unreachable(event.member);
        break;
      case "fetched":
        this.#leadership?.fetched(event.member, event.entries);
        break;
      case "caughtUp":
        this.#caughtUp(event.base);
        break;
      case "trim":
        assert(event.index <= this.#delivered, `entry ${event.index} was delivered before it is trimmed`);
        this.#machine.log.trim(event.index, event.position);
        break;
      case "release":
        this.#machine.log.release(Math.min(event.index, this.#delivered));
        break;
      default:
        unreachable(event);
    }
    if (this.#leadership?.resigned === true) this.#follow(this.#machine.term, 0);
  }

  #leading(act: (leadership: Leadership) => ProposalOutcome): ProposalOutcome {
    if (this.#leadership === undefined) return { ok: false, reason: "notLeader", leader: this.#leader };
    return act(this.#leadership);
  }

  /** Takes over all that has to be done; it is said once. */
  ready(): Ready {
    this.#leadership?.flush();
    const machine = this.#machine;
    const write = this.#takeWrite();
    const committed = Math.min(machine.commit, machine.durable);
    const news = committed > this.#delivered;
    if (news) this.#delivered = committed;
    const catchUp = this.#catchUpAsked ? this.#catchingUp : undefined;
    this.#catchUpAsked = false;
    const { messages, promises, proposals, reads, fetches } = machine;
    machine.messages = [];
    machine.promises = [];
    machine.proposals = [];
    machine.reads = [];
    machine.fetches = [];
    return { messages, write, promises, committed: news ? committed : undefined, proposals, reads, fetches, catchUp };
  }

  #takeWrite(): RaftWrite | undefined {
    const machine = this.#machine;
    const { unwritten: entries } = machine;
    if (this.#reset === undefined && entries.length === 0 && !this.#stateChanged) return undefined;
    const write: RaftWrite = {
      number: ++this.#writeCount,
      reset: this.#reset,
      entries,
      state: { term: machine.term, vote: this.#vote, commit: machine.commit },
    };
    machine.unwritten = [];
    this.#reset = undefined;
    this.#stateChanged = false;
    if (this.#ownVoteWrite === 0) this.#ownVoteWrite = write.number;
    this.#writes.push({ number: write.number, lastIndex: machine.log.lastIndex });
    return write;
  }

  #written(number: number): void {
    let done: PendingWrite | undefined;
    while (this.#writes.length > 0 && (this.#writes[0] as PendingWrite).number <= number) done = this.#writes.shift();
    if (done === undefined) return;
    this.#machine.durable = done.lastIndex;
    if (this.#ownVoteWrite !== undefined && this.#ownVoteWrite !== 0 && number >= this.#ownVoteWrite) {
      this.#ownVoteWrite = undefined;
      if (this.#role === "candidate") this.#countVote(this.#machine.self, true);
    }
    this.#leadership?.written();
  }

  #tick(): void {
    this.#machine.tick++;
    if (this.#leadership !== undefined) {
      this.#leadership.tick();
      return;
    }
    if (++this.#silence < this.#patience) return;
    if (this.#mayCampaign) this.#campaign("preVote", false);
    else this.#leader = 0;
  }

  get #isVoter(): boolean {
    const member = memberOf(this.configuration, this.#machine.self);
    return member !== undefined && isVoter(member);
  }

  get #committedConfiguration(): Configuration {
    const { log, commit } = this.#machine;
    return log.configurationAt(commit);
  }

  /**
   * One that the latest configuration makes no voter campaigns all the same until that is committed: the others may lack
   * the entry, and it must not elect them. Its own vote does not count then (Ongaro 2014, section 4.2.2).
   */
  get #mayCampaign(): boolean {
    if (this.#isVoter) return true;
    const { log, commit, self } = this.#machine;
    if (log.configurationIndex <= commit) return false;
    const member = memberOf(log.configurationAt(log.configurationIndex - 1), self);
    return member !== undefined && isVoter(member);
  }

  /** As long as it hears a leader, or is one, it lets nobody else be elected. */
  get #hearsLeader(): boolean {
    return this.#leader !== 0 && (this.#role === "leader" || this.#silence < this.#machine.electionTicks);
  }

  #beginSilence(): void {
    const { random, electionTicks } = this.#machine;
    this.#silence = 0;
    this.#patience = electionTicks + Math.floor(random() * electionTicks);
  }

  #follow(term: number, leader: MemberId): void {
    const machine = this.#machine;
    assert(term >= machine.term, "a term never goes back");
    if (term > machine.term) {
      machine.term = term;
      this.#vote = 0;
      this.#stateChanged = true;
    }
    const waiting = this.#leadership?.waitingReads() ?? [];
    for (const id of waiting) machine.reads.push({ id, outcome: { ok: false, leader } });
    this.#leadership = undefined;
    this.#role = "follower";
    this.#leader = leader;
    this.#votes.clear();
    this.#ownVoteWrite = undefined;
    this.#beginSilence();
  }

  #campaign(kind: "preVote" | "vote", transfer: boolean): void {
    const machine = this.#machine;
    const { log, self } = machine;
    this.#votes.clear();
    this.#leader = 0;
    this.#beginSilence();
    // If votes are split, the next attempt need not wait as long as for a leader that may only be slow.
    this.#patience = 2 * machine.heartbeatTicks + Math.floor((machine.random() * machine.electionTicks) / 2);
    this.#transferred = transfer;
    let { term } = machine;
    if (kind === "preVote") {
      this.#role = "preCandidate";
      term++;
    } else {
      this.#role = "candidate";
      term = ++machine.term;
      this.#vote = self;
      this.#stateChanged = true;
      this.#ownVoteWrite = 0;
    }
    for (const member of this.configuration.members) {
      if (!isVoter(member) || member.id === self) continue;
      const request = { kind, to: member.id, term, index: log.lastIndex, entryTerm: log.lastTerm, transfer };
      if (kind === "preVote") machine.send(request);
      else machine.promise(request);
    }
    // A wish costs nothing; a vote counts when it is durable.
    if (kind === "preVote") this.#countVote(self, true);
  }

  #countVote(from: MemberId, granted: boolean): void {
    if (!this.#votes.has(from)) this.#votes.set(from, granted);
    const result = electionResult(this.configuration, this.#votes);
    if (result === "lost") this.#follow(this.#machine.term, 0);
    if (result !== "won") return;
    if (this.#role === "preCandidate") this.#campaign("vote", this.#transferred);
    else this.#lead();
  }

  #lead(): void {
    this.#role = "leader";
    this.#leader = this.#machine.self;
    this.#votes.clear();
    this.#leadership = new Leadership(this.#machine);
  }

  #unreachable(member: MemberId): void {
    this.#leadership?.unreachable(member);
    if (this.#role !== "follower" || member !== this.#leader) return;
    // Most likely its process has ended: no need to wait as long as for a leader that is only silent.
    const { random, heartbeatTicks } = this.#machine;
    this.#leader = 0;
    this.#silence = 0;
    this.#patience = 1 + Math.floor(random() * heartbeatTicks);
  }

  #receive(message: RaftMessage): void {
    const { self } = this.#machine;
    assert(message.to === self, `a message to ${message.to} at ${self}`);
    // A member that was removed hears no leader and would hold elections for ever. As long as its removal is not known to
    // be committed, the others may need it: the log that must win may be its.
    const asks = message.kind === "vote" || message.kind === "preVote";
    if (asks && this.#committedConfiguration.removed.includes(message.from)) return;
    if (!this.#adoptTerm(message)) return;
    switch (message.kind) {
      case "vote":
      case "preVote":
        this.#answerVote(message);
        break;
      case "voteAnswer":
      case "preVoteAnswer":
        this.#voteAnswered(message);
        break;
      case "append":
        this.#hearLeader(message.from);
        this.#appendEntries(message);
        break;
      case "heartbeat":
        this.#hearLeader(message.from);
        this.#heartbeat(message);
        break;
      case "install":
        this.#hearLeader(message.from);
        this.#install(message);
        break;
      case "appendAnswer":
        this.#leadership?.appendAnswer(message);
        break;
      case "heartbeatAnswer":
        this.#leadership?.heartbeatAnswer(message);
        break;
      case "campaign":
        if (this.#isVoter && message.from === this.#leader) this.#campaign("vote", true);
        break;
      default:
        unreachable(message);
    }
  }

  /** Compares the terms. False when the message is of no use any more. */
  #adoptTerm(message: RaftMessage): boolean {
    const machine = this.#machine;
    const { kind, term, from } = message;
    if (term > machine.term) {
      const asks = kind === "vote" || kind === "preVote";
      if (asks && !message.transfer && this.#hearsLeader) return false;
      // A wish for a term, and a wish granted, begin no term.
      if (kind === "preVote" || (kind === "preVoteAnswer" && message.granted)) return true;
      const leads = kind === "append" || kind === "heartbeat" || kind === "install";
      this.#follow(term, leads ? from : 0);
      return true;
    }
    if (term === machine.term) return true;
    if (kind === "vote") machine.send({ kind: "voteAnswer", to: from, granted: false });
    else if (kind === "preVote") machine.send({ kind: "preVoteAnswer", to: from, granted: false });
    // A leader of the past learns of the present term, also from a member that may not disturb anybody by itself.
    else if (kind === "append" || kind === "heartbeat" || kind === "install") {
      machine.send({ kind: "heartbeatAnswer", to: from, round: 0 });
    }
    return false;
  }

  #answerVote(message: VoteMessage): void {
    const machine = this.#machine;
    const { log } = machine;
    const { kind, from, term, entryTerm, index } = message;
    const pre = kind === "preVote";
    const free = this.#vote === from || (this.#vote === 0 && this.#leader === 0) || (pre && term > machine.term);
    const upToDate = entryTerm > log.lastTerm || (entryTerm === log.lastTerm && index >= log.lastIndex);
    const granted = free && upToDate;
    const answer = pre ? "preVoteAnswer" : "voteAnswer";
    if (!granted) machine.send({ kind: answer, to: from, granted });
    else if (pre) machine.send({ kind: answer, to: from, granted, term });
    else {
      this.#silence = 0;
      if (this.#vote !== from) {
        this.#vote = from;
        this.#stateChanged = true;
      }
      machine.promise({ kind: answer, to: from, granted });
    }
  }

  #voteAnswered({ kind, from, term, granted }: VoteAnswer): void {
    const wanted = kind === "preVoteAnswer" ? "preCandidate" : "candidate";
    if (this.#role !== wanted) return;
    // A wish that was granted for another term is an answer to another question.
    if (kind === "preVoteAnswer" && granted && term !== this.#machine.term + 1) return;
    this.#countVote(from, granted);
  }

  #hearLeader(from: MemberId): void {
    assert(this.#role !== "leader", `two leaders, ${from} and ${this.#machine.self}, in term ${this.#machine.term}`);
    if (this.#role !== "follower") this.#follow(this.#machine.term, from);
    this.#leader = from;
    this.#silence = 0;
    // A lost connection had shortened it.
    if (this.#patience < this.#machine.electionTicks) this.#beginSilence();
  }

  #appendEntries({ from, index, entryTerm, entries, commit }: AppendMessage): void {
    const machine = this.#machine;
    const { log } = machine;
    if (this.#catchingUp !== undefined) return;
    if (index < machine.commit) {
      machine.promise({
        kind: "appendAnswer",
        to: from,
        accepted: true,
        index: machine.commit,
        hintIndex: 0,
        hintTerm: 0,
      });
      return;
    }
    if (log.termAt(index) !== entryTerm) {
      const hint = log.lastWithTermUpTo(index, entryTerm);
      machine.send({
        kind: "appendAnswer",
        to: from,
        accepted: false,
        index,
        hintIndex: Math.max(0, hint.index),
        hintTerm: hint.term,
      });
      return;
    }
    const known = entries.findIndex((entry) => log.termAt(entry.index) !== entry.term);
    if (known >= 0) {
      const fresh = entries.slice(known);
      this.#truncate((fresh[0] as AppendMessage["entries"][number]).index);
      machine.append(fresh);
    }
    const last = index + entries.length;
    machine.commit = Math.max(machine.commit, Math.min(commit, last));
    machine.promise({ kind: "appendAnswer", to: from, accepted: true, index: last, hintIndex: 0, hintTerm: 0 });
  }

  /** Entries from `index` on are void: another leader's take their place. */
  #truncate(index: number): void {
    const machine = this.#machine;
    if (index > machine.log.lastIndex) return;
    assert(index > machine.commit, `entry ${index} is committed, up to ${machine.commit}, and is never dropped`);
    machine.log.truncate(index);
    machine.unwritten = machine.unwritten.filter((entry) => entry.index < index);
    machine.durable = Math.min(machine.durable, index - 1);
    for (const write of this.#writes) write.lastIndex = Math.min(write.lastIndex, index - 1);
  }

  #heartbeat({ from, commit, round }: HeartbeatMessage): void {
    const machine = this.#machine;
    assert(
      commit <= machine.log.lastIndex,
      `entry ${commit} was acknowledged, and the log ends at ${machine.log.lastIndex}: it has lost entries`,
    );
    machine.commit = Math.max(machine.commit, commit);
    if (round > 0) machine.send({ kind: "heartbeatAnswer", to: from, round });
  }

  #install({ from, base }: InstallMessage): void {
    const machine = this.#machine;
    if (this.#catchingUp !== undefined) return;
    const has = base.index <= machine.commit || machine.log.termAt(base.index) === base.term;
    if (has) {
      // Whatever a leader has trimmed is committed.
      machine.commit = Math.max(machine.commit, base.index);
      machine.promise({ kind: "appendAnswer", to: from, accepted: true, index: base.index, hintIndex: 0, hintTerm: 0 });
      return;
    }
    this.#catchingUp = base;
    this.#catchUpAsked = true;
  }

  #caughtUp(base: Base): void {
    const machine = this.#machine;
    if (this.#catchingUp === undefined || base.index !== this.#catchingUp.index) return;
    assert(this.#leadership === undefined, "whoever lacks committed entries is not elected");
    this.#catchingUp = undefined;
    machine.log.reset(base);
    machine.unwritten = [];
    machine.durable = base.index;
    machine.commit = base.index;
    this.#delivered = base.index;
    for (const write of this.#writes) write.lastIndex = base.index;
    this.#reset = base;
    if (this.#leader === 0 || this.#leader === machine.self) return;
    const answer = { accepted: true, index: base.index, hintIndex: 0, hintTerm: 0 };
    machine.promise({ kind: "appendAnswer", to: this.#leader, ...answer });
  }

  status(): RaftStatus {
    const { self, term, log, commit, durable } = this.#machine;
    return {
      self,
      role: this.#role,
      term,
      vote: this.#vote,
      leader: this.#leader,
      commit,
      base: log.base,
      lastIndex: log.lastIndex,
      lastTerm: log.lastTerm,
      durableIndex: durable,
      configuration: log.configuration,
      progress: this.#leadership?.progress() ?? [],
      transferringTo: this.#leadership?.transferringTo ?? 0,
    };
  }
}
