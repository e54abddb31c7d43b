/**
 * What a member of a cluster does about itself while it runs: it tells the cluster where it is reached now, if that has
 * changed, and finds out if it was removed while nobody could tell it.
 */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { memberOf } from "../../raft/index.ts";
import type { ClusterMembers, MembershipEngine } from "./cluster-members.ts";
import { ClusterService } from "./cluster-service.ts";
import { introductionOf } from "./founding.ts";
import type { Identity } from "./identity.ts";
import type { PeerClients } from "./peer-clients.ts";

export interface OwnEntryParts {
  readonly engine: MembershipEngine;
  readonly members: ClusterMembers;
  readonly clients: PeerClients;
  readonly identity: Identity;
  /** Called once, when it is certain. */
  readonly onRemoved: () => void;
}

const lookMs = 1_000;
const changeTimeoutMs = 5_000;
/** A member that has heard of no leader for so long asks the others whether they still know it. */
const lonelyMs = 3_000;

export class OwnEntry {
  readonly #env: Env;
  readonly #parts: OwnEntryParts;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  #ledMs: number;

  constructor(env: Env, parts: OwnEntryParts) {
    this.#env = env;
    this.#parts = parts;
    this.#ledMs = env.clock.monotonicMs();
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#env;
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        await this.#look();
        await sleep(clock, lookMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        logger.log("debug", "the member's entry could not be brought up to date yet", { error: String(error) });
        await sleep(clock, lookMs, signal).catch(() => {});
      }
    }
  }

  async #look(): Promise<void> {
    const { engine, members, identity, onRemoved } = this.#parts;
    const nowMs = this.#env.clock.monotonicMs();
    if (engine.status().leader !== 0) this.#ledMs = nowMs;
    if (nowMs - this.#ledMs >= lonelyMs && (await this.#wasRemoved())) {
      this.#ending.abort(new HoldfastError("cancelled", "the member was removed"));
      onRemoved();
      return;
    }
    const own = memberOf(engine.configuration(), identity.id);
    if (own === undefined) return;
    if (own.address === identity.address && (identity.zone === "" || own.zone === identity.zone)) return;
    await this.#announce(engine.status().leader !== 0 ? members : undefined);
  }

  /** A leader that does not know where this member is now cannot reach it: then the others are asked to pass it on. */
  async #announce(members: ClusterMembers | undefined): Promise<void> {
    const { id, name, address, zone } = this.#parts.identity;
    const request = { id, name, address, zone, replaces: "", direct: false };
    if (members !== undefined) {
      await this.#limited((signal) => members.join(request, { signal }));
      return;
    }
    const { signal } = this.#ending;
    for (const other of this.#others()) {
      try {
        const stub = this.#parts.clients.at(other).use(ClusterService);
        await stub.join(request, { timeoutMs: changeTimeoutMs, signal });
        return;
      } catch (error) {
        this.#env.logger.log("debug", "a member could not pass on where this one is", { other, error: String(error) });
      }
    }
  }

  #others(): Set<string> {
    const { engine, identity } = this.#parts;
    const all = [...engine.configuration().members, ...(identity.founding?.members ?? [])];
    return new Set(
      all.filter(({ id, address }) => id !== identity.id && address !== "").map((member) => member.address),
    );
  }

  /** Asks everybody that this member knows. */
  async #wasRemoved(): Promise<boolean> {
    const { clients, identity } = this.#parts;
    const caller = introductionOf(identity);
    const { signal } = this.#ending;
    const answers = [...this.#others()].map(async (address) => {
      try {
        const hello = await clients.at(address).use(ClusterService).hello({ caller }, { timeoutMs: lookMs, signal });
        return hello.removed;
      } catch {
        return false;
      }
    });
    return (await Promise.all(answers)).includes(true);
  }

  async #limited(work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const limit = new AbortController();
    const timer = this.#env.clock.schedule(changeTimeoutMs, () => limit.abort());
    try {
      await work(AbortSignal.any([limit.signal, this.#ending.signal]));
    } finally {
      timer.cancel();
    }
  }

  async close(): Promise<void> {
    this.#ending.abort(new HoldfastError("cancelled", "the member is stopping"));
    await this.#running;
  }
}
