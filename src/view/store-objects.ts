/** The objects of a store by their names: what a store in this process, one elsewhere and one of the past have alike. */
import type { Env } from "../base/index.ts";
import { listCounters, Counter } from "./counter/counters.ts";
import { Sequence } from "./counter/sequence.ts";
import type { SequenceOptions } from "./counter/sequence.ts";
import type { ReadOptions } from "./key/key-source.ts";
import type { Leases } from "./lease/leases.ts";
import { RateLimiter } from "./limiter/limiters.ts";
import type { RateOptions } from "./limiter/limiters.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "./transaction.ts";
import type { Views } from "./views.ts";
import type { ViewSource } from "./view-source.ts";

export interface ObjectParts {
  readonly env: Pick<Env, "clock" | "random" | "logger">;
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
}
