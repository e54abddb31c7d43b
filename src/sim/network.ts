/**
 * The network between simulated machines: who listens where, how long things take, and who cannot reach whom.
 *
 * 1. What is sent from one machine to another over one connection arrives in order, each piece after a latency that the
 *    seed chooses; connections are independent of each other.
 * 2. A blocked direction loses nothing: what would arrive is held, as TCP sends it again, and arrives after the block
 *    is lifted. A connection attempt that is held too long fails.
 * 3. A machine that crashed answers nothing. The other ends of its connections learn of it soon, or only after many
 *    seconds of silence, as the seed chooses.
 *
 * Addresses are `host:port`, where the host is a machine's name, or `localhost` or a loopback address for the machine
 * itself, and `memory:name`, which all machines share.
 */
import { abortError, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { Connection, Listener, Net } from "../base/index.ts";
import { SimConnection } from "./connection.ts";
import type { Carrier } from "./connection.ts";
import { never } from "./incarnation.ts";
import type { Incarnation } from "./incarnation.ts";
import { defaultNetworkSettings } from "./network-settings.ts";
import type { NetworkSettings } from "./network-settings.ts";
import type { Prng } from "./prng.ts";
import { inner } from "./schedule.ts";
import type { Happening, Schedule } from "./schedule.ts";

const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;
const anyHost = /^(0\.0\.0\.0|\[::\])$/;

interface Listening {
  readonly incarnation: Incarnation;
  readonly accept: (connection: Connection) => void;
}

interface Held {
  readonly from: string;
  readonly to: string;
  readonly release: () => void;
}

export class SimNetwork {
  readonly settings: NetworkSettings;
  readonly #schedule: Schedule;
  readonly #random: Prng;
  readonly #listening = new Map<string, Listening>();
  readonly #connections = new Set<SimConnection>();
  /** Every machine there ever was, and whether it lives. */
  readonly #machines = new Map<string, boolean>();
  readonly #blocked = new Set<string>();
  readonly #isolated = new Set<string>();
  /** How many times as long everything to and from a machine takes. */
  readonly #slow = new Map<string, number>();
  #held: Held[] = [];
  #nextPort = 40_000;

  constructor(schedule: Schedule, random: Prng, settings: Partial<NetworkSettings> = {}) {
    this.#schedule = schedule;
    this.#random = random;
    this.settings = { ...defaultNetworkSettings, ...settings };
  }

  /** Nothing arrives any more from `from` at `to`, and, unless `oneWay`, nor the other way round. */
  block(from: string, to: string, options: { readonly oneWay?: boolean } = {}): void {
    this.#schedule.record(undefined, `net block ${from}>${to}${options.oneWay === true ? "" : " both ways"}`);
    this.#blocked.add(`${from}>${to}`);
    if (options.oneWay !== true) this.#blocked.add(`${to}>${from}`);
  }

  /** Lifts `block` in both directions. */
  unblock(a: string, b: string): void {
    this.#schedule.record(undefined, `net unblock ${a}<>${b}`);
    this.#blocked.delete(`${a}>${b}`);
    this.#blocked.delete(`${b}>${a}`);
    this.#release();
  }

  /** Blocks both ways between this machine and every other. */
  isolate(machine: string): void {
    this.#schedule.record(undefined, `net isolate ${machine}`);
    this.#isolated.add(machine);
  }

  /** Lifts `isolate`. */
  rejoin(machine: string): void {
    this.#schedule.record(undefined, `net rejoin ${machine}`);
    this.#isolated.delete(machine);
    this.#release();
  }

  /** Everything to and from this machine takes so many times as long; 1 ends that. */
  slow(machine: string, factor: number): void {
    this.#schedule.record(undefined, `net slow ${machine} ${factor}`);
    if (factor === 1) this.#slow.delete(machine);
    else this.#slow.set(machine, factor);
  }

  /** Lifts every block, isolation and slowness. */
  heal(): void {
    this.#schedule.record(undefined, "net heal");
    this.#blocked.clear();
    this.#isolated.clear();
    this.#slow.clear();
    this.#release();
  }

  /** Breaks every connection between two machines, or of one machine with all others. */
  cut(a: string, b?: string): void {
    this.#schedule.record(undefined, `net cut ${a}${b === undefined ? "" : `<>${b}`}`);
    for (const connection of this.#connections) {
      const [from, to] = [connection.incarnation.machine, connection.remote];
      if (from === a && (b === undefined || to === b)) connection.sever("soon");
    }
  }

  /** How many connections are open, each counted once. */
  get connectionCount(): number {
    return Math.ceil(this.#connections.size / 2);
  }

  /** The door of one incarnation, which is the machine's living one from now on. */
  open(incarnation: Incarnation): Net {
    this.#machines.set(incarnation.machine, true);
    return {
      listen: (address, accept) => this.#listen(incarnation, address, accept),
      connect: (address, options) => this.#connect(incarnation, address, options?.signal),
    };
  }

  /** The machine's process has ended. `reset` tells the other ends at once, as a system does whose process died. */
  crash(incarnation: Incarnation, reset: boolean): void {
    this.#machines.set(incarnation.machine, false);
    for (const [address, listening] of this.#listening) {
      if (listening.incarnation === incarnation) this.#listening.delete(address);
    }
    for (const connection of this.#connections) {
      if (connection.incarnation !== incarnation) continue;
      const soon = reset || this.#random.chance(0.5);
      connection.sever(soon && !this.#isBlocked(incarnation.machine, connection.remote) ? "soon" : "late");
    }
  }

  async #listen(incarnation: Incarnation, address: string, accept: (c: Connection) => void): Promise<Listener> {
    const { host, port } = this.#parse(incarnation, address, true);
    if (!incarnation.alive) return never();
    const real = host === "memory:" ? `memory:${port}` : `${host}:${port === "0" ? this.#freePort() : port}`;
    if (this.#listening.has(real)) {
      throw new HoldfastError("conflict", `cannot listen on ${address}: the address is in use; choose another`);
    }
    const listening: Listening = { incarnation, accept };
    this.#listening.set(real, listening);
    this.#schedule.record(incarnation, `net listen ${real}`);
    const close = async () => {
      if (this.#listening.get(real) === listening) this.#listening.delete(real);
    };
    return { address: real, close };
  }

  async #connect(incarnation: Incarnation, address: string, signal: AbortSignal | undefined): Promise<Connection> {
    const { host, port } = this.#parse(incarnation, address, false);
    throwIfAborted(signal);
    if (!incarnation.alive) return never();
    const target = host === "memory:" ? `memory:${port}` : `${host}:${port}`;
    const machine = host === "memory:" ? (this.#listening.get(target)?.incarnation.machine ?? host) : host;
    this.#schedule.record(incarnation, `net connect ${target}`);
    return new Promise((resolve, reject) => {
      let settled = false;
      const settle = () => {
        if (settled) return false;
        settled = true;
        signal?.removeEventListener("abort", onAbort);
        this.#schedule.cancel(timeout);
        return true;
      };
      const fail = (reason: string) => {
        if (settle()) reject(new HoldfastError("unavailable", `cannot connect to ${address}: ${reason}`));
      };
      const onAbort = () => {
        if (settle()) reject(abortError(signal as AbortSignal));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      const timeout = this.#schedule.add(this.settings.connectTimeoutMs, incarnation, undefined, () =>
        fail("nobody answered in time"),
      );
      const there = this.#carrier(incarnation.machine, machine);
      const back = this.#carrier(machine, incarnation.machine);
      there(0, undefined, `net request ${target} from ${incarnation.machine}`, () => {
        const listening = this.#listening.get(target);
        if (listening?.incarnation.alive !== true) {
          // A living machine refuses at once, and an unknown one has no address; one that is down is silent.
          if (this.#machines.get(machine) !== false)
            back(0, incarnation, `net refused ${target}`, () => fail("nobody listens there"));
          return;
        }
        const [client, server] = this.#join(incarnation, listening.incarnation, target, there, back);
        back(0, incarnation, `net connected ${target}`, () => {
          if (settle()) resolve(client);
          else client.destroy();
        });
        this.#schedule.add(0, listening.incarnation, `net accept ${target}`, () => listening.accept(server));
      });
    });
  }

  #join(
    from: Incarnation,
    to: Incarnation,
    target: string,
    there: Carrier,
    back: Carrier,
  ): [client: SimConnection, server: SimConnection] {
    const world = { schedule: this.#schedule, random: this.#random, settings: this.settings };
    const forget = (connection: SimConnection) => this.#connections.delete(connection);
    const client = new SimConnection(world, from, to.machine, target, there, forget);
    const server = new SimConnection(world, to, from.machine, `${from.machine}:${this.#freePort()}`, back, forget);
    client.join(server);
    server.join(client);
    this.#connections.add(client).add(server);
    return [client, server];
  }

  /** Carries things from one machine to another over one connection (1). */
  #carrier(from: string, to: string): Carrier {
    let freeMs = 0;
    /** What was sent and has not happened yet, in order: whichever event comes first, the oldest happens first (1). */
    const sent: { readonly owner: Incarnation | undefined; readonly label: string; readonly run: Happening }[] = [];
    // An event is only added together with something to happen, so there is one.
    const happen = () => (sent.shift() as (typeof sent)[number]).run();
    /** How many of them have arrived during a block, or behind something that did. */
    let heldCount = 0;
    const release = (): void => {
      if (this.#isBlocked(from, to)) {
        this.#held.push({ from, to, release });
        return;
      }
      const count = heldCount;
      for (const { owner, label } of sent.slice(0, count)) this.#schedule.add(0, owner, label, happen);
      // Only when these have happened may others pass; what arrived until then is released in turn.
      this.#schedule.add(0, undefined, "net released", () => {
        heldCount -= count;
        if (heldCount > 0) release();
      });
    };
    const arrive: Happening = () => {
      if (!this.#isBlocked(from, to) && heldCount === 0) return happen();
      heldCount += 1;
      if (heldCount === 1) this.#held.push({ from, to, release });
      return inner;
    };
    const carry: Carrier = (size, owner, label, run) => {
      const { latencyMs, spikeChance, bandwidth } = this.settings;
      const factor = (this.#random.chance(spikeChance) ? 20 : 1) * this.#slowness(from, to);
      const latency = from === to ? latencyMs[0] : this.#random.between(latencyMs) * factor;
      freeMs = Math.max(freeMs, this.#schedule.nowMs + latency) + size / bandwidth;
      sent.push({ owner, label, run });
      this.#schedule.add(freeMs - this.#schedule.nowMs, owner, label, arrive);
    };
    return carry;
  }

  #isBlocked(from: string, to: string): boolean {
    if (from === to) return false;
    return this.#isolated.has(from) || this.#isolated.has(to) || this.#blocked.has(`${from}>${to}`);
  }

  #slowness(from: string, to: string): number {
    return this.#slow.size === 0 ? 1 : Math.max(this.#slow.get(from) ?? 1, this.#slow.get(to) ?? 1);
  }

  #release(): void {
    const free = this.#held.filter(({ from, to }) => !this.#isBlocked(from, to));
    this.#held = this.#held.filter(({ from, to }) => this.#isBlocked(from, to));
    for (const { release } of free) {
      this.#schedule.add(this.#random.between(this.settings.latencyMs), undefined, "net release", release);
    }
  }

  #freePort(): number {
    this.#nextPort += 1;
    return this.#nextPort;
  }

  #parse(incarnation: Incarnation, address: string, listens: boolean): { host: string; port: string } {
    const memory = /^memory:(.+)$/.exec(address);
    if (memory !== null) return { host: "memory:", port: memory[1] as string };
    const match = /^(\[::1?\]|[^\s:/[\]]+):(\d{1,5})$/.exec(address);
    if (match === null || Number(match[2]) > 65_535) {
      throw new HoldfastError(
        "invalid",
        `${JSON.stringify(address)} is no address of a simulated network; give machine:port or memory:name`,
      );
    }
    const [, host = "", port = ""] = match;
    const own = loopback.test(host) || (listens && anyHost.test(host));
    if (listens && !own && host !== incarnation.machine) {
      throw new HoldfastError("invalid", `${incarnation.machine} cannot listen on ${address}, which is not its own`);
    }
    return { host: own ? incarnation.machine : host, port };
  }
}
