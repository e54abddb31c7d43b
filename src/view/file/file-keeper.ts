/**
 * Looks after what is past its time, on the primary of a store's members: proposes to forget old versions of files, bucket
 * by bucket in small commands. What may go is judged in `apply`, in store time.
 */
import type { Env, Timer } from "../../base/index.ts";
import { PageMissing } from "../../tree/index.ts";
import { accepted, operation } from "../command.ts";
import type { HeldState } from "../held.ts";
import type { Replica } from "../replica.ts";
import { decodeBucket } from "./bucket-state.ts";
import type { FileOperation, FileResult } from "./file-operation.ts";
import type { FileView } from "./file-view.ts";
import { agingAfter, bucketKey, bucketOfAging, supersedingOf } from "./layout.ts";
import { isDue } from "./version-sweep.ts";

/** How often it looks. */
const intervalMs = 5_000;
/** Versions that one command forgets: a few milliseconds of work. */
const sweepCount = 256;
/** Buckets of one look; the next one goes on behind them. */
const bucketCountMax = 256;

export class FileKeeper {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #replica: Replica;
  readonly #view: FileView;
  #timer: Timer | undefined;
  #working: Promise<void> = Promise.resolve();
  /** The last bucket that was looked at; undefined: it begins with the first. */
  #last: string | undefined;
  readonly #closing = new AbortController();

  constructor(env: Pick<Env, "clock" | "logger">, replica: Replica, view: FileView) {
    this.#env = env;
    this.#replica = replica;
    this.#view = view;
    this.#watch();
  }

  #watch(): void {
    if (this.#closed) return;
    this.#timer = this.#env.clock.schedule(intervalMs, () => {
      // That another member does it is seen at the next look: a command too many does no harm.
      if (!this.#replica.isPrimary) return this.#watch();
      this.#working = this.sweep()
        .catch((error: unknown) => {
          if (this.#closed) return;
          const what = "forgetting old versions of files failed; it is tried again";
          this.#env.logger.log("warn", what, { error: String(error) });
        })
        .then(() => this.#watch());
    });
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** One look, and what it finds to do. */
  async sweep(): Promise<void> {
    const { tree, release } = this.#replica.snapshot();
    let buckets: string[];
    try {
      buckets = await this.#dueBuckets(tree, this.#replica.nowMs);
    } finally {
      release();
    }
    for (const bucket of buckets) await this.#sweepBucket(bucket);
  }

  async #sweepBucket(bucket: string): Promise<void> {
    let count = sweepCount;
    while (count === sweepCount && !this.#closed && this.#replica.isPrimary) {
      count = await this.#propose(bucket);
    }
  }

  /** Buckets whose oldest version is due. */
  async #dueBuckets(tree: HeldState["tree"], nowMs: number): Promise<string[]> {
    const due: string[] = [];
    for (let count = 0; count < bucketCountMax; count++) {
      const oldest = await firstEntry(tree, agingAfter(this.#last));
      this.#last = oldest === undefined ? undefined : bucketOfAging(oldest.key);
      if (oldest === undefined || this.#last === undefined) break;
      const stored = await tree.get(bucketKey(this.#last));
      const bucket = stored === undefined ? undefined : decodeBucket(stored);
      if (isDue(bucket, supersedingOf(oldest.key), oldest.value, nowMs)) due.push(this.#last);
    }
    return due;
  }

  async #propose(bucket: string): Promise<number> {
    const { signal } = this.#closing;
    const body: FileOperation = { operation: { case: "sweep", value: { bucket, limit: sweepCount } } };
    const outcome = accepted(await this.#replica.propose([operation(this.#view, body)], { signal }));
    const { result } = outcome.results[0] as FileResult;
    return result?.case === "sweep" ? (result.value.count ?? 0) : 0;
  }

  /** Does not wait for a step under way: the others that it may need may not be there. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#timer?.cancel();
    await this.#working;
  }
}

async function firstEntry(
  tree: HeldState["tree"],
  range: { readonly start: Uint8Array; readonly end: Uint8Array },
): Promise<{ readonly key: Uint8Array; readonly value: Uint8Array } | undefined> {
  const entries = tree.entriesSync(range);
  for (;;) {
    try {
      const { value, done } = entries.next();
      return done === true ? undefined : value;
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      await error.load();
    }
  }
}
