/**
 * What `holdfast start` was asked for, as the options of a member. Wrong usage is found here, before anything is touched.
 */
import type { MemberOptions } from "../member/index.ts";
import { UsageError } from "./output.ts";
import { checkAddress } from "./target.ts";

export interface StartOptions {
  readonly data: string;
  readonly listen?: string;
  readonly advertise?: string;
  readonly name?: string;
  readonly peers?: string;
  readonly join?: string;
  readonly replace?: string;
  readonly zone?: string;
  readonly insecure?: boolean;
  readonly history: number;
  readonly cache: number;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

/** Where a member listens that was told nothing else, and where clients look for one. */
export const listenDefault = "127.0.0.1:7420";

/** The options of the member; `UsageError`, naming the option, when they do not go together. */
export function memberOptionsOf(options: StartOptions): MemberOptions {
  const { name, zone, replace } = options;
  if (options.peers !== undefined && options.join !== undefined) {
    throw new UsageError("give --peers to found a cluster, or --join to enter one that is there, not both");
  }
  if (replace !== undefined && options.join === undefined) {
    throw new UsageError(`--replace ${replace} goes with --join, which says where the cluster is`);
  }
  if (name === undefined && (options.peers !== undefined || options.join !== undefined)) {
    throw new UsageError(`--name is missing: a member of a cluster is known by its name`);
  }
  if (name !== undefined) checkName(name, "--name");
  if (replace !== undefined) checkName(replace, "--replace");
  const peers = options.peers === undefined ? undefined : parsePeers(options.peers, name ?? "");
  const join = options.join === undefined ? undefined : listOf(options.join, "--join");
  const own = peers?.[name ?? ""];
  // None: where it listened last, which the member knows.
  const asked = options.listen ?? own;
  const listen = asked === undefined ? [] : listOf(asked, "--listen");
  for (const address of listen) refuseOpenAddress(address, options.insecure === true);
  if (options.advertise !== undefined) checkReachable(options.advertise, "--advertise");
  const advertise = options.advertise ?? own;
  return {
    listen,
    historyRevisions: options.history,
    cacheSizeMax: options.cache * 1_048_576,
    ...(name !== undefined && { name }),
    ...(advertise !== undefined && { advertise }),
    ...(zone !== undefined && { zone }),
    ...(peers !== undefined && { peers }),
    ...(join !== undefined && { join }),
    ...(replace !== undefined && { replace }),
  };
}

/** `a=127.0.0.1:7421,b=127.0.0.1:7422` as a record of addresses by name. */
function parsePeers(text: string, self: string): Record<string, string> {
  const peers = new Map<string, string>();
  for (const part of text.split(",")) {
    const [, name = "", address = ""] = /^\s*([^=\s]*)=(.*?)\s*$/.exec(part) ?? [];
    if (name === "" || address === "") {
      throw new UsageError(
        `--peers: ${JSON.stringify(part.trim())} is no member; write NAME=ADDRESS, several by comma`,
      );
    }
    checkName(name, "--peers");
    checkReachable(address, "--peers");
    if (peers.has(name)) throw new UsageError(`--peers names ${name} twice; every member has a name of its own`);
    if ([...peers.values()].includes(address)) {
      throw new UsageError(`--peers gives ${address} to two members; every member has an address of its own`);
    }
    peers.set(name, address);
  }
  if (!peers.has(self)) {
    const names = [...peers.keys()].join(", ");
    throw new UsageError(
      `--name ${self} is not among --peers, which are ${names}; the list is the same for all of them`,
    );
  }
  return Object.fromEntries(peers);
}

function listOf(text: string, option: string): string[] {
  const addresses = text.split(",").map((address) => address.trim());
  for (const address of addresses) checkAddress(address, option);
  return addresses;
}

/** As the member will check it again: here it is wrong usage. */
function checkName(name: string, option: string): void {
  if (/^[^\s,=/]{1,64}$/.test(name)) return;
  throw new UsageError(
    `${option}: ${JSON.stringify(name)} is no name for a member; give 1 to 64 characters without space, comma, "=" and "/"`,
  );
}

/** Others can only connect to a port that is known. */
function checkReachable(address: string, option: string): void {
  if (checkAddress(address, option).port !== 0) return;
  throw new UsageError(`${option} ${address}: others cannot reach port 0; give the port on which it listens`);
}

/** Without TLS only this machine may reach a member, unless its owner says otherwise. */
function refuseOpenAddress(address: string, insecure: boolean): void {
  const { scheme, host } = checkAddress(address, "--listen");
  if (scheme === "tls" || scheme === "wss") {
    throw new UsageError(`--listen ${address}: the command does not serve TLS yet; put a proxy that does before it`);
  }
  if (insecure || /^(127\.\d+\.\d+\.\d+|localhost|::1)$/.test(host)) return;
  throw new UsageError(
    `--listen ${address} reaches beyond this machine without TLS; listen on 127.0.0.1, or add --insecure if everybody on that network may read and write`,
  );
}
