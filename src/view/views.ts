/** All views of a store. Whoever adds one adds it here: every replica of a store must know the same. */
import { KeyView } from "./key/key-view.ts";
import { LeaseView } from "./lease/lease-view.ts";
import type { View } from "./view.ts";

export interface Views {
  readonly key: KeyView;
  readonly lease: LeaseView;
  readonly all: readonly View[];
}

export function makeViews(): Views {
  const key = new KeyView();
  const lease = new LeaseView(key);
  return { key, lease, all: [key, lease] as unknown as View[] };
}
