/**
 * Blobs in their stored form on the wire: as parts that follow each other, the first of which says what the blob is.
 */
import { bool, bytes, concatBytes, limits, message, uint32 } from "../base/index.ts";
import type { Infer, Init } from "../base/index.ts";
import type { StoredBlob } from "./store.ts";

export const StoredPart = message("holdfast.blob.StoredPart", {
  /** Of a blob that was asked for: which of the request's hashes. */
  index: uint32(1),
  /** Of a blob that is put, its hash; in the first part only. */
  hash: bytes(2),
  /** Bytes of the content, and of the blob as it is stored; in the first part only. */
  size: uint32(3),
  storedSize: uint32(4),
  compressed: bool(5),
  bytes: bytes(6),
});
type StoredPart = Infer<typeof StoredPart>;

/** Makes the parts of one blob. */
export function storedPart(
  blob: StoredBlob,
  name: { readonly index?: number; readonly hash?: Uint8Array },
): (some: Uint8Array, first: boolean) => Init<typeof StoredPart> {
  const { size, compressed } = blob;
  return (some, first) =>
    first ? { ...name, size, storedSize: blob.bytes.length, compressed, bytes: some } : { bytes: some };
}

export interface Assembled {
  /** The part that began it. */
  readonly first: StoredPart;
  readonly blob: StoredBlob;
}

/**
 * Puts blobs together again. Sizes are checked before anything is kept, and no more is kept than has arrived. What does
 * not fit is told to `fail`, which makes the error.
 */
export class StoredAssembly {
  readonly #fail: (what: string) => Error;
  #first: StoredPart | undefined;
  #parts: Uint8Array[] = [];
  #filled = 0;

  constructor(fail: (what: string) => Error) {
    this.#fail = fail;
  }

  /** Takes the next part; gives the blob that it completes. */
  take(part: StoredPart): Assembled | undefined {
    if (this.#first === undefined) {
      checkFirst(part, this.#fail);
      this.#first = part;
    } else if (part.bytes.length === 0) {
      throw this.#fail("sent an empty part");
    }
    const first = this.#first;
    this.#parts.push(part.bytes);
    this.#filled += part.bytes.length;
    if (this.#filled > first.storedSize) throw this.#fail("sent parts that do not make up one blob");
    if (this.#filled < first.storedSize) return undefined;
    // Copied, so that a small blob that is kept does not keep the message that it came in.
    const blob = { size: first.size, compressed: first.compressed, bytes: concatBytes(this.#parts) };
    this.#first = undefined;
    this.#parts = [];
    this.#filled = 0;
    return { first, blob };
  }

  /** No part follows. */
  end(): void {
    if (this.#first !== undefined) throw this.#fail("ended in the middle of a blob");
  }
}

function checkFirst({ size, storedSize, compressed, bytes: some }: StoredPart, fail: (what: string) => Error): void {
  const most = Math.max(size, storedSize);
  if (most > limits.blobSizeMax) {
    throw fail(`announced ${most} bytes; the limit is ${limits.blobSizeMax} (limits.blobSizeMax)`);
  }
  if (!compressed && size !== storedSize) {
    throw fail(`announced ${storedSize} bytes, not compressed, of a blob of ${size}`);
  }
  if (some.length === 0 && storedSize > 0) throw fail("sent an empty part");
}
