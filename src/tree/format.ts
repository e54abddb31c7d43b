/**
 * The bytes of a page and of a large value: docs/format.md, "Tree pages". Nothing here knows about memory or loading.
 *
 * A page is a header and entries one after another, in key order. A leaf's entry holds its value, or the hash and size
 * of a blob with the value if that is longer than `limits.inlineValueSizeMax`, a limit which therefore belongs to the
 * format: changing it changes the hashes of equal states. An inner page's entry holds a child: its hash, what it has
 * below, and the key that begins it (empty for the leftmost of a height, which begins before every key).
 *
 * Pages and large values carry the tree's seed, so that no two trees have a blob in common and one may delete its own;
 * a large value carries its key, so that no two entries do.
 */
import { HoldfastError, limits } from "../base/index.ts";
import { levelMax, seedSize } from "./boundary.ts";

const pageMagic = [0x48, 0x46, 0x54, 0x50] as const; // "HFTP"
const valueMagic = [0x48, 0x46, 0x54, 0x56] as const; // "HFTV"
export const formatVersion = 1;
const hashSize = 32;

/** Magic, version, level, u32 number of entries, seed. */
export const pageHeaderSize = 4 + 1 + 1 + 4 + seedSize;
/** u16 size of the key, u16 size of the value or `largeMark`. */
export const leafEntryHeaderSize = 4;
/** u16 size of the key; u48 entries, u48 bytes and u48 large values below; the hash. */
export const innerEntryHeaderSize = 2 + 6 + 6 + 6 + hashSize;
/** Stands for the size of a value that is a blob of its own; u32 size and hash follow the key instead of it. */
export const largeMark = 0xffff;
export const largeReferenceSize = 4 + hashSize;
/** Magic, version, seed, u16 size of the key. */
export const valueHeaderSize = 4 + 1 + seedSize + 2;

/** What a subtree holds; sums of what is below. */
export interface Totals {
  entryCount: number;
  /** Keys and values, in bytes. */
  dataSize: number;
  /** Values that are blobs of their own. */
  largeCount: number;
}

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (readU16(bytes, at) | (readU16(bytes, at + 2) << 16)) >>> 0;
}

export function readU48(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + readU16(bytes, at + 4) * 0x1_0000_0000;
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value);
  writeU16(bytes, at + 2, value >>> 16);
}

export function writeU48(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, value);
  writeU16(bytes, at + 4, Math.floor(value / 0x1_0000_0000));
}

/**
 * A hash as a string of 16 code units, two bytes each: it takes a third of the memory of a byte array, compares fast
 * and can be a map's key. The empty string stands for "none yet".
 */
export type HashText = string;

export function hashText(bytes: Uint8Array, at = 0): HashText {
  return String.fromCharCode(
    readU16(bytes, at),
    readU16(bytes, at + 2),
    readU16(bytes, at + 4),
    readU16(bytes, at + 6),
    readU16(bytes, at + 8),
    readU16(bytes, at + 10),
    readU16(bytes, at + 12),
    readU16(bytes, at + 14),
    readU16(bytes, at + 16),
    readU16(bytes, at + 18),
    readU16(bytes, at + 20),
    readU16(bytes, at + 22),
    readU16(bytes, at + 24),
    readU16(bytes, at + 26),
    readU16(bytes, at + 28),
    readU16(bytes, at + 30),
  );
}

export function writeHash(bytes: Uint8Array, at: number, hash: HashText): void {
  for (let unit = 0; unit < 16; unit++) writeU16(bytes, at + 2 * unit, hash.charCodeAt(unit));
}

export function hashBytes(hash: HashText): Uint8Array {
  const bytes = new Uint8Array(hashSize);
  writeHash(bytes, 0, hash);
  return bytes;
}

/** For messages: the first 8 bytes in hexadecimal. */
export function hashName(hash: HashText): string {
  let name = "";
  for (const byte of hashBytes(hash).subarray(0, 8)) name += byte.toString(16).padStart(2, "0");
  return name;
}

export function corrupt(what: string): HoldfastError {
  return new HoldfastError("corrupt", `tree page: ${what}`);
}

export function writePageHeader(bytes: Uint8Array, level: number, entryCount: number, seed: Uint8Array): void {
  bytes.set(pageMagic, 0);
  bytes[4] = formatVersion;
  bytes[5] = level;
  writeU32(bytes, 6, entryCount);
  bytes.set(seed, 10);
}

export interface ParsedPage extends Totals {
  readonly level: number;
  /** Where each entry starts. */
  readonly offsets: number[];
}

/**
 * Finds the entries of an encoded page and checks all that can be checked in the page alone: magic, version, seed,
 * bounds, sizes, strictly ascending keys, nothing after the last entry. `corrupt` says what is wrong.
 */
export function parsePage(bytes: Uint8Array, seed: Uint8Array): ParsedPage {
  if (bytes.length < pageHeaderSize) throw corrupt(`${bytes.length} bytes are too few for a header`);
  checkHeader(bytes, pageMagic, "page");
  for (let i = 0; i < seedSize; i++)
    if (bytes[10 + i] !== seed[i]) throw corrupt("it belongs to a tree with another seed");
  const level = bytes[5] as number;
  if (level > levelMax) throw corrupt(`level ${level} is above ${levelMax}`);
  const count = readU32(bytes, 6);
  const leaf = level === 0;
  const headerSize = leaf ? leafEntryHeaderSize : innerEntryHeaderSize;
  if (count > (bytes.length - pageHeaderSize) / headerSize)
    throw corrupt(`${count} entries do not fit into ${bytes.length} bytes`);
  if (!leaf && count === 0) throw corrupt("an inner page has no child");

  const offsets: number[] = [];
  const totals = { entryCount: leaf ? count : 0, dataSize: 0, largeCount: 0 };
  let at = pageHeaderSize;
  let previousAt = 0;
  let previousSize = -1;
  for (let index = 0; index < count; index++) {
    if (at + headerSize > bytes.length) throw corrupt(`entry ${index} passes the end`);
    const keySize = readU16(bytes, at);
    if (keySize > limits.treeKeySizeMax)
      throw corrupt(`key ${index} is ${keySize} bytes; the limit is ${limits.treeKeySizeMax}`);
    const keyAt = at + headerSize;
    let end = keyAt + keySize;
    if (leaf) {
      const word = readU16(bytes, at + 2);
      let valueSize = word;
      if (word === largeMark) {
        if (end + largeReferenceSize > bytes.length) throw corrupt(`entry ${index} passes the end`);
        valueSize = readU32(bytes, end);
        if (valueSize <= limits.inlineValueSizeMax || valueSize > limits.treeValueSizeMax) {
          throw corrupt(`value ${index} of ${valueSize} bytes is a blob of its own`);
        }
        end += largeReferenceSize;
        totals.largeCount++;
      } else {
        if (word > limits.inlineValueSizeMax) throw corrupt(`value ${index} of ${word} bytes stands in the page`);
        end += word;
      }
      totals.dataSize += keySize + valueSize;
    } else {
      totals.entryCount += readU48(bytes, at + 2);
      totals.dataSize += readU48(bytes, at + 8);
      totals.largeCount += readU48(bytes, at + 14);
      if (index > 0 && keySize === 0) throw corrupt(`child ${index} has no key`);
    }
    if (end > bytes.length) throw corrupt(`entry ${index} passes the end`);
    if (index > 0 && compareRanges(bytes, previousAt, previousSize, keyAt, keySize) >= 0) {
      throw corrupt(`key ${index} is not above the one before it`);
    }
    offsets.push(at);
    previousAt = keyAt;
    previousSize = keySize;
    at = end;
  }
  if (at !== bytes.length) throw corrupt(`${bytes.length - at} bytes follow the last entry`);
  return { level, offsets, ...totals };
}

function checkHeader(bytes: Uint8Array, magic: readonly number[], what: string): void {
  if (magic.some((byte, i) => bytes[i] !== byte)) throw corrupt(`the ${what}'s magic is wrong`);
  if (bytes[4] !== formatVersion)
    throw corrupt(`the ${what}'s version is ${bytes[4]}; this code reads ${formatVersion}`);
}

function compareRanges(bytes: Uint8Array, aAt: number, aSize: number, bAt: number, bSize: number): number {
  const size = Math.min(aSize, bSize);
  for (let i = 0; i < size; i++) {
    const order = (bytes[aAt + i] as number) - (bytes[bAt + i] as number);
    if (order !== 0) return order;
  }
  return aSize - bSize;
}

/** The blob of a large value. */
export function encodeLargeValue(seed: Uint8Array, key: Uint8Array, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(valueHeaderSize + key.length + value.length);
  bytes.set(valueMagic, 0);
  bytes[4] = formatVersion;
  bytes.set(seed, 5);
  writeU16(bytes, 5 + seedSize, key.length);
  bytes.set(key, valueHeaderSize);
  bytes.set(value, valueHeaderSize + key.length);
  return bytes;
}

/** Key and value in the blob of a large value, as views of it. */
export function parseLargeValue(bytes: Uint8Array, seed: Uint8Array): TreeLargeValue {
  if (bytes.length < valueHeaderSize) throw corrupt(`${bytes.length} bytes are too few for a value's header`);
  checkHeader(bytes, valueMagic, "value");
  for (let i = 0; i < seedSize; i++)
    if (bytes[5 + i] !== seed[i]) throw corrupt("the value belongs to a tree with another seed");
  const keyEnd = valueHeaderSize + readU16(bytes, 5 + seedSize);
  if (keyEnd > bytes.length) throw corrupt("the value's key passes the end");
  return { key: bytes.subarray(valueHeaderSize, keyEnd), value: bytes.subarray(keyEnd) };
}

export interface TreeLargeValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}
