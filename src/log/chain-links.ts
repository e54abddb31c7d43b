/** The engines of a chain, oldest first, and where each is. */
import { assert, position } from "../base/index.ts";
import type { Position } from "../base/index.ts";
import { ChainLink } from "./chain-link.ts";
import type { ChainParts } from "./chain-link.ts";
import type { ChainPlace } from "./chain-place.ts";
import type { LogEngine } from "./engine.ts";
import { isSameSuccessor } from "./successor.ts";
import type { Successor } from "./successor.ts";

export class ChainLinks {
  #links: ChainLink[] = [];

  /** There always is one: the first is added at once. */
  get first(): ChainLink {
    const [first] = this.#links;
    assert(first !== undefined, "a chain has engines");
    return first;
  }

  get last(): ChainLink {
    const last = this.#links.at(-1);
    assert(last !== undefined, "a chain has engines");
    return last;
  }

  get second(): ChainLink | undefined {
    return this.#links[1];
  }

  get all(): readonly ChainLink[] {
    return this.#links;
  }

  get places(): readonly ChainPlace[] {
    return this.#links.map(({ place, base }) => ({ engine: place, base }));
  }

  get engines(): readonly LogEngine[] {
    return this.#links.map(({ engine }) => engine);
  }

  /** Whether one of them is in this place, or the last is known to go on there. */
  isInUse(successor: Successor): boolean {
    const { end } = this.last;
    const places = this.#links.map(({ place }) => place);
    return [...places, ...(end === undefined ? [] : [end.successor])].some((place) =>
      isSameSuccessor(place, successor),
    );
  }

  add(link: ChainLink): void {
    this.#links.push(link);
  }

  /** Takes the first away. */
  shift(): void {
    this.#links.shift();
  }

  /** Exchanges all of them; answers those that were there. */
  replace(links: readonly ChainLink[]): readonly ChainLink[] {
    const left = this.#links;
    this.#links = [...links];
    return left;
  }

  /** The one in which a position of the chain is, or will be; undefined for one before the first. */
  holding(at: number): ChainLink | undefined {
    return this.#links.findLast(({ base }) => base <= at);
  }

  /** The first position that can be read. An engine whose beginning others have trimmed makes those before it worthless. */
  start(): Position {
    const { base, engine } = this.#links.findLast((link) => link.engine.start() > 0) ?? this.first;
    return position(base + engine.start());
  }

  /**
   * Where in the chain a position of a log is that sections of the chain lie on, or a later position if that is trimmed;
   * undefined when it is not known here, which may be so because the chain has moved on further than this member has read:
   * up to `committed`.
   */
  locate(log: LogEngine, at: number, committed: number): number | undefined {
    for (const { engine, base, end, seen } of this.#links) {
      const { section } = engine;
      if (section?.log !== log || at < section.from) continue;
      const known = end?.at ?? Math.max(seen, committed - base);
      if (at - section.from <= known) return base + at - section.from;
    }
    // What was trimmed by this chain lies before all that it has.
    return at <= log.start() ? this.start() : undefined;
  }

  /** The position of such a log at which the chain has left it last; undefined where that is not known. */
  leftAt(log: LogEngine): number | undefined {
    const last = this.#links.findLast(({ engine, end }) => engine.section?.log === log && end !== undefined);
    return last?.end === undefined ? undefined : (last.engine.section?.from ?? 0) + last.end.at;
  }
}

/** Opens engines where they are. When one cannot be opened, none is. */
export async function openLinks(
  places: readonly ChainPlace[],
  openEngine: (successor: Successor, how: { readonly fresh: boolean }) => Promise<LogEngine>,
  parts: ChainParts,
): Promise<ChainLink[]> {
  const links: ChainLink[] = [];
  try {
    for (const { base, engine } of places) {
      const link = new ChainLink(await openEngine(engine, { fresh: false }), engine, base, parts);
      const last = links.at(-1);
      if (last !== undefined) {
        last.end = { at: base - last.base, successor: engine };
        last.next = link;
      }
      links.push(link);
    }
    return links;
  } catch (error) {
    for (const { engine } of links) await engine.close();
    throw error;
  }
}
