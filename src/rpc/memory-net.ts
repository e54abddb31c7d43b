/**
 * A net inside one process: `memory:name` addresses, no sockets. It lets a browser, a test or an embedded member use rpc.
 *
 * What is written is delivered in a later turn of the clock's `defer`, in order, as the very arrays that were written:
 * the writer must not change them, and the reader must copy what it keeps, as with every connection.
 *
 * 1. At most the high-water mark and one write wait in a direction before `write` returns false.
 * 2. `closed` is called once at each end, and after an `end` only when everything written before it was delivered.
 */
import { abortError, assert, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { Clock, Connection, ConnectionHandlers, Listener, Net } from "../base/index.ts";

const highWaterSize = 262_144;
/** One delivery hands over at most this much before others have their turn. */
const deliverySizeMax = 262_144;

export class MemoryNet implements Net {
  readonly #clock: Clock;
  readonly #listening = new Map<string, (connection: Connection) => void>();
  #connectionCount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    checkAddress(address);
    if (this.#listening.has(address)) throw new HoldfastError("conflict", `${address} is in use by another listener`);
    this.#listening.set(address, accept);
    return {
      address,
      close: async () => {
        if (this.#listening.get(address) === accept) this.#listening.delete(address);
      },
    };
  }

  async connect(address: string, options: { readonly signal?: AbortSignal } = {}): Promise<Connection> {
    checkAddress(address);
    throwIfAborted(options.signal);
    await new Promise<void>((resolve) => this.#clock.defer(resolve));
    if (options.signal?.aborted === true) throw abortError(options.signal);
    const accept = this.#listening.get(address);
    if (accept === undefined) throw new HoldfastError("unavailable", `nobody listens on ${address}`);
    this.#connectionCount++;
    const client = new MemoryConnection(this.#clock, address);
    const server = new MemoryConnection(this.#clock, `${address}#${this.#connectionCount}`);
    client.join(server);
    server.join(client);
    accept(server);
    return client;
  }
}

class MemoryConnection implements Connection {
  readonly peer: string;
  readonly #clock: Clock;
  #other: MemoryConnection | undefined;
  #handlers: ConnectionHandlers | undefined;

  /** What the other end has written and this one has not taken. */
  #inbox: Uint8Array[] = [];
  #inboxSize = 0;
  #endArrived = false;

  #ended = false;
  #awaitsDrain = false;
  #paused = false;
  #scheduled = false;
  #over = false;
  #error: Error | undefined;

  constructor(clock: Clock, peer: string) {
    this.#clock = clock;
    this.peer = peer;
  }

  join(other: MemoryConnection): void {
    this.#other = other;
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === undefined, `connection to ${this.peer} was started twice`);
    this.#handlers = handlers;
    if (this.#over) this.#clock.defer(() => handlers.closed(this.#error));
    else this.#schedule();
  }

  write(buffers: readonly Uint8Array[]): boolean {
    if (this.#ended || this.#over) return false;
    const other = this.#other as MemoryConnection;
    for (const buffer of buffers) {
      if (buffer.length === 0) continue;
      other.#inbox.push(buffer);
      other.#inboxSize += buffer.length;
    }
    other.#schedule();
    if (other.#inboxSize <= highWaterSize) return true;
    this.#awaitsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(): void {
    if (this.#ended || this.#over) return;
    this.#ended = true;
    const other = this.#other as MemoryConnection;
    other.#endArrived = true;
    other.#schedule();
    // The other end may have ended before.
    this.#schedule();
  }

  destroy(error?: Error): void {
    if (this.#over) return;
    const other = this.#other as MemoryConnection;
    this.#finish(error);
    this.#clock.defer(() => {
      const reset = new HoldfastError("unavailable", `connection to ${other.peer}: reset by the other side`);
      other.#finish(reset);
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#handlers === undefined || this.#over) return;
    this.#scheduled = true;
    this.#clock.defer(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const other = this.#other as MemoryConnection;
    const handlers = this.#handlers as ConnectionHandlers;
    let left = deliverySizeMax;
    let taken = 0;
    while (!this.#paused && !this.#over && left > 0) {
      const buffer = this.#inbox[taken];
      if (buffer === undefined) break;
      taken++;
      left -= buffer.length;
      this.#inboxSize -= buffer.length;
      handlers.data(buffer);
    }
    if (this.#over) return;
    this.#inbox.splice(0, taken);
    if (this.#inbox.length > 0) {
      if (!this.#paused) this.#schedule();
      return;
    }
    if (other.#awaitsDrain && !other.#over && !other.#ended) {
      other.#awaitsDrain = false;
      this.#clock.defer(() => {
        if (!other.#over) other.#handlers?.drained();
      });
    }
    if (!this.#endArrived) return;
    this.end();
    this.#finish(undefined);
    // The other end is done when it has taken what was written here before the end.
    other.#schedule();
  }

  #finish(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#inbox = [];
    this.#inboxSize = 0;
    const handlers = this.#handlers;
    if (handlers !== undefined) this.#clock.defer(() => handlers.closed(error));
  }
}

function checkAddress(address: string): void {
  if (/^memory:.+$/.test(address)) return;
  throw new HoldfastError("invalid", `${JSON.stringify(address)} is no address of a memory net; give memory:name`);
}
