/**
 * One connection of a server: it reads what clients ask, makes calls of it, and refuses what is too much.
 *
 * 1. A call over a limit is refused at once with `exhausted`; nothing of it is kept.
 * 2. What names an unknown service or method fails that call alone, with `notFound`.
 * 3. After going away, calls under way are finished and later ones are passed over; the client knows from the go-away
 *    frame that they did not happen.
 */
import { HoldfastError, utf8Decode } from "../base/index.ts";
import type { Connection, Env, Logger } from "../base/index.ts";
import { Channel } from "./channel.ts";
import type { ChannelOptions, ChannelOwner } from "./channel.ts";
import { contractNameSizeMax } from "./contract.ts";
import type { Deadlines } from "./deadlines.ts";
import { bindCountMax, BodyReader, codeOf, decodeError, encodeError, frameType, malformed, typeMask } from "./frame.ts";
import { ServerCall } from "./server-call.ts";
import type { CallHost } from "./server-call.ts";
import type { Service } from "./service.ts";

/** The server behind its connections. */
export interface ConnectionHost {
  readonly services: ReadonlyMap<string, Service>;
  readonly deadlines: Deadlines;
  /** Undefined if another call may begin on a connection with so many, else why not. */
  refusal(connectionCallCount: number): HoldfastError | undefined;
  callBegan(): void;
  callSettled(): void;
  hold(size: number): boolean;
  release(size: number): void;
  connectionClosed(connection: ServerConnection): void;
}

interface Bound {
  readonly name: string;
  readonly service: Service | undefined;
}

const body = new BodyReader();

export class ServerConnection implements ChannelOwner, CallHost {
  readonly channel: Channel;
  readonly deadlines: Deadlines;
  readonly logger: Logger;
  readonly #host: ConnectionHost;
  readonly #bound: Bound[] = [];
  /** Calls of which frames are still sent or taken, by number. */
  readonly #calls = new Map<number, ServerCall>();
  /** Calls whose handlers have not settled, these and others. */
  #underWayCount = 0;
  #lastCall = 0;
  #goingAway = false;

  constructor(env: Env, connection: Connection, host: ConnectionHost, options: ChannelOptions) {
    this.logger = env.logger;
    this.deadlines = host.deadlines;
    this.#host = host;
    this.channel = new Channel(env, connection, this, options);
  }

  /** Takes no more calls; ends the connection when those under way are finished. */
  goAway(reason: HoldfastError): void {
    if (this.#goingAway) return;
    this.#goingAway = true;
    this.channel.goAway(this.#lastCall, reason);
    this.#closeIfDone();
  }

  opened(): void {}

  writable(): void {}

  frame(kind: number, call: number, bytes: Uint8Array, start: number, end: number): void {
    const type = kind & typeMask;
    switch (type) {
      case frameType.open:
        this.#open(kind, call, bytes, start, end);
        return;
      case frameType.message:
        this.#call(call)?.message(kind, bytes, start, end);
        return;
      case frameType.end:
        body.over(bytes, start, end).done();
        this.#call(call)?.end();
        return;
      case frameType.credit: {
        const size = body.over(bytes, start, end).varint();
        body.done();
        this.#call(call)?.credit(size);
        return;
      }
      case frameType.cancel: {
        const code = codeOf(bytes[start]);
        if (end - start !== 1) throw malformed("a cancel frame whose body is not one byte");
        this.#call(call)?.abort(new HoldfastError(code, `the client ended the call (${code})`));
        return;
      }
      case frameType.bind:
        this.#bind(call, bytes, start, end);
        return;
      case frameType.goAway: {
        const { position } = this.#skipNumber(bytes, start, end);
        const reason = decodeError(bytes, position, end);
        this.channel.close(new HoldfastError("unavailable", `the client went away: ${reason.message}`));
        return;
      }
      default:
        throw malformed(`type ${type} comes from servers only`);
    }
  }

  closed(error: HoldfastError): void {
    if (error.code === "corrupt") {
      this.logger.log("warn", "an rpc connection was malformed", { peer: this.channel.peer, error: error.message });
    }
    for (const call of this.#calls.values()) call.abort(error);
    this.#calls.clear();
    this.#host.connectionClosed(this);
  }

  began(call: ServerCall): void {
    this.#calls.set(call.id, call);
    this.#underWayCount++;
    this.#host.callBegan();
  }

  over(call: ServerCall): void {
    this.#calls.delete(call.id);
    if (this.#goingAway) this.#closeIfDone();
  }

  settled(): void {
    this.#underWayCount--;
    this.#host.callSettled();
  }

  hold(size: number): boolean {
    return this.#host.hold(size);
  }

  release(size: number): void {
    this.#host.release(size);
  }

  #skipNumber(bytes: Uint8Array, start: number, end: number): BodyReader {
    body.over(bytes, start, end).varint();
    return body;
  }

  /** The call of a frame; undefined if it is over, in which case the frame crossed its end and means nothing. */
  #call(id: number): ServerCall | undefined {
    const call = this.#calls.get(id);
    if (call === undefined && (id > this.#lastCall || id === 0)) throw malformed(`call ${id} was never opened`);
    return call;
  }

  #bind(number: number, bytes: Uint8Array, start: number, end: number): void {
    if (number !== this.#bound.length + 1) throw malformed(`service ${number} is bound after ${this.#bound.length}`);
    if (number > bindCountMax) throw malformed(`more than ${bindCountMax} services are bound`);
    if (end - start > contractNameSizeMax) throw malformed(`a service's name has ${end - start} bytes`);
    const name = utf8Decode(bytes.subarray(start, end));
    this.#bound.push({ name, service: this.#host.services.get(name) });
  }

  #open(kind: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    body.over(bytes, start, end);
    const bound = this.#bound[body.varint() - 1];
    const methodNumber = body.varint();
    const timeoutMs = body.varint();
    const contentStart = body.position;
    if (id <= this.#lastCall) throw malformed(`call ${id} is opened after call ${this.#lastCall}`);
    if (bound === undefined) throw malformed(`call ${id} is of a service that was not bound`);
    // Since the go-away frame the client knows that this call did not happen.
    if (this.#goingAway) return;
    this.#lastCall = id;
    const served = bound.service?.methods.get(methodNumber);
    if (served === undefined) {
      const what = bound.service === undefined ? `service ${bound.name}` : `method ${methodNumber} of ${bound.name}`;
      const remedy = "client and server may be of different versions";
      this.#refuse(id, new HoldfastError("notFound", `this server has no ${what}; ${remedy}`));
      return;
    }
    const refusal = this.#host.refusal(this.#underWayCount);
    if (refusal !== undefined) {
      this.#refuse(id, refusal);
      return;
    }
    new ServerCall(this, id, served, timeoutMs).open(kind, bytes, contentStart, end);
  }

  #refuse(id: number, error: HoldfastError): void {
    this.channel.control(frameType.error, id, encodeError(error));
  }

  #closeIfDone(): void {
    if (this.#calls.size > 0 || this.channel.over) return;
    this.channel.close(new HoldfastError("unavailable", "the server has stopped"));
  }
}
