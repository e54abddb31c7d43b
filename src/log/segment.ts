/**
 * One segment file of the journal: its header and its batches, as bytes. The grammar stands in docs/format.md,
 * "Journal segments".
 *
 * A batch is what one durable write holds. Its checksum continues from the segment's nonce and the batch's own offset,
 * so that bytes that were left or moved from elsewhere never pass for a batch of this place.
 */
import {
  assert,
  equalBytes,
  limits,
  readUint32LE,
  readUint64LE,
  utf8Encode,
  writeUint32LE,
  writeUint64LE,
} from "../base/index.ts";
import type { Digest } from "../base/index.ts";

/** Bytes before the first batch. */
export const segmentHeaderSize = 64;
/** Bytes of a batch before the sizes of its records. */
export const batchHeaderSize = 24;

const segmentMagic = utf8Encode("HFJOURN1");
/** "HFJB" read as little-endian number. */
const batchMagic = 0x424a_4648;
const nonceSize = 16;

export interface SegmentHeader {
  /** Counts the segments of a journal, from 1. */
  readonly sequence: number;
  /** 16 random bytes, drawn for this file. */
  readonly nonce: Uint8Array;
  /** Size of the whole file in bytes, zeros included. */
  readonly size: number;
}

/** magic 8, sequence 8, size 8, nonce 16, zeros 20, CRC-32 of all before 4. */
export function encodeSegmentHeader(digest: Digest, header: SegmentHeader): Uint8Array {
  assert(header.nonce.length === nonceSize, "a segment's nonce has 16 bytes");
  const bytes = new Uint8Array(segmentHeaderSize);
  bytes.set(segmentMagic, 0);
  writeUint64LE(bytes, 8, header.sequence);
  writeUint64LE(bytes, 16, header.size);
  bytes.set(header.nonce, 24);
  writeUint32LE(bytes, 60, digest.crc32(bytes.subarray(0, 60)));
  return bytes;
}

/** Undefined when the bytes are no header of this version. */
export function decodeSegmentHeader(digest: Digest, bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderSize) return undefined;
  if (!equalBytes(bytes.subarray(0, 8), segmentMagic)) return undefined;
  if (readUint32LE(bytes, 60) !== digest.crc32(bytes.subarray(0, 60))) return undefined;
  return { sequence: readUint64LE(bytes, 8), size: readUint64LE(bytes, 16), nonce: bytes.slice(24, 24 + nonceSize) };
}

/** What the checksum of a batch at `offset` continues from. */
export function batchSeed(digest: Digest, nonce: Uint8Array, offset: number): number {
  const place = new Uint8Array(8);
  writeUint64LE(place, 0, offset);
  return digest.crc32(place, digest.crc32(nonce));
}

/** The size of a batch with these records, in bytes. */
export function batchSize(records: readonly Uint8Array[]): number {
  let size = batchHeaderSize + 4 * records.length;
  for (const record of records) size += record.length;
  return size;
}

/**
 * Writes a batch to the beginning of `target`: magic 4, CRC-32 of all behind it 4, size of what follows the header 4,
 * number of records 4, position of the first record 8, the records' sizes 4 each, the records.
 */
export function encodeBatch(
  digest: Digest,
  seed: number,
  position: number,
  records: readonly Uint8Array[],
  target: Uint8Array,
): void {
  let offset = batchHeaderSize + 4 * records.length;
  for (let index = 0; index < records.length; index++) {
    const record = records[index] as Uint8Array;
    writeUint32LE(target, batchHeaderSize + 4 * index, record.length);
    target.set(record, offset);
    offset += record.length;
  }
  writeUint32LE(target, 0, batchMagic);
  writeUint32LE(target, 8, offset - batchHeaderSize);
  writeUint32LE(target, 12, records.length);
  writeUint64LE(target, 16, position);
  writeUint32LE(target, 4, digest.crc32(target.subarray(8, offset), seed));
}

export interface Batch {
  /** Position of the first record, or of the next one if there is none. */
  readonly position: number;
  /** Views of the bytes that were decoded. */
  readonly records: readonly Uint8Array[];
  /** Bytes of the batch. */
  readonly size: number;
}

/**
 * The size of the batch that begins at `bytes[at]` as its header says, unchecked; 0 when there is no batch header, or
 * one that no writer makes. For a reader that must know how much to read.
 */
export function announcedBatchSize(bytes: Uint8Array, at: number): number {
  if (bytes.length - at < batchHeaderSize || readUint32LE(bytes, at) !== batchMagic) return 0;
  const size = readUint32LE(bytes, at + 8);
  const count = readUint32LE(bytes, at + 12);
  if (4 * count > size || size > 4 * count + batchDataSizeMax) return 0;
  return batchHeaderSize + size;
}

/** No batch holds more bytes of records: one of the largest size with what describes it, or many smaller ones. */
export const batchDataSizeMax: number = limits.recordSizeMax + 65_536;

/** The batch at `bytes[at]`, which stands at `offset` of the segment; undefined if it is not whole and sound. */
export function decodeBatch(
  digest: Digest,
  nonce: Uint8Array,
  bytes: Uint8Array,
  at: number,
  offset: number,
): Batch | undefined {
  const size = announcedBatchSize(bytes, at);
  if (size === 0 || at + size > bytes.length) return undefined;
  const checksum = digest.crc32(bytes.subarray(at + 8, at + size), batchSeed(digest, nonce, offset));
  if (checksum !== readUint32LE(bytes, at + 4)) return undefined;
  const count = readUint32LE(bytes, at + 12);
  const position = readUint64LE(bytes, at + 16);
  const records: Uint8Array[] = [];
  let next = at + batchHeaderSize + 4 * count;
  for (let index = 0; index < count; index++) {
    const recordSize = readUint32LE(bytes, at + batchHeaderSize + 4 * index);
    if (next + recordSize > at + size) return undefined;
    records.push(bytes.subarray(next, next + recordSize));
    next += recordSize;
  }
  if (next !== at + size || !Number.isSafeInteger(position)) return undefined;
  return { position, records, size };
}

/** The first offset in `bytes`, from `at` on, where a batch header may begin; -1 if there is none. */
export function findBatchMagic(bytes: Uint8Array, at: number): number {
  const first = batchMagic & 0xff;
  for (let index = bytes.indexOf(first, at); index >= 0; index = bytes.indexOf(first, index + 1)) {
    if (index + 4 <= bytes.length && readUint32LE(bytes, index) === batchMagic) return index;
  }
  return -1;
}

/** The first byte that is not zero, from `at` on; -1 if there is none. */
export function findNonZero(bytes: Uint8Array, at: number): number {
  let index = at;
  // Whole words where the array allows, since this reads whole segments.
  while (index < bytes.length && (bytes.byteOffset + index) % 4 !== 0) if (bytes[index++] !== 0) return index - 1;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + index, (bytes.length - index) >>> 2);
  let word = 0;
  while (word < words.length && words[word] === 0) word++;
  for (index += 4 * word; index < bytes.length; index++) if (bytes[index] !== 0) return index;
  return -1;
}

/** A journal's file name for a segment. */
export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(12, "0")}.log`;
}

/** The sequence of a segment's file name; undefined for any other name. */
export function segmentSequence(name: string): number | undefined {
  const match = /^(\d{12})\.log$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}
