/**
 * Reads every blob of a member again and again, slowly, so that damage is found while other members still have what is
 * damaged here. What is found is never served from then on (the stores see to that), named, by the files and snapshots that
 * need it, and repaired where somebody brings it back.
 *
 * The cost of naming grows with the files that there are and the differences of the snapshots; it arises only where there is
 * damage, once a round. A damaged chunk that nothing needs any more is no news: a collection takes it away.
 */
import { abortError, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { BlobStore, Hash, VerifyOptions, VerifyReport } from "../blob/index.ts";
import { fileChanges } from "./collector-contents.ts";
import type { FilePlace, ReadableTree } from "./collector-contents.ts";
import type { TreeRoot } from "../tree/index.ts";
import { follow } from "./collector-progress.ts";
import type { Report } from "./collector-progress.ts";
import type { Replica } from "./replica.ts";
import { JobQueue } from "./job-queue.ts";
import { rootOf } from "./checkpoint.ts";
import { DamagedContents, damagedPages } from "./scrubber-needs.ts";
import { readSnapshots } from "./snapshot/layout.ts";
import type { NamedSnapshot } from "./snapshot/snapshot-source.ts";

/** A store that can be read as a whole. */
interface ScrubbedStore extends BlobStore {
  verify(options?: VerifyOptions): AsyncIterable<VerifyReport>;
}

export interface ScrubberParts {
  readonly replica: Pick<Replica, "lastCheckpoint" | "pinAt" | "snapshot">;
  readonly pages: ScrubbedStore;
  readonly chunks: ScrubbedStore;
  /** Brings a blob back from another member; says whether it has. Without it damage is only named. */
  readonly repair?:
    | ((blob: { readonly store: "pages" | "chunks"; readonly hash: Hash }, signal: AbortSignal) => Promise<boolean>)
    | undefined;
}

export interface ScrubberOptions {
  /** Bytes a second that rounds in the background read at most. Default 8 MiB. */
  readonly rate?: number | undefined;
  /** When the first round begins after the start. Default one hour; infinite: none does by itself. */
  readonly startMs?: number | undefined;
  /** How long after the end of a round the next one begins. Default one week. */
  readonly pauseMs?: number | undefined;
}

export interface DamagedBlob {
  readonly store: "pages" | "chunks";
  readonly hash: Hash;
  /** Versions of files that need it, the first 100, and whether there are more. For pages: none, see `states`. */
  readonly files: readonly FilePlace[];
  readonly moreFiles: boolean;
  /** `the present state`, `the snapshot "x"`: the states that need it, the first 100. */
  readonly states: readonly string[];
  /** It is here again. */
  readonly repaired: boolean;
}

export interface ScrubProgress {
  readonly phase: "read pages" | "read chunks" | "name" | "repair" | "done";
  /** Blobs read and found right; bytes read. */
  readonly count: number;
  readonly size: number;
  /** What is wrong with packs and index files, by place, the first 1,000; and how many there are. */
  readonly damages: readonly string[];
  readonly damageCount: number;
  /** Known from phase `repair` on. */
  readonly damagedBlobs: readonly DamagedBlob[];
}

export interface ScrubOptions {
  /** Bytes a second at most. Default: as fast as it goes. */
  readonly rate?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const defaults = { rate: 8_388_608, startMs: 3_600_000, pauseMs: 604_800_000 };
/** Of places, and of blobs that are looked for. What is beyond is counted, and found in the next round. */
const damageCountMax = 1_000;
const blobCountMax = 10_000;
const stateCountMax = 100;

interface Damaged {
  readonly store: "pages" | "chunks";
  readonly hash: Hash;
}

export class Scrubber {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #parts: ScrubberParts;
  readonly #options: typeof defaults;
  readonly #closing = new AbortController();
  readonly #jobs = new JobQueue();
  #timer: Timer | undefined;
  #last: ScrubProgress | undefined;

  constructor(env: Pick<Env, "clock" | "logger">, parts: ScrubberParts, options: ScrubberOptions = {}) {
    this.#env = env;
    this.#parts = parts;
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...defaults, ...Object.fromEntries(given) };
    if (Number.isFinite(this.#options.startMs)) this.#later(this.#options.startMs);
  }

  /** What the last complete round has found, if there was one. */
  get last(): ScrubProgress | undefined {
    return this.#last;
  }

  /**
   * Reads everything now, after the round under way, and gives how it goes, as it is now, whenever that has changed; the
   * last one has phase `done`. Leaving the loop ends it. `cancelled` or `timeout` when `signal` aborts.
   */
  scrub({ rate, signal }: ScrubOptions = {}): AsyncGenerator<ScrubProgress, void, undefined> {
    return follow(nothingYet, [signal, this.#closing.signal], (report, ended) =>
      this.#jobs.run(() => this.#scrub(rate, ended, report), ended),
    );
  }

  #later(delayMs: number): void {
    if (this.#closing.signal.aborted) return;
    this.#timer = this.#env.clock.schedule(delayMs, () => {
      const { signal } = this.#closing;
      this.#jobs
        .run(() => this.#scrub(this.#options.rate, signal, () => {}), signal)
        .catch((error: unknown) => {
          if (signal.aborted) return;
          this.#env.logger.log("error", "scrubbing did not end; it is tried again", { error: String(error) });
        })
        .finally(() => this.#later(this.#options.pauseMs))
        .catch(() => {});
    });
  }

  /** Ends the round under way. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#timer?.cancel();
    await this.#jobs.working;
  }

  async #scrub(rate: number | undefined, signal: AbortSignal, report: Report<ScrubProgress>): Promise<void> {
    throwIfAborted(signal);
    let progress = nothingYet;
    const say: Report<ScrubProgress> = (next) => {
      progress = { ...progress, ...next };
      report(next);
    };
    const damaged: Damaged[] = [];
    for (const store of ["pages", "chunks"] as const) {
      say({ phase: store === "pages" ? "read pages" : "read chunks" });
      for await (const found of this.#parts[store].verify({ rate, signal })) {
        for (const hash of found.damagedBlobs) if (damaged.length < blobCountMax) damaged.push({ store, hash });
        say({
          count: progress.count + found.count,
          size: progress.size + found.size,
          damageCount: progress.damageCount + found.damages.length,
          damages: [...progress.damages, ...found.damages].slice(0, damageCountMax),
        });
      }
    }
    if (damaged.length > 0) {
      say({ phase: "name" });
      const named = await this.#name(damaged, signal);
      for (const each of named) this.#log(each);
      say({ phase: "repair", damagedBlobs: named });
      await this.#repair(named, signal, (damagedBlobs) => say({ damagedBlobs }));
    }
    say({ phase: "done" });
    this.#last = progress;
  }

  async #name(damaged: readonly Damaged[], signal: AbortSignal): Promise<DamagedBlob[]> {
    const { chunks, pages, replica } = this.#parts;
    const { clock } = this.#env;
    const wanted = (of: Damaged["store"]) => damaged.filter(({ store }) => store === of).map(({ hash }) => hash);
    const contents = new DamagedContents(chunks, wanted("chunks"), signal);
    const lostPages = new Set(wanted("pages").map(toHex));
    const states = new Map<string, string[]>();
    const need = (names: Iterable<string>, what: string) => {
      for (const name of names) {
        const known = states.get(name) ?? [];
        if (known.length < stateCountMax) known.push(what);
        states.set(name, known);
      }
    };
    const state = replica.snapshot();
    let before: { readonly tree: ReadableTree; readonly release: () => void } | undefined;
    try {
      const walk = async (tree: ReadableTree, root: TreeRoot | undefined, what: string) => {
        if (root !== undefined) need(await damagedPages(pages, root, lostPages, signal), what);
        let whole = true;
        try {
          for await (const changes of fileChanges(before?.tree, tree, { clock, signal }))
            await contents.change(changes);
        } catch (error) {
          if (!isDamage(error)) throw error;
          // Where pages are damaged not all files are known; those that are known are named.
          this.#env.logger.log("warn", "not all files of a state can be read", { state: what, error: error.message });
          whole = false;
        }
        need(contents.needed, what);
        if (!whole) contents.reset();
        return whole;
      };
      const snapshots = await this.#snapshots(state.tree, signal);
      // What the running state has in the store, its newest checkpoint has too.
      const present = rootOf(replica.lastCheckpoint);
      if (await walk(state.tree, present, "the present state")) before = { tree: state.tree, release: () => {} };
      for (const { name, revision } of snapshots.toReversed()) {
        const pin = this.#pinAt(revision);
        if (pin === undefined) continue;
        const whole = await walk(pin.tree, pin.tree.root(), `the snapshot ${JSON.stringify(name)}`).catch(
          (error: unknown) => {
            pin.release();
            throw error;
          },
        );
        if (!whole) pin.release();
        before?.release();
        before = whole ? pin : undefined;
      }
    } finally {
      before?.release();
      state.release();
    }
    return damaged
      .map(({ store, hash }) => {
        const name = toHex(hash);
        return { store, hash, ...contents.filesOf(name), states: states.get(name) ?? [], repaired: false };
      })
      .filter(({ store, files, states: needing }) => store === "pages" || files.length + needing.length > 0);
  }

  /** The page that says which there are may be the damaged one: then they are named in the round after its repair. */
  async #snapshots(tree: ReadableTree, signal: AbortSignal): Promise<readonly NamedSnapshot[]> {
    try {
      return await readSnapshots(tree, signal);
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#env.logger.log("warn", "which snapshots need what is damaged is not known before it is repaired", {
        error: error.message,
      });
      return [];
    }
  }

  /** Its pages may not be here. */
  #pinAt(revision: number): ReturnType<Replica["pinAt"]> {
    try {
      return this.#parts.replica.pinAt(revision);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "unavailable") return undefined;
      throw error;
    }
  }

  #log({ store, hash, files, states }: DamagedBlob): void {
    const [file] = files;
    const needed = file === undefined ? states[0] : `${file.bucket}:${new TextDecoder().decode(file.path)}`;
    this.#env.logger.log("error", "a blob is damaged", {
      store,
      blob: toHex(hash),
      neededBy: needed ?? "nothing",
    });
  }

  async #repair(
    named: readonly DamagedBlob[],
    signal: AbortSignal,
    say: (blobs: DamagedBlob[]) => void,
  ): Promise<void> {
    const { repair } = this.#parts;
    if (repair === undefined) return;
    const blobs = [...named];
    for (const [index, blob] of named.entries()) {
      throwIfAborted(signal);
      let repaired = false;
      try {
        repaired = await repair(blob, signal);
      } catch (error) {
        if (signal.aborted) throw abortError(signal);
        this.#env.logger.log("warn", "a damaged blob could not be repaired", { error: String(error) });
      }
      if (!repaired) continue;
      blobs[index] = { ...blob, repaired };
      say(blobs.slice());
    }
  }
}

function isDamage(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && ["corrupt", "notFound"].includes(error.code);
}

const nothingYet: ScrubProgress = {
  phase: "read pages",
  count: 0,
  size: 0,
  damages: [],
  damageCount: 0,
  damagedBlobs: [],
};
