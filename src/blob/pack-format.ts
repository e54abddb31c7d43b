/**
 * The bytes of a pack: its header and the headers of its records, as `docs/format.md` describes them ("Packs").
 *
 * 1. The checksum of a record's header starts from the pack's salt and the record's offset. So bytes that look like a
 *    record but were written for another pack or place (a blob may hold a copy of a pack) are never taken for one.
 * 2. A header that passes its checksum can be trusted, whatever became of the body: where the next record begins, and
 *    which blob is lost if the body is damaged, are known.
 */
import { equalBytes, HoldfastError, limits, readUint32LE, writeUint32LE } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { hashSize } from "./check.ts";

const packMagic = Uint8Array.of(0x48, 0x46, 0x50, 0x4b); // HFPK
const packVersion = 1;
const packHeaderCopySize = 24;
export const packIdSize = 8;
/** Two copies, so that no single damage makes a pack unreadable. */
export const packHeaderSize = 2 * packHeaderCopySize;

/** The last byte of a record's magic says what it is. */
export const recordTypes = {
  /** A blob as it is. */
  blob: 0x62,
  /** A blob as one zstd frame. */
  zstd: 0x7a,
  /** Places of records that are deleted. */
  deletions: 0x64,
  /** A statement: so many bytes at the start of this pack were durable before this record was written. */
  synced: 0x73,
} as const;
export type RecordType = (typeof recordTypes)[keyof typeof recordTypes];
const knownTypes: ReadonlySet<number> = new Set(Object.values(recordTypes));

export const recordHeaderSize = 52;
/** Bytes of one place in a record of deletions: pack and offset. */
export const deletionSize = 8;
/** Places in one record of deletions. */
export const deletionCountMax = 65_536;

/** Where a record begins. */
export interface Location {
  /** The pack's number, from 1. */
  readonly pack: number;
  readonly offset: number;
}

export interface PackHeader {
  readonly number: number;
  /** Random; distinguishes packs of the same number. */
  readonly id: Uint8Array;
}

export interface RecordHeader {
  readonly type: RecordType;
  readonly bodyCrc: number;
  /** Bytes of the body as stored. */
  readonly storedSize: number;
  /** Bytes of the blob; of a synced record, the size that it states. */
  readonly rawSize: number;
  /** Of the blob; zeros in records that hold none. */
  readonly hash: Uint8Array;
}

export function encodePackHeader(digest: Digest, header: PackHeader): Uint8Array {
  const bytes = new Uint8Array(packHeaderSize);
  bytes.set(packMagic);
  writeUint32LE(bytes, 4, packVersion);
  bytes.set(header.id, 8);
  writeUint32LE(bytes, 16, header.number);
  writeUint32LE(bytes, 20, digest.crc32(bytes.subarray(0, 20)));
  bytes.copyWithin(packHeaderCopySize, 0, packHeaderCopySize);
  return bytes;
}

/** From the first copy that is whole; undefined if none is. A version of the future is refused with `invalid`. */
export function decodePackHeader(digest: Digest, bytes: Uint8Array, path: string): PackHeader | undefined {
  for (const at of [0, packHeaderCopySize]) {
    const copy = bytes.subarray(at, at + packHeaderCopySize);
    if (copy.length < packHeaderCopySize || !equalBytes(copy.subarray(0, 4), packMagic)) continue;
    if (digest.crc32(copy.subarray(0, 20)) !== readUint32LE(copy, 20)) continue;
    const version = readUint32LE(copy, 4);
    if (version !== packVersion) {
      throw new HoldfastError(
        "invalid",
        `${path} is a pack of version ${version}; this build knows version ${packVersion}: use a newer one`,
      );
    }
    return { number: readUint32LE(copy, 16), id: copy.slice(8, 8 + packIdSize) };
  }
  return undefined;
}

/** Whether both copies are whole. */
export function isPackHeaderIntact(digest: Digest, bytes: Uint8Array): boolean {
  const first = bytes.subarray(0, packHeaderCopySize);
  return (
    bytes.length === packHeaderSize &&
    equalBytes(first, bytes.subarray(packHeaderCopySize)) &&
    equalBytes(first.subarray(0, 4), packMagic) &&
    digest.crc32(first.subarray(0, 20)) === readUint32LE(first, 20)
  );
}

/** What the checksums of a pack's records start from, together with their offsets. */
export function saltOf(digest: Digest, id: Uint8Array): number {
  return digest.crc32(id);
}

export function writeRecordHeader(
  digest: Digest,
  salt: number,
  offset: number,
  header: RecordHeader,
  into: Uint8Array,
): void {
  into[0] = 0x48;
  into[1] = 0x46;
  into[2] = 0x52;
  into[3] = header.type;
  writeUint32LE(into, 8, header.bodyCrc);
  writeUint32LE(into, 12, header.storedSize);
  writeUint32LE(into, 16, header.rawSize);
  into.set(header.hash, 20);
  writeUint32LE(into, 4, headerCrc(digest, salt, offset, into));
}

/** The header at the start of `bytes`, which are at `offset` of the pack; undefined if there is none to be trusted. */
export function readRecordHeader(
  digest: Digest,
  salt: number,
  offset: number,
  bytes: Uint8Array,
): RecordHeader | undefined {
  if (bytes.length < recordHeaderSize || bytes[0] !== 0x48 || bytes[1] !== 0x46 || bytes[2] !== 0x52) return undefined;
  const type = bytes[3] as number;
  if (!knownTypes.has(type)) return undefined;
  if (headerCrc(digest, salt, offset, bytes) !== readUint32LE(bytes, 4)) return undefined;
  const storedSize = readUint32LE(bytes, 12);
  const rawSize = readUint32LE(bytes, 16);
  if (storedSize > limits.blobSizeMax || (type !== recordTypes.synced && rawSize > limits.blobSizeMax))
    return undefined;
  return {
    type: type as RecordType,
    bodyCrc: readUint32LE(bytes, 8),
    storedSize,
    rawSize,
    hash: bytes.subarray(20, 20 + hashSize),
  };
}

/** Type and magic, and everything after the checksum itself. */
function headerCrc(digest: Digest, salt: number, offset: number, bytes: Uint8Array): number {
  // The type is mixed into the start, so that one call over one range covers everything that can vary.
  const start = (salt ^ offset ^ ((bytes[3] as number) << 24)) >>> 0;
  return digest.crc32(bytes.subarray(8, recordHeaderSize), start);
}

export function encodeDeletions(locations: readonly Location[]): Uint8Array {
  const bytes = new Uint8Array(locations.length * deletionSize);
  for (const [index, { pack, offset }] of locations.entries()) {
    writeUint32LE(bytes, index * deletionSize, pack);
    writeUint32LE(bytes, index * deletionSize + 4, offset);
  }
  return bytes;
}

export function decodeDeletions(body: Uint8Array): Location[] {
  const locations: Location[] = [];
  for (let at = 0; at + deletionSize <= body.length; at += deletionSize) {
    locations.push({ pack: readUint32LE(body, at), offset: readUint32LE(body, at + 4) });
  }
  return locations;
}

/** `00000001.pack`: eight digits or, past that many packs, more. */
export function packName(number: number): string {
  return `${String(number).padStart(8, "0")}.pack`;
}

export function indexName(number: number): string {
  return `${String(number).padStart(8, "0")}.index`;
}
