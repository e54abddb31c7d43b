/**
 * `holdfast bench`: what puts, gets and lists cost on this store, through the same client that programs use. It writes
 * under a prefix of its own and deletes that afterwards.
 */
import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import type { Store } from "../member/index.ts";
import { countText, durationText, printJson, printLine, table } from "./output.ts";
import { Progress } from "./progress.ts";
import { addTargetOptions, parseCount, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

interface BenchOptions extends TargetOptions {
  readonly inFlight: number;
  readonly count: number;
  readonly valueSize: number;
}

interface Row {
  readonly name: string;
  readonly count: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export function addTo(command: Command): void {
  addTargetOptions(command)
    .option("--in-flight <count>", "calls under way at once", parseCount, 100)
    .option("--count <count>", "calls of each kind", parseCount, 20_000)
    .option("--value-size <bytes>", "size of a value", parseWhole, 256)
    .addHelpText("after", "\nExamples:\n  $ holdfast bench\n  $ holdfast bench --in-flight 1 --count 2000")
    .action(async (options: BenchOptions) => {
      await withStore(options, async (store) => {
        const rows = await measure(store, options);
        if (options.json) {
          for (const row of rows) await printJson(row);
          return;
        }
        await printLine(`${options.inFlight} in flight, values of ${options.valueSize} bytes, every put durable\n`);
        await printLine(
          table([
            ["", "calls", "calls/s", "median", "99th percentile"],
            ...rows.map((row) => [
              row.name,
              countText(row.count),
              countText(Math.round(row.perSecond)),
              durationText(row.p50Ms),
              durationText(row.p99Ms),
            ]),
          ]),
        );
      });
    });
}

async function measure(store: Store, options: BenchOptions): Promise<Row[]> {
  const prefix = `holdfast-bench/${randomBytes(6).toString("hex")}/`;
  const value = new Uint8Array(randomBytes(options.valueSize));
  const keyOf = (index: number) => `${prefix}${String(index).padStart(9, "0")}`;
  try {
    return [
      await measureCalls("put", options, (index) => store.keys.put(keyOf(index), value)),
      await measureCalls("get", options, (index) => store.keys.get(keyOf(index))),
      await measureList(store, prefix),
    ];
  } finally {
    await store.keys.delete({ prefix });
  }
}

async function measureCalls(
  name: string,
  { count, inFlight }: BenchOptions,
  call: (index: number) => Promise<unknown>,
): Promise<Row> {
  const latenciesMs = new Float64Array(count);
  const progress = new Progress({ label: name, noun: "calls", sizeTotal: count });
  let next = 0;
  let done = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) {
      const beforeMs = performance.now();
      await call(index);
      latenciesMs[index] = performance.now() - beforeMs;
      if (++done % 256 === 0) progress.update(done, done);
    }
  };
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  const seconds = (performance.now() - startedMs) / 1_000;
  progress.clear();
  latenciesMs.sort();
  return {
    name,
    count,
    perSecond: count / seconds,
    p50Ms: latenciesMs[Math.floor(count / 2)] ?? 0,
    p99Ms: latenciesMs[Math.floor(count * 0.99)] ?? 0,
  };
}

async function measureList(store: Store, prefix: string): Promise<Row> {
  const startedMs = performance.now();
  let count = 0;
  for await (const _ of store.keys.list({ prefix })) count++;
  const ms = performance.now() - startedMs;
  return { name: "list", count, perSecond: (count / ms) * 1_000, p50Ms: ms, p99Ms: ms };
}
