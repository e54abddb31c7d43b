/**
 * A whole cluster on simulated machines: the members are the production code, one on a machine. Looks after them as a
 * supervisor of processes does: a member that stops by itself is started again, later each time; a member whose disk is
 * damaged or lost is replaced by a new one.
 *
 * A *seat* is a machine with whatever member lives on it. Its machine keeps its name and address; the member gets a new
 * name, and its disk is empty, when the one before is lost or was removed.
 *
 * | state    | left by                                   | meaning                                      |
 * |----------|-------------------------------------------|----------------------------------------------|
 * | off      | `occupy` → down → starting                | no member belongs here                       |
 * | down     | `start` → starting                        | a member belongs here; its machine is down   |
 * | starting | `#started` → running, `#ended`, `stop`    | the member opens its state, or waits to join |
 * | running  | `#ended` → down or off, `stop` → down     | it serves                                    |
 *
 * 1. A bug in a member (`AssertionError`, or anything that is no `HoldfastError`) ends the run: `failure`.
 */
import { asHoldfastError, assert, deferred, HoldfastError } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { Member, MemberOptions } from "../../member/index.ts";
import type { UnsyncedFate } from "../file.ts";
import type { Machine } from "../machine.ts";
import type { Simulator } from "../simulator.ts";

/** How a member comes to life: `startMember`, or what stands for it. */
export type Launch = (env: Env, options: MemberOptions) => Promise<Member>;

export interface ClusterOptions {
  readonly memberCount: number;
  readonly launch: Launch;
  /** Of all members; may be looked up anew at each start. */
  readonly member: (seat: Seat) => Partial<MemberOptions>;
  /** Called when a member serves. */
  readonly started?: (seat: Seat, member: Member) => void;
}

export type SeatState = "off" | "down" | "starting" | "running";

export class Seat {
  readonly index: number;
  readonly machine: Machine;
  readonly address: string;
  /** Of the member; a new one for every new disk. */
  name: string;
  state: SeatState = "off";
  member: Member | undefined;
  /** How many members have lived here. */
  generation = 0;
  /** Founding member, or the name of the one it takes the place of, or a newcomer. */
  entry: { readonly way: "found" } | { readonly way: "join"; readonly replaces: string | undefined } = { way: "found" };
  /** It has an empty disk, and is no voter yet. */
  joining = false;
  /** When its disk was damaged; undefined if it was not. */
  damagedMs: number | undefined;
  /** It is being removed for good. */
  leaving = false;
  /** Restarts in a row without a running member. */
  failureCount = 0;
  /** Why the last member here ended. */
  lastError: HoldfastError | undefined;

  constructor(index: number, machine: Machine) {
    this.index = index;
    this.machine = machine;
    this.name = machine.name;
    this.address = `${machine.name}:7420`;
  }

  /** Its disk may not hold what a majority counts on. */
  get unsafe(): boolean {
    return this.joining || this.damaged;
  }

  get damaged(): boolean {
    return this.damagedMs !== undefined;
  }
}

const backoffMinMs = 200;
const backoffMaxMs = 3_000;

export class Cluster {
  readonly simulator: Simulator;
  readonly seats: Seat[] = [];
  readonly #options: ClusterOptions;
  readonly #failure = deferred<Error>();
  #founding: Readonly<Record<string, string>> | undefined;

  constructor(simulator: Simulator, options: ClusterOptions) {
    this.simulator = simulator;
    this.#options = options;
    for (let index = 0; index < options.memberCount; index++) this.seat(index);
  }

  /** Resolves with what must not happen. */
  get failure(): Promise<Error> {
    return this.#failure.promise;
  }

  fail(error: Error): void {
    this.#failure.resolve(error);
  }

  /** The seat of that number; a new one is off. */
  seat(index: number): Seat {
    for (let next = this.seats.length; next <= index; next++) {
      this.seats.push(new Seat(next, this.simulator.machine(`m${next + 1}`)));
    }
    return this.seats[index] as Seat;
  }

  /** The members' addresses, those that are off left out. */
  addresses(): string[] {
    return this.seats.filter(({ state }) => state !== "off").map(({ address }) => address);
  }

  running(): Seat[] {
    return this.seats.filter(({ state }) => state === "running");
  }

  /** Founds the cluster with a member in every seat. */
  found(): void {
    const peers = this.seats.map(({ name, address }) => [name, address] as const);
    this.#founding = peers.length > 1 ? Object.fromEntries(peers) : undefined;
    for (const seat of this.seats) {
      seat.state = "down";
      seat.generation = 1;
      this.start(seat);
    }
  }

  /** A new member with an empty disk, in a seat whose machine is down or off. */
  occupy(seat: Seat, replaces: string | undefined): void {
    if (seat.machine.alive) seat.machine.crash({ unsynced: "lost" });
    seat.machine.wipe();
    seat.generation += 1;
    seat.name = seat.generation === 1 ? seat.machine.name : `${seat.machine.name}-${seat.generation}`;
    seat.entry = { way: "join", replaces };
    seat.state = "down";
    seat.member = undefined;
    seat.failureCount = 0;
    seat.leaving = false;
    seat.joining = true;
    seat.damagedMs = undefined;
    this.start(seat);
  }

  /** Has the member of a seat start, unless it is up already or none belongs there. */
  start(seat: Seat): void {
    if (seat.state !== "down") return;
    seat.state = "starting";
    const { machine } = seat;
    const env = machine.alive ? machine.env : machine.restart();
    const current = () => machine.alive && machine.env === env;
    this.#options.launch(env, this.#memberOptions(seat)).then(
      (member) => {
        if (current()) this.#started(seat, member, current);
      },
      (error: unknown) => {
        if (current()) this.#ended(seat, error);
      },
    );
  }

  /** Takes the member of a seat down: the power of its machine fails, or its process is killed. */
  stop(seat: Seat, how: { readonly unsynced: UnsyncedFate } | "kill"): void {
    if (!seat.machine.alive) return;
    if (how === "kill") seat.machine.kill();
    else seat.machine.crash(how);
    this.#down(seat);
  }

  /** No member belongs here any more. */
  vacate(seat: Seat): void {
    this.stop(seat, "kill");
    seat.state = "off";
    seat.leaving = false;
    seat.joining = false;
    seat.damagedMs = undefined;
  }

  #memberOptions(seat: Seat): MemberOptions {
    const { entry, name, address } = seat;
    const others = this.seats.filter((other) => other !== seat && other.state !== "off").map((other) => other.address);
    return {
      ...this.#options.member(seat),
      name,
      listen: [address],
      ...(entry.way === "found" && this.#founding !== undefined && { peers: this.#founding }),
      ...(entry.way === "join" && { join: others }),
      ...(entry.way === "join" && entry.replaces !== undefined && { replace: entry.replaces }),
    };
  }

  #started(seat: Seat, member: Member, current: () => boolean): void {
    assert(seat.state === "starting", `a member started in seat ${seat.index}, which is ${seat.state}`);
    seat.state = "running";
    seat.member = member;
    seat.failureCount = 0;
    member.failed.then((error) => {
      if (current()) this.#ended(seat, error);
    }, this.#unexpected);
    this.#options.started?.(seat, member);
  }

  /** The member has ended by itself, and with it its process. */
  #ended(seat: Seat, reason: unknown): void {
    const bug = bugIn(reason);
    if (bug !== undefined)
      this.fail(new Error(`member ${seat.name} has a bug: ${bug.stack ?? bug.message}`, { cause: bug }));
    const error = asHoldfastError(reason);
    seat.lastError = error;
    this.simulator.trace.record(this.simulator.nowMs, seat.machine.name, `ended ${error.code}: ${error.message}`);
    seat.machine.kill();
    this.#down(seat);
    if (isDamage(error) && !seat.damaged) {
      this.fail(new Error(`member ${seat.name} finds damage where none was done: ${error.message}`, { cause: error }));
    }
    const delayMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** seat.failureCount);
    seat.failureCount += 1;
    const { generation, failureCount } = seat;
    this.simulator.schedule(delayMs, () => {
      if (seat.generation === generation && seat.failureCount === failureCount) this.start(seat);
    });
  }

  #down(seat: Seat): void {
    if (seat.state !== "off") seat.state = "down";
    seat.member = undefined;
  }

  readonly #unexpected = (error: unknown): void => {
    this.fail(error instanceof Error ? error : new Error(String(error)));
  };
}

/** It finds that something on its disk is wrong, or is not there. */
export function isDamage({ code }: HoldfastError): boolean {
  return code === "corrupt" || code === "notFound";
}

/** The bug behind an error, if there is one: what is no `HoldfastError` comes from no door. */
function bugIn(reason: unknown): Error | undefined {
  let error = reason;
  while (error instanceof HoldfastError) error = error.cause;
  if (error === undefined || error instanceof Error) return error;
  return new Error("something was thrown that is no error", { cause: error });
}
