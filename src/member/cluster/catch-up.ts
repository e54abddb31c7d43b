/**
 * How a member that the log has left behind gets the state of the others: the newest checkpoint that one of them has, its
 * missing pages from all of them at once, and then its own state is exchanged for that one.
 *
 * 1. Nothing is installed before every blob of the checkpoint is durable here.
 * 2. What has come stays, whoever dies meanwhile: if the checkpoint can no longer be had whole, a newer one is fetched,
 *    most of which is here then. After a restart too, if the note that `fetching` keeps is given to the sweep.
 * 3. While it fetches, nothing is deleted from the local blob store; and each of the others keeps what its newest
 *    checkpoint needs, as long as it is asked to and at most `holdMs`. The latter only saves work: see 2.
 *
 * After a crash: the old state, or once `install` has saved the record, the new one.
 */
import {
  abortable,
  abortError,
  embed,
  equalBytes,
  HoldfastError,
  message,
  position,
  sleep,
  throwIfAborted,
  uint64,
} from "../../base/index.ts";
import type { Env, Position } from "../../base/index.ts";
import { RemoteBlobs } from "../../blob/index.ts";
import type { BlobStore } from "../../blob/index.ts";
import { ChainPlacesMessage, placesOf } from "../../log/index.ts";
import type { ChainPlace } from "../../log/index.ts";
import { contract, implement, serverStream, unary } from "../../rpc/index.ts";
import type { RpcClient, Service } from "../../rpc/index.ts";
import { fetchTree } from "../../tree/index.ts";
import type { FetchProgress } from "../../tree/index.ts";
import { CheckpointRecord, rootOf } from "../../view/index.ts";
import type { CheckpointStore } from "../../view/index.ts";

const HoldRequest = message("holdfast.member.HoldRequest", {
  /** Take a checkpoint first if the newest is older than this and that would make it new enough; 0 for any. */
  atLeast: uint64(1),
});

const PlaceRequest = message("holdfast.member.PlaceRequest", {
  /** Of the members' log. */
  position: uint64(1),
});

const PlaceAnswer = message("holdfast.member.PlaceAnswer", {
  /** The same place in the chain of which the members' log is a part. */
  position: uint64(1),
  places: embed(2, ChainPlacesMessage),
});

export const CheckpointService = contract("holdfast.member.Checkpoints", {
  /**
   * Answers the newest durable checkpoint, whose blobs stay while the call lasts. It ends when the caller leaves, or
   * after a time: then the caller may ask again.
   */
  hold: serverStream(1, HoldRequest, CheckpointRecord),
  /** Where the log is; `unavailable` on a member that has not read so far itself. */
  place: unary(2, PlaceRequest, PlaceAnswer),
});

/** Longest time for which a member keeps blobs for another's sake. */
const holdMsDefault = 1_800_000;
/** How long members may take to answer; and when one has answered well, how long the others are waited for. */
const offerMsMax = 10_000;
const offersMsMax = 500;
/** Between two attempts, the first and the longest wait. */
const retryMsMin = 200;
const retryMsMax = 5_000;

/** What is needed of a `Replica`. */
export interface CaughtUp {
  readonly lastCheckpoint: CheckpointRecord;
  readonly applied: number;
  checkpoint(): Promise<CheckpointRecord>;
  /** From when it resolves until the function that it gives is called, no blob is deleted. */
  holdBlobs(): Promise<() => void>;
  install(record: CheckpointRecord): Promise<void>;
}

export interface CatchUpPeer {
  /** For messages. */
  readonly name: string;
  /** To this member alone. Stays the caller's to close. */
  readonly client: Pick<RpcClient, "use">;
}

export interface CatchUpParts {
  readonly replica: CaughtUp;
  readonly blobs: BlobStore;
  /** The other members, as they are known at the moment. */
  readonly peers: () => readonly CatchUpPeer[];
  /** Where the record that is being fetched is noted, so that a restart does not delete what has come. */
  readonly fetching?: CheckpointStore | undefined;
  readonly progress?: ((record: CheckpointRecord, progress: FetchProgress) => void) | undefined;
}

/** A position of the members' log in the chain, and where the chain's engines are. */
export interface Located {
  readonly position: Position;
  readonly places: readonly ChainPlace[];
}

/** Asks the other members for a position of their log until one knows; rejects when none does. */
export async function locate(peers: readonly CatchUpPeer[], at: Position, signal: AbortSignal): Promise<Located> {
  const answers = peers.map(async ({ client }) => {
    const answer = await client.use(CheckpointService).place({ position: at }, { timeoutMs: offerMsMax, signal });
    return { position: position(answer.position), places: placesOf(answer.places ?? { places: [] }) };
  });
  try {
    return await Promise.any(answers);
  } catch {
    throw new HoldfastError(
      "unavailable",
      `none of ${peers.length} other members says where position ${at} of the log is`,
    );
  }
}

/** The half of the member that has the checkpoints. */
export function checkpointService(
  env: Pick<Env, "clock">,
  replica: Omit<CaughtUp, "install">,
  options: { readonly holdMs?: number; readonly locate?: (at: number) => Located | undefined } = {},
): Service {
  return implement(CheckpointService, {
    place({ position: at }) {
      const located = options.locate?.(at);
      if (located !== undefined) return { position: located.position, places: { places: [...located.places] } };
      throw new HoldfastError("unavailable", `this member has not read the log up to ${at} itself; ask another one`);
    },
    async *hold({ atLeast }, { signal }) {
      if (replica.lastCheckpoint.position < atLeast && atLeast <= replica.applied) {
        await abortable(replica.checkpoint(), signal);
      }
      const release = await replica.holdBlobs();
      try {
        yield replica.lastCheckpoint;
        await sleep(env.clock, options.holdMs ?? holdMsDefault, signal);
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        release();
      }
    },
  });
}

/**
 * Resolves when the state at `to` or later is durable here and the replica goes on from it. Tries until it succeeds,
 * or `signal` aborts (`cancelled` or `timeout`), or something here fails: `exhausted` on a full disk, `unavailable` when
 * the store has stopped. May be called again after any of them.
 */
export async function catchUp(
  env: Pick<Env, "clock" | "random" | "digest" | "logger">,
  parts: CatchUpParts,
  to: Position,
  signal: AbortSignal,
): Promise<void> {
  const { replica } = parts;
  throwIfAborted(signal);
  // Before anything is counted on that is here already.
  const release = await replica.holdBlobs();
  try {
    for (let attempt = 0; replica.applied < to; attempt++) {
      const record = await new Attempt(env, parts, to, signal).run(attempt > 0);
      if (record !== undefined) return await replica.install(record);
      const waitMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(attempt, 10));
      await sleep(env.clock, waitMs * (0.5 + env.random.float() / 2), signal);
    }
    // The log before `to` is given up next: a state that is only in memory would be lost with it.
    if (replica.lastCheckpoint.position < to) await replica.checkpoint();
  } finally {
    release();
  }
}

interface Offer {
  readonly peer: CatchUpPeer;
  readonly record: CheckpointRecord;
}

/** One attempt: asks, chooses, fetches. */
class Attempt {
  readonly #env: Pick<Env, "clock" | "digest" | "logger">;
  readonly #parts: CatchUpParts;
  readonly #to: Position;
  readonly #signal: AbortSignal;
  /** Aborts when the attempt is over; then the others need not hold anything any more. */
  readonly #over = new AbortController();
  readonly #offers: Offer[] = [];

  constructor(env: Pick<Env, "clock" | "digest" | "logger">, parts: CatchUpParts, to: Position, signal: AbortSignal) {
    this.#env = env;
    this.#parts = parts;
    this.#to = to;
    this.#signal = signal;
  }

  /** The record whose blobs are all here now; undefined when it has to be tried again. */
  async run(take: boolean): Promise<CheckpointRecord | undefined> {
    const onAbort = () => this.#over.abort(abortError(this.#signal));
    this.#signal.addEventListener("abort", onAbort, { once: true });
    try {
      const peers = this.#parts.peers();
      const offer = await this.#ask(peers, take);
      if (offer === undefined) {
        this.#log("info", "no other member has a checkpoint to catch up with", { to: this.#to, peers: peers.length });
        return undefined;
      }
      await this.#parts.fetching?.save(offer.record);
      return (await this.#fetch(peers, offer)) ? offer.record : undefined;
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
      this.#over.abort(new HoldfastError("cancelled", "the attempt is over"));
    }
  }

  /** Asks everybody; the newest answer that will do. With `take`, they may make one that does. */
  async #ask(peers: readonly CatchUpPeer[], take: boolean): Promise<Offer | undefined> {
    const patience = new AbortController();
    const enough = new HoldfastError("cancelled", "the other members were asked for long enough");
    const { clock } = this.#env;
    let timer = clock.schedule(offerMsMax, () => patience.abort(enough));
    let hurried = false;
    const answers = peers.map(async (peer) => {
      const record = await this.#hold(peer, take);
      if (record === undefined) return;
      this.#offers.push({ peer, record });
      if (hurried || patience.signal.aborted) return;
      hurried = true;
      timer.cancel();
      timer = clock.schedule(offersMsMax, () => patience.abort(enough));
    });
    try {
      await abortable(Promise.all(answers), patience.signal).catch(() => {});
      throwIfAborted(this.#signal);
    } finally {
      timer.cancel();
    }
    let best: Offer | undefined;
    for (const offer of this.#offers) if (offer.record.position > (best?.record.position ?? -1)) best = offer;
    return best;
  }

  /** Has a member hold its newest checkpoint until the attempt is over; undefined if that will not do. */
  async #hold(peer: CatchUpPeer, take: boolean): Promise<CheckpointRecord | undefined> {
    const { signal } = this.#over;
    const holding = peer.client.use(CheckpointService).hold({ atLeast: take ? this.#to : 0 }, { signal });
    try {
      const { value: record } = await holding.next();
      if (record === undefined || record.position < this.#to) {
        await holding.return?.();
        return undefined;
      }
      if (equalBytes(record.seed, this.#parts.replica.lastCheckpoint.seed)) {
        // Asking for the next keeps the call going; it ends with the attempt, or when the member has held it for long.
        holding.next().catch(() => {});
        return record;
      }
      await holding.return?.();
      this.#log("error", "a member has the state of another store; it is not used", { member: peer.name });
    } catch (error) {
      if (!signal.aborted) {
        this.#log("warn", "a member was asked for its checkpoint in vain", { member: peer.name, error: String(error) });
      }
    }
    return undefined;
  }

  /** False when others may yet do better. */
  async #fetch(peers: readonly CatchUpPeer[], { peer, record }: Offer): Promise<boolean> {
    const { blobs, progress } = this.#parts;
    const startedMs = this.#env.clock.monotonicMs();
    const what = { position: record.position, of: peer.name, from: peers.length };
    this.#log("info", "fetching a checkpoint", what);
    // All members, since all have most of it, and first the one whose checkpoint it is.
    const sources = [peer, ...peers.filter((other) => other !== peer)].map(
      ({ name, client }) => new RemoteBlobs(this.#env, client, name),
    );
    try {
      const { blobCount, size } = await fetchTree(this.#env, blobs, rootOf(record), sources, {
        signal: this.#signal,
        progress: (made) => progress?.(record, made),
      });
      const ms = Math.round(this.#env.clock.monotonicMs() - startedMs);
      this.#log("info", "fetched a checkpoint", { ...what, blobs: blobCount, bytes: size, ms });
      return true;
    } catch (error) {
      if (!isPassing(error)) throw error;
      // What has come is kept for the next attempt; and this fails if it was the store here that is unavailable.
      await blobs.sync();
      this.#log("warn", "fetching a checkpoint failed", { ...what, error: error.message });
      return false;
    }
  }

  #log(level: "info" | "warn" | "error", text: string, fields: Readonly<Record<string, unknown>>): void {
    this.#env.logger.log(level, text, fields);
  }
}

/** The others are away or no longer have it all. */
function isPassing(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && (error.code === "notFound" || error.code === "unavailable");
}
