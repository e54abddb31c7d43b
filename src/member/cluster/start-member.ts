/**
 * One running member: its store, and the server that serves it.
 *
 * In this order: the lock on the directory; who the member is (identity.ts); the server, all of whose services are shut
 * but for the questions of members that wait for each other; founding or joining, where the member has no cluster yet; the
 * log, whose service opens at once, since the others may need this member to lead; the store; then everything is open. A
 * store on its own is opened first, and listens then.
 *
 *  1. The identity is durable before anybody is told the id.
 *  2. The log is begun at the base that the identity says, and only once: a member whose log is gone does not start.
 *  3. A member that was removed notes it, stops, and does not start again.
 */
import { asHoldfastError, assert, deferred, equalBytes, HoldfastError } from "../../base/index.ts";
import type { DiskLock, Env, Listener, Timer } from "../../base/index.ts";
import { BlobService, ChunkService, PeerChunkService } from "../../blob/index.ts";
import { RaftEngine, RaftService } from "../../log/index.ts";
import type { Chain } from "../../log/index.ts";
import { hasMajority, isVoter, memberOf } from "../../raft/index.ts";
import type { RaftStatus } from "../../raft/index.ts";
import { RpcServer } from "../../rpc/index.ts";
import type { Contract, Service } from "../../rpc/index.ts";
import {
  CommandService,
  FileService,
  KeyService,
  LeaseService,
  SnapshotService,
  ViewService,
} from "../../view/index.ts";
import { checkStoreExists, LocalStore, openLocked, openStore } from "../local-store.ts";
import { peerChunkService, storeServices } from "../serve.ts";
import { StoreService } from "../service.ts";
import type { StoreStatus } from "../service.ts";
import { openBlobs, openCheckpoints, openFetching, raftDirectory, segmentSizes } from "../storage.ts";
import { CheckpointService } from "./catch-up.ts";
import { MemberChunks } from "./member-chunks.ts";
import type { ChunkPeer } from "./member-chunks.ts";
import { clusterService, singleService, waitingService } from "./cluster-handlers.ts";
import { ClusterMembers } from "./cluster-members.ts";
import { ClusterService } from "./cluster-service.ts";
import type { Hello, HelloRequest } from "./cluster-service.ts";
import { checkWhole, removeOldLog, settleStore } from "./data-directory.ts";
import { Founding, introductionOf } from "./founding.ts";
import { baseOf, Identity, IdentityFile, isFormed } from "./identity.ts";
import { intendedIdentity } from "./intention.ts";
import { joinCluster } from "./joining.ts";
import { LeftBehind } from "./left-behind.ts";
import { memberSuccessor, openMemberLog } from "./member-log.ts";
import { checkMemberOptions, listenDefault } from "./member-options.ts";
import type { MemberOptions } from "./member-options.ts";
import { OwnEntry } from "./own-entry.ts";
import { PeerClients } from "./peer-clients.ts";
import { wasRemoved } from "./refusals.ts";
import { ServiceGate } from "./service-gate.ts";

export interface Member {
  readonly store: LocalStore;
  /** Where it listens, with the real ports. */
  readonly addresses: readonly string[];
  /** Resolves, with the reason, when the member has stopped by itself: its disk failed, it was removed, there is a bug. */
  readonly failed: LocalStore["failed"];
  /** Consensus as this member sees it; undefined on a store of its own. */
  consensus(): RaftStatus | undefined;
  /** Hands the leadership over, lets calls under way end for `graceMs` (default 5,000), closes the server and the store. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/**
 * Opens the store of a directory, or makes one, and serves it. With `peers` or `join`, or where the directory has one
 * already, the store is a member of a cluster; else it is on its own. Resolves when its own state is open, which needs no
 * other member once the cluster is founded or joined.
 */
export async function startMember(env: Env, options: MemberOptions): Promise<Member> {
  checkMemberOptions(options);
  const member = new RunningMember(env, options);
  try {
    await member.start();
    return member;
  } catch (error) {
    await member.close({ graceMs: 0 });
    throw error;
  }
}

/** Open to the other members although the store is not. */
const memberContracts: readonly Contract[] = [RaftService, CheckpointService, PeerChunkService];
const clientContracts: readonly Contract[] = [
  CommandService,
  KeyService,
  LeaseService,
  FileService,
  SnapshotService,
  ViewService,
  StoreService,
  BlobService,
  ChunkService,
  ClusterService,
];
/** How long a leader that stops tries to hand over. */
const transferMs = 1_000;
const drainPollMs = 5;
const tidyMs = 30_000;
/** For the answer to whoever removed it. */
const removedGraceMs = 500;

class RunningMember implements Member {
  readonly #env: Env;
  readonly #options: MemberOptions;
  readonly #file: IdentityFile;
  readonly #clients: PeerClients;
  readonly #gates = new Map<string, ServiceGate>();
  readonly #server: RpcServer;
  readonly #stopping = new AbortController();
  readonly #failed = deferred<HoldfastError>();
  /** Resolves when the store is open: what catches up waits for it. */
  readonly #opened = deferred<LocalStore>();
  #listeners: readonly Listener[] = [];
  #lock: DiskLock | undefined;
  #identity: Identity | undefined;
  #engine: RaftEngine | undefined;
  #leftBehind: LeftBehind | undefined;
  #members: ClusterMembers | undefined;
  #ownEntry: OwnEntry | undefined;
  #chunks: MemberChunks | undefined;
  #store: LocalStore | undefined;
  #tidying: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(env: Env, options: MemberOptions) {
    this.#env = env;
    this.#options = options;
    this.#file = new IdentityFile(env);
    this.#clients = new PeerClients(env);
    const reason = new HoldfastError("unavailable", "this member is starting; ask again soon, or another one");
    for (const contract of [...memberContracts, ...clientContracts]) {
      this.#gates.set(contract.name, new ServiceGate(contract, reason));
    }
    this.#server = new RpcServer(env, [...this.#gates.values()], options.rpc);
    this.#opened.promise.catch(() => {});
  }

  get store(): LocalStore {
    assert(this.#store !== undefined, "a member that started has a store");
    return this.#store;
  }

  get addresses(): readonly string[] {
    return this.#listeners.map(({ address }) => address);
  }

  get failed(): Promise<HoldfastError> {
    return this.#failed.promise;
  }

  consensus(): RaftStatus | undefined {
    return this.#engine?.status();
  }

  async start(): Promise<void> {
    const { inMemory, mustExist } = this.#options;
    if (inMemory === true) {
      await this.#serveAlone(openStore(this.#env, this.#options));
    } else {
      if (mustExist === true) await checkStoreExists(this.#env);
      const lock = await this.#env.disk.lock();
      this.#lock = lock;
      const identity = await intendedIdentity(this.#env, this.#file, this.#options);
      if (identity === undefined) {
        await this.#serveAlone(openLocked(this.#env, this.#options, lock));
      } else {
        await this.#listen(identity.listen);
        await this.#startInCluster(this.#reachable(identity), identity);
      }
    }
    this.#opened.resolve(this.store);
    void this.store.failed.then((error) => this.#failed.resolve(error));
  }

  async #serveAlone(opening: Promise<LocalStore>): Promise<void> {
    const store = await opening;
    this.#store = store;
    // It is the store's from now on.
    this.#lock = undefined;
    this.#openGate(singleService(store.members, store.name));
    for (const service of storeServices(this.#env, store)) this.#openGate(service);
    await this.#listen([]);
  }

  async #listen(last: readonly string[]): Promise<void> {
    const { listen } = this.#options;
    const wanted = listen.length > 0 ? listen : last.length > 0 ? last : [listenDefault];
    for (const address of wanted) this.#listeners = [...this.#listeners, await this.#server.listen(address)];
  }

  /** The identity with where the member listens and is reached now. */
  #reachable(identity: Identity): Identity {
    const { advertise, peers, zone } = this.#options;
    const listen = this.addresses;
    const [first = ""] = listen;
    const fromPeers = isFormed(identity) ? undefined : peers?.[identity.name];
    const before = identity.address !== "" && listen.join() === identity.listen.join() ? identity.address : undefined;
    const address = advertise ?? fromPeers ?? before ?? first;
    return { ...identity, listen: [...listen], address, zone: zone ?? identity.zone };
  }

  async #startInCluster(identity: Identity, saved: Identity): Promise<void> {
    this.#identity = identity;
    if (!equalBytes(Identity.encode(identity), Identity.encode(saved))) await this.#save(identity);
    const formed = isFormed(identity) ? identity : await this.#form(identity);
    await checkWhole(this.#env, formed);
    const engine = await this.#openEngine(formed);
    if (!formed.begun) await this.#save({ ...formed, begun: true });
    await removeOldLog(this.#env);
    this.#openGate(engine.service, true);
    await this.#openStore(engine, formed);
  }

  async #save(identity: Identity): Promise<void> {
    await this.#file.save(identity);
    this.#identity = identity;
  }

  /** Waits until the member has a cluster. */
  async #form(identity: Identity): Promise<Identity> {
    const { peers, join = [], replace = "", signal, onWaiting } = this.#options;
    const settled = identity.data ? await settleStore(this.#env, this.#options, this.#heldLock()) : undefined;
    const waiting = settled === undefined ? identity : { ...identity, position: settled.position };
    const parts = {
      clients: this.#clients,
      signal,
      onWaiting: (names: readonly string[], reason: string) => {
        this.#env.logger.log("info", `member ${identity.name} waits for ${names.join(", ")}`, { reason });
        onWaiting?.(names, reason);
      },
    };
    if (identity.peers.length === 0) {
      this.#openGate(waitingService(() => Promise.resolve({ self: introductionOf(waiting) })));
      const formed = await joinCluster(this.#env, { ...parts, identity: waiting, join, replaces: replace });
      await this.#save(formed);
      return formed;
    }
    const founding = new Founding(this.#env, {
      ...parts,
      identity: waiting,
      peers: peers ?? {},
      seed: settled?.seed,
      save: (formed) => this.#save(formed),
    });
    this.#openGate(
      waitingService(async (request) => {
        const { self, identity: present } = await founding.hello(request);
        return isFormed(present) ? this.#helloOf(present) : { self };
      }),
    );
    return founding.run();
  }

  #heldLock(): DiskLock {
    assert(this.#lock !== undefined, "a member on a disk holds its lock");
    return this.#lock;
  }

  #helloOf(identity: Identity): Partial<Hello> {
    const { cluster, seed, founding } = identity;
    const present = this.#engine?.configuration() ?? founding;
    return { self: introductionOf(identity), cluster, seed, founding, present };
  }

  async #openEngine(identity: Identity): Promise<RaftEngine> {
    const { timing = {} } = this.#options;
    const { cluster, id: self } = identity;
    const engine = await RaftEngine.open(this.#env, {
      ...segmentSizes(this.#options),
      ...timing,
      directory: raftDirectory,
      cluster,
      self,
      base: baseOf(identity),
      catchUp: async (to, signal) => {
        await this.#opened.promise;
        await this.#leftBehind?.catchUp(to, signal);
      },
    });
    this.#engine = engine;
    engine.onChange(() => this.#tidyLater());
    this.#tidyLater();
    // Not in the middle of the start.
    const started = engine.removed.then(() => this.#opened.promise);
    started.then(
      () => this.#removed(),
      () => {},
    );
    return engine;
  }

  async #openStore(engine: RaftEngine, identity: Identity): Promise<void> {
    const env = this.#env;
    const members = new ClusterMembers(env, engine, this.#clients, identity);
    this.#members = members;
    const stores = await openBlobs(env, this.#options);
    const [checkpoints, fetching] = [openCheckpoints(env), openFetching(env)];
    const log = await openMemberLog(env, this.#options, engine);
    const storage = { log, under: engine, files: engine, ...stores, checkpoints, fetching, lock: this.#lock };
    const { seed } = identity;
    const chunks = new MemberChunks(env, {
      local: stores.chunks,
      peers: () => this.#peers(true),
      isMajority: (others, here) =>
        hasMajority(engine.configuration(), (id) => (id === identity.id ? here : others.has(id))),
    });
    this.#chunks = chunks;
    const status = () => clusterStatus(engine, members);
    const successorOf = (from: Chain, address: string) => memberSuccessor(env, this.#options, from, address);
    const parts = { members, seed, status, successorOf, chunks: chunks.all, repair: chunks.repair };
    this.#store = await LocalStore.open(env, storage, { ...this.#options, name: identity.name }, parts);
    this.#lock = undefined;
    chunks.follow(this.#store);
    this.#openGate(peerChunkService(env, this.#store));
    for (const service of storeServices(env, this.#store)) this.#openGate(service);
    this.#openGate(clusterService(members, (request, signal) => this.#hello(request, signal)));
    this.#leftBehind = new LeftBehind(env, { log, raft: engine, store: this.#store, peers: () => this.#peers() });
    this.#openGate(this.#leftBehind.service, true);
    const onRemoved = () => this.#removed();
    this.#ownEntry = new OwnEntry(env, { engine, members, clients: this.#clients, identity, onRemoved });
  }

  async #hello({ caller }: HelloRequest, signal: AbortSignal): Promise<Partial<Hello>> {
    const removed = caller !== undefined && (await this.#members?.knowsRemoved(caller.id, signal)) === true;
    return { ...this.#helloOf(this.#identity as Identity), removed };
  }

  /** The other members, as far as this one knows. */
  #peers(votersOnly = false): ChunkPeer[] {
    const { id } = this.#identity ?? {};
    const members = this.#engine?.configuration().members ?? [];
    return members
      .filter((member) => member.id !== id && member.address !== "" && (!votersOnly || isVoter(member)))
      .map(({ id: other, name, address }) => ({ id: other, name, client: this.#clients.at(address) }));
  }

  /** Lets go of members that have been gone for longer than any call to one lasts. */
  #tidyLater(): void {
    this.#tidying?.cancel();
    if (this.#closing !== undefined) return;
    this.#tidying = this.#env.clock.schedule(tidyMs, () => {
      const members = this.#engine?.configuration().members ?? [];
      void this.#clients.keep(new Set(members.map(({ address }) => address)));
    });
  }

  /** The cluster goes on without this member, which is over. */
  #removed(): void {
    if (this.#stopping.signal.aborted || this.#identity === undefined || this.#identity.removed) return;
    const { name } = this.#identity;
    const noted = this.#save({ ...this.#identity, removed: true });
    const stop = async () => {
      await noted.catch((error: unknown) => {
        this.#env.logger.log("error", "it could not be noted that the member was removed", { error: String(error) });
      });
      this.#failed.resolve(wasRemoved(name));
      await this.close({ graceMs: removedGraceMs });
    };
    stop().catch((error: unknown) => this.#failed.resolve(asHoldfastError(error)));
  }

  #openGate(service: Service, lasting = false): void {
    const gate = this.#gates.get(service.name);
    assert(gate !== undefined, `the server announces ${service.name}`);
    gate.open(service, { lasting });
  }

  close({ graceMs = 5_000 }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const reason = new HoldfastError("unavailable", "this member is stopping; call another one");
    this.#opened.reject(reason);
    try {
      if (graceMs > 0) await this.#handOver();
      this.#stopping.abort(reason);
      for (const contract of clientContracts) this.#gates.get(contract.name)?.shut(reason);
      // A watch has no end of its own: its client goes on at another member, or at this one when it is back.
      this.#store?.localKeys.close();
      await this.#drain(graceMs);
      await this.#chunks?.close();
      // What was proposed here needs the other members, who must reach this one until it is answered.
      await this.#store?.settle();
      for (const gate of this.#gates.values()) gate.end(reason);
      await this.#server.close({ graceMs: 0 });
      this.#tidying?.cancel();
      await this.#ownEntry?.close();
      await this.#leftBehind?.close();
      await this.#clients.close();
    } finally {
      await this.#closeStorage();
    }
  }

  async #closeStorage(): Promise<void> {
    try {
      if (this.#store === undefined) await this.#engine?.close();
      else await this.#store.close();
    } finally {
      await this.#lock?.release();
    }
  }

  /** Waits until the calls of clients have ended. */
  async #drain(graceMs: number): Promise<void> {
    const { clock } = this.#env;
    const endMs = clock.monotonicMs() + graceMs;
    const lasting = () =>
      memberContracts.reduce((sum, { name }) => sum + (this.#gates.get(name)?.lastingCount ?? 0), 0);
    while (this.#server.callCount > lasting() && clock.monotonicMs() < endMs) {
      await new Promise<void>((resolve) => clock.schedule(drainPollMs, resolve));
    }
  }

  /** So that the others need not wait until they miss this leader. */
  async #handOver(): Promise<void> {
    const engine = this.#engine;
    if (engine === undefined || this.#store === undefined || engine.status().role !== "leader") return;
    if (engine.configuration().members.filter(isVoter).length < 2) return;
    const limit = new AbortController();
    const timer = this.#env.clock.schedule(transferMs, () => limit.abort());
    try {
      await engine.transfer(0, limit.signal);
    } catch (error) {
      // When all stop together there is nobody to hand it to.
      this.#env.logger.log("debug", "the leadership was not handed over", { error: String(error) });
    } finally {
      timer.cancel();
    }
  }
}

function clusterStatus(engine: RaftEngine, members: ClusterMembers): Partial<StoreStatus> {
  const { self, role, term, leader, configuration } = engine.status();
  const own = memberOf(configuration, self);
  const votes = own !== undefined && isVoter(own);
  const candidate = role === "candidate" || role === "preCandidate";
  return {
    cluster: members.cluster,
    role: role === "leader" ? role : !votes ? "learner" : candidate ? "candidate" : "follower",
    term,
    leader: memberOf(configuration, leader)?.name ?? "",
    memberCount: configuration.members.length,
  };
}
