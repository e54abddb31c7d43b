/** The newest batches of a log, kept in memory for readers that follow it live. */
import { position } from "../base/index.ts";
import type { LogBatch } from "./engine.ts";

export class RecentBatches {
  readonly #sizeMax: number;
  /** In order; entries before `#first` have been given up. */
  #batches: (LogBatch | undefined)[] = [];
  #first = 0;
  #size = 0;

  /** Keeps at least the newest batch, and at most about `sizeMax` bytes. */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  push(batch: LogBatch): void {
    this.#batches.push(batch);
    this.#size += batchDataSize(batch);
    while (this.#size > this.#sizeMax && this.#batches.length - this.#first > 1) this.#drop();
    if (this.#first > 1_024 && this.#first * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#first);
      this.#first = 0;
    }
  }

  #drop(): void {
    this.#size -= batchDataSize(this.#batches[this.#first] as LogBatch);
    this.#batches[this.#first++] = undefined;
  }

  /** Gives up batches that lie wholly below `before`. */
  trim(before: number): void {
    for (let oldest = this.#batches[this.#first]; oldest !== undefined; oldest = this.#batches[this.#first]) {
      if (oldest.position + oldest.records.length > before) return;
      this.#drop();
    }
  }

  /** The batch that holds `from`, cut to begin there; undefined if it is not here. */
  at(from: number): LogBatch | undefined {
    // A reader that follows live wants the newest one.
    let low = this.#first;
    let high = this.#batches.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const batch = this.#batches[middle] as LogBatch;
      if (from < batch.position) high = middle - 1;
      else if (from >= batch.position + batch.records.length) low = middle + 1;
      else return from === batch.position ? batch : cut(batch, from);
    }
    return undefined;
  }
}

function cut(batch: LogBatch, from: number): LogBatch {
  return { position: position(from), records: batch.records.slice(from - batch.position) };
}

function batchDataSize(batch: LogBatch): number {
  // Each record costs an object too.
  let size = 64 * batch.records.length;
  for (const record of batch.records) size += record.length;
  return size;
}
