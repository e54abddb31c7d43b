/**
 * The tree of chunk lists over the chunks of one file. A list of level 1 names chunks, one of level n names lists of
 * level n - 1, each with the bytes of the file that it holds. The file's entry names the root and how many levels there
 * are: 0 when the only chunk is the root.
 *
 * Invariants:
 *  1. The lists depend only on the chunks, in their order: the same bytes, cut in the same way, have the same root.
 *  2. A list ends where the hash of its last child says so (`ends`), so that a change of one chunk changes the lists above
 *     it and, now and then, their neighbours.
 *  3. The root has more than one child.
 *
 * A list is no secret and nobody vouches for it: everything is checked when it is read, and its hash by whoever gets it.
 * Format: `docs/format.md`, "File contents".
 */
import { assert, HoldfastError, readUint32LE, readUint64LE, toHex, utf8Encode, writeUint64LE } from "../base/index.ts";
import { hashSize } from "./check.ts";
import { chunkSizeBounds } from "./chunker.ts";
import type { Hash } from "./store.ts";

/** Children of one list: at least so many, but for the last list of each level; at most so many; about 128 in the mean. */
export const listCountMin = 32;
export const listCountMax = 512;
/** Levels of lists. Enough for 2^53 chunks of one byte. */
export const contentDepthMax = 12;

const magic = utf8Encode("HFFL");
const version = 1;
const headerSize = 8;
const childSize = hashSize + 8;
/** A list ends behind a child whose hash, its first four bytes taken as a number, is below this: one child in 96. */
const endThreshold = Math.floor(2 ** 32 / 96);

export interface ContentChild {
  readonly hash: Hash;
  /** Bytes of the file. */
  readonly size: number;
}

/** Where the bytes of a file begin. */
export interface ContentRoot extends ContentChild {
  readonly depth: number;
}

export function encodeChunkList(level: number, children: readonly ContentChild[]): Uint8Array {
  const { length } = children;
  assert(level > 0 && level <= contentDepthMax && length > 0 && length <= listCountMax, "a chunk list over its limits");
  const bytes = new Uint8Array(headerSize + length * childSize);
  bytes.set(magic);
  bytes[4] = version;
  bytes[5] = level;
  bytes[6] = length;
  bytes[7] = length >>> 8;
  let at = headerSize;
  for (const { hash, size } of children) {
    bytes.set(hash, at);
    writeUint64LE(bytes, at + hashSize, size);
    at += childSize;
  }
  return bytes;
}

/**
 * The children of list `hash`, which is of this level and holds so many bytes of the file (undefined: any number). Their
 * hashes are parts of `bytes`. `corrupt` if it is not such a list.
 */
export function decodeChunkList(
  bytes: Uint8Array,
  hash: Hash,
  level: number,
  size: number | undefined,
): readonly ContentChild[] {
  const fail = (reason: string) => new HoldfastError("corrupt", `blob ${toHex(hash)} is no chunk list: ${reason}`);
  if (bytes.length < headerSize || magic.some((byte, index) => bytes[index] !== byte)) {
    throw fail("it does not begin like one");
  }
  if (bytes[4] !== version) throw fail(`it has version ${bytes[4]}; this program reads version ${version}`);
  if (bytes[5] !== level) throw fail(`it has level ${bytes[5]} instead of ${level}`);
  const count = (bytes[6] as number) | ((bytes[7] as number) << 8);
  if (count === 0 || count > listCountMax) throw fail(`it has ${count} children; the limit is ${listCountMax}`);
  if (bytes.length !== headerSize + count * childSize) throw fail(`${bytes.length} bytes for ${count} children`);
  const sizeMax = level === 1 ? chunkSizeBounds.max : Number.MAX_SAFE_INTEGER;
  const children: ContentChild[] = [];
  let sum = 0;
  for (let at = headerSize; at < bytes.length; at += childSize) {
    const childBytes = readUint64LE(bytes, at + hashSize);
    sum += childBytes;
    if (childBytes === 0 || childBytes > sizeMax || !Number.isSafeInteger(sum)) {
      throw fail(`child ${children.length} has ${childBytes} bytes; the limit is ${sizeMax}`);
    }
    children.push({ hash: bytes.subarray(at, at + hashSize), size: childBytes });
  }
  if (size !== undefined && sum !== size) throw fail(`its children have ${sum} bytes instead of ${size}`);
  return children;
}

/** Fails with `corrupt` on a root that no file can have. */
export function checkContentRoot({ hash, size, depth }: ContentRoot): void {
  const sound =
    hash.length === hashSize &&
    Number.isSafeInteger(size) &&
    size > 0 &&
    Number.isInteger(depth) &&
    depth >= 0 &&
    depth <= contentDepthMax &&
    (depth > 0 || size <= chunkSizeBounds.max);
  if (sound) return;
  throw new HoldfastError(
    "corrupt",
    `a file of ${size} bytes cannot have a root of ${hash.length} bytes at depth ${depth}; the deepest is ${contentDepthMax}`,
  );
}

/** Makes the lists while the chunks come. Memory: one list a level. */
export class ContentBuilder {
  readonly #emit: (level: number, bytes: Uint8Array) => Hash;
  /** The children of the list under way, by level - 1. */
  readonly #levels: ContentChild[][] = [[]];
  #size = 0;

  /** `emit` gets each list once, children before parents, and gives its hash. */
  constructor(emit: (level: number, bytes: Uint8Array) => Hash) {
    this.#emit = emit;
  }

  /** Bytes of the file so far. */
  get size(): number {
    return this.#size;
  }

  /** The next chunk. Its hash is kept as it is. */
  add(chunk: ContentChild): void {
    assert(chunk.size > 0 && chunk.hash.length === hashSize, "a chunk without bytes or name");
    this.#size += chunk.size;
    this.#add(1, chunk);
  }

  /** Ends the last lists. There must have been a chunk. */
  end(): ContentRoot {
    for (let level = 1; ; level++) {
      const children = this.#levels[level - 1];
      assert(children !== undefined, "a content without chunks");
      const only = children[0];
      // What is above has the rest of the file.
      if (level === this.#levels.length && children.length === 1 && only !== undefined) {
        return { ...only, depth: level - 1 };
      }
      if (children.length > 0) this.#flush(level);
    }
  }

  #add(level: number, child: ContentChild): void {
    while (this.#levels.length < level) this.#levels.push([]);
    const children = this.#levels[level - 1] as ContentChild[]; // The loop has made it.
    children.push(child);
    if (ends(children)) this.#flush(level);
  }

  #flush(level: number): void {
    assert(level <= contentDepthMax, "a content with too many levels");
    const children = this.#levels[level - 1] as ContentChild[]; // Called for levels that exist.
    this.#levels[level - 1] = [];
    let size = 0;
    for (const child of children) size += child.size;
    this.#add(level + 1, { hash: this.#emit(level, encodeChunkList(level, children)), size });
  }
}

/** Whether the list is complete. */
function ends(children: readonly ContentChild[]): boolean {
  const { length } = children;
  if (length < listCountMin) return false;
  if (length === listCountMax) return true;
  const last = children[length - 1] as ContentChild; // There are at least 32.
  return readUint32LE(last.hash, 0) < endThreshold;
}
