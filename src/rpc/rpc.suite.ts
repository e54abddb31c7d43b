/**
 * What rpc must do over every net: all kinds of calls, errors, deadlines, cancellation, flow control, overload, shutdown.
 * Tests wait through `run` of the harness, so that a simulation can let its events happen.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bytes, deferred, giveWay, HoldfastError, message, sleep, string, uint64 } from "../base/index.ts";
import type { Env, ErrorCode } from "../base/index.ts";
import {
  bidirectional,
  clientStream,
  contract,
  implement,
  RpcClient,
  RpcServer,
  serverStream,
  unary,
} from "./index.ts";
import type { Call, RpcClientOptions, RpcServerOptions } from "./index.ts";

export const Item = message("test.Item", { number: uint64(1), data: bytes(2), text: string(3) });
const Other = message("test.Other", { number: bytes(1) });

export const Test = contract("test.Test", {
  echo: unary(1, Item, Item),
  /** Answers after `number` milliseconds, or when its signal aborts. */
  later: unary(2, Item, Item),
  /** Fails with the code in `text`. */
  fail: unary(3, Item, Item),
  /** `number` items of the size of `data`. */
  count: serverStream(4, Item, Item),
  /** The sum of the numbers and of the sizes. */
  sum: clientStream(5, Item, Item),
  chat: bidirectional(6, Item, Item),
  /** Yields items of 1 KiB until it is stopped. */
  endless: serverStream(7, Item, Item),
});

/** The same service as somebody with other schemas sees it. */
export const Strange = contract("test.Test", { echo: unary(1, Other, Other), missing: unary(99, Other, Other) });

/** What the handlers have seen. */
export class Witness {
  readonly aborts: string[] = [];
  returnCount = 0;
  yieldedCount = 0;
  calls: Call[] = [];
  started = 0;
}

export function testService(env: Env, witness: Witness) {
  return implement(Test, {
    echo: (request) => request,
    later({ number }, call) {
      witness.started++;
      witness.calls.push(call);
      const onAbort = () => witness.aborts.push((call.signal.reason as HoldfastError).code);
      call.signal.addEventListener("abort", onAbort, { once: true });
      return sleep(env.clock, number, call.signal).then(() => ({ number }));
    },
    fail({ text }) {
      if (text === "bug") throw new TypeError("a secret");
      throw new HoldfastError(text as ErrorCode, `failed with ${text} – on purpose`, { maybe: text === "unavailable" });
    },
    async *count({ number, data, text }) {
      for (let index = 1; index <= number; index++) {
        yield { number: index, data };
        if (text === "slow") await giveWay(env.clock);
      }
      if (text === "fail") throw new HoldfastError("conflict", "after the last item");
    },
    async sum(requests) {
      let [number, size] = [0, 0];
      for await (const request of requests) {
        number += request.number;
        size += request.data.length;
        if (request.text === "enough") break;
      }
      return { number, text: String(size) };
    },
    async *chat(requests) {
      for await (const request of requests) {
        yield request;
        if (request.text === "bye") return;
      }
    },
    async *endless(_request, call) {
      call.signal.addEventListener("abort", () => witness.aborts.push((call.signal.reason as HoldfastError).code));
      try {
        for (let number = 1; ; number++) {
          witness.yieldedCount++;
          yield { number, data: new Uint8Array(1_024) };
        }
      } finally {
        witness.returnCount++;
      }
    },
  });
}

export interface RpcHarness {
  readonly serverEnv: Env;
  readonly clientEnv: Env;
  /** Where to listen; the listener's address is where to connect. */
  readonly address: string;
  /** Bytes of the largest message to try: 16 MiB where the net is real. */
  readonly largeSize: number;
  run<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface Pair {
  readonly server: RpcServer;
  readonly client: RpcClient;
  readonly stub: ReturnType<typeof stubOf>;
  readonly witness: Witness;
  readonly address: string;
  readonly env: Env;
  readonly largeSize: number;
}

export function stubOf(client: RpcClient) {
  return client.use(Test);
}

export function isError(code: ErrorCode, maybe: boolean, pattern = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HoldfastError, `not a HoldfastError: ${String(error)}`);
    assert.equal(error.code, code, error.message);
    assert.equal(error.maybe, maybe, error.message);
    assert.match(error.message, pattern);
    return true;
  };
}

/** Bytes that depend on their place. */
export function pattern(size: number, salt = 0): Uint8Array {
  const array = new Uint8Array(size);
  for (let index = 0; index < size; index++) array[index] = (index * 31 + (index >>> 8) * 7 + salt) & 0xff;
  return array;
}

async function* manyItems() {
  for (let index = 0; index < 2_000; index++) yield { number: 1, data: pattern(1_000) };
}

async function* brokenItems() {
  yield { number: 1 };
  throw new RangeError("mine");
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function until(env: Env, condition: () => boolean): Promise<void> {
  while (!condition()) await giveWay(env.clock);
}

export async function withPair(
  harness: RpcHarness,
  body: (pair: Pair) => Promise<void>,
  serverOptions: RpcServerOptions = {},
  clientOptions: RpcClientOptions = {},
): Promise<void> {
  const { serverEnv, clientEnv, largeSize } = harness;
  const witness = new Witness();
  const server = new RpcServer(serverEnv, [testService(serverEnv, witness)], serverOptions);
  const { address } = await server.listen(harness.address);
  const client = new RpcClient(clientEnv, address, clientOptions);
  try {
    await body({ server, client, stub: stubOf(client), witness, address, env: clientEnv, largeSize });
  } finally {
    await client.close();
    await server.close({ graceMs: 0 });
    assert.equal(server.connectionCount, 0);
  }
}

/** `make` is called once, before the first test. */
export function rpcConformance(name: string, make: () => Promise<RpcHarness>): void {
  describe(`rpc: ${name}`, () => {
    let harness: RpcHarness;
    before(async () => {
      harness = await make();
    });
    after(() => harness.close());
    const check = (
      title: string,
      body: (pair: Pair) => Promise<void>,
      serverOptions?: RpcServerOptions,
      clientOptions?: RpcClientOptions,
    ) => test(title, () => harness.run(withPair(harness, body, serverOptions, clientOptions)));
    kindTests(check);
    failureTests(check);
    flowTests(check);
    shutdownTests(check);
  });
}

type Check = (
  title: string,
  body: (pair: Pair) => Promise<void>,
  serverOptions?: RpcServerOptions,
  clientOptions?: RpcClientOptions,
) => Promise<void>;

function kindTests(check: Check): void {
  check("unary: many at once, each its own answer", async ({ stub }) => {
    const numbers = Array.from({ length: 500 }, (_, index) => index);
    const answers = await Promise.all(numbers.map((number) => stub.echo({ number, data: pattern(number, number) })));
    for (const number of numbers) {
      assert.equal(answers[number]?.number, number);
      assert.deepEqual(answers[number]?.data, pattern(number, number));
    }
  });

  check("unary: an empty message, and bytes of every size near the limits of parts and windows", async ({ stub }) => {
    assert.deepEqual(await stub.echo({}), { number: 0, data: new Uint8Array(0), text: "" });
    for (const size of [1, 2_047, 2_048, 4_096, 65_500, 65_535, 65_536, 65_537, 130_000, 262_144, 300_000]) {
      const data = pattern(size, size);
      assert.deepEqual((await stub.echo({ data })).data, data, `${size} bytes`);
    }
  });

  check("unary: a very large message there and back, with small calls between", async ({ stub, largeSize }) => {
    const data = pattern(largeSize);
    const progress = { over: false };
    const whole = stub.echo({ data }).finally(() => (progress.over = true));
    let between = 0;
    while (!progress.over) {
      await stub.echo({ number: 1 });
      between++;
    }
    assert.ok(Buffer.compare((await whole).data, data) === 0);
    assert.ok(between > 3, `only ${between} small calls were answered before the large one`);
  });

  check("server stream: in order, then the end", async ({ stub }) => {
    const items = await collect(stub.count({ number: 3_000, data: pattern(100) }));
    assert.deepEqual(
      items.map(({ number }) => number),
      Array.from({ length: 3_000 }, (_, index) => index + 1),
    );
    assert.deepEqual(items.at(-1)?.data, pattern(100));
    assert.deepEqual(await collect(stub.count({})), []);
  });

  check("server stream: messages larger than the window", async ({ stub }) => {
    const data = pattern(700_000);
    const items = await collect(stub.count({ number: 5, data }));
    assert.equal(items.length, 5);
    for (const item of items) assert.ok(Buffer.compare(item.data, data) === 0);
  });

  check("client stream: from an array, a generator, and more than windows hold", async ({ stub }) => {
    assert.equal((await stub.sum([{ number: 1 }, { number: 2 }])).number, 3);
    assert.equal((await stub.sum([])).number, 0);
    const answer = await stub.sum(manyItems());
    assert.deepEqual([answer.number, answer.text], [2_000, "2000000"]);
    const large = await stub.sum(Array.from({ length: 4 }, () => ({ data: pattern(400_000) })));
    assert.equal(large.text, "1600000");
  });

  check("client stream: the server answers before the end, and the rest is left unread", async ({ stub }) => {
    let returned = false;
    async function* requests() {
      try {
        for (let number = 1; ; number++) yield { number: 1, data: pattern(50_000), text: number === 3 ? "enough" : "" };
      } finally {
        returned = true;
      }
    }
    assert.equal((await stub.sum(requests())).number, 3);
    assert.equal((await stub.echo({ number: 5 })).number, 5);
    assert.equal(returned, true);
  });

  check("bidirectional: question and answer by turns", async ({ stub }) => {
    const questions: number[] = [];
    async function* requests() {
      for (let number = 1; number <= 20; number++) {
        questions.push(number);
        yield { number };
        await turns[number]?.promise;
      }
    }
    const turns = Array.from({ length: 21 }, () => deferred<void>());
    let answered = 0;
    for await (const { number } of stub.chat(requests())) {
      assert.equal(number, questions.at(-1));
      answered = number;
      turns[number]?.resolve();
    }
    assert.equal(answered, 20);
    assert.equal((await collect(stub.chat([{ number: 1 }, { text: "bye" }, { number: 3 }]))).length, 2);
  });

  check("the handler knows the peer and the time left", async ({ stub, witness }) => {
    await stub.later({ number: 1 }, { timeoutMs: 5_000 });
    const call = witness.calls[0];
    assert.ok(call !== undefined && call.peer !== "");
    assert.ok(call.deadlineMs !== undefined && call.deadlineMs > 1_000 && call.deadlineMs <= 5_000);
    await stub.later({ number: 1 }, { timeoutMs: Infinity });
    assert.equal(witness.calls[1]?.deadlineMs, undefined);
  });
}

function failureTests(check: Check): void {
  check("a handler's error arrives with code, message and maybe", async ({ stub }) => {
    for (const code of ["notFound", "conflict", "sealed", "exhausted", "corrupt", "denied"] as const) {
      await assert.rejects(stub.fail({ text: code }), isError(code, false, /^failed with \w+ – on purpose$/));
    }
    await assert.rejects(stub.fail({ text: "unavailable" }), isError("unavailable", true));
    await assert.rejects(
      collect(stub.count({ number: 2, text: "fail" })),
      isError("conflict", false, /after the last/),
    );
  });

  check("a bug in a handler is not told to the caller", async ({ stub }) => {
    await assert.rejects(stub.fail({ text: "bug" }), (error: Error) => {
      assert.doesNotMatch(error.message, /secret/);
      return isError("unavailable", true, /internal error/)(error);
    });
    assert.equal((await stub.echo({ number: 1 })).number, 1);
  });

  check("what does not fit the contract fails that call alone", async ({ client, stub }) => {
    const running = stub.later({ number: 30 });
    const strange = client.use(Strange);
    await assert.rejects(strange.echo({ number: pattern(3) }), isError("invalid", false, /cannot be decoded/));
    await assert.rejects(strange.missing({}), isError("notFound", false, /method 99 of test\.Test/));
    const absent = client.use(contract("test.Absent", { call: unary(1, Item, Item) }));
    await assert.rejects(absent.call({}), isError("notFound", false, /test\.Absent/));
    await assert.rejects(stub.echo({ number: -1 }), isError("invalid", false));
    const large = stub.echo({ data: new Uint8Array(17_000_000) });
    await assert.rejects(large, isError("invalid", false, /limits\.messageSizeMax/));
    assert.equal((await running).number, 30);
  });

  check("a deadline ends the call on both sides", async ({ stub, witness, env }) => {
    await stub.echo({});
    await assert.rejects(stub.later({ number: 60_000 }, { timeoutMs: 40 }), isError("timeout", true, /within \d+ ms/));
    await until(env, () => witness.aborts.length > 0);
    assert.deepEqual(witness.aborts, ["timeout"]);
    const stream = stub.endless({}, { timeoutMs: 40 });
    await assert.rejects(collect(stream), isError("timeout", true));
    await until(env, () => witness.returnCount === 1);
  });

  check("a signal cancels the call on both sides", async ({ stub, witness, env }) => {
    const controller = new AbortController();
    const call = stub.later({ number: 60_000 }, { signal: controller.signal });
    await until(env, () => witness.started === 1);
    controller.abort();
    await assert.rejects(call, isError("cancelled", true));
    await until(env, () => witness.aborts.length > 0);
    assert.deepEqual(witness.aborts, ["cancelled"]);
    await assert.rejects(stub.echo({}, { signal: controller.signal }), isError("cancelled", false));
  });

  check("leaving the loop over a stream cancels it on the server", async ({ stub, witness, env, server }) => {
    for await (const { number } of stub.endless({})) if (number === 5) break;
    await until(env, () => witness.returnCount === 1 && server.callCount === 0);
    assert.deepEqual(witness.aborts, ["cancelled"]);
  });

  check("an error of the caller's own requests ends the call and is the caller's", async ({ stub, server, env }) => {
    await assert.rejects(stub.sum(brokenItems()), RangeError);
    await until(env, () => server.callCount === 0);
  });
}

function flowTests(check: Check): void {
  check("a slow stream holds one window, and blocks nobody", async ({ stub, witness, env }) => {
    const stream = stub.endless({})[Symbol.asyncIterator]();
    assert.equal((await stream.next()).value?.number, 1);
    let before = -1;
    while (before < witness.yieldedCount) {
      before = witness.yieldedCount;
      // Each call goes the whole way and back, behind what the stream has sent.
      for (let count = 0; count < 20; count++) await stub.echo({ number: count });
      await sleep(env.clock, 5);
    }
    const windowCount = 262_144 / 1_024;
    assert.ok(witness.yieldedCount > windowCount / 2, `only ${witness.yieldedCount} items were made`);
    assert.ok(witness.yieldedCount < windowCount + 8, `${witness.yieldedCount} items were made for a reader of one`);
    assert.equal((await collect(stub.count({ number: 1_000, data: pattern(1_000) }))).length, 1_000);
    for (let number = 2; number <= 600; number++) assert.equal((await stream.next()).value?.number, number);
    await stream.return?.();
  });

  check(
    "calls over the connection's limit are refused at once",
    async ({ stub, witness, server, env }) => {
      const abort = new AbortController();
      const options = { signal: abort.signal };
      const calls = Array.from({ length: 10 }, () => stub.later({ number: 60_000 }, options));
      const outcomes = Promise.allSettled(calls);
      await until(env, () => witness.started === 4);
      await assert.rejects(stub.echo({}), isError("exhausted", false, /limits\.connectionCallCountMax/));
      assert.equal(server.callCount, 4);
      abort.abort();
      const codes = (await outcomes).map((outcome) =>
        outcome.status === "rejected" ? (outcome.reason as HoldfastError).code : "",
      );
      assert.deepEqual(codes.toSorted(), [...Array(4).fill("cancelled"), ...Array(6).fill("exhausted")]);
      await until(env, () => server.callCount === 0);
      assert.equal((await stub.echo({ number: 3 })).number, 3);
    },
    { connectionCallCountMax: 4 },
  );

  check(
    "calls over the server's limit are refused, whoever makes them",
    async ({ stub, address, env, witness }) => {
      const second = new RpcClient(env, address);
      const call = stub.later({ number: 300 });
      await until(env, () => witness.started === 1);
      await assert.rejects(stubOf(second).echo({}), isError("exhausted", false, /limits\.serverCallCountMax/));
      await call;
      await stubOf(second).echo({});
      await second.close();
    },
    { serverCallCountMax: 1 },
  );
}

function shutdownTests(check: Check): void {
  check(
    "a stopping server finishes what is under way and says no to the rest",
    async ({ stub, server, witness, env }) => {
      const running = stub.later({ number: 100 });
      await until(env, () => witness.started === 1);
      const closed = server.close({ graceMs: 10_000 });
      const refused = stub.echo({}, { timeoutMs: 400 });
      assert.equal((await running).number, 100);
      await assert.rejects(refused, isError("timeout", false, /no connection/));
      await closed;
      assert.equal(server.connectionCount, 0);
    },
  );

  check("after the grace, calls are aborted", async ({ stub, server, witness, env }) => {
    const running = stub.later({ number: 60_000 });
    const outcome = assert.rejects(running, isError("unavailable", true));
    await until(env, () => witness.started === 1);
    await server.close({ graceMs: 20 });
    await outcome;
    assert.deepEqual(witness.aborts, ["unavailable"]);
  });

  check(
    "closing the client ends its calls and is told to the server",
    async ({ client, stub, witness, server, env }) => {
      const running = assert.rejects(stub.later({ number: 60_000 }), isError("unavailable", true));
      await until(env, () => witness.started === 1);
      await client.close();
      await running;
      await assert.rejects(stub.echo({}), isError("unavailable", false, /closed/));
      await until(env, () => server.callCount === 0 && server.connectionCount === 0);
      assert.deepEqual(witness.aborts, ["unavailable"]);
    },
  );
}
