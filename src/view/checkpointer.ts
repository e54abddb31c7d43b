/**
 * When checkpoints are taken, and what happens then, in this order: the whole state is put in the tree and frozen; its
 * changed pages are written and synced; the checkpoint's record is made durable; pages that neither this checkpoint nor
 * the one before needs are deleted, and the log is trimmed to the one before.
 *
 * Installing a state that other members have made: its pages are here and durable; its record is made durable, and then
 * it takes the place of the running state. What only the old one needed is deleted behind the next checkpoint. Whoever
 * brings the pages holds the blobs from before the first until the state is installed, so that nothing is deleted that
 * was here already and is counted on.
 *
 * Invariants:
 *  1. One checkpoint is taken, or one state installed, at a time.
 *  2. Blobs are deleted only when a checkpoint has become durable, before the next is begun, and while nobody holds them.
 *
 * After a crash: the newest record that is durable, an installed one or not, has all its pages.
 */
import { abortable, HoldfastError, position, sleep } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import type { LogEngine } from "../log/index.ts";
import type { Flushed, TreeEdit } from "../tree/index.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";
import { sweep } from "./sweep.ts";

export interface CheckpointSource {
  /** The running one. */
  tree(): TreeEdit;
  /** One past the last applied record. */
  position(): number;
  /** The position of the oldest state that somebody reads at leisure; infinite when there is none. */
  oldestHeld(): number;
  /** Something other than a full disk or a damaged page has kept a checkpoint from being taken: nothing may go on. */
  fail(error: unknown): void;
  /** Completes the state in the tree, says what it is and begins to write it, with nothing applied in between. */
  begin(): Promise<Beginning>;
  /**
   * Opens the state of the record and stops applying, so that the one can take the place of the other. Undefined when the
   * state here is as new.
   */
  prepare(record: CheckpointRecord): Promise<Replacement | undefined>;
}

export interface Replacement {
  /** The new state is the running one from now on, and applying goes on. */
  finish(): void;
  /** Applying goes on with the old one. */
  abandon(): void;
}

export interface Beginning {
  readonly state: Pick<CheckpointRecord, "position" | "revision" | "timeMs">;
  readonly flushing: Promise<Flushed>;
}

export interface CheckpointPolicy {
  readonly checkpointLogSizeMin?: number;
  readonly checkpointIdleMs?: number;
  readonly dirtySizeMax?: number;
}

/** Log growth, in bytes, for which a checkpoint at rest is worth while. */
const idleLogSizeMin = 1_048_576;
/** How long after a failure the next one is tried. */
const retryMs = 10_000;
/** How long the log may take to be trimmed when nothing is to be taken any more. */
const trimGraceMs = 1_000;

export class Checkpointer {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #log: LogEngine;
  readonly #store: CheckpointStore;
  readonly #blobs: BlobStore;
  readonly #source: CheckpointSource;
  readonly #logSizeMin: number;
  readonly #idleMs: number;
  #last: CheckpointRecord;
  /** Of its state, in bytes. That of the present one may grow with the log, and the log never catch up with it. */
  #lastSize: number;
  /** What the last one wrote: its garbage goes when the next is durable. */
  #lastFlushed: Flushed | undefined;
  /** The last job that is under way or waits for those before it. */
  #working: Promise<unknown> | undefined;
  /** Who holds the blobs. */
  #holderCount = 0;
  /** There may be blobs of which the tree does not know that nothing needs them. */
  #sweepDue = false;
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
    parts: { readonly log: LogEngine; readonly blobs: BlobStore; readonly checkpoints: CheckpointStore },
    policy: CheckpointPolicy,
    last: CheckpointRecord,
    source: CheckpointSource,
  ) {
    this.#env = env;
    this.#log = parts.log;
    this.#store = parts.checkpoints;
    this.#blobs = parts.blobs;
    this.#source = source;
    this.#logSizeMin = policy.checkpointLogSizeMin ?? 33_554_432;
    this.#idleMs = policy.checkpointIdleMs ?? 5_000;
    this.#dirtySizeMax = policy.dirtySizeMax ?? 536_870_912;
    this.#last = last;
    this.#lastSize = source.tree().dataSize;
  }

  get last(): CheckpointRecord {
    return this.#last;
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
    if (this.#working === undefined || this.#source.tree().dirtySize < this.#dirtySizeMax) return undefined;
    return this.#working.catch(() => {});
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
    if (this.#working !== undefined || this.#env.clock.monotonicMs() < this.#notBeforeMs) return;
    // The log goes on without it; `take` has said what is wrong.
    this.take().catch(() => {});
  }

  /** Takes one, after the one under way. Resolves with the newest when it is durable. */
  take(): Promise<CheckpointRecord> {
    return this.#enqueue(async () => {
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
    return this.#enqueue(async () => {
      if (this.#closing.signal.aborted) throw new HoldfastError("unavailable", "the store is closed");
      try {
        await this.#install(record);
      } catch (error) {
        this.#failed("installing a state failed", error);
      }
    });
  }

  /** Jobs run one after another, whatever becomes of each. */
  #enqueue<T>(job: () => Promise<T>): Promise<T> {
    const before = this.#working ?? Promise.resolve();
    const working = before.then(job, job);
    this.#working = working;
    const done = () => {
      if (this.#working === working) this.#working = undefined;
    };
    working.then(done, done);
    return working;
  }

  /** From when it resolves until the function that it gives is called, no blob is deleted. */
  async holdBlobs(): Promise<() => void> {
    this.#holderCount++;
    // What deletes already goes on; what begins later does not delete.
    await this.#working?.catch(() => {});
    let held = true;
    return () => {
      if (held) this.#holderCount--;
      held = false;
    };
  }

  /** A full disk may have space again and a damaged page may be repaired; of anything else nobody knows the extent. */
  #failed(what: string, error: unknown): never {
    this.#env.logger.log("error", what, { error: String(error) });
    if (!isPassing(error)) this.#source.fail(error);
    throw error;
  }

  async #take(): Promise<CheckpointRecord> {
    const tree = this.#source.tree();
    const startedMs = this.#env.clock.monotonicMs();
    const size = this.#logSize;
    if (this.#source.position() === this.#last.position) return this.#last;
    const { state, flushing } = await this.#source.begin();
    const { dataSize } = tree;
    const flushed = await flushing;
    const { hash, seed, count } = flushed.root;
    const record: CheckpointRecord = { ...state, rootHash: hash ?? new Uint8Array(0), seed, count };
    await this.#store.save(record);
    const previous = this.#last;
    this.#last = record;
    this.#lastSize = dataSize;
    this.#logSize -= size;
    // What is not collected now is when the next is durable: `flushed` comes after it.
    if (this.#lastFlushed !== undefined && this.#treeKnowsHolders) await tree.collect(this.#lastFlushed);
    this.#lastFlushed = flushed;
    await this.#trim(previous.position);
    this.#env.logger.log("info", "checkpoint", {
      position: record.position,
      revision: record.revision,
      blobs: flushed.blobCount,
      bytes: flushed.blobSize,
      ms: Math.round(this.#env.clock.monotonicMs() - startedMs),
    });
    if (this.#sweepDue) await this.#sweep([record, previous]);
    return record;
  }

  /** Of those who hold the blobs, or a state from before the installed one, it does not: it would delete what they need. */
  get #treeKnowsHolders(): boolean {
    if (this.#holderCount > 0) return false;
    return !this.#sweepDue || this.#source.oldestHeld() >= this.#installedPosition;
  }

  /** On a full disk the log is not trimmed before there is space again: who closes does not wait for that. */
  async #trim(before: number): Promise<void> {
    const trimming = this.#log.trim(position(before));
    const { signal } = this.#closing;
    try {
      await abortable(trimming, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      const enough = new AbortController();
      const grace = sleep(this.#env.clock, trimGraceMs, enough.signal);
      // The checkpoint is durable. The log is trimmed behind a later one instead.
      await Promise.race([trimming, grace]).catch((reason: unknown) =>
        this.#env.logger.log("warn", "the log was not trimmed before closing", { error: String(reason) }),
      );
      enough.abort();
    }
  }

  /**
   * Deletes what the two checkpoints that are kept do without. Nobody may need anything else: what is held must be no
   * older than they are, and what has changed since is in memory until the next one is taken.
   */
  async #sweep(kept: readonly [CheckpointRecord, CheckpointRecord]): Promise<void> {
    if (this.#holderCount > 0 || this.#source.oldestHeld() < kept[1].position) return;
    try {
      await sweep(this.#env, this.#blobs, kept);
      this.#sweepDue = false;
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#env.logger.log(
        "error",
        "deleting what nothing needs failed; it is tried again behind the next checkpoint",
        {
          error: String(error),
        },
      );
    }
  }

  async #install(record: CheckpointRecord): Promise<void> {
    if (record.position <= this.#last.position) return;
    const replacement = await this.#source.prepare(record);
    if (replacement === undefined) {
      // As new, but in memory.
      await this.#take();
      return;
    }
    try {
      await this.#store.save(record);
    } catch (error) {
      replacement.abandon();
      throw error;
    }
    this.#last = record;
    this.#lastFlushed = undefined;
    this.#logSize = 0;
    this.#sweepDue = true;
    this.#installedPosition = record.position;
    replacement.finish();
    this.#lastSize = this.#source.tree().dataSize;
    const { position: at, revision } = record;
    this.#env.logger.log("info", "took over a newer state from the other members", { position: at, revision });
  }

  /** The state is no longer to be trusted: none is taken any more. */
  stop(): void {
    this.#closing.abort();
    this.#idleTimer?.cancel();
  }

  /** Waits for the one under way. With `last`, takes one more if the next start would have much to apply again. */
  async close(last: boolean): Promise<void> {
    this.stop();
    await this.#working?.catch(() => {});
    if (!last || this.#logSize < idleLogSizeMin) return;
    this.#takeSoon();
    await this.#working?.catch(() => {});
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof HoldfastError && ["exhausted", "corrupt", "notFound"].includes(error.code);
}
