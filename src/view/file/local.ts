/** Files of a replica in this process. */
import { HoldfastError } from "../../base/index.ts";
import type { Clock, Revision } from "../../base/index.ts";
import type { CommandOutcome, Operation, ProposeOptions } from "../command.ts";
import { fresh } from "../freshness.ts";
import type { HeldState } from "../held.ts";
import type { ReadOptions } from "../key/key-source.ts";
import type { Replica } from "../replica.ts";
import type { Refusal } from "../view.ts";
import type { StoredFile } from "./file-operation.ts";
import {
  bucketIn,
  bucketNow,
  bucketPast,
  bucketsOf,
  fileIn,
  getNow,
  getPast,
  isRetained,
  isRetainedIn,
  listNow,
  listState,
  trimmedError,
  versionsOf,
} from "./file-reader.ts";
import { checkBucket, checkPath } from "./file-rules.ts";
import type { BucketInfo, FileBatch, FileQuery, FileSource, FileVersion } from "./file-source.ts";

/** Lists of at most so many files are read at one go, without freezing the state. */
const listAtOnceMax = 128;

export class LocalFiles implements FileSource {
  readonly #clock: Clock;
  readonly #replica: Replica;

  constructor(clock: Clock, replica: Replica) {
    this.#clock = clock;
    this.#replica = replica;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#replica.propose(operations, options);
  }

  async revision(options: ReadOptions): Promise<Revision> {
    await fresh(this.#replica, options);
    return this.#replica.revision;
  }

  async get(
    bucket: string,
    path: Uint8Array,
    at: number | undefined,
    options: ReadOptions,
  ): Promise<StoredFile | undefined> {
    accept(checkBucket(bucket) ?? checkPath(path));
    await fresh(this.#replica, options);
    if (at === undefined) return this.#replica.readNow((tree) => getNow(tree, bucket, path));
    const read = await this.#replica.readNow((tree) => {
      const { revision } = this.#replica;
      if (at === revision) return { file: getNow(tree, bucket, path) };
      return isRetained(tree, bucket, at, revision) ? { file: getPast(tree, bucket, path, at) } : undefined;
    });
    if (read !== undefined) return read.file;
    const { tree, release } = this.#pinned(bucket, at);
    try {
      return await fileIn(tree, bucket, path);
    } finally {
      release();
    }
  }

  /** What a snapshot has kept. */
  #pinned(bucket: string, at: number): HeldState {
    const pinned = this.#replica.pinAt(at);
    if (pinned === undefined) throw trimmedError(bucket, at);
    return pinned;
  }

  async *list(query: FileQuery, options: ReadOptions): AsyncGenerator<FileBatch, void, undefined> {
    accept(checkBucket(query.bucket));
    if (query.folders === true && query.reverse === true) {
      throw new HoldfastError("invalid", "a list of one level goes forward only; leave out reverse or folders");
    }
    await fresh(this.#replica, options);
    const { at, limit = Number.POSITIVE_INFINITY } = query;
    if (at === undefined && limit <= listAtOnceMax) {
      yield await this.#replica.read((tree) => {
        return { revision: this.#replica.revision, files: listNow(tree, query, limit) };
      });
      return;
    }
    yield* this.#listHeld(query, options.signal);
  }

  async *#listHeld(query: FileQuery, signal: AbortSignal | undefined): AsyncGenerator<FileBatch, void, undefined> {
    const { bucket, at } = query;
    const now = this.#replica.snapshot();
    let held: HeldState = now;
    try {
      const { revision } = now;
      let past = at === revision ? undefined : at;
      if (past !== undefined && !(await isRetainedIn(now.tree, bucket, past, revision))) {
        held = this.#pinned(bucket, past);
        now.release();
        past = undefined;
      }
      for await (const files of listState(this.#clock, held.tree, query, past, signal)) {
        yield { revision: at ?? revision, files };
      }
    } finally {
      now.release();
      held.release();
    }
  }

  async versions(bucket: string, path: Uint8Array, options: ReadOptions): Promise<readonly FileVersion[]> {
    accept(checkBucket(bucket) ?? checkPath(path));
    await fresh(this.#replica, options);
    const { tree, release } = this.#replica.snapshot();
    try {
      return await versionsOf(tree, bucket, path, options.signal);
    } finally {
      release();
    }
  }

  async bucket(name: string, options: ReadOptions, at?: number): Promise<BucketInfo | undefined> {
    accept(checkBucket(name));
    await fresh(this.#replica, options);
    const pinned = at === undefined ? undefined : this.#replica.pinAt(at);
    if (pinned === undefined) {
      return this.#replica.readNow((tree) => {
        return at === undefined ? bucketNow(tree, name) : bucketPast(tree, name, at, this.#replica.revision);
      });
    }
    try {
      return await bucketIn(pinned.tree, name);
    } finally {
      pinned.release();
    }
  }

  async buckets(options: ReadOptions): Promise<readonly BucketInfo[]> {
    await fresh(this.#replica, options);
    const { tree, release } = this.#replica.snapshot();
    try {
      return await bucketsOf(tree, options.signal);
    } finally {
      release();
    }
  }
}

function accept(refusal: Refusal | undefined): void {
  if (refusal !== undefined) throw new HoldfastError(refusal.code, refusal.message);
}
