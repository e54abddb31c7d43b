/**
 * Raft machines under whatever a seed thinks of: messages lost, doubled and reordered, disks slow, crashes in the middle of
 * writes, cut connections, changes of the membership, hand-overs, trims and catch-ups. `Invariants` watches each step;
 * at the end everything is healed, and then there must be one leader, one log, and what is proposed must be committed.
 */
import assert from "node:assert/strict";
import { utf8Encode } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { memberOf } from "./index.ts";
import type { Configuration, ConfiguredMember, MemberId } from "./index.ts";
import { Machines } from "./machines.suite.ts";
import type { Site } from "./site.suite.ts";
import { statusText } from "./wording.suite.ts";

export interface Exploration {
  readonly counts: Machines["invariants"]["counts"];
  /** Rounds of ticks until everything was healed. */
  readonly healingTicks: number;
}

const electionTicks = 10;
const healingTicksMax = 40 * electionTicks;
const zones = ["a", "b", ""];

/** How often each thing happens, for one seed: some of them never, so that different kinds of trouble get their turn. */
function drawWeights(random: Prng): Readonly<Record<string, number>> {
  const rarely = (weight: number) => (random.chance(0.4) ? 0 : random.float() * weight);
  return {
    tick: 10 + 20 * random.float(),
    deliver: 40 + 60 * random.float(),
    write: 15 + 30 * random.float(),
    harvest: 10,
    propose: 4 + 10 * random.float(),
    read: 2 + 4 * random.float(),
    fetched: 5,
    caughtUp: 3,
    drop: rarely(8),
    duplicate: rarely(8),
    overtake: rarely(30),
    crash: rarely(1),
    restart: 0.5,
    cut: rarely(1),
    isolate: rarely(0.5),
    heal: 0.1 + 0.4 * random.float(),
    change: rarely(2),
    transfer: rarely(1),
    trim: rarely(3),
    release: rarely(5),
    unreachable: rarely(1),
  };
}

/** Throws, naming the seed, when something is wrong; the last lines of `trace` say what led to it. */
export function explore(seed: string | number, stepCount: number): Exploration {
  try {
    return new Explorer(seed).run(stepCount);
  } catch (error) {
    const lines: string[] = [];
    try {
      new Explorer(seed, (line) => lines.push(line())).run(stepCount);
    } catch {
      // It fails again: that is what it is repeated for.
    }
    const message = `explore(${JSON.stringify(seed)}, ${stepCount}) fails:\n${lines.slice(-80).join("\n")}\n${String(error)}`;
    throw new Error(message, { cause: error });
  }
}

class Explorer {
  readonly #random: Prng;
  readonly #machines: Machines;
  readonly #weights: Readonly<Record<string, number>>;
  readonly #weightSum: number;
  readonly #trace: ((line: () => string) => void) | undefined;
  /** Added members whose machines never come. */
  readonly #absent = new Set<MemberId>();
  #lastMember: MemberId;
  #proposalCount = 0;
  #postponing: number;
  /** How many of its ticks a member's clock leaves out. */
  readonly #slownesses = new Map<MemberId, number>();

  constructor(seed: string | number, trace?: (line: () => string) => void) {
    const random = new Prng(seed);
    this.#random = random;
    this.#trace = trace;
    this.#weights = drawWeights(random);
    this.#weightSum = Object.values(this.#weights).reduce((sum, weight) => sum + weight, 0);
    this.#postponing = random.chance(0.5) ? 0 : random.float() * 0.5;
    this.#machines = new Machines({
      seed,
      raft: {
        heartbeatTicks: 1 + random.below(3),
        electionTicks,
        limits: {
          messageSizeMax: random.pick([1, 20, 100, 1_000]),
          inFlightCountMax: random.pick([1, 2, 8]),
          inFlightSizeMax: random.pick([1, 50, 1_000]),
          uncommittedSizeMax: random.pick([50, 1_000]),
          readCountMax: random.pick([1, 10]),
        },
      },
      postpones: () => this.#random.chance(this.#postponing),
      ...(trace !== undefined && { trace }),
    });
    this.#lastMember = random.pick([1, 2, 3, 3, 3, 4, 5, 5]);
    const members: ConfiguredMember[] = [];
    for (let id = 1; id <= this.#lastMember; id += 1)
      members.push({ ...this.#newcomer(id), voter: true, stays: false });
    const configuration: Configuration = { members, joint: false, removed: [], leaderZone: random.pick(["", "", "a"]) };
    for (const { id } of members) this.#machines.add(id, configuration);
    for (const { id } of members) this.#machines.start(id);
  }

  run(stepCount: number): Exploration {
    for (let step = 0; step < stepCount; step += 1) this.#act(this.#draw());
    const healingTicks = this.#heal();
    return { counts: this.#machines.invariants.counts, healingTicks };
  }

  #newcomer(id: MemberId): ConfiguredMember {
    const zone = this.#random.pick(zones);
    const stays = this.#random.chance(0.2);
    const roles = { voter: false, outgoing: false, leaving: false, replaces: 0, stays };
    return { id, name: `m${id}`, address: `m${id}:1`, zone, ...roles };
  }

  #draw(): string {
    let left = this.#random.float() * this.#weightSum;
    for (const [name, weight] of Object.entries(this.#weights)) {
      left -= weight;
      if (left < 0) return name;
    }
    return "tick";
  }

  get #running(): Site[] {
    return [...this.#machines.sites.values()].filter(({ raft }) => raft !== undefined);
  }

  /** One that leads, mostly. */
  #proposer(): Site | undefined {
    const running = this.#running;
    const leaders = running.filter(({ status }) => status.role === "leader");
    if (leaders.length > 0 && this.#random.chance(0.9)) return this.#random.pick(leaders);
    return running.length > 0 ? this.#random.pick(running) : undefined;
  }

  #slowness(id: MemberId): number {
    let slowness = this.#slownesses.get(id);
    if (slowness === undefined) {
      slowness = this.#random.chance(0.3) ? this.#random.float() : 0;
      this.#slownesses.set(id, slowness);
    }
    return slowness;
  }

  #records(): Uint8Array[] {
    const count = 1 + this.#random.below(3);
    return Array.from({ length: count }, () =>
      utf8Encode(`${(this.#proposalCount += 1)}`.padEnd(this.#random.below(20), ".")),
    );
  }

  #act(name: string): void {
    const random = this.#random;
    const machines = this.#machines;
    const running = this.#running;
    if (name === "restart") return this.#restart();
    if (name === "heal") return machines.cuts.clear();
    if (running.length === 0) return;
    const site = random.pick(running);
    const { id } = site;
    // Clocks go at different speeds: a leader may believe in itself for longer than the others do.
    if (name === "tick" && random.chance(this.#slowness(id))) return;
    const { network } = machines;
    switch (name) {
      case "tick":
        return machines.step(id, { kind: "tick" });
      case "write":
        return machines.complete(id, 1 + random.below(3));
      case "harvest":
        return machines.harvest(id);
      case "deliver": {
        const [message] = network;
        if (message !== undefined) machines.deliver(message);
        return;
      }
      case "overtake":
      case "drop":
      case "duplicate": {
        if (network.length === 0) return;
        const message = random.pick(network);
        if (name === "overtake") machines.deliver(message);
        else if (name === "drop") machines.drop(message);
        else machines.receive(message);
        return;
      }
      case "fetched":
        return machines.fetched(id);
      case "caughtUp":
        return machines.caughtUp(id);
      case "crash":
        this.#trace?.(() => `${id} crashes`);
        return machines.crash(id, random.below(4));
      default:
        return this.#disturb(name, site);
    }
  }

  #disturb(name: string, site: Site): void {
    const random = this.#random;
    const machines = this.#machines;
    const other = random.pick([...machines.sites.keys()]);
    const { id } = site;
    switch (name) {
      case "propose": {
        const proposer = this.#proposer();
        if (proposer !== undefined) machines.propose(proposer.id, this.#records());
        return;
      }
      case "read": {
        const reader = this.#proposer();
        if (reader !== undefined) machines.read(reader.id);
        return;
      }
      case "transfer": {
        const leader = this.#proposer();
        if (leader !== undefined) machines.step(leader.id, { kind: "transfer", to: random.chance(0.3) ? 0 : other });
        return;
      }
      case "unreachable":
        return machines.step(id, { kind: "unreachable", member: other });
      case "trim":
        if (site.told > 0) machines.trim(id, random.below(site.told) + 1);
        return;
      case "release":
        return machines.step(id, { kind: "release", index: random.below(site.told + 1) });
      case "cut":
        this.#trace?.(() => `cut ${id}->${other}`);
        machines.cut(id, other);
        if (random.chance(0.5)) machines.cut(other, id);
        return;
      case "isolate": {
        // A leader, mostly: the others elect another, and it does not know.
        const isolated = this.#proposer()?.id ?? id;
        this.#trace?.(() => `isolate ${isolated}`);
        for (const id of machines.sites.keys()) {
          machines.cut(isolated, id);
          machines.cut(id, isolated);
        }
        return;
      }
      case "change":
        return this.#change();
      default:
        throw new Error(`nothing is called ${name}`);
    }
  }

  #restart(): void {
    const down = [...this.#machines.sites.values()].filter(
      ({ id, raft }) => raft === undefined && !this.#absent.has(id),
    );
    if (down.length === 0) return;
    const { id } = this.#random.pick(down);
    this.#trace?.(() => `${id} starts`);
    this.#machines.start(id);
  }

  /** Puts a newcomer, in the place of another or not; removes some; or makes voters of learners and the other way round. */
  #change(): void {
    const random = this.#random;
    const proposer = this.#proposer();
    if (proposer === undefined) return;
    const { members } = proposer.status.configuration;
    const share = random.pick([0.2, 0.2, 0.5, 0.8]);
    const some = members.filter(() => random.chance(share));
    const kind = random.below(4);
    if (kind < 2) {
      if (members.length > 6) return;
      const id = (this.#lastMember += 1);
      const replaced = some[0]?.id ?? 0;
      const voter = kind === 1 && random.chance(0.3);
      this.#machines.add(id);
      const remove = some.slice(1).map(({ id }) => id);
      this.#machines.change(proposer.id, {
        put: [{ ...this.#newcomer(id), voter, replaces: voter ? 0 : replaced }],
        remove,
      });
      if (!voter && random.chance(0.2)) this.#absent.add(id);
      else this.#machines.start(id);
    } else if (kind === 2) this.#machines.change(proposer.id, { remove: some.map(({ id }) => id) });
    else {
      const put = some.map((member) => ({ ...member, voter: !member.voter && !this.#absent.has(member.id) }));
      this.#machines.change(proposer.id, { put, leaderZone: random.pick(zones) });
    }
  }

  /** Nothing is lost or slow from now on. The rounds until all is well. */
  #heal(): number {
    const machines = this.#machines;
    this.#trace?.(() => "everything heals");
    machines.cuts.clear();
    for (const { id, raft } of machines.sites.values())
      if (raft === undefined && !this.#absent.has(id)) machines.start(id);
    this.#postponing = 0;
    for (const { id } of this.#running) machines.harvest(id);
    let proposal = false;
    for (let ticks = 0; ticks < healingTicksMax; ticks += 1) {
      machines.settle();
      if (this.#isWell()) {
        if (proposal) return ticks;
        // What is proposed now reaches everybody, too.
        const leader = this.#running.find(({ status }) => status.role === "leader");
        machines.propose(leader?.id ?? 0, this.#records());
        proposal = true;
      }
      for (const { id } of this.#running) machines.step(id, { kind: "tick" });
    }
    const statuses = this.#running.map(({ status }) => statusText(status));
    assert.fail(`not well ${healingTicksMax} ticks after everything was healed:\n${statuses.join("\n")}`);
  }

  #isWell(): boolean {
    const running = this.#running;
    const last = Math.max(...running.map(({ status }) => status.term));
    const leader = running.find(({ status }) => status.role === "leader" && status.term === last)?.status;
    if (leader === undefined || leader.commit < leader.lastIndex || leader.configuration.joint) return false;
    if (leader.transferringTo !== 0 || memberOf(leader.configuration, leader.self)?.voter !== true) return false;
    return leader.configuration.members.every(({ id, voter, stays, address }) => {
      if (this.#absent.has(id) || address === "") return !voter;
      if (!voter && !stays) return false;
      const site = this.#machines.site(id);
      const { status } = site;
      const has = memberOf(status.configuration, id)?.voter === voter;
      return has && status.leader === leader.self && site.delivered === leader.commit;
    });
  }
}
