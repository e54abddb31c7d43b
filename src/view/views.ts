/** All views of a store. Whoever adds one adds it here: every replica of a store must know the same. */
import { FileView } from "./file/file-view.ts";
import { KeyView } from "./key/key-view.ts";
import { LeaseView } from "./lease/lease-view.ts";
import { SnapshotView } from "./snapshot/snapshot-view.ts";
import type { View } from "./view.ts";

export interface Views {
  readonly key: KeyView;
  readonly lease: LeaseView;
  readonly file: FileView;
  readonly snapshot: SnapshotView;
  readonly all: readonly View[];
}

export function makeViews(): Views {
  const key = new KeyView();
  const lease = new LeaseView(key);
  const file = new FileView();
  const snapshot = new SnapshotView();
  return { key, lease, file, snapshot, all: [key, lease, file, snapshot] as unknown as View[] };
}
