/**
 * Addresses of the real network: `host:port`, `tls:host:port`, `ws:host:port`, `wss:host:port`. An IPv6 host stands in
 * brackets, as in `tls:[::1]:7420`. There is no default port: an address that a person reads says where it leads.
 */
import { HoldfastError } from "../base/index.ts";

export type Scheme = "tcp" | "tls" | "ws" | "wss";

export interface Address {
  readonly scheme: Scheme;
  /** A name or an IP address, without brackets. */
  readonly host: string;
  /** 0 to 65535; 0 only makes sense for listening. */
  readonly port: number;
}

/** The parts of an address, or `invalid`. */
export function parseAddress(text: string): Address {
  const match = /^(?:(tls|ws|wss):)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[4]);
  if (match === null || port > 65_535) {
    throw new HoldfastError(
      "invalid",
      `${JSON.stringify(text)} is no address; give host:port, tls:host:port, ws:host:port or wss:host:port, ` +
        `with an IPv6 host in brackets and a port up to 65535`,
    );
  }
  return { scheme: (match[1] as Scheme | undefined) ?? "tcp", host: (match[2] ?? match[3]) as string, port };
}

export function formatAddress({ scheme, host, port }: Address): string {
  return `${scheme === "tcp" ? "" : `${scheme}:`}${formatHost(host)}:${port}`;
}

/** A host as it stands in an address or a URL. */
export function formatHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
