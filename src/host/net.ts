/**
 * The network of a real machine: TCP, TLS and WebSocket, all as the same byte streams.
 *
 * 1. TCP is sent at once (no Nagle delay): batching is the writer's business, who knows where a batch ends.
 * 2. TLS is version 1.3. A server that asks for client certificates refuses a client without a valid one.
 * 3. A WebSocket carries the stream as binary messages whose boundaries mean nothing. A browser's page may only connect
 *    from an origin on the list: otherwise any web site could speak to a member on the visitor's own machine.
 *
 * `ws` is the one npm package here; it is loaded when the first WebSocket address is used.
 */
import * as http from "node:http";
import * as https from "node:https";
import * as net from "node:net";
import * as tls from "node:tls";
import type { WebSocket } from "ws";
import { abortError, HoldfastError, throwIfAborted, unreachable } from "../base/index.ts";
import type { Connection, Listener, Net } from "../base/index.ts";
import { formatAddress, formatHost, parseAddress } from "./address.ts";
import type { Address } from "./address.ts";
import { alertMessage, highWaterSize, isAlert, NodeConnection } from "./connection.ts";
import { systemCode } from "./disk-error.ts";
import { messageSizeMax, WebSocketConnection } from "./web-socket.ts";

/** Certificates and keys, each PEM text. */
export interface TlsOptions {
  /** This side's certificate and the chain above it; needed to listen, and to connect where clients must show one. */
  readonly cert?: string;
  /** The private key of `cert`. */
  readonly key?: string;
  /** The authorities that the other side's certificate must come from. Default: those that Node.js trusts. */
  readonly ca?: string;
  /** Whether a listener demands a certificate, issued by `ca`, of every client. Default false. */
  readonly requestClientCertificate?: boolean;
}

export interface NodeNetOptions {
  readonly tls?: TlsOptions;
  /** Origins, such as `https://admin.example`, whose pages may connect by WebSocket. Default none. */
  readonly webSocketOrigins?: readonly string[];
}

export class NodeNet implements Net {
  readonly #tls: TlsOptions;
  readonly #origins: ReadonlySet<string>;

  constructor(options: NodeNetOptions = {}) {
    this.#tls = options.tls ?? {};
    this.#origins = new Set(options.webSocketOrigins);
  }

  async listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    const parsed = parseAddress(address);
    const server = await this.#server(parsed, accept);
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error) => reject(listenError(error, address));
      server.once("error", fail);
      server.listen({ host: parsed.host, port: parsed.port }, () => {
        server.off("error", fail);
        resolve();
      });
    });
    // After listening begins, an error means one failed `accept` (no descriptor left): the next may succeed.
    server.on("error", () => {});
    const { port } = server.address() as net.AddressInfo;
    return new NodeListener(formatAddress({ ...parsed, port }), server);
  }

  async connect(address: string, options: { readonly signal?: AbortSignal } = {}): Promise<Connection> {
    const parsed = parseAddress(address);
    throwIfAborted(options.signal);
    if (parsed.scheme === "ws" || parsed.scheme === "wss")
      return this.#connectWebSocket(parsed, address, options.signal);
    const socket = this.#connectSocket(parsed);
    const ready = parsed.scheme === "tls" ? "secureConnect" : "connect";
    const connection = new NodeConnection(socket, address);
    await opened(socket, ready, address, options.signal, () => socket.destroy());
    return connection;
  }

  #connectSocket({ scheme, host, port }: Address): net.Socket {
    const common = { host, port, noDelay: true, highWaterMark: highWaterSize };
    return scheme === "tls" ? tls.connect({ ...common, ...this.#clientTls(host) }) : net.connect(common);
  }

  async #connectWebSocket(parsed: Address, address: string, signal: AbortSignal | undefined): Promise<Connection> {
    const { WebSocket } = await import("ws");
    throwIfAborted(signal);
    const socket = new WebSocket(`${parsed.scheme}://${formatHost(parsed.host)}:${parsed.port}/`, {
      perMessageDeflate: false,
      maxPayload: messageSizeMax,
      ...(parsed.scheme === "wss" ? this.#clientTls(parsed.host) : {}),
    });
    const connection = new WebSocketConnection(socket, address);
    await opened(socket, "open", address, signal, () => socket.terminate());
    return connection;
  }

  #server(parsed: Address, accept: (connection: Connection) => void): Promise<net.Server> | net.Server {
    const onSocket = (socket: net.Socket) => accept(new NodeConnection(socket, peerOf(socket)));
    switch (parsed.scheme) {
      case "tcp":
        return net.createServer({ noDelay: true, pauseOnConnect: true, highWaterMark: highWaterSize }, onSocket);
      case "tls":
        return tls.createServer({ noDelay: true, highWaterMark: highWaterSize, ...this.#serverTls() }, onSocket);
      case "ws":
        return this.#serveWebSocket(http.createServer({ noDelay: true }, refuseRequest), accept);
      case "wss":
        return this.#serveWebSocket(https.createServer({ noDelay: true, ...this.#serverTls() }, refuseRequest), accept);
      default:
        return unreachable(parsed.scheme);
    }
  }

  async #serveWebSocket(server: http.Server, accept: (connection: Connection) => void): Promise<net.Server> {
    const { WebSocketServer } = await import("ws");
    const sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: messageSizeMax,
    });
    server.on("upgrade", (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
      const { origin } = request.headers;
      if (origin !== undefined && !this.#origins.has(origin)) {
        // The system's own listeners are gone after an upgrade, and an error without one would end the process.
        socket.on("error", () => {});
        socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        return;
      }
      sockets.handleUpgrade(request, socket, head, (client: WebSocket) => {
        accept(new WebSocketConnection(client, peerOf(socket)));
      });
    });
    return server;
  }

  #clientTls(host: string): tls.ConnectionOptions {
    const { cert, key, ca } = this.#tls;
    return {
      minVersion: "TLSv1.3",
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(ca !== undefined && { ca }),
      // The name that the certificate must carry; an IP address is not allowed in the handshake's own field.
      ...(net.isIP(host) === 0 && { servername: host }),
    };
  }

  #serverTls(): tls.TlsOptions {
    const { cert, key, ca, requestClientCertificate = false } = this.#tls;
    if (cert === undefined || key === undefined) {
      throw new HoldfastError("invalid", "listening with TLS needs a certificate and its key; give both in `tls`");
    }
    return {
      minVersion: "TLSv1.3",
      cert,
      key,
      ...(ca !== undefined && { ca }),
      requestCert: requestClientCertificate,
      rejectUnauthorized: requestClientCertificate,
    };
  }
}

class NodeListener implements Listener {
  readonly address: string;
  readonly #server: net.Server;

  constructor(address: string, server: net.Server) {
    this.address = address;
    this.#server = server;
  }

  close(): Promise<void> {
    // The port is free at once; the server's own callback would also wait for every open connection to end.
    this.#server.close();
    return new Promise((resolve) => setImmediate(resolve));
  }
}

/** Waits until a socket that is being opened is ready; closes it when that fails or `signal` aborts first. */
function opened(
  socket: net.Socket | WebSocket,
  ready: string,
  address: string,
  signal: AbortSignal | undefined,
  close: () => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (failure?: HoldfastError) => {
      signal?.removeEventListener("abort", onAbort);
      socket.off(ready, onReady);
      if (failure === undefined) {
        socket.off("error", onError);
        return resolve();
      }
      // The listener for errors stays: closing may bring another one.
      close();
      reject(failure);
    };
    const onAbort = () => finish(abortError(signal as AbortSignal));
    const onReady = () => finish();
    const onError = (error: Error) => finish(connectError(error, address));
    socket.on(ready, onReady);
    socket.on("error", onError);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function connectError(error: Error, address: string): HoldfastError {
  const code = systemCode(error) ?? "";
  if (isAlert(error)) {
    return new HoldfastError("denied", alertMessage(address, code), { cause: error });
  }
  if (/CERT|SIGNATURE|ALTNAME/.test(code)) {
    return new HoldfastError(
      "denied",
      `${address} does not prove who it is: ${error.message} (${code}); give the authority of its certificate in tls.ca`,
      { cause: error },
    );
  }
  if (error.message === "Unexpected server response: 403") {
    return new HoldfastError(
      "denied",
      `${address} refuses this page's origin; put the origin on the member's list (webSocketOrigins)`,
      { cause: error },
    );
  }
  return new HoldfastError("unavailable", `cannot connect to ${address}: ${reasonOf(error)}`, { cause: error });
}

function listenError(error: Error, address: string): HoldfastError {
  switch (systemCode(error)) {
    case "EADDRINUSE":
      return new HoldfastError(
        "conflict",
        `cannot listen on ${address}: the port is in use; stop the process that has it or choose another port`,
        { cause: error },
      );
    case "EACCES":
      return new HoldfastError(
        "denied",
        `cannot listen on ${address}: this user may not open the port; choose one above 1023`,
        { cause: error },
      );
    default:
      return new HoldfastError("unavailable", `cannot listen on ${address}: ${reasonOf(error)}`, { cause: error });
  }
}

/** A name with several addresses fails with one error for each, and an empty message. */
function reasonOf(error: Error): string {
  if (!(error instanceof AggregateError)) return error.message;
  return error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join(", ");
}

function peerOf(socket: net.Socket): string {
  // A socket may be gone before it is looked at; then the system no longer knows.
  return socket.remoteAddress === undefined
    ? "unknown"
    : `${formatHost(socket.remoteAddress)}:${socket.remotePort ?? 0}`;
}

function refuseRequest(_request: http.IncomingMessage, response: http.ServerResponse): void {
  response.writeHead(426, { Connection: "close", "Content-Type": "text/plain" });
  response.end("This address speaks WebSocket only.\n");
}
