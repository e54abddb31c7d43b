/**
 * Streams of a client, such as watches, and the care that the member at their other end can serve them: a stream alone
 * would wait for ever at a member that is cut off from the others, and for long at one that is frozen.
 *
 * 1. An endless stream that was begun on a connection which is no longer the one for calls is ended, so that whoever reads
 *    it goes on where calls go, whether or not anything of it has come. Any other finishes where it is.
 * 2. While there are streams, the member is asked every `askMs` something that only one can answer that is not cut off;
 *    one that cannot is avoided.
 */
import type { Clock, Timer } from "../../base/index.ts";
import type { RpcClient } from "../../rpc/index.ts";
import type { RemoteStream } from "../remote-calls.ts";

/** Asks the member; rejects when it cannot answer within the time. */
type Ask = (timeoutMs: number) => Promise<unknown>;

type Stream = Pick<RemoteStream<unknown>, "end">;

const askMs = 5_000;

export class LiveStreams {
  readonly #clock: Clock;
  readonly #client: RpcClient;
  readonly #ask: Ask;
  /** Of each, how many connections there had been when its own was opened; infinite for one that has an end. */
  readonly #streams = new Map<Stream, number>();
  /** Connections so far. */
  #connectionCount = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, client: RpcClient, ask: Ask) {
    this.#clock = clock;
    this.#client = client;
    this.#ask = ask;
    client.onConnected(() => {
      this.#connectionCount++;
      for (const [stream, count] of this.#streams) if (count < this.#connectionCount) stream.end();
    });
  }

  /** A stream that is about to begin: on the connection that there is, or on the next. */
  add(stream: Stream, { endless }: { readonly endless: boolean }): void {
    const count = this.#connectionCount + (this.#client.connected ? 0 : 1);
    this.#streams.set(stream, endless ? count : Number.POSITIVE_INFINITY);
    this.#schedule();
  }

  delete(stream: Stream): void {
    if (!this.#streams.delete(stream) || this.#streams.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #schedule(): void {
    if (this.#timer !== undefined) return;
    const timer = this.#clock.schedule(askMs, () => {
      this.#ask(askMs)
        .catch((error: unknown) => this.#client.avoid(error))
        .finally(() => {
          // Meanwhile the last stream may have ended, and another begun.
          if (this.#timer !== timer) return;
          this.#timer = undefined;
          this.#schedule();
        });
    });
    this.#timer = timer;
  }
}
