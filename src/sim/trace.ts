/**
 * What happened in a simulation, one line an event, and a running fingerprint of all lines: two runs are the same if
 * their fingerprints are.
 *
 * The fingerprint is two 32-bit multiplicative hashes over the characters. It guards against accident, not malice.
 */
import { AssertionError } from "../base/index.ts";

export interface TraceOptions {
  /** Keep every line, not only the latest. Default false. */
  readonly whole?: boolean;
}

/** Lines kept for messages when the whole trace is not. */
const tailCount = 200;

export class Trace {
  readonly #whole: boolean;
  readonly #lines: string[] = [];
  #count = 0;
  #low = 0x811c9dc5 | 0;
  #high = 0x2f0b4c47 | 0;

  constructor(options: TraceOptions = {}) {
    this.#whole = options.whole ?? false;
  }

  /** `who` is a machine, or `-` for the world around them. */
  record(timeMs: number, who: string, what: string): void {
    const line = `${timeMs.toFixed(4)} ${who} ${what}`;
    let low = this.#low;
    let high = this.#high;
    for (let index = 0; index < line.length; index += 1) {
      const code = line.charCodeAt(index);
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high ^ code, 0x5bd1e995) ^ (high >>> 15);
    }
    this.#low = Math.imul(low ^ 10, 0x01000193);
    this.#high = Math.imul(high ^ 10, 0x5bd1e995);
    this.#count += 1;
    this.#lines.push(line);
    if (!this.#whole && this.#lines.length >= 2 * tailCount) this.#lines.splice(0, tailCount);
  }

  get count(): number {
    return this.#count;
  }

  /** 16 hexadecimal digits over every line so far. */
  get fingerprint(): string {
    return [this.#high, this.#low].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
  }

  /** The latest lines, oldest first. */
  tail(count = tailCount): string {
    return this.#lines.slice(-count).join("\n");
  }

  /** Every line; only for a trace that keeps the whole. */
  text(): string {
    if (!this.#whole) throw new AssertionError("this trace keeps only its tail; make the simulator with wholeTrace");
    return `${this.#lines.join("\n")}\n`;
  }
}
