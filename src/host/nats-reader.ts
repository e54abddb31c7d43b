/**
 * What one engine knows of a stream: how far it has been read, the newest batches, and where older ones are.
 *
 *  1. Messages are taken in the order of their sequences, each once; `end` is the position behind the last one taken.
 *  2. What `end` covers is in the stream for good.
 */
import { HoldfastError, position, Signal } from "../base/index.ts";
import type { Position } from "../base/index.ts";
import { RecentBatches } from "../log/index.ts";
import type { LogBatch } from "../log/index.ts";
import { Assembler } from "./nats-part.ts";
import type { NatsPart } from "./nats-part.ts";
import type { NatsStream } from "./nats-stream.ts";

const recentSizeMax = 16_777_216;
/** Messages that are asked for at the same time. */
const windowCount = 16;
/** Messages whose positions are remembered. */
const placeCountMax = 65_536;

export class NatsReader {
  readonly stream: NatsStream;
  readonly recent = new RecentBatches(recentSizeMax);
  readonly grown = new Signal();
  readonly #onPart: (part: NatsPart) => void;
  readonly #assembler = new Assembler();
  /** Positions and sequences of the newest messages, ascending. */
  #places: { readonly position: number; readonly sequence: number }[] = [];
  #first = 1;
  #last = 0;
  #start = 0;
  #end = 0;
  #taking: Promise<void> | undefined;
  #isAskedAgain = false;

  /** `onPart` is told of every message that is taken. */
  constructor(stream: NatsStream, onPart: (part: NatsPart) => void) {
    this.stream = stream;
    this.#onPart = onPart;
  }

  /** Finds where the stream begins and ends. `corrupt` when messages are missing that a log cannot be without. */
  async open(): Promise<void> {
    const { first, last, count } = await this.stream.state();
    if (last === 0) return;
    const [oldest, newest] = [await this.stream.get(first), await this.stream.get(last)];
    if (count !== last - first + 1 || oldest === undefined || newest === undefined) {
      throw new HoldfastError(
        "corrupt",
        `the stream ${this.stream.name} on NATS lacks messages from ${first} to ${last}: it was purged or changed by somebody else`,
      );
    }
    const isWhole = newest.part === newest.parts - 1;
    [this.#first, this.#start] = [first, oldest.position];
    // Parts that come later make it whole, or it is void: it is read again from its first.
    this.#last = isWhole ? last : last - newest.part - 1;
    this.#end = isWhole ? newest.position + newest.count : newest.position;
    this.#places = [{ position: newest.position, sequence: last - newest.part }];
    if (isWhole) this.#onPart(newest);
  }

  get start(): Position {
    return position(this.#start);
  }

  get end(): Position {
    return position(this.#end);
  }

  /** The sequence of the last message that was taken. */
  get last(): number {
    return this.#last;
  }

  /** A message that is in the stream: the next one, or one that has been taken already. */
  take(part: NatsPart, sequence: number): void {
    if (sequence !== this.#last + 1) return;
    this.#last = sequence;
    this.#places.push({ position: part.position, sequence: sequence - part.part });
    if (this.#places.length > placeCountMax) this.#places = this.#places.slice(placeCountMax / 2);
    const batch = this.#assembler.add(part);
    if (batch !== undefined) {
      this.recent.push(batch);
      this.#end = batch.position + batch.records.length;
    }
    this.#onPart(part);
    this.grown.notify();
  }

  /** Takes what the stream has now. Whoever asks meanwhile has what was there when he asked. */
  async advance(): Promise<void> {
    this.#isAskedAgain = true;
    while (this.#isAskedAgain) {
      this.#taking ??= this.#takeAll().finally(() => (this.#taking = undefined));
      await this.#taking;
    }
  }

  async #takeAll(): Promise<void> {
    this.#isAskedAgain = false;
    // One at a time would never come to the end where somebody appends as fast as that.
    for (let count = 1; ; count = Math.min(2 * count, windowCount)) {
      const first = this.#last + 1;
      const parts = await Promise.all(Array.from({ length: count }, (_, index) => this.stream.get(first + index)));
      for (const [index, part] of parts.entries()) {
        if (part !== undefined) this.take(part, first + index);
        else if (this.#last < first + index) return;
      }
    }
  }

  /** Batches from a position on, from the stream, up to where it is known. */
  async *stored(from: Position): AsyncGenerator<LogBatch, void, undefined> {
    const assembler = new Assembler();
    let next = await this.#sequenceOf(from);
    const asked: Promise<NatsPart | undefined>[] = [];
    const ask = () => {
      const part = this.stream.get(next + asked.length);
      // Whoever has gone does not take them.
      part.catch(() => {});
      asked.push(part);
    };
    while (next <= this.#last) {
      while (asked.length < windowCount && next + asked.length <= this.#last) ask();
      const part = await asked.shift();
      if (part === undefined) return this.#refreshStart();
      next += 1;
      const batch = assembler.add(part);
      if (batch === undefined || batch.position + batch.records.length <= from) continue;
      const skipped = Math.max(0, from - batch.position);
      yield skipped === 0 ? batch : { position: from, records: batch.records.slice(skipped) };
    }
  }

  /** The message that holds a position, or an earlier one that is near. */
  async #sequenceOf(wanted: number): Promise<number> {
    const places = this.#places;
    const [oldest] = places;
    if (oldest !== undefined && oldest.position <= wanted) {
      let [low, high] = [0, places.length - 1];
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if ((places[middle] as { position: number }).position <= wanted) low = middle;
        else high = middle - 1;
      }
      return (places[low] as { sequence: number }).sequence;
    }
    let [low, high] = [this.#first, oldest?.sequence ?? this.#last];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      const part = await this.stream.get(middle);
      if (part === undefined) {
        await this.#refreshStart();
        low = Math.max(low, this.#first);
        if (middle >= this.#first) throw new HoldfastError("unavailable", `message ${middle} of the stream is missing`);
      } else if (part.position <= wanted) low = middle;
      else high = middle - 1;
    }
    const found = await this.stream.get(low);
    return Math.max(this.#first, low - (found?.part ?? 0));
  }

  /** Somebody has trimmed the log, here or elsewhere. */
  async #refreshStart(): Promise<void> {
    const { first } = await this.stream.state();
    const oldest = await this.stream.get(first);
    if (oldest === undefined || first < this.#first) return;
    this.#first = first;
    this.#start = Math.max(this.#start, oldest.position);
    this.recent.trim(this.#start);
    this.#places = this.#places.filter(({ sequence }) => sequence >= first);
    this.grown.notify();
  }

  /** The last message always stays: it says where the log ends. */
  async trim(before: Position): Promise<Position> {
    await this.#refreshStart();
    if (before > this.#start && this.#last > 0) {
      const sequence = Math.min(await this.#sequenceOf(Math.min(before, this.#end)), this.#last);
      if (sequence > this.#first) await this.stream.purge(sequence);
      await this.#refreshStart();
    }
    return this.start;
  }
}
