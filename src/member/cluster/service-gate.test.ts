/** Calls behind a gate that last: counted while they do, ended when it ends, and forgotten. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, message, uint64 } from "../../base/index.ts";
import { clientStream, contract, implement, serverStream } from "../../rpc/index.ts";
import type { Call, Service } from "../../rpc/index.ts";
import { ServiceGate } from "./service-gate.ts";

const Item = message("test.Item", { number: uint64(1) });
const Streams = contract("test.Streams", { sum: clientStream(1, Item, Item), count: serverStream(2, Item, Item) });

/** Called as the server does it. */
function handlers(service: Service): {
  sum: (requests: AsyncIterable<object>) => Promise<unknown>;
  count: (request: object) => AsyncGenerator;
} {
  const call = {} as Call;
  const [sum, count] = [1, 2].map((number) => service.methods.get(number)?.handle);
  assert.ok(sum !== undefined && count !== undefined);
  return {
    sum: (requests) => sum(requests as never, call) as Promise<unknown>,
    count: (request) => count(request as never, call) as AsyncGenerator,
  };
}

async function* items(count: number): AsyncGenerator<{ number: number }> {
  for (let number = 1; number <= count; number++) yield { number };
  if (count > 2) await new Promise<never>(() => {});
}

const service = implement(Streams, {
  async sum(requests) {
    let number = 0;
    for await (const item of requests) number += item.number;
    return { number };
  },
  count: ({ number }) => items(number),
});

test("a lasting call is counted until it is over, whichever way", async () => {
  const gate = new ServiceGate(Streams, new HoldfastError("unavailable", "starting"));
  gate.open(service, { lasting: true });
  const { sum, count } = handlers(gate);
  const summing = sum(items(2));
  assert.equal(gate.lastingCount, 1);
  assert.deepEqual(await summing, { number: 3 });
  const numbers = await Array.fromAsync(count({ number: 2 }));
  assert.equal(numbers.length, 2);
  const left = count({ number: 9 });
  await left.next();
  assert.equal(gate.lastingCount, 1);
  await left.return(undefined);
  const failing: AsyncIterable<object> = {
    [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error("no")) }),
  };
  await assert.rejects(sum(failing), /no/);
  await Promise.resolve();
  assert.equal(gate.lastingCount, 0);
});

test("the end of a gate ends the calls that last, also between two items", async () => {
  const gate = new ServiceGate(Streams, new HoldfastError("unavailable", "starting"));
  gate.open(service, { lasting: true });
  const { sum, count } = handlers(gate);
  const summing = sum(items(3));
  const [waiting, between] = [count({ number: 3 }), count({ number: 3 })];
  for (let index = 0; index < 3; index++) await waiting.next();
  await between.next();
  const next = waiting.next();
  gate.end(new HoldfastError("unavailable", "stopping"));
  for (const call of [summing, next, between.next()]) await assert.rejects(call, /stopping/);
  await Promise.resolve();
  assert.equal(gate.lastingCount, 0);
  assert.throws(() => handlers(gate).sum(items(1)), /stopping/);
});
