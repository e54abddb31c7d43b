/**
 * Puts back what differs between a snapshot and the present: keys, files, or some of them. No bytes are moved: files get
 * the entries that the snapshot has, whose chunks it keeps.
 *
 * 1. What the snapshot has is written as it is there, what it has not is deleted, and what is alike (value or content,
 *    whatever its revision) is left alone.
 * 2. Keys come back without the leases that they had: those belong to somebody who may be gone.
 * 3. A bucket that is gone is made again with the settings that it had, its encryption included, by the command that puts the
 *    first file into it. Into a bucket of another key no file comes back: its bytes could not be read there.
 * 4. As long as it fits one command it is one, so that all of it is restored at one revision or nothing is. Else each key and
 *    each file is replaced at once, and all of them in several commands; restoring again goes on where it was broken off.
 *
 * What others write meanwhile stays, or is replaced, as it comes.
 */
import { equalBytes, HoldfastError, throwIfAborted, utf8Encode } from "../base/index.ts";
import type { Revision } from "../base/index.ts";
import { FileContent, operation } from "../view/index.ts";
import type {
  BucketSettings,
  Difference,
  FileOperation,
  FileResult,
  FileSource,
  Key,
  KeyOperation,
  KeyResult,
  NamedSnapshot,
  Operation,
  SnapshotSource,
  View,
} from "../view/index.ts";
import { checkedBucket, checkedPrefix } from "./file-path.ts";
import type { FilePath } from "./file-path.ts";

export interface RestoreParts {
  /** Proposes for all views. */
  readonly snapshots: SnapshotSource;
  readonly files: FileSource;
  readonly keyView: View<KeyOperation, KeyResult>;
  readonly fileView: View<FileOperation, FileResult>;
}

export interface RestoreOptions {
  /** The name of the snapshot. */
  readonly snapshot: string;
  /** Only keys with this prefix; with neither this nor `files`, everything. */
  readonly keys?: { readonly prefix: Key } | undefined;
  /** Only files of this bucket, and with this prefix. */
  readonly files?: { readonly bucket?: string | undefined; readonly prefix?: FilePath | undefined } | undefined;
  /** Only say what would be done. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What is done to one key or file. */
export interface RestoreChange {
  readonly action: "put" | "delete";
  /** As it differs: `before` is what the snapshot has. */
  readonly difference: Difference;
}

export interface RestoreProgress {
  /** Done by the last command; in a dry run, found since the last progress. */
  readonly changes: readonly RestoreChange[];
  /** Changes so far. */
  readonly count: number;
  /** Of the last command; undefined when there was none yet, and in a dry run. */
  readonly revision: Revision | undefined;
  /** The last progress of all. */
  readonly done: boolean;
  /** Whether everything so far was done by one command. In a dry run: whether it would be. */
  readonly atomic: boolean;
}

/** A bucket that files come back to. */
interface Target {
  readonly bucket: string;
  /** As the snapshot has them. */
  readonly settings: BucketSettings;
  /** The revision that made it; undefined until it is there. */
  revision: number | undefined;
}

interface Planned {
  readonly change: RestoreChange;
  /** What does it, made when it is sent. */
  readonly operation: () => Operation;
  /** The bucket of a file that is put. */
  readonly target?: Target;
  /** Bytes that it takes in a command, about. */
  readonly size: number;
}

/** What is restored as one. Applying it takes some tens of milliseconds. */
const atomicMax = { count: 4_096, size: 8_388_608 };
/** What is too much for that goes in commands that hold up nobody. */
const commandMax = { count: 512, size: 1_048_576 };
const overhead = 64;

/**
 * Restores, command by command. Leaving the loop, and `signal`, end it between two commands. `notFound` when there is no
 * such snapshot, `invalid` when a bucket of today is encrypted otherwise than that of the snapshot; `conflict` when the snapshot
 * is deleted meanwhile, or a bucket made or deleted: then restore again.
 */
export async function* restore(
  parts: RestoreParts,
  options: RestoreOptions,
): AsyncGenerator<RestoreProgress, void, undefined> {
  const { dryRun = false, signal } = options;
  const snapshot = await findSnapshot(parts.snapshots, options);
  const plan = new RestorePlan(parts, snapshot, options);
  let waiting: Planned[] = [];
  let waitingSize = 0;
  let count = 0;
  let commandCount = 0;
  let revision: Revision | undefined;
  const commit = async (planned: readonly Planned[], done: boolean): Promise<RestoreProgress> => {
    throwIfAborted(signal);
    if (planned.length > 0) {
      if (!dryRun) revision = await send(parts, planned, signal);
      commandCount++;
    }
    count += planned.length;
    return { changes: planned.map(({ change }) => change), count, revision, done, atomic: commandCount <= 1 };
  };
  for await (const planned of plan.run()) {
    waiting.push(planned);
    waitingSize += planned.size;
    const max = commandCount === 0 ? atomicMax : commandMax;
    if (waiting.length <= max.count && waitingSize <= max.size) continue;
    for (const command of commandsOf(waiting)) yield await commit(command, false);
    waiting = [];
    waitingSize = 0;
  }
  yield await commit(waiting, true);
}

/** In lots that are small enough. */
function* commandsOf(planned: readonly Planned[]): Generator<Planned[], void, undefined> {
  let command: Planned[] = [];
  let size = 0;
  for (const one of planned) {
    if (command.length >= commandMax.count || (command.length > 0 && size + one.size > commandMax.size)) {
      yield command;
      command = [];
      size = 0;
    }
    command.push(one);
    size += one.size;
  }
  if (command.length > 0) yield command;
}

async function send(
  { snapshots, fileView }: RestoreParts,
  planned: readonly Planned[],
  signal: AbortSignal | undefined,
): Promise<Revision> {
  const missing = new Set(planned.flatMap(({ target }) => (target?.revision === undefined ? (target ?? []) : [])));
  const buckets = Array.from(missing, ({ bucket, settings }) => {
    const body: FileOperation = { operation: { case: "setBucket", value: { bucket, settings, mustBeNew: true } } };
    return operation(fileView, body);
  });
  const outcome = await snapshots.propose([...buckets, ...planned.map((one) => one.operation())], { signal });
  if (outcome.ok) {
    for (const target of missing) target.revision = outcome.revision;
    return outcome.revision;
  }
  const { code, message, maybe = false } = outcome;
  if (code !== "exists") throw new HoldfastError(code, message, { maybe });
  throw new HoldfastError(
    "conflict",
    `a bucket was made meanwhile that was to be made again; restore again: ${message}`,
  );
}

async function findSnapshot(
  source: SnapshotSource,
  { snapshot: name, signal }: RestoreOptions,
): Promise<NamedSnapshot> {
  const found = (await source.snapshots({ signal })).find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new HoldfastError("notFound", `snapshot ${JSON.stringify(name)} does not exist; list those that do`);
}

function keyPrefix(prefix: Key): Uint8Array {
  if (typeof prefix === "string" && prefix.isWellFormed()) return utf8Encode(prefix);
  if (prefix instanceof Uint8Array) return prefix.slice();
  throw new HoldfastError("invalid", "the prefix of the keys to restore is well-formed text or bytes");
}

/** What there is to do, found as it is read. */
class RestorePlan {
  readonly #parts: RestoreParts;
  readonly #snapshot: NamedSnapshot;
  readonly #options: RestoreOptions;
  /** Buckets into which files can be put, by their names. */
  readonly #targets = new Map<string, Target>();

  constructor(parts: RestoreParts, snapshot: NamedSnapshot, options: RestoreOptions) {
    this.#parts = parts;
    this.#snapshot = snapshot;
    this.#options = options;
  }

  async *run(): AsyncGenerator<Planned, void, undefined> {
    const { keys, files, signal } = this.#options;
    const bucket = files?.bucket;
    const query = {
      before: this.#snapshot.revision,
      after: undefined,
      keys: keys === undefined ? undefined : { prefix: keyPrefix(keys.prefix) },
      files:
        files === undefined
          ? undefined
          : {
              bucket: bucket === undefined ? undefined : checkedBucket(bucket),
              prefix: checkedPrefix(files.prefix ?? ""),
            },
    };
    for await (const differences of this.#parts.snapshots.diff(query, { signal })) {
      for (const difference of differences) {
        const planned = difference.type === "key" ? this.#key(difference) : await this.#file(difference);
        if (planned !== undefined) yield planned;
      }
    }
  }

  #key(difference: Difference & { readonly type: "key" }): Planned | undefined {
    const { key, before, after } = difference;
    const { keyView } = this.#parts;
    if (before === undefined) {
      const body: KeyOperation = { operation: { case: "delete", value: { span: { key, end: undefined } } } };
      return {
        change: { action: "delete", difference },
        operation: () => operation(keyView, body),
        size: overhead + key.length,
      };
    }
    // A key that goes with a lease now, and did not then, is to stay for good.
    const isLeased = after !== undefined && after.lease !== 0n && before.lease === 0n;
    if (after !== undefined && !isLeased && equalBytes(before.value, after.value)) return undefined;
    const body: KeyOperation = { operation: { case: "put", value: { key, value: before.value } } };
    return {
      change: { action: "put", difference },
      operation: () => operation(keyView, body),
      size: overhead + key.length + before.value.length,
    };
  }

  async #file(difference: Difference & { readonly type: "file" }): Promise<Planned | undefined> {
    const { bucket, path, before, after } = difference;
    const { fileView } = this.#parts;
    if (before === undefined) {
      const body = { operation: { case: "delete", value: { bucket, path } } } as FileOperation;
      return {
        change: { action: "delete", difference },
        operation: () => operation(fileView, body),
        size: overhead + path.length,
      };
    }
    const content = before.content;
    const encoded = FileContent.encode(content);
    if (after !== undefined && equalBytes(encoded, FileContent.encode(after.content))) return undefined;
    const target = await this.#target(bucket);
    const { name: snapshot, revision: snapshotRevision } = this.#snapshot;
    const put = (): FileOperation => {
      // 0 goes with the command that makes the bucket.
      const value = { bucket, path, content, snapshot, snapshotRevision, bucketRevision: target.revision ?? 0 };
      return { operation: { case: "put", value } };
    };
    return {
      change: { action: "put", difference },
      operation: () => operation(fileView, put()),
      target,
      size: overhead + path.length + encoded.length,
    };
  }

  async #target(bucket: string): Promise<Target> {
    const known = this.#targets.get(bucket);
    if (known !== undefined) return known;
    const { files } = this.#parts;
    const { signal } = this.#options;
    const { revision } = this.#snapshot;
    const [now, then] = await Promise.all([
      files.bucket(bucket, { signal }),
      files.bucket(bucket, { signal }, revision),
    ]);
    if (then === undefined)
      throw new HoldfastError("corrupt", `the snapshot has files of bucket ${bucket}, and not it`);
    // The same bucket has the same key, whatever opens it now.
    const isSame = now === undefined || now.createRevision === then.createRevision;
    if (!isSame && !equalBytes(now.settings.encryption, then.settings.encryption)) {
      const reason = "it was made after the snapshot, and is not encrypted with the same key";
      const remedy = "delete it, or restore without its files";
      throw new HoldfastError(
        "invalid",
        `files of the snapshot cannot come back into bucket ${bucket}: ${reason}; ${remedy}`,
      );
    }
    const target = { bucket, settings: then.settings, revision: now?.createRevision };
    this.#targets.set(bucket, target);
    return target;
  }
}
