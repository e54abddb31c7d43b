/**
 * How long the event loop of a process waits while it stores large files: the delays of a timer, and the latency of durable
 * puts of keys, one every few milliseconds.
 *
 *   node bench/stall.ts DIRECTORY SOURCE
 *
 * Puts the file SOURCE into a store in DIRECTORY, over and over with other bytes in front, until 2 GB have gone in.
 */
import { createReadStream } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { open } from "../src/index.ts";

const [directory = "", source = ""] = process.argv.slice(2);
const sizeWanted = 2_000_000_000;

const store = await open(directory);
await store.keys.put("warm", "up");
await store.files("bench").put("warm", createReadStream(source, { end: 50_000_000 }));

const latencies: number[] = [];
const storing = new AbortController();
const keys = async () => {
  for (let number = 0; !storing.signal.aborted; number++) {
    const startedMs = performance.now();
    await store.keys.put(`key/${number % 1_000}`, "value");
    latencies.push(performance.now() - startedMs);
    await sleep(2);
  }
};
const delays = monitorEventLoopDelay({ resolution: 1 });
delays.enable();
const running = keys();
const startedMs = performance.now();
let size = 0;
for (let number = 0; size < sizeWanted; number++) {
  const start = (number * 7_919) % 100_000;
  size += (
    await store.files("bench").put(`file/${number}`, createReadStream(source, { start, highWaterMark: 1_048_576 }))
  ).size;
}
const seconds = (performance.now() - startedMs) / 1_000;
delays.disable();
storing.abort();
await running;
await store.close();

const sorted = latencies.toSorted((a, b) => a - b);
const quantile = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
// The timer itself waits for a millisecond.
const delayMs = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - 1);
console.log(
  JSON.stringify({
    megabytesPerSecond: size / 1e6 / seconds,
    delayP99Ms: delayMs(delays.percentile(99)),
    delayP999Ms: delayMs(delays.percentile(99.9)),
    delayMaxMs: delayMs(delays.max),
    putP50Ms: quantile(0.5),
    putP99Ms: quantile(0.99),
    putMaxMs: sorted.at(-1) ?? Number.NaN,
  }),
);
