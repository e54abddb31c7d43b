/**
 * One collection, from when it has begun: marks, sweeps, and says how it goes. Why it does it so stands in `collector.ts`,
 * whose invariants are meant here.
 */
import { equalBytes, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { Pace } from "../blob/index.ts";
import type { CollectableStore, Marking } from "../blob/index.ts";
import type { CollectionRoot, CollectionStart } from "./collection-start.ts";
import { placeName } from "./collector-contents.ts";
import type { EpochBook } from "./collector-epochs.ts";
import { Marks } from "./collector-marks.ts";
import type { FileState, MissingBlob } from "./collector-marks.ts";
import type { Report } from "./collector-progress.ts";
import { liveUploads } from "./file/upload-state.ts";
import { readSnapshots } from "./snapshot/layout.ts";
import type { NamedSnapshot } from "./snapshot/snapshot-source.ts";

export type CollectorEnv = Pick<Env, "clock" | "logger">;

export interface CollectionStores {
  readonly pages: CollectableStore;
  readonly chunks: CollectableStore;
}

type CollectionPhase = "begin" | "mark pages" | "mark chunks" | "sweep pages" | "sweep chunks" | "done";

export interface StoreProgress {
  /** Blobs found to be needed. */
  readonly markedCount: number;
  /** What went, or with `dryRun` would go; bytes as they are on the disk. */
  readonly sweptCount: number;
  readonly sweptSize: number;
}

export interface CollectionProgress {
  readonly phase: CollectionPhase;
  readonly dryRun: boolean;
  readonly pages: StoreProgress;
  readonly chunks: StoreProgress;
  /** What is needed and not here, the first 10,000, and how many there are. Complete when chunks are marked. */
  readonly missing: readonly MissingBlob[];
  readonly missingCount: number;
  /** Uploads that keep chunks which nothing names yet. */
  readonly uploadCount: number;
  /** Why chunks were not swept, if they were not. */
  readonly kept: string | undefined;
}

/** What a collection has found. */
export interface Found {
  readonly missing: readonly MissingBlob[];
  /** Why chunks were not swept, if they were not. */
  readonly kept: string | undefined;
}

export const none: StoreProgress = { markedCount: 0, sweptCount: 0, sweptSize: 0 };

/** One collection, from when it has begun. */
export class Collection {
  readonly #env: CollectorEnv;
  readonly #parts: CollectionStores;
  readonly #epochs: EpochBook;
  readonly #start: CollectionStart;
  readonly #signal: AbortSignal;
  readonly #pace: Pace | undefined;
  /** A snapshot of which not all is here. */
  #unknown: NamedSnapshot | undefined;

  constructor(
    env: CollectorEnv,
    parts: CollectionStores,
    epochs: EpochBook,
    start: CollectionStart,
    signal: AbortSignal,
    rate: number,
  ) {
    this.#env = env;
    this.#parts = parts;
    this.#epochs = epochs;
    this.#start = start;
    this.#signal = signal;
    this.#pace = Number.isFinite(rate) ? new Pace(env.clock, rate) : undefined;
  }

  async run(dryRun: boolean, report: Report<CollectionProgress>): Promise<Found> {
    const { pages, chunks } = this.#parts;
    const pageMarking = pages.startMarking();
    let chunkMarking: Marking | undefined;
    try {
      chunkMarking = chunks.startMarking();
      return await this.#run(pageMarking, chunkMarking, dryRun, report);
    } finally {
      pageMarking.end();
      chunkMarking?.end();
    }
  }

  async #run(pages: Marking, chunks: Marking, dryRun: boolean, report: Report<CollectionProgress>): Promise<Found> {
    const signal = this.#signal;
    const pace = (size: number) => this.#pace?.spend(size, signal);
    const marks = new Marks({ clock: this.#env.clock, signal, pace }, this.#parts, pages, chunks);
    const counted = (): Partial<CollectionProgress> => ({
      pages: { ...none, markedCount: marks.pageCount },
      chunks: { ...none, markedCount: marks.chunkCount },
      missingCount: marks.missingCount,
    });
    report({ phase: "mark pages" });
    await this.#markPages(marks, () => report(counted()));
    report({ phase: "mark chunks", ...counted() });
    await this.#markChunks(marks, () => report(counted()));
    const { missing } = marks;
    const uploads = await liveUploads(this.#start.state.tree, signal);
    const kept = this.#whyKept(marks);
    report({ ...counted(), missing, uploadCount: uploads.length, kept });
    this.#logMissing(marks);

    const [pageEpoch = 0, chunkEpoch = 0] = this.#start.epochs;
    report({ phase: "sweep pages" });
    const pageSweep = await this.#sweep(pages, pageEpoch, dryRun, (swept) =>
      report({ pages: { markedCount: marks.pageCount, ...swept } }),
    );
    if (!dryRun) this.#start.swept();
    report({ phase: "sweep chunks" });
    let chunkSweep = { sweptCount: 0, sweptSize: 0 };
    if (kept === undefined) {
      chunkSweep = await this.#sweep(chunks, Math.min(chunkEpoch, this.#epochs.bound(uploads)), dryRun, (swept) =>
        report({ chunks: { markedCount: marks.chunkCount, ...swept } }),
      );
    }
    if (!dryRun) await this.#sync();
    if (!dryRun && pageSweep.sweptCount + chunkSweep.sweptCount > 0) {
      this.#env.logger.log("info", "collected garbage", {
        pages: pageSweep.sweptCount,
        chunks: chunkSweep.sweptCount,
        bytes: pageSweep.sweptSize + chunkSweep.sweptSize,
      });
    }
    return { missing, kept };
  }

  /** A full disk may have no space for the notes either, but both stores are swept by then, and that gives some back. */
  async #sync(): Promise<void> {
    const { pages, chunks } = this.#parts;
    for (const store of [pages, chunks]) {
      try {
        await store.sync();
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== "exhausted") throw error;
        this.#env.logger.log(
          "warn",
          "the disk is too full to note what was deleted; that is done when there is space",
          {
            error: error.message,
          },
        );
      }
    }
  }

  async #markPages(marks: Marks, step: () => void): Promise<void> {
    const { roots, partial } = this.#start;
    const { pages } = this.#parts;
    for (const { root, what } of roots) {
      try {
        await marks.markPages(pages, root, what);
      } catch (error) {
        if (!this.#signal.aborted) this.#logUnreadable(error);
        throw error;
      }
      step();
    }
    // Last: what they mark may lack what is below it.
    for (const root of partial) await marks.markPartial(pages, root);
  }

  /** Each state by what differs from the one before it: those that must be whole first. */
  async #markChunks(marks: Marks, step: () => void): Promise<void> {
    const { state, frozen, roots } = this.#start;
    const pinned = new Set<CollectionRoot>();
    for (const snapshot of await readSnapshots(state.tree, this.#signal)) {
      const found = roots.filter((root) => isOf(root, snapshot));
      const waits = frozen.some(({ position }) => position === snapshot.position);
      if (found.length === 0 && !waits) this.#unknown ??= snapshot;
      for (const root of found) pinned.add(root);
    }
    const states: FileState[] = [{ tree: state.tree, what: "the present state", strict: true }];
    for (const each of frozen) states.push({ ...each, strict: true });
    for (const root of roots) if (pinned.has(root)) states.push({ ...root, strict: true });
    for (const root of roots) if (!pinned.has(root)) states.push({ ...root, strict: false });
    let before: FileState | undefined;
    for (const each of states) {
      try {
        await marks.markFiles(each, before?.tree);
      } catch (error) {
        if (!this.#signal.aborted) this.#logUnreadable(error);
        throw error;
      }
      before = each;
      step();
    }
  }

  async #sweep(
    marking: Marking,
    before: number,
    dryRun: boolean,
    report: (swept: { readonly sweptCount: number; readonly sweptSize: number }) => void,
  ): Promise<{ readonly sweptCount: number; readonly sweptSize: number }> {
    const signal = this.#signal;
    let total = { sweptCount: 0, sweptSize: 0 };
    throwIfAborted(signal);
    for await (const { count, size } of marking.sweep({ before, dryRun, signal })) {
      total = { sweptCount: total.sweptCount + count, sweptSize: total.sweptSize + size };
      report(total);
    }
    return total;
  }

  /** Invariant 6. */
  #whyKept({ hidden }: Marks): string | undefined {
    const unknown = this.#unknown;
    if (unknown !== undefined) {
      const what = `the state of snapshot ${JSON.stringify(unknown.name)} is not wholly here yet, and which chunks its files need is not known before it is`;
      // Whoever has written it says its root; when none of them comes back, nobody will.
      const remedy = `no member has said yet what it is: if none that was there when it was taken comes back, delete it with \`holdfast snapshot delete ${unknown.name}\``;
      return unknown.sealed ? what : `${what}; ${remedy}`;
    }
    if (this.#start.partial.length > 0) {
      return "a state is not wholly here yet, and which chunks its files need is not known before it is";
    }
    if (hidden === undefined) return undefined;
    const who = hidden.file === undefined ? hidden.where : placeName(hidden.file);
    return `the chunk list of ${who} (${hidden.where}) is missing or damaged, so what is below it is not known; repair it, or delete the file with its versions and the snapshots that have it`;
  }

  #logMissing(marks: Marks): void {
    const [first] = marks.missing;
    if (first === undefined) return;
    this.#env.logger.log("error", "blobs that files need are missing or damaged here", {
      count: marks.missingCount,
      first: first.file === undefined ? first.where : placeName(first.file),
    });
  }

  #logUnreadable(error: unknown): void {
    this.#env.logger.log("error", "nothing is deleted, since not all that is needed is known", {
      error: String(error),
    });
  }
}

function isOf({ position, root }: CollectionRoot, snapshot: NamedSnapshot): boolean {
  if (position === snapshot.position) return true;
  // Of states with the same root only one is named.
  return snapshot.sealed && equalBytes(root.hash ?? new Uint8Array(0), snapshot.rootHash);
}
