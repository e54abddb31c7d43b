/**
 * Where keys are read and written: the contract between the public face (`Keys`) and what is behind it, a replica in this
 * process (`local.ts`) or one elsewhere (`remote.ts`).
 */
import type { Revision } from "../../base/index.ts";
import type { Proposer } from "../command.ts";
import type { KeyedRecord, KeySpan, StoredRecord } from "./key-operation.ts";

/** How fresh a read is. */
export interface ReadOptions {
  /**
   * `linearizable` (default): sees everything acknowledged anywhere before the call. `local`: whatever is here now.
   */
  readonly consistency?: "linearizable" | "local" | undefined;
  /** Sees at least this revision; with `local`, waits for no more than that. `invalid` if it is in the future. */
  readonly atLeast?: Revision | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface KeyQuery {
  readonly span: KeySpan;
  /** The state at this revision; undefined: now. */
  readonly at?: number | undefined;
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
  /** Leaves the values out. */
  readonly keysOnly?: boolean | undefined;
}

/** Neighbours of one list, all of one state. */
export interface KeyBatch {
  /** The store's revision of that state. */
  readonly revision: number;
  readonly records: readonly KeyedRecord[];
}

export interface WatchQuery {
  readonly span: KeySpan;
  /** The first revision of which events are wanted; undefined: the next one. */
  readonly from?: number | undefined;
  /** Events of that revision that are not wanted again. */
  readonly skip?: number | undefined;
  /** Deliver with each event the version that it superseded, if it is still retained. */
  readonly previous?: boolean | undefined;
  /** Leave out puts, or deletions. */
  readonly without?: "put" | "delete" | undefined;
  /** After so long without an event, say how far the watch has come. */
  readonly progressMs?: number | undefined;
}

export interface WatchedEvent {
  readonly key: Uint8Array;
  /** Undefined for a deletion. */
  readonly record: StoredRecord | undefined;
  readonly previous: StoredRecord | undefined;
}

/** Events of one revision, in the order of its command; without any, everything up to `revision` has been delivered. */
export interface WatchStep {
  readonly revision: number;
  readonly events: readonly WatchedEvent[];
}

/** One retained version of a key; version 0 marks a deletion. */
export type KeyVersion = StoredRecord;

export interface KeySource extends Proposer {
  /** Whether byte arrays that it gives are shared with the store, so that a caller who keeps or changes them must copy. */
  readonly shared: boolean;
  get(key: Uint8Array, at: number | undefined, options: ReadOptions): Promise<StoredRecord | undefined>;
  list(query: KeyQuery, options: ReadOptions): AsyncIterable<KeyBatch>;
  count(span: KeySpan, at: number | undefined, options: ReadOptions): Promise<number>;
  /** `trimmed` when `from` is not after the compact revision. */
  watch(query: WatchQuery, signal: AbortSignal | undefined): AsyncIterable<WatchStep>;
  /** The retained versions, oldest first. */
  history(key: Uint8Array, options: ReadOptions): Promise<readonly KeyVersion[]>;
  /** The revision that a `linearizable` read would see. */
  revision(options: ReadOptions): Promise<Revision>;
}
