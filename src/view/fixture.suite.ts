/**
 * What the view layer's tests share: doors of one process with a wall clock that a test may move, a store's parts that
 * outlive the replicas on them, and random commands from a seed.
 */
import { HoldfastError } from "../base/index.ts";
import type { Disk, Env, Logger } from "../base/index.ts";
import { MemoryBlobStore } from "../blob/index.ts";
import type { PackBlobStore } from "../blob/index.ts";
import { NodeClock, NodeDigest, silentLogger } from "../host/index.ts";
import { MemoryEngine } from "../log/index.ts";
import type { LogEngine } from "../log/index.ts";
import { MemoryNet } from "../rpc/index.ts";
import { Prng } from "../sim/index.ts";
import { reachable } from "../tree/index.ts";
import type { TreeRoot } from "../tree/index.ts";
import { makeViews, MemoryCheckpoints, operation, Replica, SessionOperation, SessionResult } from "./index.ts";
import type { CommandOutcome, KeyOperation, Operation, ReplicaOptions, View, Views } from "./index.ts";
import { sessionViewId } from "./index.ts";

/** Long campaigns multiply their size by this. */
export const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const noDisk = new Proxy({} as Disk, {
  get() {
    throw new HoldfastError("denied", "this test keeps everything in memory");
  },
});

/** Doors of this process: real time, chance from a seed, a net in memory, no disk. `wall.offsetMs` moves the wall clock. */
export function memoryEnv(seed: string, logger: Logger = silentLogger): Env & { readonly wall: { offsetMs: number } } {
  const clock = new NodeClock();
  const wall = { offsetMs: 0 };
  return {
    clock: {
      wallMs: () => clock.wallMs() + wall.offsetMs,
      monotonicMs: () => clock.monotonicMs(),
      schedule: (delayMs, run) => clock.schedule(delayMs, run),
      defer: (run) => clock.defer(run),
    },
    random: new Prng(seed),
    disk: noDisk,
    net: new MemoryNet(clock),
    digest: new NodeDigest(),
    logger,
    wall,
  };
}

const sessionView = {
  id: sessionViewId,
  name: "session",
  operation: SessionOperation,
  result: SessionResult,
} as unknown as View;

/** One member's half of a store in memory: everything but the replica, which may come and go. */
export class Member {
  readonly env: ReturnType<typeof memoryEnv>;
  readonly log: LogEngine;
  readonly blobs: MemoryBlobStore;
  readonly checkpoints = new MemoryCheckpoints();
  readonly views: Views = makeViews();

  /** All members of one store share the log. `seed` keys the tree. */
  constructor(seed: string, log: LogEngine = new MemoryEngine()) {
    this.env = memoryEnv(seed);
    this.log = log;
    this.blobs = new MemoryBlobStore(this.env);
  }

  async open(options: ReplicaOptions = {}, treeSeed = "tree"): Promise<Replica> {
    if ((await this.checkpoints.load()).length === 0) {
      const seed = new Prng(treeSeed).bytes(16);
      await this.checkpoints.save({
        position: 0,
        revision: 0,
        timeMs: 0,
        rootHash: new Uint8Array(0),
        seed,
        count: 0,
      });
    }
    const { log, blobs, checkpoints, views } = this;
    return Replica.open(this.env, { log, blobs, checkpoints, views: views.all }, options);
  }

  key(body: NonNullable<KeyOperation["operation"]>): Operation {
    return operation(this.views.key, { operation: body });
  }

  put(key: string, value: string | Uint8Array, more: { previous?: boolean; lease?: bigint } = {}): Operation {
    const bytes = typeof value === "string" ? utf8(value) : value;
    return this.key({ case: "put", value: { key: utf8(key), value: bytes, ...more } });
  }

  remove(start: string, end?: string, previous = false): Operation {
    const span = { key: utf8(start), end: end === undefined ? undefined : utf8(end) };
    return this.key({ case: "delete", value: { span, previous } });
  }

  grant(lease: bigint, ttlMs = 60_000): Operation {
    return operation(this.views.lease, { operation: { case: "grant", value: { lease, ttlMs } } });
  }

  revoke(lease: bigint): Operation {
    return operation(this.views.lease, { operation: { case: "revoke", value: { lease } } });
  }
}

export async function openSession(replica: Replica): Promise<number> {
  const outcome = await replica.propose([operation(sessionView as View<unknown>, { close: 0 })]);
  if (!outcome.ok) throw new Error(outcome.message);
  return (outcome.results[0] as { session: number }).session;
}

/** What a command answered, as plain text to compare. */
export function plain(outcome: CommandOutcome): string {
  return JSON.stringify(outcome, (_, value: unknown) => {
    if (typeof value === "bigint") return `${value}n`;
    return value instanceof Uint8Array ? hex(value) : value;
  });
}

/** A command of one to six random operations over few keys, so that they meet; some are refused at their end. */
export function randomCommand(dice: Prng, member: Member): Operation[] {
  const operations: Operation[] = [];
  const free = dice.shuffle(Array.from({ length: 400 }, (_, index) => `k${String(index).padStart(3, "0")}`));
  const count = 1 + dice.below(6);
  for (let index = 0; index < count; index++) operations.push(randomOperation(dice, member, free));
  // Something that is refused, behind everything that it undoes.
  if (dice.chance(0.15)) operations.push(member.revoke(999_999n));
  return operations;
}

function randomOperation(dice: Prng, member: Member, free: string[]): Operation {
  // Each key once: a command changes a key at most once.
  const key = free.pop() as string;
  const kind = dice.below(20);
  if (kind === 0) return member.grant(BigInt(1 + dice.below(8)));
  if (kind === 1) return member.revoke(BigInt(1 + dice.below(8)));
  if (kind === 2) {
    const lease = dice.chance(0.5) ? BigInt(1 + dice.below(8)) : 0n;
    return member.put(key, "with a lease", { lease, previous: dice.chance(0.5) });
  }
  if (kind === 3) return member.remove(key, `${key}~`, true);
  if (kind === 4) return member.remove("k1", `k1${dice.below(10)}`, true);
  if (kind < 8) return member.remove(key);
  if (kind === 8) {
    const compare = {
      span: { key: utf8(key), end: undefined },
      result: "greater",
      target: { case: "version", value: dice.below(3) },
    } as const;
    const [a, b] = [free.pop() as string, free.pop() as string];
    const put = (name: string) => ({
      operation: { case: "put", value: { key: utf8(name), value: utf8(`of ${key}`) } } as const,
    });
    return member.key({
      case: "transaction",
      value: { compares: [compare], then: [put(a)], otherwise: [put(b)] },
    });
  }
  if (kind === 9) return member.key({ case: "sweep", value: { limit: dice.below(40) } });
  const size = dice.chance(0.1) ? 2_000 + dice.below(3_000) : dice.below(120);
  return member.put(key, dice.bytes(size), { previous: dice.chance(0.3) });
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The root of everything that is applied, as text. */
export async function rootText(replica: Replica): Promise<string> {
  const { position: at, revision, rootHash, count } = await replica.checkpoint();
  return `${at} ${revision} ${hex(rootHash)} ${count}`;
}

/** A collection of tree pages without a collector; false when it must not be now. */
export async function collectPages(replica: Replica, pages: MemoryBlobStore | PackBlobStore): Promise<boolean> {
  const start = await replica.beginCollection([pages]);
  if (start === undefined) return false;
  const marking = pages.startMarking();
  try {
    const known = (hash: Uint8Array) => marking.mark(hash) === "known";
    const marked = async (root: TreeRoot, partial: boolean) => {
      for await (const _ of reachable(pages, root, { known, partial }));
    };
    for (const { root } of start.roots) await marked(root, false);
    for (const root of start.partial) await marked(root, true);
    const [before = 0] = start.epochs;
    for await (const _ of marking.sweep({ before, signal: start.signal }));
    start.swept();
    return true;
  } catch (error) {
    if (start.signal.aborted) return false;
    throw error;
  } finally {
    marking.end();
    start.release();
  }
}
