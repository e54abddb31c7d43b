/**
 * Reads of the views that are asked (`AskedView`): by the replica in this process, or by one elsewhere. With it every
 * such view has its reads, its watching and its part of transactions, without a service of its own.
 */
import { HoldfastError } from "../base/index.ts";
import type { Revision } from "../base/index.ts";
import { accepted, operation } from "./command.ts";
import type { Proposer } from "./command.ts";
import type { ReadOptions } from "./key/key-source.ts";
import type { ApplyContext, AskedView, BodyCodec, ReadingContext, Refusal, View } from "./view.ts";

export interface AskOptions extends ReadOptions {
  /** The state at this revision: one that a snapshot keeps, or since which the answer has not changed; else `trimmed`. */
  readonly at?: number | undefined;
  /** Have it said whether the answer is what it was at this revision. */
  readonly since?: number | undefined;
}

export interface Answered<Answer> {
  readonly answer: Answer;
  /** Of the state that was asked. */
  readonly revision: Revision;
  /** Store time of the state that was asked, milliseconds since the Unix epoch. */
  readonly timeMs: number;
  /** Whether it is surely the answer of revision `since`; true if none was named. */
  readonly unchanged: boolean;
}

/** What of an `AskedView` its questions need. */
export interface Questioned<Query, Answer> {
  readonly id: number;
  readonly name: string;
  readonly query: BodyCodec<NoInfer<Query>>;
  readonly answer: BodyCodec<NoInfer<Answer>>;
  answerTo(context: ReadingContext, query: Query): Answer;
  unchanged(context: ReadingContext, query: NoInfer<Query>, since: number): boolean;
}

/** What changes: an object of a view, by its name. */
export interface Topic {
  readonly view: Pick<AskedView, "id">;
  readonly name: string;
}

export interface ViewSource extends Proposer {
  ask<Query, Answer>(
    view: Questioned<Query, Answer>,
    query: NoInfer<Query>,
    options?: AskOptions,
  ): Promise<Answered<Answer>>;
  /**
   * Gives a revision at once, when it listens, and the newest after changes of the topic; several may come as one, and
   * one may come for nothing, so ask then. Ends without error when the signal aborts or the store is closed.
   */
  changes(topic: Topic, signal: AbortSignal | undefined): AsyncIterable<Revision>;
  /** Nothing is answered any more. */
  readonly closed: boolean;
  /** It is of one revision of the past, and takes no commands. */
  readonly past?: boolean | undefined;
}

/** What of a `View` a proposal needs. */
interface Proposed<Body, Result> {
  readonly id: number;
  readonly result: BodyCodec<NoInfer<Result>>;
  apply(context: ApplyContext, operation: Body): Result | Refusal;
}

/** Proposes one operation, and gives what it answered. */
export async function proposeOne<Body, Result>(
  source: Proposer,
  view: Proposed<Body, Result>,
  body: NoInfer<Body>,
  signal: AbortSignal | undefined,
): Promise<{ readonly result: Result; readonly revision: Revision }> {
  const outcome = accepted(await source.propose([operation(view as View<unknown>, body)], { signal }));
  return { result: outcome.results[0] as Result, revision: outcome.revision };
}

/** Whether it says only that no member answers now: who has all the time there is goes on. */
export function isPassing(error: unknown): boolean {
  return error instanceof HoldfastError && (error.code === "unavailable" || error.code === "timeout");
}

/** Why nothing of the past is changed. */
export function pastTransaction(at: number): HoldfastError {
  return new HoldfastError("invalid", `the store at revision ${at} is read-only`);
}

/** A source whose every question is about a revision of the past, and that takes no commands. */
export function pastViews(source: ViewSource, at: number): ViewSource {
  return {
    past: true,
    get closed() {
      return source.closed;
    },
    propose: () => Promise.reject(pastTransaction(at)),
    ask: (view, query, options = {}) => source.ask(view, query, { ...options, at }),
    changes: () => {
      throw new HoldfastError("invalid", `the store at revision ${at} does not change: there is nothing to wait for`);
    },
  };
}
