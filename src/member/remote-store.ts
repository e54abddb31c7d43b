/** A store that a member elsewhere has open: every layer's remote half over one client. */
import { asHoldfastError, deferred, HoldfastError, sleep } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { PlainPipeline, RemoteChunks } from "../blob/index.ts";
import type { ChunkPipeline } from "../blob/index.ts";
import { FileAccess } from "../file/index.ts";
import type { Buckets, BucketSecret, Files } from "../file/index.ts";
import { RpcClient } from "../rpc/index.ts";
import type { Stub } from "../rpc/index.ts";
import {
  checkedRevision,
  Keys,
  Leases,
  makeViews,
  PastKeys,
  pastTransaction,
  pastViews,
  RemoteCalls,
  RemoteFiles,
  RemoteKeys,
  RemoteLeases,
  RemoteProposer,
  RemoteSnapshots,
  RemoteViews,
  runTransaction,
  StoreObjects,
} from "../view/index.ts";
import type {
  CollectionOptions,
  ScrubOptions,
  Snapshot,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
  Views,
} from "../view/index.ts";
import type { Members } from "./cluster/members.ts";
import { RemoteMembers, shuffled } from "./remote-members.ts";
import { checkedFrom, StoreService } from "./service.ts";
import type { Collecting, LogRecords, Scrubbing, StoreStatus, VerifyProgress } from "./service.ts";
import { StorePin } from "./store-pin.ts";
import { StoreSnapshots } from "./store-snapshots.ts";
import type { PastStore, Store } from "./store.ts";

export interface ConnectOptions {
  /** How long one call may take, retries included; milliseconds. Streams have no limit. Default 10,000. */
  readonly timeoutMs?: number;
  /** While every address refuses connections, go on trying until `timeoutMs`, instead of failing at once. */
  readonly waitForMember?: boolean;
  /**
   * Learn the addresses of all members of the cluster from whoever is connected, and go to those too. Default true; false
   * talks to the members at the given addresses alone: to one of them, to ask about itself.
   */
  readonly followMembers?: boolean;
  /** What cuts, hashes and compresses files. Default: done in place. Closed with the store. */
  readonly pipeline?: ChunkPipeline;
}

const timeoutDefaultMs = 10_000;

/** Silence after which the addresses are asked one by one whether anybody listens there. */
const silenceMs = 200;

/**
 * Connects to the members at these addresses, separated by commas: to the one that answers first. Any one that is open
 * will do, cut off from the others or not. The store that is found stays the client's: members that come back with
 * another one are not used. `unavailable`, within a second, when every address refuses the connection;
 * `timeout` when none answers in time.
 */
export async function connectStore(env: Env, addresses: string, options: ConnectOptions = {}): Promise<RemoteStore> {
  if (typeof addresses !== "string") {
    throw new HoldfastError("invalid", "the addresses are text: host:port, several separated by commas");
  }
  const { timeoutMs } = options;
  if (timeoutMs !== undefined && !(timeoutMs > 0)) {
    throw new HoldfastError("invalid", `timeoutMs is ${timeoutMs}; it must be above 0`);
  }
  const list = addresses
    .split(",")
    .map((address) => address.trim())
    .filter((address) => address !== "");
  if (list.length === 0) {
    throw new HoldfastError("invalid", `"${addresses}" names no address; write host:port, several separated by commas`);
  }
  const store = new RemoteStore(env, list, options);
  const ending = new AbortController();
  const answered = store.keys.revision({ consistency: "local", signal: ending.signal });
  const refused = options.waitForMember === true ? undefined : whenRefused(env, list, ending.signal);
  try {
    await (refused === undefined ? answered : Promise.race([answered, refused]));
    return store;
  } catch (error) {
    answered.catch(() => {});
    ending.abort();
    await store.close();
    if (!(error instanceof HoldfastError) || error.code !== "timeout") throw error;
    const within = `within ${(options.timeoutMs ?? timeoutDefaultMs) / 1_000} s`;
    throw new HoldfastError("timeout", `no member answered at ${list.join(", ")} ${within}`, { cause: error });
  } finally {
    // Whatever the watch over the addresses still does, nobody waits for it any longer.
    ending.abort();
  }
}

/**
 * Never resolves; rejects when, after a moment of silence, nobody listens at any of the addresses. A client by itself
 * would go on trying until its deadline, which serves a member that restarts but not a person who forgot to start one.
 */
async function whenRefused(env: Env, addresses: readonly string[], signal: AbortSignal): Promise<never> {
  const forever = deferred<never>().promise;
  try {
    await sleep(env.clock, silenceMs, signal);
  } catch {
    return forever;
  }
  const reasons: string[] = [];
  for (const address of addresses) {
    try {
      const stream = await env.net.connect(address, { signal });
      stream.destroy();
      return await forever;
    } catch (error) {
      const { code, message } = asHoldfastError(error);
      if (code !== "unavailable" || signal.aborted) return forever;
      reasons.push(message);
    }
  }
  const remedy = "is a member running there? `holdfast start` runs one";
  throw new HoldfastError("unavailable", `${reasons.join("; ")}; ${remedy}`);
}

export class RemoteStore extends StoreObjects implements Store {
  readonly keys: Keys;
  readonly leases: Leases;
  readonly members: Members;
  /** A client does not fail by itself: each call says what went wrong. */
  readonly failed: Promise<HoldfastError> = deferred<HoldfastError>().promise;
  readonly #env: Env;
  readonly #client: RpcClient;
  readonly #pin: StorePin;
  readonly #members: RemoteMembers;
  readonly #proposer: RemoteProposer;
  readonly #remoteKeys: RemoteKeys;
  readonly buckets: Buckets;
  readonly snapshots: StoreSnapshots;
  readonly #remoteFiles: RemoteFiles;
  readonly #files: FileAccess;
  readonly #pipeline: ChunkPipeline;
  readonly #remoteViews: RemoteViews;
  readonly #views: Views;
  readonly #service: Stub<(typeof StoreService)["methods"]>;
  #closing: Promise<void> | undefined;

  constructor(env: Env, addresses: readonly string[], options: ConnectOptions) {
    const { timeoutMs = timeoutDefaultMs, followMembers = true } = options;
    const pin = new StorePin(env, addresses);
    const client = new RpcClient(env, shuffled(env.random, addresses), {
      callTimeoutMs: timeoutMs,
      check: (server) => pin.check(server),
    });
    const proposer = new RemoteProposer(env, client, { timeoutMs });
    const source = new RemoteViews(env, client, proposer, { timeoutMs });
    const views = makeViews();
    const remoteLeases = new RemoteLeases(env, client, proposer, { timeoutMs });
    const leases = new Leases(env, remoteLeases, views.lease);
    const transaction: RemoteStore["transaction"] = (body, how) => this.transaction(body, how);
    super({ env, source, views, leases, transaction });
    this.leases = leases;
    this.#env = env;
    this.#pin = pin;
    this.#client = client;
    this.#proposer = proposer;
    this.#remoteViews = source;
    this.#views = views;
    const calls = new RemoteCalls(env, this.#client, { timeoutMs });
    this.#members = new RemoteMembers(env, this.#client, calls, followMembers);
    this.members = this.#members;
    this.#service = this.#client.use(StoreService);
    this.#remoteKeys = new RemoteKeys(env, this.#client, this.#proposer, { timeoutMs });
    this.keys = new Keys(this.#remoteKeys, this.#views.key);
    const { key: keyView, lease: leaseView, file: fileView, snapshot } = this.#views;
    const files = new RemoteFiles(env, this.#client, this.#proposer, { timeoutMs });
    this.#remoteFiles = files;
    this.#pipeline = options.pipeline ?? new PlainPipeline(env);
    const chunks = new RemoteChunks(env, this.#client, "the member");
    const parts = {
      env,
      source: files,
      view: fileView,
      leases: remoteLeases,
      leaseView,
      chunks,
      pipeline: this.#pipeline,
    };
    this.#files = new FileAccess(parts);
    this.buckets = this.#files.buckets;
    const snapshots = new RemoteSnapshots(env, this.#client, this.#proposer, { timeoutMs });
    this.snapshots = new StoreSnapshots({ snapshots, files, keyView, fileView }, snapshot);
  }

  files(bucket: string, secret?: BucketSecret): Files {
    return this.#files.files(bucket, secret);
  }

  snapshot(name: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<Snapshot> {
    return this.snapshots.create(name, options);
  }

  collect({ dryRun = false, signal }: CollectionOptions = {}): AsyncIterable<Collecting> {
    return this.#service.collect({ dryRun }, signal === undefined ? {} : { signal });
  }

  scrub({ rate = 0, signal }: ScrubOptions = {}): AsyncIterable<Scrubbing> {
    const bound = Number.isFinite(rate) ? Math.ceil(rate) : 0;
    return this.#service.scrub({ rate: bound }, signal === undefined ? {} : { signal });
  }

  at(revision: number): PastStore {
    const source = pastViews(this.#remoteViews, checkedRevision("the revision", revision));
    const transaction: RemoteStore["transaction"] = () => Promise.reject(pastTransaction(revision));
    const parts = { env: this.#env, source, views: this.#views, leases: this.leases, transaction };
    return Object.assign(new StoreObjects(parts), {
      keys: new PastKeys(this.#remoteKeys, revision),
      files: (bucket: string, secret?: BucketSecret) => this.#files.past(bucket, revision, secret),
    });
  }

  transaction<T>(
    body: (tx: TransactionContext) => T | Promise<T>,
    options?: TransactionOptions,
  ): Promise<TransactionOutcome<T>> {
    const parts = {
      proposer: this.#proposer,
      keys: this.#remoteKeys,
      files: this.#remoteFiles,
      source: this.#remoteViews,
      views: this.#views,
    };
    return runTransaction(this.#env, parts, body, options);
  }

  status(): Promise<StoreStatus> {
    return this.#service.status({});
  }

  checkpoint(): Promise<StoreStatus> {
    return this.#service.checkpoint({}, { timeoutMs: Number.POSITIVE_INFINITY });
  }

  async moveLog(to: string): Promise<{ readonly position: number; readonly pauseMs: number }> {
    const { position, pauseUs } = await this.#service.logMove({ to }, { timeoutMs: Number.POSITIVE_INFINITY });
    return { position, pauseMs: pauseUs / 1_000 };
  }

  async *readLog(options: {
    readonly from: number;
    readonly follow?: boolean;
    readonly signal?: AbortSignal;
  }): AsyncGenerator<LogRecords, void, undefined> {
    const { follow = false, signal } = options;
    const from = checkedFrom(options.from);
    yield* this.#service.logRead({ from, follow }, signal === undefined ? {} : { signal });
  }

  verifyLog(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<VerifyProgress> {
    return this.#service.logVerify({}, options);
  }

  verifyBlobs(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<VerifyProgress> {
    return this.#service.blobVerify({}, options);
  }

  verifyTree(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<VerifyProgress> {
    return this.#service.treeVerify({}, options);
  }

  close(): Promise<void> {
    this.#members.close();
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#files.close();
    await this.#pipeline.close();
    await this.#proposer.close();
    await this.#pin.close();
    await this.#client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
