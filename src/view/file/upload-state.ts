/**
 * Uploads: each says since when chunks are put that no file names yet. It lasts as long as its lease, which takes it along
 * when it ends (lease/lease-view.ts): an upload that is there has a lease that is there.
 */
import type { HeldState } from "../held.ts";
import { leaseExists } from "../lease/lease-state.ts";
import type { ApplyContext, State } from "../view.ts";
import { Refusal } from "../view.ts";
import { allUploads, StoredUpload, uploadKey } from "./layout.ts";

/** One that has begun before stays as old as it is, since chunks may count on that. */
export function beginUpload(context: ApplyContext, lease: bigint): Refusal | undefined {
  const { state, revision } = context;
  if (lease === 0n || !leaseExists(state, lease)) {
    return new Refusal("notFound", `lease ${lease} does not exist or has ended; grant one for the upload`);
  }
  if (state.get(uploadKey(lease)) === undefined) state.put(uploadKey(lease), StoredUpload.encodeBriefly({ revision }));
  context.changed();
  return undefined;
}

export function uploadLasts(state: Pick<State, "get">, lease: bigint): boolean {
  return state.get(uploadKey(lease)) !== undefined;
}

/** At which revisions the uploads of a state began: chunks that were put since then are not collected. */
export async function liveUploads(tree: HeldState["tree"], signal?: AbortSignal): Promise<number[]> {
  const revisions: number[] = [];
  for await (const batch of tree.entries({ ...allUploads, signal })) {
    for (const { value } of batch) revisions.push(StoredUpload.decode(value).revision);
  }
  return revisions;
}
