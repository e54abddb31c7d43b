/**
 * Collects garbage on one member, in the background, by marking and sweeping: tree pages that no kept state needs, and
 * chunks that no file of such a state needs. It reads, marks and deletes in slices of a few milliseconds while everything
 * else goes on. No clock decides what may go, only what the log says and in which order things happened here.
 *
 * One collection: two checkpoints, unless both that are kept have the present state already, so that neither keeps what was
 * forgotten; begin (`Replica.beginCollection`: in one turn the next epoch of both stores begins, the running state is
 * frozen, and what else is kept is written down); mark; sweep what is unmarked and of an epoch before the bound.
 *
 * Why nothing is lost that is needed. Let f be the frozen state.
 *  1. Pages. What a kept checkpoint, a snapshot, a reader or the running state has in the store when the collection begins is
 *     marked; what a flush puts later, found or not, has the new epoch. So the bound of pages is the new epoch. Whoever
 *     counts on other pages (a state being fetched) stops the collection first.
 *  2. Chunks of f and of snapshots are marked. A later state has a chunk from f or a snapshot (copies and restores name
 *     what is there when they are applied), or by a put that names an upload which lasts when it is applied.
 *  3. Such an upload began at a revision r. Its chunks were put or touched on this member when it had reached r. Did the
 *     collection begin before r, they have its epoch or a later one. Else the upload is alive in f, since it lasts still: the
 *     bound is then the newest epoch that began before r, here at a revision below r, and they have that or a later one.
 *     An epoch that began at r itself does not do: they may be of the one before.
 *  4. A member that starts again has forgotten epochs. All that it finds has epoch 1, which counts as begun at revision 0:
 *     while an upload from before lasts nothing is swept. That it lasts may stand in a part of the log that is not applied
 *     here yet; so no collection begins before everything is applied that was acknowledged anywhere (`linearize`).
 *  5. A member that did not take part in an upload touches the chunks when the put is applied, and fetches those that it
 *     lacks then. Sweep and touch each decide in one turn: what was swept before is fetched, what is touched before stays.
 *  6. A state whose pages are here in part has files nobody here knows of: meanwhile no chunk is swept. The same when a
 *     list of chunks is missing that f or a snapshot needs, since what is below it is unknown. When a page is missing nothing
 *     is swept at all. Each is logged by name, and goes on when it is repaired, or what needs it deleted.
 *
 * The tail of the log. A crash leads back to a kept checkpoint C, whose files' chunks are marked too, and the log behind it
 * is applied again. States between C and f may name chunks that are gone: what was put and forgotten again in between. They
 * need no protection: f is applied and acknowledged, so that every start comes to f or a later state before it is linearizable
 * anew; until then a local read may find an old file without its chunks (`notFound`). A checkpoint or a deleted snapshot on
 * the way may name them too: so nothing is reported missing, and nothing held up, for the sake of a checkpoint. Commands not
 * applied at f are under 2 and 3. A snapshot made in between and still there is one of f.
 *
 * Why nothing stays for ever. Every put ends up under an older epoch than the next collection's, and uploads end with their
 * leases. Collections begin by themselves: a while after the start; when versions were forgotten, snapshots deleted or
 * uploads ended, as long as the older kept checkpoint does not know it; when the stores have grown much; and now and then as long
 * as anything changes. On a quiet store they cease when all that can go is gone.
 * After each there is a pause that grows with its length, so that it takes a bounded share of the disk.
 *
 * After a crash: a collection leaves nothing behind but what it has swept, of which some may be back.
 */
import { abortable, abortError, asHoldfastError, equalBytes, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { Timer } from "../base/index.ts";
import type { CollectionStart } from "./collection-start.ts";
import { EpochBook } from "./collector-epochs.ts";
import { follow } from "./collector-progress.ts";
import type { Report } from "./collector-progress.ts";
import type { MissingBlob } from "./collector-marks.ts";
import { Collection, none } from "./collector-run.ts";
import type { CollectionProgress, CollectionStores, CollectorEnv, Found } from "./collector-run.ts";
import { garbageSign } from "./collector-sign.ts";
import type { GarbageSign } from "./collector-sign.ts";
import { JobQueue } from "./job-queue.ts";
import type { Replica } from "./replica.ts";

export interface CollectorParts extends CollectionStores {
  readonly replica: Pick<
    Replica,
    "applied" | "beginCollection" | "checkpoint" | "leftCount" | "linearize" | "propose" | "revision" | "snapshot"
  >;
  /**
   * Brings back a blob that is needed and missing or damaged here, from another member; says whether it has. Called for
   * each, one after another, when the collection is over.
   */
  readonly repair?: ((missing: MissingBlob, signal: AbortSignal) => Promise<boolean>) | undefined;
  /** Bytes that both stores take now: growth is a reason to collect. */
  readonly size?: (() => number) | undefined;
}

export interface CollectorOptions {
  /** Bytes a second that marking reads at most; default 64 MiB. */
  readonly rate?: number | undefined;
  /** When the first collection begins by itself, after the start. Default 60,000; infinite: none does by itself. */
  readonly startMs?: number | undefined;
  /** How often it is looked whether one is worth while. Default 60,000. */
  readonly lookMs?: number | undefined;
  /** Pause after one before the next begins because something was forgotten. Default 600,000. */
  readonly pauseMs?: number | undefined;
  /** Pause when anything at all has changed. Default 21,600,000. */
  readonly quietPauseMs?: number | undefined;
}

export interface CollectionOptions {
  /** Says what would go, and lets it stay. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

const defaults = { rate: 67_108_864, startMs: 60_000, lookMs: 60_000, pauseMs: 600_000, quietPauseMs: 21_600_000 };
/** Of all time, the part that collections that begin by themselves take at most: one in so many. */
const shareOfTime = 20;
/** Growth of the stores that is reason enough: half of what they had, and so much. */
const growthSizeMin = 268_435_456;
/** Pages that the tree has left to a collection which are reason enough. */
const leftCountMin = 16_384;
/** When a collection did not come to its end, the next is tried after this, or later if it took long. */
const retryMs = 60_000;

/**
 * How things were in the older kept checkpoint when a collection began: what was forgotten after that one was still kept. And
 * whether it has left chunks that it does not know to be needed.
 */
interface Collected extends GarbageSign {
  readonly revision: number;
  /** Of the stores, when it began. */
  readonly size: number;
  readonly kept: boolean;
}

const nothingYet: CollectionProgress = {
  phase: "begin",
  dryRun: false,
  pages: none,
  chunks: none,
  missing: [],
  missingCount: 0,
  uploadCount: 0,
  kept: undefined,
};

export class Collector {
  readonly #env: CollectorEnv;
  readonly #parts: CollectorParts;
  readonly #options: typeof defaults;
  readonly #epochs = new EpochBook();
  readonly #closing = new AbortController();
  readonly #jobs = new JobQueue();
  #timer: Timer | undefined;
  /** On the monotonic clock. */
  #endedMs = Number.NEGATIVE_INFINITY;
  #tookMs = 0;
  /** When looking, or the collection that followed from it, failed last. */
  #failedMs = Number.NEGATIVE_INFINITY;
  /** As they were when the last complete collection began; undefined before the first. */
  #collected: Collected | undefined;
  /** Why the last one has left chunks: the log says it once. */
  #kept: string | undefined;

  constructor(env: CollectorEnv, parts: CollectorParts, options: CollectorOptions = {}) {
    this.#env = env;
    this.#parts = parts;
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...defaults, ...Object.fromEntries(given) };
    if (Number.isFinite(this.#options.startMs)) this.#look(this.#options.startMs);
  }

  /**
   * Collects now, after the one under way; gives how it goes, as it is now, whenever that has changed. The last one has phase
   * `done`. Leaving the loop ends the collection, and what was swept is gone. `unavailable` when the log does not answer,
   * when a newer state is being taken over, or a page is missing; `cancelled` or `timeout` when `signal` aborts.
   */
  collect({ dryRun = false, signal }: CollectionOptions = {}): AsyncGenerator<CollectionProgress, void, undefined> {
    return follow({ ...nothingYet, dryRun }, [signal, this.#closing.signal], (report, ended) =>
      this.#jobs.run(() => this.#collect(dryRun, ended, report), ended),
    );
  }

  /** Ends the one under way. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#timer?.cancel();
    await this.#jobs.working;
  }

  #look(delayMs: number): void {
    if (this.#closing.signal.aborted) return;
    this.#timer = this.#env.clock.schedule(delayMs, () => {
      this.#jobs
        .run(() => this.#collectIfWorthWhile())
        .catch((error: unknown) => {
          this.#failedMs = this.#env.clock.monotonicMs();
          if (this.#closing.signal.aborted) return;
          const passing = error instanceof HoldfastError && ["unavailable", "timeout"].includes(error.code);
          this.#env.logger.log(passing ? "info" : "error", "collecting garbage did not end; it is tried again", {
            error: String(error),
          });
        })
        .finally(() => this.#look(this.#options.lookMs))
        .catch(() => {});
    });
  }

  async #collectIfWorthWhile(): Promise<void> {
    const { signal } = this.#closing;
    if (!(await this.#isWorthWhile(signal))) return;
    await this.#collect(false, signal, () => {});
  }

  async #isWorthWhile(signal: AbortSignal): Promise<boolean> {
    const { replica, size } = this.#parts;
    const { pauseMs, quietPauseMs } = this.#options;
    const nowMs = this.#env.clock.monotonicMs();
    const restedMs = nowMs - this.#endedMs;
    if (nowMs - this.#failedMs < retryMs || restedMs < shareOfTime * this.#tookMs) return false;
    // What the process before has left.
    if (this.#collected === undefined) return true;
    if (restedMs < pauseMs) return false;
    const { revision, forgotten, versionCount, size: before, kept } = this.#collected;
    const now = await this.#sign(signal);
    if (now.forgotten !== forgotten || replica.leftCount >= leftCountMin) return true;
    // Forgetting versions is no new revision, and anything that makes new ones is.
    if (replica.revision === revision && now.versionCount < versionCount) return true;
    if (replica.revision === revision && !kept) return false;
    return restedMs >= quietPauseMs || (size?.() ?? 0) - before >= Math.max(growthSizeMin, before / 2);
  }

  async #sign(signal: AbortSignal): Promise<GarbageSign> {
    const state = this.#parts.replica.snapshot();
    try {
      return await garbageSign(state.tree, signal);
    } finally {
      state.release();
    }
  }

  async #collect(dryRun: boolean, signal: AbortSignal, report: Report<CollectionProgress>): Promise<void> {
    const { replica, repair, size } = this.#parts;
    const beganMs = this.#env.clock.monotonicMs();
    throwIfAborted(signal);
    let found: Found = { missing: [], kept: undefined };
    try {
      // Invariant 4.
      await replica.linearize(signal);
      const start = await this.#beginSettled(signal);
      try {
        const ended = AbortSignal.any([signal, start.signal]);
        const collection = new Collection(this.#env, this.#parts, this.#epochs, start, ended, this.#options.rate);
        found = await collection.run(dryRun, report);
        this.#sayKept(found.kept);
        if (!dryRun) {
          const { revision, tree } = start.older;
          const sign = await garbageSign(tree, signal);
          this.#collected = { revision, ...sign, size: size?.() ?? 0, kept: found.kept !== undefined };
        }
      } catch (error) {
        // Somebody needs the blobs more; or it is the caller's own doing.
        if (start.signal.aborted && !signal.aborted) throw busyError();
        throw error;
      } finally {
        start.release();
      }
    } finally {
      this.#endedMs = this.#env.clock.monotonicMs();
      this.#tookMs = this.#endedMs - beganMs;
    }
    if (!dryRun && repair !== undefined) await this.#repair(found.missing, repair, signal);
    report({ phase: "done" });
  }

  /**
   * Begins when both kept checkpoints are of the present state, or of what it was a moment ago: all that was forgotten by
   * then can go, also on a store to which nobody writes any more. Two checkpoints differ in their positions, so an empty
   * command is put between them where nothing else is.
   */
  async #beginSettled(signal: AbortSignal): Promise<CollectionStart> {
    const { replica } = this.#parts;
    try {
      const { position, rootHash } = await abortable(replica.checkpoint(), signal);
      const start = await this.#begin(signal);
      if (equalBytes(start.older.root.hash ?? new Uint8Array(0), rootHash)) return start;
      start.release();
      if (replica.applied <= position) await replica.propose([], { signal });
      await abortable(replica.checkpoint(), signal);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "exhausted") throw error;
      // A collection is what frees space. What the checkpoints keep goes with one of the next.
      this.#env.logger.log("warn", "no checkpoint can be taken before garbage is collected", { error: error.message });
    }
    return this.#begin(signal);
  }

  /** Who leaves does not wait for the checkpoint under way: what begins after that is over at once. */
  async #begin(signal: AbortSignal): Promise<CollectionStart> {
    const { replica, pages, chunks } = this.#parts;
    const beginning = replica.beginCollection([pages, chunks]);
    let start: CollectionStart | undefined;
    try {
      start = await abortable(beginning, signal);
    } catch (error) {
      beginning.then((late) => late?.release()).catch(() => {});
      throw error;
    }
    if (start === undefined) throw busyError();
    const [, chunkEpoch] = start.epochs;
    if (chunkEpoch !== undefined) this.#epochs.began(chunkEpoch, start.state.revision);
    return start;
  }

  #sayKept(kept: string | undefined): void {
    if (kept !== undefined && kept !== this.#kept) {
      this.#env.logger.log("warn", "no chunk is deleted before this has changed", { reason: kept });
    }
    this.#kept = kept;
  }

  async #repair(
    missing: readonly MissingBlob[],
    repair: NonNullable<CollectorParts["repair"]>,
    signal: AbortSignal,
  ): Promise<void> {
    let repairedCount = 0;
    for (const each of missing) {
      throwIfAborted(signal);
      try {
        if (await repair(each, signal)) repairedCount++;
      } catch (error) {
        if (signal.aborted) throw abortError(signal);
        const { code, message } = asHoldfastError(error);
        // Of one that nobody has the next may still be there; when nobody answers it is tried again at the next collection.
        this.#env.logger.log("warn", "a blob that is needed could not be brought back", { error: message });
        if (code !== "notFound" && code !== "corrupt") return;
      }
    }
    if (repairedCount > 0) {
      this.#env.logger.log("info", "brought back blobs that were missing or damaged", { count: repairedCount });
    }
  }
}

function busyError(): HoldfastError {
  return new HoldfastError(
    "unavailable",
    "no garbage is collected while a newer state is taken over from other members; try again when that is done",
  );
}
