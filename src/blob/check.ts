/** What every store checks of a put before it takes it. */
import { HoldfastError, limits } from "../base/index.ts";
import type { Hash } from "./store.ts";

/** Bytes of a SHA-256. */
export const hashSize = 32;

/** Fails with `invalid` on what no store takes. */
export function checkPut(hash: Hash, bytes: Uint8Array): void {
  if (hash.length !== hashSize) {
    throw new HoldfastError("invalid", `a blob's hash is ${hash.length} bytes; a SHA-256 has ${hashSize}`);
  }
  if (bytes.length > limits.blobSizeMax) {
    throw new HoldfastError(
      "invalid",
      `blob is ${bytes.length} bytes; the limit is ${limits.blobSizeMax} (limits.blobSizeMax): cut it into chunks`,
    );
  }
}
