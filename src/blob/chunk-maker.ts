/**
 * What is done to the bytes of one chunk, and undone: naming, compressing, encrypting. Everything here is work in place;
 * pipelines decide in which thread.
 *
 * A chunk gets its name first, and its stored form only if the store wants it. With a key both are one: what is named is
 * the sealed form, so that the store can check a name without the key.
 */
import { limits } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { sealedOverhead } from "./chunk-cipher.ts";
import type { ChunkCipher, ChunkCiphers } from "./chunk-cipher.ts";
import { Chunker, chunkSizeBounds } from "./chunker.ts";
import type { ContentChild } from "./content.ts";
import type { ChunkSettings } from "./pipeline.ts";
import type { Hash, StoredBlob } from "./store.ts";
import { openBlob, storeBlob } from "./stored-blob.ts";

export interface MadeChunk extends ContentChild {
  /** The content of its blob: the bytes of the file, or what they are sealed as. */
  readonly content: Uint8Array;
}

/** Makes the chunks of files that have the same settings. */
export class ChunkMaker {
  readonly #digest: Digest;
  readonly #settings: ChunkSettings;
  readonly #cipher: ChunkCipher | undefined;

  /** `invalid` on sizes or a key that cannot be. */
  constructor(digest: Digest, ciphers: ChunkCiphers, settings: ChunkSettings) {
    this.#digest = digest;
    this.#settings = settings;
    this.#cipher = settings.key === undefined ? undefined : ciphers.of(settings.key);
  }

  /** A file of fewer bytes is one chunk. */
  get sizeMin(): number {
    return this.#settings.sizeMin;
  }

  /** For one file at a time. */
  chunker(): Chunker {
    return new Chunker(this.#settings, this.#cipher?.gear);
  }

  /** `bytes` is one chunk; it may be shared with the result. */
  name(bytes: Uint8Array): MadeChunk {
    const content = this.#cipher?.seal(this.#digest, "chunk", bytes, this.#settings.compress) ?? bytes;
    return { hash: this.#digest.sha256(content), size: bytes.length, content };
  }

  store({ content }: MadeChunk): StoredBlob {
    return storeBlob(this.#digest, content, this.#settings.compress && this.#cipher === undefined);
  }

  /** All bytes of a small file, as its entry keeps them. Of none there is nothing to hide. */
  inline(bytes: Uint8Array): Uint8Array {
    if (this.#cipher === undefined || bytes.length === 0) return bytes;
    return this.#cipher.seal(this.#digest, "inline", bytes, false);
  }
}

/** As `ChunkPipeline.open`. A blob that is not compressed may be shared with the result. */
export function openChunk(
  digest: Digest,
  ciphers: ChunkCiphers,
  hash: Hash,
  blob: StoredBlob,
  key: Uint8Array | undefined,
): Uint8Array {
  if (key === undefined) return openBlob(digest, hash, blob, chunkSizeBounds.max);
  const sealed = openBlob(digest, hash, blob, chunkSizeBounds.max + sealedOverhead);
  return ciphers.of(key).open(digest, "chunk", sealed, chunkSizeBounds.max);
}

/** As `ChunkPipeline.openInline`. */
export function openInline(
  digest: Digest,
  ciphers: ChunkCiphers,
  bytes: Uint8Array,
  key: Uint8Array | undefined,
): Uint8Array {
  if (key === undefined || bytes.length === 0) return bytes;
  return ciphers.of(key).open(digest, "inline", bytes, limits.inlineFileSizeMax);
}
