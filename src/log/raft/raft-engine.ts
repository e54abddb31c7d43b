/**
 * The log of several members, replicated by consensus: the machine of the raft layer, driven by a clock, on a journal and
 * over rpc. Every member takes appends and answers for the tail; what must be done by the leader is forwarded to it.
 *
 * An append is answered when its records are delivered on the member that took it: durable here and on a majority. One that
 * became void before it was committed goes into the log again. One whose fate is not known within `unavailableMs` without
 * any progress of the log is answered `unavailable` with `maybe`.
 *
 * Invariants:
 *  1. Promises to other members are sent only when what they promise is durable (`Ready`).
 *  2. Readers get only what is committed and durable here.
 *  3. An append is in one of the states that appends.ts lists, until it is answered.
 *
 * After a crash: the member goes on with its entries, term and vote (wal.ts); what was committed is delivered again.
 *
 * Parts: `Wal` the disk, `Peers` the network, `Deliveries` the readers, `Appends`, `Tails` and `Changes` those who wait.
 */
import { assert, equalBytes, HoldfastError, limits, position, sleep, toHex } from "../../base/index.ts";
import type { Env, Position, Timer } from "../../base/index.ts";
import { Raft } from "../../raft/index.ts";
import type {
  Base,
  Configuration,
  Entry,
  MemberId,
  MembershipChange,
  RaftEvent,
  RaftStatus,
  Ready,
} from "../../raft/index.ts";
import { implement } from "../../rpc/index.ts";
import type { Service } from "../../rpc/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "../engine.ts";
import type { JournalOptions } from "../journal.ts";
import { verifyJournal } from "../verify.ts";
import type { JournalReport } from "../verify.ts";
import { Appends } from "./appends.ts";
import { Changes } from "./changes.ts";
import { Deliveries } from "./deliveries.ts";
import { Peers } from "./peers.ts";
import { Tails } from "./tails.ts";
import { Wal } from "./wal.ts";
import type { WalContents } from "./wal.ts";
import { fromWire, fromWireChange, RaftService } from "./wire.ts";

export interface RaftEngineOptions extends JournalOptions {
  /** Of the disk door; its own. */
  readonly directory: string;
  /** 16 bytes, the same for all members. */
  readonly cluster: Uint8Array;
  readonly self: MemberId;
  /** Where the log begins when the directory is empty. */
  readonly base: Base;
  /** Milliseconds. Default 20. */
  readonly tickMs?: number;
  /** Ticks between heartbeats. Default 5. */
  readonly heartbeatTicks?: number;
  /** Ticks without a leader before an election: this many to twice as many. Default 50. */
  readonly electionTicks?: number;
  /**
   * How long without progress an append or a question for the tail waits. Default 3,000. Without a leader a quarter of it
   * suffices for what is surely not in the log, and half of it for what may be.
   */
  readonly unavailableMs?: number;
  /**
   * The members' log no longer reaches back to where it ends here: makes the state at `to` or later durable here. When it
   * fails it is called again after a while.
   */
  readonly catchUp: (to: Position, signal: AbortSignal) => Promise<void>;
}

const catchUpRetryMs = 500;
const unavailableDefaultMs = 3_000;

export class RaftEngine implements LogEngine {
  readonly capabilities: LogCapabilities = { durability: "quorum", trim: true, shared: true };
  /** What the other members call. */
  readonly service: Service;
  /** Resolves when this member learns that it has been removed. */
  readonly removed: Promise<void>;
  readonly #env: Env;
  readonly #options: RaftEngineOptions;
  readonly #raft: Raft;
  readonly #wal: Wal;
  readonly #appends: Appends;
  readonly #tails: Tails;
  readonly #changes: Changes;
  readonly #deliveries: Deliveries;
  readonly #peers: Peers;
  readonly #stopping = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #primaryListeners = new Set<(isPrimary: boolean) => void>();
  #isPrimary = false;
  /** Members that have been removed, for good. */
  #gone: readonly MemberId[] = [];
  /** When a leader was known last. */
  #leaderSeenMs: number;
  #turnComing = false;
  #timer: Timer | undefined;
  #failure: HoldfastError | undefined;
  #closed: Promise<void> | undefined;
  #markRemoved: () => void = () => {};
  #roleSeen: Pick<RaftStatus, "leader" | "term" | "role"> = { leader: 0, term: 0, role: "follower" };

  private constructor(env: Env, options: RaftEngineOptions, contents: WalContents) {
    const { wal, base, state, entries, released } = contents;
    this.#env = env;
    this.#options = options;
    this.#wal = wal;
    this.#deliveries = new Deliveries(wal, base);
    this.#peers = new Peers(env, {
      cluster: options.cluster,
      self: options.self,
      unreachable: (member) => {
        this.#step({ kind: "unreachable", member });
        this.wake();
      },
      denied: (error) => {
        env.logger.log("error", error.message);
        this.#markRemoved();
      },
    });
    this.#raft = new Raft({
      self: options.self,
      random: () => env.random.float(),
      state,
      base,
      entries,
      released,
      ...(options.heartbeatTicks !== undefined && { heartbeatTicks: options.heartbeatTicks }),
      ...(options.electionTicks !== undefined && { electionTicks: options.electionTicks }),
    });
    this.removed = new Promise((resolve) => (this.#markRemoved = resolve));
    this.#leaderSeenMs = env.clock.monotonicMs();
    const unavailableMs = options.unavailableMs ?? unavailableDefaultMs;
    this.#appends = new Appends(env.clock, unavailableMs);
    this.#tails = new Tails(env.clock, unavailableMs);
    this.#changes = new Changes(env.clock, unavailableMs);
    this.service = this.#makeService();
  }

  /**
   * Opens this member's part of the log, or begins it, and takes part. The caller holds the disk's lock and serves
   * `service`. `corrupt`, naming what is damaged; `invalid` when the directory is another member's.
   */
  static async open(env: Env, options: RaftEngineOptions): Promise<RaftEngine> {
    let engine: RaftEngine | undefined;
    const host = { failed: (error: HoldfastError) => engine?.fail(error), idle: () => engine?.wake() };
    const { cluster, self, directory, base } = options;
    const contents = await Wal.open(env, directory, options, { cluster, self }, base, host);
    engine = new RaftEngine(env, options, contents);
    engine.#begin();
    return engine;
  }

  #begin(): void {
    this.#adoptConfiguration();
    this.#tickLater();
    this.#turn();
  }

  // What the log is.

  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    this.#primaryListeners.add(listener);
    return () => this.#primaryListeners.delete(listener);
  }

  /** Calls `listener` when the configuration, the leader or the term has changed. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  configuration(): Configuration {
    return this.#raft.configuration;
  }

  status(): RaftStatus {
    return this.#raft.status();
  }

  /** On a leader: whether a learner would keep up as a voter. */
  isCaughtUp(member: MemberId): boolean {
    return this.#raft.isCaughtUp(member);
  }

  /** Bytes of the journal's files, and written to them since `open`. */
  get size(): number {
    return this.#wal.size;
  }

  get writtenSize(): number {
    return this.#wal.writtenSize;
  }

  start(): Position {
    return position(this.#deliveries.base.position);
  }

  committed(): Position {
    return this.#deliveries.committed;
  }

  append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    assert(records.length > 0, "an append has at least one record");
    for (const { length } of records) {
      assert(length <= limits.recordSizeMax, `record is ${length} bytes; the limit is ${limits.recordSizeMax}`);
    }
    const refusal = this.#refusal() ?? this.#wal.full;
    if (refusal !== undefined) return Promise.reject(refusal);
    const appended = this.#appends.add(records);
    this.wake();
    return appended;
  }

  tail(): Promise<Position> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const asked = this.#tails.add();
    this.wake();
    return asked;
  }

  #refusal(): HoldfastError | undefined {
    if (this.#failure !== undefined) {
      return new HoldfastError("unavailable", this.#failure.message, { cause: this.#failure });
    }
    return this.#closed === undefined ? undefined : new HoldfastError("unavailable", "the log is closed");
  }

  read(from: Position, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<LogBatch> {
    return this.#deliveries.read(from, options.signal);
  }

  async trim(before: Position): Promise<Position> {
    // The entry before the one that holds `before`, or that would.
    const index = Math.min(this.#wal.places.indexOf(before) - 1, this.#deliveries.index);
    if (index <= this.#deliveries.base.index || this.#refusal() !== undefined) return this.start();
    this.#step({ kind: "trim", index, position: this.#wal.places.endOf(index) });
    const { base } = this.#raft.status();
    this.#deliveries.trim(base);
    await this.#wal.trim(base);
    return this.start();
  }

  /** Reads everything there is and reports what is damaged; appends go on meanwhile. */
  verify(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<JournalReport> {
    const active = this.#wal.journal.segments().at(-1);
    return verifyJournal(this.#env, this.#options.directory, {
      ...options,
      ...(active === undefined ? {} : { activePath: active.path, activeEnd: active.end }),
    });
  }

  // What members do with each other.

  /**
   * Changes who takes part; on any member. Resolves when the change is committed and complete. `conflict` while another is
   * under way; `invalid`, `exists`, `notFound`, `denied` when it makes no sense; `unavailable`, with `maybe` when it may
   * still happen.
   */
  changeMembership(change: MembershipChange, signal?: AbortSignal): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const changing = this.#changes.add({ change }, signal);
    this.wake();
    return changing;
  }

  /** Hands the leadership to a voter, or with 0 to the one best suited; on any member. Resolves when another leads. */
  transfer(to: MemberId, signal?: AbortSignal): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const transferring = this.#changes.add({ transfer: to }, signal);
    this.wake();
    return transferring;
  }

  #makeService(): Service {
    const check = ({ cluster, to }: { readonly cluster: Uint8Array; readonly to: number }) => {
      const { cluster: own, self } = this.#options;
      if (equalBytes(cluster, own) && to === self) return;
      throw new HoldfastError(
        "invalid",
        `this is member ${self} of cluster ${toHex(own)}, not ${to} of ${toHex(cluster)}: somebody has an old address`,
      );
    };
    return implement(RaftService, {
      messages: async (envelopes) => {
        let from: MemberId | undefined;
        for await (const envelope of envelopes) {
          if (from === undefined) {
            check(envelope);
            ({ from } = envelope);
            this.#checkRemoved(from);
            this.#peers.meet(from, envelope.address, envelope.incarnation);
            continue;
          }
          if (this.#failure !== undefined) throw new HoldfastError("unavailable", this.#failure.message);
          for (const wire of envelope.messages) {
            this.#step({ kind: "message", message: fromWire(wire, from, this.#options.self) });
          }
          this.wake();
        }
        return {};
      },
      append: (request) => {
        check(request);
        const refusal = this.#refusal() ?? this.#wal.full ?? this.#notLeading();
        if (refusal !== undefined) throw refusal;
        const accepted = this.#appends.accept(request.records);
        this.wake();
        return accepted;
      },
      tail: async (request) => {
        check(request);
        const refusal = this.#refusal() ?? this.#notLeading();
        if (refusal !== undefined) throw refusal;
        return { position: await this.tail() };
      },
      changeMembership: async (request, { signal }) => {
        check(request);
        const refusal = this.#notLeading();
        if (refusal !== undefined) throw refusal;
        await this.changeMembership(fromWireChange(request), signal);
        return {};
      },
      transfer: async (request, { signal }) => {
        check(request);
        const refusal = this.#notLeading();
        if (refusal !== undefined) throw refusal;
        await this.transfer(request.target, signal);
        return {};
      },
    });
  }

  #checkRemoved(id: MemberId): void {
    if (!this.#gone.includes(id)) return;
    throw new HoldfastError(
      "denied",
      `member ${id} was removed from the cluster; a removed member never comes back: start a new one with an empty directory`,
    );
  }

  #notLeading(): HoldfastError | undefined {
    if (this.#raft.role === "leader") return undefined;
    return new HoldfastError("unavailable", "this member does not lead the log");
  }

  // What drives the machine.

  #tickLater(): void {
    this.#timer = this.#env.clock.schedule(this.#options.tickMs ?? 20, () => {
      this.#tickLater();
      this.#tick();
      const leaderlessMs = this.#leaderlessMs();
      this.#appends.expire(leaderlessMs);
      this.#tails.expire(leaderlessMs);
      this.#changes.expire();
      this.#turn();
    });
  }

  /** A member whose disk is full cannot confirm anything: it does not lead, and does not try to. */
  #tick(): void {
    if (this.#wal.full === undefined) this.#step({ kind: "tick" });
    else if (this.#raft.role === "leader") {
      this.#step({ kind: "transfer", to: 0 });
      this.#step({ kind: "tick" });
    }
  }

  /** How long no leader has been known. */
  #leaderlessMs(): number {
    const nowMs = this.#env.clock.monotonicMs();
    if (this.#raft.leader !== 0) this.#leaderSeenMs = nowMs;
    return nowMs - this.#leaderSeenMs;
  }

  /** @internal Has everything that happens in this turn done at once. */
  wake(): void {
    if (this.#turnComing) return;
    this.#turnComing = true;
    void Promise.resolve().then(() => {
      this.#turnComing = false;
      this.#turn();
    });
  }

  #turn(): void {
    this.#guarded(() => this.#advance());
  }

  #step(event: RaftEvent): void {
    this.#guarded(() => this.#raft.step(event));
  }

  /** A bug stops this member: nobody knows what it would do next. */
  #guarded(act: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      act();
    } catch (error) {
      const text = error instanceof Error ? error.stack : String(error);
      this.#env.logger.log("error", "the log has stopped: this is a bug", { error: text });
      this.fail(new HoldfastError("unavailable", `the log has stopped: ${String(error)}`, { cause: error }));
    }
  }

  #advance(): void {
    const { role, leader } = this.#raft;
    const leads = role === "leader";
    this.#settle();
    this.#changes.advance(this.#raft, leads ? undefined : this.#peers.get(leader), () => this.wake());
    this.#tails.advance(this.#raft, leads ? undefined : this.#peers.get(leader), () => this.wake());
    // What arrives while a write is under way goes with the next one, as one entry.
    if (!leads || this.#wal.idle) {
      this.#appends.advance(this.#raft, leads ? undefined : this.#peers.get(leader), () => this.wake());
    }
    this.#handle(this.#raft.ready());
    this.#watchRole();
    this.#adoptConfiguration();
  }

  #handle(ready: Ready): void {
    for (const message of ready.messages) this.#peers.send(message);
    const { write, promises } = ready;
    if (write !== undefined || promises.length > 0) {
      this.#wal.submit(write, () => {
        for (const message of promises) this.#peers.send(message);
        if (write === undefined) return;
        this.#step({ kind: "written", write: write.number });
        this.wake();
      });
    }
    // What is put back in front of the queue must be in its old order in the end.
    for (const { id, outcome } of ready.proposals.toReversed()) {
      if (!this.#changes.proposed(id, outcome)) this.#appends.proposed(id, outcome);
    }
    for (const { id, outcome } of ready.reads) this.#tails.answered(id, outcome);
    for (const { member, index, sizeMax } of ready.fetches) void this.#fetch(member, index, sizeMax);
    if (ready.catchUp !== undefined) void this.#catchUp(ready.catchUp);
    if (ready.committed !== undefined) this.#deliver(ready.committed);
    this.#changes.delivered(this.#raft, this.#deliveries.index);
    if (ready.proposals.length > 0 || ready.reads.length > 0) this.wake();
  }

  #deliver(index: number): void {
    this.#deliveries.deliver(index, (at) => this.#raft.entry(at));
    this.#settle();
    const released = this.#deliveries.release();
    if (released !== undefined) this.#step({ kind: "release", index: released });
  }

  #settle(): void {
    this.#appends.settle(this.#deliveries.index, (index) => this.#raft.termAt(index));
  }

  async #fetch(member: MemberId, index: number, sizeMax: number): Promise<void> {
    const entries: Entry[] = [];
    try {
      let size = 0;
      for await (const entry of this.#wal.read(index)) {
        if (entries.length > 0 && size + entry.size > sizeMax) break;
        entries.push(entry);
        size += entry.size;
      }
    } catch (error) {
      entries.length = 0;
      if (!(error instanceof HoldfastError) || error.code !== "trimmed") {
        const { logger, clock } = this.#env;
        logger.log("error", "reading entries for a member failed", { member, error: String(error) });
        // It would be asked for again at once.
        await sleep(clock, catchUpRetryMs, this.#stopping.signal).catch(() => {});
      }
    }
    this.#step({ kind: "fetched", member, entries });
    this.wake();
  }

  async #catchUp(base: Base): Promise<void> {
    const { signal } = this.#stopping;
    const { logger, clock } = this.#env;
    logger.log("info", "the log here is too far behind; fetching the state", { position: base.position });
    while (!signal.aborted) {
      try {
        await this.#options.catchUp(position(base.position), signal);
        if (signal.aborted) return;
        this.#step({ kind: "caughtUp", base });
        this.#deliveries.jump(base);
        this.wake();
        return;
      } catch (error) {
        if (signal.aborted) return;
        logger.log("warn", "fetching the state failed; it is tried again", { error: String(error) });
      }
      await sleep(clock, catchUpRetryMs, signal).catch(() => {});
    }
  }

  #watchRole(): void {
    const { leader, term, role } = this.#raft;
    const seen = this.#roleSeen;
    if (leader === seen.leader && term === seen.term && role === seen.role) return;
    this.#roleSeen = { leader, term, role };
    this.#env.logger.log("info", "the log's leadership", { leader, term, role });
    this.#setPrimary(role === "leader");
    for (const listener of this.#listeners) listener();
    this.wake();
  }

  #setPrimary(isPrimary: boolean): void {
    if (isPrimary === this.#isPrimary) return;
    this.#isPrimary = isPrimary;
    for (const listener of this.#primaryListeners) listener(isPrimary);
  }

  #adoptConfiguration(): void {
    const { configuration } = this.#raft;
    // What is not committed may still be undone.
    if (this.#raft.configurationIndex <= this.#deliveries.index && configuration.removed !== this.#gone) {
      this.#gone = configuration.removed;
      if (this.#gone.includes(this.#options.self)) this.#markRemoved();
      this.#peers.forget(this.#gone);
    }
    if (!this.#peers.adopt(configuration)) return;
    for (const listener of this.#listeners) listener();
  }

  /** Nothing goes on: the disk failed, or there is a bug. */
  fail(error: HoldfastError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#timer?.cancel();
    this.#stopping.abort();
    this.#rejectAll(error);
    this.#deliveries.end(error);
    this.#setPrimary(false);
  }

  #rejectAll(error: HoldfastError): void {
    this.#appends.fail(error);
    this.#tails.fail(error);
    this.#changes.fail(error);
  }

  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = this.#close();
      this.#deliveries.end();
    }
    return this.#closed;
  }

  /** Appends under way are waited for, as long as the log makes progress. */
  async #close(): Promise<void> {
    while (this.#failure === undefined && !this.#appends.isEmpty) await this.#appends.changed();
    this.#timer?.cancel();
    this.#stopping.abort();
    this.#rejectAll(new HoldfastError("unavailable", "the log is closed"));
    this.#failure ??= new HoldfastError("unavailable", "the log is closed");
    await this.#peers.close();
    await this.#wal.close();
  }
}
