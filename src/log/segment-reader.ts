/** Reads the batches of one segment file one after another, a large piece at a time. */
import type { DiskFile, Env } from "../base/index.ts";
import { damageError } from "./scan.ts";
import { announcedBatchSize, batchHeaderSize, decodeBatch, decodeSegmentHeader, segmentHeaderSize } from "./segment.ts";
import type { Batch, SegmentHeader } from "./segment.ts";

const pieceSize = 1_048_576;

export class SegmentReader {
  readonly header: SegmentHeader;
  readonly #digest: Env["digest"];
  readonly #file: DiskFile;
  #piece: Uint8Array = new Uint8Array(0);
  #pieceOffset = 0;

  private constructor(digest: Env["digest"], file: DiskFile, header: SegmentHeader) {
    this.#digest = digest;
    this.#file = file;
    this.header = header;
  }

  /** `corrupt` when the header is not sound. */
  static async open(env: Pick<Env, "disk" | "digest">, path: string): Promise<SegmentReader> {
    const file = await env.disk.open(path, "read");
    try {
      const header = decodeSegmentHeader(env.digest, await file.read(0, segmentHeaderSize));
      if (header === undefined) throw damageError(path, 0, "the header is not sound");
      return new SegmentReader(env.digest, file, header);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The batch at `offset`, its records views of memory that is the caller's; undefined if it is not sound. */
  async batchAt(offset: number): Promise<Batch | undefined> {
    await this.#need(offset, batchHeaderSize);
    const size = announcedBatchSize(this.#piece, offset - this.#pieceOffset);
    if (size === 0) return undefined;
    await this.#need(offset, size);
    return decodeBatch(this.#digest, this.header.nonce, this.#piece, offset - this.#pieceOffset, offset);
  }

  /** Makes the piece hold `size` bytes from `offset`, as far as the file has them. */
  async #need(offset: number, size: number): Promise<void> {
    const at = offset - this.#pieceOffset;
    if (at >= 0 && at + size <= this.#piece.length) return;
    this.#piece = await this.#file.read(offset, Math.max(size, pieceSize));
    this.#pieceOffset = offset;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
