/**
 * `npm run bench`: the rows of docs/performance.md, Holdfast beside its peers in one run, alternating, several rounds;
 * medians with their spread, one line a row.
 *
 *   npm run bench -- [embedded] [network] [cluster] [pause] [curve] [restart] [files] [objects] [--rounds 5] [--seconds 3] [--kills 20]
 *                  [--tree-mb 1000] [--large-mb 4000] [--small 100000]
 *
 * Without names it runs them all. Everything happens in a scratch directory that is removed afterwards; servers listen
 * on loopback.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { clusterRows, pauseRows } from "./cluster.ts";
import { fileRows } from "./files.ts";
import { buildEtcdLoad, installEmbeddedPeers, startEtcd, startHoldfast, startNats } from "./peers.ts";
import type { Server } from "./peers.ts";
import { storeNames } from "./stores.ts";
import { figure, row, spread, spreadText, timesText } from "./table.ts";
import type { Spread } from "./table.ts";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    kills: { type: "string", default: "20" },
    "tree-mb": { type: "string", default: "1000" },
    "large-mb": { type: "string", default: "4000" },
    small: { type: "string", default: "100000" },
    directory: { type: "string", default: tmpdir() },
  },
});
const rounds = Number(options.rounds);
const scratch = mkdtempSync(join(options.directory, "holdfast-bench-"));
const wanted = (name: string) => positionals.length === 0 || positionals.includes(name);

async function measure(script: string, args: readonly (string | number)[]): Promise<Record<string, number>> {
  const { stdout } = await run(process.execPath, ["--no-warnings", join(here, script), ...args.map(String)], {
    maxBuffer: 1 << 26,
  });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, number>;
}

/** Calls `measureOne` for each name in turn, `rounds` times, so that a drift of the machine hits all alike. */
async function alternate<Name extends string>(
  names: readonly Name[],
  measureOne: (name: Name) => Promise<number>,
): Promise<Map<Name, Spread>> {
  const values = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) values.get(name)?.push(await measureOne(name));
  }
  return new Map(Array.from(values, ([name, list]) => [name, spread(list)]));
}

function freshDirectory(): string {
  const directory = join(scratch, "store");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  return directory;
}

async function embedded(): Promise<void> {
  const names = installEmbeddedPeers() ? storeNames : (["holdfast", "node:sqlite"] as const);
  if (names.length < storeNames.length) console.log("lmdb, better-sqlite3, classic-level: not installed, left out\n");
  console.log("\n### Embedded: durable puts of 256 B, puts a second, median (spread)\n");
  row("calls in flight", ...names, "Holdfast to the best of lmdb, better-sqlite3, classic-level");
  row("---", ...names.map(() => "---"), "---");
  for (const inFlight of [1, 100]) {
    const results = await alternate(names, async (name) => {
      // The synchronous stores cannot have several calls in flight: one call after the other is what they do.
      const calls = name === "better-sqlite3" || name === "node:sqlite" ? 1 : inFlight;
      const args = [name, "put", calls, options.seconds, 100_000, freshDirectory()];
      return (await measure("embedded.ts", args))["perSecond"] ?? Number.NaN;
    });
    const ours = results.get("holdfast")?.median ?? Number.NaN;
    // node:sqlite is shown beside them; it is not among the peers of the target.
    const peers = names.filter((name) => name !== "holdfast" && name !== "node:sqlite");
    const best = Math.max(...peers.map((name) => results.get(name)?.median ?? 0));
    const cells = names.map((name) => {
      const result = results.get(name);
      return result === undefined ? "–" : spreadText(result);
    });
    row(`${inFlight}`, ...cells, timesText(ours / best));
  }
  const group = await alternate(["better-sqlite3"], async (name) => {
    const args = [name, "put", 100, options.seconds, 100_000, freshDirectory()];
    return (await measure("embedded.ts", args))["perSecond"] ?? Number.NaN;
  }).catch(() => new Map<string, Spread>());
  const together = group.get("better-sqlite3");
  if (together !== undefined) {
    console.log(
      `\nWhere the caller itself has 100 records at hand and puts them in one transaction, better-sqlite3 does ${spreadText(together)} a second.`,
    );
  }
}

async function network(): Promise<void> {
  console.log("\n### One member over the network, 256 B, 100,000 keys: calls a second, median (spread); p50 in ms\n");
  const load = buildEtcdLoad(scratch);
  const names = "path" in load ? (["holdfast", "etcd"] as const) : (["holdfast"] as const);
  if ("missing" in load) console.log(`${load.missing}: its rows are left out\n`);
  row("workload", ...names, "Holdfast to etcd");
  row("---", ...names.map(() => "---"), "---");
  const directory = freshDirectory();
  const servers = new Map<string, Server>([["holdfast", await startHoldfast(directory)]]);
  if ("path" in load) servers.set("etcd", await startEtcd(directory));
  try {
    for (const [operation, inFlight, count] of [
      ["put", 1, 2_000],
      ["put", 100, 40_000],
      ["put", 1_000, 60_000],
      ["get", 100, 40_000],
    ] as const) {
      const latencies = new Map<string, number[]>();
      const results = await alternate(names, async (name) => {
        const endpoint = servers.get(name)?.endpoint ?? "";
        const args = [endpoint, operation, inFlight, count, 256, 100_000];
        let result: Record<string, number>;
        if (name === "etcd" && "path" in load) {
          const { stdout } = await run(load.path, [...args, 10].map(String));
          result = JSON.parse(stdout) as Record<string, number>;
        } else {
          result = await measure("network.ts", args);
        }
        latencies.set(name, [...(latencies.get(name) ?? []), result["p50Ms"] ?? Number.NaN]);
        return result["perSecond"] ?? Number.NaN;
      });
      const cells = names.map((name) => {
        const result = results.get(name);
        return result === undefined
          ? "–"
          : `${spreadText(result)}; ${figure(spread(latencies.get(name) ?? []).median)}`;
      });
      const ratio = (results.get("holdfast")?.median ?? Number.NaN) / (results.get("etcd")?.median ?? Number.NaN);
      row(`${operation}, ${inFlight} in flight`, ...cells, timesText(ratio));
    }
  } finally {
    for (const server of servers.values()) await server.stop();
  }
}

async function cluster(): Promise<void> {
  const bench = {
    rounds,
    seconds: Number(options.seconds),
    killCount: Number(options.kills),
    freshDirectory,
    etcdLoad: buildEtcdLoad(scratch),
  };
  if (wanted("cluster")) await clusterRows(bench);
  if (wanted("pause")) await pauseRows(bench);
}

async function curve(): Promise<void> {
  console.log("\n### Cost as the number of keys grows (embedded, 256 B, 100 in flight, one run each)\n");
  row("keys", "put µs CPU", "get µs", "restart ms", "memory after restart MB", "checkpoint bytes a changed key");
  row("---", "---", "---", "---", "---", "---");
  for (const keyCount of [10_000, 100_000, 1_000_000]) {
    const result = await measure("curve.ts", [keyCount, freshDirectory()]);
    row(
      keyCount.toLocaleString("en-US"),
      ...["putCpuUs", "getUs", "restartMs", "memoryMb", "checkpointBytesPerKey"].map((name) =>
        figure(result[name] ?? Number.NaN),
      ),
    );
  }
}

async function files(): Promise<void> {
  await fileRows({
    rounds,
    scratch,
    treeSize: Number(options["tree-mb"]) * 1e6,
    largeSize: Number(options["large-mb"]) * 1e6,
    smallCount: Number(options.small),
  });
}

/** Streams, queues, locks and transactions over the network, each beside the peer that is known for it. */
async function objects(): Promise<void> {
  console.log("\n### Streams, queues, locks and transactions: a second, median (spread); p50 in ms\n");
  const load = buildEtcdLoad(scratch);
  if ("missing" in load) console.log(`${load.missing}: its cells are left out\n`);
  const directory = freshDirectory();
  const holdfast = await startHoldfast(directory);
  const etcd = "path" in load ? await startEtcd(directory) : undefined;
  const nats = await startNats(directory);
  const byEtcd = async (args: readonly (string | number)[]): Promise<Record<string, number>> => {
    if (!("path" in load) || etcd === undefined) return {};
    const { stdout } = await run(load.path, [etcd.endpoint, ...args].map(String));
    return JSON.parse(stdout) as Record<string, number>;
  };
  const byNats = async (args: readonly (string | number)[]): Promise<Record<string, number>> =>
    nats === undefined ? {} : measure("nats-load.ts", [nats.endpoint, ...args]);
  row("workload", "Holdfast", "peer", "Holdfast to the peer");
  row("---", "---", "---", "---");
  try {
    for (const [what, args, peer] of [
      ["append 256 B to a stream, 1 in flight; NATS JetStream (not synced)", ["append", 1, 3_000, 256], byNats],
      ["append 256 B to a stream, 100 in flight; NATS JetStream (not synced)", ["append", 100, 30_000, 256], byNats],
      ["push 256 B to a queue, 100 in flight", ["push", 100, 20_000, 256], undefined],
      ["pull and acknowledge one job, 100 in flight", ["work", 100, 20_000, 256], undefined],
      ["a lock handed over among 4 clients; etcd", ["lock", 4, 1_000, 0], byEtcd],
      ["transfers by 16 clients, 10,000 accounts; etcd's STM", ["transfer", 16, 8_000, 10_000], byEtcd],
      ["transfers by 16 clients, 4 accounts; etcd's STM", ["transfer", 16, 1_000, 4], byEtcd],
    ] as const) {
      const latencies = new Map<string, number[]>();
      const names = peer === undefined ? (["holdfast"] as const) : (["holdfast", "peer"] as const);
      const results = await alternate(names, async (name) => {
        const result =
          name === "peer" && peer !== undefined
            ? await peer(args)
            : await measure("objects.ts", [holdfast.endpoint, ...args]);
        latencies.set(name, [...(latencies.get(name) ?? []), result["p50Ms"] ?? Number.NaN]);
        return result["perSecond"] ?? Number.NaN;
      });
      const [ours, theirs] = (["holdfast", "peer"] as const).map((name) => {
        const p50 = spread(latencies.get(name) ?? []).median;
        const result = results.get(name);
        if (result === undefined || Number.isNaN(result.median)) return "–";
        return Number.isNaN(p50) ? spreadText(result) : `${spreadText(result)}; ${figure(p50)}`;
      }) as [string, string];
      const ratio = (results.get("holdfast")?.median ?? Number.NaN) / (results.get("peer")?.median ?? Number.NaN);
      row(what, ours, theirs, timesText(ratio));
    }
  } finally {
    for (const server of [holdfast, etcd, nats]) await server?.stop();
  }
}

function residentMb(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1] ?? Number.NaN) / 1_000;
}

async function restart(): Promise<void> {
  console.log("\n### Restart and memory with 1,000,000 keys of 256 B, over the network\n");
  const load = buildEtcdLoad(scratch);
  const directory = freshDirectory();
  const count = 1_000_000;
  row("store", "fill: puts a second", "memory after the fill MB", "restart ms", "memory after restart MB");
  row("---", "---", "---", "---", "---");
  const stores: readonly [string, () => Promise<Server>, (endpoint: string) => Promise<Record<string, number>>][] = [
    [
      "holdfast",
      () => startHoldfast(directory),
      (endpoint) => measure("network.ts", [endpoint, "put", 1_000, count, 256, count]),
    ],
  ];
  const etcd: typeof stores =
    "path" in load
      ? [
          [
            "etcd",
            () => startEtcd(directory),
            async (endpoint) => {
              const args = [endpoint, "put", 1_000, count, 256, count, 10].map(String);
              return JSON.parse((await run(load.path, args)).stdout) as Record<string, number>;
            },
          ],
        ]
      : [];
  if ("missing" in load) console.log(`${load.missing}: its row is left out`);
  for (const [name, start, fill] of [...stores, ...etcd]) {
    let server = await start();
    const filled = await fill(server.endpoint);
    const afterFill = residentMb(server.pid);
    await server.stop();
    const times: number[] = [];
    const memory: number[] = [];
    for (let round = 0; round < rounds; round++) {
      server = await start();
      times.push(server.readyMs);
      memory.push(residentMb(server.pid));
      await server.stop();
    }
    row(
      name,
      figure(filled["perSecond"] ?? Number.NaN),
      figure(afterFill),
      spreadText(spread(times)),
      spreadText(spread(memory)),
    );
  }
}

console.log(
  `${cpus().length} cores (${cpus()[0]?.model ?? "?"}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node.js ${process.versions.node}, ${rounds} rounds, in ${options.directory}`,
);
try {
  if (wanted("embedded")) await embedded();
  if (wanted("network")) await network();
  if (wanted("cluster") || wanted("pause")) await cluster();
  if (wanted("curve")) await curve();
  if (wanted("restart")) await restart();
  if (wanted("files")) await files();
  if (wanted("objects")) await objects();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
