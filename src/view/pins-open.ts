/** Reads what states say of their snapshots, for the pins. */
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { TreeSnapshot } from "../tree/index.ts";
import { rootOf } from "./checkpoint.ts";
import type { KeptCheckpoint } from "./checkpoint.ts";
import type { PinnedBy, Pins } from "./pins.ts";
import { readSnapshots } from "./snapshot/layout.ts";
import type { OpenedState } from "./state.ts";

export async function pinnedBy(record: KeptCheckpoint, tree: TreeSnapshot): Promise<PinnedBy> {
  try {
    return { record, snapshots: await readSnapshots(tree) };
  } finally {
    tree.release();
  }
}

/** `kept` is newest first; the state is that of the first. A damaged older one has no say. */
export async function openPins(
  env: Pick<Env, "logger">,
  pins: Pins,
  { tree }: OpenedState,
  kept: readonly [KeptCheckpoint, ...KeptCheckpoint[]],
): Promise<void> {
  const [newest, older] = kept;
  pins.open(await pinnedBy(newest, tree.freeze()), await olderBy(), kept);

  async function olderBy(): Promise<PinnedBy | undefined> {
    try {
      return older === undefined ? undefined : await pinnedBy(older, tree.at(rootOf(older)));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      const what = "the older checkpoint is damaged; a newer one is used";
      env.logger.log("error", what, { position: older?.position, error: error.message });
      return undefined;
    }
  }
}
