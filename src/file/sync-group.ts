/**
 * Syncs of chunks, grouped: one is under way, and everybody who asks meanwhile shares the next. So a hundred small puts at
 * once wait for two syncs and not for a hundred.
 */
import { abortable } from "../base/index.ts";
import type { FileChunks } from "./file-parts.ts";

export class SyncGroup {
  readonly #chunks: Pick<FileChunks, "sync">;
  #running: Promise<void> | undefined;
  /** Begins when the running one has ended. */
  #next: Promise<void> | undefined;

  constructor(chunks: Pick<FileChunks, "sync">) {
    this.#chunks = chunks;
  }

  /** Resolves when everything put or found before this call is durable. The signal ends the waiting, not the sync. */
  sync(signal?: AbortSignal): Promise<void> {
    if (this.#running === undefined) return abortable(this.#run(), signal);
    // Others wait for it too, whatever becomes of this caller, and whether or not the one before succeeded.
    this.#next ??= this.#running.then(
      () => this.#run(),
      () => this.#run(),
    );
    return abortable(this.#next, signal);
  }

  #run(): Promise<void> {
    this.#next = undefined;
    const running = this.#chunks.sync().finally(() => {
      // The next one has taken its place when there is one: it was asked for before this ended.
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
