/**
 * What a view is: a folder of operations that change the store's tree, applied by every replica in the order of the log.
 *
 * Rules of `apply`, on which the equality of replicas stands:
 *  1. Deterministic: it depends on the operation, the state and the context alone; no clock, no randomness, no
 *     iteration order of anything that memory layout could change.
 *  2. Total: whatever the operation holds, it returns a result or a refusal. The only thing that passes through it as
 *     an exception is `PageMissing` from the state; the replica then undoes the command, loads the page, and applies
 *     the command again from its beginning. So `apply` keeps nothing outside the state and the context.
 *  3. Atomic: a refusal undoes every operation of the command.
 *  4. All replicated state is in the tree, under keys whose first byte is the view's `id`.
 */
import { limits } from "../base/index.ts";
import type { ErrorCode, Position, Revision } from "../base/index.ts";

/** The tree as `apply` sees it. All methods throw `PageMissing` before they change anything. */
export interface State {
  get(key: Uint8Array): Uint8Array | undefined;
  /** Answers the previous value. `value` is copied; `key` must not be changed any more. */
  put(key: Uint8Array, value: Uint8Array): Uint8Array | undefined;
  /** Answers the previous value. */
  delete(key: Uint8Array): Uint8Array | undefined;
  /** start ≤ key < end, ascending, or descending when `reverse`. Do not edit while iterating: collect first. */
  entries(range: KeyRange & { readonly reverse?: boolean }): IterableIterator<StateEntry>;
  count(range: KeyRange): number;
  /**
   * Sees to it that the pages of all these keys are here: what is missing comes at once. Call it before edits of many
   * keys that `touches` could not name; a command begins again from its first operation after every miss.
   */
  require(keys: readonly Uint8Array[]): void;
}

export interface KeyRange {
  /** First key, included; absent: from the first. */
  readonly start?: Uint8Array;
  /** End, excluded; absent: to the last. */
  readonly end?: Uint8Array;
}

export interface StateEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface ApplyContext {
  readonly state: State;
  /** The revision that this command has if it changes something: one more than the store's last. */
  readonly revision: Revision;
  /** Where the command stands in the log. */
  readonly position: Position;
  /** Store time: the maximum of all proposers' wall times so far. Milliseconds since the Unix epoch. */
  readonly timeMs: number;
  /** How many events this command has emitted so far: tells operations of one command apart. */
  readonly emittedCount: number;
  /** What this command has done so far, against the limits of one command. */
  readonly work: Work;
  /**
   * Says that the command changes something that a reader can see, so that it takes `revision`. Called at least once by
   * any operation that does. What only keeps house (a renewed lease, a compaction) edits the state without a revision.
   */
  changed(): void;
  /** Hands `event` to the replica's subscribers once the command has taken effect; forgotten if it is undone. */
  emit(view: View, event: unknown): void;
}

/** Bytes that the reads of one command may look at, whether it answers them or only compares. */
const readSizeMax = 8_388_608;
/** Bytes of stored values that one command may have loaded, all of which are in memory at once. */
const loadSizeMax = 268_435_456;
/** What an entry costs beside its key and value. */
const entrySize = 32;

/**
 * Counts what one command does, all its operations together, so that no command holds up the replicas for long or fills
 * their memory. Views count before they collect; over a limit they refuse.
 */
export class Work {
  #operationCount = 0;
  #readSize = 0;
  #loadSize = 0;

  /** Before a command is applied, also for the second time. */
  reset(): void {
    this.#operationCount = 0;
    this.#readSize = 0;
    this.#loadSize = 0;
  }

  /** The command does so many more things that change, or may change, something. */
  operate(count = 1): Refusal | undefined {
    this.#operationCount += count;
    if (this.#operationCount <= limits.operationCountMax) return undefined;
    return new Refusal(
      "invalid",
      `the command has, or changes, more than ${limits.operationCountMax} things (limits.operationCountMax): split it, or name fewer keys at a time`,
    );
  }

  /** The command has a stored value of so many bytes loaded, whether or not it looks at it. */
  load(size: number): Refusal | undefined {
    this.#loadSize += size;
    if (this.#loadSize <= loadSizeMax) return undefined;
    return new Refusal(
      "invalid",
      `the command touches more than ${loadSizeMax} bytes of stored values: split it, or name fewer keys at a time`,
    );
  }

  /** The command has looked at an entry of so many bytes. */
  read(size: number): Refusal | undefined {
    this.#readSize += entrySize + size;
    if (this.#readSize <= readSizeMax) return undefined;
    return new Refusal(
      "invalid",
      `the command reads more than ${readSizeMax} bytes; give its reads a limit, or read outside of it`,
    );
  }
}

/** An expected failure of an operation: the whole command is undone, and its proposer gets the error. */
export class Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  /** What the operation counts on is gone for good: the same operation is never taken again, whatever is read before it. */
  readonly final: boolean;

  constructor(code: ErrorCode, message: string, { final = false }: { readonly final?: boolean } = {}) {
    this.code = code;
    this.message = message;
    this.final = final;
  }
}

/** How an operation or a result becomes bytes: a codec message. */
export interface BodyCodec<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

// The defaults are `never`/`unknown` so that a `View<Put, PutResult>` can stand where any view is meant.
export interface View<Operation = never, Result = unknown> {
  /** The noun of the folder: `key`, `lease`, `queue`. */
  readonly name: string;
  /** 1 to 127, never reused: the field number of the view in a command and the first byte of its keys in the tree. */
  readonly id: number;
  readonly operation: BodyCodec<Operation>;
  readonly result: BodyCodec<Result>;
  apply(context: ApplyContext, operation: Operation): Result | Refusal;
  /**
   * Keys whose pages `apply` is likely to touch, so that they can be loaded beforehand, many commands at once. A hint:
   * what is missing is loaded later, what is too much costs time. Must be cheap and must not throw.
   */
  touches?(operation: Operation, touch: (key: Uint8Array) => void): void;
}

/** The state as a question sees it. All methods throw `PageMissing`. */
export interface ReadingContext {
  readonly state: Pick<State, "get" | "entries" | "count">;
  /** That the state is of. */
  readonly revision: Revision;
  /** Store time, milliseconds since the Unix epoch. */
  readonly timeMs: number;
}

/**
 * A view that is read by questions, and told about by topics: all that its users need, near or far, inside of a
 * transaction or not, comes from these four methods.
 *
 * Its events are topics: names of what has changed. Whoever waits for a change asks again then.
 */
export interface AskedView<Operation = never, Result = unknown, Query = never, Answer = unknown> extends View<
  Operation,
  Result
> {
  readonly query: BodyCodec<Query>;
  readonly answer: BodyCodec<Answer>;
  /** Must be pure and bounded: an answer has at most about `limits.answerSizeMax` bytes. Throws `HoldfastError`. */
  answerTo(context: ReadingContext, query: Query): Answer;
  /** Whether the answer is surely what it was at revision `since`; false where that cannot be told. */
  unchanged(context: ReadingContext, query: Query, since: number): boolean;
}
