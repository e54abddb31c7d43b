/**
 * Watches as cursors on one shared history. The newest changes are kept in memory once for all; a watcher that is
 * further behind reads them from the tree, and one that has nothing to deliver costs nothing but its place in an index.
 *
 * Invariants:
 *  1. A watcher delivers every event of its span from its first revision on, each once, in the order of revisions and
 *     within one in the order of the command.
 *  2. `#ring` holds every change of the revisions from `#ringFrom` on.
 *  3. A watcher that waits has been shown everything below its `next`, and no event of its span has come since.
 *
 * When a newer state is installed, the ring begins anew behind it. The changes in between are in its tree, unless they
 * have been compacted there: a watcher reads them like any that it is behind.
 */
import {
  abortable,
  compareBytes,
  deferred,
  equalBytes,
  HoldfastError,
  prefixEnd,
  throwIfAborted,
} from "../../base/index.ts";
import type { Clock, Deferred } from "../../base/index.ts";
import type { Replica } from "../replica.ts";
import type { KeySpan, StoredRecord } from "./key-operation.ts";
import { changesFrom, previousOfChange } from "./key-reader.ts";
import type { PastChange } from "./key-reader.ts";
import type { WatchedEvent, WatchQuery, WatchStep } from "./key-source.ts";
import type { KeyChange } from "./key-state.ts";
import { compactRevision } from "./key-view.ts";
import { keyViewId } from "./layout.ts";

/** Changes kept in memory, and about how many bytes of them. */
const ringCountMax = 65_536;
const ringSizeMax = 33_554_432;
/** Changes looked at between two turns of a watcher that catches up. */
const sliceCount = 256;
const sliceSizeMax = 1_048_576;

interface Watcher {
  readonly span: KeySpan;
  /** Events of lower revisions have been delivered, or are not of the span. */
  next: number;
  /** Set while it waits. */
  wake: Deferred<void> | undefined;
}

export class WatchHub {
  readonly #clock: Clock;
  readonly #replica: Replica;
  readonly #unsubscribe: () => void;
  readonly #unlisten: () => void;
  readonly #index = new WatcherIndex();
  /** In order. */
  #ring: PastChange[] = [];
  #ringSize = 0;
  #ringFrom: number;
  #closed = false;

  constructor(clock: Clock, replica: Replica) {
    this.#clock = clock;
    this.#replica = replica;
    this.#ringFrom = replica.revision + 1;
    this.#unsubscribe = replica.subscribe({ id: keyViewId }, (revision, events) =>
      this.#add(revision, events as readonly KeyChange[]),
    );
    this.#unlisten = replica.onInstall((before) => this.#beginAnew(before));
    void replica.failed.then(() => this.close());
  }

  get watcherCount(): number {
    return this.#index.size;
  }

  #add(revision: number, changes: readonly KeyChange[]): void {
    for (const { key, record, index } of changes) {
      this.#ring.push({ revision, key, record, index });
      this.#ringSize += changeSize(key, record);
      if (this.#index.size > 0) this.#index.matching(key, (watcher) => wakeFor(watcher, revision));
    }
    if (this.#ring.length > ringCountMax || this.#ringSize > ringSizeMax) this.#shrink();
  }

  /** The state has jumped from a revision to a later one, and nobody was told of the changes in between. */
  #beginAnew(before: number): void {
    this.#ring = [];
    this.#ringSize = 0;
    this.#ringFrom = this.#replica.revision + 1;
    // Up to `before`, those that wait have missed nothing. What has been compacted of that is no loss.
    if (this.#replica.revision > before) this.#index.each((watcher) => wakeFor(watcher, before + 1));
  }

  /** Gives up the older half, up to the beginning of a revision. */
  #shrink(): void {
    let first = Math.ceil(this.#ring.length / 2);
    while (first < this.#ring.length && this.#ring[first]?.revision === this.#ring[first - 1]?.revision) first++;
    for (const { key, record } of this.#ring.slice(0, first)) this.#ringSize -= changeSize(key, record);
    this.#ring = this.#ring.slice(first);
    // The command being announced may be the one that was cut off.
    this.#ringFrom = this.#ring[0]?.revision ?? this.#replica.revision + 1;
  }

  /**
   * Steps of the watch, as long as it is asked for them; ends only with an error: `trimmed` when `from` has been
   * compacted, `cancelled` when the signal aborts, `unavailable` when the store closes.
   */
  async *watch(query: WatchQuery, signal: AbortSignal | undefined): AsyncGenerator<WatchStep, void, undefined> {
    await this.#replica.linearize(signal);
    if (query.from !== undefined && query.from > 0) await this.#checkRetained(query.from);
    const watcher: Watcher = {
      span: query.span,
      next: query.from === undefined || query.from === 0 ? this.#replica.revision + 1 : query.from,
      wake: undefined,
    };
    this.#index.add(watcher);
    let skip = query.skip ?? 0;
    try {
      for (;;) {
        throwIfAborted(signal);
        this.#checkOpen();
        if (watcher.next > this.#replica.revision) {
          const quietThrough = await this.#wait(watcher, query.progressMs, signal);
          if (quietThrough !== undefined) yield { revision: quietThrough, events: [] };
          continue;
        }
        const { changes, through } = await this.#changes(watcher.next);
        for await (const step of this.#steps(changes, query)) {
          const events = skip === 0 ? step.events : step.events.slice(skip);
          skip = 0;
          if (events.length > 0) yield { revision: step.revision, events };
        }
        watcher.next = Math.max(watcher.next, through + 1);
      }
    } finally {
      this.#index.remove(watcher);
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new HoldfastError("unavailable", "the store is closed");
  }

  /**
   * Waits for an event of the span. Or, with `progressMs`, until so much time has passed without: then it answers the
   * revision up to which there was none.
   */
  async #wait(
    watcher: Watcher,
    progressMs: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<number | undefined> {
    const wake = deferred<void>();
    watcher.wake = wake;
    let quietThrough: number | undefined;
    const timer =
      progressMs === undefined
        ? undefined
        : this.#clock.schedule(progressMs, () => {
            if (watcher.wake !== wake) return;
            // Nothing of its span has come: what has come is of no interest to it.
            quietThrough = this.#replica.revision;
            watcher.wake = undefined;
            watcher.next = Math.max(watcher.next, quietThrough + 1);
            wake.resolve();
          });
    try {
      await abortable(wake.promise, signal);
    } finally {
      timer?.cancel();
      watcher.wake = undefined;
    }
    return quietThrough;
  }

  async #checkRetained(from: number): Promise<void> {
    await this.#replica.read((tree) => checkRetained(tree, from));
  }

  /** The next changes of all keys from a revision on, from memory if they are there, else from the tree. */
  async #changes(from: number): Promise<{ readonly changes: readonly PastChange[]; readonly through: number }> {
    if (from >= this.#ringFrom) return this.#fromRing(from);
    const last = this.#replica.revision;
    return this.#replica.read((tree) => {
      checkRetained(tree, from);
      return changesFrom(tree, from, last, sliceCount);
    });
  }

  #fromRing(from: number): { changes: PastChange[]; through: number } {
    let low = 0;
    let high = this.#ring.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ring[middle] as PastChange).revision < from) low = middle + 1;
      else high = middle;
    }
    let end = low;
    for (let size = 0; end < Math.min(low + sliceCount, this.#ring.length) && size < sliceSizeMax; end++) {
      const { key, record } = this.#ring[end] as PastChange;
      size += changeSize(key, record);
    }
    while (end > low && end < this.#ring.length && this.#ring[end]?.revision === this.#ring[end - 1]?.revision) end++;
    const changes = this.#ring.slice(low, end);
    const through = end < this.#ring.length ? (this.#ring[end - 1] as PastChange).revision : this.#replica.revision;
    return { changes, through };
  }

  /** The changes that the query wants, a step a revision. */
  async *#steps(changes: readonly PastChange[], query: WatchQuery): AsyncGenerator<WatchStep, void, undefined> {
    let step: { revision: number; events: WatchedEvent[] } | undefined;
    for (const change of changes) {
      const { revision, key, record } = change;
      if (query.without === (record === undefined ? "delete" : "put") || !inSpan(query.span, key)) continue;
      if (step?.revision !== revision) {
        if (step !== undefined) yield step;
        step = { revision, events: [] };
      }
      const wanted = query.previous === true;
      const previous = wanted ? await this.#replica.read((tree) => previousOfChange(tree, change)) : undefined;
      step.events.push({ key, record, previous });
    }
    if (step !== undefined) yield step;
  }

  /** Ends all watches with `unavailable`. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    this.#unlisten();
    this.#index.each((watcher) => watcher.wake?.resolve());
  }
}

function checkRetained(reads: Parameters<typeof compactRevision>[0], from: number): void {
  const compacted = compactRevision(reads);
  if (from > compacted) return;
  throw new HoldfastError(
    "trimmed",
    `events up to revision ${compacted} have been compacted, so a watch cannot go on from ${from}: list the keys, then watch from the list's revision + 1`,
  );
}

function changeSize(key: Uint8Array, record: StoredRecord | undefined): number {
  return 160 + key.length + (record?.value.length ?? 0);
}

function wakeFor(watcher: Watcher, revision: number): void {
  if (watcher.wake === undefined || revision < watcher.next) return;
  // It has seen everything, so this event is the next that concerns it.
  watcher.next = revision;
  watcher.wake.resolve();
  watcher.wake = undefined;
}

function inSpan({ key: start, end }: KeySpan, key: Uint8Array): boolean {
  if (end === undefined) return equalBytes(start, key);
  return compareBytes(key, start) >= 0 && (end.length === 0 || compareBytes(key, end) < 0);
}

/** Finds the watchers that a key concerns without asking each. */
class WatcherIndex {
  size = 0;
  /** Of one key, by that key; of one prefix, by that prefix. */
  readonly #exact = new Map<string, Set<Watcher>>();
  readonly #prefixes = new Map<string, Set<Watcher>>();
  /** How many distinct prefixes there are of each length. */
  readonly #prefixLengths = new Map<number, number>();
  /** Of any other span. */
  readonly #others = new Set<Watcher>();

  add(watcher: Watcher): void {
    this.size++;
    const { key, end } = watcher.span;
    if (end === undefined) insert(this.#exact, textOf(key, key.length), watcher);
    else if (isPrefix(watcher.span)) {
      if (insert(this.#prefixes, textOf(key, key.length), watcher)) {
        this.#prefixLengths.set(key.length, (this.#prefixLengths.get(key.length) ?? 0) + 1);
      }
    } else this.#others.add(watcher);
  }

  remove(watcher: Watcher): void {
    this.size--;
    const { key, end } = watcher.span;
    if (end === undefined) take(this.#exact, textOf(key, key.length), watcher);
    else if (isPrefix(watcher.span)) {
      if (!take(this.#prefixes, textOf(key, key.length), watcher)) return;
      const left = (this.#prefixLengths.get(key.length) ?? 0) - 1;
      if (left > 0) this.#prefixLengths.set(key.length, left);
      else this.#prefixLengths.delete(key.length);
    } else this.#others.delete(watcher);
  }

  matching(key: Uint8Array, found: (watcher: Watcher) => void): void {
    if (this.#exact.size > 0) this.#exact.get(textOf(key, key.length))?.forEach(found);
    for (const length of this.#prefixLengths.keys()) {
      if (length <= key.length) this.#prefixes.get(textOf(key, length))?.forEach(found);
    }
    for (const watcher of this.#others) if (inSpan(watcher.span, key)) found(watcher);
  }

  each(visit: (watcher: Watcher) => void): void {
    for (const set of this.#exact.values()) set.forEach(visit);
    for (const set of this.#prefixes.values()) set.forEach(visit);
    this.#others.forEach(visit);
  }
}

function isPrefix({ key, end }: KeySpan): boolean {
  const after = prefixEnd(key);
  if (end === undefined) return false;
  return after === undefined ? end.length === 0 : equalBytes(after, end);
}

/** True if the text is new. */
function insert(map: Map<string, Set<Watcher>>, text: string, watcher: Watcher): boolean {
  const set = map.get(text);
  if (set === undefined) map.set(text, new Set([watcher]));
  else set.add(watcher);
  return set === undefined;
}

/** True if it was the last of its text. */
function take(map: Map<string, Set<Watcher>>, text: string, watcher: Watcher): boolean {
  const set = map.get(text);
  set?.delete(watcher);
  return set?.size === 0 && map.delete(text);
}

/** The first bytes as a string of as many characters. */
function textOf(bytes: Uint8Array, length: number): string {
  let text = "";
  for (let index = 0; index < length; index++) text += String.fromCharCode(bytes[index] as number);
  return text;
}
