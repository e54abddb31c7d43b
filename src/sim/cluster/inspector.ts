/**
 * Looks into every member of a simulated cluster all the time, from outside, and fails the run as soon as two of them, or
 * one and its former self, disagree.
 *
 * 1. The record at a position is the same wherever and whenever it is read.
 * 2. What a revision changed is the same wherever and whenever it is applied.
 * 3. Checkpoints at one position are the same.
 * 4. What members say of their consensus keeps its invariants (`RaftChecker`), as far as that is seen without entries.
 */
import { equalBytes, HoldfastError, position, sleep, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { Member } from "../../member/index.ts";
import { RaftChecker, RootChecker } from "../check/index.ts";
import type { Cluster, Seat } from "./cluster.ts";

/** What one revision did, as the first member that applied it saw it. */
export interface AppliedRevision {
  readonly atMs: number;
  readonly text: string;
}

/** The part of the key view's events that is looked at. */
interface AppliedChange {
  readonly key: Uint8Array;
  readonly record:
    | { readonly createRevision: number; readonly version: number; readonly lease: bigint; readonly value: Uint8Array }
    | undefined;
}

const retryMs = 300;
const lookMs = 250;

export class Inspector {
  /** By position; undefined where nobody has read. */
  readonly records: (Uint8Array | undefined)[] = [];
  readonly revisions = new Map<number, AppliedRevision>();
  readonly #cluster: Cluster;
  readonly #roots = new RootChecker();
  readonly #consensus = new RaftChecker();
  /** Incarnations that have been looked at. */
  readonly #seen = new WeakSet<Member>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#look();
  }

  #look(): void {
    for (const { name, member } of this.#cluster.running()) {
      if (member === undefined) continue;
      this.#lookAtConsensus(member);
      const record = member.store.replica.lastCheckpoint;
      const { position: at, revision, timeMs, rootHash, count } = record;
      const root = `${toHex(rootHash)} with ${count} entries, revision ${revision}, time ${timeMs}`;
      try {
        this.#roots.observe({ member: name, position: at, root });
      } catch (error) {
        this.#cluster.fail(error as Error);
      }
    }
    this.#cluster.simulator.schedule(lookMs, () => this.#look(), { quiet: true });
  }

  #lookAtConsensus(member: Member): void {
    const status = member.consensus();
    if (status === undefined) return;
    if (!this.#seen.has(member)) this.#consensus.restarted(status.self);
    this.#seen.add(member);
    try {
      this.#consensus.observe(status);
    } catch (error) {
      this.#cluster.fail(error as Error);
    }
  }

  /** Looks into a member until its machine goes down. */
  watch(seat: Seat, member: Member): void {
    const { env } = seat.machine;
    const { replica, views } = member.store;
    replica.subscribe(views.key, (revision, changes) => {
      this.#applied(seat, env, revision, changes as readonly AppliedChange[]);
    });
    this.#read(seat, env, member).catch((error: unknown) => this.#cluster.fail(error as Error));
  }

  #violation(what: string): void {
    this.#cluster.fail(new Error(`the members disagree: ${what}`));
  }

  #applied(seat: Seat, env: Env, revision: number, changes: readonly AppliedChange[]): void {
    const text = changes.map((change) => describeChange(env, change)).join("\n");
    const known = this.revisions.get(revision);
    if (known === undefined) this.revisions.set(revision, { atMs: this.#cluster.simulator.nowMs, text });
    else if (known.text !== text) {
      this.#violation(`revision ${revision} is\n${text}\non ${seat.name}; before it was\n${known.text}`);
    }
  }

  /** Follows the log that the member has. */
  async #read(seat: Seat, env: Env, { store }: Member): Promise<void> {
    let from = Math.min(this.#firstUnknown(), store.replica.applied);
    for (;;) {
      try {
        for await (const { position: first, records } of store.readLog({ from: position(from), follow: true })) {
          if (first !== from) this.#violation(`${seat.name} goes on at position ${first} instead of ${from}`);
          for (const record of records) this.#add(seat, from++, record);
        }
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        // It was given its state from elsewhere, or has forgotten what its checkpoints hold.
        if (error.code === "trimmed") from = Math.max(from, store.replica.lastCheckpoint.position);
      }
      await sleep(env.clock, retryMs);
    }
  }

  #firstUnknown(): number {
    const gap = this.records.indexOf(undefined);
    return gap < 0 ? this.records.length : gap;
  }

  #add(seat: Seat, at: number, record: Uint8Array): void {
    const known = this.records[at];
    if (known === undefined) {
      for (let next = this.records.length; next < at; next++) this.records[next] = undefined;
      this.records[at] = record.slice();
    } else if (!equalBytes(known, record)) {
      const [now, before] = [toHex(record), toHex(known)];
      this.#violation(`the record at position ${at} on ${seat.name} is ${now}; it was ${before}`);
    }
  }
}

function describeChange(env: Env, { key, record }: AppliedChange): string {
  if (record === undefined) return `${toHex(key)} deleted`;
  const { createRevision, version, lease, value } = record;
  const sum = env.digest.crc32(value);
  return `${toHex(key)} since ${createRevision}, version ${version}, lease ${lease}, ${value.length} bytes, sum ${sum}`;
}
