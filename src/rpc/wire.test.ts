/** Rpc byte by byte: golden frames, malformed ones, hostile peers, and random bytes on both halves. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import { deferred, giveWay, HoldfastError, limits, toHex } from "../base/index.ts";
import type { Connection, Env, Listener } from "../base/index.ts";
import { nodeEnv } from "../host/index.ts";
import { decodeError, encodePreface, frameFlag, frameType } from "./frame.ts";
import { MemoryNet, RpcClient, RpcServer } from "./index.ts";
import { Item, pattern, stubOf, testService, Witness } from "./rpc.suite.ts";
import { bind, frame, preface, RawPeer, varints } from "./wire.suite.ts";

const { open, message, end, credit, cancel, error, ping, pong, goAway } = frameType;
const { content, more, end: last } = frameFlag;
const host = nodeEnv({ directory: "." });
const env: Env = { ...host, net: new MemoryNet(host.clock) };
const address = "memory:wire";
const witness = new Witness();
let server: RpcServer;
/** A client that does nothing wrong, beside those who do. */
let bystander: RpcClient;

before(async () => {
  server = new RpcServer(env, [testService(env, witness)], { keepAliveMs: 60_000 });
  await server.listen(address);
  bystander = new RpcClient(env, address);
});
after(async () => {
  await bystander.close();
  await server.close();
});

/** A whole call in one frame: service 1, this method, no deadline. */
function openFrame(call: number, method: number, item: Uint8Array = Item.encode({}), timeoutMs = 0): Uint8Array {
  return frame(open | content | last, call, Buffer.concat([varints(1, method, timeoutMs), item]));
}

test("golden bytes: a call and its answer", async () => {
  const peer = await RawPeer.connect(env.net, address);
  const bytes = Buffer.concat([preface, bind("test.Test"), openFrame(1, 1, Item.encode({ number: 300 }), 5_000)]);
  assert.equal(
    toHex(bytes),
    "4846525001000000" +
      "00000400" +
      "00002000" + // preface: HFRP, version 1, window 262,144, frames of 2 MiB
      "010109" +
      "746573742e54657374" + // bind 1: test.Test
      "520107" +
      "0101" +
      "8827" +
      "08ac02", // open, content, end; call 1: service 1, method 1, 5,000 ms, the message
  );
  peer.send(bytes);
  await peer.until(() => peer.frames.length > 0);
  const [answer] = peer.frames;
  assert.deepEqual([answer?.kind, answer?.call, toHex(answer?.body ?? preface)], [message | last, 1, "08ac02"]);
  peer.connection.end();
  assert.equal(await peer.closed.promise, undefined);
});

test("one byte at a time is the same", async () => {
  const peer = await RawPeer.connect(env.net, address);
  const item = Item.encode({ data: pattern(5_000) });
  for (const byte of Buffer.concat([preface, bind("test.Test"), openFrame(1, 1, item), frame(ping, 0)])) {
    peer.send(Uint8Array.of(byte));
  }
  await peer.until(() => peer.frames.length === 2);
  assert.deepEqual(new Set(peer.frames.map(({ type }) => type)), new Set([message, pong]));
  assert.deepEqual(peer.frames.find(({ type }) => type === message)?.body, new Uint8Array(item));
  peer.connection.destroy();
});

const window = 262_144;
const malformed: Record<string, { readonly frames: readonly Uint8Array[]; readonly why: RegExp }> = {
  "a type that does not exist": { frames: [frame(0x0b, 1)], why: /kind 11/ },
  "a flag that the type cannot have": { frames: [frame(ping | more, 0)], why: /kind 40/ },
  "a frame over the limit": {
    frames: [Buffer.concat([Uint8Array.of(message), varints(1, limits.frameSizeMax)])],
    why: /limits\.frameSizeMax/,
  },
  "a number without end": { frames: [Uint8Array.of(message, ...Array(9).fill(0xff))], why: /2\^53/ },
  "a service that was not bound": {
    frames: [frame(open | content | last, 1, varints(2, 1, 0))],
    why: /service that was not bound/,
  },
  "a number bound out of turn": { frames: [bind("again", 3)], why: /service 3 is bound after 1/ },
  "a call number used twice": { frames: [openFrame(5, 1), openFrame(5, 1)], why: /call 5 is opened after call 5/ },
  "a frame of a call that never was": { frames: [openFrame(1, 1), frame(end, 2)], why: /call 2 was never opened/ },
  "what only servers say": { frames: [frame(error, 1)], why: /comes from servers/ },
  "an open frame cut off": { frames: [frame(open | content | last, 1, varints(1))], why: /cut off/ },
  "a cancel frame without code": { frames: [openFrame(1, 2), frame(cancel, 1)], why: /cancel frame/ },
  "credit with something behind": { frames: [openFrame(1, 7), frame(credit, 1, varints(5, 5))], why: /1 bytes follow/ },
  "credit beyond reason": {
    frames: [openFrame(1, 7), frame(credit, 1, varints(2 ** 41))],
    why: /credit of call 1 exceeds/,
  },
  "a second request of a unary call": {
    frames: [openFrame(1, 2, Item.encode({ number: 60_000 })), frame(message | last, 1)],
    why: /call 1 goes on/,
  },
  "more than the credit": {
    frames: [frame(open, 1, varints(1, 6, 0)), ...Array(9).fill(frame(message, 1, new Uint8Array(window / 8)))],
    why: /over its credit/,
  },
  "more empty messages than the credit": {
    frames: [frame(open, 1, varints(1, 6, 0)), ...Array(window / 32 + 1).fill(frame(message, 1))],
    why: /over its credit/,
  },
  "a first part longer than the whole": {
    frames: [frame(open | content | more, 1, Buffer.concat([varints(1, 1, 0, 2), new Uint8Array(3)]))],
    why: /3 of 2 bytes/,
  },
  "an empty part": {
    frames: [
      frame(open | content | more, 1, Buffer.concat([varints(1, 1, 0, 9), new Uint8Array(3)])),
      frame(message | more, 1),
    ],
    why: /part of 0 bytes/,
  },
  "a last part too short": {
    frames: [
      frame(open | content | more, 1, Buffer.concat([varints(1, 1, 0, 9), new Uint8Array(3)])),
      frame(message | last, 1, new Uint8Array(2)),
    ],
    why: /5 of 9 bytes/,
  },
};

for (const [title, { frames, why }] of Object.entries(malformed)) {
  test(`malformed: ${title}`, async () => {
    const running = stubOf(bystander).later({ number: 5 });
    const peer = await RawPeer.connect(env.net, address);
    peer.send(preface, bind("test.Test"), ...frames);
    const farewell = await peer.farewell();
    assert.equal(farewell?.code, "corrupt");
    assert.match(farewell?.message ?? "", why);
    assert.equal((await running).number, 5);
    // Of the closed connection nothing is left.
    while (server.callCount > 0) await giveWay(env.clock);
    assert.equal(server.connectionCount, 1);
  });
}

test("malformed: no preface, or that of another version", async () => {
  for (const [bytes, why] of [
    [Buffer.from("GET / HTTP/1.1\r\nHost: example\r\n\r\n"), /does not speak Holdfast rpc/],
    [preface.with(4, 2), /version 2 .*version 1/],
    [encodePreface({ windowSize: 5, frameSizeMax: 100_000 }), /window of 5/],
  ] as const) {
    const peer = await RawPeer.connect(env.net, address);
    peer.send(bytes);
    const farewell = await peer.farewell();
    assert.equal(farewell?.code, "corrupt");
    assert.match(farewell?.message ?? "", why);
  }
});

test("a message announced over the limit is refused before it comes, and only its call", async () => {
  const peer = await RawPeer.connect(env.net, address);
  const tooLarge = Buffer.concat([varints(1, 1, 0, limits.messageSizeMax + 1), new Uint8Array(100)]);
  peer.send(preface, bind("test.Test"), frame(open | content | more, 1, tooLarge), openFrame(2, 1));
  // What follows of the refused message is passed over.
  peer.send(frame(message | more, 1, new Uint8Array(1_000)));
  await peer.until(() => peer.frames.length === 2);
  const refusal = peer.frames.find(({ call }) => call === 1);
  assert.equal(refusal?.type, error);
  const { code, message: text } = decodeError(refusal?.body ?? preface, 0, refusal?.body.length ?? 0);
  assert.equal(code, "invalid");
  assert.match(text, /limits\.messageSizeMax/);
  assert.ok(peer.frames.some(({ call, type }) => call === 2 && type === message));
  peer.connection.destroy();
});

/** The same inputs in every run, unless asked for others: some take minutes, where a damaged request asks for it. */
const fuzz = (numRuns: number) => ({ numRuns, seed: Number(process.env["HOLDFAST_FUZZ_SEED"] ?? 1) });

/** Bytes in array buffers that somebody still refers to: what is garbage by now does not count. */
function heldSize(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().arrayBuffers;
}

test("announced sizes cost no memory: unfinished messages hold what came and one budget", async () => {
  const peer = await RawPeer.connect(env.net, address);
  const before = heldSize();
  peer.send(preface, bind("test.Test"));
  for (let call = 1; call <= 1_000; call++) {
    peer.send(frame(open | content | more, call, Buffer.concat([varints(1, 1, 0, 16_000_000), new Uint8Array(1_000)])));
  }
  peer.send(frame(ping, 0));
  await peer.until(() => peer.frames.some(({ type }) => type === pong));
  // Four messages of 16 MB fit the connection's budget of 64 MiB; the rest wait with one window each at most.
  const granted = peer.frames.filter(({ type }) => type === credit);
  assert.equal(granted.length, 4);
  const grown = heldSize() - before;
  assert.ok(grown < 68_000_000 + 1_000 * 4_000, `memory grew by ${grown} bytes`);
  peer.connection.destroy();
  while (server.callCount > 0) await giveWay(env.clock);
});

test("a client that does not read its answers is not served without end", async () => {
  const peer = await RawPeer.connect(env.net, address);
  peer.connection.pause();
  peer.send(preface, bind("test.Test"));
  const item = Item.encode({ data: new Uint8Array(10_000) });
  const count = 2_000;
  let written = 0;
  for (let call = 1; call <= count; call++) {
    written = call;
    if (!peer.send(openFrame(call, 1, item))) for (let turn = 0; turn < 4; turn++) await giveWay(env.clock);
  }
  for (let turn = 0; turn < 100; turn++) await giveWay(env.clock);
  assert.equal(peer.frames.length, 0);
  await stubOf(bystander).echo({});
  // Reading again, everything is answered, in as many frames.
  peer.connection.resume();
  await peer.until(() => peer.frames.length === written);
  peer.connection.destroy();
});

test("answers that nobody reads stay within the bound", async () => {
  let served = 0;
  const inner = testService(env, new Witness());
  const echo = inner.methods.get(1);
  assert.ok(echo !== undefined);
  const counting = {
    ...inner,
    methods: new Map([...inner.methods, [1, { ...echo, handle: (item: never): unknown => (served++, item) }]]),
  };
  const own = new RpcServer(env, [counting]);
  await own.listen("memory:unread");
  const peer = await RawPeer.connect(env.net, "memory:unread");
  peer.connection.pause();
  peer.send(preface, bind("test.Test"));
  const item = Item.encode({ data: new Uint8Array(10_000) });
  for (let call = 1; call <= 3_000; call++) {
    peer.send(openFrame(call, 1, item));
    if (call % 10 === 0) await giveWay(env.clock);
  }
  for (let turn = 0; turn < 100; turn++) await giveWay(env.clock);
  // 256 KiB in the connection, 1 MiB of backlog, 256 KiB of one delivery and a flush of 256 KiB.
  assert.ok(served > 20 && served * 10_000 < 2_500_000, `${served} calls of 3,000 were served unread`);
  peer.connection.destroy();
  await own.close({ graceMs: 0 });
});

/** What a good client sends, frame by frame: one of each kind of call, a cancel, a ping. */
const conversation: readonly Uint8Array[] = [
  preface,
  bind("test.Test"),
  openFrame(1, 1, Item.encode({ number: 1, data: pattern(300) })),
  openFrame(2, 4, Item.encode({ number: 5, data: pattern(50) })),
  frame(open, 3, varints(1, 5, 1_000)),
  frame(message, 3, Item.encode({ number: 2 })),
  frame(open | content | more, 4, Buffer.concat([varints(1, 1, 0, 3_000), pattern(1_000)])),
  frame(message | last, 3, Item.encode({ number: 3 })),
  frame(message | more, 4, pattern(1_000)),
  frame(ping, 0),
  openFrame(5, 7),
  frame(message | last, 4, pattern(1_000)),
  frame(credit, 5, varints(10_000)),
  frame(open | content, 6, Buffer.concat([varints(1, 6, 0), Item.encode({ text: "hello" })])),
  frame(end, 6),
  frame(cancel, 5, Uint8Array.of(1)),
];

type Damage = {
  readonly at: number;
  readonly kind: "flip" | "cut" | "insert" | "repeat" | "end";
  readonly byte: number;
};
const damages = fc.array(
  fc.record({
    at: fc.nat(100_000),
    kind: fc.constantFrom<Damage["kind"]>("flip", "cut", "insert", "repeat", "end"),
    byte: fc.nat(255),
  }),
  { minLength: 1, maxLength: 4 },
);

function damaged(bytes: Uint8Array, all: readonly Damage[]): Uint8Array {
  let list = [...bytes];
  for (const { at, kind, byte } of all) {
    const place = at % (list.length + 1);
    if (kind === "flip") list[Math.min(place, list.length - 1)] = byte;
    else if (kind === "cut") list.splice(place, 1 + (byte % 8));
    else if (kind === "insert") list.splice(place, 0, byte, byte ^ at);
    else if (kind === "repeat") list.splice(place, 0, ...list.slice(place, place + byte));
    else list = list.slice(0, place);
  }
  return Uint8Array.from(list);
}

function inPieces(bytes: Uint8Array, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
  return pieces;
}

async function survives(bytes: Uint8Array, pieceSize: number): Promise<void> {
  const running = stubOf(bystander).later({ number: 1 });
  const peer = await RawPeer.connect(env.net, address);
  peer.send(...inPieces(bytes, pieceSize));
  peer.connection.end();
  await peer.closed.promise;
  assert.equal((await running).number, 1);
  const seen = peer.frames.find(({ type }) => type === goAway);
  if (seen !== undefined) assert.equal(decodeError(seen.body, 1, seen.body.length).code, "corrupt");
}

test("fuzz: the server survives damaged conversations, and others do not notice", async () => {
  const whole = Buffer.concat(conversation);
  await survives(whole, 1_000_000);
  await fc.assert(
    fc.asyncProperty(damages, fc.integer({ min: 1, max: 400 }), async (all, pieceSize) => {
      await survives(damaged(whole, all), pieceSize);
    }),
    fuzz(300),
  );
  while (server.callCount > 0) await giveWay(env.clock);
  assert.equal(server.connectionCount, 1);
});

test("fuzz: the server survives random bytes, with and without a preface", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, polite) => {
      await survives(polite ? Buffer.concat([preface, bind("test.Test"), bytes]) : bytes, 64);
    }),
    fuzz(200),
  );
});

/** What a server may say to a client with calls 1 (unary), 2 (server stream) and 3 (client stream). */
const answers: readonly Uint8Array[] = [
  preface,
  frame(message, 2, Item.encode({ number: 1 })),
  frame(credit, 3, varints(5_000)),
  frame(message | more, 2, Buffer.concat([varints(2_000), pattern(1_000)])),
  frame(message | last, 1, Item.encode({ number: 300, data: pattern(200) })),
  frame(ping, 0),
  frame(message | last, 2, pattern(1_000)),
  frame(error, 3, Uint8Array.of(10, 0, 0x6e, 0x6f)),
  frame(goAway, 0, Uint8Array.of(3, 14, 0, 0x62, 0x79, 0x65)),
];

test("fuzz: the client survives damaged answers: every call ends, with a HoldfastError if it fails", async () => {
  let accepted = deferred<Connection>();
  const listener: Listener = await env.net.listen("memory:liar", (connection) => accepted.resolve(connection));
  await fc.assert(
    fc.asyncProperty(damages, fc.integer({ min: 1, max: 400 }), async (all, pieceSize) => {
      accepted = deferred<Connection>();
      const client = new RpcClient(env, "memory:liar", { connectTimeoutMs: 50 });
      const stub = stubOf(client);
      const stream = async () => {
        for await (const item of stub.count({ number: 3 })) void item;
      };
      const outcomes = Promise.allSettled([stub.echo({}), stream(), stub.sum([{ number: 1 }, { number: 2 }])]);
      const connection = await accepted.promise;
      const ended = deferred<void>();
      connection.start({ data() {}, drained() {}, closed: () => ended.resolve() });
      connection.write(inPieces(damaged(Buffer.concat(answers), all), pieceSize));
      connection.end();
      await ended.promise;
      await client.close();
      for (const outcome of await outcomes) {
        if (outcome.status === "rejected") assert.ok(outcome.reason instanceof HoldfastError, String(outcome.reason));
      }
    }),
    fuzz(300),
  );
  await listener.close();
});
