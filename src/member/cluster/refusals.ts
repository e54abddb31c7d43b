/** Why a member is not let into a cluster, or a store is not opened, in the words that a person reads. */
import { HoldfastError } from "../../base/index.ts";
import type { Identity } from "./identity.ts";
import { isFormed } from "./identity.ts";

/** A member with an empty directory, whose name the cluster knows under another id. */
export function lostDirectory(name: string, address: string): HoldfastError {
  return new HoldfastError(
    "denied",
    `member ${name} cannot come back with this data directory: the one that the cluster knows it by was lost or is another. Replace it: \`holdfast start --name ${name}2 --join ${address} --replace ${name}\` in an empty directory`,
  );
}

export function joinRemedy(name: string, address: string): string {
  return `to add it: \`holdfast start --name ${name} --join ${address}\` in an empty directory`;
}

export function nameInUse(name: string): HoldfastError {
  return new HoldfastError(
    "exists",
    `the cluster has a member ${name} already: choose another name, and to take its place add --replace ${name}`,
  );
}

export function wasRemoved(name: string): HoldfastError {
  return new HoldfastError(
    "denied",
    `member ${name} was removed from its cluster, for good: this data directory is of no use any more. To come back start with --join in an empty directory`,
  );
}

/** A store on its own has no membership to change. */
export function noCluster(): HoldfastError {
  return new HoldfastError(
    "invalid",
    "this store is not a cluster; to make it one, start it with `--name NAME --peers NAME=ADDRESS` and further members with `--join ADDRESS`",
  );
}

/** Somebody opens the directory of a member as if it were a store of its own. */
export function belongsToMember(identity: Identity): HoldfastError {
  if (identity.removed) return wasRemoved(identity.name);
  if (isFormed(identity)) {
    return new HoldfastError(
      "invalid",
      `this directory belongs to member ${identity.name} of a cluster: start it with \`holdfast start --data DIRECTORY\` and use its address with --endpoint`,
    );
  }
  return new HoldfastError(
    "invalid",
    `this directory belongs to member ${identity.name}, which still waits for its cluster: start it with ${identity.peers.length > 0 ? "--peers" : "--join"} as before, or remove the file \`member\` to use the directory without a cluster`,
  );
}
