/** A twin of a store: a replica in memory that plays the same records, and that nothing ever disturbs. */
import type { Env } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import { MemoryEngine } from "../log/index.ts";
import { makeViews, MemoryCheckpoints, Replica } from "../view/index.ts";
import type { CheckpointRecord } from "../view/index.ts";

/** Its checkpoint behind these records, with the seed of the other's. */
export async function replayUndisturbed(
  env: Env,
  { seed }: CheckpointRecord,
  records: readonly Uint8Array[],
): Promise<CheckpointRecord> {
  const log = new MemoryEngine();
  if (records.length > 0) await log.append(records);
  const checkpoints = new MemoryCheckpoints();
  await checkpoints.save({ position: 0, revision: 0, timeMs: 0, rootHash: new Uint8Array(0), seed, count: 0 });
  const parts = { log, blobs: new MemoryBlobStore(env), checkpoints, views: makeViews().all };
  const replica = await Replica.open(env, parts, { checkpointLogSizeMin: Number.POSITIVE_INFINITY });
  const record = await replica.checkpoint();
  await replica.close();
  await log.close();
  return record;
}
