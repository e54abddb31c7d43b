/** Servers of NATS on loopback for tests, alone or as a cluster: Debian's nats-server, installed where it is missing. */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deferred } from "../base/index.ts";

const program = "nats-server";

function needServer(): void {
  if (spawnSync("which", [program]).status === 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = () =>
    spawnSync("apt-get", ["install", "-y", "--no-install-recommends", program], { env }).status === 0;
  if (install()) return;
  spawnSync("apt-get", ["update"]);
  if (!install()) throw new Error(`${program} (Debian: ${program}) is needed and cannot be installed`);
}

/** Ports that are free now, all different. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export class NatsServers {
  readonly #directory = mkdtempSync(join(tmpdir(), "holdfast-nats-"));
  readonly #ports: readonly number[];
  readonly #routes: readonly number[];
  readonly #processes: (ChildProcess | undefined)[] = [];
  readonly #led = deferred<void>();

  private constructor(ports: readonly number[], routes: readonly number[]) {
    this.#ports = ports;
    this.#routes = routes;
  }

  /** Starts `count` servers, as one cluster if there are several; then one of them leads the others. */
  static async start(count: number): Promise<NatsServers> {
    needServer();
    const ports = await freePorts(2 * count);
    const servers = new NatsServers(ports.slice(0, count), ports.slice(count));
    await Promise.all(Array.from({ length: count }, (_, index) => servers.startOne(index)));
    // What is asked of JetStream before gets no answer, which the driver takes two seconds to believe.
    if (count > 1) await servers.#led.promise;
    return servers;
  }

  get list(): string {
    return this.#ports.map((port) => `127.0.0.1:${port}`).join(",");
  }

  /** The address of a stream. */
  address(stream: string, replicas = this.#ports.length): string {
    return `nats://${this.list}/${stream}?replicas=${replicas}&sync=always`;
  }

  async startOne(index: number): Promise<void> {
    const routes = this.#routes.map((port) => `nats://127.0.0.1:${port}`).join(",");
    const [port, route] = [this.#ports[index] ?? 0, this.#routes[index] ?? 0];
    const cluster =
      this.#ports.length > 1
        ? ["--cluster_name", "c", "--cluster", `nats://127.0.0.1:${route}`, "--routes", routes]
        : [];
    const own = [
      "-a",
      "127.0.0.1",
      "-p",
      String(port),
      "-n",
      `n${index}`,
      "-js",
      "-sd",
      join(this.#directory, `n${index}`),
    ];
    const child = spawn(program, [...own, ...cluster], { stdio: ["ignore", "ignore", "pipe"] });
    this.#processes[index] = child;
    let text = "";
    await new Promise<void>((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`${program} ended with ${code}: ${text.slice(-500)}`)));
      child.stderr?.on("data", (chunk) => {
        text = (text + String(chunk)).slice(-10_000);
        if (text.includes("Server is ready")) resolve();
        if (text.includes("new metadata leader")) this.#led.resolve();
      });
    });
  }

  /** As a machine dies: by its process id, without a chance to tidy up. */
  async kill(index: number): Promise<void> {
    const child = this.#processes[index];
    this.#processes[index] = undefined;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  async stop(): Promise<void> {
    for (const index of this.#processes.keys()) await this.kill(index);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
