/**
 * When checkpoints are taken, and what happens then, in this order: the states that snapshots pin and that wait to be
 * written are, each as a checkpoint of its own; the whole state is put in the tree and frozen; its changed pages are
 * written and synced; the checkpoint's record is made durable; pages that neither this checkpoint nor the one before
 * needs are deleted. Then the log is trimmed to the one before, with nobody waiting for it: on a full disk that may last.
 *
 * Pages that a snapshot may need are not deleted then but left to a collection by mark and sweep, which begins here too,
 * between two checkpoints.
 *
 * Installing a state that other members have made: its pages are here and durable; its record is made durable, and then
 * it takes the place of the running state. What only the old one needed is left to a collection. Whoever brings the pages
 * holds the blobs from before the first until the state is installed, so that nothing is deleted that was here already
 * and is counted on.
 *
 * Invariants:
 *  1. One checkpoint is taken, or one state installed, or one collection begun, at a time.
 *  2. Here blobs are deleted only when a checkpoint has become durable, before the next is begun, and while nobody holds
 *     them; a collection deletes any time, and is stopped by whoever wants to hold them.
 *  3. A checkpoint is begun only when all pinned states of before are written (pins.ts, invariant 1).
 *  4. One trim is under way at a time, to a position that two durable checkpoints have reached.
 *
 * After a crash: the newest record that is durable, an installed one or not, has all its pages.
 */
import { HoldfastError, position, sleep } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { LogEngine } from "../log/index.ts";
import type { Flushed, TreeEdit, TreeRoot, TreeSnapshot } from "../tree/index.ts";
import { BegunCollection, collectionRoots, frozenStates, unfinished } from "./begun-collection.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";
import type { CollectionStart, EpochStore } from "./collection-start.ts";
import { FlushedRoots } from "./flushed-roots.ts";
import type { HeldState } from "./held.ts";
import { JobQueue } from "./job-queue.ts";
import type { Pin, Pins } from "./pins.ts";
import type { Beginning, StateSnapshot } from "./state.ts";

export interface CheckpointSource {
  /** The running one. */
  tree(): TreeEdit;
  /** One past the last applied record. */
  position(): number;
  /** Positions of the states that somebody reads at leisure. */
  held(): Iterable<number>;
  /** The running state, frozen. */
  snapshot(): StateSnapshot;
  /** The state of a root that was written, held at its position. */
  at(position: number, root: TreeRoot): HeldState;
  /** The same, not held. */
  atRoot(root: TreeRoot): TreeSnapshot;
  /** Something other than a full disk or a damaged page has kept a checkpoint from being taken: nothing may go on. */
  fail(error: unknown): void;
  /**
   * Completes the state in the tree, says what it is and begins to write it, with nothing applied in between. Undefined
   * when `ready` says in that turn that it must not be yet.
   */
  begin(ready: () => boolean): Promise<Beginning | undefined>;
  /**
   * Opens the state of the record and stops applying, so that the one can take the place of the other. Undefined when the
   * state here is as new.
   */
  prepare(record: CheckpointRecord): Promise<Replacement | undefined>;
}

export interface Replacement {
  /** Snapshots of the new state whose pages are not all here. */
  readonly lackingPins: readonly number[];
  /** The new state is the running one from now on, and applying goes on. */
  finish(): void;
  /** Applying goes on with the old one. */
  abandon(): void;
}

export interface CheckpointPolicy {
  readonly checkpointLogSizeMin?: number;
  readonly checkpointIdleMs?: number;
  readonly dirtySizeMax?: number;
}

export interface CheckpointerParts {
  readonly log: LogEngine;
  readonly checkpoints: CheckpointStore;
  readonly fetching?: CheckpointStore | undefined;
  readonly pins: Pins;
  /** The checkpoints that there are, newest first; of the newest is the running state. */
  readonly kept: readonly [CheckpointRecord, ...CheckpointRecord[]];
}

/** Log growth, in bytes, for which a checkpoint at rest is worth while. */
const idleLogSizeMin = 1_048_576;
/** How long after a failure the next one is tried. */
const retryMs = 10_000;
/** How long a trim may have taken, from its beginning, for which who closes waits. */
const trimGraceMs = 1_000;

export class Checkpointer {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #log: LogEngine;
  readonly #store: CheckpointStore;
  readonly #fetching: CheckpointStore | undefined;
  readonly #pins: Pins;
  readonly #source: CheckpointSource;
  readonly #logSizeMin: number;
  readonly #idleMs: number;
  #last: CheckpointRecord;
  /** The other checkpoint that is kept; the last when there is none. */
  #older: CheckpointRecord;
  /** Of its state, in bytes. That of the present one may grow with the log, and the log never catch up with it. */
  #lastSize: number;
  /** What the last one wrote: its garbage goes when the next is durable. */
  #lastFlushed: Flushed | undefined;
  readonly #jobs = new JobQueue();
  /** The trim under way, since when, and how far the next one goes if there is more to trim by then. */
  #trimming: { readonly over: Promise<void>; readonly sinceMs: number } | undefined;
  #trimTo = 0;
  /** Who holds the blobs. */
  #holderCount = 0;
  readonly #flushed: FlushedRoots;
  #collection: BegunCollection | undefined;
  /** Blobs left to collections, and of these what has been since the last one began. */
  #leftCount = 0;
  #leftSinceCount = 0;
  #pinsQueued = false;
  #pinsTimer: Timer | undefined;
  /** Of the state that was installed last: the tree knows nothing of those who hold states from before. */
  #installedPosition = 0;
  #logSize = 0;
  #idleTimer: Timer | undefined;
  readonly #closing = new AbortController();
  /** After a failure, the next one is not tried by itself before this. */
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  readonly #dirtySizeMax: number;

  constructor(
    env: Pick<Env, "clock" | "logger">,
    parts: CheckpointerParts,
    policy: CheckpointPolicy,
    source: CheckpointSource,
  ) {
    this.#env = env;
    this.#log = parts.log;
    this.#store = parts.checkpoints;
    this.#fetching = parts.fetching;
    this.#pins = parts.pins;
    this.#source = source;
    this.#logSizeMin = policy.checkpointLogSizeMin ?? 33_554_432;
    this.#idleMs = policy.checkpointIdleMs ?? 5_000;
    this.#dirtySizeMax = policy.dirtySizeMax ?? 536_870_912;
    const [last] = parts.kept;
    this.#last = last;
    this.#older = parts.kept[1] ?? last;
    this.#lastSize = source.tree().dataSize;
    // Those beyond the newest two are of snapshots, and known to the pins.
    const newest = parts.kept.slice(0, 2);
    this.#flushed = new FlushedRoots(newest.map((record) => ({ position: record.position, root: rootOf(record) })));
  }

  get last(): CheckpointRecord {
    return this.#last;
  }

  /** About how many blobs wait for a collection; infinite when only a collection can tell. */
  get leftCount(): number {
    return this.#leftCount;
  }

  /** Records were applied; begins a checkpoint when it is due. */
  grown(records: readonly Uint8Array[]): void {
    for (const record of records) this.#logSize += record.length;
    if (this.#closing.signal.aborted) return;
    const due = this.#logSize >= Math.max(this.#logSizeMin, this.#lastSize);
    if (due || this.#source.tree().dirtySize > this.#dirtySizeMax) this.#takeSoon();
    else if (this.#logSize >= idleLogSizeMin) this.#watchIdle();
  }

  /** The checkpoint under way, when so much has changed meanwhile that nothing more should before it is done. */
  get pressing(): Promise<unknown> | undefined {
    return this.#source.tree().dirtySize < this.#dirtySizeMax ? undefined : this.#jobs.working;
  }

  /** One timer at a time; when it fires and the log has grown meanwhile, it is set again. */
  #watchIdle(): void {
    if (this.#idleTimer !== undefined) return;
    const size = this.#logSize;
    this.#idleTimer = this.#env.clock.schedule(this.#idleMs, () => {
      this.#idleTimer = undefined;
      if (this.#closing.signal.aborted || this.#logSize < idleLogSizeMin) return;
      if (this.#logSize === size) this.#takeSoon();
      else this.#watchIdle();
    });
  }

  #takeSoon(): void {
    if (this.#jobs.working !== undefined || this.#env.clock.monotonicMs() < this.#notBeforeMs) return;
    // The log goes on without it; `take` has said what is wrong.
    this.take().catch(() => {});
  }

  /** Takes one, after the one under way. Resolves with the newest when it is durable. */
  take(): Promise<CheckpointRecord> {
    return this.#jobs.run(async () => {
      try {
        return await this.#take();
      } catch (error) {
        this.#notBeforeMs = this.#env.clock.monotonicMs() + retryMs;
        return this.#failed("taking a checkpoint failed", error);
      }
    });
  }

  /** Puts a state whose pages are durable here in the place of the running one, or makes that durable if it is as new. */
  install(record: CheckpointRecord): Promise<void> {
    return this.#jobs.run(async () => {
      if (this.#closing.signal.aborted) throw new HoldfastError("unavailable", "the store is closed");
      try {
        await this.#install(record);
      } catch (error) {
        this.#failed("installing a state failed", error);
      }
    });
  }

  /** From when it resolves until the function that it gives is called, no blob is deleted. */
  async holdBlobs(): Promise<() => void> {
    this.#holderCount++;
    this.#collection?.stop();
    // What deletes already goes on; what begins later does not delete.
    await this.#jobs.working;
    await this.#stopCollection();
    let held = true;
    return () => {
      if (held) this.#holderCount--;
      held = false;
    };
  }

  /** A full disk may have space again and a damaged page may be repaired; of anything else nobody knows the extent. */
  #failed(what: string, error: unknown): never {
    this.#logFailure(what, error);
    throw error;
  }

  #logFailure(what: string, error: unknown): void {
    this.#env.logger.log("error", what, { error: String(error) });
    if (!isPassing(error)) this.#source.fail(error);
  }

  async #take(): Promise<CheckpointRecord> {
    for (;;) {
      await this.#takePins();
      if (this.#source.position() === this.#last.position) return this.#last;
      const size = this.#logSize;
      const beginning = await this.#source.begin(() => this.#pins.waiting === undefined);
      if (beginning === undefined) continue;
      const { dataSize } = this.#source.tree();
      const record = await this.#write(beginning);
      this.#lastSize = dataSize;
      this.#logSize -= size;
      return record;
    }
  }

  async #write({ record: state, flushing }: Beginning): Promise<CheckpointRecord> {
    const startedMs = this.#env.clock.monotonicMs();
    const flushed = await flushing;
    const { hash, seed, count } = flushed.root;
    const record: CheckpointRecord = { ...state, rootHash: hash ?? new Uint8Array(0), seed, count };
    this.#flushed.add({ position: record.position, root: flushed.root });
    const previous = this.#last;
    await this.#save(record);
    await this.#collectObsolete();
    this.#lastFlushed = flushed;
    this.#trim(previous.position);
    this.#env.logger.log("info", "checkpoint", {
      position: record.position,
      revision: record.revision,
      blobs: flushed.blobCount,
      bytes: flushed.blobSize,
      ms: Math.round(this.#env.clock.monotonicMs() - startedMs),
    });
    return record;
  }

  /** The record becomes the last, and the last the older of the two that are kept. */
  async #save(record: CheckpointRecord, lackingPins = this.#pins.lacking): Promise<void> {
    const { position: older } = this.#last;
    await this.#store.save(record, { keep: this.#pins.files(older), lackingPins });
    this.#older = this.#last;
    this.#last = record;
    this.#pins.kept(older);
    this.#forgetFlushed();
  }

  #forgetFlushed(): void {
    this.#flushed.prune([this.#last.position, this.#older.position], this.#source.held());
  }

  /** What is not collected now is when the next is durable: the last flush comes after it. */
  async #collectObsolete(): Promise<void> {
    if (this.#lastFlushed === undefined || this.#holderCount > 0) return;
    const tree = this.#source.tree();
    // Of snapshots the tree does not know, nor of those who read a state from before the installed one.
    const readsOlder = Math.min(...this.#source.held()) < this.#installedPosition;
    if (this.#pins.any || readsOlder) this.#left(tree.forget(this.#lastFlushed));
    else await tree.collect(this.#lastFlushed);
  }

  #left(count: number): void {
    this.#leftCount += count;
    this.#leftSinceCount += count;
  }

  /** A pinned state waits to be written: that begins soon. */
  takePinsSoon(): void {
    if (this.#pinsQueued || this.#pinsTimer !== undefined || this.#closing.signal.aborted) return;
    this.#pinsQueued = true;
    this.#jobs
      .run(async () => {
        this.#pinsQueued = false;
        if (!this.#closing.signal.aborted) await this.#takePins();
      })
      .catch((error: unknown) => this.#pinsFailed(error));
  }

  /** Nobody may have anything applied before there is space, which would lead to the next attempt. */
  #pinsFailed(error: unknown): void {
    this.#logFailure("writing the state of a snapshot failed; it is tried again", error);
    if (this.#closing.signal.aborted) return;
    this.#pinsTimer = this.#env.clock.schedule(retryMs, () => {
      this.#pinsTimer = undefined;
      this.takePinsSoon();
    });
  }

  async #takePins(): Promise<void> {
    for (let pin = this.#pins.waiting; pin !== undefined; pin = this.#pins.waiting) await this.#takePin(pin);
  }

  async #takePin(pin: Pin): Promise<void> {
    const { frozen } = pin;
    if (frozen === undefined) return;
    if (pin.position === this.#last.position) {
      this.#pins.written(pin, rootOf(this.#last));
      return;
    }
    this.#pins.begin(pin);
    try {
      this.#pins.written(pin, rootOf(await this.#write({ record: frozen.record, flushing: frozen.flush() })));
    } catch (error) {
      this.#pins.failed(pin);
      throw error;
    }
  }

  #trim(before: number): void {
    this.#trimTo = Math.max(this.#trimTo, before);
    if (this.#trimming !== undefined || before === 0) return;
    this.#trimming = { over: this.#trimAll(), sinceMs: this.#env.clock.monotonicMs() };
  }

  /** What is not trimmed now is behind a later checkpoint. */
  async #trimAll(): Promise<void> {
    try {
      for (let to = 0; to < this.#trimTo;) {
        to = this.#trimTo;
        await this.#log.trim(position(to));
      }
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#logFailure("trimming the log failed", error);
      else this.#env.logger.log("warn", "the log was not trimmed before closing", { error: String(error) });
    } finally {
      this.#trimming = undefined;
    }
  }

  /** On a full disk the log is not trimmed before there is space again: who closes does not wait for that. */
  async #trimEnds(): Promise<void> {
    if (this.#trimming === undefined) return;
    const { over, sinceMs } = this.#trimming;
    const graceMs = sinceMs + trimGraceMs - this.#env.clock.monotonicMs();
    if (graceMs <= 0) return;
    const enough = new AbortController();
    await Promise.race([over, sleep(this.#env.clock, graceMs, enough.signal)]);
    enough.abort();
  }

  async #install(record: CheckpointRecord): Promise<void> {
    if (record.position <= this.#last.position) return;
    await this.#stopCollection();
    const replacement = await this.#source.prepare(record);
    if (replacement === undefined) {
      // As new, but in memory.
      await this.#take();
      return;
    }
    try {
      // Nothing is applied any more, so these are all; the new state may have them without their roots.
      await this.#takePins();
      await this.#save(record, replacement.lackingPins);
    } catch (error) {
      replacement.abandon();
      throw error;
    }
    this.#flushed.add({ position: record.position, root: rootOf(record) });
    this.#lastFlushed = undefined;
    this.#logSize = 0;
    this.#leftCount = Number.POSITIVE_INFINITY;
    this.#installedPosition = record.position;
    replacement.finish();
    this.#lastSize = this.#source.tree().dataSize;
    const { position: at, revision } = record;
    this.#env.logger.log("info", "took over a newer state from the other members", { position: at, revision });
  }

  /**
   * Begins a collection, also on a full disk. Undefined when there must not be one now: somebody holds the blobs, or there
   * is one. `corrupt` or `notFound` when a page is damaged.
   */
  beginCollection(stores: readonly EpochStore[]): Promise<CollectionStart | undefined> {
    return this.#jobs.run(async () => {
      const fetching = await unfinished(this.#fetching, this.#last);
      await this.#takePinsForCollection();
      const refused = this.#holderCount > 0 || this.#collection !== undefined || this.#closing.signal.aborted;
      return refused ? undefined : this.#begin(stores, fetching);
    });
  }

  /** States that wait are read under their roots, which costs less; on a full disk as they are, for this frees space. */
  async #takePinsForCollection(): Promise<void> {
    try {
      while (this.#pins.waiting !== undefined) await this.#takePins();
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "exhausted") throw error;
      this.#env.logger.log("warn", "the state of a snapshot cannot be written before there is space", {
        error: error.message,
      });
    }
  }

  #begin(stores: readonly EpochStore[], fetching: readonly TreeRoot[]): BegunCollection {
    const { whole, partial } = this.#pins.roots();
    this.#forgetFlushed();
    this.#leftSinceCount = 0;
    const collection: BegunCollection = new BegunCollection({
      roots: collectionRoots(this.#source, this.#flushed.all, whole),
      frozen: frozenStates(this.#pins),
      older: {
        revision: this.#older.revision,
        root: rootOf(this.#older),
        held: this.#source.at(this.#older.position, rootOf(this.#older)),
      },
      partial: [...partial, ...fetching],
      state: this.#source.snapshot(),
      epochs: stores.map((store) => store.beginEpoch()),
      onSwept: () => {
        if (this.#collection === collection) this.#leftCount = this.#leftSinceCount;
      },
      onRelease: () => {
        if (this.#collection === collection) this.#collection = undefined;
      },
    });
    this.#collection = collection;
    return collection;
  }

  /** Resolves when nothing is deleted any more by the collection that there is. */
  async #stopCollection(): Promise<void> {
    this.#collection?.stop();
    await this.#collection?.over;
  }

  /** The state is no longer to be trusted: none is taken any more. */
  stop(): void {
    this.#closing.abort();
    this.#idleTimer?.cancel();
    this.#pinsTimer?.cancel();
    this.#collection?.stop();
    this.#pins.close();
  }

  /** Waits for the one under way. With `last`, takes one more if the next start would have much to apply again. */
  async close(last: boolean): Promise<void> {
    this.stop();
    await this.#jobs.working;
    if (last && this.#logSize >= idleLogSizeMin) {
      this.#takeSoon();
      await this.#jobs.working;
    }
    await this.#trimEnds();
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof HoldfastError && ["exhausted", "corrupt", "notFound"].includes(error.code);
}
