/**
 * The chunks of one file, named elsewhere, on their way to the sink: asks which are wanted, has those made, puts them, and
 * builds the chunk lists above them. Light work, for the thread that has the sink.
 *
 * Invariants:
 *  1. The sink is asked for every chunk and list before `end` resolves, and has taken those that it wanted.
 *  2. A chunk that occurs again while it is on its way is not sent again.
 *  3. After `abort`, or the first failure, the sink is not called any more.
 */
import { assert, HoldfastError, toHex } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { ContentBuilder } from "./content.ts";
import type { ContentChild, ContentRoot } from "./content.ts";
import type { ChunkSink, WrittenContent } from "./pipeline.ts";
import type { Hash, NamedBlob, StoredBlob } from "./store.ts";
import { storeBlob } from "./stored-blob.ts";

/** Gives the stored forms of the chunks with these indices, in their order. */
export type MakeChunks = (indices: readonly number[]) => readonly StoredBlob[] | Promise<readonly StoredBlob[]>;

/** A small file, which needs no sink: `bytes` are what the entry keeps, `size` what the file has. */
export function inlineContent(size: number, bytes: Uint8Array): WrittenContent {
  return { size, hash: new Uint8Array(0), depth: 0, inline: bytes, chunkCount: 0, newCount: 0, newSize: 0 };
}

export class ContentAssembler {
  readonly #sink: ChunkSink;
  readonly #builder: ContentBuilder;
  /** Lists that no batch has taken yet. */
  #lists: NamedBlob[] = [];
  /** What batches under way have asked for, by the hash in hexadecimal digits. */
  readonly #underWay = new Set<string>();
  readonly #batches = new Set<Promise<void>>();
  #failure: unknown;
  #failed = false;
  #chunkCount = 0;
  #newCount = 0;
  #newSize = 0;

  constructor(digest: Digest, sink: ChunkSink) {
    this.#sink = sink;
    this.#builder = new ContentBuilder((_level, bytes) => {
      const hash = digest.sha256(bytes);
      this.#lists.push({ hash, blob: storeBlob(digest, bytes, false) });
      return hash;
    });
  }

  get chunkCount(): number {
    return this.#chunkCount;
  }

  /**
   * The next chunks of the file. Resolves when the sink has them; calls may overlap, in the order of the file. How many do
   * is for the caller to bound. Rejects with what the sink or `make` fails with, and so does `end`.
   */
  add(chunks: readonly ContentChild[], make: MakeChunks): Promise<void> {
    this.#chunkCount += chunks.length;
    for (const chunk of chunks) this.#builder.add(chunk);
    return this.#start(chunks, make);
  }

  /** There must have been a chunk. */
  async end(): Promise<WrittenContent> {
    const root: ContentRoot = this.#builder.end();
    if (this.#lists.length > 0) await this.#start([], () => []);
    await Promise.all(this.#batches);
    this.#check();
    const { hash, size, depth } = root;
    const { chunkCount, newCount, newSize } = {
      chunkCount: this.#chunkCount,
      newCount: this.#newCount,
      newSize: this.#newSize,
    };
    return { size, hash, depth, inline: undefined, chunkCount, newCount, newSize };
  }

  /** Idempotent. */
  abort(): void {
    this.#fail(new HoldfastError("cancelled", "the writing of a file's content was given up"));
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#failure = error;
  }

  #check(): void {
    if (this.#failed) throw this.#failure;
  }

  #start(chunks: readonly ContentChild[], make: MakeChunks): Promise<void> {
    const lists = this.#lists;
    this.#lists = [];
    const batch = this.#run(chunks, lists, make);
    const done = batch.then(
      () => {},
      (error: unknown) => this.#fail(error),
    );
    this.#batches.add(done);
    return batch.finally(() => this.#batches.delete(done));
  }

  async #run(chunks: readonly ContentChild[], lists: readonly NamedBlob[], make: MakeChunks): Promise<void> {
    this.#check();
    const names: string[] = [];
    const hashes: Hash[] = [];
    /** Below the number of chunks: the index of a chunk; behind: of a list. */
    const sources: number[] = [];
    const all = [...chunks, ...lists];
    for (let index = 0; index < all.length; index++) {
      const { hash } = all[index] as ContentChild | NamedBlob; // The index is inside.
      const name = toHex(hash);
      if (this.#underWay.has(name)) continue;
      this.#underWay.add(name);
      names.push(name);
      hashes.push(hash);
      sources.push(index);
    }
    try {
      if (hashes.length > 0) await this.#send(hashes, sources, chunks.length, lists, make);
    } finally {
      for (const name of names) this.#underWay.delete(name);
    }
  }

  async #send(
    hashes: readonly Hash[],
    sources: readonly number[],
    chunkCount: number,
    lists: readonly NamedBlob[],
    make: MakeChunks,
  ): Promise<void> {
    const wanted = await this.#sink.wanted(hashes);
    this.#check();
    assert(wanted.length === hashes.length, "a sink that says of each blob whether it is wanted");
    const chosen = sources.flatMap((source, index) =>
      wanted[index] === true ? [{ source, hash: hashes[index] as Hash }] : [],
    );
    const chunks = chosen.filter(({ source }) => source < chunkCount);
    const made = chunks.length === 0 ? [] : await make(chunks.map(({ source }) => source));
    this.#check();
    assert(made.length === chunks.length, "a stored form for each chunk");
    const blobs: NamedBlob[] = [];
    for (const [index, { hash }] of chunks.entries()) {
      const blob = made[index] as StoredBlob; // As many as chunks.
      this.#newCount += 1;
      this.#newSize += blob.bytes.length;
      blobs.push({ hash, blob });
    }
    for (const { source } of chosen) {
      const list = lists[source - chunkCount];
      if (list !== undefined) blobs.push(list);
    }
    if (blobs.length > 0) await this.#sink.put(blobs);
  }
}
