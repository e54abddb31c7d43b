/**
 * What clients do to a simulated cluster, each on a machine of its own through the production client: puts, conditional
 * puts, deletions, reads, lists, transactions between accounts, leases, watches and compactions. It goes on whatever
 * happens, and writes down everything (`notes.ts`).
 *
 * | keys      | used by                                                                                         |
 * |-----------|-------------------------------------------------------------------------------------------------|
 * | `a/N`     | calls of one key each                                                                           |
 * | `b/N`     | commits of several keys, lists, and calls of one key                                            |
 * | `acct/N`  | transactions that move money; `moved/N` says what was moved                                     |
 * | `lease/…` | keys that go with a lease                                                                       |
 * | files     | puts, deletions and reads of files in chunks, and snapshots; what a file holds says the file itself |
 * | `e/N`     | calls of a program in the member's own process                                                  |
 *
 * 1. A client does one thing at a time in each of its loops, and thinks in between.
 */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { connectStore } from "../../member/index.ts";
import type { KeyRecord, RemoteStore } from "../../member/index.ts";
import { bucketName, fileBytes, isWhole } from "./written-files.ts";
import { actions } from "../check/index.ts";
import type { Action, Call, Cell, Result } from "../check/index.ts";
import type { Prng } from "../prng.ts";
import { padded, unpadded } from "./notes.ts";
import type { Cluster, Seat } from "./cluster.ts";
import type { Notes } from "./notes.ts";

export interface WorkloadOptions {
  /** Mean time that a loop thinks between two calls. Default 100. */
  readonly thinkMs?: number;
  /** How long a call may take. Default 5,000. */
  readonly timeoutMs?: number;
  /** Keys of `a/` and of `b/`. Default 6 and 3. */
  readonly singleCount?: number;
  readonly groupCount?: number;
  /** Which loops each client has; default all. */
  readonly loops?: readonly LoopName[];
}

type LoopName = "single" | "group" | "bank" | "lease" | "watch" | "compact" | "files";
const allLoops: readonly LoopName[] = ["single", "group", "bank", "lease", "watch", "compact", "files"];

export const accountCount = 5;
export const balanceTotal = 500;
/** How long the insider waits for a call that may have died. */
const patienceMs = 2_000;
/** Past revisions that a compaction leaves, at least. */
const historyKept = 60;

export class Client {
  readonly name: string;
  readonly notes: Notes;
  readonly #env: Env;
  readonly #addresses: readonly string[];
  readonly #random: Prng;
  readonly #options: WorkloadOptions;
  readonly #stopWatching = new AbortController();
  #stopping = false;
  #store: RemoteStore | undefined;
  #watched: Promise<void> = Promise.resolve();

  constructor(
    name: string,
    env: Env,
    addresses: readonly string[],
    random: Prng,
    notes: Notes,
    options: WorkloadOptions,
  ) {
    this.name = name;
    this.notes = notes;
    this.#env = env;
    this.#addresses = addresses;
    this.#random = random;
    this.#options = options;
  }

  /** Its connection; undefined until a member has answered. */
  get store(): RemoteStore | undefined {
    return this.#store;
  }

  /** Connects, and goes on until `stop`. Resolves when its calls have ended; watches go on. */
  async run(): Promise<void> {
    const store = await this.#connect();
    if (store === undefined) return;
    this.#store = store;
    const loops = this.#options.loops ?? allLoops;
    if (loops.includes("bank")) await this.#openAccounts(store);
    if (loops.includes("watch")) this.#watched = this.#watch(store, this.#random.pick(["", "", "a/", "b/"]));
    const bodies: Partial<Record<LoopName, (random: Prng) => Promise<void>>> = {
      single: (random) => this.#single(store, random),
      group: (random) => this.#group(store, random),
      bank: (random) => this.#transfer(store, random),
      lease: (random) => this.#lease(store, random),
      compact: (random) => this.#compact(store, random),
      files: (random) => this.#file(store, random),
    };
    await Promise.all(
      loops.map(async (loop) => {
        const body = bodies[loop];
        if (body !== undefined) await this.#loop(this.#random.fork(loop), body);
      }),
    );
  }

  /** No more calls are begun. */
  stop(): void {
    this.#stopping = true;
  }

  /** Ends watches and the connection. */
  async close(): Promise<void> {
    this.stop();
    this.#stopWatching.abort();
    await this.#watched;
    await this.#store?.close();
  }

  async #connect(): Promise<RemoteStore | undefined> {
    const { timeoutMs = 5_000 } = this.#options;
    while (!this.#stopping) {
      try {
        return await connectStore(this.#env, this.#addresses.join(), { timeoutMs, waitForMember: true });
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        await sleep(this.#env.clock, 200);
      }
    }
    return undefined;
  }

  async #loop(random: Prng, body: (random: Prng) => Promise<void>): Promise<void> {
    const { thinkMs = 100 } = this.#options;
    while (!this.#stopping) {
      await sleep(this.#env.clock, 2 * thinkMs * random.float());
      if (!this.#stopping) await body(random);
    }
  }

  /** Makes a call and writes down what became of it; undefined when it failed, which is no news. */
  async #call<T>(action: Action, make: (call: Call) => Promise<readonly [Result, T]>): Promise<T | undefined> {
    const { history } = this.notes;
    const call = history.begin(this.name, this.notes.nowMs, action);
    try {
      const [result, value] = await make(call);
      call.ok(this.notes.nowMs, result);
      return value;
    } catch (error) {
      call.threw(this.notes.nowMs, error);
      if (!(error instanceof HoldfastError)) throw error;
      return undefined;
    }
  }

  /** One call on one key; some values are larger than what a page holds within itself. */
  async #one(store: RemoteStore, random: Prng, key: string): Promise<void> {
    const dice = random.float();
    const value = this.notes.value(this.name);
    const text = padded(value, random.chance(0.05) ? 3_000 : 0);
    if (dice < 0.35) {
      await this.#get(store, key);
    } else if (dice < 0.45) {
      await this.#getHere(store, key);
    } else if (dice < 0.7) {
      await this.#call(actions.put(key, value), async () => [{ revision: await store.keys.put(key, text) }, 0]);
    } else if (dice < 0.9) {
      // What it has seen may have changed meanwhile.
      const seen = random.chance(0.3) ? await this.#getHere(store, key) : await this.#get(store, key);
      if (seen === undefined || this.#stopping) return;
      const ifRevision = seen.record?.revision ?? 0;
      await this.#call(actions.put(key, value, { value: valueOf(seen.record) }), async () => [
        { revision: await store.keys.put(key, text, { ifRevision }) },
        0,
      ]);
    } else {
      await this.#call(actions.remove(key), async () => {
        const { revision, count } = await store.keys.delete(key);
        return [{ revision, deleted: count }, 0];
      });
    }
  }

  #get(store: RemoteStore, key: string): Promise<Seen | undefined> {
    return this.#call<Seen>(actions.get(key), async () => {
      const record = await store.keys.get(key);
      return [{ seen: [record === undefined ? { key, value: undefined } : toCell(record)] }, { record }];
    });
  }

  /** What the member has: any state up to now. */
  async #getHere(store: RemoteStore, key: string): Promise<Seen | undefined> {
    try {
      const record = await store.keys.get(key, { consistency: "local" });
      const seen = record === undefined ? undefined : { value: unpadded(record.text()), revision: record.revision };
      this.notes.localReads.push({ client: this.name, endMs: this.notes.nowMs, key, record: seen });
      return { record };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return undefined;
    }
  }

  async #single(store: RemoteStore, random: Prng): Promise<void> {
    await this.#one(store, random, `a/${random.below(this.#options.singleCount ?? 6)}`);
  }

  async #group(store: RemoteStore, random: Prng): Promise<void> {
    const { groupCount = 3 } = this.#options;
    const keys = Array.from({ length: groupCount }, (_, index) => `b/${index}`);
    const dice = random.float();
    if (dice < 0.35) {
      await this.#list(store, "b/");
    } else if (dice < 0.7) {
      const writes = random
        .shuffle(keys)
        .slice(0, 1 + random.below(groupCount))
        .map((key) => ({ key, value: random.chance(0.15) ? undefined : this.notes.value(this.name) }));
      await this.#commit(store, random, writes);
    } else {
      await this.#one(store, random, random.pick(keys));
    }
  }

  #list(store: RemoteStore, prefix: string): Promise<number | undefined> {
    // Everything that begins with "b/" lies below "b0".
    const end = `${prefix.slice(0, -1)}0`;
    return this.#call(actions.list({ start: prefix, end }), async () => {
      const seen: Cell[] = [];
      for await (const record of store.keys.list({ prefix })) seen.push(toCell(record));
      return [{ seen }, 0];
    });
  }

  async #commit(store: RemoteStore, random: Prng, writes: readonly Cell[]): Promise<void> {
    const conditions: { key: string; revision: number }[] = [];
    const guards: Cell[] = [];
    if (random.chance(0.5)) {
      const { key } = random.pick(writes);
      const seen = await this.#getHere(store, key);
      if (seen === undefined || this.#stopping) return;
      conditions.push({ key, revision: seen.record?.revision ?? 0 });
      guards.push({ key, value: valueOf(seen.record) });
    }
    const then = writes.map(({ key, value }) => (value === undefined ? { delete: { key } } : { put: key, value }));
    const call = this.notes.history.begin(this.name, this.notes.nowMs, {
      text: `commit ${cellsText(writes)}${guards.length === 0 ? "" : ` if ${cellsText(guards)}`}`,
      writes,
      guards,
    });
    try {
      const { revision, succeeded, steps } = await store.keys.commit({ if: conditions, then });
      // Where there was nothing to delete, nothing may have changed.
      const changed = steps.some((step) => step.type === "put" || (step.type === "delete" && step.count > 0));
      if (!succeeded) call.refused(this.notes.nowMs);
      else call.ok(this.notes.nowMs, changed ? { revision } : {});
    } catch (error) {
      call.threw(this.notes.nowMs, error);
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  async #openAccounts(store: RemoteStore): Promise<void> {
    const cells = Array.from({ length: accountCount }, (_, index) => ({
      key: `acct/${index}`,
      value: this.#balance(balanceTotal / accountCount),
    }));
    const then = cells.map(({ key, value }) => ({ put: key, value }));
    const guards = cells.slice(0, 1).map(({ key }) => ({ key, value: undefined }));
    const action = { text: "open the accounts", guards, writes: cells };
    const call = this.notes.history.begin(this.name, this.notes.nowMs, action);
    try {
      const { revision, succeeded } = await store.keys.commit({ if: [{ key: "acct/0", version: 0 }], then });
      if (succeeded) call.ok(this.notes.nowMs, { revision });
      else call.refused(this.notes.nowMs);
    } catch (error) {
      call.threw(this.notes.nowMs, error);
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  /** A balance that says who wrote it. */
  #balance(amount: number): string {
    return `${amount} ${this.notes.value(this.name)}`;
  }

  /** Moves something between two accounts, and says so in a key of its own. */
  async #transfer(store: RemoteStore, random: Prng): Promise<void> {
    if (random.chance(0.3)) {
      await this.#list(store, "acct/");
      return;
    }
    const from = random.below(accountCount);
    const to = (from + 1 + random.below(accountCount - 1)) % accountCount;
    const [fromKey, toKey, note] = [`acct/${from}`, `acct/${to}`, `moved/${random.below(20)}`];
    const amount = 1 + random.below(10);
    const value = this.notes.value(this.name);
    await this.#call({ text: `move ${amount} from ${fromKey} to ${toKey}` }, async (call) => {
      const outcome = await store.transaction(async (tx) => {
        const [source, sink] = [await tx.keys.get(fromKey), await tx.keys.get(toKey)];
        const seen = [
          source === undefined ? absent(fromKey) : toCell(source),
          sink === undefined ? absent(toKey) : toCell(sink),
        ];
        if (source === undefined || sink === undefined) {
          call.becomes({ text: "find no accounts" });
          return false;
        }
        const writes = [
          { key: fromKey, value: this.#balance(balanceOf(source.text()) - amount) },
          { key: toKey, value: this.#balance(balanceOf(sink.text()) + amount) },
          { key: note, value },
        ];
        call.becomes(actions.transaction(seen, writes));
        for (const cell of writes) tx.keys.put(cell.key, cell.value);
        return true;
      });
      return [outcome.value ? { revision: outcome.revision } : {}, 0];
    });
  }

  /** A lease from its granting to its end: kept alive for a while, then revoked or left alone. */
  async #lease(store: RemoteStore, random: Prng): Promise<void> {
    const { clock } = this.#env;
    const ttlMs = 500 + random.below(3_000);
    const id = BigInt(1 + random.below(2 ** 50));
    const beganMs = this.notes.nowMs;
    try {
      await store.leases.grant({ ttlMs, id });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return;
    }
    const [lease, key, value] = [String(id), `lease/${id}`, this.notes.value(this.name)];
    const { leases, leasedKeys } = this.notes;
    leases.granted(lease, ttlMs, beganMs);
    await this.#call(actions.put(key, value), async () => {
      const revision = await store.keys.put(key, value, { lease: id });
      leases.attached(key, lease, this.notes.nowMs);
      leasedKeys.push(key);
      return [{ revision }, 0];
    });
    for (let count = random.below(6); count > 0 && !this.#stopping; count--) {
      await sleep(clock, (ttlMs / 2) * random.float());
      const againMs = this.notes.nowMs;
      try {
        await store.leases.keepAlive(id);
        leases.keptAlive(lease, againMs);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
      }
    }
    if (!random.chance(0.3)) return sleep(clock, 2 * ttlMs * random.float());
    leases.revoking(lease, this.notes.nowMs);
    await store.leases.revoke(id).catch(expected);
  }

  /** Refusals and failures are no news; a file that is read and not whole is. */
  async #file(store: RemoteStore, random: Prng): Promise<void> {
    const path = `p${random.below(6)}`;
    const dice = random.float();
    try {
      if ((await store.files(bucketName).info()) === undefined) {
        const sizes = { chunkSizeMin: 4_096, chunkSizeAverage: 4_096, chunkSizeMax: 8_192 };
        await store.buckets.create(bucketName, { ...sizes, keepMs: 0, keepCountMax: 0 });
      }
      if (dice < 0.5) {
        const size = random.chance(0.3) ? 10 + random.below(900) : 2_000 + random.below(20_000);
        const bytes = fileBytes(random.below(4), size);
        await store.files(bucketName).put(path, bytes);
      } else if (dice < 0.6) await store.files(bucketName).delete(path);
      else if (dice < 0.67) await store.snapshot(`s${random.below(3)}`);
      else if (dice < 0.74) await store.snapshots.delete(`s${random.below(3)}`);
      else {
        const bytes = await (await store.files(bucketName).get(path))?.bytes();
        if (bytes !== undefined && !isWhole(bytes)) throw new Error(`${this.name} read a part of file ${path}`);
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  async #compact(store: RemoteStore, random: Prng): Promise<void> {
    await sleep(this.#env.clock, 3_000 * random.float());
    try {
      const revision = await store.keys.revision();
      if (revision > historyKept) await store.keys.compact(revision - historyKept - random.below(historyKept));
    } catch (error) {
      // Another client may have compacted further; a member may be away.
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  /** Watches from the beginning on; where events have been compacted, or a member cannot read them, begins anew. */
  async #watch(store: RemoteStore, prefix: string): Promise<void> {
    const { signal } = this.#stopWatching;
    for (let from = 1; !signal.aborted;) {
      const notes = this.notes.watch(this.name, prefix, from);
      try {
        for await (const step of store.keys.watch({ prefix, from, progressMs: 1_000, signal })) {
          if (step.type === "progress") notes.checker.progress(step.revision);
          else notes.checker.event({ revision: step.revision, key: step.key, value: valueOf(step.record) });
        }
        return;
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        const { code } = error;
        const passing = code === "trimmed" || code === "corrupt";
        notes.ended = passing || code === "cancelled" ? code : { error };
        if (!passing) return;
      }
      from = (await this.#revision(store)) + 1;
    }
  }

  async #revision(store: RemoteStore): Promise<number> {
    for (;;) {
      try {
        return await store.keys.revision();
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        await sleep(this.#env.clock, 500);
      }
    }
  }
}

/** What an account holds. */
export function balanceOf(value: string): number {
  return Number(value.slice(0, value.indexOf(" ")));
}

/**
 * A program in which a member is embedded: it calls the store in its own process, without a session, so that nothing but
 * the log itself keeps a command from taking effect twice. It dies with its member, in the middle of a call.
 */
export class Insider {
  readonly #cluster: Cluster;
  readonly #env: Pick<Env, "clock">;
  readonly #random: Prng;
  readonly #notes: Notes;
  #stopping = false;

  /** `env` is of a machine that does not die. */
  constructor(cluster: Cluster, env: Pick<Env, "clock">, random: Prng, notes: Notes) {
    this.#cluster = cluster;
    this.#env = env;
    this.#random = random;
    this.#notes = notes;
  }

  async run(thinkMs: number): Promise<void> {
    while (!this.#stopping) {
      await sleep(this.#env.clock, 2 * thinkMs * this.#random.float());
      const running = this.#cluster.running();
      if (running.length === 0) continue;
      // Of a call that dies with its member nobody ever hears.
      await Promise.race([this.#call(this.#random.pick(running)), sleep(this.#env.clock, patienceMs)]);
    }
  }

  stop(): void {
    this.#stopping = true;
  }

  async #call({ member, machine }: Seat): Promise<void> {
    if (member === undefined) return;
    const { history } = this.#notes;
    const client = `in ${machine.name}`;
    const key = `e/${this.#random.below(4)}`;
    const value = this.#notes.value("in");
    const reads = this.#random.chance(0.3);
    const call = history.begin(client, this.#notes.nowMs, reads ? actions.get(key) : actions.put(key, value));
    try {
      if (reads) {
        const record = await member.store.keys.get(key);
        call.ok(this.#notes.nowMs, { seen: [record === undefined ? absent(key) : toCell(record)] });
      } else {
        call.ok(this.#notes.nowMs, { revision: await member.store.keys.put(key, value) });
      }
    } catch (error) {
      call.threw(this.#notes.nowMs, error);
      expected(error);
    }
  }
}

function cellsText(cells: readonly Cell[]): string {
  return cells.map(({ key, value }) => `${key} = ${value ?? "nothing"}`).join(", ");
}

/** What a read found: that there is nothing is an answer too. */
interface Seen {
  readonly record: KeyRecord | undefined;
}

function toCell(record: KeyRecord): Cell {
  return { key: record.key, value: valueOf(record), revision: record.revision };
}

function valueOf(record: KeyRecord | undefined): string | undefined {
  return record === undefined ? undefined : unpadded(record.text());
}

function absent(key: string): Cell {
  return { key, value: undefined };
}

/** Whatever a store says may go wrong while its members come and go. */
function expected(error: unknown): void {
  if (!(error instanceof HoldfastError)) throw error;
}
