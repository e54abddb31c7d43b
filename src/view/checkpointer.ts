/**
 * When checkpoints are taken, and what happens then, in this order: the whole state is put in the tree and frozen; its
 * changed pages are written and synced; the checkpoint's record is made durable; pages that neither this checkpoint nor
 * the one before needs are deleted, and the log is trimmed to the one before.
 */
import { HoldfastError, position } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { LogEngine } from "../log/index.ts";
import type { Flushed, TreeEdit } from "../tree/index.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";

export interface CheckpointSource {
  readonly tree: TreeEdit;
  /** One past the last applied record. */
  position(): number;
  /** Something other than a full disk or a damaged page has kept a checkpoint from being taken: nothing may go on. */
  fail(error: unknown): void;
  /** Completes the state in the tree, says what it is and begins to write it, with nothing applied in between. */
  begin(): Promise<Beginning>;
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

export class Checkpointer {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #log: LogEngine;
  readonly #store: CheckpointStore;
  readonly #source: CheckpointSource;
  readonly #logSizeMin: number;
  readonly #idleMs: number;
  #last: CheckpointRecord;
  /** Of its state, in bytes. That of the present one may grow with the log, and the log never catch up with it. */
  #lastSize: number;
  /** What the last one wrote: its garbage goes when the next is durable. */
  #lastFlushed: Flushed | undefined;
  #taking: Promise<CheckpointRecord> | undefined;
  #logSize = 0;
  #idleTimer: Timer | undefined;
  #closed = false;
  /** After a failure, the next one is not tried by itself before this. */
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  readonly #dirtySizeMax: number;

  constructor(
    env: Pick<Env, "clock" | "logger">,
    parts: { readonly log: LogEngine; readonly checkpoints: CheckpointStore },
    policy: CheckpointPolicy,
    last: CheckpointRecord,
    source: CheckpointSource,
  ) {
    this.#env = env;
    this.#log = parts.log;
    this.#store = parts.checkpoints;
    this.#source = source;
    this.#logSizeMin = policy.checkpointLogSizeMin ?? 33_554_432;
    this.#idleMs = policy.checkpointIdleMs ?? 5_000;
    this.#dirtySizeMax = policy.dirtySizeMax ?? 536_870_912;
    this.#last = last;
    this.#lastSize = source.tree.dataSize;
  }

  get last(): CheckpointRecord {
    return this.#last;
  }

  /** Records were applied; begins a checkpoint when it is due. */
  grown(records: readonly Uint8Array[]): void {
    for (const record of records) this.#logSize += record.length;
    if (this.#closed) return;
    const due = this.#logSize >= Math.max(this.#logSizeMin, this.#lastSize);
    if (due || this.#source.tree.dirtySize > this.#dirtySizeMax) this.#takeSoon();
    else if (this.#logSize >= idleLogSizeMin) this.#watchIdle();
  }

  /** The checkpoint under way, when so much has changed meanwhile that nothing more should before it is done. */
  get pressing(): Promise<unknown> | undefined {
    if (this.#taking === undefined || this.#source.tree.dirtySize < this.#dirtySizeMax) return undefined;
    return this.#taking.catch(() => {});
  }

  /** One timer at a time; when it fires and the log has grown meanwhile, it is set again. */
  #watchIdle(): void {
    if (this.#idleTimer !== undefined) return;
    const size = this.#logSize;
    this.#idleTimer = this.#env.clock.schedule(this.#idleMs, () => {
      this.#idleTimer = undefined;
      if (this.#closed || this.#logSize < idleLogSizeMin) return;
      if (this.#logSize === size) this.#takeSoon();
      else this.#watchIdle();
    });
  }

  #takeSoon(): void {
    if (this.#taking !== undefined || this.#env.clock.monotonicMs() < this.#notBeforeMs) return;
    // The log goes on without it; `take` has said what is wrong.
    this.take().catch(() => {});
  }

  /** Takes one, after the one under way. Resolves with the newest when it is durable. */
  take(): Promise<CheckpointRecord> {
    const before = this.#taking ?? Promise.resolve();
    const take = () => this.#take().catch((error: unknown) => this.#failed(error));
    const taking = before.then(take, take);
    this.#taking = taking;
    const done = () => {
      if (this.#taking === taking) this.#taking = undefined;
    };
    taking.then(done, done);
    return taking;
  }

  /** A full disk may have space again and a damaged page may be repaired; of anything else nobody knows the extent. */
  #failed(error: unknown): never {
    const { clock, logger } = this.#env;
    logger.log("error", "taking a checkpoint failed", { error: String(error) });
    this.#notBeforeMs = clock.monotonicMs() + retryMs;
    const passing = error instanceof HoldfastError && ["exhausted", "corrupt", "notFound"].includes(error.code);
    if (!passing) this.#source.fail(error);
    throw error;
  }

  async #take(): Promise<CheckpointRecord> {
    const { tree } = this.#source;
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
    if (this.#lastFlushed !== undefined) await tree.collect(this.#lastFlushed);
    this.#lastFlushed = flushed;
    await this.#log.trim(position(previous.position));
    this.#env.logger.log("info", "checkpoint", {
      position: record.position,
      revision: record.revision,
      blobs: flushed.blobCount,
      bytes: flushed.blobSize,
      ms: Math.round(this.#env.clock.monotonicMs() - startedMs),
    });
    return record;
  }

  /** The state is no longer to be trusted: none is taken any more. */
  stop(): void {
    this.#closed = true;
    this.#idleTimer?.cancel();
  }

  /** Waits for the one under way. With `last`, takes one more if the next start would have much to apply again. */
  async close(last: boolean): Promise<void> {
    this.stop();
    await this.#taking?.catch(() => {});
    if (!last || this.#logSize < idleLogSizeMin) return;
    this.#takeSoon();
    await this.#taking?.catch(() => {});
  }
}
