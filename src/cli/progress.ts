/**
 * One line of progress on a terminal: what, how far, rate, time left. In a pipe it stays silent. The line is redrawn at
 * most ten times a second, whatever the pace of the work; the rate is that of the last seconds.
 */
import { bytesText, countText, durationText } from "./output.ts";

const redrawMs = 100;
/** What is done sooner needs no progress. */
const quietMs = 250;
const barWidth = 16;
const narrowBarWidth = 8;
/** The rate shown is over the last so many milliseconds, looked at so often. */
const windowMs = 10_000;
const sampleMs = 500;
/** Beside its bytes a file takes about as long as so many. */
const sizePerFile = 65_536;

export interface ProgressOptions {
  /** What is being done: `importing`. */
  readonly label: string;
  /** The noun of `count`: `records`. */
  readonly noun: string;
  /** Bytes in all, where known from the start. */
  readonly sizeTotal?: number;
  /** What the rate counts: things (the default) or bytes. */
  readonly rate?: "count" | "size";
  readonly stream?: NodeJS.WriteStream;
}

/** What becomes known while the work goes on. */
export interface ProgressDetails {
  readonly sizeTotal?: number | undefined;
  readonly countTotal?: number | undefined;
  /** Bytes that the other side did not have. */
  readonly newSize?: number | undefined;
}

interface Sample {
  readonly ms: number;
  readonly count: number;
  readonly size: number;
}

export class Progress {
  readonly #options: ProgressOptions;
  readonly #stream: NodeJS.WriteStream;
  readonly #startedMs = performance.now();
  /** The oldest is at most `windowMs` old, or the last one before that. */
  readonly #samples: Sample[] = [{ ms: this.#startedMs, count: 0, size: 0 }];
  #drawnMs = -Infinity;
  #count = 0;
  #size = 0;
  #details: ProgressDetails = {};

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#stream = options.stream ?? process.stderr;
  }

  /** Says how far the work is: things done and bytes done, both since the start. */
  update(count: number, size: number, details: ProgressDetails = {}): void {
    this.#count = count;
    this.#size = size;
    this.#details = details;
    const nowMs = performance.now();
    if (!this.#stream.isTTY || nowMs - this.#drawnMs < redrawMs || nowMs - this.#startedMs < quietMs) return;
    this.#drawnMs = nowMs;
    this.#sample(nowMs);
    this.#draw(nowMs);
  }

  #sample(ms: number): void {
    const last = this.#samples.at(-1);
    if (last === undefined || ms - last.ms < sampleMs) return;
    this.#samples.push({ ms, count: this.#count, size: this.#size });
    while ((this.#samples[1]?.ms ?? ms) < ms - windowMs) this.#samples.shift();
  }

  /** Takes the line away; the next update draws it again. */
  clear(): void {
    this.#drawnMs = -Infinity;
    if (this.#stream.isTTY) this.#stream.write("\r\u001b[2K");
  }

  /** Milliseconds since the start. */
  get elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** A line of its own, above the progress. */
  remark(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  /** Whether anybody sees it. */
  get isShown(): boolean {
    return this.#stream.isTTY;
  }

  /** `1,234 records, 5.6 MB in 2.0 s (617 records/s)`. */
  get account(): string {
    const { elapsedMs } = this;
    const rate = this.#count / Math.max(elapsedMs / 1_000, 0.001);
    return `${countText(this.#count)} ${this.#options.noun}, ${bytesText(this.#size)} in ${durationText(elapsedMs)} (${countText(Math.round(rate))} ${this.#options.noun}/s)`;
  }

  #draw(nowMs: number): void {
    const { label, noun, rate } = this.#options;
    const { newSize } = this.#details;
    // A terminal that does not know its size says 0.
    const width = this.#stream.columns > 0 ? this.#stream.columns : 80;
    const [first] = this.#samples;
    const seconds = Math.max((nowMs - (first?.ms ?? 0)) / 1_000, 0.001);
    const perSecond = {
      count: Math.max(this.#count - (first?.count ?? 0), 0) / seconds,
      size: Math.max(this.#size - (first?.size ?? 0), 0) / seconds,
    };
    const parts = [
      `${countText(this.#count)} ${noun}`,
      bytesText(this.#size),
      ...(newSize === undefined ? [] : [`${bytesText(newSize)} new`]),
      rate === "size" ? `${bytesText(perSecond.size)}/s` : `${countText(Math.round(perSecond.count))}/s`,
    ];
    let bar = "";
    const far = this.#fraction(perSecond);
    if (far !== undefined) {
      const cells = width < 100 ? narrowBarWidth : barWidth;
      const filled = Math.round(far.fraction * cells);
      const percent = Math.floor(far.fraction * 100);
      bar = ` ${"█".repeat(filled)}${"░".repeat(cells - filled)} ${String(percent).padStart(3)} %`;
      if (far.fraction > 0.02 && far.leftMs < 360_000_000) parts.push(`${leftText(far.leftMs)} left`);
    }
    // Rather fewer words than half of one.
    let line = `${label}${bar}  ${parts.join("  ")}`;
    while (line.length >= width && parts.length > 1) {
      parts.splice(-2, 1);
      line = `${label}${bar}  ${parts.join("  ")}`;
    }
    this.#stream.write(`\r\u001b[2K${line.slice(0, width - 1)}`);
  }

  /** How much of the work is done, and how long the rest will take; undefined while the whole is not known. */
  #fraction(perSecond: {
    readonly count: number;
    readonly size: number;
  }): { readonly fraction: number; readonly leftMs: number } | undefined {
    const { sizeTotal = this.#options.sizeTotal, countTotal } = this.#details;
    if (sizeTotal === undefined) return undefined;
    const each = countTotal === undefined ? 0 : sizePerFile;
    const total = sizeTotal + (countTotal ?? 0) * each;
    if (total <= 0) return undefined;
    const done = Math.min(this.#size + this.#count * each, total);
    const pace = perSecond.size + perSecond.count * each;
    return { fraction: done / total, leftMs: pace > 0 ? ((total - done) / pace) * 1_000 : Infinity };
  }
}

/** Whole seconds: what is only guessed has no tenths. */
function leftText(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  return seconds < 60 ? `${seconds} s` : durationText(seconds * 1_000);
}
