/** A batch of records as bytes: which blobs are compressed, and how records lie one behind the other. */
import type { Digest } from "../base/index.ts";
import { hashSize } from "./check.ts";
import { deletionCountMax, encodeDeletions, recordHeaderSize, recordTypes, writeRecordHeader } from "./pack-format.ts";
import type { Location, RecordHeader } from "./pack-format.ts";
import { compressed } from "./stored-blob.ts";

/** Bodies up to this size are copied next to their headers: cheaper than one more buffer for the system. */
const copySizeMax = 2_048;
const compressSizeMin = 512;
/** After so many blobs in a row that did not get smaller, only one in so many is tried. */
const compressPatience = 16;
const noHash = new Uint8Array(hashSize);

export interface EncodedRecord {
  readonly header: RecordHeader;
  readonly body: Uint8Array;
}

export interface Layout {
  readonly buffers: Uint8Array[];
  /** Where each of the records begins in the pack; those of deletions and the synced record follow. */
  readonly offsets: readonly number[];
  /** Where the last one ends. */
  readonly end: number;
}

/**
 * Lays records from offset `start` of a pack, behind them the deletions, and last a synced record if `claim`, the size
 * that it states, is not 0.
 */
export function layRecords(
  digest: Digest,
  salt: number,
  start: number,
  records: readonly EncodedRecord[],
  deletions: readonly Location[],
  claim: number,
): Layout {
  const extra: EncodedRecord[] = [];
  for (let at = 0; at < deletions.length; at += deletionCountMax) {
    const body = encodeDeletions(deletions.slice(at, at + deletionCountMax));
    const { length } = body;
    const bodyCrc = digest.crc32(body);
    const type = recordTypes.deletions;
    extra.push({ header: { type, bodyCrc, storedSize: length, rawSize: length, hash: noHash }, body });
  }
  if (claim > 0) {
    const header = { type: recordTypes.synced, bodyCrc: 0, storedSize: 0, rawSize: claim, hash: noHash };
    extra.push({ header, body: new Uint8Array(0) });
  }
  const all = extra.length === 0 ? records : [...records, ...extra];
  let slabSize = all.length * recordHeaderSize;
  for (const { body } of all) if (body.length <= copySizeMax) slabSize += body.length;
  const slab = new Uint8Array(slabSize);
  const buffers: Uint8Array[] = [];
  const offsets: number[] = [];
  let offset = start;
  let runStart = 0;
  let at = 0;
  for (const { header, body } of all) {
    writeRecordHeader(digest, salt, offset, header, slab.subarray(at, at + recordHeaderSize));
    offsets.push(offset);
    offset += recordHeaderSize + body.length;
    at += recordHeaderSize;
    if (body.length <= copySizeMax) {
      slab.set(body, at);
      at += body.length;
      continue;
    }
    buffers.push(slab.subarray(runStart, at), body);
    runStart = at;
  }
  if (at > runStart) buffers.push(slab.subarray(runStart, at));
  return { buffers, offsets, end: offset };
}

/** Compresses blobs one by one, and stops trying where it does not pay. */
export class Compressor {
  readonly #digest: Digest;
  /** Blobs in a row that did not get smaller, those not tried included. */
  #failedCount = 0;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** The blob as a zstd frame, if that is tried and saves at least an eighth. */
  compress(bytes: Uint8Array): Uint8Array | undefined {
    if (bytes.length < compressSizeMin) return undefined;
    this.#failedCount += 1;
    if (this.#failedCount > compressPatience && this.#failedCount % compressPatience !== 0) return undefined;
    const frame = compressed(this.#digest, bytes);
    if (frame !== undefined) this.#failedCount = 0;
    return frame;
  }
}
