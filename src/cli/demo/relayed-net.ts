/** The network door of a member of the demo: it listens as any member does, and connects through the demo's `Relay`. */
import type { Connection, Listener, Net } from "../../base/index.ts";

export class RelayedNet implements Net {
  readonly #net: Net;
  readonly #relay: string;
  readonly #self: string;

  /** `relay` is the relay's address, `self` the member's name. */
  constructor(net: Net, relay: string, self: string) {
    this.#net = net;
    this.#relay = relay;
    this.#self = self;
  }

  listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    return this.#net.listen(address, accept);
  }

  async connect(address: string, options?: { readonly signal?: AbortSignal }): Promise<Connection> {
    const connection = await this.#net.connect(this.#relay, options);
    connection.write([new TextEncoder().encode(`${this.#self} ${address}\n`)]);
    return connection;
  }
}
