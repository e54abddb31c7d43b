/**
 * A client that writes all the time, and says how long nothing was acknowledged: the twin of the `write` mode of
 * `etcd-load/main.go`. Ten callers put keys of their own, one after the other; each gives up on a call after 200 ms and
 * makes the next, so that a call that will never be answered adds no more than that to the pause.
 *
 *   node bench/writer.ts ENDPOINTS
 *
 * A line `reset` on standard input starts anew; a line `report` is answered with a JSON object: `gapMs`, the longest time
 * without an acknowledgement since; `sinceMs`, the time since the latest; `count`, how many there were. It ends with its
 * input.
 */
import { createInterface } from "node:readline";
import { connect } from "../src/index.ts";

const callerCount = 10;
const callMs = 200;

const [endpoints = ""] = process.argv.slice(2);
const store = await connect(endpoints, { waitForMember: true });
const value = new Uint8Array(256).fill(97);
let lastMs = performance.now();
let gapMs = 0;
let count = 0;
const ending = new AbortController();

function acknowledged(): void {
  const nowMs = performance.now();
  gapMs = Math.max(gapMs, nowMs - lastMs);
  lastMs = nowMs;
  count += 1;
}

async function caller(number: number): Promise<void> {
  for (let index = 0; !ending.signal.aborted; index = (index + 1) % 1_000) {
    try {
      await store.keys.put(`writer-${number}-${index}`, value, { signal: AbortSignal.timeout(callMs) });
      acknowledged();
    } catch {
      // The next call follows; a refusal at once must not become a busy loop.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

const callers = Array.from({ length: callerCount }, (_, number) => caller(number));
for await (const line of createInterface({ input: process.stdin })) {
  const nowMs = performance.now();
  if (line === "reset") {
    [lastMs, gapMs, count] = [nowMs, 0, 0];
  } else if (line === "report") {
    console.log(JSON.stringify({ gapMs: Math.max(gapMs, nowMs - lastMs), sinceMs: nowMs - lastMs, count }));
  }
}
ending.abort();
await Promise.all(callers);
await store.close();
