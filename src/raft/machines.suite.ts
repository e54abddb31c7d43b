/**
 * Raft machines without a world: each with a storage that knows what is durable and what is only written, and one net
 * between them from which messages are taken by hand. What a machine asks for in `Ready` is done here in the order that
 * `Ready` demands, at the moments that the caller chooses; `Invariants` watches all of it. For transcripts and the explorer.
 *
 * A crash keeps what was durable, and of the writes under way as many of the first as the caller says.
 */
import assert from "node:assert/strict";
import { Prng } from "../sim/index.ts";
import { emptyConfiguration, Raft } from "./index.ts";
import type { Configuration, Entry, MemberId, RaftEvent, RaftMessage, RaftOptions, RaftWrite, Ready } from "./index.ts";
import { Invariants } from "./invariants.suite.ts";
import { Site } from "./site.suite.ts";
import type { Outstanding } from "./site.suite.ts";
import { addresseesText, baseText, messageText, writeText } from "./wording.suite.ts";

export interface MachinesOptions {
  readonly seed: string | number;
  readonly raft?: Pick<RaftOptions, "heartbeatTicks" | "electionTicks" | "limits">;
  /** After an event: whether `ready` is asked only after one of the next, so that it has to do with several. */
  readonly postpones?: () => boolean;
  /** What happens, in one line each; made only if somebody listens. */
  readonly trace?: (line: () => string) => void;
}

export class Machines {
  readonly sites = new Map<MemberId, Site>();
  /** In the order in which they were sent. */
  network: RaftMessage[] = [];
  readonly cuts = new Set<string>();
  readonly invariants = new Invariants(this.sites);
  readonly #options: MachinesOptions;
  #lastId = 0;

  constructor(options: MachinesOptions) {
    this.#options = options;
  }

  /** A machine with an empty log; without a configuration it waits to be told of one. */
  add(id: MemberId, configuration: Configuration = emptyConfiguration): Site {
    assert.ok(!this.sites.has(id), `there is a machine ${id} already`);
    const random = new Prng(`${this.#options.seed}/${id}`);
    const site = new Site(id, { index: 0, term: 0, position: 0, configuration }, () => random.float());
    this.sites.set(id, site);
    return site;
  }

  site(id: MemberId): Site {
    const site = this.sites.get(id);
    if (site === undefined) throw new Error(`there is no machine ${id}`);
    return site;
  }

  start(id: MemberId): void {
    const site = this.site(id);
    assert.equal(site.raft, undefined, `machine ${id} runs already`);
    const { durable } = site;
    site.latest = durable.copy();
    site.delivered = Math.max(site.checkpoint, durable.base.index);
    site.told = durable.base.index;
    site.raft = new Raft({
      self: id,
      random: () => site.random(),
      ...this.#options.raft,
      state: durable.state,
      base: durable.base,
      entries: [...durable.entries],
    });
    this.invariants.started(site);
    this.#harvest(site);
  }

  /** Writes under way are lost, but for the first few. */
  crash(id: MemberId, survivingWrites = 0): void {
    const site = this.site(id);
    const writes = site.outstanding.flatMap(({ write }) => write ?? []);
    for (const write of writes.slice(0, survivingWrites)) site.durable.apply(write);
    site.raft = undefined;
    site.outstanding = [];
    site.fetches = [];
    site.catchUp = undefined;
    site.latest = site.durable.copy();
    this.invariants.crashed(site);
  }

  step(id: MemberId, event: RaftEvent): void {
    const site = this.site(id);
    site.machine.step(event);
    if (this.#options.postpones?.() !== true) this.#harvest(site);
  }

  /** Does what was postponed. */
  harvest(id: MemberId): void {
    this.#harvest(this.site(id));
  }

  /** The number under which its outcome will be told. */
  propose(id: MemberId, records: readonly Uint8Array[]): number {
    const proposal = this.#nextId();
    this.invariants.proposed(proposal, records);
    this.step(id, { kind: "propose", id: proposal, records });
    return proposal;
  }

  read(id: MemberId): number {
    const read = this.#nextId();
    this.invariants.asked(read);
    this.step(id, { kind: "read", id: read });
    return read;
  }

  change(id: MemberId, change: (RaftEvent & { kind: "changeMembership" })["change"]): number {
    const proposal = this.#nextId();
    this.step(id, { kind: "changeMembership", id: proposal, change });
    return proposal;
  }

  /** The entries up to `index` are in the application's durable state: the log forgets them. */
  trim(id: MemberId, index: number): void {
    const site = this.site(id);
    assert.ok(index <= site.told, `machine ${id} has delivered ${site.told}, not ${index}`);
    if (index <= site.durable.base.index) return;
    site.checkpoint = Math.max(site.checkpoint, index);
    const position = this.invariants.committed[index - 1]?.positionAfter ?? 0;
    this.step(id, { kind: "trim", index, position });
    const { base } = site.status;
    for (const storage of [site.latest, site.durable]) {
      // A log that begins anew, and is not yet written, has nothing to trim.
      if (storage.termOf(base.index) === base.term) storage.trim(base);
    }
  }

  /** The first writes under way become durable, which the machine is told of once. */
  complete(id: MemberId, count = 1): void {
    const site = this.site(id);
    let last: RaftWrite | undefined;
    for (let left = count; site.outstanding.length > 0;) {
      const [{ write, promises }] = site.outstanding as [Outstanding];
      if (write !== undefined) {
        if (left === 0) break;
        left -= 1;
        site.durable.apply(write);
        last = write;
      }
      site.outstanding.shift();
      for (const message of promises) this.#send(site, message);
    }
    if (last === undefined) return;
    const { number } = last;
    if (site.held.has("writes")) this.#trace(() => `${id} has written #${number}`);
    this.step(id, { kind: "written", write: number });
  }

  /** Takes a message from the net, if it is still there, and hands it over unless the receiver is down. */
  deliver(message: RaftMessage): void {
    this.drop(message);
    this.receive(message);
  }

  drop(message: RaftMessage): void {
    const at = this.network.indexOf(message);
    if (at >= 0) this.network.splice(at, 1);
  }

  receive(message: RaftMessage): void {
    const site = this.sites.get(message.to);
    if (site?.raft === undefined) return;
    this.#trace(() => messageText(message));
    this.step(message.to, { kind: "message", message });
  }

  /** Answers the first fetch that a machine waits for, from its durable log. */
  fetched(id: MemberId): void {
    const site = this.site(id);
    const fetch = site.fetches.shift();
    if (fetch === undefined) return;
    const { member, index, sizeMax } = fetch;
    const entries: Entry[] = [];
    let size = 0;
    for (let next = index; ; next += 1) {
      const entry = site.durable.entry(next);
      if (entry === undefined) break;
      for (const record of entry.records) size += record.length;
      if (entries.length > 0 && size > sizeMax) break;
      entries.push(entry);
    }
    this.step(id, { kind: "fetched", member, entries });
  }

  /** The state that a machine was told to get is durable with it. */
  caughtUp(id: MemberId): void {
    const site = this.site(id);
    const base = site.catchUp;
    if (base === undefined) return;
    site.catchUp = undefined;
    site.checkpoint = Math.max(site.checkpoint, base.index);
    site.delivered = Math.max(site.delivered, base.index);
    site.told = base.index;
    this.step(id, { kind: "caughtUp", base });
  }

  cut(from: MemberId, to: MemberId): void {
    this.cuts.add(`${from}->${to}`);
    this.network = this.network.filter((message) => message.from !== from || message.to !== to);
  }

  /** One thing that waits to be done, messages in the order of their sending. False if nothing does. */
  settleOne(): boolean {
    for (const site of this.sites.values()) {
      if (site.raft === undefined) continue;
      if (site.outstanding.length > 0 && !site.held.has("writes")) {
        this.complete(site.id);
        return true;
      }
      if (site.fetches.length > 0 && !site.held.has("fetches")) {
        this.fetched(site.id);
        return true;
      }
      if (site.catchUp !== undefined && !site.held.has("catchUp")) {
        this.caughtUp(site.id);
        return true;
      }
    }
    const message = this.network.shift();
    if (message === undefined) return false;
    this.receive(message);
    return true;
  }

  /** Until nothing waits any longer. */
  settle(stepsMax = 20_000): void {
    for (let count = 0; this.settleOne(); count += 1) {
      if (count === stepsMax) throw new Error(`no quiet after ${stepsMax} steps`);
    }
  }

  #nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  #trace(line: () => string): void {
    this.#options.trace?.(line);
  }

  /** Does, or queues, what a machine asks for. */
  #harvest(site: Site): void {
    const ready = site.machine.ready();
    const { messages, write, promises, committed } = ready;
    this.#traceReady(site, ready);
    if (write !== undefined) {
      this.invariants.wrote(site, write);
      site.latest.apply(write);
    }
    this.invariants.stepped(site);
    for (const message of messages) this.#send(site, message);
    // Without a write before them they wait for nothing.
    if (write !== undefined || site.outstanding.length > 0) {
      if (write !== undefined || promises.length > 0) site.outstanding.push({ write, promises });
    } else for (const message of promises) this.#send(site, message);
    for (const { id, outcome } of ready.proposals) this.invariants.answered(site, id, outcome);
    for (const { id, outcome } of ready.reads) this.invariants.answeredRead(site, id, outcome);
    if (committed !== undefined) {
      this.invariants.delivered(site, committed);
      site.delivered = Math.max(site.delivered, committed);
      site.told = committed;
    }
    site.fetches.push(...ready.fetches);
    if (ready.catchUp !== undefined) site.catchUp = ready.catchUp;
  }

  #send(site: Site, message: RaftMessage): void {
    assert.equal(message.from, site.id, "a message in another's name");
    Object.freeze(message);
    this.invariants.sent(site, message);
    if (!this.cuts.has(`${message.from}->${message.to}`)) this.network.push(message);
  }

  #traceReady(site: Site, ready: Ready): void {
    const { id } = site;
    const { write, messages, promises, committed } = ready;
    if (write !== undefined) this.#trace(() => `${id} writes ${writeText(write)}`);
    if (messages.length > 0) this.#trace(() => `${id} sends ${addresseesText(messages)}`);
    if (promises.length > 0) this.#trace(() => `${id} promises ${addresseesText(promises)}`);
    if (committed !== undefined) this.#trace(() => `${id} delivers up to ${committed}`);
    for (const { id: proposal, outcome } of ready.proposals) {
      this.#trace(() => {
        if (outcome.ok)
          return `${id} proposal ${proposal}: ${outcome.index}/${outcome.term} position ${outcome.position}`;
        const detail = outcome.reason === "notLeader" ? `, leader ${outcome.leader}` : "";
        const error = outcome.reason === "invalid" ? `, ${outcome.error.message}` : "";
        return `${id} proposal ${proposal}: ${outcome.reason}${detail}${error}`;
      });
    }
    for (const { id: read, outcome } of ready.reads) {
      this.#trace(() =>
        outcome.ok
          ? `${id} read ${read}: position ${outcome.position}, entry ${outcome.index}`
          : `${id} read ${read}: not here, leader ${outcome.leader}`,
      );
    }
    for (const { member, index } of ready.fetches) this.#trace(() => `${id} fetches from ${index} for ${member}`);
    const { catchUp } = ready;
    if (catchUp !== undefined) this.#trace(() => `${id} must catch up to ${baseText(catchUp)}`);
  }
}
