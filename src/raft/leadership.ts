/**
 * What a member does while it leads: replicates, commits, confirms reads, changes the membership, hands over. It lasts for
 * one term; nothing of it outlives the leader's stepping down.
 *
 * Invariants:
 *  1. Only an entry of the leader's own term is committed by counting; those before it are committed with it (Raft paper,
 *     section 5.4.2).
 *  2. A read is answered only when an entry of this term is committed and a majority has echoed a round that began after
 *     the question (section 8).
 *  3. A change of the membership begins only when the one before is committed and complete, and an entry of this term is
 *     committed.
 */
import { asHoldfastError, assert } from "../base/index.ts";
import { changed, completed, isVoter, memberOf } from "./configuration.ts";
import type { Configuration, ConfiguredMember, MemberId, MembershipChange } from "./configuration.ts";
import type { Machine } from "./machine.ts";
import { Progress } from "./progress.ts";
import { hasMajority, majorityReached } from "./quorum.ts";
import type { AppendAnswer, Entry, HeartbeatAnswer, MemberProgress, ProposalOutcome } from "./protocol.ts";

export class Leadership {
  readonly #machine: Machine;
  readonly #progress = new Map<MemberId, Progress>();
  /** Of the entry that this term began with. */
  readonly #firstIndex: number;
  #uncommittedSize = 0;
  #heartbeatAge = 0;
  #checkAge = 0;
  #transferringTo: MemberId = 0;
  #transferAge = 0;
  /** Reads of the round under way, and those that wait for the next. */
  #round = 0;
  #roundCommit = 0;
  #roundPosition = 0;
  #roundReads: number[] = [];
  #nextReads: number[] = [];
  /** Set when it must not lead any longer. */
  resigned = false;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#firstIndex = machine.log.lastIndex + 1;
    this.#adoptConfiguration();
    this.#append([], undefined);
  }

  get transferringTo(): MemberId {
    return this.#transferringTo;
  }

  progress(): MemberProgress[] {
    return [...this.#progress.values()].map((progress) => progress.status());
  }

  get #configuration(): Configuration {
    return this.#machine.log.configuration;
  }

  get #hasCommittedInTerm(): boolean {
    return this.#machine.commit >= this.#firstIndex;
  }

  #adoptConfiguration(): void {
    const { self, log, tick } = this.#machine;
    for (const id of this.#progress.keys()) {
      if (memberOf(this.#configuration, id) === undefined) this.#progress.delete(id);
    }
    for (const { id, address } of this.#configuration.members) {
      // Nobody is there yet who only is expected.
      if (id === self || address === "" || this.#progress.has(id)) continue;
      this.#progress.set(id, new Progress(id, log.lastIndex + 1, tick));
    }
  }

  #append(records: readonly Uint8Array[], configuration: Configuration | undefined): Entry {
    const { log, term } = this.#machine;
    let size = 0;
    for (const record of records) size += record.length;
    const entry: Entry = { index: log.lastIndex + 1, term, position: log.lastPosition, records, size, configuration };
    this.#machine.append([entry]);
    this.#uncommittedSize += size;
    if (configuration !== undefined) this.#adoptConfiguration();
    return entry;
  }

  propose(records: readonly Uint8Array[]): ProposalOutcome {
    assert(records.length > 0, "a proposal has records");
    const { limits } = this.#machine;
    if (this.#transferringTo !== 0 || this.#uncommittedSize >= limits.uncommittedSizeMax) {
      return { ok: false, reason: "busy" };
    }
    const { term, index, position } = this.#append(records, undefined);
    return { ok: true, term, index, position };
  }

  changeMembership(change: MembershipChange): ProposalOutcome {
    const { log, commit } = this.#machine;
    const busy = this.#configuration.joint || log.configurationIndex > commit || !this.#hasCommittedInTerm;
    if (busy || this.#transferringTo !== 0) return { ok: false, reason: "busy" };
    let configuration: Configuration;
    try {
      configuration = changed(this.#configuration, change);
    } catch (error) {
      return { ok: false, reason: "invalid", error: asHoldfastError(error) };
    }
    const { term, index, position } = this.#append([], configuration);
    return { ok: true, term, index, position };
  }

  /** False when too many reads wait. */
  read(id: number): boolean {
    if (this.#nextReads.length >= this.#machine.limits.readCountMax) return false;
    this.#nextReads.push(id);
    return true;
  }

  /** Reads that will not be confirmed any more. */
  waitingReads(): number[] {
    return [...this.#roundReads, ...this.#nextReads];
  }

  tick(): void {
    const { heartbeatTicks, electionTicks } = this.#machine;
    if (++this.#heartbeatAge >= heartbeatTicks) this.#beat();
    if (this.#transferringTo !== 0 && ++this.#transferAge >= electionTicks) this.#transferringTo = 0;
    if (++this.#checkAge < electionTicks) return;
    this.#checkAge = 0;
    this.#checkMajority();
    if (this.resigned) return;
    for (const progress of this.#progress.values()) {
      // The message may be lost, and nothing else would be sent.
      if (progress.state === "catchUp") this.#install(progress);
      this.#promote(progress);
    }
    this.#preferZone();
  }

  #beat(): void {
    this.#heartbeatAge = 0;
    // A heartbeat is a round like that of a read, so that every answer is known to be an answer to it or a later one.
    if (this.#round === 0) this.#round = 1;
    for (const progress of this.#progress.values()) this.#heartbeat(progress, this.#round);
  }

  #heartbeat(progress: Progress, round: number): void {
    const commit = Math.min(progress.match, this.#machine.commit);
    progress.sentCommit = Math.max(progress.sentCommit, commit);
    progress.sentRound = Math.max(progress.sentRound, round);
    this.#machine.send({ kind: "heartbeat", to: progress.member, commit, round });
  }

  /** A leader that a majority does not answer may have been replaced: it leads no longer. */
  #checkMajority(): void {
    const { self } = this.#machine;
    const heard = hasMajority(this.#configuration, (id) => id === self || this.#progress.get(id)?.active === true);
    if (!heard) this.resigned = true;
    for (const progress of this.#progress.values()) progress.endPeriod();
  }

  unreachable(member: MemberId): void {
    const progress = this.#progress.get(member);
    if (progress?.state === "replicate") progress.toProbe();
    else if (progress !== undefined) progress.waiting = false;
  }

  /** Entries up to `durable` are durable here. */
  written(): void {
    this.#advanceCommit();
  }

  appendAnswer(answer: AppendAnswer): void {
    const progress = this.#progress.get(answer.from);
    if (progress === undefined) return;
    progress.active = true;
    if (!answer.accepted) this.#refused(progress, answer);
    else if (progress.state === "catchUp" && answer.index < this.#machine.log.base.index)
      progress.knownToHave(answer.index);
    else if (progress.accepted(answer.index)) {
      this.#advanceCommit();
      this.#watchLearner(progress);
      this.#handOver();
    }
  }

  #refused(progress: Progress, { index, hintIndex, hintTerm }: AppendAnswer): void {
    const { log } = this.#machine;
    // An answer to a message from before is news of nothing.
    if (progress.state === "catchUp" || index <= progress.match) return;
    if (progress.state === "probe" && index !== progress.next - 1) return;
    const agreed = hintIndex < log.base.index ? hintIndex : log.lastWithTermUpTo(hintIndex, hintTerm).index;
    progress.toProbe(agreed + 1);
  }

  heartbeatAnswer({ from, round }: HeartbeatAnswer): void {
    const progress = this.#progress.get(from);
    if (progress === undefined) return;
    progress.active = true;
    if (round > progress.echoedRound) {
      progress.echoedRound = round;
      this.#confirmReads();
    }
    // If messages were lost, the answer to an empty one shows it.
    if (progress.state === "catchUp" || progress.match >= this.#machine.log.lastIndex) return;
    if (progress.state === "replicate" || progress.waiting) this.#probeTail(progress);
  }

  #probeTail(progress: Progress): void {
    const { member, next } = progress;
    const { log, commit } = this.#machine;
    const entryTerm = log.termAt(next - 1);
    // It needs what is trimmed by now: the next flush sees to it.
    if (entryTerm === undefined) return progress.toProbe();
    this.#machine.send({ kind: "append", to: member, index: next - 1, entryTerm, entries: [], commit });
  }

  #advanceCommit(): void {
    const { log, self, durable } = this.#machine;
    const reached = majorityReached(this.#configuration, (id) =>
      id === self ? durable : (this.#progress.get(id)?.match ?? 0),
    );
    if (reached <= this.#machine.commit || reached < this.#firstIndex) return;
    for (let index = this.#machine.commit + 1; index <= reached; index++) {
      if (index >= this.#firstIndex) this.#uncommittedSize -= log.at(index)?.size ?? 0;
    }
    this.#machine.commit = reached;
    this.#completeChange();
  }

  /** The second half of a change of the membership, and the end of a leader that is no longer a voter. */
  #completeChange(): void {
    const { log, commit, self } = this.#machine;
    if (log.configurationIndex > commit) return;
    const configuration = this.#configuration;
    if (configuration.joint) {
      this.#append([], completed(configuration));
      this.#advanceCommit();
      return;
    }
    if (memberOf(configuration, self)?.voter === true) return;
    // The others must hear that the change is committed, before the one of them that is furthest begins an election.
    this.#beat();
    const heir = this.#best();
    if (heir !== undefined) this.#machine.send({ kind: "campaign", to: heir.member });
    this.resigned = true;
  }

  #watchLearner(progress: Progress): void {
    const { log, tick, electionTicks } = this.#machine;
    const member = memberOf(this.#configuration, progress.member);
    if (progress.caughtUp || member === undefined || isVoter(member) || progress.match < progress.roundIndex) return;
    // It has everything, or what came while it fetched the last round took it less than an election's time: it will keep up.
    if (progress.match === log.lastIndex || tick - progress.roundTick <= electionTicks) progress.caughtUp = true;
    progress.roundTick = tick;
    progress.roundIndex = log.lastIndex;
    this.#promote(progress);
  }

  /** Makes a learner that has caught up a voter, in place of the member that it replaces. */
  #promote({ member: id, caughtUp, answers }: Progress): void {
    const member = memberOf(this.#configuration, id);
    if (!caughtUp || !answers || member === undefined || isVoter(member) || member.stays) return;
    const replaced = memberOf(this.#configuration, member.replaces);
    this.changeMembership({
      put: [{ ...member, voter: true, replaces: 0 }],
      ...(replaced !== undefined && { remove: [replaced.id] }),
    });
  }

  /** Whether a member may be made a voter without holding up the others. */
  isCaughtUp(id: MemberId): boolean {
    return this.#progress.get(id)?.caughtUp === true;
  }

  /** Begins to hand over; a member that is no voter, or does not answer, gets nothing. */
  transfer(to: MemberId): void {
    const target = to === 0 ? this.#best()?.member : to;
    if (target === undefined || target === this.#machine.self || this.#transferringTo === target) return;
    if (memberOf(this.#configuration, target)?.voter !== true || !this.#progress.has(target)) return;
    this.#transferringTo = target;
    this.#transferAge = 0;
    this.#handOver();
  }

  #handOver(): void {
    const progress = this.#progress.get(this.#transferringTo);
    if (progress === undefined || progress.match < this.#machine.log.lastIndex) return;
    this.#machine.send({ kind: "campaign", to: progress.member });
  }

  /** The voter that is furthest, among those that answer and satisfy `suits`. */
  #best(suits: (member: ConfiguredMember) => boolean = () => true): Progress | undefined {
    let best: Progress | undefined;
    for (const member of this.#configuration.members) {
      const progress = this.#progress.get(member.id);
      if (progress === undefined || !member.voter || !suits(member) || !progress.answers) continue;
      if (progress.state !== "replicate") continue;
      if (best === undefined || progress.match > best.match) best = progress;
    }
    return best;
  }

  #preferZone(): void {
    const { leaderZone } = this.#configuration;
    const { self, commit } = this.#machine;
    if (leaderZone === "" || memberOf(this.#configuration, self)?.zone === leaderZone || this.#transferringTo !== 0)
      return;
    const best = this.#best(({ zone }) => zone === leaderZone);
    if (best !== undefined && best.match >= commit) this.transfer(best.member);
  }

  #confirmReads(): void {
    if (this.#roundReads.length === 0) return;
    const { self } = this.#machine;
    const round = this.#round;
    const heard = (id: MemberId) => id === self || (this.#progress.get(id)?.echoedRound ?? 0) >= round;
    if (!hasMajority(this.#configuration, heard)) return;
    const outcome = { ok: true, index: this.#roundCommit, position: this.#roundPosition } as const;
    for (const id of this.#roundReads) this.#machine.reads.push({ id, outcome });
    this.#roundReads = [];
  }

  /** Sends what is to be sent: once for all the events since the last time. */
  flush(): void {
    if (this.#roundReads.length === 0 && this.#nextReads.length > 0 && this.#hasCommittedInTerm) {
      this.#round++;
      this.#roundCommit = this.#machine.commit;
      this.#roundPosition = this.#machine.log.positionAfter(this.#roundCommit);
      this.#roundReads = this.#nextReads;
      this.#nextReads = [];
      // Alone, it is its own majority.
      this.#confirmReads();
    }
    for (const progress of this.#progress.values()) {
      const sent = this.#replicate(progress);
      if (this.#roundReads.length > 0 && progress.sentRound < this.#round) this.#heartbeat(progress, this.#round);
      else if (!sent && Math.min(progress.match, this.#machine.commit) > progress.sentCommit)
        this.#heartbeat(progress, 0);
    }
  }

  /** Sends entries as far as the limits allow. Whether it sent any. */
  #replicate(progress: Progress): boolean {
    const { log, limits, commit } = this.#machine;
    let any = false;
    while (progress.state !== "catchUp" && !progress.waiting && !progress.fetching) {
      if (progress.next > log.lastIndex && progress.state === "replicate") return any;
      if (!progress.hasRoom(limits.inFlightCountMax, limits.inFlightSizeMax)) return any;
      const index = progress.next - 1;
      const entryTerm = log.termAt(index);
      if (entryTerm === undefined) {
        this.#install(progress);
        return any;
      }
      const entries = progress.next > log.lastIndex ? [] : log.slice(progress.next, limits.messageSizeMax);
      if (entries === undefined) {
        progress.fetching = true;
        this.#machine.fetches.push({ member: progress.member, index: progress.next, sizeMax: limits.messageSizeMax });
        return any;
      }
      this.#machine.send({ kind: "append", to: progress.member, index, entryTerm, entries, commit });
      this.#noteSent(progress, index, entries);
      any = true;
    }
    return any;
  }

  #noteSent(progress: Progress, index: number, entries: readonly Entry[]): void {
    let size = 0;
    for (const entry of entries) size += entry.size;
    progress.sent(index + entries.length, size);
    progress.sentCommit = Math.max(progress.sentCommit, Math.min(this.#machine.commit, index + entries.length));
  }

  /** Entries from storage, for a member that is far behind. */
  fetched(id: MemberId, entries: readonly Entry[]): void {
    const progress = this.#progress.get(id);
    if (progress === undefined || !progress.fetching) return;
    progress.fetching = false;
    const { log, commit } = this.#machine;
    const [first] = entries;
    const index = progress.next - 1;
    const entryTerm = log.termAt(index);
    // They are of no use if the member turned out to need others, or if they are gone: the next flush looks again.
    if (first === undefined || first.index !== progress.next || entryTerm === undefined) return;
    this.#machine.send({ kind: "append", to: id, index, entryTerm, entries, commit });
    this.#noteSent(progress, index, entries);
  }

  #install(progress: Progress): void {
    progress.toCatchUp();
    this.#machine.send({ kind: "install", to: progress.member, base: this.#machine.log.base });
  }
}
