/**
 * A store's state on this member: follows the log, applies its commands to the tree, and answers those who wait.
 *
 * Takes a log, a blob store, a place for checkpoints and the views; gives `propose` for writes, `linearize` and `read`
 * for reads, `subscribe` for events, `checkpoint`.
 *
 * Invariants:
 *  1. Commands are applied one at a time, each synchronously, in the order of the log; between two of them the tree is
 *     the state at `applied`.
 *  2. A command that needs a page that is not in memory is undone, the page is loaded, and it is applied from its
 *     beginning; nothing else is applied meanwhile.
 *  3. A proposal is answered after the local apply: who was answered reads their own write here.
 *  4. The log is trimmed only to the position of the older of two durable checkpoints, and tree pages are deleted only
 *     when neither of the two needs them.
 *
 * After a crash: the newest readable checkpoint is opened and the log behind it applied again.
 */
import {
  abortable,
  abortError,
  asHoldfastError,
  assert,
  deferred,
  giveWay,
  HoldfastError,
  position,
  revision,
} from "../base/index.ts";
import type { Deferred, Env, Position, Revision } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import type { LogBatch, LogEngine } from "../log/index.ts";
import { emptyTree, openTree, PageMissing } from "../tree/index.ts";
import type { TreeEdit, TreeSnapshot } from "../tree/index.ts";
import { Applier } from "./applier.ts";
import type { Emission } from "./applier.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";
import { Checkpointer } from "./checkpointer.ts";
import type { Beginning } from "./checkpointer.ts";
import { decodeCommand } from "./command.ts";
import type { CommandOutcome, DecodedCommand, Operation } from "./command.ts";
import { Proposals } from "./proposals.ts";
import type { SessionStamp } from "./proposals.ts";
import { StoreClock } from "./store-clock.ts";
import { sweep } from "./sweep.ts";
import type { View } from "./view.ts";

export interface ReplicaParts {
  readonly log: LogEngine;
  readonly blobs: BlobStore;
  readonly checkpoints: CheckpointStore;
  readonly views: readonly View[];
}

export interface ReplicaOptions {
  /** Bytes of memory for tree pages that can be read again. Default 256 MiB. */
  readonly cacheSizeMax?: number;
  /** A checkpoint is taken when the log has grown by the size of the state, and by this many bytes. Default 32 MiB. */
  readonly checkpointLogSizeMin?: number;
  /** A checkpoint is also taken when changed pages take so many bytes of memory. Default 512 MiB. */
  readonly dirtySizeMax?: number;
  /** When nothing has been applied for so long and the log has grown by 1 MiB, a checkpoint is taken. Default 5,000. */
  readonly checkpointIdleMs?: number;
}

/** A state that stays as it is; `release` it. */
export interface StateSnapshot {
  readonly revision: Revision;
  readonly timeMs: number;
  readonly tree: TreeSnapshot;
}

export type Listener = (revision: Revision, events: readonly unknown[]) => void;

const cacheSizeDefault = 268_435_456;
/** Bytes beyond the cache's limit that pages may take while there are always readers waiting for some. */
const loadingSizeMax = 33_554_432;
/** How long commands are applied before other work gets its turn. */
const sliceMs = 4;
/** Keys of so many commands are prefetched after one that had to wait for a page. */
const prefetchCount = 4_096;

interface Waiter {
  readonly position: number;
  readonly done: Deferred<void>;
}

export class Replica {
  readonly #env: Env;
  readonly #log: LogEngine;
  readonly #tree: TreeEdit;
  readonly #applier: Applier;
  readonly #clock: StoreClock;
  readonly #proposals: Proposals;
  readonly #checkpointer: Checkpointer;
  readonly #listeners = new Map<number, Listener[]>();
  readonly #stopReading = new AbortController();
  readonly #failed = deferred<HoldfastError>();
  #failure: HoldfastError | undefined;
  #applied: number;
  /** Waiting for a position to be applied, in the order of their positions. */
  #waiters: Waiter[] = [];
  #question: Promise<void> | undefined;
  readonly #cacheSizeMax: number;
  /** Reads, and commands, that wait for pages. */
  #loadingCount = 0;
  /** Commands whose pages are still to be prefetched. */
  #prefetching = 0;
  #running: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(env: Env, parts: ReplicaParts, options: ReplicaOptions, start: CheckpointRecord, tree: TreeEdit) {
    this.#env = env;
    this.#log = parts.log;
    this.#tree = tree;
    this.#applied = start.position;
    this.#applier = new Applier(
      tree,
      parts.views,
      { revision: revision(start.revision), timeMs: start.timeMs },
      (at, emissions) => this.#announce(at, emissions),
    );
    this.#cacheSizeMax = options.cacheSizeMax ?? cacheSizeDefault;
    this.#clock = new StoreClock(env.clock);
    this.#clock.hear(start.timeMs);
    this.#proposals = new Proposals(env, parts.log, this.#clock);
    this.#checkpointer = new Checkpointer(env, parts, options, start, {
      tree,
      position: () => this.#applied,
      begin: () => this.#beginCheckpoint(),
      fail: (error) => this.#fail(error),
    });
  }

  /** Opens the newest checkpoint and applies the log behind it, up to the log's tail at this moment. */
  static async open(env: Env, parts: ReplicaParts, options: ReplicaOptions = {}): Promise<Replica> {
    const kept = await parts.checkpoints.load();
    const seed = env.random.bytes(16);
    const start = kept[0] ?? { position: 0, revision: 0, timeMs: 0, rootHash: new Uint8Array(0), seed, count: 0 };
    await checkLog(parts.log, start);
    if (kept.length === 0) await parts.checkpoints.save(start);
    await sweep(env, parts.blobs, kept.length === 0 ? [start] : kept);
    const root = start.rootHash.length === 0 ? emptyTree(start.seed) : rootOf(start);
    const tree = await openTree(env, parts.blobs, root, { cacheSizeMax: options.cacheSizeMax ?? cacheSizeDefault });
    const replica = new Replica(env, parts, options, start, tree);
    await replica.#applier.restore();
    replica.#running = replica.#run();
    try {
      await replica.#reach(await parts.log.tail());
    } catch (error) {
      await replica.#checkpointer.close(false);
      await replica.#stop();
      throw error;
    }
    return replica;
  }

  /** Of the last applied command that changed something. */
  get revision(): Revision {
    return this.#applier.lastRevision;
  }

  /** One past the last applied record. */
  get applied(): Position {
    return position(this.#applied);
  }

  /** Store time, milliseconds since the Unix epoch. */
  get timeMs(): number {
    return this.#applier.timeMs;
  }

  /** What store time would be if a command were proposed here now; it never goes back, whatever the wall clock does. */
  get nowMs(): number {
    return this.#clock.nowMs();
  }

  get sessionCount(): number {
    return this.#applier.sessions.count;
  }

  get lastCheckpoint(): CheckpointRecord {
    return this.#checkpointer.last;
  }

  /** For figures. Edits are the applier's alone. */
  get tree(): TreeEdit {
    return this.#tree;
  }

  /** Resolves, with the reason, when the replica has stopped by itself: a failed log or blob store, or a bug. */
  get failed(): Promise<HoldfastError> {
    return this.#failed.promise;
  }

  /**
   * Proposes the operations as one command and resolves with what became of it, after it was applied here. Rejects with
   * `exhausted` or `invalid` before it is in the log, `unavailable` when the log failed (`maybe: true` if the command may
   * be in it), `cancelled` or `timeout` with `maybe: true` when `signal` aborts, whereupon it may still take effect.
   */
  propose(
    operations: readonly Operation[],
    options: { readonly stamp?: SessionStamp; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<CommandOutcome> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const stopped = this.#stopped();
    if (stopped !== undefined) return Promise.reject(stopped);
    const outcome = this.#proposals.propose(operations, options.stamp);
    return signal === undefined ? outcome : abortable(outcome, signal).catch(maybeAborted(signal));
  }

  #stopped(): HoldfastError | undefined {
    if (this.#failure !== undefined) {
      return new HoldfastError("unavailable", this.#failure.message, { cause: this.#failure });
    }
    return this.#closed === undefined ? undefined : new HoldfastError("unavailable", "the store is closed");
  }

  /**
   * Resolves when everything is applied here that was acknowledged anywhere before the call. Calls at the same time
   * share one question to the log.
   */
  linearize(): Promise<void> {
    const stopped = this.#stopped();
    if (stopped !== undefined) return Promise.reject(stopped);
    // The question is put after this turn, so that all who ask in this turn may share it.
    this.#question ??= Promise.resolve().then(() => {
      this.#question = undefined;
      return this.#log.tail().then((tail) => (tail <= this.#applied ? undefined : this.#reach(tail)));
    });
    return this.#question;
  }

  /** Resolves when the store here has reached a revision that somebody was told; `invalid` for one of the future. */
  async reachRevision(wanted: Revision): Promise<void> {
    if (wanted <= this.revision) return;
    await this.linearize();
    if (wanted <= this.revision) return;
    throw new HoldfastError("invalid", `revision ${wanted} is in the future; the store is at ${this.revision}`);
  }

  #reach(wanted: Position): Promise<void> {
    if (wanted <= this.#applied) return Promise.resolve();
    const stopped = this.#stopped();
    if (stopped !== undefined) return Promise.reject(stopped);
    const done = deferred<void>();
    let index = this.#waiters.length;
    while (index > 0 && (this.#waiters[index - 1] as Waiter).position > wanted) index--;
    this.#waiters.splice(index, 0, { position: wanted, done });
    return done.promise;
  }

  /**
   * Runs `query` on the state as it is now, synchronously; where a page is missing, loads it and runs `query` again
   * from its beginning, on the state as it is then.
   */
  async read<T>(query: (tree: TreeEdit) => T): Promise<T> {
    return this.readNow(query);
  }

  /** The same without a promise where nothing has to be loaded, which is nearly always. */
  readNow<T>(query: (tree: TreeEdit) => T): T | Promise<T> {
    try {
      return query(this.#tree);
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      return this.#readSlowly(query, error);
    }
  }

  async #readSlowly<T>(query: (tree: TreeEdit) => T, missing: PageMissing): Promise<T> {
    this.#loadingCount++;
    try {
      for (let next = missing; ;) {
        await next.load();
        try {
          return query(this.#tree);
        } catch (error) {
          if (!(error instanceof PageMissing)) throw error;
          next = error;
        }
      }
    } finally {
      this.#loadingCount--;
      // What was loaded is kept for whoever waits. If there are always some, they share so much and then load anew.
      const excess = this.#tree.cacheSize - this.#cacheSizeMax;
      if (excess > 0 && (this.#loadingCount === 0 || excess > loadingSizeMax)) this.#tree.trimCache();
    }
  }

  /** The state as it is now, to be read at leisure. `release` its tree. */
  snapshot(): StateSnapshot {
    return { revision: this.revision, timeMs: this.timeMs, tree: this.#tree.freeze() };
  }

  /** Calls `listener` after each command in which the view emitted events, before its proposer is answered. */
  subscribe(view: Pick<View, "id">, listener: Listener): () => void {
    const listeners = this.#listeners.get(view.id) ?? [];
    this.#listeners.set(view.id, [...listeners, listener]);
    return () => {
      const rest = (this.#listeners.get(view.id) ?? []).filter((other) => other !== listener);
      this.#listeners.set(view.id, rest);
    };
  }

  /** Takes a checkpoint now, unless nothing was applied since the last; resolves when it is durable. */
  checkpoint(): Promise<CheckpointRecord> {
    const stopped = this.#stopped();
    return stopped === undefined ? this.#checkpointer.take() : Promise.reject(stopped);
  }

  #announce(at: Revision, emissions: readonly Emission[]): void {
    const [first] = emissions;
    if (first === undefined) return;
    if (emissions.every(({ view }) => view === first.view)) {
      const listeners = this.#listeners.get(first.view.id);
      if (listeners === undefined) return;
      const events = emissions.map(({ event }) => event);
      for (const listener of listeners) listener(at, events);
      return;
    }
    for (const view of new Set(emissions.map((emission) => emission.view))) {
      const events = emissions.filter((emission) => emission.view === view).map(({ event }) => event);
      for (const listener of this.#listeners.get(view.id) ?? []) listener(at, events);
    }
  }

  async #run(): Promise<void> {
    try {
      const { signal } = this.#stopReading;
      for await (const batch of this.#log.read(this.applied, { signal })) {
        await this.#applyBatch(batch);
        if (signal.aborted) return;
      }
      if (!signal.aborted) throw new HoldfastError("unavailable", "the log was closed under the store");
    } catch (error) {
      this.#fail(error);
    }
  }

  async #applyBatch({ position: first, records }: LogBatch): Promise<void> {
    const { clock } = this.#env;
    const commands = records.map((record, index) => this.#decode(first + index, record));
    if (this.#prefetching > 0) await this.#prefetch(commands);
    let sliceEndMs = clock.monotonicMs() + sliceMs;
    for (let index = 0; index < commands.length; index++) {
      const command = commands[index];
      const waiting = command === undefined ? undefined : this.#apply(position(first + index), command);
      if (waiting !== undefined) await waiting;
      this.#applied = first + index + 1;
      if (index % 16 === 15 && clock.monotonicMs() > sliceEndMs) {
        this.#wake();
        await giveWay(clock);
        sliceEndMs = clock.monotonicMs() + sliceMs;
      }
      if (this.#stopReading.signal.aborted) return;
    }
    this.#clock.hear(this.timeMs);
    this.#wake();
    this.#tree.trimCache();
    this.#checkpointer.grown(records);
    const { pressing } = this.#checkpointer;
    if (pressing !== undefined) await pressing;
  }

  /** A record that is no command is passed over, by every replica alike. */
  #decode(at: number, record: Uint8Array): DecodedCommand | undefined {
    try {
      return decodeCommand(record);
    } catch (error) {
      this.#env.logger.log("error", "a record of the log is no command", { position: at, error: String(error) });
      return undefined;
    }
  }

  /** Applies one command. Only when it waits for a page does it answer a promise: the rest goes without. */
  #apply(at: Position, command: DecodedCommand): Promise<void> | undefined {
    const outcome = this.#applier.apply(at, command);
    if (outcome instanceof PageMissing) return this.#applySlowly(at, command, outcome);
    this.#applied = at + 1;
    this.#proposals.answer(command, outcome);
    return undefined;
  }

  async #applySlowly(at: Position, command: DecodedCommand, missing: PageMissing): Promise<void> {
    this.#prefetching = prefetchCount;
    let outcome: CommandOutcome | PageMissing = missing;
    this.#loadingCount++;
    try {
      while (outcome instanceof PageMissing) {
        await outcome.load();
        outcome = this.#applier.apply(at, command);
      }
    } finally {
      this.#loadingCount--;
    }
    // With the tree, before anybody else has a turn: a checkpoint must not hold a command behind its position.
    this.#applied = at + 1;
    this.#proposals.answer(command, outcome);
  }

  async #prefetch(commands: readonly (DecodedCommand | undefined)[]): Promise<void> {
    const keys: Uint8Array[] = [];
    for (const command of commands) if (command !== undefined) this.#applier.touches(command, (key) => keys.push(key));
    this.#prefetching -= commands.length;
    const fetching = this.#tree.prefetch(keys);
    if (fetching === undefined) return;
    this.#prefetching = prefetchCount;
    await fetching;
  }

  #wake(): void {
    while (this.#waiters.length > 0 && (this.#waiters[0] as Waiter).position <= this.#applied) {
      this.#waiters.shift()?.done.resolve();
    }
  }

  /** Between two commands: what is in the tree and what is said about it belong together. */
  async #beginCheckpoint(): Promise<Beginning> {
    for (;;) {
      try {
        this.#applier.materialise();
        const state = { position: this.#applied, revision: this.revision, timeMs: this.timeMs };
        // The first synchronous part of `flush` fixes what it writes. In an object, so that nobody waits for it here.
        return { state, flushing: this.#tree.flush() };
      } catch (error) {
        if (!(error instanceof PageMissing)) throw error;
        await error.load();
      }
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = asHoldfastError(error);
    this.#checkpointer.stop();
    this.#stopReading.abort();
    if (!(error instanceof HoldfastError)) {
      const stack = error instanceof Error ? error.stack : undefined;
      this.#env.logger.log("error", "the store has stopped: this is a bug", { error: stack ?? String(error) });
    }
    this.#proposals.fail(this.#failure);
    for (const { done } of this.#waiters) done.reject(this.#failure);
    this.#waiters = [];
    this.#failed.resolve(this.#failure);
  }

  /**
   * Waits for proposals under way; takes a last checkpoint if the next start would have much to apply again. Leaves the
   * log and the blob store open. Idempotent.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#proposals.settled();
    await this.#checkpointer.close(this.#failure === undefined);
    await this.#stop();
  }

  async #stop(): Promise<void> {
    this.#stopReading.abort();
    await this.#running;
    const closed = new HoldfastError("unavailable", "the store is closed");
    for (const { done } of this.#waiters) done.reject(closed);
    this.#waiters = [];
  }
}

/** The log must reach from the checkpoint, or from before it, at least up to it. */
async function checkLog(log: LogEngine, start: CheckpointRecord): Promise<void> {
  const tail = await log.tail();
  if (log.start() <= start.position && start.position <= tail) return;
  throw new HoldfastError(
    "corrupt",
    `the log holds positions ${log.start()} to ${tail}, but the last checkpoint is at ${start.position}: log files are missing; restore the data directory from a backup`,
  );
}

/** A proposal that its caller no longer waits for may take effect all the same. */
function maybeAborted(signal: AbortSignal): (error: unknown) => never {
  return (error) => {
    if (!signal.aborted || !(error instanceof HoldfastError)) throw error;
    assert(error.code === "cancelled" || error.code === "timeout", "an abort is a cancellation or a timeout");
    throw new HoldfastError(error.code, error.message, { maybe: true, cause: error });
  };
}
