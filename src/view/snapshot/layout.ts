/**
 * Where the snapshot view keeps what in the tree.
 *
 *   19 's' name → StoredSnapshot
 */
import { utf8Decode, utf8Encode } from "../../base/index.ts";
import type { HeldState } from "../held.ts";
import type { KeyRange } from "../view.ts";
import { StoredSnapshot } from "./snapshot-operation.ts";
import type { NamedSnapshot } from "./snapshot-source.ts";

export const snapshotViewId = 19;

const letter = 0x73;

export function snapshotKey(name: string): Uint8Array {
  const bytes = utf8Encode(name);
  const whole = new Uint8Array(2 + bytes.length);
  whole[0] = snapshotViewId;
  whole[1] = letter;
  whole.set(bytes, 2);
  return whole;
}

const allSnapshots: Required<KeyRange> = {
  start: new Uint8Array([snapshotViewId, letter]),
  end: new Uint8Array([snapshotViewId, letter + 1]),
};

/** All snapshots of a state, in the order of their revisions, then their names. */
export async function readSnapshots(tree: HeldState["tree"], signal?: AbortSignal): Promise<NamedSnapshot[]> {
  const all: NamedSnapshot[] = [];
  for await (const batch of tree.entries({ ...allSnapshots, signal })) {
    for (const { key, value } of batch) {
      const { rootHash, ...rest } = StoredSnapshot.decode(value);
      // What is kept for long does not keep a page's bytes.
      all.push({ name: utf8Decode(key.subarray(2)), ...rest, rootHash: rootHash.slice() });
    }
  }
  // The sort is stable, and the entries come by name.
  return all.toSorted((a, b) => a.revision - b.revision);
}
