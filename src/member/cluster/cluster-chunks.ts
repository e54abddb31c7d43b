/**
 * The file chunks of a cluster, as one of its members offers them: every member is to have all of them. What is put here
 * goes to the others at once; what is missing or damaged here comes from them.
 *
 *  1. What was put, and then synced, is durable on a majority of the voters, as they are when the put ends. A put that
 *     could not get so far is `unavailable`: the caller puts it again.
 *  2. `touch` says of a blob that it is there only if a majority has said so, each at the caller's revision or later, and
 *     has made it durable: so none of them collects or forgets it before the upload ends.
 *  3. Who takes a put has reached the latest revision that a touch here has named: the upload that the blobs belong to.
 *  4. A member that is slow or away is waited for only as long as it is needed for the majority; what it was not given it
 *     fetches later (chunk-follower.ts). At most 32 MiB are under way to each.
 *  5. What came from another member was checked against its hash before it is kept or given.
 *  6. After `close` nothing is waited for: what is under way fails with `unavailable`.
 */
import { abortable, asHoldfastError, deferred, HoldfastError, Signal, sleep, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { ChunkStore, Hash, NamedBlob, StoredBlob } from "../../blob/index.ts";

/** Another member's chunks. */
export interface PeerChunks {
  /** The member's name, for messages. */
  readonly name: string;
  /** Changes when what was put before may not be covered by the next sync. */
  readonly generation: number;
  touch(hashes: readonly Hash[], atLeast: number, signal?: AbortSignal): Promise<readonly boolean[]>;
  putStored(blobs: readonly NamedBlob[], signal?: AbortSignal): Promise<void>;
  getStored(hash: Hash, signal?: AbortSignal): Promise<StoredBlob | undefined>;
  sync(signal?: AbortSignal): Promise<void>;
}

export interface ClusterChunksParts {
  readonly local: ChunkStore;
  /** The other voters, as they are known at the moment; the same object for the same member. */
  readonly peers: () => readonly PeerChunks[];
  /** Whether these, and this member if `here`, are a majority of the voters, as they are known at the moment. */
  readonly isMajority: (others: ReadonlySet<PeerChunks>, here: boolean) => boolean;
  /** Fails with `corrupt` unless the blob is what its name says. */
  readonly check: (named: NamedBlob) => Promise<void>;
}

type ClusterEnv = Pick<Env, "clock" | "logger">;

/** Bytes that are under way to one member. */
const outstandingSizeMax = 33_554_432;
/** A member that is asked for a blob and says nothing for so long is not waited for any more before the next is asked. */
const patienceMs = 1_000;

/** One other member, and what is under way to it. */
class Line {
  readonly peer: PeerChunks;
  /** When it failed last, by the count of failures; 0: it has answered since. */
  failure = 0;
  #outstandingSize = 0;
  readonly #room = new Signal();
  #syncing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(peer: PeerChunks) {
    this.peer = peer;
  }

  /** Resolves when the blobs are durable there. When `over` aborts it is no longer waited for that it begins. */
  async put(blobs: readonly NamedBlob[], over: AbortSignal, closing: AbortSignal): Promise<void> {
    const size = blobs.reduce((sum, { blob }) => sum + blob.bytes.length, 0);
    while (this.#outstandingSize > 0 && this.#outstandingSize + size > outstandingSizeMax) {
      await abortable(this.#room.wait(), over);
    }
    const { generation } = this.peer;
    this.#outstandingSize += size;
    try {
      await this.peer.putStored(blobs, closing);
    } finally {
      this.#outstandingSize -= size;
      this.#room.notify();
    }
    await this.#durable(generation, closing);
  }

  /** Which are there, and durable. */
  async touch(hashes: readonly Hash[], atLeast: number, signal: AbortSignal): Promise<readonly boolean[]> {
    const { generation } = this.peer;
    const there = await this.peer.touch(hashes, atLeast, signal);
    // Another upload may have put them a moment ago.
    if (there.includes(true)) await this.#durable(generation, signal);
    return there;
  }

  async #durable(generation: number, signal: AbortSignal): Promise<void> {
    await abortable(this.#sync(), signal);
    if (this.peer.generation === generation) return;
    throw new HoldfastError("unavailable", `${this.peer.name} was started again meanwhile; put the chunks again`);
  }

  /** Begins after the one under way, together with everybody who asks until then. */
  #sync(): Promise<void> {
    if (this.#syncing === undefined) return this.#begin();
    this.#next ??= this.#syncing.catch(() => {}).then(() => this.#begin());
    return this.#next;
  }

  #begin(): Promise<void> {
    this.#next = undefined;
    const syncing = this.peer.sync().finally(() => {
      if (this.#syncing === syncing) this.#syncing = undefined;
    });
    this.#syncing = syncing;
    return syncing;
  }
}

export class ClusterChunks {
  readonly #env: ClusterEnv;
  readonly #parts: ClusterChunksParts;
  readonly #lines = new WeakMap<PeerChunks, Line>();
  readonly #closing = new AbortController();
  /** Blobs that are being fetched, by name. */
  readonly #fetching = new Map<string, Promise<StoredBlob | undefined>>();
  #atLeast = 0;
  #failureCount = 0;

  constructor(env: ClusterEnv, parts: ClusterChunksParts) {
    this.#env = env;
    this.#parts = parts;
  }

  #present(): Line[] {
    return this.#parts.peers().map((peer) => {
      const known = this.#lines.get(peer);
      if (known !== undefined) return known;
      const line = new Line(peer);
      this.#lines.set(peer, line);
      // Invariant 3, for one that came later. It asks nobody, and cannot fail.
      void peer.touch([], this.#atLeast);
      return line;
    });
  }

  /** Of no blobs: only names the revision, for the puts that follow. */
  async touch(hashes: readonly Hash[], atLeast: number, signal?: AbortSignal): Promise<readonly boolean[]> {
    this.#atLeast = Math.max(this.#atLeast, atLeast);
    const lines = this.#present();
    if (hashes.length === 0) {
      for (const { peer } of lines) void peer.touch([], atLeast);
      return [];
    }
    const here = await this.#parts.local.touch(hashes);
    const answers = new Map<PeerChunks, readonly boolean[]>();
    await this.#enough("asked for their chunks", lines, signal, async (line, over) => {
      answers.set(line.peer, await line.touch(hashes, atLeast, over));
    });
    const answered = [...answers];
    return hashes.map((_, index) => {
      const having = answered.filter(([, there]) => there[index] === true).map(([peer]) => peer);
      return this.#parts.isMajority(new Set(having), here[index] === true);
    });
  }

  /** Resolves when they are here, and durable at so many others that with this one they are a majority. */
  async putStored(blobs: readonly NamedBlob[], signal?: AbortSignal): Promise<void> {
    const elsewhere = this.#enough("given chunks", this.#present(), signal, (line, over) =>
      line.put(blobs, over, this.#closing.signal),
    );
    await Promise.all([this.#parts.local.putStored(blobs), elsewhere]);
  }

  /** The others have synced what they were given, or have said to have. */
  sync(): Promise<void> {
    return this.#parts.local.sync();
  }

  /** As it is kept; if it is absent or damaged here, from another member, and then it is here again. */
  async getStored(hash: Hash, signal?: AbortSignal): Promise<StoredBlob | undefined> {
    let damage: HoldfastError | undefined;
    try {
      const found = await this.#parts.local.getStored(hash);
      if (found !== undefined) return found;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "corrupt") throw error;
      damage = error;
    }
    const blob = await this.#ask(hash, signal);
    if (blob === undefined) {
      if (damage !== undefined) throw damage;
      return undefined;
    }
    // Whoever reads gets it also when it cannot be kept.
    await this.#parts.local.putStored([{ hash, blob }]).catch((error: unknown) => {
      const fields = { blob: toHex(hash), error: String(error) };
      this.#env.logger.log("warn", "a chunk of another member could not be kept here", fields);
    });
    return blob;
  }

  /**
   * Gets a blob from another member and keeps it here; undefined when nobody has it. `unavailable` when nobody who answers
   * has it and not everybody does.
   */
  async fetch(hash: Hash, signal?: AbortSignal): Promise<StoredBlob | undefined> {
    const blob = await this.#ask(hash, signal);
    if (blob !== undefined) await this.#parts.local.putStored([{ hash, blob }]);
    return blob;
  }

  /** Whoever wants the same at the same time shares it. */
  #ask(hash: Hash, signal: AbortSignal | undefined): Promise<StoredBlob | undefined> {
    const name = toHex(hash);
    let asking = this.#fetching.get(name);
    if (asking === undefined) {
      asking = this.#askAll(hash).finally(() => this.#fetching.delete(name));
      this.#fetching.set(name, asking);
    }
    return abortable(asking, signal);
  }

  /** One after another, those that have failed lately last; one that says nothing does not hold up the next. */
  async #askAll(hash: Hash): Promise<StoredBlob | undefined> {
    const lines = this.#present().toSorted((a, b) => a.failure - b.failure);
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#closing.signal]);
    const found = deferred<StoredBlob>();
    let isFound = false;
    let failure: HoldfastError | undefined;
    const ask = async (line: Line) => {
      try {
        const blob = await line.peer.getStored(hash, signal);
        line.failure = 0;
        if (blob === undefined) return;
        await this.#parts.check({ hash, blob });
        isFound = true;
        found.resolve(blob);
      } catch (error) {
        if (signal.aborted) return;
        const { code, message } = asHoldfastError(error);
        if (code !== "corrupt") {
          failure = asHoldfastError(error);
          line.failure = ++this.#failureCount;
        }
        const fields = { blob: toHex(hash), member: line.peer.name, error: message };
        this.#env.logger.log("warn", "a chunk could not be had from another member", fields);
      }
    };
    try {
      const asked: Promise<void>[] = [];
      for (const line of lines) {
        const asking = ask(line);
        asked.push(asking);
        await Promise.race([asking, found.promise, sleep(this.#env.clock, patienceMs, signal).catch(() => {})]);
        if (isFound || signal.aborted) break;
      }
      const all = Promise.all(asked).then(() => undefined);
      const blob = await abortable(Promise.race([found.promise, all]), this.#closing.signal);
      if (blob !== undefined || isFound) return blob ?? (await found.promise);
    } finally {
      over.abort();
    }
    if (failure === undefined) return undefined;
    const what = `chunk ${toHex(hash)} is not here, and not every other member could be asked: ${failure.message}`;
    throw new HoldfastError("unavailable", what, { cause: failure });
  }

  /**
   * Resolves when those that have done it are, with this one, a majority; rejects with `unavailable` when they no longer
   * can be, or when `signal` aborts. Then `over` of the others aborts.
   */
  async #enough(
    what: string,
    lines: readonly Line[],
    signal: AbortSignal | undefined,
    work: (line: Line, over: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { isMajority } = this.#parts;
    const over = new AbortController();
    const signals = [over.signal, this.#closing.signal, ...(signal === undefined ? [] : [signal])];
    const ended = AbortSignal.any(signals);
    const enough = deferred<void>();
    enough.promise.catch(() => {});
    const done = new Set<PeerChunks>();
    const possible = new Set(lines.map(({ peer }) => peer));
    const fail = (error: unknown, peer?: PeerChunks) => {
      const message = `too few of the ${lines.length} other members could be ${what}, so that there is no majority`;
      const last = peer === undefined ? "" : `; the last, ${peer.name}: ${asHoldfastError(error).message}`;
      enough.reject(new HoldfastError("unavailable", message + last, { cause: error }));
    };
    const run = async (line: Line) => {
      const { peer } = line;
      try {
        await work(line, ended);
        line.failure = 0;
        done.add(peer);
        if (isMajority(done, true)) enough.resolve();
        else if (done.size === possible.size) fail(undefined);
      } catch (error) {
        possible.delete(peer);
        if (ended.aborted) return;
        line.failure = ++this.#failureCount;
        if (!isMajority(possible, true) || done.size === possible.size) fail(error, peer);
      }
    };
    if (isMajority(done, true)) enough.resolve();
    else if (lines.length === 0) fail(undefined);
    for (const line of lines) void run(line);
    try {
      await abortable(enough.promise, ended);
    } finally {
      over.abort();
    }
  }

  /** Ends what is under way. Idempotent. */
  close(): void {
    this.#closing.abort(new HoldfastError("unavailable", "the member is stopping"));
  }
}
