/**
 * The sending half of a stream of messages in one call: it obeys the peer's credit and takes turns with other senders.
 *
 * 1. Never more bytes are sent than the peer has granted, messages' overhead included.
 * 2. After the last message, or `close`, nothing is sent.
 */
import { assert, deferred, emptyBytes } from "../base/index.ts";
import type { Deferred } from "../base/index.ts";
import type { Channel, Queued } from "./channel.ts";
import { frameFlag, frameType, malformed, messageOverhead } from "./frame.ts";

const creditMax = 2 ** 40;
/** A part is not cut shorter than this for want of credit. */
const partSizeMin = 1_024;

export class Sender implements Queued {
  /** @internal The channel's line of waiting senders. */
  listed = false;
  next: Queued | undefined;
  listedSize = 0;

  readonly #channel: Channel;
  readonly #call: number;
  /** Messages leave in this turn. */
  readonly #prompt: boolean;
  #credit: number;
  /** Messages not yet sent in full; usually one. */
  readonly #queue: Uint8Array[] = [];
  /** Bytes of the first one that are sent. */
  #offset = 0;
  #waitingSize = 0;
  /** No message follows those in the queue. */
  #ending = false;
  #over = false;
  #drained: Deferred<void> | undefined;

  constructor(channel: Channel, call: number, prompt = false) {
    this.#channel = channel;
    this.#call = call;
    this.#prompt = prompt;
    this.#credit = channel.peerSettings.windowSize;
  }

  /** Bytes that wait to be sent. */
  get waitingSize(): number {
    return this.#waitingSize;
  }

  /** Sends a message, the last one if `last`. False if it has to wait: send the next after `drained`. */
  send(message: Uint8Array, last: boolean): boolean {
    if (this.#over) return true;
    assert(!this.#ending, "a message is sent after the last one");
    const cost = message.length + messageOverhead;
    const channel = this.#channel;
    if (this.#queue.length === 0 && !channel.blocked && message.length <= channel.partSize && cost <= this.#credit) {
      this.#credit -= cost;
      if (last) this.#over = true;
      channel.message(last ? frameFlag.end : 0, this.#call, message, 0, this.#prompt);
      return true;
    }
    this.#ending = last;
    this.#queue.push(message);
    this.#waitingSize += message.length;
    channel.list(this);
    return this.#queue.length === 0;
  }

  /** Takes over a message of which the open frame held the first `offset` bytes. */
  goOn(message: Uint8Array, offset: number, last: boolean): void {
    this.#credit -= offset + messageOverhead;
    this.#offset = offset;
    this.#ending = last;
    this.#queue.push(message);
    this.#waitingSize = message.length - offset;
    this.#channel.list(this);
  }

  /** Says that no message follows. */
  end(): void {
    if (this.#over || this.#ending) return;
    this.#ending = true;
    if (this.#queue.length > 0) return;
    this.#over = true;
    this.#channel.control(frameType.end, this.#call, emptyBytes);
  }

  /** Resolves when everything is sent or nothing will be any more. */
  drained(): Promise<void> {
    if (this.#queue.length === 0 || this.#over) return Promise.resolve();
    this.#drained ??= deferred<void>();
    return this.#drained.promise;
  }

  /** The peer has granted more. */
  grant(size: number): void {
    this.#credit += size;
    if (this.#credit > creditMax) throw malformed(`the credit of call ${this.#call} exceeds ${creditMax} bytes`);
    if (this.#queue.length > 0) this.#channel.list(this);
  }

  /** Nothing is sent any more; what waits is dropped. */
  close(): void {
    this.#over = true;
    this.#queue.length = 0;
    this.#waitingSize = 0;
    this.#settle();
  }

  /** Sends one part; true if another could follow at once. */
  step(): boolean {
    const message = this.#queue[0];
    if (message === undefined || this.#over) return false;
    const { length } = message;
    const offset = this.#offset;
    const overhead = offset === 0 ? messageOverhead : 0;
    const wanted = Math.min(length - offset, this.#channel.partSize);
    const size = Math.min(wanted, this.#credit - overhead);
    if (size < wanted && size < partSizeMin) return false;
    this.#credit -= size + overhead;
    this.#waitingSize -= size;
    this.#offset = offset + size;
    const finished = this.#offset === length;
    const last = finished && this.#ending && this.#queue.length === 1;
    const flags = finished ? (last ? frameFlag.end : 0) : frameFlag.more;
    const whole = size === length;
    this.#channel.message(
      flags,
      this.#call,
      whole ? message : message.subarray(offset, offset + size),
      offset === 0 && !finished ? length : 0,
      this.#prompt,
    );
    if (!finished) return true;
    this.#queue.shift();
    this.#offset = 0;
    if (last) this.#over = true;
    if (this.#queue.length > 0) return true;
    this.#settle();
    return false;
  }

  #settle(): void {
    const drained = this.#drained;
    this.#drained = undefined;
    drained?.resolve();
  }
}
