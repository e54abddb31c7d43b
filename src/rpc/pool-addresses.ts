/**
 * The addresses that a client may connect to, and which of them to try next.
 *
 * 1. Addresses that failed lately come after the others, the one that failed first before the one that failed last;
 *    otherwise the order is the one in which they were given.
 */
import type { HoldfastError } from "../base/index.ts";

interface Entry {
  readonly address: string;
  /** On the monotonic clock; -Infinity if it never failed, or has worked since. */
  failedMs: number;
  /** Why it failed last. */
  error: HoldfastError | undefined;
  /** It has failed in this round of attempts. */
  tried: boolean;
}

/** After so long a failure is forgotten. */
const latelyMs = 30_000;

export class PoolAddresses {
  #entries: Entry[];

  constructor(addresses: readonly string[]) {
    this.#entries = addresses.map(newEntry);
  }

  /** Replaces the addresses. What is known of those that stay is kept. */
  replace(addresses: readonly string[]): void {
    const known = new Map(this.#entries.map((entry) => [entry.address, entry]));
    this.#entries = addresses.map((address) => known.get(address) ?? newEntry(address));
  }

  has(address: string): boolean {
    return this.#entries.some((entry) => entry.address === address);
  }

  /** The address to try next in this round, among those for which `free` is true. */
  next(nowMs: number, free: (address: string) => boolean): string | undefined {
    return this.#best(nowMs, ({ address, tried }) => !tried && free(address));
  }

  /** The best address that has not failed for `quietMs`, whatever the round. */
  nextQuiet(nowMs: number, quietMs: number, free: (address: string) => boolean): string | undefined {
    return this.#best(nowMs, ({ address, failedMs }) => failedMs + quietMs <= nowMs && free(address));
  }

  #best(nowMs: number, wanted: (entry: Entry) => boolean): string | undefined {
    let best: Entry | undefined;
    for (const entry of this.#entries) {
      if (!wanted(entry)) continue;
      if (best === undefined || lately(entry, nowMs) < lately(best, nowMs)) best = entry;
    }
    return best?.address;
  }

  failed(address: string, nowMs: number, error: HoldfastError): void {
    const entry = this.#entries.find((one) => one.address === address);
    if (entry === undefined) return;
    entry.failedMs = nowMs;
    entry.error = error;
    entry.tried = true;
  }

  /** The address works, so another round may begin at once when it does not any more. */
  worked(address: string): void {
    for (const entry of this.#entries) {
      entry.tried = false;
      if (entry.address === address) entry.failedMs = Number.NEGATIVE_INFINITY;
    }
  }

  /** When the last failure of this round was; -Infinity if there was none. */
  lastFailedMs(): number {
    let last = Number.NEGATIVE_INFINITY;
    for (const { tried, failedMs } of this.#entries) if (tried) last = Math.max(last, failedMs);
    return last;
  }

  /** The error of an address, if no later moment helps against those of any. */
  hopeless(): HoldfastError | undefined {
    const all = this.#entries.every(({ tried, error }) => tried && error?.code === "invalid");
    return all ? this.#entries[0]?.error : undefined;
  }

  beginRound(): void {
    for (const entry of this.#entries) entry.tried = false;
  }

  /** For messages. */
  get text(): string {
    return this.#entries.map(({ address }) => address).join(", ");
  }
}

function newEntry(address: string): Entry {
  return { address, failedMs: Number.NEGATIVE_INFINITY, error: undefined, tried: false };
}

/** When it failed, as far as that counts for the order (1). */
function lately({ failedMs }: Entry, nowMs: number): number {
  return failedMs + latelyMs > nowMs ? failedMs : Number.NEGATIVE_INFINITY;
}
