/**
 * The receiving half of a stream of messages in one call: it puts parts together and grants credit as messages are
 * taken.
 *
 * 1. The peer holds at most `window` bytes of credit; more than that from it is malformed.
 * 2. A message longer than the credit left is finished on extra credit, which is granted when everything before it has
 *    been taken and the connection's budget for unfinished messages has room. So a call holds at most one window and
 *    one message.
 */
import { HoldfastError, limits } from "../base/index.ts";
import type { Channel } from "./channel.ts";
import { BodyReader, frameFlag, frameType, malformed, messageOverhead } from "./frame.ts";

const body = new BodyReader();

/** A message and what taking it gives back as credit. */
export interface Received {
  readonly bytes: Uint8Array;
  readonly cost: number;
}

export class Receiver {
  readonly #channel: Channel;
  readonly #call: number;
  /** Credit that the peer holds. */
  #window: number;
  /** Bytes taken that the peer has not been told of. */
  #owed = 0;
  #untakenCount = 0;

  /** The message in parts, of which `#filled` bytes of `#total` have come. */
  #assembly: Uint8Array | undefined;
  #filled = 0;
  #total = 0;
  /** Credit granted for this message alone. */
  #advance = 0;
  #release: (() => void) | undefined;

  constructor(channel: Channel, call: number) {
    this.#channel = channel;
    this.#call = call;
    this.#window = channel.settings.windowSize;
  }

  /**
   * Takes the content of a frame. Gives the message if it is complete. Throws `corrupt` if the frame is malformed, and
   * `invalid` if the message is over the limit, which is the call's failure alone.
   */
  accept(kind: number, bytes: Uint8Array, start: number, end: number): Received | undefined {
    const more = (kind & frameFlag.more) !== 0;
    if (this.#assembly !== undefined) return this.#append(bytes, start, end, more);
    if (!more) {
      const cost = end - start + messageOverhead;
      this.#charge(cost);
      this.#untakenCount++;
      return { bytes: this.#channel.keep(start, end), cost };
    }
    const total = body.over(bytes, start, end).varint();
    const partStart = body.position;
    const size = end - partStart;
    if (size === 0 || size >= total) throw malformed(`the first part of a message has ${size} of ${total} bytes`);
    this.#charge(size + messageOverhead);
    if (total > limits.messageSizeMax) throw messageTooLarge(total);
    // Memory grows with what has come, not with what is announced, until all of it may come.
    this.#assembly = new Uint8Array(Math.min(total, 2 * size));
    this.#assembly.set(bytes.subarray(partStart, end));
    this.#filled = size;
    this.#total = total;
    this.#advanceIfDue();
    return undefined;
  }

  /** The user has taken a message of this cost. */
  taken(cost: number): void {
    this.#untakenCount--;
    this.#owed += cost;
    if (2 * this.#owed >= this.#channel.settings.windowSize) {
      const owed = this.#owed;
      this.#owed = 0;
      this.#grant(owed);
    }
    this.#advanceIfDue();
  }

  /** The call is over; what was put together is dropped. */
  close(): void {
    this.#assembly = undefined;
    this.#release?.();
    this.#release = undefined;
  }

  #append(bytes: Uint8Array, start: number, end: number, more: boolean): Received | undefined {
    const size = end - start;
    const filled = this.#filled + size;
    const total = this.#total;
    if (size === 0 || filled > total || (filled === total) === more) {
      throw malformed(`a part of ${size} bytes makes ${filled} of ${total} bytes of a message`);
    }
    this.#charge(size);
    this.#enlarge(filled);
    const assembly = this.#assembly as Uint8Array;
    assembly.set(bytes.subarray(start, end), this.#filled);
    this.#filled = filled;
    if (more) return undefined;
    const cost = total + messageOverhead - this.#advance;
    this.#advance = 0;
    this.#untakenCount++;
    this.close();
    return { bytes: assembly, cost };
  }

  #enlarge(size: number): void {
    const assembly = this.#assembly as Uint8Array;
    if (assembly.length >= size) return;
    const larger = new Uint8Array(Math.min(this.#total, 2 * size));
    larger.set(assembly.subarray(0, this.#filled));
    this.#assembly = larger;
  }

  #charge(cost: number): void {
    this.#window -= cost;
    if (this.#window < 0) throw malformed(`call ${this.#call} received ${-this.#window} bytes over its credit`);
  }

  #grant(size: number): void {
    this.#window += size;
    this.#channel.number(frameType.credit, this.#call, size);
  }

  /** Sees to it that the message in parts can be finished (2). */
  #advanceIfDue(): void {
    if (this.#assembly === undefined || this.#release !== undefined || this.#untakenCount > 0) return;
    if (this.#total - this.#filled <= this.#window) return;
    this.#release = this.#channel.assemblies.reserve(this.#total, () => {
      if (this.#assembly === undefined) return;
      const lacking = this.#total - this.#filled - this.#window;
      if (lacking <= 0) return;
      this.#advance = lacking;
      this.#enlarge(this.#total);
      this.#grant(lacking);
    });
  }
}

export function messageTooLarge(size: number): HoldfastError {
  const limit = `the limit is ${limits.messageSizeMax} (limits.messageSizeMax); send it in several`;
  return new HoldfastError("invalid", `a message is ${size} bytes; ${limit}`);
}
