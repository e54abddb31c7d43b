/**
 * Reads of the key view on a state in the tree: now and at a past revision.
 */
import { compareBytes, equalBytes, HoldfastError, throwIfAborted, toHex } from "../../base/index.ts";
import { PageMissing } from "../../tree/index.ts";
import type { TreeEdit, TreeEntry, TreeRangeOptions } from "../../tree/index.ts";
import type { HeldState } from "../held.ts";
import { StoredRecord } from "./key-operation.ts";
import type { KeyedRecord, KeySpan } from "./key-operation.ts";
import type { KeyQuery } from "./key-source.ts";
import { compactRevision } from "./key-view.ts";
import {
  compactionKey,
  currentKey,
  currentRange,
  deletedKey,
  deletedRange,
  eventKey,
  eventRange,
  indexOfEvent,
  keyOfCurrent,
  revisionOfEvent,
  StoredEvent,
} from "./layout.ts";
import type { KeyChange } from "./key-state.ts";

/** What the synchronous reads need: the running tree. They throw `PageMissing`. */
export type Reads = Pick<TreeEdit, "get" | "entries" | "count">;

const noBytes = new Uint8Array(0);

/** Whether the history holds the state at `at`; only a snapshot may when it does not. `invalid` when it is yet to come. */
export function isPast(reads: Pick<Reads, "get">, at: number, now: number): boolean {
  return isRetained(at, now, compactRevision(reads));
}

/** The same in a state at leisure, which is released when it fails. */
export async function isPastIn({ tree, release }: HeldState, at: number, now: number): Promise<boolean> {
  try {
    const stored = await tree.get(compactionKey);
    return isRetained(at, now, compactRevision({ get: () => stored }));
  } catch (error) {
    release();
    throw error;
  }
}

function isRetained(at: number, now: number, compacted: number): boolean {
  if (at > now) throw new HoldfastError("invalid", `revision ${at} is in the future; the store is at ${now}`);
  return at >= compacted;
}

export function trimmedError(at: number, compacted: number): HoldfastError {
  return new HoldfastError("trimmed", `revision ${at} has been compacted; the oldest that can be read is ${compacted}`);
}

export function getNow(reads: Reads, key: Uint8Array): StoredRecord | undefined {
  const stored = reads.get(currentKey(key));
  return stored === undefined ? undefined : StoredRecord.decode(stored);
}

/** The key in a state at leisure. */
export async function getIn(tree: HeldState["tree"], key: Uint8Array): Promise<StoredRecord | undefined> {
  const stored = await tree.get(currentKey(key));
  return stored === undefined ? undefined : StoredRecord.decode(stored);
}

export function getPast(reads: Reads, key: Uint8Array, at: number): StoredRecord | undefined {
  return versionAt(reads, key, newest(reads, key), at);
}

/** The current version of a key, or its deletion; undefined when neither is there. */
function newest(reads: Pick<Reads, "get">, key: Uint8Array): StoredRecord | undefined {
  const stored = reads.get(currentKey(key)) ?? reads.get(deletedKey(key));
  return stored === undefined ? undefined : StoredRecord.decode(stored);
}

/** What a version superseded: another version or a deletion; undefined when there is none, or none is retained. */
function previousOf(
  reads: Pick<Reads, "get">,
  { revision, index }: Pick<StoredRecord, "revision" | "index">,
): StoredRecord | undefined {
  const stored = reads.get(eventKey(revision, index));
  return stored === undefined ? undefined : previousIn(StoredEvent.decode(stored));
}

function previousIn({ previous }: StoredEvent): StoredRecord | undefined {
  return previous.length === 0 ? undefined : StoredRecord.decode(previous);
}

const chainSteps = 64;
const scanSteps = 256;

/**
 * The key as it was at a retained revision, given its newest version. Follows the chain of versions back, and in turns
 * looks through the events behind the revision for the first of this key: the first way is short for a key that seldom
 * changes, the second for one that often does.
 */
function versionAt(
  reads: Pick<Reads, "get" | "entries">,
  key: Uint8Array,
  from: StoredRecord | undefined,
  at: number,
): StoredRecord | undefined {
  let version = from;
  let events: IterableIterator<TreeEntry> | undefined;
  for (;;) {
    for (let step = 0; step < chainSteps; step++) {
      if (version === undefined || version.revision <= at) return existing(version);
      version = previousOf(reads, version);
    }
    events ??= reads.entries(eventRange(at + 1, Number.MAX_SAFE_INTEGER - 1));
    for (let step = 0; step < scanSteps; step++) {
      const { value, done } = events.next();
      if (done === true) break;
      const event = StoredEvent.decode(value.value);
      if (equalBytes(event.key, key)) return existing(previousIn(event));
    }
  }
}

function existing(version: StoredRecord | undefined): StoredRecord | undefined {
  return version === undefined || version.version === 0 ? undefined : version;
}

/** Runs synchronous reads on a snapshot, from their beginning whenever a page had to be loaded. */
async function readSnapshot<T>(
  tree: HeldState["tree"],
  query: (reads: Pick<Reads, "get" | "entries">) => T,
): Promise<T> {
  const reads = {
    get: (key: Uint8Array) => tree.getSync(key),
    entries: (range?: TreeRangeOptions) => tree.entriesSync(range),
  };
  for (;;) {
    try {
      return query(reads);
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      await error.load();
    }
  }
}

/** The versions and deletions of a key that can be read, oldest first. */
export async function versionsOf(
  tree: HeldState["tree"],
  key: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<StoredRecord[]> {
  const versions: StoredRecord[] = [];
  const compacted = await readSnapshot(tree, compactRevision);
  let version = await readSnapshot(tree, (reads) => newest(reads, key));
  while (version !== undefined) {
    throwIfAborted(signal);
    if (version.revision > compacted) versions.push(version);
    else {
      // The one that was there at the compact revision; what is older may be swept at any time.
      if (version.version > 0) versions.push(version);
      break;
    }
    const later = version;
    version = await readSnapshot(tree, (reads) => previousOf(reads, later));
  }
  return versions.toReversed();
}

export function countNow(reads: Reads, span: KeySpan): number {
  if (span.end === undefined) return reads.get(currentKey(span.key)) === undefined ? 0 : 1;
  return reads.count(currentRange(span));
}

/** At most `limit` keys of a span as they are now, at one go. */
export function listNow(reads: Reads, query: KeyQuery, limit: number): KeyedRecord[] {
  const records: KeyedRecord[] = [];
  if (limit === 0) return records;
  const { span, reverse = false, keysOnly = false } = query;
  for (const entry of reads.entries({ ...currentRange(span), reverse })) {
    records.push(toKeyed(entry, keysOnly));
    if (records.length >= limit) break;
  }
  return records;
}

function toKeyed({ key, value }: TreeEntry, keysOnly: boolean): KeyedRecord {
  const record = StoredRecord.decode(value);
  return { key: keyOfCurrent(key), record: keysOnly ? { ...record, value: noBytes } : record };
}

/** The keys of a span in a snapshot, as the query wants them, in batches. */
export async function* listSnapshot(
  tree: HeldState["tree"],
  query: KeyQuery,
  signal: AbortSignal | undefined,
): AsyncGenerator<KeyedRecord[], void, undefined> {
  const { span, reverse = false, keysOnly = false, at } = query;
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  const batches =
    at === undefined ? currentBatches(tree, span, reverse, keysOnly, signal) : pastBatches(tree, query, at, signal);
  for await (const batch of batches) {
    if (left <= 0) return;
    yield batch.length <= left ? batch : batch.slice(0, left);
    left -= batch.length;
    if (left <= 0) return;
  }
}

async function* currentBatches(
  tree: HeldState["tree"],
  span: KeySpan,
  reverse: boolean,
  keysOnly: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<KeyedRecord[], void, undefined> {
  // The values are needed even for keys only, since they hold the revisions.
  for await (const batch of tree.entries({ ...currentRange(span), reverse, signal })) {
    yield batch.map((entry) => toKeyed(entry, keysOnly));
  }
}

/** Two walks side by side, over the keys there are now and over those that have been deleted; each key is in one. */
async function* pastBatches(
  tree: HeldState["tree"],
  { span, reverse = false, keysOnly = false }: KeyQuery,
  at: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<KeyedRecord[], void, undefined> {
  const current = new Walk(tree.entries({ ...currentRange(span), reverse, signal }));
  const deleted = new Walk(tree.entries({ ...deletedRange(span), reverse, signal }));
  let batch: KeyedRecord[] = [];
  try {
    for (;;) {
      const [fromCurrent, fromDeleted] = [await current.peek(), await deleted.peek()];
      const walk = nearer(fromCurrent, fromDeleted, reverse) ? current : deleted;
      const entry = await walk.peek();
      if (entry === undefined) break;
      walk.take();
      const key = keyOfCurrent(entry.key);
      const latest = StoredRecord.decode(entry.value);
      const found =
        latest.revision <= at
          ? existing(latest)
          : await readSnapshot(tree, (reads) => versionAt(reads, key, latest, at));
      if (found === undefined) continue;
      batch.push({ key, record: keysOnly ? { ...found, value: noBytes } : found });
      if (batch.length < 256) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  } finally {
    await current.return();
    await deleted.return();
  }
}

/** Whether the first walk's next entry comes before the second's. */
function nearer(a: TreeEntry | undefined, b: TreeEntry | undefined, reverse: boolean): boolean {
  if (a === undefined || b === undefined) return b === undefined;
  return compareBytes(keyOfCurrent(a.key), keyOfCurrent(b.key)) < 0 !== reverse;
}

/** An asynchronous walk along entries, with a look at the next one. */
class Walk {
  readonly #batches: AsyncIterator<readonly TreeEntry[]>;
  #batch: readonly TreeEntry[] = [];
  #index = 0;

  constructor(batches: AsyncIterableIterator<readonly TreeEntry[]>) {
    this.#batches = batches;
  }

  async peek(): Promise<TreeEntry | undefined> {
    if (this.#index === this.#batch.length) {
      const { value, done } = await this.#batches.next();
      this.#batch = done === true ? [] : value;
      this.#index = 0;
    }
    return this.#batch[this.#index];
  }

  take(): void {
    this.#index++;
  }

  async return(): Promise<void> {
    await this.#batches.return?.();
  }
}

const changesSizeMax = 1_048_576;

export interface PastChange extends KeyChange {
  readonly revision: number;
}

/**
 * The changes of the revisions from `first` to `last`: whole revisions, and no more of them once there are `countMin`
 * changes, or more than 1 MiB; and the last revision that they cover.
 */
export function changesFrom(
  reads: Reads,
  first: number,
  last: number,
  countMin: number,
): { readonly changes: readonly PastChange[]; readonly through: number } {
  const found: { revision: number; index: number; event: StoredEvent }[] = [];
  let size = 0;
  let through = last;
  for (const { key, value } of reads.entries(eventRange(first, last))) {
    const revision = revisionOfEvent(key);
    const before = found[found.length - 1]?.revision;
    if ((found.length >= countMin || size > changesSizeMax) && before !== undefined && before !== revision) {
      through = before;
      break;
    }
    size += value.length;
    found.push({ revision, index: indexOfEvent(key), event: StoredEvent.decode(value) });
  }
  // From the last to the first: what an event made is what the next one of its key superseded.
  const known = new Map<string, StoredRecord | undefined>();
  const changes: PastChange[] = [];
  for (const { revision, index, event } of found.toReversed()) {
    const name = toHex(event.key);
    const record = event.deleted ? undefined : known.has(name) ? known.get(name) : getPast(reads, event.key, revision);
    known.set(name, existing(previousIn(event)));
    changes.push({ revision, index, key: event.key.slice(), record });
  }
  return { changes: changes.toReversed(), through };
}

/** What a change superseded, if that is retained. */
export function previousOfChange(reads: Reads, change: PastChange): StoredRecord | undefined {
  return existing(previousOf(reads, change));
}
