/** What a directory is started as: a store on its own, a member of its cluster, or one that is to found or join one. */
import { HoldfastError } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { emptyBytes } from "../../base/index.ts";
import { holdsStore } from "../storage.ts";
import { checkMemberName, isFormed, newMemberId } from "./identity.ts";
import type { Identity, IdentityFile } from "./identity.ts";
import { belongsToMember, wasRemoved } from "./refusals.ts";

export interface Wanted {
  readonly name?: string;
  readonly peers?: Readonly<Record<string, string>>;
  readonly join?: readonly string[];
}

/**
 * The identity to start with, new and not yet saved if there was none that fits; undefined for a store on its own. Throws
 * where the directory and what is wanted do not go together.
 */
export async function intendedIdentity(env: Env, file: IdentityFile, wanted: Wanted): Promise<Identity | undefined> {
  const { peers, join } = wanted;
  const found = await file.load();
  if (found?.removed === true) throw wasRemoved(found.name);
  if (found !== undefined && isFormed(found)) {
    if (wanted.name === undefined || wanted.name === found.name) return found;
    throw new HoldfastError(
      "invalid",
      `this directory belongs to member ${found.name}: it cannot be started as ${wanted.name}`,
    );
  }
  if (peers === undefined && join === undefined) {
    if (found !== undefined) throw belongsToMember(found);
    return undefined;
  }
  const { name } = wanted;
  if (name === undefined) throw new HoldfastError("invalid", "a member of a cluster needs a name (--name)");
  checkMemberName(name);
  const names = checkedPeers(name, wanted);
  const data = await holdsStore(env);
  if (data && names.length === 0) {
    throw new HoldfastError(
      "exists",
      "this directory holds a store of its own, which would be lost in another cluster: join with an empty directory",
    );
  }
  // What an id stands for never changes: with other intentions it is another member.
  if (found?.name === name && found.data === data && found.peers.join() === names.join()) return found;
  return {
    id: newMemberId(env.random),
    name,
    cluster: emptyBytes,
    seed: emptyBytes,
    founding: undefined,
    data,
    position: 0,
    peers: names,
    listen: [],
    address: "",
    zone: "",
    joined: undefined,
    begun: false,
    removed: false,
  };
}

/** Names of the founders in ascending order; none for a member that joins. */
function checkedPeers(name: string, { peers, join }: Wanted): string[] {
  if (peers !== undefined && join !== undefined) {
    throw new HoldfastError(
      "invalid",
      "give --peers to found a cluster, or --join to enter one that is there, not both",
    );
  }
  if (peers === undefined) {
    if (join?.length === 0) throw new HoldfastError("invalid", "--join names no address of a member");
    return [];
  }
  const names = Object.keys(peers).toSorted();
  for (const other of names) checkMemberName(other);
  if (!names.includes(name)) {
    throw new HoldfastError("invalid", `member ${name} is not among its --peers, which are ${names.join(", ")}`);
  }
  if (new Set(Object.values(peers)).size < names.length) {
    throw new HoldfastError("invalid", "two of the --peers have one address; every member has its own");
  }
  return names;
}
