/**
 * Locks that go along with the code that runs under them: `withLock` holds a lock while a function runs, and whatever the
 * function calls, however deep and after however many awaits, can ask for the hold or take the lock again, without being
 * given it. By `AsyncLocalStorage` of Node.js, which Deno and Bun have too.
 *
 * 1. Inside, taking the same lock of the same store again succeeds at once, under the same fence; it is given up when the
 *    outermost function has ended.
 * 2. Work that the function left running behind it holds nothing any more: it sees no hold, and takes the lock anew.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { HoldfastError } from "../base/index.ts";
import type {
  AcquireOptions,
  Hold,
  Store,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
} from "../member/index.ts";

/** What one function holds, and the functions around it. */
interface Held {
  readonly store: Store;
  readonly hold: Hold;
  readonly around: Held | undefined;
  over: boolean;
}

const storage = new AsyncLocalStorage<Held>();

function* holds(store: Store): Generator<Hold, void, undefined> {
  for (let held = storage.getStore(); held !== undefined; held = held.around) {
    if (held.store === store && !held.over) yield held.hold;
  }
}

/**
 * Runs the function while the lock is held, and gives it up. When the lock is lost meanwhile, `hold.signal` aborts. The
 * options count for who takes it first: `signal` while it waits, `ttlMs`, `value`.
 */
export async function withLock<T>(
  store: Store,
  name: string,
  body: (hold: Hold) => T | Promise<T>,
  options?: AcquireOptions,
): Promise<T> {
  const mine = currentHold(store, name);
  if (mine !== undefined) {
    if (mine.isLost) throw mine.signal.reason as HoldfastError;
    return await body(mine);
  }
  await using hold = await store.lock(name).acquire(options);
  const held: Held = { store, hold, around: storage.getStore(), over: false };
  try {
    return await storage.run(held, () => body(hold));
  } finally {
    held.over = true;
  }
}

/** The hold of this lock under which the caller runs; undefined if under none. */
export function currentHold(store: Store, name: string): Hold | undefined {
  for (const hold of holds(store)) if (hold.name === name) return hold;
  return undefined;
}

/** A transaction that takes effect only while everything is held under which the caller runs: `conflict` otherwise. */
export function lockedTransaction<T>(
  store: Store,
  body: (tx: TransactionContext) => T | Promise<T>,
  options?: TransactionOptions,
): Promise<TransactionOutcome<T>> {
  const guards = [...holds(store)];
  if (guards.length === 0) {
    const what = "a locked transaction outside of every withLock; use store.transaction, or call it inside";
    return Promise.reject(new HoldfastError("invalid", what));
  }
  return store.transaction((tx) => {
    for (const hold of guards) tx.guard(hold);
    return body(tx);
  }, options);
}
