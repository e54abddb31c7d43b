/**
 * Writes an empty batch behind a journal's last one when nothing has been written for a while, so that damage to that one
 * is not taken for a torn tail (scan.ts, docs/decisions/0003-fence.md). It holds up the next write for no longer than one
 * write.
 */
import type { Timer } from "../base/index.ts";
import type { Journal, JournalEnv } from "./journal.ts";

/** How long the journal is silent before the fence. */
const fenceDelayMs = 10;

export class Fence {
  readonly #env: Pick<JournalEnv, "clock" | "logger">;
  readonly #journal: Journal;
  /** The journal's owner has nothing to write. */
  readonly #idle: () => boolean;
  /** Hands the owner the writing of a fence, which it must not write beside. */
  readonly #begin: () => void;
  #fenced = true;
  #timer: Timer | undefined;
  #restMs = 0;
  #closed = false;

  constructor(
    env: Pick<JournalEnv, "clock" | "logger">,
    journal: Journal,
    owner: { readonly idle: () => boolean; readonly begin: () => void },
  ) {
    this.#env = env;
    this.#journal = journal;
    this.#idle = owner.idle;
    this.#begin = owner.begin;
  }

  /** A batch was written. */
  needed(): void {
    this.#fenced = false;
  }

  /** Nothing is left to be written for now. */
  rest(): void {
    if (this.#fenced || this.#journal.failure !== undefined) return;
    this.#restMs = this.#env.clock.monotonicMs();
    this.#soon(fenceDelayMs);
  }

  /** One timer at a time, which is not set anew by every batch: it looks how long ago the last one was. */
  #soon(delayMs: number): void {
    if (this.#closed) return;
    this.#timer ??= this.#env.clock.schedule(delayMs, () => {
      this.#timer = undefined;
      // When what is under way has been written, the timer is set again.
      if (!this.#idle() || this.#fenced) return;
      const leftMs = this.#restMs + fenceDelayMs - this.#env.clock.monotonicMs();
      if (leftMs > 0) this.#soon(leftMs);
      else this.#begin();
    });
  }

  /** Writes it, unless there is one. Does not fail: a journal that has failed says so itself. */
  async write(): Promise<void> {
    if (this.#fenced || this.#journal.failure !== undefined) return;
    this.#fenced = true;
    try {
      await this.#journal.append([]);
    } catch (error) {
      this.#env.logger.log("error", "writing the journal's fence failed", { error: String(error) });
    }
  }

  /** Sets no timer any more. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }
}
