/**
 * What a member does when the log has left it behind: when the members' log no longer reaches back to where it ends here,
 * which the raft engine notices, or when a log elsewhere was trimmed beyond what is applied here, which this looks for. It
 * learns from another member where the log is now, and gets the state (catch-up.ts). And the other half: it tells others.
 *
 *  1. A position of the members' log is taken for one of the chain only on the word of a member that has read so far
 *     itself: only that one knows on which stay of the chain it lies.
 *  2. The chain's places are durable here before the members' log goes on behind its base.
 */
import { position, sleep, throwIfAborted } from "../../base/index.ts";
import type { Env, Position } from "../../base/index.ts";
import type { Chain, RaftEngine } from "../../log/index.ts";
import type { Service } from "../../rpc/index.ts";
import type { LocalStore } from "../local-store.ts";
import { openFetching } from "../storage.ts";
import { catchUp, checkpointService, locate } from "./catch-up.ts";
import type { CatchUpPeer } from "./catch-up.ts";

export interface LeftBehindParts {
  readonly log: Chain;
  readonly raft: RaftEngine;
  readonly store: Pick<LocalStore, "replica" | "blobs">;
  /** The other members, as they are known at the moment. */
  readonly peers: () => readonly CatchUpPeer[];
}

const lookMs = 1_000;

export class LeftBehind {
  /** For the other members. */
  readonly service: Service;
  readonly #env: Env;
  readonly #parts: LeftBehindParts;
  readonly #ending = new AbortController();
  readonly #looking: Promise<void>;
  /** One at a time. */
  #catching: Promise<void> = Promise.resolve();

  constructor(env: Env, parts: LeftBehindParts) {
    this.#env = env;
    this.#parts = parts;
    const { log, raft, store } = parts;
    this.service = checkpointService(env, store.replica, {
      locate: (at) => {
        const located = log.locate(raft, at);
        return located === undefined ? undefined : { position: position(located), places: log.places };
      },
    });
    this.#looking = this.#look();
  }

  /** Makes the state at a position of the members' log, or a later one, durable here. */
  async catchUp(to: Position, signal: AbortSignal): Promise<void> {
    const { log, peers } = this.#parts;
    const located = await locate(peers(), to, signal);
    await log.adopt(located.places);
    await this.#fetch(located.position, signal);
  }

  async #look(): Promise<void> {
    const { log, store } = this.#parts;
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        if (log.capabilities.elsewhere === true && store.replica.applied < log.start()) {
          await this.#fetch(log.start(), signal);
        }
      } catch (error) {
        if (!signal.aborted) {
          this.#env.logger.log("warn", "fetching the state failed; it is tried again", { error: String(error) });
        }
      }
      await sleep(this.#env.clock, lookMs, signal).catch(() => {});
    }
  }

  #fetch(to: Position, signal: AbortSignal): Promise<void> {
    const fetching = this.#catching.then(async () => {
      throwIfAborted(signal);
      const { replica, blobs } = this.#parts.store;
      const parts = { replica, blobs, fetching: openFetching(this.#env), peers: this.#parts.peers };
      await catchUp(this.#env, parts, to, signal);
    });
    this.#catching = fetching.catch(() => {});
    return fetching;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#looking;
  }
}
