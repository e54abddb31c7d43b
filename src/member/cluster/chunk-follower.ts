/**
 * Brings chunks of files to a member that was not given them: it was away, or too slow, when they were put, or it is new.
 *
 *  1. Every file that is put while it runs is looked at; or all files of all states are (`scan`): when there are more new
 *     ones than it can note, and when the member was given a newer state or a snapshot by others. What the process before
 *     has missed the first collection finds.
 *  2. What is here already counts as put now (`touch`), all that is below it included: a collection under way may not know
 *     of the file yet. What it has swept before is fetched.
 *  3. New files come first. What cannot be had is tried again, more and more rarely, and holds up nothing else.
 */
import { asHoldfastError, giveWay, HoldfastError, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { ContentWalker } from "../../blob/index.ts";
import type { ChunkStore, Hash, StoredBlob } from "../../blob/index.ts";

/** A file's chunks, by their root. */
export interface FollowedContent {
  readonly hash: Hash;
  readonly depth: number;
}

export interface ChunkFollowerParts {
  readonly local: Pick<ChunkStore, "touch" | "get">;
  /** Gets a blob from another member and keeps it here; undefined when nobody has it; `unavailable` when nobody answers. */
  readonly fetch: (hash: Hash, signal: AbortSignal) => Promise<StoredBlob | undefined>;
  /** The contents of all files that the states here need. */
  readonly contents: (signal: AbortSignal) => AsyncIterable<readonly FollowedContent[]>;
}

const queueCountMax = 10_000;
/** Contents that are looked at together; blobs that are fetched at a time. */
const togetherCount = 64;
const parallelCount = 16;
const retryMsMin = 500;
const retryMsMax = 60_000;

export class ChunkFollower {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #parts: ChunkFollowerParts;
  /** What is looked at next, and what was tried in vain. */
  #queue: FollowedContent[] = [];
  #later: FollowedContent[] = [];
  #scanWanted = false;
  #scanLater = false;
  #working: Promise<void> | undefined;
  #retrying: Promise<void> | undefined;
  #retryMs = retryMsMin;
  readonly #closing = new AbortController();

  constructor(env: Pick<Env, "clock" | "logger">, parts: ChunkFollowerParts) {
    this.#env = env;
    this.#parts = parts;
  }

  /** A file was put. */
  note(content: FollowedContent): void {
    if (this.#queue.length + this.#later.length >= queueCountMax) {
      this.#queue = [];
      this.#later = [];
      this.#scanWanted = true;
    } else this.#queue.push(content);
    this.#begin();
  }

  /** Something may be missing that was not noted. */
  scan(): void {
    this.#scanWanted = true;
    this.#begin();
  }

  /** Whether nothing is known to be missing that may yet be had. */
  get isIdle(): boolean {
    return this.#working === undefined && this.#retrying === undefined;
  }

  #begin(): void {
    if (this.#closing.signal.aborted) return;
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
  }

  async #work(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      // Its caller may be in the middle of something, and more may come in the same turn.
      await giveWay(this.#env.clock);
      if (this.#queue.length > 0) await this.#try(this.#queue.splice(0, togetherCount));
      else if (this.#scanWanted) await this.#scan();
      else return;
    }
  }

  async #try(contents: readonly FollowedContent[]): Promise<void> {
    try {
      await this.#bring(contents);
      this.#retryMs = retryMsMin;
    } catch (error) {
      this.#failed(error);
      this.#later.push(...contents);
    }
  }

  async #scan(): Promise<void> {
    this.#scanWanted = false;
    try {
      for await (const contents of this.#parts.contents(this.#closing.signal)) {
        for (let begin = 0; begin < contents.length; begin += togetherCount) {
          await this.#try(contents.slice(begin, begin + togetherCount));
          while (this.#queue.length > 0) await this.#try(this.#queue.splice(0, togetherCount));
          if (this.#later.length < queueCountMax) continue;
          // Nobody answers, it seems.
          this.#later = [];
          throw new HoldfastError("unavailable", "too many chunks cannot be had");
        }
      }
    } catch (error) {
      this.#failed(error);
      this.#scanLater = true;
    }
  }

  /** What has failed is tried again after a while. */
  #failed(error: unknown): void {
    const { signal } = this.#closing;
    if (signal.aborted || this.#retrying !== undefined) return;
    const { message } = asHoldfastError(error);
    this.#env.logger.log("warn", "chunks of files were not brought here yet; it is tried again", { error: message });
    const again = () => {
      this.#retrying = undefined;
      this.#queue.push(...this.#later.splice(0));
      this.#scanWanted ||= this.#scanLater;
      this.#scanLater = false;
      this.#begin();
    };
    this.#retrying = sleep(this.#env.clock, this.#retryMs, signal).then(again, () => {});
    this.#retryMs = Math.min(this.#retryMs * 2, retryMsMax);
  }

  async #bring(contents: readonly FollowedContent[]): Promise<void> {
    const { signal } = this.#closing;
    await this.#need(contents.map(({ hash }) => hash));
    const get = async (list: Hash) => {
      await this.#need([list]);
      return this.#parts.local.get(list);
    };
    const unreadable = (_: Hash, error: HoldfastError) => {
      // The file may have been deleted and collected meanwhile, then nobody has it any more, and nobody needs it; else
      // the next collection names it.
      this.#env.logger.log("debug", "a list of chunks cannot be had", { error: error.message });
    };
    for (const content of contents) {
      if (content.depth === 0) continue;
      const walker = new ContentWalker({ get, unreadable });
      for await (const hashes of walker.walk(content, signal)) await this.#need(hashes);
    }
  }

  /** They are here when it resolves, except what nobody has. */
  async #need(hashes: readonly Hash[]): Promise<void> {
    const { signal } = this.#closing;
    const here = await this.#parts.local.touch(hashes);
    const missing = hashes.filter((_, index) => here[index] !== true);
    for (let begin = 0; begin < missing.length; begin += parallelCount) {
      if (signal.aborted) return;
      await Promise.all(missing.slice(begin, begin + parallelCount).map((hash) => this.#parts.fetch(hash, signal)));
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new HoldfastError("unavailable", "the member is stopping"));
    this.#queue = [];
    await this.#working;
    await this.#retrying;
  }
}
