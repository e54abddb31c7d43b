/** Waiting for what other processes do: it is asked for again and again, since nobody would tell. */
import { setTimeout as sleep } from "node:timers/promises";
import { abortError, HoldfastError } from "../../base/index.ts";

const askMs = 20;
const patienceMs = 30_000;

/** Resolves when `condition` holds; `timeout`, saying what did not come, after 30 s; `cancelled` when `signal` aborts. */
export async function until(what: string, condition: () => boolean, signal: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  while (!condition()) {
    if (signal.aborted) throw abortError(signal);
    if (performance.now() - startedMs > patienceMs) {
      throw new HoldfastError("timeout", `the demo waited ${patienceMs / 1_000} s in vain: ${what}`);
    }
    await sleep(askMs);
  }
}

/** Lets time pass; `cancelled` when `signal` aborts. */
export async function pass(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch {
    throw abortError(signal);
  }
}
