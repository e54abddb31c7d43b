/** The real network beyond the conformance suite: addresses, who is trusted over TLS, and what a WebSocket refuses. */
import assert from "node:assert/strict";
import * as http from "node:http";
import * as net from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { deferred } from "../base/index.ts";
import type { Connection, HoldfastError } from "../base/index.ts";
import { makeAuthority } from "./certificates.suite.ts";
import { formatAddress, NodeNet, parseAddress } from "./index.ts";
import { WebSocketConnection } from "./web-socket.ts";

/** Takes connections, and tells what each received and how it ended. */
function taker() {
  const ended = deferred<{ bytes: number[]; error: Error | undefined }>();
  let count = 0;
  const accept = (connection: Connection) => {
    count += 1;
    const bytes: number[] = [];
    connection.start({
      data: (piece) => bytes.push(...piece),
      drained() {},
      closed: (error) => ended.resolve({ bytes, error }),
    });
  };
  return { accept, ended: ended.promise, acceptedCount: () => count };
}

function closing(connection: Connection): Promise<Error | undefined> {
  const closed = deferred<Error | undefined>();
  connection.start({ data() {}, drained() {}, closed: (error) => closed.resolve(error) });
  return closed.promise;
}

test("addresses are read and written back", () => {
  for (const [text, scheme, host, port] of [
    ["127.0.0.1:80", "tcp", "127.0.0.1", 80],
    ["tls:example.org:7420", "tls", "example.org", 7420],
    ["ws:[::1]:0", "ws", "::1", 0],
    ["wss:localhost:65535", "wss", "localhost", 65_535],
    ["[fe80::1%eth0]:1", "tcp", "fe80::1%eth0", 1],
  ] as const) {
    assert.deepEqual(parseAddress(text), { scheme, host, port });
    assert.equal(formatAddress({ scheme, host, port }), text);
  }
});

test("TLS: a server of another authority is denied, and so is a client without a certificate", async () => {
  const [ours, theirs] = await Promise.all([makeAuthority("ours"), makeAuthority("theirs")]);
  const server = new NodeNet({ tls: { ca: ours.ca, ...(await ours.issue("m")), requestClientCertificate: true } });
  for (const scheme of ["tls", "wss"]) {
    const { accept, ended, acceptedCount } = taker();
    const listener = await server.listen(`${scheme}:127.0.0.1:0`, accept);
    const stranger = new NodeNet({ tls: { ca: theirs.ca } });
    await assert.rejects(stranger.connect(listener.address), { code: "denied", message: /does not prove who it is/ });
    const none: { cert?: string; key?: string } = {};
    for (const own of [none, await theirs.issue("m")]) {
      // With TLS 1.3 the client has connected before it is refused; then its connection is over. It is never accepted.
      const client = new NodeNet({ tls: { ca: ours.ca, ...own } });
      const refusal = await client.connect(listener.address).then(closing, (error: HoldfastError) => error);
      if (own.cert === undefined) assert.match(String(refusal), /refuses this side's TLS handshake/);
    }
    assert.equal(acceptedCount(), 0);
    const member = await new NodeNet({ tls: { ca: ours.ca, ...(await ours.issue("m")) } }).connect(listener.address);
    const over = closing(member);
    member.write([Uint8Array.of(7)]);
    member.end();
    assert.equal(await over, undefined);
    assert.deepEqual((await ended).bytes, [7]);
    await listener.close();
  }
  await assert.rejects(
    new NodeNet().listen("tls:127.0.0.1:0", () => {}),
    { code: "invalid", message: /certificate/ },
  );
});

test("a WebSocket server refuses origins that are not on its list, and plain requests, and survives both", async () => {
  const { accept, ended } = taker();
  const listener = await new NodeNet({ webSocketOrigins: ["https://good.example"] }).listen("ws:127.0.0.1:0", accept);
  const { port } = parseAddress(listener.address);
  const refused = new WebSocket(`ws://127.0.0.1:${port}/`, { origin: "https://evil.example" });
  const failure = deferred<Error>();
  refused.on("error", (error) => failure.resolve(error));
  assert.match((await failure.promise).message, /403/);
  const plain = deferred<number | undefined>();
  http.get({ host: "127.0.0.1", port, agent: false }, (response) => {
    response.resume();
    plain.resolve(response.statusCode);
  });
  assert.equal(await plain.promise, 426);
  // Somebody who asks for an upgrade from the wrong place and resets at once.
  const rude = net.connect(port, "127.0.0.1");
  rude.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://evil\r\n\r\n");
  rude.resetAndDestroy();
  const welcome = new WebSocket(`ws://127.0.0.1:${port}/`, { origin: "https://good.example" });
  welcome.on("open", () => {
    welcome.send(Uint8Array.of(1, 2));
    welcome.send(Uint8Array.of(3));
    // As a page does: it only closes, and has ended both directions.
    welcome.close();
  });
  assert.deepEqual(await ended, { bytes: [1, 2, 3], error: undefined });
  await listener.close();
});

test("a WebSocket client that sends text, or leaves in the middle, ends its own connection with an error", async () => {
  for (const rude of [(socket: WebSocket) => socket.send("hello"), (socket: WebSocket) => socket.terminate()]) {
    const { accept, ended } = taker();
    const listener = await new NodeNet().listen("ws:127.0.0.1:0", accept);
    const socket = new WebSocket(`ws://${listener.address.slice(3)}/`);
    socket.on("open", () => rude(socket));
    const { error } = await ended;
    assert.match(String(error), /text message|code 1006/);
    await listener.close();
  }
});

test("a WebSocket message that comes while paused waits, and a close behind it does not overtake it", async () => {
  const accepted = deferred<Connection>();
  const listener = await new NodeNet().listen("ws:127.0.0.1:0", (connection) => accepted.resolve(connection));
  const socket = new WebSocket(`ws://${listener.address.slice(3)}/`);
  socket.on("open", () => {
    for (let count = 0; count < 10; count += 1) socket.send(Uint8Array.of(count));
    socket.close();
  });
  const connection = await accepted.promise;
  assert.ok(connection instanceof WebSocketConnection);
  const got: number[] = [];
  const closed = deferred<Error | undefined>();
  connection.start({
    data(bytes) {
      got.push(...bytes);
      connection.pause();
      setImmediate(() => connection.resume());
    },
    drained() {},
    closed: (error) => closed.resolve(error),
  });
  assert.equal(await closed.promise, undefined);
  assert.deepEqual(got, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  await listener.close();
});

test("nobody there, and no such name, are unavailable", async () => {
  const node = new NodeNet();
  const listener = await node.listen("127.0.0.1:0", () => {});
  const { address } = listener;
  await listener.close();
  await assert.rejects(node.connect(address), {
    code: "unavailable",
    message: new RegExp(`cannot connect to ${address}`),
  });
  await assert.rejects(node.connect("no-such-name.invalid:1"), { code: "unavailable" });
});
