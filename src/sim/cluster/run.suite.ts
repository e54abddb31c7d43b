/**
 * One simulated cluster from beginning to end: founded, put under load, hurt by the faults of a schedule, healed, and
 * audited. Everything follows from the options; the same options give the same run.
 */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Digest } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { connectStore, startMember } from "../../member/index.ts";
import type { OpenOptions, RemoteStore } from "../../member/index.ts";
import type { Machine } from "../machine.ts";
import { Prng } from "../prng.ts";
import { Simulator } from "../simulator.ts";
import { auditDisks, auditFiles, auditGarbage, auditMembers, auditNotes } from "./audit.suite.ts";
import type { Resting } from "./audit.suite.ts";
import { Cluster } from "./cluster.ts";
import type { Launch, Seat } from "./cluster.ts";
import { makeSchedule } from "./faults.ts";
import type { FaultKind, FaultOptions, ScheduledFault } from "./faults.ts";
import { Injector } from "./injector.ts";
import { Inspector } from "./inspector.ts";
import { Notes } from "./notes.ts";
import { Client, Insider } from "./workload.ts";
import type { WorkloadOptions } from "./workload.ts";

export interface ClusterRunOptions {
  readonly seed: string | number;
  /** Default `startMember`. */
  readonly launch?: Launch;
  readonly memberCount: number;
  readonly clientCount?: number;
  /** How long faults and load go on, in simulated time. */
  readonly durationMs: number;
  /** Instead of the schedule that follows from the seed. */
  readonly schedule?: readonly ScheduledFault[];
  readonly faults?: Partial<FaultOptions>;
  readonly workload?: WorkloadOptions;
  /** Of the members, instead of what follows from the seed. */
  readonly member?: OpenOptions;
  readonly wholeTrace?: boolean;
  /** Looked at when the load has ended, before the audit. */
  readonly settled?: (cluster: Cluster) => void;
}

export interface ClusterReport {
  readonly seed: string;
  readonly schedule: readonly ScheduledFault[];
  readonly simulatedMs: number;
  readonly eventCount: number;
  readonly fingerprint: string;
  readonly revision: number;
  readonly position: number;
  readonly calls: Readonly<Record<string, number>>;
  readonly watchedEventCount: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
}

/** A run that failed, with what is needed to repeat it. */
export class ClusterRunError extends Error {
  override readonly name = "ClusterRunError";
  readonly schedule: readonly ScheduledFault[];
  /** The latest events of the simulation. */
  readonly trace: string;

  constructor(message: string, schedule: readonly ScheduledFault[], trace: string, cause: unknown) {
    super(message, { cause });
    this.schedule = schedule;
    this.trace = trace;
  }
}

/** After everything is healed: for the longest pauses to end, and for elections and catch-up. */
const recoveryMs = 120_000;
/** How long calls and watches may take to end when nothing is wrong any more. */
const endingMs = 60_000;

export function scheduleOf({
  seed,
  memberCount,
  durationMs,
  schedule,
  faults,
}: ClusterRunOptions): readonly ScheduledFault[] {
  const random = new Prng(`faults ${seed}`);
  return schedule ?? makeSchedule(random, { seatCount: memberCount, fromMs: 1_500, durationMs, ...faults });
}

export async function runCluster(options: ClusterRunOptions): Promise<ClusterReport> {
  const { seed, wholeTrace = false } = options;
  const schedule = scheduleOf(options);
  const network = { splitChance: 0.05 };
  const simulator = new Simulator({ seed, drain: nextTurn, digest: quickDigest(), wholeTrace, network });
  const run = new Run(simulator, options, schedule);
  try {
    return await run.run();
  } catch (error) {
    const [message] = (error as Error).message.split("\nlatest events:");
    const at = simulator.nowMs;
    const trace = wholeTrace ? simulator.trace.text() : simulator.trace.tail();
    const state = await run.describe();
    const what = `seed ${seed}, ${options.memberCount} members, at ${at.toFixed(0)} ms, ${run.phase}: ${message}\n${state}`;
    throw new ClusterRunError(what, schedule, trace, error);
  }
}

class Run {
  readonly #simulator: Simulator;
  readonly #options: ClusterRunOptions;
  readonly #schedule: readonly ScheduledFault[];
  readonly #notes: Notes;
  readonly #cluster: Cluster;
  readonly #inspector: Inspector;
  readonly #clients: Client[] = [];
  readonly #operator: Machine;
  /** What is going on, for the account of a failure. */
  phase = "founding";

  constructor(simulator: Simulator, options: ClusterRunOptions, schedule: readonly ScheduledFault[]) {
    this.#simulator = simulator;
    this.#options = options;
    this.#schedule = schedule;
    this.#notes = new Notes(() => simulator.nowMs);
    const random = new Prng(`member ${options.seed}`);
    const member = { ...memberOptions(random), ...options.member };
    this.#cluster = new Cluster(simulator, {
      memberCount: options.memberCount,
      launch: options.launch ?? startMember,
      member: () => member,
      started: (seat, started) => this.#inspector.watch(seat, started),
    });
    this.#inspector = new Inspector(this.#cluster);
    this.#operator = simulator.machine("operator");
  }

  async run(): Promise<ClusterReport> {
    const { durationMs } = this.#options;
    this.#cluster.found();
    const random = new Prng(`run ${this.#options.seed}`);
    let operator: RemoteStore | undefined;
    const injector = new Injector(this.#cluster, () => (this.#options.memberCount > 1 ? operator?.members : undefined));
    // Sometimes trouble begins before there is a cluster.
    const early = random.chance(0.3);
    if (early) injector.begin(this.#schedule);
    operator = await this.#goal(this.#connect(), durationMs + recoveryMs);
    const calls = this.#startClients();
    const insider = new Insider(this.#cluster, this.#operator.env, random.fork("insider"), this.#notes);
    calls.push(insider.run(this.#options.workload?.thinkMs ?? 100));
    if (!early) injector.begin(this.#schedule);
    this.phase = "under load";
    await this.#goal(sleep(this.#operator.env.clock, durationMs), durationMs + 1_000);
    this.phase = "recovering";
    injector.heal();
    await this.#goal(this.#recovered(operator, injector), recoveryMs);
    this.phase = "ending the calls";
    for (const client of [...this.#clients, insider]) client.stop();
    await this.#goal(Promise.all(calls), endingMs);
    this.phase = "ending the leases";
    await this.#goal(this.#leasesEnded(operator), endingMs);
    this.phase = "coming to rest";
    const resting = await this.#goal(this.#atRest(operator), endingMs);
    this.#options.settled?.(this.#cluster);
    this.phase = "auditing the members";
    const end = await this.#goal(auditMembers(resting, this.#inspector), endingMs);
    this.phase = "auditing the files";
    await this.#goal(auditFiles(resting, this.#inspector, end), endingMs);
    this.phase = "completing the watches";
    await this.#goal(this.#watchesComplete(end.revision), endingMs);
    await this.#goal(Promise.all(this.#clients.map((client) => client.close())), endingMs);
    this.phase = "auditing what was told";
    auditNotes(this.#notes, this.#inspector, end, injector.counts.has("rot"));
    await this.#goal(auditDisks(resting), endingMs);
    this.phase = "collecting garbage";
    const { clock } = this.#operator.env;
    await this.#goal(
      auditGarbage(resting, (ms) => sleep(clock, ms)),
      recoveryMs + endingMs,
    );
    return {
      seed: String(this.#options.seed),
      schedule: this.#schedule,
      simulatedMs: this.#simulator.nowMs,
      eventCount: this.#simulator.eventCount,
      fingerprint: this.#simulator.trace.fingerprint,
      revision: end.revision,
      position: end.position,
      calls: this.#notes.history.counts,
      watchedEventCount: this.#notes.watches.reduce((sum, { checker }) => sum + checker.eventCount, 0),
      faults: injector.counts,
    };
  }

  /** How the cluster looks from inside, a line a member. */
  async describe(): Promise<string> {
    const lines = this.#cluster.seats.map(async (seat) => {
      const { name, state, joining, damaged, leaving, failureCount, lastError, member } = seat;
      const marks = Object.entries({ joining, damaged, leaving }).filter(([, set]) => set);
      const parts = [`${name}: ${state}`, ...marks.map(([mark]) => mark)];
      if (failureCount > 0)
        parts.push(`failed ${failureCount} times, the last time: ${lastError?.code} ${lastError?.message}`);
      if (member === undefined) return parts.join(", ");
      const { replica, members } = member.store;
      parts.push(`revision ${replica.revision}`, `applied up to ${replica.applied}`);
      const { members: list, term, leader } = await members.list();
      const roles = list.map(
        (one) => `${one.name} ${one.id} ${one.role}${one.replaces === "" ? "" : ` for ${one.replaces}`}`,
      );
      return `${parts.join(", ")}\n    term ${term}, leader ${leader}, members ${roles.join("; ")}`;
    });
    try {
      return (await this.#simulator.run(Promise.all(lines), { limitMs: 5_000 })).join("\n");
    } catch (error) {
      return `(the members say nothing: ${(error as Error).message.split("\n", 1).join("")})`;
    }
  }

  /** Lets time pass until it is reached; what must not happen meanwhile ends the run. */
  #goal<T>(goal: Promise<T>, limitMs: number): Promise<T> {
    const failed = this.#cluster.failure.then((error) => {
      throw error;
    });
    return this.#simulator.run(Promise.race([goal, failed]), { limitMs });
  }

  async #connect(): Promise<RemoteStore> {
    for (;;) {
      try {
        return await connectStore(this.#operator.env, this.#cluster.addresses().join(), {
          waitForMember: true,
          timeoutMs: 5_000,
        });
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        await sleep(this.#operator.env.clock, 100);
      }
    }
  }

  #startClients(): Promise<void>[] {
    const { clientCount = 3, seed, workload = {} } = this.#options;
    const calls: Promise<void>[] = [];
    for (let number = 1; number <= clientCount; number++) {
      const name = `c${number}`;
      const { env } = this.#simulator.machine(name);
      const random = new Prng(`workload ${seed} ${name}`);
      const client = new Client(name, env, this.#cluster.addresses(), random, this.#notes, workload);
      this.#clients.push(client);
      calls.push(client.run());
    }
    return calls;
  }

  /** Everybody who belongs to the cluster is there, and it takes a write. */
  async #recovered(operator: RemoteStore, injector: Injector): Promise<void> {
    const { clock } = this.#operator.env;
    for (let number = 1; ; number++) {
      try {
        await operator.keys.put("probe", this.#notes.value("operator"));
        if (injector.settled) return;
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
      }
      await sleep(clock, 200);
    }
  }

  /** Nobody keeps any alive. */
  async #leasesEnded(operator: RemoteStore): Promise<void> {
    for (;;) {
      try {
        if ((await operator.keys.count({ prefix: "lease/" })) === 0) return;
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
      }
      await sleep(this.#operator.env.clock, 200);
    }
  }

  /** All members have applied the same. */
  async #atRest(operator: RemoteStore): Promise<Resting[]> {
    for (;;) {
      await sleep(this.#operator.env.clock, 500);
      await operator.keys.revision().catch(() => {});
      const seats = this.#cluster.seats.filter(({ state }) => state !== "off");
      const stores = seats.map(({ member }) => member?.store);
      const applied = stores.map((store) => store?.replica.applied ?? -1);
      const known = this.#inspector.records.length;
      if (applied.every((one) => one === known)) {
        return seats.map((seat) => resting(seat));
      }
    }
  }

  async #watchesComplete(revision: number): Promise<void> {
    for (;;) {
      const open = this.#notes.watches.filter(({ ended }) => ended === "open");
      if (open.every(({ checker }) => checker.revision >= revision)) return;
      await sleep(this.#operator.env.clock, 200);
    }
  }
}

function resting({ name, member, machine }: Seat): Resting {
  if (member === undefined) throw new Error(`${name} does not run`);
  return { name, store: member.store, env: machine.env };
}

/** The machine's own hashes. What compression costs would buy nothing here: files are small and nobody pays for them. */
function quickDigest(): Digest {
  const native = new NodeDigest();
  return {
    sha256: (bytes) => native.sha256(bytes),
    crc32: (bytes, initial) => native.crc32(bytes, initial),
    compress: () => undefined,
    decompress: (bytes, sizeMax) => native.decompress(bytes, sizeMax),
  };
}

/** Small files, so that a short run fills many, and checkpoints come often; the rest follows from the seed. */
export function memberOptions(random: Prng): OpenOptions {
  return {
    segmentSizeMin: 4_096,
    segmentSizeMax: random.pick([8_192, 32_768]),
    packSizeMax: random.pick([4_096, 16_384, 65_536]),
    checkpointLogSizeMin: random.pick([2_000, 10_000, 50_000]),
    checkpointIdleMs: 200,
    cacheSizeMax: random.pick([1, 20_000, 1_000_000]),
    historyRevisions: random.pick([0, 200]),
    // So that collections are under way at any moment, whatever else is.
    collection: { startMs: 500, lookMs: 500 + random.below(1_000), pauseMs: 0, quietPauseMs: 0 },
  };
}
