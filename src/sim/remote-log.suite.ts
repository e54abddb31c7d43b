/** A log elsewhere, for tests: on a server that outlives the machines which append to it. */
import { sleep } from "../base/index.ts";
import type { Env, Position } from "../base/index.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine, MemoryEngine } from "../log/index.ts";

/** Milliseconds that a message takes. */
const messageMs = 2;

/** A log elsewhere, which outlives the machine that appends to it; every message is a step. */
export class RemoteLog implements LogEngine {
  readonly capabilities: LogCapabilities;
  readonly isPrimary = true;
  readonly #env: Env;
  readonly #server: MemoryEngine;
  readonly #step: () => void;
  readonly #closing = new AbortController();

  /** `elsewhere`: other members have it too. */
  constructor(env: Env, server: MemoryEngine, how: { readonly step?: () => void; readonly elsewhere?: boolean } = {}) {
    const { step = () => {}, elsewhere = false } = how;
    this.capabilities = { durability: "disk", trim: true, shared: true, elsewhere };
    this.#env = env;
    this.#server = server;
    this.#step = step;
  }

  async append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    this.#step();
    // A machine that is dead sends nothing: its clock does not run.
    await sleep(this.#env.clock, messageMs);
    const outcome = await this.#server.append(records);
    this.#step();
    await sleep(this.#env.clock, messageMs);
    return outcome;
  }

  async tail(): Promise<Position> {
    await sleep(this.#env.clock, messageMs);
    return this.#server.tail();
  }

  committed(): Position {
    return this.#server.committed();
  }

  start(): Position {
    return this.#server.start();
  }

  onPrimary(): () => void {
    return () => {};
  }

  read(from: Position, { signal }: { readonly signal?: AbortSignal } = {}): AsyncIterable<LogBatch> {
    const ends = [this.#closing.signal, ...(signal === undefined ? [] : [signal])];
    return this.#server.read(from, { signal: AbortSignal.any(ends) });
  }

  trim(before: Position): Promise<Position> {
    return this.#server.trim(before);
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }
}
