/** Rpc clients to other members, one an address, made when they are first wanted and kept as long as they may be again. */
import { HoldfastError } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { RpcClient } from "../../rpc/index.ts";

/** Members come back after a crash within seconds: whoever looks for one should not wait longer than that. */
const backoffMaxMs = 500;
const callTimeoutMs = 5_000;

export class PeerClients {
  readonly #env: Env;
  readonly #clients = new Map<string, RpcClient>();
  #closed = false;

  constructor(env: Env) {
    this.#env = env;
  }

  /** `unavailable` after `close`. */
  at(address: string): RpcClient {
    if (this.#closed) throw new HoldfastError("unavailable", "the member is stopping");
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new RpcClient(this.#env, address, { callTimeoutMs, backoffMaxMs });
      this.#clients.set(address, client);
    }
    return client;
  }

  /** Closes the clients to all other addresses: those members are gone. */
  async keep(addresses: ReadonlySet<string>): Promise<void> {
    const gone = [...this.#clients].filter(([address]) => !addresses.has(address));
    for (const [address] of gone) this.#clients.delete(address);
    await Promise.all(gone.map(([, client]) => client.close()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.keep(new Set());
  }
}
