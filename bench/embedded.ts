/**
 * One measurement of one embedded store, in a process of its own, so that no store warms up or burdens another.
 *
 *   node bench/embedded.ts STORE put|get IN_FLIGHT SECONDS KEY_COUNT DIRECTORY
 *
 * Keys are `key-0000000000` and up in a scattered order, values 256 bytes that do not compress to nothing. Prints one
 * JSON object. `put` keeps IN_FLIGHT calls under way in rounds of IN_FLIGHT (a round ends when all are durable), which
 * is the arrangement that suits the synchronous stores best.
 */
import { openBenchStore } from "./stores.ts";
import type { StoreName } from "./stores.ts";

const [name, operation, inFlightText, secondsText, keyCountText, directory] = process.argv.slice(2) as [
  StoreName,
  "put" | "get" | "fill",
  string,
  string,
  string,
  string,
];
const inFlight = Number(inFlightText);
const keyCount = Number(keyCountText);
const limitMs = Number(secondsText) * 1_000;

const value = new Uint8Array(256);
for (let index = 0; index < value.length; index++) value[index] = (index * 167 + (index >> 3) * 59) & 0xff;
const keyOf = (index: number) => `key-${String((index * 7_919) % keyCount).padStart(10, "0")}`;

const store = await openBenchStore(name, directory);
const latencies: number[] = [];
let done = 0;

async function round(): Promise<void> {
  const keys: string[] = [];
  for (let index = 0; index < inFlight; index++) keys.push(keyOf(done + index));
  if (operation === "get") {
    const pending = keys.map((key) => store.get(key));
    for (const result of pending) if ((await result) === undefined) throw new Error(`${name} lost a key`);
  } else {
    await store.put(keys, value);
  }
  done += inFlight;
}

if (operation === "fill") {
  while (done < keyCount) await round();
  await store.close();
  console.log(JSON.stringify({ count: done }));
} else {
  const warmUntilMs = performance.now() + Math.min(500, limitMs / 4);
  while (performance.now() < warmUntilMs) await round();
  const warm = done;
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();
  let nowMs = startedMs;
  while (nowMs - startedMs < limitMs) {
    await round();
    const afterMs = performance.now();
    latencies.push(afterMs - nowMs);
    nowMs = afterMs;
  }
  const cpu = process.cpuUsage(cpuBefore);
  latencies.sort((a, b) => a - b);
  const count = done - warm;
  console.log(
    JSON.stringify({
      perSecond: (count / (nowMs - startedMs)) * 1_000,
      p50Ms: latencies[Math.floor(latencies.length / 2)],
      p99Ms: latencies[Math.floor(latencies.length * 0.99)],
      cpuUs: (cpu.user + cpu.system) / count,
    }),
  );
  await store.close();
}
