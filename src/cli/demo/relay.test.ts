/** The relay: what passes, what does not while a member is cut off, and what its peers see when a member dies. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test } from "node:test";
import { nodeEnv } from "../../host/index.ts";
import { deferred } from "../../base/index.ts";
import { RelayedNet } from "./relayed-net.ts";
import { Relay } from "./relay.ts";

/** Answers everything with the same bytes, and counts connections. */
const accepted: Socket[] = [];
const echo = createServer((socket) => {
  accepted.push(socket);
  socket.on("error", () => {});
  socket.pipe(socket);
});
let relay: Relay;
let address: string;

before(async () => {
  await once(echo.listen(0, "127.0.0.1"), "listening");
  address = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
  relay = await Relay.listen();
  relay.name(address, "b");
});

after(() => {
  relay.close();
  echo.close();
});

/** A connection of member `self` to b, and what comes back on it. */
async function open(self: string) {
  const net = new RelayedNet(nodeEnv({ directory: "." }).net, relay.address, self);
  const connection = await net.connect(address);
  let text = "";
  let wanted = deferred<void>();
  const closed = deferred<void>();
  connection.start({
    data: (bytes) => {
      text += Buffer.from(bytes).toString();
      wanted.resolve();
    },
    drained: () => {},
    closed: () => closed.resolve(),
  });
  const send = (what: string) => connection.write([Buffer.from(what)]);
  const received = async (what: string) => {
    for (;;) {
      if (text === what) return;
      assert.ok(what.startsWith(text), `${text} is not the beginning of ${what}`);
      await wanted.promise;
      wanted = deferred<void>();
    }
  };
  return { send, received, closed: closed.promise, connection, text: () => text };
}

test("bytes pass both ways; while a member is cut off they wait, and others go on", async () => {
  const from = await open("a");
  const other = await open("c");
  from.send("one ");
  await from.received("one ");
  relay.cut("a");
  from.send("two ");
  // What a sends is held, also on a connection that it makes now; c still reaches b.
  const late = await open("a");
  late.send("late");
  other.send("other");
  await other.received("other");
  assert.deepEqual([from.text(), late.text()], ["one ", ""]);
  // Cutting and healing somebody else changes nothing.
  relay.cut("c");
  relay.heal("c");
  other.send(" again");
  await other.received("other again");
  relay.heal("a");
  await from.received("one two ");
  await late.received("late");
  for (const { connection } of [from, other, late]) connection.destroy();
});

test("who is cut off is not reached either", async () => {
  relay.cut("b");
  const from = await open("a");
  from.send("hello");
  const before = accepted.length;
  relay.heal("b");
  await from.received("hello");
  assert.equal(accepted.length, before + 1);
  from.connection.destroy();
});

test("the death of one end is seen at the other", async () => {
  const from = await open("a");
  from.send("x");
  await from.received("x");
  accepted.at(-1)?.resetAndDestroy();
  await from.closed;
});

test("what is no greeting is closed", async () => {
  const { port } = new URL(`tcp://${relay.address}`);
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write("x".repeat(400));
  await once(socket, "close");
});
