/**
 * Many engines joined into one address space, so that a store's log can move from one engine to another while it is
 * written (Balakrishnan et al., "Virtual Consensus in Delos", OSDI 2020).
 *
 * A log's last record names its successor. Sealing is itself a record, so any totally ordered engine can be sealed: the
 * first successor record ends its log, and records behind it are void. Successor records take no position of the chain:
 * the successor's first record has the position where the successor record would stand.
 *
 * Invariants:
 *  1. Readers see each engine's records up to its first successor record, then the successor's from its beginning.
 *  2. An append that was answered is in front of its engine's successor record; one that fell behind it is repeated in
 *     the successor, before it is answered. So on an engine that others append to (`capabilities.shared`) an append is
 *     answered when everything up to it has been looked through.
 *  3. A move opens the successor, empty, before it seals: one that cannot be opened changes nothing.
 *  4. A record that an engine took behind its end is void, unless the chain came back to the log that the engine is a section
 *     of (section.ts) before it was taken: then that is its place.
 *  5. The note of where the engines are (chain-place.ts) is durable before an engine that it names is removed.
 *
 * After a crash at any moment of a move, the log goes on in the old engine, if its successor record is not in it, or else
 * in the successor: the note may lag, since `open` follows the successor record of the last engine in it.
 *
 * Format: docs/format.md, "The chain's records": a record that begins with the byte 0 belongs to the chain. No command
 * begins so, since no Protocol Buffers field has the number 0.
 */
import { assert, deferred, HoldfastError, position, Signal } from "../base/index.ts";
import type { Deferred, Position } from "../base/index.ts";
import { ChainLink } from "./chain-link.ts";
import { ChainLinks, openLinks } from "./chain-links.ts";
import { nowhere, unknownSuccessor } from "./chain-options.ts";
import type { ChainOptions } from "./chain-options.ts";
import type { ChainPlace } from "./chain-place.ts";
import { readChain } from "./chain-reader.ts";
import { PreparedEngines } from "./prepared-engines.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";
import { decodeSuccessor, isSameSuccessor, successorRecord } from "./successor.ts";
import type { Successor } from "./successor.ts";

/** What a move has done. */
export interface Moved {
  /** The first position in the successor. */
  readonly position: Position;
  /** From when appends were held back until the first was answered in the successor, or could be; milliseconds. */
  readonly pauseMs: number;
}

export class Chain implements LogEngine {
  readonly #options: ChainOptions;
  readonly #openEngine: NonNullable<ChainOptions["openEngine"]>;
  readonly #links = new ChainLinks();
  /** Opening the successor of the last link. */
  #entering: Promise<void> | undefined;
  /** This chain is sealing its last engine: appends wait. */
  #sealing: Deferred<void> | undefined;
  /** Announces that a link was looked through further, entered or ended. */
  readonly #changed = new Signal();
  readonly #closing = new AbortController();
  readonly #parts: ConstructorParameters<typeof ChainLink>[3] = {
    changed: this.#changed,
    closing: this.#closing.signal,
    onEnd: (link) => void this.#enterSometime(link),
  };
  readonly #prepared: PreparedEngines;
  /** The highest that `committed` has answered, or that was acknowledged or read. */
  #committed = 0;
  /** Appends under way that were held back by a move. */
  #held = 0;
  #heldAnswered: Deferred<void> | undefined;
  #trimming: Promise<unknown> = Promise.resolve();
  /** One note at a time, so that an older one never takes the place of a newer one. */
  #saving: Promise<unknown> = Promise.resolve();
  /** A set of their own objects, since one function may listen twice. */
  readonly #primaryListeners = new Set<{ readonly call: (isPrimary: boolean) => void }>();
  #wasPrimary: boolean;
  /** Ends listening to the last engine. */
  #unlisten: () => void;

  /** A chain that begins with an engine at position 0. */
  constructor(first: LogEngine, options: ChainOptions = {}, place: ChainPlace = nowhere) {
    this.#options = options;
    this.#openEngine = options.openEngine ?? unknownSuccessor;
    this.#prepared = new PreparedEngines({
      open: (successor) => this.#openEngine(successor, { fresh: true }),
      isInUse: (successor) => this.#links.isInUse(successor),
      remove: options.removeEngine,
      onTrouble: options.onTrouble,
    });
    this.#links.add(new ChainLink(first, place.engine, place.base, this.#parts));
    this.#committed = place.base + first.start();
    const primary = options.primary ?? first;
    this.#wasPrimary = primary.isPrimary;
    this.#unlisten = primary.onPrimary((isPrimary) => this.#tellPrimary(isPrimary));
  }

  /**
   * Opens a chain where it was: the engines that were noted, or `first` where none were, and those that they name. The
   * caller's `openEngine` opens them all. When it fails, all are closed.
   */
  static async open(first: Successor, options: ChainOptions): Promise<Chain> {
    const places = (await options.places?.load()) ?? [{ engine: first, base: 0 }];
    const [oldest, ...others] = places as [ChainPlace, ...ChainPlace[]];
    const openEngine = options.openEngine ?? unknownSuccessor;
    const chain = new Chain(await openEngine(oldest.engine, { fresh: false }), options, oldest);
    try {
      for (const { engine, base } of others) {
        const last = chain.#links.last;
        last.end = { at: base - last.base, successor: engine };
        await chain.#enter(last, false);
      }
      while (await chain.#settle()) await chain.#enter(chain.#links.last, true);
      return chain;
    } catch (error) {
      await chain.close();
      throw error;
    }
  }

  get capabilities(): LogCapabilities {
    return this.#links.last.engine.capabilities;
  }

  /** As of `ChainLinks`. */
  locate(log: LogEngine, at: number): number | undefined {
    return this.#links.locate(log, at, this.#committed);
  }

  /** As of `ChainLinks`. */
  leftAt(log: LogEngine): number | undefined {
    return this.#links.leftAt(log);
  }

  /** The engines, oldest first. */
  get places(): readonly ChainPlace[] {
    return this.#links.places;
  }

  /** Oldest first; the last one is appended to. */
  get engines(): readonly LogEngine[] {
    return this.#links.engines;
  }

  /** Whether the last engine, which nobody else appends to, ends with a successor record: nothing is behind it. */
  async #settle(): Promise<boolean> {
    const link = this.#links.last;
    const { engine } = link;
    if (engine.capabilities.shared === true) return false;
    const tail = await engine.tail();
    if (tail <= engine.start()) return false;
    for await (const { position: at, records } of engine.read(position(tail - 1))) {
      const successor = decodeSuccessor(records[0] as Uint8Array);
      if (successor !== undefined) link.end = { at, successor };
      break;
    }
    return link.end !== undefined;
  }

  async append(records: readonly Uint8Array[]): Promise<AppendOutcome> {
    for (const record of records) assert(record[0] !== 0, "a record that begins with 0 belongs to the chain");
    let held = false;
    try {
      for (;;) {
        if (this.#sealing !== undefined || this.#links.last.end !== undefined) {
          if (!held) this.#held++;
          held = true;
          await this.#ready();
        }
        const link = this.#links.last;
        const outcome = await link.engine.append(records);
        const at = outcome.ok ? await this.#positionOf(link, outcome.position) : undefined;
        if (at !== undefined) {
          this.#committed = Math.max(this.#committed, at + records.length);
          return { ok: true, position: position(at) };
        }
        // It is sealed: the successor is known to the one who sealed it, else it is looked for.
        if (link.end === undefined) await link.scoutTo(Number.POSITIVE_INFINITY);
      }
    } finally {
      if (held) {
        this.#held--;
        this.#heldAnswered?.resolve();
      }
    }
  }

  /** The chain's position of a record that an engine took; undefined for one that is void, and stays so. */
  async #positionOf(link: ChainLink, at: number): Promise<number | undefined> {
    if (await this.#isBefore(link, at)) return link.base + at;
    const { section } = link.engine;
    if (section === undefined) return undefined;
    try {
      return await this.#laterPositionOf(link, section.log, section.from + at);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new HoldfastError("unavailable", why, { maybe: true, cause: error });
    }
  }

  /**
   * The same for a record behind the end of its engine, in whose log the chain may go on again later. A section begins after
   * the engine before it has ended; so where an engine has not ended by now, no later section holds what is there already.
   */
  async #laterPositionOf(link: ChainLink, log: LogEngine, at: number): Promise<number | undefined> {
    for (let later = link; ;) {
      await this.#enter(later, true);
      later = later.next as ChainLink;
      const { section } = later.engine;
      if (section?.log === log) {
        if (at < section.from) return undefined;
        if (await this.#isBefore(later, at - section.from)) return later.base + at - section.from;
      } else if (later.end === undefined) {
        await later.scoutTo(await later.engine.tail());
        if (later.end === undefined) return undefined;
      }
    }
  }

  /** Whether the record at an engine's position is in front of its successor record. */
  async #isBefore(link: ChainLink, at: number): Promise<boolean> {
    if (link.end === undefined && link.isShared) await link.scoutTo(at + 1);
    return link.end === undefined || at < link.end.at;
  }

  /** Waits until appends may go to the last engine. */
  async #ready(): Promise<void> {
    while (this.#sealing !== undefined) await this.#sealing.promise;
    const link = this.#links.last;
    if (link.end !== undefined) await this.#enter(link, true);
  }

  /**
   * Ends the last engine and goes on in `successor`, which is opened first. Resolves when appends go there. `conflict`
   * when the log is moving or has moved meanwhile; then, and when the successor could not be opened, nothing has changed
   * but for what others did.
   */
  async moveTo(successor: Successor): Promise<Moved> {
    if (this.#sealing !== undefined)
      throw new HoldfastError("conflict", "the log is being moved already; try again later");
    const sealing = deferred<void>();
    const prepared = await this.#prepared.open(successor);
    const link = this.#links.last;
    if (this.#sealing !== undefined || link.end !== undefined || this.#closing.signal.aborted) {
      await this.#prepared.discard(prepared, successor);
      throw new HoldfastError("conflict", "the log has moved already; read where it is and try again");
    }
    this.#prepared.keep(prepared, successor);
    const beganMs = this.#nowMs();
    this.#sealing = sealing;
    try {
      await this.#seal(link, successor);
    } finally {
      this.#sealing = undefined;
      sealing.resolve();
    }
    const heldAnswered = this.#held > 0 ? deferred<void>() : undefined;
    this.#heldAnswered = heldAnswered;
    await this.#enter(link, true);
    await heldAnswered?.promise;
    return { position: position(this.#links.last.base), pauseMs: this.#nowMs() - beganMs };
  }

  #nowMs(): number {
    return this.#options.monotonicMs?.() ?? 0;
  }

  /** Appends the successor record. When it rejects with `maybe`, nobody knows yet whether the log goes on there. */
  async #seal(link: ChainLink, successor: Successor): Promise<void> {
    const { engine } = link;
    let outcome: AppendOutcome;
    try {
      outcome = await engine.append([successorRecord(successor)]);
    } catch (error) {
      if (!(error instanceof HoldfastError && error.maybe)) await this.#prepared.discardKept(successor);
      throw error;
    }
    if (outcome.ok && engine.capabilities.shared !== true) link.end ??= { at: outcome.position, successor };
    else await link.scoutTo(outcome.ok ? outcome.position + 1 : Number.POSITIVE_INFINITY);
    if (outcome.ok && link.end?.at === outcome.position) return;
    await this.#prepared.discardKept(successor);
    throw new HoldfastError("conflict", "the log has moved already; read where it is and try again");
  }

  /** Opens the successor of a link that has ended, unless it is open. Whoever comes meanwhile shares the try. */
  #enter(link: ChainLink, note: boolean): Promise<void> {
    if (link.next !== undefined) return Promise.resolve();
    this.#entering ??= this.#open(link, note).finally(() => {
      this.#entering = undefined;
      this.#changed.notify();
    });
    return this.#entering;
  }

  async #open(link: ChainLink, note: boolean): Promise<void> {
    const { end } = link;
    assert(end !== undefined, "a link that is left has ended");
    let engine = this.#prepared.kept(end.successor);
    if (engine === undefined) {
      try {
        engine = await this.#openEngine(end.successor, { fresh: false });
      } catch (error) {
        const cause = error instanceof Error ? error.message : String(error);
        const what = `the log goes on in an engine of kind "${end.successor.kind}" that does not open: ${cause}`;
        throw new HoldfastError(error instanceof HoldfastError ? error.code : "unavailable", what, { cause: error });
      }
    }
    let place = end.successor;
    try {
      place = (await engine.begin?.()) ?? place;
    } catch (error) {
      await engine.close();
      if (!this.#hasLeft(link)) throw error;
    } finally {
      this.#prepared.forget(end.successor);
    }
    if (this.#hasLeft(link)) return engine.close();
    if (this.#closing.signal.aborted) {
      await engine.close();
      throw new HoldfastError("unavailable", "the log is closed");
    }
    const next = new ChainLink(engine, place, link.base + end.at, this.#parts);
    this.#links.add(next);
    link.next = next;
    this.#listenTo(engine);
    if (note) await this.#notePlaces();
  }

  /** The chain has leapt over this link. */
  #hasLeft(link: ChainLink): boolean {
    return link !== this.#links.last;
  }

  #listenTo(engine: LogEngine): void {
    if (this.#options.primary !== undefined) return;
    this.#unlisten();
    this.#unlisten = engine.onPrimary((isPrimary) => this.#tellPrimary(isPrimary));
    this.#tellPrimary(engine.isPrimary);
  }

  /**
   * Goes on as another member's chain does, of which this one has missed a part that is trimmed: `places` are that one's,
   * oldest first. Durable when it resolves. When an engine cannot be opened, nothing has changed.
   */
  async adopt(places: readonly ChainPlace[]): Promise<void> {
    const own = this.#links.last;
    const [oldest] = places;
    const known = places.findIndex(({ base, engine }) => base === own.base && isSameSuccessor(engine, own.place));
    if (known >= 0) {
      for (const { base, engine } of places.slice(known + 1)) {
        const last = this.#links.last;
        last.end ??= { at: base - last.base, successor: engine };
        await this.#enter(last, false);
      }
    } else if (oldest !== undefined && oldest.base > own.base) await this.#leap(places);
    await this.#savePlaces();
  }

  /** Exchanges all engines for others that lie behind them. */
  async #leap(places: readonly ChainPlace[]): Promise<void> {
    const links = await openLinks(places, this.#openEngine, this.#parts);
    const left = this.#links.replace(links);
    const { first, last } = this.#links;
    for (const link of left) {
      link.isDropped = true;
      link.end ??= { at: first.base - link.base, successor: first.place };
      link.next ??= first;
    }
    this.#listenTo(last.engine);
    this.#committed = Math.max(this.#committed, first.base);
    this.#changed.notify();
    for (const { engine } of left) await engine.close();
  }

  /** A note that fails is made up for before anything that it should name is removed. */
  async #notePlaces(): Promise<void> {
    try {
      await this.#savePlaces();
    } catch (error) {
      this.#options.onTrouble?.("where the log has moved could not be noted; it is tried again", error);
    }
  }

  #savePlaces(): Promise<void> {
    const saving = this.#saving.then(() => {
      const kept = this.#links.all.filter(({ isLeaving }) => !isLeaving);
      return this.#options.places?.save(kept.map(({ place, base }) => ({ engine: place, base })));
    });
    this.#saving = saving.catch(() => {});
    return saving;
  }

  /** Whoever waits for it gets the error; readers wait until it is open. */
  async #enterSometime(link: ChainLink): Promise<void> {
    while (link.next === undefined && !this.#closing.signal.aborted) {
      try {
        await this.#enter(link, true);
      } catch (error) {
        this.#options.onTrouble?.("the log cannot go on", error);
        if (this.#options.pause === undefined) return;
        await this.#options.pause();
      }
    }
  }

  async tail(): Promise<Position> {
    for (;;) {
      await this.#ready();
      const link = this.#links.last;
      const tail = await link.engine.tail();
      if (link.end === undefined && link.isShared) await link.scoutTo(tail);
      if (link.end === undefined && this.#sealing === undefined) return position(link.base + tail);
      await this.#sealing?.promise;
    }
  }

  /** Void records and successor records do not count. */
  committed(): Position {
    const link = this.#links.last;
    this.#committed = Math.max(this.#committed, link.base + this.#cleanTo(link));
    return position(this.#committed);
  }

  /** Below this position of an engine there is no successor record. */
  #cleanTo({ engine, end, seen, base }: ChainLink): number {
    if (end !== undefined) return end.at;
    if (engine.capabilities.shared === true) return seen;
    // The record that is on its way in may be the last that the engine knows.
    return this.#sealing === undefined ? engine.committed() : Math.max(0, this.#committed - base);
  }

  get isPrimary(): boolean {
    return (this.#options.primary ?? this.#links.last.engine).isPrimary;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    const entry = { call: listener };
    this.#primaryListeners.add(entry);
    return () => void this.#primaryListeners.delete(entry);
  }

  #tellPrimary(isPrimary: boolean): void {
    if (isPrimary === this.#wasPrimary) return;
    this.#wasPrimary = isPrimary;
    for (const { call } of this.#primaryListeners) call(isPrimary);
  }

  start(): Position {
    return this.#links.start();
  }

  read(from: Position, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<LogBatch, void, undefined> {
    return readChain(
      {
        links: this.#links,
        changed: this.#changed,
        closing: this.#closing.signal,
        cleanTo: (link) => this.#cleanTo(link),
        enter: (link) => void this.#enterSometime(link),
        seen: (to) => (this.#committed = Math.max(this.#committed, to)),
      },
      from,
      options.signal,
    );
  }

  trim(before: Position): Promise<Position> {
    // One at a time, since both would remove the same engines.
    const trimming = this.#trimming.then(() => this.#trim(before));
    this.#trimming = trimming.catch(() => {});
    return trimming;
  }

  async #trim(before: Position): Promise<Position> {
    while (this.#links.second !== undefined && this.#links.second.base <= before) {
      const oldest = this.#links.first;
      oldest.isLeaving = true;
      try {
        await this.#savePlaces();
      } catch (error) {
        oldest.isLeaving = false;
        throw error;
      }
      this.#links.shift();
      oldest.isDropped = true;
      try {
        // Where the engine is not removed, all but the record that ends it is.
        if (oldest.end !== undefined) await oldest.engine.trim(position(oldest.end.at));
        await oldest.engine.close();
        await this.#options.removeEngine?.(oldest.place);
      } catch (error) {
        this.#options.onTrouble?.("a log that is not needed any more could not be removed", error);
      }
    }
    // What is trimmed must not be needed to find what the note does not name yet.
    await this.#saving;
    const { first } = this.#links;
    return position(first.base + (await first.engine.trim(position(Math.max(0, before - first.base)))));
  }

  async close(): Promise<void> {
    this.#closing.abort(new HoldfastError("unavailable", "the log is closed"));
    this.#changed.notify();
    await this.#entering?.catch(() => {});
    await this.#saving;
    this.#unlisten();
    for (const { engine } of this.#links.all) await engine.close();
    await this.#prepared.close();
    this.#changed.notify();
  }
}
