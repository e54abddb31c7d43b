/**
 * The log of a member: a chain whose first engine is the log of the cluster's members (raft), and which may go on elsewhere
 * and come back. The members' log lasts, wherever the chain is: it says who they are and who leads, and its leader does the
 * chores. Each stay of the chain in it is a section of it.
 *
 * The file `places` says where the chain's engines are. A log elsewhere is never deleted from here, since another member may
 * be behind: what is left of it is the record that says where the log went on.
 */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { Chain, ChainFile, LogSection } from "../../log/index.ts";
import type { LogEngine, RaftEngine, Successor } from "../../log/index.ts";
import type { OpenOptions } from "../open-options.ts";
import { kindOf, successorElsewhere } from "../store-log.ts";

const placesPath = "places";
const raftKind = "raft";
const idSize = 16;
const retryMs = 500;

/** Opens the chain where it was; `raft` stays the caller's to close. */
export function openMemberLog(env: Env, options: OpenOptions, raft: RaftEngine): Promise<Chain> {
  const first = LogSection.place(raftKind, new Uint8Array(0));
  let chain: Chain | undefined;
  const opening = Chain.open(first, {
    openEngine: async (successor, { fresh }): Promise<LogEngine> => {
      if (successor.kind === raftKind) return LogSection.open(successor, raft, () => chain?.leftAt(raft) ?? 0);
      return kindOf(options.logs ?? [], successor.kind, raftKind).open(successor.parameters, { fresh, alone: false });
    },
    places: new ChainFile(env, placesPath),
    pause: () => sleep(env.clock, retryMs),
    onTrouble: (what, error) => env.logger.log("warn", what, { error: String(error) }),
    monotonicMs: () => env.clock.monotonicMs(),
    primary: raft,
  });
  return opening.then((opened) => (chain = opened));
}

/** Where a cluster's log that moves to an address goes. `invalid` for what is no address of a place for it. */
export function memberSuccessor(
  env: Pick<Env, "random">,
  options: OpenOptions,
  log: Chain,
  address: string,
): Successor {
  if (address === `${raftKind}:`) {
    if (log.places.at(-1)?.engine.kind === raftKind) {
      throw new HoldfastError("invalid", "the log is with the cluster's members (raft:) already");
    }
    return LogSection.place(raftKind, env.random.bytes(idSize));
  }
  if (address.startsWith("file:")) {
    throw new HoldfastError(
      "invalid",
      "file: is the log of one process; that of a cluster is with its members (raft:) or elsewhere (nats://host:port/STREAM)",
    );
  }
  return successorElsewhere(options.logs ?? [], address, `${raftKind}:`);
}
