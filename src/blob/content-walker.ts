/**
 * Which blobs hold a content: for marking, for fetching, for checking that all are there. Chunk lists are read, chunks are
 * not.
 *
 * Many files share lists, and a walker reads each once. It remembers by itself which lists it has walked, and does not ask
 * the marks of a collection: a file whose bytes are those of a chunk list is a chunk of the same name, which is marked
 * without anything below it. Memory: about 100 bytes for each list, so for some 64 MB of files with the default sizes.
 */
import { HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import { decodeChunkList } from "./content.ts";
import type { Hash } from "./store.ts";

/** Lists read at a time, and about how many hashes are handed over at once. */
const parallelCount = 8;
const batchCountMax = 1_024;

export interface WalkerOptions {
  /** A blob's content, checked against its hash; undefined when it is absent; `corrupt` when it is damaged. */
  readonly get: (hash: Hash) => Promise<Uint8Array | undefined>;
  /**
   * Called for a list that is absent, damaged or no list (`notFound` or `corrupt`): what is below it stays unknown, and
   * the walk goes on. Without it the walk fails.
   */
  readonly unreadable?: ((hash: Hash, error: HoldfastError) => void) | undefined;
}

interface List {
  readonly hash: Hash;
  readonly level: number;
}

export class ContentWalker {
  readonly #options: WalkerOptions;
  /**
   * Level, and hash in hexadecimal digits. A list has one level, but a root may be said to have another: what it says of the
   * list must not hide what is below it from one who says it rightly.
   */
  readonly #walked = new Set<string>();

  constructor(options: WalkerOptions) {
    this.#options = options;
  }

  /**
   * The lists and chunks of a content with this root, in batches, in no order. What is below a list that an earlier walk
   * of this walker has seen is left out, that list itself is not; some hashes may come more than once. A walk that fails
   * or is left early must not be followed by another one of the same walker.
   */
  async *walk(
    root: { readonly hash: Hash; readonly depth: number },
    signal?: AbortSignal,
  ): AsyncGenerator<readonly Hash[], void, undefined> {
    let batch: Hash[] = [root.hash];
    const lists: List[] = [];
    if (root.depth > 0) this.#push(lists, { hash: root.hash, level: root.depth });
    while (lists.length > 0) {
      throwIfAborted(signal);
      // The last ones first: so few wait, whatever the size of the file.
      const reading = lists.splice(-parallelCount);
      const children = await Promise.all(reading.map((list) => this.#read(list)));
      for (const [index, { level }] of reading.entries()) {
        for (const hash of children[index] ?? []) {
          batch.push(hash);
          if (level > 1) this.#push(lists, { hash, level: level - 1 });
        }
      }
      if (batch.length < batchCountMax) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  #push(lists: List[], list: List): void {
    const name = `${list.level} ${toHex(list.hash)}`;
    if (this.#walked.has(name)) return;
    this.#walked.add(name);
    lists.push(list);
  }

  async #read({ hash, level }: List): Promise<readonly Hash[]> {
    const { get, unreadable } = this.#options;
    try {
      const bytes = await get(hash);
      if (bytes === undefined)
        throw new HoldfastError("notFound", `chunk list ${toHex(hash)} is not in the blob store`);
      return decodeChunkList(bytes, hash, level, undefined).map((child) => child.hash);
    } catch (error) {
      const missing = error instanceof HoldfastError && (error.code === "notFound" || error.code === "corrupt");
      if (!missing || unreadable === undefined) throw error;
      unreadable(hash, error);
      return [];
    }
  }
}
