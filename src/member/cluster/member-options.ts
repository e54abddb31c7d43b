/** How a member is started. */
import { HoldfastError } from "../../base/index.ts";
import type { RpcServerOptions } from "../../rpc/index.ts";
import { checkOpenOptions } from "../open-options.ts";
import type { OpenOptions } from "../open-options.ts";

export interface ClusterTiming {
  /** Milliseconds. Default 20. */
  readonly tickMs?: number;
  /** Ticks between heartbeats. Default 5. */
  readonly heartbeatTicks?: number;
  /** Ticks without a leader before an election: this many to twice as many. Default 50. */
  readonly electionTicks?: number;
}

export interface MemberOptions extends OpenOptions {
  /** Where to listen; port 0 picks a free one. None: where a member of a cluster listened last, else 127.0.0.1:7420. */
  readonly listen: readonly string[];
  /**
   * Where others reach this member. Default: for a founder its address in `peers`; for a member that listens where it did
   * before, what it was before; else the first of `listen`, with its real port.
   */
  readonly advertise?: string;
  readonly zone?: string;
  /** Founds a cluster with these members, this one among them, by name; ignored where the directory has a cluster. */
  readonly peers?: Readonly<Record<string, string>>;
  /** Joins the cluster that one of these addresses belongs to; ignored where the directory has a cluster. */
  readonly join?: readonly string[];
  /** With `join`: takes the place of this member, in one step, when it has caught up. */
  readonly replace?: string;
  readonly timing?: ClusterTiming;
  readonly rpc?: RpcServerOptions;
  /** Ends the waiting for the others when a cluster is founded or joined. */
  readonly signal?: AbortSignal;
  /** Told for whom, and why, a founding or joining member waits; again when that changes. */
  readonly onWaiting?: (names: readonly string[], reason: string) => void;
}

/** Where a member listens that was told nothing else. */
export const listenDefault = "127.0.0.1:7420";

/** `invalid`, naming the option. What depends on the directory is checked there. */
export function checkMemberOptions(options: MemberOptions): void {
  checkOpenOptions(options);
  const { timing = {}, peers, join, replace } = options;
  for (const [name, value] of Object.entries(timing)) {
    if (value !== undefined && !(typeof value === "number" && value > 0)) {
      throw new HoldfastError("invalid", `timing.${name} is ${String(value)}; it must be above 0`);
    }
  }
  if (options.inMemory === true && (peers !== undefined || join !== undefined)) {
    throw new HoldfastError("invalid", "a member of a cluster keeps its promises on a disk: leave out inMemory");
  }
  if (replace !== undefined && join === undefined) {
    throw new HoldfastError("invalid", `replace ${replace} goes with join, which says where the cluster is`);
  }
}
