/**
 * Hashes, checksums and compression by the native code inside Node.js.
 */
import { hash } from "node:crypto";
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { ZstdOptions } from "node:zlib";
import { HoldfastError } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { zstdFrameSize } from "./zstd-frame.ts";

export interface NodeDigestOptions {
  /** Of zstd. Default 3, zstd's own: beyond it time grows much faster than the saving. */
  readonly compressionLevel?: number | undefined;
}

/** Output is grown in steps of at most this. */
const chunkSizeMax = 1_048_576;

export class NodeDigest implements Digest {
  readonly #params: ZstdOptions["params"];

  constructor({ compressionLevel = 3 }: NodeDigestOptions = {}) {
    this.#params = { [constants.ZSTD_c_compressionLevel]: compressionLevel };
  }

  sha256(bytes: Uint8Array): Uint8Array {
    const digest = hash("sha256", bytes, "buffer");
    return new Uint8Array(digest.buffer, digest.byteOffset, digest.length);
  }

  crc32(bytes: Uint8Array, initial = 0): number {
    // Some releases of Node.js forget `initial` when there are no bytes.
    return bytes.length === 0 ? initial >>> 0 : crc32(bytes, initial);
  }

  compress(bytes: Uint8Array): Uint8Array {
    // One step, for which there is always room: faster than many, and Node.js puts an empty frame behind one that fills
    // its last step to the byte.
    const chunkSize = bytes.length + (bytes.length >>> 7) + 512;
    return plain(zstdCompressSync(bytes, { chunkSize, pledgedSrcSize: bytes.length, params: this.#params }));
  }

  decompress(bytes: Uint8Array, sizeMax: number): Uint8Array {
    try {
      if (zstdFrameSize(bytes) !== bytes.length) throw new Error("it is cut off, or bytes follow it");
      const content = zstdDecompressSync(bytes, {
        maxOutputLength: Math.max(1, sizeMax),
        chunkSize: Math.min(Math.max(64, sizeMax), chunkSizeMax),
      });
      if (content.length > sizeMax) throw new Error("the content is longer");
      return plain(content);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new HoldfastError(
        "corrupt",
        `compressed data of ${bytes.length} bytes is no zstd frame of at most ${sizeMax} bytes of content: ${reason}`,
        { cause: error },
      );
    }
  }
}

function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
