/**
 * A file of the file system that is open, by a `FileHandle` of Node.js, which closes only when no call is under way.
 * A read or write of which the system did only a part is continued.
 */
import type { FileHandle } from "node:fs/promises";
import { assert } from "../base/index.ts";
import type { FileStat, HoldfastError, WritableFile } from "../base/index.ts";
import { fileStat } from "./file-stat.ts";

/** Reads above this size first ask for the size of the file, so that a careless size costs no memory. */
const trustedReadSizeMax = 1_048_576;

export class NodeOpenedFile implements WritableFile {
  readonly #handle: FileHandle;
  readonly #failure: (error: unknown, action: string) => HoldfastError;

  constructor(handle: FileHandle, failure: (error: unknown, action: string) => HoldfastError) {
    this.#handle = handle;
    this.#failure = failure;
  }

  stat(): Promise<FileStat> {
    return this.#call("look at", async () => fileStat(await this.#handle.stat({ bigint: true })));
  }

  read(offset: number, size: number): Promise<Uint8Array> {
    assert(Number.isSafeInteger(offset) && offset >= 0, `read offset ${offset} is not a whole number`);
    assert(Number.isSafeInteger(size) && size >= 0, `read size ${size} is not a whole number`);
    return this.#call("read", async () => {
      let want = size;
      if (size > trustedReadSizeMax) want = Math.min(size, Math.max(0, (await this.#handle.stat()).size - offset));
      const buffer = Buffer.allocUnsafeSlow(want);
      let filled = 0;
      while (filled < want) {
        const { bytesRead } = await this.#handle.read(buffer, filled, want - filled, offset + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return new Uint8Array(buffer.buffer, 0, filled);
    });
  }

  write(bytes: Uint8Array, offset: number): Promise<void> {
    assert(Number.isSafeInteger(offset) && offset >= 0, `write offset ${offset} is not a whole number`);
    return this.#call("write", async () => {
      for (let written = 0; written < bytes.length;) {
        const at = offset + written;
        written += (await this.#handle.write(bytes, written, bytes.length - written, at)).bytesWritten;
      }
    });
  }

  truncate(size: number): Promise<void> {
    return this.#call("cut", () => this.#handle.truncate(size));
  }

  sync(): Promise<void> {
    return this.#call("sync", () => this.#handle.datasync());
  }

  close(): Promise<void> {
    return this.#call("close", () => this.#handle.close());
  }

  async #call<T>(action: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw this.#failure(error, action);
    }
  }
}
