/**
 * Members of one store as clients meet them: a replica, a log of its own on the majority's, and a server each, on
 * simulated machines. And what goes wrong with them, by chance from the seed: cut off from the others or from clients,
 * frozen, behind, answers lost.
 */
import { sleep } from "../base/index.ts";
import type { Env, Position } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import type { LogBatch, LogEngine } from "../log/index.ts";
import { ClusterService, connectStore } from "../member/index.ts";
import type { MemberInfo, RemoteStore } from "../member/index.ts";
import { implement, RpcServer } from "../rpc/index.ts";
import { Simulator } from "../sim/index.ts";
import type { Prng } from "../sim/index.ts";
import { ClusterLog } from "./cluster-log.suite.ts";
import type { MemberLog } from "./cluster-log.suite.ts";
import {
  commandService,
  keyService,
  leaseService,
  LocalKeys,
  LocalLeases,
  makeViews,
  MemoryCheckpoints,
  Replica,
} from "./index.ts";

/** What a member's replica reads of the log comes later by what `lagMs` is at that moment. */
class LaggingLog implements LogEngine {
  lagMs = 0;
  readonly #log: MemberLog;
  readonly #env: Env;

  constructor(env: Env, log: MemberLog) {
    this.#env = env;
    this.#log = log;
  }

  async *read(from: Position, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<LogBatch> {
    for await (const batch of this.#log.read(from, options)) {
      if (this.lagMs > 0) await sleep(this.#env.clock, this.lagMs, options.signal).catch(() => {});
      yield batch;
    }
  }

  get capabilities(): LogEngine["capabilities"] {
    return this.#log.capabilities;
  }

  get isPrimary(): boolean {
    return this.#log.isPrimary;
  }

  append(records: readonly Uint8Array[]): ReturnType<LogEngine["append"]> {
    return this.#log.append(records);
  }

  tail(): Promise<Position> {
    return this.#log.tail();
  }

  /** What is known here is what was read here. */
  committed(): Position {
    return this.#log.start();
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    return this.#log.onPrimary(listener);
  }

  start(): Position {
    return this.#log.start();
  }

  trim(before: Position): Promise<Position> {
    return this.#log.trim(before);
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}

export class ServedMember {
  readonly name: string;
  readonly log: MemberLog;
  readonly replica: Replica;
  readonly server: RpcServer;
  readonly #simulator: Simulator;
  readonly #lagging: LaggingLog;
  #isCutOff = false;

  constructor(
    simulator: Simulator,
    name: string,
    parts: { log: MemberLog; lagging: LaggingLog; replica: Replica; server: RpcServer },
  ) {
    this.#simulator = simulator;
    this.name = name;
    this.log = parts.log;
    this.#lagging = parts.lagging;
    this.replica = parts.replica;
    this.server = parts.server;
  }

  get address(): string {
    return `${this.name}:7000`;
  }

  /** From the other members; clients still reach it. It gives up what is proposed within a tenth of a second. */
  cutOff(): void {
    this.#isCutOff = true;
    this.log.cutOff();
    const giveUp = () => {
      if (!this.#isCutOff) return;
      this.log.giveUp();
      this.#simulator.schedule(100, giveUp);
    };
    giveUp();
  }

  heal(): void {
    this.#isCutOff = false;
    this.log.heal();
  }

  /** For so long, commands get into the log, but their proposers are told that nobody knows. */
  loseAnswers(durationMs: number): void {
    this.log.holdAnswers();
    this.#simulator.schedule(durationMs, () => {
      this.log.giveUp();
      this.log.answer();
    });
  }

  set lagMs(lagMs: number) {
    this.#lagging.lagMs = lagMs;
  }

  freeze(durationMs: number): void {
    this.#simulator.machine(this.name).freeze(durationMs);
  }
}

interface ClientOptions extends NonNullable<Parameters<typeof connectStore>[2]> {
  readonly to?: readonly ServedMember[];
}

export interface Cluster {
  readonly simulator: Simulator;
  readonly dice: Prng;
  readonly members: readonly ServedMember[];
  /** What `members.list` answers; empty where nobody serves it. */
  listed: string[];
  /** A client on a machine of this name, that is told the addresses of `to`; by default of all. */
  connect(name: string, options?: ClientOptions): Promise<RemoteStore>;
  sleep(ms: number): Promise<void>;
}

/** `run` drives the simulation until its promise settles. */
export async function inCluster(seed: string, names: string, run: (cluster: Cluster) => Promise<void>): Promise<void> {
  const simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  const body = async () => {
    const log = new ClusterLog();
    const members: ServedMember[] = [];
    const cluster: Cluster = {
      simulator,
      dice: simulator.random,
      members,
      listed: [],
      connect: (name, { to = members, ...options } = {}) => {
        const addresses = to.map(({ address }) => address).join();
        return connectStore(simulator.machine(name).env, addresses, { timeoutMs: 120_000, ...options });
      },
      sleep: (ms) => new Promise((resolve) => simulator.schedule(ms, resolve)),
    };
    for (const name of names.split(" ")) members.push(await openMember(cluster, log, name));
    await run(cluster);
  };
  await simulator.run(body());
}

async function openMember(cluster: Cluster, log: ClusterLog, name: string): Promise<ServedMember> {
  const { simulator } = cluster;
  const { env } = simulator.machine(name);
  const own = log.member();
  const lagging = new LaggingLog(env, own);
  const views = makeViews();
  const parts = {
    log: lagging,
    blobs: new MemoryBlobStore(env),
    checkpoints: new MemoryCheckpoints(),
    views: views.all,
  };
  const replica = await Replica.open(env, { ...parts, seed: new Uint8Array(16) });
  const services = [
    commandService(replica, views.all),
    keyService(new LocalKeys(env.clock, replica)),
    leaseService(new LocalLeases(replica)),
  ];
  const clusterService = implement(ClusterService, {
    list: () => ({ cluster: "c1", members: cluster.listed.map(infoOf) }),
    add: refuse,
    remove: refuse,
    promote: refuse,
    transfer: refuse,
    hello: refuse,
    join: refuse,
  });
  const server = new RpcServer(env, [...services, clusterService]);
  await server.listen(`${name}:7000`);
  return new ServedMember(simulator, name, { log: own, lagging, replica, server });
}

const refuse = () => Promise.reject(new Error("not in this test"));

function infoOf(name: string): Partial<MemberInfo> {
  const [role = "", plain = ""] = name.includes(" ") ? name.split(" ") : ["voter", name];
  return { name: plain, address: `${plain}:7000`, role };
}

/** Lets things go wrong, one or two at a time, until it is told to stop; then all is well again. */
export function keepTroubling(cluster: Cluster, everyMs: number): () => void {
  const { simulator, dice, members } = cluster;
  let stopped = false;
  const trouble = (member: ServedMember, durationMs: number): (() => unknown) => {
    const { network } = simulator;
    switch (dice.below(6)) {
      case 0:
        member.cutOff();
        return () => member.heal();
      case 1:
        // It does not learn in time by itself what became of them.
        member.lagMs = durationMs;
        member.loseAnswers(durationMs / 2);
        return () => (member.lagMs = 0);
      case 2:
        member.lagMs = dice.below(300);
        return () => (member.lagMs = 0);
      case 3:
        network.cut(member.name);
        return () => {};
      case 4:
        member.freeze(durationMs);
        return () => {};
      default:
        network.isolate(member.name);
        return () => network.rejoin(member.name);
    }
  };
  const next = () => {
    simulator.schedule(dice.below(2 * everyMs) + 1, () => {
      if (stopped) return;
      const durationMs = 50 + dice.below(dice.chance(0.2) ? 8_000 : 800);
      const end = trouble(dice.pick(members), durationMs);
      simulator.schedule(durationMs, end);
      next();
    });
  };
  next();
  return () => {
    stopped = true;
  };
}
