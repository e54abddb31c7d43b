/**
 * Deletes the blobs that no kept checkpoint needs. While a store runs, the tree knows what its edits make obsolete;
 * what was obsolete, or half written, when a process ended is found by marking and sweeping when it starts again,
 * before anything is written. What only a state needed that was given up for a newer one is found in the same way, when
 * a checkpoint has just been written.
 */
import { giveWay, HoldfastError, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { reachable } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord, CheckpointStore } from "./checkpoint.ts";

const deleteCountMax = 4_096;
/** Blobs looked at before other work has its turn. */
const sliceCount = 2_048;

/**
 * Nobody may put blobs meanwhile, nor need other ones. `kept` is newest first. `notFound` or `corrupt` when a page that the newest needs cannot be read. Of an older one that
 * is damaged only its own pages are unknown: then nothing is deleted, this time.
 * `fetching` notes which states were being fetched: what has come of one that is newer than all of these stays.
 */
export async function sweep(
  env: Pick<Env, "clock" | "logger">,
  blobs: BlobStore,
  kept: readonly CheckpointRecord[],
  fetching?: CheckpointStore,
): Promise<void> {
  const marked = new Set<string>();
  for (const record of kept) {
    const known = (hash: Hash) => marked.has(toHex(hash));
    try {
      for await (const hashes of reachable(blobs, rootOf(record), { known })) {
        for (const hash of hashes) marked.add(toHex(hash));
      }
    } catch (error) {
      if (record === kept[0] || !(error instanceof HoldfastError)) throw error;
      env.logger.log("error", "an older checkpoint is damaged; nothing is deleted", {
        position: record.position,
        error: error.message,
      });
      return;
    }
  }
  for (const record of await unfinished(fetching, kept[0])) {
    const known = (hash: Hash) => marked.has(toHex(hash));
    for await (const hashes of reachable(blobs, rootOf(record), { known, partial: true })) {
      for (const hash of hashes) marked.add(toHex(hash));
    }
  }
  const garbage: Hash[] = [];
  let count = 0;
  for await (const { hash } of blobs.list()) {
    if (!marked.has(toHex(hash))) garbage.push(hash);
    if (++count % sliceCount === 0) await giveWay(env.clock);
  }
  for (let begin = 0; begin < garbage.length; begin += deleteCountMax) {
    await blobs.delete(garbage.slice(begin, begin + deleteCountMax));
  }
  if (garbage.length > 0) env.logger.log("info", "deleted blobs that nothing needs", { count: garbage.length });
}

/** States whose fetching has not come to its end. The notes only save work: damaged ones are none. */
async function unfinished(
  fetching: CheckpointStore | undefined,
  newest: CheckpointRecord | undefined,
): Promise<CheckpointRecord[]> {
  if (fetching === undefined) return [];
  try {
    return (await fetching.load()).filter(({ position }) => position > (newest?.position ?? 0));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "corrupt") return [];
    throw error;
  }
}
