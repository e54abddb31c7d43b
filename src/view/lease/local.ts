/** Leases of a replica in this process. */
import type { CommandOutcome, Operation, ProposeOptions } from "../command.ts";
import type { Replica } from "../replica.ts";
import type { LeaseInfo, LeaseSource } from "./leases.ts";
import { allLeases, attachments, keyOfAttachment, leaseIdOf, leaseKey, StoredLease } from "./lease-state.ts";

export class LocalLeases implements LeaseSource {
  readonly #replica: Replica;

  constructor(replica: Replica) {
    this.#replica = replica;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#replica.propose(operations, options);
  }

  async info(id: bigint, keys: boolean, signal: AbortSignal | undefined): Promise<LeaseInfo | undefined> {
    if (id <= 0n || id >= 2n ** 63n) return undefined;
    await this.#replica.linearize(signal);
    return this.#replica.read((tree) => {
      const stored = tree.get(leaseKey(id));
      if (stored === undefined) return undefined;
      const attached = keys ? Array.from(tree.entries(attachments(id)), ({ key }) => keyOfAttachment(key).slice()) : [];
      return this.#describe(id, stored, attached);
    });
  }

  async *list(signal: AbortSignal | undefined): AsyncGenerator<LeaseInfo, void, undefined> {
    await this.#replica.linearize(signal);
    const { tree, release } = this.#replica.snapshot();
    try {
      for await (const batch of tree.entries({ ...allLeases, signal })) {
        for (const { key, value } of batch) yield this.#describe(leaseIdOf(key), value, []);
      }
    } finally {
      release();
    }
  }

  #describe(id: bigint, stored: Uint8Array, keys: readonly Uint8Array[]): LeaseInfo {
    const { ttlMs, deadlineMs } = StoredLease.decode(stored);
    return { id, ttlMs, remainingMs: Math.min(ttlMs, Math.max(0, deadlineMs - this.#replica.nowMs)), keys };
  }
}
