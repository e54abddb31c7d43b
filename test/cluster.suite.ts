/**
 * Clusters of real processes for tests: members that run `holdfast start`, on loopback, behind a relay, or each in a
 * network namespace of its own; and clients that load them and write down what they asked and were told.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePorts } from "../src/cli/demo/free-ports.ts";
import { Relay } from "../src/cli/demo/relay.ts";
import { connect, HoldfastError } from "../src/index.ts";
import type { Store } from "../src/index.ts";
import { History } from "../src/sim/check/history.ts";
import { checkLinearizable } from "../src/sim/check/linearizability.ts";
import { actions } from "../src/sim/check/operation.ts";
import type { Action, Result } from "../src/sim/check/operation.ts";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const relayedProgram = fileURLToPath(new URL("../src/cli/demo/member-process.ts", import.meta.url));
const patienceMs = 30_000;

/** Asks again and again, since other processes tell nobody. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const startedMs = performance.now();
  while (!(await condition())) {
    assert.ok(performance.now() - startedMs < patienceMs, `waited ${patienceMs / 1_000} s in vain: ${what}`);
    await sleep(20);
  }
}

/** What the members run on. */
export interface Ground {
  /** Where members and clients reach the member. */
  addressOf(name: string): string;
  /** The command line that runs `holdfast start` for the member, but for the options of `start`. */
  commandOf(name: string): readonly [command: string, ...words: string[]];
  /** Nothing passes between this member and the others; clients reach it still. */
  isolate(name: string): void;
  heal(): void;
  close(): void;
}

export async function loopback(names: readonly string[]): Promise<Ground> {
  const ports = await freePorts(names.length);
  return {
    addressOf: (name) => `127.0.0.1:${ports[names.indexOf(name)] ?? 0}`,
    commandOf: () => [process.execPath, program, "start"],
    isolate: () => assert.fail("nothing is cut on plain loopback"),
    heal() {},
    close() {},
  };
}

/** Connections between members go through a relay in this process, which may stop to carry them. */
export async function relayed(names: readonly string[]): Promise<Ground> {
  const plain = await loopback(names);
  const relay = await Relay.listen();
  for (const name of names) relay.name(plain.addressOf(name), name);
  return {
    addressOf: (name) => plain.addressOf(name),
    commandOf: (name) => [process.execPath, relayedProgram, relay.address, name],
    isolate: (name) => relay.cut(name),
    heal() {
      for (const name of names) relay.heal(name);
    },
    close: () => relay.close(),
  };
}

/** Whether this process may make network namespaces. */
export function canMakeNamespaces(): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  const name = `hf${process.pid}try`;
  try {
    ip("netns", "add", name);
    ip("netns", "exec", name, "true");
    ip("-n", name, "link", "add", "br0", "type", "bridge");
    return true;
  } catch {
    return false;
  } finally {
    try {
      ip("netns", "del", name);
    } catch {
      // It was not made.
    }
  }
}

function ip(...words: string[]): string {
  return execFileSync("ip", words, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
}

/**
 * Each member has a network namespace with an address of its own, all on a bridge in one more namespace, and so has this
 * process. A member is cut off from another by giving it a wrong link-layer address for that one: what it sends is lost on
 * the way, and nobody is told.
 */
export class Namespaces implements Ground {
  readonly #names: readonly string[];
  readonly #prefix = `hf${process.pid}`;
  /** Of 250 networks one, so that test processes at the same time do not meet. */
  readonly #network = `10.213.${process.pid % 250}`;
  readonly #made: string[] = [];

  constructor(names: readonly string[]) {
    this.#names = names;
    const hub = this.#make("hub");
    ip("-n", hub, "link", "add", "br0", "type", "bridge");
    ip("-n", hub, "link", "set", "dev", "br0", "up");
    for (const name of names) {
      const space = this.#make(name);
      ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", `to-${name}`, "netns", hub);
      ip("-n", space, "addr", "add", `${this.#hostOf(name)}/24`, "dev", "eth0");
      ip("-n", space, "link", "set", "dev", "eth0", "up");
      ip("-n", space, "link", "set", "dev", "lo", "up");
      this.#plug(hub, `to-${name}`);
    }
    const own = `${this.#prefix}v`;
    ip("link", "add", own, "type", "veth", "peer", "name", "to-test", "netns", hub);
    ip("addr", "add", `${this.#network}.254/24`, "dev", own);
    ip("link", "set", "dev", own, "up");
    this.#plug(hub, "to-test");
  }

  addressOf(name: string): string {
    return `${this.#hostOf(name)}:7420`;
  }

  commandOf(name: string): readonly [string, ...string[]] {
    return ["ip", "netns", "exec", this.#spaceOf(name), process.execPath, program, "start", "--insecure"];
  }

  isolate(name: string): void {
    for (const other of this.#names) {
      if (other === name) continue;
      this.lose(name, other);
      this.lose(other, name);
    }
  }

  /** What one member sends to another is lost. */
  lose(from: string, to: string): void {
    const nowhere = ["lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent"];
    ip("-n", this.#spaceOf(from), "neigh", "replace", this.#hostOf(to), ...nowhere);
  }

  heal(): void {
    for (const name of this.#names) ip("-n", this.#spaceOf(name), "neigh", "flush", "dev", "eth0", "nud", "permanent");
  }

  /** Everything else goes with the namespaces. */
  close(): void {
    for (const space of this.#made) ip("netns", "del", space);
  }

  #make(name: string): string {
    const space = this.#spaceOf(name);
    ip("netns", "add", space);
    this.#made.push(space);
    return space;
  }

  #plug(hub: string, link: string): void {
    ip("-n", hub, "link", "set", "dev", link, "master", "br0");
    ip("-n", hub, "link", "set", "dev", link, "up");
  }

  #spaceOf(name: string): string {
    return `${this.#prefix}${name}`;
  }

  #hostOf(name: string): string {
    return `${this.#network}.${1 + this.#names.indexOf(name)}`;
  }
}

interface Running {
  readonly child: ChildProcess;
  said: string;
}

export class Cluster {
  readonly names: readonly string[];
  readonly ground: Ground;
  readonly #directory: string;
  readonly #running = new Map<string, Running>();
  /** To one member each, whichever leads. */
  readonly #stores = new Map<string, Store>();

  private constructor(names: readonly string[], ground: Ground, directory: string) {
    this.names = names;
    this.ground = ground;
    this.#directory = directory;
  }

  /** Runs `body` on a cluster of these members, and leaves nothing behind. */
  static async use(names: readonly string[], ground: Ground, body: (cluster: Cluster) => Promise<void>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), "holdfast-cluster-"));
    const cluster = new Cluster(names, ground, directory);
    try {
      const peers = names.map((name) => `${name}=${ground.addressOf(name)}`).join(",");
      await Promise.all(names.map((name) => cluster.start(name, ["--name", name, "--peers", peers])));
      await body(cluster);
    } finally {
      await cluster.#close();
      ground.close();
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** All addresses, for clients. */
  get addresses(): string {
    return this.names.map((name) => this.ground.addressOf(name)).join(",");
  }

  /** Resolves when the member serves. */
  async start(name: string, more: readonly string[] = []): Promise<void> {
    const [command, ...words] = this.ground.commandOf(name);
    const options = ["--data", join(this.#directory, name), "--listen", this.ground.addressOf(name), "--json", ...more];
    // Standard input stays open: a relayed member ends with it.
    const child = spawn(command, [...words, ...options], { stdio: ["pipe", "pipe", "pipe"] });
    const running: Running = { child, said: "" };
    this.#running.set(name, running);
    child.stderr.setEncoding("utf8").on("data", (text: string) => (running.said = (running.said + text).slice(-4_000)));
    const ended = once(child, "exit").then(([status]) =>
      assert.fail(`${name} ended (${String(status)}): ${running.said}`),
    );
    ended.catch(() => {});
    await Promise.race([once(child.stdout, "data"), ended]);
    child.stdout.resume();
  }

  /** SIGKILL, and it is gone when this resolves. */
  async kill(name: string): Promise<void> {
    const child = this.#running.get(name)?.child;
    this.#running.delete(name);
    await this.#stores.get(name)?.close();
    this.#stores.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    // `ip netns exec` becomes the program, so that this is the member itself.
    child.kill("SIGKILL");
    await ended;
  }

  /** The end of what it wrote to standard error. */
  said(name: string): string {
    return this.#running.get(name)?.said ?? "";
  }

  /** Talks to this member alone. */
  async at(name: string): Promise<Store> {
    const open = this.#stores.get(name);
    if (open !== undefined) return open;
    const store = await connect(this.ground.addressOf(name), { followMembers: false, timeoutMs: 3_000 });
    this.#stores.set(name, store);
    return store;
  }

  /** Who leads, as one of these members knows it. */
  async leader(among: readonly string[] = this.names): Promise<string> {
    let found: string | undefined;
    await until(`none of ${among.join(", ")} leads`, async () => {
      for (const name of among) {
        const { members } = await (await this.at(name)).members.list();
        const leading = members.find((member) => member.self && member.leader);
        if (leading !== undefined) found = leading.name;
      }
      return found !== undefined;
    });
    return found as string;
  }

  /** Resolves when every member has applied what any has applied by now. */
  async level(): Promise<void> {
    const appliedBy = async (name: string) => (await (await this.at(name)).status()).applied;
    const goal = Math.max(...(await Promise.all(this.names.map(appliedBy))));
    for (const name of this.names) await until(`${name} applies ${goal}`, async () => (await appliedBy(name)) >= goal);
  }

  async #close(): Promise<void> {
    for (const name of this.#running.keys()) await this.kill(name);
  }
}

const sharedKeyCount = 5;
/** Between two calls of a client, so that a history is long in time and not in length. */
const thinkMs = 4;

interface Client {
  readonly name: string;
  readonly store: Store;
  callCount: number;
  /** When it was last told that something was done. */
  ackedMs: number;
}

/** Clients that do one call after another, each connected to all members, until `stop`. */
export class Load {
  readonly history = new History();
  readonly #clients: readonly Client[];
  #stopping = false;
  #pauseMs = 0;
  readonly #work: Promise<unknown>;

  private constructor(clients: readonly Client[]) {
    this.#clients = clients;
    this.#work = Promise.all(clients.map((client) => this.#run(client)));
  }

  static async start(addresses: string, clientCount: number): Promise<Load> {
    const clients: Client[] = [];
    for (let number = 1; number <= clientCount; number++) {
      const store = await connect(addresses, { timeoutMs: 5_000, waitForMember: true });
      clients.push({ name: `client ${number}`, store, callCount: 0, ackedMs: performance.now() });
    }
    return new Load(clients);
  }

  /** The longest time for which a client got nothing done, since this was last asked. */
  takePauseMs(): number {
    const ms = Math.max(this.#pauseMs, ...this.#clients.map(({ ackedMs }) => performance.now() - ackedMs));
    this.#pauseMs = 0;
    return ms;
  }

  /** Resolves when every client has got some things done from now on. */
  async goesOn(callCount = 20): Promise<void> {
    const goals = this.#clients.map((client) => client.callCount + callCount);
    await until("the clients go on", () =>
      this.#clients.every((client, index) => client.callCount >= (goals[index] ?? 0)),
    );
  }

  /** Ends the load, reads everything back, and judges all of it. */
  async stopAndCheck(): Promise<{ readonly callCount: number; readonly unknownCount: number; readonly text: string }> {
    this.#stopping = true;
    await this.#work;
    const [client] = this.#clients as [Client];
    for await (const { key, version } of client.store.keys.list({ prefix: "own/" })) {
      assert.equal(version, 1, `${key} was written twice`);
    }
    const written = this.history.operations.flatMap(({ action }) => action.writes ?? []);
    for (const key of new Set(written.map((cell) => cell.key))) await this.#get(client, key);
    await Promise.all(this.#clients.map(({ store }) => store.close()));
    checkLinearizable(this.history.operations);
    const { ok, refused, failed, unknown } = this.history.counts;
    const text = `${ok} done, ${refused} refused, ${failed} failed, ${unknown} of unknown outcome`;
    return { callCount: ok, unknownCount: unknown, text };
  }

  async #run(client: Client): Promise<void> {
    for (let number = 1; !this.#stopping; number++) {
      const value = `${client.name} ${number}`;
      const key = `shared/${(number * 7 + client.name.length + Number(client.name.slice(-1))) % sharedKeyCount}`;
      const done = await this.#one(client, number, key, value);
      // Nobody else wants what failed; a client that goes on at once would only fail faster.
      await sleep(done ? thinkMs : 50);
    }
  }

  async #one(client: Client, number: number, key: string, value: string): Promise<boolean> {
    const { keys } = client.store;
    switch (number % 6) {
      case 0: {
        const own = `own/${client.name}/${number}`;
        return this.call(client, actions.put(own, value), async () => ({ revision: await keys.put(own, value) }));
      }
      case 1:
      case 2:
        return this.call(client, actions.put(key, value), async () => ({ revision: await keys.put(key, value) }));
      case 3: {
        const seen = await this.#get(client, key);
        if (seen === undefined || this.#stopping) return seen !== undefined;
        const [cell] = seen;
        const action = actions.put(key, value, { value: cell?.value });
        const ifRevision = cell?.revision ?? 0;
        return this.call(client, action, async () => ({ revision: await keys.put(key, value, { ifRevision }) }));
      }
      case 4:
        return this.call(client, actions.remove(key), async () => {
          const { revision, count } = await keys.delete(key);
          return { revision, deleted: count };
        });
      default:
        return (await this.#get(client, key)) !== undefined;
    }
  }

  async #get(client: Client, key: string): Promise<Result["seen"]> {
    let seen: Result["seen"];
    await this.call(client, actions.get(key), async () => {
      const record = await client.store.keys.get(key);
      seen = [{ key, value: record?.text(), revision: record?.revision }];
      return { seen };
    });
    return seen;
  }

  /** Makes a call and writes down what became of it; false when it failed. */
  async call(client: { name: string }, action: Action, make: () => Promise<Result>): Promise<boolean> {
    const call = this.history.begin(client.name, performance.now(), action);
    try {
      call.ok(performance.now(), await make());
    } catch (error) {
      call.threw(performance.now(), error);
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code !== "conflict") return false;
    }
    this.#acknowledged(client.name);
    return true;
  }

  #acknowledged(name: string): void {
    const client = this.#clients.find((one) => one.name === name);
    if (client === undefined) return;
    const nowMs = performance.now();
    this.#pauseMs = Math.max(this.#pauseMs, nowMs - client.ackedMs);
    client.ackedMs = nowMs;
    client.callCount++;
  }
}
