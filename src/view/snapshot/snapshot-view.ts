/**
 * The `snapshot` view: which states are kept, by name, applied to the state. What it takes to keep one is done by each
 * member (view/pins.ts), which hears of every change by an event.
 */
import { limits, utf8Encode } from "../../base/index.ts";
import type { ApplyContext, State, View } from "../view.ts";
import { Refusal } from "../view.ts";
import { snapshotKey, snapshotViewId } from "./layout.ts";
import { SnapshotOperation, SnapshotResult, StoredSnapshot } from "./snapshot-operation.ts";

type Value<Name extends string> = Extract<NonNullable<SnapshotOperation["operation"]>, { case: Name }>["value"];
type Deletion = Value<"delete">["snapshots"][number];

/** What has become of a snapshot, as it is announced to the member. */
export type SnapshotChange =
  | { readonly type: "created"; readonly name: string; readonly snapshot: StoredSnapshot }
  | { readonly type: "sealed"; readonly name: string; readonly snapshot: StoredSnapshot }
  | { readonly type: "deleted"; readonly name: string; readonly revision: number };

const noBytes = new Uint8Array(0);
// oxlint-disable-next-line no-control-regex -- these are what a name must not have
const control = /[\u0000-\u001f\u007f-\u009f]/;

export class SnapshotView implements View<SnapshotOperation, SnapshotResult> {
  readonly name = "snapshot";
  readonly id = snapshotViewId;
  readonly operation = SnapshotOperation;
  readonly result = SnapshotResult;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { operation }: SnapshotOperation): SnapshotResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    switch (operation.case) {
      case "create":
        return this.#create(context, operation.value);
      case "delete":
        return this.#delete(context, operation.value);
      case "seal":
        return this.#seal(context, operation.value);
    }
  }

  touches({ operation }: SnapshotOperation, touch: (key: Uint8Array) => void): void {
    if (operation?.case === "create" || operation?.case === "seal") touch(snapshotKey(operation.value.name));
    if (operation?.case !== "delete") return;
    for (const { name } of operation.value.snapshots) touch(snapshotKey(name));
  }

  #create(context: ApplyContext, { name }: Value<"create">): SnapshotResult | Refusal {
    const refused = checkSnapshotName(name) ?? context.work.operate();
    if (refused !== undefined) return refused;
    const before = readSnapshot(context.state, name);
    if (before !== undefined) {
      const remedy = "delete it first, or choose another name";
      return new Refusal("exists", `snapshot ${nameText(name)} exists, of revision ${before.revision}: ${remedy}`);
    }
    const { revision, position, timeMs } = context;
    const snapshot: StoredSnapshot = {
      revision,
      position: position + 1,
      timeMs,
      sealed: false,
      rootHash: noBytes,
      count: 0,
    };
    context.state.put(snapshotKey(name), StoredSnapshot.encode(snapshot));
    context.changed();
    this.#announce(context, { type: "created", name, snapshot });
    return { result: { case: "create", value: snapshot } };
  }

  #delete(context: ApplyContext, { snapshots }: Value<"delete">): SnapshotResult | Refusal {
    for (const deletion of snapshots) {
      const refused = context.work.operate() ?? this.#deleteOne(context, deletion);
      if (refused !== undefined) return refused;
    }
    return { result: { case: "delete", value: {} } };
  }

  #deleteOne(context: ApplyContext, { name, revision, lenient }: Deletion): Refusal | undefined {
    const before = readSnapshot(context.state, name);
    if (before === undefined) {
      if (lenient) return undefined;
      return new Refusal("notFound", `snapshot ${nameText(name)} does not exist; list those that do`);
    }
    if (revision !== 0 && revision !== before.revision) {
      const found = `snapshot ${nameText(name)} is of revision ${before.revision}`;
      return new Refusal("conflict", `${found}, and revision ${revision} was expected: list them again and retry`);
    }
    context.state.delete(snapshotKey(name));
    context.changed();
    this.#announce(context, { type: "deleted", name, revision: before.revision });
    return undefined;
  }

  /** Whoever knows another root than the first that is proposed finds out by the event. */
  #seal(context: ApplyContext, seal: Value<"seal">): SnapshotResult | Refusal {
    const { name, revision, rootHash, count } = seal;
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    // The state of a snapshot has at least the snapshot.
    if (rootHash.length !== 32 || count === 0) {
      return new Refusal("invalid", `a root of ${rootHash.length} bytes and ${count} entries is none of a snapshot`);
    }
    const before = readSnapshot(context.state, name);
    if (before !== undefined && before.revision === revision && !before.sealed) {
      // The operation's bytes are a part of the whole batch of the log.
      const snapshot: StoredSnapshot = { ...before, sealed: true, rootHash: rootHash.slice(), count };
      context.state.put(snapshotKey(name), StoredSnapshot.encode(snapshot));
      this.#announce(context, { type: "sealed", name, snapshot });
    }
    return { result: { case: "seal", value: {} } };
  }

  #announce(context: ApplyContext, change: SnapshotChange): void {
    context.emit(this.#self, change);
  }
}

/** 1 to `limits.nameSizeMax` bytes of UTF-8 without control characters. */
export function checkSnapshotName(name: string): Refusal | undefined {
  const size = utf8Encode(name).length;
  if (size === 0) return new Refusal("invalid", "the snapshot has no name; give it one");
  if (size > limits.nameSizeMax) {
    const limit = `the limit is ${limits.nameSizeMax} (limits.nameSizeMax)`;
    return new Refusal("invalid", `the name of the snapshot is ${size} bytes; ${limit}`);
  }
  if (!control.test(name)) return undefined;
  return new Refusal("invalid", `the name ${nameText(name)} of the snapshot has control characters; leave them out`);
}

function nameText(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}

/** Undefined: there is none of this name. */
function readSnapshot(state: Pick<State, "get">, name: string): StoredSnapshot | undefined {
  // None has such a name, and no key of the tree is so long.
  if (name.length > limits.nameSizeMax) return undefined;
  const stored = state.get(snapshotKey(name));
  return stored === undefined ? undefined : StoredSnapshot.decode(stored);
}
