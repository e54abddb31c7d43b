/**
 * A store's state on this member: follows the log, applies its commands to the tree, and answers those who wait.
 *
 * Takes a log, a blob store, a place for checkpoints and the views; gives `propose` for writes, `linearize` and `read`
 * for reads, `subscribe` for events, `checkpoint`, and `install` for a state that other members have made.
 *
 * A log with other members may forget what this one has not applied. Then nothing is applied here, and the state is an
 * old one, until a newer one is installed; reads and proposals go on meanwhile, as far as the log answers.
 *
 * Invariants:
 *  1. Commands are applied one at a time, each synchronously, in the order of the log; between two of them the tree is
 *     the state at `applied`.
 *  2. A command that needs a page that is not in memory is undone, the page is loaded, and it is applied from its
 *     beginning; nothing else is applied meanwhile.
 *  3. A proposal is answered after the local apply: who was answered reads their own write here.
 *  4. The log is trimmed only to the position of the older of two durable checkpoints, and tree pages are deleted only
 *     when neither of the two needs them, nor a snapshot.
 *  5. The state never goes back: one is installed only if it is newer, between two commands, when its record is durable.
 *
 *  6. The state right behind the command that makes a snapshot is frozen before anything else is applied. At most so many
 *     frozen states wait to be written (pins.ts): where a full disk keeps them waiting, applying waits, reads go on, and
 *     installing and closing stop the waiting.
 *
 * After a crash: the newest readable checkpoint is opened and the log behind it applied again.
 */
import { abortable, abortError, asHoldfastError, deferred, equalBytes, HoldfastError, sleep } from "../base/index.ts";
import type { Env, Position, Revision } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import type { LogEngine } from "../log/index.ts";
import type { TreeEdit } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord, CheckpointStore, KeptCheckpoint } from "./checkpoint.ts";
import { Checkpointer } from "./checkpointer.ts";
import type { Replacement } from "./checkpointer.ts";
import type { CollectionStart, EpochStore } from "./collection-start.ts";
import type { CommandOutcome, Operation } from "./command.ts";
import { Follower } from "./follower.ts";
import type { HeldState } from "./held.ts";
import { Listeners } from "./listeners.ts";
import type { Listener } from "./listeners.ts";
import { checkLog, hasOthers } from "./log-check.ts";
import { openPins, pinnedBy } from "./pins-open.ts";
import { Pins } from "./pins.ts";
import type { PinnedBy } from "./pins.ts";
import { Proposals } from "./proposals.ts";
import type { SessionStamp } from "./proposals.ts";
import { snapshotViewId } from "./snapshot/layout.ts";
import type { SnapshotChange } from "./snapshot/snapshot-view.ts";
import { openState, RunningState } from "./state.ts";
import type { OpenedState, StateParts, StateSnapshot } from "./state.ts";
import { StoreClock } from "./store-clock.ts";
import { TailQuestion } from "./tail-question.ts";
import type { View } from "./view.ts";
import { Waiters } from "./waiters.ts";

export interface ReplicaParts {
  readonly log: LogEngine;
  readonly blobs: BlobStore;
  readonly checkpoints: CheckpointStore;
  /** Notes of states that were being fetched for `install`: what has come of them is not collected. */
  readonly fetching?: CheckpointStore | undefined;
  readonly views: readonly View[];
  /** 16 bytes that key the tree of a store that begins here: the same for all its members. Default: random. */
  readonly seed?: Uint8Array | undefined;
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

const cacheSizeDefault = 268_435_456;
/** How long `close` waits for proposals that need other members. */
const closeGraceMs = 1_000;

export class Replica {
  readonly #env: Env;
  readonly #log: LogEngine;
  readonly #parts: StateParts;
  readonly #state: RunningState;
  readonly #clock: StoreClock;
  readonly #proposals: Proposals;
  readonly #pins: Pins;
  readonly #checkpointer: Checkpointer;
  readonly #listeners: Listeners;
  readonly #installListeners = new Set<{ readonly call: (before: Revision) => void }>();
  readonly #failed = deferred<HoldfastError>();
  #failure: HoldfastError | undefined;
  readonly #waiters = new Waiters();
  readonly #question: TailQuestion;
  readonly #follower: Follower;
  #closed: Promise<void> | undefined;

  private constructor(
    env: Env,
    parts: ReplicaParts,
    options: ReplicaOptions,
    kept: readonly [CheckpointRecord, ...CheckpointRecord[]],
    stateParts: StateParts,
    state: OpenedState,
  ) {
    this.#env = env;
    this.#log = parts.log;
    this.#parts = stateParts;
    this.#listeners = stateParts.listeners;
    this.#state = new RunningState(stateParts, state);
    this.#clock = new StoreClock(env.clock);
    const [start] = kept;
    this.#clock.hear(start.timeMs);
    this.#proposals = new Proposals(env, parts.log, this.#clock);
    this.#question = new TailQuestion(parts.log, (tail, signal) => this.#reach(tail, signal));
    this.#pins = new Pins({
      seed: start.seed,
      at: (root) => this.#state.atRoot(root),
      diverged: (error) => this.#fail(error),
    });
    this.#listeners.add({ id: snapshotViewId }, (_, changes) => {
      for (const change of changes as readonly SnapshotChange[]) this.#pins.apply(change, this.#state.applied + 1);
    });
    this.#checkpointer = new Checkpointer(env, { ...parts, pins: this.#pins, kept }, options, {
      tree: () => this.#state.tree,
      position: () => this.#state.applied,
      held: () => this.#state.heldPositions,
      snapshot: () => this.#state.snapshot(),
      at: (at, root) => this.#state.at(at, root),
      atRoot: (root) => this.#state.atRoot(root),
      begin: (ready) => this.#state.beginCheckpoint(ready),
      prepare: (record) => this.#prepareInstall(record),
      fail: (error) => this.#fail(error),
    });
    this.#follower = new Follower(env, {
      log: parts.log,
      state: this.#state,
      clock: this.#clock,
      proposals: this.#proposals,
      pins: this.#pins,
      checkpointer: this.#checkpointer,
      waiters: this.#waiters,
      fail: (error) => this.#fail(error),
    });
  }

  /**
   * Opens the newest checkpoint and applies the log behind it, as far as it is known here to be in the log for good and is
   * still there.
   */
  static async open(env: Env, parts: ReplicaParts, options: ReplicaOptions = {}): Promise<Replica> {
    const loaded = await parts.checkpoints.load();
    const seed = parts.seed ?? env.random.bytes(16);
    const start = loaded[0] ?? { position: 0, revision: 0, timeMs: 0, rootHash: new Uint8Array(0), seed, count: 0 };
    const kept: readonly [KeptCheckpoint, ...KeptCheckpoint[]] = [start, ...loaded.slice(1)];
    if (!equalBytes(start.seed, parts.seed ?? start.seed)) throw otherSeedError();
    checkLog(parts.log, start);
    if (loaded.length === 0) await parts.checkpoints.save(start);
    const { blobs, views } = parts;
    const cacheSizeMax = options.cacheSizeMax ?? cacheSizeDefault;
    const stateParts: StateParts = { blobs, views, listeners: new Listeners(), cacheSizeMax };
    const state = await openState(env, stateParts, start);
    const replica = new Replica(env, parts, options, kept, stateParts, state);
    await openPins(env, replica.#pins, state, kept);
    replica.#follower.start();
    try {
      // What others trim elsewhere meanwhile comes from them when the store is open.
      await Promise.race([replica.#reach(parts.log.committed()), replica.#follower.leftBehind]);
    } catch (error) {
      await replica.#checkpointer.close(false);
      await replica.#stop();
      throw error;
    }
    return replica;
  }

  /** Of the last applied command that changed something. */
  get revision(): Revision {
    return this.#state.revision;
  }

  /** One past the last applied record. */
  get applied(): Position {
    return this.#state.applied;
  }

  /** Store time, milliseconds since the Unix epoch. */
  get timeMs(): number {
    return this.#state.timeMs;
  }

  /** What store time would be if a command were proposed here now; it never goes back, whatever the wall clock does. */
  get nowMs(): number {
    return this.#clock.nowMs();
  }

  get sessionCount(): number {
    return this.#state.sessionCount;
  }

  /** Who waits until more of the log is applied here. */
  get waiterCount(): number {
    return this.#waiters.count;
  }

  get lastCheckpoint(): CheckpointRecord {
    return this.#checkpointer.last;
  }

  /** For figures. Edits are the applier's alone, and `snapshot` and `at` hold what they give. Another one after `install`. */
  get tree(): TreeEdit {
    return this.#state.tree;
  }

  /** Whether this member does the chores that one member has to do. */
  get isPrimary(): boolean {
    return this.#log.isPrimary;
  }

  /** Calls `listener` after each change of `isPrimary`, until the function that it gives is called. */
  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    return this.#log.onPrimary(listener);
  }

  /** Resolves, with the reason, when the replica has stopped by itself: a failed log or blob store, or a bug. */
  get failed(): Promise<HoldfastError> {
    return this.#failed.promise;
  }

  /**
   * Proposes the operations as one command and resolves with what became of it, after it was applied here. Rejects with
   * `exhausted` or `invalid` before it is in the log, `unavailable` when the log failed (`maybe: true` if the command may
   * be in it), what `signal` says (`cancelled`, `timeout`) with `maybe: true` when that aborts, whereupon it may still
   * take effect.
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
    return this.#closed === undefined ? undefined : closedError();
  }

  /**
   * Resolves when everything is applied here that was acknowledged anywhere before the call. Calls at the same time
   * share one question to the log, and its failure: `unavailable` when it cannot reach a majority of its members. A
   * member that lags may be waited for without end: give `signal` where the caller may leave before.
   */
  linearize(signal?: AbortSignal): Promise<void> {
    const stopped = this.#stopped();
    if (stopped !== undefined) return Promise.reject(stopped);
    return this.#question.applied(signal);
  }

  /** Resolves when the store here has reached a revision that somebody was told; `invalid` for one of the future. */
  async reachRevision(wanted: Revision, signal?: AbortSignal): Promise<void> {
    if (wanted <= this.revision) return;
    await this.linearize(signal);
    if (wanted <= this.revision) return;
    throw new HoldfastError("invalid", `revision ${wanted} is in the future; the store is at ${this.revision}`);
  }

  #reach(wanted: Position, signal?: AbortSignal): Promise<void> | undefined {
    if (wanted <= this.#state.applied) return undefined;
    const stopped = this.#stopped();
    if (stopped !== undefined) return Promise.reject(stopped);
    return this.#waiters.reach(wanted, signal);
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
    return this.#state.readNow(query);
  }

  /** The state as it is now, to be read at leisure. */
  snapshot(): StateSnapshot {
    return this.#state.snapshot();
  }

  /** The state of one of the two checkpoints that are kept, to be read at leisure. `invalid` for another store's. */
  at(record: CheckpointRecord): HeldState {
    return this.#state.at(record.position, rootOf(record));
  }

  /**
   * The state that snapshots pin at this very revision, to be read at leisure, also when they are deleted meanwhile;
   * undefined when none does. `unavailable` when its pages are not on this member yet.
   */
  pinAt(revision: number): HeldState | undefined {
    return this.#pins.hold(revision);
  }

  /** For those who look after snapshots: what there is to seal, and what there is to fetch from other members. */
  get pins(): Pick<Pins, "toSeal" | "toFetch" | "fetched" | "onChange"> {
    return this.#pins;
  }

  /**
   * Calls `listener` after each command in which the view emitted events, before its proposer is answered. Nothing is
   * called for commands that `install` passes over.
   */
  subscribe(view: Pick<View, "id">, listener: Listener): () => void {
    return this.#listeners.add(view, listener);
  }

  /** Calls `listener` with the revision before, right after a newer state was installed, before anything is applied. */
  onInstall(listener: (before: Revision) => void): () => void {
    const entry = { call: listener };
    this.#installListeners.add(entry);
    return () => void this.#installListeners.delete(entry);
  }

  /** Takes a checkpoint now, unless nothing was applied since the last; resolves when it is durable. */
  checkpoint(): Promise<CheckpointRecord> {
    const stopped = this.#stopped();
    return stopped === undefined ? this.#checkpointer.take() : Promise.reject(stopped);
  }

  /**
   * From when it resolves until the function that it gives is called, no blob is deleted. Whoever brings the pages of a
   * state for `install` needs this from before the first page until `install` has resolved: it counts on pages that are
   * here already, and nobody but it knows what the others are good for.
   */
  holdBlobs(): Promise<() => void> {
    return this.#checkpointer.holdBlobs();
  }

  /**
   * Begins a collection by mark and sweep, between two checkpoints: the next epoch of each of the stores, and what is to be
   * marked. Undefined when there must not be one now: somebody holds the blobs, or one is under way. Rejects as
   * `checkpoint` does.
   */
  beginCollection(stores: readonly EpochStore[]): Promise<CollectionStart | undefined> {
    const stopped = this.#stopped();
    return stopped === undefined ? this.#checkpointer.beginCollection(stores) : Promise.reject(stopped);
  }

  /** About how many tree pages wait for a collection; infinite when only a collection can tell, as after an install. */
  get leftCount(): number {
    return this.#checkpointer.leftCount;
  }

  /**
   * Takes over a newer state, of the same store, whose pages are all in the blob store and durable, and goes on with the
   * log from there; keeps the state here when that is as new. Resolves when a state at the record's position or later is
   * the running one and durable, so that the log may forget what lies before. `notFound` or `corrupt` when a page is not there or damaged, `exhausted` when the disk is full: then the state here
   * stays. Proposals whose commands it passes over are rejected with `unavailable` (`maybe: true`); whoever waits for a
   * position that it has goes on. Snapshots of the state before stay readable.
   */
  install(record: CheckpointRecord): Promise<void> {
    const stopped = this.#stopped();
    if (stopped !== undefined) return Promise.reject(stopped);
    if (!equalBytes(record.seed, this.#checkpointer.last.seed)) return Promise.reject(otherSeedError());
    return this.#checkpointer.install(record);
  }

  async #prepareInstall(record: CheckpointRecord): Promise<Replacement | undefined> {
    const state = record.position > this.#state.applied ? await openState(this.#env, this.#parts, record) : undefined;
    if (state === undefined) return undefined;
    const pinned = await pinnedBy(record, state.tree.freeze());
    await this.#follower.stop();
    if (this.#failure !== undefined) throw this.#failure;
    const goOn = () => {
      if (this.#failure === undefined) this.#follower.start();
    };
    if (record.position <= this.#state.applied) {
      goOn();
      return undefined;
    }
    const finish = () => {
      this.#replace(state, pinned);
      goOn();
    };
    return { lackingPins: this.#pins.lackingAfter(pinned), finish, abandon: goOn };
  }

  #replace(state: OpenedState, pinned: PinnedBy): void {
    const before = this.revision;
    this.#state.replace(state);
    this.#pins.replace(pinned);
    this.#clock.hear(this.timeMs);
    this.#proposals.skip(state.applied);
    for (const { call } of this.#installListeners) call(before);
    this.#waiters.wake(state.applied);
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = asHoldfastError(error);
    this.#checkpointer.stop();
    void this.#follower.stop();
    if (!(error instanceof HoldfastError)) {
      const stack = error instanceof Error ? error.stack : undefined;
      this.#env.logger.log("error", "the store has stopped: this is a bug", { error: stack ?? String(error) });
    }
    this.#proposals.fail(this.#failure);
    this.#waiters.fail(this.#failure);
    this.#failed.resolve(this.#failure);
  }

  /**
   * Waits for proposals under way, where they need other members only for a second: those that are left are rejected with
   * `unavailable` (`maybe: true`). Takes a last checkpoint if the next start would have much to apply again. Leaves the
   * log and the blob store open. Idempotent.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    // What is under way is applied, whatever waits for space.
    this.#pins.close();
    await this.#settle();
    await this.#checkpointer.close(this.#failure === undefined);
    await this.#stop();
  }

  /** A disk answers, or fails. Whether other members do, and when, nobody knows. */
  async #settle(): Promise<void> {
    const settled = this.#proposals.settled();
    if (!hasOthers(this.#log)) return settled;
    const stop = new AbortController();
    const grace = sleep(this.#env.clock, closeGraceMs, stop.signal).catch(() => {});
    await Promise.race([settled, grace]);
    stop.abort();
    this.#proposals.fail(closedError());
  }

  async #stop(): Promise<void> {
    await this.#follower.stop();
    this.#waiters.fail(closedError());
  }
}

function otherSeedError(): HoldfastError {
  return new HoldfastError("invalid", "the state is another store's: its tree has another seed; give this store's own");
}

function closedError(): HoldfastError {
  return new HoldfastError("unavailable", "the store is closed");
}

/** A proposal that its caller no longer waits for may take effect all the same. */
function maybeAborted(signal: AbortSignal): (error: unknown) => never {
  return (error) => {
    if (!signal.aborted || !(error instanceof HoldfastError)) throw error;
    throw new HoldfastError(error.code, error.message, { maybe: true, cause: error });
  };
}
