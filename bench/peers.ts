/**
 * Brings the peers of the bench here: the npm packages into `bench/peers/`, etcd from Debian, and the load generator
 * compiled from `etcd-load/main.go` against Debian's copy of etcd's Go client. What cannot be had is reported, and its
 * rows say so.
 */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** True when the embedded peers are installed. */
export function installEmbeddedPeers(): boolean {
  const directory = join(here, "peers");
  if (existsSync(join(directory, "node_modules", "lmdb"))) return true;
  console.error("Installing lmdb, better-sqlite3 and classic-level for comparison …");
  const npm = spawnSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: directory,
    stdio: ["ignore", 2, 2],
  });
  return npm.status === 0;
}

/** True when the packages are here, as commands of the same name, or can be installed. */
export function haveCommands(names: readonly string[]): boolean {
  return names.every(has) || installDebian(names);
}

function installDebian(packages: readonly string[]): boolean {
  if (process.getuid?.() !== 0) return false;
  console.error(`Installing ${packages.join(", ")} …`);
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = ["install", "-y", "--no-install-recommends", ...packages];
  const run = () => spawnSync("apt-get", install, { env: environment, stdio: ["ignore", "ignore", 2] }).status === 0;
  return run() || (spawnSync("apt-get", ["update"], { stdio: "ignore" }).status === 0 && run());
}

function has(command: string): boolean {
  return spawnSync("which", [command], { stdio: "ignore" }).status === 0;
}

/** The path of the compiled load generator, or why there is none. */
export function buildEtcdLoad(scratch: string): { readonly path: string } | { readonly missing: string } {
  if (!has("etcd") && !installDebian(["etcd-server"]))
    return { missing: "etcd (Debian: etcd-server) is not installed" };
  const sources = "/usr/share/gocode/src/go.etcd.io/etcd/clientv3";
  if ((!has("go") || !existsSync(sources)) && !installDebian(["golang-go", "golang-etcd-server-dev"])) {
    return { missing: "etcd's Go client (Debian: golang-go, golang-etcd-server-dev) is not installed" };
  }
  const path = join(scratch, "etcd-load");
  const build = spawnSync("go", ["build", "-o", path, "main.go"], {
    cwd: join(here, "etcd-load"),
    env: { ...process.env, GO111MODULE: "off", GOPATH: "/usr/share/gocode", GOCACHE: join(scratch, "go-cache") },
    stdio: ["ignore", 2, 2],
  });
  return build.status === 0 ? { path } : { missing: "etcd's load generator did not compile" };
}

export interface Server {
  readonly endpoint: string;
  readonly pid: number;
  /** Milliseconds from the start of the process until it answered. */
  readonly readyMs: number;
  stop(): Promise<void>;
}

export async function startEtcd(directory: string): Promise<Server> {
  const url = "http://127.0.0.1:12379";
  const peer = "http://127.0.0.1:12380";
  const child = spawn(
    "etcd",
    ["--data-dir", join(directory, "etcd"), "--log-level", "error", "--quota-backend-bytes", "8000000000"].concat(
      ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer],
      ["--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`],
    ),
    { stdio: "ignore" },
  );
  return ready(child, "127.0.0.1:12379", async () => {
    // The port opens before the store is loaded; the health page answers when it is.
    const answer = await fetch(`${url}/health`);
    return (await answer.text()).includes("true");
  });
}

/**
 * With the server's own default, by which it writes to the disk every two minutes: Debian's 2.9 knows no other. Undefined
 * where it cannot be had.
 */
export async function startNats(directory: string): Promise<Server | undefined> {
  if (!has("nats-server") && !installDebian(["nats-server"])) return undefined;
  const child = spawn(
    "nats-server",
    ["--jetstream", "--store_dir", join(directory, "nats"), "--addr", "127.0.0.1", "--port", "14222"],
    { stdio: "ignore" },
  );
  return ready(child, "127.0.0.1:14222", () => canConnect(14_222));
}

/** `built` runs the compiled package, as users do, when it is there. */
export async function startHoldfast(directory: string): Promise<Server> {
  const endpoint = "127.0.0.1:17420";
  const main = join(here, "..", "src", "cli", "main.ts");
  const data = join(directory, "holdfast");
  const child = spawn(process.execPath, [main, "start", "--data", data, "--listen", endpoint, "--history", "0"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return ready(child, endpoint, () => canConnect(17_420));
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

async function ready(child: ChildProcess, endpoint: string, answers: () => Promise<boolean>): Promise<Server> {
  const startedMs = performance.now();
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let gone = false;
  void exited.then(() => (gone = true));
  while (!(await answers().catch(() => false))) {
    if (gone) throw new Error(`the server for ${endpoint} ended before it answered`);
    if (performance.now() - startedMs > 120_000) throw new Error(`no answer from ${endpoint} within two minutes`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return {
    endpoint,
    pid: child.pid ?? 0,
    readyMs: performance.now() - startedMs,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}
