/** What tests of contents share: a store in memory that counts, and a pipeline with the real doors. */
import { emptyBytes, toHex } from "../base/index.ts";
import { NodeCipher, NodeClock, NodeDigest } from "../host/index.ts";
import type { ChunkSink, Content, NamedBlob, StoredBlob } from "./index.ts";
import { readContent } from "./content-reader.ts";
import type { ContentSource, ReadContentOptions } from "./content-reader.ts";

export const digest = new NodeDigest();
export const pipelineEnv = { clock: new NodeClock(), digest, cipher: new NodeCipher() };

export class CountingSink implements ChunkSink {
  readonly blobs = new Map<string, StoredBlob>();
  /** All hashes asked for, in hexadecimal digits, in order. */
  readonly asked: string[] = [];
  putCount = 0;
  /** Calls that have not ended. */
  underWay = 0;
  underWayMax = 0;
  /** Called at the beginning of each call. */
  before: (() => Promise<void>) | undefined;

  async wanted(hashes: readonly Uint8Array[]): Promise<readonly boolean[]> {
    return this.#run(() => {
      this.asked.push(...hashes.map(toHex));
      return hashes.map((hash) => !this.blobs.has(toHex(hash)));
    });
  }

  async put(blobs: readonly NamedBlob[]): Promise<void> {
    await this.#run(() => {
      for (const { hash, blob } of blobs) this.blobs.set(toHex(hash), blob);
      this.putCount += blobs.length;
    });
  }

  get(hash: Uint8Array): Promise<StoredBlob | undefined> {
    return Promise.resolve(this.blobs.get(toHex(hash)));
  }

  async #run<T>(work: () => T): Promise<T> {
    this.underWay += 1;
    this.underWayMax = Math.max(this.underWayMax, this.underWay);
    try {
      await this.before?.();
      return work();
    } finally {
      this.underWay -= 1;
    }
  }
}

export async function readAll(source: ContentSource, content: Content, options?: ReadContentOptions) {
  const parts: Uint8Array[] = [];
  for await (const part of readContent(source, content, options)) parts.push(part);
  return parts.length === 0 ? emptyBytes : new Uint8Array(Buffer.concat(parts));
}
