/**
 * What the tests of files share: a store in memory with everything that files need, chunks that tell what is done with them and
 * fail when they are told to, and a clock that stands still until it is moved.
 */
import { HoldfastError } from "../base/index.ts";
import type { Clock, Env, Revision, Timer } from "../base/index.ts";
import { MemoryBlobStore, PlainPipeline } from "../blob/index.ts";
import type { Hash, NamedBlob, StoredBlob } from "../blob/index.ts";
import { NodeCipher } from "../host/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { LocalFiles, LocalLeases, LocalSnapshots, operation, Snapshots } from "../view/index.ts";
import type { CommandOutcome, LeaseInfo, Operation, ProposeOptions, Replica } from "../view/index.ts";
import { collect, Member } from "../view/fixture.suite.ts";
import { FileAccess } from "./index.ts";
import type { FileChunks, FileInput } from "./index.ts";

/** Time that a test moves. What is due runs within `advance`. */
export class TestClock implements Clock {
  #nowMs = 1_000;
  readonly #timers = new Set<{ readonly dueMs: number; readonly run: () => void }>();

  wallMs(): number {
    return 1_800_000_000_000 + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, run: () => void): Timer {
    const timer = { dueMs: this.#nowMs + delayMs, run };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  defer(run: () => void): void {
    setImmediate(run);
  }

  /** Timers that are set. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Goes on step by step; what each timer started is done before the next. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].toSorted((a, b) => a.dueMs - b.dueMs).find(({ dueMs }) => dueMs <= endMs);
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.dueMs);
      due.run();
      await turns();
    }
    this.#nowMs = endMs;
  }
}

/** Lets everything that waits for nothing but its turn come to its end. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** Chunks in memory that tell what is done with them. */
export class TestChunks implements FileChunks {
  readonly store: MemoryBlobStore;
  generation = 0;
  /** Called before each; may throw or wait. */
  before: ((what: "touch" | "put" | "get" | "sync", hashes: readonly Hash[]) => void | Promise<void>) | undefined;
  readonly #log: string[];

  constructor(env: Pick<Env, "digest" | "clock">, log: string[]) {
    this.store = new MemoryBlobStore(env);
    this.#log = log;
  }

  async touch(hashes: readonly Hash[], atLeast: Revision): Promise<readonly boolean[]> {
    this.#log.push(`touch at ${atLeast}`);
    await this.before?.("touch", hashes);
    return this.store.touch(hashes);
  }

  async putStored(blobs: readonly NamedBlob[]): Promise<void> {
    this.#log.push("put");
    await this.before?.(
      "put",
      blobs.map(({ hash }) => hash),
    );
    await this.store.putStored(blobs);
  }

  async getStored(hash: Hash): Promise<StoredBlob | undefined> {
    await this.before?.("get", [hash]);
    return this.store.getStored(hash);
  }

  async sync(): Promise<void> {
    this.#log.push("sync");
    await this.before?.("sync", []);
  }
}

export class World {
  readonly clock = new TestClock();
  readonly member: Member;
  readonly replica: Replica;
  readonly chunks: TestChunks;
  readonly fileSystem = new MemoryFileSystem();
  readonly source: LocalFiles;
  readonly leases: LocalLeases;
  readonly access: FileAccess;
  readonly snapshotSource: LocalSnapshots;
  readonly snapshots: Snapshots;
  /** What was done, in order: chunks and commands. */
  readonly log: string[];
  /** Called before each command with the names of its operations; may throw. */
  beforePropose: ((names: readonly string[]) => void | Promise<void>) | undefined;

  private constructor(member: Member, replica: Replica) {
    this.member = member;
    this.replica = replica;
    this.log = [];
    const { views } = member;
    const env = { ...member.env, clock: this.clock, cipher: new NodeCipher() };
    this.chunks = new TestChunks(member.env, this.log);
    this.source = new LocalFiles(member.env.clock, replica);
    this.leases = new LocalLeases(replica);
    this.snapshotSource = new LocalSnapshots(replica);
    this.snapshots = new Snapshots(this.snapshotSource, views.snapshot);
    this.access = new FileAccess({
      env,
      source: this.#told(this.source),
      view: views.file,
      leases: this.leases,
      leaseView: views.lease,
      chunks: this.chunks,
      pipeline: new PlainPipeline(env, this.fileSystem),
    });
  }

  static async open(t: { after(run: () => Promise<void>): void }, seed = "files"): Promise<World> {
    const member = new Member(seed);
    const world = new World(member, await member.open());
    t.after(async () => {
      await world.access.close();
      await world.replica.close();
    });
    return world;
  }

  #told(source: LocalFiles): LocalFiles {
    const propose = async (operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> => {
      const names = operations.map((one) => nameOf(one));
      await this.beforePropose?.(names);
      const outcome = await source.propose(operations, options);
      this.log.push(`${names.join("+")}${outcome.ok ? ` at ${outcome.revision}` : ` refused: ${outcome.code}`}`);
      return outcome;
    };
    return Object.assign(Object.create(source) as LocalFiles, {
      propose,
      get: source.get.bind(source),
      list: source.list.bind(source),
      versions: source.versions.bind(source),
      bucket: source.bucket.bind(source),
      buckets: source.buckets.bind(source),
      revision: source.revision.bind(source),
    });
  }

  /** The leases there are: of uploads, mostly. */
  async uploads(): Promise<LeaseInfo[]> {
    return collect(this.leases.list(undefined));
  }

  /** As if nobody had kept it alive. */
  async endLeases(): Promise<void> {
    for (const { id } of await this.uploads()) {
      const body = { operation: { case: "revoke", value: { lease: id } } } as const;
      await this.replica.propose([operation(this.member.views.lease, body)]);
    }
  }
}

function nameOf(one: Operation): string {
  const body = "body" in one ? (one.body as { operation?: { case: string } }) : undefined;
  return body?.operation?.case ?? "?";
}

/** Bytes that compress badly, the same for a seed. */
export function noise(size: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed >>> 0 || 1;
  for (let index = 0; index < size; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

export async function* inParts(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

/** A source that can be read once. */
export function once(bytes: Uint8Array): FileInput {
  return inParts(bytes, 100_000);
}

export function refused(): HoldfastError {
  return new HoldfastError("unavailable", "the test says no");
}
