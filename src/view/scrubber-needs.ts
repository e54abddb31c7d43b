/** Who needs damaged blobs: the files of one state after another, told what differs from the state before. */
import { throwIfAborted, toHex } from "../base/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { reachable } from "../tree/index.ts";
import type { TreeRoot } from "../tree/index.ts";
import { listName, readList } from "./collector-contents.ts";
import type { ChunkedContent, FileChanges, FileEntry, FilePlace } from "./collector-contents.ts";

/** Versions of files that are named for one blob. */
const fileCountMax = 100;
const nothing: ReadonlySet<string> = new Set();

export class DamagedContents {
  readonly #chunks: BlobStore;
  readonly #damaged: ReadonlySet<string>;
  readonly #signal: AbortSignal;
  /** The damaged blobs at and below each list that was read, by `listName`. Most have none, and share one set. */
  readonly #below = new Map<string, ReadonlySet<string>>();
  /** How many entries of the state told last need a damaged blob. */
  readonly #counts = new Map<string, number>();
  readonly #files = new Map<string, { readonly files: FilePlace[]; readonly known: Set<string>; more: boolean }>();

  constructor(chunks: BlobStore, damaged: readonly Hash[], signal: AbortSignal) {
    this.#chunks = chunks;
    this.#damaged = new Set(damaged.map(toHex));
    this.#signal = signal;
  }

  /** What the state told last needs, of what is damaged, by hash in hexadecimal digits. */
  get needed(): Iterable<string> {
    return this.#counts.keys();
  }

  /** The next state is told as a whole. */
  reset(): void {
    this.#counts.clear();
  }

  /** What the next state has not in common with the one before. */
  async change(changes: readonly FileChanges[]): Promise<void> {
    if (this.#damaged.size === 0) return;
    for (const { before, after } of changes) {
      if (before !== undefined) for (const name of await this.#damageOf(before)) this.#count(name, -1);
      if (after === undefined) continue;
      for (const name of await this.#damageOf(after)) {
        this.#count(name, 1);
        this.#blame(name, after);
      }
    }
  }

  #count(name: string, by: number): void {
    const count = (this.#counts.get(name) ?? 0) + by;
    if (count > 0) this.#counts.set(name, count);
    else this.#counts.delete(name);
  }

  #blame(name: string, entry: FileEntry): void {
    let blamed = this.#files.get(name);
    if (blamed === undefined) this.#files.set(name, (blamed = { files: [], known: new Set(), more: false }));
    const place = entry.place();
    // A version of the present may be one of the past in another state.
    const which = `${place.revision} ${place.bucket} ${toHex(place.path)}`;
    if (blamed.known.has(which)) return;
    if (blamed.files.length === fileCountMax) blamed.more = true;
    else {
      blamed.files.push(place);
      blamed.known.add(which);
    }
  }

  filesOf(name: string): { readonly files: readonly FilePlace[]; readonly moreFiles: boolean } {
    const blamed = this.#files.get(name);
    return { files: blamed?.files ?? [], moreFiles: blamed?.more ?? false };
  }

  /** The damaged blobs of a content. What is below a list that cannot be read is not known. */
  async #damageOf({ hash, depth }: ChunkedContent): Promise<ReadonlySet<string>> {
    const name = toHex(hash);
    const own = this.#damaged.has(name);
    if (depth === 0) return own ? new Set([name]) : nothing;
    const list = listName(hash, depth);
    const known = this.#below.get(list);
    if (known !== undefined) return known;
    throwIfAborted(this.#signal);
    const found = new Set<string>(own ? [name] : []);
    const children = own ? "absent" : await readList(this.#chunks, hash, depth);
    if (typeof children !== "string") {
      for (const child of children)
        for (const each of await this.#damageOf({ hash: child, depth: depth - 1 })) found.add(each);
    }
    const below = found.size === 0 ? nothing : found;
    this.#below.set(list, below);
    return below;
  }
}

/** Which of the damaged pages a state has, as far as those can be known that are not below another one. */
export async function damagedPages(
  pages: BlobStore,
  root: TreeRoot,
  damaged: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  if (damaged.size === 0) return found;
  const known = (hash: Hash) => {
    const name = toHex(hash);
    if (damaged.has(name)) found.add(name);
    return false;
  };
  const walk = reachable(pages, root, { known, partial: true, signal });
  while ((await walk.next()).done !== true);
  return found;
}
