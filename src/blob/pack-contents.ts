/**
 * What a pack contains, without the bodies: a list in memory while the pack grows, and the index file beside it once it
 * is sealed. The file's format is in `docs/format.md` ("Packs").
 *
 * 1. An index file states only what was durable in its pack when the file was written. It is a copy of what the pack
 *    says: missing, damaged or stale, it is made anew from the pack.
 * 2. Which records are deleted is not the business of a pack's own list: the records of deletions say that, wherever
 *    they are.
 */
import { equalBytes, readUint32LE, writeUint32LE } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { hashSize } from "./check.ts";
import { deletionSize, packIdSize } from "./pack-format.ts";
import type { Location } from "./pack-format.ts";
import type { Hash } from "./store.ts";

const indexMagic = Uint8Array.of(0x48, 0x46, 0x50, 0x49); // HFPI
const indexVersion = 1;
const indexHeaderSize = 28;
/** Hash, offset, stored size, raw size. */
const entrySize = hashSize + 12;
const checksumSize = 4;

export class PackContents {
  #blobs: Uint8Array;
  #blobCount: number;
  readonly #deletions: number[] = [];

  constructor(blobs: Uint8Array = new Uint8Array(16 * entrySize), blobCount = 0) {
    this.#blobs = blobs;
    this.#blobCount = blobCount;
  }

  get blobCount(): number {
    return this.#blobCount;
  }

  add(hash: Hash, offset: number, storedSize: number, rawSize: number): void {
    const at = this.#blobCount * entrySize;
    if (at === this.#blobs.length) {
      const grown = new Uint8Array(Math.max(16 * entrySize, 2 * at));
      grown.set(this.#blobs);
      this.#blobs = grown;
    }
    this.#blobs.set(hash, at);
    writeUint32LE(this.#blobs, at + hashSize, offset);
    writeUint32LE(this.#blobs, at + hashSize + 4, storedSize);
    writeUint32LE(this.#blobs, at + hashSize + 8, rawSize);
    this.#blobCount += 1;
  }

  addDeletion({ pack, offset }: Location): void {
    this.#deletions.push(pack, offset);
  }

  /** A view. */
  hashAt(index: number): Hash {
    return this.#blobs.subarray(index * entrySize, index * entrySize + hashSize);
  }

  offsetAt(index: number): number {
    return readUint32LE(this.#blobs, index * entrySize + hashSize);
  }

  storedSizeAt(index: number): number {
    return readUint32LE(this.#blobs, index * entrySize + hashSize + 4);
  }

  rawSizeAt(index: number): number {
    return readUint32LE(this.#blobs, index * entrySize + hashSize + 8);
  }

  *deletions(): Iterable<Location> {
    for (let at = 0; at < this.#deletions.length; at += 2) {
      yield { pack: this.#deletions[at] as number, offset: this.#deletions[at + 1] as number };
    }
  }

  /** The index file of a pack whose first `coveredSize` bytes these are the contents of. */
  encode(digest: Digest, id: Uint8Array, coveredSize: number): Uint8Array {
    const deletionCount = this.#deletions.length / 2;
    const blobsSize = this.#blobCount * entrySize;
    const bytes = new Uint8Array(indexHeaderSize + blobsSize + deletionCount * deletionSize + checksumSize);
    bytes.set(indexMagic);
    writeUint32LE(bytes, 4, indexVersion);
    bytes.set(id, 8);
    writeUint32LE(bytes, 16, coveredSize);
    writeUint32LE(bytes, 20, this.#blobCount);
    writeUint32LE(bytes, 24, deletionCount);
    bytes.set(this.#blobs.subarray(0, blobsSize), indexHeaderSize);
    for (const [index, value] of this.#deletions.entries()) {
      writeUint32LE(bytes, indexHeaderSize + blobsSize + 4 * index, value);
    }
    const end = bytes.length - checksumSize;
    writeUint32LE(bytes, end, digest.crc32(bytes.subarray(0, end)));
    return bytes;
  }
}

export interface DecodedIndex {
  readonly id: Uint8Array;
  /** So many bytes at the pack's start are described. */
  readonly coveredSize: number;
  readonly contents: PackContents;
}

/** Undefined if it is damaged, or of a version that this build does not know. */
export function decodeIndex(digest: Digest, bytes: Uint8Array): DecodedIndex | undefined {
  const end = bytes.length - checksumSize;
  if (end < indexHeaderSize || !equalBytes(bytes.subarray(0, 4), indexMagic)) return undefined;
  if (readUint32LE(bytes, 4) !== indexVersion) return undefined;
  if (digest.crc32(bytes.subarray(0, end)) !== readUint32LE(bytes, end)) return undefined;
  const blobCount = readUint32LE(bytes, 20);
  const deletionCount = readUint32LE(bytes, 24);
  const blobsEnd = indexHeaderSize + blobCount * entrySize;
  if (blobsEnd + deletionCount * deletionSize !== end) return undefined;
  const contents = new PackContents(bytes.subarray(indexHeaderSize, blobsEnd), blobCount);
  for (let at = blobsEnd; at < end; at += deletionSize) {
    contents.addDeletion({ pack: readUint32LE(bytes, at), offset: readUint32LE(bytes, at + 4) });
  }
  return { id: bytes.slice(8, 8 + packIdSize), coveredSize: readUint32LE(bytes, 16), contents };
}
