/**
 * One line of progress on a terminal: what, how far, rate, time left. In a pipe it stays silent. The line is redrawn at
 * most ten times a second, whatever the pace of the work.
 */
import { bytesText, countText, durationText } from "./output.ts";

const redrawMs = 100;
const barWidth = 16;

export interface ProgressOptions {
  /** What is being done: `importing`. */
  readonly label: string;
  /** The noun of `count`: `records`. */
  readonly noun: string;
  /** Bytes in all, where known. */
  readonly sizeTotal?: number;
  readonly stream?: NodeJS.WriteStream;
}

export class Progress {
  readonly #options: ProgressOptions;
  readonly #stream: NodeJS.WriteStream;
  readonly #startedMs = performance.now();
  #drawnMs = -Infinity;
  #count = 0;
  #size = 0;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#stream = options.stream ?? process.stderr;
  }

  /** Says how far the work is: things done and bytes done, both since the start. */
  update(count: number, size: number): void {
    this.#count = count;
    this.#size = size;
    const nowMs = performance.now();
    if (!this.#stream.isTTY || nowMs - this.#drawnMs < redrawMs) return;
    this.#drawnMs = nowMs;
    this.#draw(nowMs);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#stream.isTTY) this.#stream.write("\r\u001b[2K");
  }

  /** `1,234 records, 5.6 MB in 2.0 s (617 records/s)`. */
  get account(): string {
    const elapsedMs = performance.now() - this.#startedMs;
    const rate = this.#count / Math.max(elapsedMs / 1_000, 0.001);
    return `${countText(this.#count)} ${this.#options.noun}, ${bytesText(this.#size)} in ${durationText(elapsedMs)} (${countText(Math.round(rate))} ${this.#options.noun}/s)`;
  }

  #draw(nowMs: number): void {
    const { label, noun, sizeTotal } = this.#options;
    const seconds = Math.max((nowMs - this.#startedMs) / 1_000, 0.001);
    const parts = [
      `${countText(this.#count)} ${noun}`,
      bytesText(this.#size),
      `${countText(Math.round(this.#count / seconds))}/s`,
    ];
    let bar = "";
    if (sizeTotal !== undefined && sizeTotal > 0) {
      const fraction = Math.min(this.#size / sizeTotal, 1);
      const filled = Math.round(fraction * barWidth);
      bar = ` ${"█".repeat(filled)}${"░".repeat(barWidth - filled)} ${(fraction * 100).toFixed(0).padStart(3)} %`;
      if (fraction > 0.01) parts.push(`${durationText((seconds * 1_000 * (1 - fraction)) / fraction)} left`);
    }
    const line = `${label}${bar}  ${parts.join("  ")}`;
    const width = this.#stream.columns ?? 80;
    this.#stream.write(`\r\u001b[2K${line.length >= width ? line.slice(0, width - 1) : line}`);
  }
}
