/** The objects of a store by their names: what a store in this process, one elsewhere and one of the past have alike. */
import type { Env } from "../base/index.ts";
import { listCounters, Counter } from "./counter/counters.ts";
import { Cron, listCrons } from "./cron/crons.ts";
import type { CronInfo, CronParts } from "./cron/crons.ts";
import { Sequence } from "./counter/sequence.ts";
import type { SequenceOptions } from "./counter/sequence.ts";
import type { ReadOptions } from "./key/key-source.ts";
import type { Leases } from "./lease/leases.ts";
import { RateLimiter } from "./limiter/limiters.ts";
import type { RateOptions } from "./limiter/limiters.ts";
import { Barrier, Election, Lock, Presence, ReadWriteLock, Semaphore } from "./lock/locks.ts";
import type { SemaphoreOptions } from "./lock/locks.ts";
import type { MapKey } from "./map/map-key.ts";
import type { MapParts } from "./map/map-part.ts";
import { listMaps, Register, StoreMap, StoreSet } from "./map/maps.ts";
import type { LockParts } from "./lock/hold.ts";
import type { Commands, ObjectDefinition, Queries } from "./object/definition.ts";
import { listObjects, openObject } from "./object/objects.ts";
import type { ObjectOptions, OpenObject } from "./object/objects.ts";
import { listQueues, Queue } from "./queue/queues.ts";
import type { QueueInfo, QueueParts } from "./queue/queues.ts";
import { listStreams, Stream } from "./stream/streams.ts";
import type { StreamInfo } from "./stream/streams.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "./transaction-context.ts";
import type { Views } from "./views.ts";
import type { ViewSource } from "./view-source.ts";

export interface ObjectParts {
  readonly env: Pick<Env, "clock" | "random" | "logger" | "determinism">;
  readonly source: ViewSource;
  readonly views: Views;
  readonly leases: Leases;
  readonly transaction: <T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ) => Promise<TransactionOutcome<T>>;
}

export class StoreObjects {
  readonly #parts: ObjectParts;

  /** @internal */
  constructor(parts: ObjectParts) {
    this.#parts = parts;
  }

  counter(name: string): Counter {
    return new Counter(this.#parts.source, this.#parts.views.counter, name);
  }

  /** The counters that were changed and not deleted, in the order of their names. */
  counters(
    options?: ReadOptions & { readonly prefix?: string | undefined },
  ): AsyncIterable<{ readonly name: string; readonly value: number }> {
    return listCounters(this.#parts.source, this.#parts.views.counter, options);
  }

  /** Unique numbers that grow, in blocks; kept in the counter of this name, which nothing else should change. */
  sequence(name: string, options?: SequenceOptions): Sequence {
    return new Sequence(this.counter(name), options);
  }

  /** How often something may happen in the whole cluster. */
  rateLimiter(name: string, options: RateOptions): RateLimiter {
    const { env, source, views } = this.#parts;
    return new RateLimiter(env.clock, source, views.limiter, name, options);
  }

  /** A stream of the shared log. */
  log<T = unknown>(name: string): Stream<T> {
    const { stream: view, lock: lockView } = this.#parts.views;
    return new Stream({ ...this.#parts, view, lockView }, name);
  }

  /** The streams, in the order of their names. */
  logs(
    options?: ReadOptions & { readonly prefix?: string | undefined },
  ): AsyncIterable<StreamInfo & { readonly name: string }> {
    return listStreams(this.#parts.source, this.#parts.views.stream, options);
  }

  /** Jobs that are leased to whoever pulls them, and gone when they are acknowledged. */
  queue<T = unknown>(name: string): Queue<T> {
    return new Queue(this.#queueParts, name);
  }

  /** All queues, in the order of their names. */
  queues(options?: ReadOptions): AsyncIterable<QueueInfo & { readonly name: string }> {
    return listQueues(this.#parts.source, this.#parts.views.queue, options);
  }

  get #queueParts(): QueueParts {
    return { ...this.#parts, view: this.#parts.views.queue };
  }

  /** Entries in the order of their keys, with indexes on what their values hold. */
  map<T = unknown, K extends MapKey = MapKey>(name: string): StoreMap<T, K> {
    return new StoreMap<T, K>(this.#mapParts, name);
  }

  /** The map of this name, with numbers for keys: ranges and ranks go by them. */
  sortedMap<T = unknown>(name: string): StoreMap<T, number> {
    return this.map<T, number>(name);
  }

  /** The names of the maps, in the order of their bytes. */
  maps(options?: ReadOptions & { readonly prefix?: string | undefined }): AsyncIterable<string> {
    return listMaps(this.#mapParts, "map", options);
  }

  /** Distinct values that are kept. */
  set<K extends MapKey = MapKey>(name: string): StoreSet<K> {
    return new StoreSet<K>(this.#mapParts, name);
  }

  /** One value with a name. */
  register<T = unknown>(name: string): Register<T> {
    return new Register<T>(this.#mapParts, name);
  }

  get #mapParts(): MapParts {
    const { env, source, views } = this.#parts;
    return { env, source, view: views.map };
  }

  /** One at a time, in the order of asking. */
  lock<T = unknown>(name: string): Lock<T> {
    return new Lock(this.#lockParts, name);
  }

  /** Many who read or one who writes. */
  readWriteLock(name: string): ReadWriteLock {
    return new ReadWriteLock(this.#lockParts, name);
  }

  /** So many at a time. */
  semaphore(name: string, options: SemaphoreOptions): Semaphore {
    return new Semaphore(this.#lockParts, name, options);
  }

  /** Who arrives waits until `count` have. */
  barrier(name: string, options: { readonly count: number }): Barrier {
    return new Barrier(this.#lockParts, name, options);
  }

  /** One of many leads. */
  election<T = unknown>(name: string): Election<T> {
    return new Election(this.#lockParts, name);
  }

  /** Who is here. */
  presence<T = unknown>(name: string): Presence<T> {
    return new Presence(this.#lockParts, name);
  }

  /** Work at the ticks of a schedule: each tick once in the whole cluster. */
  cron(name: string): Cron {
    return new Cron(this.#cronParts, name);
  }

  /** The crons that have run, in the order of their names. */
  crons(
    options?: ReadOptions & { readonly prefix?: string | undefined },
  ): AsyncIterable<CronInfo & { readonly name: string }> {
    return listCrons(this.#cronParts, options);
  }

  get #cronParts(): CronParts {
    const { map: mapView, lock: view } = this.#parts.views;
    return { ...this.#parts, view, mapView };
  }

  get #lockParts(): LockParts {
    return { ...this.#parts, view: this.#parts.views.lock };
  }

  /** An object of a type of your own, on a copy in this process that follows the log. Close it when it is not needed. */
  object<S, C extends Commands<S>, Q extends Queries<S>>(
    definition: ObjectDefinition<S, C, Q>,
    key: string,
    options?: ObjectOptions,
  ): Promise<OpenObject<S, C, Q>> {
    const { env, source, views } = this.#parts;
    return openObject(env, source, views.object, definition, key, options);
  }

  /** The keys of the objects of a type that have had a command, in the order of their bytes. */
  objects(
    definition: { readonly type: string },
    options?: ReadOptions & { readonly prefix?: string | undefined },
  ): AsyncIterable<string> {
    return listObjects(this.#parts.source, this.#parts.views.object, definition.type, options);
  }
}
