/**
 * One connection of a client and the calls sent on it.
 *
 * 1. Calls are numbered from 1 in the order of their open frames.
 * 2. After the server's go-away no call is sent; the calls that it did not begin are handed back, and the connection
 *    ends with the last of the others. The same without the server's doing when the client has `retire`d it.
 */
import { emptyBytes, HoldfastError, utf8Encode } from "../base/index.ts";
import type { Connection, Env } from "../base/index.ts";
import { Channel } from "./channel.ts";
import type { ChannelOptions, ChannelOwner } from "./channel.ts";
import type { CallCarrier, ClientCall } from "./client-call.ts";
import { BodyReader, decodeError, frameFlag, frameType, malformed, typeMask } from "./frame.ts";

/** The client behind its connections. */
export interface ClientHost {
  /** The server's preface has come. */
  connectionOpened(connection: ClientConnection): void;
  /** The server has answered: the connection works. */
  connectionProven(connection: ClientConnection): void;
  connectionWritable(connection: ClientConnection): void;
  /** The server is stopping; `unbegun` are the calls that it did not begin. */
  connectionLeaving(connection: ClientConnection, unbegun: readonly ClientCall[], reason: HoldfastError): void;
  connectionClosed(connection: ClientConnection, error: HoldfastError): void;
  /** A call failed because its server could not do it, or did not in time. */
  connectionBlamed(connection: ClientConnection, error: HoldfastError): void;
}

const body = new BodyReader();

export class ClientConnection implements ChannelOwner, CallCarrier {
  readonly channel: Channel;
  /** Where it leads, as the client was told. */
  readonly address: string;
  readonly #host: ClientHost;
  readonly #calls = new Map<number, ClientCall>();
  readonly #services = new Map<string, number>();
  #lastCall = 0;
  #proven = false;
  /** The server has sent its go-away. */
  #leaving = false;
  #retired = false;
  /** What the server said before it closed the connection. */
  #reason: HoldfastError | undefined;

  constructor(env: Env, connection: Connection, address: string, host: ClientHost, options: ChannelOptions) {
    this.#host = host;
    this.address = address;
    this.channel = new Channel(env, connection, this, options);
  }

  /** Sends a call, which may take `timeoutMs` from now (0: any time). The channel must not be blocked. */
  begin(call: ClientCall, timeoutMs: number): void {
    const { channel } = this;
    const { called, payload } = call;
    const service = this.#services.get(called.service) ?? this.#bind(called.service);
    const id = ++this.#lastCall;
    this.#calls.set(id, call);
    call.sentOn(this, id);
    channel.expectAnswer();
    const { number } = called.method;
    if (payload === undefined) {
      channel.open(0, id, service, number, timeoutMs, emptyBytes, 0);
      call.sendRequests();
    } else if (payload.length <= channel.partSize) {
      channel.open(frameFlag.content | frameFlag.end, id, service, number, timeoutMs, payload, 0);
    } else {
      const first = payload.subarray(0, channel.partSize);
      channel.open(frameFlag.content | frameFlag.more, id, service, number, timeoutMs, first, payload.length);
      call.sendRest(payload, first.length);
    }
  }

  over(call: ClientCall): void {
    this.#calls.delete(call.id);
    if (this.#leaving || this.#retired) this.#closeIfDone();
  }

  blamed(error: HoldfastError): void {
    this.#host.connectionBlamed(this, error);
  }

  /** Ends the connection with the last of the calls under way; no other may be begun. */
  retire(): void {
    this.#retired = true;
    this.#closeIfDone();
  }

  opened(): void {
    this.#host.connectionOpened(this);
  }

  writable(): void {
    this.#host.connectionWritable(this);
  }

  frame(kind: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (!this.#proven) {
      this.#proven = true;
      this.#host.connectionProven(this);
    }
    const type = kind & typeMask;
    if (type === frameType.goAway) {
      this.#goAway(bytes, start, end);
      return;
    }
    const call = this.#calls.get(id);
    // A frame of a call that is over crossed its end and means nothing.
    if (call === undefined && (id > this.#lastCall || id === 0)) throw malformed(`call ${id} was never opened`);
    switch (type) {
      case frameType.message:
        call?.message(kind, bytes, start, end);
        return;
      case frameType.end:
        body.over(bytes, start, end).done();
        call?.end();
        return;
      case frameType.error:
        if (call !== undefined) this.#refused(call, decodeError(bytes, start, end));
        return;
      case frameType.credit: {
        const size = body.over(bytes, start, end).varint();
        body.done();
        call?.credit(size);
        return;
      }
      default:
        throw malformed(`type ${type} comes from clients only`);
    }
  }

  closed(error: HoldfastError): void {
    const reason = this.#reason;
    const full =
      reason === undefined
        ? error
        : new HoldfastError("unavailable", `${error.message}: ${reason.message}`, { cause: reason });
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.lost(full);
    this.#host.connectionClosed(this, full);
  }

  #refused(call: ClientCall, error: HoldfastError): void {
    if (error.code === "unavailable" || error.code === "timeout") this.blamed(error);
    call.fail(error);
  }

  #bind(name: string): number {
    const number = this.#services.size + 1;
    this.#services.set(name, number);
    this.channel.control(frameType.bind, number, utf8Encode(name));
    return number;
  }

  #goAway(bytes: Uint8Array, start: number, end: number): void {
    const lastCall = body.over(bytes, start, end).varint();
    const reason = decodeError(bytes, body.position, end);
    if (reason.code !== "unavailable") {
      // The server closes the connection because of what came from here.
      this.#reason = reason;
      return;
    }
    if (this.#leaving) return;
    this.#leaving = true;
    const unbegun: ClientCall[] = [];
    for (const [id, call] of this.#calls) if (id > lastCall) unbegun.push(call);
    for (const call of unbegun) this.#calls.delete(call.id);
    this.#host.connectionLeaving(this, unbegun, reason);
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (this.#calls.size > 0 || this.channel.over) return;
    const why = this.#leaving ? "the server has stopped" : "the client has gone on to another server";
    this.channel.close(new HoldfastError("unavailable", why));
  }
}
