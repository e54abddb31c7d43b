/** A log in memory, for tests, simulations and stores that need not outlive their process. */
import { abortable, assert, HoldfastError, limits, position, Signal } from "../base/index.ts";
import type { Position } from "../base/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";

/** Records handed over at once. */
const batchCountMax = 1_024;

export class MemoryEngine implements LogEngine {
  readonly capabilities: LogCapabilities;
  readonly isPrimary: boolean = true;
  readonly #grown = new Signal();
  #records: Uint8Array[] = [];
  #start = 0;
  #sealed = false;
  #closed = false;

  /** `shared`: several chains append to it, as members of a simulated cluster would. */
  constructor({ shared = false }: { readonly shared?: boolean } = {}) {
    this.capabilities = { durability: "none", trim: true, shared };
  }

  append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    assert(records.length > 0, "an append has at least one record");
    for (const record of records) {
      assert(
        record.length <= limits.recordSizeMax,
        `record is ${record.length} bytes; the limit is ${limits.recordSizeMax}`,
      );
    }
    if (this.#closed) return Promise.reject(new HoldfastError("unavailable", "the log is closed"));
    if (this.#sealed) return Promise.resolve({ ok: false, reason: "sealed" });
    const first = this.#tail;
    for (const record of records) this.#records.push(record);
    this.#grown.notify();
    return Promise.resolve({ ok: true, position: position(first) });
  }

  /** Refuses every append from now on. */
  seal(): void {
    this.#sealed = true;
  }

  get #tail(): number {
    return this.#start + this.#records.length;
  }

  tail(): Promise<Position> {
    return Promise.resolve(position(this.#tail));
  }

  committed(): Position {
    return position(this.#tail);
  }

  /** It always is. */
  onPrimary(_listener: (isPrimary: boolean) => void): () => void {
    return () => {};
  }

  start(): Position {
    return position(this.#start);
  }

  async *read(
    from: Position,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LogBatch, void, undefined> {
    let next: number = from;
    while (options.signal?.aborted !== true && !this.#closed) {
      if (next < this.#start) {
        throw new HoldfastError(
          "trimmed",
          `position ${next} has been trimmed from the log; it begins at ${this.#start}`,
        );
      }
      const records = this.#records.slice(next - this.#start, next - this.#start + batchCountMax);
      if (records.length > 0) {
        yield { position: position(next), records };
        next += records.length;
        continue;
      }
      const ended = await abortable(this.#grown.wait(), options.signal).then(
        () => false,
        () => true,
      );
      if (ended) return;
    }
  }

  trim(before: Position): Promise<Position> {
    const count = Math.max(0, Math.min(before, this.#tail) - this.#start);
    this.#records.splice(0, count);
    this.#start += count;
    return Promise.resolve(position(this.#start));
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#grown.notify();
    return Promise.resolve();
  }
}
