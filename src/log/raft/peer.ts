/**
 * Another member, as this one talks to it: one stream of messages towards it, and calls.
 *
 * Messages go in order as long as the stream lasts. When it breaks, what was waiting is lost and its owner is told, once; the
 * next message begins another.
 */
import { asHoldfastError, pieces, Signal } from "../../base/index.ts";
import type { Env, HoldfastError, Infer, Timer } from "../../base/index.ts";
import type { RaftMessage } from "../../raft/index.ts";
import { RpcClient } from "../../rpc/index.ts";
import type { Stub } from "../../rpc/index.ts";
import { RaftService, toWire } from "./wire.ts";
import type { RaftEnvelope } from "./wire.ts";

export interface PeerHost {
  /** Messages to this member were lost. */
  unreachable(id: number): void;
  /** It says that this member may not talk to it. */
  denied(error: HoldfastError): void;
  /** Where this member is reached, as far as it knows. */
  ownAddress(): string;
  /** A random number of this member's process. */
  readonly incarnation: number;
}

/** Messages that wait for the stream, and bytes of records in them; beyond it all of them are given up. */
const waitingCountMax = 4_096;
const waitingSizeMax = 33_554_432;
/** Bytes of records in one envelope, unless one message alone has more. */
const envelopeSizeMax = 1_048_576;
/** How long after a stream broke another may begin. */
const pauseMs = 20;

export class Peer {
  readonly id: number;
  readonly address: string;
  readonly #env: Env;
  #client: RpcClient;
  #stub: Stub<(typeof RaftService)["methods"]>;
  readonly #hello: { readonly cluster: Uint8Array; readonly from: number; readonly to: number };
  readonly #host: PeerHost;
  readonly #filled = new Signal();
  #waiting: RaftMessage[] = [];
  #waitingSize = 0;
  #streaming = false;
  #notBeforeMs = 0;
  #pause: Timer | undefined;
  /** Of the member, as it said last. */
  #incarnation: number | undefined;
  #closed = false;

  constructor(env: Env, address: string, hello: Peer["hello"], host: PeerHost) {
    this.#env = env;
    this.id = hello.to;
    this.address = address;
    this.#hello = hello;
    this.#host = host;
    this.#client = this.#connect();
    this.#stub = this.#client.use(RaftService);
  }

  /** A leader must learn soon that a member is back, and a member that its leader is gone. */
  #connect(): RpcClient {
    const patience = { backoffMinMs: 20, backoffMaxMs: 500, keepAliveMs: 1_000, keepAliveTimeoutMs: 2_000 };
    return new RpcClient(this.#env, this.address, { ...patience, connectTimeoutMs: 2_000, windowSize: 4_194_304 });
  }

  get stub(): Stub<(typeof RaftService)["methods"]> {
    return this.#stub;
  }

  /**
   * The member has connected to this one. An attempt to reach it that is still waiting was begun while it was away, and a
   * connection to an earlier incarnation of it is dead, though it may look alive for seconds.
   */
  heard(incarnation: number): void {
    const restarted = this.#incarnation !== undefined && this.#incarnation !== incarnation;
    this.#incarnation = incarnation;
    if ((this.#client.connected && !restarted) || this.#closed) return;
    const before = this.#client;
    this.#client = this.#connect();
    this.#stub = this.#client.use(RaftService);
    void before.close();
  }

  get hello(): { readonly cluster: Uint8Array; readonly from: number; readonly to: number } {
    return this.#hello;
  }

  send(message: RaftMessage): void {
    if (this.#closed) return;
    this.#waitingSize += messageSize(message);
    this.#waiting.push(message);
    if (this.#waiting.length > waitingCountMax || this.#waitingSize > waitingSizeMax) this.#giveUp();
    else if (this.#streaming) this.#filled.notify();
    else this.#streamSoon();
  }

  #streamSoon(): void {
    const leftMs = this.#notBeforeMs - this.#env.clock.monotonicMs();
    if (leftMs <= 0) void this.#stream();
    else {
      this.#pause ??= this.#env.clock.schedule(leftMs, () => {
        this.#pause = undefined;
        if (!this.#streaming && !this.#closed && this.#waiting.length > 0) void this.#stream();
      });
    }
  }

  #giveUp(): void {
    this.#waiting = [];
    this.#waitingSize = 0;
    this.#host.unreachable(this.id);
  }

  async #stream(): Promise<void> {
    this.#streaming = true;
    const ending = new AbortController();
    try {
      await this.#stub.messages(this.#envelopes(ending.signal), { timeoutMs: Number.POSITIVE_INFINITY, prompt: true });
    } catch (error) {
      const failure = asHoldfastError(error);
      if (failure.code === "denied") this.#host.denied(failure);
      else this.#env.logger.log("debug", "messages to a member were cut", { member: this.id, error: failure.message });
    }
    ending.abort();
    this.#filled.notify();
    this.#streaming = false;
    this.#notBeforeMs = this.#env.clock.monotonicMs() + pauseMs;
    if (!this.#closed) this.#giveUp();
  }

  /** What is to be sent, all that waits in one piece. */
  async *#envelopes(signal: AbortSignal): AsyncGenerator<Partial<Infer<typeof RaftEnvelope>>, void, undefined> {
    yield { ...this.#hello, address: this.#host.ownAddress(), incarnation: this.#host.incarnation };
    while (!this.#closed && !signal.aborted) {
      if (this.#waiting.length === 0) {
        await this.#filled.wait();
        continue;
      }
      const messages = this.#waiting;
      this.#waiting = [];
      this.#waitingSize = 0;
      for (const part of pieces(messages, envelopeSizeMax, messageSize))
        yield { messages: part.map(toWire) } as Partial<Infer<typeof RaftEnvelope>>;
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#pause?.cancel();
    this.#filled.notify();
    return this.#client.close();
  }
}

function messageSize(message: RaftMessage): number {
  if (message.kind !== "append") return 64;
  return message.entries.reduce((sum, { size }) => sum + size, 64);
}
