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
 *  4. The note of where the engines are (chain-place.ts) is durable before an engine that it names is removed.
 *
 * After a crash at any moment of a move, the log goes on in the old engine, if its successor record is not in it, or else
 * in the successor: the note may lag, since `open` follows the successor record of the last engine in it.
 *
 * Format: docs/format.md, "The chain's records": a record that begins with the byte 0 belongs to the chain. No command
 * begins so, since no Protocol Buffers field has the number 0.
 */
import { abortable, assert, deferred, HoldfastError, position, Signal } from "../base/index.ts";
import type { Deferred, Position } from "../base/index.ts";
import { ChainLink } from "./chain-link.ts";
import type { ChainPlace, ChainPlaces } from "./chain-place.ts";
import type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";
import { decodeSuccessor, successorKey, successorRecord } from "./successor.ts";
import type { Successor } from "./successor.ts";

export interface ChainOptions {
  /**
   * Opens the engine that a successor record names. `fresh`: for a move that has not happened yet; what an earlier try
   * left there is cleared away, and records of anybody else are refused with `conflict`. Rejects with `unavailable` when
   * this build does not know its kind.
   */
  readonly openEngine?: (successor: Successor, how: { readonly fresh: boolean }) => Promise<LogEngine>;
  /** Removes what a closed engine has left, since nothing of it is needed any more. */
  readonly removeEngine?: (successor: Successor) => Promise<void>;
  /** Where the places are noted. Default: nowhere. */
  readonly places?: ChainPlaces;
  /** Waits before a successor that could not be opened is tried again. Default: it is tried when somebody asks. */
  readonly pause?: () => Promise<void>;
  /** Told of what went wrong in the background. */
  readonly onTrouble?: (what: string, error: unknown) => void;
  /** For the length of a move's pause. */
  readonly monotonicMs?: () => number;
}

/** What a move has done. */
export interface Moved {
  /** The first position in the successor. */
  readonly position: Position;
  /** From when appends were held back until the first was answered in the successor, or could be; milliseconds. */
  readonly pauseMs: number;
}

export class Chain implements LogEngine {
  readonly #options: ChainOptions;
  readonly #openEngine: (successor: Successor, how: { readonly fresh: boolean }) => Promise<LogEngine>;
  readonly #links: ChainLink[] = [];
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
  /** Engines of moves whose outcome is not known, by their successor. */
  readonly #prepared = new Map<string, LogEngine>();
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
    this.#links.push(new ChainLink(first, place.engine, place.base, this.#parts));
    this.#committed = place.base + first.start();
    this.#wasPrimary = first.isPrimary;
    this.#unlisten = first.onPrimary((isPrimary) => this.#tellPrimary(isPrimary));
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
        const last = chain.#last;
        last.end = { at: base - last.base, successor: engine };
        await chain.#enter(last, false);
      }
      while (await chain.#settle()) await chain.#enter(chain.#last, true);
      return chain;
    } catch (error) {
      await chain.close();
      throw error;
    }
  }

  get capabilities(): LogCapabilities {
    return this.#last.engine.capabilities;
  }

  get #last(): ChainLink {
    return this.#links[this.#links.length - 1] as ChainLink;
  }

  /** The engines, oldest first. */
  get places(): readonly ChainPlace[] {
    return this.#links.map(({ place, base }) => ({ engine: place, base }));
  }

  /** Oldest first; the last one is appended to. */
  get engines(): readonly LogEngine[] {
    return this.#links.map(({ engine }) => engine);
  }

  /** Whether the last engine, which nobody else appends to, ends with a successor record: nothing is behind it. */
  async #settle(): Promise<boolean> {
    const link = this.#last;
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
        if (this.#sealing !== undefined || this.#last.end !== undefined) {
          if (!held) this.#held++;
          held = true;
          await this.#ready();
        }
        const link = this.#last;
        const outcome = await link.engine.append(records);
        if (outcome.ok && (await this.#isBefore(link, outcome.position))) {
          this.#committed = Math.max(this.#committed, link.base + outcome.position + records.length);
          return { ok: true, position: position(link.base + outcome.position) };
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

  /** Whether the record at an engine's position is in front of its successor record. */
  async #isBefore(link: ChainLink, at: number): Promise<boolean> {
    if (link.end === undefined && link.isShared) await link.scoutTo(at + 1);
    return link.end === undefined || at < link.end.at;
  }

  /** Waits until appends may go to the last engine. */
  async #ready(): Promise<void> {
    while (this.#sealing !== undefined) await this.#sealing.promise;
    const link = this.#last;
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
    const key = successorKey(successor);
    const prepared = this.#prepared.get(key) ?? (await this.#openEngine(successor, { fresh: true }));
    const link = this.#last;
    if (this.#sealing !== undefined || link.end !== undefined || this.#closing.signal.aborted) {
      await this.#discard(prepared, successor);
      throw new HoldfastError("conflict", "the log has moved already; read where it is and try again");
    }
    this.#prepared.set(key, prepared);
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
    return { position: position(this.#last.base), pauseMs: this.#nowMs() - beganMs };
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
      if (!(error instanceof HoldfastError && error.maybe)) await this.#discardPrepared(successor);
      throw error;
    }
    if (outcome.ok && engine.capabilities.shared !== true) link.end ??= { at: outcome.position, successor };
    else await link.scoutTo(outcome.ok ? outcome.position + 1 : Number.POSITIVE_INFINITY);
    if (outcome.ok && link.end?.at === outcome.position) return;
    await this.#discardPrepared(successor);
    throw new HoldfastError("conflict", "the log has moved already; read where it is and try again");
  }

  async #discardPrepared(successor: Successor): Promise<void> {
    const engine = this.#prepared.get(successorKey(successor));
    this.#prepared.delete(successorKey(successor));
    if (engine !== undefined) await this.#discard(engine, successor);
  }

  async #discard(engine: LogEngine, successor: Successor): Promise<void> {
    try {
      await engine.close();
      // Of two moves to the same place one has won, and it is in use.
      if (this.#last.end === undefined || successorKey(this.#last.end.successor) !== successorKey(successor)) {
        await this.#options.removeEngine?.(successor);
      }
    } catch (error) {
      this.#options.onTrouble?.("what a move that did not happen has left could not be removed", error);
    }
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
    const key = successorKey(end.successor);
    let engine = this.#prepared.get(key);
    if (engine === undefined) {
      try {
        engine = await this.#openEngine(end.successor, { fresh: false });
      } catch (error) {
        const cause = error instanceof Error ? error.message : String(error);
        const what = `the log goes on in an engine of kind "${end.successor.kind}" that does not open: ${cause}`;
        throw new HoldfastError(error instanceof HoldfastError ? error.code : "unavailable", what, { cause: error });
      }
    }
    this.#prepared.delete(key);
    if (this.#closing.signal.aborted) {
      await engine.close();
      throw new HoldfastError("unavailable", "the log is closed");
    }
    const next = new ChainLink(engine, end.successor, link.base + end.at, this.#parts);
    this.#links.push(next);
    link.next = next;
    this.#unlisten();
    this.#unlisten = engine.onPrimary((isPrimary) => this.#tellPrimary(isPrimary));
    this.#tellPrimary(engine.isPrimary);
    if (note) await this.#notePlaces();
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
      const kept = this.#links.filter(({ isLeaving }) => !isLeaving);
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
      const link = this.#last;
      const tail = await link.engine.tail();
      if (link.end === undefined && link.isShared) await link.scoutTo(tail);
      if (link.end === undefined && this.#sealing === undefined) return position(link.base + tail);
      await this.#sealing?.promise;
    }
  }

  /** Void records and successor records do not count. */
  committed(): Position {
    const link = this.#last;
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

  /** The last engine's say. */
  get isPrimary(): boolean {
    return this.#last.engine.isPrimary;
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
    const [first] = this.#links as [ChainLink];
    return position(first.base + first.engine.start());
  }

  async *read(
    from: Position,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LogBatch, void, undefined> {
    let next: number = from;
    let link = this.#links.findLast(({ base }) => base <= next);
    if (link === undefined) throw this.#trimmed(next);
    for (;;) {
      const { base } = link;
      let ended = link.end !== undefined && next > base + link.end.at;
      for await (const batch of ended ? [] : this.#follow(link, next - base, options)) {
        const index = link.successorIn(batch);
        const skipped = Math.max(0, next - base - batch.position);
        const records = index === undefined && skipped === 0 ? batch.records : batch.records.slice(skipped, index);
        const begin = base + batch.position + skipped;
        if (records.length > 0) {
          this.#committed = Math.max(this.#committed, begin + records.length);
          yield { position: position(begin), records };
        }
        next = Math.max(next, begin + records.length);
        ended = index !== undefined;
        if (ended) break;
      }
      if (!ended) {
        // Closed under its reader, who may have read all of it.
        if (!link.isDropped || options.signal?.aborted === true || this.#closing.signal.aborted) return;
        if (next < base + (link.end?.at ?? 0)) throw this.#trimmed(next);
      }
      const follower: ChainLink | undefined = await this.#nextOf(link, options.signal);
      if (follower === undefined) return;
      link = follower;
    }
  }

  #trimmed(wanted: number): HoldfastError {
    return new HoldfastError(
      "trimmed",
      `position ${wanted} has been trimmed from the log; it begins at ${this.start()}`,
    );
  }

  /** Waits until the successor is open; undefined when the reading is over. */
  async #nextOf(link: ChainLink, signal: AbortSignal | undefined): Promise<ChainLink | undefined> {
    if (link.next === undefined) void this.#enterSometime(link);
    while (link.next === undefined) {
      if (signal?.aborted === true || this.#closing.signal.aborted) return undefined;
      const aborted = await abortable(this.#changed.wait(), signal).then(
        () => false,
        () => true,
      );
      if (aborted) return undefined;
    }
    return link.next;
  }

  /**
   * Reads an engine up to `wanted` and from there on. What it has not reached yet may come in its successor instead, so
   * that the reading begins no later than at its end: the record that names the successor must not be passed over.
   */
  async *#follow(
    link: ChainLink,
    wanted: number,
    options: { readonly signal?: AbortSignal },
  ): AsyncGenerator<LogBatch, void, undefined> {
    const { engine } = link;
    for (;;) {
      try {
        // On a member that was left behind nothing of what the engine still has was looked through.
        const from = Math.min(wanted, Math.max(this.#cleanTo(link), wanted < engine.start() ? 0 : engine.start()));
        yield* engine.read(position(from), options);
        return;
      } catch (error) {
        // What lay before `wanted` has been trimmed while it was waited for.
        const passed = error instanceof HoldfastError && error.code === "trimmed" && engine.start() <= wanted;
        if (passed) continue;
        const gone = error instanceof HoldfastError && error.code === "trimmed";
        throw gone ? this.#trimmed(link.base + wanted) : error;
      }
    }
  }

  trim(before: Position): Promise<Position> {
    // One at a time, since both would remove the same engines.
    const trimming = this.#trimming.then(() => this.#trim(before));
    this.#trimming = trimming.catch(() => {});
    return trimming;
  }

  async #trim(before: Position): Promise<Position> {
    while (this.#links.length > 1 && (this.#links[1] as ChainLink).base <= before) {
      const [oldest] = this.#links as [ChainLink];
      oldest.isLeaving = true;
      try {
        await this.#savePlaces();
      } catch (error) {
        oldest.isLeaving = false;
        throw error;
      }
      this.#links.shift();
      oldest.isDropped = true;
      await oldest.engine.close();
      try {
        await this.#options.removeEngine?.(oldest.place);
      } catch (error) {
        this.#options.onTrouble?.("a log that is not needed any more could not be removed", error);
      }
    }
    const [first] = this.#links as [ChainLink];
    return position(first.base + (await first.engine.trim(position(Math.max(0, before - first.base)))));
  }

  async close(): Promise<void> {
    this.#closing.abort(new HoldfastError("unavailable", "the log is closed"));
    this.#changed.notify();
    await this.#entering?.catch(() => {});
    await this.#saving;
    this.#unlisten();
    for (const { engine } of this.#links) await engine.close();
    for (const engine of this.#prepared.values()) await engine.close();
    this.#prepared.clear();
    this.#changed.notify();
  }
}

const nowhere: ChainPlace = { engine: { kind: "", parameters: new Uint8Array(0) }, base: 0 };

function unknownSuccessor(successor: Successor): Promise<LogEngine> {
  return Promise.reject(
    new HoldfastError(
      "unavailable",
      `the log goes on in an engine of kind "${successor.kind}", which this version does not know; use a newer one`,
    ),
  );
}
