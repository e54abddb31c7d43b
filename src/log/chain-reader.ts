/** Reading a chain: each engine up to its successor record, then the next, as one log. */
import { abortable, HoldfastError, position } from "../base/index.ts";
import type { Position, Signal } from "../base/index.ts";
import type { ChainLink } from "./chain-link.ts";
import type { ChainLinks } from "./chain-links.ts";
import type { LogBatch } from "./engine.ts";

/** What reading needs of a chain. */
export interface ChainRead {
  readonly links: ChainLinks;
  /** Announces that a link was entered, ended or dropped. */
  readonly changed: Signal;
  readonly closing: AbortSignal;
  /** Below this position of an engine there is no successor record. */
  readonly cleanTo: (link: ChainLink) => number;
  /** Has the successor of a link opened. */
  readonly enter: (link: ChainLink) => void;
  /** Told of the position of the chain up to which has been read. */
  readonly seen: (to: number) => void;
}

/** As `LogEngine.read` promises. */
export async function* readChain(
  chain: ChainRead,
  from: Position,
  signal: AbortSignal | undefined,
): AsyncGenerator<LogBatch, void, undefined> {
  let next: number = from;
  let link = chain.links.holding(next);
  if (link === undefined) throw trimmed(chain, next);
  for (;;) {
    const { base } = link;
    let ended = link.end !== undefined && next > base + link.end.at;
    for await (const batch of ended ? [] : follow(chain, link, next - base, signal)) {
      const index = link.successorIn(batch);
      const skipped = Math.max(0, next - base - batch.position);
      const records = index === undefined && skipped === 0 ? batch.records : batch.records.slice(skipped, index);
      const begin = base + batch.position + skipped;
      if (records.length > 0) {
        chain.seen(begin + records.length);
        yield { position: position(begin), records };
      }
      next = Math.max(next, begin + records.length);
      ended = index !== undefined;
      if (ended) break;
    }
    if (!ended) {
      // Closed under its reader, who may have read all of it.
      if (!link.isDropped || signal?.aborted === true || chain.closing.aborted) return;
      if (next < base + (link.end?.at ?? 0)) throw trimmed(chain, next);
    }
    const follower = await nextOf(chain, link, signal);
    if (follower === undefined) return;
    link = follower;
  }
}

function trimmed({ links }: ChainRead, wanted: number): HoldfastError {
  return new HoldfastError(
    "trimmed",
    `position ${wanted} has been trimmed from the log; it begins at ${links.start()}`,
  );
}

/** Waits until the successor is open; undefined when the reading is over. */
async function nextOf(
  { changed, closing, enter }: ChainRead,
  link: ChainLink,
  signal: AbortSignal | undefined,
): Promise<ChainLink | undefined> {
  if (link.next === undefined) enter(link);
  while (link.next === undefined) {
    if (signal?.aborted === true || closing.aborted) return undefined;
    const aborted = await abortable(changed.wait(), signal).then(
      () => false,
      () => true,
    );
    if (aborted) return undefined;
  }
  return link.next;
}

/**
 * Reads an engine up to `wanted` and from there on. What it has not reached yet may come in its successor instead, so
 * that the reading begins no later than at its end: the record that names the successor must not be passed over.
 */
async function* follow(
  chain: ChainRead,
  link: ChainLink,
  wanted: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<LogBatch, void, undefined> {
  const { engine } = link;
  for (;;) {
    try {
      // On a member that was left behind nothing of what the engine still has was looked through.
      const from = Math.min(wanted, Math.max(chain.cleanTo(link), wanted < engine.start() ? 0 : engine.start()));
      yield* engine.read(position(from), signal === undefined ? {} : { signal });
      return;
    } catch (error) {
      // What lay before `wanted` has been trimmed while it was waited for.
      const gone = error instanceof HoldfastError && error.code === "trimmed";
      if (gone && engine.start() <= wanted) continue;
      throw gone ? trimmed(chain, link.base + wanted) : error;
    }
  }
}
