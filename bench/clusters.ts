/**
 * Three members on this machine, of Holdfast or of etcd, for the bench: started together, each a process of its own that
 * can be killed and started again.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../src/index.ts";
import type { MemberInfo } from "../src/index.ts";

export interface Cluster {
  /** Where clients connect: host:port, separated by commas. */
  readonly endpoints: string;
  /** Kills the member that leads. */
  killLeader(): Promise<void>;
  /** Starts what was killed and waits until it has the log that the others have. */
  restore(): Promise<void>;
  stop(): Promise<void>;
}

/** What differs between the two. */
interface Kind {
  readonly address: (index: number) => string;
  readonly start: (index: number) => ChildProcess;
  /** Index of the leader; undefined if there is none. */
  readonly leader: () => Promise<number | undefined>;
  /** The member takes part and is at most a few entries behind. */
  readonly isBack: (index: number, leader: number) => Promise<boolean>;
}

const memberCount = 3;
const waitMs = 60_000;

/** Asks until the answer is something; a failure is as good as none. */
async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const startedMs = performance.now();
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined) return answer;
    if (performance.now() - startedMs > waitMs) throw new Error(`${what}: not within a minute`);
    await sleep(20);
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    if (hasEnded(child)) resolve();
    else child.once("exit", () => resolve());
  });
  child.kill(signal);
  await ended;
}

/** What it said last is shown only if it fails: a member that is killed and started again says a lot. */
function showFailure(child: ChildProcess): ChildProcess {
  let tail = "";
  child.stderr?.on("data", (text: Buffer) => (tail = `${tail}${text.toString()}`.slice(-4_000)));
  child.once("exit", (code) => {
    if (code !== 0 && code !== null) console.error(tail);
  });
  return child;
}

async function startCluster(name: string, kind: Kind): Promise<Cluster> {
  const members = Array.from({ length: memberCount }, (_, index) => kind.start(index));
  const restore = async () => {
    for (const [index, member] of members.entries()) {
      if (hasEnded(member)) members[index] = kind.start(index);
    }
    await until(`all members of ${name} are back`, async () => {
      const leader = await kind.leader();
      if (leader === undefined) return undefined;
      const back = await Promise.all(members.map((_, index) => kind.isBack(index, leader)));
      return back.every(Boolean) ? true : undefined;
    });
  };
  const cluster: Cluster = {
    endpoints: members.map((_, index) => kind.address(index)).join(","),
    restore,
    async killLeader() {
      const leader = await until(`a leader of ${name}`, kind.leader);
      await end(members[leader] as ChildProcess, "SIGKILL");
    },
    async stop() {
      await Promise.all(members.map((member) => end(member, "SIGTERM")));
    },
  };
  try {
    await restore();
  } catch (error) {
    await Promise.all(members.map((member) => end(member, "SIGKILL")));
    throw error;
  }
  return cluster;
}

const holdfastNames = ["a", "b", "c"];
const holdfastAddress = (index: number) => `127.0.0.1:${17_421 + index}`;

/** The members as those at the addresses know them. */
async function listMembers(addresses: string, followMembers: boolean): Promise<readonly MemberInfo[]> {
  const store = await connect(addresses, { timeoutMs: 2_000, followMembers });
  try {
    return (await store.members.list()).members;
  } finally {
    await store.close();
  }
}

export function startHoldfastCluster(directory: string): Promise<Cluster> {
  const addresses = holdfastNames.map((_, index) => holdfastAddress(index));
  const peers = holdfastNames.map((name, index) => `${name}=${addresses[index]}`).join();
  const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
  return startCluster("Holdfast", {
    address: holdfastAddress,
    start(index) {
      const name = holdfastNames[index] ?? "";
      const args = ["--data", join(directory, `holdfast-${name}`), "--name", name, "--peers", peers, "--history", "0"];
      return showFailure(spawn(process.execPath, [main, "start", ...args], { stdio: ["ignore", "ignore", "pipe"] }));
    },
    async leader() {
      const found = (await listMembers(addresses.join(), true)).find(({ leader }) => leader);
      return found === undefined ? undefined : holdfastNames.indexOf(found.name);
    },
    async isBack(index, leader) {
      if (index === leader) return true;
      const members = await listMembers(holdfastAddress(leader), false);
      const found = members.find(({ name }) => name === holdfastNames[index]);
      return found?.active === true && found.lag >= 0 && found.lag < 100;
    },
  });
}

interface EtcdStatus {
  readonly header: { readonly member_id: string };
  readonly leader: string;
  readonly raftIndex: string;
}

const etcdAddress = (index: number) => `127.0.0.1:${12_391 + 2 * index}`;
const etcdPeer = (index: number) => `http://127.0.0.1:${12_392 + 2 * index}`;

async function etcdStatus(index: number): Promise<EtcdStatus> {
  const url = `http://${etcdAddress(index)}/v3/maintenance/status`;
  const answer = await fetch(url, { method: "POST", body: "{}", signal: AbortSignal.timeout(2_000) });
  return (await answer.json()) as EtcdStatus;
}

export function startEtcdCluster(directory: string): Promise<Cluster> {
  const indexes = Array.from({ length: memberCount }, (_, index) => index);
  const peers = indexes.map((index) => `m${index}=${etcdPeer(index)}`).join();
  return startCluster("etcd", {
    address: etcdAddress,
    start(index) {
      const url = `http://${etcdAddress(index)}`;
      const args = [
        ["--name", `m${index}`, "--data-dir", join(directory, `etcd-${index}`), "--log-level", "error"],
        ["--quota-backend-bytes", "8000000000", "--listen-client-urls", url, "--advertise-client-urls", url],
        ["--listen-peer-urls", etcdPeer(index), "--initial-advertise-peer-urls", etcdPeer(index)],
        ["--initial-cluster", peers],
      ];
      return showFailure(spawn("etcd", args.flat(), { stdio: ["ignore", "ignore", "pipe"] }));
    },
    async leader() {
      const all = await Promise.allSettled(indexes.map(etcdStatus));
      const found = all.findIndex((one) => {
        return one.status === "fulfilled" && one.value.header.member_id === one.value.leader;
      });
      return found < 0 ? undefined : found;
    },
    async isBack(index, leader) {
      const [own, first] = await Promise.all([etcdStatus(index), etcdStatus(leader)]);
      return own.leader === first.leader && Number(own.raftIndex) > Number(first.raftIndex) - 100;
    },
  });
}
