/** All views of a store. Whoever adds one adds it here: every replica of a store must know the same. */
import { CounterView } from "./counter/counter-view.ts";
import { FileView } from "./file/file-view.ts";
import { GuardView } from "./guard-view.ts";
import { KeyView } from "./key/key-view.ts";
import { LeaseView } from "./lease/lease-view.ts";
import { LimiterView } from "./limiter/limiter-view.ts";
import { ObjectView } from "./object/object-view.ts";
import { LockView } from "./lock/lock-view.ts";
import { QueueView } from "./queue/queue-view.ts";
import { MapView } from "./map/map-view.ts";
import { SnapshotView } from "./snapshot/snapshot-view.ts";
import { StreamView } from "./stream/stream-view.ts";
import type { AskedView, View } from "./view.ts";

export interface Views {
  readonly key: KeyView;
  readonly lease: LeaseView;
  readonly file: FileView;
  readonly snapshot: SnapshotView;
  readonly guard: GuardView;
  readonly counter: CounterView;
  readonly limiter: LimiterView;
  readonly object: ObjectView;
  readonly lock: LockView;
  readonly queue: QueueView;
  readonly map: MapView;
  readonly stream: StreamView;
  /** Those that are read by questions. */
  readonly asked: readonly AskedView[];
  readonly all: readonly View[];
}

export function makeViews(): Views {
  const key = new KeyView();
  const lease = new LeaseView(key);
  const file = new FileView();
  const snapshot = new SnapshotView();
  const counter = new CounterView();
  const limiter = new LimiterView();
  const object = new ObjectView();
  const lock = new LockView(lease);
  const queue = new QueueView(lease);
  const map = new MapView();
  const stream = new StreamView();
  const asked = [counter, limiter, lock, object, queue, stream, map] as unknown as AskedView[];
  const guard = new GuardView(asked);
  const all = [key, lease, file, snapshot, guard, ...asked] as unknown as View[];
  return { key, lease, file, snapshot, guard, counter, limiter, lock, queue, stream, object, map, asked, all };
}
