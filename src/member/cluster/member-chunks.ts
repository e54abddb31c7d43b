/**
 * All that a member of a cluster does about file chunks: it gives those that are put here to the others
 * (cluster-chunks.ts), brings those of new files here (chunk-follower.ts), repairs what is found to be missing or damaged,
 * and fetches the pages of snapshots that it has not made itself.
 *
 * After `close` nothing of it is under way.
 */
import { asHoldfastError, HoldfastError, limits, sleep, throwIfAborted, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { openBlob, PeerChunkService, RemoteBlobs, RemoteChunks } from "../../blob/index.ts";
import type { ChunkStore, Hash, NamedBlob } from "../../blob/index.ts";
import type { FileChunks } from "../../file/index.ts";
import { fetchTree } from "../../tree/index.ts";
import { fileChanges } from "../../view/index.ts";
import type { FileChange, MissingBlob } from "../../view/index.ts";
import type { LocalStore } from "../local-store.ts";
import type { CatchUpPeer } from "./catch-up.ts";
import { ChunkFollower } from "./chunk-follower.ts";
import type { FollowedContent } from "./chunk-follower.ts";
import { ClusterChunks } from "./cluster-chunks.ts";
import type { PeerChunks } from "./cluster-chunks.ts";

type ChunksEnv = Pick<Env, "clock" | "digest" | "logger" | "random">;

export interface ChunkPeer extends CatchUpPeer {
  readonly id: number;
}

export interface MemberChunksParts {
  /** The chunks that this member itself has. */
  readonly local: ChunkStore;
  /** The other voters, as they are known at the moment. */
  readonly peers: () => readonly ChunkPeer[];
  /** Whether these, and this member if `here`, are a majority of the voters. */
  readonly isMajority: (others: ReadonlySet<number>, here: boolean) => boolean;
}

/** Between two attempts to fetch the pages of snapshots, the first and the longest wait. */
const retryMsMin = 1_000;
const retryMsMax = 60_000;

export class MemberChunks {
  /** The chunks of the cluster. */
  readonly all: FileChunks;
  readonly #env: ChunksEnv;
  readonly #parts: MemberChunksParts;
  readonly #cluster: ClusterChunks;
  readonly #remotes = new WeakMap<CatchUpPeer["client"], PeerChunks>();
  readonly #ids = new WeakMap<PeerChunks, number>();
  readonly #closing = new AbortController();
  #store: LocalStore | undefined;
  #follower: ChunkFollower | undefined;
  #fetching: Promise<void> | undefined;
  #unsubscribe: (() => void)[] = [];

  constructor(env: ChunksEnv, parts: MemberChunksParts) {
    this.#env = env;
    this.#parts = parts;
    this.#cluster = new ClusterChunks(env, {
      local: parts.local,
      peers: () => this.#peerChunks(),
      isMajority: (others, here) =>
        parts.isMajority(new Set([...others].map((peer) => this.#ids.get(peer) ?? 0)), here),
      check: (named) => this.#check(named),
    });
    this.all = this.#cluster;
  }

  #peerChunks(): PeerChunks[] {
    return this.#parts.peers().map(({ id, name, client }) => {
      const known = this.#remotes.get(client);
      const remote = known ?? new RemoteChunks(this.#env, client, name, { contract: PeerChunkService });
      this.#remotes.set(client, remote);
      // The member behind an address may have become another one.
      this.#ids.set(remote, id);
      return remote;
    });
  }

  /** In the worker threads, where there are any. */
  async #check({ hash, blob }: NamedBlob): Promise<void> {
    if (this.#store === undefined) openBlob(this.#env.digest, hash, blob, limits.blobSizeMax);
    else await this.#store.pipeline.open(hash, blob);
  }

  /** Gets a blob that is missing or damaged here from another member. */
  readonly repair = async (
    { store, hash }: Pick<MissingBlob, "store" | "hash">,
    signal?: AbortSignal,
  ): Promise<boolean> => {
    if (store === "pages") return this.#repairPage(hash, signal);
    try {
      return (await this.#cluster.fetch(hash, signal)) !== undefined;
    } finally {
      // What is below a list was not known, and what could not be had now is to be tried again.
      this.#follower?.scan();
    }
  };

  /** Of the one page, since whoever asks has the others. What is below it he asks for when he finds it missing. */
  async #repairPage(hash: Hash, signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#store === undefined) return false;
    const { blobs } = this.#store;
    const ended = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    let failure: unknown;
    for (const { name, client } of this.#parts.peers()) {
      try {
        for await (const { bytes } of new RemoteBlobs(this.#env, client, name).get([hash], { signal: ended })) {
          await blobs.put(hash, bytes);
          await blobs.sync();
          return true;
        }
      } catch (error) {
        throwIfAborted(ended);
        failure = error;
        const fields = { blob: toHex(hash), member: name, error: asHoldfastError(error).message };
        this.#env.logger.log("warn", "a page could not be had from another member", fields);
      }
    }
    if (failure !== undefined) throw failure;
    return false;
  }

  /** From now on the chunks of new files and the pages of new snapshots come here. */
  follow(store: LocalStore): void {
    const { replica, views } = store;
    this.#store = store;
    const follower = new ChunkFollower(this.#env, {
      local: this.#parts.local,
      fetch: (hash: Hash, signal) => this.#cluster.fetch(hash, signal),
      contents: (signal) => this.#contents(store, signal),
    });
    this.#follower = follower;
    const note = ({ content }: FileChange) => {
      if (content !== undefined && content.hash.length > 0) follower.note({ hash: content.hash, depth: content.depth });
    };
    this.#unsubscribe = [
      replica.subscribe(views.file, (_, events) => {
        for (const event of events) note(event as FileChange);
      }),
      replica.onInstall(() => follower.scan()),
      replica.pins.onChange(() => this.#fetchPins(store)),
    ];
    this.#fetchPins(store);
  }

  /** Of all files of the running state, and of those of snapshots that it has not. */
  async *#contents(store: LocalStore, signal: AbortSignal): AsyncGenerator<readonly FollowedContent[]> {
    const { replica } = store;
    const { clock } = this.#env;
    const running = replica.snapshot();
    try {
      for await (const changes of fileChanges(undefined, running.tree, { clock, signal })) {
        yield changes.flatMap(({ after }) => (after === undefined ? [] : [after]));
      }
      for (const { revision } of await store.localSnapshots.snapshots({ consistency: "local", signal })) {
        const pinned = held(() => replica.pinAt(revision));
        if (pinned === undefined) continue;
        try {
          for await (const changes of fileChanges(running.tree, pinned.tree, { clock, signal })) {
            yield changes.flatMap(({ after }) => (after === undefined ? [] : [after]));
          }
        } finally {
          pinned.release();
        }
      }
    } finally {
      running.release();
    }
  }

  #fetchPins(store: LocalStore): void {
    if (this.#closing.signal.aborted || store.replica.pins.toFetch().length === 0) return;
    this.#fetching ??= this.#fetchAll(store).finally(() => {
      this.#fetching = undefined;
      // One may have come when it was nearly done.
      this.#fetchPins(store);
    });
  }

  /** One snapshot after another, again and again, until none is left. */
  async #fetchAll(store: LocalStore): Promise<void> {
    const { pins } = store.replica;
    const { signal } = this.#closing;
    let waitMs = retryMsMin;
    for (let failed = true; failed && !signal.aborted; waitMs = Math.min(2 * waitMs, retryMsMax)) {
      failed = false;
      for (const { revision, root, name } of pins.toFetch()) {
        try {
          await this.#fetchPin(store, revision, root);
        } catch (error) {
          if (signal.aborted) return;
          failed = true;
          const fields = { snapshot: name, error: asHoldfastError(error).message };
          this.#env.logger.log("warn", "the pages of a snapshot could not be fetched; it is tried again", fields);
        }
      }
      // Nothing is held meanwhile, so that garbage may be collected.
      if (failed) await sleep(this.#env.clock, waitMs, signal).catch(() => {});
    }
  }

  async #fetchPin(
    { replica, blobs }: LocalStore,
    revision: number,
    root: Parameters<typeof fetchTree>[2],
  ): Promise<void> {
    const { signal } = this.#closing;
    const release = await replica.holdBlobs();
    try {
      const sources = this.#parts.peers().map(({ name, client }) => new RemoteBlobs(this.#env, client, name));
      await fetchTree(this.#env, blobs, root, sources, { signal });
      replica.pins.fetched(revision);
      this.#follower?.scan();
    } finally {
      release();
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new HoldfastError("unavailable", "the member is stopping"));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#cluster.close();
    await this.#follower?.close();
    await this.#fetching;
  }
}

/** Undefined too while it is not here: it is looked at when it has come. */
function held<T>(hold: () => T): T | undefined {
  try {
    return hold();
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "unavailable") return undefined;
    throw error;
  }
}
