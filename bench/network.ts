/**
 * A load generator for a Holdfast member, or a cluster: the twin of `etcd-load/main.go`, with the same keys, values and accounting.
 *
 *   node bench/network.ts ENDPOINTS put|get IN_FLIGHT COUNT VALUE_SIZE KEY_COUNT
 *
 * Prints one JSON object: calls a second and latencies in milliseconds.
 */
import { connect } from "../src/index.ts";

const [endpoints = "", operation, ...numbers] = process.argv.slice(2);
const [inFlight = 1, count = 1, valueSize = 256, keyCount = 1] = numbers.map(Number);

const store = await connect(endpoints);
const value = new Uint8Array(valueSize).map((_, index) => 97 + (index % 26));
const latencies = new Float64Array(count);
let next = 0;

async function worker(): Promise<void> {
  for (;;) {
    const index = next++;
    if (index >= count) return;
    const key = `key-${String((index * 7_919) % keyCount).padStart(10, "0")}`;
    const beforeMs = performance.now();
    if (operation === "put") await store.keys.put(key, value);
    else await store.keys.get(key);
    latencies[index] = performance.now() - beforeMs;
  }
}

const startedMs = performance.now();
const cpuBefore = process.cpuUsage();
await Promise.all(Array.from({ length: inFlight }, worker));
const seconds = (performance.now() - startedMs) / 1_000;
const cpu = process.cpuUsage(cpuBefore);
latencies.sort();
console.log(
  JSON.stringify({
    perSecond: count / seconds,
    p50Ms: latencies[Math.floor(count / 2)],
    p99Ms: latencies[Math.floor(count * 0.99)],
    clientCpuUs: (cpu.user + cpu.system) / count,
  }),
);
await store.close();
