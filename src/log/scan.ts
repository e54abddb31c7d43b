/**
 * Reads a whole segment and says what is in it: the sound batches from the beginning, where they end, and what the
 * bytes behind that mean.
 *
 * Only one durable write is in flight at a time, so a crash can spoil the last batch alone: a bad batch with a sound
 * one behind it, in the same segment or a later one, is damage, and a bad one with nothing behind it is a torn tail. To
 * keep a flipped bit in the last acknowledged batch from looking like a torn tail, the journal writes a fence, an empty
 * batch, soon after the log falls silent.
 */
import { HoldfastError } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { decodeBatch, decodeSegmentHeader, findBatchMagic, findNonZero, segmentHeaderSize } from "./segment.ts";
import type { Batch, SegmentHeader } from "./segment.ts";

export interface SegmentScan {
  /** Undefined when the header is damaged; then nothing else is known. */
  readonly header: SegmentHeader | undefined;
  /** Where each sound batch begins, and the batch. */
  readonly batches: readonly { readonly offset: number; readonly batch: Batch }[];
  /** Where the sound batches end. */
  readonly end: number;
  /** A sound batch behind a bad place at `end`: the bad place is damage. */
  readonly soundBehind: number | undefined;
  /** The bytes from `end` to here hold something, though no sound batch; equal to `end` if all are zero. */
  readonly strayEnd: number;
}

export function scanSegment(digest: Digest, bytes: Uint8Array): SegmentScan {
  const header = decodeSegmentHeader(digest, bytes);
  const batches: { offset: number; batch: Batch }[] = [];
  let end = segmentHeaderSize;
  if (header === undefined) return { header, batches, end, soundBehind: undefined, strayEnd: end };
  let position: number | undefined;
  for (;;) {
    const batch = decodeBatch(digest, header.nonce, bytes, end, end);
    if (batch === undefined || (position !== undefined && batch.position !== position)) break;
    batches.push({ offset: end, batch });
    position = batch.position + batch.records.length;
    end += batch.size;
  }
  return { header, batches, end, ...behind(digest, header, bytes, end) };
}

function behind(
  digest: Digest,
  header: SegmentHeader,
  bytes: Uint8Array,
  end: number,
): Pick<SegmentScan, "soundBehind" | "strayEnd"> {
  if (end >= bytes.length || findNonZero(bytes, end) < 0) return { soundBehind: undefined, strayEnd: end };
  for (let at = findBatchMagic(bytes, end); at >= 0; at = findBatchMagic(bytes, at + 1)) {
    if (decodeBatch(digest, header.nonce, bytes, at, at) !== undefined) return { soundBehind: at, strayEnd: end };
  }
  let strayEnd = bytes.length;
  while (bytes[strayEnd - 1] === 0) strayEnd--;
  return { soundBehind: undefined, strayEnd };
}

/** The error for damage, with the place and what can be done. */
export function damageError(path: string, offset: number, what: string): HoldfastError {
  return new HoldfastError("corrupt", `${damageText(path, offset, what)}; ${remedy}`);
}

/** How every report names a damaged place. */
export function damageText(path: string, offset: number, what: string): string {
  return `journal file ${path} is damaged at offset ${offset}: ${what}`;
}

const remedy =
  "the file is left as it is; restore the data directory from a backup, or replace this member by an empty one that copies from its peers";
