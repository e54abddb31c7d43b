/** The other members, by id, as the configuration names them; and those who talk to this one before it knows them. */
import type { Env } from "../../base/index.ts";
import { memberOf } from "../../raft/index.ts";
import type { Configuration, MemberId, RaftMessage } from "../../raft/index.ts";
import { Peer } from "./peer.ts";
import type { PeerHost } from "./peer.ts";

export interface PeersHost extends Omit<PeerHost, "ownAddress" | "incarnation"> {
  readonly cluster: Uint8Array;
  readonly self: MemberId;
}

export class Peers {
  readonly #env: Env;
  readonly #host: PeersHost;
  readonly #incarnation: number;
  readonly #peers = new Map<MemberId, Peer>();
  #configuration: Configuration | undefined;
  #closed = false;

  constructor(env: Env, host: PeersHost) {
    this.#env = env;
    this.#host = host;
    this.#incarnation = env.random.uint32();
  }

  get(id: MemberId): Peer | undefined {
    return this.#peers.get(id);
  }

  send(message: RaftMessage): void {
    this.#peers.get(message.to)?.send(message);
  }

  /** True if it is news. */
  adopt(configuration: Configuration): boolean {
    if (configuration === this.#configuration || this.#closed) return false;
    this.#configuration = configuration;
    for (const [id, peer] of this.#peers) {
      const member = memberOf(configuration, id);
      // Whoever talks to this member and is not known here, or not yet, may be its leader.
      if (member === undefined || member.address === peer.address) continue;
      this.#peers.delete(id);
      void peer.close();
    }
    for (const { id, address } of configuration.members) this.#add(id, address);
    return true;
  }

  /** These have been removed, and that is committed. */
  forget(ids: readonly MemberId[]): void {
    for (const id of ids) {
      void this.#peers.get(id)?.close();
      this.#peers.delete(id);
    }
  }

  #add(to: MemberId, address: string): void {
    const { cluster, self } = this.#host;
    if (to === self || address === "" || this.#peers.has(to) || this.#closed) return;
    const ownAddress = () => memberOf(this.#configuration as Configuration, self)?.address ?? "";
    const host = { ...this.#host, ownAddress, incarnation: this.#incarnation };
    this.#peers.set(to, new Peer(this.#env, address, { cluster, from: self, to }, host));
  }

  /** A member talks to this one that may not have heard of it yet. */
  meet(id: MemberId, address: string, incarnation: number): void {
    this.#add(id, address);
    this.#peers.get(id)?.heard(incarnation);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#peers.values()].map((peer) => peer.close()));
  }
}
