/**
 * A blob in its stored form, and back. Trying to compress what does not get smaller is most of the work on photographs,
 * films and archives; so of a large blob a sample is tried first.
 */
import { equalBytes, HoldfastError, toHex } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import type { Hash, StoredBlob } from "./store.ts";

/** Below this nothing is compressed: a frame has 13 bytes or more around its content. */
const compressSizeMin = 64;
/** From this size on a sample is tried first: so many pieces of so many bytes, spread evenly. */
const sampleFrom = 65_536;
const sampleCount = 4;
const samplePieceSize = 4_096;

/** The bytes as a zstd frame if that saves at least an eighth; undefined where it does not, or the door cannot compress. */
export function compressed(digest: Digest, bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length < compressSizeMin) return undefined;
  if (bytes.length >= sampleFrom && !worthTrying(digest, bytes)) return undefined;
  const frame = digest.compress(bytes);
  return frame === undefined || frame.length > bytes.length - (bytes.length >>> 3) ? undefined : frame;
}

/** Whether a sample gets smaller by at least one part in 32: less than is asked of the whole, of which it knows little. */
function worthTrying(digest: Digest, bytes: Uint8Array): boolean {
  const sample = new Uint8Array(sampleCount * samplePieceSize);
  const step = Math.floor((bytes.length - samplePieceSize) / (sampleCount - 1));
  for (let index = 0; index < sampleCount; index++) {
    sample.set(bytes.subarray(index * step, index * step + samplePieceSize), index * samplePieceSize);
  }
  const frame = digest.compress(sample);
  return frame !== undefined && frame.length <= sample.length - (sample.length >>> 5);
}

/** `bytes` is shared with the result where it is not compressed. */
export function storeBlob(digest: Digest, bytes: Uint8Array, compress: boolean): StoredBlob {
  const frame = compress ? compressed(digest, bytes) : undefined;
  return { size: bytes.length, compressed: frame !== undefined, bytes: frame ?? bytes };
}

/** The content of blob `hash`, or what is wrong with it. At most `blob.size` bytes are allocated. */
export function contentOf(
  digest: Digest,
  hash: Hash,
  blob: StoredBlob,
): { readonly bytes: Uint8Array } | { readonly damage: string } {
  let { bytes } = blob;
  if (blob.compressed) {
    try {
      bytes = digest.decompress(bytes, blob.size);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return { damage: error.message };
    }
  }
  if (bytes.length !== blob.size) return { damage: `it holds ${bytes.length} bytes instead of ${blob.size}` };
  if (!equalBytes(digest.sha256(bytes), hash)) return { damage: "its content does not have its hash" };
  return { bytes };
}

/** The content of blob `hash`, at most `sizeMax` bytes. `corrupt` unless it has this hash. */
export function openBlob(digest: Digest, hash: Hash, blob: StoredBlob, sizeMax: number): Uint8Array {
  const opened =
    blob.size > sizeMax
      ? { damage: `it says that it has ${blob.size} bytes; the limit is ${sizeMax}` }
      : contentOf(digest, hash, blob);
  if ("bytes" in opened) return opened.bytes;
  throw new HoldfastError("corrupt", `blob ${toHex(hash)} is damaged: ${opened.damage}`);
}
