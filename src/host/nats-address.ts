/** Where a log on NATS JetStream is: `nats://host:port[,host:port…]/STREAM?replicas=3&sync=always`. */
import { HoldfastError } from "../base/index.ts";

export interface NatsAddress {
  /** `host:port`, at least one. */
  readonly servers: readonly string[];
  readonly stream: string;
  /** Of a stream that is made: how many servers keep it, 1 to 5. */
  readonly replicas: number;
  /** Whoever gave the address says that the servers sync every write to disk. */
  readonly isSynced: boolean;
}

const form = "nats://host:port[,host:port]/STREAM?replicas=3&sync=always";
const replicasMax = 5;

/** `invalid`, naming what is wrong. */
export function parseNatsAddress(text: string): NatsAddress {
  const match = /^nats:\/\/([^/?@]+)\/([\w-]{1,64})(?:\?(.*))?$/.exec(text);
  if (match === null) throw new HoldfastError("invalid", `${text} is no address of a stream; write ${form}`);
  const [, hosts = "", stream = "", query = ""] = match;
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (name !== "replicas" && name !== "sync") {
      throw new HoldfastError("invalid", `${text}: "${name}" is not known; write ${form}`);
    }
  }
  const replicas = Number(parameters.get("replicas") ?? "1");
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > replicasMax) {
    throw new HoldfastError("invalid", `${text}: replicas must be a whole number from 1 to ${replicasMax}`);
  }
  const sync = parameters.get("sync");
  if (sync !== null && sync !== "always") throw new HoldfastError("invalid", `${text}: sync can only be "always"`);
  const servers = hosts.split(",").map((host) => (/:\d+$/.test(host) ? host : `${host}:4222`));
  if (servers.some((server) => server.startsWith(":"))) {
    throw new HoldfastError("invalid", `${text} has an empty host; write ${form}`);
  }
  return { servers, stream, replicas, isSynced: sync === "always" };
}
