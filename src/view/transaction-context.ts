/** What a transaction's function works with, and what becomes of it. */
import type { Revision } from "../base/index.ts";
import type { CounterInTransaction } from "./counter/counters.ts";
import type { BegunTick } from "./cron/cron-state.ts";
import type { FileTransaction } from "./file/file-transaction.ts";
import type { KeyTransaction } from "./key/key-transaction.ts";
import type { Commands, ObjectDefinition, Queries } from "./object/definition.ts";
import type { TransactionObject } from "./object/object-transaction.ts";
import type { QueueInTransaction } from "./queue/queue-in-transaction.ts";
import type { StreamInTransaction } from "./stream/stream-in-transaction.ts";
import type { MapKey } from "./map/map-key.ts";
import type { MapInTransaction, RegisterInTransaction, SetInTransaction } from "./map/map-transaction.ts";
import type { LockPlace } from "./lock/lock-state.ts";

export interface TransactionOptions {
  /** How often the function may run. Default 64; then `conflict`. */
  readonly attemptCountMax?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a transaction's function works with. Valid until the function returns. */
export interface TransactionContext {
  /** The revision of the state that it reads. */
  readonly revision: Revision;
  readonly keys: KeyTransaction;
  /** The names of files in a bucket. Bytes are stored before, by `Files.upload`, and get their names here. */
  readonly files: (bucket: string) => FileTransaction;
  readonly counter: (name: string) => CounterInTransaction;
  readonly queue: (name: string) => QueueInTransaction;
  readonly log: (name: string) => StreamInTransaction;
  readonly object: <S, C extends Commands<S>, Q extends Queries<S>>(
    definition: ObjectDefinition<S, C, Q>,
    key: string,
  ) => TransactionObject<S, C, Q>;
  readonly map: <T = unknown, K extends MapKey = MapKey>(name: string) => MapInTransaction<T, K>;
  readonly set: <K extends MapKey = MapKey>(name: string) => SetInTransaction<K>;
  readonly register: <T = unknown>(name: string) => RegisterInTransaction<T>;
  /** Let it take effect only while this is held: `conflict`, for good, if it is not any more. */
  readonly guard: (place: LockPlace) => void;
  /** The tick's work is done if this takes effect, and `conflict`, for good, if its turn is over: exactly once. */
  readonly finish: (tick: BegunTick) => void;
}

export interface TransactionOutcome<T> {
  /** What the function returned the last time. */
  readonly value: T;
  /** Of the command; where nothing was written, of the state that was read. */
  readonly revision: Revision;
}
