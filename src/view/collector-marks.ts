/**
 * The marking half of a collection: marks every blob that something needs, in both stores, and notes what is needed and not
 * there.
 *
 * Invariants:
 *  1. A page that is marked has everything below it marked, or the walk that marked it fails and nothing is swept.
 *  2. A chunk list counts as walked only under its level: the same blob may also be a chunk of a file, whose bytes happen
 *     to be a list, and a mark of it says nothing about what is below.
 *  3. What the present state or a snapshot needs and is not here is noted with one file that needs it. A chunk list that is
 *     not here hides what is below it: then no chunk is swept (`hidden`).
 *
 * A checkpoint may name what is gone rightfully (see collector.ts, "the tail of the log"): there nothing is noted.
 */
import { giveWay, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { Clock } from "../base/index.ts";
import type { BlobStore, Hash, Marking } from "../blob/index.ts";
import { reachable } from "../tree/index.ts";
import type { TreeRoot } from "../tree/index.ts";
import { fileChanges, listName, readList } from "./collector-contents.ts";
import type { FileEntry, FilePlace, ReadableTree } from "./collector-contents.ts";

/** A blob that is needed and not here, or damaged. */
export interface MissingBlob {
  readonly store: "pages" | "chunks";
  readonly hash: Hash;
  /** One that needs it. */
  readonly file: FilePlace | undefined;
  /** The state in which it does, in words. */
  readonly where: string;
}

/** A state whose files need chunks. */
export interface FileState {
  readonly tree: ReadableTree;
  readonly what: string;
  /** Whether everything it names must be here. */
  readonly strict: boolean;
}

export interface MarkEnv {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Resolves when so many bytes may be read; undefined: now. */
  readonly pace: (size: number) => Promise<void> | undefined;
}

/** About what is read for a page or a list. */
const pageSizeUsual = 8_192;
const listSizeUsual = 6_144;
/** How many missing blobs are named; more are counted. */
const missingCountMax = 10_000;
/** Marks after which the time is looked at. */
const sliceCount = 1_024;

export class Marks {
  readonly #env: MarkEnv;
  readonly #pages: Marking;
  readonly #chunks: Marking;
  readonly #chunkStore: BlobStore;
  readonly #missing = new Map<string, MissingBlob>();
  /** Lists below which everything is marked or noted. */
  readonly #walked = new Set<string>();
  pageCount = 0;
  chunkCount = 0;
  missingCount = 0;
  /** A list that is needed and not here. */
  hidden: MissingBlob | undefined;

  constructor(env: MarkEnv, stores: { readonly chunks: BlobStore }, pages: Marking, chunks: Marking) {
    this.#env = env;
    this.#pages = pages;
    this.#chunks = chunks;
    this.#chunkStore = stores.chunks;
  }

  get missing(): readonly MissingBlob[] {
    return [...this.#missing.values()];
  }

  /** All pages of a state that is here as a whole. `notFound` or `corrupt`, naming `what`, when it is not. */
  async markPages(blobs: BlobStore, root: TreeRoot, what: string): Promise<void> {
    const known = (hash: Hash) => {
      const marked = this.#pages.mark(hash);
      if (marked === "new") this.pageCount++;
      if (marked === "absent") {
        this.#note({ store: "pages", hash, file: undefined, where: what });
        throw new HoldfastError("notFound", `page ${toHex(hash)} is damaged or not here`);
      }
      return marked === "known";
    };
    try {
      await this.#walkPages(blobs, root, known, false);
    } catch (error) {
      if (!(error instanceof HoldfastError) || !["notFound", "corrupt"].includes(error.code)) throw error;
      throw new HoldfastError(
        error.code,
        `${what} cannot be read as a whole, so nothing can be collected: ${error.message}`,
        { cause: error },
      );
    }
  }

  /** What is here of a state that is here in part. After all the others: what it marks may lack what is below. */
  async markPartial(blobs: BlobStore, root: TreeRoot): Promise<void> {
    const known = (hash: Hash) => {
      const marked = this.#pages.mark(hash);
      if (marked === "new") this.pageCount++;
      return marked === "known";
    };
    await this.#walkPages(blobs, root, known, true);
  }

  async #walkPages(blobs: BlobStore, root: TreeRoot, known: (hash: Hash) => boolean, partial: boolean): Promise<void> {
    const { signal, clock } = this.#env;
    const pace = (count: number) => this.#env.pace(count * pageSizeUsual);
    // What is new is marked by `known` already; the batches only give other work its turn.
    const batches = reachable(blobs, root, { known, partial, pace, signal });
    for (let next = await batches.next(); next.done !== true; next = await batches.next()) await giveWay(clock);
  }

  /**
   * The chunks of all files of a state; with `marked`, a state whose chunks are marked, only of those that differ from it.
   * `corrupt` or `notFound` when the state's pages cannot be read.
   */
  async markFiles(state: FileState, marked: ReadableTree | undefined): Promise<void> {
    const { clock, signal } = this.#env;
    let count = 0;
    for await (const changes of fileChanges(marked, state.tree, { clock, signal })) {
      for (const { after } of changes) {
        if (after === undefined) continue;
        const marking = this.#markContent(after, state);
        if (marking !== undefined) await marking;
        if (++count % sliceCount === 0) await giveWay(clock);
      }
    }
  }

  /** A promise only where a list must be read. */
  #markContent(entry: FileEntry, state: FileState): Promise<void> | undefined {
    const { hash, depth } = entry;
    if (depth === 0) {
      this.#markChunk(hash, false, entry, state);
      return undefined;
    }
    return this.#walked.has(listName(hash, depth)) ? undefined : this.#walkLists(entry, state);
  }

  async #walkLists(entry: FileEntry, state: FileState): Promise<void> {
    const lists: { readonly hash: Hash; readonly level: number }[] = [{ hash: entry.hash, level: entry.depth }];
    for (let list = lists.pop(); list !== undefined; list = lists.pop()) {
      const { hash, level } = list;
      throwIfAborted(this.#env.signal);
      const name = listName(hash, level);
      if (this.#walked.has(name)) continue;
      if (!this.#markChunk(hash, true, entry, state)) continue;
      const paced = this.#env.pace(listSizeUsual);
      if (paced !== undefined) await paced;
      const children = await readList(this.#chunkStore, hash, level);
      if (children === "absent") {
        this.#absent(hash, true, entry, state);
        continue;
      }
      // What its bytes say is nobody's child, whoever has them: it hides nothing.
      if (children === "invalid") this.#absent(hash, false, entry, state);
      else if (level > 1) lists.push(...children.map((child) => ({ hash: child, level: level - 1 })));
      else for (const child of children) this.#markChunk(child, false, entry, state);
      // When all that is below it waits in `lists`, which is worked off before the walk ends, or fails.
      this.#walked.add(name);
    }
  }

  /** Whether it is here. */
  #markChunk(hash: Hash, isList: boolean, entry: FileEntry, state: FileState): boolean {
    const marked = this.#chunks.mark(hash);
    if (marked === "new") this.chunkCount++;
    if (marked === "absent") this.#absent(hash, isList, entry, state);
    return marked !== "absent";
  }

  #absent(hash: Hash, hides: boolean, entry: FileEntry, { strict, what }: FileState): void {
    if (!strict) return;
    const missing = { store: "chunks", hash, file: entry.place(), where: what } as const;
    if (hides) this.hidden ??= missing;
    this.#note(missing);
  }

  #note(missing: MissingBlob): void {
    const name = toHex(missing.hash);
    if (this.#missing.has(name)) return;
    this.missingCount++;
    if (this.#missing.size < missingCountMax) this.#missing.set(name, missing);
  }
}
