/** The objects of a store by their names: what a store in this process, one elsewhere and one of the past have alike. */
import { listCounters, Counter } from "./counter/counters.ts";
import type { ReadOptions } from "./key/key-source.ts";
import type { Views } from "./views.ts";
import type { ViewSource } from "./view-source.ts";

export interface ObjectParts {
  readonly source: ViewSource;
  readonly views: Views;
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
}
