/**
 * One call as the client sees it, from the stub's function to the outcome.
 *
 * | state   | left by                                             | meaning                                      |
 * |---------|-----------------------------------------------------|----------------------------------------------|
 * | waiting | `sentOn` → sent, `fail` → over                      | no frame of it has been written              |
 * | sent    | `message`, `end`, `fail` → over, `unsent` → waiting | the server may be at work                    |
 * | over    | –                                                   | the caller has the outcome, or will take it  |
 *
 * 1. The outcome is given exactly once. An error has `maybe` if and only if the call was sent and the server did not say
 *    otherwise.
 * 2. A call that ends early on this side is cancelled on the other.
 */
import { abortError, HoldfastError, limits } from "../base/index.ts";
import type { ErrorCode } from "../base/index.ts";
import type { Channel } from "./channel.ts";
import type { Method } from "./contract.ts";
import { Expiring } from "./deadlines.ts";
import { codeNumber, frameFlag, frameType, malformed } from "./frame.ts";
import { Inbox, undecodable } from "./inbox.ts";
import type { InboxOwner } from "./inbox.ts";
import { messageTooLarge, Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";

/** A method as the client calls it. */
export interface CalledMethod {
  readonly service: string;
  /** `holdfast.member.Store.status`, for messages. */
  readonly label: string;
  readonly method: Method;
}

/** The client behind its calls. */
export interface CallPool {
  /** The call waits or is sent no longer. */
  over(call: ClientCall): void;
  /** Why there is no connection, for the message of a call that waited for one in vain. */
  connectionTrouble(): string;
}

/** The connection that a call was sent on. */
export interface CallCarrier {
  readonly channel: Channel;
  over(call: ClientCall): void;
  /** Notes that a call failed with this error for lack of an answer. */
  blamed(error: HoldfastError): void;
}

type Requests = AsyncIterable<unknown> | Iterable<unknown>;

// A promise's executor that is the same function for all promises: making a call makes no closure.
let takenResolve: (value: unknown) => void;
let takenReject: (error: unknown) => void;
const takeEnds = (resolve: (value: unknown) => void, reject: (error: unknown) => void) => {
  takenResolve = resolve;
  takenReject = reject;
};

export class ClientCall extends Expiring implements InboxOwner {
  readonly called: CalledMethod;
  /** The one request, encoded; undefined if requests are a stream. */
  readonly payload: Uint8Array | undefined;
  /** 0 without deadline. */
  readonly timeoutMs: number;
  /** On the monotonic clock. */
  deadlineAtMs = 0;
  /** The call's number on its connection; 0 while it waits. */
  id = 0;

  readonly #pool: CallPool;
  readonly #requests: Requests | undefined;
  readonly #prompt: boolean;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;
  #carrier: CallCarrier | undefined;
  #over = false;
  #resolve: ((value: unknown) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;
  #inbox: Inbox<unknown> | undefined;
  #receiver: Receiver | undefined;
  #sender: Sender | undefined;
  #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;

  constructor(
    pool: CallPool,
    called: CalledMethod,
    payload: Uint8Array | undefined,
    requests: Requests | undefined,
    timeoutMs: number,
    prompt: boolean,
  ) {
    super();
    if (payload !== undefined && payload.length > limits.messageSizeMax) throw messageTooLarge(payload.length);
    this.#pool = pool;
    this.called = called;
    this.payload = payload;
    this.#requests = requests;
    this.timeoutMs = timeoutMs;
    this.#prompt = prompt;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Makes the outcome one response. */
  asPromise(): Promise<unknown> {
    const promise = new Promise(takeEnds);
    this.#resolve = takenResolve;
    this.#reject = takenReject;
    return promise;
  }

  /** Makes the outcome a stream of responses. The call begins, with `start`, when the first is asked for. */
  asStream(start: () => void): Inbox<unknown> {
    const inbox = new Inbox(this.called.method.response, this, "corrupt", start);
    this.#inbox = inbox;
    return inbox;
  }

  /** Ends the call when `signal` aborts. */
  watch(signal: AbortSignal): void {
    if (signal.aborted) {
      this.#aborted(signal);
      return;
    }
    this.#signal = signal;
    this.#onAbort = () => this.#aborted(signal);
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** The open frame is about to be written. */
  sentOn(carrier: CallCarrier, id: number): void {
    this.#carrier = carrier;
    this.id = id;
  }

  /** The server did not begin the call: it waits again. False if it cannot, since its requests are used up. */
  unsent(): boolean {
    this.id = 0;
    this.#carrier = undefined;
    this.#sender?.close();
    this.#sender = undefined;
    return this.#requests === undefined;
  }

  /** The open frame with the first `offset` bytes of the request is written; the rest follows from here. */
  sendRest(payload: Uint8Array, offset: number): void {
    const sender = new Sender((this.#carrier as CallCarrier).channel, this.id);
    this.#sender = sender;
    sender.goOn(payload, offset, true);
  }

  /** The open frame without a request is written; the requests follow from here. */
  sendRequests(): void {
    void this.#pump(this.#requests as Requests);
  }

  message(kind: number, bytes: Uint8Array, start: number, end: number): void {
    const isLast = (kind & frameFlag.end) !== 0;
    const { channel } = this.#carrier as CallCarrier;
    if (this.#resolve !== undefined && this.#receiver === undefined && (kind & frameFlag.more) === 0) {
      // Nearly every call: the whole response in one frame.
      this.#answer(channel.keep(start, end), isLast);
      return;
    }
    this.#receiver ??= new Receiver(channel, this.id);
    let item;
    try {
      item = this.#receiver.accept(kind, bytes, start, end);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "invalid") throw error;
      this.#cancel("corrupt", `a response is over the limit: ${error.message}`);
      return;
    }
    if (item === undefined) return;
    if (this.#inbox === undefined) {
      this.#answer(item.bytes, isLast);
      return;
    }
    if (isLast) this.#finish();
    this.#inbox.push(item);
    if (isLast) this.#inbox.end(undefined);
  }

  /** No response follows. */
  end(): void {
    if (this.#inbox === undefined) throw malformed(`${this.called.label} ended without a response`);
    this.#finish();
    this.#inbox.end(undefined);
  }

  credit(size: number): void {
    this.#sender?.grant(size);
  }

  /** The deadline has passed. */
  expire(): void {
    const { label } = this.called;
    const within = `within ${this.timeoutMs} ms`;
    if (this.id > 0) this.#cancel("timeout", `${label}: no answer ${within}`);
    else this.#cancel("timeout", `${label}: no connection ${within}; ${this.#pool.connectionTrouble()}`);
  }

  /** Gives the caller an error. */
  fail(error: unknown): void {
    if (this.#over) return;
    this.#finish();
    this.#reject?.(error);
    this.#inbox?.end(error as HoldfastError);
  }

  /** The connection broke. */
  lost(error: HoldfastError): void {
    const what = `${this.called.label}: ${error.message}`;
    this.fail(new HoldfastError("unavailable", what, { maybe: true, cause: error }));
  }

  /** @internal For the inbox. */
  taken(cost: number): void {
    if (!this.#over) this.#receiver?.taken(cost);
  }

  /** @internal For the inbox: the caller has stopped iterating. */
  abandoned(): void {
    if (this.#over) return;
    this.#tellServer("cancelled");
    this.#finish();
  }

  #answer(bytes: Uint8Array, isLast: boolean): void {
    if (!isLast) throw malformed(`${this.called.label} goes on after its one response`);
    this.#finish();
    let value: unknown;
    try {
      value = this.called.method.response.decode(bytes);
    } catch (cause) {
      const error = undecodable("corrupt", cause);
      this.#reject?.(new HoldfastError(error.code, `${this.called.label}: ${error.message}`, { maybe: true, cause }));
      return;
    }
    this.#resolve?.(value);
  }

  async #pump(requests: Requests): Promise<void> {
    const sender = new Sender((this.#carrier as CallCarrier).channel, this.id, this.#prompt);
    this.#sender = sender;
    try {
      const iterator =
        Symbol.asyncIterator in requests ? requests[Symbol.asyncIterator]() : requests[Symbol.iterator]();
      this.#iterator = iterator;
      while (!this.#over) {
        const { done, value } = await iterator.next();
        if (this.#over) break;
        if (done === true) {
          this.#iterator = undefined;
          sender.end();
          break;
        }
        const bytes = this.called.method.request.encode(value as never);
        if (bytes.length > limits.messageSizeMax) throw messageTooLarge(bytes.length);
        if (!sender.send(bytes, false)) await sender.drained();
      }
    } catch (error) {
      // The caller's own error: the call fails with it as it is.
      if (!this.#over) {
        this.#tellServer("cancelled");
        this.fail(error);
      }
    }
    this.#return();
  }

  #aborted(signal: AbortSignal): void {
    if (this.#over) return;
    const { code, message } = abortError(signal);
    this.#inbox?.drop();
    this.#cancel(code, `${this.called.label}: ${message}`, signal.reason);
  }

  #cancel(code: ErrorCode, message: string, cause?: unknown): void {
    this.#tellServer(code);
    const error = new HoldfastError(code, message, { maybe: this.id > 0, cause });
    if (code === "timeout") this.#carrier?.blamed(error);
    this.fail(error);
  }

  #tellServer(code: ErrorCode): void {
    if (this.id > 0) this.#carrier?.channel.control(frameType.cancel, this.id, Uint8Array.of(codeNumber(code)));
  }

  #return(): void {
    const iterator = this.#iterator;
    if (iterator?.return === undefined) return;
    this.#iterator = undefined;
    // The outcome is given; nobody is there to hear of a failure of the cleaning up.
    Promise.resolve(iterator.return()).then(ignore, ignore);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#sender?.close();
    this.#receiver?.close();
    if (this.#iterator !== undefined) this.#return();
    this.#carrier?.over(this);
    this.#pool.over(this);
  }
}

function ignore(): void {}
