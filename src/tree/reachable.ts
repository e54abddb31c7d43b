/**
 * All blobs of a state, for the marking half of a collection by mark and sweep. Inner pages are read; leaves are known
 * from their parents and read only where there are large values below.
 */
import { HoldfastError, throwIfAborted } from "../base/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { hashBytes, hashName, hashText } from "./format.ts";
import { Page } from "./page.ts";
import type { TreeRoot } from "./tree.ts";

/** Pages read at a time, and about how many hashes are handed over at once. */
const parallelCount = 16;
const batchCountMax = 1_024;

export interface ReachableOptions {
  /**
   * Whether everything below this blob is known already, the blob included: then it is left out. Whoever marks several
   * roots passes those over that an earlier root has in common. Asked once for each blob, before what is below it is
   * read, so that it may be what marks; what it throws ends the walk.
   */
  readonly known?: ((hash: Hash) => boolean) | undefined;
  /** Called before pages are read, with their count: resolves when they may be, which limits the rate. */
  readonly pace?: ((count: number) => Promise<void> | undefined) | undefined;
  /** The state is here in part only: a page that cannot be read is passed over, with what is below it. */
  readonly partial?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Each hash once, in batches, in no order. `notFound` or `corrupt` when a page cannot be read: what is below it is then
 * unknown, and nothing may be swept.
 */
export async function* reachable(
  blobs: BlobStore,
  root: TreeRoot,
  options: ReachableOptions = {},
): AsyncIterableIterator<readonly Hash[]> {
  if (root.hash === null || options.known?.(root.hash) === true) return;
  let batch: Hash[] = [root.hash];
  const pages = [Page.stored(hashText(root.hash), -1, root.count, -1, -1)];
  while (pages.length > 0) {
    throwIfAborted(options.signal);
    const reading = pages.splice(-parallelCount);
    const paced = options.pace?.(reading.length);
    if (paced !== undefined) await paced;
    await Promise.all(reading.map((page) => read(blobs, page, root.seed).catch(passOver(options))));
    for (const page of reading) {
      for (const child of page.children) {
        const hash = hashBytes(child.hash);
        if (options.known?.(hash) === true) continue;
        batch.push(hash);
        if (child.level > 0 || child.largeCount > 0) pages.push(child);
      }
      for (const large of page.larges ?? []) {
        if (large === undefined) continue;
        const hash = hashBytes(large.hash);
        if (options.known?.(hash) !== true) batch.push(hash);
      }
    }
    if (batch.length < batchCountMax) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** A page that was passed over has no children. */
function passOver({ partial = false }: ReachableOptions): (error: unknown) => void {
  return (error) => {
    const missing = error instanceof HoldfastError && (error.code === "notFound" || error.code === "corrupt");
    if (!partial || !missing) throw error;
  };
}

async function read(blobs: BlobStore, page: Page, seed: Uint8Array): Promise<void> {
  const bytes = await blobs.get(hashBytes(page.hash));
  if (bytes === undefined)
    throw new HoldfastError("notFound", `tree page ${hashName(page.hash)} is not in the blob store`);
  page.accept(bytes, seed);
}
