/**
 * What a store needs of its blobs, found in another way than a collection finds it: by reading every state that is kept, as
 * a whole. For tests that hold what is kept against it.
 */
import { toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { ContentWalker } from "../blob/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { reachable } from "../tree/index.ts";
import type { TreeRoot } from "../tree/index.ts";
import { DiskCheckpoints, fileChanges, rootOf } from "../view/index.ts";
import type { LocalStore } from "./index.ts";

/** Names of the chunks, and lists of chunks, of the running state and of all snapshots. `get` must find all lists. */
export async function neededChunks(
  { clock }: Pick<Env, "clock">,
  store: LocalStore,
  get: (hash: Hash) => Promise<Uint8Array | undefined> = (hash) => store.ownChunks.get(hash),
): Promise<Set<string>> {
  const { replica } = store;
  const needed = new Set<string>();
  const walker = new ContentWalker({ get });
  const states: Pick<ReturnType<typeof replica.snapshot>, "tree" | "release">[] = [replica.snapshot()];
  try {
    for (const { revision } of await store.localSnapshots.snapshots({ consistency: "local" })) {
      const pinned = replica.pinAt(revision);
      if (pinned !== undefined) states.push(pinned);
    }
    for (const { tree } of states) {
      for await (const changes of fileChanges(undefined, tree, { clock })) {
        for (const { after } of changes) {
          if (after === undefined) continue;
          for await (const hashes of walker.walk(after)) for (const hash of hashes) needed.add(toHex(hash));
        }
      }
    }
  } finally {
    for (const state of states) state.release();
  }
  return needed;
}

/** Roots of the snapshots that are sealed. */
export async function snapshotRoots(store: LocalStore): Promise<TreeRoot[]> {
  const { seed } = store.replica.lastCheckpoint;
  const snapshots = await store.localSnapshots.snapshots({ consistency: "local" });
  return snapshots.filter((one) => one.sealed).map(({ rootHash, count }) => ({ hash: rootHash, seed, count }));
}

/** Names of the pages of the checkpoints on the disk and of these snapshots. */
export async function neededPages(env: Env, blobs: BlobStore, snapshots: readonly TreeRoot[]): Promise<Set<string>> {
  const needed = new Set<string>();
  const records = await new DiskCheckpoints(env, "checkpoints").load();
  for (const root of [...records.map(rootOf), ...snapshots]) {
    for await (const hashes of reachable(blobs, root)) for (const hash of hashes) needed.add(toHex(hash));
  }
  return needed;
}

/** Names of the blobs that are in a store. */
export async function keptBlobs(store: Pick<BlobStore, "list">): Promise<Set<string>> {
  const kept = new Set<string>();
  for await (const { hash } of store.list()) kept.add(toHex(hash));
  return kept;
}
