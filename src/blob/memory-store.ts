/**
 * Blobs in memory: for tests, for caches, and for a store that lives as long as its process.
 *
 * Durability: none; `sync` does nothing. With a digest door every get is verified like that of a store on a disk, which
 * finds a caller who changed bytes after giving them away.
 */
import { fromHex, HoldfastError, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { checkPut } from "./check.ts";
import type { BlobStore, Hash } from "./store.ts";

export class MemoryBlobStore implements BlobStore {
  readonly #digest: Env["digest"] | undefined;
  /** By the hash in hexadecimal digits. */
  readonly #blobs = new Map<string, Uint8Array>();
  #size = 0;
  #closed = false;

  constructor(env?: Pick<Env, "digest">) {
    this.#digest = env?.digest;
  }

  /** Number of blobs, and the bytes of them all. */
  status(): { readonly blobCount: number; readonly blobSize: number } {
    return { blobCount: this.#blobs.size, blobSize: this.#size };
  }

  async put(hash: Hash, bytes: Uint8Array): Promise<void> {
    this.#checkOpen();
    checkPut(hash, bytes);
    const name = toHex(hash);
    if (this.#blobs.has(name)) return;
    this.#blobs.set(name, bytes);
    this.#size += bytes.length;
  }

  /** The array is the caller's. */
  async get(hash: Hash): Promise<Uint8Array | undefined> {
    this.#checkOpen();
    const bytes = this.#blobs.get(toHex(hash));
    if (bytes === undefined) return undefined;
    if (this.#digest !== undefined && toHex(this.#digest.sha256(bytes)) !== toHex(hash)) {
      throw new HoldfastError(
        "corrupt",
        `blob ${toHex(hash)} in memory is not what was put: somebody changed its bytes, which the store owns since the put`,
      );
    }
    return bytes.slice();
  }

  async has(hash: Hash): Promise<boolean> {
    this.#checkOpen();
    return this.#blobs.has(toHex(hash));
  }

  async delete(hashes: readonly Hash[]): Promise<void> {
    this.#checkOpen();
    for (const hash of hashes) {
      const name = toHex(hash);
      this.#size -= this.#blobs.get(name)?.length ?? 0;
      this.#blobs.delete(name);
    }
  }

  async sync(): Promise<void> {
    this.#checkOpen();
  }

  async *list(): AsyncIterable<{ readonly hash: Hash; readonly size: number }> {
    this.#checkOpen();
    // A map iterates in the order of insertion and bears changes meanwhile.
    for (const [name, bytes] of this.#blobs) yield { hash: fromHex(name), size: bytes.length };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#blobs.clear();
    this.#size = 0;
  }

  #checkOpen(): void {
    if (this.#closed) throw new HoldfastError("unavailable", "the blob store in memory is closed");
  }
}
