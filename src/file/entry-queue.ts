/** Entries that are made at many places and committed at one: what `Files.putMany` takes them from. */
import { Signal } from "../base/index.ts";
import type { FileEntry } from "./file-batches.ts";

const waitingCountMax = 512;

/** After `end`, and when whoever takes them has left, entries are released and go nowhere. */
export class EntryQueue implements AsyncIterable<FileEntry> {
  readonly #entries: FileEntry[] = [];
  readonly #changed = new Signal();
  #ended = false;

  /** Resolves when there is room for it. */
  async push(entry: FileEntry): Promise<void> {
    while (this.#entries.length >= waitingCountMax && !this.#ended) await this.#changed.wait();
    if (this.#ended) entry.uploaded?.release();
    else this.#entries.push(entry);
    this.#changed.notify();
  }

  end(): void {
    this.#ended = true;
    this.#changed.notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FileEntry, void, undefined> {
    try {
      for (;;) {
        const entry = this.#entries.shift();
        if (entry !== undefined) {
          this.#changed.notify();
          yield entry;
        } else if (this.#ended) return;
        else await this.#changed.wait();
      }
    } finally {
      this.end();
      for (const { uploaded } of this.#entries) uploaded?.release();
    }
  }
}
