/** Serves `ClusterService`: for a member of a cluster, and for a store on its own. */
import { HoldfastError } from "../../base/index.ts";
import { implement } from "../../rpc/index.ts";
import type { Service } from "../../rpc/index.ts";
import { ClusterService } from "./cluster-service.ts";
import type { Hello, HelloRequest } from "./cluster-service.ts";
import type { ClusterMembers } from "./cluster-members.ts";
import type { Members } from "./members.ts";
import { noCluster } from "./refusals.ts";

type HelloHandler = (request: HelloRequest, signal: AbortSignal) => Promise<Partial<Hello>>;

export function clusterService(members: ClusterMembers, hello: HelloHandler): Service {
  return implement(ClusterService, {
    list: ({ direct }, { signal }) => members.list({ direct, signal }),
    add: ({ name, ...options }, { signal }) => members.add(name, { ...options, signal }),
    remove: ({ name, direct }, { signal }) => members.remove(name, { direct, signal }).then(nothing),
    promote: ({ name, direct }, { signal }) => members.promote(name, { direct, signal }).then(nothing),
    transfer: ({ name, zone = "", direct }, { signal }) =>
      members.transfer(name === undefined ? { zone } : { name }, { direct, signal }).then(nothing),
    hello: (request, { signal }) => hello(request, signal),
    join: (request, { signal }) => members.join(request, { direct: request.direct, signal }),
  });
}

/** While the member waits for its cluster: it says who it is, and refuses all else. */
export function waitingService(hello: HelloHandler): Service {
  return implement(ClusterService, {
    list: refuse,
    add: refuse,
    remove: refuse,
    promote: refuse,
    transfer: refuse,
    hello: (request, { signal }) => hello(request, signal),
    join: refuse,
  });
}

/** Members that found a cluster are told that this store has no part in it; all else says how to make a cluster. */
export function singleService(members: Members, name: string): Service {
  return implement(ClusterService, {
    list: () => members.list(),
    add: ({ name }) => members.add(name),
    remove: ({ name }) => members.remove(name).then(nothing),
    promote: ({ name }) => members.promote(name).then(nothing),
    transfer: ({ name = "" }) => members.transfer({ name }).then(nothing),
    hello: () => ({ self: { name, data: true } }),
    join: () => Promise.reject(noCluster()),
  });
}

function nothing(): object {
  return {};
}

function refuse(): never {
  throw new HoldfastError("unavailable", "this member still waits for its cluster; ask another one");
}
