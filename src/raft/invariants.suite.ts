/**
 * What must hold between machines at every step, whatever the net and the disks do. `Machines` tells of everything that
 * happens; the first thing that must not be throws.
 *
 *  1. Election safety: a term has one leader, and a member votes once in a term, over all of its lives.
 *  2. A promise is durable when it is sent: votes, candidacies and accepted entries.
 *  3. Log matching: index and term determine an entry and all before it. A leader only appends to its log.
 *  4. A leader commits what a majority has durably (two majorities in a joint configuration), and an entry of its own term.
 *  5. Leader completeness: what is committed is in the log of every leader of a later term.
 *  6. State machine safety: everybody delivers the same entries, each durable there, without gap.
 *  7. Positions are dense; a proposal is delivered once at most, and where the proposer was told.
 *  8. Term and commit never go back; writes are numbered without gap.
 *  9. A read's position is behind everything that was delivered anywhere before it was asked.
 */
import assert from "node:assert/strict";
import type {
  Configuration,
  Entry,
  MemberId,
  ProposalOutcome,
  RaftMessage,
  RaftWrite,
  ReadOutcome,
  Role,
} from "./index.ts";
import type { Site } from "./site.suite.ts";
import { entryText, messageText, recordText } from "./wording.suite.ts";

/** A machine as it was after its last step. */
interface Memory {
  role: Role;
  term: number;
  commit: number;
  configuration: Configuration;
  writeNumber: number;
  lastIndex: number;
}

interface Committed {
  readonly entry: Entry;
  readonly positionAfter: number;
}

const positionAfter = (entry: Entry): number => entry.position + entry.records.length;

/** Counted anew: what is watched must not be its own judge. */
function hasMajority({ members, joint }: Configuration, holds: (id: MemberId) => boolean): boolean {
  const halves = [members.filter(({ voter }) => voter), ...(joint ? [members.filter(({ outgoing }) => outgoing)] : [])];
  return halves.every((voters) => voters.filter(({ id }) => holds(id)).length > voters.length / 2);
}

export class Invariants {
  readonly #sites: ReadonlyMap<MemberId, Site>;
  readonly #memories = new Map<MemberId, Memory>();
  readonly #leaders = new Map<number, MemberId>();
  /** `member@term` to the candidate. */
  readonly #votes = new Map<string, MemberId>();
  /** `index/term` to the term of the entry before, and the entry. */
  readonly #entries = new Map<string, { readonly before: number; readonly entry: Entry }>();
  /** At [index - 1]. */
  readonly committed: Committed[] = [];
  /** One past the last record that was delivered anywhere. */
  deliveredPosition = 0;
  #deliveredIndex = 0;
  readonly #proposals = new Map<number, readonly Uint8Array[]>();
  readonly #seen = new Set<Uint8Array>();
  readonly #floors = new Map<number, number>();
  /** How many answers were seen, for those who wonder whether anything happened. */
  readonly counts = { leaders: 0, proposals: 0, reads: 0, committed: 0 };

  constructor(sites: ReadonlyMap<MemberId, Site>) {
    this.#sites = sites;
  }

  /** Committed before anybody watched. */
  given(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.index > this.committed.length) this.committed.push({ entry, positionAfter: positionAfter(entry) });
    }
  }

  /** A log that was there before anybody watched. */
  givenLog(entries: readonly Entry[]): void {
    for (const [at, entry] of entries.entries()) this.#match(entry, entries[at - 1]?.term ?? 0);
  }

  /** The one entry of this index and term, if anybody has ever had it. */
  known(index: number, term: number): Entry | undefined {
    return this.#entries.get(`${index}/${term}`)?.entry;
  }

  started(site: Site): void {
    const { role, term, commit, configuration, lastIndex } = site.status;
    assert.ok(
      term >= site.durable.state.term,
      `${site.id} starts in term ${term}, it had ${site.durable.state.term} (8)`,
    );
    assert.ok(commit >= site.durable.state.commit, `${site.id} starts with commit ${commit} (8)`);
    assert.equal(lastIndex, site.durable.lastIndex, `${site.id} starts with another log`);
    this.#memories.set(site.id, { role, term, commit, configuration, writeNumber: 0, lastIndex });
  }

  crashed(site: Site): void {
    this.#memories.delete(site.id);
  }

  proposed(id: number, records: readonly Uint8Array[]): void {
    this.#proposals.set(id, records);
  }

  asked(id: number): void {
    this.#floors.set(id, this.deliveredPosition);
  }

  /** Before the write reaches `latest`. */
  wrote(site: Site, { number, reset, entries }: RaftWrite): void {
    const memory = this.#memory(site);
    assert.equal(number, memory.writeNumber + 1, `${site.id} numbers a write ${number} (8)`);
    memory.writeNumber = number;
    const { latest } = site;
    if (reset !== undefined && reset.index > 0) {
      const known = this.committed[reset.index - 1];
      assert.equal(known?.entry.term, reset.term, `${site.id} begins behind ${reset.index}/${reset.term} (6)`);
      assert.equal(known?.positionAfter, reset.position, `${site.id} begins at position ${reset.position} (7)`);
      assert.ok(reset.index >= memory.commit, `${site.id} begins anew before what is committed (8)`);
    }
    const [first] = entries;
    if (first === undefined) return;
    const { role, term } = site.status;
    if (role === "leader" && memory.role === "leader" && memory.term === term) {
      assert.ok(first.index > latest.lastIndex, `leader ${site.id} overwrites its entry ${first.index} (3)`);
    }
    assert.ok(first.index > memory.commit, `${site.id} overwrites entry ${first.index}, which is committed (6)`);
    let before = reset?.index === first.index - 1 ? reset.term : latest.termOf(first.index - 1);
    for (const entry of entries) {
      assert.ok(before !== undefined, `${site.id} writes ${entryText(entry)} behind nothing`);
      this.#match(entry, before);
      before = entry.term;
    }
  }

  #match(entry: Entry, before: number): void {
    const name = `${entry.index}/${entry.term}`;
    const known = this.#entries.get(name);
    if (known === undefined) {
      this.#entries.set(name, { before, entry });
      return;
    }
    assert.equal(before, known.before, `two logs differ before ${name} (3)`);
    if (known.entry !== entry) assert.deepEqual(entry, known.entry, `two entries ${name} (3)`);
  }

  /** After an event and the write that it led to; promises and messages are still here. */
  stepped(site: Site): void {
    const memory = this.#memory(site);
    const { role, term, commit, configuration, lastIndex } = site.status;
    assert.ok(term >= memory.term, `${site.id} goes back from term ${memory.term} to ${term} (8)`);
    assert.ok(commit >= memory.commit, `${site.id} goes back from commit ${memory.commit} to ${commit} (8)`);
    assert.equal(lastIndex, site.latest.lastIndex, `${site.id} has ${lastIndex} entries, but did not write them so`);
    if (role === "leader") {
      const leader = this.#leaders.get(term);
      if (leader === undefined) this.#elected(site, term);
      else assert.equal(site.id, leader, `a second leader of term ${term} (1)`);
    }
    if (commit > memory.commit) this.#advanced(site, memory, commit);
    Object.assign(memory, { role, term, commit, configuration, lastIndex });
  }

  #elected(site: Site, term: number): void {
    this.#leaders.set(term, site.id);
    this.counts.leaders += 1;
    for (const { entry } of this.committed) {
      if (entry.term < term) this.#checkComplete(site, entry);
    }
  }

  #checkComplete(site: Site, { index, term }: Entry): void {
    if (index < site.latest.base.index) return;
    assert.equal(site.latest.termOf(index), term, `leader ${site.id} lacks ${index}/${term}, which is committed (5)`);
  }

  #advanced(site: Site, memory: Memory, commit: number): void {
    const { role, term, configuration } = site.status;
    const { latest } = site;
    // A leader that is removed, or that learns of a higher term, has resigned already when its last commit is seen. What
    // is committed already it may also have learned as a follower.
    const wasLeader = memory.role === "leader" && commit > this.committed.length;
    const led = role === "leader" ? term : wasLeader ? memory.term : undefined;
    assert.ok(commit <= latest.lastIndex, `${site.id} commits ${commit} of ${latest.lastIndex} (6)`);
    if (led !== undefined) {
      assert.equal(latest.termOf(commit), led, `leader ${site.id} of term ${led} commits ${commit} by counting (4)`);
      const holds = (id: MemberId) => this.#hasDurable(id, commit, led);
      const majority = hasMajority(configuration, holds) || hasMajority(memory.configuration, holds);
      assert.ok(majority, `leader ${site.id} commits ${commit}/${led} without a majority (4)`);
    }
    for (let index = Math.max(memory.commit, latest.base.index) + 1; index <= commit; index += 1) {
      const entry = latest.entry(index) as Entry;
      const known = this.committed[index - 1];
      if (known !== undefined) {
        assert.equal(entry.term, known.entry.term, `${site.id} commits ${index}/${entry.term}, others another (6)`);
        continue;
      }
      assert.ok(led !== undefined, `${site.id} commits ${index}, which no leader did (4)`);
      assert.equal(index, this.committed.length + 1);
      this.#commit(entry, led);
    }
  }

  #commit(entry: Entry, leaderTerm: number): void {
    assert.equal(
      entry.position,
      this.committed.at(-1)?.positionAfter ?? 0,
      `${entryText(entry)} has a wrong position (7)`,
    );
    this.committed.push({ entry, positionAfter: positionAfter(entry) });
    this.counts.committed += 1;
    for (const record of entry.records) {
      assert.ok(!this.#seen.has(record), `${recordText(record)} is committed twice (7)`);
      this.#seen.add(record);
    }
    for (const other of this.#sites.values()) {
      if (other.raft === undefined) continue;
      const { role, term } = other.status;
      if (role === "leader" && term > leaderTerm) this.#checkComplete(other, entry);
    }
  }

  #hasDurable(id: MemberId, index: number, term: number): boolean {
    const durable = this.#sites.get(id)?.durable;
    return durable !== undefined && (durable.termOf(index) === term || durable.base.index > index);
  }

  sent(site: Site, message: RaftMessage): void {
    const { from, term } = message;
    const { state } = site.durable;
    const text = () => `${messageText(message)} is sent before it is durable (2)`;
    switch (message.kind) {
      case "vote":
      case "voteAnswer": {
        if (message.kind === "voteAnswer" && !message.granted) return;
        const candidate = message.kind === "vote" ? from : message.to;
        const name = `${from}@${term}`;
        const known = this.#votes.get(name) ?? candidate;
        assert.equal(candidate, known, `${from} votes for ${known} and ${candidate} in term ${term} (1)`);
        this.#votes.set(name, candidate);
        assert.ok(state.term > term || (state.term === term && state.vote === candidate), text());
        return;
      }
      case "appendAnswer":
        if (message.accepted) assert.ok(site.durable.lastIndex >= message.index && state.term >= term, text());
        return;
      case "append":
      case "heartbeat":
      case "install":
        assert.equal(from, this.#leaders.get(term), `${messageText(message)} by one who does not lead (1)`);
        return;
      default:
        return;
    }
  }

  answered(site: Site, id: number, outcome: ProposalOutcome): void {
    if (!outcome.ok) return;
    this.counts.proposals += 1;
    const records = this.#proposals.get(id);
    this.#proposals.delete(id);
    const entry = site.latest.entry(outcome.index);
    // It led for no longer: the entry may be gone before `ready` was asked.
    if (entry?.term !== outcome.term && site.status.term > outcome.term) return;
    assert.equal(entry?.term, outcome.term, `proposal ${id} is not where it was told to be (7)`);
    if (records === undefined)
      assert.ok(entry.configuration !== undefined, `change ${id} is not where it was told to be`);
    else {
      const at = outcome.position - entry.position;
      assert.deepEqual(entry.records.slice(at, at + records.length), records, `proposal ${id} is another (7)`);
    }
  }

  answeredRead(site: Site, id: number, outcome: ReadOutcome): void {
    const floor = this.#floors.get(id);
    assert.ok(floor !== undefined, `read ${id} is answered twice, or was never asked`);
    this.#floors.delete(id);
    if (!outcome.ok) return;
    this.counts.reads += 1;
    const { index, position } = outcome;
    assert.ok(position >= floor, `read ${id} sees ${position}, but ${floor} was delivered before it (9)`);
    const entry = site.latest.entry(index);
    if (entry !== undefined) assert.equal(position, positionAfter(entry), `read ${id} is at no end of an entry (9)`);
    assert.ok(index <= site.status.commit, `read ${id} sees what is not committed (9)`);
  }

  /** Before the site's `delivered` moves. */
  delivered(site: Site, upTo: number): void {
    assert.ok(upTo <= site.status.commit, `${site.id} delivers ${upTo}, which is not committed (6)`);
    for (let index = site.delivered + 1; index <= upTo; index += 1) {
      const entry = site.durable.entry(index);
      assert.ok(entry !== undefined, `${site.id} delivers ${index}, which is not durable there (6)`);
      const known = this.committed[index - 1];
      assert.equal(entry.term, known?.entry.term, `${site.id} delivers ${index}/${entry.term}, others another (6)`);
    }
    if (upTo <= this.#deliveredIndex) return;
    this.#deliveredIndex = upTo;
    this.deliveredPosition = this.committed[upTo - 1]?.positionAfter ?? 0;
  }

  #memory(site: Site): Memory {
    const memory = this.#memories.get(site.id);
    assert.ok(memory !== undefined, `machine ${site.id} does something while it is down`);
    return memory;
  }
}
