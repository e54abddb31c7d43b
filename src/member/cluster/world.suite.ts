/** Members of a cluster on simulated machines, by name, for the tests of this folder. */
import assert from "node:assert/strict";
import { HoldfastError } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { Simulator } from "../../sim/index.ts";
import type { MemberOptions } from "./member-options.ts";
import type { MemberInfo, MemberList } from "./members.ts";
import { startMember } from "./start-member.ts";
import type { Member } from "./start-member.ts";

type Given = Partial<MemberOptions>;

/** Impatient, so that little simulated time passes; small files, so that logs are trimmed. */
const options: Given = {
  timing: { tickMs: 10, heartbeatTicks: 3, electionTicks: 20 },
  segmentSizeMin: 4_096,
  segmentSizeMax: 16_384,
  packSizeMax: 65_536,
};

export class World {
  readonly simulator: Simulator;
  readonly members = new Map<string, Member>();
  readonly #waited = new Map<string, string>();

  constructor(seed: string | number) {
    this.simulator = new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.simulator.run(work, { limitMs: 60_000 });
  }

  /** Begins a member on the machine of its name; after a crash, on the next incarnation. */
  start(name: string, given: Given = {}): Promise<Member> {
    const machine = this.simulator.machine(name);
    const env = machine.alive ? machine.env : machine.restart();
    const onWaiting = (names: readonly string[], reason: string) => {
      this.#waited.set(name, `${names.join()}: ${reason}`);
    };
    const starting = startMember(env, { listen: [`${name}:1`], onWaiting, ...options, ...given });
    return starting.then((member) => {
      this.members.set(name, member);
      return member;
    });
  }

  /** Why a member waits, as it said last. */
  waited(name: string): string | undefined {
    return this.#waited.get(name);
  }

  async found(names: readonly string[], given: (name: string) => Given = () => ({})): Promise<void> {
    const peers = Object.fromEntries(names.map((name) => [name, `${name}:1`]));
    await this.run(Promise.all(names.map((name) => this.start(name, { name, peers, ...given(name) }))));
    await this.settled();
  }

  member(name: string): Member {
    const member = this.members.get(name);
    assert.ok(member !== undefined, `${name} has not been started`);
    return member;
  }

  crash(name: string): void {
    this.simulator.machine(name).crash();
    this.members.delete(name);
  }

  /** The machine of this name gets an empty disk. */
  async wipe(name: string): Promise<void> {
    const machine = this.simulator.machine(name);
    if (machine.alive) this.crash(name);
    const { disk } = machine.restart();
    const empty = async (directory: string): Promise<void> => {
      for (const entry of await disk.list(directory)) {
        const path = directory === "" ? entry : `${directory}/${entry}`;
        await disk.remove(path).catch(() => empty(path));
      }
    };
    await this.run(empty(""));
  }

  list(name: string): Promise<MemberList> {
    return this.run(this.member(name).store.members.list());
  }

  async info(from: string, name: string): Promise<MemberInfo | undefined> {
    const { members } = await this.list(from);
    return members.find((member) => member.name === name);
  }

  /** Lets time pass until every member that is up knows a leader that is up, and the same. */
  async settled(): Promise<string> {
    let leader = "";
    await this.until(async () => {
      const leaders = new Set<string>();
      for (const { store } of this.members.values()) leaders.add((await store.status()).leader);
      [leader = ""] = [...leaders];
      return leaders.size === 1 && this.members.has(leader);
    }, "no leader");
    return leader;
  }

  async until(holds: () => Promise<boolean>, what: string): Promise<void> {
    for (let turn = 0; turn < 400; turn++) {
      if (await this.run(holds())) return;
      await this.simulator.advance(50);
    }
    assert.fail(`${what}, after ${this.simulator.nowMs} ms`);
  }

  async put(name: string, key: string, value: string): Promise<void> {
    await this.run(this.member(name).store.keys.put(key, value));
  }

  async get(name: string, key: string): Promise<string | undefined> {
    const record = await this.run(this.member(name).store.keys.get(key));
    return record?.text();
  }

  async close(): Promise<void> {
    await this.run(Promise.all([...this.members.values()].map((member) => member.close())));
    this.members.clear();
  }
}

export async function rejects(work: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof HoldfastError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}
