/** What every store checks of a put before it takes it. */
import { HoldfastError, limits } from "../base/index.ts";
import type { Hash, NamedBlob } from "./store.ts";

/** Bytes of a SHA-256. */
export const hashSize = 32;

/** Fails with `invalid` on what no store takes. */
export function checkPut(hash: Hash, bytes: Uint8Array): void {
  checkHash(hash);
  checkSize(bytes.length);
}

/** The same for a blob in its stored form, as far as it can be told without looking inside. */
export function checkPutStored({ hash, blob }: NamedBlob): void {
  checkHash(hash);
  checkSize(blob.size);
  checkSize(blob.bytes.length);
  if (blob.compressed || blob.size === blob.bytes.length) return;
  throw new HoldfastError(
    "invalid",
    `a blob that is not compressed is said to have ${blob.size} bytes and has ${blob.bytes.length}`,
  );
}

export function checkHash(hash: Hash): void {
  if (hash.length === hashSize) return;
  throw new HoldfastError("invalid", `a blob's hash is ${hash.length} bytes; a SHA-256 has ${hashSize}`);
}

function checkSize(size: number): void {
  if (size <= limits.blobSizeMax) return;
  throw new HoldfastError(
    "invalid",
    `blob is ${size} bytes; the limit is ${limits.blobSizeMax} (limits.blobSizeMax): cut it into chunks`,
  );
}
