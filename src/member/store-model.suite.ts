/**
 * The slow twin of a store: replays the records of a log on plain maps, with no tree, no pages and no checkpoints. It
 * decodes operations with the views' own codec and does everything else on its own. Keys and values must be text.
 */
import { limits, utf8Decode } from "../base/index.ts";
import {
  decodeCommand,
  FileOperation,
  KeyOperation,
  LeaseOperation,
  SessionOperation,
  sessionViewId,
  SnapshotOperation,
} from "../view/index.ts";
import type { DecodedCommand } from "../view/index.ts";

export interface ModelRecord {
  readonly createRevision: number;
  readonly revision: number;
  readonly version: number;
  readonly lease: bigint;
  readonly value: string;
}

/** What one revision changed: the new version of each key, or undefined where it was deleted. */
export type ModelChanges = ReadonlyMap<string, ModelRecord | undefined>;

type KeyBody = NonNullable<KeyOperation["operation"]>;
type KeyValue<Name extends KeyBody["case"]> = Extract<KeyBody, { case: Name }>["value"];
type Compare = KeyValue<"transaction">["compares"][number];
type Span = { readonly key?: Uint8Array | undefined; readonly end?: Uint8Array | undefined } | undefined;

interface Session {
  /** Store time of its last command. */
  timeMs: number;
  acknowledgedBelow: number;
  readonly answered: Set<number>;
}

class Refused extends Error {}

const keyViewId = 16;
const leaseViewId = 17;
const fileViewId = 18;
const noBytes = new Uint8Array(0);

export class StoreModel {
  readonly keys = new Map<string, ModelRecord>();
  readonly leases = new Map<bigint, { readonly ttlMs: number; readonly deadlineMs: number }>();
  readonly sessions = new Map<number, Session>();
  /** By revision; the first has no changes. */
  readonly changes: ModelChanges[] = [new Map()];
  /** Of all buckets, `bucket:path`, by what revision they were put; as far as the workloads use them. */
  readonly files = new Map<string, number>();
  /** By revision. */
  readonly fileChanges = new Map<number, ReadonlyMap<string, number | undefined>>();
  readonly buckets = new Set<string>();
  readonly uploads = new Set<bigint>();
  /** By name, the revision that is pinned. */
  readonly snapshots = new Map<string, number>();
  compactRevision = 0;
  timeMs = 0;
  #position = 0;
  #changing = new Map<string, ModelRecord | undefined>();
  #changingFiles = new Map<string, number | undefined>();
  #changed = false;
  #undo: (() => void)[] = [];

  get revision(): number {
    return this.changes.length - 1;
  }

  /** One past the last record. */
  get position(): number {
    return this.#position;
  }

  /** The keys as they were at a revision. */
  at(revision: number): Map<string, ModelRecord> {
    const keys = new Map<string, ModelRecord>();
    for (const changes of this.changes.slice(0, revision + 1)) {
      for (const [key, record] of changes) {
        if (record === undefined) keys.delete(key);
        else keys.set(key, record);
      }
    }
    return keys;
  }

  /** The files as they were at a revision. */
  filesAt(revision: number): Map<string, number> {
    const files = new Map<string, number>();
    for (const [at, changes] of this.fileChanges) {
      if (at > revision) break;
      for (const [name, put] of changes) {
        if (put === undefined) files.delete(name);
        else files.set(name, put);
      }
    }
    return files;
  }

  replay(records: readonly Uint8Array[]): void {
    for (const record of records) this.#apply(decodeCommand(record), this.#position++);
  }

  #apply(command: DecodedCommand, position: number): void {
    this.timeMs = Math.max(this.timeMs, command.timeMs);
    const [first] = command.operations;
    if (first !== undefined && command.operations.length === 1 && first.viewId === sessionViewId) {
      const { close } = SessionOperation.decode(first.body);
      if (close === 0) this.#openSession(position + 1);
      else this.sessions.delete(close);
      return;
    }
    if (command.session !== 0 && !this.#admit(command)) return;
    this.#changing = new Map();
    this.#changingFiles = new Map();
    this.#changed = false;
    this.#undo = [];
    // Whatever becomes of it: the same command may come again when it would do something else.
    this.sessions.get(command.session)?.answered.add(command.sequence);
    try {
      for (const { viewId, body } of command.operations) {
        if (viewId === keyViewId) this.#key(KeyOperation.decode(body));
        else if (viewId === leaseViewId) this.#lease(LeaseOperation.decode(body));
        else if (viewId === fileViewId) this.#file(FileOperation.decode(body));
        else this.#snapshot(SnapshotOperation.decode(body));
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      for (const undo of this.#undo.toReversed()) undo();
      return;
    }
    if (this.#changingFiles.size > 0) this.fileChanges.set(this.revision + 1, this.#changingFiles);
    if (this.#changing.size > 0 || this.#changed) this.changes.push(this.#changing);
  }

  #openSession(id: number): void {
    for (const [other, { timeMs }] of this.sessions) {
      if (timeMs + limits.sessionIdleMs < this.timeMs) this.sessions.delete(other);
    }
    this.sessions.set(id, { timeMs: this.timeMs, acknowledgedBelow: 0, answered: new Set() });
  }

  #admit({ session: id, sequence, acknowledgedBelow }: DecodedCommand): boolean {
    const session = this.sessions.get(id);
    if (session === undefined) return false;
    session.timeMs = this.timeMs;
    session.acknowledgedBelow = Math.max(session.acknowledgedBelow, acknowledgedBelow);
    for (const old of session.answered) if (old < session.acknowledgedBelow) session.answered.delete(old);
    return sequence >= session.acknowledgedBelow && !session.answered.has(sequence);
  }

  #key({ operation }: KeyOperation): void {
    switch (operation?.case) {
      case "put":
        return this.#put(operation.value);
      case "delete":
        for (const key of this.#chosen(operation.value.span)) this.#change(key, undefined);
        return;
      case "transaction":
        return this.#transaction(operation.value);
      case "check":
        return this.#check(operation.value);
      case "compact":
        return this.#compact(operation.value.revision ?? 0);
      default:
        return;
    }
  }

  #put({ key = noBytes, value = noBytes, lease = 0n }: KeyValue<"put">): void {
    const before = this.keys.get(utf8Decode(key));
    if (lease !== 0n && lease !== before?.lease && !this.leases.has(lease)) throw new Refused("no such lease");
    const revision = this.revision + 1;
    this.#change(utf8Decode(key), {
      createRevision: before?.createRevision ?? revision,
      revision,
      version: (before?.version ?? 0) + 1,
      lease,
      value: utf8Decode(value),
    });
  }

  #change(key: string, record: ModelRecord | undefined): void {
    if (this.#changing.has(key)) throw new Refused("a key is changed twice");
    set(this.keys, key, record, this.#undo);
    this.#changing.set(key, record);
  }

  #transaction({ compares, then, otherwise }: KeyValue<"transaction">): void {
    const branch = compares.every((compare) => this.#holds(compare)) ? then : otherwise;
    for (const operation of branch) this.#key(operation);
  }

  #check({ compares = [], spans = [] }: KeyValue<"check">): void {
    if (!compares.every((compare) => this.#holds(compare as Compare))) throw new Refused("a comparison fails");
    for (const { span, count = 0, revision = 0 } of spans) {
      const keys = this.#chosen(span);
      const unchanged = keys.every((key) => (this.keys.get(key)?.revision ?? 0) <= revision);
      if (keys.length !== count || !unchanged) throw new Refused("a span has changed");
    }
  }

  #compact(revision: number): void {
    if (revision > this.revision || revision < this.compactRevision) throw new Refused("a compaction out of range");
    const before = this.compactRevision;
    if (revision === before) return;
    this.#undo.push(() => (this.compactRevision = before));
    this.compactRevision = revision;
  }

  #holds({ span, result, target }: Compare): boolean {
    const single = span?.end === undefined;
    const keys = single ? [utf8Decode(span?.key ?? noBytes)] : this.#chosen(span);
    return keys.every((key) => {
      const record = this.keys.get(key);
      if (target === undefined || (record === undefined && target.case === "value")) return false;
      const absent = { createRevision: 0, revision: 0, version: 0, lease: 0n, value: "" };
      const found = (record ?? absent)[target.case];
      const wanted = target.case === "value" ? utf8Decode(target.value) : target.value;
      if (result === "equal") return found === wanted;
      if (result === "notEqual") return found !== wanted;
      return result === "greater" ? found > wanted : found < wanted;
    });
  }

  /** The keys of a span that exist, in order. */
  #chosen(span: Span): string[] {
    const start = utf8Decode(span?.key ?? noBytes);
    if (span?.end === undefined) return this.keys.has(start) ? [start] : [];
    const end = span.end.length === 0 ? undefined : utf8Decode(span.end);
    return [...this.keys.keys()].filter((key) => key >= start && (end === undefined || key < end)).toSorted();
  }

  #lease({ operation }: LeaseOperation): void {
    switch (operation?.case) {
      case "grant": {
        const { lease, ttlMs } = operation.value;
        if (this.leases.has(lease)) throw new Refused("the lease exists");
        return this.#renew(lease, ttlMs);
      }
      case "revoke":
        if (!this.leases.has(operation.value.lease)) throw new Refused("no such lease");
        return this.#end(operation.value.lease);
      case "keepAlive":
        for (const lease of operation.value.leases) this.#renew(lease, this.leases.get(lease)?.ttlMs);
        return;
      case "expire":
        for (const [index, lease] of operation.value.leases.entries()) {
          const deadlineMs = this.leases.get(lease)?.deadlineMs ?? Number.POSITIVE_INFINITY;
          const seen = deadlineMs === operation.value.deadlinesMs[index];
          if (seen && deadlineMs <= this.timeMs) this.#end(lease);
        }
        return;
      case "renewAll":
        for (const [lease, { ttlMs }] of this.leases) this.#renew(lease, ttlMs);
        return;
      default:
        return;
    }
  }

  #file({ operation }: FileOperation): void {
    switch (operation?.case) {
      case "setBucket": {
        const { bucket = "", mustBeNew = false } = operation.value;
        if (mustBeNew && this.buckets.has(bucket)) throw new Refused("the bucket exists");
        this.#addBucket(bucket);
        this.#changed = true;
        return;
      }
      case "put": {
        const { bucket = "", path = noBytes, upload = 0n } = operation.value;
        if (upload !== 0n && !(this.uploads.has(upload) && this.leases.has(upload))) throw new Refused("it has ended");
        this.#addBucket(bucket);
        return this.#changeFile(`${bucket}:${utf8Decode(path)}`, this.revision + 1);
      }
      case "delete": {
        const { bucket = "", path = noBytes } = operation.value;
        const name = `${bucket}:${utf8Decode(path)}`;
        if (this.files.has(name)) this.#changeFile(name, undefined);
        return;
      }
      case "beginUpload": {
        const { lease = 0n } = operation.value;
        if (!this.leases.has(lease)) throw new Refused("no such lease");
        this.uploads.add(lease);
        this.#undo.push(() => this.uploads.delete(lease));
        this.#changed = true;
        return;
      }
      default:
        // Forgetting versions changes nothing that a revision says.
        return;
    }
  }

  #addBucket(bucket: string): void {
    if (this.buckets.has(bucket)) return;
    this.buckets.add(bucket);
    this.#undo.push(() => this.buckets.delete(bucket));
  }

  #changeFile(name: string, revision: number | undefined): void {
    set(this.files, name, revision, this.#undo);
    this.#changingFiles.set(name, revision);
    this.#changed = true;
  }

  #snapshot({ operation }: SnapshotOperation): void {
    switch (operation?.case) {
      case "create": {
        const { name } = operation.value;
        if (this.snapshots.has(name)) throw new Refused("the snapshot exists");
        set(this.snapshots, name, this.revision + 1, this.#undo);
        this.#changed = true;
        return;
      }
      case "delete":
        for (const { name, revision, lenient } of operation.value.snapshots) {
          const before = this.snapshots.get(name);
          if (before === undefined && lenient) continue;
          if (before === undefined || (revision !== 0 && revision !== before)) throw new Refused("no such snapshot");
          set(this.snapshots, name, undefined, this.#undo);
          this.#changed = true;
        }
        return;
      default:
        return;
    }
  }

  #renew(lease: bigint, ttlMs: number | undefined): void {
    if (ttlMs === undefined) return;
    set(this.leases, lease, { ttlMs, deadlineMs: this.timeMs + ttlMs }, this.#undo);
  }

  #end(lease: bigint): void {
    for (const [key, record] of this.keys) if (record.lease === lease) this.#change(key, undefined);
    set(this.leases, lease, undefined, this.#undo);
  }
}

/** Sets, or deletes when undefined, and notes the way back. */
function set<K, V>(map: Map<K, V>, key: K, value: V | undefined, undo: (() => void)[]): void {
  const before = map.get(key);
  const put = (one: V | undefined) => void (one === undefined ? map.delete(key) : map.set(key, one));
  undo.push(() => put(before));
  put(value);
}
