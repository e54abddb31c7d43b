/**
 * A load generator for streams, queues, locks and transactions of a Holdfast member: the twin of `etcd-load`'s `transfer`
 * and `lock`, and of `nats-load.ts`.
 *
 *   node bench/objects.ts ENDPOINTS append IN_FLIGHT COUNT VALUE_SIZE
 *   node bench/objects.ts ENDPOINTS push|work IN_FLIGHT COUNT VALUE_SIZE
 *   node bench/objects.ts ENDPOINTS lock|transfer CLIENTS COUNT ACCOUNTS
 *
 * `work` pulls and acknowledges what `push` has left, one job at a time. Prints one JSON object: operations a second, and
 * latencies in milliseconds: of calls, or for `lock` from a holder's release to the next one's grant.
 */
import { connect } from "../src/index.ts";
import type { Store } from "../src/index.ts";

const [endpoints = "", operation = "", ...numbers] = process.argv.slice(2);
const [inFlight = 1, count = 1, size = 1] = numbers.map(Number);
const latencies: number[] = [];
let next = 0;

/** Runs `call` until all are done; in one worker, or in one of many. */
async function repeat(call: (index: number) => Promise<unknown>): Promise<void> {
  for (let index = next++; index < count; index = next++) {
    const beforeMs = performance.now();
    await call(index);
    latencies.push(performance.now() - beforeMs);
  }
}

async function handOver(store: Store, released: { atMs: number }): Promise<void> {
  const lock = store.lock("bench");
  for (let index = next++; index < count; index = next++) {
    const handle = await lock.acquire({ ttlMs: 10_000 });
    // Only the holder is here.
    if (released.atMs > 0) latencies.push(performance.now() - released.atMs);
    released.atMs = performance.now();
    await handle.release();
  }
}

const account = (number: number) => `account/${String(number % size).padStart(5, "0")}`;

async function transfer(store: Store, index: number): Promise<void> {
  const [from, to] = [account(index * 7_919), account(index * 7_919 + 1)];
  await store.transaction(
    async ({ keys }) => {
      const [have, has] = await Promise.all([keys.get(from), keys.get(to)]);
      keys.put(from, String(Number(have?.text() ?? 0) - 1));
      keys.put(to, String(Number(has?.text() ?? 0) + 1));
    },
    { attemptCountMax: 10_000 },
  );
}

const value = new Uint8Array(size).map((_, index) => 97 + (index % 26));
const alone = operation === "append" || operation === "push" || operation === "work";
const clients = await Promise.all(Array.from({ length: alone ? 1 : inFlight }, () => connect(endpoints)));
const [first] = clients as [Store];
const startedMs = performance.now();
const released = { atMs: 0 };
await Promise.all(
  Array.from({ length: inFlight }, (_, worker) => {
    const store = clients[worker % clients.length] ?? first;
    switch (operation) {
      case "append":
        return repeat(() => store.log("bench").append(value));
      case "push":
        return repeat(() => store.queue("bench").push(value));
      case "work":
        return repeat(async () => {
          const [job] = await store.queue("bench").pull({ count: 1, ttlMs: 30_000 });
          await job?.ack();
        });
      case "lock":
        return handOver(store, released);
      case "transfer":
        return repeat((index) => transfer(store, index));
      default:
        throw new Error(`there is no operation ${operation}`);
    }
  }),
);
const seconds = (performance.now() - startedMs) / 1_000;
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    perSecond: count / seconds,
    p50Ms: latencies[Math.floor(latencies.length / 2)],
    p99Ms: latencies[Math.floor(latencies.length * 0.99)],
  }),
);
await Promise.all(clients.map((store) => store.close()));
