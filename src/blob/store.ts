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
