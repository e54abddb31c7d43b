/**
 * The messages of a stream that have arrived and wait to be taken, as an async iterator. Bytes are decoded when they are
 * taken, and taking them is what grants the peer new credit.
 *
 * 1. Messages come out in the order in which they came in; `next` may be called several times ahead.
 * 2. The end or the failure comes out after all messages before it. After it the iterator is done.
 * 3. `return` ends it at once, drops what waits, and tells the owner once.
 */
import { HoldfastError } from "../base/index.ts";
import type { Message } from "../base/index.ts";
import type { Received } from "./receiver.ts";

export interface InboxOwner {
  /** A message of this cost was taken. */
  taken(cost: number): void;
  /** The user wants no more. */
  abandoned(): void;
}

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

const finished = { done: true, value: undefined } as const;

export class Inbox<T> implements AsyncIterableIterator<T, undefined> {
  readonly #message: Message<T, never>;
  readonly #owner: InboxOwner;
  /** The code of the error when a message cannot be decoded: whose fault it is. */
  readonly #undecodable: "invalid" | "corrupt";
  readonly #items: Received[] = [];
  readonly #waiters: Waiter<T>[] = [];
  #start: (() => void) | undefined;
  #over = false;
  #error: HoldfastError | undefined;

  /** `start` is called when the first message is asked for. */
  constructor(message: Message<T, never>, owner: InboxOwner, undecodable: "invalid" | "corrupt", start?: () => void) {
    this.#start = start;
    this.#message = message;
    this.#owner = owner;
    this.#undecodable = undecodable;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const start = this.#start;
    this.#start = undefined;
    start?.();
    const item = this.#items.shift();
    if (item !== undefined) {
      try {
        return Promise.resolve({ done: false, value: this.#take(item) });
      } catch (error) {
        return Promise.reject(error);
      }
    }
    if (this.#over) {
      const error = this.#error;
      this.#error = undefined;
      return error === undefined ? Promise.resolve(finished) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T, undefined>> {
    const abandoned = !this.#over;
    this.#start = undefined;
    this.drop();
    this.end(undefined);
    if (abandoned) this.#owner.abandoned();
    return Promise.resolve(finished);
  }

  push(item: Received): void {
    if (this.#over) return;
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#items.push(item);
      return;
    }
    try {
      waiter.resolve({ done: false, value: this.#take(item) });
    } catch (error) {
      waiter.reject(error);
    }
  }

  /** No message follows, because the stream ended or failed. */
  end(error: HoldfastError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    for (const waiter of this.#waiters.splice(0)) {
      const first = this.#error;
      this.#error = undefined;
      if (first === undefined) waiter.resolve(finished);
      else waiter.reject(first);
    }
  }

  /** Forgets what waits. */
  drop(): void {
    this.#items.length = 0;
    this.#error = undefined;
  }

  #take(item: Received): T {
    let value: T;
    try {
      value = this.#message.decode(item.bytes);
    } catch (cause) {
      const error = undecodable(this.#undecodable, cause);
      this.drop();
      this.end(undefined);
      this.#owner.abandoned();
      throw error;
    }
    this.#owner.taken(item.cost);
    return value;
  }
}

/** The failure of a call whose message is not what its schema says. Other errors are bugs and pass through. */
export function undecodable(code: "invalid" | "corrupt", cause: unknown): HoldfastError {
  if (!(cause instanceof HoldfastError)) throw cause;
  const hint = "do both sides use the same contract?";
  return new HoldfastError(code, `the message cannot be decoded (${hint}): ${cause.message}`, { cause });
}
