/**
 * The question to the log where it ends. All who ask in one turn share it; those who stay until the answer is applied
 * share that too, and who leaves before leaves nothing behind.
 */
import { abortable, abortError } from "../base/index.ts";
import type { Position } from "../base/index.ts";
import type { LogEngine } from "../log/index.ts";

interface Question {
  readonly tail: Promise<Position>;
  /** Settles when everything before the tail is applied. */
  applied: Promise<void> | undefined;
}

export class TailQuestion {
  readonly #log: Pick<LogEngine, "tail">;
  /** Waits until everything before a position is applied; undefined when it is. */
  readonly #reach: (tail: Position, signal?: AbortSignal) => Promise<void> | undefined;
  /** The one that has not been put yet. */
  #next: Question | undefined;

  constructor(
    log: Pick<LogEngine, "tail">,
    reach: (tail: Position, signal?: AbortSignal) => Promise<void> | undefined,
  ) {
    this.#log = log;
    this.#reach = reach;
  }

  /** Resolves when everything is applied that was before the log's end at the call. */
  applied(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const question = (this.#next ??= this.#ask());
    if (signal === undefined) return (question.applied ??= question.tail.then((tail) => this.#reach(tail)));
    return abortable(question.tail, signal).then((tail) => this.#reach(tail, signal));
  }

  #ask(): Question {
    // It is put after this turn, so that all who ask in this turn may share it.
    const tail = Promise.resolve().then(() => {
      this.#next = undefined;
      return this.#log.tail();
    });
    return { tail, applied: undefined };
  }
}
