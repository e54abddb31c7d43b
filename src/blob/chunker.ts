/**
 * Where a file is cut into chunks: content-defined chunking with a gear hash, normalised, as in "FastCDC: a Fast and
 * Efficient Content-Defined Chunking Approach for Data Deduplication" (Xia et al., USENIX ATC 2016) and "The Design of
 * Fast Content-Defined Chunking for Data Deduplication Based Storage Systems" (Xia et al., IEEE TPDS 2020).
 *
 * The hash at a place is a function of the 32 bytes before it: each byte shifts it left by one and adds the byte's number
 * from the gear table, in 32 bits. A chunk ends at the first place at least `sizeMin` behind its beginning where the hash,
 * taken as a signed number, is below a threshold: a low one (a quarter of the average's chance) before `normalSize`, a
 * high one (four times the average's) from there on; and at `sizeMax` in any case. That keeps most sizes near the
 * average. Comparing with a threshold instead of masking bits makes any average possible, not only powers of two.
 *
 * Invariants:
 *  1. The cuts depend on the bytes, the sizes and the table alone, not on how the bytes come in buffers.
 *  2. All chunks have `sizeMin` to `sizeMax` bytes, but the last of a file may be smaller.
 *  3. Cutting finds its way back: behind a change, the cuts are the same as before as soon as one cut is.
 *
 * `chunker.suite.ts` has the same in a few lines as they stand in `docs/format.md`, "File contents".
 */
import { assert, HoldfastError } from "../base/index.ts";
import { defaultGear } from "./chunker-gear.ts";
import type { GearTable } from "./chunker-gear.ts";

/** Bytes. */
export interface ChunkSizes {
  readonly sizeMin: number;
  readonly sizeAverage: number;
  readonly sizeMax: number;
}

/** What a bucket has that says nothing else. */
export const defaultChunkSizes: ChunkSizes = { sizeMin: 131_072, sizeAverage: 524_288, sizeMax: 2_097_152 };

/** Bounds of all three. */
export const chunkSizeBounds = { min: 4_096, max: 8_388_608 } as const;

/** Bytes that the hash depends on. */
const windowSize = 32;

/** Fails with `invalid` unless 4,096 ≤ min ≤ average ≤ max ≤ 8 MiB, in whole numbers. */
export function checkChunkSizes({ sizeMin, sizeAverage, sizeMax }: ChunkSizes): void {
  const { min, max } = chunkSizeBounds;
  const whole = [sizeMin, sizeAverage, sizeMax].every((size) => Number.isSafeInteger(size));
  if (whole && min <= sizeMin && sizeMin <= sizeAverage && sizeAverage <= sizeMax && sizeMax <= max) return;
  throw new HoldfastError(
    "invalid",
    `chunk sizes of ${sizeMin}, ${sizeAverage} and ${sizeMax} bytes: the smallest must be at least ${min}, the largest ` +
      `at most ${max}, and the average between the two`,
  );
}

/** Cuts one file after another. */
export class Chunker {
  readonly sizeMin: number;
  readonly sizeMax: number;
  readonly #normalSize: number;
  readonly #lowThreshold: number;
  readonly #highThreshold: number;
  readonly #gear: GearTable;
  /** Bytes of the current chunk that have been looked at without finding its end. */
  #seenSize = 0;

  constructor(sizes: ChunkSizes, gear: GearTable = defaultGear) {
    checkChunkSizes(sizes);
    assert(gear.length === 256, "a gear table has 256 numbers");
    const { sizeMin, sizeAverage, sizeMax } = sizes;
    this.sizeMin = sizeMin;
    this.sizeMax = sizeMax;
    // Where the high threshold begins so that the mean of the sizes is the average, within about 2 %: the exact place has
    // a logarithm, on which machines may differ.
    const normalSize = sizeMin + Math.max(0, Math.floor(((3 * sizeAverage - 4 * sizeMin) * 3) / 10));
    this.#normalSize = Math.min(normalSize, sizeMax);
    this.#lowThreshold = Math.floor(1_073_741_824 / sizeAverage) - 2_147_483_648;
    this.#highThreshold = Math.floor(17_179_869_184 / sizeAverage) - 2_147_483_648;
    this.#gear = gear;
  }

  /**
   * The end of the chunk that begins at `start`, if the bytes up to `end` tell it; else -1, and the next call must have
   * the same bytes and more, anywhere: what was looked at is not looked at again. `isLast`: the file ends at `end`, and
   * there is always an answer (-1 only when `start` is `end`).
   */
  cut(bytes: Uint8Array, start: number, end: number, isLast: boolean): number {
    const size = Math.min(end - start, this.sizeMax);
    let found = -1;
    if (size > this.#seenSize) found = this.#search(bytes, start, size);
    if (found < 0 && size > 0 && (size === this.sizeMax || isLast)) found = size;
    if (found < 0) return -1;
    this.reset();
    return start + found;
  }

  /** Forgets a chunk whose end was not found: what comes next is the beginning of a file. */
  reset(): void {
    this.#seenSize = 0;
  }

  /** The size of the chunk at `start` if it ends within `size` bytes; else -1, and they count as seen. */
  #search(bytes: Uint8Array, start: number, size: number): number {
    if (size < this.sizeMin) return -1;
    // Views of another class would make the loop slow for all callers.
    const plain =
      bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    const normal = this.#normalSize;
    let from = Math.max(this.#seenSize + 1, this.sizeMin);
    if (from < normal) {
      const to = Math.min(size, normal - 1);
      const found = scan(this.#gear, plain, start + from, start + to, this.#lowThreshold);
      if (found >= 0) return found - start;
      from = to + 1;
    }
    if (from <= size) {
      const found = scan(this.#gear, plain, start + from, start + size, this.#highThreshold);
      if (found >= 0) return found - start;
    }
    this.#seenSize = size;
    return -1;
  }
}

/**
 * The first place from `first` to `last`, both included, where the hash is below the threshold; -1 if there is none. There
 * are at least 31 bytes of the chunk before `first`, so the hash is made anew here, from the window.
 */
function scan(gear: GearTable, bytes: Uint8Array, first: number, last: number, threshold: number): number {
  // The casts hold since all indices are inside.
  let hash = 0;
  for (let at = first - windowSize; at < first - 1; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
  }
  // Eight at a time, since looking for the end costs as much as a step.
  let at = first - 1;
  for (; at <= last - 8; at += 8) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (hash < threshold) return at + 1;
    hash = ((hash << 1) + (gear[bytes[at + 1] as number] as number)) | 0;
    if (hash < threshold) return at + 2;
    hash = ((hash << 1) + (gear[bytes[at + 2] as number] as number)) | 0;
    if (hash < threshold) return at + 3;
    hash = ((hash << 1) + (gear[bytes[at + 3] as number] as number)) | 0;
    if (hash < threshold) return at + 4;
    hash = ((hash << 1) + (gear[bytes[at + 4] as number] as number)) | 0;
    if (hash < threshold) return at + 5;
    hash = ((hash << 1) + (gear[bytes[at + 5] as number] as number)) | 0;
    if (hash < threshold) return at + 6;
    hash = ((hash << 1) + (gear[bytes[at + 6] as number] as number)) | 0;
    if (hash < threshold) return at + 7;
    hash = ((hash << 1) + (gear[bytes[at + 7] as number] as number)) | 0;
    if (hash < threshold) return at + 8;
  }
  for (; at < last; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (hash < threshold) return at + 1;
  }
  return -1;
}
