/**
 * Immutable bytes by the hash of their content. Every implementation and combinator has this one shape and passes
 * `conformance.suite.ts`.
 *
 * Invariants:
 *  1. `get(h)` gives bytes whose SHA-256 is `h`, or undefined, or fails with `corrupt`; it never gives other bytes.
 *  2. A blob that was put and synced before a crash is there after it, unless it was deleted.
 *  3. Puts of the same bytes, at once or again, leave one blob.
 */

/** The SHA-256 of a blob's content: 32 bytes. */
export type Hash = Uint8Array;

export interface BlobStore {
  /**
   * Keeps `bytes` (at most `limits.blobSizeMax`; the store owns the array from now on) under `hash`, which the caller
   * has computed. Resolves when `get` finds it; durable after the next `sync`.
   * Rejects with `exhausted` when the disk is full.
   */
  put(hash: Hash, bytes: Uint8Array): Promise<void>;
  /** The content, verified; undefined if absent; `corrupt`, naming file and offset, if damaged. */
  get(hash: Hash): Promise<Uint8Array | undefined>;
  /** Whether it is there, without reading it. */
  has(hash: Hash): Promise<boolean>;
  /** Forgets blobs; absent ones are no error. Space comes back when a pack is compacted. */
  delete(hashes: readonly Hash[]): Promise<void>;
  /** Makes every put and delete that resolved before this call durable. */
  sync(): Promise<void>;
  /** Every blob there for the whole of the call, in no order; ones that come or go meanwhile may be missed. */
  list(): AsyncIterable<{ readonly hash: Hash; readonly size: number }>;
  close(): Promise<void>;
}

/** A blob in the form in which it is kept and sent. The name is always that of the content. */
export interface StoredBlob {
  /** Bytes of the content. */
  readonly size: number;
  /** Whether `bytes` is a zstd frame of the content (RFC 8878) or the content itself. */
  readonly compressed: boolean;
  readonly bytes: Uint8Array;
}

export interface NamedBlob {
  readonly hash: Hash;
  readonly blob: StoredBlob;
}

/**
 * A store of file chunks: blobs that come and go in their stored form, so that the work on the bytes (hashing,
 * compressing, encrypting) is done elsewhere, and that are collected by marking.
 */
export interface ChunkStore extends BlobStore {
  /**
   * Keeps blobs that somebody else has hashed and compressed; the store does not look inside. What is here already and
   * sound stays as it is and counts as put now. Resolves when `get` finds them all; durable after the next `sync`.
   */
  putStored(blobs: readonly NamedBlob[]): Promise<void>;
  /** As it is kept, its checksum checked but not its hash; undefined if absent; `corrupt`, naming the place, if damaged. */
  getStored(hash: Hash): Promise<StoredBlob | undefined>;
  /** Which of the blobs are here and sound. Those count as put now, so that a collection under way leaves them. */
  touch(hashes: readonly Hash[]): Promise<readonly boolean[]>;
}
