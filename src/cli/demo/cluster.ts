/**
 * The members of the demo: child processes with temporary directories and free ports on loopback, a relay between them,
 * and what each says of itself. `close` leaves no process and no directory behind; when this process is killed, the
 * members end by themselves.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { MemberList } from "../../member/index.ts";
import { freePorts } from "./free-ports.ts";
import { Monitor } from "./monitor.ts";
import type { Report } from "./monitor.ts";
import { Relay } from "./relay.ts";
import { until } from "./until.ts";

/** Compiled, this file and the member's program end in `.js`. */
const program = fileURLToPath(
  new URL(`member-process${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url),
);

/** What the demo has done to a member. */
export type MemberCondition = "starting" | "running" | "killed" | "cut off" | "lost" | "stopped";

export class DemoMember {
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  condition: MemberCondition = "starting";
  process: ChildProcess | undefined;
  monitor: Monitor | undefined;
  /** The end of what it wrote to standard error, for the case that it ends by itself. */
  said = "";

  constructor(name: string, address: string, directory: string) {
    this.name = name;
    this.address = address;
    this.directory = directory;
  }

  get report(): Report | undefined {
    return this.monitor?.report;
  }
}

export class DemoCluster {
  readonly members: readonly DemoMember[];
  readonly #env: Env;
  readonly #relay: Relay;
  readonly #directory: string;
  readonly #signal: AbortSignal;
  #trouble: HoldfastError | undefined;

  private constructor(env: Env, relay: Relay, directory: string, members: readonly DemoMember[], signal: AbortSignal) {
    this.#env = env;
    this.#relay = relay;
    this.#directory = directory;
    this.members = members;
    this.#signal = signal;
  }

  /** Room for members of these names; none runs yet. `signal` ends every waiting. */
  static async open(env: Env, names: readonly string[], signal: AbortSignal): Promise<DemoCluster> {
    const directory = await mkdtemp(join(tmpdir(), "holdfast-demo-"));
    const relay = await Relay.listen();
    const ports = await freePorts(names.length);
    const members = names.map((name, index) => {
      const address = `127.0.0.1:${ports[index] ?? 0}`;
      relay.name(address, name);
      return new DemoMember(name, address, join(directory, name));
    });
    return new DemoCluster(env, relay, directory, members, signal);
  }

  /** A member that ended by itself, with what it said. */
  get trouble(): HoldfastError | undefined {
    return this.#trouble;
  }

  member(name: string): DemoMember {
    const member = this.members.find((one) => one.name === name);
    if (member === undefined) throw new HoldfastError("notFound", `the demo has no member ${name}`);
    return member;
  }

  /** Where clients connect at first. */
  endpointsOf(names: readonly string[]): string {
    return names.map((name) => this.member(name).address).join(",");
  }

  /** Starts these members, which found a cluster, and resolves when each serves. */
  async found(names: readonly string[]): Promise<void> {
    const peers = names.map((name) => `${name}=${this.member(name).address}`).join(",");
    await Promise.all(names.map((name) => this.#launch(this.member(name), ["--name", name, "--peers", peers])));
    await this.leader();
  }

  /** Kills it with SIGKILL, as a power cut would: it does not learn of it. */
  async kill(name: string, condition: MemberCondition = "killed"): Promise<void> {
    const member = this.member(name);
    const child = member.process;
    member.condition = condition;
    member.process = undefined;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
    const { monitor } = member;
    member.monitor = undefined;
    await monitor?.close();
  }

  /** Starts a member again on its directory, and resolves when it serves. */
  async restart(name: string): Promise<void> {
    await this.#launch(this.member(name), []);
  }

  /** Kills it, and its directory is gone. */
  async lose(name: string): Promise<void> {
    await this.kill(name, "lost");
    await rm(this.member(name).directory, { recursive: true, force: true });
  }

  /** Starts a new member that takes the place of another. */
  async replace(lost: string, name: string, known: readonly string[]): Promise<void> {
    await this.#launch(this.member(name), ["--name", name, "--join", this.endpointsOf(known), "--replace", lost]);
    await until(
      `${name} has not taken the place of ${lost}`,
      () => {
        const members = this.list()?.members ?? [];
        const come = members.some((one) => one.name === name && one.role === "voter");
        return come && members.every((one) => one.name !== lost);
      },
      this.#signal,
    );
  }

  cut(name: string): void {
    this.member(name).condition = "cut off";
    this.#relay.cut(name);
  }

  heal(name: string): void {
    this.member(name).condition = "running";
    this.#relay.heal(name);
  }

  /** The members as the one knows them that is furthest and can be heard. */
  list(): MemberList | undefined {
    const lists = this.members
      .filter(({ condition }) => condition === "running")
      .flatMap(({ report }) => (report === undefined ? [] : [report.list]));
    return lists.toSorted((a, b) => b.term - a.term || Number(b.leader > 0) - Number(a.leader > 0))[0];
  }

  /** The name of a leader that runs and is not cut off, as soon as there is one. */
  async leader(): Promise<string> {
    let found: string | undefined;
    const condition = () => {
      const list = this.list();
      const name = list?.members.find(({ id }) => id === list.leader)?.name;
      found = this.members.find((one) => one.name === name && one.condition === "running")?.name;
      return found !== undefined || this.#trouble !== undefined;
    };
    await until("no member leads", condition, this.#signal);
    if (found === undefined) throw this.#trouble;
    return found;
  }

  /** Resolves when the member has applied all that any member has applied by now. */
  async caughtUp(name: string): Promise<void> {
    const goal = Math.max(0, ...this.members.map(({ report }) => report?.status.applied ?? 0));
    const condition = () => (this.member(name).report?.status.applied ?? -1) >= goal;
    await until(`${name} has not caught up`, condition, this.#signal);
  }

  /** Stops the members that run as an operator would: with SIGTERM, one after the other. */
  async stop(): Promise<void> {
    for (const member of this.members) {
      const child = member.process;
      if (child === undefined) continue;
      member.condition = "stopped";
      member.process = undefined;
      await member.monitor?.close();
      member.monitor = undefined;
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      const [status] = (await exited) as [number | null];
      if (status !== 0) throw ended(member, status);
    }
  }

  /** Ends whatever runs, and removes the directories. */
  async close(): Promise<void> {
    for (const { name, process: child } of this.members) if (child !== undefined) await this.kill(name);
    for (const { monitor } of this.members) await monitor?.close();
    this.#relay.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #launch(member: DemoMember, words: readonly string[]): Promise<void> {
    const { name, address, directory } = member;
    const start = ["--data", directory, "--listen", address, "--json", ...words];
    member.condition = "starting";
    // In a process group of its own: Ctrl-C is for the demo, which ends its members itself.
    const child = spawn(process.execPath, [program, this.#relay.address, name, ...start], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    member.process = child;
    member.said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (member.said = (member.said + text).slice(-2_000)));
    child.once("exit", (status, signal) => {
      if (member.process === child) this.#trouble ??= ended(member, status ?? signal);
    });
    let serves = false;
    child.stdout.once("data", () => (serves = true)).resume();
    await until(`${name} does not serve`, () => serves || this.#trouble !== undefined, this.#signal);
    if (this.#trouble !== undefined) throw this.#trouble;
    member.condition = "running";
    member.monitor = new Monitor(this.#env, name, address);
  }
}

function ended({ name, said }: DemoMember, status: unknown): HoldfastError {
  const last = said.trim() === "" ? "" : `; it said last:\n${said.trim()}`;
  return new HoldfastError("unavailable", `member ${name} ended by itself (${String(status)})${last}`);
}
