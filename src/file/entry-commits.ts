/** Entries that come from many places and go to the bucket together, each with an answer of its own. */
import { HoldfastError } from "../base/index.ts";
import type { Revision } from "../base/index.ts";
import { EntryQueue } from "./entry-queue.ts";
import type { FileEntry } from "./file-batches.ts";
import type { Files } from "./files.ts";

export class EntryCommits {
  readonly #files: Pick<Files, "putMany">;
  readonly #signal: AbortSignal;
  readonly #entries = new EntryQueue();
  /** By path. */
  readonly #waiting = new Map<string, PromiseWithResolvers<Revision>>();

  constructor(files: Pick<Files, "putMany">, signal: AbortSignal) {
    this.#files = files;
    this.#signal = signal;
  }

  /** Commits what comes; ends after `end` or `fail`, or with the first failure that is not one entry's own. */
  async run(): Promise<void> {
    const settle = ({ path }: FileEntry, how: (waiting: PromiseWithResolvers<Revision>) => void) => {
      const waiting = this.#waiting.get(String(path));
      this.#waiting.delete(String(path));
      if (waiting !== undefined) how(waiting);
    };
    try {
      await this.#files.putMany(this.#entries, {
        signal: this.#signal,
        committed: (entries, revision) => {
          for (const entry of entries) settle(entry, ({ resolve }) => resolve(revision));
        },
        failed: (entry, error) => settle(entry, ({ reject }) => reject(error)),
      });
    } catch (error) {
      // Whoever waits for an answer gets none any more.
      this.fail(error);
      throw error;
    } finally {
      this.#entries.end();
    }
  }

  /**
   * Sends an entry, whose path is text; resolves when there is room for the next. `committed` resolves with the revision.
   * `conflict` while another entry of the same path is on its way.
   */
  async send(entry: FileEntry & { readonly path: string }): Promise<{ readonly committed: Promise<Revision> }> {
    if (this.#waiting.has(entry.path)) {
      entry.uploaded?.release();
      throw new HoldfastError("conflict", `${entry.path} is being written already; try again`);
    }
    const waiting = Promise.withResolvers<Revision>();
    waiting.promise.catch(() => {});
    this.#waiting.set(entry.path, waiting);
    await this.#entries.push(entry);
    // The queue takes nothing any more, and nobody would tell.
    if (this.#signal.aborted) waiting.reject(this.#signal.reason);
    return { committed: waiting.promise };
  }

  /** No more come: those that wait for company go now. */
  end(): void {
    this.#entries.end();
  }

  /** Gives up what has no answer yet. The signal must have been aborted. */
  fail(error: unknown): void {
    this.#entries.end();
    for (const { reject } of this.#waiting.values()) reject(error);
  }
}
