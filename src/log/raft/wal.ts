/**
 * What a member of a replicated log keeps on its disk: its entries, its term and vote, and where its log begins, as items
 * in a journal, in the order in which they were written. An entry of an index that was there before makes that one, and all
 * behind it, void.
 *
 * Takes writes in order and says when each is durable: one write of the journal is in flight, and what comes meanwhile goes
 * with the next. When nothing comes, a fence is written (../scan.ts).
 *
 * Invariants:
 *  1. An item never spans two batches of the journal.
 *  2. The journal is trimmed only when the item that says where the log begins now is durable behind what is trimmed.
 *
 * After a crash: all items whose write was said to be durable are there.
 *
 * Format: docs/format.md, "The journal of a replicated log".
 */
import {
  asHoldfastError,
  bytes,
  deferred,
  embed,
  equalBytes,
  giveWay,
  HoldfastError,
  message,
  position,
  toHex,
  uint32,
  uint64,
  bool,
} from "../../base/index.ts";
import type { Deferred, Infer, Position } from "../../base/index.ts";
import { Configuration, emptyConfiguration } from "../../raft/index.ts";
import type { Base, Entry, HardState, RaftWrite } from "../../raft/index.ts";
import { Fence } from "../fence.ts";
import { Journal } from "../journal.ts";
import type { JournalEnv, JournalOptions } from "../journal.ts";
import { EntryPlaces } from "./entry-places.ts";

const EntryItem = message("holdfast.log.EntryItem", {
  index: uint64(1),
  term: uint64(2),
  position: uint64(3),
  /** So many records of the journal follow this item: the entry's. */
  count: uint32(4),
  configuration: embed(5, Configuration),
});
const StateItem = message("holdfast.log.StateItem", { term: uint64(1), vote: uint64(2), commit: uint64(3) });
const BaseItem = message("holdfast.log.BaseItem", {
  index: uint64(1),
  term: uint64(2),
  position: uint64(3),
  configuration: embed(4, Configuration),
  /** Whatever was in the log is void; else entries behind `index` stay. */
  reset: bool(5),
  cluster: bytes(6),
  self: uint64(7),
});
const WalItem = message("holdfast.log.WalItem", {
  entry: embed(1, EntryItem),
  state: embed(2, StateItem),
  base: embed(3, BaseItem),
});

export interface WalIdentity {
  /** 16 bytes, the same for all members. */
  readonly cluster: Uint8Array;
  readonly self: number;
}

export interface WalHost {
  /** A write failed for good; called once. */
  failed(error: HoldfastError): void;
  /** Everything that was submitted is durable. */
  idle(): void;
}

/** What `open` found. */
export interface WalContents {
  readonly wal: Wal;
  readonly base: Base;
  readonly state: HardState;
  /** All entries behind the base; up to `released` without their records' bytes. */
  readonly entries: readonly Entry[];
  readonly released: number;
}

interface Piece {
  readonly records: readonly Uint8Array[];
  readonly size: number;
  /** Called when it is durable, with its position in the journal. */
  readonly done: (place: number) => void;
}

/** Bytes after which no more pieces go with a write. */
const batchSizeMax = 4_194_304;
/** How long after the disk was found full it is tried again. */
const fullRetryMs = 1_000;

export class Wal {
  readonly #env: JournalEnv;
  readonly #journal: Journal;
  readonly #identity: WalIdentity;
  readonly places: EntryPlaces;
  #pieces: Piece[] = [];
  #pumping: Promise<void> | undefined;
  #full: HoldfastError | undefined;
  readonly #fence: Fence;
  #closed = false;
  #wakeRetry: (() => void) | undefined;
  readonly #trims = new Set<Deferred<void>>();
  readonly #host: WalHost;
  /** As of the last write that was submitted. */
  #state: HardState;
  /** A write was given up: nothing is written behind the hole. */
  #broken = false;

  private constructor(
    env: JournalEnv,
    journal: Journal,
    identity: WalIdentity,
    places: EntryPlaces,
    state: HardState,
    host: WalHost,
  ) {
    this.#env = env;
    this.#journal = journal;
    this.#identity = identity;
    this.places = places;
    this.#state = state;
    this.#host = host;
    this.#fence = new Fence(env, journal, {
      idle: () => this.#pumping === undefined,
      begin: () => this.#begin(this.#writeFence()),
    });
  }

  /**
   * Opens what is in the directory, or begins a log behind `first` there. `invalid` when the log is another member's;
   * `corrupt` when it is damaged.
   */
  static async open(
    env: JournalEnv,
    directory: string,
    options: JournalOptions,
    identity: WalIdentity,
    first: Base,
    host: WalHost,
  ): Promise<WalContents> {
    const journal = await Journal.open(env, directory, options);
    try {
      if (journal.tail === 0) await journal.append([baseItem(first, identity, true)]);
      const replay = new Replay(identity, directory);
      for await (const batch of journal.read(journal.start)) replay.batch(batch.position, batch.records);
      const { base, state, entries } = replay.finish();
      const places = new EntryPlaces(base.index, base.position);
      for (const { entry, place } of entries) places.put(entry.index, place, entry.position + entry.records.length);
      const wal = new Wal(env, journal, identity, places, state, host);
      // Of committed entries nobody may ever ask again; of the others anybody may.
      const released = Math.max(base.index, Math.min(state.commit, places.lastIndex));
      const all = entries.map(({ entry }) => entry);
      if (released < places.lastIndex) {
        let index = released + 1;
        for await (const entry of wal.read(index)) all[index++ - base.index - 1] = entry;
      }
      return { wal, base, state, entries: all, released };
    } catch (error) {
      await journal.close();
      throw error;
    }
  }

  /** Bytes of the journal's files. */
  get size(): number {
    return this.#journal.size;
  }

  get writtenSize(): number {
    return this.#journal.writtenSize;
  }

  /** For `verify`. */
  get journal(): Journal {
    return this.#journal;
  }

  /** Whether nothing waits to be durable. */
  get idle(): boolean {
    return this.#pumping === undefined;
  }

  /** Why nothing can be written at present, though it may be later. */
  get full(): HoldfastError | undefined {
    return this.#full;
  }

  /** Makes it durable behind everything submitted before; then calls `done`. Without a write, waits for those before. */
  submit(write: RaftWrite | undefined, done: () => void): void {
    if (this.#broken) return;
    if (write === undefined) {
      if (this.#pieces.length === 0 && this.idle) done();
      else this.#push([], done);
      return;
    }
    const { reset, entries, state } = write;
    if (reset !== undefined) {
      this.#push([baseItem(reset, this.#identity, true)], () => this.places.reset(reset.index, reset.position));
    }
    for (const entry of entries) {
      const end = entry.position + entry.records.length;
      this.#push([entryItem(entry), ...entry.records], (place) => this.places.put(entry.index, place, end));
    }
    if (state !== undefined) this.#state = state;
    this.#push(state === undefined ? [] : [WalItem.encode({ state })], done);
  }

  /**
   * The log begins behind `base` from now on: durable when it resolves, and then the space is given back. `unavailable` when
   * the log fails or closes before.
   */
  trim(base: Base): Promise<void> {
    const trimmed = deferred<void>();
    this.#trims.add(trimmed);
    // The segment with the last state may be trimmed, too.
    const items = [baseItem(base, this.#identity, false), WalItem.encode({ state: this.#state })];
    this.#push(items, (place) => {
      this.#trims.delete(trimmed);
      this.places.trim(base.index);
      const next = base.index + 1;
      const before = this.places.has(next) ? Math.min(place, this.places.placeOf(next)) : place;
      this.#journal.trim(position(before)).then(
        () => trimmed.resolve(),
        (error: unknown) => trimmed.reject(error),
      );
    });
    if (this.#closed || this.#broken) this.#endTrims();
    return trimmed.promise;
  }

  /** What waits to be trimmed will not be written any more. */
  #endTrims(): void {
    for (const trimmed of this.#trims) trimmed.reject(new HoldfastError("unavailable", "the log has stopped"));
    this.#trims.clear();
  }

  #push(records: readonly Uint8Array[], done: (place: number) => void): void {
    if (this.#broken) return;
    let size = 0;
    for (const record of records) size += record.length + 4;
    this.#pieces.push({ records, size, done });
    // What else is submitted in this turn goes along. The write may hold up the thread: messages go out before it.
    if (this.#pumping === undefined) this.#begin(giveWay(this.#env.clock));
  }

  /** Writes what waits, after `first`. */
  #begin(first: Promise<void>): void {
    this.#pumping = first
      .then(() => this.#pump())
      .catch((error: unknown) => this.#fail(asHoldfastError(error)))
      .then(() => {
        this.#pumping = undefined;
        if (this.#broken) return;
        this.#fence.rest();
        this.#host.idle();
      });
  }

  /** Nothing that waits is ever written: whoever promised it must not say so. */
  #fail(error: HoldfastError): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#pieces = [];
    this.#endTrims();
    this.#host.failed(error);
  }

  async #pump(): Promise<void> {
    while (this.#pieces.length > 0 && !this.#broken) {
      const pieces = this.#takeBatch();
      const records = pieces.length === 1 ? (pieces[0] as Piece).records : pieces.flatMap((piece) => piece.records);
      let place: number = this.#journal.tail;
      if (records.length > 0 && !(await this.#write(records))) return;
      for (const piece of pieces) {
        piece.done(place);
        place += piece.records.length;
      }
    }
  }

  #takeBatch(): Piece[] {
    let size = 0;
    let count = 0;
    for (const piece of this.#pieces) {
      if (count > 0 && size + piece.size > batchSizeMax) break;
      size += piece.size;
      count++;
    }
    return this.#pieces.splice(0, count);
  }

  /** Writes until it is durable: a full disk may have space again. False when that will never be. */
  async #write(records: readonly Uint8Array[]): Promise<boolean> {
    for (;;) {
      try {
        await this.#journal.append(records);
        this.#full = undefined;
        this.#fence.needed();
        return true;
      } catch (error) {
        const failure = error as HoldfastError;
        if (this.#closed || this.#journal.failure !== undefined || failure.code !== "exhausted") {
          this.#fail(failure);
          return false;
        }
        if (this.#full === undefined) this.#env.logger.log("error", "the log cannot grow", { error: failure.message });
        this.#full = failure;
      }
      await new Promise<void>((resolve) => {
        const timer = this.#env.clock.schedule(fullRetryMs, resolve);
        this.#wakeRetry = () => {
          timer.cancel();
          resolve();
        };
      });
      if (this.#closed) {
        this.#fail(new HoldfastError("unavailable", "the log was closed while its disk was full"));
        return false;
      }
    }
  }

  async #writeFence(): Promise<void> {
    await this.#fence.write();
    if (this.#journal.failure !== undefined) this.#fail(this.#journal.failure);
  }

  /** The entries from `index` on that are durable, from the disk. `trimmed` when they are gone meanwhile. */
  async *read(index: number): AsyncGenerator<Entry, void, undefined> {
    let next = index;
    while (this.places.has(next)) {
      const from: Position = position(this.places.placeOf(next));
      for await (const batch of this.#journal.read(from)) {
        for (const { item, place, records } of items(batch.position, batch.records)) {
          // Entries that were overwritten are passed over.
          if (item.entry?.index !== next || !this.places.has(next) || this.places.placeOf(next) !== place) continue;
          yield toEntry(item.entry, records);
          next++;
          if (!this.places.has(next)) return;
        }
      }
    }
  }

  /** Idempotent. What is submitted is made durable first, unless that must wait. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#fence.close();
    this.#wakeRetry?.();
    await this.#pumping;
    this.#endTrims();
    await this.#writeFence();
    await this.#journal.close();
  }
}

function entryItem({ index, term, position: first, records, configuration }: Entry): Uint8Array {
  return WalItem.encode({ entry: { index, term, position: first, count: records.length, configuration } });
}

function baseItem(base: Base, { cluster, self }: WalIdentity, reset: boolean): Uint8Array {
  return WalItem.encode({ base: { ...base, reset, cluster, self } });
}

function toEntry(item: Infer<typeof EntryItem>, records: readonly Uint8Array[]): Entry {
  const { index, term, position: first, configuration } = item;
  let size = 0;
  for (const record of records) size += record.length;
  return { index, term, position: first, records, size, configuration };
}

interface FoundItem {
  readonly item: Infer<typeof WalItem>;
  readonly place: number;
  readonly records: readonly Uint8Array[];
}

/** The items of a batch of the journal. */
function* items(first: number, records: readonly Uint8Array[]): Generator<FoundItem, void, undefined> {
  for (let at = 0; at < records.length;) {
    const item = WalItem.decode(records[at] as Uint8Array);
    const begin = at + 1;
    const end = begin + (item.entry?.count ?? 0);
    if (end > records.length)
      throw new HoldfastError("corrupt", `entry ${item.entry?.index} is not whole in the journal`);
    yield { item, place: first + at, records: records.slice(begin, end) };
    at = end;
  }
}

interface PlacedEntry {
  readonly entry: Entry;
  readonly place: number;
}

/** Plays the items of a journal from its beginning. */
class Replay {
  readonly #identity: WalIdentity;
  readonly #directory: string;
  #base: Base | undefined;
  #state: HardState = { term: 0, vote: 0, commit: 0 };
  #entries: PlacedEntry[] = [];

  constructor(identity: WalIdentity, directory: string) {
    this.#identity = identity;
    this.#directory = directory;
  }

  batch(first: number, records: readonly Uint8Array[]): void {
    for (const { item, place, records: own } of items(first, records)) {
      if (item.base !== undefined) this.#begin(item.base);
      else if (item.state !== undefined) this.#state = item.state;
      else if (item.entry !== undefined) this.#add({ entry: hollow(item.entry, own.length), place });
      // The codec leaves out what is at its default: the state that a log begins with.
      else this.#state = { term: 0, vote: 0, commit: 0 };
    }
  }

  #begin({ cluster, self, reset, configuration = emptyConfiguration, ...place }: Infer<typeof BaseItem>): void {
    if (!equalBytes(cluster, this.#identity.cluster) || self !== this.#identity.self) {
      throw new HoldfastError(
        "invalid",
        `the log in ${this.#directory} is that of member ${self} of cluster ${toHex(cluster)}; this is member ${this.#identity.self} of ${toHex(this.#identity.cluster)}`,
      );
    }
    this.#base = { ...place, configuration };
    this.#entries = reset ? [] : this.#entries.filter(({ entry }) => entry.index > place.index);
  }

  #add(placed: PlacedEntry): void {
    const { index } = placed.entry;
    const first = this.#entries[0]?.entry.index ?? index;
    if (index > first + this.#entries.length) throw this.#missing(first + this.#entries.length);
    this.#entries.length = Math.max(0, index - first);
    this.#entries.push(placed);
  }

  #missing(index: number): HoldfastError {
    return new HoldfastError(
      "corrupt",
      `entry ${index} is missing in the log in ${this.#directory}; replace this member by one with an empty directory (--join … --replace …)`,
    );
  }

  finish(): { readonly base: Base; readonly state: HardState; readonly entries: readonly PlacedEntry[] } {
    const base = this.#base;
    if (base === undefined) throw this.#missing(1);
    const entries = this.#entries.filter(({ entry }) => entry.index > base.index);
    const first = entries[0]?.entry;
    if (first !== undefined && first.index !== base.index + 1) throw this.#missing(base.index + 1);
    const lastTerm = entries.at(-1)?.entry.term ?? base.term;
    // The crash came between the first entry of a term and its state: nobody was promised anything in that term.
    const state = this.#state.term < lastTerm ? { ...this.#state, term: lastTerm, vote: 0 } : this.#state;
    return { base, state, entries };
  }
}

/** An entry without its records' bytes. */
function hollow(item: Infer<typeof EntryItem>, count: number): Entry {
  return { ...toEntry(item, []), records: Array.from<Uint8Array>({ length: count }) };
}
