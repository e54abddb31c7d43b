/**
 * One call as the server sees it, from its first frame until its handler has settled.
 *
 * | state     | left by                                 | meaning                                     |
 * |-----------|-----------------------------------------|---------------------------------------------|
 * | receiving | `#begin` → running, `abort` → over      | the one request is in parts, not all here   |
 * | running   | `#answer`, `#stream`, `abort` → over    | the handler works, or its answer is sent    |
 * | over      | –                                       | nothing is sent; the handler may still work |
 *
 * 1. At most one final frame is sent: the last message, an end, or an error. After it, or after `abort`, nothing.
 * 2. A call counts as under way until its handler has settled, also when nobody waits for it any more: a client that
 *    cancels and calls again does not multiply the work.
 * 3. `signal` has aborted when the call was over before the handler settled.
 */
import { HoldfastError, limits } from "../base/index.ts";
import type { Logger } from "../base/index.ts";
import type { Channel } from "./channel.ts";
import { Expiring } from "./deadlines.ts";
import type { Deadlines } from "./deadlines.ts";
import { encodeError, frameFlag, frameType, malformed } from "./frame.ts";
import { Inbox, undecodable } from "./inbox.ts";
import type { InboxOwner } from "./inbox.ts";
import { messageTooLarge, Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import type { Call, ServedMethod } from "./service.ts";

/** The connection and the server behind a call. */
export interface CallHost {
  readonly channel: Channel;
  readonly deadlines: Deadlines;
  readonly logger: Logger;
  /** The call lives longer than its first frame. */
  began(call: ServerCall): void;
  /** No frame of it is sent or taken any more. */
  over(call: ServerCall): void;
  /** A call that began does nothing any more. */
  settled(call: ServerCall): void;
  /** Whether the server has room for a request of this size; if so, `release` gives it back. */
  hold(size: number): boolean;
  release(size: number): void;
}

/** Requests longer than this count towards the memory that requests may take. */
const heldSizeMin = 65_536;

export class ServerCall extends Expiring implements Call, InboxOwner {
  readonly id: number;
  readonly #host: CallHost;
  readonly #served: ServedMethod;
  readonly #timeoutMs: number;
  /** On the monotonic clock; 0 without deadline. */
  readonly #deadlineAtMs: number;

  #began = false;
  #running = false;
  #over = false;
  #requestsOver = false;
  #heldSize = 0;
  #abortReason: HoldfastError | undefined;
  #controller: AbortController | undefined;
  #receiver: Receiver | undefined;
  #inbox: Inbox<unknown> | undefined;
  #sender: Sender | undefined;
  #iterator: AsyncIterator<unknown> | undefined;
  #returned: Promise<unknown> | undefined;

  constructor(host: CallHost, id: number, served: ServedMethod, timeoutMs: number) {
    super();
    this.id = id;
    this.#host = host;
    this.#served = served;
    this.#timeoutMs = timeoutMs;
    this.#deadlineAtMs = timeoutMs === 0 ? 0 : host.channel.arrivedMs() + timeoutMs;
  }

  get peer(): string {
    return this.#host.channel.peer;
  }

  get deadlineMs(): number | undefined {
    if (this.#timeoutMs === 0) return undefined;
    return Math.max(0, this.#deadlineAtMs - this.#host.channel.clock.monotonicMs());
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** Takes the rest of the open frame, from `start` on. */
  open(kind: number, bytes: Uint8Array, start: number, end: number): void {
    const hasContent = (kind & frameFlag.content) !== 0;
    if (!this.#takesOneRequest()) {
      this.#receiver = new Receiver(this.#host.channel, this.id);
      const inbox = new Inbox(this.#served.method.request, this, "invalid");
      this.#inbox = inbox;
      this.#begun();
      if (hasContent) this.message(kind, bytes, start, end);
      else if ((kind & frameFlag.end) !== 0) this.end();
      if (!this.#over) this.#run(inbox);
    } else if (hasContent && (kind & frameFlag.more) === 0) {
      // Nearly every call: the whole request in one frame.
      this.#requestsOver = true;
      this.#begin(this.#host.channel.keep(start, end));
    } else {
      this.#receiver = new Receiver(this.#host.channel, this.id);
      this.#begun();
      if (hasContent) this.message(kind, bytes, start, end);
      else if ((kind & frameFlag.end) !== 0) this.end();
    }
  }

  /** Takes a message frame. */
  message(kind: number, bytes: Uint8Array, start: number, end: number): void {
    const receiver = this.#receiver;
    if (this.#requestsOver || receiver === undefined) throw malformed(`call ${this.id} goes on after its end`);
    let item;
    try {
      item = receiver.accept(kind, bytes, start, end);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "invalid") throw error;
      this.fail(error);
      return;
    }
    if (item === undefined) return;
    if (this.#inbox === undefined) {
      this.#requestsOver = true;
      this.#begin(item.bytes);
      return;
    }
    this.#inbox.push(item);
    if ((kind & frameFlag.end) !== 0) this.end();
  }

  /** Takes an end frame: no request follows. */
  end(): void {
    if (this.#requestsOver && this.#inbox !== undefined) throw malformed(`call ${this.id} ends twice`);
    if (this.#requestsOver) return;
    this.#requestsOver = true;
    if (this.#inbox !== undefined) this.#inbox.end(undefined);
    else this.fail(new HoldfastError("invalid", `${this.#served.label} was called without a request`));
  }

  credit(size: number): void {
    this.#sender?.grant(size);
  }

  /** The deadline has passed. */
  expire(): void {
    const what = `${this.#served.label} did not answer within ${this.#timeoutMs} ms`;
    this.fail(new HoldfastError("timeout", what, { maybe: true }));
  }

  /** Ends the call with an error for the client. */
  fail(error: HoldfastError): void {
    if (this.#over) return;
    this.#host.channel.control(frameType.error, this.id, encodeError(error));
    this.abort(error);
  }

  /** Ends the call, of which the client wants or can learn nothing any more. */
  abort(reason: HoldfastError): void {
    if (this.#over) return;
    this.#abortReason = reason;
    this.#finish();
    this.#sender?.close();
    this.#inbox?.end(reason);
    this.#controller?.abort(reason);
    this.#return();
    // Nobody settles a call whose handler was never called.
    if (this.#began && !this.#running) this.#settle();
  }

  /** @internal For the inbox. */
  taken(cost: number): void {
    if (!this.#over && !this.#requestsOver) this.#receiver?.taken(cost);
  }

  /** @internal For the inbox: the handler wants no more requests. It gets none, and no credit is granted. */
  abandoned(): void {}

  #takesOneRequest(): boolean {
    const { kind } = this.#served.method;
    return kind === "unary" || kind === "serverStream";
  }

  #begun(): void {
    if (this.#began) return;
    this.#began = true;
    this.#host.began(this);
    if (this.#timeoutMs > 0) this.#host.deadlines.add(this, this.#deadlineAtMs, this.#timeoutMs);
  }

  #begin(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length > heldSizeMin) {
      if (!this.#host.hold(length)) {
        const what = `the server has no room for a request of ${length} bytes beside those under way`;
        this.fail(new HoldfastError("exhausted", `${what}; retry later (requestSizeTotalMax)`));
        return;
      }
      this.#heldSize = length;
    }
    let request: unknown;
    try {
      request = this.#served.method.request.decode(bytes);
    } catch (cause) {
      this.fail(undecodable("invalid", cause));
      this.#settle();
      return;
    }
    this.#run(request);
  }

  #run(request: unknown): void {
    this.#running = true;
    const { kind } = this.#served.method;
    let result: unknown;
    try {
      result = this.#served.handle(request as never, this);
    } catch (error) {
      this.#failed(error);
      this.#settle();
      return;
    }
    if (kind === "serverStream" || kind === "bidirectional") {
      this.#begun();
      void this.#stream(result as AsyncIterable<unknown>);
    } else if (isPromise(result)) {
      this.#begun();
      result.then(this.#answered, this.#refused);
    } else {
      this.#answer(result);
    }
  }

  readonly #answered = (value: unknown) => this.#answer(value);

  readonly #refused = (error: unknown) => {
    this.#failed(error);
    this.#settle();
  };

  /** Sends the one response. */
  #answer(value: unknown): void {
    if (!this.#over && !this.#send(value)) return;
    this.#finish();
    this.#settle();
  }

  /** True if the response is sent, or nothing ever will be; false if it waits, and the call goes on until it is. */
  #send(value: unknown): boolean {
    let bytes: Uint8Array;
    try {
      bytes = this.#encode(value);
    } catch (error) {
      this.#failed(error);
      return true;
    }
    const { channel } = this.#host;
    if (!channel.blocked && bytes.length <= channel.partSize) {
      channel.message(frameFlag.end, this.id, bytes, 0);
      return true;
    }
    this.#begun();
    const sender = new Sender(channel, this.id);
    this.#sender = sender;
    if (sender.send(bytes, true)) return true;
    void sender.drained().then(() => {
      this.#finish();
      this.#settle();
    });
    return false;
  }

  async #stream(responses: AsyncIterable<unknown>): Promise<void> {
    const sender = new Sender(this.#host.channel, this.id);
    this.#sender = sender;
    try {
      const iterator = responses[Symbol.asyncIterator]();
      this.#iterator = iterator;
      while (!this.#over) {
        const { done, value } = await iterator.next();
        if (this.#over) break;
        if (done === true) {
          this.#iterator = undefined;
          sender.end();
          this.#finish();
          break;
        }
        if (!sender.send(this.#encode(value), false)) await sender.drained();
      }
    } catch (error) {
      this.#failed(error);
    }
    this.#return();
    await this.#returned;
    this.#settle();
  }

  #encode(value: unknown): Uint8Array {
    const bytes = this.#served.method.response.encode(value as never);
    if (bytes.length > limits.messageSizeMax) throw messageTooLarge(bytes.length);
    return bytes;
  }

  /** The handler has failed. */
  #failed(error: unknown): void {
    if (this.#over) return;
    if (error instanceof HoldfastError) {
      this.fail(error);
      return;
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#host.logger.log("error", "an rpc handler failed", {
      method: this.#served.label,
      peer: this.peer,
      error: text,
    });
    this.fail(new HoldfastError("unavailable", `${this.#served.label}: internal error`, { maybe: true }));
  }

  /** Lets the handler's generator run its `finally`. */
  #return(): void {
    const iterator = this.#iterator;
    if (iterator?.return === undefined) return;
    this.#iterator = undefined;
    // Nobody is there to hear of a failure of the cleaning up.
    this.#returned = Promise.resolve(iterator.return()).then(ignore, ignore);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.deadlines.remove(this);
    this.#receiver?.close();
    if (this.#began) this.#host.over(this);
  }

  /** The handler does nothing any more. */
  #settle(): void {
    if (this.#heldSize > 0) this.#host.release(this.#heldSize);
    this.#heldSize = 0;
    if (!this.#began) return;
    this.#began = false;
    this.#inbox?.end(undefined);
    this.#host.settled(this);
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

function ignore(): void {}
