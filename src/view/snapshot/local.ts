/** Snapshots of a replica in this process. */
import { HoldfastError, prefixEnd, startsWith, utf8Decode } from "../../base/index.ts";
import { diff } from "../../tree/index.ts";
import type { TreeDifference } from "../../tree/index.ts";
import type { CommandOutcome, Operation, ProposeOptions } from "../command.ts";
import type { StoredFile } from "../file/file-operation.ts";
import { decodeFile } from "../file/file-state.ts";
import { fileRange, fileRanges, pathOfFile, prefixRange } from "../file/layout.ts";
import { fresh } from "../freshness.ts";
import type { HeldState } from "../held.ts";
import { StoredRecord } from "../key/key-operation.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { currentRange, keyOfCurrent } from "../key/layout.ts";
import { copyRecord } from "../key/record.ts";
import type { Replica } from "../replica.ts";
import type { KeyRange } from "../view.ts";
import { readSnapshots } from "./layout.ts";
import type { Difference, DiffQuery, NamedSnapshot, SnapshotSource } from "./snapshot-source.ts";

const noBytes = new Uint8Array(0);

export class LocalSnapshots implements SnapshotSource {
  readonly #replica: Replica;

  constructor(replica: Replica) {
    this.#replica = replica;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#replica.propose(operations, options);
  }

  async snapshots(options: ReadOptions): Promise<readonly NamedSnapshot[]> {
    await fresh(this.#replica, options);
    const { tree, release } = this.#replica.snapshot();
    try {
      return await readSnapshots(tree, options.signal);
    } finally {
      release();
    }
  }

  async *diff(query: DiffQuery, options: ReadOptions): AsyncGenerator<readonly Difference[], void, undefined> {
    await fresh(this.#replica, options);
    const before = this.#pinned(query.before);
    try {
      const after = query.after === undefined ? this.#replica.snapshot() : this.#pinned(query.after);
      try {
        yield* between(before, after, query, options.signal);
      } finally {
        after.release();
      }
    } finally {
      before.release();
    }
  }

  #pinned(revision: number): HeldState {
    const held = this.#replica.pinAt(revision);
    if (held !== undefined) return held;
    throw new HoldfastError("notFound", `no snapshot pins revision ${revision}; list those that there are`);
  }
}

async function* between(
  before: HeldState,
  after: HeldState,
  { keys, files }: DiffQuery,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly Difference[], void, undefined> {
  const everything = keys === undefined && files === undefined;
  const compare = (range: Required<KeyRange> | undefined) => diff(before.tree, after.tree, { range, signal });
  if (everything || keys !== undefined) {
    const prefix = keys?.prefix ?? noBytes;
    const range = currentRange({ key: prefix, end: prefixEnd(prefix) ?? noBytes });
    for await (const batch of compare(range)) yield batch.map(toKeyDifference);
  }
  if (everything || files !== undefined) {
    const { bucket, prefix = noBytes } = files ?? {};
    const range = bucket === undefined ? fileRanges[0] : fileRange(bucket, prefixRange(prefix));
    for await (const batch of compare(range)) {
      const differences = batch.map(toFileDifference);
      const wanted = differences.filter((one) => one.type === "file" && startsWith(one.path, prefix));
      if (wanted.length > 0) yield wanted;
    }
  }
}

/** What is handed out shares nothing with the store. */
function toKeyDifference({ key, before, after }: TreeDifference): Difference {
  return { type: "key", key: keyOfCurrent(key).slice(), before: toRecord(before), after: toRecord(after) };
}

function toRecord(stored: Uint8Array | undefined): StoredRecord | undefined {
  return stored === undefined ? undefined : copyRecord(StoredRecord.decode(stored));
}

function toFileDifference({ key, before, after }: TreeDifference): Difference {
  // A bucket's name has no zero byte, and one ends it.
  const bucket = utf8Decode(key.subarray(2, key.indexOf(0, 2)));
  const path = pathOfFile(bucket, key).slice();
  return { type: "file", bucket, path, before: toFile(before), after: toFile(after) };
}

function toFile(stored: Uint8Array | undefined): StoredFile | undefined {
  return stored === undefined ? undefined : decodeFile(stored.slice());
}
