/**
 * Streams of a client, such as watches, and the care that the member at their other end can serve them: a stream alone
 * would wait for ever at a member that is cut off from the others, and for long at one that is frozen.
 *
 * 1. An endless stream that was begun on a connection which is no longer the one for calls is ended, so that whoever reads
 *    it goes on where calls go. Any other finishes where it is.
 * 2. While there are streams, the member is asked every `askMs` something that only one can answer that is not cut off;
 *    one that cannot is avoided.
 */
import type { Clock, Timer } from "../../base/index.ts";
import type { RpcClient } from "../../rpc/index.ts";

/** Asks the member; rejects when it cannot answer within the time. */
type Ask = (timeoutMs: number) => Promise<unknown>;

type Stream = Pick<AsyncIterator<unknown, undefined>, "return">;

const askMs = 5_000;

export class LiveStreams {
  readonly #clock: Clock;
  readonly #client: RpcClient;
  readonly #ask: Ask;
  /** Streams on the present connection, or on one that is gone, and whether they are endless. */
  readonly #streams = new Map<Stream, boolean>();
  #timer: Timer | undefined;

  constructor(clock: Clock, client: RpcClient, ask: Ask) {
    this.#clock = clock;
    this.#client = client;
    this.#ask = ask;
    client.onConnected(() => this.#end());
  }

  /** A stream of which something has come. Repeatable. */
  add(stream: Stream, { endless }: { readonly endless: boolean }): void {
    this.#streams.set(stream, endless);
    this.#schedule();
  }

  delete(stream: Stream): void {
    if (!this.#streams.delete(stream) || this.#streams.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #end(): void {
    for (const [stream, endless] of this.#streams) if (endless) void stream.return?.();
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
