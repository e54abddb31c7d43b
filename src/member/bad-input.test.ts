/**
 * What a caller, a client or a disk may do wrong: every failure has a code and a message that names the thing, the limit
 * and the remedy, and disturbs nobody else.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { deferred, HoldfastError } from "../base/index.ts";
import type { Env, ErrorCode } from "../base/index.ts";
import { nextTurn, nodeEnv, NodeDigest } from "../host/index.ts";
import { Prng, Simulator } from "../sim/index.ts";
import { contract, RpcClient, unary } from "../rpc/index.ts";
import { CommandService, SessionOperation, SessionResult } from "../view/index.ts";
import { connectStore, openStore, serveStore } from "./index.ts";
import type { OpenOptions, Store } from "./index.ts";

async function directory(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "holdfast-bad-input-"));
  context.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items) void _;
}

/** JavaScript callers see no types. */
// oxlint-disable-next-line typescript/no-explicit-any -- that is the point
const wrong = (value: unknown): any => value;

function nested(depth: number): object {
  return depth === 0 ? { then: [{ put: "deep", value: "" }] } : { then: [{ commit: nested(depth - 1) }] };
}

type Case = readonly [name: string, call: (store: Store) => Promise<unknown>, message: RegExp, code?: ErrorCode];

const circular: Record<string, unknown> = {};
circular["self"] = circular;

const cases: readonly Case[] = [
  ["an empty key", ({ keys }) => keys.put("", "v"), /the key is empty; a key has at least one byte/],
  ["a long key", ({ keys }) => keys.put("x".repeat(4_097), "v"), /4,097 bytes.* 4,096 \(limits\.keySizeMax\)/],
  ["a long key of few characters", ({ keys }) => keys.get("ä".repeat(2_049)), /4,098 bytes.*limits\.keySizeMax/],
  [
    "a long value",
    ({ keys }) => keys.put("k", "x".repeat(1_048_577)),
    /1,048,577 bytes.* 1,048,576 \(limits\.valueSizeMax\): keep large data in files/,
  ],
  ["half a character in a key", ({ keys }) => keys.put("\ud800", "v"), /lone surrogate.*give bytes instead/],
  ["half a character in a value", ({ keys }) => keys.put("k", "a\udc00"), /lone surrogate.*give bytes instead/],
  ["a number as key", ({ keys }) => keys.put(wrong(5), "v"), /a key is text or bytes, not number/],
  ["no key", ({ keys }) => keys.get(wrong(undefined)), /a key is text or bytes, not undefined/],
  ["null as key", ({ keys }) => keys.get(wrong(null)), /a key is text or bytes, not null/],
  ["a buffer as key", ({ keys }) => keys.get(wrong(new ArrayBuffer(2))), /a key is text or bytes, not ArrayBuffer/],
  ["no value", ({ keys }) => keys.put("k", wrong(undefined)), /a value is text, bytes or JSON, not undefined/],
  ["a function as value", ({ keys }) => keys.put("k", wrong(drain)), /a value is text, bytes or JSON, not function/],
  [
    "a buffer as value",
    ({ keys }) => keys.put("k", wrong(new ArrayBuffer(2))),
    /not ArrayBuffer: give bytes as a Uint8/,
  ],
  ["a map as value", ({ keys }) => keys.put("k", wrong(new Map([[1, 2]]))), /not Map: .*an array or an object/],
  ["a bigint as value", ({ keys }) => keys.put("k", wrong({ n: 1n })), /cannot be written as JSON: .*BigInt/],
  ["a circle as value", ({ keys }) => keys.put("k", wrong(circular)), /cannot be written as JSON: .*circular/],
  ["deleting nothing named", ({ keys }) => keys.delete(wrong(undefined)), /a choice of keys is .*; it was undefined/],
  ["deleting a number", ({ keys }) => keys.delete(wrong(5)), /a choice of keys is .*; it was number/],
  [
    "deleting an undefined prefix",
    ({ keys }) => keys.delete(wrong({ prefix: undefined })),
    /the prefix is undefined; leave it out to choose all keys/,
  ],
  [
    "two choices",
    ({ keys }) => drain(keys.list(wrong({ prefix: "a", key: "b" }))),
    /by a key, by a prefix or by start/,
  ],
  ["a text as choice", ({ keys }) => drain(keys.list(wrong("user/"))), /the choice of keys is an object, not string/],
  ["a negative limit", ({ keys }) => drain(keys.list({ limit: -1 })), /limit is -1; it must be a whole number/],
  ["a limit in words", ({ keys }) => drain(keys.list({ limit: wrong("ten") })), /limit is ten/],
  [
    "watching from half a revision",
    ({ keys }) => drain(keys.watch({ from: 1.5 })),
    /from is 1\.5; a revision is a whole/,
  ],
  ["watching without much", ({ keys }) => drain(keys.watch({ without: wrong("all") })), /without is all; it must be/],
  ["hasty progress", ({ keys }) => drain(keys.watch({ progressMs: -5 })), /progressMs is -5; it must be above 0/],
  [
    "a past before all",
    (store) => Promise.resolve().then(() => store.at(-1)),
    /the revision is -1; .*whole number from 0/,
  ],
  ["no past", (store) => Promise.resolve().then(() => store.at(wrong(undefined))), /the revision is undefined/],
  [
    "a future state",
    (store) => store.at(1e9).keys.get("k"),
    /revision 1000000000 is in the future; the store is at \d+/,
  ],
  ["a future list", (store) => drain(store.at(1e9).keys.list()), /revision 1000000000 is in the future/],
  ["a future count", (store) => store.at(1e9).keys.count(), /revision 1000000000 is in the future/],
  ["at least a future", ({ keys }) => keys.get("k", { atLeast: wrong(1e9) }), /revision 1000000000 is in the future/],
  [
    "at least a word",
    ({ keys }) => keys.get("k", { atLeast: wrong("x") }),
    /atLeast is x; a revision is a whole number/,
  ],
  [
    "a made-up consistency",
    ({ keys }) => keys.get("k", { consistency: wrong("weak") }),
    /consistency is weak; it must be/,
  ],
  [
    "compacting the future",
    ({ keys }) => keys.compact(1e9),
    /cannot compact at revision 1000000000: the store is at \d+/,
  ],
  ["compacting nothing", ({ keys }) => keys.compact(wrong(undefined)), /the revision to compact at is undefined/],
  [
    "half a revision",
    ({ keys }) => keys.put("k", "v", { ifRevision: 1.5 }),
    /ifRevision is 1\.5; a revision is a whole/,
  ],
  [
    "a revision that the key does not have",
    ({ keys }) => keys.put("taken", "v", { ifRevision: 1e9 }),
    /key "taken" was last changed at revision \d+, and revision 1000000000 was expected; read it again and retry/,
    "conflict",
  ],
  ["a taken key", ({ keys }) => keys.put("taken", "v", { ifAbsent: true }), /key "taken" .* not to exist/, "conflict"],
  ["a number as lease", ({ keys }) => keys.put("k", "v", { lease: wrong(5) }), /lease is of type number; give a lease/],
  ["null as lease", ({ keys }) => keys.put("k", "v", { lease: wrong(null) }), /lease is of type null; give a lease/],
  [
    "a lease that is not",
    ({ keys }) => keys.put("k", "v", { lease: 12_345n }),
    /lease 12345 does not exist or has ended; grant one/,
    "notFound",
  ],
  ["no time to live", ({ leases }) => leases.grant(wrong({})), /ttlMs is undefined; .*limits\.leaseTtlMinMs/],
  ["a short lease", ({ leases }) => leases.grant({ ttlMs: 1 }), /ttlMs is 1; it must be a whole number from 100 to/],
  ["a number as lease id", ({ leases }) => leases.grant({ ttlMs: 1_000, id: wrong(5) }), /id is a bigint .* not 5/],
  ["a negative lease id", ({ leases }) => leases.revoke(-1n), /id is a bigint from 1n to 2n \*\* 63n - 1n, not -1/],
  ["a huge lease id", ({ leases }) => leases.keepAlive(2n ** 64n), /id is a bigint from 1n to 2n \*\* 63n - 1n/],
  ["an ended lease", ({ leases }) => leases.revoke(5n), /lease 5 does not exist or has ended/, "notFound"],
  ["no commit", ({ keys }) => keys.commit(wrong(undefined)), /a commit is an object, not undefined/],
  [
    "steps that are no list",
    ({ keys }) => keys.commit(wrong({ then: 5 })),
    /if, then and otherwise of a commit are arra/,
  ],
  ["an empty step", ({ keys }) => keys.commit(wrong({ then: [{}] })), /a step is a put, a delete, a list or a commit/],
  ["null as step", ({ keys }) => keys.commit(wrong({ then: [null] })), /a step is an object, not null/],
  ["a condition on nothing", ({ keys }) => keys.commit(wrong({ if: [{ key: "k" }] })), /a condition is on a revision,/],
  [
    "a deep commit",
    ({ keys }) => keys.commit(nested(8)),
    /nest deeper than 8 \(limits\.transactionDepthMax\): make it fla/,
  ],
  ["an endless commit", ({ keys }) => keys.commit(nested(5_000)), /nest deeper than 8 \(limits\.transactionDepthMax\)/],
  [
    "a commit of many steps",
    ({ keys }) => keys.commit({ then: Array.from({ length: 17_000 }, (_, at) => ({ delete: { key: `m${at}` } })) }),
    /more than 16384 .*\(limits\.operationCountMax\): split it/,
  ],
  [
    "a large commit",
    ({ keys }) =>
      keys.commit({ then: Array.from({ length: 20 }, (_, at) => ({ put: `m${at}`, value: "x".repeat(1_000_000) })) }),
    /is 20\d+ bytes; the limit is \d+ \(limits\.\w+\)/,
  ],
  [
    "a key changed twice",
    ({ keys }) => keys.commit({ then: ["1", "2"].map((value) => ({ put: "k", value })) }),
    /the command changes key "k" twice; let it change each key once/,
  ],
  [
    "a transaction that is over",
    async (store) => {
      let kept: { put(key: string, value: string): void } | undefined;
      await store.transaction((tx) => void (kept = tx.keys));
      kept?.put("k", "v");
    },
    /the transaction is over; use its keys inside its function only/,
  ],
  ["the log before its beginning", (store) => drain(store.readLog({ from: -1 })), /-1.* whole number from 0/],
  ["the log to come", (store) => drain(store.readLog({ from: 1e9 })), /position 1000000000 is behind the log's tail/],
];

async function refuses(store: Store, kind: string): Promise<void> {
  await store.keys.put("taken", "v");
  const { revision, logTail } = await store.status();
  for (const [name, call, message, code = "invalid"] of cases) {
    await assert.rejects(call(store), (error: unknown) => {
      assert.ok(error instanceof HoldfastError, `${kind}, ${name}: ${String(error)}`);
      assert.match(error.message, message, `${kind}, ${name}`);
      assert.equal(error.code, code, `${kind}, ${name}: ${error.message}`);
      assert.equal(error.maybe, false, `${kind}, ${name}`);
      return true;
    });
  }
  const after = await store.status();
  assert.equal(after.revision, revision, "nothing of it has changed anything");
  assert.ok(after.logTail - logTail < cases.length / 2, "most of it never comes to the log");
  assert.equal((await store.keys.get("taken"))?.text(), "v");
}

test("what a caller gives wrongly is refused in words, here and over the network alike", async (context) => {
  const env = nodeEnv({ directory: await directory(context) });
  await using store = await openStore(env);
  const server = await serveStore(env, store, ["127.0.0.1:0"]);
  context.after(() => server.close({ graceMs: 0 }));
  await using remote = await connectStore(env, server.addresses[0] as string);
  await refuses(store, "local");
  await refuses(remote, "remote");
  console.log(`store: ${cases.length} wrong calls, local and remote`);
});

test("options that make no sense are refused before anything is made", async (context) => {
  const path = await directory(context);
  const env = nodeEnv({ directory: path });
  const options: [OpenOptions, RegExp][] = [
    [{ segmentSizeMin: -5 }, /segmentSizeMin is -5; it must be a whole number from 1024/],
    [{ segmentSizeMax: Number.NaN }, /segmentSizeMax is NaN/],
    [{ segmentSizeMin: 8_192, segmentSizeMax: 4_096 }, /segmentSizeMin is 8192; it must be at most segmentSizeMax/],
    [{ historyRevisions: -1 }, /historyRevisions is -1/],
    [{ cacheSizeMax: wrong("much") }, /cacheSizeMax is much; it must be 0 or more/],
    [{ checkpointLogSizeMin: -1 }, /checkpointLogSizeMin is -1/],
  ];
  for (const [wrongOptions, message] of options) {
    await assert.rejects(openStore(env, wrongOptions), { code: "invalid", message });
  }
  await assert.rejects(env.disk.list("log"), { code: "notFound" });
  await assert.rejects(connectStore(env, ""), { code: "invalid", message: /names no address; write host:port/ });
  await assert.rejects(connectStore(env, wrong(undefined)), { code: "invalid", message: /the addresses are text/ });
  await assert.rejects(connectStore(env, "h:1", { timeoutMs: -1 }), { code: "invalid", message: /timeoutMs is -1/ });
  await assert.rejects(connectStore(env, "127.0.0.1:1", { timeoutMs: 100 }), (error: HoldfastError) => {
    assert.match(error.code, /unavailable|timeout/);
    return error.message.includes("127.0.0.1:1");
  });
  await assert.rejects(openStore(env, { mustExist: true }), {
    code: "notFound",
    message: /there is no store in this dir/,
  });
});

test("a malformed connection ends alone; other clients of the store go on undisturbed", async (context) => {
  const env = nodeEnv({ directory: await directory(context) });
  await using store = await openStore(env);
  const server = await serveStore(env, store, ["127.0.0.1:0"]);
  context.after(() => server.close({ graceMs: 0 }));
  const address = server.addresses[0] as string;
  await using good = await connectStore(env, address);
  const seen: string[] = [];
  const stop = new AbortController();
  const watching = (async () => {
    for await (const { key } of good.keys.watch({ prefix: "good/", signal: stop.signal })) seen.push(key);
  })().catch(() => {});
  const random = new Prng("malformed");
  const beginning = new TextEncoder().encode("HFRP");
  for (let round = 0; round < 100; round += 1) {
    const bytes = random.bytes(1 + random.below(400));
    // From noise, over a good beginning and then noise, to a good preface and then noise.
    if (round % 3 > 0) bytes.set(beginning.subarray(0, bytes.length));
    if (round % 3 > 1) {
      bytes.set(
        [1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 32, 0].slice(0, Math.max(0, bytes.length - 4)),
        Math.min(4, bytes.length),
      );
    }
    await spoil(env, address, bytes);
    await good.keys.put(`good/${round}`, "v");
  }
  assert.equal(await good.keys.count({ prefix: "good/" }), 100);
  await good.keys.put("good/last", "v");
  while (!seen.includes("good/last")) await nextTurn();
  stop.abort();
  await watching;
  assert.equal(seen.length, 101);
});

/** Sends the bytes and waits until the other side has closed, or everything was taken and this side ends. */
async function spoil(env: Env, address: string, bytes: Uint8Array): Promise<void> {
  const connection = await env.net.connect(address);
  const closed = deferred<void>();
  connection.start({ data() {}, drained() {}, closed: () => closed.resolve() });
  connection.write([bytes]);
  connection.end();
  await closed.promise;
}

test("unknown services, methods and views fail their call alone, and nothing of theirs comes to the log", async (context) => {
  const env = nodeEnv({ directory: await directory(context) });
  await using store = await openStore(env);
  const server = await serveStore(env, store, ["127.0.0.1:0"]);
  context.after(() => server.close({ graceMs: 0 }));
  const client = new RpcClient(env, [server.addresses[0] as string], { callTimeoutMs: 5_000 });
  context.after(() => client.close());
  const { logTail } = await store.status();
  const stranger = client.use(contract("holdfast.future.Things", { do: unary(1, SessionOperation, SessionResult) }));
  await assert.rejects(stranger.do({}), { code: "notFound", message: /service holdfast\.future\.Things/ });
  const newer = client.use(contract("holdfast.key.Keys", { do: unary(99, SessionOperation, SessionResult) }));
  await assert.rejects(newer.do({}), { code: "notFound", message: /method 99 of holdfast\.key\.Keys/ });
  const commands = client.use(CommandService);
  const propose = (viewId: number, body: Uint8Array) => commands.propose({ operations: [{ viewId, body }] });
  const message = /this member knows no view 77; it may be older than the client/;
  await assert.rejects(propose(77, new Uint8Array(3)), { code: "invalid", message });
  // A view of its own kind may not be proposed as if it were one.
  await assert.rejects(propose(1, SessionOperation.encode({})), { code: "invalid" });
  assert.equal((await store.status()).logTail, logTail);
  // What only the view itself can judge is judged in the log, alike by every replica.
  for (const body of [new Uint8Array([255]), new Uint8Array(0), nest(200), nest(100_000)]) {
    const outcome = await propose(16, body);
    assert.equal(outcome.code, "invalid", outcome.message);
  }
  assert.equal((await store.status()).revision, 0);
  await store.keys.put("k", "v");
});

/** Transactions in transactions, so deep that whoever recursed as deep would fall. */
function nest(depth: number): Uint8Array {
  let body: number[][] = [];
  let size = 0;
  for (let level = 0; level < depth; level += 1) {
    // Field 4 of an operation is a transaction, whose field 2 is an operation.
    const head = [level % 2 === 0 ? 0x22 : 0x12];
    for (let rest = size; ; rest = Math.floor(rest / 128)) {
      head.push(rest >= 128 ? (rest % 128) + 128 : rest);
      if (rest < 128) break;
    }
    body.push(head);
    size += head.length;
  }
  body = body.toReversed();
  return new Uint8Array(body.flat());
}

test("a full disk refuses writes, loses nothing, serves reads, and goes on when there is space", async () => {
  for (let seed = 0; seed < 12; seed += 1) {
    const simulator = new Simulator({ seed: `full ${seed}`, drain: nextTurn, digest: new NodeDigest() });
    const machine = simulator.machine("a");
    const random = new Prng(`full ${seed}`);
    const options: OpenOptions = {
      segmentSizeMin: 4_096,
      segmentSizeMax: 8_192,
      packSizeMax: 8_192,
      checkpointLogSizeMin: random.pick([2_000, 1_000_000]),
      cacheSizeMax: random.pick([1, 1_000_000]),
    };
    await simulator.run(fill(machine, options, random));
  }
});

async function fill(machine: ReturnType<Simulator["machine"]>, options: OpenOptions, random: Prng): Promise<void> {
  const { disk, env } = machine;
  const used = () => disk.files().reduce((sum, path) => sum + (disk.contents(path) as Uint8Array).length, 0);
  const expected = new Map<string, string>();
  let refused = 0;
  const write = async (store: Store, count: number) => {
    for (let at = 0; at < count; at += 1) {
      const [key, value] = [`k/${random.below(60)}`, `${at} ${"x".repeat(random.below(2_500))}`];
      try {
        await store.keys.put(key, value);
        expected.set(key, value);
      } catch (error) {
        assert.ok(error instanceof HoldfastError && error.code === "exhausted" && !error.maybe, String(error));
        assert.match(error.message, /no space is left/);
        refused += 1;
      }
    }
  };
  const check = async (store: Store) => {
    const found: [string, string][] = [];
    for await (const record of store.keys.list()) found.push([record.key, record.text()]);
    assert.deepEqual(new Map(found), expected);
  };
  const store = await openStore(env, options);
  await write(store, 20);
  disk.capacity = used() + random.below(20_000);
  await write(store, 60);
  assert.ok(refused > 0, "the disk was not filled");
  await check(store);
  await store.checkpoint().catch((error: unknown) => {
    assert.ok(error instanceof HoldfastError && error.code === "exhausted", String(error));
  });
  await check(store);
  disk.capacity = Number.POSITIVE_INFINITY;
  refused = 0;
  await write(store, 20);
  assert.equal(refused, 0, "writes are refused although there is space again");
  await store.checkpoint();
  for (const verification of [store.verifyLog(), store.verifyBlobs(), store.verifyTree()]) {
    for await (const { damages } of verification) assert.deepEqual(damages, []);
  }
  await check(store);
  await store.close();
  const again = await openStore(env, options);
  await check(again);
  await again.close();
}

test("a disk that has become read-only is named, and a store on it can be read when it is writable again", async () => {
  const simulator = new Simulator({ seed: "read-only", drain: nextTurn, digest: new NodeDigest() });
  const { disk, env } = simulator.machine("a");
  await simulator.run(
    (async () => {
      const store = await openStore(env);
      await store.keys.put("k", "v");
      disk.readOnly = true;
      const refusal = /writing log\/\d+\.log .* failed; .*check the disk and restart .*read-only/;
      await assert.rejects(store.keys.put("k", "w"), { code: "unavailable", message: refusal });
      assert.equal((await store.keys.get("k", { consistency: "local" }))?.text(), "v");
      assert.match((await store.failed).message, refusal);
      await store.close();
      await assert.rejects(openStore(env), { code: "denied", message: /read-only/ });
      disk.readOnly = false;
      const again = await openStore(env);
      assert.match((await again.keys.get("k"))?.text() ?? "", /^[vw]$/);
      await again.close();
    })(),
  );
});

test("a directory that is in use, or cannot be used, is named with its holder and the remedy", async (context) => {
  const path = await directory(context);
  const env = nodeEnv({ directory: path });
  const store = await openStore(env);
  await assert.rejects(openStore(nodeEnv({ directory: path })), {
    code: "conflict",
    message: new RegExp(`data directory ${path} is in use by this process itself; stop it, or use --endpoint`),
  });
  // The refusal has harmed neither the lock nor the store.
  await assert.rejects(openStore(nodeEnv({ directory: path })), { code: "conflict" });
  await store.keys.put("k", "v");
  await store.close();
  await writeFile(join(path, "LOCK"), "this is no lock, and no database either ".repeat(200));
  await assert.rejects(openStore(env), { message: /cannot lock .*LOCK: .*; it must be an empty file on a local disk/ });
  await writeFile(join(path, "LOCK"), "");
  const again = await openStore(env);
  assert.equal((await again.keys.get("k"))?.text(), "v");
  await again.close();
  const file = join(path, "LOCK.holder");
  await writeFile(file, "nonsense\0");
  await (await openStore(env)).close();
  await assert.rejects(openStore(nodeEnv({ directory: join(path, "LOCK", "below") })), HoldfastError);
});
