/** One map, as its faces see it: questions and commands about it, and pages of its entries. */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Env, Revision } from "../../base/index.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { decodeValue } from "../value.ts";
import { proposeOne } from "../view-source.ts";
import type { ViewSource } from "../view-source.ts";
import { decodeKey, encodeKey, textPrefixRange } from "./map-key.ts";
import type { MapKey } from "./map-key.ts";
import type {
  MapAnswer,
  MapEntry,
  MapOperation,
  MapQuery,
  MapRange,
  MapReference,
  MapResult,
} from "./map-operation.ts";
import { mapTopic } from "./map-view.ts";
import type { MapView } from "./map-view.ts";

export interface MapParts {
  readonly env: Pick<Env, "clock" | "random">;
  readonly source: ViewSource;
  readonly view: MapView;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** start ≤ key < end, or the text keys that begin with `prefix`; all keys if nothing is given. */
export interface MapRangeOptions<K extends MapKey = MapKey> {
  readonly start?: K | undefined;
  readonly end?: K | undefined;
  readonly prefix?: string | undefined;
}

/** What `MapEntry` holds, for its user. */
export interface Entry<T, K extends MapKey = MapKey> {
  readonly key: K;
  readonly value: T;
  /** The last that set it. */
  readonly revision: Revision;
}

const backoffMaxMs = 100;

export class MapPart {
  readonly reference: MapReference;
  readonly #parts: MapParts;

  constructor(parts: MapParts, reference: MapReference) {
    this.#parts = parts;
    this.reference = reference;
  }

  async ask(query: NonNullable<MapQuery["query"]>, options: ReadOptions = {}): Promise<MapAnswer> {
    const { source, view } = this.#parts;
    return (await source.ask(view, { map: this.reference, query }, options)).answer;
  }

  propose(
    operation: NonNullable<MapOperation["operation"]>,
    { signal }: CallOptions = {},
  ): Promise<{ readonly result: MapResult; readonly revision: Revision }> {
    const { source, view } = this.#parts;
    return proposeOne(source, view, { map: this.reference, operation }, signal);
  }

  changes(signal: AbortSignal | undefined): AsyncIterable<Revision> {
    const { source, view } = this.#parts;
    return source.changes({ view, name: mapTopic(this.reference) }, signal);
  }

  async get(key: Uint8Array, options?: ReadOptions): Promise<MapEntry | undefined> {
    return (await this.ask({ case: "get", value: { key } }, options)).entries[0];
  }

  /** Repeats the operation until it says that there is nothing left. Answers how many entries there were. */
  async repeat(operation: NonNullable<MapOperation["operation"]>, options?: CallOptions): Promise<number> {
    for (let count = 0; ;) {
      const { result } = await this.propose(operation, options);
      count += result.count;
      if (!result.more) return count;
    }
  }

  /** Runs it again while it meets others' changes. */
  async retried<T>(run: () => Promise<T>, { signal }: CallOptions = {}): Promise<T> {
    const { clock, random } = this.#parts.env;
    for (let attempt = 1; ; attempt++) {
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== "conflict" || error.maybe) throw error;
        await sleep(clock, random.float() * Math.min(backoffMaxMs, 2 ** Math.min(attempt, 10)), signal);
      }
    }
  }
}

export function toRange({ start, end, prefix }: MapRangeOptions): MapRange {
  if (prefix === undefined) {
    return {
      start: start === undefined ? undefined : encodeKey(start),
      end: end === undefined ? undefined : encodeKey(end),
    };
  }
  if (start === undefined && end === undefined) return textPrefixRange(prefix);
  throw new HoldfastError("invalid", "choose entries by a prefix or by start and end, not by both");
}

export function toEntry<T, K extends MapKey>({ key, value, revision }: MapEntry): Entry<T, K> {
  return { key: decodeKey(key) as K, value: decodeValue(value) as T, revision: revision as Revision };
}

/** A limit as a caller gives it; 0 in a question: none. */
export function checkedLimit(limit: number | undefined): number {
  if (limit === undefined) return Number.POSITIVE_INFINITY;
  if (Number.isSafeInteger(limit) && limit >= 0) return limit;
  throw new HoldfastError("invalid", `the limit is ${limit}; it must be a whole number, 0 or more`);
}

/** Asks page after page; `next` gives the rest of the range behind the last entry of one. */
export async function* pages(
  ask: (range: Partial<MapRange>, limit: number) => Promise<MapAnswer>,
  range: MapRange,
  { limit, reverse = false }: { readonly limit?: number | undefined; readonly reverse?: boolean | undefined },
  placeOf: (entry: MapEntry) => Uint8Array,
): AsyncGenerator<MapEntry, void, undefined> {
  let rest: Partial<MapRange> = range;
  for (let left = checkedLimit(limit); left > 0;) {
    const answer = await ask(rest, Number.isFinite(left) ? Math.min(left, 0x7fff_ffff) : 0);
    yield* answer.entries;
    left -= answer.entries.length;
    const last = answer.entries.at(-1);
    if (!answer.more || last === undefined) return;
    rest = reverse ? { ...rest, end: placeOf(last) } : { ...rest, start: behind(placeOf(last)) };
  }
}

/** The first byte string after this one. */
function behind(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length + 1);
  whole.set(bytes);
  return whole;
}
