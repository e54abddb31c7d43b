/**
 * Brings the faults of a schedule over a cluster, and takes them back when their time is over.
 *
 * What keeps a schedule within what a cluster must bear, whatever the seed says:
 *  1. Disks that may have forgotten what their member promised (wiped, rotten) are never as many as a majority needs to
 *     overlap: fewer than half of the seats at any time, and a new one is counted until it is a voter.
 *  2. Removals leave at least three members, or as many as there were at first if these were fewer.
 *
 * A fault that does not fit the moment (a crash of a machine that is down) is passed over.
 */
import { HoldfastError } from "../../base/index.ts";
import type { MemberInfo, Members } from "../../member/index.ts";
import { defaultNetworkSettings } from "../network-settings.ts";
import { isDamage } from "./cluster.ts";
import type { Cluster, Seat } from "./cluster.ts";
import { describeFault } from "./faults.ts";
import type { Fault, FaultKind, ScheduledFault } from "./faults.ts";

type Performers = { readonly [Kind in FaultKind]: (fault: Extract<Fault, { kind: Kind }>) => void };

const removalRetryMs = 1_000;
const settleMs = 250;
/** How long a member with a damaged disk is left alone. */
const damagedMsMax = 8_000;

export class Injector {
  readonly #cluster: Cluster;
  readonly #operator: () => Members | undefined;
  readonly #seatCountMin: number;
  readonly #seatCountMax: number;
  #healed = false;
  #ghostCount = 0;
  /** How many faults of each kind took place. */
  readonly counts = new Map<FaultKind, number>();

  /** `operator`: who has a machine of their own to change the membership from, as soon as that has a connection. */
  constructor(cluster: Cluster, operator: () => Members | undefined) {
    this.#cluster = cluster;
    this.#operator = operator;
    this.#seatCountMin = Math.min(3, cluster.seats.length);
    this.#seatCountMax = cluster.seats.length + 2;
    this.#watch();
  }

  /** Times count from now. */
  begin(schedule: readonly ScheduledFault[]): void {
    for (const scheduled of schedule) {
      this.#cluster.simulator.schedule(scheduled.atMs, () => {
        if (this.#healed) return;
        this.#record(`fault ${describeFault(scheduled).trim()}`);
        this.perform(scheduled.fault);
      });
    }
  }

  perform(fault: Fault): void {
    this.#skipped = false;
    (this.#performers[fault.kind] as (fault: Fault) => void)(fault);
    if (this.#skipped) this.#record(`fault ${fault.kind} is passed over`);
    else this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
  }
  #skipped = false;

  #skip(): void {
    this.#skipped = true;
  }

  /** Ends everything that is still wrong, as far as it can be ended at once; the rest passes within its time. */
  heal(): void {
    this.#healed = true;
    const { simulator, seats } = this.#cluster;
    simulator.network.heal();
    simulator.network.settings.latencyMs = defaultNetworkSettings.latencyMs;
    simulator.network.settings.cutChance = 0;
    for (const seat of seats) {
      this.#healDisk(seat);
      this.#cluster.start(seat);
    }
  }

  /** Whether every member that belongs to the cluster runs on a disk that holds what it promised. */
  get settled(): boolean {
    return this.#cluster.seats.every(
      ({ state, unsafe, leaving }) => state === "off" || (state === "running" && !unsafe && !leaving),
    );
  }

  readonly #performers: Performers = {
    crash: ({ seat, unsynced, forMs }) => this.#down(this.#seat(seat), { unsynced }, forMs),
    crashAtChange: (fault) => this.#crashAtChange(fault),
    kill: ({ seat, forMs }) => this.#down(this.#seat(seat), "kill", forMs),
    blackout: ({ unsynced, forMs }) => {
      for (const seat of this.#cluster.seats)
        if (seat.machine.alive && seat.state !== "off") this.#down(seat, { unsynced }, forMs);
    },
    freeze: ({ seat, forMs }) => this.#seat(seat).machine.freeze(forMs),
    rot: ({ seat, part, at }) => this.#rot(this.#seat(seat), part, at),
    stall: ({ seat, forMs }) => this.#seat(seat).machine.disk.stall(forMs),
    slowDisk: ({ seat, factor, forMs }) => {
      const { disk } = this.#seat(seat).machine;
      disk.slowdown = factor;
      this.#later(forMs, () => (disk.slowdown = 1));
    },
    fullDisk: ({ seat, freeSize, forMs }) => {
      const { disk } = this.#seat(seat).machine;
      disk.capacity = disk.usedSize + freeSize;
      this.#later(forMs, () => (disk.capacity = Number.POSITIVE_INFINITY));
    },
    diskError: ({ seat, distance }) => {
      const { disk } = this.#seat(seat).machine;
      disk.failOperation(disk.operationCount + distance);
    },
    cut: ({ seat, other }) => this.#network.cut(this.#name(seat), other === undefined ? undefined : this.#name(other)),
    isolate: ({ seat, clients, forMs }) => {
      const name = this.#name(seat);
      if (clients) {
        this.#network.isolate(name);
        this.#later(forMs, () => this.#network.rejoin(name));
      } else {
        this.#block([name], this.#others([seat]), false, forMs);
      }
    },
    partition: ({ seats, oneWay, forMs }) => {
      this.#block(
        seats.map((seat) => this.#name(seat)),
        this.#others(seats),
        oneWay,
        forMs,
      );
    },
    slowNetwork: ({ factor, forMs }) => {
      const { settings } = this.#network;
      const [least, most] = defaultNetworkSettings.latencyMs;
      settings.latencyMs = [least * factor, most * factor];
      this.#later(forMs, () => (settings.latencyMs = defaultNetworkSettings.latencyMs));
    },
    slowMember: ({ seat, factor, forMs }) => {
      this.#network.slow(this.#name(seat), factor);
      this.#later(forMs, () => this.#network.slow(this.#name(seat), 1));
    },
    flaky: ({ chance, forMs }) => {
      this.#network.settings.cutChance = chance;
      this.#later(forMs, () => (this.#network.settings.cutChance = 0));
    },
    clockJump: ({ seat, byMs }) => (this.#seat(seat).machine.wall.offsetMs += byMs),
    drift: ({ seat, rate }) => (this.#seat(seat).machine.wall.rate = rate),
    transfer: ({ seat }) => {
      this.#operate((members) => members.transfer({ name: this.#seat(seat).name }));
    },
    checkpoint: ({ seat }) => {
      const { member } = this.#seat(seat);
      if (member === undefined) return this.#skip();
      // What is wrong with it the member says itself, or the disk's fault has explained it.
      member.store.checkpoint().catch(() => {});
    },
    join: () => this.#join(),
    remove: ({ seat }) => this.#remove(this.#seat(seat)),
    replace: ({ seat }) => {
      const chosen = this.#seat(seat);
      if (this.#mayLose(chosen)) this.#replace(chosen);
      else this.#skip();
    },
    expectNobody: () => {
      const name = `nobody-${++this.#ghostCount}`;
      this.#operate((members) => members.add(name));
      this.#later(5_000, () => this.#removeByName(name, () => {}));
    },
  };

  get #members(): Members | undefined {
    return this.#operator();
  }

  get #network() {
    return this.#cluster.simulator.network;
  }

  #seat(index: number): Seat {
    return this.#cluster.seat(index % this.#cluster.seats.length);
  }

  #name(index: number): string {
    return this.#seat(index).machine.name;
  }

  #others(seats: readonly number[]): string[] {
    const names = new Set(seats.map((seat) => this.#name(seat)));
    return this.#cluster.seats.map(({ machine }) => machine.name).filter((name) => !names.has(name));
  }

  #later(delayMs: number, run: () => void): void {
    this.#cluster.simulator.schedule(delayMs, run);
  }

  #record(what: string): void {
    const { simulator } = this.#cluster;
    simulator.trace.record(simulator.nowMs, "-", what);
  }

  #down(seat: Seat, how: Parameters<Cluster["stop"]>[1], forMs: number): void {
    if (!seat.machine.alive || seat.state === "off") return this.#skip();
    this.#cluster.stop(seat, how);
    this.#later(forMs, () => this.#cluster.start(seat));
  }

  #crashAtChange(fault: Extract<Fault, { kind: "crashAtChange" }>): void {
    const { path, distance, moment, unsynced, forMs } = fault;
    const seat = this.#seat(fault.seat);
    const { disk } = seat.machine;
    if (!seat.machine.alive || seat.state === "off" || disk.hook !== undefined) return this.#skip();
    const phase = moment === "during" ? "issued" : "done";
    let left = distance;
    let target = 0;
    disk.hook = (operation) => {
      if (!operation.changes || !operation.path.startsWith(path)) return;
      if (operation.phase === "before" && --left === 0) target = operation.number;
      if (operation.number !== target || operation.phase !== phase) return;
      disk.hook = undefined;
      this.#down(seat, { unsynced }, forMs);
    };
  }

  #block(from: readonly string[], to: readonly string[], oneWay: boolean, forMs: number): void {
    const pairs = from.flatMap((a) => to.map((b) => [a, b] as const));
    for (const [a, b] of pairs) this.#network.block(a, b, { oneWay });
    this.#later(forMs, () => {
      for (const [a, b] of pairs) this.#network.unblock(a, b);
    });
  }

  #healDisk({ machine: { disk } }: Seat): void {
    disk.hook = undefined;
    disk.failNoMore();
    disk.capacity = Number.POSITIVE_INFINITY;
    disk.slowdown = 1;
  }

  #rot(seat: Seat, part: string, at: number): void {
    const { disk } = seat.machine;
    // The end of the newest segment of the log is spared: damage there cannot be told from a write that was torn, so
    // that a single disk would forget in silence what it promised. That is beyond what a majority can make up for.
    const all = disk.files();
    const newestSegment = all.findLast((path) => path.startsWith("raft/") && path.endsWith(".log"));
    const directory = part === "log" ? "raft/" : `${part}/`;
    const files = all.filter((path) => path.startsWith(directory) && path !== newestSegment);
    const path = files[Math.floor(at * files.length)];
    const size = path === undefined ? 0 : (disk.contents(path)?.length ?? 0);
    if (path === undefined || size === 0 || !this.#mayLose(seat)) return this.#skip();
    seat.damagedMs = this.#cluster.simulator.nowMs;
    disk.flipBit(path, Math.floor(((at * 1_000_003) % 1) * 8 * size));
  }

  /** Whether the disk of this seat may be lost (1). */
  #mayLose(seat: Seat): boolean {
    if (seat.state !== "running" || seat.unsafe || seat.leaving || this.#members === undefined) return false;
    const seats = this.#cluster.seats.filter(({ state }) => state !== "off");
    const risky = seats.filter(({ unsafe, leaving }) => unsafe || leaving).length;
    return risky + 1 <= Math.floor((seats.length - 1) / 2);
  }

  #replace(seat: Seat): void {
    this.#record(`the member ${seat.name} is replaced`);
    this.#cluster.occupy(seat, seat.name);
  }

  #join(): void {
    const { seats } = this.#cluster;
    const free =
      seats.find(({ state }) => state === "off") ??
      (seats.length < this.#seatCountMax ? this.#cluster.seat(seats.length) : undefined);
    if (free === undefined || this.#members === undefined || this.#changing) return this.#skip();
    this.#cluster.occupy(free, undefined);
  }

  /** A change of the membership is under way. */
  get #changing(): boolean {
    return this.#cluster.seats.some(({ state, unsafe, leaving }) => state !== "off" && (unsafe || leaving));
  }

  #remove(seat: Seat): void {
    const count = this.#cluster.seats.filter(({ state }) => state !== "off").length;
    if (seat.state === "off" || this.#members === undefined || this.#changing || count <= this.#seatCountMin)
      return this.#skip();
    seat.leaving = true;
    this.#removeByName(seat.name, () => this.#cluster.vacate(seat));
  }

  /** Until it is done: nobody may leave the cluster in doubt whether a member belongs to it. */
  #removeByName(name: string, done: () => void): void {
    const again = (error: unknown) => {
      if (error instanceof HoldfastError && error.code === "notFound") done();
      else this.#later(removalRetryMs, () => this.#removeByName(name, done));
    };
    const members = this.#members;
    if (members === undefined) this.#later(removalRetryMs, () => this.#removeByName(name, done));
    else members.remove(name).then(done, again);
  }

  /** Something that an operator tries once. */
  #operate(call: (members: Members) => Promise<unknown>): void {
    const members = this.#members;
    if (members === undefined) return this.#skip();
    call(members).catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) this.#cluster.fail(error as Error);
    });
  }

  /** Looks again and again who has become a voter, and whose disk has to be replaced. */
  #watch(): void {
    for (const seat of this.#cluster.seats) {
      if (seat.damaged) this.#lookAfterDamaged(seat);
      else if (seat.joining) this.#lookAfterJoining(seat);
    }
    this.#cluster.simulator.schedule(settleMs, () => this.#watch(), { quiet: true });
  }

  #lookAfterDamaged(seat: Seat): void {
    const complains = seat.failureCount >= 2 && seat.lastError !== undefined && isDamage(seat.lastError);
    // Damage that has done no harm yet may still do some.
    const ageMs = this.#cluster.simulator.nowMs - (seat.damagedMs ?? 0);
    if (complains || ageMs > damagedMsMax || (this.#healed && seat.state === "running")) this.#replace(seat);
  }

  /**
   * It has joined when everybody knows it as a voter, in a configuration that is complete: in the middle of the change the
   * majority of those before it is needed still, and among them is the one whose disk is lost.
   */
  #lookAfterJoining(seat: Seat): void {
    const { member, name } = seat;
    const stores = this.#cluster.seats.filter(({ state }) => state !== "off").map((one) => one.member?.store);
    if (member === undefined || stores.includes(undefined)) return;
    Promise.all(stores.map(async (store) => store?.members.list())).then(
      (lists) => {
        const joined = lists.every((list) => {
          const members = list?.members ?? [];
          return members.some((one) => one.name === name && one.role === "voter") && !members.some(isLeaving);
        });
        if (seat.member === member && joined) seat.joining = false;
      },
      () => {},
    );
  }
}

function isLeaving({ role }: MemberInfo): boolean {
  return role === "leaving";
}
