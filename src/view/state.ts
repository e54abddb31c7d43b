/**
 * The running state of a store: the tree, and the applier that changes it. Applies one command after another, and lets
 * others read, now or at leisure. Another state can take its place.
 *
 * Invariants:
 *  1. Between two commands the tree is the state at `applied`; what says so is changed in the same turn as the tree.
 *  2. A command that needs a page that is not in memory is undone, the page is loaded, and it is applied from its
 *     beginning.
 *  3. A read gives the state as it is when it has all of its pages, which may be another one than when it began.
 */
import { position, revision } from "../base/index.ts";
import type { Env, Position, Revision } from "../base/index.ts";
import type { BlobStore } from "../blob/index.ts";
import { openTree, PageMissing } from "../tree/index.ts";
import type { Flushed, TreeEdit, TreeRoot, TreeSnapshot } from "../tree/index.ts";
import { Applier } from "./applier.ts";
import { rootOf } from "./checkpoint.ts";
import type { CheckpointRecord } from "./checkpoint.ts";
import type { CommandOutcome, DecodedCommand } from "./command.ts";
import { HeldStates } from "./held.ts";
import type { HeldState } from "./held.ts";
import type { Listeners } from "./listeners.ts";
import type { View } from "./view.ts";

export interface StateParts {
  readonly blobs: BlobStore;
  readonly views: readonly View[];
  readonly listeners: Listeners;
  /** Bytes of memory for pages that can be read again. */
  readonly cacheSizeMax: number;
}

/** A state that stays as it is; `release` it. */
export interface StateSnapshot extends HeldState {
  readonly revision: Revision;
  readonly timeMs: number;
}

/** What a checkpoint says of its state, beside the root. */
export type StateRecord = Pick<CheckpointRecord, "position" | "revision" | "timeMs">;

/** A whole state, sessions included, to be written later. Only its release lets others delete what it needs. */
export interface FrozenState extends HeldState {
  readonly record: StateRecord;
  /** Writes it, in the order of flushes of the tree that it was frozen from. */
  readonly flush: () => Promise<Flushed>;
}

/** A checkpoint that is being written. */
export interface Beginning {
  readonly record: StateRecord;
  readonly flushing: Promise<Flushed>;
}

/** The state of a checkpoint, ready to run. */
export interface OpenedState {
  readonly applied: number;
  readonly tree: TreeEdit;
  readonly applier: Applier;
}

/** Bytes beyond the cache's limit that pages may take while there are always readers waiting for some. */
const loadingSizeMax = 33_554_432;
/** Keys of so many commands are prefetched after one that had to wait for a page. */
const prefetchCount = 4_096;

/** Reads the root page and the sessions: `notFound` or `corrupt` when one of their pages is absent or damaged. */
export async function openState(env: Env, parts: StateParts, record: CheckpointRecord): Promise<OpenedState> {
  const { blobs, views, listeners, cacheSizeMax } = parts;
  const tree = await openTree(env, blobs, rootOf(record), { cacheSizeMax });
  const start = { revision: revision(record.revision), timeMs: record.timeMs };
  const applier = new Applier(tree, views, start, (at, emissions) => listeners.announce(at, emissions));
  await applier.restore();
  return { applied: record.position, tree, applier };
}

export class RunningState {
  readonly #cacheSizeMax: number;
  readonly #held = new HeldStates();
  #tree: TreeEdit;
  #applier: Applier;
  #applied: number;
  /** Reads, and commands, that wait for pages. */
  #loadingCount = 0;
  /** Commands whose pages are still to be prefetched. */
  #prefetching = 0;

  constructor({ cacheSizeMax }: Pick<StateParts, "cacheSizeMax">, { applied, tree, applier }: OpenedState) {
    this.#cacheSizeMax = cacheSizeMax;
    this.#applied = applied;
    this.#tree = tree;
    this.#applier = applier;
  }

  /** Takes the place of the state here, between two commands. Who reads goes on with it, snapshots stay as they are. */
  replace({ applied, tree, applier }: OpenedState): void {
    this.#applied = applied;
    this.#tree = tree;
    this.#applier = applier;
    this.#prefetching = 0;
  }

  /** One past the last applied record. */
  get applied(): Position {
    return position(this.#applied);
  }

  get revision(): Revision {
    return this.#applier.lastRevision;
  }

  get timeMs(): number {
    return this.#applier.timeMs;
  }

  get sessionCount(): number {
    return this.#applier.sessions.count;
  }

  get tree(): TreeEdit {
    return this.#tree;
  }

  /** Positions of the states that somebody holds. */
  get heldPositions(): Iterable<number> {
    return this.#held.positions;
  }

  /** The position of the oldest state that somebody holds; infinite when there is none. */
  get oldestHeld(): number {
    return this.#held.oldest;
  }

  /** Applies the next command. Only when it waits for a page does it answer a promise. */
  apply(command: DecodedCommand): CommandOutcome | Promise<CommandOutcome> {
    const outcome = this.#applier.apply(this.applied, command);
    if (outcome instanceof PageMissing) return this.#applySlowly(command, outcome);
    this.#applied++;
    return outcome;
  }

  async #applySlowly(command: DecodedCommand, missing: PageMissing): Promise<CommandOutcome> {
    this.#prefetching = prefetchCount;
    let outcome: CommandOutcome | PageMissing = missing;
    this.#loadingCount++;
    try {
      // All at once what the command names: it begins from its first operation after every miss. What cannot be read
      // shows when it is needed.
      await this.#tree.prefetch(this.#touched([command]))?.catch(() => {});
      do {
        await outcome.load();
        outcome = this.#applier.apply(this.applied, command);
      } while (outcome instanceof PageMissing);
    } finally {
      this.#loadingCount--;
    }
    // With the tree, before anybody else has a turn: a checkpoint must not hold a command behind its position.
    this.#applied++;
    return outcome;
  }

  /** Passes over the next record, which is no command. */
  pass(): void {
    this.#applied++;
  }

  /** Loads what the next commands will touch, if lately one had to wait. */
  prefetch(commands: readonly (DecodedCommand | undefined)[]): Promise<void> | undefined {
    if (this.#prefetching <= 0) return undefined;
    this.#prefetching -= commands.length;
    const fetching = this.#tree.prefetch(this.#touched(commands));
    if (fetching !== undefined) this.#prefetching = prefetchCount;
    return fetching;
  }

  #touched(commands: readonly (DecodedCommand | undefined)[]): Uint8Array[] {
    const keys: Uint8Array[] = [];
    for (const command of commands) if (command !== undefined) this.#applier.touches(command, (key) => keys.push(key));
    return keys;
  }

  /** See `Replica.readNow`. */
  readNow<T>(query: (tree: TreeEdit) => T): T | Promise<T> {
    try {
      return query(this.#tree);
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      return this.#readSlowly(query, error);
    }
  }

  async #readSlowly<T>(query: (tree: TreeEdit) => T, missing: PageMissing): Promise<T> {
    this.#loadingCount++;
    try {
      for (let next = missing; ;) {
        await this.#load(next);
        try {
          return query(this.#tree);
        } catch (error) {
          if (!(error instanceof PageMissing)) throw error;
          next = error;
        }
      }
    } finally {
      this.#loadingCount--;
      // What was loaded is kept for whoever waits. If there are always some, they share so much and then load anew.
      const excess = this.#tree.cacheSize - this.#cacheSizeMax;
      if (excess > 0 && (this.#loadingCount === 0 || excess > loadingSizeMax)) this.#tree.trimCache();
    }
  }

  /** What is missing may be gone, together with the state that it belongs to: then it is not wanted any more. */
  async #load(missing: PageMissing): Promise<void> {
    const tree = this.#tree;
    try {
      await missing.load();
    } catch (error) {
      if (this.#tree === tree) throw error;
    }
  }

  snapshot(): StateSnapshot {
    return { revision: this.revision, timeMs: this.timeMs, ...this.#held.hold(this.#applied, this.#tree.freeze()) };
  }

  /** The state of a root that was written, at its position. */
  at(position: number, root: TreeRoot): HeldState {
    return this.#held.hold(position, this.#tree.at(root));
  }

  /** A state named by its root. It is not counted among those that are held: who asks sees to it that its pages stay. */
  atRoot(root: TreeRoot): TreeSnapshot {
    return this.#tree.at(root);
  }

  /** Freezes the whole state; nothing may be applied before it resolves. */
  async freeze(): Promise<FrozenState> {
    await this.#loaded(() => this.#applier.materialise());
    const tree = this.#tree;
    const frozen = tree.freeze();
    const held = this.#held.hold(this.#applied, frozen);
    return { ...held, record: this.#record, flush: () => tree.flush({ state: frozen }) };
  }

  get #record(): StateRecord {
    return { position: this.#applied, revision: this.revision, timeMs: this.timeMs };
  }

  /**
   * Between two commands: what is in the tree and what is said about it belong together. Undefined, with nothing begun,
   * when `ready` says that it must not be yet; asked in the turn in which it would begin.
   */
  beginCheckpoint(ready: () => boolean): Promise<Beginning | undefined> {
    return this.#loaded(() => {
      if (!ready()) return undefined;
      this.#applier.materialise();
      // The first synchronous part of `flush` fixes what it writes. In an object, so that nobody waits for it here.
      return { record: this.#record, flushing: this.#tree.flush() };
    });
  }

  /** Does something with the state as it is, again from its beginning when it had to wait for a page. */
  async #loaded<T>(work: () => T): Promise<T> {
    for (;;) {
      try {
        return work();
      } catch (error) {
        if (!(error instanceof PageMissing)) throw error;
        await error.load();
      }
    }
  }
}
