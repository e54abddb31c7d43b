/**
 * The rows for three members: throughput and latency beside etcd, taking turns; and how long writing pauses when the leader
 * is killed.
 */
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startEtcdCluster, startHoldfastCluster } from "./clusters.ts";
import type { Cluster } from "./clusters.ts";
import { figure, row, spread, spreadText, timesText } from "./table.ts";

export interface ClusterBench {
  readonly rounds: number;
  /** About how long one measurement takes. */
  readonly seconds: number;
  readonly killCount: number;
  /** Gives an empty directory. */
  readonly freshDirectory: () => string;
  /** The compiled load generator for etcd, or why there is none. */
  readonly etcdLoad: { readonly path: string } | { readonly missing: string };
}

type Name = "holdfast" | "etcd";

interface Load {
  readonly perSecond: number;
  readonly p50Ms: number;
}

/** Calls for each second of measuring: about what the slower of the two does. */
const workloads = [
  ["put", 1, 700],
  ["put", 100, 6_000],
  ["put", 1_000, 12_000],
  ["get", 1, 1_200],
  ["get", 100, 6_000],
] as const;

const networkPath = fileURLToPath(new URL("network.ts", import.meta.url));
const writerPath = fileURLToPath(new URL("writer.ts", import.meta.url));

function names({ etcdLoad }: ClusterBench): readonly Name[] {
  if ("path" in etcdLoad) return ["holdfast", "etcd"];
  console.log(`${etcdLoad.missing}: its figures are left out\n`);
  return ["holdfast"];
}

/** The program that puts load of a kind on a cluster, with its arguments. */
function program({ etcdLoad }: ClusterBench, name: Name, script: string, args: readonly string[]): [string, string[]] {
  if (name === "etcd" && "path" in etcdLoad) return [etcdLoad.path, [...args]];
  return [process.execPath, ["--no-warnings", script, ...args]];
}

export async function clusterRows(bench: ClusterBench): Promise<void> {
  console.log(
    "\n### Three members, 256 B, 100,000 keys: calls a second, median (spread); p50 in ms, median (spread)\n",
  );
  const present = names(bench);
  row("workload", ...present, "Holdfast to etcd: calls", "latency");
  row("---", ...present.map(() => "---"), "---", "---");
  const directory = bench.freshDirectory();
  const clusters = new Map<Name, Cluster>();
  try {
    clusters.set("holdfast", await startHoldfastCluster(directory));
    if (present.includes("etcd")) clusters.set("etcd", await startEtcdCluster(directory));
    for (const [operation, inFlight, callsPerSecond] of workloads) {
      const loads = new Map<Name, Load[]>(present.map((name) => [name, []]));
      for (let round = 0; round < bench.rounds; round++) {
        for (const name of present) {
          const count = Math.max(2 * inFlight, Math.round(callsPerSecond * bench.seconds));
          const args = [clusters.get(name)?.endpoints ?? "", operation, inFlight, count, 256, 100_000, 10].map(String);
          const { stdout } = await promisify(execFile)(...program(bench, name, networkPath, args));
          loads.get(name)?.push(JSON.parse(stdout) as Load);
        }
      }
      workloadRow(`${operation}, ${inFlight} in flight`, loads);
    }
  } finally {
    for (const cluster of clusters.values()) await cluster.stop();
  }
}

function workloadRow(title: string, loads: ReadonlyMap<Name, readonly Load[]>): void {
  const spreads = new Map(
    Array.from(loads, ([name, list]) => [
      name,
      {
        perSecond: spread(list.map(({ perSecond }) => perSecond)),
        p50Ms: spread(list.map(({ p50Ms }) => p50Ms)),
      },
    ]),
  );
  const cells = Array.from(
    spreads.values(),
    ({ perSecond, p50Ms }) => `${spreadText(perSecond)}; ${spreadText(p50Ms)}`,
  );
  const [ours, theirs] = [spreads.get("holdfast"), spreads.get("etcd")];
  const ratio = (of: "perSecond" | "p50Ms") => (ours?.[of].median ?? Number.NaN) / (theirs?.[of].median ?? Number.NaN);
  row(title, ...cells, timesText(ratio("perSecond")), timesText(ratio("p50Ms")));
}

export async function pauseRows(bench: ClusterBench): Promise<void> {
  console.log(
    `\n### Three members, ${bench.killCount} times the leader killed: the longest time without an acknowledged write, ms\n`,
  );
  const present = names(bench);
  row("store", "median", "least", "worst");
  row("---", "---", "---", "---");
  for (const name of present) {
    const directory = bench.freshDirectory();
    const cluster = await (name === "etcd" ? startEtcdCluster(directory) : startHoldfastCluster(directory));
    const writer = new Writer(
      ...program(bench, name, writerPath, name === "etcd" ? [cluster.endpoints, "write"] : [cluster.endpoints]),
    );
    try {
      const pauses: number[] = [];
      for (let kill = 0; kill < bench.killCount; kill++) pauses.push(await pauseOf(cluster, writer));
      const { median, min, max } = spread(pauses);
      row(name, figure(median), figure(min), figure(max));
    } finally {
      await writer.stop();
      await cluster.stop();
    }
  }
}

/** From just before the kill until writes have gone on for a while. The member is back before this resolves. */
async function pauseOf(cluster: Cluster, writer: Writer): Promise<number> {
  await writer.untilFlowing();
  writer.reset();
  await cluster.killLeader();
  const gapMs = await writer.untilFlowing();
  await cluster.restore();
  return gapMs;
}

interface Report {
  readonly gapMs: number;
  readonly sinceMs: number;
  readonly count: number;
}

/** The client that writes all the time, a process of its own. */
class Writer {
  readonly #child;
  readonly #lines;
  readonly #exited: Promise<unknown>;

  constructor(command: string, args: readonly string[]) {
    // etcd's client has a word for every call that fails, and here many do.
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] });
    this.#exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async #report(): Promise<Report> {
    this.#child.stdin.write("report\n");
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("the writing client has ended");
    return JSON.parse(line.value) as Report;
  }

  /** From now on, the longest gap is looked for anew. */
  reset(): void {
    this.#child.stdin.write("reset\n");
  }

  /** Waits until writes are acknowledged for a while from now on; gives the longest gap. */
  async untilFlowing(): Promise<number> {
    const startedMs = performance.now();
    const before = await this.#report();
    for (;;) {
      await sleep(20);
      const report = await this.#report();
      if (report.count > before.count + 200 && report.sinceMs < 50) return report.gapMs;
      if (performance.now() - startedMs > 60_000) throw new Error("no write was acknowledged within a minute");
    }
  }

  async stop(): Promise<void> {
    this.#child.stdin.end();
    await this.#exited;
  }
}
