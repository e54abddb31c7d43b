/** The asked views of a replica in this process. */
import { deferred, HoldfastError, isAborted } from "../base/index.ts";
import type { Deferred, Revision } from "../base/index.ts";
import { PageMissing } from "../tree/index.ts";
import type { CommandOutcome, Operation, ProposeOptions } from "./command.ts";
import { fresh } from "./freshness.ts";
import type { Replica } from "./replica.ts";
import type { AskedView, ReadingContext } from "./view.ts";
import type { Answered, AskOptions, Questioned, Topic, ViewSource } from "./view-source.ts";

/** One who waits for changes of a topic. */
interface Waiter {
  /** A change has come that it has not been told. */
  changed: boolean;
  /** Set while it waits. */
  wake: Deferred<void> | undefined;
}

export class LocalViews implements ViewSource {
  readonly #replica: Replica;
  /** By the view's id and the topic's name. */
  readonly #waiters = new Map<string, Set<Waiter>>();
  readonly #unsubscribe: (() => void)[];
  #closed = false;

  constructor(replica: Replica, views: readonly Pick<AskedView, "id">[]) {
    this.#replica = replica;
    this.#unsubscribe = views.map((view) =>
      replica.subscribe(view, (_, topics) => {
        for (const name of topics as readonly string[]) this.#wake(this.#waiters.get(`${view.id} ${name}`));
      }),
    );
    // Nobody was told of what lies between the two states.
    this.#unsubscribe.push(replica.onInstall(() => this.#wakeAll()));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** For the status. */
  get waiterCount(): number {
    let count = 0;
    for (const { size } of this.#waiters.values()) count += size;
    return count;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#replica.propose(operations, options);
  }

  async ask<Query, Answer>(
    view: Questioned<Query, Answer>,
    query: Query,
    options: AskOptions = {},
  ): Promise<Answered<Answer>> {
    const { at, since = at } = options;
    await fresh(
      this.#replica,
      at === undefined ? options : { ...options, consistency: "local", atLeast: at as Revision },
    );
    const now = await this.#replica.readNow((tree) => {
      const context: ReadingContext = { state: tree, revision: this.#replica.revision, timeMs: this.#replica.timeMs };
      const unchanged = since === undefined || view.unchanged(context, query, since);
      const { revision, timeMs } = context;
      return {
        answer: at === undefined || unchanged ? view.answerTo(context, query) : undefined,
        revision,
        timeMs,
        unchanged,
      };
    });
    if (at === undefined || now.unchanged) return now as Answered<Answer>;
    return this.#askPast(view, query, at as Revision);
  }

  async #askPast<Query, Answer>(
    view: Questioned<Query, Answer>,
    query: Query,
    at: Revision,
  ): Promise<Answered<Answer>> {
    const held = this.#replica.pinAt(at);
    if (held === undefined) {
      throw new HoldfastError(
        "trimmed",
        `what is asked of the ${view.name} has changed since revision ${at}, and no snapshot keeps that revision`,
      );
    }
    const { tree } = held;
    const state: ReadingContext["state"] = {
      get: (key) => tree.getSync(key),
      entries: (range) => tree.entriesSync(range),
      count: (range) => tree.countSync(range),
    };
    // Store time is not kept with a snapshot; what asks for it asks of the present.
    const context = { state, revision: at, timeMs: this.#replica.timeMs };
    try {
      for (;;) {
        try {
          return { answer: view.answerTo(context, query), revision: at, timeMs: context.timeMs, unchanged: true };
        } catch (error) {
          if (!(error instanceof PageMissing)) throw error;
          await error.load();
        }
      }
    } finally {
      held.release();
    }
  }

  async *changes(topic: Topic, signal: AbortSignal | undefined): AsyncGenerator<Revision, void, undefined> {
    const key = `${topic.view.id} ${topic.name}`;
    const waiter: Waiter = { changed: true, wake: undefined };
    const waiters = this.#waiters.get(key) ?? new Set();
    this.#waiters.set(key, waiters.add(waiter));
    const onAbort = () => waiter.wake?.resolve();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      while (!this.#closed && !isAborted(signal)) {
        if (waiter.changed) {
          waiter.changed = false;
          yield this.#replica.revision;
          continue;
        }
        waiter.wake = deferred<void>();
        await waiter.wake.promise;
        waiter.wake = undefined;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key);
    }
  }

  #wake(waiters: Iterable<Waiter> = []): void {
    for (const waiter of waiters) {
      waiter.changed = true;
      waiter.wake?.resolve();
    }
  }

  #wakeAll(): void {
    for (const waiters of this.#waiters.values()) this.#wake(waiters);
  }

  /** Ends all who wait. */
  close(): void {
    this.#closed = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#wakeAll();
  }
}
