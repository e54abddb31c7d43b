/**
 * One end of a simulated connection. Two ends make a stream each way, carried in pieces that the seed chooses.
 *
 * ```
 * write ─► outbox ─(window)─► carrier ─► other end's inbox ─► data
 * ```
 *
 * 1. Bytes on their way and bytes that the other end has not taken are never more than the window: a reader that pauses
 *    stops the writer, whose outbox then grows until `write` says so.
 * 2. What is delivered is the receiver's for the duration of the call alone: afterwards the array is overwritten, so
 *    that whoever keeps it without a copy fails in every simulation.
 * 3. Handlers are only called from events of their own machine, never from inside a call of the connection.
 */
import { assert, HoldfastError } from "../base/index.ts";
import type { Connection, ConnectionHandlers } from "../base/index.ts";
import type { Incarnation } from "./incarnation.ts";
import type { NetworkSettings } from "./network-settings.ts";
import type { Prng } from "./prng.ts";
import { inner } from "./schedule.ts";
import type { Happening, Schedule } from "./schedule.ts";

/** Brings something to the other machine: after a latency, in order, then `run` happens there as an event of `owner`. */
export type Carrier = (size: number, owner: Incarnation | undefined, label: string, run: Happening) => void;

export interface ConnectionWorld {
  readonly schedule: Schedule;
  readonly random: Prng;
  readonly settings: NetworkSettings;
}

const highWaterSize = 65_536;
const lowWaterSize = 16_384;
/** Largest piece that is carried at once. */
const pieceSizeMax = 65_536;
/** What overwrites delivered arrays (2). */
const poison = 0xdb;

export class SimConnection implements Connection {
  readonly peer: string;
  readonly incarnation: Incarnation;
  /** The machine at the other end. */
  readonly remote: string;
  readonly #world: ConnectionWorld;
  readonly #carry: Carrier;
  readonly #forget: (connection: SimConnection) => void;
  readonly #windowSize: number;
  #other: SimConnection | undefined;
  #handlers: ConnectionHandlers | undefined;

  readonly #outbox: Uint8Array[] = [];
  /** Bytes of the outbox's first buffer that are already on their way. */
  #outboxOffset = 0;
  #outboxSize = 0;
  /** Bytes on their way or not yet taken by the other end. */
  #windowUsed = 0;
  #awaitsDrain = false;
  #ending = false;
  #endSent = false;

  readonly #inbox: Uint8Array[] = [];
  #endArrived = false;
  #paused = false;
  #delivering = false;
  /** Bytes taken of which the other end does not know, and whether it is being told. */
  #takenSize = 0;
  #acknowledging = false;

  /** Nothing more is delivered, except `closed`. */
  #over = false;
  #error: Error | undefined;

  constructor(
    world: ConnectionWorld,
    incarnation: Incarnation,
    remote: string,
    peer: string,
    carry: Carrier,
    forget: (connection: SimConnection) => void,
  ) {
    this.#world = world;
    this.incarnation = incarnation;
    this.remote = remote;
    this.peer = peer;
    this.#carry = carry;
    this.#forget = forget;
    this.#windowSize = Math.floor(world.random.between(world.settings.windowSize));
  }

  /** Before anything else: names the other end. */
  join(other: SimConnection): void {
    this.#other = other;
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === undefined, `connection to ${this.peer} was started twice`);
    this.#handlers = handlers;
    if (this.#over) this.#event("net closed", () => handlers.closed(this.#error));
    else this.#deliverSoon();
  }

  write(buffers: readonly Uint8Array[]): boolean {
    if (this.#ending || this.#over || !this.incarnation.alive) return false;
    for (const buffer of buffers) {
      if (buffer.length === 0) continue;
      this.#outbox.push(buffer);
      this.#outboxSize += buffer.length;
    }
    this.#pump();
    if (this.#outboxSize <= highWaterSize) return true;
    this.#awaitsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliverSoon();
  }

  end(): void {
    if (this.#ending || this.#over || !this.incarnation.alive) return;
    this.#ending = true;
    this.#pump();
  }

  destroy(error?: Error): void {
    if (this.#over || !this.incarnation.alive) return;
    const clean = error === undefined && this.#world.random.chance(0.5);
    this.#carryTo((other) => (clean ? other.#arriveEnd() : other.#break("reset by the other side")), "net reset");
    this.#finish(error);
  }

  /** Breaks the connection at both ends: soon, or, at the other end, only after seconds of silence. */
  sever(when: "soon" | "late"): void {
    if (this.#over) return;
    const other = this.#other as SimConnection;
    const { random, schedule } = this.#world;
    const delayMs = when === "soon" ? random.between([0, 5]) : random.between([1_000, 30_000]);
    schedule.add(delayMs, other.incarnation, `net lost ${this.incarnation.machine}`, () => other.#break("lost"));
    if (this.incarnation.alive) this.#break("lost");
    else this.#over = true;
    this.#forget(this);
  }

  /** Sends what the window allows. */
  #pump(): void {
    const { random, settings } = this.#world;
    while (this.#outboxSize > 0 && this.#windowUsed < this.#windowSize) {
      const most = Math.min(this.#outboxSize, this.#windowSize - this.#windowUsed, pieceSizeMax);
      const piece = this.#take(random.chance(settings.splitChance) ? 1 + random.below(most) : most);
      this.#windowUsed += piece.length;
      this.#carryTo((other) => other.#arrive(piece), `net data ${piece.length}`, piece.length);
      if (settings.cutChance > 0 && random.chance(settings.cutChance)) {
        this.#event("net cut", () => this.sever("soon"));
      }
    }
    if (this.#ending && !this.#endSent && this.#outboxSize === 0) {
      this.#endSent = true;
      this.#carryTo((other) => other.#arriveEnd(), "net end");
      this.#finishIfDone();
    }
    if (this.#awaitsDrain && this.#outboxSize <= lowWaterSize && !this.#ending) {
      this.#awaitsDrain = false;
      this.#event("net drained", () => {
        if (!this.#over) this.#handlers?.drained();
      });
    }
  }

  /** Copies the next `size` bytes out of the outbox. */
  #take(size: number): Uint8Array {
    const piece = new Uint8Array(size);
    let filled = 0;
    while (filled < size) {
      const first = this.#outbox[0] as Uint8Array;
      const part = first.subarray(this.#outboxOffset, this.#outboxOffset + size - filled);
      piece.set(part, filled);
      filled += part.length;
      this.#outboxOffset += part.length;
      if (this.#outboxOffset === first.length) {
        this.#outbox.shift();
        this.#outboxOffset = 0;
      }
    }
    this.#outboxSize -= size;
    return piece;
  }

  #arrive(piece: Uint8Array): void {
    if (this.#over) {
      // Nobody is here any more; the system answers for them.
      this.#carryTo((other) => other.#break("reset by the other side"), "net reset");
      return;
    }
    this.#inbox.push(piece);
    this.#deliver();
  }

  #arriveEnd(): void {
    this.#endArrived = true;
    this.#deliver();
  }

  #deliverSoon(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    this.#event("net deliver", () => {
      this.#delivering = false;
      this.#deliver();
    });
  }

  /** Hands over what has arrived, unless the reader has paused or not begun. */
  #deliver(): void {
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    while (this.#inbox.length > 0 && !this.#paused && !this.#over) {
      const piece = this.#inbox.shift() as Uint8Array;
      this.#takenSize += piece.length;
      handlers.data(piece);
      piece.fill(poison);
      this.#acknowledge();
    }
    if (this.#inbox.length === 0 && this.#endArrived && !this.#over) {
      this.end();
      this.#finishIfDone();
    }
  }

  /** Tells the other end what was taken; what is taken while that is under way goes along. */
  #acknowledge(): void {
    if (this.#acknowledging) return;
    this.#acknowledging = true;
    this.#carryTo((other) => {
      this.#acknowledging = false;
      other.#windowUsed -= this.#takenSize;
      this.#takenSize = 0;
      if (!other.#over) other.#pump();
      return inner;
    }, "net taken");
  }

  #finishIfDone(): void {
    if (this.#endSent && this.#endArrived && this.#inbox.length === 0) this.#finish(undefined);
  }

  #break(reason: string): void {
    if (this.#over) return;
    this.#finish(new HoldfastError("unavailable", `connection to ${this.peer}: ${reason}`));
  }

  #finish(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#outbox.length = 0;
    this.#outboxSize = 0;
    this.#inbox.length = 0;
    this.#forget(this);
    const handlers = this.#handlers;
    if (handlers !== undefined) this.#event("net closed", () => handlers.closed(error));
  }

  #carryTo(run: (other: SimConnection) => ReturnType<Happening>, label: string, size = 0): void {
    const other = this.#other as SimConnection;
    this.#carry(size, other.incarnation, label, () => run(other));
  }

  #event(label: string, run: () => void): void {
    this.#world.schedule.add(0, this.incarnation, label, run);
  }
}
