/**
 * How one key changes: the new version takes the place of the current one, which goes into the event that says so. Other
 * views (leases) change keys through here too.
 *
 * Invariants:
 *  1. A key changes at most once in a command, so that (key, revision) names one version.
 *  2. There is one event for each change, in the order of the changes. It holds the version that the change superseded;
 *     if the key did not exist, the deletion before it, as long as that is retained.
 *  3. A key that does not exist has a deletion in the tree as long as the deletion's event is there.
 */
import type { KeySpan } from "./key-operation.ts";
import { StoredRecord } from "./key-operation.ts";
import { attach, detach } from "../lease/lease-state.ts";
import type { ApplyContext, View } from "../view.ts";
import { Refusal } from "../view.ts";
import { currentKey, currentRange, deletedKey, eventKey, keyOfCurrent, StoredEvent } from "./layout.ts";

/** A change, as it is announced to watchers. */
export interface KeyChange {
  /** The caller's to keep. */
  readonly key: Uint8Array;
  /** Undefined for a deletion. */
  readonly record: StoredRecord | undefined;
  /** Which event of its revision this is. */
  readonly index: number;
}

export interface NewVersion {
  readonly value: Uint8Array;
  readonly lease: bigint;
}

export function currentRecord(context: ApplyContext, key: Uint8Array): StoredRecord | undefined {
  const stored = context.state.get(currentKey(key));
  return stored === undefined ? undefined : StoredRecord.decode(stored);
}

/** Writes a new version of the key; answers the one before. */
export function putKey(
  context: ApplyContext,
  view: View,
  key: Uint8Array,
  version: NewVersion,
  before: StoredRecord | undefined,
): Refusal | undefined {
  const { state, revision, emittedCount: index } = context;
  const deletion = before === undefined ? state.get(deletedKey(key)) : undefined;
  const lastRevision = before?.revision ?? (deletion === undefined ? 0 : StoredRecord.decode(deletion).revision);
  if (lastRevision === revision) return changedTwice(key);
  const record: StoredRecord = {
    createRevision: before?.createRevision ?? revision,
    revision,
    version: (before?.version ?? 0) + 1,
    lease: version.lease,
    value: version.value,
    index,
  };
  const replaced = state.put(currentKey(key), StoredRecord.encodeBriefly(record));
  if (deletion !== undefined) state.delete(deletedKey(key));
  if (before !== undefined && before.lease !== 0n && before.lease !== version.lease) detach(state, before.lease, key);
  if (version.lease !== 0n && before?.lease !== version.lease) attach(state, version.lease, key);
  announce(context, view, { key, record, index }, replaced ?? deletion);
  return undefined;
}

/** Deletes a key that exists as `before`. */
export function deleteKey(
  context: ApplyContext,
  view: View,
  key: Uint8Array,
  before: StoredRecord,
): Refusal | undefined {
  const { state, revision, emittedCount: index } = context;
  if (before.revision === revision) return changedTwice(key);
  const removed = state.delete(currentKey(key));
  state.put(deletedKey(key), StoredRecord.encode({ revision, index }));
  if (before.lease !== 0n) detach(state, before.lease, key);
  announce(context, view, { key, record: undefined, index }, removed);
  return undefined;
}

function changedTwice(key: Uint8Array): Refusal {
  return new Refusal("invalid", `the command changes key ${keyText(key)} twice; let it change each key once`);
}

function announce(context: ApplyContext, view: View, change: KeyChange, previous: Uint8Array | undefined): void {
  const { key, record, index } = change;
  const stored = StoredEvent.encodeBriefly({ key, previous: previous ?? noBytes, deleted: record === undefined });
  context.state.put(eventKey(context.revision, index), stored);
  context.changed();
  context.emit(view, change);
}

const noBytes = new Uint8Array(0);

export interface CurrentEntry {
  readonly key: Uint8Array;
  readonly record: StoredRecord;
}

/**
 * The keys of a span as they are now, collected, so that they may be changed. `visit` sees each before it is collected
 * and ends it all with a refusal when there are too many.
 */
export function currentEntries(
  { state }: ApplyContext,
  span: KeySpan,
  options: {
    readonly limit?: number;
    readonly reverse?: boolean;
    readonly visit: (entry: CurrentEntry) => Refusal | undefined;
  },
): CurrentEntry[] | Refusal {
  const { limit = Number.POSITIVE_INFINITY, reverse = false, visit } = options;
  const entries: CurrentEntry[] = [];
  for (const { key, value } of state.entries({ ...currentRange(span), reverse })) {
    if (entries.length >= limit) break;
    const entry = { key: keyOfCurrent(key), record: StoredRecord.decode(value) };
    const refused = visit(entry);
    if (refused !== undefined) return refused;
    entries.push(entry);
  }
  return entries;
}

/** A key for messages: quoted text, or hexadecimal. */
export function keyText(key: Uint8Array): string {
  const shown = key.subarray(0, 64);
  const rest = key.length > 64 ? "…" : "";
  let text: string;
  try {
    text = JSON.stringify(new TextDecoder("utf-8", { fatal: true }).decode(shown));
  } catch {
    text = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  return text + rest;
}
