/**
 * The journal: records on disk at dense positions, in preallocated segment files that are written durably (O_DSYNC), a
 * batch a write. Takes one batch at a time; `FileEngine` gathers what arrives meanwhile.
 *
 * Invariants:
 *  1. At most one write is in flight, and each is durable before the next begins. A write that fails stops the journal
 *     for good, since nobody knows what it left on the disk.
 *  2. A segment takes part only when its file is complete (zeros written, header, synced) under its name.
 *  3. Sequences of segments have no gap: segments are removed oldest first, each removal durable before the next.
 *  4. The first batch of a segment goes on at the position where the segment before ends.
 *
 * After a crash: every batch whose write resolved is there. The one in flight is there as a whole or cut off by `open`,
 * which overwrites what is left of it with zeros and says so in the log. Anything else is damage (`scan.ts`): `open`
 * refuses with `corrupt`, names the file and the offset, and changes nothing.
 *
 * Format: docs/format.md, "Journal segments".
 */
import { assert, HoldfastError, position } from "../base/index.ts";
import type { DiskFile, Env, Position } from "../base/index.ts";
import { damageError, scanSegment } from "./scan.ts";
import type { SegmentScan } from "./scan.ts";
import { SegmentReader } from "./segment-reader.ts";
import {
  batchHeaderSize,
  batchSeed,
  batchSize,
  encodeBatch,
  encodeSegmentHeader,
  segmentHeaderSize,
  segmentName,
  segmentSequence,
} from "./segment.ts";
import type { SegmentHeader } from "./segment.ts";
import type { LogBatch } from "./engine.ts";

export type JournalEnv = Pick<Env, "clock" | "disk" | "random" | "digest" | "logger">;

export interface JournalOptions {
  /** Size of the first segment file in bytes; each next one is twice as large, up to `segmentSizeMax`. Default 1 MiB. */
  readonly segmentSizeMin?: number;
  /** Default 64 MiB. A batch that is larger gets a segment of its own size. */
  readonly segmentSizeMax?: number;
}

/** What the journal knows of a segment. Positions and offsets are kept sparsely, one pair for about 64 KiB. */
export interface Segment {
  readonly path: string;
  readonly header: SegmentHeader;
  /** Position of the first record; -1 as long as it is a spare. */
  firstPosition: number;
  /** Where its batches end; -1 when that has not been read (it ends where the next segment begins). */
  end: number;
  readonly knownPositions: number[];
  readonly knownOffsets: number[];
}

const knownDistance = 65_536;
const zerosSize = 1_048_576;

export class Journal {
  readonly #env: JournalEnv;
  readonly #directory: string;
  readonly #segmentSizeMin: number;
  readonly #segmentSizeMax: number;
  /** In order; the last one is written to. */
  #segments: Segment[] = [];
  #spare: Segment | undefined;
  #preparing: Promise<void> | undefined;
  #file: DiskFile | undefined;
  #tail = 0;
  #failure: HoldfastError | undefined;
  #closed = false;
  #writing = false;
  #buffer = new Uint8Array(65_536);
  #writtenSize = 0;

  private constructor(env: JournalEnv, directory: string, options: JournalOptions) {
    this.#env = env;
    this.#directory = directory;
    this.#segmentSizeMin = options.segmentSizeMin ?? 1_048_576;
    this.#segmentSizeMax = options.segmentSizeMax ?? 67_108_864;
  }

  /** Opens the journal in a directory, or makes an empty one there. The caller holds the disk's lock. */
  static async open(env: JournalEnv, directory: string, options: JournalOptions = {}): Promise<Journal> {
    const journal = new Journal(env, directory, options);
    await journal.#open();
    return journal;
  }

  /** The first position that can be read. */
  get start(): Position {
    return position((this.#segments[0] as Segment).firstPosition);
  }

  /** One past the last durable record. */
  get tail(): Position {
    return position(this.#tail);
  }

  /** Why the journal has stopped, if it has. */
  get failure(): HoldfastError | undefined {
    return this.#failure;
  }

  /** Bytes of all segment files. */
  get size(): number {
    const segments = this.#spare === undefined ? this.#segments : [...this.#segments, this.#spare];
    return segments.reduce((sum, segment) => sum + segment.header.size, 0);
  }

  /** Bytes of batches written since `open`. */
  get writtenSize(): number {
    return this.#writtenSize;
  }

  /**
   * Writes the records as one batch behind the tail and moves the tail when they are durable. With no records it writes
   * a fence. One call at a time. Rejects with `exhausted`, having written nothing, when there is no space for another
   * segment; with any other error the journal has stopped.
   */
  async append(records: readonly Uint8Array[]): Promise<void> {
    assert(!this.#writing, "the journal takes one batch at a time");
    this.#writing = true;
    try {
      await this.#append(records);
    } finally {
      this.#writing = false;
    }
  }

  async #append(records: readonly Uint8Array[]): Promise<void> {
    this.#checkOpen();
    const size = batchSize(records);
    // Behind every batch with records there is room for the fence that protects it.
    const room = records.length === 0 ? size : size + batchHeaderSize;
    let segment = this.#segments[this.#segments.length - 1] as Segment;
    let file = this.#file as DiskFile;
    if (segment.end + room > segment.header.size) {
      // No room for a fence is only behind another one.
      if (records.length === 0) return;
      ({ segment, file } = await this.#takeSpare(segmentHeaderSize + room));
    }
    const { digest } = this.#env;
    const offset = segment.end;
    const bytes = this.#reserve(size);
    encodeBatch(digest, batchSeed(digest, segment.header.nonce, offset), this.#tail, records, bytes);
    try {
      await file.write([bytes], offset);
    } catch (error) {
      throw this.#fail(error, `writing ${segment.path} at offset ${offset} failed`);
    }
    this.#writtenSize += size;
    if (segment.firstPosition < 0) this.#activate(segment, file);
    note(segment, this.#tail, offset);
    segment.end = offset + size;
    this.#tail += records.length;
  }

  #reserve(size: number): Uint8Array {
    if (this.#buffer.length < size) {
      // What is larger than usual is not kept.
      if (size > 4 * zerosSize) return new Uint8Array(size);
      this.#buffer = new Uint8Array(2 ** Math.ceil(Math.log2(size)));
    }
    return this.#buffer.subarray(0, size);
  }

  /** The spare, opened for writing, once it can hold `size` bytes. It joins the segments when its first batch is durable. */
  async #takeSpare(size: number): Promise<{ segment: Segment; file: DiskFile }> {
    await this.#preparing;
    if (this.#spare !== undefined && this.#spare.header.size < size) {
      const { path } = this.#spare;
      this.#spare = undefined;
      await this.#remove(path);
    }
    if (this.#spare === undefined) await this.#prepare(size);
    const segment = this.#spare;
    assert(segment !== undefined, "a segment was prepared");
    return { segment, file: await this.#env.disk.open(segment.path, "write", { durable: true }) };
  }

  #activate(segment: Segment, file: DiskFile): void {
    segment.firstPosition = this.#tail;
    this.#segments.push(segment);
    this.#spare = undefined;
    const before = this.#file;
    this.#file = file;
    // Its last write was durable, so nothing depends on how this ends.
    before?.close().catch(() => {});
    this.#prepareSoon();
  }

  /** Makes the next segment while this one fills. If it fails, the append that needs it tries again and tells. */
  #prepareSoon(): void {
    this.#preparing = this.#prepare(0).catch((error: unknown) => {
      this.#env.logger.log("warn", "preparing a journal segment failed", { error: String(error) });
    });
  }

  async #prepare(sizeMin: number): Promise<void> {
    const { disk, random, digest } = this.#env;
    const last = this.#segments[this.#segments.length - 1];
    const sequence = last === undefined ? 1 : last.header.sequence + 1;
    const usual = last === undefined ? this.#segmentSizeMin : Math.min(2 * last.header.size, this.#segmentSizeMax);
    const header = { sequence, nonce: random.bytes(16), size: Math.max(usual, sizeMin) };
    const path = `${this.#directory}/${segmentName(sequence)}`;
    await disk.makeDirectory(this.#directory);
    const file = await disk.open(`${path}.new`, "write");
    try {
      const zeros = new Uint8Array(Math.min(header.size, zerosSize));
      await file.truncate(0);
      await file.write([encodeSegmentHeader(digest, header)], 0);
      for (let offset = segmentHeaderSize; offset < header.size; offset += zeros.length) {
        await file.write([zeros.subarray(0, Math.min(zeros.length, header.size - offset))], offset);
      }
      await file.sync();
    } catch (error) {
      await file.close();
      await disk.remove(`${path}.new`).catch(() => {});
      throw error;
    }
    await file.close();
    await disk.rename(`${path}.new`, path);
    await disk.syncDirectory(this.#directory);
    this.#spare = { path, header, firstPosition: -1, end: segmentHeaderSize, knownPositions: [], knownOffsets: [] };
  }

  #checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw new HoldfastError("unavailable", "the journal is closed");
  }

  #fail(error: unknown, what: string): HoldfastError {
    this.#failure ??= new HoldfastError(
      "unavailable",
      `${what}; the journal takes nothing more, since the disk's content is unknown: check the disk and restart (${String(error)})`,
      { maybe: true, cause: error },
    );
    return this.#failure;
  }

  async #open(): Promise<void> {
    const { disk } = this.#env;
    await disk.makeDirectory(this.#directory);
    const parent = this.#directory.split("/").slice(0, -1).join("/");
    await disk.syncDirectory(parent);
    const unsorted: number[] = [];
    for (const name of await disk.list(this.#directory)) {
      const sequence = segmentSequence(name);
      if (sequence !== undefined) unsorted.push(sequence);
      else if (name.endsWith(".log.new")) await disk.remove(`${this.#directory}/${name}`);
    }
    const sequences = unsorted.toSorted((a, b) => a - b);
    this.#checkGaps(sequences);
    const active = await this.#findActive(sequences);
    if (active === undefined) {
      await this.#create();
      return;
    }
    for (const sequence of sequences.slice(0, active.index)) this.#segments.push(await this.#readStart(sequence));
    await this.#resume(sequences[active.index] as number, active.scan, active.bytes);
    for (const sequence of sequences.slice(active.index + 1)) await this.#adopt(sequence);
    if (this.#spare === undefined) this.#prepareSoon();
    // The recovered records are in front of a sound batch from now on.
    await this.append([]);
  }

  #checkGaps(sequences: readonly number[]): void {
    for (let index = 1; index < sequences.length; index++) {
      const expected = (sequences[index - 1] as number) + 1;
      if (sequences[index] !== expected) {
        throw damageError(
          `${this.#directory}/${segmentName(expected)}`,
          0,
          "the file is missing between its neighbours",
        );
      }
    }
  }

  /** The last segment that holds a sound batch, if one does. Damage in it or behind it is thrown. */
  async #findActive(
    sequences: readonly number[],
  ): Promise<{ index: number; scan: SegmentScan; bytes: Uint8Array } | undefined> {
    for (let index = sequences.length - 1; index >= 0; index--) {
      const path = this.#path(sequences[index] as number);
      const { scan, bytes } = await this.#scan(path);
      if (scan.header === undefined) {
        // Without its header a file's batches cannot be told from noise, unless there is nothing in it at all.
        const empty = bytes.subarray(segmentHeaderSize).every((byte) => byte === 0);
        if (!empty || index < sequences.length - 1 || index === 0)
          throw damageError(path, 0, "the header is not sound");
        continue;
      }
      if (scan.soundBehind !== undefined) throw badBatch(path, scan);
      if (scan.header.size !== bytes.length) throw sizeError(path, bytes.length, scan.header.size);
      if (scan.batches.length > 0) return { index, scan, bytes };
    }
    return undefined;
  }

  async #scan(path: string): Promise<{ scan: SegmentScan; bytes: Uint8Array }> {
    const file = await this.#env.disk.open(path, "read");
    try {
      const bytes = await file.read(0, await file.size());
      return { scan: scanSegment(this.#env.digest, bytes), bytes };
    } finally {
      await file.close();
    }
  }

  #path(sequence: number): string {
    return `${this.#directory}/${segmentName(sequence)}`;
  }

  /** A segment that later ones follow: its first batch says where it begins; the rest is checked when it is read. */
  async #readStart(sequence: number): Promise<Segment> {
    const path = this.#path(sequence);
    const reader = await SegmentReader.open(this.#env, path);
    try {
      const { header } = reader;
      if (header.sequence !== sequence) throw damageError(path, 8, `it says that it is segment ${header.sequence}`);
      const first = await reader.batchAt(segmentHeaderSize);
      if (first === undefined) throw damageError(path, segmentHeaderSize, "the first batch is not sound");
      const before = this.#segments[this.#segments.length - 1];
      if (before !== undefined && before.firstPosition > first.position) {
        throw damageError(path, segmentHeaderSize, `it begins at position ${first.position}, before its predecessor`);
      }
      return { path, header, firstPosition: first.position, end: -1, knownPositions: [], knownOffsets: [] };
    } finally {
      await reader.close();
    }
  }

  /** Goes on behind the last sound batch of the last segment that has one. */
  async #resume(sequence: number, scan: SegmentScan, bytes: Uint8Array): Promise<void> {
    const { disk, logger } = this.#env;
    const path = this.#path(sequence);
    const header = scan.header as SegmentHeader;
    if (header.sequence !== sequence) throw damageError(path, 8, `it says that it is segment ${header.sequence}`);
    const first = scan.batches[0] as (typeof scan.batches)[0];
    const last = scan.batches[scan.batches.length - 1] as (typeof scan.batches)[0];
    const segment: Segment = {
      path,
      header,
      firstPosition: first.batch.position,
      end: scan.end,
      knownPositions: [],
      knownOffsets: [],
    };
    for (const { offset, batch } of scan.batches) note(segment, batch.position, offset);
    this.#segments.push(segment);
    this.#tail = last.batch.position + last.batch.records.length;
    this.#file = await disk.open(path, "write", { durable: true });
    // The last batch can be read and yet not be durable: its write failed, or its process ended before it was done. What
    // a system could not write it may take for written, so only writing it again makes it durable.
    await this.#file.write([bytes.subarray(last.offset, scan.end)], last.offset);
    if (scan.strayEnd > scan.end) {
      logger.log("warn", "cut off a torn write at the journal's tail", {
        path,
        offset: scan.end,
        size: scan.strayEnd - scan.end,
      });
      await this.#zero(this.#file, scan.end, scan.strayEnd);
    }
  }

  async #zero(file: DiskFile, from: number, to: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(zerosSize, to - from));
    // From the end, so that a crash meanwhile leaves what is there at the front, and the next `open` cuts again.
    for (let end = to; end > from; end = Math.max(from, end - zeros.length)) {
      const start = Math.max(from, end - zeros.length);
      await file.write([zeros.subarray(0, end - start)], start);
    }
  }

  /** A segment behind the active one holds no sound batch: it was prepared, or its first write was torn. */
  async #adopt(sequence: number): Promise<void> {
    const { disk, logger } = this.#env;
    const path = this.#path(sequence);
    const { scan } = await this.#scan(path);
    if (scan.header === undefined || this.#spare !== undefined || scan.header.size < this.#segmentSizeMin) {
      await this.#remove(path);
      return;
    }
    if (scan.strayEnd > scan.end) {
      logger.log("warn", "cut off a torn write at the journal's tail", {
        path,
        offset: scan.end,
        size: scan.strayEnd - scan.end,
      });
      const file = await disk.open(path, "write", { durable: true });
      await this.#zero(file, scan.end, scan.strayEnd);
      await file.close();
    }
    const { header } = scan;
    this.#spare = { path, header, firstPosition: -1, end: segmentHeaderSize, knownPositions: [], knownOffsets: [] };
  }

  /** The first segment, with a fence at position 0 so that it counts as begun. */
  async #create(): Promise<void> {
    for (const name of await this.#env.disk.list(this.#directory)) {
      const sequence = segmentSequence(name);
      if (sequence === undefined) continue;
      // Only the first segment can be there without a batch: its very first write never became durable.
      if (sequence > 1)
        throw damageError(`${this.#directory}/${name}`, segmentHeaderSize, "the first batch is not sound");
      await this.#env.disk.remove(`${this.#directory}/${name}`);
    }
    const { segment, file } = await this.#takeSpare(segmentHeaderSize + batchHeaderSize);
    const { digest } = this.#env;
    const bytes = new Uint8Array(batchHeaderSize);
    encodeBatch(digest, batchSeed(digest, segment.header.nonce, segment.end), 0, [], bytes);
    await file.write([bytes], segment.end);
    note(segment, 0, segment.end);
    segment.end += bytes.length;
    this.#activate(segment, file);
  }

  /**
   * The batches that hold the records from `from` up to the tail at the time of each step, fences left out. `trimmed`
   * when `from` is below the start; `corrupt`, naming file and offset, at a damaged batch.
   */
  async *read(from: Position): AsyncGenerator<LogBatch, void, undefined> {
    let next: number = from;
    while (next < this.#tail) {
      const wanted = next;
      if (wanted < this.start) throw trimmedError(wanted, this.start);
      const segment = this.#segments.findLast(({ firstPosition }) => firstPosition <= wanted) as Segment;
      for await (const batch of this.#readSegment(segment, wanted)) {
        yield batch;
        next = batch.position + batch.records.length;
      }
      const index = this.#segments.indexOf(segment);
      const following = this.#segments[index + 1];
      // A segment that was trimmed meanwhile is followed by whatever is left: the next step finds it.
      if (index >= 0 && following !== undefined && next < following.firstPosition) {
        throw damageError(segment.path, segment.end, `records ${next} to ${following.firstPosition - 1} are missing`);
      }
    }
  }

  /** The batches of a segment from `from` on, the first of them cut to begin there. */
  async *#readSegment(segment: Segment, from: number): AsyncGenerator<LogBatch, void, undefined> {
    const known = segment.knownPositions.findLastIndex((place) => place <= from);
    let offset = known < 0 ? segmentHeaderSize : (segment.knownOffsets[known] as number);
    let next = known < 0 ? segment.firstPosition : (segment.knownPositions[known] as number);
    const reader = await this.#openReader(segment, from);
    try {
      for (;;) {
        const active = segment === this.#segments[this.#segments.length - 1];
        // What is behind the end of the active segment may be in the middle of being written.
        if (active ? offset >= segment.end : next >= this.#endPosition(segment)) break;
        const batch = await reader.batchAt(offset);
        if (batch === undefined || batch.position !== next) {
          // The end of a segment that was trimmed together with the one behind it.
          if (next < this.start) throw trimmedError(next, this.start);
          throw damageError(segment.path, offset, "the batch is not sound, though later ones are there");
        }
        note(segment, next, offset);
        offset += batch.size;
        next += batch.records.length;
        if (next <= from || batch.records.length === 0) continue;
        const skip = Math.max(0, from - batch.position);
        yield {
          position: position(batch.position + skip),
          records: skip === 0 ? batch.records : batch.records.slice(skip),
        };
      }
      if (segment.end < 0) segment.end = offset;
    } finally {
      await reader.close();
    }
  }

  async #openReader(segment: Segment, from: number): Promise<SegmentReader> {
    try {
      return await SegmentReader.open(this.#env, segment.path);
    } catch (error) {
      if (from < this.start) throw trimmedError(from, this.start);
      throw error;
    }
  }

  #endPosition(segment: Segment): number {
    const following = this.#segments[this.#segments.indexOf(segment) + 1];
    return following?.firstPosition ?? this.#tail;
  }

  /** Removes the segments that lie wholly below `before`; answers the new start. */
  async trim(before: Position): Promise<Position> {
    while (this.#segments.length > 1 && (this.#segments[1] as Segment).firstPosition <= before) {
      // Readers must know that it is gone before it is.
      const [oldest] = this.#segments.splice(0, 1) as [Segment];
      try {
        await this.#remove(oldest.path);
      } catch (error) {
        // It goes first the next time: a removal of the one behind it would leave a gap (3).
        this.#segments.unshift(oldest);
        throw error;
      }
    }
    return this.start;
  }

  /** Durable when it resolves. That the file is gone already is no error: then its removal may not have been durable. */
  async #remove(path: string): Promise<void> {
    const { disk } = this.#env;
    try {
      await disk.remove(path);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    }
    await disk.syncDirectory(this.#directory);
  }

  /** The segments there are, oldest first, for `verify`. */
  segments(): readonly Segment[] {
    return [...this.#segments];
  }

  /** Waits for work under way. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#preparing;
    await this.#file?.close();
  }
}

function note(segment: Segment, place: number, offset: number): void {
  const last = segment.knownOffsets[segment.knownOffsets.length - 1];
  if (last !== undefined && offset < last + knownDistance) return;
  segment.knownPositions.push(place);
  segment.knownOffsets.push(offset);
}

function sizeError(path: string, size: number, headerSize: number): HoldfastError {
  return damageError(path, size, `the file ends here; its header says ${headerSize} bytes`);
}

function badBatch(path: string, scan: SegmentScan): HoldfastError {
  return damageError(path, scan.end, `the batch is not sound, though one at offset ${scan.soundBehind} is`);
}

function trimmedError(from: number, start: number): HoldfastError {
  return new HoldfastError("trimmed", `position ${from} has been trimmed from the log; it begins at ${start}`);
}
