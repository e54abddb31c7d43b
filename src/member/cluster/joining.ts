/**
 * How a member with an empty directory becomes a member of a cluster that is there: it asks anybody of the cluster, who
 * passes it on to the leader, who makes it a learner. From then on the leader sends it the log, and makes it a voter when
 * it has caught up.
 *
 * After a crash anywhere it asks again with the same id, which joins once.
 */
import { asHoldfastError, HoldfastError, sleep } from "../../base/index.ts";
import type { Env, ErrorCode } from "../../base/index.ts";
import { ClusterService } from "./cluster-service.ts";
import type { JoinAnswer } from "./cluster-service.ts";
import type { Identity } from "./identity.ts";
import type { PeerClients } from "./peer-clients.ts";

export interface JoiningOptions {
  /** Waits for its cluster; durable. */
  readonly identity: Identity;
  /** Addresses of members of the cluster. */
  readonly join: readonly string[];
  /** Name of the member whose place it takes; empty for none. */
  readonly replaces: string;
  readonly clients: PeerClients;
  readonly signal?: AbortSignal | undefined;
  readonly onWaiting: (names: readonly string[], reason: string) => void;
}

const attemptMs = 3_000;
const pauseMinMs = 100;
const pauseMaxMs = 1_000;

/** What may be otherwise in a moment: there is no leader, another change is under way, nobody answers. */
const passing: ReadonlySet<ErrorCode> = new Set(["unavailable", "timeout", "conflict", "exhausted", "cancelled"]);

/** Resolves with the identity of the member in its cluster, which is yet to be saved. */
export async function joinCluster(env: Env, options: JoiningOptions): Promise<Identity> {
  const { identity, join, signal } = options;
  let pauseMs = pauseMinMs;
  let told = "";
  for (;;) {
    const reasons: string[] = [];
    for (const address of join) {
      try {
        const { cluster, seed, founding, present: joined } = await ask(address, options);
        return { ...identity, cluster, seed, founding, joined };
      } catch (error) {
        const { code, message } = asHoldfastError(error);
        if (signal?.aborted === true || !passing.has(code)) throw explained(error, address);
        reasons.push(`${address}: ${message}`);
      }
    }
    const reason = reasons.join("; ");
    if (reason !== told) options.onWaiting(join, reason);
    told = reason;
    await sleep(env.clock, pauseMs, signal);
    pauseMs = Math.min(pauseMaxMs, pauseMs * 2);
  }
}

function ask(address: string, { identity, replaces, clients, signal }: JoiningOptions): Promise<JoinAnswer> {
  const { id, name, address: own, zone } = identity;
  const request = { id, name, address: own, zone, replaces };
  const call = { timeoutMs: attemptMs, ...(signal !== undefined && { signal }) };
  return clients.at(address).use(ClusterService).join(request, call);
}

function explained(error: unknown, address: string): unknown {
  if (!(error instanceof HoldfastError) || error.code !== "notFound") return error;
  return new HoldfastError("notFound", `the member at ${address} refuses: ${error.message}`, { cause: error });
}
