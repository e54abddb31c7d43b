/**
 * A seeded workload on one store: puts, deletions, deletions of ranges, transactions, commits, leases, compactions,
 * commands in a session, files, snapshots, collections and checkpoints, several at a time. It notes, outside the machine,
 * what the store has said. What a file holds says its first line, so that whoever reads it can tell whether it is whole.
 */
import { operation, SessionOperation, SessionResult, sessionViewId } from "../view/index.ts";
import type { KeyRecord } from "../view/index.ts";
import { equalBytes, HoldfastError, revision as toRevision, sleep } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { Prng } from "../sim/index.ts";
import type { LocalStore } from "./index.ts";
import { bucketName, fileBytes } from "../sim/cluster/written-files.ts";

/** Something the store has acknowledged: all that this revision changed, as text; undefined for a deletion. */
export interface Acknowledgement {
  readonly revision: number;
  readonly changes: ReadonlyMap<string, string | undefined>;
}

export interface SessionNotes {
  readonly session: number;
  sequence: number;
  /** The last command of the session: its sequence, its key and value, and its revision once it was answered. */
  last: { readonly sequence: number; readonly value: string; revision: number | undefined } | undefined;
}

/** What the store's user knows, whatever happens to its machine. */
export class StoreNotes {
  /** Every record of the log that was seen, from position 0 on. */
  readonly log: Uint8Array[] = [];
  readonly acknowledged: Acknowledgement[] = [];
  /** Puts of files, or their deletion. */
  readonly files: { readonly revision: number; readonly path: string; readonly put: boolean }[] = [];
  session: SessionNotes | undefined;
  /** The seed of the store's tree, once it was opened. */
  treeSeed: Uint8Array | undefined;
  /** How far the newest checkpoint reaches that the store has reported. */
  checkpointPosition = 0;
  #nextId = 1;

  /** A text that no other value has. */
  nextId(): string {
    return String(this.#nextId++);
  }

  /** Takes over records that were read at `position`; those known already must be the same. */
  addRecords(position: number, records: readonly Uint8Array[]): void {
    for (let index = 0; index < records.length; index++) {
      const at = position + index;
      const record = records[index] as Uint8Array;
      const known = this.log[at];
      if (known !== undefined) {
        if (!equalBytes(known, record)) throw new Error(`the record at position ${at} is not what it was`);
      } else if (at === this.log.length) {
        this.log.push(record.slice());
      } else {
        throw new Error(`the log goes on at position ${at}; what was read ends at ${this.log.length}`);
      }
    }
  }
}

const accountCount = 6;
const balanceTotal = 600;

export class StoreWorkload {
  readonly #env: Env;
  readonly #store: LocalStore;
  readonly #random: Prng;
  readonly #notes: StoreNotes;
  readonly #leases: bigint[] = [];

  constructor(env: Env, store: LocalStore, random: Prng, notes: StoreNotes) {
    this.#env = env;
    this.#store = store;
    this.#random = random;
    this.#notes = notes;
    notes.treeSeed = store.replica.lastCheckpoint.seed;
  }

  /** Notes the log's records as they become durable, until the store closes. */
  async follow(): Promise<void> {
    const from = this.#notes.log.length;
    for await (const { position, records } of this.#store.readLog({ from, follow: true })) {
      this.#notes.addRecords(position, records);
    }
  }

  async run(roundCount: number): Promise<void> {
    await this.#openBucket();
    await this.#openAccounts();
    for (let round = 0; round < roundCount; round++) await this.round();
  }

  /** Some operations at the same time. */
  async round(): Promise<void> {
    const operations: Promise<void>[] = [];
    for (let count = 1 + this.#random.below(5); count > 0; count--) operations.push(this.#any());
    await Promise.all(operations);
    if (this.#random.chance(0.15)) await sleep(this.#env.clock, 200 * this.#random.float());
  }

  async #any(): Promise<void> {
    const kinds: readonly (readonly [weight: number, run: () => Promise<void>])[] = [
      [30, () => this.#put()],
      [8, () => this.#putIf()],
      [8, () => this.#delete()],
      [4, () => this.#deleteRange()],
      [14, () => this.#transfer()],
      [10, () => this.#commit()],
      [7, () => this.#putInSession()],
      [8, () => this.#lease()],
      [3, () => this.#compact()],
      [6, () => this.checkpoint()],
      [8, () => this.#putFile()],
      [3, () => this.#deleteFile()],
      [3, () => this.#createSnapshot()],
      [3, () => this.#deleteSnapshot()],
      [3, () => this.collect()],
    ];
    let left = this.#random.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, run] of kinds) {
      if (left < weight) return run().catch(expected);
      left -= weight;
    }
  }

  #acknowledge(revision: number, changes: Iterable<readonly [string, string | undefined]>): void {
    this.#notes.acknowledged.push({ revision, changes: new Map(changes) });
  }

  #key(): string {
    return `k/${String(this.#random.below(40)).padStart(2, "0")}`;
  }

  /** Small, or now and then larger than what a page holds. */
  #value(): string {
    const size = this.#random.chance(0.12) ? 2_000 + this.#random.below(3_000) : this.#random.below(120);
    return `${this.#notes.nextId()} ${"x".repeat(size)}`;
  }

  async #put(): Promise<void> {
    const [key, value] = [this.#key(), this.#value()];
    this.#acknowledge(await this.#store.keys.put(key, value), [[key, value]]);
  }

  async #putIf(): Promise<void> {
    const [key, value] = [this.#key(), this.#value()];
    const before = this.#random.chance(0.3) ? undefined : await this.#store.keys.get(key);
    const condition = before === undefined ? { ifAbsent: true } : { ifRevision: before.revision };
    this.#acknowledge(await this.#store.keys.put(key, value, condition), [[key, value]]);
  }

  async #delete(): Promise<void> {
    const key = this.#key();
    const { revision, count } = await this.#store.keys.delete(key);
    if (count > 0) this.#acknowledge(revision, [[key, undefined]]);
  }

  async #deleteRange(): Promise<void> {
    const which = this.#random.chance(0.5)
      ? { prefix: `k/${this.#random.below(4)}` }
      : { start: this.#key(), end: this.#key() };
    const { revision, previous } = await this.#store.keys.delete(which, { previous: true });
    if (previous.length > 0) {
      this.#acknowledge(
        revision,
        previous.map(({ key }) => [key, undefined]),
      );
    }
  }

  async #openBucket(): Promise<void> {
    const sizes = { chunkSizeMin: 4_096, chunkSizeAverage: 4_096, chunkSizeMax: 8_192 };
    await this.#store.buckets.create(bucketName, { ...sizes, keepMs: 0, keepCountMax: 0 }).catch((error: unknown) => {
      if (!(error instanceof HoldfastError) || error.code !== "exists") throw error;
    });
  }

  async #openAccounts(): Promise<void> {
    const value = String(balanceTotal / accountCount);
    const then = Array.from({ length: accountCount }, (_, index) => ({ put: `account/${index}`, value }));
    const first = await this.#store.keys.get("account/0");
    if (first !== undefined) return;
    const { revision } = await this.#store.keys.commit({ then });
    this.#acknowledge(
      revision,
      then.map(({ put }) => [put, value]),
    );
  }

  /** Moves something between two accounts and writes down that it did. */
  async #transfer(): Promise<void> {
    const from = this.#random.below(accountCount);
    const to = (from + 1 + this.#random.below(accountCount - 1)) % accountCount;
    const [fromKey, toKey, note] = [`account/${from}`, `account/${to}`, `transfer/${this.#notes.nextId()}`];
    const amount = 1 + this.#random.below(20);
    const { revision, value } = await this.#store.transaction(async (tx) => {
      const fromBalance = Number((await tx.keys.get(fromKey))?.text()) - amount;
      const toBalance = Number((await tx.keys.get(toKey))?.text()) + amount;
      const written = [
        [fromKey, String(fromBalance)],
        [toKey, String(toBalance)],
        [note, String(amount)],
      ] as const;
      for (const [key, text] of written) tx.keys.put(key, text);
      return written;
    });
    this.#acknowledge(revision, value);
  }

  async #commit(): Promise<void> {
    const keys = this.#random.shuffle(Array.from({ length: 40 }, (_, index) => `k/${String(index).padStart(2, "0")}`));
    const [asked, ...written] = keys.slice(0, 5) as [string, ...string[]];
    const then = written.map((put) => ({ put, value: this.#value() }));
    const otherwise = then.slice(0, 2);
    const condition = this.#random.chance(0.5)
      ? ({ key: asked, version: 0, is: "greater" } as const)
      : ({ prefix: "k/1", revision: Math.max(0, this.#store.replica.revision - 20), is: "greater" } as const);
    const { revision, succeeded } = await this.#store.keys.commit({ if: [condition], then, otherwise });
    this.#acknowledge(
      revision,
      (succeeded ? then : otherwise).map(({ put, value }) => [put, value]),
    );
  }

  /** A command in a session, one at a time, sometimes sent twice: it takes effect once. */
  async #putInSession(): Promise<void> {
    const { replica, views } = this.#store;
    if (this.#notes.session === undefined) {
      const view = { id: sessionViewId, result: SessionResult } as never;
      const outcome = await replica.propose([{ view, encoded: SessionOperation.encode({ close: 0 }) }]);
      if (!outcome.ok) throw new HoldfastError(outcome.code, outcome.message);
      const [{ session }] = outcome.results as [{ session: number }];
      // Another may have opened one meanwhile.
      this.#notes.session ??= { session, sequence: 0, last: undefined };
    }
    const notes = this.#notes.session;
    if (notes.last !== undefined && notes.last.revision === undefined) return;
    const last = { sequence: ++notes.sequence, value: this.#value(), revision: undefined as number | undefined };
    notes.last = last;
    const stamp = { session: notes.session, sequence: last.sequence, acknowledgedBelow: last.sequence };
    const operations = [operation(views.key, putOperation("session", last.value))];
    const copies = this.#random.chance(0.3) ? 2 : 1;
    const outcomes = await Promise.all(Array.from({ length: copies }, () => replica.propose(operations, { stamp })));
    for (const outcome of outcomes) {
      if (!outcome.ok) throw new HoldfastError(outcome.code, outcome.message);
      if (last.revision !== undefined && last.revision !== outcome.revision) throw new Error("a retry took effect");
      last.revision = outcome.revision;
    }
    this.#acknowledge(last.revision as number, [["session", last.value]]);
  }

  async #lease(): Promise<void> {
    const { leases, keys } = this.#store;
    const held = this.#leases.length === 0 ? undefined : this.#random.pick(this.#leases);
    if (held === undefined || this.#random.chance(0.4)) {
      const lease = await leases.grant({ ttlMs: 100 + this.#random.below(400) });
      this.#leases.push(lease.id);
      const [key, value] = [`lease/${this.#notes.nextId()}`, this.#value()];
      this.#acknowledge(await keys.put(key, value, { lease }), [[key, value]]);
    } else if (this.#random.chance(0.5)) {
      await leases.keepAlive(held);
    } else {
      await leases.revoke(held);
    }
  }

  /** Some are in their entries, some are chunks, and many have chunks that others have had. */
  async #putFile(): Promise<void> {
    const path = `p${this.#random.below(6)}`;
    const size = this.#random.chance(0.3) ? 10 + this.#random.below(900) : 2_000 + this.#random.below(16_000);
    const bytes = fileBytes(this.#random.below(4), size);
    const { revision } = await this.#store.files(bucketName).put(path, bytes);
    this.#notes.files.push({ revision, path, put: true });
  }

  async #deleteFile(): Promise<void> {
    const path = `p${this.#random.below(6)}`;
    const { revision, count } = await this.#store.files(bucketName).delete(path);
    if (count > 0) this.#notes.files.push({ revision, path, put: false });
  }

  async #createSnapshot(): Promise<void> {
    await this.#store.snapshot(`s${this.#random.below(3)}`);
  }

  async #deleteSnapshot(): Promise<void> {
    await this.#store.snapshots.delete(`s${this.#random.below(3)}`);
  }

  async collect(): Promise<void> {
    for await (const _ of this.#store.collect()) continue;
  }

  async #compact(): Promise<void> {
    const at = this.#store.replica.revision - this.#random.below(15);
    if (at > 0) await this.#store.keys.compact(toRevision(at));
  }

  async checkpoint(): Promise<void> {
    const { checkpointPosition } = await this.#store.checkpoint();
    this.#notes.checkpointPosition = Math.max(this.#notes.checkpointPosition, checkpointPosition);
  }
}

export function putOperation(
  key: string,
  value: string,
): { operation: { case: "put"; value: { key: Uint8Array; value: Uint8Array } } } {
  const [keyBytes, valueBytes] = [new TextEncoder().encode(key), new TextEncoder().encode(value)];
  return { operation: { case: "put", value: { key: keyBytes, value: valueBytes } } };
}

/** Conditions that fail, leases that have ended and revisions compacted meanwhile belong to the workload. */
function expected(error: unknown): void {
  const code = error instanceof HoldfastError && !error.maybe ? error.code : undefined;
  // Of a name of a snapshot that is taken.
  if (code === "exists") return;
  if (code !== "conflict" && code !== "notFound" && code !== "trimmed") throw error;
}

/** The sum over all accounts, which no transfer changes. */
export function checkBalance(records: readonly Pick<KeyRecord, "key" | "text">[]): void {
  const accounts = records.filter(({ key }) => key.startsWith("account/"));
  const sum = accounts.reduce((total, record) => total + Number(record.text()), 0);
  if (accounts.length > 0 && sum !== balanceTotal) throw new Error(`the accounts hold ${sum}, not ${balanceTotal}`);
}
