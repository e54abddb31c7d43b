/**
 * A load generator for a NATS JetStream server on NATS's own client: the peer of `objects.ts append`.
 *
 *   node bench/nats-load.ts ENDPOINT append IN_FLIGHT COUNT VALUE_SIZE
 *
 * Prints one JSON object: acknowledged messages a second and latencies in milliseconds.
 */
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const [servers = "", , ...numbers] = process.argv.slice(2);
const [inFlight = 1, count = 1, size = 1] = numbers.map(Number);
const connection = await connect({ servers });
const manager = await jetstreamManager(connection);
await manager.streams.add({ name: "bench", subjects: ["bench"] });
const client = jetstream(connection);
const value = new Uint8Array(size).map((_, index) => 97 + (index % 26));
const latencies: number[] = [];
let next = 0;

async function worker(): Promise<void> {
  while (next++ < count) {
    const beforeMs = performance.now();
    await client.publish("bench", value);
    latencies.push(performance.now() - beforeMs);
  }
}

const startedMs = performance.now();
await Promise.all(Array.from({ length: inFlight }, worker));
const seconds = (performance.now() - startedMs) / 1_000;
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    perSecond: count / seconds,
    p50Ms: latencies[Math.floor(latencies.length / 2)],
    p99Ms: latencies[Math.floor(latencies.length * 0.99)],
  }),
);
await manager.streams.delete("bench");
await connection.close();
