/** Locks, readers and writers, semaphores, barriers, elections and presence, as a user sees them. */
import { HoldfastError } from "../../base/index.ts";
import { checkedName, checkedWhole } from "../value.ts";
import type { ViewTransaction } from "../view-transaction.ts";
import { Hold, LockReader } from "./hold.ts";
import type { AcquireOptions, HolderInfo, LockParts } from "./hold.ts";
import type { LockKind, LockName, LockPlace } from "./lock-state.ts";
import type { LockView } from "./lock-view.ts";

interface Reading {
  readonly signal?: AbortSignal | undefined;
}

/** What all kinds have. */
abstract class Named<T> {
  protected readonly parts: LockParts;
  protected readonly lock: LockName;
  protected readonly reader: LockReader;

  constructor(parts: LockParts, kind: LockKind, name: string) {
    this.parts = parts;
    this.lock = { kind, name: checkedName(name, kind) };
    this.reader = new LockReader(parts, this.lock);
  }

  get name(): string {
    return this.lock.name;
  }

  protected async first(options: Reading = {}): Promise<HolderInfo<T> | undefined> {
    for await (const holder of this.reader.holders<T>(options)) return holder;
    return undefined;
  }

  /** How many wait for it. */
  waiterCount(options?: Reading): Promise<number> {
    return this.reader.waiterCount(options);
  }

  /** Who holds first, now and after changes; undefined for nobody. */
  protected async *watchFirst(options: Reading = {}): AsyncGenerator<HolderInfo<T> | undefined, void, undefined> {
    let last: string | undefined;
    for await (const atLeast of this.reader.changes(options.signal)) {
      let holder: HolderInfo<T> | undefined;
      for await (holder of this.reader.holders<T>({ ...options, atLeast })) break;
      const text = holder === undefined ? "" : `${holder.fence} ${JSON.stringify(holder.value)}`;
      if (text !== last) yield holder;
      last = text;
    }
  }
}

/** Undefined where it would have to wait. */
async function orNone(acquiring: Promise<Hold>): Promise<Hold | undefined> {
  try {
    return await acquiring;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "conflict" && !error.maybe) return undefined;
    throw error;
  }
}

/** One at a time, in the order of asking. */
export class Lock<T = unknown> extends Named<T> {
  /** @internal */
  constructor(parts: LockParts, name: string) {
    super(parts, "lock", name);
  }

  /** Resolves when it is held. */
  acquire(options: AcquireOptions = {}): Promise<Hold> {
    return Hold.acquire(this.parts, this.lock, { ...options, mode: "exclusive" });
  }

  /** Undefined when somebody else holds it, or waits for it. */
  tryAcquire(options: AcquireOptions = {}): Promise<Hold | undefined> {
    return orNone(Hold.acquire(this.parts, this.lock, { ...options, mode: "exclusive", immediately: true }));
  }

  /** Runs it while the lock is held. Where the lock is lost meanwhile, `hold.signal` says so. */
  async with<R>(body: (hold: Hold) => R | Promise<R>, options?: AcquireOptions): Promise<R> {
    await using hold = await this.acquire(options);
    return await body(hold);
  }

  holder(options?: Reading): Promise<HolderInfo<T> | undefined> {
    return this.first(options);
  }

  /** Who holds it, now and after changes: the newest, where several came at once. */
  watch(options?: Reading): AsyncIterable<HolderInfo<T> | undefined> {
    return this.watchFirst(options);
  }
}

/** Many who read or one who writes, in the order of asking: who reads does not overtake a writer that waits. */
export class ReadWriteLock extends Named<unknown> {
  /** @internal */
  constructor(parts: LockParts, name: string) {
    super(parts, "readWriteLock", name);
  }

  read(options: AcquireOptions = {}): Promise<Hold> {
    return Hold.acquire(this.parts, this.lock, { ...options, mode: "shared" });
  }

  write(options: AcquireOptions = {}): Promise<Hold> {
    return Hold.acquire(this.parts, this.lock, { ...options, mode: "exclusive" });
  }

  tryRead(options: AcquireOptions = {}): Promise<Hold | undefined> {
    return orNone(Hold.acquire(this.parts, this.lock, { ...options, mode: "shared", immediately: true }));
  }

  tryWrite(options: AcquireOptions = {}): Promise<Hold | undefined> {
    return orNone(Hold.acquire(this.parts, this.lock, { ...options, mode: "exclusive", immediately: true }));
  }
}

export interface SemaphoreOptions {
  /** How many there are. All who use the name give the same number: `conflict` otherwise. */
  readonly permits: number;
}

/** So many at a time, in the order of asking: who wants few does not overtake who waits for many. */
export class Semaphore extends Named<unknown> {
  readonly permits: number;

  /** @internal */
  constructor(parts: LockParts, name: string, { permits }: SemaphoreOptions) {
    super(parts, "semaphore", name);
    this.permits = checkedWhole(permits, "permits");
  }

  acquire(options: AcquireOptions & { readonly permits?: number | undefined } = {}): Promise<Hold> {
    const permits = checkedWhole(options.permits ?? 1, "permits");
    return Hold.acquire(this.parts, this.lock, { ...options, mode: "permits", permits, permitCount: this.permits });
  }

  tryAcquire(options: AcquireOptions & { readonly permits?: number | undefined } = {}): Promise<Hold | undefined> {
    const permits = checkedWhole(options.permits ?? 1, "permits");
    const asked = { ...options, mode: "permits", permits, permitCount: this.permits, immediately: true } as const;
    return orNone(Hold.acquire(this.parts, this.lock, asked));
  }
}

/** Who arrives waits until so many have; then all go on, and it begins anew. */
export class Barrier extends Named<unknown> {
  readonly count: number;

  /** @internal */
  constructor(parts: LockParts, name: string, { count }: { readonly count: number }) {
    super(parts, "barrier", name);
    this.count = checkedWhole(count, "count");
  }

  /** Resolves when it opens, with how often it has. Who leaves before by `signal`, or dies, has not arrived. */
  async arrive(options: AcquireOptions = {}): Promise<number> {
    const asked = { ...options, mode: "shared", count: this.count } as const;
    const { hold, state, generation } = await Hold.ask(this.parts, this.lock, asked);
    try {
      if (state === "gone") return generation;
      await hold.passed(options.signal);
      if (hold.generation > generation) return hold.generation;
      throw new HoldfastError("conflict", `the place at the barrier ${this.name} is lost: its lease has ended`);
    } finally {
      await hold.release().catch(() => {});
    }
  }
}

/** One of many leads, until it resigns or is lost. */
export class Election<T = unknown> extends Named<T> {
  /** @internal */
  constructor(parts: LockParts, name: string) {
    super(parts, "election", name);
  }

  /** Resolves when this one leads; `value` is what the others see. `proclaim` of the result changes it, `release` resigns. */
  campaign(options: AcquireOptions & { readonly value?: T } = {}): Promise<Hold> {
    return Hold.acquire(this.parts, this.lock, { ...options, mode: "exclusive" });
  }

  leader(options?: Reading): Promise<HolderInfo<T> | undefined> {
    return this.first(options);
  }

  /** Who leads, now and after changes, also of what the leader proclaims; undefined for nobody. */
  observe(options?: Reading): AsyncIterable<HolderInfo<T> | undefined> {
    return this.watchFirst(options);
  }
}

/** Who is here. */
export class Presence<T = unknown> extends Named<T> {
  /** @internal */
  constructor(parts: LockParts, name: string) {
    super(parts, "presence", name);
  }

  /** Until `release`, or `ttlMs` after this process was last heard of. */
  join(options: AcquireOptions & { readonly value?: T } = {}): Promise<Hold> {
    return Hold.acquire(this.parts, this.lock, { ...options, mode: "shared" });
  }

  /** In the order of joining. */
  list(options: Reading = {}): AsyncIterable<HolderInfo<T>> {
    return this.reader.holders<T>(options);
  }

  /** Everybody who is here, now and after changes: the newest, where several came at once. */
  async *watch(options: Reading = {}): AsyncGenerator<readonly HolderInfo<T>[], void, undefined> {
    for await (const atLeast of this.reader.changes(options.signal)) {
      yield await Array.fromAsync(this.reader.holders<T>({ ...options, atLeast }));
    }
  }
}

/** `tx.guard`: the transaction takes effect only while this is held. */
export function guardTransaction(tx: ViewTransaction, view: LockView, { kind, name, fence }: LockPlace): void {
  tx.write(view, { operation: { case: "check", value: { kind, name, fence } } });
}
