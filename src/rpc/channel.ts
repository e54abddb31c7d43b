/**
 * One connection as both halves of rpc use it: prefaces, frames out and in, back-pressure, fairness, keep-alive, and the
 * end of it all. What frames mean is the business of its owner, the client's or the server's half.
 *
 * | state   | left by                                   | meaning                                     |
 * |---------|-------------------------------------------|---------------------------------------------|
 * | opening | `preface` → open, `#finish` → over        | our preface is sent, the peer's has not come |
 * | open    | `close`, `fail`, `#finish` → over         | frames go both ways                          |
 * | over    | –                                         | the owner was told, nothing is sent or taken |
 *
 * 1. Frames leave together: those of calls in a microtask after the code that wrote them, those of streams, unless they
 *    are `prompt`, in the next turn, all as soon as 256 KiB have come together.
 * 2. While the connection takes no more (`blocked`), only small frames about calls are collected; messages wait in their
 *    senders, which take turns part by part when it takes more again.
 * 3. With `pauses`, nothing is read while more than `backlogSizeMax` bytes wait for a peer that does not read.
 * 4. A malformed frame ends this connection with `corrupt`, and the peer is told why.
 * 5. The owner's `closed` is called exactly once, and nothing of the owner after it.
 */
import { deferred, HoldfastError } from "../base/index.ts";
import type { Clock, Connection, Env, Timer } from "../base/index.ts";
import { AssemblyBudget } from "./assembly-budget.ts";
import { KeepAlive } from "./channel-keep-alive.ts";
import type { KeepAliveOptions } from "./channel-keep-alive.ts";
import { defaultSettings, encodeError, encodePreface, frameFlag, frameType, partSize, typeMask } from "./frame.ts";
import type { ChannelSettings } from "./frame.ts";
import { FrameOutput, varintSize } from "./frame-output.ts";
import { FrameReader } from "./frame-reader.ts";

/** What waits for the connection to take more, in a line with others. The first members belong to the line. */
export interface Queued {
  listed: boolean;
  next: Queued | undefined;
  listedSize: number;
  /** Bytes that wait to be sent. */
  readonly waitingSize: number;
  /** Sends one part; true if another could follow at once. */
  step(): boolean;
  /** The connection is over. */
  close(): void;
}

export interface ChannelOwner {
  /** The peer's preface has come: calls may be sent. */
  opened(): void;
  /** A frame about a call or a bind or go-away frame. May throw `corrupt`. The place is valid during the call only. */
  frame(kind: number, call: number, bytes: Uint8Array, start: number, end: number): void;
  /** The connection takes messages again. */
  writable(): void;
  closed(error: HoldfastError): void;
}

export interface ChannelOptions extends KeepAliveOptions {
  readonly settings: ChannelSettings;
  /** Stop reading while the peer does not (3). */
  readonly pauses: boolean;
}

export const keepAliveDefaults = { keepAliveMs: 10_000, keepAliveTimeoutMs: 5_000 } as const;

const flushSize = 262_144;
const backlogSizeMax = 1_048_576;
/** Bytes of unfinished large messages on one connection. */
const assemblySizeMax = 67_108_864;
/** How long a connection that was ended with an error may take to send the reason. */
const lingerMs = 1_000;

export class Channel {
  readonly peer: string;
  readonly clock: Clock;
  readonly settings: ChannelSettings;
  readonly assemblies = new AssemblyBudget(assemblySizeMax);
  /** What the peer announced; until then the least that every peer grants. */
  peerSettings: ChannelSettings = defaultSettings;
  /** The longest message that goes in one frame. */
  partSize = 0;
  /** The connection's own queue is full: messages wait until `writable`. */
  blocked = false;

  readonly #connection: Connection;
  readonly #owner: ChannelOwner;
  readonly #options: ChannelOptions;
  readonly #reader: FrameReader;
  readonly #output = new FrameOutput();
  #flushing = false;
  #flushingLater = false;
  #over = false;
  readonly #gone = deferred<void>();

  /** Senders that wait for the connection, in turn, and the bytes that they hold. */
  #firstSender: Queued | undefined;
  #lastSender: Queued | undefined;
  #listedSize = 0;
  #pumping = false;
  #sendersFirst = false;
  #paused = false;

  #arrivedMs = -1;
  #pongDue = false;
  readonly #keepAlive: KeepAlive;
  /** Ends the connection for good if the peer does not. */
  #linger: Timer | undefined;

  /** Sends the preface at once. */
  constructor(env: Env, connection: Connection, owner: ChannelOwner, options: ChannelOptions) {
    this.peer = connection.peer;
    this.clock = env.clock;
    this.settings = options.settings;
    this.#connection = connection;
    this.#owner = owner;
    this.#options = options;
    this.#reader = new FrameReader(this, options.settings.frameSizeMax);
    this.#keepAlive = new KeepAlive(this.clock, options, {
      ping: () => this.#ping(),
      givenUp: (how) => {
        this.destroy(new HoldfastError("unavailable", `the connection to ${this.peer} was given up after ${how}`));
      },
    });
    connection.start({
      data: (bytes) => this.#data(bytes),
      drained: () => this.#drained(),
      closed: (error) => {
        this.#linger?.cancel();
        this.#gone.resolve();
        this.#finish(this.#lost(error));
      },
    });
    this.#output.bytes(encodePreface(options.settings));
    this.#written();
  }

  /** Resolves when the connection below is closed too, at both ends or for good. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** When the frame being handled arrived, on the monotonic clock: read once for all frames of one chunk. */
  arrivedMs(): number {
    if (this.#arrivedMs < 0) this.#arrivedMs = this.clock.monotonicMs();
    return this.#arrivedMs;
  }

  get over(): boolean {
    return this.#over;
  }

  /** The peer is to answer what was written: it is asked soon whether it lives if nothing comes. */
  expectAnswer(): void {
    this.#keepAlive.expect();
  }

  /**
   * Writes a whole message or a part of one. `totalSize` is given with the first of several parts, else 0. A `prompt` one
   * leaves in this turn.
   */
  message(flags: number, call: number, bytes: Uint8Array, totalSize: number, prompt = false): void {
    if (this.#over) return;
    const output = this.#output;
    const prefixSize = totalSize === 0 ? 0 : varintSize(totalSize);
    output.header(frameType.message | flags, call, prefixSize + bytes.length);
    if (totalSize > 0) output.varint(totalSize);
    output.bytes(bytes);
    // More of a stream is likely to follow within the turn.
    if ((flags & frameFlag.end) === 0 && !prompt) this.#writtenMore();
    else this.#written();
  }

  /** Opens a call; the flags say whether and how much of a message `bytes` is. */
  open(
    flags: number,
    call: number,
    service: number,
    method: number,
    timeoutMs: number,
    bytes: Uint8Array,
    totalSize: number,
  ): void {
    if (this.#over) return;
    const output = this.#output;
    let size = varintSize(service) + varintSize(method) + varintSize(timeoutMs) + bytes.length;
    if (totalSize > 0) size += varintSize(totalSize);
    output.header(frameType.open | flags, call, size);
    output.varint(service);
    output.varint(method);
    output.varint(timeoutMs);
    if (totalSize > 0) output.varint(totalSize);
    output.bytes(bytes);
    this.#written();
  }

  /** Writes a small frame whose body is `bytes`. */
  control(type: number, call: number, bytes: Uint8Array): void {
    if (this.#over) return;
    this.#output.header(type, call, bytes.length);
    this.#output.bytes(bytes);
    this.#written();
  }

  /** Writes a small frame whose body is one number. */
  number(type: number, call: number, value: number): void {
    if (this.#over) return;
    this.#output.header(type, call, varintSize(value));
    this.#output.varint(value);
    this.#written();
  }

  goAway(lastCall: number, error: HoldfastError): void {
    if (this.#over) return;
    const body = encodeError(error);
    this.#output.header(frameType.goAway, 0, varintSize(lastCall) + body.length);
    this.#output.varint(lastCall);
    this.#output.bytes(body);
    this.#written();
  }

  /** Bytes of the frame being handled that stay valid. */
  keep(start: number, end: number): Uint8Array {
    return this.#reader.keep(start, end);
  }

  /** Puts a sender at the end of those that wait for the connection. */
  list(sender: Queued): void {
    if (sender.listed || this.#over) return;
    sender.listed = true;
    sender.next = undefined;
    if (this.#lastSender === undefined) this.#firstSender = sender;
    else this.#lastSender.next = sender;
    this.#lastSender = sender;
    sender.listedSize = sender.waitingSize;
    this.#listedSize += sender.listedSize;
    if (!this.blocked) this.#pump(Infinity);
    else this.#checkBacklog();
  }

  /** Sends what was written and ends the connection in order. The owner is told `error`. */
  close(error: HoldfastError): void {
    if (this.#over) return;
    const buffers = this.#output.take();
    if (buffers.length > 0) this.#connection.write(buffers);
    this.#connection.end();
    this.#linger = this.clock.schedule(lingerMs, () => this.#connection.destroy());
    this.#finish(error);
  }

  /** Ends the connection because of what the peer did, telling it what (4). */
  fail(error: HoldfastError): void {
    this.goAway(0, error);
    this.close(error);
  }

  /** Ends the connection at once. */
  destroy(error: HoldfastError): void {
    if (this.#over) return;
    this.#connection.destroy(error);
    this.#finish(error);
  }

  /** @internal For the reader. */
  preface(settings: ChannelSettings): void {
    this.peerSettings = settings;
    this.partSize = partSize(settings);
    this.#keepAlive.open();
    this.#owner.opened();
  }

  /** @internal For the reader. */
  frame(kind: number, call: number, bytes: Uint8Array, start: number, end: number): void {
    const type = kind & typeMask;
    if (type === frameType.ping) {
      if (this.blocked) this.#pongDue = true;
      else this.#pong();
    } else if (type !== frameType.pong) {
      this.#owner.frame(kind, call, bytes, start, end);
    }
  }

  #lost(error: Error | undefined): HoldfastError {
    const cause = error === undefined ? {} : { cause: error };
    const how = error === undefined ? "was closed by the peer" : `was lost: ${error.message}`;
    return new HoldfastError("unavailable", `the connection to ${this.peer} ${how}`, cause);
  }

  #data(bytes: Uint8Array): void {
    if (this.#over) return;
    this.#keepAlive.hear();
    this.#arrivedMs = -1;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      // Everything that the sink does with users' code catches for itself: what comes here is about the bytes, or a bug.
      if (!(error instanceof HoldfastError) || error.code !== "corrupt") throw error;
      this.fail(error);
    }
  }

  #drained(): void {
    if (this.#over) return;
    this.#keepAlive.hear();
    this.blocked = false;
    if (this.#pongDue) this.#pong();
    if (this.#output.size > 0) this.#write();
    // Streams under way and calls that wait to begin take turns, so that neither starves the other.
    this.#sendersFirst = !this.#sendersFirst;
    if (this.#sendersFirst) this.#pump(flushSize);
    if (!this.blocked) this.#owner.writable();
    if (!this.blocked) this.#pump(Infinity);
    if (this.#paused && !this.blocked) {
      this.#paused = false;
      this.#connection.resume();
    }
  }

  #ping(): void {
    this.#output.header(frameType.ping, 0, 0);
    this.#written();
  }

  #pong(): void {
    this.#pongDue = false;
    this.#output.header(frameType.pong, 0, 0);
    this.#written();
  }

  #written(): void {
    if (this.blocked) {
      this.#checkBacklog();
    } else if (this.#output.size >= flushSize) {
      this.#write();
    } else if (!this.#flushing) {
      this.#flushing = true;
      queueMicrotask(this.#flush);
    }
  }

  readonly #flush = () => {
    this.#flushing = false;
    if (!this.#over && !this.blocked && this.#output.size > 0) this.#write();
  };

  /** As `#written`, but in no hurry. */
  #writtenMore(): void {
    if (this.blocked || this.#flushing || this.#output.size >= flushSize) {
      this.#written();
    } else if (!this.#flushingLater) {
      this.#flushingLater = true;
      this.clock.defer(this.#flushLater);
    }
  }

  readonly #flushLater = () => {
    this.#flushingLater = false;
    this.#flush();
  };

  #write(): void {
    this.#keepAlive.sent(this.#output.size);
    if (!this.#connection.write(this.#output.take())) this.blocked = true;
  }

  #checkBacklog(): void {
    if (this.#paused || !this.#options.pauses) return;
    if (this.#output.size + this.#listedSize <= backlogSizeMax) return;
    this.#paused = true;
    this.#connection.pause();
  }

  /** Lets the listed senders send in turn, until the connection is blocked or about `size` bytes were sent. */
  #pump(size: number): void {
    if (this.#pumping) return;
    this.#pumping = true;
    let left = size;
    while (!this.blocked && left > 0) {
      const sender = this.#firstSender;
      if (sender === undefined) break;
      this.#firstSender = sender.next;
      if (sender.next === undefined) this.#lastSender = undefined;
      sender.next = undefined;
      sender.listed = false;
      this.#listedSize -= sender.listedSize;
      left -= this.partSize;
      if (sender.step()) this.list(sender);
    }
    this.#pumping = false;
  }

  #finish(error: HoldfastError): void {
    if (this.#over) return;
    this.#over = true;
    this.#reader.stop();
    this.#keepAlive.stop();
    this.assemblies.close();
    let sender = this.#firstSender;
    this.#firstSender = undefined;
    this.#lastSender = undefined;
    while (sender !== undefined) {
      const { next } = sender;
      sender.close();
      sender = next;
    }
    this.#owner.closed(error);
  }
}
