/** What happens in the directory of a member before and beside its store. */
import { assert, HoldfastError } from "../../base/index.ts";
import type { DiskLock, Env } from "../../base/index.ts";
import { Chain } from "../../log/index.ts";
import { makeViews, Replica } from "../../view/index.ts";
import type { CheckpointRecord } from "../../view/index.ts";
import type { OpenOptions } from "../open-options.ts";
import { closeStorage, entriesOf, openFiles, raftDirectory } from "../storage.ts";
import { removeStoreLog } from "../store-log.ts";
import type { Identity } from "./identity.ts";

/**
 * Brings all of a store on its own into one checkpoint, from which a cluster can go on: its position is the log's end.
 * Nothing is written behind it as long as the lock is held.
 */
export async function settleStore(env: Env, options: OpenOptions, lock: DiskLock): Promise<CheckpointRecord> {
  const storage = await openFiles(env, options, lock);
  try {
    const { blobs, checkpoints } = storage;
    const log = storage.log instanceof Chain ? storage.log : new Chain(storage.log);
    const replica = await Replica.open(env, { log, blobs, checkpoints, views: makeViews().all }, options);
    try {
      const tail = await log.tail();
      const record = await replica.checkpoint();
      assert(record.position === tail, `the checkpoint is at ${record.position}, the log ends at ${tail}`);
      return record;
    } finally {
      await replica.close();
    }
  } finally {
    await closeStorage({ ...storage, lock: undefined });
  }
}

/** `corrupt` where the log of a member that had one is missing: it may have promised what it no longer knows. */
export async function checkWhole(env: Env, { begun, name }: Identity): Promise<void> {
  if (!begun || (await entriesOf(env, raftDirectory)).length > 0) return;
  throw new HoldfastError(
    "corrupt",
    `the log of member ${name} is missing (${raftDirectory}/): it cannot take part without it. Put it back, or replace the member: start a new one in an empty directory with --join and --replace ${name}`,
  );
}

/** The log of the store that the directory held before its cluster was founded: all of it is in a checkpoint. */
export async function removeOldLog(env: Env): Promise<void> {
  await removeStoreLog(env);
}
